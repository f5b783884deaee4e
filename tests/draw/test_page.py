from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from segue.drawing.page import LONGEST, WIDEST, Section, caption_part, escaped, page_of, picture_section
from segue.errors import UsageError
from segue.structures import Categories, Regions, Scene

VOID = {"meta", "img", "input"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</button></section><h1>mine</h1>",
    "' onclick='alert(1)",
    "&lt;b&gt; &amp; &#x41;",
    "<!-- ]]> -->",
    "ספל אדום \u202e \U0001f469\u200d\U0001f680",
]


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    parent: Element | None = None
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> list[Element]:
        inside = [found for child in self.children for found in child.all(tag)]
        return [self, *inside] if self.tag == tag else inside


class Reader(HTMLParser):
    """Reads a page into elements and refuses tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.root = self.at = Element("root", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        element = Element(tag, dict(attrs), self.at)
        self.at.children.append(element)
        if tag not in VOID:
            self.at = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.at.children.append(Element(tag, dict(attrs), self.at))

    def handle_endtag(self, tag: str) -> None:
        assert self.at.tag == tag
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.text += data


def read(page: str) -> Element:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.at is reader.root
    return reader.root


def scene(captions: list[str] | None, file: str | None = "there/photo.jpg", names: tuple[str, ...] = ("mug",)) -> Scene:
    n = 3 if captions is None else len(captions)
    low = torch.tensor([[10.0, 5.0]]) * torch.arange(n)[:, None]
    boxes = torch.cat([low, low + torch.tensor([20.0, 10.0]) * (n - torch.arange(n))[:, None]], dim=1)
    regions = Regions(boxes, torch.zeros(n, dtype=torch.int64), torch.full((n,), 0.5), captions=captions)
    return Scene((60, 80), Categories.from_names(list(names)), regions, file=file)


def caption_section(scene: Scene, image: Image.Image) -> Section:
    return picture_section(scene, image, {"captions": caption_part(scene, image)})


def caption_page(pictures: list[tuple[Scene, Image.Image]], title: str = "Captions") -> str:
    return page_of((caption_section(scene, image) for scene, image in pictures), title)


def photo(size: tuple[int, int] = (80, 60)) -> Image.Image:
    return Image.new("RGB", size, (200, 30, 90))


def test_each_sentence_has_its_box() -> None:
    section = read(caption_section(scene(["a mug", "", "two\nlines"]), photo()).html)
    rects, buttons = section.all("rect"), section.all("button")
    assert [b.attributes["data-region"] for b in buttons] == ["0", "2"]
    assert [[line.text for line in b.all("bdi")] for b in buttons] == [["a mug"], ["two", "lines"]]
    assert [b.all("small")[0].text for b in buttons] == ["mug 0.50"] * 2
    places = {r.attributes["data-region"]: [r.attributes[k] for k in ("x", "y", "width", "height")] for r in rects}
    assert places == {"0": ["0.0", "0.0", "60.0", "30.0"], "2": ["20.0", "10.0", "20.0", "10.0"]}
    assert section.all("svg")[0].attributes["viewbox"] == "0 0 80 60"
    for rect, button in zip(rects, buttons, strict=True):
        assert f"--color: {rect.attributes['stroke']}" == button.attributes["style"]
    assert rects[0].attributes["stroke"] != rects[1].attributes["stroke"]


def test_small_boxes_lie_on_top_of_large_ones() -> None:
    small_first = scene(["small", "large"])
    regions = small_first.regions.select(torch.tensor([1, 0]))
    section = read(caption_section(Scene((60, 80), small_first.categories, regions), photo()).html)
    assert [rect.attributes["data-region"] for rect in section.all("rect")] == ["1", "0"]


def test_the_picture_is_inside() -> None:
    for size in ((80, 60), (4000, 1000)):
        empty = Scene((size[1], size[0]), Categories.from_names(["mug"]), Regions.empty())
        [image] = read(caption_section(empty, photo(size)).html).all("img")
        kind, _, content = (image.attributes["src"] or "").partition(",")
        assert kind == "data:image/jpeg;base64"
        decoded = Image.open(io.BytesIO(base64.b64decode(content)))
        assert max(decoded.size) == min(max(size), WIDEST)
        assert abs(decoded.width * size[1] - decoded.height * size[0]) <= max(size)
        pixel = decoded.convert("RGB").getpixel((5, 5))
        assert isinstance(pixel, tuple)
        assert max(abs(a - b) for a, b in zip(pixel, (200, 30, 90), strict=True)) < 12
        assert (image.attributes["width"], image.attributes["height"]) == (str(size[0]), str(size[1]))


def test_nothing_is_loaded_and_only_the_own_script_may_run() -> None:
    page = caption_page([(scene(HOSTILE), photo())], HOSTILE[0])
    root = read(page)
    [script], [style] = root.all("script"), root.all("style")
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    [policy] = [m.attributes["content"] for m in root.all("meta") if "http-equiv" in m.attributes]
    assert policy is not None
    assert policy.split("; ")[0] == "default-src 'none'"
    assert f"script-src 'sha256-{digest}'" in policy
    assert "://" not in page
    assert "url(" not in style.text
    assert "@import" not in style.text
    assert not script.attributes
    assert not [tag for tag in ("link", "iframe", "object", "a", "form", "base") if root.all(tag)]


def test_scripts_and_styles_are_there_once_and_all_may_run() -> None:
    kinds = [Section("<section></section>", (f".a{kind} {{}}",), (f"let a{kind};",)) for kind in "xy"]
    root = read(page_of([kinds[0], caption_section(scene(["a mug"]), photo()), kinds[1], kinds[0]]))
    scripts = [script.text for script in root.all("script")]
    assert (len(root.all("section")), len(scripts), scripts[0], scripts[2]) == (4, 3, "let ax;", "let ay;")
    assert root.all("style")[0].text.count(".ax {}") == 1
    [policy] = [m.attributes["content"] or "" for m in root.all("meta") if "http-equiv" in m.attributes]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    assert policy.endswith("script-src " + " ".join(f"'sha256-{digest}'" for digest in hashes))
    assert "script-src 'none'" in page_of([Section("<section></section>")])


def test_texts_stay_texts() -> None:
    page = caption_page([(scene(HOSTILE, file="<b>&.jpg", names=('<i>"',)), photo())] * 2, HOSTILE[1])
    root = read(page)
    assert (len(root.all("section")), len(root.all("img")), len(root.all("script"))) == (2, 2, 1)
    assert not root.all("b") + root.all("i")
    assert [line.text for line in root.all("section")[1].all("ol")[0].all("bdi")] == HOSTILE
    assert {line.attributes["dir"] for line in root.all("ol")[0].all("bdi")} == {"auto"}
    assert [h.text for h in root.all("h1")] == [HOSTILE[1]]
    assert root.all("title")[0].text == HOSTILE[1]
    assert root.all("h2")[0].all("bdi")[0].text == "<b>&.jpg"
    assert {small.text for small in root.all("small")} == {'<i>" 0.50'}
    allowed = {"type", "data-region", "style", "dir", "class"}
    assert all(set(e.attributes) <= allowed for b in root.all("button") for e in (b, *b.children))


def test_signs_that_no_file_can_hold() -> None:
    page = page_of([caption_section(scene(["\ud83d mug\0\x1b", "x" * 9999]), photo())])
    assert page.encode().decode() == page
    first, second = read(page).all("ol")[0].all("bdi")
    assert first.text == "? mug  "
    assert second.text == "x" * LONGEST
    assert escaped("a\tb") == "a b"


def test_nothing_to_show() -> None:
    assert "There are no pictures." in page_of([])
    for empty in (scene(None), scene([]), scene(["", " \n"], file=None)):
        section = read(caption_section(empty, photo()).html)
        assert not section.all("rect") + section.all("button")
        assert [p.text for p in section.all("p")] == ["There is no sentence about this picture."]
    read(page_of([]))


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match=r"photo\.jpg: a scene of \(60, 80\) with a picture of \(80, 60\)"):
        caption_page([(scene(["a mug"]), photo((60, 80)))])
