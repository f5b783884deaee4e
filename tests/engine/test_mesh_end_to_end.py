"""Boxes, masks, keypoints, sentences and meshes in one network: trained, scored, saved, loaded, predicted."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import segue
from segue.cli import main
from segue.data.dataset import open_dataset
from segue.data.mixture import Mixture, mix
from segue.data.toybox.write import Order, write_toybox
from segue.data.transforms import Augmentation
from segue.drawing import turntable
from segue.engine import train as training
from segue.engine.evaluate import evaluate
from segue.engine.load import load
from segue.engine.loader import Collate, Place, TrainingPictures
from segue.engine.output import read_scenes
from segue.engine.picture import painted
from segue.engine.recipe import check_recipe
from segue.engine.region_predictor import RegionPredictor
from segue.engine.train import train
from segue.models import region_network
from segue.models.batch import Batch
from segue.nn.conventions import CONVENTIONS
from segue.ops.mesh_graph import is_closed
from segue.structures import Camera, Meshes
from segue.tasks import TASKS, known_tasks, parsers_of

SIDE = 64
HEADS: dict[str, Any] = {
    "boxes": {"channels": 16, "detections": 6, "score": 0.0},
    "masks": {"channels": 8, "convolutions": 1},
    "keypoints": {"channels": 8, "convolutions": 1},
    "captions": {"channels": 8, "hidden": 8, "embedding": 8, "threshold": 2},
    "meshes": {
        "voxels": 8,
        "voxel_channels": 8,
        "voxel_convolutions": 1,
        "stages": 2,
        "convolutions": 1,
        "channels": 8,
        "hidden": 16,
        "samples": 100,
        "objects": 4,
        "distances": True,
    },
}
VALUES: dict[str, Any] = {
    "name": "all",
    "network": {
        "backbone": {"depth": 18, "width": 8},
        "pyramid": {"channels": 8},
        "proposals": {"sizes": [12, 24, 48, 96, 192], "pre_nms_train": 32, "post_nms_train": 32, "post_nms": 16},
        "regions": {"samples": 16, "positive_share": 0.5},
        "tasks": HEADS,
    },
    "training": {
        "steps": 4,
        "batch": 2,
        "optimizer": "adamw",
        "lr": 0.003,
        "warmup": 1,
        "log_every": 1,
        "evaluate_every": 4,
        "checkpoint_every": 2,
        "best": "meshes/AP",
    },
}
MESH_LOSSES = {"extents", "voxels", "chamfer", "normals", "edges"}
MESH_SCORES = {"meshes/AP", "meshes/AP_box", "meshes/AP_mask"}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("meshes") / "set"
    write_toybox(folder, Order(train=4, val=2, size=SIDE, seed=5))
    return folder


@pytest.fixture(scope="module")
def plain(toys: Path) -> Path:
    """The training pictures with boxes alone."""
    content = json.loads((toys / "annotations/instances_train.json").read_text())
    keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
    content["annotations"] = [{key: row[key] for key in keys} for row in content["annotations"]]
    content["categories"] = [{"id": row["id"], "name": row["name"]} for row in content["categories"]]
    folder = toys.with_name("plain")
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").symlink_to(toys / "images")
    (folder / "annotations/instances_train.json").write_text(json.dumps(content))
    return folder


def recipe_of(toys: Path, **data: Any) -> Any:
    return check_recipe({**VALUES, "data": {**(data or {"train": f"{toys}:train"}), "val": f"{toys}:val"}}, "the test")


@pytest.fixture(scope="module")
def run(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(recipe_of(toys), folder, device="cpu")
    return folder


def logged(run: Path) -> list[dict[str, float]]:
    """What each step of a run wrote down."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "lr" in row]


def test_every_head_learns_in_one_network(run: Path) -> None:
    losses = [{k.removeprefix("loss/"): v for k, v in row.items() if k.startswith("loss/")} for row in logged(run)]
    assert len(losses) == 4
    for row in losses:
        assert MESH_LOSSES | {"objectness", "classes", "boxes", "masks", "keypoints", "captions"} <= set(row)
        assert all(math.isfinite(value) for value in row.values())
        assert all(row[name] > 0 for name in MESH_LOSSES)


def test_scores_have_those_of_meshes(toys: Path, run: Path) -> None:
    predictor = load(run, "cpu")
    dataset = open_dataset(f"{toys}:val", parsers_of(predictor.tasks))
    numbers = evaluate(predictor, dataset, progress=False).numbers
    assert MESH_SCORES | {"boxes/AP", "masks/AP", "captions/mAP"} <= set(numbers)
    assert all(math.isfinite(value) for name, value in numbers.items() if name.startswith("meshes/"))
    assert 0 <= numbers["meshes/AP"] <= numbers["meshes/AP_box"] <= 1


