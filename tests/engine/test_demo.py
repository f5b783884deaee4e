"""`segue demo`: one page of all that the bundled models see."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from segue.cli import main
from segue.engine import demo


def test_the_demo_makes_its_pictures_and_one_page_of_two_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SCENES", 1)
    monkeypatch.setattr(demo, "CELLS", 1)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 0
    assert str(tmp_path / "out" / "page.html") in capsys.readouterr().out
    page = (tmp_path / "out" / "page.html").read_text()
    assert page.count("<section>") == 2
    switched = re.findall(r'<input type="checkbox" name="([^"]*)"', page)
    assert {"boxes", "masks", "keypoints", "semantic", "panoptic", "captions", "meshes"} <= set(switched)
    for model, tasks in (("toybox", {"caption", "keypoints", "mesh"}), ("nuclei", {"segmentation"})):
        folder = tmp_path / "out" / "results" / model
        [scene] = json.loads((folder / "scenes.json").read_text())["scenes"]
        assert tasks <= {key for region in scene["regions"] for key in region}
        assert (folder / scene["overlay"]).is_file()
