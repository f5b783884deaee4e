"""Sentences about regions: decoders that read a region's code and words so far, and the search for a sentence.

All work on R regions at once and loop over words only. The last index of a vocabulary is the end of a sentence and its
start (`segue.nn.vocabulary`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.errors import RecipeError

State = tuple[Tensor, ...]
"""What a decoder remembers of R sentences so far: tensors (R, ...)."""

Kind = Literal["lstm", "gru", "transformer"]

HEADS, LAYERS = 4, 2  # of the transformer


class Decoder(nn.Module, ABC):
    """Language model of a region: the code through Linear and ReLU, then the start, then word by word.

    What comes out at the code is ignored (DenseCap, section 3.4). A subclass says how the next inputs are read.
    """

    def __init__(self, channels: int, vocabulary: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.end = vocabulary - 1
        self.code = nn.Linear(channels, embedding)
        self.words = nn.Embedding(vocabulary, embedding)
        self.logits = nn.Linear(hidden, vocabulary)

    @abstractmethod
    def fresh(self, codes: Tensor) -> State:
        """The state of R codes (R, D) before anything has been read."""

    @abstractmethod
    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Go on from a state with T inputs (R, T, embedding) -> outputs (R, T, hidden) and the state after them."""

    def forward(self, codes: Tensor, tokens: Tensor) -> Tensor:
        """Codes (R, D), sentences (R, T) -> logits (R, T, V) of each token, given the code and the tokens before it."""
        start = tokens.new_full((len(tokens), 1), self.end)
        words = self.words(torch.cat([start, tokens[:, :-1]], dim=1))  # (R, T, E)
        outputs, _ = self.read(torch.cat([self._coded(codes), words], dim=1), self.fresh(codes))
        logits: Tensor = self.logits(outputs[:, 1:])
        return logits.float()

    def begin(self, codes: Tensor) -> State:
        """The state of codes (R, D) before the first `step`, which takes the start."""
        return self.read(self._coded(codes), self.fresh(codes))[1]

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one more token each (R,) -> logits (R, V) of the next one, and the state after it."""
        outputs, state = self.read(self.words(tokens)[:, None], state)
        return self.logits(outputs[:, 0]).float(), state

    def _coded(self, codes: Tensor) -> Tensor:
        return F.relu(self.code(codes))[:, None]  # (R, 1, E)


class LSTMDecoder(Decoder):
    """DenseCap's: one LSTM layer."""

    def __init__(self, channels: int, vocabulary: int, embedding: int, hidden: int) -> None:
        super().__init__(channels, vocabulary, embedding, hidden)
        self.cell = nn.LSTM(embedding, hidden, batch_first=True)
        with torch.no_grad():
            self.cell.get_parameter("bias_ih_l0")[hidden : 2 * hidden] = 1.0  # at first it remembers

    def fresh(self, codes: Tensor) -> State:
        """Zeros, twice (R, hidden)."""
        zeros = codes.new_zeros(codes.shape[0], self.cell.hidden_size)
        return zeros, zeros

    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """As of `Decoder`."""
        outputs, (hidden, cell) = self.cell(inputs, (state[0][None], state[1][None]))
        return outputs, (hidden[0], cell[0])


class GRUDecoder(Decoder):
    """One GRU layer."""

    def __init__(self, channels: int, vocabulary: int, embedding: int, hidden: int) -> None:
        super().__init__(channels, vocabulary, embedding, hidden)
        self.cell = nn.GRU(embedding, hidden, batch_first=True)

    def fresh(self, codes: Tensor) -> State:
        """Zeros (R, hidden)."""
        return (codes.new_zeros(codes.shape[0], self.cell.hidden_size),)

    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """As of `Decoder`."""
        outputs, hidden = self.cell(inputs, state[0][None])
        return outputs, (hidden[0],)


