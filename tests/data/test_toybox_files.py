"""A written Toybox set says what `render` says, however it came to be."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segue.cli import main
from segue.data.dataset import check_dataset, open_dataset
from segue.data.panoptic import open_panoptic
from segue.data.toybox import THINGS, TOYBOX, caption, render, write
from segue.data.toybox.bridge import to_scene
from segue.data.toybox.entries import DOCUMENTS, Address, picture_rows
from segue.data.toybox.write import SPAN, Order, write_toybox
from segue.errors import DataError, UsageError
from segue.tasks import all_tasks

ORDER = Order(train=6, val=2, size=64, seed=1)
PARSERS = {task.name: task.parse for task in all_tasks()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toybox") / "set"
    write_toybox(folder, ORDER)
    return folder


@pytest.fixture(scope="module")
def samples():
    return [render(2 * SPAN + i, (64, 64)) for i in range(6)]


@pytest.fixture
def renders(monkeypatch):
    """The scenes that are rendered from now on."""
    seen = []

    def counted(seed, size):
        seen.append(seed)
        return render(seed, size)

    monkeypatch.setattr(write, "render", counted)
    return seen


def content(folder, name):
    return json.loads((folder / "annotations" / f"{name}.json").read_text())


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_regions_read_back(folder, samples):
    data = open_dataset(f"{folder}:train", PARSERS)
    assert data.categories.names == list(THINGS)
    assert len(data) == len(samples)
    for i, sample in enumerate(samples):
        regions, things = data.regions(i), sample.things
        assert (data.image(i).permute(1, 2, 0).numpy() == sample.image).all()
        assert regions.boxes.tolist() == [thing.box.tolist() for thing in things]
        assert regions.labels.tolist() == [thing.label for thing in things]
        assert regions.areas.tolist() == [thing.area for thing in things]
        assert (regions.masks.dense().numpy() == sample.masks).all()
        assert not regions.crowd.any()
        for points, thing in zip(regions.keypoints.numpy(), things, strict=True):
            np.testing.assert_allclose(points[: len(thing.keypoints)], thing.keypoints, atol=1e-3)
            assert not points[len(thing.keypoints) :].any()
    assert {THINGS[thing.label] for sample in samples for thing in sample.things} >= {"person", "car"}


def test_maps_read_back(folder, samples):
    data = open_dataset(f"{folder}:panoptic_train", PARSERS)
    file = open_panoptic(folder / "annotations" / "panoptic_train.json")
    assert data.categories.names == TOYBOX.names
    assert [category.color for category in data.categories] == [category.color for category in TOYBOX]
    for i, sample in enumerate(samples):
        assert (data.semantic(i).numpy() == sample.semantic).all()
        ids, segments = file.read(i + 1, (64, 64))
        things = len(sample.things)
        assert (np.where(ids <= things, ids - 1, -1) == sample.instances).all()
        assert segments.labels[:things].tolist() == [thing.label for thing in sample.things]
        assert len(set(segments.labels[things:].tolist())) == len(segments) - things


def test_a_scene_agrees_with_its_files(folder, samples):
    data = open_dataset(f"{folder}:train", PARSERS)
    for i, sample in enumerate(samples):
        scene, regions = to_scene(sample), data.regions(i)
        assert scene.label == sample.label
        assert (scene.semantic.numpy() == sample.semantic).all()
        assert torch.equal(scene.regions.masks.dense(), regions.masks.dense())
        assert torch.allclose(scene.regions.keypoints, regions.keypoints, atol=1e-3)


def test_person_keypoints_are_coco_s(folder, samples):
    persons = content(folder, "person_keypoints_train")
    assert [category["name"] for category in persons["categories"]] == ["person"]
    assert len(persons["categories"][0]["keypoints"]) == 17
    truth = [(i, t) for i, s in enumerate(samples, 1) for t in s.things if THINGS[t.label] == "person"]
    assert [row["image_id"] for row in persons["annotations"]] == [i for i, _ in truth]
    for row, (_, thing) in zip(persons["annotations"], truth, strict=True):
        values = np.array(row["keypoints"]).reshape(17, 3)
        there = thing.keypoints[:, 2] > 0
        np.testing.assert_allclose(values[there, :2], thing.keypoints[there, :2] - 0.5, atol=1e-3)
        assert not values[~there].any()
        assert row["num_keypoints"] == there.sum()
        assert row in content(folder, "instances_train")["annotations"]


def test_ids_are_unique(folder):
    for rows in (content(folder, "instances_train")["annotations"], content(folder, "pix3d_train")):
        numbers = [row.get("id", row.get("annotation_id")) for row in rows]
        assert len(set(numbers)) == len(numbers) > 10
    sentences = [row["region_id"] for entry in content(folder, "visual_genome_train") for row in entry["regions"]]
    assert len(set(sentences)) == len(sentences) > 20


def test_sentences_have_the_boxes_of_their_things(folder, samples):
    for i, (entry, sample) in enumerate(zip(content(folder, "visual_genome_train"), samples, strict=True), 1):
        truth = Counter(
            (said.text, *thing.box.tolist())
            for thing, each in zip(sample.things, caption(sample), strict=True)
            for said in each
        )
        assert entry["id"] == i
        assert {row["image_id"] for row in entry["regions"]} == {i}
        rows = [(r["phrase"], r["x"], r["y"], r["x"] + r["width"], r["y"] + r["height"]) for r in entry["regions"]]
        assert Counter(rows) == truth


def test_labels_are_those_of_the_largest_things(folder, samples):
    labels = content(folder, "labels_train")
    assert [row["label"] for row in labels] == [sample.label for sample in samples]
    assert all((folder / "images" / "train" / row["file_name"]).is_file() for row in labels)


def read_obj(path):
    """Vertices (V, 3), and the faces (F, 3) of each object."""
    vertices, parts = [], []
    for line in path.read_text().splitlines():
        kind, *values = line.split()
        if kind == "v":
            vertices.append([float(value) for value in values])
        elif kind == "o":
            parts.append([])
        else:
            parts[-1].append([int(value) - 1 for value in values])
    return np.array(vertices), [np.array(part) for part in parts]


def test_meshes_are_closed_and_turned_outward(folder):
    entries = content(folder, "pix3d_train")
    assert {entry["model"] for entry in entries} == {
        f"meshes/train/{p.name}" for p in (folder / "meshes/train").iterdir()
    }
    for entry in entries:
        vertices, parts = read_obj(folder / entry["model"])
        assert np.concatenate(parts).max() == len(vertices) - 1
        for faces in parts:
            edges = Counter((a, b) for face in faces.tolist() for a, b in zip(face, face[1:] + face[:1], strict=True))
            assert all(edges[b, a] == number == 1 for (a, b), number in edges.items())
            assert np.linalg.det(vertices[faces] - vertices.mean(0)).sum() > 0  # six times the volume


def test_meshes_cover_their_boxes(folder):
    """Seen by the entry's camera, with x to the left and y up, and not by one that is mirrored."""
    entries, off = content(folder, "pix3d_train"), []
    for entry in entries:
        assert (folder / entry["img"]).is_file()
        vertices, _ = read_obj(folder / entry["model"])
        focal, *centre = entry["K"]
        assert entry["focal_length"] / 32 * 64 == pytest.approx(focal)
        xy = np.array(centre) - vertices[:, :2] / vertices[:, 2:] * focal
        box = np.array(entry["bbox"])
        assert (xy.min(0) < box[:2] + 1).all()
        assert (xy.max(0) > box[2:] - 1).all()
        off.append(np.abs(np.concatenate([xy.min(0), xy.max(0)]) - box).max())
    assert np.median(off) < 2  # px; some are partly hidden


