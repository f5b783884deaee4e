"""Things and stuff in one map."""

from __future__ import annotations

import torch
from PIL import Image

from segue.drawing import contact_sheet, draw_masks, draw_panoptic, draw_semantic, object_colors
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import STREET, enlarged, found, truth
from segue.metrics.panoptic import PanopticQuality, panoptic_quality
from segue.structures import Scene


def panoptic_maps() -> Page:
    """The page."""
    scene = found(STREET)
    assert scene.panoptic is not None  # the bundled network has all three
    assert scene.segments is not None
    assert scene.semantic is not None
    quality = PanopticQuality(scene.categories)
    quality.update(scene, truth(STREET))
    numbers = quality.compute()
    by_hand = panoptic_quality(torch.tensor([[0.8 + 0.6, 2.0, 1.0, 1.0]], dtype=torch.float64))[0]
    things = torch.tensor([scene.categories[label].isthing for label in scene.segments.labels.tolist()])
    return Page(
        title="Beyond instance segmentation: panoptic segmentation",
        question="Instances leave out the stuff, classes merge the things. Can one map have both?",
        answer="Label every pixel with a class, and where the class is a thing, also with which object. Here the map "
        "follows from the two heads that are there already: objects take their pixels, the surest first, and what is "
        "left goes to the stuff classes; objects that are nearly hidden and stuff that is tiny are dropped. Panoptic "
        "quality takes pairs of segments with an IoU above a half: SQ is their mean IoU, RQ the F1 score of finding "
        "them, and PQ of a class is their product.",
        figures=(Figure(pictures(scene), "The heads' outputs, the merged map, and the annotation."),),
        numbers=(
            Number("things among the segments", int(things.sum())),
            Number("stuff among the segments", int((~things).sum())),
            Number("share of the pixels in a segment", float((scene.panoptic > 0).float().mean())),
            Number("matches of .8 and .6, one FP, one FN: SQ", float(by_hand[1])),
            Number("RQ, 2 of 3", float(by_hand[2])),
            Number("PQ, their product", float(by_hand[0])),
            Number("of this picture: PQ", numbers["panoptic/PQ"]),
            Number("SQ of this picture", numbers["panoptic/SQ"]),
            Number("RQ of this picture", numbers["panoptic/RQ"]),
        ),
        module="segue.ops.panoptic",
        test="tests/metrics/test_panoptic_quality.py::test_qualities_of_a_class",
        try_it=TryIt(
            'python -c "import torch; from segue.metrics.panoptic import panoptic_quality; '
            'print(panoptic_quality(torch.tensor([[1.4, 2, 1, 1]])))"',
            "Sum of the IoUs, matches, false positives, misses. One more miss costs RQ and leaves SQ as it is.",
        ),
    )


def pictures(scene: Scene) -> Image.Image:
    """Instances, classes, the merged map, the truth."""
    image, large = enlarged(STREET, scene)
    masks, semantic = large.regions.masks, large.semantic
    assert masks is not None
    assert semantic is not None
    shown = [draw_masks(image, masks, object_colors(large)), draw_semantic(image, semantic, large.categories)]
    for each in (scene, truth(STREET)):
        under, own = enlarged(STREET, each)
        assert own.panoptic is not None
        assert own.segments is not None
        shown.append(draw_panoptic(under, own.panoptic, own.segments, own.categories))
    return contact_sheet(shown, 2, ["instances: things", "classes: both, merged", "panoptic", "panoptic, annotated"])
