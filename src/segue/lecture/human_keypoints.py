"""Human pose as one more head."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segue.data.images import to_pil
from segue.drawing import Example, contact_sheet, draw_keypoints, draw_masks, target_sheet
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import PAIR, enlarged, found, pixels, truth
from segue.ops import keypoint_targets
from segue.structures import Scene
from segue.structures.categories import distinct_color
from segue.tasks.keypoints import CELLS, DRAWN

SEVENTEEN = (
    "nose, left_eye, right_eye, left_ear, right_ear, left_shoulder, right_shoulder, left_elbow, right_elbow, "
    "left_wrist, right_wrist, left_hip, right_hip, left_knee, right_knee, left_ankle, right_ankle"
)
"""As on the slide, each side written out, in COCO's order."""


def human_keypoints() -> Page:
    """The page."""
    scene = people(truth(PAIR))
    points, boxes = scene.regions.keypoints, scene.regions.boxes
    assert points is not None  # Toybox's people have keypoints
    names = scene.categories[scene.categories.index("person")].keypoints
    cells, valid = keypoint_targets(points, boxes, CELLS)
    one_hot = F.one_hot(cells, CELLS**2).view(*cells.shape, CELLS, CELLS) * valid[..., None, None]
    flat = F.cross_entropy(torch.zeros(1, CELLS**2), cells[:1, 0])
    example = Example(to_pil(pixels(PAIR)), replace(scene, regions=scene.regions.with_field("masks", None)), boxes)
    return Page(
        title="Beyond instance segmentation: human keypoints",
        question="Where are the joints of each person?",
        answer="A person's pose is a set of named points, 17 in COCO. Mask R-CNN finds them with one more head: for "
        "each region K maps of 56 x 56, one for each keypoint, and of each map exactly one cell is right. So the loss "
        "a softmax over the 3,136 cells. In use, the point is where the map is highest, or where most of its "
        "probability is. Boxes, masks and pose come from the same look at the picture.",
        figures=(
            Figure(
                target_sheet([example], 2),
                "Training targets: the region, its joints (rings are hidden), and the cells that are on.",
            ),
            Figure(results(), "Instance segmentation and pose together, as the bundled network finds them."),
        ),
        numbers=(
            Number("keypoints of a person", len(names), 17),
            Number("their names", ", ".join(names), SEVENTEEN),
            Number("target of a keypoint", f"{one_hot.shape[2]} x {one_hot.shape[3]}", "56 x 56"),
            Number("cells that are on in each labelled map", int(one_hot[valid].sum() / valid.sum()), 1),
            Number("labelled keypoints in the two regions", int(valid.sum())),
            Number("loss of a map that knows nothing, computed", float(flat)),
            Number("loss of a map that knows nothing, the logarithm of 3,136", math.log(CELLS**2)),
            Number("farthest that the middle of a cell is from its keypoint, pixels", rounding(points, boxes)),
            Number("sides of a cell of the larger person, pixels", (boxes[:, 2:] - boxes[:, :2]).amax(0) / CELLS),
        ),
        module="segue.tasks.keypoints",
        test="tests/ops/test_keypoint_ops.py::test_targets_and_peaks_are_inverse_up_to_half_a_cell",
        try_it=TryIt(
            'python -c "import torch; from segue.ops import keypoint_targets; '
            'print(keypoint_targets(torch.tensor([[[30.0, 50, 2]]]), torch.tensor([[10.0, 20, 66, 132]]), 56))"',
            "The cell is row times 56 plus column: 20 columns and 15 rows into the region. Move the point out of the "
            "region and it is no target.",
        ),
    )


def people(scene: Scene) -> Scene:
    """With the people alone."""
    person = scene.categories.index("person")
    return replace(scene, regions=scene.regions.select(scene.regions.labels == person))


def rounding(points: Tensor, boxes: Tensor) -> float:
    """How far the centres of the cells are from the keypoints at most."""
    cells, valid = keypoint_targets(points, boxes, CELLS)
    place = torch.stack([cells % CELLS, cells // CELLS], dim=2) + 0.5
    back = boxes[:, None, :2] + place / CELLS * (boxes[:, 2:] - boxes[:, :2])[:, None]
    return float((back - points[..., :2]).norm(dim=2)[valid].max())


def results() -> Image.Image:
    """Masks, and skeletons over them."""
    image, large = enlarged(PAIR, people(found(PAIR)))
    masks, points = large.regions.masks, large.regions.keypoints
    assert masks is not None
    assert points is not None
    tinted = draw_masks(image, masks, [distinct_color(i) for i in range(len(masks))])
    shown = torch.cat([points[..., :2], (points[..., 2:] > DRAWN).float()], dim=2)
    own = [large.categories[label] for label in large.regions.labels.tolist()]
    hidden = torch.zeros(points.shape[:2], dtype=torch.bool)
    return contact_sheet([tinted, draw_keypoints(tinted, shown, hidden, own)], 2, ["masks", "masks and pose"])
