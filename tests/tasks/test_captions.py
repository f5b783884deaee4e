from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from segue.data.records import Dataset, Record
from segue.engine.recipe import check_network, to_plain
from segue.errors import CheckpointError, DataError, RecipeError
from segue.models.weights import load_state
from segue.nn.conventions import SEGUE
from segue.nn.language import Kind, greedy, sentence_loss
from segue.structures import Categories, Regions
from segue.tasks.captions import CAPTIONS, CaptionHead, CaptionSettings, mirror, parse, prepare, to_json, unknown
from segue.tasks.task import Sampled

CATEGORIES = Categories.from_names(["mug", "chair"])
WORDS = ("a", "red", "blue", "mug", "chair", "on", "the", "left", "right")
SMALL = CaptionSettings(channels=16, hidden=16, embedding=16, words=WORDS)


def head_of(settings: CaptionSettings = SMALL) -> CaptionHead:
    torch.manual_seed(0)
    return CaptionHead(4, CATEGORIES, SEGUE, settings)


def truth(captions: list[str] | None, count: int | None = None) -> Regions:
    n = len(captions or []) if count is None else count
    return Regions(torch.rand(n, 4), torch.zeros(n, dtype=torch.int64), captions=captions)


def sampled(matched: list[int], positive: list[bool] | None = None) -> Sampled:
    index, flags = (
        torch.tensor(matched, dtype=torch.int64),
        torch.tensor(positive or [True] * len(matched), dtype=torch.bool),
    )
    return Sampled(torch.rand(len(matched), 4), index * 0, index, flags, torch.ones_like(flags))


def loss_of(head: CaptionHead, codes: Tensor, sentences: list[str]) -> float:
    tokens = head.vocabulary.encode(sentences)
    return float(sentence_loss(head.decoder(codes, tokens), tokens, head.vocabulary.end).detach())


def test_defaults_have_the_published_language_model() -> None:
    settings = replace(CaptionSettings(), words=WORDS)
    head = CaptionHead(4, CATEGORIES, SEGUE, settings)
    shapes = {name: tuple(p.shape) for name, p in head.decoder.named_parameters() if p.ndim == 2}
    assert shapes == {
        "code.weight": (512, 1024),
        "words.weight": (11, 512),
        "logits.weight": (11, 512),
        "cell.weight_ih_l0": (2048, 512),
        "cell.weight_hh_l0": (2048, 512),
    }
    assert head(torch.randn(3, 4, 7, 7)).shape == (3, 1024)


def test_loss_sees_the_sentences_of_regions_with_an_object() -> None:
    head, codes = head_of(), torch.randn(4, 16)
    regions = sampled([2, 0, 1, 7], [True, True, False, False])  # matched means nothing where not positive
    loss = head.losses(codes, regions, truth(["a red mug", "a chair", "The blue, chair!"]))["captions"]
    assert float(loss.detach()) == pytest.approx(loss_of(head, codes[:2], ["the blue chair", "a red mug"]))


def test_regions_without_a_usable_sentence_count_nothing() -> None:
    head, codes = head_of(), torch.randn(5, 16)
    captions = ["", "mug " * 300, "a red mug", "?!", "a chair " + "on " * 13 + "\n\n"]
    loss = head.losses(codes, sampled([0, 1, 2, 3, 4]), truth(captions))["captions"]
    assert float(loss.detach()) == pytest.approx(loss_of(head, codes[[2, 4]], ["a red mug", captions[4]]))


def test_each_of_a_regions_sentences_is_drawn_alike() -> None:
    head, codes = head_of(), torch.randn(1, 16)
    captions = ["a mug", "a red chair\nthe blue mug\na chair " + "on " * 20 + "\na mug on the left"]
    wanted = {loss_of(head, codes, [c]): 0 for c in captions[1].split("\n") if len(c) < 40}
    for _ in range(300):
        loss = float(head.losses(codes, sampled([1]), truth(captions))["captions"].detach())
        wanted[min(wanted, key=lambda value: abs(value - loss))] += 1
        assert min(abs(value - loss) for value in wanted) < 1e-5
    assert len(wanted) == 3
    assert min(wanted.values()) > 60


