"""Pages of the lecture as a folder of HTML and PNG files, or as Markdown for a site of documentation."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor
from tqdm import tqdm

from segue.drawing.page import STYLE, escaped
from segue.errors import UsageError
from segue.files import MARK, atomic_write, cannot_write
from segue.lecture.page import Number, Page, Value

INDEX = "index.html"

OWN_STYLE = """
body { max-width: 56rem; } nav { display: flex; justify-content: space-between; gap: 1rem; }
figure { position: static; width: auto; margin: 1rem 0; } figcaption, small { opacity: .75; }
img { width: auto; max-width: 100%; } h2 { font-size: 1.1rem; margin-top: 1.5rem; }
table { border-collapse: collapse; } td, th { padding: .25rem .6rem; text-align: left; vertical-align: top; }
tr { border-top: 1px solid #8884; } table table td { text-align: right; } table table tr { border: 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .6rem; background: #8882; }
blockquote { margin: 1rem 0; font-size: 1.15rem; }
"""

Lecture = Sequence[Callable[[], Page]]


def write_lecture(lecture: Lecture, folder: Path) -> Path:
    """Make every page, and write it with its pictures as it is made; the index comes last. Returns the index.

    Raises:
        UsageError: the folder holds an index that this did not write, or cannot be written.
    """
    index = folder / INDEX
    check_ours(index)
    made: list[tuple[str, Page]] = []
    for name, page in tqdm(made_pages(lecture), desc="lecture", unit="page", total=len(lecture), disable=None):
        _write_figures(folder, name, page)
        made.append((f"{name}.html", page))
    for place, (file, page) in enumerate(made):
        around = [made[i] if 0 <= i < len(made) else None for i in (place - 1, place + 1)]
        before, after = (_link(*other) if other else "" for other in around)
        body = f'<nav><span>{before}</span><a href="{INDEX}">all pages</a><span>{after}</span></nav>\n'
        body += f"<h1>{place + 1}. {escaped(page.title)}</h1>\n{page_body(page, file.removesuffix('.html'))}"
        atomic_write(folder / file, _document(page.title, body))
    items = "".join(f"<li>{_link(file, page)}<br><small>{escaped(page.question)}</small></li>\n" for file, page in made)
    text = "<p>Every figure and number on these pages was made by the code of Segue as the pages were written.</p>"
    atomic_write(index, _document("The lecture", f"<h1>The lecture, from live code</h1>\n{text}\n<ol>\n{items}</ol>"))
    return index


def made_pages(lecture: Lecture) -> Iterator[tuple[str, Page]]:
    """Name of the files and page, one after the other, each made when it is asked for."""
    for name, make in zip(page_names(lecture), lecture, strict=True):
        yield name, make()


def page_names(lecture: Lecture) -> list[str]:
    """Of the files of each page, such as ``01-four-tasks``."""
    return [f"{number:02d}-{make.__name__.replace('_', '-')}" for number, make in enumerate(lecture, 1)]


def page_markdown(page: Page, name: str) -> str:
    """The page as Markdown with HTML in it, its pictures beside it as `page_body` names them."""
    return f"# {page.title}\n\n<div>\n{page_body(page, name)}</div>\n"


def check_ours(index: Path) -> None:
    """Raise `UsageError` where a file is there that this did not write, or its folder cannot be one."""
    try:
        index.parent.mkdir(parents=True, exist_ok=True)
        ours = not index.exists() or MARK in index.read_bytes()[:1024]
    except OSError as error:
        raise cannot_write(index, error) from None
    if not ours:
        raise UsageError("was not written by segue lecture", where=index, cure="name another folder with --out")


def page_body(page: Page, name: str) -> str:
    """All but the title, as HTML; pictures are taken from ``name-1.png`` and so on beside it."""
    return "\n".join(
        [
            f"<blockquote>{escaped(page.question)}</blockquote>",
            *(f"<p>{_with_code(part)}</p>" for part in page.answer.split("\n\n")),
            *(
                f'<figure><img alt="{escaped(figure.caption)}" src="{name}-{i}.png">'
                f"<figcaption>{_with_code(figure.caption)}</figcaption></figure>"
                for i, figure in enumerate(page.figures, 1)
            ),
            _numbers(page.numbers),
            "<h2>Change one thing</h2>",
            f"<pre><code>{escaped(page.try_it.command)}</code></pre>",
            f"<p>{_with_code(page.try_it.see)}</p>",
            "<h2>Where it is</h2>",
            f"<p>Implemented in <code>{escaped(page.module)}</code>, proved by <code>{escaped(page.test)}</code>.</p>",
            "",
        ]
    )


def png_bytes(image: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _write_figures(folder: Path, name: str, page: Page) -> None:
    for i, figure in enumerate(page.figures, 1):
        atomic_write(folder / f"{name}-{i}.png", png_bytes(figure.image))


def _document(title: str, body: str) -> bytes:
    """A page that loads nothing but the pictures beside it, and runs nothing."""
    policy = "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'"
    head = (
        f'<!DOCTYPE html>\n<!-- {MARK.decode()} -->\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{STYLE}{OWN_STYLE}</style>\n</head>\n"
    )
    return f"{head}<body>\n{body}</body>\n</html>\n".encode()


def _link(file: str, page: Page) -> str:
    return f'<a href="{file}">{escaped(page.title)}</a>'


def _with_code(text: str) -> str:
    """Escaped, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped(text))


def _numbers(numbers: Sequence[Number]) -> str:
    """A table; a column says what the slide prints, where it prints anything."""
    printed = any(number.slide is not None for number in numbers)
    heads = ["", "computed", *(["on the slide"] if printed else [])]
    rows = ["".join(f"<th>{head}</th>" for head in heads)]
    for number in numbers:
        cells = [_with_code(number.what), value_html(number.value)]
        if printed:
            differs = "" if number.agrees else " <strong>differs</strong>"
            cells.append("" if number.slide is None else value_html(number.slide) + differs)
        rows.append("".join(f"<td>{cell}</td>" for cell in cells))
    return "<h2>Numbers</h2>\n<table>" + "".join(f"<tr>{row}</tr>\n" for row in rows) + "</table>"


def value_html(value: Value) -> str:
    """A number with as many digits as say something, a matrix as a table, or a text."""
    if isinstance(value, Tensor):
        matrix = value if value.ndim == 2 else value.reshape(1, -1)
        cells = (
            "<tr>" + "".join(f"<td>{number_text(entry)}</td>" for entry in row) + "</tr>" for row in matrix.tolist()
        )
        return f"<table>{''.join(cells)}</table>"
    return escaped(value) if isinstance(value, str) else number_text(value)


def number_text(value: int | float) -> str:
    """Whole numbers with commas, others with two decimals, or three digits where these say less."""
    if isinstance(value, int) or (value == round(value) and abs(value) < 1e15):
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 0.1 else f"{value:.3g}"
