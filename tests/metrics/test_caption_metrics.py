from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pytest
import torch

from benchmarks.captions import CLASSES, pictures, plain
from segue.errors import DataError
from segue.metrics.captions import (
    IOU_THRESHOLDS,
    METEOR_THRESHOLDS,
    CaptionAP,
    assign,
    average_precision,
    merge_places,
    sentence_boxes,
)
from segue.metrics.meteor import Meteor
from segue.structures import Regions, Scene

Box = tuple[float, float, float, float]

LEFT: Box = (0, 0, 100, 100)
RIGHT: Box = (200, 0, 300, 100)
AWAY: Box = (400, 300, 440, 340)
MUG, CAR = "a red mug", "the large blue cars"


def scores(metric: CaptionAP) -> dict[str, float]:
    """The numbers without those that say which words METEOR matches."""
    return {name: value for name, value in metric.compute().items() if "_has_" not in name}


def test_the_result_says_how_words_are_matched() -> None:
    metric = CaptionAP(CLASSES)
    metric.update(scene([LEFT], [MUG], [0.8]), scene([LEFT], [MUG]))
    said = {name: value for name, value in metric.compute().items() if "_has_" in name}
    assert said == {"captions/METEOR_has_synonym": 0, "captions/METEOR_has_paraphrase": 0}


def scene(boxes: Sequence[Box], captions: list[str] | None, scores: Sequence[float] | None = None) -> Scene:
    regions = Regions(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.zeros(len(boxes), dtype=torch.int64),
        None if scores is None else torch.tensor(scores, dtype=torch.float32),
        captions=captions,
    )
    return Scene((400, 500), CLASSES, regions, file="a.png")


def table(predicted: Scene, truth: Scene, meteor: Meteor | None = None, published: bool = False) -> torch.Tensor:
    metric = CaptionAP(CLASSES, meteor, published)
    metric.update(predicted, truth)
    return metric.average_precisions()


