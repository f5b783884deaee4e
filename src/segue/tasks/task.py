"""What a task is: the bundle that a task's file fills, and the shapes that its head sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from PIL import Image
from torch import Tensor, nn

from segue.data.geometry import Geometry
from segue.data.records import Dataset
from segue.drawing import Part
from segue.nn.conventions import Conventions
from segue.structures import Categories, Field, Regions, Scene


@dataclass(frozen=True)
class Sampled:
    """The regions of a batch that a head is trained on: B images with S slots each, R = B * S in one row.

    Attributes:
        boxes: (R, 4) xyxy in pixels of the network's input.
        labels: (R,) int64 true class; meaningless where not ``positive``.
        matched: (R,) int64 index into the packed truth of the whole batch; meaningless where not ``positive``.
        positive: (R,) bool, the slot holds a box that covers an object.
        valid: (R,) bool, the slot holds a box at all.
        known: (R, K) bool, the classes whose objects are annotated in the slot's image; None means all.
    """

    boxes: Tensor
    labels: Tensor
    matched: Tensor
    positive: Tensor
    valid: Tensor
    known: Tensor | None = None


@dataclass(frozen=True)
class Detections:
    """Padded detections of a batch: D slots per image, best first.

    Attributes:
        boxes: (B, D, 4) xyxy in pixels of the network's input.
        scores: (B, D) in [0, 1].
        labels: (B, D) int64 category indices.
        valid: (B, D) bool, the slot is filled.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    valid: Tensor


class RegionHead(Protocol):
    """The network of one task: sees RoI features, nothing else of the picture. Subclass `nn.Module`, too."""

    pooled: int | tuple[int, ...]
    """Side of the RoIAlign output that the head wants, or several sides."""

    def __call__(self, rois: Any) -> Any:
        """(R, C, pooled, pooled), or a tuple of such -> raw output, a tensor (R, ...) or a tuple of such."""

    def losses(self, raw: Any, regions: Sampled, truth: Regions) -> dict[str, Tensor]:
        """Scalars to add up. ``truth`` are the annotated regions of the whole batch, packed."""

    def decode(self, raw: Any, regions: Regions, size: tuple[int, int]) -> Field:
        """The field for the detections of one picture, with boxes in pixels of a picture of ``size`` (h, w).

        A head may also have ``tensors(raw, labels, boxes)``: what stands in an exported graph for regions of classes
        (R,) with boxes (R, 4), as tensors (R, ...) by name. Without it the raw output stands there.
        """


class Metric(Protocol):
    """A score that takes one picture at a time."""

    def update(self, predicted: Scene, truth: Scene) -> None:
        """Count one picture."""

    def compute(self) -> dict[str, float]:
        """The numbers so far, by ``group/name``."""


