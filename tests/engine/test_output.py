from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from segue.data.check import load_json
from segue.engine.output import SceneWriter, read_scenes, write_scenes
from segue.errors import DataError, UsageError
from segue.structures import Categories, Masks, Regions, Scene
from segue.tasks import BOXES, LABEL, MASKS, Task, parsers_of

CLASSES = Categories.from_names(["cell", "mug"])
TASKS: list[Task] = [BOXES, MASKS, LABEL]
PARSERS = parsers_of(TASKS)
RED = Image.new("RGB", (30, 20), (255, 0, 0))


def scene(file: str | None = "a.png", count: int = 3, label: str | None = None) -> Scene:
    """Random blobs with masks, on a 20 by 30 picture."""
    generator = torch.Generator().manual_seed(count)
    masks = torch.zeros(count, 20, 30, dtype=torch.bool)
    masks[:, 4:12, 5:20] = torch.rand(count, 8, 15, generator=generator) > 0.4
    regions = Regions(
        boxes=torch.rand(count, 4, generator=generator).mul(5) + torch.tensor([2.0, 3.0, 14.0, 12.0]),
        labels=torch.arange(count) % 2,
        scores=torch.rand(count, generator=generator),
        masks=Masks.from_dense(masks),
    )
    return Scene((20, 30), CLASSES, regions, label=label, file=file)


def test_the_promised_layout(tmp_path: Path) -> None:
    with SceneWriter(tmp_path / "out", "toybox", TASKS) as writer:
        writer.add(scene("photos/photo.jpg", 1, "table"), RED)
    content = json.loads((tmp_path / "out" / "scenes.json").read_text())
    assert list(content) == ["version", "model", "scenes"]
    assert (content["version"], content["model"]) == (1, "toybox")
    (entry,) = content["scenes"]
    region = entry.pop("regions")[0]
    picture = {"file": "photos/photo.jpg", "width": 30, "height": 20, "label": "table", "overlay": "photo.png"}
    assert entry == picture
    assert region["label"] == "cell"
    x0, y0, x1, y1 = scene(count=1).regions.boxes[0].tolist()
    assert region["bbox"] == pytest.approx([x0, y0, x1 - x0, y1 - y0], abs=1e-3)
    assert region["segmentation"]["size"] == [20, 30]
    assert isinstance(region["segmentation"]["counts"], str)
    with Image.open(tmp_path / "out" / "photo.png") as overlay:
        assert overlay.getpixel((0, 0)) == (255, 0, 0)


def test_round_trip(tmp_path: Path) -> None:
    scenes = [scene("a.png", 3), scene("b.png", 0), scene("c.png", 2, label="table")]
    write_scenes(scenes, tmp_path, "toybox", TASKS)
    again = read_scenes(tmp_path / "scenes.json", PARSERS, CLASSES)
    for read, written in zip(again, scenes, strict=True):
        assert (read.file, read.size, read.label) == (written.file, written.size, written.label)
        assert read.regions.labels.tolist() == written.regions.labels.tolist()
        assert read.regions.boxes.flatten().tolist() == pytest.approx(
            written.regions.boxes.flatten().tolist(), abs=2e-3
        )
        assert read.regions.scores is not None
        assert read.regions.scores.tolist() == pytest.approx(written.regions.scores.tolist(), abs=1e-6)  # type: ignore[union-attr]
        assert torch.equal(read.regions.masks.dense(), written.regions.masks.dense())  # type: ignore[union-attr]


def test_annotated_scenes_have_no_score(tmp_path: Path) -> None:
    truth = replace(scene(), regions=replace(scene().regions, scores=None))
    write_scenes([truth], tmp_path, "truth", TASKS)
    assert read_scenes(tmp_path / "scenes.json", PARSERS)[0].regions.scores is None


def test_categories_are_the_labels_that_occur(tmp_path: Path) -> None:
    write_scenes([scene()], tmp_path, "toybox", TASKS)
    read = read_scenes(tmp_path / "scenes.json", {})[0]
    assert read.categories.names == ["cell", "mug"]
    assert read.regions.masks is None
    with pytest.raises(DataError, match=r"a\.png: unknown label 'mug'"):
        read_scenes(tmp_path / "scenes.json", {}, Categories.from_names(["cell"]))


def test_empty_input(tmp_path: Path) -> None:
    write_scenes([], tmp_path, "toybox", TASKS)
    assert json.loads((tmp_path / "scenes.json").read_text()) == {"version": 1, "model": "toybox", "scenes": []}
    assert read_scenes(tmp_path / "scenes.json", PARSERS) == []


def test_a_scene_without_a_file_gets_a_name(tmp_path: Path) -> None:
    with SceneWriter(tmp_path, "toybox", TASKS) as writer:
        writer.add(scene(None), RED)
        writer.add(scene(None), RED)
    files = [(entry["file"], entry["overlay"]) for entry in load_json(tmp_path / "scenes.json")["scenes"]]
    assert files == [("image_1", "image_1.png"), ("image_2", "image_2.png")]


def overlays(folder: Path, files: list[str]) -> list[str]:
    with SceneWriter(folder, "toybox", TASKS) as writer:
        for number, file in enumerate(files):
            writer.add(scene(file), Image.new("RGB", (30, 20), (number, 0, 0)))
    return [entry["overlay"] for entry in load_json(folder / "scenes.json")["scenes"]]


