"""Search by sentence, from a sentence and a folder to files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from searching import (
    LOW,
    QUERY,
    WORDS,
    Refused,
    load_model,
    photo_folder,
    same,
    watch,
    write_photo,
    write_random_model,
)
from torch import Tensor

from segue.cli import main
from segue.data.geometry import Geometry
from segue.data.images import read_image
from segue.engine import find as find_module
from segue.engine.find import find, teller_of
from segue.engine.found import lit
from segue.engine.given_boxes import raw_outputs
from segue.engine.load import load
from segue.engine.region_index import NAME
from segue.engine.region_predictor import RegionPredictor


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("captioning") / "model.safetensors", 3)


@pytest.fixture(scope="module")
def model(file: Path) -> RegionPredictor:
    return load_model(file)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return photo_folder(tmp_path, monkeypatch)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return watch(monkeypatch)


# --- the search --------------------------------------------------------------------------------------------------


def test_pictures_are_ranked_by_their_likeliest_region(model: RegionPredictor, folder: Path) -> None:
    search, head = find(model, QUERY, folder, threshold=LOW), teller_of(model)[1]
    assert (search.pictures, search.notes, search.failures) == (4, [], [])
    best = {}
    for number in range(4):
        image = read_image(folder / f"{number}.png")
        scene = model.predict(image, LOW)
        match = next(m for m in search.matches if m.file.name == f"{number}.png")
        assert match.size == scene.size == (64, 80)
        order = (match.regions.boxes[:, None] - scene.regions.boxes).abs().sum(2).argmin(1)
        assert sorted(order.tolist()) == list(range(len(scene.regions)))
        torch.testing.assert_close(match.regions.boxes, scene.regions.boxes[order], atol=1e-3, rtol=0)
        with torch.no_grad():
            whole = Geometry.resize(scene.size, scene.size)
            codes = raw_outputs(model, image, scene.regions.boxes[order], whole)["captions"]
            expected = head.log_likelihood(codes, QUERY)
        torch.testing.assert_close(match.likelihoods, expected, atol=0.02, rtol=0)  # codes have 16 bits
        assert match.likelihoods.tolist() == sorted(match.likelihoods.tolist(), reverse=True)
        best[match.file.name] = float(match.likelihoods[0])
    assert [m.file.name for m in search.matches] == sorted(best, key=lambda name: -best[name])
    assert max(best.values()) - min(best.values()) > 0.1  # else the ranking would say little
    assert search.per_word(torch.tensor([-7.0])).tolist() == pytest.approx([np.exp(-1)])  # six words and the end
    assert same(replace(search, matches=search.matches[:2]), find(model, QUERY, folder, top=2, threshold=LOW))


def test_a_second_search_looks_at_nothing(model: RegionPredictor, folder: Path, looked: list[float]) -> None:
    first = find(model, QUERY, folder, threshold=LOW)
    assert len(looked) == 4
    before = (folder / NAME).stat().st_mtime_ns
    assert same(find(model, QUERY.upper() + "!", folder, threshold=LOW), first)
    assert find(model, "the blue chair", folder, threshold=LOW).matches
    assert len(looked) == 4
    assert (folder / NAME).stat().st_mtime_ns == before


def test_only_what_changed_is_looked_at(model: RegionPredictor, folder: Path, looked: list[float]) -> None:
    find(model, QUERY, folder, threshold=LOW)
    looked.clear()
    (folder / "0.png").unlink()
    write_photo(folder / "1.png", 11)
    write_photo(folder / "new.png", 12)
    changed = find(model, QUERY, folder, threshold=LOW)
    expected = [float(read_image(folder / name).float().mean()) for name in ("1.png", "new.png")]
    assert looked == expected
    assert {match.file.name for match in changed.matches} == {"1.png", "2.png", "3.png", "new.png"}
    (folder / "new.png").unlink()
    find(model, QUERY, folder, threshold=LOW)  # nothing to look at, but to forget
    assert len(looked) == 2
    assert "new.png" not in (folder / NAME).read_bytes().decode("latin1")
    write_photo(folder / "new.png", 12)
    (folder / NAME).unlink()
    assert same(find(model, QUERY, folder, threshold=LOW), changed)


def test_an_index_serves_every_higher_threshold(
    model: RegionPredictor, folder: Path, looked: list[float], tmp_path: Path
) -> None:
    scores = torch.cat([match.regions.scores for match in find(model, QUERY, folder, threshold=LOW).matches])
    middle = float(scores.median())
    high = find(model, QUERY, folder, threshold=middle)
    assert len(looked) == 4
    assert sum(len(match.regions) for match in high.matches) == int((scores >= middle).sum()) < len(scores)
    (folder / NAME).unlink()
    assert same(find(model, QUERY, folder, threshold=middle), high)
    assert len(looked) == 8
    find(model, QUERY, folder, threshold=LOW)
    assert len(looked) == 12
    assert [find(model, QUERY, folder, threshold=0).notes for _ in range(2)] == [[], []]
    assert len(looked) == 16


def test_another_model_looks_anew(model: RegionPredictor, folder: Path, looked: list[float], tmp_path: Path) -> None:
    other = load(write_random_model(tmp_path / "other.safetensors", 4), "cpu")
    words = load(write_random_model(tmp_path / "words.safetensors", 3, (*WORDS[:-1], "sand")), "cpu")
    searches = [find(one, "a red mug", folder, threshold=LOW) for one in (model, other, words)]
    assert len(looked) == 12
    assert not same(searches[0], searches[1])
    assert [search.notes for search in searches] == [[], [], []]


def test_whoever_stops_it_keeps_what_is_done(
    model: RegionPredictor, folder: Path, looked: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(path: Path) -> Tensor:
        if path.name == "2.png":
            raise KeyboardInterrupt
        return read_image(path)

    with monkeypatch.context() as patch:
        patch.setattr(find_module, "read_image", stopped)
        with pytest.raises(KeyboardInterrupt):
            find(model, QUERY, folder, threshold=LOW)
    assert len(find(model, QUERY, folder, threshold=LOW).matches) == len(looked) == 4


# --- the command -------------------------------------------------------------------------------------------------


def test_table_and_files(run: Callable[..., str], file: Path, model: RegionPredictor, folder: Path) -> None:
    out = run("find", QUERY, folder, "--model", file, "--threshold", LOW, "--top", 3, "--out", "out", "--device", "cpu")
    search = find(model, QUERY, folder, top=3, threshold=LOW)
    assert sorted(os.listdir("out")) == ["found.json", "found.png"]
    head, *rows = out.splitlines()
    assert head.split() == ["rank", "score", "box", "file"]
    assert [row.split()[-1] for row in rows] == [str(match.file) for match in search.matches]
    content = json.loads(Path("out/found.json").read_text())
    assert (content["query"], content["pictures"], len(content["results"])) == (QUERY, 4, 3)
    for rank, (row, entry, match) in enumerate(zip(rows, content["results"], search.matches, strict=True), 1):
        best, box = entry["regions"][0], match.regions.boxes[0].tolist()
        assert (entry["rank"], entry["file"]) == (rank, match.file.as_posix())
        assert (entry["width"], entry["height"]) == (80, 64)
        assert len(entry["regions"]) == len(match.regions)
        assert best["log_likelihood"] == pytest.approx(float(match.likelihoods[0]), abs=1e-3)
        assert best["score"] == pytest.approx(np.exp(best["log_likelihood"] / 7), abs=1e-4)
        x, y, w, h = best["bbox"]
        assert [x, y, x + w, y + h] == pytest.approx(box, abs=0.01)
        assert best["label"] == "thing"
        rank_shown, score, *numbers = row.split()[:-1]
        assert int(rank_shown) == rank
        assert float(score) == pytest.approx(best["score"], abs=1e-4)
        assert [float(number) for number in numbers] == pytest.approx(box, abs=0.51)
    with Image.open("out/found.png") as sheet:
        assert sheet.width > 3 * 80


def test_nothing_found(run: Callable[..., str], file: Path, folder: Path) -> None:
    out = run("find", QUERY, folder, "--model", file, "--threshold", 1, "--out", "out", "--device", "cpu")
    assert out.startswith("nothing is found in 4 pictures; a lower --threshold")
    assert os.listdir("out") == ["found.json"]


def test_words_that_the_model_does_not_know(
    file: Path, model: RegionPredictor, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = "a tremendous red mug, tremendous on كلب the grass 🐶"
    assert main(["find", query, str(folder), "--model", str(file), "--threshold", str(LOW), "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"segue: the model does not know: tremendous, كلب, 🐶; searched for: {QUERY}\n"
    assert len(captured.out.splitlines()) == 5
    assert same(find(model, query, folder, threshold=LOW), find(model, QUERY, folder, threshold=LOW))
    long = find(model, "a red mug " * 100, folder, threshold=LOW)
    assert long.query == " ".join(["a red mug"] * 5)
    assert long.notes == [f"the model reads the first 15 words; searched for: {long.query}"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", ["the query has no word; ask for something"]),
        (" ?!\n", ["the query has no word"]),
        ("🐶 zebra", ["the model knows no word: 🐶, zebra; it knows 9, such as a, red,"]),
        ("zebra" + " x" * 300, ["the model knows no word: zebra, x;"]),
    ],
)
def test_queries_that_ask_for_nothing(refused: Refused, file: Path, folder: Path, query: str, words: list[str]) -> None:
    line = refused("find", query, folder, "--model", file, "--device", "cpu")
    assert all(word in line for word in words), line
    assert not (folder / NAME).exists()


def test_folders_without_pictures(refused: Refused, file: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "film.mp4").touch()
    for place, words in (
        (tmp_path / "none", "no such folder"),
        (folder / "*", "no such folder"),
        (tmp_path / "empty", "the folder holds no picture"),
        (tmp_path / "films", "the folder holds videos, but no picture"),
        (folder / "0.png", "not a folder"),
    ):
        assert f"{place}: {words}" in refused("find", QUERY, place, "--model", file, "--device", "cpu")


def test_models_without_captions(refused: Refused, model_file: Path, folder: Path) -> None:
    assert "tiny tells no captions; give a model with" in refused("find", QUERY, folder, "--model", model_file)
    assert not (folder / NAME).exists()


def test_no_model_to_search_with(refused: Refused, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_module, "ZOO", find_module.ZOO[:0])
    assert "--model: no model of the zoo tells captions; name a model file" in refused("find", QUERY, folder)


def test_results_among_the_pictures_are_refused(refused: Refused, file: Path, folder: Path) -> None:
    assert "the results would be searched, too" in refused("find", QUERY, folder, "--model", file, "--out", folder)


def test_damaged_pictures(refused: Refused, file: Path, folder: Path) -> None:
    (folder / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    arguments = ("find", QUERY, folder, "--model", file, "--threshold", LOW, "--device", "cpu")
    for _ in range(2):  # also when all others are known
        line = refused(*arguments, code=3)
        assert "1 of 4 inputs failed" in line
        assert f"{folder / '1.png'}: " in line
        assert len(refused.out.splitlines()) == 4  # type: ignore[attr-defined]
    for number in range(4):
        (folder / f"{number}.png").write_bytes(b"x")
    assert "not a picture" in refused(*arguments)


def test_a_region_is_lit() -> None:
    image = Image.new("RGB", (40, 30), (200, 180, 160))
    pixels = np.asarray(lit(image, torch.tensor([10.2, 5.0, 30.0, 20.4])))
    assert (pixels[8:18, 13:27] == (200, 180, 160)).all()
    assert (pixels[22:] < 80).all()
    assert (pixels[:, 32:] < 80).all()
    for box in ([-50.0, -50.0, -10.0, -10.0], [90.0, 90.0, 95.0, 95.0], [-1e30, -1e30, 1e30, 1e30]):
        assert lit(image, torch.tensor(box)).size == (40, 30)
