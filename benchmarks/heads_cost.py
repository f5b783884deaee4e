"""What all heads of the bundled ``toybox`` make of the time of boxes and masks alone, on scenes of its world."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.timing import Case
from segue.data.toybox import render
from segue.engine.load import load
from segue.models.inference import Speed
from segue.structures import Scene

FIRST, SCENES, SIDE = 5_000_000, 8, 256
"""Numbers of scenes that nothing was trained on."""


def toybox(speed: Speed) -> Callable[[bool], Case]:
    """Both sides look at the same pictures, one after the other."""

    def make(quick: bool) -> Case:
        whole = load("toybox", "cpu", speed)
        bare = whole.only(["boxes", "masks"])
        images = [render(FIRST + i, (SIDE, SIDE)).image for i in range(1 if quick else SCENES)]
        return Case(
            f"bundled toybox, {len(images)} scenes of {SIDE} × {SIDE}, {speed}",
            "itself with all heads",
            lambda: [bare.predict(image) for image in images],
            lambda: [whole.predict(image) for image in images],
            alike,
        )

    return make


def alike(bare: list[Scene], whole: list[Scene]) -> str:
    """That both found the same objects, and how many."""
    pairs = list(zip(bare, whole, strict=True))
    apart = max(float((a.regions.boxes - b.regions.boxes).abs().max()) for a, b in pairs if len(a.regions))
    return f"{sum(len(scene.regions) for scene in whole)} objects in both, boxes {apart:.1e} px"


CASES: dict[str, Callable[[bool], Case]] = {"heads_cost": toybox("exact"), "heads_cost_fast": toybox("fast")}
