from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from segue.drawing.colors import object_colors
from segue.drawing.meshes import OPACITY, corner_normals, draw_meshes, shaded
from segue.drawing.turntable import PAPER, gif_bytes, turntable
from segue.files import MARK
from segue.structures import Camera, Categories, Mesh, Regions, Scene

CAMERA = Camera(60.0, (40.0, 30.0))
GREEN = (10, 160, 20)
CUBE_FACES = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]


def cube(middle: Sequence[float] = (0.0, 0.0, 4.0), side: float = 1.0, camera: Camera | None = CAMERA) -> Mesh:
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 3).flip(1)  # x changes first
    faces = torch.tensor([[a, b, c] for quad in CUBE_FACES for a, b, c in (quad[:3], [quad[0], *quad[2:]])])
    return Mesh(corners * side + torch.tensor(middle), faces, camera)


def scene(*meshes: Mesh) -> Scene:
    regions = Regions(torch.zeros(len(meshes), 4), torch.arange(len(meshes)), meshes=list(meshes))
    return Scene((60, 80), Categories.from_names(["mug", "ring", "cone", "box"]), regions)


def painted(*meshes: Mesh) -> Tensor:
    """(60, 80, 3) of meshes over green."""
    drawn = draw_meshes(Image.new("RGB", (80, 60), GREEN), scene(*meshes))
    return torch.from_numpy(np.array(drawn)).long()


def changed(picture: Tensor) -> Tensor:
    return (picture != torch.tensor(GREEN)).any(dim=2)


def test_a_mesh_lies_where_its_camera_saw_it() -> None:
    covered = changed(painted(cube((1.0, -0.5, 4.5))))
    x0, x1 = 40 + 60 * 0.5 / 4, 40 + 60 * 1.5 / 4  # of the near side, at a depth of 4
    y0, y1 = 30 + 60 * -1.0 / 4, 30.0
    y, x = covered.nonzero().T
    assert (int(x.max()), int(y.min()), int(y.max())) == (math.ceil(x1) - 1, math.floor(y0), math.ceil(y1) - 1)
    assert int(x.min()) == math.floor(40 + 60 * 0.5 / 5)  # the far side looks out, nearer to the middle
    assert x0 > int(x.min()) + 1


def test_edges_are_shares_of_colours() -> None:
    """A side that ends in the middle of a pixel covers half of it."""
    outer, edge, inner = painted(cube((0.0, 0.0, 4.5)))[21:24, 40].float()  # the near side's upper edge is at 22.5
    assert outer.tolist() == list(GREEN)
    assert torch.allclose(edge, (inner + outer) / 2, atol=1.5)
    assert (inner - outer).abs().max() > 50


def test_nearer_objects_hide_farther_ones_in_any_order() -> None:
    near, far = cube((0.2, 0.0, 3.0), 0.6), cube((0.0, 0.0, 5.0), 2.0)
    for meshes in ((near, far), (far, near)):
        both, alone = painted(*meshes), painted(*[replace(m, camera=None) if m is far else m for m in meshes])
        inside = changed(alone)
        inside[1:-1, 1:-1] &= inside[2:, 1:-1] & inside[:-2, 1:-1] & inside[1:-1, 2:] & inside[1:-1, :-2]
        assert inside.sum() > 50
        assert torch.equal(both[inside], alone[inside])
        assert changed(both).sum() > changed(alone).sum()


def test_light_falls_off_with_the_angle_and_colours_stay_apart() -> None:
    facing = shaded([cube()], [(200, 0, 0)], (0, 0, 80, 60))[30, 40]
    red, green, blue, share = facing.tolist()
    assert share == 1
    assert red > green > 0.3 * red
    assert green == pytest.approx(blue, abs=3)
    wall = cube((0.0, 0.0, 4.0)).vertices[:4].clone()
    wall[:, 2] += wall[:, 0] * 1.7  # turned away
    tilted = Mesh(wall, torch.tensor([[0, 2, 3], [0, 3, 1]]), CAMERA)
    assert shaded([tilted], [(200, 0, 0)], (0, 0, 80, 60))[30, 40, 0] < 0.8 * red
    turned = replace(tilted, faces=tilted.faces.flip(1))  # the inside of an open surface is lit, too
    front, back = (shaded([mesh], [(200, 0, 0)], (0, 0, 80, 60)) for mesh in (tilted, turned))
    assert torch.allclose(front, back, atol=1e-3)


