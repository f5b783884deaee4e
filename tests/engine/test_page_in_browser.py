"""The page of what tasks say, as a browser shows it: with and without WebGL, with hostile words, with nothing found."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from segue.engine.page import PageWriter
from segue.structures import Camera, Categories, Category, Masks, Mesh, Regions, Scene, Segments
from segue.tasks import known_tasks
from tests.draw.test_page import HOSTILE, Element, read

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WORDS = [*HOSTILE, "<svg onload=\"document.title='taken'\">", "<script>document.title = 'taken'</script>"]
SOFTWARE = ("--enable-unsafe-swiftshader", "--use-gl=angle", "--use-angle=swiftshader")
NOTE = "This browser shows no view in space: that needs WebGL."
FILE = 'it\'s "mine" & <b>yours.png'


def scene() -> Scene:
    """Regions with hostile names and sentences, masks, keypoints, meshes, a panoptic map and a label."""
    n = len(WORDS)
    joints = Category(WORDS[0], 1, keypoints=("<i>left</i>", "right"), skeleton=((0, 1),))
    names = (joints, *(Category(word, number) for number, word in enumerate(WORDS[1:], 2)))
    low = 4.0 * torch.arange(n)[:, None].expand(-1, 2)
    dense = torch.zeros(n, 60, 80, dtype=torch.bool)
    dense[:, 10:20, 10:30] = True
    corners = torch.tensor([[0.0, 0, 2], [1, 0, 2], [0, 1, 2], [0, 0, 3]])
    mesh = Mesh(corners, torch.tensor([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]), Camera(60.0, (40, 30)))
    points = torch.zeros(n, 2, 3)
    points[0] = torch.tensor([[5.0, 5, 0.9], [15, 15, 0.9]])
    regions = Regions(
        torch.cat([low, low + 20], 1), torch.arange(n), torch.full((n,), 0.5), masks=Masks.from_dense(dense),
        keypoints=points, captions=WORDS, meshes=[mesh] * n,
    )  # fmt: skip
    panoptic, segments = torch.ones(60, 80, dtype=torch.int32), Segments(torch.tensor([1]), torch.tensor([0]))
    maps = {"panoptic": panoptic, "segments": segments}
    return Scene((60, 80), Categories(names), regions, **maps, label=WORDS[-1], file=f"there/{FILE}")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with that scene and one of the same kind in which nothing was found."""
    writer, image = PageWriter(tmp_path, WORDS[1], always=True), Image.new("RGB", (80, 60), "navy")
    full = scene()
    nothing = replace(full, regions=full.regions.select(torch.zeros(len(WORDS), dtype=torch.bool)), label=None)
    for held in (full, nothing):
        writer.add(held, image, known_tasks())
    writer.close()
    return tmp_path / "page.html"


def shown(page: Path, *flags: str) -> str:
    """The page as the browser has it once its scripts have run."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium here")
    own = [f"--user-data-dir={page.parent / 'profile'}", "--no-sandbox", "--timeout=5000", "--dump-dom"]
    command = [browser, "--headless", *own, *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def words(element: Element, tag: str) -> list[str]:
    return [found.text for found in element.all(tag)]


def test_hostile_words_stay_words(page: Path) -> None:
    root = read(page.read_text())
    first, second = root.all("section")
    assert words(first.all("h2")[0], "bdi") == [FILE, WORDS[-1]]
    assert [line.text for line in first.all("ol")[0].all("bdi")] == WORDS
    assert [small.text.removesuffix(" 0.50") for small in first.all("ol")[0].all("small")] == WORDS
    assert not [tag for tag in ("b", "i", "a") if root.all(tag)]
    assert not [name for element in everything(root) for name in element.attributes if name.startswith("on")]
    assert "There is no sentence about this picture." in words(second, "p")
    assert "There is no mesh in this picture." in words(second, "p")
    assert len(root.all("script")) == 3  # of switches, sentences, meshes


def everything(element: Element) -> list[Element]:
    return [element, *(found for child in element.children for found in everything(child))]


def test_without_webgl_all_the_rest_is_there(page: Path) -> None:
    text = shown(page, "--disable-3d-apis")
    assert text.count(NOTE) == 1
    assert re.search(r'<canvas class="mesh" hidden=""', text)
    assert text.count("<button") == len(WORDS)
    layers = re.findall(r'<img alt="" data-task="([^"]*)"([^>]*)>', text)
    hidden = {name: "hidden" in rest for name, rest in layers}
    assert not hidden["boxes"]  # the switches' script has run, too
    assert hidden["panoptic"]


def test_with_webgl_the_note_gives_way(page: Path) -> None:
    text = shown(page, *SOFTWARE)
    assert NOTE not in text
    assert '<canvas class="mesh" tabindex' in text  # not hidden any more


@pytest.mark.parametrize("flags", [("--disable-3d-apis",), SOFTWARE])
def test_no_hostile_word_runs(page: Path, flags: tuple[str, ...]) -> None:
    titles = re.findall(r"<title>([^<]*)</title>", shown(page, *flags))
    assert len(titles) == 1
    assert "taken" not in titles[0]
    assert "onerror" in titles[0]
