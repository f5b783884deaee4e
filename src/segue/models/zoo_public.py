"""Public weights that Segue reads, with what their publishers say of them.

Sources: the ``Weights`` classes of torchvision's ``models/detection`` and ``models/segmentation``, whose files have the
first 8 digits of their SHA-256 in the name; detectron2's ``MODEL_ZOO.md``, whose files have the first 6 digits of their
MD5 there, as it says; Mesh R-CNN's ``INSTRUCTIONS_PIX3D.md``, with no hash, and its paper for the numbers. Sizes are
those that torchvision publishes; detectron2's are four bytes a weight.
"""

from __future__ import annotations

from segue.models.download import WebFile
from segue.models.zoo_model import ZooModel

COCO = "80 classes (COCO)"
PERSON = "1 class (person)"
COCO_PANOPTIC = "80 things, 53 stuff (COCO)"
VOC = "21 classes (VOC)"
PIX3D = "9 classes (Pix3D)"

TORCHVISION_INPUT = "RGB, normalised by ImageNet's mean and deviation"
DETECTRON2_INPUT = "BGR, less ImageNet's mean"
DETECTOR_SIZE = "shorter side 800, longer at most 1333"

TORCHVISION_LICENCE = "none stated for the weights (torchvision's code: BSD-3-Clause)"
DETECTRON2_LICENCE = "CC-BY-SA 3.0"
MESH_RCNN_LICENCE = "none stated for the weights (Mesh R-CNN's code: BSD-3-Clause)"


def _torchvision(name: str, file: str, tasks: str, classes: str, metric: str, megabytes: float) -> ZooModel:
    size = "shorter side 520" if tasks == "semantic" else DETECTOR_SIZE
    data = "COCO val2017 in VOC's classes" if tasks == "semantic" else "COCO val2017"
    return ZooModel(
        name=f"torchvision/{name}",
        tasks=tasks,
        classes=classes,
        metric=f"{metric} on {data}",
        input=f"{TORCHVISION_INPUT}; {size}",
        licence=TORCHVISION_LICENCE,
        web=WebFile(f"https://download.pytorch.org/models/{file}.pth", "sha256", file[-8:]),
        published_megabytes=megabytes,
    )


def _detectron2(path: str, tasks: str, classes: str, metric: str, megabytes: float) -> ZooModel:
    _, name, _, file = path.split("/")
    deviation = " and divided by its deviation" if "_X_101_" in name else ""
    return ZooModel(
        name=f"detectron2/{name}",
        tasks=tasks,
        classes=classes,
        metric=f"{metric} on COCO val2017",
        input=f"{DETECTRON2_INPUT}{deviation}; {DETECTOR_SIZE}",
        licence=DETECTRON2_LICENCE,
        web=WebFile(f"https://dl.fbaipublicfiles.com/detectron2/{path}.pkl", "md5", file[-6:]),
        published_megabytes=megabytes,
    )


def _mesh_rcnn(name: str, metric: str) -> ZooModel:
    return ZooModel(
        name=f"meshrcnn/{name}",
        tasks="boxes, masks, meshes",
        classes=PIX3D,
        metric=metric,
        input=f"{DETECTRON2_INPUT}; {DETECTOR_SIZE}",
        licence=MESH_RCNN_LICENCE,
        web=WebFile(f"https://dl.fbaipublicfiles.com/meshrcnn/pix3d/{name}.pth"),
    )


