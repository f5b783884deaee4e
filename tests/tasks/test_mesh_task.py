import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from segue.data.geometry import Geometry
from segue.nn.conventions import CONVENTIONS
from segue.nn.mesh_frames import extent_loss, framed, is_known, occupancy, unframed
from segue.ops.cubify import cubify
from segue.ops.frustum import from_frustum
from segue.ops.mesh_graph import icosphere, volumes
from segue.structures import Camera, Categories, Mesh, Meshes, Regions
from segue.tasks.meshes import MeshHead, MeshSettings, transform, unknown
from segue.tasks.task import Sampled

CAMERA = Camera(200.0, (64.0, 48.0))
SMALL = MeshSettings(
    voxels=8, voxel_channels=8, voxel_convolutions=1, stages=2, convolutions=2, channels=16, hidden=16, samples=200
)
CATEGORIES = Categories.from_names(["a", "b"])


def ball(centre: tuple[float, float, float] = (0.1, -0.05, 2.0), radius: float = 0.2) -> Mesh:
    vertices, faces = icosphere(2)
    return Mesh(vertices * radius + torch.tensor(centre), faces, CAMERA)


def seen(mesh: Mesh) -> Tensor:
    """The pixels (V, 2) of a mesh's vertices."""
    assert mesh.camera is not None
    return mesh.camera.focal * mesh.vertices[:, :2] / mesh.vertices[:, 2:] + torch.tensor(mesh.camera.centre)


def box_of(mesh: Mesh) -> Tensor:
    return torch.cat([seen(mesh).amin(0), seen(mesh).amax(0)])[None]


def head(settings: MeshSettings = SMALL) -> MeshHead:
    torch.manual_seed(0)
    return MeshHead(8, CATEGORIES, CONVENTIONS["segue"], settings)


def rois(module: MeshHead, number: int) -> tuple[Tensor, ...]:
    return tuple(torch.randn(number, 8, side, side) for side in module.pooled)


def sampled(boxes: Tensor, matched: list[int], positive: list[bool] | None = None) -> Sampled:
    number = len(matched)
    yes = torch.tensor(positive if positive is not None else [True] * number)
    return Sampled(boxes, torch.zeros(number, dtype=torch.int64), torch.tensor(matched), yes, torch.ones_like(yes))


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("mirror_x", [False, True])
@pytest.mark.parametrize("mirror_y", [False, True])
def test_a_changed_picture_shows_the_changed_mesh(transpose: bool, mirror_x: bool, mirror_y: bool) -> None:
    geometry = Geometry((96, 128), transpose, mirror_x, mirror_y, (150, 170), (10, 5, 130, 125))
    mesh = ball()
    (moved,) = transform([mesh], geometry)
    torch.testing.assert_close(seen(moved), geometry.points(seen(mesh)), atol=1e-3, rtol=1e-4)
    both = [volumes(Meshes.pack([m.vertices], [m.faces])) for m in (mesh, moved)]
    torch.testing.assert_close(both[0], both[1], rtol=1e-4, atol=0)
    assert moved.depths == mesh.depths


def test_filling_moves_with_its_mesh() -> None:
    mesh = Mesh(ball().vertices, ball().faces, CAMERA, filling=ball().vertices[:5])
    (moved,) = transform([mesh], Geometry((96, 128), False, True, False, (96, 128), (3, 0, 128, 96)))
    assert moved.filling is not None
    torch.testing.assert_close(moved.filling, moved.vertices[:5])


def test_frames_and_back() -> None:
    meshes, boxes = [ball(), ball((0.0, 0.1, 3.0))], torch.tensor([[50.0, 20, 100, 60], [30, 30, 90, 90]])
    goals, _ = framed(meshes, boxes)
    z = goals.vertices[:, 2]
    assert float(z.min()) == pytest.approx(-1, abs=1e-5)
    assert float(z.max()) == pytest.approx(1, abs=1e-5)
    back = unframed(goals, boxes, CAMERA, torch.tensor([mesh.depths for mesh in meshes]))
    torch.testing.assert_close(back, torch.cat([m.vertices for m in meshes]), atol=1e-4, rtol=1e-4)


def test_a_block_that_fills_its_frustum_fills_all_voxels_but_a_filling_decides() -> None:
    corners = cubify(torch.ones(1, 1, 1, 1), 0.5, align="corner")
    boxes, depths = torch.tensor([[20.0, 30, 60, 80]]), (1.0, 1.5)
    rows = len(corners.vertices)
    places = from_frustum(
        corners.vertices.clamp(-1, 1),
        boxes.expand(rows, 4),
        torch.full((rows,), CAMERA.focal),
        torch.tensor([CAMERA.centre]).expand(rows, 2),
        torch.tensor([depths]).expand(rows, 2),
    )
    block = Mesh(places, corners.faces, CAMERA)
    inner = occupancy(*framed([block], boxes), side=8)[0, 1:-1, 1:-1, 1:-1]
    assert bool(inner.all())
    empty = Mesh(places, corners.faces, CAMERA, filling=places[:0])
    assert int(occupancy(*framed([empty, block], boxes.expand(2, 4)), side=8)[0].sum()) == 0


