"""Average precision and recall as COCO defines them (cocoapi, ``cocoeval.py``), computed by hotcoco.

Detections of each class are matched greedily, best score first, at the IoU thresholds .50:.05:.95; precision is made
monotone and sampled at 101 recalls. Numbers equal pycocotools to the last digit.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from hotcoco import COCO, COCOeval, Params, StreamingEval
from numpy.typing import NDArray
from torch import Tensor

from segue.data.check import load_json
from segue.data.results import checked_results
from segue.data.rle import encode_masks, segmentation_runs
from segue.errors import DataError, UsageError
from segue.metrics.checks import check_classes, check_predictions, masks_of
from segue.structures import Categories, Regions, Scene

Kind = Literal["bbox", "segm", "keypoints"]
Group = Literal["boxes", "masks"]

GROUPS = {"bbox": "boxes", "segm": "masks", "keypoints": "keypoints"}
KINDS: dict[str, Kind] = {group: kind for kind, group in GROUPS.items()}  # type: ignore[misc]
SIZES = {"all": "", "small": "s", "medium": "m", "large": "l"}  # below 32 * 32 pixels, below 96 * 96, above


class CocoAP:
    """AP and AR of boxes or masks, one picture at a time. Each picture is matched at once; only scores are kept.

    `compute` gives, for group "boxes": ``boxes/AP`` (mean over IoU .50:.05:.95), ``AP50``, ``AP75``, ``APs``, ``APm``,
    ``APl``, ``AR1``, ``AR10``, ``AR100`` (as many as ``max_detections`` has), ``ARs``, ``ARm``, ``ARl``. What no
    annotation defines is left out: ``APs`` where no object is small, everything where there is no object at all.
    Equal scores rank in the order of pictures; pycocotools takes pictures by rising id.

    Args:
        categories: of truth and predictions alike.
        group: what to compare.
        max_detections: detections per picture and class that count, rising; AP uses the last. COCO's 100 is too few
            for pictures with hundreds of objects of a class; published COCO numbers need it.
    """

    def __init__(
        self, categories: Categories, group: Group = "boxes", max_detections: Sequence[int] = (1, 10, 100)
    ) -> None:
        if not max_detections or any(b <= a for a, b in zip((0, *max_detections), max_detections, strict=False)):
            raise UsageError(f"max_detections {tuple(max_detections)} must be positive and rise")
        self.categories, self.group = categories, group
        params = Params(KINDS[group])
        params.max_dets = list(max_detections)
        rows = [{"id": category.id, "name": category.name} for category in categories]
        self._stream = StreamingEval(rows, KINDS[group], params=params)
        self._images = 0
        self._annotations = 0

    def update(self, predicted: Scene, truth: Scene) -> None:
        """Count one picture.

        Raises:
            DataError: scores or boxes that are missing or not finite; no masks where masks are compared; other classes.
        """
        for scene in (predicted, truth):
            check_classes(scene, self.categories)
        check_predictions(predicted)
        self._images += 1
        h, w = truth.size
        annotated = list(self._records(truth))
        for number, (record, area) in enumerate(zip(annotated, object_areas(truth.regions).tolist(), strict=True)):
            record |= {"id": self._annotations + number + 1, "area": area}  # COCOeval takes id 0 for "no match"
        self._annotations += len(annotated)
        image = {"id": self._images, "width": w, "height": h}
        self._stream.update([image], annotated, list(self._records(predicted)))

    def compute(self) -> dict[str, float]:
        """The numbers so far."""
        return summarize(copy.copy(self._stream).finalize(), self.group)  # a finalised stream takes no more pictures

    def _records(self, scene: Scene) -> Iterator[dict[str, Any]]:
        """COCO's annotation or result for each region."""
        regions = scene.regions
        columns: dict[str, list[Any]] = {
            "category_id": [self.categories[label].id for label in regions.labels.tolist()],
            "iscrowd": [0] * len(regions) if regions.crowd is None else regions.crowd.long().tolist(),
        }
        if regions.scores is not None:
            columns["score"] = regions.scores.tolist()
        if self.group == "boxes":
            columns["bbox"] = xywh(regions.boxes).tolist()
        else:
            columns["segmentation"] = encode_masks(masks_of(scene))
        for values in zip(*columns.values(), strict=True):
            yield {"image_id": self._images, **dict(zip(columns, values, strict=True))}


