"""How often meshes of Toybox keep the holes of their objects, and make no others: writes results/mesh_check.json.

    SEGUE_DATA=... python tools/mesh_check.py runs/toybox_all --data toybox:val --limit 200
    SEGUE_DATA=... python tools/mesh_check.py --voxels 24   # how many could be right at most: only printed

An annotated object counts as detected where a region of its class with a score of at least 0.5 has an IoU of at least
0.5 with its box; regions take objects as in `segue.metrics.ranking.greedy`. The mesh of a detected object is right
where its Euler number, vertices - edges + faces as they are, is that of the object's outer surface (`EULER`). A speck
beside the object adds 2 to the number, and so hides a hole that is there; the last column counts without specks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from tqdm import tqdm

from segue.data.dataset import Dataset, open_dataset
from segue.engine.load import load
from segue.engine.predictor import Predictor
from segue.files import atomic_write
from segue.metrics.ranking import greedy
from segue.nn.mesh_frames import framed, is_known, occupancy
from segue.ops.boxes import box_iou
from segue.ops.cubify import cubify
from segue.ops.mesh_graph import euler_numbers, unique_edges
from segue.structures import Mesh, Meshes, Scene
from segue.tasks import BOXES, MESHES, parsers_of

RESULTS = Path("results/mesh_check.json")
SCORE, IOU = 0.5, 0.5
SPECK = 0.05
"""A component with a smaller share of its mesh's faces is a speck."""

EULER = {"ring": 0, "mug": 0} | dict.fromkeys(("ball", "box", "cone", "bottle", "bowl", "table", "car"), 2)
"""Of the surface around all parts of an object together. Annotated meshes have closed parts that run into each other,
so their own number is another one. Left out is what differs between objects of a class: chairs (a hole under each
slat), people and trees (limbs that may touch); and lamps, whose shade hangs free: a tube and a foot are 2 in sum, as is
a shape without any hole.
"""


@dataclass
class Counts:
    """Of the objects of one category.

    Attributes:
        objects: annotated.
        detected: of these.
        right: detected, with the right Euler number.
        without_specks: detected, with the right Euler number when specks are left out.
    """

    objects: int = 0
    detected: int = 0
    right: int = 0
    without_specks: int = 0

    def row(self) -> dict[str, float | None]:
        """The counts, and the shares of the detected in per cent; None where nothing is detected."""
        shares = {"share": self.right, "share_without_specks": self.without_specks}
        percent = {name: round(100 * n / self.detected, 2) if self.detected else None for name, n in shares.items()}
        return {"objects": self.objects, "detected": self.detected, "right": self.right} | percent


