"""Nearest points and the chamfer distance, against brute force and known answers."""

import pytest
import torch
from torch import Tensor

from segue.errors import DataError
from segue.ops import chamfer as module
from segue.ops.chamfer import chamfer, nearest
from segue.ops.mesh_graph import unit


def random_points(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["trees", "blocks"])
def search(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to search; blocks are what devices other than the CPU use."""
    if request.param == "blocks":
        monkeypatch.setattr(module, "_search_trees", module._search_blocks)
        monkeypatch.setattr(module, "MOST_PAIRS", 10_000)


def brute_force(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    apart = (a.double()[:, :, None] - b.double()[:, None]).square().sum(3)
    return apart.min(2)


@pytest.mark.usefixtures("search")
@pytest.mark.parametrize("offset", [0.0, 1000.0, 1e6])
def test_nearest_is_exact_also_far_from_the_origin(offset: float) -> None:
    a, b = random_points(3, 70, seed=1) + offset, random_points(3, 150, seed=2) + offset
    squared, index = nearest(a, b)
    expected, where = brute_force(a, b)
    torch.testing.assert_close(squared, expected.float(), rtol=1e-5, atol=0)
    tied = brute_force(a, b)[0] == (
        a.double() - b.double().gather(1, index[:, :, None].expand(-1, -1, 3))
    ).square().sum(2)
    assert tied.all()  # far out many points coincide: any of them will do
    assert offset > 1000 or index.equal(where)


@pytest.mark.usefixtures("search")
def test_nearest_of_itself_is_itself_and_of_a_lattice_the_rounded_point() -> None:
    a = random_points(2, 300)
    squared, index = nearest(a, a)
    assert squared.eq(0).all()
    assert index.equal(torch.arange(300).expand(2, -1))
    lattice = torch.cartesian_prod(*[torch.arange(-6.0, 7)] * 3)[None].expand(2, -1, -1)
    near = lattice.gather(1, nearest(a, lattice)[1][:, :, None].expand(-1, -1, 3))
    assert near.equal(a.round())


@pytest.mark.usefixtures("search")
def test_many_equal_points_and_points_on_a_line() -> None:
    line = torch.zeros(1, 2000, 3)
    line[0, 1000:, 0] = 0.5 ** torch.arange(1000).clamp(max=60)  # squares of float32 reach no lower
    squared, index = nearest(line, line)
    assert squared.eq(0).all()
    assert line[0, index[0]].equal(line[0])


@pytest.mark.usefixtures("search")
def test_coordinates_that_are_no_numbers_give_distances_that_are_none() -> None:
    a, b = random_points(1, 4), random_points(1, 5)
    a[0, 2, 1] = torch.nan
    squared, _ = nearest(a, b)
    assert squared.isnan().tolist() == [[False, False, True, False]]
    assert chamfer(a, b)[0].isnan().all()


@pytest.mark.usefixtures("search")
def test_no_sets_no_queries_and_nobody_near() -> None:
    assert [t.shape for t in nearest(random_points(0, 5), random_points(0, 7))] == [(0, 5)] * 2
    assert [t.shape for t in nearest(random_points(2, 0), random_points(2, 7))] == [(2, 0)] * 2
    assert [t.shape for t in chamfer(*[random_points(0, 5)] * 4)] == [(0,)] * 2
    with pytest.raises(DataError, match="no point is nearest among none; give"):
        nearest(random_points(2, 5), random_points(2, 0))


def test_threads_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = random_points(5, 60), random_points(5, 70, seed=1)
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=threads: n)
        assert nearest(a, b)[1].equal(brute_force(a, b)[1])


def test_chamfer_of_shifted_sets_is_known() -> None:
    grid = torch.cartesian_prod(*[torch.arange(4.0)] * 3)[None]
    up, tilted = torch.tensor([0.0, 0, 1]).expand_as(grid), torch.tensor([0.0, 0.6, -0.8]).expand_as(grid)
    distance, normals = chamfer(grid, grid + torch.tensor([0.25, 0, 0]), up, tilted)
    torch.testing.assert_close(distance, torch.tensor([2 * 0.0625]))
    torch.testing.assert_close(normals, torch.tensor([2 * 0.2]))
    assert chamfer(grid, grid)[1].tolist() == [0.0]


def test_chamfer_counts_each_way_by_its_own_number_of_points() -> None:
    a = torch.tensor([[[0.0, 0, 0], [0, 0, 2]]])
    b = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 0, 3], [0, 0, 5]]])
    assert chamfer(a, b)[0].tolist() == [(0 + 1) / 2 + (0 + 1 + 1 + 9) / 4]


def test_chamfer_is_symmetric_and_does_not_depend_on_turns_order_or_neighbours_in_the_batch() -> None:
    a, b = random_points(3, 50, seed=1).double(), random_points(3, 40, seed=2).double()
    na, nb = unit(random_points(3, 50, seed=3).double()), unit(random_points(3, 40, seed=4).double())
    expected = torch.stack(chamfer(a, b, na, nb))
    turn = torch.linalg.qr(random_points(3, seed=5).double())[0]
    shuffle = torch.randperm(50, generator=torch.Generator().manual_seed(6))
    for changed in (
        chamfer(b, a, nb, na),
        chamfer(a @ turn, b @ turn, na @ turn, nb @ turn),
        chamfer(a[:, shuffle], b, na[:, shuffle], nb),
        chamfer(a, b, -na, nb),
    ):
        torch.testing.assert_close(torch.stack(changed), expected)
    torch.testing.assert_close(torch.stack(chamfer(a[1:2], b[1:2], na[1:2], nb[1:2])), expected[:, 1:2])


def test_distances_and_normals_have_the_right_gradients() -> None:
    points = [random_points(2, n, seed=n).double().requires_grad_() for n in (5, 6)]
    normals = [unit(random_points(2, n, seed=n).double()).requires_grad_() for n in (5, 6)]
    assert torch.autograd.gradcheck(chamfer, (*points, *normals))
    assert torch.autograd.gradcheck(lambda a, b: nearest(a, b)[0], points)
