"""How well a search by one sentence could do at best on Toybox val: who knows all that is true, and guesses the rest.

    python tools/search_ceiling.py --pictures 1000

The queries are those of `segue evaluate`: of each picture, the first sentence that is written about no other, and four
random ones that no other has all of. Such a sentence may be true of other pictures all the same; the right one then
comes first once in as many times as there are pictures that it is true of. Scenes are made anew, so no data is needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from segue.data.toybox.captions import caption, read_fact, truths
from segue.data.toybox.render import render
from segue.data.toybox.write import Order
from segue.data.words import tokenise
from segue.engine.search_numbers import own_descriptions, own_sentences


@dataclass(frozen=True)
class Ceiling:
    """What knowing all truths is worth.

    Attributes:
        queries: asked.
        ambiguous: of these, true of other pictures, too.
        recall: expected share of queries whose picture comes first.
    """

    queries: int
    ambiguous: int
    recall: float


def main() -> None:
    """Parse, render, count, print."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--pictures", type=int, default=1000, help="of val, from the first on (1000)")
    options = parse.parse_args()
    said, true = [], []
    jobs = Order(train=0, val=options.pictures).jobs(Path())
    for job in tqdm(jobs, desc="scenes", unit="image"):
        sample = render(job.seed, (job.size, job.size))
        facts = [read_fact(thing) for thing in sample.things]
        said.append(unique(one.text for about in caption(sample) for one in about))
        true.append(set(unique(truths(facts, job.size))))
    for name, queries in (
        ("one sentence", {i: [sentence] for i, sentence in own_sentences(said).items()}),
        ("four sentences", own_descriptions(said)),
    ):
        found = ceiling(list(queries.values()), true)
        print(f"{name}: {found.queries} queries, {found.ambiguous} fit others, recall@1 {100 * found.recall:.1f} %")


def unique(texts: Iterable[str]) -> list[str]:
    """Different sentences, as they are searched for."""
    return list(dict.fromkeys(" ".join(tokenise(text)) for text in texts))


def ceiling(queries: Sequence[Sequence[str]], true: Sequence[set[str]]) -> Ceiling:
    """Of queries of some sentences each, which are true of one picture or of several."""
    fitting = [sum(told.issuperset(query) for told in true) for query in queries]
    return Ceiling(len(fitting), sum(n > 1 for n in fitting), sum(1 / n for n in fitting) / max(len(fitting), 1))


if __name__ == "__main__":
    main()
