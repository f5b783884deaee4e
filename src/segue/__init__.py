"""Segue: one trunk looks once, small heads read regions, one `Scene` comes out.

import segue
model = segue.load("nuclei")
scene = model.predict("photo.png")
segue.draw(scene, "photo.png").show()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from segue.engine.load import load as load
    from segue.engine.picture import draw as draw
    from segue.engine.predictor import PixelOptions as PixelOptions
    from segue.engine.predictor import Predictor as Predictor
    from segue.models.analysis import cost as cost
    from segue.models.analysis import receptive_field as receptive_field
    from segue.structures import Categories as Categories
    from segue.structures import Category as Category
    from segue.structures import Masks as Masks
    from segue.structures import Regions as Regions
    from segue.structures import Scene as Scene

_PLACES = {
    "load": "segue.engine.load",
    "PixelOptions": "segue.engine.predictor",
    "Predictor": "segue.engine.predictor",
    "cost": "segue.models.analysis",
    "receptive_field": "segue.models.analysis",
    "draw": "segue.engine.picture",
    "Categories": "segue.structures",
    "Category": "segue.structures",
    "Masks": "segue.structures",
    "Regions": "segue.structures",
    "Scene": "segue.structures",
}

__all__ = [
    "Categories",
    "Category",
    "Masks",
    "PixelOptions",
    "Predictor",
    "Regions",
    "Scene",
    "__version__",
    "cost",
    "draw",
    "load",
    "receptive_field",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `segue --help` does not wait for torch."""
    if name not in _PLACES:
        raise AttributeError(f"module 'segue' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
