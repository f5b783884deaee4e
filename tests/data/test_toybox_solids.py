import numpy as np
import pytest

from segue.data.toybox.cars import WHEELS
from segue.data.toybox.categories import STUFF, THINGS, TOYBOX
from segue.data.toybox.chance import Dice
from segue.data.toybox.figures import FLIP_PAIRS, KEYPOINTS, draw_figure
from segue.data.toybox.mesh import stack_shells
from segue.data.toybox.paint import COLORS, PATTERNS, share
from segue.data.toybox.solids import draw_solid
from segue.data.toybox.surfaces import ball, capsule, lathe, slab, tube

SEEDS = range(12)


def volume(shell):
    a, b, c = (shell.vertices[shell.faces[:, i]] for i in range(3))
    return (np.cross(a, b) * c).sum() / 6


def euler_number(shell):
    return len(np.unique(shell.faces)) - 3 * len(shell.faces) // 2 + len(shell.faces)


def is_closed(shell):
    """Every edge is used once in each direction."""
    edges = np.concatenate([shell.faces[:, [0, 1]], shell.faces[:, [1, 2]], shell.faces[:, [2, 0]]])
    there, back = edges[:, 0] * 10**6 + edges[:, 1], edges[:, 1] * 10**6 + edges[:, 0]
    return len(np.unique(there)) == len(there) and np.array_equal(np.sort(there), np.sort(back))


