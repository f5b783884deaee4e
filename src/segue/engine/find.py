"""Search by sentence: which pictures, and what in them, a sentence is likely to be about.

The retrieval experiment of DenseCap (Johnson et al., CVPR 2016, section 4.4): how likely the caption head would say the
sentence of each region; a picture counts as its best region does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from segue.data.images import read_image
from segue.data.inputs import find_inputs, is_video
from segue.data.words import tokenise
from segue.engine.densecap_predictor import DenseCapPredictor
from segue.engine.predictor import Predictor
from segue.engine.query_scores import query_scores
from segue.engine.recipe import to_plain
from segue.engine.region_index import Entry, Reader, RegionIndex, Stamp, above, halved, load_index, save_index
from segue.engine.region_predictor import RegionPredictor
from segue.errors import ImageError, SomeInputsFailed, UsageError
from segue.models.weights import content_hash
from segue.models.zoo import ZOO
from segue.nn.vocabulary import Vocabulary
from segue.structures import Regions
from segue.tasks import CAPTIONS
from segue.tasks.captions import CaptionHead

Teller = RegionPredictor | DenseCapPredictor
"""What can have a caption head. Both say what regions and codes they find in a picture."""

THRESHOLD = 0.5
"""Lowest score of the regions that are searched, unless told otherwise."""


@dataclass(frozen=True)
class Match:
    """A picture with what a sentence may be about in it.

    Attributes:
        file: where it is.
        size: (height, width) in pixels.
        regions: R at least, the likeliest first.
        likelihoods: (R,) logarithms of the sentence's probability for each.
    """

    file: Path
    size: tuple[int, int]
    regions: Regions
    likelihoods: Tensor


@dataclass
class Search:
    """What came of a search.

    Attributes:
        query: the words that were searched.
        matches: the best pictures, the likeliest first.
        pictures: how many were searched.
        notes: what the user may want to know.
        failures: why some pictures were not searched; each names its file.
    """

    query: str
    matches: list[Match] = field(default_factory=list)
    pictures: int = 0
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def per_word(self, likelihoods: Tensor) -> Tensor:
        """Log-likelihoods (R,) as probabilities in [0, 1], the geometric mean over words and end."""
        return (likelihoods / (len(self.query.split()) + 1)).exp()

    def check(self) -> None:
        """Raise `SomeInputsFailed` where some pictures were not searched."""
        if self.failures:
            count = len(self.failures)
            raise SomeInputsFailed(f"{count} of {count + self.pictures} inputs failed: {'; '.join(self.failures)}")


def find(predictor: Predictor, query: str, folder: Path, top: int = 10, threshold: float = THRESHOLD) -> Search:
    """The ``top`` pictures directly in a folder that a sentence fits best.

    What the model sees in them is kept in an index (`segue.engine.region_index`); only pictures that are new, or not
    what they were, are looked at.

    Args:
        predictor: a model with a caption head.
        query: the sentence; words that the model does not know are left out.
        folder: with pictures.
        top: how many at most.
        threshold: regions with a lower score are not searched.

    Raises:
        UsageError: the model tells no captions, knows no word of the query, or there is no such folder or no picture.
        ImageError: no picture can be read.
    """
    teller, head = teller_of(predictor)
    words, notes = understood(head.vocabulary, query)
    search = Search(words, notes=notes)
    entries = _look_at_all(teller, head.settings.channels, folder, threshold, search)
    search.pictures = len(entries)
    codes = torch.cat([entry.codes for entry in entries.values()]).to(teller.device).float()
    scores = query_scores(head, codes, [search.query])[0].cpu()
    parts = torch.split(scores, [len(entry.regions) for entry in entries.values()])
    matches = [
        _match(folder / name, entry, part)
        for (name, entry), part in zip(entries.items(), parts, strict=True)
        if len(part)
    ]
    search.matches = sorted(matches, key=lambda match: -float(match.likelihoods[0]))[:top]
    return search


def _match(file: Path, entry: Entry, scores: Tensor) -> Match:
    likelihoods, order = scores.sort(descending=True, stable=True)
    return Match(file, entry.size, entry.regions.select(order), likelihoods)


def teller_of(predictor: Predictor) -> tuple[Teller, CaptionHead]:
    """The model and its head that tells captions; raises `UsageError` where it has none."""
    if isinstance(predictor, Teller) and predictor.captions is not None:
        return predictor, predictor.captions
    cure = "give a model with the task captions"
    raise UsageError(f"{predictor.name} tells no captions", where="--model", cure=cure)


def captioning_model() -> str:
    """The first model of the zoo that tells captions; raises `UsageError` where none does."""
    for model in ZOO:
        if CAPTIONS.name in model.tasks.split(", "):
            return model.name
    raise UsageError("no model of the zoo tells captions", where="--model", cure="name a model file or a run folder")


def understood(vocabulary: Vocabulary, query: str) -> tuple[str, list[str]]:
    """The words of a query that a model knows, and notes about the others.

    Raises:
        UsageError: there is no word, or none that it knows.
    """
    words = tokenise(query)
    if not words:
        raise UsageError("the query has no word", cure='ask for something, such as "a red mug on the grass"')
    known = set(vocabulary.words)
    strange = ", ".join(list(dict.fromkeys(word for word in words if word not in known))[:10])
    kept = [word for word in words if word in known]
    if not kept:
        what = f"of the query the model knows no word: {strange}"
        raise UsageError(what, cure=f"it knows {len(known)}, such as {', '.join(vocabulary.words[:8])}")
    query = " ".join(kept[: vocabulary.longest])
    notes = [f"the model does not know: {strange}; searched for: {query}"] if strange else []
    if len(kept) > vocabulary.longest:
        notes.append(f"the model reads the first {vocabulary.longest} words; searched for: {query}")
    return query, notes


def _look_at_all(predictor: Teller, channels: int, folder: Path, threshold: float, search: Search) -> dict[str, Entry]:
    """What is in each picture of a folder by its name, from the index where that is up to date, which it then is."""
    stamps = stamps_of(folder)
    reader = Reader(model_hash(predictor), len(predictor.categories), channels)
    old, notes = load_index(folder, reader, threshold, stamps)
    search.notes += notes
    index = RegionIndex(old.model, old.threshold, old.fresh(stamps))
    missing = [name for name in stamps if name not in index.entries]
    try:
        for name in tqdm(missing, desc="index", unit="image", disable=None if len(missing) > 1 else True):
            try:
                index.entries[name] = look(predictor, read_image(folder / name), stamps[name], index.threshold)
            except ImageError as error:
                search.failures.append(str(error))
    finally:  # whoever stops it keeps what is done
        changed = index.entries.keys() != old.entries.keys() or any(name in index.entries for name in missing)
        if changed and index.entries:
            search.notes += save_index(folder, index)
    if not index.entries:
        raise ImageError("; ".join(search.failures))
    return {name: above(index.entries[name], threshold) for name in stamps if name in index.entries}


def stamps_of(folder: Path) -> dict[str, Stamp]:
    """The pictures directly in a folder, sorted by name; raises `UsageError` where there is no folder or no picture."""
    if not folder.is_dir():  # a pattern would be one for `find_inputs`
        what = "not a folder" if folder.exists() else "no such folder"
        raise UsageError(what, where=folder, cure="name a folder that holds pictures")
    pictures = [path for path in find_inputs([folder]) if not is_video(path)]
    if not pictures:
        raise UsageError("the folder holds videos, but no picture", where=folder, cure="name one that holds pictures")
    states = {path.name: path.stat() for path in pictures}
    return {name: (state.st_size, state.st_mtime_ns) for name, state in states.items()}


def model_hash(predictor: Teller) -> str:
    """A hash over all that decides what a model sees."""
    settings = [to_plain(predictor.network.settings), predictor.categories.to_json(), predictor.resize]
    return content_hash(predictor.network.state_dict(), json.dumps(settings))


def look(predictor: Teller, image: Tensor, stamp: Stamp, threshold: float) -> Entry:
    """The regions of a picture (3, H, W) uint8 with a score of at least ``threshold``, and their codes."""
    regions, codes = predictor.region_codes(image, threshold)
    return Entry(stamp, (image.shape[1], image.shape[2]), regions.to("cpu"), halved(codes))
