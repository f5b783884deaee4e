"""What the caption head adds to the time of its network: 100 regions, each told in 15 words.

``ours`` is the network without the head, ``theirs`` the same network with it, so the ratio is what the head makes of
the time. Two sizes: the joint network for Toybox, small and on small pictures, where the head weighs most; and Mask
R-CNN with ResNet-50 on a picture of COCO's size, with the default head and as many words as DenseCap has.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch

from benchmarks.networks import CANDIDATES, CLASSES, clouds, random_network
from benchmarks.ops import canvas
from benchmarks.timing import Case
from segue.data.toybox.categories import TOYBOX
from segue.engine.recipe import read_recipe
from segue.engine.region_predictor import RegionPredictor
from segue.models.settings import NetworkSettings
from segue.structures import Categories, Scene
from segue.tasks import BOXES, CAPTIONS, tasks_named
from segue.tasks.captions import CaptionSettings

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "toybox.yaml"
TOYBOX_HEAD = CaptionSettings(channels=192, hidden=128, embedding=128, decoder="transformer")
"""As in recipes/toybox_all.yaml."""
REGIONS, REGIONS_QUICK = 100, 5
TOYBOX_WORDS, DENSECAP_WORDS, WORDS_QUICK = 60, 10_497, 20


def toybox(quick: bool) -> Case:
    settings, side = read_recipe(RECIPE).network, 64 if quick else 256
    settings = replace(settings, tasks={**settings.tasks, CAPTIONS.name: TOYBOX_HEAD})
    return case(settings, TOYBOX, (side, side), TOYBOX_WORDS, quick, "toybox recipe")


def coco(quick: bool) -> Case:
    if quick:
        return toybox(quick)  # the same code, and it takes long enough
    settings = NetworkSettings(tasks={"boxes": {}, "masks": {}, "captions": {}})
    return case(settings, CLASSES, canvas(quick), DENSECAP_WORDS, quick, "Mask R-CNN R50-FPN")


def case(
    settings: NetworkSettings, classes: Categories, size: tuple[int, int], words: int, quick: bool, name: str
) -> Case:
    """The network with and without its caption head, on a picture in which it finds all the regions it may."""
    regions = REGIONS_QUICK if quick else REGIONS
    boxes = replace(settings.head(BOXES), detections=regions)
    captions: CaptionSettings = replace(settings.head(CAPTIONS), words=vocabulary(WORDS_QUICK if quick else words))
    settings = replace(settings, tasks={**settings.tasks, BOXES.name: boxes, CAPTIONS.name: captions})
    tasks, picture = tasks_named(list(settings.tasks)), clouds(size)
    network = random_network(settings, classes, picture, 50 if quick else CANDIDATES, tasks)
    head: Any = network.heads[CAPTIONS.name]
    with torch.no_grad():
        head.decoder.logits.bias[head.decoder.end] = -1e4  # no sentence ends early
    whole = RegionPredictor("", network.to(memory_format=torch.channels_last), classes, tasks)
    bare = whole.only([task.name for task in tasks if task is not CAPTIONS])
    text = f"{name}, {size[0]} × {size[1]}, {regions} regions, {captions.longest} words of {len(captions.words):,}"
    return Case(
        text,
        "itself with captions",
        lambda: bare.predict(picture, threshold=0.0),
        lambda: whole.predict(picture, threshold=0.0),
        told,
    )


def vocabulary(count: int) -> tuple[str, ...]:
    return tuple("".join(letters) for letters in islice(product(string.ascii_lowercase, repeat=3), count))


def told(bare: Scene, whole: Scene) -> str:
    """That both have the same regions, and how many words the one says of each."""
    assert bare.regions.captions is None
    assert whole.regions.captions is not None
    lengths = {len(caption.split()) for caption in whole.regions.captions}
    apart = float((bare.regions.boxes - whole.regions.boxes).abs().max())
    return f"{len(whole.regions)} regions told in {' or '.join(map(str, sorted(lengths)))} words, boxes {apart:.1e} px"


CASES: dict[str, Callable[[bool], Case]] = {"captions_cost_toybox": toybox, "captions_cost": coco}
"""By name: called with ``quick``, it makes the network and the two sides."""
