"""From voxels to a mesh, and a mesh for every region."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from segue.drawing import contact_sheet, draw_meshes, turntable
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import STREET, enlarged, found, pixels, toybox, whole_truth
from segue.nn.mesh_frames import framed, occupancy, unframed
from segue.ops.chamfer import chamfer
from segue.ops.cubify import cubify, occupied_or_centre
from segue.ops.mesh_graph import euler_numbers, is_closed
from segue.ops.mesh_sampling import sample_surface
from segue.structures import Mesh, Meshes
from segue.structures.categories import Color

POINTS = 2000
"""On each surface that is compared."""
ASIDE = math.radians(40)
CLAY: Color = (66, 135, 245)


def mesh_shapes() -> Page:
    """The page."""
    one, two, ring = (cubify(grid[None].float()) for grid in grids())
    goal, box, shapes = largest(), largest_box(), stages()
    distances = [distance(shape, framed([goal], box)[0]) for shape in shapes]
    voxels, exact = shapes[0], exact_voxels(goal, box)
    return Page(
        title="3-D shape prediction: Mask R-CNN with a mesh head",
        question="Can a region have a shape in space, its back included?",
        answer="Mesh R-CNN adds a head that looks at a region in steps. First it tells which voxels are filled, in a "
        "grid that follows the camera's rays through the box. The voxels become a mesh: a cube each, without the sides "
        "between two of them, so that the surface is closed and holes stay holes. Then stages of graph convolutions "
        "read the picture's features at each vertex and move it. It learns from the chamfer distance between points on "
        "its surface and on the true one. Below, the largest object of the picture, its true box given.",
        figures=(
            Figure(steps(goal, box, shapes), "From the picture's voxels to the last stage, beside the true mesh."),
            Figure(over_picture(), "Meshes of all regions that the network finds, seen by the assumed camera."),
        ),
        numbers=(
            Number("one voxel: vertices and faces", sizes(one)),
            Number("two voxels side by side: vertices and faces", sizes(two)),
            Number("a ring of eight voxels: vertices minus edges plus faces", int(euler_numbers(ring)[0])),
            Number("one voxel: vertices minus edges plus faces", int(euler_numbers(one)[0])),
            Number("predicted voxels as a mesh: vertices and faces", sizes(voxels)),
            Number("that mesh is closed", "yes" if bool(is_closed(voxels)[0]) else "no"),
            Number("chamfer distance of the voxels' mesh", distances[0]),
            *(Number(f"chamfer distance after stage {i}", d) for i, d in enumerate(distances[1:], 1)),
            Number(
                "chamfer distance of the true voxels' mesh, for comparison", distance(exact, framed([goal], box)[0])
            ),
        ),
        module="segue.tasks.meshes",
        test="tests/ops/test_cubify.py::test_known_solids",
        try_it=TryIt(
            'python -c "import torch; from segue.ops.cubify import cubify; from segue.ops.mesh_graph import '
            'euler_numbers; g = torch.ones(1, 3, 3, 3); g[0, :, 1, 1] = 0; print(euler_numbers(cubify(g)))"',
            "A block of 27 voxels with a hole through it: 0, as of any ring. Fill the hole and it is 2, as of a ball; "
            "drill a second one across the first (`g[0, 1, :, 1] = 0`) and it is -4.",
        ),
    )


def grids() -> tuple[Tensor, Tensor, Tensor]:
    """One voxel, two, and a ring of eight."""
    ring = torch.ones(1, 3, 3)
    ring[0, 1, 1] = 0
    return torch.ones(1, 1, 1), torch.ones(1, 1, 2), ring


def largest() -> Mesh:
    """The true mesh of the object with the most visible pixels."""
    regions = whole_truth(STREET).regions
    assert regions.meshes is not None
    assert regions.areas is not None
    return regions.meshes[int(regions.areas.argmax())]


def largest_box() -> Tensor:
    """(1, 4) its box."""
    regions = whole_truth(STREET).regions
    assert regions.areas is not None
    return regions.boxes[regions.areas.argmax()][None]


def stages() -> list[Meshes]:
    """What the network's mesh head says of that box: the mesh of its voxels, then after each stage."""
    network, (x, _) = toybox().network, toybox().inputs([pixels(STREET)])
    head = cast(Any, network.heads["meshes"])
    threshold = head.settings.threshold
    with torch.no_grad():
        raw = network.read(network.trunk(x), largest_box(), torch.zeros(1, dtype=torch.int64), ["meshes"])["meshes"]
        _, features, voxels = raw
        start = cubify(occupied_or_centre(voxels.sigmoid(), threshold), threshold)
        return [start, *head.refinement(features, start)]


def exact_voxels(goal: Mesh, box: Tensor) -> Meshes:
    """The mesh of the voxels that the object really fills, as the head learns them."""
    side = cast(Any, toybox().network.heads["meshes"]).settings.voxels
    return cubify(occupancy(*framed([goal], box), side).float())


def distance(one: Meshes, other: Meshes) -> float:
    """Chamfer distance of two surfaces by points on them, in the frustum's coordinates, whose sides are 2."""
    chance = torch.Generator().manual_seed(0)
    points, goals = (sample_surface(shape, POINTS, chance)[0] for shape in (one, other))
    return float(chamfer(points, goals)[0])


def sizes(meshes: Meshes) -> str:
    """Of the first."""
    return f"{int(meshes.vertex_counts[0])}, {int(meshes.face_counts[0])}"


def steps(goal: Mesh, box: Tensor, shapes: list[Meshes]) -> Image.Image:
    """The true mesh, and the head's meshes where it stands."""
    assert goal.camera is not None
    span = torch.tensor([goal.depths])
    placed = [unframed(shape, box, goal.camera, span) for shape in shapes]
    predicted = [Mesh(at, shape.faces, goal.camera) for at, shape in zip(placed, shapes, strict=True)]
    pictures = [turntable([turned(mesh)], [CLAY], 260, frames=1)[0] for mesh in (*predicted, goal)]
    titles = ["voxels", *(f"stage {i}" for i in range(1, len(shapes))), "true mesh"]
    x0, y0, x1, y1 = box[0].tolist()
    crop, _ = enlarged(STREET, found(STREET))
    seen = crop.resize((260, round(260 * (y1 - y0) / (x1 - x0))), box=(2 * x0, 2 * y0, 2 * x1, 2 * y1))
    return contact_sheet([seen, *pictures], len(pictures) + 1, ["the region", *titles])


def turned(mesh: Mesh) -> Mesh:
    """Seen a little from the side, so that the depth shows."""
    s, c = math.sin(ASIDE), math.cos(ASIDE)
    return mesh.moved(mesh.vertices @ torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]))


def over_picture() -> Image.Image:
    """The picture, and all meshes over it."""
    image, large = enlarged(STREET, found(STREET))
    return contact_sheet([image, draw_meshes(image, large)], 2, ["picture", "meshes"])
