"""The folder of pages, on a lecture of two small pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

from segue import lecture
from segue.errors import UsageError
from segue.lecture import Figure, Number, Page, TryIt, write_lecture
from segue.lecture.write import number_text, value_html


def first() -> Page:
    return Page(
        title="Pairs & <pairs>",
        question="What <is> it?",
        answer="It is `a < b`.\n\nAnd so on.",
        figures=(Figure(Image.new("RGB", (64, 48), "red"), "A <red> one."),),
        numbers=(Number("right", 1.004, 1.0), Number("wrong", 2, 3), Number("grid", torch.eye(2))),
        module="segue.ops",
        test="tests/x.py::test_x",
        try_it=TryIt("python -c '1 < 2'", "See."),
    )


def second_page() -> Page:
    return Page("Second", "Why?", "So.", (), (Number("n", 5),), "segue.ops", "t::u", TryIt("segue --version", "See."))


class Reader(HTMLParser):
    """Collects what a page refers to, and its elements that are opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.refers: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.refers += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("img", "br", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text())
    assert reader.open == []
    return reader


def test_pages_and_pictures_refer_to_each_other_and_to_nothing_else(tmp_path: Path) -> None:
    index = write_lecture([first, second_page], tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"index.html", "01-first.html", "01-first-1.png", "02-second-page.html"}
    assert read(index).refers == ["01-first.html", "02-second-page.html"]
    assert read(tmp_path / "01-first.html").refers == ["index.html", "02-second-page.html", "01-first-1.png"]
    assert read(tmp_path / "02-second-page.html").refers == ["01-first.html", "index.html"]
    with Image.open(tmp_path / "01-first-1.png") as picture:
        assert picture.size == (64, 48)


def test_texts_are_escaped_and_numbers_that_differ_are_marked(tmp_path: Path) -> None:
    write_lecture([first], tmp_path)
    text = (tmp_path / "01-first.html").read_text()
    assert "<pairs>" not in text
    assert "<p>It is <code>a &lt; b</code>.</p>\n<p>And so on.</p>" in text
    assert re.findall(r"<td>3 <strong>differs</strong>", text)
    assert text.count("differs") == 1


def test_a_page_may_be_written_again_but_not_over_the_page_of_another(tmp_path: Path) -> None:
    write_lecture([first], tmp_path)
    write_lecture([first], tmp_path)
    (tmp_path / "index.html").write_text("<p>mine</p>")
    with pytest.raises(UsageError, match="was not written by segue lecture"):
        write_lecture([first], tmp_path)
    assert (tmp_path / "index.html").read_text() == "<p>mine</p>"


def test_the_command(run: Callable[..., str], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lecture, "LECTURE", [second_page])
    assert run("lecture", "--out", "pages") == "1 pages: open pages/index.html\n"
    assert Path("pages/01-second-page.html").is_file()


def test_a_place_that_cannot_be_written(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused("lecture", "--out", tmp_path / "file")


def test_numbers_have_the_digits_that_say_something() -> None:
    shown = {
        0: "0",
        3: "3",
        4.0: "4",
        12345: "12,345",
        1.005: "1.00",
        0.5: "0.50",
        0.01234: "0.0123",
        2.5e-7: "2.5e-07",
    }
    assert {value: number_text(value) for value in shown} == shown
    assert value_html(torch.tensor([1.0, 2])) == "<table><tr><td>1</td><td>2</td></tr></table>"
    assert value_html("a < b") == "a &lt; b"
