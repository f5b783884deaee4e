"""The classes of published data sets."""

from __future__ import annotations

import re
from typing import Any

from segue.data.class_lists import VOID, ClassList, Row
from segue.data.coco import categories_from_coco
from segue.data.label_maps import Color
from segue.structures import Categories


def voc_color(index: int) -> Color:
    """The ``index``-th colour of PASCAL VOC's palette: its bits dealt to red, green and blue, highest bit first."""
    color = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            color[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return color[0], color[1], color[2]


VOC_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
VOC_VOID = (224, 224, 192)
VOC = ClassList(tuple(Row(i, name, voc_color(i)) for i, name in enumerate(VOC_NAMES)), (VOID,), (VOC_VOID,))

CAMVID = ClassList(  # the grouping of the SegNet tutorial
    (
        Row(0, "sky", (128, 128, 128)),
        Row(1, "building", (128, 0, 0)),
        Row(2, "pole", (192, 192, 128)),
        Row(3, "road", (128, 64, 128)),
        Row(4, "pavement", (60, 40, 222)),
        Row(5, "tree", (128, 128, 0)),
        Row(6, "sign_symbol", (192, 128, 128)),
        Row(7, "fence", (64, 64, 128)),
        Row(8, "car", (64, 0, 128)),
        Row(9, "pedestrian", (64, 64, 0)),
        Row(10, "bicyclist", (0, 128, 192)),
    ),
    (11,),
    ((0, 0, 0),),
)

CITYSCAPES_IDS = ClassList(  # the 19 classes that are evaluated, by label id
    (
        Row(7, "road", (128, 64, 128)),
        Row(8, "sidewalk", (244, 35, 232)),
        Row(11, "building", (70, 70, 70)),
        Row(12, "wall", (102, 102, 156)),
        Row(13, "fence", (190, 153, 153)),
        Row(17, "pole", (153, 153, 153)),
        Row(19, "traffic light", (250, 170, 30)),
        Row(20, "traffic sign", (220, 220, 0)),
        Row(21, "vegetation", (107, 142, 35)),
        Row(22, "terrain", (152, 251, 152)),
        Row(23, "sky", (70, 130, 180)),
        Row(24, "person", (220, 20, 60)),
        Row(25, "rider", (255, 0, 0)),
        Row(26, "car", (0, 0, 142)),
        Row(27, "truck", (0, 0, 70)),
        Row(28, "bus", (0, 60, 100)),
        Row(31, "train", (0, 80, 100)),
        Row(32, "motorcycle", (0, 0, 230)),
        Row(33, "bicycle", (119, 11, 32)),
    ),
    (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, VOID),
)
CITYSCAPES_TRAIN_IDS = ClassList(
    tuple(Row(i, row.name, row.color) for i, row in enumerate(CITYSCAPES_IDS.rows)), (VOID,)
)

COCO_THINGS = """
1 person, 2 bicycle, 3 car, 4 motorcycle, 5 airplane, 6 bus, 7 train, 8 truck, 9 boat, 10 traffic light,
11 fire hydrant, 13 stop sign, 14 parking meter, 15 bench, 16 bird, 17 cat, 18 dog, 19 horse, 20 sheep, 21 cow,
22 elephant, 23 bear, 24 zebra, 25 giraffe, 27 backpack, 28 umbrella, 31 handbag, 32 tie, 33 suitcase, 34 frisbee,
35 skis, 36 snowboard, 37 sports ball, 38 kite, 39 baseball bat, 40 baseball glove, 41 skateboard, 42 surfboard,
43 tennis racket, 44 bottle, 46 wine glass, 47 cup, 48 fork, 49 knife, 50 spoon, 51 bowl, 52 banana, 53 apple,
54 sandwich, 55 orange, 56 broccoli, 57 carrot, 58 hot dog, 59 pizza, 60 donut, 61 cake, 62 chair, 63 couch,
64 potted plant, 65 bed, 67 dining table, 70 toilet, 72 tv, 73 laptop, 74 mouse, 75 remote, 76 keyboard,
77 cell phone, 78 microwave, 79 oven, 80 toaster, 81 sink, 82 refrigerator, 84 book, 85 clock, 86 vase,
87 scissors, 88 teddy bear, 89 hair drier, 90 toothbrush
"""
COCO_STUFF = """
92 banner, 93 blanket, 95 bridge, 100 cardboard, 107 counter, 109 curtain, 112 door-stuff, 118 floor-wood,
119 flower, 122 fruit, 125 gravel, 128 house, 130 light, 133 mirror-stuff, 138 net, 141 pillow, 144 platform,
145 playingfield, 147 railroad, 148 river, 149 road, 151 roof, 154 sand, 155 sea, 156 shelf, 159 snow, 161 stairs,
166 tent, 168 towel, 171 wall-brick, 175 wall-stone, 176 wall-tile, 177 wall-wood, 178 water-other,
180 window-blind, 181 window-other, 184 tree-merged, 185 fence-merged, 186 ceiling-merged, 187 sky-other-merged,
188 cabinet-merged, 189 table-merged, 190 floor-other-merged, 191 pavement-merged, 192 mountain-merged,
193 grass-merged, 194 dirt-merged, 195 paper-merged, 196 food-other-merged, 197 building-other-merged,
198 rock-merged, 199 wall-other-merged, 200 rug-merged
"""
PERSON: dict[str, Any] = {
    "id": 1,
    "name": "person",
    "keypoints": [
        *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
        *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
        *("left_knee", "right_knee", "left_ankle", "right_ankle"),
    ],
    "skeleton": [
        *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9)),
        *((8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
    ],
}
"""COCO's one category with keypoints, as its files have it; its sigmas are those of `segue.metrics.keypoints`."""


def _rows(listed: str, isthing: bool) -> list[dict[str, Any]]:
    """COCO's category entries of a list such as "1 person, 2 bicycle"."""
    pairs = re.findall(r"(\d+) ([^,\n]+)", listed)
    return [{"id": int(number), "name": name, "isthing": int(isthing)} for number, name in pairs]


COCO = categories_from_coco(_rows(COCO_THINGS, True))
"""The 80 classes of COCO's instances, by id, which has gaps."""
COCO_PANOPTIC = categories_from_coco(_rows(COCO_THINGS, True) + _rows(COCO_STUFF, False))
"""`COCO` and the 53 classes of stuff of its panoptic maps."""
COCO_PERSON = categories_from_coco([PERSON])
"""The one class of COCO's keypoints."""
PIX3D = Categories.from_names(["bed", "bookcase", "chair", "desk", "misc", "sofa", "table", "tool", "wardrobe"])
"""The classes of Pix3D, in Mesh R-CNN's order."""
