import os
from pathlib import Path

import pytest
import torch

from segue.errors import DataError
from segue.structures import Categories, Category, Regions, Scene
from tools.semantic_table import BEGIN, END, most_frequent, tables, training_seconds, write_between

CLASSES = Categories([Category(name, i) for i, name in enumerate(("sky", "road", "car"))])


def scene(labels: torch.Tensor) -> Scene:
    return Scene((labels.shape[0], labels.shape[1]), CLASSES, Regions.empty(), semantic=labels.short())


def result(name: str, score: float, recipe: str | None = None) -> dict[str, object]:
    metrics = {f"semantic/{key}": score for key in ("mIoU", "class_accuracy", "accuracy", "boundary_F1")}
    costs = dict.fromkeys(("parameters", "multiply_adds", "images_per_second", "steps", "seconds"))
    return {"name": name, "recipe": recipe, "metrics": metrics, **costs}


def test_most_frequent_class_of_every_pixel_by_counting() -> None:
    labels = torch.randint(-1, 3, (9, 4, 5), generator=torch.Generator().manual_seed(1))
    labels[:, 0, 0] = -1
    found = most_frequent([scene(one) for one in labels])
    whole = max(range(3), key=lambda c: int((labels == c).sum()))
    for y in range(4):
        for x in range(5):
            counts = [int((labels[:, y, x] == c).sum()) for c in range(3)]
            assert found[y, x] == (counts.index(max(counts)) if any(counts) else whole)
    with pytest.raises(DataError, match="use equal pictures"):
        most_frequent([scene(labels[0]), scene(labels[0, :3])])


def test_rows_follow_the_lecture_and_upsamplers_have_a_table_of_their_own() -> None:
    names = ("zebra", "unet", "upsample_nearest", "baseline", "plain", "upsample_bed_of_nails")
    results = {name: result(name, 0.125) for name in names} | {"plain": result("plain", 0.25, "recipes/plain.yaml")}
    first, second = tables(results).split("\n\n")
    cells = [line.split(" | ")[:2] for line in first.splitlines()[2:]]
    order = [
        ["| baseline", "12.5"],
        ["| [plain](../recipes/plain.yaml)", "25.0"],
        ["| unet", "12.5"],
        ["| zebra", "12.5"],
    ]
    assert cells == order
    assert [line.split(" | ")[0] for line in second.splitlines()[2:]] == ["| bed_of_nails", "| nearest"]


def test_only_what_is_between_the_markers_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between(page, "new")
    assert page.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    write_between(tmp_path / "fresh.md", "new")
    assert (tmp_path / "fresh.md").read_text().endswith(f"{BEGIN}\nnew\n{END}")


def test_training_time_leaves_pauses_out(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    for start, stop in ((1000, 1060), (5000, 5030)):
        file = tmp_path / "tensorboard" / f"events.out.tfevents.{start}.some.host.12.0"
        file.touch()
        os.utime(file, (stop, stop))
    assert training_seconds(tmp_path) == 90