def test_two_workers_write_the_same_bytes(folder, tmp_path):
    write_toybox(tmp_path / "two", ORDER, workers=2)
    assert files(tmp_path / "two") == files(folder)


def test_an_interrupted_run_goes_on(folder, tmp_path, monkeypatch, renders):
    def stop(job):
        if len(renders) == 3:
            raise KeyboardInterrupt
        make(job)

    make = write._make
    with monkeypatch.context() as patch:
        patch.setattr(write, "_make", stop)
        with pytest.raises(KeyboardInterrupt):
            write_toybox(tmp_path / "set", ORDER)
    assert not list((tmp_path / "set" / "annotations").glob("instances_*"))
    write_toybox(tmp_path / "set", ORDER)
    assert len(renders) == 8  # none twice
    assert files(tmp_path / "set") == files(folder)


def test_a_lost_picture_is_made_again(tmp_path, monkeypatch, renders):
    order = Order(2, 0, 32)
    with monkeypatch.context() as patch:
        patch.setattr(write, "_assemble", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_toybox(tmp_path, order)
    for ask in (lambda name: open_dataset(name, {}), check_dataset):
        with pytest.raises(DataError, match=r"is not finished; run the `segue data make`"):
            ask(f"{tmp_path}:train")
    (tmp_path / "images/train/000002.png").unlink()
    write_toybox(tmp_path, order)
    assert len(open_dataset(f"{tmp_path}:train", {})) == 2
    assert renders == [0, 1, 1]
    assert (tmp_path / "images/train/000002.png").is_file()


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_finished_set_is_left_alone_and_can_grow(tmp_path, renders):
    write_toybox(tmp_path, Order(2, 1, 32))
    before = files(tmp_path)
    assert not any(name.startswith(".") for name in before)
    write_toybox(tmp_path, Order(2, 1, 32))
    assert len(renders) == 3
    write_toybox(tmp_path, Order(3, 1, 32))
    after = files(tmp_path)
    assert all(after[name] == old for name, old in before.items() if not name.endswith("json") or "_val" in name)
    assert len(content(tmp_path, "instances_train")["images"]) == 3


@pytest.mark.parametrize("other", [{"seed": 2}, {"size": 32}, {"train": 5}, {"val": 1}])
def test_another_set_in_the_folder_is_refused(folder, other):
    before = files(folder)
    with pytest.raises(UsageError, match=r"the folder holds .*; ask for .* or name another folder"):
        write_toybox(folder, replace(ORDER, **other))
    assert files(folder) == before


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"train": "x", "val": 0}', '{"train": 1, "val": -1}'])
def test_a_foreign_folder_is_refused(tmp_path, text):
    stamp = tmp_path / "annotations" / "toybox.json"
    stamp.parent.mkdir()
    if text is not None:
        stamp.write_text(text)
    with pytest.raises(UsageError, match="no folder of Toybox"):
        write_toybox(tmp_path, ORDER)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="no folder of Toybox"):
        write_toybox(file, ORDER)


