"""Small folders in the layouts of Pix3D and ShapeNet, for the tests beside this file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 40, 30
TURN = [[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]  # about y: what was ahead (z) comes to the right (-x)
TETRAHEDRON = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
"""Counter-clockwise from outside."""


def model(path: Path, text: str = TETRAHEDRON) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def picture(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def entry(number: int = 1, category: str = "chair", **changes: object) -> dict[str, Any]:
    """As in ``pix3d.json``; the object's mask are the pixels from (10, 5) to (30, 25)."""
    name = f"{category}/{number:04d}.png"
    return {
        "img": f"img/{name}",
        "category": category,
        "img_size": [WIDTH, HEIGHT],
        "mask": f"mask/{name}",
        "model": f"model/{category}/model.obj",
        "bbox": [10, 5, 30, 25],
        "rot_mat": TURN,
        "trans_mat": [0.5, 0.0, 4.0],
        "focal_length": 35.0,
        "truncated": False,
        **changes,
    }


def write_pix3d(folder: Path, entries: list[dict[str, Any]]) -> Path:
    """``pix3d.json`` with these entries, and the files that they name, if that is in the folder."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:25, 10:30] = 255
    for row in entries:
        picture(folder / row["img"], np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
        picture(folder / row["mask"], mask)
        if not row.get("model", "..").startswith(".."):
            model(folder / row["model"])
    (folder / "pix3d.json").write_text(json.dumps(entries))
    return folder


def as_split(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The same as Mesh R-CNN's splits have them, classes numbered by hand."""
    pictures, annotations = [], []
    for number, row in enumerate(entries, start=7):
        x0, y0, x1, y1 = row["bbox"]
        pictures.append({"id": number, "file_name": row["img"], "width": WIDTH, "height": HEIGHT})
        own = {key: row[key] for key in ("model", "rot_mat", "trans_mat")}
        own |= {"segmentation": row["mask"], "K": [44.0, 19.0, 16.0], "bbox": [x0, y0, x1 - x0, y1 - y0]}
        annotations.append({**own, "id": number, "image_id": number, "category_id": 3, "area": 400, "iscrowd": 0})
    return {"images": pictures, "annotations": annotations, "categories": [{"id": 3, "name": "chair"}]}
