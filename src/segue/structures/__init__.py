"""Validated containers: what an image holds, whether annotated or predicted."""

from segue.structures.categories import Categories, Category
from segue.structures.masks import Masks
from segue.structures.meshes import Camera, Mesh, Meshes
from segue.structures.panoptic import Segments
from segue.structures.regions import Field, Regions
from segue.structures.scene import Scene

__all__ = ["Camera", "Categories", "Category", "Field", "Masks", "Mesh", "Meshes", "Regions", "Scene", "Segments"]
