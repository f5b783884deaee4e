"""BLEU-4 of whole pictures' captions, by a package that is kept for it: ``pip install segue[captions]``.

No package for CIDEr is both maintained and light (2026: pycocoevalcap was last released in 2020; aac-metrics brings
networks for sound and sentences along), so that it is `segue.metrics.cider`.
"""

from __future__ import annotations

from collections.abc import Sequence

from segue.errors import UsageError
from segue.metrics.cider import check_pairs, spoken


def bleu4(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU (Papineni et al., ACL 2002) with up to 4 words, over all captions together, without smoothing; in [0, 1].

    Args:
        hypotheses: a caption each.
        references: at least one each.

    Raises:
        UsageError: torchmetrics is not installed.
        DataError: their numbers differ, or a hypothesis has no reference.
    """
    try:
        from torchmetrics.functional.text import bleu_score
    except ImportError:
        raise UsageError("BLEU needs the package torchmetrics", cure="pip install segue[captions]") from None
    check_pairs(hypotheses, references)
    ours = [" ".join(spoken(text)) for text in hypotheses]
    theirs = [[" ".join(spoken(text)) for text in own] for own in references]
    return float(bleu_score(ours, theirs, n_gram=4))
