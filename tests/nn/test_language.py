from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segue.errors import RecipeError
from segue.nn.language import (
    Decoder,
    Kind,
    LSTMDecoder,
    beam_search,
    greedy,
    log_likelihood,
    make_decoder,
    said,
    sentence_loss,
)

KINDS = get_args(Kind)
END = 3  # of the tiny vocabulary
LONGEST = 4


SEEDS = {"lstm": 0, "gru": 1, "transformer": 1}  # of decoders whose sentences differ in words and length


def decoder_of(kind: Kind) -> Decoder:
    """One with opinions that depend on the code and on all words so far."""
    torch.manual_seed(SEEDS[kind])
    decoder = make_decoder(kind, 6, END + 1, 8, 8, LONGEST)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter *= 2.5
    return decoder.eval()


def codes_of(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) * 2


def all_sentences() -> Tensor:
    """Every sentence that can be said in four steps, (121, 4): those of four words do not get to their end."""
    rows = [[*words] + [END] * (LONGEST - n) for n in range(LONGEST + 1) for words in product(range(END), repeat=n)]
    return torch.tensor(rows)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_likelihoods_of_all_sentences_add_up_to_one(kind: Kind) -> None:
    decoder, sentences = decoder_of(kind), all_sentences()
    for code in codes_of(3):
        values = log_likelihood(decoder, code.expand(len(sentences), -1), sentences).exp()
        assert float(values.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_step_by_step_says_what_the_whole_sentence_says(kind: Kind) -> None:
    decoder, codes, tokens = decoder_of(kind), codes_of(5), torch.randint(END + 1, (5, LONGEST))
    whole, state, word = decoder(codes, tokens), decoder.begin(codes), torch.full((5,), END)
    assert whole.shape == (5, LONGEST, END + 1)
    for place in range(LONGEST):
        logits, state = decoder.step(state, word)
        torch.testing.assert_close(logits, whole[:, place])
        word = tokens[:, place]


@torch.no_grad()
def test_lstm_is_the_published_one() -> None:
    decoder, codes, tokens = decoder_of("lstm"), codes_of(3), torch.tensor([[0, 2, END], [1, END, END], [2, 2, 2]])
    assert isinstance(decoder, LSTMDecoder)
    weights = [decoder.cell.get_parameter(f"{n}_l0") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    for code, sentence, logits in zip(codes, tokens, decoder(codes, tokens), strict=True):
        inputs = [F.relu(decoder.code(code)), *decoder.words(torch.tensor([END, *sentence[:-1]]))]
        h, c, outputs = torch.zeros(1, 8), torch.zeros(1, 8), []
        for x in inputs:
            h, c = torch.lstm_cell(x[None], (h, c), *weights)
            outputs.append(decoder.logits(h)[0])
        torch.testing.assert_close(logits, torch.stack(outputs[1:]))  # nothing of the image step


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_greedy_takes_the_likeliest_word_each_time(kind: Kind) -> None:
    decoder, codes = decoder_of(kind), codes_of(12)
    tokens = greedy(decoder, codes, LONGEST)
    counted = said(tokens, END)
    assert torch.equal(decoder(codes, tokens).argmax(2)[counted], tokens[counted])
    assert bool((tokens[~counted] == END).all())
    assert len({int(length) for length in counted.sum(1)}) > 1  # some end early


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_one_beam_is_greedy(kind: Kind) -> None:
    decoder, codes = decoder_of(kind), codes_of(20)
    for power in (0.0, 1.0):
        assert torch.equal(beam_search(decoder, codes, 1, power, LONGEST), greedy(decoder, codes, LONGEST))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("never", [None, 1])
@torch.no_grad()
def test_wide_beams_find_the_best_of_all_sentences(kind: Kind, power: float, never: int | None) -> None:
    decoder, codes, sentences = decoder_of(kind), codes_of(6), all_sentences()
    found = beam_search(decoder, codes, 128, power, LONGEST, never)
    for code, tokens in zip(codes, found, strict=True):
        values = log_likelihood(decoder, code.expand(len(sentences), -1), sentences)
        scores = values / said(sentences, END).sum(1) ** power
        if never is not None:
            scores[(sentences == never).any(1)] = -torch.inf
        assert torch.equal(tokens, sentences[scores.argmax()])


@torch.no_grad()
def test_beams_find_likelier_sentences_and_longer_ones_by_their_mean() -> None:
    decoder, codes = decoder_of("lstm"), codes_of(40)
    one, some = greedy(decoder, codes, LONGEST), beam_search(decoder, codes, 4, 0.0, LONGEST)
    gain = log_likelihood(decoder, codes, some) - log_likelihood(decoder, codes, one)
    assert float(gain.max()) > 0.01
    assert float(gain.mean()) > 0
    by_mean = beam_search(decoder, codes, 4, 1.0, LONGEST)
    assert int(said(by_mean, END).sum()) > int(said(some, END).sum())


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_regions_do_not_disturb_each_other(kind: Kind) -> None:
    decoder, codes = decoder_of(kind), codes_of(10)
    together, beams = greedy(decoder, codes, LONGEST), beam_search(decoder, codes, 3, 0.5, LONGEST)
    for i in range(len(codes)):
        assert torch.equal(greedy(decoder, codes[i : i + 1], LONGEST)[0], together[i])
        assert torch.equal(beam_search(decoder, codes[i : i + 1], 3, 0.5, LONGEST)[0], beams[i])


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_no_region_gives_no_sentence(kind: Kind) -> None:
    decoder, none = decoder_of(kind), torch.zeros(0, 6)
    assert greedy(decoder, none).shape == (0, 15)
    assert beam_search(decoder, none, 3).shape == (0, 15)
    assert decoder(none, torch.zeros(0, 3, dtype=torch.int64)).shape == (0, 3, END + 1)


@torch.no_grad()
def test_a_word_that_is_never_said_is_not_said() -> None:
    decoder, codes = decoder_of("gru"), codes_of(20)
    assert bool((greedy(decoder, codes, LONGEST) == 0).any())
    assert not bool((greedy(decoder, codes, LONGEST, never=0) == 0).any())


@torch.no_grad()
def test_generation_stops_when_all_sentences_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, steps = decoder_of("lstm"), []
    decoder.logits.bias[END] = 100.0
    step = decoder.step

    def counted(state: tuple[Tensor, ...], tokens: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        steps.append(len(tokens))
        return step(state, tokens)

    monkeypatch.setattr(decoder, "step", counted)
    assert bool((greedy(decoder, codes_of(5)) == END).all())
    assert bool((beam_search(decoder, codes_of(5), 2) == END).all())
    assert steps == [5, 10]


@torch.no_grad()
def test_loss_is_the_mean_over_words_and_ends() -> None:
    decoder, codes = decoder_of("lstm"), codes_of(3)
    tokens = torch.tensor([[0, 2, END, END], [END] * 4, [1, 1, 1, END]])
    loss = sentence_loss(decoder(codes, tokens), tokens, END)
    assert float(loss) == pytest.approx(-float(log_likelihood(decoder, codes, tokens).sum()) / (3 + 1 + 4), rel=1e-5)
    other = tokens.clone()
    other[0, 3] = 1  # behind an end
    assert float(sentence_loss(decoder(codes, other), other, END)) == pytest.approx(float(loss))


@pytest.mark.parametrize("kind", KINDS)
def test_eight_sentences_are_learned_by_heart(kind: Kind) -> None:
    torch.manual_seed(0)
    end, codes = 11, torch.randn(8, 16)
    decoder = make_decoder(kind, 16, end + 1, 32, 32, longest=6)
    tokens = torch.randint(end, (8, 7))
    tokens[torch.arange(7) >= torch.tensor([6, 5, 4, 3, 2, 1, 0, 6])[:, None]] = end  # of all lengths
    optimizer = torch.optim.Adam(decoder.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        sentence_loss(decoder(codes, tokens), tokens, end).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        assert torch.equal(greedy(decoder, codes, 7), tokens)
        assert torch.equal(beam_search(decoder, codes, 3, 0.0, 7), tokens)


def test_a_transformers_width_must_fit_its_heads() -> None:
    with pytest.raises(RecipeError, match="a transformer of 10 channels; take a multiple of 4"):
        make_decoder("transformer", 6, 4, 8, 10, 4)
