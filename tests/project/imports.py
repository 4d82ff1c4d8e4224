"""Who imports whom, read from the source without running it."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

PACKAGES = ("engines", "train", "calib", "deploy")


@dataclass(frozen=True, kw_only=True, order=True)
class Import:
    """One file that imports one module of ours. `late`: inside a function, so only when that runs."""

    importer: str  # dotted
    imported: str
    late: bool


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many imports lead from one place to another."""

    early: int
    late: int


def find_modules(root: Path) -> dict[str, Path]:
    """Return every module of ours by its dotted name."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def find_imports(root: Path) -> set[Import]:
    """Return the imports between our modules; those for the type checker alone are left out, as they never run."""
    modules = find_modules(root)
    found: set[Import] = set()
    for importer, path in modules.items():
        for name, late in sorted(_imports(ast.parse(path.read_text(encoding="utf-8")), late=False)):
            imported = _module_of(name, modules)
            if imported is not None and imported != importer:
                found.add(Import(importer=importer, imported=imported, late=late))
    # A module imported both ways is there from the start.
    return {item for item in found if not item.late or (item.importer, item.imported) not in _early(found)}


def count_imports(imports: Iterable[Import], place: Callable[[str], str]) -> dict[tuple[str, str], Count]:
    """Return how many imports lead from each place to each other one; place(module) says where a module lies."""
    early, late = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for item in imports:
        pair = place(item.importer), place(item.imported)
        if pair[0] != pair[1]:
            (late if item.late else early)[pair] += 1
    return {pair: Count(early=early[pair], late=late[pair]) for pair in sorted({*early, *late})}


def _imports(node: ast.AST, *, late: bool) -> Iterator[tuple[str, bool]]:
    """Yield every dotted name that is imported below node, and whether that waits for a call."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield from ((f"{child.module}.{alias.name}", late) for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _imports(ast.Module(body=[other], type_ignores=[]), late=late)
        else:
            yield from _imports(child, late=late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def _module_of(name: str, modules: Mapping[str, Path]) -> str | None:
    """Return the module that a dotted name is, or is a part of; None where it is not ours."""
    parent = name.rpartition(".")[0]
    return name if name in modules else parent if parent in modules else None


def _early(imports: set[Import]) -> set[tuple[str, str]]:
    return {(item.importer, item.imported) for item in imports if not item.late}
