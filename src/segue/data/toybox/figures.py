"""Toy people in random poses, with COCO's 17 keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.toybox.arrays import Floats
from segue.data.toybox.chance import Dice
from segue.data.toybox.paint import Paint, draw_paint, linear, plain
from segue.data.toybox.parts import Model, Part
from segue.data.toybox.surfaces import Shell, ball, capsule, ellipsoid

KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""COCO's, in its order; left is the person's own left."""

SKELETON = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
FLIP_PAIRS = tuple((i, i + 1) for i in range(1, 17, 2))

SKINS = ((255, 220, 190), (241, 194, 152), (212, 160, 116), (168, 116, 76), (112, 74, 50))
HAIRS = ((40, 30, 26), (92, 58, 34), (168, 112, 56), (226, 188, 108), (170, 70, 40), (150, 150, 150))
CLOTHES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
TROUSERS = ("blue", "black", "brown", "gray", "green", "red", "white", "purple")

Range = tuple[float, float]


@dataclass(frozen=True)
class Limb:
    """Ranges of angles in degrees: forward swing, sideways spread, and the bend of elbow or knee."""

    swing: Range
    spread: Range
    bend: Range


@dataclass(frozen=True)
class Pose:
    """Two arms and two legs; which of each pair is the left one is drawn."""

    name: str
    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]


DOWN = Limb((-15, 25), (8, 30), (0, 45))
STAND = Limb((-6, 6), (1, 9), (0, 6))
POSES = (
    Pose("standing", (DOWN, DOWN), (STAND, STAND)),
    Pose("walking", (Limb((18, 40), (5, 15), (10, 40)), Limb((-40, -18), (5, 15), (5, 25))),
         (Limb((-24, -12), (0, 4), (2, 20)), Limb((16, 28), (0, 4), (2, 14)))),
    Pose("running", (Limb((35, 60), (5, 15), (70, 100)), Limb((-65, -40), (5, 15), (60, 95))),
         (Limb((-35, -20), (0, 4), (30, 70)), Limb((40, 62), (0, 4), (30, 75)))),
    Pose("waving", (Limb((-10, 20), (115, 160), (0, 35)), DOWN), (STAND, STAND)),
    Pose("cheering", (Limb((-10, 20), (125, 165), (0, 30)), Limb((-10, 20), (125, 165), (0, 30))), (STAND, STAND)),
    Pose("stretching", (Limb((-10, 25), (80, 98), (0, 10)), Limb((-10, 25), (80, 98), (0, 10))),
         (Limb((-4, 4), (4, 16), (0, 5)), Limb((-4, 4), (4, 16), (0, 5)))),
    Pose("crouching", (Limb((30, 70), (5, 25), (20, 70)), Limb((30, 70), (5, 25), (20, 70))),
         (Limb((70, 95), (8, 22), (95, 120)), Limb((70, 95), (8, 22), (95, 120)))),
)  # fmt: skip
HEIGHT = 0.52  # m, of an upright figure
HIP, SHOULDER, TORSO = 0.072, 0.128, 0.25  # shares of the height
THIGH, SHIN, UPPER_ARM, FOREARM, HEAD = 0.2, 0.2, 0.145, 0.135, 0.118


def draw_figure(dice: Dice) -> Model:
    """A random person of about `HEIGHT`, with the 17 keypoints; its colours are those of shirt and trousers."""
    shirt = draw_paint(dice, CLOTHES, 0.45)
    trousers = plain(dice.pick([color for color in TROUSERS if color != shirt.color]))
    skin, hair = (Paint("", linear(dice.pick(tones))) for tones in (SKINS, HAIRS))
    pose, mirrored = dice.pick(POSES), dice.chance(0.5)
    arms = [_bones(dice, limb, UPPER_ARM, FOREARM, 1) for limb in pose.arms]
    legs = [_bones(dice, limb, THIGH, SHIN, -1) for limb in pose.legs]
    if mirrored:
        arms.reverse()
        legs.reverse()
    lean = _turn(0, dice.uniform(12, 30) if pose.name in ("running", "crouching") else dice.uniform(-3, 8))
    look = _turn(2, dice.uniform(-35, 35)) @ _turn(0, dice.uniform(-10, 18))
    joints = _limb_joints(arms, legs, lean)
    neck = lean @ np.array([0, 0, TORSO])
    head = neck + lean @ np.array([0, -0.01, 0.045 + HEAD])
    face, marks = _head(dice, head, lean @ look, skin, hair)
    joints[:5] = face
    parts = [*_body(joints, neck, head, shirt, trousers, skin, dice.chance(0.4)), *marks]
    lift = -min(float(shell.vertices[:, 2].min()) for shell, _ in parts)
    grown = [Part(shell.moved((0, 0, lift)).scaled(HEIGHT), paint) for shell, paint in parts]
    reach = np.array([0.03, 0.03, 0.03, 0.05, 0.05, *[0.1] * 2, *[0.06] * 4, *[0.13] * 2, *[0.09] * 2, *[0.08] * 2])
    keypoints = (joints + np.array([0, 0, lift])) * HEIGHT
    return Model(grown, keypoints, reach * HEIGHT, pose.name, trousers.color)


