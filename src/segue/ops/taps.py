"""Where RoIAlign reads along one axis: pixels and their weights. The two axes of a bin are independent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segue.ops.ragged import ragged, starts_of


def roi_extent(boxes: Tensor, aligned: bool) -> tuple[Tensor, Tensor]:
    """Boxes (R, 4) in pixels of a map -> start and extent (R, 2), x then y, with pixel centres at integers."""
    shift = 0.5 if aligned else 0.0
    start, end = boxes[:, :2] - shift, boxes[:, 2:] - shift
    return start, end - start if aligned else (end - start).clamp(min=1)


def linear_taps(at: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Linear interpolation at places (...) of an axis with pixels 0 to length - 1 -> index and weight (..., 2).

    Between -1 and 0, and between length - 1 and length, the edge pixel counts; further out the weights are zero.
    """
    inside = (at >= -1) & (at <= length)  # never for NaN
    at = torch.minimum(at.nan_to_num(0).clamp(min=0), length - 1)
    low = at.floor()
    high = torch.minimum(low + 1, length - 1)
    part = at - low
    weight = torch.stack([1 - part, part], dim=-1) * inside[..., None]
    return torch.stack([low, high], dim=-1).long(), weight


def sample_places(start: Tensor, extent: Tensor, output: int, sampling: int) -> Tensor:
    """Where ``sampling`` samples in each of ``output`` bins of (R,) RoIs lie on one axis: (R, output, sampling)."""
    size = (extent / output)[:, None, None]
    p = torch.arange(output, dtype=start.dtype, device=start.device)[:, None]
    step = torch.arange(sampling, dtype=start.dtype, device=start.device) + 0.5
    return start[:, None, None] + p * size + step * size / sampling  # rounded as others do


def fixed_taps(start: Tensor, extent: Tensor, length: Tensor, output: int, sampling: int) -> tuple[Tensor, Tensor]:
    """(R,) RoIs on one axis -> index and weight (R, output, 2 * sampling); weights add up to 1 inside the map."""
    at = sample_places(start, extent, output, sampling)  # (R, P, S)
    index, weight = linear_taps(at, length[:, None, None].to(at.dtype))
    return index.flatten(2), weight.flatten(2) / sampling


@dataclass(frozen=True)
class RaggedTaps:
    """Taps of R RoIs times P bins on one axis, as many as each bin needs.

    Attributes:
        index: (T,) int64 pixel.
        weight: (T,) weight; over a bin inside the map they add up to ``samples``.
        counts: (R * P,) int64 taps of each bin.
        starts: (R * P,) int64 place of each bin's first tap.
        samples: (R,) int64 samples per bin.
    """

    index: Tensor
    weight: Tensor
    counts: Tensor
    starts: Tensor
    samples: Tensor


def ragged_taps(start: Tensor, extent: Tensor, length: Tensor, output: int) -> RaggedTaps:
    """Adaptive sampling of (R,) RoIs on one axis: in each bin a sample per pixel, rounded up.

    Neighbouring samples lie at most a pixel apart, so g samples of two taps each read at most g + 1 pixels: taps on the
    same pixel are merged.
    """
    size = extent / output
    samples = torch.where(size.isfinite(), size.ceil().clamp(min=0), 0).long()  # (R,)
    per_bin = samples.repeat_interleave(output)  # (R * P,)
    bin_, place = ragged(per_bin)
    roi, p = bin_ // output, bin_ % output
    at = start[roi] + p * size[roi] + (place + 0.5) * size[roi] / samples[roi]
    index, weight = linear_taps(at, length[roi].to(at.dtype))  # (S, 2)

    counts = torch.where(per_bin > 0, per_bin + 1, 0)
    starts = starts_of(counts)
    first = torch.zeros_like(per_bin)
    filled = per_bin > 0
    first[filled] = index[starts_of(per_bin)[filled], 0]
    slot = (index - first[bin_, None]).clamp(min=0)
    slot = starts[bin_, None] + torch.minimum(slot, per_bin[bin_, None])
    owner, step = ragged(counts)
    merged = torch.minimum(first[owner] + step, length.repeat_interleave(output)[owner] - 1)
    total = weight.new_zeros(len(owner)).index_add_(0, slot.flatten(), weight.flatten())
    return RaggedTaps(merged, total, counts, starts, samples)
