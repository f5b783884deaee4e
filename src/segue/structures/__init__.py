"""Validated containers: what an image holds, whether annotated or predicted."""

from segue.structures.categories import Categories, Category
from segue.structures.masks import Masks
from segue.structures.panoptic import Segments
from segue.structures.regions import Field, Regions
from segue.structures.scene import Scene

__all__ = ["Categories", "Category", "Field", "Masks", "Regions", "Scene", "Segments"]