def test_one_look_at_the_picture_gives_every_region_all_there_is(toys: Path, run: Path) -> None:
    predictor = load(run, "cpu")
    assert isinstance(predictor, RegionPredictor)
    looks: list[int] = []
    predictor.network.trunk.register_forward_hook(lambda *_: looks.append(1))
    scene = predictor.predict(sorted((toys / "images/val").iterdir())[0], threshold=0.0)
    regions = scene.regions
    assert len(looks) == 1
    assert len(regions) == 6
    for field in (regions.masks, regions.keypoints, regions.captions, regions.meshes):
        assert field is not None
        assert len(field) == len(regions)
    for mesh in regions.meshes or []:
        assert mesh.camera == Camera(1.25 * SIDE, (SIDE / 2, SIDE / 2))
        assert mesh.span is not None
        assert 0 < mesh.span[0] < mesh.span[1]
        assert mesh.vertices.isfinite().all()
        assert float(mesh.vertices[:, 2].min()) > 0
        assert bool(is_closed(Meshes.pack([mesh.vertices], [mesh.faces])))


def test_files_of_predictions_hold_what_the_model_says(
    toys: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segue.tasks.mesh_files.turntable", partial(turntable, size=24, frames=2))
    options = ["--model", str(run), "--out", str(tmp_path), "--threshold", "0", "--device", "cpu"]
    assert main(["predict", str(toys / "images/val"), *options]) == 0
    for entry in json.loads((tmp_path / "scenes.json").read_text())["scenes"]:
        names = [region[key] for region in entry["regions"] for key in ("mesh", "mesh_obj")]
        assert len(names) == 12
        assert all((tmp_path / name).is_file() for name in (*names, entry["meshes"], entry["turntable"]))
    predictor = load(run, "cpu")
    saved = read_scenes(tmp_path / "scenes.json", parsers_of(predictor.tasks), predictor.categories)
    for picture, scene in zip(sorted((toys / "images/val").iterdir()), saved, strict=True):
        told = predictor.predict(picture, threshold=0.0).regions.meshes
        for read, mesh in zip(scene.regions.meshes or [], told or [], strict=True):
            assert (read.camera, read.span) == (mesh.camera, pytest.approx(mesh.span, abs=1e-6))
            torch.testing.assert_close(read.vertices[read.faces], mesh.vertices[mesh.faces], atol=1e-5, rtol=1e-4)
    data = ["--data", f"{toys}:val", "--out", str(tmp_path / "numbers.json")]
    assert main(["evaluate", "--predictions", str(tmp_path / "scenes.json"), *data]) == 0
    assert set(json.loads((tmp_path / "numbers.json").read_text())) >= MESH_SCORES


def test_a_resumed_run_gives_the_same_weights(
    toys: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = training.train_step

    def broken(run: Any, *rest: Any) -> Any:
        if run.progress.step == 3:
            raise KeyboardInterrupt
        return step(run, *rest)

    monkeypatch.setattr(training, "train_step", broken)
    with pytest.raises(KeyboardInterrupt):
        train(recipe_of(toys), tmp_path / "broken", device="cpu")
    monkeypatch.setattr(training, "train_step", step)
    train(recipe_of(toys), tmp_path / "broken", resume=True, device="cpu")
    whole, resumed = (load_file(folder / "last.safetensors") for folder in (run, tmp_path / "broken"))
    assert any(name.startswith("heads.meshes") for name in whole)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def batch_of(mixture: Mixture, pictures: list[int]) -> Batch:
    samples = TrainingPictures(mixture.dataset, Augmentation(mirror=False), TASKS, 0, mixture.known)
    batch = Collate(CONVENTIONS["segue"], 32, TASKS)([samples[Place(i, i)] for i in pictures])
    assert isinstance(batch, Batch)
    return batch


def test_meshes_are_learnt_where_they_are_annotated(toys: Path, plain: Path, run: Path) -> None:
    mixture = mix([open_dataset(f"{folder}:train", parsers_of(TASKS)) for folder in (toys, plain)], [1, 1])
    predictor = load(run, "cpu")
    assert isinstance(predictor, RegionPredictor)
    network = predictor.network.requires_grad_(True)
    for pictures, taught in (([4, 5], False), ([0, 4], True), ([4, 0], True)):
        losses = {name: float(value.detach()) for name, value in network(batch_of(mixture, pictures)).items()}
        assert losses["classes"] > 0
        assert {losses[name] > 0 for name in MESH_LOSSES} == {taught}


def test_a_set_without_meshes_trains_beside_one_with_them(toys: Path, plain: Path, tmp_path: Path) -> None:
    sources = [{"train": f"{toys}:train"}, {"train": f"{plain}:train", "weight": 2}]
    train(recipe_of(toys, datasets=sources), tmp_path / "run", device="cpu")
    assert all(math.isfinite(value) for row in logged(tmp_path / "run") for value in row.values())
    scene = segue.load(tmp_path / "run", device="cpu").predict(torch.zeros(3, 40, 50, dtype=torch.uint8), threshold=0)
    assert scene.regions.meshes is not None


def test_the_network_does_not_know_what_a_mesh_is() -> None:
    source = Path(region_network.__file__).read_text().lower()
    assert "roialign" in source
    assert "mesh" not in source


def test_skeletons_are_painted_over_meshes() -> None:
    order = [task.name for task in painted(known_tasks())]
    assert order.index("meshes") < order.index("keypoints")