def test_what_the_extents_should_say_decodes_to_the_true_depths() -> None:
    module = head(MeshSettings(**{**SMALL.__dict__, "distances": True, "focal": CAMERA.focal / 128}))
    mesh, label = ball(), 1
    box = box_of(mesh)
    near, far = mesh.depths
    height = float(box[0, 3] - box[0, 1])
    truth = torch.tensor([(far - near) / ((far + near) / 2) * CAMERA.focal / height, height * (far + near) / 2 / 200.0])
    extents = torch.zeros(1, 2, 2)
    extents[0, label] = truth.log()
    assert float(extent_loss(extents, torch.tensor([label]), [mesh], box)) == pytest.approx(0, abs=1e-6)
    assert float(extent_loss(extents, torch.tensor([0]), [mesh], box)) > 0.01
    raw = (extents, torch.randn(1, 8, 14, 14), torch.zeros(1, 8, 8, 8))
    (found,) = module.decode(raw, Regions(box, torch.tensor([label])), (96, 128))
    assert found.depths == pytest.approx(mesh.depths, rel=1e-4)
    assert found.camera == CAMERA


def test_voxels_only_gives_the_voxels_in_their_box() -> None:
    module = head(MeshSettings(voxels=8, stages=0, hidden=8, voxel_channels=8))
    logits = torch.full((1, 8, 8, 8), -9.0)
    logits[0, 2:6, 2:6, 2:6] = 9
    raw, box = (torch.zeros(1, 2, 1), torch.randn(1, 8, 14, 14), logits), torch.tensor([[40.0, 20, 80, 70]])
    (found,) = module.decode(raw, Regions(box, torch.tensor([0])), (96, 128))
    pixels = seen(found)
    assert bool((pixels >= box[0, :2]).all())
    assert bool((pixels <= box[0, 2:]).all())
    assert len(found.faces) == 6 * 16 * 2


@pytest.mark.parametrize(("threshold", "side"), [(0.2, 4), (0.5, 2), (0.9, 2)])
def test_voxels_count_from_the_recipes_threshold_on(threshold: float, side: int) -> None:
    module = head(MeshSettings(voxels=8, stages=0, hidden=8, voxel_channels=8, threshold=threshold))
    logits = torch.full((1, 8, 8, 8), -9.0)
    logits[0, 2:6, 2:6, 2:6] = -1  # a probability of 0.27
    logits[0, 3:5, 3:5, 3:5] = 9
    raw = (torch.zeros(1, 2, 1), torch.randn(1, 8, 14, 14), logits)
    (found,) = module.decode(raw, Regions(torch.tensor([[40.0, 20, 80, 70]]), torch.tensor([0])), (96, 128))
    assert len(found.faces) == 6 * side**2 * 2


@pytest.mark.parametrize(("specks", "parts"), [(0.0, 2), (0.05, 1)])
def test_small_parts_apart_go_where_the_recipe_says_so(specks: float, parts: int) -> None:
    module = head(MeshSettings(voxels=8, stages=0, hidden=8, voxel_channels=8, specks=specks))
    logits = torch.full((1, 8, 8, 8), -9.0)
    logits[0, 2:6, 2:6, 2:6] = logits[0, 0, 0, 0] = 9  # 64 voxels and one
    raw = (torch.zeros(1, 2, 1), torch.randn(1, 8, 14, 14), logits)
    (found,) = module.decode(raw, Regions(torch.tensor([[40.0, 20, 80, 70]]), torch.tensor([0])), (96, 128))
    assert len(found.faces) == 6 * 16 * 2 + (parts - 1) * 6 * 2


def test_an_empty_voxel_grid_still_gives_a_mesh_before_the_camera() -> None:
    module = head(MeshSettings(voxels=8, stages=0, hidden=8, voxel_channels=8))
    raw = (torch.full((1, 2, 1), 50.0), torch.randn(1, 8, 14, 14), torch.full((1, 8, 8, 8), -9.0))
    (found,) = module.decode(raw, Regions(torch.tensor([[40.0, 20, 80, 70]]), torch.tensor([0])), (96, 128))
    assert len(found.faces) == 6 * 4 * 4 * 2  # the central block, as published
    assert float(found.vertices[:, 2].min()) > 0