PUBLIC = [
    _torchvision(
        "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_coco-258fb6c6", "boxes", COCO, "boxes/AP 0.370", 167.5
    ),
    _torchvision(
        "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_resnet50_fpn_v2_coco-dd69338a", "boxes", COCO, "boxes/AP 0.467", 175.2
    ),
    _torchvision(
        "maskrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e",
        "boxes, masks",
        COCO,
        "boxes/AP 0.379, masks/AP 0.346",
        178.1,
    ),
    _torchvision(
        "maskrcnn_resnet50_fpn_v2",
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019",
        "boxes, masks",
        COCO,
        "boxes/AP 0.474, masks/AP 0.418",
        185.8,
    ),
    _torchvision(
        "keypointrcnn_resnet50_fpn",
        "keypointrcnn_resnet50_fpn_coco-fc266e95",
        "boxes, keypoints",
        PERSON,
        "boxes/AP 0.546, keypoints/AP 0.650",
        237.0,
    ),
    _torchvision(
        "keypointrcnn_resnet50_fpn_legacy",
        "keypointrcnn_resnet50_fpn_coco-9f466800",
        "boxes, keypoints",
        PERSON,
        "boxes/AP 0.506, keypoints/AP 0.611",
        237.0,
    ),
    _torchvision("fcn_resnet50", "fcn_resnet50_coco-1167a1af", "semantic", VOC, "semantic/mIoU 0.605", 141.6),
    _torchvision("fcn_resnet101", "fcn_resnet101_coco-7ecb50ca", "semantic", VOC, "semantic/mIoU 0.637", 217.8),
    _torchvision(
        "deeplabv3_resnet50", "deeplabv3_resnet50_coco-cd0a2569", "semantic", VOC, "semantic/mIoU 0.664", 168.3
    ),
    _torchvision(
        "deeplabv3_resnet101", "deeplabv3_resnet101_coco-586e9e4e", "semantic", VOC, "semantic/mIoU 0.674", 244.5
    ),
    _detectron2(
        "COCO-Detection/faster_rcnn_R_50_FPN_1x/137257794/model_final_b275ba",
        "boxes",
        COCO,
        "boxes/AP 0.379",
        167,
    ),
    _detectron2(
        "COCO-Detection/faster_rcnn_R_50_FPN_3x/137849458/model_final_280758",
        "boxes",
        COCO,
        "boxes/AP 0.402",
        167,
    ),
    _detectron2(
        "COCO-Detection/faster_rcnn_R_101_FPN_3x/137851257/model_final_f6e8b1",
        "boxes",
        COCO,
        "boxes/AP 0.420",
        243,
    ),
    _detectron2(
        "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x/139173657/model_final_68b088",
        "boxes",
        COCO,
        "boxes/AP 0.430",
        421,
    ),
    _detectron2(
        "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x/137260431/model_final_a54504",
        "boxes, masks",
        COCO,
        "boxes/AP 0.386, masks/AP 0.352",
        178,
    ),
    _detectron2(
        "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217",
        "boxes, masks",
        COCO,
        "boxes/AP 0.410, masks/AP 0.372",
        178,
    ),
    _detectron2(
        "COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x/138205316/model_final_a3ec72",
        "boxes, masks",
        COCO,
        "boxes/AP 0.429, masks/AP 0.386",
        254,
    ),
    _detectron2(
        "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x/139653917/model_final_2d9806",
        "boxes, masks",
        COCO,
        "boxes/AP 0.443, masks/AP 0.395",
        431,
    ),
    _detectron2(
        "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x/137261548/model_final_04e291",
        "boxes, keypoints",
        PERSON,
        "boxes/AP 0.536, keypoints/AP 0.640",
        237,
    ),
    _detectron2(
        "COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x/137849621/model_final_a6e10b",
        "boxes, keypoints",
        PERSON,
        "boxes/AP 0.554, keypoints/AP 0.655",
        237,
    ),
    _detectron2(
        "COCO-Keypoints/keypoint_rcnn_R_101_FPN_3x/138363331/model_final_997cc7",
        "boxes, keypoints",
        PERSON,
        "boxes/AP 0.564, keypoints/AP 0.661",
        313,
    ),
    _detectron2(
        "COCO-Keypoints/keypoint_rcnn_X_101_32x8d_FPN_3x/139686956/model_final_5ad38f",
        "boxes, keypoints",
        PERSON,
        "boxes/AP 0.573, keypoints/AP 0.660",
        491,
    ),
    _detectron2(
        "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x/139514544/model_final_dbfeb4",
        "boxes, masks, semantic, panoptic",
        COCO_PANOPTIC,
        "PQ 0.394, boxes/AP 0.376, masks/AP 0.347",
        184,
    ),
    _detectron2(
        "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x/139514569/model_final_c10459",
        "boxes, masks, semantic, panoptic",
        COCO_PANOPTIC,
        "PQ 0.415, boxes/AP 0.400, masks/AP 0.365",
        184,
    ),
    _detectron2(
        "COCO-PanopticSegmentation/panoptic_fpn_R_101_3x/139514519/model_final_cafdb1",
        "boxes, masks, semantic, panoptic",
        COCO_PANOPTIC,
        "PQ 0.430, boxes/AP 0.424, masks/AP 0.385",
        260,
    ),
    _mesh_rcnn("meshrcnn_R50", "meshes/AP 0.511, masks/AP50 0.884, boxes/AP50 0.940 on Pix3D S1 (paper)"),
    _mesh_rcnn("meshrcnn_S2_R50", "meshes/AP 0.288, masks/AP50 0.639, boxes/AP50 0.722 on Pix3D S2 (paper)"),
]
