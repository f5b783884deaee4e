"""Which meshes of Toybox have the right number of holes, and the counting of it."""

import json
import sys
from pathlib import Path
from typing import Self

import pytest
import torch
from torch import Tensor

from segue.data.dataset import open_dataset
from segue.data.records import Dataset
from segue.data.toybox.categories import THINGS, TOYBOX
from segue.data.toybox.chance import Dice
from segue.data.toybox.mesh import stack_shells
from segue.data.toybox.solids import draw_solid
from segue.data.toybox.write import Order, write_toybox
from segue.ops.cubify import cubify
from segue.ops.mesh_graph import euler_numbers
from segue.ops.voxelise import voxelise
from segue.structures import Categories, Mesh, Meshes, Regions, Scene
from segue.tasks import BOXES, MESHES, parsers_of
from tools import mesh_check
from tools.mesh_check import EULER, Counts, count, found_meshes, has_number, main, table, voxelised, without_specks


def solid(*holes: int, specks: int = 0) -> Meshes:
    """A plate of voxels with holes through it, each at a place along x, and single voxels apart from it."""
    voxels = torch.zeros(1, 16, 16, 16)
    voxels[:, 4:7, 2:8] = 1
    for x in holes:
        voxels[:, :, 4:6, x : x + 2] = 0
    voxels[0, 12, 12, : 2 * specks : 2] = 1
    return cubify(voxels, 0.5)


def mesh(surface: Meshes) -> Mesh:
    return Mesh(surface.vertices, surface.faces)


NOTHING = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))


@pytest.mark.parametrize("category", EULER)
def test_objects_have_the_number_that_they_are_asked_for(category: str) -> None:
    """All parts of an object together, in fine voxels."""
    for seed in (1, 2):
        vertices, faces, *_ = stack_shells([part.shell for part in draw_solid(Dice(seed), category).parts])
        middle = (vertices.max(0) + vertices.min(0)) / 2
        places = torch.from_numpy((vertices - middle) / abs(vertices - middle).max() * 0.95).float()
        inside = voxelise(Meshes.pack([places], [torch.from_numpy(faces)]), 96)
        assert int(euler_numbers(without_specks(cubify(inside.float(), 0.5)))) == EULER[category]


def test_holes_and_specks() -> None:
    for holes, number in (((), 2), ((3,), 0), ((3, 9), -2)):
        assert has_number(solid(*holes), number)
        assert not has_number(solid(*holes), number + 2)
        assert has_number(solid(*holes, specks=2), number + 4)
        assert has_number(without_specks(solid(*holes, specks=2)), number)


def test_what_is_no_speck_stays() -> None:
    two = Meshes.pack(*zip(*(solid(3).unpack() + solid().unpack()), strict=True))  # type: ignore[arg-type]
    one = Meshes(two.vertices, two.faces, two.vertex_counts.sum()[None], two.face_counts.sum()[None])
    assert torch.equal(without_specks(one).faces, one.faces)
    assert len(without_specks(Meshes.pack([NOTHING.vertices], [NOTHING.faces])).faces) == 0


def test_nothing_has_no_hole() -> None:
    assert int(euler_numbers(Meshes.pack([NOTHING.vertices], [NOTHING.faces]))) == 0
    assert count([("ring", NOTHING)])["ring"].right == 0


def test_what_is_counted() -> None:
    ring, speckled, plate = mesh(solid(3)), mesh(solid(3, specks=1)), mesh(solid())
    pairs = [("ball", plate), ("ring", ring), ("ring", speckled), ("ring", plate), ("ring", None), ("mug", None)]
    rows = count(pairs)
    assert rows == {"ring": Counts(4, 3, 1, 2), "mug": Counts(1, 0, 0, 0), "ball": Counts(1, 1, 1, 1)}
    assert list(rows) == ["ring", "mug", "ball"]
    assert rows["ring"].row() == {
        "objects": 4,
        "detected": 3,
        "right": 1,
        "share": 33.33,
        "share_without_specks": 66.67,
    }
    assert table(rows)[2] == "| ring | 0 | 4 | 3 | 1 | 33.3 | 66.7 |"
    assert table(rows)[3] == "| mug | 0 | 1 | 0 | 0 | - | - |"
    assert count([]) == {}


