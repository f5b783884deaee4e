"""Data sets by name, and their statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from segue.data.check import Fault, Report, check_coco, picture_faults
from segue.data.coco import read_coco
from segue.data.coco_captions import is_captions, read_captions
from segue.data.joined import beside, is_beside, join_keypoints, join_panoptic, join_sentences, read_beside
from segue.data.label_sets import check_label_set, count_pixels, find_label_set, open_label_set
from segue.data.layout import locate, picture_folder, resolve, splits
from segue.data.mesh_join import check_mesh_list, is_mesh_list, join_meshes
from segue.data.picture_labels import check_labels, is_labels, join_labels
from segue.data.pix3d_set import is_pix3d, read_pix3d
from segue.data.records import Annotation, Dataset, Parser, Record
from segue.data.sentences import SentenceSet, check_sentence_set, open_sentence_set, refuse
from segue.data.shapenet import is_shapenet, read_shapenet
from segue.data.visual_genome import is_visual_genome, read_visual_genome
from segue.errors import DataError

__all__ = [
    "Annotation",
    "Dataset",
    "Parser",
    "Record",
    "check_dataset",
    "class_frequencies",
    "locate",
    "open_dataset",
    "statistics",
]

OWN_CAPTIONS = {"caption", "captions"}
"""Keys of annotations that carry sentences themselves."""

SAMPLED_MAPS = 300
"""So many label maps are read at most for the statistics."""


def open_dataset(
    reference: str,
    parsers: Mapping[str, Parser],
    images: str | None = None,
    need_images: bool = True,
    panoptic: bool = False,
    labels: bool = False,
) -> Dataset:
    """The data set that a reference means (see `locate`), checked, with the fields that ``parsers`` fill.

    It is a COCO instance, panoptic or caption file, Visual Genome's region descriptions (`segue.data.visual_genome`),
    Pix3D (`segue.data.pix3d`), renderings of ShapeNet (`segue.data.shapenet`), or a folder of label maps in one of the
    layouts of `segue.data.semantic_layouts`. Where keypoints are wanted and ``instances_SPLIT.json`` has none, those of
    ``person_keypoints_SPLIT.json`` beside it are joined to it; likewise captions, from ``visual_genome_SPLIT.json``,
    and meshes, from ``pix3d_SPLIT.json``.

    Args:
        reference: which one.
        parsers: by field of `Regions`.
        images: folder of the pictures, None to guess.
        need_images: without, the pictures themselves may be missing.
        panoptic: join ``panoptic_SPLIT.json`` beside an instance file to it, with its classes, if it is there.
        labels: join ``labels_SPLIT.json`` beside an instance file to it, if it is there (`segue.data.picture_labels`).

    Raises:
        DataError: it does not exist, or has fatal faults.
        ImageError: label maps whose pictures have no size.
    """
    told = find_sentences(reference, images, need_images)
    if told is not None:
        return open_sentence_set(told, reference, parsers)
    modelled = find_models(reference, parsers, images, need_images)
    if modelled is not None:
        refuse(modelled[1], resolve(reference)[0], reference)
        return modelled[0]
    found = find_label_set(reference, images, need_images)
    if found is not None:
        return open_label_set(found, reference, parsers, need_images)
    path, folder = locate(reference, images)
    dataset = read_coco(path, parsers, folder, name=reference, need_images=need_images)
    kinds = ("person_keypoints", "panoptic", "visual_genome", "pix3d", "labels")
    people, maps, sentences, meshes, words = (beside(path, kind) for kind in kinds)
    if people and "keypoints" in parsers and not any(category.keypoints for category in dataset.categories):
        dataset = join_keypoints(dataset, read_coco(people, {}, folder, need_images=False))
    if sentences and "captions" in parsers and not any(OWN_CAPTIONS & a.keys() for a in chain(*dataset.annotations)):
        dataset = join_sentences(dataset, sentences)
    if meshes and "meshes" in parsers:
        dataset = join_meshes(dataset, meshes)
    if words and labels:
        dataset = join_labels(dataset, words)
    return join_panoptic(dataset, maps) if maps and panoptic else dataset


def find_sentences(reference: str, images: str | None = None, need_images: bool = True) -> SentenceSet | None:
    """The sentences about pictures that a reference means (see `locate`), None where it means something else.

    Raises:
        DataError: there is no such thing, or it is not JSON.
    """
    (place, split), folder = resolve(reference), picture_folder(images)
    if is_visual_genome(place):
        return read_visual_genome(place, split, folder, need_images)
    files = [place] if place.is_file() else [file for name, file in splits(place).items() if split in (name, "")]
    if len(files) == 1 and is_captions(files[0]):
        return read_captions(files[0], folder, need_images)
    return read_beside(files[0], folder, need_images) if len(files) == 1 and is_beside(files[0]) else None


def find_models(
    reference: str, parsers: Mapping[str, Parser], images: str | None = None, need_images: bool = True
) -> tuple[Dataset, list[Fault]] | None:
    """Pictures of objects with meshes that a reference means, and their faults; None where it means something else.

    Raises:
        DataError: there is no such thing, or it is not JSON.
    """
    (place, split), folder = resolve(reference), picture_folder(images)
    if is_pix3d(place):
        return read_pix3d(place, split, reference, parsers, folder, need_images)
    return read_shapenet(place, split, reference, parsers) if is_shapenet(place) else None


def check_dataset(reference: str, images: str | None = None) -> Report:
    """Every fault of the data set that a reference means; raises `DataError` where there is none."""
    told = find_sentences(reference, images)
    if told is not None:
        return check_sentence_set(told)
    modelled = find_models(reference, {}, images)
    if modelled is not None:
        return _check_models(*modelled, resolve(reference)[0])
    if is_mesh_list(resolve(reference)[0]):
        return check_mesh_list(resolve(reference)[0], picture_folder(images))
    if is_labels(resolve(reference)[0]):
        return check_labels(resolve(reference)[0], picture_folder(images))
    found = find_label_set(reference, images)
    return check_coco(*locate(reference, images)) if found is None else check_label_set(found)


def _check_models(dataset: Dataset, faults: Sequence[Fault], place: Path) -> Report:
    rows = [{"id": r.id, "file_name": str(r.file), "height": r.size[0], "width": r.size[1]} for r in dataset.records]
    return Report(place, [*faults, *picture_faults(rows, Path("/"))])


def class_frequencies(dataset: Dataset) -> Tensor:
    """(K,) float64: pixels of a class divided by all pixels of the pictures where it occurs; 0 where it never does.

    The frequency of median frequency balancing (Eigen & Fergus, ICCV 2015). Unlabelled pixels count among all pixels.
    Reads every label map.

    Raises:
        DataError: no picture has a label map, or one has a fault.
        ImageError: a label map cannot be read.
    """
    counts = _pixel_counts(dataset, _labelled(dataset))  # (N, K + 1)
    if not len(counts):
        raise DataError("no label maps", where=dataset.name, cure="name a split that has some")
    of_class = counts[:, :-1].double()
    where_present = ((of_class > 0) * counts.sum(dim=1, keepdim=True)).sum(dim=0)
    return of_class.sum(dim=0) / where_present.clamp(min=1)


def statistics(dataset: Dataset) -> str:
    """Numbers of a data set as text: pictures, sizes, and classes with their regions or share of the pixels."""
    things = "label maps" if dataset.maps else "regions"
    number = len(_labelled(dataset)) if dataset.maps else sum(map(len, dataset.annotations))
    lines = [
        f"{dataset.name}: {len(dataset)} images, {number} {things}, {len(dataset.categories)} classes",
        f"  image height      {_quantiles([r.size[0] for r in dataset.records])} px",
        f"  image width       {_quantiles([r.size[1] for r in dataset.records])} px",
    ]
    return "\n".join(lines + (_pixel_lines(dataset) if dataset.maps else _region_lines(dataset)))


def _region_lines(dataset: Dataset) -> list[str]:
    annotations = list(chain.from_iterable(dataset.annotations))
    counts = [len(entries) for entries in dataset.annotations]
    sides = [side for a in annotations if (side := (a["bbox"][2] * a["bbox"][3]) ** 0.5)]
    per_class = np.unique([a["category_id"] for a in annotations], return_counts=True)
    number = dict(zip(*(values.tolist() for values in per_class), strict=True))
    rows = [(category.name, str(number.get(category.id, 0))) for category in dataset.categories]
    return [
        f"  regions per image {_quantiles(counts)}; {counts.count(0)} images without any",
        f"  region size       {_quantiles(sides)} px (root of the box area)",
        f"  crowd regions     {sum(bool(a.get('iscrowd')) for a in annotations)}",
        "  regions per class",
        *_table(rows),
    ]


def _pixel_lines(dataset: Dataset) -> list[str]:
    labelled = _labelled(dataset)
    if not labelled:
        return ["  no label maps     in this split"]
    chosen = labelled[:: -(-len(labelled) // SAMPLED_MAPS)]
    pixels = _pixel_counts(dataset, chosen).sum(dim=0)
    shares = (pixels / pixels.sum().clamp(min=1)).tolist()
    rows = [(name, f"{share:8.3%}") for name, share in zip(dataset.categories.names, shares, strict=False)]
    part = "" if len(chosen) == len(labelled) else f" ({len(chosen)} of the label maps)"
    return [f"  unlabelled        {shares[-1]:.3%} of the pixels{part}", "  share per class", *_table(rows)]


def _table(rows: list[tuple[str, str]]) -> list[str]:
    width = max([len(name) for name, _ in rows], default=0)
    return [f"    {name:{width}} {value}" for name, value in rows]


def _labelled(dataset: Dataset) -> list[int]:
    """The pictures that have a label map."""
    return [i for i, file in enumerate(dataset.maps.files) if file] if dataset.maps else []


def _pixel_counts(dataset: Dataset, indices: Sequence[int]) -> Tensor:
    """(N, K + 1) int64: pixels of each class in some label maps, those without label last."""
    classes = len(dataset.categories)
    counts = torch.zeros(len(indices), classes + 1, dtype=torch.int64)
    for row, index in enumerate(tqdm(indices, desc="label maps", unit="map", delay=2, disable=None)):
        labels = dataset.semantic(index)
        if labels is not None:
            counts[row] = count_pixels(labels, classes)
    return counts


def _quantiles(values: list[float] | list[int]) -> str:
    if not values:
        return "none"
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    return f"{low:.0f} to {high:.0f}, median {middle:.0f}"
