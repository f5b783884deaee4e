"""What can be told apart, and what cannot."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from segue.drawing import contact_sheet, draw_masks, draw_semantic
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import enlarged, truth
from segue.structures import Scene
from segue.structures.categories import distinct_color

CROWD = 2011
"""A scene with three people."""


def things_and_stuff() -> Page:
    """The page."""
    scene = truth(CROWD)
    categories, semantic, masks = scene.categories, scene.semantic, scene.regions.masks
    assert semantic is not None  # Toybox knows both
    assert masks is not None
    things = is_thing(scene)
    of_things = things[semantic.long()]
    person = categories.index("person")
    return Page(
        title="Things and stuff",
        question="Which categories have objects that can be counted?",
        answer="Things can be separated into objects: people, mugs, cars. Stuff cannot: sky, grass, water. Detection "
        "gives things only, one by one. Semantic segmentation gives both, but merges the objects of a class: its map "
        "has one label for all three people of this picture.",
        figures=(
            Figure(
                three_views(scene),
                "What detection is about, what semantic segmentation says of all pixels, and the stuff alone.",
            ),
        ),
        numbers=(
            Number("categories that are things", sum(category.isthing for category in categories)),
            Number("categories that are stuff", sum(not category.isthing for category in categories)),
            Number("people among the objects", int((scene.regions.labels == person).sum())),
            Number("labels that the semantic map has for them", len(set(semantic[semantic == person].tolist()))),
            Number("share of the pixels that is stuff", float((~of_things).float().mean())),
            Number("pixels in an object whose class is stuff", int((masks.dense().any(0) & ~of_things).sum())),
            Number("pixels of a thing class outside of all objects", int((~masks.dense().any(0) & of_things).sum())),
        ),
        module="segue.structures.categories",
        test="tests/data/test_toybox_scene.py::test_every_pixel_has_one_owner_and_boxes_are_tight",
        try_it=TryIt(
            'python -c "from segue.data.published_classes import COCO_PANOPTIC as c; '
            'print(sum(x.isthing for x in c), [x.name for x in c if not x.isthing])"',
            "The same question for COCO's panoptic categories.",
        ),
    )


def is_thing(scene: Scene) -> Tensor:
    """(K,) bool."""
    return torch.tensor([category.isthing for category in scene.categories])


def three_views(scene: Scene) -> Image.Image:
    """Objects, classes, stuff."""
    image, large = enlarged(CROWD, scene)
    semantic, masks = large.semantic, large.regions.masks
    assert semantic is not None
    assert masks is not None
    stuff = torch.where(is_thing(large)[semantic.long()], -1, semantic)
    pictures = [
        draw_masks(image, masks, [distinct_color(i) for i in range(len(masks))]),
        draw_semantic(image, semantic, large.categories),
        draw_semantic(image, stuff, large.categories),
    ]
    return contact_sheet(pictures, 3, ["objects: things", "classes: both, merged", "stuff"])
