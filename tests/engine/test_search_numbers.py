"""How likely sentences are for regions, and how well a model searches by them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from searching import CATEGORIES, LOW, QUERY, WORDS, load_model, photo_folder, write_random_model
from torch import Tensor

from segue.data.records import Dataset, Record
from segue.engine import query_scores as scores_module
from segue.engine import search_numbers as numbers_module
from segue.engine.find import find
from segue.engine.query_scores import levels_of, query_scores
from segue.engine.region_predictor import RegionPredictor
from segue.engine.search_numbers import (
    Seen,
    description_scores,
    own_descriptions,
    own_sentences,
    picture_scores,
    search_numbers,
    sentences_of,
)
from segue.nn.conventions import SEGUE
from segue.nn.language import Kind
from segue.tasks import CAPTIONS
from segue.tasks.captions import CaptionHead, CaptionSettings

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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RegionPredictor:
    return load_model(write_random_model(tmp_path_factory.mktemp("captioning") / "model.safetensors", 3))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return photo_folder(tmp_path, monkeypatch)


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


def dataset_of(folder: Path, captions: list[list[str]]) -> Dataset:
    records = [Record(folder / f"{i}.png", (64, 80), i, {}) for i in range(len(captions))]
    rows = [
        [{"bbox": [0, 0, 9, 9], "category_id": CATEGORIES[0].id, "caption": text} for text in texts]
        for texts in captions
    ]
    return Dataset("the test", CATEGORIES, records, rows, {"captions": CAPTIONS.parse})


def said_in(folder: Path, captions: list[list[str]]) -> list[list[str]]:
    return sentences_of(dataset_of(folder, captions), 15)


def test_queries_are_sentences_of_one_picture(folder: Path) -> None:
    captions = [
        ["a red mug", "a chair\nthe blue mug"],
        ["A red mug!", "a mug\na  mug", "a blue chair"],
        ["a chair", "a red mug"],
        ["on " * 16, "?!", "", "the left"],
    ]
    assert own_sentences(said_in(folder, captions)) == {0: "the blue mug", 1: "a mug", 3: "the left"}
    assert own_sentences(said_in(folder, [[], []])) == {}


def test_descriptions_are_four_sentences_that_only_one_picture_has_all_of(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = ["a", "b", "c", "d"]
    said = [shared, [*shared, "e"], ["a", "b", "c", "x"], ["y", "z", "w"], list("pqrstuvw")]
    chosen = own_descriptions(said)
    assert set(chosen) - {1} == {2, 4}  # of five, four may be those of picture 0
    assert 1 not in chosen or "e" in chosen[1]
    assert sorted(chosen[2]) == ["a", "b", "c", "x"]
    assert len(set(chosen[4])) == 4
    assert set(chosen[4]) <= set(said[4])
    assert own_descriptions(said) == chosen
    assert len({tuple(own_descriptions([[]] * n + [said[4]])[n]) for n in range(6)}) > 1  # not the first four
    monkeypatch.setattr(numbers_module, "DESCRIPTIONS", 1)
    assert len(own_descriptions(said)) == 1


def codes_of_pictures() -> Seen:
    """Forty regions of ten pictures, the fifth of which has none."""
    owners = torch.arange(40) % 9 + (torch.arange(40) % 9 > 4)
    return Seen(torch.randn(40, 12), owners, 10)


def best_of_pictures(head: CaptionHead, seen: Seen, sentences: list[str]) -> Tensor:
    """Likelihoods (S, N) in the best region of each picture, one picture after the other."""
    full, nothing = query_scores(head, seen.codes, sentences), torch.full((len(sentences),), -torch.inf)
    parts = (full[:, seen.owners == i] for i in range(seen.pictures))
    return torch.stack([part.amax(1) if part.shape[1] else nothing for part in parts], dim=1)


def test_scores_of_pictures_are_those_of_their_best_region() -> None:
    head, seen = head_of(), codes_of_pictures()
    queries, own = ["a red mug", "a blue mug", "the chair on the grass", "mug"], torch.tensor([8, 0, 5, 2])
    expected = best_of_pictures(head, seen, queries)
    scores = picture_scores(head, seen, queries, own)
    mine = expected.gather(1, own[:, None])
    assert mine[:, 0].isfinite().tolist() == [True, True, False, True]
    above = (expected >= mine) & mine.isfinite()
    torch.testing.assert_close(scores[above], expected[above], atol=1e-4, rtol=0)
    assert bool((scores[~above] <= expected[~above] + 1e-4).all())
    nothing = Seen(seen.codes[:0], seen.owners[:0], 10)
    assert not picture_scores(head, nothing, queries, own).isfinite().any()


@pytest.mark.parametrize("margin", [0.0, 0.3, 100.0])
def test_scores_of_descriptions_are_means_over_sentences(margin: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers_module, "MARGIN", margin)
    head, seen = head_of(), codes_of_pictures()
    torch.nn.init.normal_(head.decoder.code.weight)  # sentences of one description may differ in what they favour
    torch.nn.init.normal_(head.decoder.logits.weight, std=3.0)
    sentences = [f"{article} {color} {noun}" for article in ("a", "the") for color in WORDS[1:3] for noun in WORDS[3:7]]
    descriptions = [sentences[i : i + 13 : 4] for i in range(4)] * 5
    own = (torch.arange(20) + torch.arange(20) // 10) % 10
    flat = [sentence for description in descriptions for sentence in description]
    expected = best_of_pictures(head, seen, flat).view(20, 4, 10).mean(1)
    mine = expected.gather(1, own[:, None])
    scores = description_scores(head, seen, descriptions, own)
    above = (expected >= mine) & mine.isfinite()
    assert 20 < int(above.sum()) < 180
    torch.testing.assert_close(scores[above], expected[above], atol=1e-4, rtol=0)
    below = ~above & mine.isfinite()
    assert bool((scores < mine)[below].all())
    assert scores[own == 5, 5].tolist() == [-torch.inf] * 2  # what is not found comes last
    assert description_scores(head, seen, [], own[:0]).shape == (0, 10)


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
        "descriptions/queries": 0,
    }
    assert len(set(ranks)) > 1


def test_numbers_of_a_search_by_descriptions(model: RegionPredictor, folder: Path) -> None:
    texts = [["a red mug", "the grass", "a blue chair", "on the left"], ["a mug", "mug", "red", "the blue grass"]]
    numbers = search_numbers(model, dataset_of(folder, [["a"], *texts, ["a"]]), LOW, progress=False)
    ranks = []
    for number, sentences in enumerate(texts, 1):
        found = [find(model, sentence, folder, threshold=LOW).matches for sentence in sentences]
        totals = {f"{i}.png": 0.0 for i in range(4)}
        for match in (match for matches in found for match in matches):
            totals[match.file.name] += float(match.likelihoods[0])
        ranks.append(sorted(totals, key=lambda name: -totals[name]).index(f"{number}.png") + 1)
    assert (numbers["search/queries"], numbers["descriptions/queries"]) == (2, 2)
    assert numbers["descriptions/recall@1"] == ranks.count(1) / 2
    assert numbers["descriptions/median_rank"] == np.mean(ranks)


def test_no_query_and_no_region(model: RegionPredictor, folder: Path) -> None:
    none = search_numbers(model, dataset_of(folder, [["a mug"], ["a mug"]]), LOW, False)
    assert none == {"search/queries": 0, "descriptions/queries": 0}
    told = [["a mug", "a", "the", "red"], ["a chair", "a", "the", "red"]]
    nothing = search_numbers(model, dataset_of(folder, told), 1.0, progress=False)
    for group in ("search", "descriptions"):
        assert (nothing[f"{group}/recall@1"], nothing[f"{group}/median_rank"]) == (0, 2)
