"""Search by sentence, from a sentence and a folder to files; the index beside the pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from conftest import tiny_values
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from segue.cli import main
from segue.data.geometry import Geometry
from segue.data.images import read_image
from segue.data.records import Dataset, Record
from segue.engine import find as find_module
from segue.engine import query_scores as scores_module
from segue.engine.find import Search, find
from segue.engine.found import lit
from segue.engine.given_boxes import raw_outputs
from segue.engine.load import load
from segue.engine.query_scores import levels_of, query_scores
from segue.engine.recipe import check_network, to_plain
from segue.engine.region_index import KEY, NAME, places, read_index
from segue.engine.region_predictor import RegionPredictor
from segue.engine.search_numbers import own_sentences, picture_scores, search_numbers
from segue.models.region_network import RegionNetwork
from segue.models.weights import ModelFile, seal, write_model
from segue.nn.conventions import SEGUE
from segue.nn.language import Kind
from segue.structures import Categories
from segue.tasks import BOXES, CAPTIONS
from segue.tasks.captions import CaptionHead, CaptionSettings

LOW = 0.3
"""Below all scores of the random network, which knows one class."""

WORDS = ("a", "red", "blue", "mug", "chair", "on", "the", "left", "grass")
QUERY = "a red mug on the grass"
CATEGORIES = Categories.from_names(["thing"])

Refused = Callable[..., str]


def write_random_model(path: Path, seed: int, words: tuple[str, ...] = WORDS) -> Path:
    values = tiny_values(Path())["network"]
    values["proposals"] |= {"pre_nms": 16, "post_nms": 16}
    boxes = {"channels": 16, "detections": 6, "score": 0.0}
    captions = {"channels": 16, "hidden": 16, "embedding": 16, "words": list(words)}
    settings = check_network({**values, "tasks": {"boxes": boxes, "captions": captions}}, [BOXES, CAPTIONS], "the test")
    torch.manual_seed(seed)
    network = RegionNetwork(settings, CATEGORIES, [BOXES, CAPTIONS])
    head: Any = network.heads["captions"]
    torch.nn.init.normal_(head.decoder.code.weight, std=2.0)  # regions differ in what is said of them
    torch.nn.init.normal_(head.decoder.logits.weight, std=2.0)
    write_model(path, ModelFile(f"m{seed}", to_plain(settings), CATEGORIES.to_json(), None, network.state_dict()))
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("captioning") / "model.safetensors", 3)


@pytest.fixture(scope="module")
def model(file: Path) -> RegionPredictor:
    predictor = load(file, "cpu")
    assert isinstance(predictor, RegionPredictor)
    return predictor


def write_photo(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (6, 7, 3), dtype=np.uint8)
    Image.fromarray(small).resize((80, 64), Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of four photos and two files that are none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        write_photo(photos / f"{number}.png", number)
    (photos / "notes.txt").write_text("no picture")
    (photos / "film.mp4").write_bytes(b"no picture either")
    return photos


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The mean brightness of each picture that the model looks at from now on."""
    seen: list[float] = []
    look = find_module.look

    def watched(predictor: RegionPredictor, image: Tensor, *rest: Any) -> Any:
        seen.append(float(image.float().mean()))
        return look(predictor, image, *rest)

    monkeypatch.setattr(find_module, "look", watched)
    return seen


def same(one: Search, two: Search) -> bool:
    """Equal to the last bit."""
    return [m.file.name for m in one.matches] == [m.file.name for m in two.matches] and all(
        torch.equal(a.likelihoods, b.likelihoods) and torch.equal(a.regions.boxes, b.regions.boxes)
        for a, b in zip(one.matches, two.matches, strict=True)
    )


# --- likelihoods -------------------------------------------------------------------------------------------------

SENTENCES = [
    QUERY,
    "a red",
    "a red mug",
    "a blue mug",
    "a red mug",
    "the chair",
    "a zebra on the grass",
    "mug " * 300,
    "",
]


