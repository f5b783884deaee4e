"""docs/lecture.md: each group of slides has its row, and everything that a row names exists."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_lecture_folder import first

from segue.cli import parser
from segue.lecture import LECTURE
from segue.lecture.write import page_markdown, page_names

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip().strip("`") for cell in line.strip("|\n").split(" | ")]
    for line in (ROOT / "docs" / "lecture.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| slides")
]


def test_every_page_has_its_rows_and_they_are_in_the_lectures_order() -> None:
    assert list(dict.fromkeys(row[1] for row in ROWS)) == page_names(LECTURE)
    assert len({row[0] for row in ROWS}) == len(ROWS) >= 35


@pytest.mark.parametrize(("slides", "page", "command", "module", "test"), ROWS)
def test_what_a_row_names_exists(slides: str, page: str, command: str, module: str, test: str) -> None:
    assert find_spec(module)
    file, name = test.split("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
    program, *arguments = shlex.split(command)
    if program == "segue":
        parser().parse_args(arguments)  # leaves with 2 where there is no such command
        recipes = [word for word in arguments if word.endswith(".yaml")]
        assert all((ROOT / recipe).is_file() for recipe in recipes)
    elif arguments[0] == "-m":
        assert find_spec(arguments[1])
    else:
        assert (ROOT / arguments[0]).is_file()


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["lectures"])


def test_a_page_as_markdown_is_a_heading_and_one_block_of_html() -> None:
    heading, empty, *rest = page_markdown(first(), "01-first").splitlines()
    assert (heading, empty, rest[0], rest[-1]) == ("# Pairs & <pairs>", "", "<div>", "</div>")
    assert '<img alt="A &lt;red&gt; one." src="01-first-1.png">' in "\n".join(rest)


def test_links_out_of_the_site_say_where_the_file_is() -> None:
    pytest.importorskip("mkdocs")
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files
    from mkdocs.structure.pages import Page as SitePage

    from tools.site import on_page_markdown, reference

    config = MkDocsConfig()
    config.load_dict({"site_name": "x", "docs_dir": str(ROOT / "docs"), "site_dir": "site"})
    config.validate()
    files = Files([File(name, str(ROOT / "docs"), "site", False) for name in ("meshes.md", "models/toybox.md")])
    page = SitePage(None, files.get_file_from_path("models/toybox.md"), config)  # type: ignore[arg-type]
    text = "[a](../meshes.md#x) [b](../../recipes/toybox.yaml) [c](https://d.org) ![e](../../recipes/x.yaml) [f](no.md)"
    assert on_page_markdown(text, page, config, files) == (
        '[a](../meshes.md#x) <abbr title="recipes/toybox.yaml in the repository">b</abbr> [c](https://d.org) '
        "![e](../../recipes/x.yaml) [f](no.md)"
    )
    assert "::: segue.tasks\n    options: {members: ['all_tasks'" in reference("segue.tasks")
    assert "::: segue.tasks.masks\n" in reference("segue.tasks")