def test_objects_get_the_mesh_of_the_surest_region_of_their_class() -> None:
    names = ["ring", "mug", "chair"]
    truth = Regions(
        torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]]), torch.tensor([0, 0, 1, 2])
    )
    boxes = [[0.0, 0, 10, 9], [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 44, 10], [60, 0, 70, 10], [0, 0, 10, 10]]
    meshes = [mesh(solid(x)) for x in range(3, 9)]
    found = Regions(
        torch.tensor(boxes),
        torch.tensor([2, 2, 0, 0, 1, 2]),  # in other classes: chair, mug, ring
        torch.tensor([0.6, 0.9, 0.8, 0.7, 0.6, 0.5]),
        meshes=meshes,
    )
    seen = Scene((20, 80), Categories.from_names(["mug", "chair", "ring"]), found)
    pairs = list(found_meshes(seen, Scene((20, 80), Categories.from_names(names), truth)))
    assert [name for name, _ in pairs] == ["ring", "ring", "mug"]  # nobody asks for chairs
    assert pairs[0][1] is meshes[1]
    assert [own for _, own in pairs[1:]] == [None, None]
    assert list(found_meshes(seen, Scene((20, 80), Categories.from_names(names), Regions.empty()))) == []
    nothing = Scene((20, 80), Categories.from_names(names), Regions.empty())
    assert [m for _, m in found_meshes(nothing, Scene((20, 80), nothing.categories, truth))] == [None] * 3


class Oracle:
    """Finds everything, and gives it a plate with one hole."""

    name, tasks = "oracle", (BOXES, MESHES)

    def __init__(self, dataset: Dataset) -> None:
        self.pictures = iter([dataset.regions(i) for i in range(len(dataset))])

    def only(self, names: list[str]) -> Self:
        assert names == ["meshes"]
        return self

    def predict(self, image: Tensor, threshold: float) -> Scene:
        truth = next(self.pictures)
        meshes, scores = [mesh(solid(3))] * len(truth), torch.ones(len(truth))
        return Scene((64, 64), TOYBOX, Regions(truth.boxes, truth.labels, scores, meshes=meshes))


def test_from_a_data_set_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toybox(tmp_path / "toys", Order(train=0, val=3, size=64, seed=4))
    reference, out = f"{tmp_path / 'toys'}:val", tmp_path / "out.json"
    dataset = open_dataset(reference, parsers_of([BOXES]))
    monkeypatch.setattr(mesh_check, "load", lambda model: Oracle(dataset))
    monkeypatch.setattr(
        sys, "argv", ["mesh_check.py", "some model", "--data", reference, "--out", str(out), "--limit", "2"]
    )
    main()
    content = json.loads(out.read_text())
    names = [THINGS[label] for i in range(2) for label in dataset.regions(i).labels.tolist()]
    assert set(content["rows"]) == {name for name in names if name in EULER}
    assert len(content["rows"]) > 1
    for name, row in content["rows"].items():
        assert row["objects"] == row["detected"] == names.count(name)
        assert row["share"] == (100 if EULER[name] == 0 else 0)
    assert (content["model"], content["images"], content["score"], content["iou"]) == ("oracle", 2, 0.5, 0.5)


def test_only_voxels_need_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toybox(tmp_path / "toys", Order(train=0, val=1, size=64, seed=4))
    command = ["mesh_check.py", "--data", f"{tmp_path / 'toys'}:val"]
    monkeypatch.setattr(sys, "argv", [*command, "--voxels", "8"])
    main()
    assert "| object | Euler number |" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        main()
    assert "name a model, or give --voxels" in capsys.readouterr().err


def test_true_shapes_in_voxels(tmp_path: Path) -> None:
    write_toybox(tmp_path / "toys", Order(train=0, val=3, size=64, seed=4))
    found = list(voxelised(f"{tmp_path / 'toys'}:val", 2, 24))
    known = open_dataset(f"{tmp_path / 'toys'}:val", parsers_of([BOXES]))
    names = [name for index in range(2) for name in mesh_check.names_of(known.scene(index)) if name in EULER]
    assert [name for name, _ in found] == names
    assert len(names) > 2
    solid = [mesh for name, mesh in found if name in ("ball", "box", "cone", "bottle")]
    assert solid
    assert all(has_number(Meshes.pack([mesh.vertices], [mesh.faces]), 2) for mesh in solid)
