"""Compare models converted from detectron2 and Mesh R-CNN with the originals, stage by stage; needs these installed.

    python tools/parity_detectron2.py --pictures FOLDER --out results/parity_detectron2.json
    python tools/parity_detectron2.py --fixtures tests/models/fixtures

The first compares every published architecture, with weights that follow from their names. The second writes what
narrow networks of the same kinds compute, so that the tests can compare without the originals. detectron2 runs without
its compiled part, of which these networks use nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segue.data.images import read_image
from segue.engine.load import build
from segue.engine.region_predictor import RegionPredictor
from segue.files import atomic_write
from segue.models.checkpoints import convert
from segue.models.checkpoints.seeded import seeded_picture
from segue.models.weights import load_state
from tools.detectron2_stages import LIMITS, differences, limit, seeded_detector

ARCHITECTURES = {
    **{f"faster_rcnn_{t}_FPN": f"COCO-Detection/faster_rcnn_{t}_FPN_3x.yaml" for t in ("R_50", "R_101", "X_101_32x8d")},
    **{
        f"mask_rcnn_{t}_FPN": f"COCO-InstanceSegmentation/mask_rcnn_{t}_FPN_3x.yaml"
        for t in ("R_50", "R_101", "X_101_32x8d")
    },
    **{
        f"keypoint_rcnn_{t}_FPN": f"COCO-Keypoints/keypoint_rcnn_{t}_FPN_3x.yaml"
        for t in ("R_50", "R_101", "X_101_32x8d")
    },
    **{f"panoptic_fpn_{t}": f"COCO-PanopticSegmentation/panoptic_fpn_{t}_3x.yaml" for t in ("R_50", "R_101")},
    **{f"{kind}_R50": f"pix3d/{kind}_R50_FPN.yaml" for kind in ("meshrcnn", "voxelrcnn", "sphereinit", "pixel2mesh")},
}
RESIZE = (192, 336)
"""Of the comparison: a seventeenth of the published pixels. Preprocessing is compared at the published size, too."""

PUBLISHED = (800, 1333)
PICTURE = (75, 113)
"""Size of the narrow networks' one picture."""

NARROW = (
    *("faster_rcnn_X_101_32x8d_FPN", "mask_rcnn_R_50_FPN", "keypoint_rcnn_R_50_FPN", "panoptic_fpn_R_50"),
    *("meshrcnn_R50", "sphereinit_R50", "pixel2mesh_R50"),
)
NARROW_RESIZE = (48, 80)
OPTIONS = [
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 32, "MODEL.FPN.OUT_CHANNELS", 8),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", 32, "MODEL.ROI_MASK_HEAD.CONV_DIM", 8, "MODEL.SEM_SEG_HEAD.CONVS_DIM", 64),
    *("MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS", (8,) * 8, "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", 2),
    *("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 4, "MODEL.RPN.POST_NMS_TOPK_TEST", 10, "TEST.DETECTIONS_PER_IMAGE", 3),
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),
]
MESH_OPTIONS = [
    *("MODEL.ROI_Z_HEAD.FC_DIM", 16, "MODEL.ROI_VOXEL_HEAD.CONV_DIM", 8, "MODEL.ROI_VOXEL_HEAD.NUM_DEPTH", 8),
    *("MODEL.ROI_VOXEL_HEAD.POOLER_RESOLUTION", 4, "MODEL.ROI_MESH_HEAD.GRAPH_CONV_DIM", 8),
    *("TEST.DETECTIONS_PER_IMAGE", 2, "MODEL.ROI_MESH_HEAD.ICO_SPHERE_LEVEL", 1),
]


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="folder of real pictures")
    parser.add_argument("--real", type=int, default=12, help="number of real pictures")
    parser.add_argument("--random", type=int, default=8, help="number of random pictures")
    parser.add_argument("--only", nargs="*", default=list(ARCHITECTURES), help="architectures")
    parser.add_argument("--out", type=Path, help="JSON file of the differences")
    parser.add_argument("--fixtures", type=Path, help="folder for stored stages of narrow networks")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_grad_enabled(False)
    prepare()
    if args.fixtures:
        write_fixtures(args.fixtures)
        return
    rows: dict[str, dict[str, float]] = {}
    for name in args.only:
        rows[name] = compare(name, pictures(args.pictures, args.real, args.random))
        if args.out:
            content = {"limits": LIMITS, "resize": RESIZE, "differences": rows}
            atomic_write(args.out, f"{json.dumps(content, indent=1)}\n".encode())
    failed = [f"{n}: {s} {v:g}" for n, row in rows.items() for s, v in row.items() if s in LIMITS and v > LIMITS[s]]
    print("\n".join(failed) or "all stages within the limits")
    sys.exit(bool(failed))


