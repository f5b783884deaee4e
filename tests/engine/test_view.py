"""Recordings of `segue view`, read back by Rerun itself; and what the command refuses."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from segue.cli import main
from segue.data.video import write_video
from segue.engine.output import write_scenes
from segue.engine.view import DISPLAYS, metric_rows, notes, sure
from segue.errors import DataError
from segue.models.weights import ModelFile, write_model
from segue.structures import Camera, Categories, Category, Masks, Mesh, Regions, Scene, Segments
from segue.tasks import BOXES, CAPTIONS, KEYPOINTS, LABEL, MASKS, MESHES, PANOPTIC

DOG = Category("dog", 1, keypoints=("left_ear", "right_ear"), skeleton=((0, 1),))
CLASSES = Categories((DOG, Category("sky", 2, isthing=False)))
CUBE = Mesh(
    torch.tensor([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (3.0, 5)]),
    torch.tensor([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5]]),
    Camera(50.0, (20, 15)),
)


def scene(file: str) -> Scene:
    """Two dogs with everything."""
    masks = torch.zeros(2, 30, 40)
    masks[0, 5:15, 5:15] = 1
    masks[1, 10:25, 20:35] = 1
    segments = Segments(torch.tensor([1, 2, 3]), torch.tensor([0, 0, 1]))
    regions = Regions(
        torch.tensor([[5.0, 5, 15, 15], [20, 10, 35, 25]]),
        torch.tensor([0, 0]),
        torch.tensor([0.9, 0.8]),
        masks=Masks.from_dense(masks),
        keypoints=torch.tensor([[[6, 6, 0.9], [14, 6, 0.8]], [[21, 11, 0.9], [34, 11, 0.01]]]),
        captions=["a dog", "[a dog](file:///etc/passwd)"],
        meshes=[CUBE, CUBE],
    )
    panoptic = torch.where(masks[0] > 0, 1, torch.where(masks[1] > 0, 2, 3)).int()
    return Scene((30, 40), CLASSES, regions, panoptic=panoptic, segments=segments, file=file)


class Recording:
    """Rows by entity path, and columns by entity path and component, of an .rrd file."""

    def __init__(self, path: Path) -> None:
        chunk = pytest.importorskip("rerun.chunk")
        self.rows: dict[str, int] = {}
        self.values: dict[str, list[Any]] = {}
        self.timelines: dict[str, set[str]] = {}
        for part in chunk.RrdReader(str(path)).stream():
            self.rows[part.entity_path] = self.rows.get(part.entity_path, 0) + part.num_rows
            self.timelines.setdefault(part.entity_path, set()).update(part.timeline_names)
            batch = part.to_record_batch()
            for name in set(batch.schema.names) - {"log_time"}:
                self.values.setdefault(f"{part.entity_path}:{name}", []).extend(batch.column(name).to_pylist())

    def below(self, folder: str) -> set[str]:
        """The paths of this folder, without it."""
        return {path.removeprefix(folder) for path in self.rows if path.startswith(folder)}


@pytest.fixture
def recorded(run: Callable[..., str], tmp_path: Path) -> Callable[..., Recording]:
    """Save a recording of ``segue view`` with these arguments and read it."""
    pytest.importorskip("rerun")

    def call(*arguments: object) -> Recording:
        run("view", *arguments, "--save", tmp_path / "it.rrd")
        return Recording(tmp_path / "it.rrd")

    return call


def test_results_with_everything(recorded: Callable[..., Recording], tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    scenes = [scene(str(tmp_path / "a.png")), Scene((30, 40), CLASSES, Regions.empty(), file="gone.png")]
    write_scenes(scenes, tmp_path / "out", "mine", [BOXES, MASKS, KEYPOINTS, CAPTIONS, MESHES, PANOPTIC])
    model = tmp_path / "mine.safetensors"
    write_model(model, ModelFile("mine", {}, CLASSES.to_json(), None, {"weight": torch.zeros(1)}))
    without = {"boxes", "captions", "keypoints", "masks", "panoptic"}  # bones are the categories'
    assert recorded(tmp_path / "out").below("/camera/picture/") == without
    found = recorded(tmp_path / "out", "--model", model)
    assert found.below("/camera/picture/") == {"boxes", "bones", "captions", "keypoints", "masks", "panoptic"}
    assert found.below("/meshes/") == {"0", "1"}
    assert found.rows["/camera/picture/boxes"] == found.rows["/meshes/0"] == 1
    assert found.rows["/regions"] == 2
    assert found.values["/camera/picture/boxes:Boxes2D:labels"] == [["dog 0.90", "dog 0.80"]]
    assert found.values["/camera/picture/boxes:Boxes2D:class_ids"] == [[1, 1]]
    assert found.values["/camera/picture/boxes:Boxes2D:half_sizes"] == [[[5, 5], [7.5, 7.5]]]
    assert found.values["/camera/picture/keypoints:Points2D:positions"] == [
        [[6, 6], [14, 6], [21, 11]]
    ]  # one is unsure
    assert found.values["/camera/picture/bones:LineStrips2D:strips"] == [[[[6, 6], [14, 6]]]]
    [vertices] = found.values["/meshes/0:Mesh3D:vertex_positions"]
    assert sorted(vertices) == sorted(CUBE.vertices.tolist())
    told = [text for [text] in found.values["/regions:TextDocument:text"]]
    assert "2. dog 0.80, [a dog](file:///etc/passwd)" in told[0]
    assert found.values["/regions:TextDocument:media_type"] == [["text/plain"]] * 2
    assert found.values["/camera/picture:Clear:is_recursive"].count([True]) == 2
    [matrix] = [m for m in found.values["/camera:Pinhole:image_from_camera"] if m]
    assert matrix[0] == [50, 0, 0, 0, 50, 0, 20, 15, 1]  # column by column
    assert found.timelines["/camera/picture/boxes"] >= {"picture"}


def test_markup_and_quotes_stay_words(recorded: Callable[..., Recording], tmp_path: Path) -> None:
    image, word = tmp_path / """it's "mine" & <b>.png""", "<script>alert('x')</script> & [b](http://c)"
    Image.new("RGB", (40, 30)).save(image)
    box = torch.tensor([[5.0, 5, 15, 15]])
    regions = Regions(box, torch.tensor([0]), torch.tensor([0.9]), captions=[word])
    classes = Categories.from_names([word])
    scenes = [Scene((30, 40), classes, each, label=word, file=str(image)) for each in (regions, Regions.empty())]
    write_scenes(scenes, tmp_path / "out", "mine", [BOXES, CAPTIONS, LABEL])
    found = recorded(tmp_path / "out")
    told = [text for [text] in found.values["/regions:TextDocument:text"]]
    assert told == [f"{image} 40x30 {word}\n1. {word} 0.90, {word}", f"{image} 40x30 {word}"]
    assert found.values["/regions:TextDocument:media_type"] == [["text/plain"]] * 2
    assert found.values["/camera/picture/boxes:Boxes2D:labels"] == [[f"{word} 0.90"]]


