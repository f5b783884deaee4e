import pytest
import torch

from segue.nn.mesh_heads import ExtentHead, GraphConv, Refinement, VoxelHead
from segue.ops.cubify import cubify
from segue.ops.mesh_graph import euler_numbers, icosphere, neighbours, unique_edges
from segue.structures import Meshes


def spheres(number: int, level: int = 1) -> Meshes:
    vertices, faces = icosphere(level)
    return Meshes.pack([vertices] * number, [faces] * number)


def test_a_graph_convolution_is_its_matrix_form() -> None:
    torch.manual_seed(0)
    edges = torch.tensor([[0, 1], [1, 2], [0, 3]])
    adjacency = torch.tensor([[0.0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]])
    layer, values = GraphConv(5, 7), torch.randn(4, 5)
    for part in (layer.own, layer.others):
        torch.nn.init.normal_(part.bias)
    torch.testing.assert_close(
        layer(values, neighbours(edges, 4)), layer.own(values) + adjacency @ layer.others(values)
    )


def test_refinement_begins_by_moving_nothing() -> None:
    meshes = spheres(2)
    found = Refinement(8, 16, stages=3, convolutions=2, divide=False)(torch.randn(2, 8, 14, 14), meshes)
    assert len(found) == 3
    for stage in found:
        assert torch.equal(stage.vertices, meshes.vertices)


def test_dividing_stages_have_four_times_the_faces_of_the_one_before() -> None:
    meshes = spheres(2, level=2)
    found = Refinement(8, 16, stages=3, convolutions=1, divide=True)(torch.randn(2, 8, 14, 14), meshes)
    assert [len(stage.faces) for stage in found] == [640, 2560, 10240]
    assert [int(stage.vertex_counts[0]) for stage in found] == [162, 642, 2562]
    assert euler_numbers(found[-1]).tolist() == [2, 2]


def test_meshes_of_a_batch_do_not_know_of_each_other() -> None:
    torch.manual_seed(0)
    refine = Refinement(8, 16, stages=2, convolutions=2, divide=False)
    for parameter in refine.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    features, grids = torch.randn(2, 8, 14, 14), (torch.rand(2, 6, 6, 6) > 0.5).float()
    both = refine(features, cubify(grids, 0.5))[-1].unpack()
    for i in range(2):
        alone = refine(features[i : i + 1], cubify(grids[i : i + 1], 0.5))[-1]
        torch.testing.assert_close(alone.vertices, both[i][0], atol=1e-5, rtol=1e-5)


def test_stages_learn_to_shrink_a_sphere() -> None:
    torch.manual_seed(0)
    refine, start, features = Refinement(4, 16, 2, 2, divide=False), spheres(1), torch.rand(1, 4, 14, 14)
    optimizer = torch.optim.Adam(refine.parameters(), lr=0.01)
    for _ in range(60):
        radius = refine(features, start)[-1].vertices.norm(dim=1)
        loss = (radius - 0.5).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.01


@pytest.mark.parametrize("number", [0, 3])
def test_shapes_of_extents_and_voxels(number: int) -> None:
    assert ExtentHead(8, 7, 16, 5, 2)(torch.randn(number, 8, 7, 7)).shape == (number, 5, 2)
    assert VoxelHead(8, 16, 2, 24)(torch.randn(number, 8, 12, 12)).shape == (number, 24, 24, 24)


def test_no_mesh_at_all_passes() -> None:
    meshes = cubify(torch.zeros(0, 4, 4, 4), 0.5)
    found = Refinement(8, 16, 2, 1, divide=False)(torch.randn(0, 8, 14, 14), meshes)
    assert unique_edges(found[-1].faces).shape == (0, 2)