def prepare() -> None:
    """Let detectron2 be imported without its compiled part."""
    try:
        import detectron2._C  # noqa: F401
    except ImportError:
        sys.modules["detectron2._C"] = types.ModuleType("detectron2._C")


def pictures(folder: Path | None, real: int, random: int) -> Iterator[Tensor]:
    """Pictures (3, H, W) uint8: real ones of varied sizes, and noise of odd, tall and wide sizes."""
    files = sorted(folder.glob("*.jpg"))[:real] if folder else []
    for number, file in enumerate(files):
        picture = read_image(file)
        yield picture[:, : picture.shape[1] - 7 * (number % 5), : picture.shape[2] - 13 * (number % 3)]
    sides = torch.Generator().manual_seed(0)
    for number in range(random):
        h, w = torch.randint(90, 700, (2,), generator=sides).tolist()
        yield seeded_picture(f"picture {number}", (h, w))


def config(name: str, resize: tuple[int, int], options: list[Any] | None = None) -> Any:
    """The original's configuration."""
    from detectron2 import model_zoo
    from detectron2.config import get_cfg

    file = ARCHITECTURES[name]
    if file.startswith("pix3d"):
        import meshrcnn
        from meshrcnn.config import get_meshrcnn_cfg_defaults

        cfg = get_meshrcnn_cfg_defaults(get_cfg())
        cfg.merge_from_file(str(Path(next(iter(meshrcnn.__path__))).resolve().parent / "configs" / file))
        cfg.TEST.DETECTIONS_PER_IMAGE = 4  # meshes are large
    else:
        cfg = model_zoo.get_config(file)
    cfg.merge_from_list(
        [*("MODEL.DEVICE", "cpu"), *("INPUT.MIN_SIZE_TEST", resize[0], "INPUT.MAX_SIZE_TEST", resize[1])]
    )
    cfg.merge_from_list(options or [])
    return cfg


def original(cfg: Any) -> Any:
    """The original network with seeded weights, ready for use."""
    from detectron2.modeling import build_model

    if "Mesh" in cfg.MODEL.ROI_HEADS.NAME:
        import meshrcnn.modeling  # noqa: F401
    model = build_model(cfg).eval()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(seeded_detector(shapes, cfg.MODEL.PIXEL_STD[0]))
    return model


def converted(model: Any, name: str, cfg: Any) -> RegionPredictor:
    """What Segue makes of the original's weights, by way of a file in its layout."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.pth"
        torch.save({"model": model.state_dict()}, path)
        file = convert(path)
    predictor = build(file, str(path))
    load_state(predictor.network, file.state, path)
    assert isinstance(predictor, RegionPredictor)
    limit(
        predictor,
        cfg.MODEL.RPN.POST_NMS_TOPK_TEST,
        cfg.TEST.DETECTIONS_PER_IMAGE,
        cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
    )
    return predictor


def compare(name: str, shown: Iterator[Tensor]) -> dict[str, float]:
    """The largest difference of each stage over all pictures."""
    cfg = config(name, RESIZE)
    model = original(cfg)
    predictor = converted(model, name, cfg)
    worst: dict[str, float] = {}
    for count, picture in enumerate(shown, 1):
        found = differences(predictor, record(model, cfg, picture), RESIZE)
        found["preprocessing"] = max(found["preprocessing"], preprocessing(predictor, picture))
        worst |= {stage: max(value, worst.get(stage, 0.0)) for stage, value in found.items()} | {"pictures": count}
    print(name, {stage: float(f"{value:.2g}") for stage, value in worst.items()}, flush=True)
    return {stage: float(f"{value:.3g}") for stage, value in worst.items()}


def preprocessing(predictor: RegionPredictor, picture: Tensor) -> float:
    """The largest difference in grey levels at the published size."""
    own = RegionPredictor(predictor.name, predictor.network, predictor.categories, predictor.tasks, PUBLISHED)
    a, b = own.resized(picture), resized(picture, PUBLISHED)
    return float((a.int() - b.int()).abs().max()) if a.shape == b.shape else float("inf")


def resized(picture: Tensor, resize: tuple[int, int]) -> Tensor:
    """A picture (3, H, W) RGB as the original brings it to the network's size."""
    from detectron2.data.transforms import ResizeShortestEdge

    array = picture.permute(1, 2, 0).numpy()
    change = ResizeShortestEdge([resize[0], resize[0]], resize[1]).get_transform(array)
    return torch.from_numpy(change.apply_image(array).copy()).permute(2, 0, 1)