class Always(Meteor):
    """The same score for everything."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def scores(self, pairs: Iterable[tuple[str, Sequence[str]]]) -> list[float]:
        return [self.value for _ in pairs]


def shifted(*offsets: float) -> torch.Tensor:
    """Squares of 100 pixels; those 15 apart have an IoU of .74, those 30 apart one of .54."""
    return torch.tensor([[x, 0, x + 100, 100] for x in offsets])


def test_perfect_captions_score_one() -> None:
    metric = CaptionAP(CLASSES)
    metric.update(scene([LEFT, RIGHT], [MUG, CAR], [0.4, 0.6]), scene([RIGHT, LEFT], [CAR, MUG]))
    assert scores(metric) == {"captions/mAP": 1, "captions/METEOR": 1, "captions/detmAP": 1}


def test_box_with_most_neighbours_takes_them_all() -> None:
    boxes, references = merge_places(shifted(0, 15, 30), ["a", "b", "c"])
    assert references == [["a", "b", "c"]]
    assert boxes.tolist() == [[15, 0, 115, 100]]


def test_first_of_equals_takes_its_neighbours_and_leaves_the_rest() -> None:
    boxes, references = merge_places(shifted(0, 15, 30, 45), ["a", "b", "c", "d"])
    assert references == [["a", "b", "c"], ["d"]]
    assert boxes.tolist() == [[15, 0, 115, 100], [45, 0, 145, 100]]


def test_larger_groups_come_first() -> None:
    _, references = merge_places(shifted(300, 0, 5), ["alone", "a", "b"])
    assert references == [["a", "b"], ["alone"]]


def test_boxes_merge_from_seven_tenths() -> None:
    boxes = torch.tensor([[0.0, 0, 100, 10], [0, 0, 70, 10], [0, 0, 69, 10]], dtype=torch.float64)
    assert merge_places(boxes[:2], ["a", "b"])[1] == [["a", "b"]]
    assert merge_places(boxes[[0, 2]], ["a", "b"])[1] == [["a"], ["b"]]


def test_box_without_area_is_still_a_place() -> None:
    assert merge_places(torch.zeros(1, 4), ["a"])[1] == [["a"]]


def test_lines_are_sentences_of_one_place() -> None:
    truth = scene([LEFT, RIGHT, AWAY], [f"{MUG}\n\nsomething round\n", "", CAR])
    boxes, sentences = sentence_boxes(truth)
    assert sentences == [MUG, "something round", CAR]
    assert boxes.tolist() == [list(LEFT), list(LEFT), list(AWAY)]
    assert merge_places(boxes, sentences)[1] == [[MUG, "something round"], [CAR]]
    assert table(scene([AWAY, LEFT], [CAR, "something round"], [0.9, 0.8]), truth).eq(1).all()  # "" is not to be found


def test_overlap_is_that_of_inclusive_pixels() -> None:
    # Pixels 10..19 and 15..24: the released code finds 19 - 15 + 1 = 5 shared columns of 15.
    overlap, place, _ = assign(torch.tensor([[10.0, 10, 20, 20]]), torch.tensor([[15.0, 10, 25, 20]]))
    assert overlap.item() == pytest.approx(1 / 3)
    assert place.item() == 0


def test_what_overlaps_nothing_has_no_place() -> None:
    for published in (False, True):
        overlap, place, free = assign(torch.tensor([AWAY, LEFT]), torch.tensor([RIGHT, LEFT]), published)
        assert overlap.tolist() == [0, 1]
        assert place.tolist() == [-1, 1]
        assert free.tolist() == [False, not published]


def test_first_of_equal_overlaps_is_taken() -> None:
    _, place, free = assign(torch.tensor([LEFT, LEFT]), torch.tensor([LEFT, LEFT]))
    assert place.tolist() == [0, 0]
    assert free.tolist() == [True, False]


def test_surest_takes_its_place_however_little_it_overlaps() -> None:
    poor: Box = (90, 0, 190, 100)
    truth = scene([LEFT], [MUG])
    assert table(scene([poor, LEFT], [MUG, MUG], [0.9, 0.8]), truth).eq(0).all()
    assert table(scene([poor, LEFT], [MUG, MUG], [0.8, 0.9]), truth).eq(1).all()


def test_iou_may_equal_its_threshold() -> None:
    half: Box = (0, 0, 50, 100)
    ap = table(scene([half], [MUG], [0.5]), scene([LEFT], [MUG]))
    assert ap[:, 0].tolist() == [float(t <= 0.5) for t in IOU_THRESHOLDS]


@pytest.mark.parametrize("value", [0.0, 0.05, 0.15, 0.25])
def test_meteor_must_exceed_its_threshold(value: float) -> None:
    ap = table(scene([LEFT], ["x"], [0.5]), scene([LEFT], [MUG]), Always(value))
    assert ap[0].tolist() == [1, *(float(value > limit) for limit in METEOR_THRESHOLDS)]


def test_wrong_sentence_is_still_a_detection() -> None:
    metric = CaptionAP(CLASSES)
    metric.update(scene([LEFT, RIGHT], ["", "cone"], [0.5, 0.4]), scene([LEFT, RIGHT], [MUG, CAR]))
    assert scores(metric) == {"captions/mAP": 0, "captions/METEOR": 0, "captions/detmAP": 1}


def two_pictures(published: bool) -> CaptionAP:
    """The surest of two detections is wrong: recall 0 with precision 0, then 1/2 with 1/2."""
    metric = CaptionAP(CLASSES, published=published)
    metric.update(scene([LEFT], [MUG], [0.8]), scene([LEFT], [MUG]))
    metric.update(scene([AWAY], [CAR], [0.9]), scene([RIGHT], [CAR]))
    return metric


def test_records_of_all_pictures_are_pooled() -> None:
    assert two_pictures(False).average_precisions() == pytest.approx(torch.full((5, 7), 51 * 0.5 / 101))
    assert two_pictures(False).compute()["captions/METEOR"] == 0.5  # what overlaps nothing has a METEOR of 0


def test_published_recalls_add_up_hundredths() -> None:
    # Half a hundred of them is a little more than 1/2, and the last is not 1.
    assert two_pictures(True).average_precisions() == pytest.approx(torch.full((5, 7), 50 * 0.5 / 100))


def test_published_code_lets_detections_of_nothing_take_the_last_place() -> None:
    truth = scene([LEFT, RIGHT, RIGHT], [MUG, CAR, CAR])  # the merged place is the first one
    predicted = scene([AWAY, RIGHT, LEFT], [MUG, CAR, MUG], [0.9, 0.8, 0.7])
    best = 2 / 3  # right, wrong or right, of three
    assert table(predicted, truth) == pytest.approx(torch.full((5, 7), best))
    assert table(predicted, truth, published=True) == pytest.approx(torch.full((5, 7), 50 * 0.5 / 100))


@pytest.mark.parametrize("published", [False, True])
def test_picture_without_truth_gives_false_positives(published: bool) -> None:
    metric = CaptionAP(CLASSES, published=published)
    metric.update(scene([AWAY], [MUG], [0.9]), scene([], []))
    assert metric.compute() == {}
    metric.update(scene([LEFT], [MUG], [0.8]), scene([LEFT], [MUG]))
    assert scores(metric) == pytest.approx({"captions/mAP": 0.5, "captions/METEOR": 0.5, "captions/detmAP": 0.5})


def test_picture_without_detections_leaves_its_places_unfound() -> None:
    metric = CaptionAP(CLASSES)
    metric.update(scene([], None), scene([LEFT], [MUG]))
    assert scores(metric) == {"captions/mAP": 0, "captions/METEOR": 0, "captions/detmAP": 0}


def test_picture_without_any_caption_is_left_out() -> None:
    metric = CaptionAP(CLASSES)
    metric.update(scene([LEFT], [MUG], [0.9]), scene([LEFT], None))
    metric.update(scene([LEFT], [MUG], [0.8]), scene([LEFT], [MUG]))
    assert metric.compute()["captions/mAP"] == 1


def test_average_precision_by_hand() -> None:
    # Right, wrong, right of 4: the best precision is 1 up to a recall of 1/4, 2/3 up to 1/2, then 0.
    assert average_precision(torch.tensor([True, False, True]), 4) == pytest.approx((26 * 1 + 25 * 2 / 3) / 101)
    assert average_precision(torch.zeros(0, dtype=torch.bool), 3) == 0


@pytest.mark.parametrize("seed", range(3))
def test_equals_plain_loops(seed: int) -> None:
    pairs = pictures(4 + seed, 20)
    metric = CaptionAP(CLASSES)
    for pair in pairs:
        metric.update(*pair)
    ap = metric.average_precisions()
    assert 0 < ap.mean() < 1
    assert ap == pytest.approx(plain(pairs), abs=1e-6)


def test_unusable_predictions() -> None:
    metric, truth = CaptionAP(CLASSES), scene([LEFT], [MUG])
    with pytest.raises(DataError, match="captions"):
        metric.update(scene([LEFT], None, [0.5]), truth)
    with pytest.raises(DataError, match="scores"):
        metric.update(scene([LEFT], [MUG]), truth)
    with pytest.raises(DataError, match="finite"):
        metric.update(scene([LEFT], [MUG], [math.nan]), truth)
