"""What `segue find` shows and writes: a table, a JSON and a sheet of pictures."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from segue.data.images import read_image, to_pil
from segue.drawing import contact_sheet, draw_boxes
from segue.engine.find import Match, Search
from segue.errors import UsageError
from segue.files import atomic_write
from segue.structures import Categories

VERSION = 1
PICTURES = 100  # on a sheet at most
SIDE = 580  # pixels of the longer side of a picture on the sheet
DARK = 0.65  # how far the picture around a region goes to black
LIGHT = (255, 214, 64)


def format_search(search: Search) -> str:
    """A table: rank, probability per word, box x0, y0, x1, y1 in pixels, file."""
    if not search.matches:
        return f"nothing is found in {search.pictures} pictures; a lower --threshold lets more be searched"
    lines = ["rank   score  box                    file"]
    for rank, match in enumerate(search.matches, 1):
        box = " ".join(f"{value:.0f}" for value in match.regions.boxes[0].tolist())
        lines.append(f"{rank:4}  {_scores(search, match)[0]:.4f}  {box:21}  {match.file}")
    return "\n".join(lines)


def check_out(out: Path, folder: Path) -> None:
    """Raise `UsageError` where results would lie among the pictures that are searched."""
    if out.resolve() == folder.resolve():
        raise UsageError("the results would be searched, too", where=f"--out {out}", cure="choose another folder")


def write_search(search: Search, categories: Categories, out: Path) -> None:
    """Write found.json and, where something is found, found.png into a folder.

    Raises:
        UsageError: the folder cannot be written.
        ImageError: a picture can no longer be read.
    """
    results = [{"rank": rank} | _entry(search, match, categories) for rank, match in enumerate(search.matches, 1)]
    content = {"version": VERSION, "query": search.query, "pictures": search.pictures, "results": results}
    atomic_write(out / "found.json", json.dumps(content, indent=1).encode())
    if search.matches:
        buffer = io.BytesIO()
        sheet(search).save(buffer, "PNG")
        atomic_write(out / "found.png", buffer.getvalue())


def _entry(search: Search, match: Match, categories: Categories) -> dict[str, Any]:
    """A picture with its regions, the likeliest first; ``bbox`` as COCO has it, ``score`` per word."""
    (h, w), regions = match.size, match.regions
    columns = (regions.boxes, regions.labels, match.likelihoods)
    rows = [
        {
            "bbox": [round(v, 3) for v in (x0, y0, x1 - x0, y1 - y0)],
            "label": categories[label].name,
            "score": round(score, 6),
            "log_likelihood": round(likelihood, 4),
        }
        for (x0, y0, x1, y1), label, likelihood, score in zip(
            *(column.tolist() for column in columns), _scores(search, match), strict=True
        )
    ]
    return {"file": match.file.as_posix(), "width": w, "height": h, "regions": rows}


def sheet(search: Search) -> Image.Image:
    """The first hundred pictures found, in each the likeliest region lit."""
    shown = search.matches[:PICTURES]
    titles = [f"{rank}. {_scores(search, match)[0]:.3f} {match.file.name}" for rank, match in enumerate(shown, 1)]
    return contact_sheet([_thumbnail(match) for match in shown], columns=4, titles=titles)


def _thumbnail(match: Match) -> Image.Image:
    picture = lit(to_pil(read_image(match.file)), match.regions.boxes[0])
    picture.thumbnail((SIDE, SIDE))
    return picture


def lit(image: Image.Image, box: Tensor) -> Image.Image:
    """A copy of an RGB picture, dark but for a box (4,) xyxy in pixels."""
    dark = Image.blend(image, Image.new("RGB", image.size), DARK)
    x0, y0, x1, y1 = box.tolist()
    left, top = (math.floor(min(max(low, 0), side - 1)) for low, side in ((x0, image.width), (y0, image.height)))
    right, bottom = math.ceil(min(max(x1, left + 1), image.width)), math.ceil(min(max(y1, top + 1), image.height))
    dark.paste(image.crop((left, top, right, bottom)), (left, top))
    return draw_boxes(dark, box[None], [LIGHT])


def _scores(search: Search, match: Match) -> Sequence[float]:
    """Of each region, the probability per word."""
    values: list[float] = search.per_word(match.likelihoods).tolist()
    return values