def record(model: Any, cfg: Any, picture: Tensor) -> dict[str, Tensor]:
    """What the original computes for a picture (3, H, W) uint8, by the names that `tools.detectron2_stages` knows."""
    from detectron2.modeling.postprocessing import detector_postprocess

    size = (picture.shape[1], picture.shape[2])
    shown = resized(picture, (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST))
    given = {"image": shown.flip(0).float(), "height": size[0], "width": size[1]}
    images = model.preprocess_image([given])
    features = model.backbone(images.tensor)
    levels = [features[f"p{i}"] for i in range(2, 7)]
    kept: dict[str, Tensor] = {"picture": picture, "shown": shown}
    kept |= {f"level {i}": level for i, level in enumerate(levels)}
    proposals = _proposals(model.proposal_generator, images, levels, kept)
    found = _detections(model.roi_heads, levels[:-1], proposals, kept)
    _heads(model.roi_heads, levels[:-1], found, kept)
    final = detector_postprocess(found[0], *size)
    kept["kept"] = found[0].pred_boxes.nonempty()  # rescaled and clipped by now
    kept["shown boxes"], kept["shown labels"] = final.pred_boxes.tensor, final.pred_classes
    if final.has("pred_masks"):
        kept["masks"] = final.pred_masks
    if hasattr(model, "sem_seg_head"):
        _panoptic(model, features, images, final, size, kept)
    return kept


def _proposals(rpn: Any, images: Any, levels: list[Tensor], kept: dict[str, Tensor]) -> Any:
    anchors = rpn.anchor_generator(levels)
    logits, deltas = rpn.rpn_head(levels)
    rows = [score.permute(0, 2, 3, 1).flatten(1) for score in logits]
    moves = [x.view(1, -1, 4, *x.shape[-2:]).permute(0, 3, 4, 1, 2).flatten(1, -2) for x in deltas]
    proposals = rpn.predict_proposals(anchors, rows, moves, images.image_sizes)
    kept["rpn logits"], kept["rpn deltas"] = torch.cat(rows, 1)[0], torch.cat(moves, 1)[0]
    kept["anchors"] = torch.cat([a.tensor for a in anchors])
    kept["proposals"] = proposals[0].proposal_boxes.tensor
    return proposals


def _detections(heads: Any, levels: list[Tensor], proposals: Any, kept: dict[str, Tensor]) -> Any:
    features = heads.box_pooler(levels, [p.proposal_boxes for p in proposals])
    logits, deltas = heads.box_predictor(heads.box_head(features))
    found, _ = heads.box_predictor.inference((logits, deltas), proposals)
    kept["box features"], kept["class logits"], kept["box deltas"] = features, logits, deltas
    kept["boxes"] = found[0].pred_boxes.tensor.clone()  # the original rescales its own in place
    kept["scores"], kept["labels"] = found[0].scores, found[0].pred_classes
    return found


def _heads(heads: Any, levels: list[Tensor], found: Any, kept: dict[str, Tensor]) -> None:
    boxes = [found[0].pred_boxes]
    if not len(found[0]):
        return
    if heads.mask_on:
        from detectron2.modeling.roi_heads.mask_head import mask_rcnn_inference

        kept["mask features"] = heads.mask_pooler(levels, boxes)
        kept["mask logits"] = heads.mask_head.layers(kept["mask features"])
        mask_rcnn_inference(kept["mask logits"], found)
    if heads.keypoint_on:
        from detectron2.modeling.roi_heads.keypoint_head import keypoint_rcnn_inference

        kept["keypoint features"] = heads.keypoint_pooler(levels, boxes)
        kept["keypoint logits"] = heads.keypoint_head.layers(kept["keypoint features"])
        keypoint_rcnn_inference(kept["keypoint logits"], found)
        kept["keypoints"] = found[0].pred_keypoints.clone()
    if getattr(heads, "zpred_on", False):
        _shapes(heads, levels, boxes, kept)


