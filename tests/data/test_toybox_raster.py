import numpy as np
import pytest

from segue.data.toybox.camera import Camera
from segue.data.toybox.raster import SUBPIXELS, barycentrics, corner_shares, coverage, project, rasterise, spans
from segue.data.toybox.surfaces import ball, slab

CAMERA = Camera((48, 64), 60.0, 1.0, 0.3)


def rays_of(camera):
    """(H * W, 3) directions through the pixel centres, of depth 1."""
    h, w = camera.size
    y, x = np.mgrid[:h, :w] + 0.5
    cx, cy = camera.centre
    return np.stack([(x - cx) / camera.focal, (y - cy) / camera.focal, np.ones((h, w))], axis=-1).reshape(-1, 3)


def cast(triangles, rays):
    """Depth (R, T) where rays from the origin meet triangles, infinite where they miss; and their margin inside."""
    a, b, c = triangles.transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = (normal * a).sum(1) / (rays @ normal.T)
    sides = np.stack([rays @ np.cross(p, q).T for p, q in ((a, b), (b, c), (c, a))])  # which side of each edge
    margin = np.maximum(sides.min(0), (-sides).min(0))
    return np.where((margin > 0) & (depth > 0), depth, np.inf), margin


def covers(corners, size):
    """How many triangles contain each pixel centre."""
    runs = spans(corners, size)
    counts = np.zeros(size, int)
    for y, start, stop in zip(runs.y, runs.start, runs.stop, strict=True):
        counts[y, start:stop] += 1
    return counts


def upright(corners):
    """Triangles that turn from x to y."""
    (ax, ay), (bx, by), (cx, cy) = (corners[:, i].T for i in range(3))
    turn = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    corners = corners[turn != 0]
    return np.where((turn[turn != 0] < 0)[:, None, None], corners[:, [0, 2, 1]], corners)


@pytest.mark.parametrize("seed", range(5))
def test_random_triangles_agree_with_rays(seed):
    rng = np.random.default_rng(seed)
    centres = rng.uniform((-1, -0.8, 1.0), (1, 0.8, 4), (60, 1, 3))
    triangles = centres + rng.normal(0, 0.25, (60, 3, 3))
    hits = rasterise(triangles, CAMERA, "both")
    depth, margin = cast(triangles, rays_of(CAMERA))
    nearest = depth.min(1).reshape(CAMERA.size)
    clear = (np.abs(margin) > 2e-3).all(1).reshape(CAMERA.size)  # corners are rounded to 1 / 256 pixel
    assert clear.mean() > 0.7
    assert ((hits.triangle >= 0) == np.isfinite(nearest))[clear].all()
    seen = clear & np.isfinite(nearest)
    assert (hits.triangle == depth.argmin(1).reshape(CAMERA.size))[seen].mean() > 0.995
    assert np.abs(hits.depth[seen] / nearest[seen] - 1).max() < 5e-3
    assert np.isinf(hits.depth[hits.triangle < 0]).all()


@pytest.mark.parametrize("step", [SUBPIXELS, SUBPIXELS // 2, 77])
def test_a_net_of_triangles_covers_each_pixel_once(step):
    """Corners of a grid, moved at random by whole ``step``, so that edges run through pixel centres."""
    rng = np.random.default_rng(step)
    n = 12
    grid = np.stack(np.meshgrid(np.arange(n + 1), np.arange(n + 1)), axis=-1) * 4 * SUBPIXELS
    grid[1:-1, 1:-1] += rng.integers(-1, 2, (n - 1, n - 1, 2)) * step
    grid += SUBPIXELS // 2  # the border runs through pixel centres
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
    one, two = np.stack([a, b, c], axis=2), np.stack([a, c, d], axis=2)
    corners = np.concatenate([one.reshape(-1, 3, 2), two.reshape(-1, 3, 2)])
    counts = covers(upright(corners), (4 * n + 2, 4 * n + 2))
    assert (counts[: 4 * n, : 4 * n] == 1).all()  # the border's left and top are inside, its right and bottom not
    assert counts.sum() == (4 * n) ** 2


def test_a_fan_of_slivers_covers_each_pixel_once():
    centre = np.array([[20 * SUBPIXELS + 128, 20 * SUBPIXELS + 128]])
    angle = np.linspace(0, 2 * np.pi, 301)[:-1]
    rim = np.rint(np.stack([np.cos(angle), np.sin(angle)], axis=1) * 18.3 * SUBPIXELS).astype(int) + centre
    corners = np.stack([np.repeat(centre, 300, 0), rim, np.roll(rim, -1, axis=0)], axis=1)
    counts = covers(upright(corners), (41, 41))
    y, x = np.mgrid[:41, :41] - 20
    inside = np.hypot(x, y)
    assert (counts[inside < 18.2] == 1).all()
    assert (counts[inside > 18.4] == 0).all()
    assert counts.max() == 1


def test_the_silhouette_of_a_sphere():
    shell = ball(0.5, 80, 60)
    centre, camera = np.array([0.3, -0.2, 2.0]), Camera((96, 128), 120.0, 1.0, 0.0)
    triangles = (shell.vertices + centre)[shell.faces]
    rays = rays_of(camera)
    along = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    away = np.linalg.norm(centre - (along @ centre)[:, None] * along, axis=1).reshape(camera.size)
    hits = rasterise(triangles, camera)
    assert (hits.triangle[away < 0.497] >= 0).all()
    assert (hits.triangle[away > 0.5005] < 0).all()
    seen = away < 0.45
    closest = along @ centre - np.sqrt(0.25 - np.minimum(away.ravel(), 0.5) ** 2)  # distance to the sphere
    assert np.abs(hits.depth - (closest * along[:, 2]).reshape(camera.size))[seen].max() < 3e-3
    assert np.array_equal(hits.triangle >= 0, coverage(triangles, camera))


def test_the_silhouette_of_a_box_is_the_hull_of_its_corners():
    shell = slab((0.8, 0.6, 0.5), (0, 0, 0), 1e-6)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    vertices = shell.vertices @ turn.T + np.array([0.1, 0.0, 2.0])
    hits = rasterise(vertices[shell.faces], CAMERA)
    xy = CAMERA.project(vertices)
    y, x = np.mgrid[: CAMERA.size[0], : CAMERA.size[1]] + 0.5
    directions = np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 720)), np.sin(t)])  # support lines of the hull
    room = (xy @ directions).max(0) - np.stack([x, y], axis=-1) @ directions  # (H, W, 720)
    assert (hits.triangle[room.min(-1) > 0.03] >= 0).all()
    assert (hits.triangle[room.min(-1) < -0.03] < 0).all()


