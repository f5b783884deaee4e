"""Search by sentence: how early the right picture comes (DenseCap, Johnson et al., CVPR 2016, section 4.4)."""

from __future__ import annotations

from torch import Tensor

from segue.errors import DataError

FIRST = (1, 5, 10)


def retrieval_numbers(scores: Tensor, own: Tensor) -> dict[str, float]:
    """``retrieval/recall@1``, ``@5`` and ``@10`` in [0, 1], and ``retrieval/median_rank``, where 1 is the best.

    Of pictures with equal scores, the right one is ranked last, so that a search that cannot tell them apart gains
    nothing. The median of an even number of ranks is the mean of the middle two.

    Args:
        scores: (Q, N) of each picture for each query, the higher the better.
        own: (Q,) int64 the picture that the query was made from.

    Raises:
        DataError: no query, shapes that do not fit, a picture that does not exist, or scores that are not a number.
    """
    if scores.ndim != 2 or own.shape != scores.shape[:1] or not own.numel():
        raise DataError(f"scores {tuple(scores.shape)} for queries {tuple(own.shape)}: not a row for each of some")
    if scores.isnan().any() or not 0 <= int(own.min()) <= int(own.max()) < scores.shape[1]:
        raise DataError("a score is not a number, or a query's picture not among those scored")
    ranks = (scores >= scores.gather(1, own[:, None])).sum(1).double()
    recalls = {f"retrieval/recall@{k}": float((ranks <= k).double().mean()) for k in FIRST}
    return recalls | {"retrieval/median_rank": float(ranks.quantile(0.5))}