def test_pictures_through_a_model(recorded: Callable[..., Recording], cells: Path, model_file: Path) -> None:
    found = recorded(cells.parent, "--model", model_file, "--threshold", "0.2")
    assert found.below("/camera/picture/") == {"boxes", "masks"}
    assert found.rows["/camera/picture/boxes"] == found.rows["/regions"] == 6
    assert all(len(labels) == 20 for labels in found.values["/camera/picture/boxes:Boxes2D:labels"])
    assert sum(blob is not None for blob in found.values["/camera/picture:EncodedImage:blob"]) == 6


def test_label_maps(recorded: Callable[..., Recording], street: Path, street_run: Path) -> None:
    found = recorded(street / "images" / "val", "--model", street_run)
    assert found.below("/camera/picture/") == {"semantic"}
    assert found.rows["/camera/picture/semantic"] == 2


def test_a_video_has_its_timeline(recorded: Callable[..., Recording], tmp_path: Path, model_file: Path) -> None:
    pytest.importorskip("av")
    frames = [torch.full((3, 64, 64), 60 * i, dtype=torch.uint8) for i in range(3)]
    write_video(tmp_path / "film.mp4", frames, rate=4)
    found = recorded(tmp_path / "film.mp4", "--model", model_file)
    assert found.timelines["/regions"] >= {"picture", "frame", "video"}
    assert sorted(found.values["/regions:frame"]) == [0, 1, 2]
    assert sorted(t.total_seconds() for t in found.values["/regions:video"]) == [0, 0.25, 0.5]


