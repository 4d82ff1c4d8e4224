"""The picture of imports: read rightly from the source, and the page shows the tree as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.errors import BadInput
from tests.project import draw_imports
from tests.project.draw_imports import BEGIN, COMMAND, END, PAGE, draw, mermaid, with_drawing
from tests.project.imports import Count, Import, count_imports, find_imports, find_modules

FILES = {
    "engines/__init__.py": "",
    "engines/errors.py": "import os\n",
    "calib/__init__.py": "from engines.errors import BadInput\n",
    "train/__init__.py": "",
    "deploy/__init__.py": "",
    "deploy/sinks/__init__.py": "",
    "deploy/sinks/file.py": "import engines.errors\nfrom deploy.sinks import other\n",
    "deploy/sinks/other.py": (
        "from __future__ import annotations\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import calib\n"
        "else:\n    import train\n"
    ),
    "deploy/run.py": (
        "from engines import errors\n"
        "def main():\n"
        "    from engines.errors import BadInput\n"  # there from the start all the same
        "    from deploy.sinks.file import write\n"
        "    if True:\n        import calib as names\n"
    ),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_imports_are_found_wherever_they_stand(tree: Path) -> None:
    found = {(item.importer, item.imported, item.late) for item in find_imports(tree)}
    assert found == {
        ("calib", "engines.errors", False),
        ("deploy.sinks.file", "engines.errors", False),
        ("deploy.sinks.file", "deploy.sinks.other", False),
        ("deploy.sinks.other", "train", False),  # what TYPE_CHECKING guards never runs
        ("deploy.run", "engines.errors", False),
        ("deploy.run", "deploy.sinks.file", True),
        ("deploy.run", "calib", True),
    }


def test_imports_are_counted_between_places_only(tree: Path) -> None:
    modules = find_modules(tree)
    counts = count_imports(find_imports(tree), lambda module: modules[module].parent.relative_to(tree).as_posix())
    assert counts[("deploy/sinks", "engines")] == Count(early=1, late=0)
    assert counts[("deploy", "deploy/sinks")] == Count(early=0, late=1)
    assert ("deploy/sinks", "deploy/sinks") not in counts


def test_a_line_of_late_imports_alone_is_dashed() -> None:
    picture = mermaid({("a/b", "c"): Count(early=0, late=2), ("c", "a/b"): Count(early=3, late=1)})
    assert 'a_b["a/b"]' in picture
    assert "a_b -.->|2| c" in picture
    assert "c -->|3| a_b" in picture


def test_imports_order_by_who_imports() -> None:
    early = Import(importer="a", imported="z", late=False)
    assert sorted([Import(importer="b", imported="a", late=False), early])[0] is early


def test_the_page_shows_the_imports_as_they_are() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_drawing(page, draw()) == page, (
        f"the picture of imports is of an older tree: run `{COMMAND}` to renew it"
    )


@pytest.mark.parametrize("page", ["", BEGIN, END + BEGIN, BEGIN + END + END])
def test_a_page_without_its_markers_is_refused(page: str) -> None:
    with pytest.raises(BadInput, match="once each; put them back"):
        with_drawing(page, "picture")


def test_everything_but_the_picture_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "architecture.md"
    page.write_text(f"# Title\n{BEGIN}old\n{END}tail\n")
    monkeypatch.setattr(draw_imports, "PAGE", page)
    monkeypatch.setattr(draw_imports, "draw", lambda: "new\n")
    assert draw_imports.main() == 0
    assert page.read_text() == f"# Title\n{BEGIN}\nnew\n\n{END}tail\n"
