"""What a notebook shows of a scene."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segue
from segue.engine.picture import GRAY, WIDEST, overlay
from segue.structures import Categories, Regions, Scene

CATEGORIES = Categories.from_names(["mug", "<b>lamp</b>"])


def scene(file: str | None = None, size: tuple[int, int] = (60, 80), count: int = 2) -> Scene:
    boxes = torch.tensor([[10.0, 5.0, 40.0, 35.0], [30.0, 20.0, 70.0, 55.0]])[:count]
    return Scene(size, CATEGORIES, Regions(boxes, torch.arange(count)), file=file)


def shown(held: Scene) -> np.ndarray:
    with Image.open(io.BytesIO(held._repr_png_())) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_over_its_picture(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    held = scene(str(tmp_path / "a.png"))
    assert np.array_equal(shown(held), np.asarray(segue.draw(held, tmp_path / "a.png")))
    assert (shown(held) != noise).any()


@pytest.mark.parametrize("kind", ["none", "gone", "broken", "folder", "other size", "frame", "odd name"])
def test_over_gray_where_the_picture_is_not_there(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    if kind == "broken":
        path.write_bytes(b"no picture")
    elif kind == "folder":
        path.mkdir()
    elif kind == "other size":
        Image.new("RGB", (9, 9), "red").save(path)
    file = {"none": None, "frame": f"{tmp_path}/clip.mp4#3", "odd name": "a\0b" * 200}.get(kind, str(path))
    pixels = shown(scene(file))
    assert pixels.shape == (60, 80, 3)
    assert tuple(pixels[-1, 0]) == GRAY
    assert (pixels != GRAY).any()


def test_nothing_found_is_a_plain_picture() -> None:
    assert (shown(scene(count=0)) == GRAY).all()


def test_classes_of_pixels_come_with_their_legend() -> None:
    labels = torch.zeros(60, 80, dtype=torch.int16)
    held = scene(count=0).with_field("semantic", labels)
    expected = overlay(held, Image.new("RGB", (80, 60), GRAY))
    assert np.array_equal(shown(held), np.asarray(expected))
    assert expected.size != (80, 60)


def test_large_pictures_are_shown_smaller() -> None:
    held = scene(size=(1500, 3000))
    assert shown(held).shape == (WIDEST // 2, WIDEST, 3)
