from __future__ import annotations

from typing import Any

import pytest
import torch

from segue.nn.dense import ARCHITECTURES

SMALL: dict[str, tuple[dict[str, Any], int]] = {  # settings, and a picture so large that its edges are out of sight
    "farabet": ({"maps": (4, 4, 8), "scales": 2, "window": 3}, 384),
    "recurrent": ({"instances": 2, "maps": (3, 4)}, 192),
    "plain": ({"layers": 3, "width": 4}, 192),
    "encoder_decoder": ({"depth": 2, "width": 4}, 192),
    "fcn": ({"trunk": "resnet18", "width": 2}, 768),
    "segnet": ({"width": 2}, 768),
    "unet": ({"width": 4, "depth": 2}, 192),
    "fc_densenet": ({"layers": (1, 1, 1, 1, 1), "growth": 2, "first": 4}, 192),
    "fcn_dilated": ({"depth": 18, "width": 2}, 768),
}


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_a_picture_shifted_by_the_period_gives_the_same_scores_shifted(name):
    values, side = SMALL[name]
    kind = next(a for a in ARCHITECTURES if a.name == name)
    torch.manual_seed(0)
    network = kind.build(3, kind.settings(**values)).eval()
    for p in network.parameters():
        if not p.any():  # scores that start at zero would be equal anyway
            torch.nn.init.normal_(p, std=0.3)
    period, middle = network.period, side // 2
    assert period % network.stride == 0
    picture = torch.zeros(1, 3, side, side)
    picture[..., middle - 8 : middle + 8, middle - 8 : middle + 8] = torch.rand(1, 3, 16, 16)
    here, there = network(picture), network(picture.roll((period, period), (2, 3)))
    near = slice(middle - 24, middle + 24)
    moved = slice(middle - 24 + period, middle + 24 + period)
    assert here[..., near, near].std() > 0
    assert torch.allclose(here[..., near, near], there[..., moved, moved], atol=1e-4, rtol=1e-4)
