"""One picture, four outputs."""

from __future__ import annotations

from PIL import Image, ImageDraw

from segue.drawing import contact_sheet, draw_boxes, draw_masks, draw_semantic, object_colors, region_labels
from segue.drawing.text import font
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import STREET, enlarged, found, truth
from segue.structures import Scene


def four_tasks() -> Page:
    """The page."""
    scene = found(STREET)
    masks, semantic = scene.regions.masks, scene.semantic
    assert masks is not None  # the bundled network has both tasks
    assert semantic is not None
    return Page(
        title="Four tasks",
        question="What can be said of one picture?",
        answer="Classification: one label, nothing about where. Semantic segmentation: a class for every pixel, but no "
        "objects. Detection: a box, a class and a score for every object. Instance segmentation: for every object its "
        "pixels as well. Here the bundled network `toybox` answers all four of a picture that it was not trained on.",
        figures=(Figure(four_pictures(scene), "The same picture, and what each task says of it."),),
        numbers=(
            Number("label of the picture", main_label(scene)),
            Number("label as annotated", truth(STREET).label or ""),
            Number("classes among the pixels", len(set(semantic.flatten().tolist()))),
            Number("boxes", len(scene.regions)),
            Number("objects as annotated", len(truth(STREET).regions)),
            Number("share of the pixels that belong to an object", float(masks.dense().any(0).float().mean())),
        ),
        module="segue.tasks",
        test="tests/engine/test_joint_predictor.py::test_one_pass_fills_everything",
        try_it=TryIt(
            "segue data make toybox --train 1 --val 1 --seed 7 --out scenes && "
            "segue predict scenes/images/val --model toybox --tasks boxes,masks --out found",
            "Leave masks out of --tasks, or add semantic, and look at the overlay in found/.",
        ),
    )


def main_label(scene: Scene) -> str:
    """The label of the picture; where the network gives none, the class of the largest object that it found."""
    masks = scene.regions.masks
    if scene.label is not None or masks is None or not len(masks):
        return scene.label or "nothing"
    return scene.categories[int(scene.regions.labels[masks.area.argmax()])].name


def four_pictures(scene: Scene) -> Image.Image:
    """A picture for each task."""
    image, large = enlarged(STREET, scene)
    masks, semantic = large.regions.masks, large.semantic
    assert masks is not None
    assert semantic is not None
    labelled, colors = image.copy(), object_colors(large)
    text = ImageDraw.Draw(labelled)
    text.text((16, 12), main_label(scene), fill="white", font=font(44), stroke_width=3, stroke_fill="black")
    pictures = [
        labelled,
        draw_semantic(image, semantic, large.categories),
        draw_boxes(image, large.regions.boxes, colors, region_labels(large)),
        draw_masks(image, masks, colors),
    ]
    return contact_sheet(
        pictures, 2, ["classification", "semantic segmentation", "object detection", "instance segmentation"]
    )
