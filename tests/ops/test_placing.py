from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segue.ops.placing import placed
from segue.structures import Camera, Mesh

CAMERA = Camera(100.0, (50.0, 40.0))
MEASURED = Mesh(torch.tensor([[0.0, 0, 2], [1, 0, 2], [1, 1, 2]]), torch.tensor([[0, 1, 2]]), CAMERA)

Box = tuple[float, float, float, float]
seeds = st.integers(0, 10_000)


def decoded(shape: Tensor, box: Box, camera: Camera, depths: tuple[float, float]) -> Mesh:
    """A mesh of (V, 3) coordinates in [-1, 1] of the frustum of a box."""
    near, far = depths
    z = 1 / ((1 - shape[:, 2]) / 2 / near + (1 + shape[:, 2]) / 2 / far)
    low, high = torch.tensor(box[:2]), torch.tensor(box[2:])
    pixels = low + (shape[:, :2] + 1) / 2 * (high - low)
    ground = (pixels - torch.tensor(camera.centre)) / camera.focal * z[:, None]
    return Mesh(torch.cat([ground, z[:, None]], dim=1), torch.tensor([[0, 1, 2]]), camera, depths)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_placed_is_decoded_with_the_other_camera_and_depth(seed: int) -> None:
    shape = torch.rand(20, 3, generator=torch.Generator().manual_seed(seed)) * 2.4 - 1.2
    box, other = (10, 20, 90, 70), Camera(250.0, (61.0, 33.0))
    moved = placed(decoded(shape, box, CAMERA, (1.5, 2.5)), other, 8.0)
    extent = 1.0 / 2.0 * 100 * 8.0 / 250  # in pixels, half of the focal length
    expected = decoded(shape, box, other, (8 - extent / 2, 8 + extent / 2))
    torch.testing.assert_close(moved.vertices, expected.vertices)
    assert moved.camera == other
    assert moved.span == pytest.approx(expected.span)


def test_placed_where_it_is_and_back_again() -> None:
    mesh = decoded(torch.tensor([[0.1, 0.2, -1], [-1, 1, 0.5], [1, -1, 1]]), (0, 0, 60, 60), CAMERA, (1.5, 2.5))
    mesh = replace(mesh, filling=mesh.vertices[:1])
    torch.testing.assert_close(placed(mesh, CAMERA, 2.0).vertices, mesh.vertices)
    there = placed(mesh, Camera(300.0, (0.0, 7.0)), 5.0)
    assert there.filling is not None
    torch.testing.assert_close(there.filling, there.vertices[:1])
    back = placed(there, CAMERA, 2.0)
    torch.testing.assert_close(back.vertices, mesh.vertices)
    assert back.span == pytest.approx((1.5, 2.5))


def test_measured_meshes_stay() -> None:
    seen_by_nobody = replace(MEASURED, camera=None, span=(1.0, 3.0))
    for mesh in (MEASURED, seen_by_nobody):
        assert placed(mesh, Camera(70.0, (0.0, 0.0)), 9.0) is mesh


def test_no_span_begins_behind_the_camera() -> None:
    deep = decoded(torch.tensor([[0.0, 0, -1], [0, 1, 0], [0, 0, 1]]), (0, 0, 60, 60), CAMERA, (0.5, 9.5))
    moved = placed(deep, Camera(50.0, (0.0, 0.0)), 4.0)
    assert moved.span == pytest.approx((0.04, 7.96))
    assert bool((moved.vertices[:, 2] > 0).all())


def test_vertices_do_not_vanish_behind_the_farthest_depth() -> None:
    beyond = decoded(torch.tensor([[0.0, 0, 2.5], [0, 1, 0], [0, 0, 1]]), (0, 0, 60, 60), CAMERA, (1.5, 2.5))
    moved = placed(beyond, Camera(50.0, (0.0, 0.0)), 2.0)  # a span from 1 to 3, and 1 / z = 0 at 2
    assert moved.span == pytest.approx((1, 3))
    assert moved.vertices[:, 2].tolist() == pytest.approx([1 / 0.2 / (2 / 3), 1.5, 3])


def test_a_flat_span_stays_flat() -> None:
    moved = placed(replace(MEASURED, span=(2.0, 2.0)), CAMERA, 6.0)
    torch.testing.assert_close(moved.vertices, 3 * MEASURED.vertices)
    assert moved.span == (6.0, 6.0)
