"""What is said of a Toybox picture in the JSON and OBJ files of public data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from segue.data.panoptic_write import category_rows, panoptic_rows
from segue.data.rle import encode_masks
from segue.data.toybox.arrays import Floats
from segue.data.toybox.captions import caption
from segue.data.toybox.categories import THINGS, TOYBOX
from segue.data.toybox.render import Sample, Thing
from segue.structures import Category, Masks, Scene

Row = dict[str, Any]
Rows = dict[str, list[Row]]

COCO = ("instances", "person_keypoints", "panoptic")
LISTS = ("visual_genome", "pix3d", "labels")
DOCUMENTS = (*COCO, *LISTS)
"""A set has one JSON file of each kind for each split. COCO's hold images and categories, too."""

PER_PICTURE = 100  # annotations and sentences of picture n have ids from 100 n on; there are fewer than 100 of each
SENSOR = 32.0  # mm, the width of film that Pix3D's focal lengths refer to


@dataclass(frozen=True)
class Address:
    """The place of a picture in a set.

    Attributes:
        split: ``train`` or ``val``.
        number: from 1; the picture's id.
    """

    split: str
    number: int

    @property
    def name(self) -> str:
        """Its file name without suffix."""
        return f"{self.number:06d}"

    @property
    def image(self) -> str:
        """The picture's file in the set's folder."""
        return f"images/{self.split}/{self.name}.png"

    @property
    def map(self) -> str:
        """Its panoptic map."""
        return f"annotations/panoptic_{self.split}/{self.name}.png"

    def mesh(self, thing: int) -> str:
        """The mesh of its thing with this index."""
        return f"meshes/{self.split}/{self.name}_{thing}.obj"


def picture_rows(address: Address, sample: Sample, scene: Scene) -> Rows:
    """What each of `DOCUMENTS` says of a picture, and its row in COCO's ``images`` under that name.

    Args:
        address: where its files are.
        sample: the picture.
        scene: the same as a scene, its file's name included.

    Raises:
        DataError: the scene has no file or no panoptic map.
    """
    image, segments = panoptic_rows(address.number, scene)
    instances = _instances(address, sample)
    return {
        "images": [image],
        "instances": instances,
        "person_keypoints": [row for row in instances if row["category_id"] == TOYBOX[THINGS.index("person")].id],
        "panoptic": [segments],
        "visual_genome": [{"id": address.number, "regions": _sentences(address, sample)}],
        "pix3d": [_pix3d(address, sample, i) for i in range(len(sample.things))],
        "labels": [{"image_id": address.number, "file_name": image["file_name"], "label": sample.label}],
    }


def document(kind: str, images: Sequence[Row], rows: Sequence[Row]) -> object:
    """The content of a JSON file of one of `DOCUMENTS`: the rows, in COCO's with images and categories around them."""
    if kind in LISTS:
        return rows
    return {"images": images, "annotations": rows, "categories": _categories(kind)}


def obj_text(thing: Thing) -> str:
    """The mesh of a thing as Wavefront OBJ, an object ``o`` for each closed part: x left, y up, z ahead, in metres.

    Turning the camera's x and y about keeps the faces counter-clockwise from outside.
    """
    vertices = np.round(thing.vertices * (-1, -1, 1), 6) + 0.0  # no "-0"
    lines = ["v {:.6f} {:.6f} {:.6f}".format(*vertex) for vertex in vertices.tolist()]
    for part in np.unique(thing.parts).tolist():
        lines.append(f"o part_{part}")
        lines += ["f {} {} {}".format(*face) for face in (thing.faces[thing.parts == part] + 1).tolist()]
    return "\n".join(lines) + "\n"


def _instances(address: Address, sample: Sample) -> list[Row]:
    """COCO's annotations with ``attributes``, and with keypoints for those categories that have some."""
    rows: list[Row] = []
    masks = encode_masks(Masks.from_dense(torch.from_numpy(sample.masks)))
    for i, (thing, runs) in enumerate(zip(sample.things, masks, strict=True)):
        x0, y0, x1, y1 = thing.box.tolist()
        row: Row = {"id": _identity(address, i), "image_id": address.number, "category_id": TOYBOX[thing.label].id}
        row |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": thing.area, "iscrowd": 0, "segmentation": runs}
        rows.append(row | _keypoints(thing.keypoints) | {"attributes": _attributes(thing)})
    return rows


def _attributes(thing: Thing) -> Row:
    """The name of its colour, or of a person's shirt; and whether it is shiny or matt, of which people are neither."""
    solid = thing.placed.solid
    material = {} if solid.category == "person" else {"material": "shiny" if solid.paint.shine > 0 else "matt"}
    return {"color": solid.paint.color, **material}


def _keypoints(points: Floats) -> Row:
    """Keypoints (K, 3) as COCO writes them: 0 is the centre of the first pixel, which is at one half here."""
    if not len(points):
        return {}
    labelled = points[:, 2:] > 0
    xy = np.round((points[:, :2] - 0.5) * labelled, 3) + 0.0
    values = [[x, y, int(v)] for (x, y), v in zip(xy.tolist(), points[:, 2].tolist(), strict=True)]
    return {"keypoints": [value for triple in values for value in triple], "num_keypoints": int(labelled.sum())}


def _sentences(address: Address, sample: Sample) -> list[Row]:
    """Visual Genome's region descriptions."""
    said = [
        (thing, each.text) for thing, each_of in zip(sample.things, caption(sample), strict=True) for each in each_of
    ]
    return [_sentence(address, i, thing, text) for i, (thing, text) in enumerate(said)]


def _sentence(address: Address, index: int, thing: Thing, text: str) -> Row:
    x0, y0, x1, y1 = map(int, thing.box)
    place = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
    return {"region_id": _identity(address, index), "image_id": address.number, "phrase": text, **place}


def _pix3d(address: Address, sample: Sample, index: int) -> Row:
    """An entry as in ``pix3d.json``; the mesh needs no turn or shift, since it is in the camera's coordinates.

    ``K`` is focal length and principal point in pixels, as Mesh R-CNN adds it; ``annotation_id`` names the mask.
    """
    thing, (h, w), centre = sample.things[index], sample.camera.size, sample.camera.centre
    focal = round(sample.camera.focal, 6)
    return {
        "img": address.image,
        "img_size": [w, h],
        "annotation_id": _identity(address, index),
        "category": THINGS[thing.label],
        "bbox": [int(value) for value in thing.box],
        "model": address.mesh(index),
        "rot_mat": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        "trans_mat": [0.0, 0.0, 0.0],
        "focal_length": round(focal * SENSOR / w, 6),
        "K": [focal, *centre],
    }


def _identity(address: Address, index: int) -> int:
    return PER_PICTURE * address.number + index


def _categories(kind: str) -> list[Row]:
    if kind == "panoptic":
        return category_rows(TOYBOX)
    names = THINGS if kind == "instances" else ("person",)
    return [_category(category) for category in TOYBOX if category.name in names]


def _category(category: Category) -> Row:
    row: Row = {"id": category.id, "name": category.name}
    if category.keypoints:
        row |= {"keypoints": category.keypoints, "skeleton": [[a + 1, b + 1] for a, b in category.skeleton]}
    return row
