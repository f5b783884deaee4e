"""The classes of published sets of label maps."""

from __future__ import annotations

from segue.data.class_lists import VOID, ClassList, Row
from segue.data.label_maps import Color


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
