"""What each task paints of a picture as a layer of its own, to be switched on and off on a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from segue.drawing.page import WIDEST, Section, escaped
from segue.structures import Scene

Paint = Callable[[Image.Image, Scene], Image.Image]

SWITCH_STYLE = """
:root { --bar: 2.75rem; }
.switches { position: sticky; top: 0; z-index: 2; display: flex; gap: 1rem; align-items: center; height: var(--bar);
  min-width: 0; margin: 0; padding: 0; border: 0; overflow-x: auto; background: Canvas; }
.switches label { flex: none; cursor: pointer; }
"""

SWITCH_SCRIPT = """
for (const box of document.querySelectorAll(".switches input")) {
  const turn = () => {
    for (const part of document.querySelectorAll("[data-task]"))
      if (part.dataset.task === box.name) part.hidden = !box.checked;
  };
  box.addEventListener("change", turn);
  turn();
}
"""


def layer(paint: Paint, scene: Scene) -> Image.Image:
    """What a task paints, as an RGBA picture of the scene's size.

    It is painted on black and on white: where both come out alike it is opaque, where they differ as much as before
    nothing was painted, and between the two it lets through as much of the picture as of the difference.
    """
    size = (scene.size[1], scene.size[0])
    black, white = (
        np.asarray(paint(Image.new("RGB", size, ground), scene).convert("RGB"), dtype=np.float32)
        for ground in ("black", "white")
    )
    alpha = 1 - np.clip(white - black, 0, 255).mean(2, keepdims=True) / 255
    color = np.divide(black, alpha, out=np.zeros_like(black), where=alpha > 0)
    pixels = np.concatenate([color, 255 * alpha], 2)
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8), "RGBA")


def switches(tasks: Mapping[str, bool]) -> Section:
    """A switch for each task's parts of a page, that is, elements with this ``data-task``; on or off at first."""
    boxes = "".join(
        f'<label><input type="checkbox" name="{escaped(name)}"{" checked" if on else ""}> {escaped(name)}</label>'
        for name, on in tasks.items()
    )
    return Section(f'<fieldset class="switches">{boxes}</fieldset>', (SWITCH_STYLE,), (SWITCH_SCRIPT,))


def png_uri(image: Image.Image) -> str:
    """An RGBA picture as a data URI, its longer side at most `WIDEST` pixels."""
    scale = min(1.0, WIDEST / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BOX).save(buffer, "PNG", optimize=False, compress_level=6)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