def head_of(decoder: Kind = "lstm") -> CaptionHead:
    torch.manual_seed(1)
    settings = CaptionSettings(channels=12, hidden=16, embedding=8, words=WORDS, decoder=decoder)
    head = CaptionHead(2, CATEGORIES, SEGUE, settings).eval()
    torch.nn.init.normal_(head.decoder.logits.weight, std=1.0)
    return head


@pytest.mark.parametrize("decoder", get_args(Kind))
def test_scores_are_log_likelihoods(decoder: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    head, codes = head_of(decoder), torch.randn(7, 12)
    with torch.no_grad():
        expected = torch.stack([head.log_likelihood(codes, sentence) for sentence in SENTENCES])
    torch.testing.assert_close(query_scores(head, codes, SENTENCES), expected, atol=1e-4, rtol=0)
    monkeypatch.setattr(scores_module, "VALUES", 1)  # region by region
    torch.testing.assert_close(query_scores(head, codes, SENTENCES), expected, atol=1e-4, rtol=0)


def test_no_region_and_no_sentence_have_no_score() -> None:
    assert query_scores(head_of(), torch.zeros(0, 12), SENTENCES).shape == (len(SENTENCES), 0)
    assert query_scores(head_of(), torch.zeros(3, 12), []).shape == (0, 3)


def test_what_is_below_the_floor_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    head, codes, rows = head_of(), torch.randn(50, 12), []
    torch.nn.init.normal_(head.decoder.code.weight)
    torch.nn.init.normal_(head.decoder.logits.weight, std=8.0)  # sure of what it says, as if trained
    step = head.decoder.step
    monkeypatch.setattr(head.decoder, "step", lambda state, tokens: rows.append(len(tokens)) or step(state, tokens))
    full = query_scores(head, codes, SENTENCES)
    needed = sum(rows)
    rows.clear()
    floors = full.amax(dim=1)
    scores = query_scores(head, codes, SENTENCES, floors - 1e-3)
    above = full >= floors[:, None]
    torch.testing.assert_close(scores[above], full[above], atol=1e-3, rtol=0)
    followed = scores[~above].isfinite()
    torch.testing.assert_close(scores[~above][followed], full[~above][followed], atol=1e-3, rtol=0)
    assert sum(rows) < 0.8 * needed
    rows.clear()
    assert not query_scores(head, codes, SENTENCES[:3], torch.full((3,), torch.inf)).isfinite().any()
    assert rows == [50]


def test_sentences_share_what_they_begin_with() -> None:
    vocabulary = head_of().vocabulary
    tokens = vocabulary.encode(["a red mug", "a red chair", "a red", "a red mug"])
    levels = levels_of(tokens, torch.tensor([3.0, 1.0, 2.0, 4.0]), vocabulary.end)
    assert [len(level.words) for level in levels] == [1, 1, 3, 2]
    assert [sorted(level.floors.tolist()) for level in levels] == [[1], [1], [1, 2, 3], [1, 3]]
    assert [sorted(level.sentences.tolist()) for level in levels] == [[], [], [2], [0, 1, 3]]


# --- the search --------------------------------------------------------------------------------------------------


def test_pictures_are_ranked_by_their_likeliest_region(model: RegionPredictor, folder: Path) -> None:
    search, head = find(model, QUERY, folder, threshold=LOW), find_module.caption_head(model)
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


# --- the index file ----------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


def sealed(change: Callable[[dict[str, Tensor], dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change tables and header, and seal them as if they were right."""

    def damage(path: Path) -> None:
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()[KEY].partition(" ")[2])
        tensors = load_file(path)
        change(tensors, header)
        path.write_bytes(save(tensors, {KEY: seal(tensors, json.dumps(header))}))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x80\x04cposix\nsystem\n(S'touch here'\ntR."),
        lambda path: path.write_bytes(save({"x": torch.zeros(2)})),
        cut,
        flip,
        sealed(lambda t, h: h.pop("names")),
        sealed(lambda t, h: h.update(names=[*h["names"][:-1], 7])),
        sealed(lambda t, h: h.update(names=h["names"][:1] * 4)),
        sealed(lambda t, h: h.update(names=h["names"][:3])),
        sealed(lambda t, h: h.update(threshold=float("nan"))),
        sealed(lambda t, h: h.update(threshold="low")),
        sealed(lambda t, h: t.pop("labels")),
        sealed(lambda t, h: t.update(more=torch.zeros(1))),
        sealed(lambda t, h: t.update(codes=t["codes"].float())),
        sealed(lambda t, h: t.update(codes=t["codes"][:, 1:].contiguous())),
        sealed(lambda t, h: t.update(labels=torch.tensor(0))),
        sealed(lambda t, h: t["counts"].add_(1)),
        sealed(lambda t, h: t["counts"].add_(torch.tensor([-99, 99, 0, 0]))),
        sealed(lambda t, h: t["sizes"].neg_()),
        sealed(lambda t, h: t["labels"].add_(1)),
        sealed(lambda t, h: t["scores"].fill_(torch.nan)),
        sealed(lambda t, h: t["boxes"].fill_(torch.inf)),
        sealed(lambda t, h: t["codes"].fill_(torch.nan)),
    ],
)
def test_a_damaged_index_is_made_anew(
    model: RegionPredictor, folder: Path, looked: list[float], damage: Callable[[Path], None]
) -> None:
    first = find(model, QUERY, folder, threshold=LOW)
    damage(folder / NAME)
    again = find(model, QUERY, folder, threshold=LOW)
    assert same(again, first)
    assert len(looked) == 8
    (note,) = again.notes
    assert note.startswith(f"{folder / NAME}: ")
    assert note.endswith("; the index is made anew")
    assert find(model, QUERY, folder, threshold=LOW).notes == []
    assert len(looked) == 8


def test_names_in_an_index_are_no_paths(model: RegionPredictor, folder: Path, looked: list[float]) -> None:
    find(model, QUERY, folder, threshold=LOW)
    write_photo(folder.parent / "secret.png", 9)
    sealed(lambda t, h: h.update(names=["../secret.png", *h["names"][1:]]))(folder / NAME)
    search = find(model, QUERY, folder, threshold=LOW)
    assert sorted(match.file.name for match in search.matches) == ["0.png", "1.png", "2.png", "3.png"]
    assert len(looked) == 5


def test_a_folder_that_cannot_be_written_has_its_index_elsewhere(
    model: RegionPredictor, folder: Path, looked: list[float]
) -> None:
    (folder / NAME).mkdir()  # nor can anyone, not even root, rename a file to that
    (folder / NAME / "x").touch()
    first = find(model, QUERY, folder, threshold=LOW)
    inside, elsewhere = places(folder)
    assert (inside, first.notes) == (folder / NAME, [])
    assert elsewhere.is_file()
    assert same(find(model, QUERY, folder, threshold=LOW), first)
    assert len(looked) == 4
    elsewhere.unlink()
    elsewhere.mkdir()
    (note,) = find(model, QUERY, folder, threshold=LOW).notes
    assert "cannot write" in note
    assert note.endswith("the next search looks at all pictures again")


def test_the_index_that_knows_more_is_taken(model: RegionPredictor, folder: Path, looked: list[float]) -> None:
    find(model, QUERY, folder, threshold=LOW)
    inside, elsewhere = places(folder)
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes(inside.read_bytes())
    write_photo(folder / "1.png", 11)
    find(model, QUERY, folder, threshold=LOW)
    assert len(looked) == 5
    inside_bytes = inside.read_bytes()
    inside.write_bytes(elsewhere.read_bytes())
    elsewhere.write_bytes(inside_bytes)
    find(model, QUERY, folder, threshold=LOW)
    assert len(looked) == 5


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


# --- the numbers -------------------------------------------------------------------------------------------------


def dataset_of(folder: Path, captions: list[list[str]]) -> Dataset:
    records = [Record(folder / f"{i}.png", (64, 80), i, {}) for i in range(len(captions))]
    rows = [
        [{"bbox": [0, 0, 9, 9], "category_id": CATEGORIES[0].id, "caption": text} for text in texts]
        for texts in captions
    ]
    return Dataset("the test", CATEGORIES, records, rows, {"captions": CAPTIONS.parse})


def test_queries_are_sentences_of_one_picture(folder: Path) -> None:
    captions = [
        ["a red mug", "a chair\nthe blue mug"],
        ["A red mug!", "a mug\na  mug", "a blue chair"],
        ["a chair", "a red mug"],
        ["on " * 16, "?!", "", "the left"],
    ]
    assert own_sentences(dataset_of(folder, captions), 15) == {0: "the blue mug", 1: "a mug", 3: "the left"}
    assert own_sentences(dataset_of(folder, [[], []]), 15) == {}


def test_scores_of_pictures_are_those_of_their_best_region() -> None:
    head, codes = head_of(), torch.randn(40, 12)
    owners = torch.arange(40) % 9 + (torch.arange(40) % 9 > 4)  # picture 5 has no region
    queries, own = ["a red mug", "a blue mug", "the chair on the grass", "mug"], torch.tensor([8, 0, 5, 2])
    full = query_scores(head, codes, queries)
    expected = torch.stack(
        [full[:, owners == i].amax(1) if i != 5 else torch.full((4,), -torch.inf) for i in range(10)], dim=1
    )
    scores = picture_scores(head, codes, owners, queries, own, 10)
    mine = expected.gather(1, own[:, None])
    assert mine[:, 0].isfinite().tolist() == [True, True, False, True]
    above = (expected >= mine) & mine.isfinite()
    torch.testing.assert_close(scores[above], expected[above], atol=1e-4, rtol=0)
    assert bool((scores[~above] <= expected[~above] + 1e-4).all())
    assert not picture_scores(head, codes[:0], owners[:0], queries, own, 10).isfinite().any()


def test_numbers_of_a_search(model: RegionPredictor, folder: Path) -> None:
    captions = [["a red mug"], ["a blue chair on the left"], ["mug\nthe grass"], ["the grass", "a red"]]
    numbers = search_numbers(model, dataset_of(folder, captions), LOW, progress=False)
    ranks = []
    for number, query in enumerate(["a red mug", "a blue chair on the left", "mug", "a red"]):
        names = [match.file.name for match in find(model, query, folder, threshold=LOW).matches]
        ranks.append(names.index(f"{number}.png") + 1)
    assert numbers == {
        "search/queries": 4,
        "search/recall@1": pytest.approx(ranks.count(1) / 4),
        "search/recall@5": 1,
        "search/recall@10": 1,
        "search/median_rank": pytest.approx(float(np.median(ranks))),
    }
    assert len(set(ranks)) > 1


def test_no_query_and_no_region(model: RegionPredictor, folder: Path) -> None:
    assert search_numbers(model, dataset_of(folder, [["a mug"], ["a mug"]]), LOW, False) == {"search/queries": 0}
    nothing = search_numbers(model, dataset_of(folder, [["a mug"], ["a chair"]]), 1.0, progress=False)
    assert (nothing["search/recall@1"], nothing["search/median_rank"]) == (0, 2)


def test_an_index_is_of_a_model(model: RegionPredictor, folder: Path) -> None:
    find(model, QUERY, folder, threshold=LOW)
    reader = find_module.Reader(find_module.model_hash(model), 1, 16)
    index = read_index(folder / NAME, reader)
    assert index is not None
    assert list(index.entries) == ["0.png", "1.png", "2.png", "3.png"]
    assert read_index(folder / NAME, replace(reader, model="another")) is None
