"""What keeps meshes regular: known values, loops, invariances, gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from segue.ops.mesh_graph import icosphere, subdivide
from segue.ops.mesh_losses import edge_loss, laplacian_loss
from segue.structures import Meshes

Loss = Callable[[Meshes], Tensor]
TETRAHEDRON = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
REGULAR = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


def test_edges_of_regular_solids_are_known() -> None:
    vertices, faces = icosphere(0)
    side = 4 / (10 + 2 * 5**0.5) ** 0.5  # of an icosahedron in the unit sphere
    meshes = Meshes.pack([REGULAR, 3 * vertices], [TETRAHEDRON, faces])
    torch.testing.assert_close(edge_loss(meshes), torch.tensor([8.0, 9 * side**2]))


def test_an_edge_counts_once_however_many_faces_share_it() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 0]])
    alone, twice = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1, 2], [2, 1, 0]])
    losses = edge_loss(Meshes.pack([vertices, vertices], [alone, twice]))
    assert losses.tolist() == pytest.approx([(1 + 4 + 5) / 3] * 2)


def test_laplacian_equals_a_loop() -> None:
    g = torch.Generator().manual_seed(1)
    vertices, faces = torch.randn(9, 3, generator=g), torch.tensor([[0, 1, 2], [2, 1, 3], [3, 4, 5], [6, 7, 6]])
    near: dict[int, set[int]] = {v: set() for v in range(9)}
    for face in faces.tolist():
        for v in face:
            near[v] |= set(face) - {v}
    lengths = [(vertices[sorted(n)].mean(0) - vertices[v]).norm() for v, n in near.items() if n]
    assert len(lengths) == 8  # one vertex has no neighbour
    torch.testing.assert_close(laplacian_loss(Meshes.pack([vertices], [faces]))[0], torch.stack(lengths).mean())


def test_laplacian_of_regular_solids_is_known() -> None:
    # Of a tetrahedron the three others' mean lies opposite, a third as far from the centre: 4/3 of its radius away.
    loss = laplacian_loss(Meshes.pack([REGULAR, REGULAR / 2], [TETRAHEDRON, TETRAHEDRON]))
    torch.testing.assert_close(loss, torch.tensor([1.0, 0.5]) * (4 / 3 * 3**0.5))


@pytest.mark.parametrize("loss", [edge_loss, laplacian_loss])
def test_losses_do_not_depend_on_place_turn_or_neighbours_in_the_batch(loss: Loss) -> None:
    vertices, faces = icosphere(1)
    shape = vertices.double() * torch.tensor([1, 2, 3])
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    losses = loss(Meshes.pack([shape, shape[:0], shape @ turn + 5, 2 * shape], [faces, faces[:0], faces, faces]))
    grown = 4 if loss is edge_loss else 2
    torch.testing.assert_close(losses, losses[0] * torch.tensor([1, 0, 1, grown]))
    assert losses[0] > 0
    assert loss(Meshes.pack([], [])).shape == (0,)


@pytest.mark.parametrize("loss", [edge_loss, laplacian_loss])
def test_finer_meshes_have_smaller_losses(loss: Loss) -> None:
    mesh = Meshes.pack(*([each] for each in icosphere(1)))
    assert loss(subdivide(mesh)) < loss(mesh) / 2


@pytest.mark.parametrize("loss", [edge_loss, laplacian_loss])
def test_losses_have_the_right_gradients(loss: Loss) -> None:
    meshes = Meshes.pack([REGULAR.double(), REGULAR.double()], [TETRAHEDRON, TETRAHEDRON[:2]])
    places = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: loss(meshes.with_vertices(v)), places)


def test_a_collapsed_mesh_has_finite_gradients() -> None:
    vertices = torch.ones(4, 3, requires_grad=True)
    meshes = Meshes.pack([vertices], [TETRAHEDRON])
    (edge_loss(meshes) + laplacian_loss(meshes)).sum().backward()
    assert vertices.grad is not None
    assert vertices.grad.eq(0).all()
