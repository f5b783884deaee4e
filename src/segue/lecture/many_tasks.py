"""All that the lecture was about, of one picture."""

from __future__ import annotations

from PIL import Image

from segue.drawing import contact_sheet
from segue.engine.picture import draw
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import STREET, enlarged, found, toybox, whole_truth

HEADLINES = ("AP", "mAP", "mIoU", "PQ", "top1")
"""The first number of each task's metrics."""


def many_tasks() -> Page:
    """The page."""
    predicted, known = found(STREET), whole_truth(STREET)
    numbers: dict[str, float] = {}
    for task in toybox().tasks:
        for factory in task.metrics:
            metric = factory(predicted.categories)
            metric.update(predicted, known)
            numbers |= metric.compute()
    shown = {name: value for name, value in numbers.items() if name.split("/")[1] in HEADLINES}
    return Page(
        title="Summary: many computer-vision tasks",
        question="What has one look at a picture given us?",
        answer="A label, boxes, masks, the class of every pixel, a panoptic map, keypoints, sentences and meshes, all "
        "from one trunk. Each task has its own head, its own annotation and its own score; below they are those of "
        "one picture, which the network was not trained on. One picture says little: the model's card has the scores "
        "of a thousand.",
        figures=(Figure(everything(), "What each task draws."),),
        numbers=(
            Number("tasks of the bundled network", ", ".join(task.name for task in toybox().tasks)),
            Number("how many", len(toybox().tasks)),
            *(Number(f"`{name}` of this picture", value) for name, value in shown.items()),
        ),
        module="segue.engine.region_predictor",
        test="tests/engine/test_joint_predictor.py::test_the_truth_scores_1_in_every_task",
        try_it=TryIt(
            "segue data make toybox --train 1 --val 20 --seed 7 --out scenes && "
            "segue evaluate --model toybox --data scenes:val",
            "Change --seed: twenty other scenes. How far do the scores move?",
        ),
    )


def everything() -> Image.Image:
    """A picture for each task that draws over the picture."""
    image, large = enlarged(STREET, found(STREET))
    tasks = [task for task in toybox().tasks if task.draw is not None and task.carried(large)]
    return contact_sheet([draw(large, image, [task]) for task in tasks], 3, [task.name for task in tasks])
