"""How well a model searches by sentence: DenseCap's retrieval experiment (Johnson et al., CVPR 2016, section 4.4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

import torch
from torch import Tensor
from tqdm import tqdm

from segue.data.dataset import Dataset
from segue.data.words import tokenise
from segue.engine.find import THRESHOLD, Teller, look, teller_of
from segue.engine.predictor import Predictor
from segue.engine.query_scores import query_scores
from segue.metrics.retrieval import retrieval_numbers
from segue.nn.language import log_likelihood
from segue.tasks.captions import CaptionHead, usable

SENTENCES = 4
"""Of a description, as in the paper."""

DESCRIPTIONS = 1000
"""At most, those of the first pictures."""

ROUNDING = 1e-3
"""More than two ways to add up one log-likelihood differ."""

MARGIN = 3.0
"""How far below its own picture's likelihood a description's sentence is followed in others; a matter of time only."""

PAIRS = 4096
"""Queries with a region each that are read at a time."""


@dataclass(frozen=True)
class Seen:
    """The R regions of N pictures.

    Attributes:
        codes: (R, D), what the caption head tells sentences from.
        owners: (R,) int64, the picture of each.
        pictures: N; some may have no region.
    """

    codes: Tensor
    owners: Tensor
    pictures: int


def search_numbers(
    predictor: Predictor, dataset: Dataset, threshold: float = THRESHOLD, progress: bool = True
) -> dict[str, float]:
    """How early a picture comes among all of a data set, asked for by a sentence or by a description that only it has.

    A description is four random sentences of the picture, as in the paper; a picture counts as the mean over them of
    their likelihoods in the best region of each. No other picture has all four. The single sentence is the first that
    no other picture has. It is as annotated: it may still be true of other pictures of which nobody said it. Pictures
    without such a sentence, or such a description, give no query.

    Regions with a score below ``threshold`` are not searched.

    Returns:
        ``search/queries`` (single sentences) and ``descriptions/queries``, and where there are some, the numbers of
        `retrieval_numbers` for each.

    Raises:
        UsageError: the model tells no captions.
    """
    teller, head = teller_of(predictor)
    said = sentences_of(dataset, head.settings.longest)
    queries, descriptions = own_sentences(said), own_descriptions(said)
    if not queries and not descriptions:
        return {"search/queries": 0.0, "descriptions/queries": 0.0}
    seen = look_at_all(teller, dataset, threshold, progress)
    own, described = (torch.tensor(list(numbers), dtype=torch.int64) for numbers in (queries, descriptions))
    scores = picture_scores(head, seen, list(queries.values()), own)
    return _numbers("search", scores, own) | _numbers(
        "descriptions", description_scores(head, seen, list(descriptions.values()), described), described
    )


def _numbers(group: str, scores: Tensor, own: Tensor) -> dict[str, float]:
    numbers = retrieval_numbers(scores.cpu(), own) if len(own) else {}
    return {f"{group}/queries": float(len(own))} | {f"{group}/{n.split('/')[-1]}": v for n, v in numbers.items()}


def sentences_of(dataset: Dataset, longest: int) -> list[list[str]]:
    """The different sentences of one to ``longest`` words that each picture is annotated with."""
    texts = [dataset.regions(i).captions or [] for i in range(len(dataset))]
    return [
        list(dict.fromkeys(" ".join(tokenise(line)) for text in lines for line in usable(text, longest)))
        for lines in texts
    ]


def own_sentences(said: Sequence[Sequence[str]]) -> dict[int, str]:
    """By index of a picture, the first of its sentences that no other picture has."""
    holders = _holders(said)
    firsts = (next((sentence for sentence in own if len(holders[sentence]) == 1), None) for own in said)
    return {i: sentence for i, sentence in enumerate(firsts) if sentence is not None}


def own_descriptions(said: Sequence[Sequence[str]]) -> dict[int, list[str]]:
    """By index of a picture, `SENTENCES` of its sentences that no other picture has all of; the same each time.

    There are `DESCRIPTIONS` at most.
    """
    holders = _holders(said)
    drawn = ((i, Random(i).sample(own, SENTENCES)) for i, own in enumerate(said) if len(own) >= SENTENCES)
    unique = ((i, chosen) for i, chosen in drawn if set.intersection(*(holders[s] for s in chosen)) == {i})
    return dict(islice(unique, DESCRIPTIONS))


def _holders(said: Sequence[Sequence[str]]) -> dict[str, set[int]]:
    """Which pictures have each sentence."""
    holders: dict[str, set[int]] = defaultdict(set)
    for i, own in enumerate(said):
        for sentence in own:
            holders[sentence].add(i)
    return holders


def look_at_all(teller: Teller, dataset: Dataset, threshold: float, progress: bool = True) -> Seen:
    """The regions that a model finds in the pictures of a data set, with a score of at least ``threshold``."""
    bar = tqdm(range(len(dataset)), desc="search", unit="image", disable=not progress)
    entries = [look(teller, dataset.image(i), (0, 0), threshold) for i in bar]
    codes = torch.cat([entry.codes for entry in entries]).to(teller.device).float()
    owners = torch.arange(len(entries)).repeat_interleave(torch.tensor([len(entry.regions) for entry in entries]))
    return Seen(codes, owners.to(codes.device), len(entries))


def picture_scores(head: CaptionHead, seen: Seen, queries: Sequence[str], own: Tensor, margin: float = 0.0) -> Tensor:
    """(Q, N) log-likelihood of each query in the best region of each picture, -inf without.

    Args:
        head: the caption head.
        seen: the regions.
        queries: Q sentences.
        own: (Q,) int64 picture that each was made from. Only ranks above it matter: what is more than ``margin`` below
            it may come out lower still.
        margin: at least 0.
    """
    floors = own_scores(head, seen, queries, own) - ROUNDING - margin
    floors = floors.nan_to_num(neginf=torch.inf)  # without any region of its own, a query comes last anyway
    each = query_scores(head, seen.codes, queries, floors)
    best = each.new_full((len(queries), seen.pictures), -torch.inf)
    return best.scatter_reduce(1, seen.owners.expand_as(each), each, "amax")


def description_scores(head: CaptionHead, seen: Seen, descriptions: Sequence[Sequence[str]], own: Tensor) -> Tensor:
    """(Q, N) mean over the sentences of each description of their log-likelihoods in the best regions of each picture.

    Args:
        head: the caption head.
        seen: the regions.
        descriptions: Q of `SENTENCES` sentences each.
        own: (Q,) int64 picture that each was made from. What is below it may come out higher, but still below it.
    """
    sentences = [sentence for description in descriptions for sentence in description]
    each = picture_scores(head, seen, sentences, own.repeat_interleave(SENTENCES), MARGIN)
    each = each.view(len(descriptions), SENTENCES, seen.pictures)
    index = own.to(each.device)[:, None]
    floors = each.gather(2, index[:, None].expand(-1, SENTENCES, 1)) - MARGIN  # what is below may be anything below
    bounds = torch.maximum(each, floors).mean(1)
    open_ = (bounds >= bounds.gather(1, index)) & (each < floors).any(1)
    query, picture = open_.nonzero(as_tuple=True)
    unsure = [sentence for number in query.tolist() for sentence in descriptions[number]]
    exact = own_scores(head, seen, unsure, picture.repeat_interleave(SENTENCES))
    return bounds.index_put((query, picture), exact.view(-1, SENTENCES).mean(1))


@torch.no_grad()
def own_scores(head: CaptionHead, seen: Seen, queries: Sequence[str], own: Tensor) -> Tensor:
    """(Q,) log-likelihood of each of Q queries in the best region of one picture each, (Q,); -inf where it has none."""
    own = own.to(seen.codes.device)
    best = torch.full((len(queries),), -torch.inf, device=own.device)
    query, region = pairs_of(seen, own)
    if not len(query):
        return best
    tokens = head.vocabulary.encode(queries).to(own.device)
    pairs = zip(torch.split(query, PAIRS), torch.split(region, PAIRS), strict=True)
    each = torch.cat([log_likelihood(head.decoder, seen.codes[r], tokens[q]) for q, r in pairs])
    return best.scatter_reduce(0, query, each, "amax")


def pairs_of(seen: Seen, own: Tensor) -> tuple[Tensor, Tensor]:
    """Every query with every region of its own picture (Q,): indices (P,) of queries and (P,) of regions."""
    sizes = torch.bincount(seen.owners, minlength=seen.pictures)
    starts, counts = (sizes.cumsum(0) - sizes)[own], sizes[own]
    query = torch.arange(len(own), device=own.device).repeat_interleave(counts)
    place = torch.arange(len(query), device=own.device) - (counts.cumsum(0) - counts)[query]
    return query, seen.owners.argsort(stable=True)[starts[query] + place]
