from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segue.drawing import mesh_page
from segue.drawing.mesh_page import mesh_part
from segue.drawing.mesh_viewer import SCRIPT
from segue.drawing.page import caption_part, page_of, picture_section
from segue.errors import UsageError
from segue.structures import Camera, Categories, Mesh, Regions, Scene

CAMERA = Camera(150.0, (82.5, 52.6))


def mesh(seed: int = 0, vertices: int = 40, camera: Camera | None = CAMERA) -> Mesh:
    g = torch.Generator().manual_seed(seed)
    points = torch.randn(vertices, 3, generator=g) * 0.1 + torch.tensor([0.1 * seed, -0.2, 2.0])
    return Mesh(points, torch.randint(vertices, (60, 3), generator=g), camera)


def scene(*meshes: Mesh, file: str | None = "there/photo.jpg", name: str = "mug") -> Scene:
    n = len(meshes)
    regions = Regions(torch.zeros(n, 4), torch.zeros(n, dtype=torch.int64), captions=["x"] * n, meshes=list(meshes))
    return Scene((100, 160), Categories.from_names([name, "ring"]), regions, file=file)


def photo() -> Image.Image:
    return Image.new("RGB", (160, 100), (200, 30, 90))


def view(text: str) -> dict[str, Any]:
    found = re.findall(r'data-view="([^"]*)"', text)
    assert len(found) == 1
    content: dict[str, Any] = json.loads(html.unescape(found[0]))
    return content


def values(text: str, kind: str) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), kind).astype(np.int64)).reshape(-1, 3)


def pictures(text: str) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r'="data:image/jpeg;base64,([^"]*)"', text)
    ]


def test_the_page_has_every_mesh_to_a_fraction_of_its_size() -> None:
    meshes = [mesh(0), mesh(3)]
    given = view(mesh_part(scene(*meshes), photo()).beside)
    assert given["size"] == [160, 100]
    assert given["camera"] == [150.0, 82.5, 52.6]
    assert given["wall"] > max(float(m.vertices[:, 2].max()) for m in meshes)
    for packed, original in zip(given["meshes"], meshes, strict=True):
        step = torch.tensor(packed["step"])
        points = torch.tensor(packed["low"]) + values(packed["vertices"], "<u2") * step
        assert torch.allclose(points, original.vertices, atol=float(step.max()))
        extent = original.vertices.amax(dim=0) - original.vertices.amin(dim=0)
        assert torch.allclose(step * 65535, extent, rtol=1e-5)
        assert torch.equal(values(packed["faces"], "<u2"), original.faces)
        assert not packed["wide"]


def test_many_vertices_take_wide_indices() -> None:
    large = mesh(0, 65537)
    large.faces[0, 0] = 65536
    [packed] = view(mesh_part(scene(large), photo()).beside)["meshes"]
    assert packed["wide"]
    assert torch.equal(values(packed["faces"], "<u4"), large.faces)


def test_a_flat_mesh_has_steps_of_nothing() -> None:
    flat = mesh(1)
    flat.vertices[:, 1] = 0.25
    [packed] = view(mesh_part(scene(flat), photo()).beside)["meshes"]
    assert (packed["low"][1], packed["step"][1]) == (0.25, 0.0)
    assert not values(packed["vertices"], "<u2")[:, 1].any()


def test_the_backdrop_is_the_plain_photo() -> None:
    plain = photo()
    [backdrop] = pictures(mesh_part(scene(mesh()), plain).beside)
    assert backdrop.size == (160, 100)
    assert np.abs(np.array(backdrop, np.int16) - (200, 30, 90)).max() < 12


def test_what_has_no_place_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    behind, broken = mesh(1), mesh(2)
    behind.vertices[0, 2] = -1
    broken.vertices[0, 0] = float("nan")
    nothing = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64), CAMERA)
    for held in (scene(), scene(behind), scene(broken), scene(nothing), scene(mesh(camera=None))):
        text = mesh_part(held, photo()).beside
        assert "<canvas" not in text
        assert "There is no mesh in this picture." in text
        assert not pictures(text)
    monkeypatch.setattr(mesh_page, "MOST_FACES", 130)
    assert len(view(mesh_part(scene(mesh(0), mesh(1), mesh(2)), photo()).beside)["meshes"]) == 2


def test_without_webgl_there_is_a_line_of_text() -> None:
    """The canvas is hidden until the script shows it."""
    text = mesh_part(scene(mesh()), photo()).beside
    assert re.search(r'<canvas class="mesh" hidden ', text)
    assert re.search(r"</canvas><p>This browser shows no view in space[^<]*</p>", text)


def test_one_page_with_sentences_and_meshes() -> None:
    held = scene(mesh(), file='<b>"&.jpg', name="<i>")
    parts = {"captions": caption_part(held, photo()), "meshes": mesh_part(held, photo())}
    page = page_of([picture_section(held, photo(), parts)] * 2)
    assert (page.count("<section>"), page.count("<script>"), page.count("<canvas")) == (2, 2, 2)
    assert "<b>" not in page
    assert "<i>" not in page
    assert "://" not in page.replace("http-equiv", "")
    assert not re.search(r"\b(fetch|eval|XMLHttpRequest|import)\b", SCRIPT)
    assert "</" not in SCRIPT


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match=r"photo\.jpg: a scene of \(100, 160\)"):
        mesh_part(scene(mesh()), Image.new("RGB", (100, 160)))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to read the script")
def test_the_script_is_sound_and_without_webgl_does_nothing(tmp_path: Path) -> None:
    bare = """
      globalThis.matchMedia = () => ({ matches: false });
      globalThis.document = { createElement: () => ({ getContext: () => null }) };  // all else would be an error
    """
    (tmp_path / "page.js").write_text(bare + SCRIPT)
    done = subprocess.run(["node", str(tmp_path / "page.js")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