@pytest.mark.parametrize(
    "wrong", [{"train": -1}, {"train": 0, "val": 0}, {"train": SPAN + 1}, {"size": 15}, {"seed": -1}]
)
def test_orders_that_make_no_sense(wrong):
    with pytest.raises(UsageError, match="cannot make"):
        replace(ORDER, **wrong)


def test_no_scene_is_in_two_splits_or_sets():
    starts = []
    for seed in (0, 1, 2):
        jobs = Order(3, 2, 64, seed).jobs(Path())
        assert [job.seed - jobs[0].seed for job in jobs[:3]] == [0, 1, 2]
        starts += [jobs[0].seed, jobs[3].seed]
    assert starts[0] == 0
    assert (np.diff(starts) >= SPAN).all()  # no split has more pictures


def test_a_picture_of_nothing_but_stuff(samples):
    stuff = samples[0].semantic.max()
    blank = np.full((64, 64), -1, np.int16)
    empty = replace(samples[0], things=(), instances=blank, semantic=np.full_like(blank, stuff))
    scene = to_scene(empty, "000001.png")
    assert len(scene.regions) == 0
    assert scene.segments.labels.tolist() == [stuff]
    rows = picture_rows(Address("train", 1), empty, scene)
    assert rows.keys() == {"images", *DOCUMENTS}
    assert rows["instances"] == rows["pix3d"] == rows["visual_genome"][0]["regions"] == []
    assert rows["labels"][0]["label"] is None


def test_the_command(tmp_path, capsys):
    make = ["data", "make", "toybox", "--val", "0", "--size", "48", "--workers", "1", "--out", str(tmp_path / "set")]
    assert main([*make, "--train", "2"]) == 0
    assert main(["data", "show", f"{tmp_path}/set:train", "--out", str(tmp_path / "sheet.png")]) == 0
    assert main(["data", "show", f"{tmp_path}/set:panoptic_train"]) == 0
    text = capsys.readouterr().out
    assert "2 images" in text
    assert "2 label maps" in text
    assert main([*make, "--train", "2", "--seed", "3"]) == 2
    assert capsys.readouterr().err.startswith("segue: error: ")
    assert not (tmp_path / "set" / "images" / "val").exists()
    with pytest.raises(SystemExit):
        main([*make, "--train", "-1"])