def test_the_draw_follows_from_the_seed() -> None:
    head, codes = head_of(), torch.randn(20, 16)
    captions, values = ["a mug\na chair\na red mug\nthe left"] * 20, []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        values.append(float(head.losses(codes, sampled([*range(20)]), truth(captions))["captions"].detach()))
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize(
    ("regions", "annotated"),
    [
        (sampled([0, 1]), truth(None, 2)),
        (sampled([0, 1]), truth(["", "..."])),
        (sampled([0, 1], [False, False]), truth(["a mug"])),
        (sampled([0, 1], [False, False]), Regions.empty()),
        (sampled([]), Regions.empty()),
    ],
    ids=["no field", "no sentence", "no region with an object", "no object", "no region"],
)
def test_loss_without_sentences_is_zero_with_zero_gradients(regions: Sampled, annotated: Regions) -> None:
    head = head_of()
    loss = head.losses(head(torch.randn(len(regions.matched), 4, 7, 7)), regions, annotated)["captions"]
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())


@pytest.mark.parametrize("decoder", get_args(Kind))
def test_every_weight_learns(decoder: Kind) -> None:
    head = head_of(replace(SMALL, decoder=decoder, dropout=0.5))
    head.losses(head(torch.randn(2, 4, 7, 7)), sampled([0, 1]), truth(["a red mug", "a chair"]))["captions"].backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in head.parameters())


@pytest.mark.parametrize("decoder", get_args(Kind))
def test_head_learns_eight_regions_by_heart(decoder: Kind) -> None:
    head = head_of(replace(SMALL, decoder=decoder, hidden=32))
    rois = torch.randn(8, 4, 7, 7)
    captions = [
        f"{article} {color} {noun}" for article in ("a", "the") for color in ("red", "blue") for noun in WORDS[3:5]
    ]
    captions[5] = "the red chair on the left"
    optimizer = torch.optim.Adam(head.parameters(), 0.005)
    for _ in range(150):
        optimizer.zero_grad()
        head.losses(head(rois), sampled([*range(8)]), truth(captions))["captions"].backward()
        optimizer.step()
    head.eval()
    with torch.no_grad():
        codes = head(rois)
        assert head.decode(codes, truth(None, 8), (9, 9)) == captions
        head.settings = replace(head.settings, beams=3, length_power=0.7)
        assert head.decode(codes, truth(None, 8), (9, 9)) == captions
        ranked = torch.stack([head.log_likelihood(codes, f"{caption.upper()}!") for caption in captions])
    assert ranked.argmax(1).tolist() == [*range(8)]


@torch.no_grad()
def test_no_sentence_has_an_unknown_word() -> None:
    head, codes = head_of(), torch.randn(6, 16)
    head.decoder.logits.bias[head.vocabulary.unknown] = 20.0
    assert bool((greedy(head.decoder, codes) == head.vocabulary.unknown).any())
    for beams in (1, 2):
        head.settings = replace(SMALL, beams=beams)
        sentences = head.decode(codes, truth(None, 6), (9, 9))
        assert isinstance(sentences, list)
        assert all(set(s.split()) <= set(WORDS) for s in sentences)


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 3])
def test_no_detection_has_no_sentence(beams: int) -> None:
    assert head_of(replace(SMALL, beams=beams)).decode(torch.zeros(0, 16), Regions.empty(), (9, 9)) == []


@torch.no_grad()
@pytest.mark.parametrize("sentence", ["", "🐶 كلب never seen", "mug " * 300])
@pytest.mark.parametrize("decoder", get_args(Kind))
def test_any_sentence_has_a_likelihood(sentence: str, decoder: Kind) -> None:
    values = head_of(replace(SMALL, decoder=decoder)).log_likelihood(torch.randn(3, 16), sentence)
    assert values.shape == (3,)
    assert bool((values.isfinite() & (values < 0)).all())


