"""What goes into a recording, before Rerun has a part in it."""

import pytest
import torch

from segue.drawing.recording import bones, distinct, object_map, told, vertex_normals
from segue.ops.mesh_graph import icosphere
from segue.structures import Categories, Category, Masks, Mesh, Regions, Scene

DOG = Category("dog", 1, keypoints=("left_ear", "right_ear", "nose"), skeleton=((0, 2), (1, 2), (0, 1)))


def test_the_first_of_overlapping_objects_is_on_top() -> None:
    masks = torch.zeros(3, 2, 4)
    masks[0, 0, 1:3] = 1
    masks[1, :, 2:] = 1
    masks[2, 1] = 1
    assert object_map(Masks.from_dense(masks)).tolist() == [[0, 1, 1, 2], [3, 3, 2, 2]]
    assert object_map(Masks.from_dense(torch.zeros(0, 2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_a_bone_needs_both_ends() -> None:
    points = torch.tensor([[[1.0, 2, 0.9], [3, 4, 0.8], [5, 6, 0]], [[1, 1, 1], [2, 2, 1], [3, 3, 1]]])
    ends, colors = bones(points, [DOG, DOG])
    assert ends.tolist() == [[[1, 2], [3, 4]], [[1, 1], [3, 3]], [[2, 2], [3, 3]], [[1, 1], [2, 2]]]
    assert len(set(colors)) == 3  # left, right, and between the two
    assert bones(torch.zeros(1, 3, 3), [DOG])[0].shape == (0, 2, 2)


def test_normals_of_a_ball_point_away_from_its_middle() -> None:
    vertices, faces = icosphere(2)
    middle = torch.tensor([0.3, -0.2, 4])
    normals = vertex_normals(Mesh(vertices + middle, faces))
    torch.testing.assert_close(normals, vertices / vertices.norm(dim=1, keepdim=True), atol=0.05, rtol=0)


def test_equal_colors_are_told_apart() -> None:
    colors = distinct([(100, 200, 50), (100, 200, 50), (1, 2, 3), (100, 200, 50)])
    assert colors[0] == (100, 200, 50)
    assert colors[2] == (1, 2, 3)
    assert len(set(colors)) == 4


def test_words_are_on_one_line_each() -> None:
    regions = Regions(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0]), captions=["a\ndog\x1b[31m"])
    scene = Scene((4, 5), Categories((DOG,)), regions, label="dog", file="a.png")
    assert told(scene, ["dog 0.50"], ["color red"]) == ["a.png 5x4 dog", "1. dog 0.50, a dog [31m, color red"]


@pytest.mark.parametrize("count", [0, 1])
def test_a_mesh_without_faces_has_no_normals(count: int) -> None:
    mesh = Mesh(torch.ones(count, 3), torch.zeros(0, 3, dtype=torch.int64))
    assert vertex_normals(mesh).tolist() == [[0, 0, 0]] * count