def test_normals_are_smooth_on_a_ball_and_sharp_on_a_cube() -> None:
    box = cube((0.0, 0.0, 0.0))
    normals = corner_normals(box.vertices, box.faces)
    assert torch.allclose(normals.abs().amax(dim=2), torch.ones(12, 3))
    middles = box.vertices[box.faces].mean(dim=1)
    assert ((normals * middles[:, None]).sum(dim=2) > 0.4).all()
    steps = torch.linspace(0, math.pi, 25)
    up, around = torch.meshgrid(steps[1:-1], torch.linspace(0, 2 * math.pi, 49)[:-1], indexing="ij")
    ball = torch.stack([up.sin() * around.cos(), up.sin() * around.sin(), up.cos()], dim=2).reshape(-1, 3)
    index = torch.arange(len(ball)).reshape(up.shape)
    a, b, c = index[:-1], index[1:], index[1:].roll(-1, 1)
    faces = torch.cat([torch.stack([a, b, c], 2).reshape(-1, 3), torch.stack([a, c, a.roll(-1, 1)], 2).reshape(-1, 3)])
    inner = (ball[faces][:, :, 2].abs() < 0.95).all(dim=1)
    assert torch.allclose(corner_normals(ball, faces)[inner], ball[faces][inner], atol=0.02)


def test_what_reaches_behind_the_camera_is_left_out() -> None:
    assert not changed(painted(cube((0.0, 0.0, -4.0)), cube(camera=None))).any()
    through = painted(cube((0.0, 0.0, 1.0), 4.0))  # only the far side, which fills the picture
    assert changed(through).all()


def test_nothing_to_draw_changes_nothing() -> None:
    image = Image.new("RGB", (80, 60), GREEN)
    bare = Scene((60, 80), Categories.from_names(["mug"]), Regions.empty())
    nothing = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64), CAMERA)
    for held in (bare, scene(), scene(nothing), scene(cube((90.0, 0.0, 4.0)))):
        assert draw_meshes(image, held).tobytes() == image.tobytes()


def test_a_large_picture_is_drawn_alike_without_shrinking(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = painted(cube())
    monkeypatch.setattr("segue.drawing.meshes.FINE", 0)
    coarse = painted(cube())
    assert torch.equal(coarse[30, 40], fine[30, 40])
    assert (changed(coarse) != changed(fine)).float().mean() < 0.03
    assert not torch.equal(coarse, fine)


def silhouettes(frames: Sequence[Image.Image]) -> Tensor:
    pixels = torch.stack([torch.from_numpy(np.array(frame.convert("RGB"))).long() for frame in frames])
    return ((pixels - PAPER).abs() > 12).any(dim=3)


def test_the_table_turns_once_and_holds_all_in_view() -> None:
    pair = [cube((0.0, 0.0, 3.0)), cube((3.0, 0.5, 3.5), 0.5, None)]
    frames = turntable(pair, [(200, 0, 0), (0, 0, 200)], size=64, frames=8)
    assert [frame.size for frame in frames] == [(64, 64)] * 8
    shapes = silhouettes(frames)
    assert shapes.flatten(1).any(dim=1).all()
    border = torch.ones(64, 64, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert not (shapes & border).any()
    assert len({shape.numpy().tobytes() for shape in shapes}) == 8
    again = turntable(pair, [(200, 0, 0), (0, 0, 200)], size=64, frames=4)
    assert torch.equal(silhouettes(again), shapes[::2])


def test_the_table_is_seen_from_above_and_its_near_side_goes_right() -> None:
    """A dot before a ring's middle."""
    dot, post = cube((0.0, 0.0, 2.0), 0.2), cube((0.0, 0.0, 6.0), 0.2)
    first, second = (silhouettes([f])[0] for f in turntable([dot, post], [GREEN] * 2, size=96, frames=8)[:2])
    rows = first.any(dim=1).nonzero()[:, 0]
    assert first[int(rows.max())].sum() > first[int(rows.min())].sum()  # the lower one is the nearer one
    near = second[48:].nonzero()[:, 1].float().mean()
    far = second[:48].nonzero()[:, 1].float().mean()
    assert near > 48 > far


def test_a_moving_picture_that_repeats() -> None:
    frames = turntable([cube((0.5, 0.0, 3.0))], object_colors(scene(cube())), size=48, frames=10)
    content = gif_bytes(frames, seconds=2.0)
    assert MARK in content[:1024]
    with Image.open(io.BytesIO(content)) as gif:
        assert (gif.format, gif.info["loop"], gif.info["duration"]) == ("GIF", 0, 200)
        read = [frame.convert("RGB") for frame in ImageSequence.Iterator(gif)]
    assert len(read) == 10
    for frame, original in zip(read, frames, strict=True):
        error = np.abs(np.array(frame, np.int16) - np.array(original, np.int16))
        assert error.mean() < 1
        assert error.max() < 48


def test_an_empty_table() -> None:
    [frame] = turntable([], [], size=8, frames=1)
    assert frame.getextrema() == ((PAPER, PAPER),) * 3
    flat = Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    assert not silhouettes(turntable([flat], [GREEN], size=16, frames=2)).any()


def test_the_photo_shines_through_a_little() -> None:
    black, white = (Image.new("RGB", (80, 60), color) for color in ("black", "white"))
    dark, light = (draw_meshes(image, scene(cube())).getpixel((40, 30)) for image in (black, white))
    assert isinstance(dark, tuple)
    assert isinstance(light, tuple)
    assert light[0] - dark[0] == pytest.approx(255 * (1 - OPACITY), abs=1)
