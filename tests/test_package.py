"""The package as a whole: what it exports, what it imports, what it ships."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import segue

PACKAGE = Path(segue.__file__).parent
PROJECT = Path(__file__).parents[1] / "pyproject.toml"
IMPORT_NAMES = {
    "pillow": "PIL",
    "lightning-fabric": "lightning_fabric",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "rerun-sdk": "rerun",
}  # where a distribution's name is not that of its module


def imported_modules(path: Path) -> set[str]:
    """The top names of everything that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_everything_promised_is_there() -> None:
    for name in segue.__all__:
        assert getattr(segue, name) is not None
    assert {"load", "draw", "Scene", "Regions", "Categories"} <= set(segue.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        segue.lod  # type: ignore[attr-defined]  # noqa: B018


def test_no_module_hides_a_promised_name() -> None:
    """Once ``segue.x`` is imported, it is what ``x`` means, whatever the package says of it."""
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not modules & set(segue.__all__)


def test_the_version_is_that_of_the_distribution() -> None:
    assert version("segue") == segue.__version__


def test_importing_the_package_imports_nothing_slow() -> None:
    code = "import sys, segue; print({'torch', 'numpy', 'PIL'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "set()", done.stderr


def test_every_import_is_a_declared_dependency() -> None:
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *(text for name, own in extras.items() if name != "test" for text in own)]
    names = [re.split(r"[\s<>=!~;\[]", text)[0].lower() for text in declared]
    allowed = {IMPORT_NAMES.get(name, name) for name in names} | set(sys.stdlib_module_names) | {"segue"}
    for path in PACKAGE.rglob("*.py"):
        originals = (
            {"torchvision", "detectron2"} if path.parent.name == "checkpoints" else set()
        )  # compared with, where it is there
        assert imported_modules(path) <= allowed | originals, path


def test_no_compiled_code_and_types_for_users() -> None:
    compiled = [p.name for p in PACKAGE.rglob("*") if p.suffix in (".so", ".pyd", ".dll", ".c", ".cpp", ".cu", ".pyx")]
    assert compiled == []
    assert (PACKAGE / "py.typed").exists()