class PixelHead(Protocol):
    """The network of one task with a value for every pixel: reads the whole pyramid. Subclass `nn.Module`, too."""

    def __call__(self, levels: Sequence[Tensor]) -> Tensor:
        """Levels (B, C, H_i, W_i), finest first -> raw output (B, ...)."""

    def losses(self, raw: Tensor, semantic: Tensor | None) -> dict[str, Tensor]:
        """Scalars to add up. ``semantic`` (B, H, W) int64 has -1 where unlabelled; None where no picture has a map."""

    def probabilities(self, raw: Tensor, shown: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """The raw output of one picture, seen as (h, w) and of ``size`` (H, W) -> (outputs, H, W)."""

    def label(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (outputs, h, W) -> the map (h, W) and its confidence (h, W)."""

    def decode(self, raw: Tensor, shown: tuple[int, int], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """`label` of the `probabilities`."""

    def tensors(self, raw: Tensor, shown: tuple[int, int]) -> dict[str, Tensor]:
        """What stands in an exported graph for pictures seen as (h, w): tensors (B, h, w) by name."""


class ImageHead(Protocol):
    """The network of one task with a value for a whole picture, which is its one region. Subclass `nn.Module`, too."""

    pooled: int
    """Side of the RoIAlign output that the head wants."""

    def __call__(self, rois: Tensor) -> Tensor:
        """(B, C, pooled, pooled), the features of whole pictures -> raw output (B, ...)."""

    def losses(self, raw: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Scalars to add up. ``labels`` (B,) int64 are thing classes, -1 where a picture has none."""

    def decode(self, raw: Tensor) -> str:
        """The raw output of one picture -> the value of the field."""

    def tensors(self, raw: Tensor) -> dict[str, Tensor]:
        """What stands in an exported graph: tensors (B, ...) by name."""


class File(NamedTuple):
    """A file to stand beside scenes.json.

    Attributes:
        ending: of its name, such as ``glb``.
        content: with `segue.files.MARK` in its first KiB, or a later run writes another file beside it.
    """

    ending: str
    content: bytes


@dataclass(frozen=True)
class RegionFiles:
    """Files that a task makes of a scene, each by the key under which scenes.json names it.

    Attributes:
        regions: those of each region, named in its entry.
        scene: those of the whole scene, named in the scene's entry.
    """

    regions: Sequence[Mapping[str, File]]
    scene: Mapping[str, File]


def no_report(metric: Metric) -> dict[str, Image.Image]:
    """No picture of a metric."""
    return {}


@dataclass(frozen=True)
class NoSettings:
    """Of a task without recipe values."""


@dataclass(frozen=True)
class PixelTask:
    """Everything particular to one output with a value for every pixel.

    In a region network it has a head of its own that reads the pyramid, or follows from other fields.

    Attributes:
        name: the field of `Scene` that it fills.
        annotated: whether a data set carries it.
        metrics: factories ``Categories -> Metric``.
        draw: paints the field over an RGB picture of the scene's size and returns it.
        files: the pictures that hold the field, by the ending of their names, such as ``semantic.png``.
        report: pictures of a metric, by the ending of their names; none of metrics that are not its own.
        entry: the names of these files, in the same order, and the scene -> what the scene's entry in scenes.json says,
            by key.
        settings: dataclass of its recipe values, each with a default.
        head: ``(channels, strides, categories, settings) -> head`` of a region network.
        derive: the scene with this field, made of its other ones and the settings.
        needs: the tasks that ``derive`` reads.
        hides: the tasks whose drawing says nothing where this one is drawn.
        selects: as of `RegionTask`; no such task does.
    """

    name: str
    annotated: Callable[[Dataset], bool]
    metrics: tuple[Callable[[Categories], Metric], ...]
    draw: Callable[[Image.Image, Scene], Image.Image]
    files: Callable[[Scene], dict[str, Image.Image]]
    entry: Callable[[Sequence[str], Scene], dict[str, Any]]
    report: Callable[[Metric], dict[str, Image.Image]]
    settings: type[Any] = NoSettings
    head: Callable[[int, Sequence[int], Categories, Any], nn.Module] | None = None
    derive: Callable[[Scene, Any], Scene] | None = None
    needs: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()
    selects: bool = False

    def carried(self, scene: Scene) -> bool:
        """Whether a scene has the field."""
        return getattr(scene, self.name) is not None


@dataclass(frozen=True)
class RegionTask:
    """Everything particular to one per-region output. The rest of the house loops over tasks and names none.

    Attributes:
        name: the field of `Regions` that it fills; the name in recipes and on the command line.
        settings: dataclass of the head's recipe values, each with a default.
        head: ``(channels, categories, conventions, settings) -> head``.
        parse: annotation records of one picture (COCO's keys, or those of scenes.json) and its size ->
            the field, or None where the records do not carry it. The records have been checked for what all tasks
            share; it raises `DataError` for faults of its own.
        transform: what a flip, turn, rescale or crop does to the field; None leaves it as it is.
        metrics: factories ``Categories -> Metric``.
        draw: paints the field over an RGB picture of the scene's size and returns it; None draws nothing.
        to_json: one dict per region, merged into the region's entry of scenes.json; None saves nothing.
        margin: sets what the field says beside a painted RGB picture, which grows; None sets nothing.
        part: a scene and its plain picture -> what an HTML page says of them; None says nothing.
        files: a scene and its plain picture, if that is at hand -> the files that hold the field; None has none.
        selects: True for the one task whose head turns proposals into the detections that all others read.
        mirror: regions of a picture that ``transform`` has mirrored, and their classes -> the field with whatever is
            named left or right exchanged; None where nothing is.
        unknown: another picture's field and a number N -> the field of N regions of which nobody says what it is, from
            which the head learns nothing. Without it a batch has the field only if each picture with regions has it.
        prepare: settings and the training data -> the settings completed by what must be known before the head is
            built, such as a vocabulary. They are saved with the model.
        shown: the head's ``decode`` takes, last, the boxes (N, 4) as the network saw them, before the picture came back
            to its own size: what it says depends on that.
        package: that brings the task, for errors; empty for Segue's own.
    """

    name: str
    settings: type[Any]
    head: Callable[[int, Categories, Conventions, Any], nn.Module]
    parse: Callable[[Sequence[Mapping[str, Any]], tuple[int, int]], Field | None]
    transform: Callable[[Field, Geometry], Field] | None = None
    metrics: tuple[Callable[[Categories], Metric], ...] = ()
    draw: Callable[[Image.Image, Scene], Image.Image] | None = None
    to_json: Callable[[Regions], list[dict[str, Any]]] | None = None
    margin: Callable[[Image.Image, Scene], Image.Image] | None = None
    part: Callable[[Scene, Image.Image], Part] | None = None
    files: Callable[[Scene, Image.Image | None], RegionFiles] | None = None
    selects: bool = False
    mirror: Callable[[Regions, Categories], Field] | None = None
    unknown: Callable[[Field, int], Field] | None = None
    prepare: Callable[[Any, Dataset], Any] | None = None
    shown: bool = False
    package: str = ""

    def carried(self, scene: Scene) -> bool:
        """Whether a scene's regions have the field."""
        return scene.regions.field(self.name) is not None

    def annotated(self, dataset: Dataset) -> bool:
        """Whether a data set's first objects carry the field; a set with neither objects nor label maps carries all."""
        regions = (dataset.regions(index) for index in range(len(dataset)))
        first = next((found for found in regions if len(found)), None)
        return dataset.maps is None if first is None else first.field(self.name) is not None


@dataclass(frozen=True)
class ImageTask:
    """Everything particular to one output with a value for the whole picture.

    Its head reads the features of one region, as the others do: the region is the picture.

    Attributes:
        name: the field of `Scene` that it fills.
        settings: dataclass of the head's recipe values, each with a default.
        head: ``(channels, categories, settings) -> head``, an `ImageHead`; the categories are things.
        annotated: whether a data set carries it.
        metrics: factories ``Categories -> Metric``.
        draw: paints the value on an RGB picture of the scene's size and returns it.
        entry: what the scene's entry in scenes.json says, by key.
        selects: as of `RegionTask`; no such task does.
    """

    name: str
    settings: type[Any]
    head: Callable[[int, Categories, Any], nn.Module]
    annotated: Callable[[Dataset], bool]
    metrics: tuple[Callable[[Categories], Metric], ...]
    draw: Callable[[Image.Image, Scene], Image.Image]
    entry: Callable[[Scene], dict[str, Any]]
    selects: bool = False

    def carried(self, scene: Scene) -> bool:
        """Whether a scene has the field."""
        return getattr(scene, self.name) is not None


Task = RegionTask | PixelTask | ImageTask