def test_vocabulary_of_the_training_captions() -> None:
    texts = ["a red mug\na mug on the grass", "", "A red chair!", "🐶 " * 300]
    settings = prepare(CaptionSettings(threshold=2), captioned(texts))
    assert settings == CaptionSettings(threshold=2, words=("a", "mug", "red"))
    assert prepare(settings, captioned(["other words"])) is settings
    with pytest.raises(RecipeError, match="name a data set with captions"):
        prepare(CaptionSettings(), captioned(["", "\n"]))


def captioned(texts: list[str]) -> Dataset:
    """A picture for each text."""
    records = [Record(Path(f"{i}.png"), (8, 8), i, {}) for i in range(len(texts))]
    return Dataset("texts", Categories.from_names(["mug"]), records, [[{"caption": text}] for text in texts], {})


def test_a_head_without_words_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"captions\.words: the vocabulary has no word; ") as error:
        head_of(CaptionSettings())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("values", [{"beams": 0}, {"longest": 0}, {"dropout": 1.0}, {"length_power": -1.0}])
def test_impossible_settings_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        CaptionSettings(**values)


def test_settings_go_through_a_model_file() -> None:
    words = ("no", "1", "null", "🐶", "كلب")
    plain = {"tasks": {"captions": to_plain(replace(SMALL, words=words))}}
    network = check_network(json.loads(json.dumps(plain)), [CAPTIONS], "the test")
    assert network.head(CAPTIONS) == replace(SMALL, words=words)


def test_other_words_than_the_weights_have_are_refused() -> None:
    network = nn.ModuleDict({"heads": nn.ModuleDict({"captions": head_of()})})
    fewer = nn.ModuleDict({"heads": nn.ModuleDict({"captions": head_of(replace(SMALL, words=WORDS[1:]))})})
    with pytest.raises(CheckpointError, match=r"(first heads\.captions\.decoder\.words\.weight)"):
        load_state(fewer, network.state_dict(), Path("m.safetensors"))


def test_reading_captions() -> None:
    rows = [
        {"caption": "A red  mug.\n\na mug on\tthe left\n"},
        {"captions": ["a chair\non grass", "", "  ", "🐶 كلب"]},
        {"caption": "one", "captions": ["two"]},
        {"bbox": [0, 0, 1, 1]},
        {"caption": None, "captions": None},
        {"caption": "half \ud83d of a character"},
    ]
    wanted = ["A red mug.\na mug on the left", "a chair on grass\n🐶 كلب", "one\ntwo", "", "", "half ? of a character"]
    assert parse(rows, (4, 4)) == wanted
    assert parse(rows[3:4], (4, 4)) is None
    assert parse([], (4, 4)) == []


@pytest.mark.parametrize(
    "row",
    [{"caption": 3}, {"caption": ["a"]}, {"captions": "a mug"}, {"captions": ["a", None]}, {"captions": {"a": 1}}],
)
def test_captions_that_are_not_text_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"^annotation 7: a caption is not text; give caption a text"):
        parse([{"id": 7, **row}], (4, 4))


def test_json_round_trip() -> None:
    captions = ["a red mug\na mug on the left", "", "<b>🐶</b> كلب", "word " * 299 + "word"]
    regions = truth(captions)
    assert parse(json.loads(json.dumps(to_json(regions))), (4, 4)) == captions
    assert to_json(regions)[2] == {"caption": "<b>🐶</b> كلب"}
    assert to_json(truth(None, 2)) == [{}, {}]


def test_a_mirror_exchanges_left_and_right() -> None:
    captions = ["Left of a mug, on the right\nRIGHT, lefty, bright", "", "a chair"]
    mirrored = mirror(truth(captions), CATEGORIES)
    assert mirrored == ["Right of a mug, on the left\nLEFT, lefty, bright", "", "a chair"]
    assert isinstance(mirrored, list)
    assert mirror(truth(mirrored), CATEGORIES) == captions


def test_nothing_is_known_of_other_pictures() -> None:
    both = truth(["a mug"]), truth(None, 2)
    joined = Regions.cat([both[0], both[1].with_field("captions", unknown(["a mug"], 2))])
    assert joined.captions == ["a mug", "", ""]
    assert CAPTIONS.name == "captions"