def test_a_training_run(recorded: Callable[..., Recording], street_run: Path) -> None:
    found = recorded(street_run)
    rows = metric_rows(street_run / "metrics.jsonl")
    logged = {f"metrics/{name}" for _, numbers in rows for name in numbers}
    assert found.below("/") >= logged
    assert found.below("/samples") == {""}
    [name] = [path for path in logged if "loss" in path][:1]
    assert sorted(found.values[f"/{name}:step"]) == [step for step, row in rows if name.removeprefix("metrics/") in row]


def test_the_way_of_a_region(recorded: Callable[..., Recording], cells: Path, model_file: Path) -> None:
    picture = cells.parent / "cells_000.png"
    found = recorded(picture, "--model", model_file, "--threshold", "0.2", "--explain", "2")
    assert found.below("/explain/2_levels/") == {"0", "1", "2", "3"}
    assert found.below("/explain/4_pooled/") == {"boxes_7", "masks_14"}
    assert found.below("/explain/5_heads/") == {"classes", "mask"}
    [points] = found.values["/explain/3_samples/masks_14/points:Points2D:positions"]
    assert len(points) == (14 * 2) ** 2
    [bars] = found.values["/explain/5_heads/classes:BarChart:values"]
    assert bars
    assert len(found.values["/explain/1_proposals/chosen:Boxes2D:labels"]) == 1


@pytest.fixture
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in DISPLAYS:
        monkeypatch.delenv(name, raising=False)


def test_without_rerun(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, cells: Path) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert "pip install 'segue[viewer]'" in refused("view", cells.parent, "--save", "a.rrd")


def refusals(cells: Path, model: Path, tmp_path: Path) -> Iterator[tuple[list[object], str]]:
    """Arguments, and what the line says."""
    picture = cells.parent / "cells_000.png"
    yield [picture], "no screen"
    yield [picture, "--save", "a.png"], "ends in .rrd"
    yield [picture, "--save", "a.rrd"], "name a --model"
    yield [tmp_path / "nowhere", "--save", "a.rrd", "--model", model], "no such file or folder"
    yield [cells.parent, "--save", "a.rrd", "--model", model, "--explain", "1"], "name a picture file"
    yield [picture, "--save", "a.rrd", "--explain", "1"], "name a --model"
    yield [picture, "--save", "a.rrd", "--model", model, "--explain", "99"], "there is no region 99"
    yield [picture, "--save", "a.rrd", "--explain", "0"], "not a whole number from 1"


@pytest.mark.parametrize("number", range(8))
def test_refused(
    number: int, refused: Callable[..., str], no_screen: None, cells: Path, model_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("rerun")
    arguments, says = list(refusals(cells, model_file, tmp_path))[number]
    assert says in refused("view", *arguments)  # nothing is left in the working folder, no half recording either


def test_a_broken_line_of_metrics(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss/boxes": 0.5, "PQ": NaN}\n{"step": 2, "loss/bo')
    assert metric_rows(path) == [(1, {"loss/boxes": 0.5})]
    path.write_text('{"loss": 1}\n{"step": 2}\n')
    with pytest.raises(DataError, match="line 1"):
        metric_rows(path)


def test_only_sure_keypoints_are_kept_of_predictions() -> None:
    both = scene("a.png")
    assert (sure(both).regions.keypoints[..., 2] > 0).tolist() == [[True, True], [True, False]]
    truth = Scene((30, 40), CLASSES, both.regions.with_field("scores", None))
    assert sure(truth) is truth


def test_nothing_to_note_without_tasks_of_others() -> None:
    assert notes(scene("a.png").regions) == ["", ""]
    assert json.dumps(notes(Regions.empty())) == "[]"


def test_the_viewer_opens_where_there_is_a_screen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rerun = pytest.importorskip("rerun")
    opened: list[Any] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(rerun.RecordingStream, "spawn", lambda self: opened.append(self))
    write_scenes([scene("gone.png")], tmp_path, "mine", [BOXES])
    assert main(["view", str(tmp_path)]) == 0
    assert len(opened) == 1
