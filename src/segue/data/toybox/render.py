"""Pictures of scenes, with everything that is true of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segue.data.toybox.arrays import Bools, Floats, Floats32, Ints, Shorts
from segue.data.toybox.backdrop import draw_backdrop
from segue.data.toybox.camera import Camera
from segue.data.toybox.categories import THINGS
from segue.data.toybox.develop import FINER, bare_pixels, cast_shadow, develop, expose
from segue.data.toybox.mesh import Mesh, gather_mesh, stack_shells
from segue.data.toybox.raster import Hits, rasterise
from segue.data.toybox.scene import Placed, World, draw_world

MIN_VISIBLE = 24  # px, what shows less of itself is taken out of the scene


@dataclass(frozen=True)
class Thing:
    """One object of a picture.

    Attributes:
        placed: the object, its look, and where it stands.
        label: index into `TOYBOX`.
        box: (4,) float32 x0, y0, x1, y1 of its visible pixels.
        area: number of its visible pixels.
        ground: the stuff that it stands on.
        depth: m, camera z of the point on the ground below it.
        keypoints: (K, 3) float64 x, y, visibility: 2 in sight, 1 hidden, 0 (then x and y are 0) outside the picture.
        vertices: (V, 3) of its closed mesh, in camera coordinates: x right, y down, z ahead, m.
        faces: (F, 3) int64, counter-clockwise from outside.
        parts: (F,) int64, the part that each face belongs to; each part is closed.
    """

    placed: Placed
    label: int
    box: Floats32
    area: int
    ground: str
    depth: float
    keypoints: Floats
    vertices: Floats
    faces: Ints
    parts: Ints


@dataclass(frozen=True)
class Sample:
    """A picture and its truth.

    Attributes:
        world: the scene, without the things of which hardly anything would show.
        image: (H, W, 3) uint8 RGB.
        instances: (H, W) int16 index into ``things``, -1 for stuff.
        semantic: (H, W) int16 index into `TOYBOX`: a thing's category, or the stuff.
        things: the objects.
    """

    world: World
    image: NDArray[np.uint8]
    instances: Shorts
    semantic: Shorts
    things: tuple[Thing, ...]

    @property
    def camera(self) -> Camera:
        """Where the picture was taken from."""
        return self.world.camera

    @property
    def main(self) -> int | None:
        """Index of the thing with the most visible pixels, None where there is none."""
        areas = [thing.area for thing in self.things]
        return areas.index(max(areas)) if areas else None

    @property
    def label(self) -> str | None:
        """The category of the main thing."""
        return None if self.main is None else THINGS[self.things[self.main].label]

    @property
    def masks(self) -> Bools:
        """(N, H, W) visible pixels of each thing."""
        masks: Bools = self.instances == np.arange(len(self.things))[:, None, None]
        return masks


def render(seed: int, size: tuple[int, int] = (256, 256)) -> Sample:
    """The picture with this number, the same everywhere.

    Args:
        seed: not negative.
        size: (height, width) in pixels.

    Raises:
        UsageError: as `draw_world`.
    """
    world = draw_world(seed, size)
    mesh, hits, instances = _seen(world)
    while (hidden := _pixels(instances, len(world.things)) < MIN_VISIBLE).any():
        world = replace(world, things=tuple(thing for i, thing in enumerate(world.things) if not hidden[i]))
        mesh, hits, instances = _seen(world)
    backdrop = draw_backdrop(world, cast_shadow(world, mesh), bare_pixels(hits))
    image = develop(expose(world, mesh, hits, backdrop), world.lens, world.seed)
    labels = np.array([THINGS.index(thing.solid.category) for thing in world.things] or [0], np.int64)
    semantic = np.where(instances >= 0, labels[instances], backdrop.stuff + len(THINGS)).astype(np.int16)
    things = _things(world, mesh, hits, instances)
    return Sample(world, image, instances, semantic, things)


def _seen(world: World) -> tuple[Mesh, Hits, Shorts]:
    """Mesh, samples, and (H, W) the thing that each pixel shows, -1 for none."""
    mesh = gather_mesh(world)
    hits = rasterise(mesh.corners, world.camera.finer(FINER))
    return mesh, hits, _majority(np.append(mesh.owner, -1).astype(np.int16)[hits.triangle])


def _pixels(instances: Shorts, count: int) -> Ints:
    """(count,) visible pixels of each thing."""
    return np.bincount(instances.reshape(-1) + 1, minlength=count + 1)[1:]


def _majority(owner: Shorts) -> Shorts:
    """What most of a pixel's four samples show; of equals, what the top left one or else the lowest number says."""
    a, b, c, d = (owner[i::FINER, j::FINER] for i in range(FINER) for j in range(FINER))
    shown = a.copy()
    mixed = np.flatnonzero((a != b) | (a != c) | (a != d))
    votes = np.stack([each.reshape(-1)[mixed] for each in (a, b, c, d)], axis=1)  # (M, 4)
    rank = 4 * (votes[:, :, None] == votes[:, None]).sum(2)
    rank[:, 0] += 2
    rank = rank - np.argsort(np.argsort(votes, axis=1, kind="stable"), axis=1) / 4
    shown.reshape(-1)[mixed] = votes[np.arange(len(votes)), rank.argmax(1)]
    return shown


