"""Pictures, sentences and more as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from PIL import Image

from segue.drawing.colors import object_colors
from segue.drawing.scene import region_labels
from segue.errors import UsageError
from segue.structures import Scene
from segue.structures.categories import Color

WIDEST = 1024
"""Pixels of the longer side at which pictures are put in."""
QUALITY = 85
LONGEST = 2000
"""Characters of a text; what follows is cut off."""

STYLE = """
:root { color-scheme: light dark; font: 16px/1.45 system-ui, sans-serif; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1rem; font-weight: 600; margin: 0 0 .5rem; overflow-wrap: anywhere; }
small { opacity: .65; }
section { border-top: 1px solid #8885; padding: 1rem 0 1.5rem; }
[hidden] { display: none !important; }
.pair { display: flex; gap: .5rem 1.5rem; align-items: flex-start; }
.pair > div { flex: 1; min-width: 0; max-width: 40rem; }
.pair p { margin: .4rem 0 .8rem; font-size: .875rem; opacity: .7; }
figure { flex: none; position: sticky; top: calc(var(--bar, 0px) + .25rem); margin: 0;
  width: min(60%, max(var(--width) * 1px, 32rem), 84vh * var(--width) / var(--height)); }
img { display: block; width: 100%; height: auto; }
img + img { position: absolute; inset: 0; height: 100%; }
@media (max-width: 44rem) {
  body { padding: .6rem; }
  .pair { flex-direction: column; align-items: stretch; }
  figure { z-index: 1; width: min(100%, 50vh * var(--width) / var(--height)); }
}
"""

CAPTION_STYLE = """
svg { position: absolute; inset: 0; width: 100%; height: 100%; }
rect { fill-opacity: 0; stroke-width: 2; vector-effect: non-scaling-stroke; pointer-events: all; cursor: pointer; }
rect.lit { fill-opacity: .3; stroke-width: 4; }
section:has(.lit) rect:not(.lit) { stroke-opacity: .25; }
ol { list-style: none; margin: 0; padding: 0; }
button { all: unset; box-sizing: border-box; display: block; width: 100%; padding: .4rem .6rem; cursor: pointer;
  border-left: .35rem solid var(--color); border-radius: .25rem; margin-bottom: .25rem; overflow-wrap: anywhere;
  max-height: 14rem; overflow-y: auto; }
button.lit { background: color-mix(in srgb, var(--color) 22%, transparent); }
button:focus-visible { outline: 2px solid currentColor; outline-offset: 1px; }
li bdi { display: block; }
"""

CAPTION_SCRIPT = """
for (const section of document.querySelectorAll("section")) {
  const parts = [...section.querySelectorAll("[data-region]")];
  const regionOf = element => element?.closest("[data-region]")?.dataset.region;
  const focused = () => section.contains(document.activeElement) ? regionOf(document.activeElement) : undefined;
  const light = region => parts.forEach(part => part.classList.toggle("lit", part.dataset.region === region));
  section.addEventListener("pointerover", event => light(regionOf(event.target) ?? focused()));
  section.addEventListener("pointerleave", () => light(focused()));
  section.addEventListener("focusin", event => light(regionOf(event.target)));
  section.addEventListener("focusout", () => light(undefined));
  section.addEventListener("click", event => {
    const region = regionOf(event.target);
    parts.find(part => part.localName === "button" && part.dataset.region === region)?.focus();
  });
}
"""


@dataclass(frozen=True)
class Section:
    """One picture's place on a page, or something else on it.

    Attributes:
        html: a ``section`` element, or another. What comes from files or users is escaped.
        styles: CSS that it needs; equal ones of several sections are in the page once.
        scripts: JavaScript that it needs, likewise; it runs after all sections are there.
    """

    html: str
    styles: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """What a task has to say of a picture on a page.

    Attributes:
        over: SVG laid over the picture, or "".
        beside: HTML beside it. What comes from files or users is escaped.
        style: CSS that it needs.
        script: JavaScript that it needs; see `Section`.
    """

    over: str
    beside: str
    style: str = ""
    script: str = ""


def page_of(sections: Iterable[Section], title: str = "Pictures") -> str:
    """The page with sections, of one kind or of several. Only their own scripts may run in it."""
    sections = list(sections)
    styles = dict.fromkeys(style for section in sections for style in section.styles)
    scripts = dict.fromkeys(script for section in sections for script in section.scripts)
    style = "".join([STYLE, *styles])
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    sources = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {sources}"
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{style}</style>\n</head>\n"
    )
    body = "\n".join(section.html for section in sections) or "<p>There are no pictures.</p>"
    tail = "\n".join(f"<script>{script}</script>" for script in scripts)
    return f"{head}<body>\n<h1>{escaped(title)}</h1>\n{body}\n{tail}\n</body>\n</html>\n"


def picture_section(
    scene: Scene, image: Image.Image, parts: Mapping[str, Part], layers: Mapping[str, str] | None = None
) -> Section:
    """A picture under its layers, and the parts beside it. All of a task's have its name as their ``data-task``.

    Args:
        scene: of the picture.
        image: the plain picture.
        parts: by the name of a task.
        layers: data URIs of transparent pictures by the name of a task, the first at the bottom.

    Raises:
        UsageError: the picture is not of the scene's size.
    """
    check_size(scene, image)
    h, w = scene.size
    place = f'width="{w}" height="{h}"'
    painted = "".join(
        f'<img alt="" data-task="{escaped(name)}" {place} src="{uri}">' for name, uri in (layers or {}).items()
    )
    over = "".join(
        f'<svg data-task="{escaped(name)}" viewBox="0 0 {w} {h}" preserveAspectRatio="none" aria-hidden="true">'
        f"{part.over}</svg>"
        for name, part in parts.items()
        if part.over
    )
    beside = "".join(f'<div data-task="{escaped(name)}">{part.beside}</div>\n' for name, part in parts.items())
    text = (
        f'<section>\n{heading(scene)}\n<div class="pair">\n'
        f'<figure style="--width: {w}; --height: {h}"><img alt="" {place} src="{data_uri(image)}">\n'
        f"{painted}{over}</figure>\n<div>{beside}</div>\n</div>\n</section>"
    )
    own = parts.values()
    return Section(text, tuple(p.style for p in own if p.style), tuple(p.script for p in own if p.script))


def caption_part(scene: Scene, image: Image.Image) -> Part:
    """The boxes of regions that have a sentence, and the sentences; to point at one lights the other."""
    texts = scene.regions.captions or [""] * len(scene.regions)
    told = [i for i, text in enumerate(texts) if text.strip()]
    colors = [css(color) for color in object_colors(scene)]
    boxes, labels = scene.regions.boxes.tolist(), region_labels(scene)
    areas = {i: (boxes[i][2] - boxes[i][0]) * (boxes[i][3] - boxes[i][1]) for i in told}
    rects = [_rect(i, boxes[i], colors[i]) for i in sorted(told, key=lambda i: -areas[i])]  # small ones on top
    items = [_item(i, texts[i], labels[i], colors[i]) for i in told]
    nothing = "" if items else "<p>There is no sentence about this picture.</p>"
    return Part("".join(rects), f"<ol>{''.join(items)}</ol>{nothing}", CAPTION_STYLE, CAPTION_SCRIPT)


def check_size(scene: Scene, image: Image.Image) -> None:
    """Raise `UsageError` where the picture is not of the scene's size."""
    if scene.size != (image.height, image.width):
        what = f"a scene of {scene.size} with a picture of {(image.height, image.width)}"
        raise UsageError(what, where=scene.file, cure="pass the picture that the scene was made from")


def heading(scene: Scene) -> str:
    """The name of the scene's file, and its label if it has one, as the heading of a section."""
    label = "" if scene.label is None else f" <small><bdi>{escaped(scene.label)}</bdi></small>"
    return f"<h2><bdi>{escaped(PurePath(scene.file).name if scene.file else 'picture')}</bdi>{label}</h2>"


def escaped(text: str) -> str:
    """A text as HTML shows it: signs escaped, halves of characters and control characters left out, cut if too long."""
    sound = text[:LONGEST].encode("utf-8", "replace").decode()
    return html.escape("".join(" " if unicodedata.category(c) == "Cc" else c for c in sound))


def _rect(region: int, box: list[float], color: str) -> str:
    x0, y0, x1, y1 = box
    place = f'x="{x0:.1f}" y="{y0:.1f}" width="{max(0.0, x1 - x0):.1f}" height="{max(0.0, y1 - y0):.1f}"'
    return f'<rect data-region="{region}" {place} stroke="{color}" fill="{color}"/>'


def _item(region: int, text: str, label: str, color: str) -> str:
    """A sentence, or several; each is set in the direction of its own script."""
    lines = "".join(f'<bdi dir="auto">{escaped(line)}</bdi>' for line in text.splitlines() if line.strip())
    button = f'<button type="button" data-region="{region}" style="--color: {color}">'
    return f"<li>{button}{lines}<small>{escaped(label)}</small></button></li>\n"


def css(color: Color) -> str:
    """The colour in CSS."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def data_uri(image: Image.Image, widest: int = WIDEST) -> str:
    """The picture as a data URI, its longer side at most ``widest`` pixels."""
    scale = min(1.0, widest / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    buffer = io.BytesIO()
    image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
