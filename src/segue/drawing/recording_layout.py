"""How Rerun's viewer lays out a recording: which views there are, and what they show at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segue.drawing.recording import rerun
from segue.structures import Scene


def scene_layout(scene: Scene) -> Any:
    """Pictures to the left, meshes and words to the right; of several maps only the one that says most is shown."""
    b = rerun().blueprint
    maps = ["panoptic", "semantic", "masks"]
    there = [name for name in maps if getattr(scene, name, None) is not None or scene.regions.field(name) is not None]
    hidden = [f"camera/picture/{name}" for name in (*there[1:], "captions")]
    picture = b.Spatial2DView(
        origin="camera/picture", name="picture", overrides={path: b.EntityBehavior(visible=False) for path in hidden}
    )
    told = b.TextDocumentView(origin="regions", name="regions")
    if not scene.regions.meshes:
        return b.Blueprint(b.Horizontal(picture, told, column_shares=[3, 1]))
    space = b.Spatial3DView(origin="/", contents=["/camera", "/camera/picture", "/meshes/**"], name="meshes")
    return b.Blueprint(b.Horizontal(picture, b.Vertical(space, told)))


def run_layout() -> Any:
    """Losses and metrics to the left, targets beside predictions to the right."""
    b = rerun().blueprint
    losses = b.TimeSeriesView(origin="metrics", contents="metrics/loss/**", name="losses")
    metrics = b.TimeSeriesView(
        origin="metrics", contents=["metrics/**", "- metrics/loss/**", "- metrics/lr"], name="metrics"
    )
    samples = b.Spatial2DView(origin="samples", name="targets and predictions")
    return b.Blueprint(b.Horizontal(b.Vertical(losses, metrics), samples))


def explained_layout(levels: int, read: Sequence[str], outputs: Sequence[str]) -> Any:
    """A row for each step of the way of a region, the words in the last.

    Args:
        levels: of the pyramid.
        read: names below ``explain/3_samples`` and ``explain/4_pooled``.
        outputs: those below ``explain/5_heads`` that are maps.
    """
    b = rerun().blueprint

    def maps(folder: str, names: Sequence[str]) -> list[Any]:
        return [b.Spatial2DView(origin=f"explain/{folder}/{name}", name=name) for name in names]

    proposals = b.Spatial2DView(origin="explain/1_proposals", name="1 proposals")
    classes = b.BarChartView(origin="explain/5_heads/classes", name="classes")
    told = b.TextDocumentView(origin="explain/told", name="in words")
    pyramid = [
        b.Spatial2DView(origin=f"explain/2_levels/{number}", name=f"2 level {number}") for number in range(levels)
    ]
    return b.Blueprint(
        b.Horizontal(
            b.Vertical(proposals, told),
            b.Vertical(
                b.Horizontal(*pyramid),
                b.Horizontal(
                    b.Tabs(*maps("3_samples", read), name="3 samples"),
                    b.Tabs(*maps("4_pooled", read), name="4 pooled"),
                ),
                b.Horizontal(classes, b.Tabs(*maps("5_heads", outputs), name="5 heads")) if outputs else classes,
            ),
            column_shares=[1, 2],
        )
    )