class Block(nn.Module):
    """Causal attention to all before, then two layers for each place, both on normalised inputs and added to them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before_attention, self.before_layers = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mix = nn.Linear(width, width)
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """T places (R, T, C) after P others, of which keys and values (R, P, 2C) are known -> as came in, now P + T.

        Either P is 0, or T is 1.
        """
        normal = self.before_attention(x)
        known = torch.cat([past, self.key_value(normal)], dim=1)  # (R, P + T, 2C)
        parts = (self.query(normal), *known.chunk(2, dim=-1))
        query, key, value = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts)  # (R, heads, ., .)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=past.shape[1] == 0)
        x = x + self.mix(seen.transpose(1, 2).flatten(2))
        return x + self.layers(self.before_layers(x)), known


class TransformerDecoder(Decoder):
    """Two blocks of causal attention over the code, the start and the words; ``longest`` words at most."""

    def __init__(self, channels: int, vocabulary: int, embedding: int, hidden: int, longest: int) -> None:
        super().__init__(channels, vocabulary, embedding, hidden)
        self.widen = nn.Linear(embedding, hidden)
        self.places = nn.Embedding(longest + 2, hidden)  # the code, the start, the words
        self.blocks = nn.ModuleList(Block(hidden) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(hidden)

    def fresh(self, codes: Tensor) -> State:
        """No keys and values (R, 0, 2 hidden), for each block."""
        return (codes.new_zeros(codes.shape[0], 0, 2 * self.places.embedding_dim),) * LAYERS

    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """As of `Decoder`."""
        first = state[0].shape[1]
        x = self.widen(inputs) + self.places.weight[first : first + inputs.shape[1]]
        after = []
        for block, past in zip(self.blocks, state, strict=True):
            x, known = block(x, past)
            after.append(known)
        return self.norm(x), tuple(after)


def make_decoder(kind: Kind, channels: int, vocabulary: int, embedding: int, hidden: int, longest: int) -> Decoder:
    """A decoder of codes with ``channels`` values and ``vocabulary`` indices; raises `RecipeError` for odd widths."""
    if kind == "lstm":
        return LSTMDecoder(channels, vocabulary, embedding, hidden)
    if kind == "gru":
        return GRUDecoder(channels, vocabulary, embedding, hidden)
    if hidden % HEADS:
        what, cure = f"a transformer of {hidden} channels", f"take a multiple of {HEADS}"
        raise RecipeError(what, where="network.tasks.captions.hidden", cure=cure)
    return TransformerDecoder(channels, vocabulary, embedding, hidden, longest)


def said(tokens: Tensor, end: int) -> Tensor:
    """(R, T) sentences -> (R, T) bool, True up to the first end, and there."""
    is_end = (tokens == end).int()
    return is_end.cumsum(1) - is_end == 0


def sentence_loss(logits: Tensor, tokens: Tensor, end: int) -> Tensor:
    """Cross-entropy of sentences (R, T) under logits (R, T, V), the mean over words and ends."""
    counted = said(tokens, end)
    return F.cross_entropy(logits[counted], tokens[counted])


def log_likelihood(decoder: Decoder, codes: Tensor, tokens: Tensor) -> Tensor:
    """(R,) logarithm of the probability that codes (R, D) are told by sentences (R, T), their ends included.

    A row without an end is the beginning of a sentence.
    """
    logits: Tensor = decoder(codes, tokens)
    each = logits.log_softmax(2).gather(2, tokens[..., None])[..., 0]  # (R, T)
    return (each * said(tokens, decoder.end)).sum(1)


def greedy(decoder: Decoder, codes: Tensor, longest: int = 15, never: int | None = None) -> Tensor:
    """Take the likeliest word each time, until all sentences have ended.

    Args:
        decoder: the language model.
        codes: (R, D).
        longest: words at most.
        never: index of a word not to be said.

    Returns:
        (R, longest) int64; ends follow on a shorter sentence.
    """
    tokens = torch.full((len(codes), longest), decoder.end, device=codes.device)
    rows, word, state = torch.arange(len(codes), device=codes.device), tokens[:, 0], decoder.begin(codes)
    for place in range(longest):
        if not len(rows):
            break
        logits, state = decoder.step(state, word)
        word = without(logits, never).argmax(1)
        tokens[rows, place] = word
        going = word != decoder.end
        rows, word, state = rows[going], word[going], tuple(part[going] for part in state)
    return tokens


def greedy_to_the_end(decoder: Decoder, codes: Tensor, longest: int, never: int | None = None) -> Tensor:
    """As `greedy`; sentences that have ended go on, too, so that no shape depends on what is said."""
    state, words = decoder.begin(codes), [torch.full_like(codes[:, 0], decoder.end, dtype=torch.int64)]
    ended = torch.zeros_like(words[0], dtype=torch.bool)
    for _ in range(longest):
        logits, state = decoder.step(state, words[-1])
        word = without(logits, never).argmax(1).masked_fill(ended, decoder.end)
        ended = ended | (word == decoder.end)
        words.append(word)
    return torch.stack(words[1:], 1)


class Beams(NamedTuple):
    """K beginnings of a sentence each for R regions, best first.

    Attributes:
        tokens: (R, K, 1 + words so far) int64, the start first; ends follow on an ended sentence.
        total: (R, K) log-likelihood.
        lengths: (R, K) words and end.
        ended: (R, K) bool.
    """

    tokens: Tensor
    total: Tensor
    lengths: Tensor
    ended: Tensor

    @classmethod
    def fresh(cls, codes: Tensor, beams: int, end: int) -> Beams:
        """Before the first word. All are the same, so only the first of each region counts."""
        total = torch.full((len(codes), beams), -torch.inf, device=codes.device)
        total[:, 0] = 0
        tokens = torch.full((*total.shape, 1), end, device=codes.device)
        return cls(tokens, total, torch.zeros_like(total), torch.zeros_like(total, dtype=torch.bool))

    def extended(self, each: Tensor, power: float) -> tuple[Beams, Tensor]:
        """The best with one word more, given log-likelihoods (R, K, V) of it; and which each goes on from, (R, K)."""
        v = each.shape[2]
        nothing = torch.full_like(each[:1, :1], -torch.inf)
        nothing[..., -1] = 0  # an ended sentence stays as it is
        sums = self.total[..., None] + torch.where(self.ended[..., None], nothing, each)
        lengths = self.lengths + ~self.ended
        index = (sums / lengths[..., None] ** power).flatten(1).topk(self.total.shape[1]).indices
        parent, word = index // v, index % v
        before = self.tokens.gather(1, parent[..., None].expand(-1, -1, self.tokens.shape[2]))
        tokens = torch.cat([before, word[..., None]], dim=2)
        return Beams(tokens, sums.flatten(1).gather(1, index), lengths.gather(1, parent), word == v - 1), parent

    def settled(self, power: float, longest: int) -> Tensor:
        """(R,) bool, the first is a whole sentence, and no other can still overtake it."""
        live = ~self.ended & (self.lengths < longest)
        hope: Tensor = (self.total / longest**power).masked_fill(~live, -torch.inf).amax(1)
        return ~live[:, 0] & (self.total[:, 0] / self.lengths[:, 0] ** power >= hope)


def beam_search(
    decoder: Decoder, codes: Tensor, beams: int, power: float = 0.0, longest: int = 15, never: int | None = None
) -> Tensor:
    """Follow the ``beams`` best beginnings of each sentence, in the order of log-likelihood / length ** power.

    The length counts words and the end. Ended sentences stay among the beams.

    Args:
        decoder: the language model.
        codes: (R, D).
        beams: K.
        power: 0 prefers short sentences, 1 compares the mean per word.
        longest: words at most.
        never: index of a word not to be said.

    Returns:
        (R, longest) int64 as of `greedy`, which equals it for one beam.
    """
    tokens = torch.full((len(codes), longest), decoder.end, device=codes.device)
    rows, best = torch.arange(len(codes), device=codes.device), Beams.fresh(codes, beams, decoder.end)
    state = tuple(part.repeat_interleave(beams, 0) for part in decoder.begin(codes))
    for length in range(1, longest + 1):
        if not len(rows):
            break
        logits, state = decoder.step(state, best.tokens[:, :, -1].flatten())
        each = without(logits.log_softmax(1), never).view(*best.total.shape, -1)
        best, parent = best.extended(each, power)
        settled = best.settled(power, longest)
        tokens[rows[settled], :length] = best.tokens[settled, 0, 1:]
        going = ~settled
        places = torch.arange(len(rows), device=rows.device)[:, None] * beams + parent  # (R, K) rows of the state
        state = tuple(part[places[going].flatten()] for part in state)
        rows, best = rows[going], Beams(*(part[going] for part in best))
    return tokens


def without(scores: Tensor, never: int | None) -> Tensor:
    """Scores (N, V) of the next word with one word ruled out."""
    if never is None:
        return scores
    return scores.masked_fill(torch.arange(scores.shape[1], device=scores.device) == never, -torch.inf)