def test_equal_stems_do_not_share_an_overlay(tmp_path: Path) -> None:
    names = overlays(tmp_path, ["a/photo.jpg", "b/photo.jpg", "b/photo.tif", "b/PHOTO.tif", "photo.2.jpg"])
    assert names[0] == "photo.png"
    assert len({name.lower() for name in names}) == 5
    for number, name in enumerate(names):
        with Image.open(tmp_path / name) as overlay:
            assert overlay.getpixel((0, 0)) == (number, 0, 0)


def test_an_overlay_replaces_its_predecessor_but_never_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "photo.png"
    Image.new("RGB", (30, 20), (1, 2, 3)).save(picture)
    before = picture.read_bytes()
    assert overlays(tmp_path, [str(picture)]) == ["photo.2.png"]
    assert overlays(tmp_path, [str(picture)]) == ["photo.2.png"]
    assert picture.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.2.png", "photo.png", "scenes.json"]


def test_an_interrupted_run_leaves_the_old_scenes(tmp_path: Path) -> None:
    write_scenes([scene()], tmp_path, "old", TASKS)
    before = (tmp_path / "scenes.json").read_bytes()

    def interrupted() -> None:
        with SceneWriter(tmp_path, "new", TASKS) as writer:
            writer.add(scene("b.png"))
            assert (tmp_path / "scenes.json").read_bytes() == before  # nothing shows before the end
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "scenes.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["scenes.json"]


@pytest.mark.parametrize("field", ["boxes", "scores"])
def test_numbers_that_are_not_finite_never_reach_the_file(tmp_path: Path, field: str) -> None:
    broken = scene()
    values = getattr(broken.regions, field).clone()
    values[1] = float("nan")
    with pytest.raises(DataError, match=r"a\.png.*not finite"):
        write_scenes([replace(broken, regions=replace(broken.regions, **{field: values}))], tmp_path, "m", TASKS)
    assert not (tmp_path / "scenes.json").exists()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        SceneWriter(tmp_path / "file", "toybox", TASKS)


ROW = {"label": "cell", "score": 0.5, "bbox": [1, 2, 3, 4], "segmentation": {"size": [20, 30], "counts": [0, 600]}}
ENTRY = {"file": "a.png", "width": 30, "height": 20, "regions": [ROW]}


def read(folder: Path, content: Any) -> list[Scene]:
    (folder / "scenes.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return read_scenes(folder / "scenes.json", PARSERS)


def test_a_file_from_elsewhere_is_read(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"version": 1, "model": "x", "scenes": [ENTRY], "more": 1})
    assert found.regions.boxes.tolist() == [[1, 2, 4, 6]]
    assert found.regions.masks.area.tolist() == [600]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[" * 100_000,
        "[]",
        "{}",
        {"version": 1, "scenes": {}},
        {"version": 2, "scenes": []},
        {"scenes": []},
        {"version": 1, "scenes": [3]},
    ],
)
def test_a_hostile_file_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DataError, match=r"scenes\.json"):
        read(tmp_path, content)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.json"):
        read_scenes(tmp_path / "nothing.json", PARSERS)


@pytest.mark.parametrize(
    "change",
    [
        {"file": None},
        {"width": 0},
        {"width": 30.0},
        {"height": True},
        {"width": 10**9},
        {"label": 3},
        {"regions": None},
        {"regions": [None]},
    ],
)
def test_a_hostile_scene_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"scenes\.json, scene 1: "):
        read(tmp_path, {"version": 1, "scenes": [ENTRY, {**ENTRY, **change}]})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"label": ""}, "region 1: label"),
        ({"label": ["cell"]}, "region 1: label"),
        ({"score": 1.5}, "region 1: score"),
        ({"score": None}, "region 1: score"),
        ({"score": float("nan")}, "region 1: score"),
        ({"bbox": [1, 2, 3]}, "region 1: bbox"),
        ({"bbox": [1, 2, -3, 4]}, "region 1: bbox"),
        ({"bbox": [1, 2, float("inf"), 4]}, "region 1: bbox"),
        ({"bbox": "1234"}, "region 1: bbox"),
        ({"bbox": [1, 2, 10**400, 4]}, "region 1: bbox"),
        ({"segmentation": {"size": [20, 30], "counts": "0"}}, "a.png.*pixels"),
        ({"segmentation": {"size": [10**6, 10**6], "counts": [0, 10**12]}}, "a.png.*size"),
        ({"segmentation": 3}, "a.png"),
    ],
)
def test_a_hostile_region_is_refused(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    entry = {**ENTRY, "regions": [ROW, {**ROW, **change}]}
    with pytest.raises(DataError, match=rf"scenes\.json, .*{fault}"):
        read(tmp_path, {"version": 1, "scenes": [entry]})


def test_scores_for_all_or_for_none(tmp_path: Path) -> None:
    bare = {key: value for key, value in ROW.items() if key != "score"}
    with pytest.raises(DataError, match="some regions have a score"):
        read(tmp_path, {"version": 1, "scenes": [{**ENTRY, "regions": [ROW, bare]}]})
