"""How semantic maps are scored."""

from __future__ import annotations

import torch
from PIL import Image

from segue.drawing import contact_sheet, draw_semantic, plot_confusion
from segue.drawing.grids import draw_grid
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import STREET, enlarged, found, truth
from segue.metrics.semantic import SemanticScores, confusion, iou

TRUTH = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
GUESS = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1]])


def semantic_scores() -> Page:
    """The page."""
    scores = SemanticScores(truth(STREET).categories)
    scores.update(found(STREET), truth(STREET))
    numbers = scores.compute()
    counts = confusion(GUESS, TRUTH, 2)
    small = contact_sheet(
        [draw_grid(m.float(), 48) for m in (TRUTH, GUESS, counts[:, :2])],
        3,
        [
            "annotation",
            "prediction",
            "pairs",
        ],
    )
    square = scores.counts[:, :-1]
    seen = (square.sum(0) > 0) | (square.sum(1) > 0)
    names = [category.name for category, is_seen in zip(scores.categories, seen.tolist(), strict=True) if is_seen]
    return Page(
        title="Scoring semantic segmentation",
        question="Each pixel has a label. When are two maps of labels alike?",
        answer="Count every pair of true and predicted class in a matrix. Accuracy is the share on its diagonal; it is "
        "high already where the grass is right. The IoU of a class is its hits over all pixels that either map gives "
        "it, and mIoU is the mean over the classes: a bottle counts as much as the sky. On a data set the counts of "
        "all pictures are added before any division.",
        figures=(
            Figure(small, "Twelve pixels of two classes: class 0 has 7 hits, one miss and two false ones."),
            Figure(maps(), "The annotation and what the bundled network says."),
            Figure(plot_confusion(square[seen][:, seen], names), "The network's matrix for this one picture."),
        ),
        numbers=(
            Number("of the twelve pixels: accuracy, 9 of 12", float(counts.diagonal().sum() / counts.sum())),
            Number("IoU of class 0, 7 of 10", float(iou(counts)[0])),
            Number("IoU of class 1, 2 of 5", float(iou(counts)[1])),
            Number("mIoU", float(iou(counts).mean())),
            Number("of the picture: accuracy", numbers["semantic/accuracy"]),
            Number("mean accuracy of the classes", numbers["semantic/class_accuracy"]),
            Number("mIoU of the picture", numbers["semantic/mIoU"]),
            Number("IoU weighted by pixels", numbers["semantic/fwIoU"]),
        ),
        module="segue.metrics.semantic",
        test="tests/metrics/test_semantic_metrics.py::test_by_hand",
        try_it=TryIt(
            'python -c "import torch; from segue.metrics.semantic import confusion, iou; '
            'print(iou(confusion(torch.zeros(10).long(), torch.tensor([0] * 9 + [1]), 2)))"',
            "Nine pixels of ten are right when everything is called class 0, and the mean IoU is below a half.",
        ),
    )


def maps() -> Image.Image:
    """Annotation and prediction."""
    pictures = []
    for scene in (truth(STREET), found(STREET)):
        image, large = enlarged(STREET, scene)
        assert large.semantic is not None
        pictures.append(draw_semantic(image, large.semantic, large.categories))
    return contact_sheet(pictures, 2, ["annotation", "prediction"])
