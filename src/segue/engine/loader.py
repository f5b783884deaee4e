"""Training pictures as an endless stream that can be entered at any step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from segue.data.dataset import Dataset
from segue.data.mixture import Mixture
from segue.data.records import UNLABELLED
from segue.data.transforms import Augmentation, apply_geometry, jitter_intensity, random_geometry
from segue.errors import SegueError
from segue.models.batch import Batch
from segue.nn.conventions import SEGUE, Conventions
from segue.nn.normalise import normalise, pad_images, resize_image, shown_size
from segue.structures import Regions
from segue.tasks import RegionTask

TIMEOUT = 300  # seconds that one picture may take in a loader process


@dataclass(frozen=True)
class Place:
    """One place in the endless stream: its number, from which all chance follows, and the picture there."""

    number: int
    picture: int


@dataclass(frozen=True)
class Sample:
    """One augmented training picture.

    Attributes:
        image: (3, H, W) uint8.
        regions: its objects.
        semantic: (H, W) label map, if any.
        file: the picture's.
        known: (T,) bool, the thing classes whose objects its data set annotates; None means all.
        label: the class of the picture as a whole, -1 where nobody says.
    """

    image: Tensor
    regions: Regions
    semantic: Tensor | None
    file: str
    known: Tensor | None = None
    label: int = UNLABELLED


class TrainingPictures(TorchDataset[Sample]):
    """Augmented pictures of a data set; crowd regions are left out, as the published systems do.

    ``known`` (pictures, T) is that of the `Mixture`. Where the recipe says a size, pictures are brought to it by the
    conventions, as they are in prediction; then they are rounded to bytes.
    """

    def __init__(
        self,
        dataset: Dataset,
        augmentation: Augmentation,
        tasks: Sequence[RegionTask],
        seed: int,
        known: Tensor | None = None,
        conventions: Conventions = SEGUE,
    ) -> None:
        self.sizing = partial(shown_size, conventions=conventions)
        self.resizing = partial(resize_image, conventions=conventions)
        self.dataset, self.augmentation, self.seed, self.known = dataset, augmentation, seed, known
        self.transforms = {task.name: task.transform for task in tasks}
        self.mirrors = {task.name: task.mirror for task in tasks if task.mirror is not None}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: Place) -> Sample:
        """The picture at a place; the same place always gives the same pixels."""
        rng = np.random.default_rng([self.seed, place.number])
        image, regions = self.dataset.image(place.picture), self.dataset.regions(place.picture)
        if regions.crowd is not None:
            regions = regions.select(~regions.crowd)
        geometry = random_geometry((image.shape[1], image.shape[2]), self.augmentation, rng, self.sizing)
        image, regions = apply_geometry(image, regions, geometry, self.transforms, resize=self.resizing)
        for name, mirror in self.mirrors.items():
            if geometry.mirrored and regions.field(name) is not None:
                regions = regions.with_field(name, mirror(regions, self.dataset.categories))
        semantic = None if self.dataset.maps is None else geometry.label_map(self._labels(place.picture))
        image = jitter_intensity(image, self.augmentation, rng)
        known = None if self.known is None else self.known[place.picture]
        word = self.dataset.label(place.picture)
        label = UNLABELLED if word is None else self.dataset.categories.index(word)
        return Sample(image, regions, semantic, str(self.dataset.records[place.picture].file), known, label)

    def _labels(self, picture: int) -> Tensor:
        """(H, W) label map of a picture, unlabelled all over where it has none."""
        labels = self.dataset.semantic(picture)
        size = self.dataset.records[picture].size
        return torch.full(size, UNLABELLED, dtype=torch.int16) if labels is None else labels

    def __getitems__(self, places: Sequence[Place]) -> list[Sample] | SegueError:
        """The pictures of a step; or the error, which a loader process could only raise as a text of its traceback."""
        try:
            return [self[place] for place in places]
        except SegueError as error:
            return error


class Stream(Sampler[list[Place]]):
    """Batches of places from ``first`` to ``last`` step: epoch after epoch of a mixture, each in its own order.

    Process ``rank`` of ``world`` takes its share of every step, so the pictures of a step do not depend on ``world``
    as long as ``batch * world`` stays.
    """

    def __init__(self, mixture: Mixture, batch: int, first: int, last: int, seed: int, rank: int = 0, world: int = 1):
        self.mixture, self.batch, self.first, self.last = mixture, batch, first, last
        self.seed, self.rank, self.world = seed, rank, world

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[Place]]:
        epoch, order, length = -1, np.empty(0, dtype=np.int64), sum(self.mixture.places)
        for step in range(self.first, self.last):
            start = (step * self.world + self.rank) * self.batch
            places = []
            for number in range(start, start + self.batch):
                if number // length != epoch:
                    epoch = number // length
                    shuffled = np.random.default_rng([self.seed, epoch]).permutation(length)
                    order = self.mixture.epoch(epoch)[shuffled]
                places.append(Place(number, int(order[number % length])))
            yield places


@dataclass(frozen=True)
class Collate:
    """Samples -> a normalised, padded `Batch`, with the fields of ``tasks`` for all where some pictures have them."""

    conventions: Conventions
    multiple: int
    tasks: Sequence[RegionTask] = ()

    def __call__(self, samples: Sequence[Sample] | SegueError) -> Batch | SegueError:
        """Pack the truth of all pictures one after the other; an error passes."""
        if isinstance(samples, SegueError):
            return samples
        images, sizes = pad_images([s.image for s in samples], self.multiple)
        known = [s.known for s in samples if s.known is not None]
        counts = torch.tensor([len(s.regions) for s in samples])
        return Batch(
            images=normalise(images, sizes, self.conventions),
            sizes=sizes,
            truth=Regions.cat(completed([s.regions for s in samples], self.tasks)),
            owners=torch.repeat_interleave(torch.arange(len(samples)), counts),
            files=[s.file for s in samples],
            semantic=pad_label_maps([s.semantic for s in samples], images.shape[2], images.shape[3]),
            known=torch.stack(known) if known else None,
            labels=torch.tensor([s.label for s in samples]),
        )


def completed(parts: Sequence[Regions], tasks: Sequence[RegionTask]) -> list[Regions]:
    """The regions of some pictures; where only some have a field, the others get it as their task's ``unknown``."""
    done = list(parts)
    for task in tasks:
        name, unknown = task.name, task.unknown
        example = next((part.fields()[name] for part in done if len(part) and name in part.fields()), None)
        if example is not None and unknown is not None:
            done = [p if name in p.fields() else p.with_field(name, unknown(example, len(p))) for p in done]
    return done


def pad_label_maps(maps: Sequence[Tensor | None], height: int, width: int) -> Tensor | None:
    """Label maps (H_i, W_i) -> (B, height, width) int64, unlabelled in the padding; None where a picture has none."""
    if any(labels is None for labels in maps):
        return None
    padded = [
        F.pad(labels, (0, width - labels.shape[1], 0, height - labels.shape[0]), value=UNLABELLED)
        for labels in maps
        if labels is not None
    ]
    return torch.stack(padded).long()


def load_batches(pictures: TrainingPictures, stream: Stream, collate: Collate, workers: int) -> Iterator[Batch]:
    """The stream as batches, prepared in ``workers`` processes (0: in this one).

    Raises:
        ImageError: a picture cannot be read.
        DataError: one is not as annotated.
    """
    loader: DataLoader[Batch | SegueError] = DataLoader(
        pictures,  # type: ignore[arg-type]
        batch_sampler=stream,
        num_workers=workers,
        collate_fn=collate,
        timeout=TIMEOUT if workers else 0,
        persistent_workers=False,
    )
    for batch in loader:
        if isinstance(batch, SegueError):
            raise batch
        yield batch
