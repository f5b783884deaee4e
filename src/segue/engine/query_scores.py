"""How likely many sentences are for many regions: what sentences begin with alike is read only once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segue.nn.language import Decoder
from segue.tasks.captions import CaptionHead

VALUES = 2**25
"""Numbers of the largest tensor at a time: regions are taken in parts that keep to it."""


@torch.no_grad()
def query_scores(head: CaptionHead, codes: Tensor, sentences: Sequence[str], floors: Tensor | None = None) -> Tensor:
    """Log-likelihoods (Q, R) of Q sentences for regions with codes (R, D), as `CaptionHead.log_likelihood` gives them.

    Sentences are read together, word by word, as a tree: each beginning that several of them share once.

    Args:
        head: the caption head.
        codes: of the regions.
        sentences: at least one word each, or else only the end counts.
        floors: (Q,) per sentence, what a likelihood must reach to be of interest. Others may come out as -inf: a
            beginning is followed only while it is likely enough for one of its sentences, since a longer one is never
            likelier. That leaves a trained decoder little to do.
    """
    tokens, end = head.vocabulary.encode(sentences).to(codes.device), head.vocabulary.end
    if not tokens.shape[0] or not len(codes):
        return torch.zeros(tokens.shape[0], len(codes), device=codes.device)
    floors = torch.full((len(tokens),), -torch.inf) if floors is None else floors
    levels = levels_of(tokens, floors.to(codes.device), end)
    widest = max(len(level.words) for level in levels)
    parts = torch.split(codes, max(1, VALUES // (_values(head.decoder, tokens.shape[1]) * widest)))
    return torch.cat([_scores(head.decoder, part, levels, len(tokens)) for part in parts], dim=1)


@dataclass(frozen=True)
class Level:
    """The P distinct beginnings, of one length, of some sentences.

    Attributes:
        parents: (P,) int64, which of the level before each goes on from.
        words: (P,) int64, its last word; those with the end come last.
        floors: (P,) the lowest floor of its sentences.
        sentences: (S,) int64, those that end here.
        whole: (S,) int64, which of the beginnings each of them is.
    """

    parents: Tensor
    words: Tensor
    floors: Tensor
    sentences: Tensor
    whole: Tensor


def levels_of(tokens: Tensor, floors: Tensor, end: int) -> list[Level]:
    """The tree of sentences (Q, T), each with an ``end``, which is the highest index, and floors (Q,)."""
    rows = torch.arange(len(tokens), device=tokens.device)
    node, count, levels = torch.zeros_like(rows), 1, []
    for column in tokens.unbind(1):
        if not len(rows):
            break
        keys, node = torch.unique(column[rows] * count + node, return_inverse=True)
        parents, words, over = keys % count, keys // count, column[rows] == end
        lowest = floors.new_full(keys.shape, torch.inf).scatter_reduce(0, node, floors[rows], "amin")
        levels.append(Level(parents, words, lowest, rows[over], node[over]))
        rows, node, count = rows[~over], node[~over], int((words != end).sum())
    return levels


def _values(decoder: Decoder, length: int) -> int:
    """Numbers that one region and one beginning take: logits, the gates of a cell, or keys and values of the words."""
    hidden, vocabulary = decoder.logits.in_features, decoder.logits.out_features
    fresh = decoder.fresh(decoder.code.weight.new_zeros(1, decoder.code.in_features))
    return max(vocabulary, 4 * hidden, *(part.shape[-1] * (length + 2) for part in fresh if part.ndim > 2))


def _scores(decoder: Decoder, codes: Tensor, levels: Sequence[Level], sentences: int) -> Tensor:
    """(Q, R), walking down the tree with a row for each beginning and region that is still of interest."""
    r, end = len(codes), decoder.end
    scores = torch.full((sentences, r), -torch.inf, device=codes.device)
    places = torch.arange(r, device=codes.device)[None]  # (P, R) the row of a beginning and a region, -1 for none
    total = scores.new_zeros(r)
    logits, state = decoder.step(decoder.begin(codes), torch.full_like(places[0], end))
    for level in levels:
        each, before = logits.log_softmax(1), places[level.parents]  # (M, V) and (P, R)
        node, region = (before >= 0).nonzero(as_tuple=True)
        rows = before[node, region]  # where they go on from
        total = total[rows] + each[rows, level.words[node]]
        table = scores.new_full(before.shape, -torch.inf).index_put((node, region), total)
        scores[level.sentences] = table[level.whole]
        going = (level.words[node] != end) & (total >= level.floors[node])
        node, region, rows, total = node[going], region[going], rows[going], total[going]
        if not len(rows):
            break
        numbers = torch.arange(len(rows), device=codes.device)
        places = torch.full_like(before, -1).index_put((node, region), numbers)
        logits, state = decoder.step(tuple(part[rows] for part in state), level.words[node])
    return scores