def _shapes(heads: Any, levels: list[Tensor], boxes: Any, kept: dict[str, Tensor]) -> None:
    """Mesh R-CNN's extents, voxels and meshes."""
    from pytorch3d.ops import cubify
    from pytorch3d.utils import ico_sphere

    kept["extent features"] = heads.z_pooler(levels, boxes)
    kept["extents"] = heads.z_head(kept["extent features"])
    if heads.voxel_on:
        kept["voxel features"] = heads.voxel_pooler(levels, boxes)
        voxels = heads.voxel_head(kept["voxel features"])[:, 0]
        kept["voxels"] = voxels
        start = cubify(voxels.sigmoid(), heads.cubify_thresh)
    else:
        start = ico_sphere(heads.ico_sphere_level).extend(len(boxes[0]))
    _keep_meshes("start", start, kept)
    if heads.mesh_on:
        kept["vertex features"] = heads.mesh_pooler(levels, boxes)
        for i, meshes in enumerate(heads.mesh_head(kept["vertex features"], start)):
            _keep_meshes(f"mesh {i}", meshes, kept)


def _keep_meshes(name: str, meshes: Any, kept: dict[str, Tensor]) -> None:
    kept[f"{name} vertices"], kept[f"{name} faces"] = meshes.verts_packed(), meshes.faces_packed()
    kept[f"{name} counts"], kept[f"{name} face counts"] = meshes.num_verts_per_mesh(), meshes.num_faces_per_mesh()


def _panoptic(
    model: Any, features: Any, images: Any, final: Any, size: tuple[int, int], kept: dict[str, Tensor]
) -> None:
    from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
    from detectron2.modeling.postprocessing import sem_seg_postprocess

    kept["semantic logits"] = model.sem_seg_head.layers(features)[0]
    raw, _ = model.sem_seg_head(features)
    semantic = sem_seg_postprocess(raw[0], images.image_sizes[0], *size).argmax(0)
    limits = (
        model.combine_overlap_thresh,
        model.combine_stuff_area_thresh,
        model.combine_instances_score_thresh,
    )
    merged, segments = combine_semantic_and_instance_outputs(final, semantic, *limits)
    kept["semantic map"], kept["panoptic map"] = semantic, merged
    kept["panoptic classes"] = torch.tensor([s["category_id"] for s in segments], dtype=torch.int64)
    kept["panoptic things"] = torch.tensor([s["isthing"] for s in segments], dtype=torch.bool)


def write_fixtures(folder: Path) -> None:
    """Store what narrow networks compute for one picture each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NARROW:
        mesh = ARCHITECTURES[name].startswith("pix3d")
        classes = 1 if "keypoint" in name else 9 if mesh else 3
        width = 1 if "X_101" in name else 8
        own = ["MODEL.ROI_HEADS.NUM_CLASSES", classes, "MODEL.RESNETS.WIDTH_PER_GROUP", width]
        cfg = config(name, NARROW_RESIZE, [*OPTIONS, *own, *(MESH_OPTIONS if mesh else [])])
        model = original(cfg)
        stages = record(model, cfg, seeded_picture("fixture", PICTURE))
        shapes = json.dumps({n: list(t.shape) for n, t in model.state_dict().items()})
        left_out = ("picture", "anchors", *(("mask features", "mask logits", "masks", "box features") if mesh else ()))
        stored = {key: small(value) for key, value in stages.items() if key not in left_out}
        np.savez_compressed(
            folder / f"detectron2_{name}.npz", shapes=np.frombuffer(shapes.encode(), np.uint8), **stored
        )


def small(values: Tensor) -> Any:
    """An array that needs no more bytes than its numbers."""
    return (values.short() if values.dtype in (torch.int64, torch.int32) else values).numpy()


if __name__ == "__main__":
    main()