def main() -> None:
    """Parse, predict, count, write."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("model", nargs="?", help="a zoo name, a .safetensors file or a run folder")
    parse.add_argument("--data", default="toybox:val", help="a split of Toybox (toybox:val)")
    parse.add_argument("--limit", type=int, metavar="N", help="look at the first N pictures only")
    parse.add_argument("--voxels", type=int, metavar="V", help="of the true shapes put into V^3 voxels, not of a model")
    parse.add_argument("--out", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    options = parse.parse_args()
    if options.voxels is not None:
        print("\n".join(table(count(voxelised(options.data, options.limit, options.voxels)))))
        return
    if options.model is None:
        parse.error("name a model, or give --voxels")
    predictor = load(options.model).only(["meshes"])
    dataset = open_dataset(options.data, parsers_of([BOXES]))
    images = len(dataset) if options.limit is None else min(options.limit, len(dataset))
    rows = count(pair for picture in scenes(predictor, dataset, images) for pair in found_meshes(*picture))
    print("\n".join(table(rows)))
    content: dict[str, object] = {
        "model": predictor.name,
        "data": options.data,
        "images": images,
        "score": SCORE,
        "iou": IOU,
        "rows": {name: counts.row() for name, counts in rows.items()},
    }
    atomic_write(options.out, (json.dumps(content, indent=1) + "\n").encode())


def scenes(predictor: Predictor, dataset: Dataset, images: int) -> Iterator[tuple[Scene, Scene]]:
    """Prediction and truth of the first so many pictures."""
    for index in tqdm(range(images), desc="meshes", unit="image"):
        yield predictor.predict(dataset.image(index), threshold=SCORE), dataset.scene(index)


def found_meshes(found: Scene, truth: Scene) -> Iterator[tuple[str, Mesh | None]]:
    """Of each annotated object of `EULER`, its category and the mesh of its detection; None where there is none."""
    names, true_names = names_of(found), names_of(truth)
    same = torch.tensor([[name == true for true in true_names] for name in names], dtype=torch.bool)
    overlap = box_iou(found.regions.boxes, truth.regions.boxes)
    right = same.view_as(overlap) & (overlap >= IOU)
    order = torch.arange(len(names)) if found.regions.scores is None else found.regions.scores.argsort(descending=True)
    taken = zip(order.tolist(), greedy(overlap[order], right[order]).tolist(), strict=True)
    region_of = {place: region for region, place in taken if place >= 0}
    meshes = found.regions.meshes or []
    for place, name in enumerate(true_names):
        if name in EULER:
            yield name, meshes[region_of[place]] if place in region_of else None


def voxelised(data: str, limit: int | None, side: int) -> Iterator[tuple[str, Mesh]]:
    """Of each annotated object of `EULER`, its category and the cubes that its true shape fills, in its box."""
    dataset = open_dataset(data, parsers_of([BOXES, MESHES]))
    for index in tqdm(range(len(dataset))[:limit], desc="voxels", unit="image"):
        scene = dataset.scene(index)
        for name, box, mesh in zip(names_of(scene), scene.regions.boxes, scene.regions.meshes or [], strict=False):
            if name in EULER and is_known(mesh):
                [(vertices, faces)] = cubify(occupancy(*framed([mesh], box[None]), side).float(), 0.5).unpack()
                yield name, Mesh(vertices, faces)


def names_of(scene: Scene) -> list[str]:
    """The category of each region."""
    return [scene.categories[label].name for label in scene.regions.labels.tolist()]


def count(pairs: Iterable[tuple[str, Mesh | None]]) -> dict[str, Counts]:
    """The counts of each category that occurs, in the order of `EULER`."""
    rows: dict[str, Counts] = {}
    for name, mesh in pairs:
        row = rows.setdefault(name, Counts())
        row.objects += 1
        if mesh is not None:
            surface = Meshes.pack([mesh.vertices], [mesh.faces])
            row.detected += 1
            row.right += has_number(surface, EULER[name])
            row.without_specks += has_number(without_specks(surface), EULER[name])
    return {name: rows[name] for name in EULER if name in rows}


def has_number(mesh: Meshes, number: int) -> bool:
    """Whether a mesh (one) has faces and this Euler number."""
    return len(mesh.faces) > 0 and int(euler_numbers(mesh)) == number


def without_specks(mesh: Meshes) -> Meshes:
    """A mesh (one) without components of less than `SPECK` of its faces; what shares a vertex is one component."""
    component = components(mesh)[mesh.faces[:, 0]]  # (F,)
    kept = component.bincount()[component] >= SPECK * len(component)
    return Meshes(mesh.vertices, mesh.faces[kept], mesh.vertex_counts, kept.sum()[None])


def components(mesh: Meshes) -> Tensor:
    """(V,) int64, the number of the component that each vertex is in."""
    edges, size = unique_edges(mesh.faces).numpy(), len(mesh.vertices)
    graph = coo_array(([True] * len(edges), (edges[:, 0], edges[:, 1])), shape=(size, size))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()


def table(rows: dict[str, Counts]) -> list[str]:
    """Markdown: the counts, and the shares of the detected in per cent."""
    lines = ["| object | Euler number | objects | detected | right | % | % without specks |", f"|{' --- |' * 7}"]
    for name, row in ((name, counts.row()) for name, counts in rows.items()):
        shares = ("-" if value is None else f"{value:.1f}" for value in (row["share"], row["share_without_specks"]))
        cells = (name, EULER[name], row["objects"], row["detected"], row["right"], *shares)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


if __name__ == "__main__":
    main()
