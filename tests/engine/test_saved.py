"""What `segue predict` wrote comes back with its pictures and maps."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from segue.data.video import write_video
from segue.engine.output import write_scenes
from segue.engine.saved import Seen, saved_scenes
from segue.errors import DataError, UsageError
from segue.structures import Categories, Category, Masks, Regions, Scene, Segments
from segue.tasks import BOXES, CAPTIONS, MASKS, PANOPTIC, all_tasks, parsers_of

TASKS = [BOXES, MASKS, CAPTIONS, PANOPTIC]
CLASSES = Categories((Category("cat", 1), Category("sky", 2, isthing=False)))


def scene(file: str, size: tuple[int, int] = (6, 8)) -> Scene:
    mask = torch.zeros(1, *size)
    mask[0, 1:4, 2:5] = 1
    panoptic = torch.where(mask[0] > 0, 1, 2).int()
    regions = Regions(
        torch.tensor([[2.0, 1, 5, 4]]),
        torch.tensor([0]),
        torch.tensor([0.75]),
        masks=Masks.from_dense(mask),
        captions=["a <b>cat</b>"],
    )
    segments = Segments(torch.tensor([1, 2]), torch.tensor([0, 1]))
    return Scene(size, CLASSES, regions, panoptic=panoptic, segments=segments, file=file)


def read(folder: Path, model: str | None = None) -> tuple[Categories, list[Seen]]:
    categories, seen = saved_scenes(folder, parsers_of(all_tasks()), model)
    return categories, list(seen)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    Image.new("RGB", (8, 6), (10, 20, 30)).save(path)
    return path


def test_round_trip(tmp_path: Path, picture: Path) -> None:
    written = scene(str(picture))
    write_scenes([written], tmp_path / "out", "mine", TASKS)
    categories, [seen] = read(tmp_path / "out")
    assert categories.names == ["cat", "sky"]
    assert seen.image is not None
    assert seen.image[:, 0, 0].tolist() == [10, 20, 30]
    assert torch.equal(seen.scene.regions.masks.dense(), written.regions.masks.dense())
    assert seen.scene.regions.captions == ["a <b>cat</b>"]
    assert torch.equal(seen.scene.panoptic, written.panoptic)
    assert seen.scene.segments.labels.tolist() == [0, 1]
    assert (seen.seconds, seen.frame) == (None, None)


def test_pictures_that_are_gone_or_have_changed(tmp_path: Path, picture: Path) -> None:
    files = [str(picture), str(tmp_path / "gone.png"), str(picture)]
    sizes = [(6, 8), (6, 8), (12, 8)]
    write_scenes([scene(*pair) for pair in zip(files, sizes, strict=True)], tmp_path / "out", "mine", TASKS)
    assert [seen.image is not None for seen in read(tmp_path / "out")[1]] == [True, False, False]


def test_frames_of_a_video_have_their_times(tmp_path: Path) -> None:
    pytest.importorskip("av")
    video = tmp_path / "film.mp4"
    write_video(video, [torch.full((3, 6, 8), 80 * i, dtype=torch.uint8) for i in range(3)], rate=10)
    write_scenes([scene(f"{video}#{i}") for i in range(4)], tmp_path / "out", "mine", TASKS)
    seen = read(tmp_path / "out")[1]
    assert [s.frame for s in seen] == [0, 1, 2, None]
    assert [s.seconds for s in seen] == [0, pytest.approx(0.1), pytest.approx(0.2), None]
    levels = [float(s.image.float().mean()) for s in seen if s.image is not None]
    assert levels == pytest.approx([0, 80, 160], abs=4)


def test_semantic_maps_need_the_model(tmp_path: Path, picture: Path, street_run: Path) -> None:
    from segue.engine.load import load

    predictor = load(street_run, "cpu")
    found = predictor.predict(picture)
    write_scenes([found], tmp_path / "out", predictor.name, predictor.tasks)
    with pytest.raises(UsageError, match="name the --model"):
        read(tmp_path / "out")
    categories, [seen] = read(tmp_path / "out", str(street_run))
    assert categories.names == predictor.categories.names
    assert torch.equal(seen.scene.semantic, found.semantic)


def test_the_zoo_explains_its_own_results(tmp_path: Path) -> None:
    blank = Scene((6, 8), CLASSES, Regions.empty(), file="gone.png")
    write_scenes([blank], tmp_path / "out", "nuclei", [])
    assert read(tmp_path / "out")[0].names == ["nucleus"]


def test_a_map_outside_of_the_folder(tmp_path: Path, picture: Path) -> None:
    write_scenes([scene(str(picture))], tmp_path / "out", "mine", TASKS)
    path = tmp_path / "out" / "scenes.json"
    content = json.loads(path.read_text())
    content["scenes"][0]["panoptic"]["file"] = "../cat.png"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="no file beside it"):
        read(tmp_path / "out")
