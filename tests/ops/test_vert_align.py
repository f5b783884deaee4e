import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segue.ops.vert_align import vert_align

COUNTS = (5, 0, 9)  # vertices of three meshes


def example(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    features = torch.randn(3, 4, 5, 7, generator=g, dtype=dtype)
    vertices = torch.rand(sum(COUNTS), 3, generator=g, dtype=dtype) * 3 - 1.5  # some reach over the border
    return features, vertices, torch.arange(3).repeat_interleave(torch.tensor(COUNTS))


def twin(features: Tensor, vertices: Tensor) -> Tensor:
    """torch's own sampling, one mesh at a time."""
    sampled = [
        F.grid_sample(own[None], at[None, None, :, :2], padding_mode="border", align_corners=True)[0, :, 0].T
        for own, at in zip(features, vertices.split(COUNTS), strict=True)
        if len(at)
    ]
    return torch.cat(sampled)


def test_equals_grid_sample_and_its_gradients() -> None:
    features, vertices, owner = example()
    features, vertices = features.requires_grad_(), vertices.requires_grad_()
    found, wanted = vert_align(features, vertices, owner), twin(features, vertices)
    torch.testing.assert_close(found, wanted)
    weights = torch.randn_like(wanted)
    for own, other in zip(
        torch.autograd.grad((found * weights).sum(), [features, vertices]),
        torch.autograd.grad((wanted * weights).sum(), [features, vertices]),
        strict=True,
    ):
        torch.testing.assert_close(own, other)


def test_the_ends_are_the_centres_of_the_outer_pixels() -> None:
    features = torch.arange(12.0).view(1, 1, 3, 4)
    vertices = torch.tensor([[-1.0, -1, 5], [1, -1, 0], [-1, 1, 0], [1, 1, 0], [0, 0, 0], [9, -9, 0]])
    assert vert_align(features, vertices, torch.zeros(6, dtype=torch.int64))[:, 0].tolist() == [0, 3, 8, 11, 5.5, 3]


def test_gradients() -> None:
    features, vertices, owner = example()
    arguments = (features[:, :2, :3, :2].requires_grad_(), vertices.requires_grad_())
    assert torch.autograd.gradcheck(lambda f, v: vert_align(f, v, owner), arguments)


def test_maps_of_one_pixel_and_no_vertices() -> None:
    features, vertices, owner = example()
    pixel = features[:, :, :1, :1]
    torch.testing.assert_close(vert_align(pixel, vertices, owner), pixel[owner, :, 0, 0])
    assert vert_align(features, vertices[:0], owner[:0]).shape == (0, 4)
    assert vert_align(features[:0], vertices[:0], owner[:0]).shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_features_of_half_precision_are_read_at_exact_places(dtype: torch.dtype) -> None:
    features, vertices, owner = example(torch.float32)
    rough = vert_align(features.to(dtype), vertices, owner)
    assert rough.dtype == dtype
    torch.testing.assert_close(rough.float(), vert_align(features, vertices, owner), atol=0.03, rtol=0.03)
