"""ShapeNet's models as rendered for 3D-R2N2 (Choy et al., ECCV 2016): pictures with one object each, and its mesh.

``ShapeNetRendering/SYNSET/MODEL/rendering`` has the pictures that ``renderings.txt`` lists, and in the same line of
``rendering_metadata.txt`` the camera: azimuth and elevation in degrees, a turn in the picture (always 0), the distance
in parts of 1.75, and the field of view. ``ShapeNetV1/SYNSET/MODEL/model.obj`` beside it is the model, y up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segue.data.check import Fault, load_json
from segue.data.deferred import Deferred
from segue.data.images import image_size
from segue.data.layout import choose, read_text
from segue.data.pix3d import Placed
from segue.data.records import Dataset, Parser, Record
from segue.data.results import is_finite
from segue.data.rle import encode_masks
from segue.errors import DataError, ImageError, SegueError
from segue.structures import Categories, Masks

RENDERINGS = "ShapeNetRendering"
MODELS = ("ShapeNetV1", "ShapeNetCore.v1")
SPLITS = "pix2mesh_splits_val05.json"
DISTANCE, FOCAL = 1.75, 2.1875
"""Of 3D-R2N2's camera: the unit of its distances, and the focal length in halves of the picture's width."""

NAMES = {
    "02691156": "airplane",
    "02828884": "bench",
    "02933112": "cabinet",
    "02958343": "car",
    "03001627": "chair",
    "03211117": "display",
    "03636649": "lamp",
    "03691459": "loudspeaker",
    "04090263": "rifle",
    "04256520": "sofa",
    "04379243": "table",
    "04401088": "telephone",
    "04530566": "watercraft",
}
"""The rendered classes, by WordNet's number."""

Chosen = Mapping[str, Mapping[str, Sequence[int]]]
"""The numbers of a split's pictures, by class and model."""


def is_shapenet(place: Path) -> bool:
    """Whether this is the folder ``ShapeNetRendering``, or the one that it is in."""
    return place.is_dir() and (place.name == RENDERINGS or (place / RENDERINGS).is_dir())


def read_shapenet(place: Path, split: str, name: str, parsers: Mapping[str, Parser]) -> tuple[Dataset, list[Fault]]:
    """The renderings, and what is wrong with them; boxes and masks are those of the alpha channel, read on use.

    Args:
        place: ``ShapeNetRendering``, or the folder above it.
        split: of ``pix2mesh_splits_val05.json`` beside it; without that file, "" and ``train`` mean all.
        name: what to call the data set.
        parsers: by field of `Regions`.

    Raises:
        DataError: no models, no such split, or a file of splits that makes no sense.
    """
    root = place.parent if place.name == RENDERINGS else place
    models = next((root / folder for folder in MODELS if (root / folder).is_dir()), None)
    if models is None:
        raise DataError(f"no folder {' or '.join(MODELS)}", where=root, cure="put ShapeNet's models there")
    chosen = _chosen(root, split)
    folders = sorted((root / RENDERINGS).glob("*/*/rendering"))
    synsets = sorted({folder.parts[-3] for folder in folders})
    dataset = Dataset(name, Categories.from_names([NAMES.get(s, s) for s in synsets]), [], [], parsers)
    faults = [] if folders else [Fault("empty", "there are no renderings", str(root))]
    for folder in folders:
        synset, model = folder.parts[-3:-1]
        try:
            _add(dataset, folder, models / synset / model / "model.obj", synsets.index(synset) + 1, chosen)
        except SegueError as error:
            faults.append(Fault("model", f"{error.what}; {error.cure}", str(error.where or folder)))
    return dataset, faults


def pose(azimuth: float, elevation: float, distance: float) -> tuple[Tensor, Tensor]:
    """Where a model (y up) stands before a camera that looks at its origin, in Pix3D's axes: x left, y up, z ahead.

    Args:
        azimuth: of the camera, in degrees from the model's x towards its z.
        elevation: of the camera, in degrees.
        distance: of the camera from the origin.

    Returns:
        rotation (3, 3) and translation (3,) float64.
    """
    a, e = torch.deg2rad(torch.tensor([azimuth, elevation], dtype=torch.float64))
    towards = torch.stack([a.cos() * e.cos(), e.sin(), a.sin() * e.cos()])  # from the model to the camera
    left = torch.stack([-a.sin(), 0 * a, a.cos()])
    up = torch.stack([-a.cos() * e.sin(), e.cos(), -a.sin() * e.sin()])
    return torch.stack([left, up, -towards]), torch.tensor([0, 0, distance], dtype=torch.float64)


