"""Every fault of a COCO instance file at once, before any of it is used.

Fatal faults are those after which a number or a target could be wrong: training and evaluation refuse the file. The
others are warnings, since the record still means what it says or can be left out: annotation id 0, a box that reaches
over the edge, a box far from its mask, a mask without a pixel, a picture without annotations.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segue.data.images import MAX_PIXELS, read_image
from segue.data.layout import contained, find_images
from segue.data.results import is_points
from segue.data.rle import check_polygons, rle_runs, runs_box
from segue.errors import DataError, ImageError

Row = Mapping[str, Any]
Size = tuple[int, int]

KEYS: Mapping[str, Mapping[str, type]] = {
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "annotations": {"id": int, "image_id": int, "category_id": int, "bbox": list},
    "categories": {"id": int, "name": str},
}
WORDS = {int: "a whole number", str: "a text", list: "a list"}
EDGE = 1.0  # px that a box may reach over the edge by rounding
EXAMPLES = 5


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        code: its kind, one word.
        message: what is wrong.
        where: the record, such as ``annotation 17``.
        fatal: whether the data set cannot be used.
    """

    code: str
    message: str
    where: str
    fatal: bool = True


@dataclass(frozen=True)
class Report:
    """All faults of the annotation file at ``path``."""

    path: Path
    faults: list[Fault]

    @property
    def fatal(self) -> bool:
        """Whether any fault is."""
        return any(fault.fatal for fault in self.faults)

    @property
    def counts(self) -> dict[str, int]:
        """Number of faults by code, fatal ones first."""
        return dict(Counter(fault.code for fault in sorted(self.faults, key=lambda fault: not fault.fatal)))

    def to_text(self) -> str:
        """One paragraph per code with up to five examples."""
        if not self.faults:
            return f"{self.path}: no faults"
        fatal = sum(fault.fatal for fault in self.faults)
        lines = [f"{self.path}: {len(self.faults)} faults, {fatal} of them fatal"]
        for code, number in self.counts.items():
            found = [fault for fault in self.faults if fault.code == code]
            lines.append(f"{'fatal' if found[0].fatal else 'warning'} {code}: {number}")
            lines += [f"  {fault.where}: {fault.message}" for fault in found[:EXAMPLES]]
            lines += [f"  and {number - EXAMPLES} more"] * (number > EXAMPLES)
        return "\n".join(lines)


def check_coco(path: Path, images: Path | None = None) -> Report:
    """Check an annotation file and decode every picture that it names; never raises for what it finds.

    Args:
        path: COCO instance JSON.
        images: folder of the pictures; None guesses as `find_images` does.
    """
    try:
        content = load_json(path)
    except DataError as error:
        return Report(path, [Fault("json", error.what, str(path))])
    faults = content_faults(content)
    if any(fault.code == "structure" for fault in faults):
        return Report(path, faults)
    rows = _sound(content, "images")
    try:
        folder = images or find_images(path, [row["file_name"] for row in rows])
    except DataError as error:
        return Report(path, [*faults, Fault("images-folder", f"{error.what}; {error.cure}", str(path))])
    return Report(path, [*faults, *file_faults(rows, folder), *picture_faults(rows, folder)])