def _turn(axis: int, degrees: float) -> Floats:
    """Rotation; about x a positive angle bows forward, about z it turns to the left."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def _along(swing: float, spread: float) -> Floats:
    """Unit vector of a bone of the left side; at 0, 0 it hangs down."""
    a, b = np.deg2rad(swing), np.deg2rad(spread)
    return np.array([np.sin(b), -np.cos(b) * np.sin(a), -np.cos(b) * np.cos(a)])


def _bones(dice: Dice, limb: Limb, upper: float, lower: float, forward: int) -> tuple[Floats, Floats]:
    """Both bones of a limb of the left side. Elbows bend forward, or upward where the arm is spread; knees backward."""
    swing, spread, bend = (dice.uniform(*r) for r in (limb.swing, limb.spread, limb.bend))
    lifted = forward > 0 and spread > 60
    second = _along(swing, spread + 0.7 * bend) if lifted else _along(swing + forward * bend, 0.6 * spread)
    return upper * _along(swing, spread), lower * second


def _limb_joints(arms: Sequence[tuple[Floats, Floats]], legs: Sequence[tuple[Floats, Floats]], lean: Floats) -> Floats:
    """(17, 3) joints with the middle of the hips at the origin; the face is left at 0."""
    joints = np.zeros((17, 3))
    for side, sign in enumerate((1.0, -1.0)):
        mirror = np.array([sign, 1.0, 1.0])
        shoulder = lean @ np.array([sign * SHOULDER, 0, TORSO - 0.025])
        hip = np.array([sign * HIP, 0, 0])
        elbow = shoulder + lean @ (arms[side][0] * mirror)
        knee = hip + legs[side][0] * mirror
        joints[5 + side], joints[7 + side], joints[9 + side] = shoulder, elbow, elbow + lean @ (arms[side][1] * mirror)
        joints[11 + side], joints[13 + side], joints[15 + side] = hip, knee, knee + legs[side][1] * mirror
    return joints


def _body(
    joints: Floats, neck: Floats, head: Floats, shirt: Paint, trousers: Paint, skin: Paint, sleeves: bool
) -> list[tuple[Shell, Paint]]:
    """Torso, limbs, hands and shoes."""
    shoe = plain("black", 0.2)
    cloth = Paint(shirt.color, shirt.rgb)
    parts = [
        (capsule(np.array([0, 0, 0.035]), neck * 0.84, 0.098, 0.108, 14), shirt),
        (capsule(joints[11] * 0.9, joints[12] * 0.9, 0.085, n=12), trousers),
        (capsule(joints[5], joints[6], 0.052), shirt),
        (capsule(neck * 0.9, head, 0.045, n=8), skin),
    ]
    for i in (0, 1):
        shoulder, elbow, wrist, hip, knee, ankle = joints[5 + i : 17 : 2]
        heel, toe = ankle + np.array([[0, 0.012, -0.018], [0, -0.075, -0.026]])
        parts += [
            (capsule(shoulder, elbow, 0.052, 0.044), cloth),
            (capsule(elbow, wrist, 0.043, 0.034), cloth if sleeves else skin),
            (ball(0.044, 10, 5).moved(wrist + 0.2 * (wrist - elbow)), skin),
            (capsule(hip, knee, 0.072, 0.058), trousers),
            (capsule(knee, ankle, 0.057, 0.046), trousers),
            (capsule(heel, toe, 0.047, 0.04), shoe),
        ]
    return parts


def _head(
    dice: Dice, centre: Floats, turn: Floats, skin: Paint, hair: Paint
) -> tuple[Floats, list[tuple[Shell, Paint]]]:
    """The keypoints (5, 3) of the face and the surfaces of the head."""
    eye, white, lips = plain("black", 0.6), plain("white"), Paint("", linear((190, 70, 70)))
    blush = Paint("", (min(1.0, skin.rgb[0] * 1.05), skin.rgb[1] * 0.82, skin.rgb[2] * 0.8))

    def on(x: float, y: float, z: float) -> Floats:
        return HEAD * np.array([x, y, z])

    face = np.stack([on(0, -1.1, -0.1), *(on(s * 0.36, -0.91, 0.2) for s in (1, -1)),
                     *(on(s * 1.02, 0.05, 0.0) for s in (1, -1))])  # fmt: skip
    shells = [
        (ball(HEAD, 18, 9), skin),
        (ellipsoid(face[0] + on(0, 0.05, 0), HEAD * np.array([0.14, 0.16, 0.12]), 8, 4), blush),
        (ellipsoid(on(0, -0.87, -0.44), HEAD * np.array([0.26, 0.1, 0.06]), 10, 4), lips),
        *((ellipsoid(face[i], HEAD * np.array([0.19, 0.1, 0.22]), 10, 5), white) for i in (1, 2)),
        *((ellipsoid(face[i] + on(0, -0.06, 0), HEAD * np.array([0.11, 0.08, 0.13]), 8, 4), eye) for i in (1, 2)),
        *((ellipsoid(face[i], HEAD * np.array([0.13, 0.2, 0.24]), 8, 5), skin) for i in (3, 4)),
        (ellipsoid(on(0, 0.16, 0.24), HEAD * np.array([1.07, 1.0, 0.97]), 16, 7), hair),
    ]
    if dice.chance(0.4):  # long hair
        shells.append((ellipsoid(on(0, 0.5, -0.35), HEAD * np.array([0.95, 0.6, 0.95]), 14, 6), hair))
    return face @ turn.T + centre, [(shell.turned(turn).moved(centre), paint) for shell, paint in shells]
