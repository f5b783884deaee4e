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
    from segue.engine.predictor import Predictor as Predictor
    from segue.structures import Categories as Categories
    from segue.structures import Category as Category
    from segue.structures import Masks as Masks
    from segue.structures import Regions as Regions
    from segue.structures import Scene as Scene

_PLACES = {
    "load": "segue.engine.load",
    "Predictor": "segue.engine.predictor",
    "draw": "segue.engine.picture",
    "Categories": "segue.structures",
    "Category": "segue.structures",
    "Masks": "segue.structures",
    "Regions": "segue.structures",
    "Scene": "segue.structures",
}

__all__ = ["Categories", "Category", "Masks", "Predictor", "Regions", "Scene", "__version__", "draw", "load"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `segue --help` does not wait for torch."""
    if name not in _PLACES:
        raise AttributeError(f"module 'segue' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