def winding_number(shell, point):
    """How often the surface goes around a point (Van Oosterom and Strackee's solid angle): 1 inside, 0 outside."""
    a, b, c = (shell.vertices[shell.faces[:, i]] - point for i in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
    numerator = (a * np.cross(b, c)).sum(1)
    denominator = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
    return np.arctan2(numerator, denominator).sum() / (2 * np.pi)


@pytest.mark.parametrize("category", THINGS)
def test_every_part_of_every_thing_is_closed_and_looks_outwards(category):
    for seed in SEEDS:
        for part in draw_solid(Dice(seed), category).parts:
            assert is_closed(part.shell)
            assert volume(part.shell) > 0
            assert euler_number(part.shell) in (0, 2)
            assert part.shell.normals.shape == part.shell.faces.shape


def test_rings_and_lampshades_have_a_hole_and_other_parts_have_none():
    for seed in SEEDS:
        assert [euler_number(p.shell) for p in draw_solid(Dice(seed), "ring").parts] == [0]
        assert [euler_number(p.shell) for p in draw_solid(Dice(seed), "lamp").parts] == [0, 2, 2]
        for category in set(THINGS) - {"ring", "lamp"}:
            assert {euler_number(p.shell) for p in draw_solid(Dice(seed), category).parts} == {2}


@pytest.mark.parametrize("category", THINGS)
def test_things_stand_on_the_ground_and_have_the_size_of_toys(category):
    for seed in SEEDS:
        solid = draw_solid(Dice(seed), category)
        vertices = np.concatenate([part.shell.vertices for part in solid.parts])
        assert abs(vertices[:, 2].min()) < 1e-9
        assert 0.04 < vertices[:, 2].max() < 0.9
        assert 0.03 < solid.radius < 0.45
        assert np.hypot(vertices[:, 0], vertices[:, 1]).max() == pytest.approx(solid.radius)
        assert all(part.paint.color in COLORS or category == "person" for part in solid.parts)


def test_mugs_and_bowls_are_hollow():
    for category, height in (("mug", 0.6), ("bowl", 0.8)):
        for seed in SEEDS:
            wall = draw_solid(Dice(seed), category).parts[0].shell
            top, outside = wall.vertices[:, 2].max(), np.hypot(*wall.vertices[:, :2].T).max()
            assert winding_number(wall, np.array([0, 0, height * top])) == pytest.approx(0, abs=1e-6)
            assert winding_number(wall, np.array([0.3 * outside, 0, 0.05 * top])) == pytest.approx(1, abs=1e-6)


def test_volumes_of_simple_surfaces():
    assert volume(ball(2.0, 96, 63)) == pytest.approx(4 / 3 * np.pi * 8, rel=4e-3)
    assert volume(slab((1, 2, 3), (5, 5, 5), 1e-5)) == pytest.approx(6, rel=1e-3)
    assert volume(lathe([(0, 0), (2, 0), (0, 3)], 200)) == pytest.approx(4 * np.pi, rel=1e-3)
    angle = np.arange(120) * (2 * np.pi / 120)
    path = np.stack([3 * np.cos(angle), 3 * np.sin(angle), 0 * angle], axis=1)
    assert volume(tube(path, 0.5, (0, 0, 1), 80, loop=True)) == pytest.approx(2 * np.pi**2 * 3 * 0.25, rel=4e-3)


def test_a_capsule_reaches_from_end_to_end_in_any_direction():
    for end in ([0, 0, 1.0], [0, 0, -1.0], [1.0, 2.0, -0.5], [-1.0, 0.1, 0.0]):
        shell = capsule((0, 0, 0), end, 0.2, 0.1, n=12)
        assert is_closed(shell)
        assert volume(shell) > 0
        along = shell.vertices @ np.array(end) / np.linalg.norm(end)
        assert along.min() == pytest.approx(-0.2)
        assert along.max() == pytest.approx(np.linalg.norm(end) + 0.1)


def test_shading_normals_are_shared_where_round_and_not_across_edges():
    drum = lathe([(0, 0), (1, 0), (1, 2), (0, 2)], 12)
    flat = np.abs(np.ptp(drum.vertices[drum.faces][:, :, 2], axis=1)) < 1e-12
    assert not set(drum.normals[flat].ravel()) & set(drum.normals[~flat].ravel())
    assert len(np.unique(drum.normals[~flat])) == 24


def test_people_have_the_joints_of_their_pose():
    left, right = np.array(FLIP_PAIRS).T
    assert [name.replace("left", "right") for name in np.array(KEYPOINTS)[left]] == list(np.array(KEYPOINTS)[right])
    for seed in range(40):
        figure = draw_figure(Dice(seed))
        joints = figure.keypoints
        assert joints.shape == (17, 3)
        assert joints[5, 0] > joints[6, 0]  # looking along -y with z up, the left is at positive x
        assert joints[11, 0] > joints[12, 0]
        for upper, middle, lower in ((5, 7, 9), (6, 8, 10), (11, 13, 15), (12, 14, 16)):
            for a, b in ((upper, middle), (middle, lower)):
                assert 0.05 < np.linalg.norm(joints[a] - joints[b]) < 0.12
        if figure.style == "cheering":
            assert (joints[[9, 10], 2] > joints[[5, 6], 2]).all()
        if figure.style == "standing":
            assert joints[0, 2] > joints[5:7, 2].max() > joints[11:13, 2].max() > joints[15:, 2].max()


def test_a_joint_lies_in_the_flesh_and_the_face_on_the_head():
    for seed in range(6):
        figure = draw_figure(Dice(seed))
        vertices, faces, _, _ = stack_shells([part.shell for part in figure.parts])
        centres = vertices[faces].mean(1)
        for joint, reach in zip(figure.keypoints, figure.reach, strict=True):
            assert np.linalg.norm(centres - joint, axis=1).min() < reach
        for joint in figure.keypoints[5:]:
            assert any(winding_number(part.shell, joint) > 0.5 for part in figure.parts)


def test_cars_have_their_wheels_as_keypoints():
    assert TOYBOX[THINGS.index("car")].keypoints == WHEELS
    for seed in SEEDS:
        car = draw_solid(Dice(seed), "car")
        front_left, front_right, rear_left, rear_right = car.keypoints
        assert front_left[0] == rear_left[0] > 0 > front_right[0] == rear_right[0]
        assert front_left[1] == front_right[1] < 0 < rear_left[1] == rear_right[1]
        lights = [part.shell.vertices for part in car.parts if part.paint.color == "red"][-2:]
        assert all(light[:, 1].mean() > rear_left[1] for light in lights)
        for wheel in car.keypoints:
            assert sum(winding_number(part.shell, wheel) > 0.5 for part in car.parts) >= 1


def test_the_same_dice_make_the_same_thing():
    for category in THINGS:
        first, again, other = (draw_solid(Dice(seed), category) for seed in (4, 4, 5))
        assert np.array_equal(first.parts[0].shell.vertices, again.parts[0].shell.vertices)
        assert [p.paint for p in first.parts] == [p.paint for p in again.parts]
        assert first.scale != other.scale


def test_patterns_show_both_colours_and_repeat():
    rng = np.random.default_rng(0)
    place = rng.uniform(-1, 1, (3, 4000)).astype(np.float32)
    period, blur = np.full(4000, 0.25, np.float32), np.full(4000, 1e-3, np.float32)
    axis = rng.integers(0, 3, 4000)
    for pattern in PATTERNS[1:]:
        first = share(pattern, place, period, axis, blur)
        again = share(pattern, place + np.float32(0.25), period, axis, blur)
        assert first.min() == 0
        assert first.max() == 1
        assert 0.2 < first.mean() < 0.6
        assert (np.abs(first - again) < 0.01).mean() > 0.98


def test_the_categories_are_what_was_promised():
    assert len(THINGS) >= 11
    assert set(STUFF) == {"sky", "wall", "grass", "sand", "water", "pavement"}
    assert [c.name for c in TOYBOX if c.isthing] == list(THINGS)
    assert TOYBOX[0].keypoints == KEYPOINTS
    assert len(TOYBOX[0].flip_pairs) == 8


def test_dice_are_fair_and_never_change():
    assert Dice(3).unit() == np.random.Generator(np.random.PCG64((3,))).random()
    dice = Dice(1, 2)
    assert {dice.whole(2, 4) for _ in range(60)} == {2, 3, 4}
    assert sorted(dice.shuffled("abcd")) == list("abcd")
    assert {dice.weighted("abc", (1, 0, 1)) for _ in range(60)} == {"a", "c"}
    noise = dice.noise(100, 101)
    assert noise.shape == (100, 101)
    assert abs(noise.mean()) < 0.05
    assert noise.std() == pytest.approx(1, abs=0.03)
    assert [round(Dice(7).uniform(-1, 1), 12), Dice(7).whole(0, 999)] == [0.250190933209, 625]