@pytest.mark.parametrize("stages", [0, 2])
def test_an_empty_voxel_grid_gives_nothing_where_the_recipe_says_so(stages: int) -> None:
    module = head(replace(SMALL, stages=stages, empty="nothing"))
    regions = Regions(torch.tensor([[10.0, 10, 60, 50], [5, 5, 40, 60]]), torch.tensor([0, 0]))
    raw = module(rois(module, 2))
    for filled in (0, 1):
        voxels = torch.full_like(raw[2], -9.0)
        voxels[:filled] = 9.0
        found = module.decode((*raw[:2], voxels), regions, (80, 100))
        assert [len(mesh.faces) > 0 for mesh in found] == [bool(filled), False]
        assert all(bool(mesh.vertices.isfinite().all()) for mesh in found)


def test_vertices_beyond_the_vanishing_plane_stay_before_the_camera() -> None:
    shapes = Meshes.pack([torch.tensor([[0.0, 0, 50], [0, 1, 0], [1, 0, -40]])], [torch.tensor([[0, 1, 2]])])
    places = unframed(shapes, torch.tensor([[0.0, 0, 9, 9]]), CAMERA, torch.tensor([[1.0, 1.5]]))
    assert bool((places[:, 2] > 0).all())
    assert bool(places.isfinite().all())


@pytest.mark.parametrize("start", ["voxels", "sphere"])
def test_every_weight_gets_a_gradient_with_and_without_objects(start: str) -> None:
    settings = {**SMALL.__dict__, "start": start, "level": 1}
    truth = Regions(box_of(ball()), torch.tensor([0]), meshes=[ball()])
    for positive in ([True, True, False], [False] * 3):
        module = head(MeshSettings(**settings))
        regions = sampled(truth.boxes.expand(3, 4) + torch.randn(3, 4), [0, 0, 0], positive)
        losses = module.losses(module(rois(module, 3)), regions, truth)
        names = {"extents", "chamfer", "normals", "edges"} | ({"voxels"} if start == "voxels" else set())
        assert set(losses) == names
        torch.stack(list(losses.values())).sum().backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert bool(parameter.grad.isfinite().all()), name


@pytest.mark.parametrize(
    "make",
    [
        lambda: unknown([], 1)[0],
        lambda: Mesh(ball().vertices, ball().faces, None),
        lambda: ball((0.0, 0.0, 0.1)),
        lambda: ball((3.0, 0.0, 2.0)),
    ],
    ids=["no faces", "no camera", "around the camera", "far outside its box"],
)
def test_unusable_meshes_teach_nothing(make: Callable[[], Mesh]) -> None:
    module, box = head(), box_of(ball())
    truth = Regions(box, torch.tensor([0]), meshes=[make()])
    losses = module.losses(module(rois(module, 1)), sampled(box, [0]), truth)
    assert all(loss.detach() == 0 for loss in losses.values())


def test_only_some_objects_are_compared_where_the_recipe_says_so() -> None:
    module = head(MeshSettings(**{**SMALL.__dict__, "objects": 2}))
    for weights in module.refinement.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    truth = Regions(box_of(ball()).expand(5, 4), torch.zeros(5, dtype=torch.int64), meshes=[ball()] * 5)
    extents, features, voxels = module(rois(module, 5))
    features, voxels = features.detach().requires_grad_(), voxels.detach().requires_grad_()
    losses = module.losses((extents, features, voxels), sampled(truth.boxes, [0, 1, 2, 3, 4]), truth)
    torch.stack(list(losses.values())).sum().backward()
    assert features.grad is not None
    assert voxels.grad is not None
    assert int(features.grad.flatten(1).any(1).sum()) == 2  # surfaces of two
    assert bool(voxels.grad.flatten(1).any(1).all())  # voxels of all


def test_a_few_steps_bring_the_surface_nearer() -> None:
    module, mesh = head(), ball()
    mesh = mesh.moved(mesh.vertices + torch.cat([torch.zeros(len(mesh.vertices), 2), mesh.vertices[:, 2:] - 2], 1))
    box, features = box_of(mesh), rois(module, 1)
    truth, regions = Regions(box, torch.tensor([0]), meshes=[mesh]), sampled(box_of(mesh), [0])
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    history = []
    for _ in range(40):
        losses = module.losses(module(features), regions, truth)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
    assert history[-1]["chamfer"] < 0.3 * history[0]["chamfer"]
    assert history[-1]["voxels"] < 0.5 * history[0]["voxels"]
    assert history[-1]["extents"] < 0.1 * history[0]["extents"]


def test_known_is_what_has_faces_before_a_camera() -> None:
    assert is_known(ball())
    assert not is_known(unknown([], 3)[2])


@pytest.mark.parametrize(
    "values",
    [
        {"voxels": 7},
        {"start": "sphere", "stages": 0},
        {"threshold": math.nan},
        {"specks": -1.0},
        {"level": 9},
        {"focal": 0},
    ],
)
def test_senseless_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        MeshSettings(**values)  # type: ignore[arg-type]