def _things(world: World, mesh: Mesh, hits: Hits, instances: Shorts) -> tuple[Thing, ...]:
    ends = np.cumsum(mesh.sizes).tolist()
    return tuple(
        _thing(world, placed, hits, instances == i, (ends[i] - mesh.sizes[i], ends[i]))
        for i, placed in enumerate(world.things)
    )


def _thing(world: World, placed: Placed, hits: Hits, mask: Bools, own: tuple[int, int]) -> Thing:
    """What is known of a thing with these visible pixels (H, W), whose triangles run from ``own[0]`` to ``own[1]``."""
    vertices, faces, _, parts = stack_shells([part.shell for part in placed.solid.parts])
    foot = world.camera.to_camera(np.array([placed.x, placed.y, 0.0]))
    return Thing(
        placed=placed,
        label=THINGS.index(placed.solid.category),
        box=_tight_box(mask),
        area=int(mask.sum()),
        ground=world.ground.stuff_at((placed.x, placed.y)),
        depth=float(foot[2]),
        keypoints=_keypoints(world, placed, hits, own),
        vertices=world.camera.to_camera(placed.to_world(vertices)),
        faces=faces,
        parts=parts,
    )


def _tight_box(mask: Bools) -> Floats32:
    """(4,) x0, y0, x1, y1 of the set pixels of (H, W)."""
    x, y = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return np.array([x[0], y[0], x[-1] + 1, y[-1] + 1], np.float32)


def _keypoints(world: World, placed: Placed, hits: Hits, own: tuple[int, int]) -> Floats:
    """(K, 3) x, y, visibility, by what lies before each keypoint on the ray of the sample that it falls into.

    Args:
        world: with the camera.
        placed: the thing.
        hits: of all samples.
        own: first of the thing's triangles, and the one after the last.
    """
    points = world.camera.to_camera(placed.to_world(placed.solid.keypoints))
    if not len(points):
        return np.empty((0, 3))
    h, w = world.camera.size
    xy = world.camera.project(points)
    inside = (points[:, 2] > world.camera.near) & (xy >= 0).all(1) & (xy < (w, h)).all(1)
    column, row = np.floor(np.where(inside[:, None], xy, 0) * FINER).astype(np.int64).T
    triangle, depth = hits.triangle[row, column], hits.depth[row, column]
    flesh = np.where((triangle >= own[0]) & (triangle < own[1]), placed.solid.reach, 0.0)
    visibility = np.where(depth < points[:, 2] - flesh, 1.0, 2.0)
    return np.concatenate([xy, visibility[:, None]], axis=1) * inside[:, None]