def load_json(path: Path) -> Any:
    """The content of a JSON file; raises `DataError` where it is none."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path, cure="check the path") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})", where=path, cure="give a COCO annotation file") from error


def content_faults(content: object) -> list[Fault]:
    """Every fault that shows without looking at the pictures."""
    faults = list(_structure_faults(content))
    if faults:
        return faults
    rows = {room: _sound(content, room) for room in KEYS}
    for room in KEYS:
        faults += _key_faults(content[room], room)  # type: ignore[index]
        faults += _repeated(rows[room], "id", room)
    faults += _category_faults(rows["categories"])
    faults += _size_faults(rows["images"])
    faults += _annotation_faults(rows, _ids(content, "images"), _ids(content, "categories"))
    faults += _empty_pictures(rows)
    return faults


def file_faults(rows: Sequence[Row], folder: Path) -> Iterator[Fault]:
    """Picture files that lie outside the folder or do not exist."""
    for row in rows:
        file = contained(folder, row["file_name"])
        if file is None:
            yield Fault("path-outside", f"{row['file_name']!r} leads out of {folder}", _name(row, "images"))
        elif not file.is_file():
            yield Fault("image-missing", f"there is no {file}", _name(row, "images"))


def picture_faults(rows: Sequence[Row], folder: Path) -> Iterator[Fault]:
    """Pictures that cannot be read, or have another size than said."""
    for row in rows:
        file = contained(folder, row["file_name"])
        if file is None or not file.is_file():
            continue
        try:
            h, w = read_image(file).shape[1:]
        except ImageError as error:
            yield Fault("image-unreadable", error.what, _name(row, "images"))
            continue
        if (h, w) != (row["height"], row["width"]):
            message = f"the picture is {w}x{h}, annotated as {row['width']}x{row['height']}"
            yield Fault("image-size", message, _name(row, "images"))


def _name(row: Row, room: str) -> str:
    kind = {"images": "image", "annotations": "annotation", "categories": "category"}[room]
    return f"{kind} {row['id']}" + (f" ({row['file_name']})" if room == "images" else "")


def _structure_faults(content: object) -> Iterator[Fault]:
    if not isinstance(content, dict):
        yield Fault("structure", "the file holds no object with images, annotations and categories", "top level")
        return
    for room in KEYS:
        if not isinstance(content.get(room), list):
            yield Fault("structure", f"{room!r} is missing or no list", "top level")
        elif room != "annotations" and not content[room]:
            yield Fault("structure", f"{room!r} is empty", "top level")


def _key_fault(row: object, room: str) -> str | None:
    if not isinstance(row, dict):
        return "not an object"
    for key, kind in KEYS[room].items():
        if key not in row:
            return f"has no {key!r}"
        if type(row[key]) is not kind:
            return f"{key!r} must be {WORDS[kind]}, not {row[key]!r:.40}"
    return None


def _key_faults(rows: Sequence[object], room: str) -> Iterator[Fault]:
    for i, row in enumerate(rows):
        message = _key_fault(row, room)
        if message:
            yield Fault("key", message, f"{room}[{i}]")


def _sound(content: Any, room: str) -> list[Row]:
    return [row for row in content[room] if _key_fault(row, room) is None]


def _ids(content: Any, room: str) -> set[int]:
    """All ids, also of rows with other faults, so that one fault does not bring others."""
    return {row["id"] for row in content[room] if isinstance(row, dict) and type(row.get("id")) is int}


def _repeated(rows: Sequence[Row], key: str, room: str) -> Iterator[Fault]:
    for value, number in Counter(row[key] for row in rows).items():
        if number > 1:
            yield Fault(f"{key}-twice", f"{number} {room} have {key} {value!r}", room)


def _category_faults(rows: Sequence[Row]) -> Iterator[Fault]:
    yield from _repeated(rows, "name", "categories")
    for row in rows:
        points, skeleton = row.get("keypoints", []), row.get("skeleton", [])
        if not row["name"]:
            yield Fault("key", "the name is empty", _name(row, "categories"))
        if not isinstance(points, list) or not all(isinstance(point, str) for point in points):
            yield Fault("key", "'keypoints' must be a list of names", _name(row, "categories"))
        elif not isinstance(skeleton, list) or not all(_is_bone(pair, len(points)) for pair in skeleton):
            message = f"'skeleton' must hold pairs of keypoint numbers from 1 to {len(points)}"
            yield Fault("key", message, _name(row, "categories"))
        elif not _are_sigmas(row.get("sigmas", []), len(points)):
            message = f"'sigmas' must hold a number above 0 and below 10 for each of {len(points)} keypoints"
            yield Fault("key", message, _name(row, "categories"))


def _is_bone(pair: object, points: int) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(type(p) is int and 1 <= p <= points for p in pair)


def _are_sigmas(sigmas: object, points: int) -> bool:
    return sigmas == [] or (
        isinstance(sigmas, list) and len(sigmas) == points and all(_is_number(s) and 0 < s < 10 for s in sigmas)
    )


def _has_size(row: Row) -> bool:
    return min(row["height"], row["width"]) > 0 and int(row["height"] * row["width"]) <= MAX_PIXELS


def _size_faults(rows: Sequence[Row]) -> Iterator[Fault]:
    for row in rows:
        if not _has_size(row):
            message = f"{row['width']}x{row['height']} is no size from 1 to {MAX_PIXELS:,} pixels"
            yield Fault("image-size", message, _name(row, "images"))


def _annotation_faults(rows: Mapping[str, list[Row]], pictures: set[int], classes: set[int]) -> Iterator[Fault]:
    sizes = {row["id"]: (row["height"], row["width"]) for row in rows["images"] if _has_size(row)}
    points = {row["id"]: row.get("keypoints") for row in rows["categories"]}
    masks = any(row.get("segmentation") for row in rows["annotations"])
    for row in rows["annotations"]:
        where = f"annotation {row['id']}"
        if row["id"] == 0:
            yield Fault("id-zero", "other programs take the id 0 for 'no match'", where, fatal=False)
        if row["category_id"] not in classes:
            yield Fault("unknown-category", f"there is no category {row['category_id']}", where)
        if row.get("iscrowd", 0) not in (0, 1):
            yield Fault("key", f"'iscrowd' must be 0 or 1, not {row['iscrowd']!r:.40}", where)
        if not (row.get("area") is None or (_is_number(row["area"]) and row["area"] >= 0)):
            yield Fault("key", f"'area' must be a number from 0, not {row['area']!r:.40}", where)
        if masks and not row.get("segmentation"):
            yield Fault("segmentation-missing", "no segmentation, while other annotations have one", where)
        if row.get("keypoints") is not None:
            yield from _keypoint_faults(row["keypoints"], points.get(row["category_id"]), where)
        if row["image_id"] not in pictures:
            yield Fault("unknown-image", f"there is no image {row['image_id']}", where)
        elif row["image_id"] in sizes:
            yield from _place_faults(row, sizes[row["image_id"]], where)


def _keypoint_faults(values: object, names: object, where: str) -> Iterator[Fault]:
    """Faults of an annotation's keypoints, given the names that its category has for them."""
    if not is_points(values):
        yield Fault("keypoints", "keypoints are not triples x, y, visibility of finite numbers", where)
        return
    assert isinstance(values, list)
    if isinstance(names, list) and len(values) != 3 * len(names):
        yield Fault("keypoints", f"{len(values) // 3} keypoints, but its category has {len(names)}", where)
    elif values and not names:
        yield Fault("keypoints-nameless", "it has keypoints, but its category names none", where, fatal=False)
    wrong = [value for value in values[2::3] if value not in (0, 1, 2)]
    if wrong:
        message = f"a keypoint's visibility is {wrong[0]!r}, not 0 (not labelled), 1 (occluded) or 2"
        yield Fault("keypoints", message, where)


