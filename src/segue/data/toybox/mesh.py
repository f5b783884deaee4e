"""The triangles of all things of a scene in one list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.toybox.arrays import Floats, Floats32, Ints
from segue.data.toybox.paint import Paint
from segue.data.toybox.scene import World
from segue.data.toybox.surfaces import Shell


@dataclass(frozen=True)
class Mesh:
    """All things of a scene as one list of triangles.

    Attributes:
        corners: (T, 3, 3) in camera coordinates.
        world: (T, 3, 3) the same in the world.
        looks: (3, 7, T) float32, what shading needs at each of the three corners: its place in the thing's own
            coordinates (3), its shading normal in the world (3), and how much of the sky reaches it, 0 to 1.
        owner: (T,) the thing.
        paint: (T,) index into ``paints``.
        paints: of all parts.
        sizes: triangles in each thing.
    """

    corners: Floats
    world: Floats
    looks: Floats32
    owner: Ints
    paint: Ints
    paints: tuple[Paint, ...]
    sizes: tuple[int, ...]


def gather_mesh(world: World) -> Mesh:
    """The triangles of all things where they stand."""
    parts = [part for thing in world.things for part in thing.solid.parts]
    local, faces, shades, part_of = stack_shells([part.shell for part in parts])
    thing_of = np.repeat(np.arange(len(world.things)), [len(thing.solid.parts) for thing in world.things])
    owner = thing_of[part_of]
    turns, shifts = _standing(world)
    lengths = np.bincount(thing_of, [len(part.shell.vertices) for part in parts], len(world.things)).astype(np.int64)
    moved = np.einsum("vij,vj->vi", turns.repeat(lengths, axis=0), local) + shifts.repeat(lengths, axis=0)
    corners, own = moved[faces], local.astype(np.float32)[faces]
    normals = _normals(corners, shades)
    openness = _openness(own, normals, turns.astype(np.float32)[owner])
    return Mesh(
        corners=world.camera.to_camera(moved)[faces],
        world=corners,
        looks=np.concatenate([own, normals, openness[..., None]], axis=2).transpose(1, 2, 0).copy(),
        owner=owner,
        paint=part_of,
        paints=tuple(part.paint for part in parts),
        sizes=tuple(np.bincount(owner, minlength=len(world.things)).tolist()),
    )


def stack_shells(shells: Sequence[Shell]) -> tuple[Floats, Ints, Ints, Ints]:
    """Several shells as one: vertices (V, 3), faces (F, 3), normals (F, 3), and the shell (F,) that each face is of."""
    first, shade, faces, normals = 0, 0, [np.empty((0, 3), np.int64)], [np.empty((0, 3), np.int64)]
    for shell in shells:
        faces.append(shell.faces + first)
        normals.append(shell.normals + shade)
        first, shade = first + len(shell.vertices), shade + int(shell.normals.max()) + 1
    vertices = np.concatenate([np.empty((0, 3)), *(shell.vertices for shell in shells)])
    part_of = np.repeat(np.arange(len(shells)), np.array([len(shell.faces) for shell in shells], np.int64))
    return vertices, np.concatenate(faces), np.concatenate(normals), part_of


def _standing(world: World) -> tuple[Floats, Floats]:
    """Rotations (N, 3, 3) and places (N, 3) of the things."""
    turns = np.array([thing.turn for thing in world.things]).reshape(-1, 3, 3)
    return turns, np.array([[thing.x, thing.y, 0.0] for thing in world.things]).reshape(-1, 3)


def _normals(corners: Floats, shades: Ints) -> Floats32:
    """(T, 3, 3) mean normals of the triangles around each corner, weighted by their areas."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    flat = np.cross(b - a, c - a)
    index = shades.ravel()
    sums = np.stack([np.bincount(index, np.repeat(flat[:, i], 3)) for i in range(3)], axis=1).astype(np.float64)
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return sums.astype(np.float32)[shades]


def _openness(local: Floats32, normals: Floats32, turns: Floats32) -> Floats32:
    """(T, 3) less than 1 near the ground and where a thing is hollow, that is where it looks at its own axis."""
    x, y, z = local[..., 0], local[..., 1], local[..., 2]
    c, s = turns[:, 0, :1], turns[:, 1, :1]
    away = normals[..., 0] * (c * x - s * y) + normals[..., 1] * (s * x + c * y)
    inward = np.clip(-away / (np.hypot(x, y) + np.float32(1e-3)), 0, 1)
    openness: Floats32 = np.clip(np.float32(0.66) + z * np.float32(4), 0, 1) * (1 - np.float32(0.4) * inward)
    return openness
