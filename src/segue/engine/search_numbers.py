"""How well a model searches by sentence: DenseCap's retrieval experiment (Johnson et al., CVPR 2016, section 4.4)."""

from __future__ import annotations

from collections import Counter
from typing import cast

import torch
from torch import Tensor
from tqdm import tqdm

from segue.data.dataset import Dataset
from segue.data.words import tokenise
from segue.engine.find import THRESHOLD, caption_head, look
from segue.engine.predictor import Predictor
from segue.engine.query_scores import query_scores
from segue.engine.region_predictor import RegionPredictor
from segue.metrics.retrieval import retrieval_numbers
from segue.nn.language import log_likelihood
from segue.tasks.captions import CaptionHead, usable

ROUNDING = 1e-3
"""More than two ways to add up one log-likelihood differ."""

PAIRS = 4096
"""Queries with a region each that are read at a time."""


def search_numbers(
    predictor: Predictor, dataset: Dataset, threshold: float = THRESHOLD, progress: bool = True
) -> dict[str, float]:
    """How early a picture comes among all of a data set, asked for by a sentence that only it has.

    The query of a picture is its first annotated sentence that no other picture has; one without such a sentence gives
    no query. A picture counts as the likeliest of its regions with a score of at least ``threshold`` does.

    Returns:
        ``search/queries`` and, where there are some, the numbers of `retrieval_numbers` as ``search/...``.

    Raises:
        UsageError: the model tells no captions.
    """
    head = caption_head(predictor)
    queries = own_sentences(dataset, head.settings.longest)
    if not queries:
        return {"search/queries": 0.0}
    bar = tqdm(range(len(dataset)), desc="search", unit="image", disable=not progress)
    seen = [look(cast(RegionPredictor, predictor), dataset.image(i), (0, 0), threshold) for i in bar]
    codes = torch.cat([entry.codes for entry in seen]).to(predictor.device).float()
    owners = torch.arange(len(seen)).repeat_interleave(torch.tensor([len(entry.regions) for entry in seen]))
    own = torch.tensor(list(queries))
    scores = picture_scores(
        head, codes, owners.to(codes.device), list(queries.values()), own.to(codes.device), len(seen)
    )
    numbers = retrieval_numbers(scores.cpu(), own)
    return {"search/queries": float(len(own))} | {f"search/{n.split('/')[-1]}": value for n, value in numbers.items()}


def own_sentences(dataset: Dataset, longest: int) -> dict[int, str]:
    """By index of a picture, its first sentence of at most ``longest`` words that no other picture has."""
    texts = [dataset.regions(i).captions or [] for i in range(len(dataset))]
    sentences = [
        list(dict.fromkeys(" ".join(tokenise(line)) for text in lines for line in usable(text, longest)))
        for lines in texts
    ]
    pictures = Counter(sentence for said in sentences for sentence in said)
    firsts = (next((sentence for sentence in said if pictures[sentence] == 1), None) for said in sentences)
    return {i: sentence for i, sentence in enumerate(firsts) if sentence is not None}


def picture_scores(
    head: CaptionHead, codes: Tensor, owners: Tensor, queries: list[str], own: Tensor, pictures: int
) -> Tensor:
    """(Q, N) log-likelihood of each query in the best region of each picture; -inf without, or if below its ``own``.

    Args:
        head: the caption head.
        codes: (R, D) of all regions.
        owners: (R,) int64 picture of each.
        queries: Q sentences.
        own: (Q,) int64 picture that each was made from. Only ranks above it matter, so others are not worked out.
        pictures: N.
    """
    floors = own_scores(head, codes, owners, queries, own) - ROUNDING
    floors = floors.nan_to_num(neginf=torch.inf)  # without any region of its own, a query comes last anyway
    each = query_scores(head, codes, queries, floors)
    best = each.new_full((len(queries), pictures), -torch.inf)
    return best.scatter_reduce(1, owners.expand_as(each), each, "amax")


@torch.no_grad()
def own_scores(head: CaptionHead, codes: Tensor, owners: Tensor, queries: list[str], own: Tensor) -> Tensor:
    """(Q,) log-likelihood of each query in the best region of its own picture; -inf where that has none."""
    tokens = head.vocabulary.encode(queries).to(codes.device)
    query, region = (own[:, None] == owners).nonzero(as_tuple=True)
    pairs = zip(torch.split(query, PAIRS), torch.split(region, PAIRS), strict=True)
    best = torch.full((len(queries),), -torch.inf, device=codes.device)
    if not len(query):
        return best
    each = torch.cat([log_likelihood(head.decoder, codes[r], tokens[q]) for q, r in pairs])
    return best.scatter_reduce(0, query, each, "amax")
