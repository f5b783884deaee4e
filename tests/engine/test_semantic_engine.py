"""Networks that label pixels, from recipe to files: training, resuming, predicting."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import segue
from segue.data.dataset import Dataset, open_dataset
from segue.data.images import read_image
from segue.data.records import LabelMaps
from segue.data.transforms import Augmentation
from segue.engine.blend import spans
from segue.engine.loader import Collate, Place, TrainingPictures
from segue.engine.recipe import check_recipe, read_recipe
from segue.engine.semantic_predictor import SemanticPredictor
from segue.engine.train import train
from segue.nn.conventions import CONVENTIONS
from segue.structures import Regions, Scene

Run = Callable[..., str]
Write = Callable[..., Path]
IDS = torch.tensor([7, 24, 0])  # of the street's classes


@pytest.fixture
def model(street_run: Path) -> SemanticPredictor:
    predictor = segue.load(street_run, device="cpu")
    assert isinstance(predictor, SemanticPredictor)
    return predictor


def pixels_of(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.asarray(image).astype(np.int64))


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def entries(folder: Path) -> list[dict[str, Any]]:
    scenes: list[dict[str, Any]] = json.loads((folder / "scenes.json").read_text())["scenes"]
    return scenes


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """Coarse random colours, (3, height, width) uint8."""
    coarse = torch.rand(1, 3, -(-height // 9), -(-width // 9), generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.interpolate(coarse, scale_factor=9)[0, :, :height, :width] * 255).byte()


# --- training ----------------------------------------------------------------------------------------------------


def test_a_run_leaves_all_that_was_promised(run: Run, write_street_recipe: Write, tmp_path: Path) -> None:
    recipe, folder = write_street_recipe(training={"steps": 3, "evaluate_every": 2}), tmp_path / "run"
    text = run("train", recipe, "--out", folder, "--device", "cpu")
    assert {"semantic", "mIoU", "IoU_car", "boundary_F1"} <= set(text.split())
    assert str(folder) in text
    names = {"best.safetensors", "last.safetensors", "checkpoint.safetensors", "recipe.yaml", "metrics.jsonl"}
    assert {path.name for path in folder.iterdir()} == names | {"samples", "tensorboard"}
    assert {path.name for path in (folder / "samples").iterdir()} == {"step_000002.png", "step_000003.png"}
    assert [line["step"] for line in log(folder) if "lr" in line] == [1, 2, 3]
    assert [line["step"] for line in log(folder) if "semantic/mIoU" in line] == [2, 3]
    assert read_recipe(folder / "recipe.yaml") == read_recipe(recipe)
    notes = segue.load(folder / "best.safetensors", device="cpu").notes
    best = max(line["semantic/mIoU"] for line in log(folder) if "semantic/mIoU" in line)
    assert notes["metrics"]["semantic/mIoU"] == best


def test_colours_are_learned_in_seconds(street_run: Path, street: Path, model: SemanticPredictor) -> None:
    (scored,) = (line for line in log(street_run) if "semantic/mIoU" in line)
    assert scored["semantic/mIoU"] > 0.9
    truth = open_dataset(f"{street}:val", {}).scene(0)
    found = model.predict(street / "images/val/4.png")
    known = truth.semantic >= 0
    assert (found.semantic == truth.semantic)[known].float().mean() > 0.97


def test_resumed_run_repeats_the_undisturbed_one_bit_for_bit(
    run: Run, write_street_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segue.engine import train as module

    training = {"steps": 8, "ema": 0.9, "evaluate_every": 3, "checkpoint_every": 2}
    semantic = {"network": {"unet": {"width": 4, "depth": 2}}, "loss": {"balance": 1.0}}
    recipe = write_street_recipe(training=training, semantic=semantic)
    command = ("train", recipe, "--device", "cpu", "--out")
    run(*command, tmp_path / "whole")
    step = module.train_step

    def interrupted(state: module.Run, *rest: Any) -> Any:
        if state.progress.step == 5:
            raise KeyboardInterrupt
        return step(state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(module, "train_step", interrupted)
        assert segue.cli.main([str(a) for a in (*command, tmp_path / "broken")]) == 130
    with monkeypatch.context() as patch:
        patch.setattr(module, "class_frequencies", lambda _: pytest.fail("a checkpoint holds the class weights"))
        run(*command, tmp_path / "broken", "--resume")
    for name in ("checkpoint", "last", "best"):
        whole, broken = (load_file(tmp_path / folder / f"{name}.safetensors") for folder in ("whole", "broken"))
        assert whole.keys() == broken.keys()
        assert all(torch.equal(whole[key], broken[key]) for key in whole), name
    logs = [{**line, "seconds": 0} for line in log(tmp_path / "whole")]
    assert [{**line, "seconds": 0} for line in log(tmp_path / "broken")] == logs


def test_class_weights_are_those_of_the_labels_by_counting(
    write_street_recipe: Write, street: Path, tmp_path: Path
) -> None:
    maps = [pixels_of(file) for file in sorted((street / "labels/train").iterdir())]
    share = torch.tensor([sum(int((m == i).sum()) for m in maps) / (len(maps) * 64 * 80) for i in IDS.tolist()])
    for power in (1.0, 0.5, 0.0):
        values = {"network": {"unet": {"width": 4, "depth": 2}}, "loss": {"balance": power}}
        recipe = read_recipe(write_street_recipe(semantic=values, training={"steps": 1}))
        train(recipe, tmp_path / str(power), device="cpu")
        network = segue.load(tmp_path / str(power), device="cpu").network
        torch.testing.assert_close(network.class_weights, (share.median() / share) ** power)


def test_class_weights_of_a_model_to_start_from_are_not_kept(
    write_street_recipe: Write, street_run: Path, tmp_path: Path
) -> None:
    still = {"steps": 1, "lr": 0.0, "weight_decay": 0.0}
    semantic = {"network": {"unet": {"width": 4, "depth": 2}}, "loss": {"balance": 1.0}}
    recipe = read_recipe(write_street_recipe(training=still, semantic=semantic, weights=str(street_run)))
    train(recipe, tmp_path / "run", device="cpu")
    old, new = (load_file(folder / "last.safetensors") for folder in (street_run, tmp_path / "run"))
    assert torch.equal(old["body.score.weight"], new["body.score.weight"])
    assert old["class_weights"].tolist() == [1, 1, 1]
    assert new["class_weights"].max() > 1.2


def test_the_deciding_metric_follows_from_the_kind_of_network() -> None:
    values = {"name": "x", "data": {"train": "x"}, "training": {"steps": 1}}
    semantic = {**values, "semantic": {"network": {"unet": {}}}}
    assert check_recipe(values, "x").training.best == "masks/AP"
    assert check_recipe(semantic, "x").training.best == "semantic/mIoU"
    chosen = {**semantic, "training": {"steps": 1, "best": "semantic/accuracy"}}
    assert check_recipe(chosen, "x").training.best == "semantic/accuracy"


def test_pictures_without_a_map_train_as_unlabelled(street: Path) -> None:
    dataset = without_map(open_dataset(f"{street}:train", {}), 1)
    pictures = TrainingPictures(dataset, Augmentation(crop=32), [], seed=0)
    samples = pictures.__getitems__([Place(0, 0), Place(1, 1)])
    batch = Collate(CONVENTIONS["segue"], 4)(samples)
    assert batch.semantic.shape == (2, 32, 32)
    assert batch.semantic[1].eq(-1).all()
    assert batch.semantic[0].max() >= 0


def without_map(dataset: Dataset, *indices: int) -> Dataset:
    """The same pictures, some without their label map."""
    files = [None if i in indices else file for i, file in enumerate(dataset.maps.files)]
    return replace(dataset, maps=LabelMaps(files, dataset.maps.read))


# --- predicting --------------------------------------------------------------------------------------------------


def test_predict_leaves_maps_of_ids_confidence_and_an_overlay_with_legend(
    run: Run, model: SemanticPredictor, street: Path, street_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    text = run("predict", street / "images/val", "--model", street_run, "--out", out, "--device", "cpu")
    assert text.startswith("2 inputs done")
    assert {path.name for path in out.iterdir()} == {
        "scenes.json",
        *(f"{number}.{ending}" for number in (4, 5) for ending in ("png", "semantic.png", "confidence.png")),
    }
    for entry in entries(out):
        assert entry.keys() == {"file", "width", "height", "regions", "semantic", "confidence", "overlay"}
        assert (entry["width"], entry["height"], entry["regions"]) == (80, 64, [])
        scene = model.predict(entry["file"])
        ids, confidence = pixels_of(out / entry["semantic"]), pixels_of(out / entry["confidence"])
        assert torch.equal(ids, IDS[scene.semantic.long()])
        assert set(ids.unique().tolist()) == {0, 7, 24}
        assert (confidence / 255 - scene.confidence).abs().max() < 0.51 / 255
        with Image.open(out / entry["overlay"]) as overlay, Image.open(out / entry["semantic"]) as saved:
            assert saved.mode == "L"
            assert overlay.width > 80
            left = np.asarray(overlay.crop((0, 0, 80, 64)))
            assert np.array_equal(left, np.asarray(segue.draw(scene, entry["file"])))
            assert len(np.unique(np.asarray(overlay)[:, 80:].reshape(-1, 3), axis=0)) > 3  # the legend


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (1, 200), (17, 33), (64, 80), (65, 81)])
def test_any_size_will_do(model: SemanticPredictor, size: tuple[int, int]) -> None:
    for options in (segue.PixelOptions(), segue.PixelOptions(flip=True, scales=(0.5, 1.5))):
        scene = model.with_options(options).predict(picture(*size))
        assert scene.size == tuple(scene.semantic.shape) == tuple(scene.confidence.shape) == size
        assert scene.semantic.dtype == torch.int16
        assert scene.semantic.min() >= 0
        assert 1 / 3 <= scene.confidence.min() <= scene.confidence.max() <= 1


def test_a_batch_changes_nothing(model: SemanticPredictor) -> None:
    pictures = [*(picture(40, 30, i) for i in range(3)), *(picture(33, 50, i) for i in range(2))]
    alone = [model.predict(p) for p in pictures]
    for one, two in zip(alone, model.predict(pictures, batch=2), strict=True):
        assert one.size == two.size
        torch.testing.assert_close(one.confidence, two.confidence, atol=1e-5, rtol=0)
        assert (one.semantic == two.semantic).float().mean() > 0.999


def test_with_flip_a_mirrored_picture_gives_the_mirrored_map(model: SemanticPredictor) -> None:
    image = picture(47, 61)
    flipping = model.with_options(segue.PixelOptions(flip=True))
    for predictor, equal in ((flipping, True), (model, False)):
        one, two = predictor.predict(image), predictor.predict(image.flip(2))
        assert torch.equal(one.confidence, two.confidence.flip(1)) is equal
    one, two = flipping.predict(image), flipping.predict(image.flip(2))
    assert torch.equal(one.semantic, two.semantic.flip(1))


def test_scales_are_averaged(model: SemanticPredictor) -> None:
    image, scales = picture(47, 61), (0.5, 1.0, 1.3)

    def look(*factors: float) -> Tensor:
        return model.with_options(segue.PixelOptions(scales=factors)).probabilities([image])[0]

    torch.testing.assert_close(look(*scales), sum(look(scale) for scale in scales) / 3)
    assert torch.equal(look(1.0), model.probabilities([image])[0])
    assert (look(0.5) - look(1.0)).abs().max() > 0.1


def test_away_from_seams_tiles_change_nothing(model: SemanticPredictor) -> None:
    image = picture(64, 401)
    whole, tiled = model.predict(image), model.tiled(image, 128, 0.5)
    covers = torch.zeros(401)
    for start, end in spans(401, 128, 4):
        covers[start:end] += 1
    single = covers == 1  # at least 32 pixels from the edge of the tile; the network sees less far
    assert 100 < int(single.sum()) < 350
    assert not torch.equal(whole.confidence, tiled.confidence)
    torch.testing.assert_close(whole.confidence[:, single], tiled.confidence[:, single], atol=1e-5, rtol=0)
    assert torch.equal(whole.semantic[:, single], tiled.semantic[:, single])
    small = picture(50, 60)
    assert torch.equal(model.tiled(small, 64, 0.5).confidence, model.predict(small).confidence)


def test_all_options_of_the_command_line_together(run: Run, street: Path, street_run: Path, tmp_path: Path) -> None:
    Image.fromarray(picture(100, 150).permute(1, 2, 0).numpy()).save(tmp_path / "large.png")
    inputs = (street / "images/val", tmp_path / "large.png")
    options = ("--tile", "64", "--flip", "--scales", "0.75,1.25", "--batch", "2", "--tasks", "semantic")
    run("predict", *inputs, "--model", street_run, "--out", tmp_path / "out", "--device", "cpu", *options)
    found = entries(tmp_path / "out")
    assert [(entry["height"], entry["width"]) for entry in found] == [(64, 80), (64, 80), (100, 150)]
    assert pixels_of(tmp_path / "out" / found[2]["semantic"]).shape == (100, 150)
    truth = pixels_of(street / "labels/val/4.png")
    right = pixels_of(tmp_path / "out" / found[0]["semantic"])[truth != 255] == truth[truth != 255]
    assert right.float().mean() > 0.9


def test_equal_stems_do_not_share_files(
    run: Run, model: SemanticPredictor, street: Path, street_run: Path, tmp_path: Path
) -> None:
    for name, number in (("a", 4), ("b", 5)):
        (tmp_path / name).mkdir()
        shutil.copy(street / f"images/val/{number}.png", tmp_path / name / "photo.png")
    inputs, out = (tmp_path / "a", tmp_path / "b"), tmp_path / "a"  # beside an input, which has to stay
    before = (tmp_path / "a/photo.png").read_bytes()
    run("predict", *inputs, "--model", street_run, "--out", out, "--device", "cpu")
    one, two = entries(out)
    names = [entry[key] for entry in (one, two) for key in ("semantic", "confidence", "overlay")]
    assert len(set(names)) == 6
    for entry in (one, two):
        assert torch.equal(pixels_of(out / entry["semantic"]), IDS[model.predict(entry["file"]).semantic.long()])
    assert (tmp_path / "a/photo.png").read_bytes() == before


def test_a_video_gives_maps_for_every_frame(run: Run, street_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    from segue.data.video import write_video

    write_video(tmp_path / "clip.mp4", [picture(64, 80, i) for i in range(3)], rate=5)
    run("predict", tmp_path / "clip.mp4", "--model", street_run, "--out", tmp_path / "out", "--device", "cpu")
    found = entries(tmp_path / "out")
    assert len({entry["semantic"] for entry in found}) == len(found) == 3
    assert all(pixels_of(tmp_path / "out" / entry["semantic"]).shape == (64, 80) for entry in found)
    assert (tmp_path / "out/clip.overlay.mp4").exists()


def test_threads_share_a_model(model: SemanticPredictor) -> None:
    pictures = [picture(40 + i, 30, i) for i in range(6)]
    expected, found = [model.predict(p) for p in pictures], [None] * len(pictures)

    def look(i: int) -> None:
        found[i] = model.predict(pictures[i])

    threads = [threading.Thread(target=look, args=(i,)) for i in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a.confidence, b.confidence) for a, b in zip(expected, found, strict=True))


def test_a_scene_saves_itself_as_predict_does(
    run: Run, model: SemanticPredictor, street: Path, street_run: Path, tmp_path: Path
) -> None:
    photo = street / "images/val/4.png"
    run("predict", photo, "--model", street_run, "--out", tmp_path / "command", "--device", "cpu")
    model.predict(photo).save(tmp_path / "python")
    names = {path.name for path in (tmp_path / "command").iterdir()}
    assert {path.name for path in (tmp_path / "python").iterdir()} == names
    for name in names - {"scenes.json"}:
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    assert entries(tmp_path / "python") == entries(tmp_path / "command")
    model.predict(read_image(photo)).save(tmp_path / "pixels")  # of no file: no overlay
    assert {path.name for path in (tmp_path / "pixels").iterdir()} == {
        "scenes.json",
        "image_1.semantic.png",
        "image_1.confidence.png",
    }


def test_a_scene_prints_its_classes_by_share(model: SemanticPredictor) -> None:
    labels = torch.tensor([[0, 0, 0, 0, 1, 1, 1, -1]], dtype=torch.int16)
    scene = Scene((1, 8), model.categories, Regions.empty(), semantic=labels, file="a.png")
    assert repr(scene).splitlines() == ["Scene 8x1 of a.png", "  sky 50.0 %", "  road 37.5 %", "  unlabelled 12.5 %"]
