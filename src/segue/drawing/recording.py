"""Scenes in a recording of Rerun (rerun.io), which shows them in 2-D and 3-D along time. Needs the ``viewer`` extra.

Entities: ``camera`` is the pinhole where meshes say which, and ``camera/picture`` the image, with ``semantic``,
``panoptic``, ``masks``, ``boxes``, ``bones``, ``keypoints`` and ``captions`` below it; ``meshes/N`` stand in the
coordinates of the camera, x right, y down, z ahead, in metres; ``regions`` tells all in words. What a picture lacks is
cleared, but for the camera: clearing it would take away the one that is logged at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.drawing.colors import object_colors
from segue.drawing.keypoints import side_color
from segue.drawing.panoptic import segment_colors
from segue.drawing.scene import region_labels
from segue.drawing.text import clean
from segue.errors import UsageError
from segue.structures import Camera, Categories, Category, Masks, Mesh, Scene
from segue.structures.categories import Color

MOST_IDS = 2**16
"""Rerun's class ids lie below it; 0 is nothing."""

QUALITY = 95
"""Of the JPEG that a picture becomes."""


def rerun() -> Any:
    """The module; raises `UsageError` where it is not installed."""
    try:
        import rerun
        import rerun.blueprint
    except ImportError:
        raise UsageError("viewing needs Rerun", cure="pip install 'segue[viewer]'") from None
    return rerun


def log_categories(stream: Any, categories: Categories) -> None:
    """Names and colours of the classes and their keypoints, for all times; the class with index i has the id i + 1."""
    rr = rerun()
    rows = [
        rr.ClassDescription(
            info=rr.AnnotationInfo(number, clean(category.name), category.color),
            keypoint_annotations=[
                rr.AnnotationInfo(k, clean(name), side_color(name)) for k, name in enumerate(category.keypoints)
            ],
        )
        for number, category in enumerate(categories, start=1)
    ]
    stream.log("camera/picture", rr.AnnotationContext(rows[: MOST_IDS - 1]), static=True)
    stream.log("/", rr.ViewCoordinates.RDF, static=True)


def log_scene(stream: Any, scene: Scene, image: Tensor | None, notes: Sequence[str] = ()) -> None:
    """Everything that a scene holds, at the stream's time.

    Args:
        stream: a ``rerun.RecordingStream``.
        scene: keypoints whose third number is 0 are left out.
        image: (3, H, W) uint8 of the scene's size, if it is at hand.
        notes: what else to tell of each region.
    """
    rr, regions = rerun(), scene.regions
    for path in ("camera/picture", "meshes"):
        stream.log(path, rr.Clear(recursive=True))
    if image is not None:
        stream.log("camera/picture", rr.Image(image.permute(1, 2, 0).numpy(force=True)).compress(QUALITY))
    log_maps(stream, scene)
    ids = (regions.labels + 1).numpy(force=True)
    labels = [clean(text) for text in region_labels(scene)]
    boxes = {"array": regions.boxes.numpy(force=True), "array_format": rr.Box2DFormat.XYXY, "class_ids": ids}
    if len(regions):
        stream.log("camera/picture/boxes", rr.Boxes2D(**boxes, labels=labels))
        if regions.captions is not None:
            said = [clean(text, 200) for text in regions.captions]
            stream.log("camera/picture/captions", rr.Boxes2D(**boxes, labels=said, show_labels=False))
    if regions.keypoints is not None:
        log_keypoints(stream, regions.keypoints, [scene.categories[label] for label in regions.labels.tolist()], ids)
    if regions.meshes is not None:
        log_meshes(stream, regions.meshes, object_colors(scene), scene.size)
    stream.log("regions", rr.TextDocument("\n".join(told(scene, labels, notes)), media_type="text/plain"))


def told(scene: Scene, labels: Sequence[str], notes: Sequence[str] = ()) -> list[str]:
    """A line for the picture and one for each region: its label, its caption and what else is noted."""
    h, w = scene.size
    lines = [" ".join(part for part in (clean(scene.file or "", 200), f"{w}x{h}", clean(scene.label or "")) if part)]
    for i, label in enumerate(labels):
        caption = clean(scene.regions.captions[i], 200) if scene.regions.captions else ""
        note = clean(notes[i], 200) if notes else ""
        lines.append(f"{i + 1}. " + ", ".join(part for part in (label, caption, note) if part))
    return lines


def log_maps(stream: Any, scene: Scene) -> None:
    """The semantic map by class; the panoptic map and the masks with a colour for each segment and object."""
    rr, names = rerun(), scene.categories.names
    if scene.semantic is not None:
        ids = (scene.semantic.int() + 1).clamp(max=MOST_IDS - 1).numpy(force=True).astype(np.uint16)
        stream.log("camera/picture/semantic", rr.SegmentationImage(ids, opacity=0.5))
    if scene.panoptic is not None and scene.segments is not None:
        segments = scene.segments.to("cpu")
        numbers = segments.places(scene.panoptic.cpu().long()) + 1
        own = [names[label] for label in segments.labels.tolist()]
        log_objects(stream, "camera/picture/panoptic", numbers.numpy(), own, segment_colors(segments, scene.categories))
    if isinstance(scene.regions.masks, Masks) and len(scene.regions):
        own = [names[label] for label in scene.regions.labels.tolist()]
        numbered = object_map(scene.regions.masks)
        log_objects(stream, "camera/picture/masks", numbered, own, distinct(object_colors(scene)))


