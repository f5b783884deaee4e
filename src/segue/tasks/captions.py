"""Captions: a sentence about each region (DenseCap, Johnson et al., CVPR 2016, section 3.4).

An annotated region may have several sentences, one per line of its text, or none; a predicted one has a single one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.records import Dataset
from segue.data.words import tokenise
from segue.drawing import caption_part, draw_captions, object_colors
from segue.errors import DataError
from segue.metrics.captions import CaptionAP
from segue.nn.conventions import Conventions
from segue.nn.language import Kind, beam_search, greedy, greedy_to_the_end, log_likelihood, make_decoder, sentence_loss
from segue.nn.norm import initialise_convolutions
from segue.nn.vocabulary import Vocabulary
from segue.structures import Categories, Field, Regions, Scene
from segue.tasks.task import RegionTask, Sampled


@dataclass(frozen=True)
class CaptionSettings:
    """Recipe values of the caption head. DenseCap has 4096 channels and a dropout of 0.5.

    Attributes:
        convolutions: 3x3 layers at the beginning, with as many channels as the pyramid.
        channels: of the two fully connected layers; the second gives the region's code.
        dropout: share of their values that training leaves out.
        decoder: what makes a sentence of a code.
        hidden: its channels.
        embedding: of a word.
        longest: words of a sentence; longer ones are not learned from.
        beams: sentences followed at once when one is searched; 1 takes the likeliest word each time.
        length_power: beams compare log-likelihood / length ** this.
        threshold: words that the training captions have less often are unknown.
        words: the vocabulary; filled from the training captions where empty.
    """

    convolutions: int = 0
    channels: int = 1024
    dropout: float = 0.0
    decoder: Kind = "lstm"
    hidden: int = 512
    embedding: int = 512
    longest: int = 15
    beams: int = 1
    length_power: float = 0.0
    threshold: int = 15
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.convolutions < 0:
            raise ValueError("convolutions must not be below 0")
        for key in ("channels", "hidden", "embedding", "longest", "beams", "threshold"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be in [0, 1)")
        if not 0 <= self.length_power <= 10:
            raise ValueError("length_power must be in [0, 10]")


class CaptionHead(nn.Module):
    """Two fully connected layers give a region's code, from which a decoder tells its sentence word by word.

    Convolutions may come before them, which know what a colour is wherever in the region it lies.
    """

    pooled = 7

    def __init__(
        self, channels: int, categories: Categories, conventions: Conventions, settings: CaptionSettings
    ) -> None:
        super().__init__()
        s = self.settings = settings
        self.vocabulary = Vocabulary(s.words, s.longest)
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(s.convolutions))
        initialise_convolutions(self.convolutions)
        self.fc1 = nn.Linear(channels * self.pooled**2, s.channels)
        self.fc2 = nn.Linear(s.channels, s.channels)
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
        self.decoder = make_decoder(s.decoder, s.channels, len(self.vocabulary), s.embedding, s.hidden, s.longest)

    def forward(self, rois: Tensor) -> Tensor:
        """(R, C, 7, 7) -> codes (R, D)."""
        x = rois
        for convolution in self.convolutions:
            x = convolution(x).relu_()  # (R, C, 7, 7)
        x = F.dropout(F.relu(self.fc1(x.flatten(1))), self.settings.dropout, self.training)
        return F.dropout(F.relu(self.fc2(x)), self.settings.dropout, self.training)

    def losses(self, raw: Tensor, regions: Sampled, truth: Regions) -> dict[str, Tensor]:
        """Cross-entropy of one of each region's sentences, drawn anew, the mean over words; 0 without any."""
        lists = [usable(text, self.settings.longest) for text in truth.captions or []]
        counts = torch.tensor([*map(len, lists), 0], device=raw.device)  # the last is of regions without an object
        owner = torch.where(regions.positive & bool(lists), regions.matched, len(lists))
        rows = (counts[owner] > 0).nonzero()[:, 0]
        if not len(rows):  # every weight still gets a gradient, as data-parallel training needs
            return {"captions": (raw.sum() + sum(p.sum() for p in self.decoder.parameters())) * 0}
        chosen = owner[rows]
        drawn = torch.randint(2**31, chosen.shape, device=raw.device) % counts[chosen]
        sentences = self.vocabulary.encode([sentence for own in lists for sentence in own]).to(raw.device)
        tokens = sentences[(counts.cumsum(0) - counts)[chosen] + drawn]
        return {"captions": sentence_loss(self.decoder(raw[rows], tokens), tokens, self.vocabulary.end)}

    def decode(self, raw: Tensor, regions: Regions, size: tuple[int, int]) -> Field:
        """A sentence each, never with an unknown word; by beams, if the settings say so."""
        s, unknown = self.settings, self.vocabulary.unknown
        if s.beams == 1:
            return self.vocabulary.decode(greedy(self.decoder, raw, s.longest, unknown))
        return self.vocabulary.decode(beam_search(self.decoder, raw, s.beams, s.length_power, s.longest, unknown))

    def tensors(self, raw: Tensor, labels: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """``captions`` (R, longest) int32, the likeliest word each time; ends follow on a shorter sentence."""
        s = self.settings
        return {"captions": greedy_to_the_end(self.decoder, raw, s.longest, self.vocabulary.unknown).int()}

    def log_likelihood(self, codes: Tensor, sentence: str) -> Tensor:
        """Logarithm (R,) of the probability that regions with codes (R, D) are told by a sentence's first words."""
        tokens = self.vocabulary.encode([sentence]).to(codes.device)
        return log_likelihood(self.decoder, codes, tokens.expand(len(codes), -1))


def prepare(settings: CaptionSettings, dataset: Dataset) -> CaptionSettings:
    """The settings with the words of the training captions; as they are where they have words.

    Raises:
        RecipeError: no word is frequent enough, or there is none.
    """
    if settings.words:
        return settings
    pictures = (parse(rows, record.size) for rows, record in zip(dataset.annotations, dataset.records, strict=True))
    lines = (line for texts in pictures if texts for text in texts for line in text.splitlines())
    return replace(settings, words=Vocabulary.build(lines, settings.threshold, settings.longest).words)


def usable(text: str, longest: int) -> list[str]:
    """The sentences of a region's text that have one to ``longest`` words."""
    return [line for line in text.splitlines() if 0 < len(tokenise(line)) <= longest]


def parse(annotations: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> list[str] | None:
    """A ``caption`` with a sentence per line, or ``captions``, a list of sentences -> a text with a sentence per line.

    None where no annotation has either; an empty text where some have none.

    Raises:
        DataError: a caption that is not text.
    """
    if annotations and not any("caption" in a or "captions" in a for a in annotations):
        return None
    return [_text(a) for a in annotations]


def _text(annotation: Mapping[str, Any]) -> str:
    caption, captions = annotation.get("caption") or "", annotation.get("captions") or []
    if not isinstance(caption, str) or not isinstance(captions, list) or not all(isinstance(c, str) for c in captions):
        where = f"annotation {annotation.get('id', '')}".rstrip()
        raise DataError("a caption is not text", where=where, cure="give caption a text, or captions a list of texts")
    lines = (" ".join(line.split()) for line in (*caption.splitlines(), *captions))  # a sentence has no line break
    text = "\n".join(line for line in lines if line)
    return text.encode("utf-8", "replace").decode()  # JSON can hold halves of characters, files of text cannot


def mirror(regions: Regions, categories: Categories) -> Field:
    """The captions with the words left and right exchanged."""
    assert regions.captions is not None
    return [SIDES.sub(lambda found: OTHER_SIDE[found[0]], text) for text in regions.captions]


OTHER_SIDE = {
    one: other for a, b in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")) for one, other in ((a, b), (b, a))
}
SIDES = re.compile(rf"\b({'|'.join(OTHER_SIDE)})\b")


def unknown(captions: Field, count: int) -> Field:
    """No sentence about any of ``count`` regions."""
    return [""] * count


def to_json(regions: Regions) -> list[dict[str, Any]]:
    """The text as ``caption``."""
    return [{"caption": text} for text in regions.captions] if regions.captions is not None else [{}] * len(regions)


def margin(image: Image.Image, scene: Scene) -> Image.Image:
    """A column of sentences beside the picture, each with a line to its box."""
    regions = scene.regions
    return draw_captions(image, regions.boxes, regions.captions or [""] * len(regions), object_colors(scene))


CAPTIONS = RegionTask(
    name="captions",
    settings=CaptionSettings,
    head=CaptionHead,
    parse=parse,
    metrics=(CaptionAP,),
    to_json=to_json,
    margin=margin,
    part=caption_part,
    mirror=mirror,
    unknown=unknown,
    prepare=prepare,
)