def _chosen(root: Path, split: str) -> Chosen | None:
    """The pictures of a split; None for all."""
    file = root / SPLITS
    if not file.is_file():
        if split not in ("", "train"):
            raise DataError(f"no split {split!r}, since there is no {SPLITS}", where=root, cure="put it there")
        return None
    content = load_json(file)
    models = content.values() if isinstance(content, dict) else [None]
    if not all(isinstance(m, dict) and all(isinstance(own, dict) for own in m.values()) for m in models):
        raise DataError("no pictures by split, class and model", where=file, cure="take Mesh R-CNN's own file")
    chosen: Chosen = choose(content, split, root)
    return chosen


def _add(dataset: Dataset, folder: Path, model: Path, category: int, chosen: Chosen | None) -> None:
    """Add a model's pictures to the data set: all of the split, or none where something is wrong with one."""
    numbers = None if chosen is None else chosen.get(folder.parts[-3], {}).get(folder.parts[-2], [])
    views = _views(folder, numbers)
    if not views:
        return
    if not model.is_file():
        raise DataError(f"there is no {model}", cure="put the model there")
    size = image_size(views[0][0])  # all of a model are of one size
    placed = [_placed(model, camera, size) for _, camera in views]
    for (file, _), mesh in zip(views, placed, strict=True):
        number = len(dataset) + 1
        known = {"id": number, "image_id": number, "category_id": category, "mesh": mesh}
        later: dict[str, Callable[[], Any]] = {"bbox": partial(_box, file), "segmentation": partial(_mask, file)}
        dataset.records.append(Record(file, size, number, {}))
        dataset.annotations.append([Deferred(known, later)])


def _views(folder: Path, numbers: Sequence[int] | None) -> list[tuple[Path, str]]:
    """The pictures with these numbers, or all, and the line about the camera of each."""
    names = read_text(folder / "renderings.txt").split()
    cameras = read_text(folder / "rendering_metadata.txt").strip().splitlines()
    if len(names) != len(cameras) or any(Path(name).name != name for name in names):
        what = "renderings.txt does not have the name of a picture for each line of rendering_metadata.txt"
        raise DataError(what, where=folder, cure="copy both again")
    numbers = range(len(names)) if numbers is None else numbers
    if not all(type(i) is int and 0 <= i < len(names) for i in numbers):
        raise DataError(f"{SPLITS} names pictures that do not exist", where=folder, cure="copy the pictures again")
    missing = [names[i] for i in numbers if not (folder / names[i]).is_file()]
    if missing:
        raise DataError(f"there is no {missing[0]}", where=folder, cure="copy the pictures again")
    return [(folder / names[i], cameras[i]) for i in numbers]


def _placed(model: Path, line: str, size: tuple[int, int]) -> Placed:
    try:
        azimuth, elevation, _, distance, _ = map(float, line.split())
    except ValueError:
        raise DataError(f"{line!r:.80} is no camera of five numbers", where=model, cure="copy the metadata") from None
    if not all(map(is_finite, (azimuth, elevation, distance))) or distance <= 0:
        raise DataError(f"{line!r:.80} is no camera before the model", where=model, cure="copy the metadata")
    rotation, translation = pose(azimuth, elevation, DISTANCE * distance)
    h, w = size
    return Placed(
        file=str(model),
        rotation=rotation.tolist(),
        translation=translation.tolist(),
        focal=FOCAL * w / 2,
        centre=[w / 2, h / 2],
    )


def _box(file: Path) -> list[float]:
    """COCO's ``bbox`` of what is not transparent."""
    x0, y0, x1, y1 = _read_alpha(file).boxes[0].tolist()
    return [x0, y0, x1 - x0, y1 - y0]


def _mask(file: Path) -> dict[str, Any]:
    return encode_masks(_read_alpha(file))[0]


def _read_alpha(file: Path) -> Masks:
    """The mask of what is not transparent."""
    image_size(file)  # which refuses what is no picture, or too large
    try:
        with Image.open(file, formats=["PNG"]) as picture:
            alpha = np.asarray(picture.getchannel("A"))
    except Exception as error:  # damaged files make the decoder raise errors of nearly every class
        raise ImageError(f"no transparency can be read ({error})", where=file, cure="copy it again") from error
    if not alpha.any():
        raise DataError("the picture is empty", where=file, cure="copy it again")
    return Masks.from_dense(torch.from_numpy(alpha > 0)[None])
