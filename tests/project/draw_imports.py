"""Draw who imports whom, as Mermaid, into docs/architecture.md between its markers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.project.imports import Count

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
COMMAND = "python tests/project/draw_imports.py"
BEGIN, END = f"<!-- drawn by {COMMAND}: do not edit -->\n", "<!-- end of what is drawn -->\n"

SCRIPTS = "deploy/*.py"
ROOTS = (SCRIPTS, "deploy/assembly")  # they put the others together, so their lines would hide the rest


def whole_place(path: Path) -> str:
    """Return a file's place in the picture of the whole: its folder, deploy as one."""
    folder = path.parent.relative_to(ROOT).as_posix()
    return "deploy" if folder.startswith("deploy") else folder


def deploy_place(path: Path) -> str:
    """Return a file's place in the picture of deploy: its folder, or the file itself where it lies in none."""
    folder = path.parent.relative_to(ROOT).as_posix()
    if folder != "deploy":
        return "/".join(folder.split("/")[:2])
    return SCRIPTS if '__name__ == "__main__"' in path.read_text(encoding="utf-8") else f"deploy/{path.name}"


def mermaid(counts: Mapping[tuple[str, str], Count], *, without: str = "") -> str:
    """Return a flowchart; a line that stands for late imports alone is dashed."""
    places = sorted({place for pair in counts for place in pair})
    nodes = [f'    {_node(place)}["{place.removeprefix(without)}"]' for place in places]
    edges = [
        f"    {_node(source)} {f'-->|{count.early}|' if count.early else f'-.->|{count.late}|'} {_node(target)}"
        for (source, target), count in counts.items()
    ]
    return "\n".join(["```mermaid", "flowchart LR", *nodes, *edges, "```"])


def draw() -> str:
    """Return what stands between the markers."""
    from tests.project.imports import count_imports, find_imports, find_modules

    imports, modules = find_imports(ROOT), find_modules(ROOT)
    places = {name: deploy_place(path) for name, path in modules.items()}
    whole = count_imports(imports, lambda module: whole_place(modules[module]))
    inside = {
        pair: count
        for pair, count in count_imports(imports, places.__getitem__).items()
        if all(place.startswith("deploy/") for place in pair)
    }
    shown = {pair: count for pair, count in inside.items() if pair[0] not in ROOTS}
    lines = [_sentence(root, [target for source, target in inside if source == root]) for root in ROOTS]
    return "\n\n".join([mermaid(whole), "Inside `deploy/`:", mermaid(shown, without="deploy/"), *lines]) + "\n"


def with_drawing(page: str, drawing: str) -> str:
    """Return the page with the drawing between its markers."""
    from engines.errors import BadInput

    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise BadInput(f"{PAGE}: expected the lines {BEGIN.strip()!r} and {END.strip()!r} once each; put them back")
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n{drawing}\n{END}{rest.split(END)[1]}"


def main() -> int:
    from engines.atomic import write_text
    from engines.errors import run_script

    def body() -> None:
        write_text(PAGE, with_drawing(PAGE.read_text(encoding="utf-8"), draw()))

    return run_script("draw_imports", body)


def _node(place: str) -> str:
    return place.replace("/", "_").replace("*.py", "scripts").replace(".py", "")


def _sentence(root: str, targets: Sequence[str]) -> str:
    names = ", ".join(target.removeprefix("deploy/") for target in targets)
    return f"`{root}` (not drawn) puts them together: it imports {names}."


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main())