def _place_faults(row: Row, size: Size, where: str) -> Iterator[Fault]:
    faults = list(_box_faults(row["bbox"], size, where))
    yield from faults
    if row.get("segmentation"):
        yield from _segmentation_faults(row, size, where, compare=not any(fault.fatal for fault in faults))


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and -1e9 < value < 1e9  # type: ignore[operator]


def _box_faults(box: Sequence[Any], size: Size, where: str) -> Iterator[Fault]:
    (h, w), text = size, f"box {box!r:.80}"
    if len(box) != 4 or not all(map(_is_number, box)):
        yield Fault("box", f"{text} is not four finite numbers x, y, width, height", where)
        return
    x0, y0, x1, y1 = box[0], box[1], box[0] + box[2], box[1] + box[3]
    if not (box[2] > 0 and box[3] > 0):
        yield Fault("box-empty", f"{text} has no area", where)
    elif x0 >= w or y0 >= h or x1 <= 0 or y1 <= 0:
        yield Fault("box-outside", f"{text} lies outside the {w}x{h} picture", where)
    elif min(x0, y0) < -EDGE or x1 > w + EDGE or y1 > h + EDGE:
        yield Fault("box-over-edge", f"{text} reaches over the edge of the {w}x{h} picture", where, fatal=False)


def _segmentation_faults(row: Row, size: Size, where: str, compare: bool) -> Iterator[Fault]:
    segmentation = row["segmentation"]
    try:
        extent = _extent(segmentation, size)
    except DataError as error:
        yield Fault("rle" if isinstance(segmentation, dict) else "polygon", error.what, where)
        return
    if extent is None:
        yield Fault("mask-empty", "the mask has no pixel", where, fatal=False)
    elif compare and _differs(row["bbox"], extent, size):
        mask = ", ".join(f"{value:.0f}" for value in (*extent[:2], extent[2] - extent[0], extent[3] - extent[1]))
        yield Fault("box-differs", f"box {row['bbox']} is far from its mask's, [{mask}]", where, fatal=False)


def _extent(segmentation: object, size: Size) -> tuple[float, float, float, float] | None:
    if isinstance(segmentation, dict):
        box = runs_box(rle_runs(segmentation, size), size)
        return box if box[2] > box[0] else None
    points = check_polygons(segmentation, size)
    xs, ys = ([v for polygon in points for v in polygon[axis::2]] for axis in (0, 1))
    return min(xs), min(ys), max(xs), max(ys)


def _differs(box: Sequence[float], extent: Sequence[float], size: Size) -> bool:
    """Whether any edge is off by more than 2 px and a quarter of the box, both cut at the picture's edge."""
    for axis, length in ((0, size[1]), (1, size[0])):
        low, side = box[axis], box[axis + 2]
        pairs = ((low, extent[axis]), (low + side, extent[axis + 2]))
        if any(abs(min(max(a, 0), length) - min(max(b, 0), length)) > 2 + side / 4 for a, b in pairs):
            return True
    return False


def _empty_pictures(rows: Mapping[str, list[Row]]) -> Iterator[Fault]:
    used = {row["image_id"] for row in rows["annotations"]}
    for row in rows["images"]:
        if row["id"] not in used:
            yield Fault("no-annotations", "the picture has no annotation", _name(row, "images"), fatal=False)