def evaluate_coco_json(
    truth: Path, results: Path, kind: Kind, max_detections: Sequence[int] | None = None
) -> dict[str, float]:
    """Score a COCO results file against a COCO annotation file, both as they are.

    Args:
        truth: annotations (``images``, ``categories``, ``annotations``).
        results: a list of ``image_id``, ``category_id``, ``score`` and ``bbox``, ``segmentation`` or ``keypoints``.
        kind: what to compare.
        max_detections: as of `CocoAP`; None means COCO's 1, 10, 100, or 20 for keypoints.

    Returns:
        The names of `CocoAP.compute`; for keypoints ``AP``, ``AP50``, ``AP75``, ``APm``, ``APl``, and the same of AR.

    Raises:
        DataError: a file that is not of its format, numbers that are not finite, unknown pictures or classes.
    """
    content = load_json(truth)
    rows = checked_results(load_json(results), results)
    try:
        images = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        known = {category["id"] for category in content["categories"]}
        annotations = [{**row, "id": number} for number, row in enumerate(content["annotations"], start=1)]
    except (KeyError, TypeError):
        raise DataError(
            "not a COCO annotation file", where=truth, cure="give images, categories, annotations"
        ) from None
    _check_results(rows, kind, images, known, results)
    try:
        coco = COCO({**content, "annotations": annotations})
        evaluation = COCOeval(coco, coco.load_res(rows), kind)
        if max_detections is not None:
            evaluation.params.max_dets = list(max_detections)
        evaluation.evaluate()
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot be evaluated: {error}", where=results, cure="check both files") from None
    return summarize(evaluation, GROUPS[kind])


def summarize(evaluation: COCOeval, group: str) -> dict[str, float]:
    """COCO's summary of a finished evaluation by ``group/name``, without what no annotation defines.

    AP is taken at the last of ``max_dets``, whatever it is; pycocotools insists on 100 there.
    """
    evaluation.accumulate()
    params = evaluation.params
    curves = evaluation.eval or {}
    precision = curves["precision"][..., -1]  # (T, R, K, A): IoU thresholds, recalls, classes, sizes
    recall = curves["recall"]  # (T, K, A, M)
    sizes = [SIZES[label] for label in params.area_rng_lbl]
    halves = {"50": [0], "75": [5]}  # IoU .50 and .75 among .50:.05:.95
    values = {f"AP{suffix}": precision[..., a] for a, suffix in enumerate(sizes)}
    values |= {f"AP{suffix}": precision[t, ..., 0] for suffix, t in halves.items()}
    values |= {f"AR{suffix}": recall[..., a, -1] for a, suffix in enumerate(sizes) if suffix or group == "keypoints"}
    if group == "keypoints":
        values |= {f"AR{suffix}": recall[t, :, 0, -1] for suffix, t in halves.items()}
    else:
        values |= {f"AR{limit}": recall[..., 0, m] for m, limit in enumerate(params.max_dets)}
    means = {f"{group}/{name}": _mean(value) for name, value in values.items()}
    return {name: mean for name, mean in means.items() if mean is not None}


def object_areas(regions: Regions) -> Tensor:
    """(N,) float64 pixels: as annotated, else of the masks, else of the boxes. COCO sorts objects into sizes by it."""
    if regions.areas is not None:
        return regions.areas.double()
    if regions.masks is not None:
        return regions.masks.area.double()
    return xywh(regions.boxes)[:, 2:].prod(1)


def xywh(boxes: Tensor) -> Tensor:
    """(N, 4) xyxy -> (N, 4) float64 x, y, width, height, to 1/1000 of a pixel.

    Annotated boxes have two decimals; as float32 corners they do not, and an IoU of exactly .5 would be missed.
    """
    boxes = boxes.double()
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)


def _mean(values: NDArray[np.float64]) -> float | None:
    """The mean of what is defined; COCOeval writes -1 elsewhere."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def _check_results(
    rows: list[dict[str, Any]], kind: Kind, images: dict[Any, tuple[int, int]], known: set[Any], path: Path
) -> None:
    key = {"segm": "segmentation"}.get(kind, kind)
    for number, row in enumerate(rows):
        where = f"{path}, result {number}"
        if row["image_id"] not in images:
            raise DataError(f"image_id {row['image_id']} is not in the annotations", where=where, cure="remove it")
        if row["category_id"] not in known:
            raise DataError(
                f"category_id {row['category_id']} is not in the annotations", where=where, cure="remove it"
            )
        if key not in row:
            raise DataError(f"no {key}", where=where, cure=f"{kind} results need it")
        if kind == "segm":
            _check_segmentation(row[key], images[row["image_id"]], where)


def _check_segmentation(segmentation: object, size: tuple[int, int], where: str) -> None:
    try:
        segmentation_runs(segmentation, size)
    except DataError as error:
        raise DataError(error.what, where=where, cure=error.cure) from None