def log_objects(stream: Any, path: str, ids: NDArray[Any], names: Sequence[str], colors: Sequence[Color]) -> None:
    """A map (H, W) of objects numbered from 1, with the name and the colour of each."""
    rr = rerun()
    context = [
        rr.AnnotationInfo(number, f"{clean(name)} {number}", color)
        for number, (name, color) in enumerate(zip(names, colors, strict=True), start=1)
    ]
    stream.log(path, rr.AnnotationContext(context[: MOST_IDS - 1]))
    stream.log(path, rr.SegmentationImage(ids.clip(max=MOST_IDS - 1).astype(np.uint16), opacity=0.5))


def distinct(colors: Sequence[Color]) -> list[Color]:
    """Colours of objects, of which equal ones are made a little darker, one after the other."""
    seen: dict[Color, int] = {}
    found = []
    for color in colors:
        share = 1 - 0.12 * (seen.setdefault(color, 0) % 5)
        seen[color] += 1
        found.append((round(color[0] * share), round(color[1] * share), round(color[2] * share)))
    return found


def object_map(masks: Masks) -> NDArray[Any]:
    """(H, W) number from 1 of the first mask that covers a pixel, 0 where there is none."""
    owner, x, y = (values[masks.bits].flip(0).numpy(force=True) for values in masks.coordinates())
    canvas = np.zeros(masks.size, np.int64)
    canvas[y, x] = owner + 1  # of several, the last one stays
    return canvas


def log_keypoints(stream: Any, points: Tensor, categories: Sequence[Category], ids: NDArray[Any]) -> None:
    """The keypoints (N, K, 3) of N objects and the bones between them, left and right by colour."""
    rr = rerun()
    owner, k = (points[..., 2] > 0).nonzero().T.numpy(force=True)
    if not len(owner):
        return
    strips, colors = bones(points, categories)
    if len(strips):
        stream.log("camera/picture/bones", rr.LineStrips2D(strips, colors=colors))
    places = points[owner, k, :2].numpy(force=True)
    stream.log("camera/picture/keypoints", rr.Points2D(places, class_ids=ids[owner], keypoint_ids=k, show_labels=False))


def bones(points: Tensor, categories: Sequence[Category]) -> tuple[NDArray[Any], list[Color]]:
    """(B, 2, 2) ends x, y of the bones whose both ends (N, K, 3) are shown, and the colour of the side of each."""
    ends, colors = [], []
    for own, category in zip(points, categories, strict=True):
        shown = (own[:, 2] > 0).tolist()
        for a, b in category.skeleton:
            if shown[a] and shown[b]:
                ends.append(own[[a, b], :2])
                colors.append(side_color(category.keypoints[a], category.keypoints[b]))
    stacked = torch.stack(ends) if ends else torch.zeros(0, 2, 2)
    return stacked.numpy(force=True), colors


def log_meshes(stream: Any, meshes: Sequence[Mesh], colors: Sequence[Color], size: tuple[int, int]) -> None:
    """Meshes with faces in front of the camera that saw them, which becomes that of the picture."""
    rr = rerun()
    camera = next((mesh.camera for mesh in meshes if mesh.camera is not None), None)
    if camera is not None:
        stream.log("camera", pinhole(rr, camera, size))
    for number, (mesh, color) in enumerate(zip(meshes, colors, strict=True)):
        if len(mesh.faces):
            triangles, normals = mesh.faces.numpy(force=True), vertex_normals(mesh).numpy(force=True)
            vertices = mesh.vertices.numpy(force=True)
            shape = rr.Mesh3D(vertex_positions=vertices, triangle_indices=triangles, vertex_normals=normals,
                              albedo_factor=color)  # fmt: skip
            stream.log(f"meshes/{number}", shape)


def pinhole(rr: Any, camera: Camera, size: tuple[int, int]) -> Any:
    """The camera of a picture of ``size`` (h, w)."""
    return rr.Pinhole(
        resolution=(size[1], size[0]),
        focal_length=camera.focal,
        principal_point=camera.centre,
        camera_xyz=rr.ViewCoordinates.RDF,
    )


def vertex_normals(mesh: Mesh) -> Tensor:
    """(V, 3) unit normals outwards: the mean of those of the faces around, by area; zeros where there are none."""
    a, b, c = mesh.vertices[mesh.faces].unbind(1)  # (F, 3) each
    faces = torch.linalg.cross(b - a, c - a)
    sums = torch.zeros_like(mesh.vertices).index_add_(0, mesh.faces.flatten(), faces.repeat_interleave(3, 0))
    return torch.nn.functional.normalize(sums, dim=1)
