"""Scores for all pixels at once, and their loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.images import to_pil
from segue.drawing import contact_sheet, draw_semantic, plot_curves
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import PAIR, blown_up, pixels, truth
from segue.nn.dense.plain import Plain, PlainSettings
from segue.structures import Categories

STEPS, LAYERS, WIDTH, COARSER = 40, 4, 16, 4


def fully_convolutional() -> Page:
    """The page."""
    scene = truth(PAIR)
    categories = scene.categories
    assert scene.semantic is not None  # Toybox knows the class of every pixel
    labels = scene.semantic[::COARSER, ::COARSER].long()
    picture = pixels(PAIR)[:, ::COARSER, ::COARSER]
    x = (picture[None].float() - 127.5) / 64
    network, losses, before = trained(x, labels, categories)
    with torch.no_grad():
        scores = network(x)
        larger = network(F.interpolate(x, scale_factor=2))
    found = scores.argmax(1)[0]
    by_hand = -scores[0].log_softmax(0).gather(0, labels[None]).mean()
    image = to_pil(picture)
    shown = [image, *(draw_semantic(image, m, categories, 0.85, outline=0) for m in (before, found, labels))]
    titles = ["picture", "before training", f"after {STEPS} steps", "annotation"]
    return Page(
        title="Semantic segmentation with a fully convolutional network",
        question="Can one network make the predictions for all pixels at once?",
        answer="Stack convolutions that keep the resolution, and let the last one give a channel for each class: "
        "pictures 3 x H x W in, scores C x H x W out, and the best class of each pixel is a map H x W. The loss is the "
        "cross-entropy of every pixel, averaged. As there is nothing but convolutions, the same weights take a "
        "picture of any size. Here a plain stack learns one small picture by heart.",
        figures=(
            Figure(contact_sheet([blown_up(i, 256) for i in shown], 4, titles), "What the network says of its pixels."),
            Figure(
                plot_curves(
                    {"loss": list(enumerate(losses))}, x_label="step", y_label="cross-entropy", size=(640, 320)
                ),
                "The loss over the steps.",
            ),
        ),
        numbers=(
            Number("picture", shape(x)),
            Number("scores", shape(scores)),
            Number("scores of a picture twice as large, same weights", shape(larger)),
            Number("map of the best classes", shape(found[None])),
            Number("loss of equal scores, computed", float(F.cross_entropy(torch.zeros_like(scores), labels[None]))),
            Number("loss of equal scores, the logarithm of the classes", math.log(len(categories))),
            Number("loss at the first step", losses[0]),
            Number("loss at the last step", losses[-1]),
            Number(
                "difference from the mean over pixels written out",
                abs(float(by_hand) - float(F.cross_entropy(scores, labels[None]))),
            ),
            Number("share of the pixels that are right at the end", float((found == labels).float().mean())),
        ),
        module="segue.nn.dense.plain",
        test="tests/nn/test_upsamplers.py::test_plain_has_the_layers_it_says_and_keeps_any_size",
        try_it=TryIt(
            'python -c "import torch; from segue.nn.dense.plain import Plain, PlainSettings; '
            'print(Plain(19, PlainSettings(layers=4, width=16)).eval()(torch.zeros(1, 3, 48, 80)).shape)"',
            "Change 48 x 80 to any size: the scores have it, too.",
        ),
    )


def trained(x: Tensor, labels: Tensor, categories: Categories) -> tuple[nn.Module, list[float], Tensor]:
    """A network after some steps on one picture, the loss of each step, and the map before the first."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Plain(len(categories), PlainSettings(LAYERS, WIDTH))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    losses, before = [], torch.zeros_like(labels)
    for step in range(STEPS):
        scores = network(x)
        before = scores[0].argmax(0).detach() if step == 0 else before
        loss = F.cross_entropy(scores, labels[None])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    return network.eval(), losses, before


def shape(values: Tensor) -> str:
    """Without the batch, as the slides write it."""
    return " x ".join(str(side) for side in values.shape[1:])