def test_only_the_front_of_closed_surfaces_is_needed():
    shell = slab((0.8, 0.6, 0.5), (0, 0, 2.0))
    triangles = shell.vertices[shell.faces]
    front, both = rasterise(triangles, CAMERA), rasterise(triangles, CAMERA, "both")
    assert np.array_equal(front.depth, both.depth)
    assert len(project(triangles, CAMERA, "front").source) < 0.7 * len(project(triangles, CAMERA, "both").source)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_too_near_is_cut_off_without_cracks(seed):
    """A ball around the camera's near plane, seen from within: from the inside every ray hits it beyond the plane."""
    rng = np.random.default_rng(seed)
    shell = ball(1.0, 16, 9)
    triangles = (shell.vertices + rng.uniform(-0.3, 0.3, 3))[shell.faces]
    hits = rasterise(triangles, CAMERA, "both")
    assert (hits.triangle >= 0).all()
    depth, _ = cast(triangles, rays_of(CAMERA))
    assert np.abs(hits.depth.ravel() / depth.min(1) - 1).max() < 0.01
    pieces = project(triangles, CAMERA, "both")
    assert (pieces.inverse <= 1 / CAMERA.near + 1e-9).all()
    assert (covers(pieces.corners, CAMERA.size) == 1).all()


def test_a_ground_that_passes_under_the_camera():
    ground = np.array([[[-900, 1, -90.0], [900, 1, -90], [0, 1, 900.0]]])  # y points down
    hits = rasterise(ground, CAMERA, "both")
    below = rays_of(CAMERA)[:, 1].reshape(CAMERA.size)
    assert np.allclose(hits.depth[below > 0.02], 1 / below[below > 0.02], rtol=2e-3)
    assert (hits.triangle[below < 0] == -1).all()


def test_barycentrics_are_those_of_the_point_that_the_ray_meets():
    rng = np.random.default_rng(0)
    triangles = rng.uniform((-1, -1, 1), (1, 1, 3), (50, 3, 3))
    weights = rng.dirichlet((1, 1, 1), 50)
    points = (weights[:, :, None] * triangles).sum(1)
    found = barycentrics(corner_shares(triangles), np.arange(50), (points[:, :2] / points[:, 2:]).T)
    assert np.abs(found.T - weights).max() < 1e-9
    outside = barycentrics(corner_shares(triangles), np.arange(50), rng.uniform(-3, 3, (2, 50)))
    assert (outside >= 0).all()
    assert np.allclose(outside.sum(0), 1)


def test_nothing_to_see():
    for triangles in (np.empty((0, 3, 3)), np.ones((2, 3, 3)) * [[[0, 0, -1]]], np.ones((1, 3, 3))):
        hits = rasterise(triangles, CAMERA, "both")
        assert (hits.triangle == -1).all()
        assert not coverage(triangles, CAMERA).any()


def test_the_camera_sees_what_it_projects():
    camera = Camera((100, 200), 150.0, 0.8, 0.25)
    rng = np.random.default_rng(1)
    world = np.concatenate([rng.uniform((-1, 1, 0), (1, 4, 0.5), (20, 3)), [[0, 2, 0.8]]])
    points = camera.to_camera(world)
    assert np.allclose(camera.rotation @ camera.rotation.T, np.eye(3))
    assert np.linalg.det(camera.rotation) == pytest.approx(1)
    pixels = points @ camera.matrix.T
    assert np.allclose(camera.project(points), pixels[:, :2] / pixels[:, 2:])
    assert np.allclose(camera.finer(2).project(points), 2 * camera.project(points))
    assert points[-1, 1] < 0  # as high as the camera, and it looks down: above the middle
    ground = world * [1, 1, 0]
    assert np.allclose(camera.ground_at(camera.project(camera.to_camera(ground))), ground[:, :2])
    x, yz = camera.rays()
    j, i = 150, 20
    ray = np.array([x[j], *yz[i]])
    assert np.allclose(camera.project(camera.to_camera(np.array([0, 0, 0.8]) + 3 * ray)), (j + 0.5, i + 0.5))
