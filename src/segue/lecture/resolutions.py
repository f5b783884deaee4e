"""Down and up again inside the network."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor, nn

from segue.drawing import contact_sheet, draw_confidence
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import PAIR, pixels
from segue.models.analysis import cost
from segue.nn.dense.encoder_decoder import EncoderDecoder, EncoderDecoderSettings

CLASSES, DEPTH, WIDTH = 19, 2, 16


def resolutions() -> Page:
    """The page."""
    network, picture = encoder_decoder(), pixels(PAIR)
    maps = stage_maps(network, (picture[None].float() - 127.5) / 64)
    spent = cost(network, (picture.shape[1], picture.shape[2]))
    sides = [m.shape[-1] for m in maps]
    return Page(
        title="Downsampling and upsampling inside the network",
        question="How can a network see far and still say something about every pixel?",
        answer="Go down: poolings or strided convolutions make the maps smaller, so that a convolution sees further "
        "and costs less. Then go up again to the resolution of the picture. High, medium, low, medium, high. What the "
        "way up consists of is the question of the next pages.",
        figures=(
            Figure(
                contact_sheet([gray(m) for m in maps], len(maps), [f"{s} x {s}" for s in sides]),
                "Mean magnitude of each stage's channels, at its own resolution; weights are random.",
            ),
        ),
        numbers=(
            Number("sides of the maps", ", ".join(str(s) for s in sides)),
            Number("channels of the maps", ", ".join(str(m.shape[1]) for m in maps)),
            *(
                Number(f"million multiply-adds at stride {stage.stride}", stage.multiply_adds / 1e6)
                for stage in spent.stages
            ),
            Number("scores", " x ".join(str(n) for n in network(torch.zeros(1, 3, 64, 64)).shape[1:])),
        ),
        module="segue.nn.dense.encoder_decoder",
        test="tests/nn/test_upsamplers.py::test_encoder_decoder_sees_far_more_than_plain",
        try_it=TryIt(
            'python -c "from segue import cost; '
            "from segue.nn.dense.encoder_decoder import EncoderDecoder, EncoderDecoderSettings as S; "
            "print(cost(EncoderDecoder(19, S('bilinear', depth=3, width=16)), (256, 256)))\"",
            "Change depth: each further halving adds a stride whose channels double and whose pixels are a fourth.",
        ),
    )


def encoder_decoder() -> EncoderDecoder:
    """With random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = EncoderDecoderSettings("bilinear", DEPTH, WIDTH, convolutions=1)
        return EncoderDecoder(CLASSES, settings).eval().requires_grad_(False)


def stage_maps(network: EncoderDecoder, x: Tensor) -> list[Tensor]:
    """What each stage puts out, in order."""
    maps: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        maps.append(output)

    hooks = [stage.register_forward_hook(keep) for stage in (*network.encode, network.middle, *network.decode)]
    network(x)
    for hook in hooks:
        hook.remove()
    return maps


def gray(values: Tensor) -> Image.Image:
    """Mean over the channels, from least to most."""
    plane = values[0].abs().mean(0)
    return draw_confidence((plane - plane.min()) / (plane.max() - plane.min()))
