"""One model asked by several threads at once: the very scenes that it gives one after the other."""

import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import trimesh
from torch import Tensor

import segue
from segue.data.cells import write_cells
from segue.data.images import read_image
from segue.data.mesh_files import read_mesh
from segue.data.toybox.write import Order, write_toybox

THREADS = 4


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """A few pictures for each bundled model, of two sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    write_toybox(folder / "toybox", Order(train=0, val=3, seed=5))
    write_cells(folder / "cells", 2, seed=5)
    return {"toybox": sorted(folder.glob("toybox/images/val/*.png")), "nuclei": sorted(folder.glob("cells/*.png"))}


def parts(value: Any) -> list[Any]:
    """All that a scene holds, taken apart: tensors, numbers, texts."""
    if is_dataclass(value):
        return [part for field in fields(value) for part in parts(getattr(value, field.name))]
    if isinstance(value, list | tuple):
        return [part for each in value for part in parts(each)]
    if isinstance(value, dict):
        return [part for key, each in value.items() for part in (key, *parts(each))]
    return [value]


def assert_equal(a: Any, b: Any) -> None:
    for one, other in zip(parts(a), parts(b), strict=True):
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other


def at_once(work: Callable[[int], Any], count: int) -> list[Any]:
    """``work(0)`` to ``work(count - 1)``, several at a time, the first of them at the same moment."""
    gate = threading.Barrier(THREADS)

    def start(number: int) -> Any:
        if number < THREADS:
            gate.wait(60)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(start, range(count)))


@pytest.mark.parametrize("name", ["toybox", "nuclei"])
def test_bundled_models(name: str, pictures: dict[str, list[Path]]) -> None:
    model, paths = segue.load(name, device="cpu"), pictures[name]
    alone = [model.predict(path) for path in paths]
    assert all(len(scene.regions) for scene in alone)
    count = 2 * THREADS
    found = at_once(lambda number: model.predict(paths[number % len(paths)]), count)
    for number, scene in enumerate(found):
        assert_equal(scene, alone[number % len(paths)])


def test_some_with_other_tasks(pictures: dict[str, list[Path]]) -> None:
    model, path = segue.load("toybox", device="cpu"), pictures["toybox"][0]
    models = [model, model.only(["boxes"]), model.only(["masks"]), model.only(["captions"])]
    alone = [each.predict(path) for each in models]
    for scene, expected in zip(at_once(lambda number: models[number].predict(path), 4), alone, strict=True):
        assert_equal(scene, expected)


def test_a_model_loaded_by_several_at_once(pictures: dict[str, list[Path]]) -> None:
    path = pictures["nuclei"][0]
    first, *others = at_once(lambda _: segue.load("nuclei", device="cpu").predict(path), THREADS)
    for other in others:
        assert_equal(other, first)


def test_reading_leaves_the_filters_of_warnings_as_they_were(pictures: dict[str, list[Path]], tmp_path: Path) -> None:
    """`warnings.catch_warnings` of several threads at once, left in another order, would. So would trimesh's log."""
    log, before = trimesh.util.log, list(warnings.filters)
    picture, mesh = pictures["nuclei"][0], tmp_path / "box.off"
    trimesh.creation.box().export(mesh)
    assert not log.disabled
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads take turns more often
    try:
        at_once(lambda i: [read_image(picture) if (i + n) % 2 else read_mesh(mesh) for n in range(40)], THREADS)
    finally:
        sys.setswitchinterval(interval)
    assert list(warnings.filters) == before
    assert not log.disabled
