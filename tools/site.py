"""What `make docs` adds to the pages under docs/: README as the index, the lecture, and the docstrings of every room.

A hook of MkDocs, which calls the functions ``on_...``; see mkdocs.yml.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path, PurePosixPath
from posixpath import normpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from segue.lecture import LECTURE
from segue.lecture.write import made_pages, page_markdown, page_names, png_bytes

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "segue"
ROOMS = sorted(".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py"))
"""The package and those inside of it, such as ``segue.ops``."""
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> None:
    """Name in the navigation what mkdocs.yml does not: the generated pages, and new ones under docs/."""
    listed = str(config.nav)
    written = (path.relative_to(config.docs_dir).as_posix() for path in sorted(Path(config.docs_dir).rglob("*.md")))
    parts = {name: pages for entry in config.nav if isinstance(entry, dict) for name, pages in entry.items()}
    parts["Inside"] += [place for place in written if f"'{place}'" not in listed]
    parts["The lecture"] += [f"lecture/{name}.md" for name in page_names(LECTURE)]
    config.nav.append({"Reference": [f"reference/{room}.md" for room in ROOMS]})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Make them."""
    generated = {"index.md": (ROOT / "README.md").read_text().replace("](docs/", "](").encode()}
    for name, page in made_pages(LECTURE):
        print(f"lecture: {page.title}", file=sys.stderr)
        generated[f"lecture/{name}.md"] = page_markdown(page, name).encode()
        generated |= {f"lecture/{name}-{i}.png": png_bytes(figure.image) for i, figure in enumerate(page.figures, 1)}
    for room in ROOMS:
        generated[f"reference/{room}.md"] = reference(room).encode()
    for place, content in generated.items():
        files.append(File.generated(config, place, content=content))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files of the repository that are no part of the site become names that say where the file is."""

    def replaced(link: re.Match[str]) -> str:
        text, target, _ = link.groups()
        place = normpath(PurePosixPath(page.file.src_uri).parent / target)
        if files.get_file_from_path(place) is not None:
            return link[0]
        in_repository = place if page.file.src_uri == "index.md" else normpath(PurePosixPath("docs") / place)
        if not (ROOT / in_repository).exists():
            return link[0]  # a broken link, which MkDocs reports
        return f'<abbr title="{in_repository} in the repository">{text}</abbr>'

    return LINK.sub(replaced, markdown)


def reference(room: str) -> str:
    """A page that has MkDocs write out the docstrings of a room: of its own, then of each of its modules."""
    folder = PACKAGE.parent.joinpath(*room.split("."))
    body = ast.parse((folder / "__init__.py").read_text()).body
    own = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]
    modules = [] if room == "segue" else [f"{room}.{path.stem}" for path in sorted(folder.glob("[!_]*.py"))]
    first = f"::: {room}\n    options: {{members: {own or 'false'}}}\n\n"  # what it takes from its modules is there
    return f"# {room}\n\n{first}" + "".join(f"::: {module}\n\n" for module in modules)
