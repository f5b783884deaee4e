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
from segue.models.checkpoints.detectron2_stages import Detectron2Stages
from segue.models.checkpoints.seeded import seeded_picture
from segue.models.checkpoints.stages import Found
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
        found["preprocessing"] = max(found["preprocessing"], preprocessing(model, predictor, picture))
        worst |= {stage: max(value, worst.get(stage, 0.0)) for stage, value in found.items()} | {"pictures": count}
    print(name, {stage: float(f"{value:.2g}") for stage, value in worst.items()}, flush=True)
    return {stage: float(f"{value:.3g}") for stage, value in worst.items()}


def preprocessing(model: Any, predictor: RegionPredictor, picture: Tensor) -> float:
    """The largest difference in grey levels at the published size."""
    own = RegionPredictor(predictor.name, predictor.network, predictor.categories, predictor.tasks, PUBLISHED)
    a, b = own.resized(picture), Detectron2Stages(model, PUBLISHED).resized(picture)
    return float((a.int() - b.int()).abs().max()) if a.shape == b.shape else float("inf")


def record(model: Any, cfg: Any, picture: Tensor) -> dict[str, Tensor]:
    """What the original computes for a picture (3, H, W) uint8, by the names that `tools.detectron2_stages` knows."""
    stages = Detectron2Stages(model, (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST))
    size = (picture.shape[1], picture.shape[2])
    seen = stages.shown(picture)
    levels = stages.pyramid(seen.pixels)
    logits, deltas = stages.proposal_scores(levels)
    padded = (seen.pixels.shape[2], seen.pixels.shape[3])
    proposals = stages.proposals((logits, deltas), levels, padded, seen.size)
    features = stages.regions(levels, proposals, 7)
    raw = stages.box_scores(features)
    found = stages.detections(raw, proposals, seen.size)
    kept = {"picture": picture, "shown": stages.resized(picture), "proposals": proposals}
    kept |= {f"level {i}": level for i, level in enumerate(levels)}
    kept |= {"rpn logits": logits[0], "rpn deltas": deltas[0]}
    kept["anchors"] = torch.cat([a.tensor for a in stages.anchors(levels)])
    kept |= {"box features": features, "class logits": raw[0], "box deltas": raw[1].flatten(1)}
    kept |= {"boxes": found.boxes, "scores": found.scores, "labels": found.labels}
    kept |= _heads(stages, levels, found, seen.size)
    final = stages.instances(found, kept.get("mask logits"), seen.size, size)
    kept["kept"] = _with_area(found.boxes, seen.size, size)
    kept["shown boxes"], kept["shown labels"] = final.pred_boxes.tensor, final.pred_classes
    if final.has("pred_masks"):
        kept["masks"] = final.pred_masks
    if hasattr(model, "sem_seg_head"):
        kept |= _panoptic(stages, levels, final, seen.size, size)
    return kept


def _with_area(boxes: Tensor, shown: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(R,) whether boxes of the shown picture have an area in one of ``size``."""
    from detectron2.structures import Boxes

    scaled = Boxes(boxes.clone())
    scaled.scale(size[1] / shown[1], size[0] / shown[0])
    scaled.clip(size)
    found: Tensor = scaled.nonempty()
    return found


def _heads(stages: Detectron2Stages, levels: list[Tensor], found: Found, shown: tuple[int, int]) -> dict[str, Tensor]:
    heads, kept = stages.model.roi_heads, {}
    if not len(found.boxes):
        return {}
    if heads.mask_on:
        kept["mask features"] = stages.regions(levels, found.boxes, 14)
        kept["mask logits"] = stages.mask_logits(kept["mask features"])
    if heads.keypoint_on:
        kept["keypoint features"] = stages.regions(levels, found.boxes, 14)
        kept["keypoint logits"] = stages.keypoint_logits(kept["keypoint features"])
        kept["keypoints"] = stages.keypoints(kept["keypoint logits"], found.boxes, shown, shown)
    if getattr(heads, "zpred_on", False):
        _shapes(heads, levels[:-1], found.boxes, kept)
    return kept


def _shapes(heads: Any, levels: list[Tensor], found: Tensor, kept: dict[str, Tensor]) -> None:
    """Mesh R-CNN's extents, voxels and meshes."""
    from detectron2.structures import Boxes
    from pytorch3d.ops import cubify
    from pytorch3d.utils import ico_sphere

    boxes = [Boxes(found)]
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
    stages: Detectron2Stages, levels: list[Tensor], final: Any, shown: tuple[int, int], size: tuple[int, int]
) -> dict[str, Tensor]:
    logits = stages.semantic_logits(levels)
    semantic = stages.semantic_map(logits, shown, size)
    merged, segments = stages.panoptic(final, semantic)
    return {
        "semantic logits": logits[0],
        "semantic map": semantic,
        "panoptic map": merged,
        "panoptic classes": torch.tensor([s["category_id"] for s in segments], dtype=torch.int64),
        "panoptic things": torch.tensor([s["isthing"] for s in segments], dtype=torch.bool),
    }


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
