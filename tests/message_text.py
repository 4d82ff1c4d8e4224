"""Read the texts that an expression can give, from the source alone: what varies stands as an ellipsis.

A literal, an f-string, a name that is assigned such texts, a constant (imported too), an item of a literal table, and
what a function of ours returns are followed. Of the fields of an f-string only those are that are constants, or names
whose texts say something by themselves: anything else is what varies.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

VARIES = "…"
# Parameters through which a function takes a part of a message: the calls of the function are the messages.
OPEN = frozenset({"reason", "expected", "told", "kind"})
MARK = "\0"  # around the name of such a parameter
TELLING_WORDS = 3  # a field's texts with as many words are followed; shorter ones are names and numbers
DEPTH = 8

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(eq=False)
class Module:
    """A file, its names, and the calls and additions to lists in it with where they stand."""

    path: str  # from the root, with slashes
    constants: dict[str, ast.expr] = field(default_factory=dict)
    functions: dict[str, list[Function]] = field(default_factory=dict)  # methods too, by their bare name
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)  # name here: module and name there
    calls: list[tuple[ast.Call, Scope]] = field(default_factory=list)
    additions: list[tuple[ast.AugAssign, Scope]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Scope:
    """Where an expression stands: the functions around it, the innermost last."""

    module: Module
    functions: tuple[Function, ...] = ()


@dataclass(frozen=True)
class _Value:
    """What a name is assigned: an expression, or the element of it where a tuple is unpacked."""

    node: ast.expr
    index: int | None
    line: int
    block: tuple[int, int]  # the first and the last line of the statements among which it stands


def read_module(root: Path, path: Path) -> Module:
    """Parse a file and note what its names stand for."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = Module(path.relative_to(root).as_posix())
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            module.constants[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            module.constants[node.target.id] = node.value
    waiting: list[tuple[ast.AST, Scope]] = [(tree, Scope(module))]
    while waiting:
        node, scope = waiting.pop()
        if isinstance(node, ast.Call):
            module.calls.append((node, scope))
        elif isinstance(node, ast.AugAssign):
            module.additions.append((node, scope))
        elif isinstance(node, Function):
            module.functions.setdefault(node.name, []).append(node)
            scope = Scope(module, (*scope.functions, node))
        elif isinstance(node, ast.ImportFrom) and node.module:
            module.imports.update({alias.asname or alias.name: (node.module, alias.name) for alias in node.names})
        waiting += [(child, scope) for child in _children(node)]
    return module


def words(text: str) -> int:
    """Count the words of a text that do not vary."""
    return len(re.findall(r"[A-Za-z]{2,}", re.sub(f"{MARK}[^{MARK}]*{MARK}", " ", text)))


class Texts:
    """The texts of expressions in a set of modules."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self._modules = {module.path: module for module in modules}
        self._assigned: dict[Function, dict[str, list[_Value]]] = {}
        self._asked: list[Function] = []  # functions whose texts are being read: one that calls itself adds none

    def whole(self, node: ast.expr, scope: Scope, depth: int = DEPTH) -> list[str] | None:
        """Return every text that the expression can be; None where one of them cannot be read."""
        if depth == 0:
            return None
        branches = _branches(node)
        if branches:
            return _union(self.whole(branch, scope, depth - 1) for branch in branches)
        match node:
            case ast.Constant(value=None):
                return []
            case ast.Constant(value=str(text)):
                return [text]
            case ast.JoinedStr():
                parts = [self._part(part, scope, depth) for part in node.values]
                return ["".join(chosen) for chosen in product(*parts)]
            case ast.BinOp(op=ast.Add()):
                left = self.whole(node.left, scope, depth)
                return None if left is None else [a + b for a, b in product(left, self.field(node.right, scope, depth))]
            case ast.Name():
                return self._named(node, scope, depth)
            case ast.Call():
                return self._returned(node, None, scope, depth)
            case ast.Subscript():
                return self._items(node.value, None, scope, depth)
            case _:
                return None

    def field(self, node: ast.expr, scope: Scope, depth: int = DEPTH) -> list[str]:
        """Return the texts of a part of a message, or what stands for a part that varies."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return [node.value]
        if not isinstance(node, (ast.Name, ast.Subscript)):
            return [VARIES]
        if isinstance(node, ast.Name) and self._is_open(node, scope):
            return [f"{MARK}{node.id}{MARK}"]
        found = self.whole(node, scope, depth - 1)
        constant = (
            isinstance(node, ast.Name) and not self._values(node, scope) and found is not None and len(found) == 1
        )
        telling = [text == VARIES or words(text) >= TELLING_WORDS for text in found or ()]
        return found if found and (constant or (all(telling) and found != [VARIES])) else [VARIES]

    def called(self, call: ast.Call, scope: Scope) -> tuple[Module, Function] | None:
        """Return the function of ours that a call by name, or of a method of self, reaches."""
        module: Module | None = scope.module
        match call.func:
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                pass
            case ast.Name(id=name):
                if name in scope.module.imports:
                    there, name = scope.module.imports[name]
                    module = self._module(there)
            case _:
                return None
        found = module.functions.get(name, []) if module is not None else []
        return (module, found[0]) if module is not None and len(found) == 1 else None

    def returned(
        self, module: Module, function: Function, index: int | None = None, depth: int = DEPTH, *, partly: bool = False
    ) -> list[str] | None:
        """Return the texts that a function returns, or that stand at a place of the tuples that it returns.

        None where one cannot be read; partly leaves it out instead.
        """
        if function in self._asked:
            return []
        self._asked.append(function)
        values = [node.value for node, _ in _statements(function.body) if isinstance(node, ast.Return) and node.value]
        found = [self._element(value, index, Scope(module, (function,)), depth - 1) for value in values]
        self._asked.pop()
        texts = _union(item for item in found if item is not None or not partly)
        return None if texts is None else [re.sub(f"{MARK}[^{MARK}]*{MARK}", VARIES, text) for text in texts]

    def _part(self, part: ast.expr, scope: Scope, depth: int) -> list[str]:
        return self.field(part.value if isinstance(part, ast.FormattedValue) else part, scope, depth)

    def _named(self, name: ast.Name, scope: Scope, depth: int) -> list[str] | None:
        if self._is_open(name, scope):
            return [f"{MARK}{name.id}{MARK}"]
        values = self._values(name, scope)
        if values:
            return _union(self._element(value.node, value.index, scope, depth - 1) for value in values)
        found = self._constant(name.id, scope)
        return None if found is None else self.whole(found[0], found[1], depth - 1)

    def _constant(self, name: str, scope: Scope) -> tuple[ast.expr, Scope] | None:
        if any(name in _parameters(function) for function in scope.functions):
            return None
        module: Module | None = scope.module
        if name in scope.module.imports:
            there, name = scope.module.imports[name]
            module = self._module(there)
        return None if module is None or name not in module.constants else (module.constants[name], Scope(module))

    def _element(self, node: ast.expr, index: int | None, scope: Scope, depth: int) -> list[str] | None:
        """Return the texts of an element of a tuple, or of the whole where index is None."""
        if index is None or depth <= 0:
            return self.whole(node, scope, max(depth, 0))
        branches = _branches(node)
        if branches:
            return _union(self._element(branch, index, scope, depth - 1) for branch in branches)
        if isinstance(node, ast.Tuple):
            return self.whole(node.elts[index], scope, depth) if index < len(node.elts) else None
        return self._returned(node, index, scope, depth) if isinstance(node, ast.Call) else None

    def _returned(self, call: ast.Call, index: int | None, scope: Scope, depth: int) -> list[str] | None:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "get" and call.args:
            rest = [self._element(default, index, scope, depth) or [VARIES] for default in call.args[1:]]
            return _union([self._items(call.func.value, index, scope, depth), *rest])
        found = self.called(call, scope)
        return None if found is None else self.returned(*found, index, depth)

    def _items(self, table: ast.expr, index: int | None, scope: Scope, depth: int) -> list[str] | None:
        """Return the texts of the items of a literal dict or tuple."""
        if isinstance(table, ast.Name):
            values = self._values(table, scope)
            constant = self._constant(table.id, scope)
            if values:
                table = values[-1].node
            elif constant is not None:
                table, scope = constant
        if isinstance(table, ast.Dict):
            return _union(self._element(value, index, scope, depth - 1) for value in table.values)
        if isinstance(table, ast.Tuple) and index is None:
            return _union(self.whole(value, scope, depth - 1) for value in table.elts)
        return None

    def _module(self, name: str) -> Module | None:
        base = name.replace(".", "/")
        return self._modules.get(f"{base}.py") or self._modules.get(f"{base}/__init__.py")

    def _values(self, name: ast.Name, scope: Scope) -> list[_Value]:
        """Return what a local name can be where it stands: the nearest assignment before, if it always comes."""
        for function in reversed(scope.functions):
            if function not in self._assigned:
                self._assigned[function] = _assignments(function)
            before = [value for value in self._assigned[function].get(name.id, []) if value.line < name.lineno]
            for place in reversed(range(len(before))):
                first, last = before[place].block
                if first <= name.lineno <= last:
                    return before[place:]
            if before:
                return before
        return []

    def _is_open(self, name: ast.Name, scope: Scope) -> bool:
        taken = bool(scope.functions) and name.id in _parameters(scope.functions[-1])
        return name.id in OPEN and taken and not self._values(name, scope)


def _union(found: Iterable[list[str] | None]) -> list[str] | None:
    """Join lists of texts; None where one cannot be read."""
    texts: list[str] = []
    for item in found:
        if item is None:
            return None
        texts += item
    return list(dict.fromkeys(texts))


def _branches(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    return list(node.values) if isinstance(node, ast.BoolOp) else []


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            yield from (item for item in value if isinstance(item, ast.AST))
        elif isinstance(value, ast.AST):
            yield value


def _parameters(function: Function) -> set[str]:
    arguments = function.args
    return {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}


def _statements(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, tuple[int, int]]]:
    """Yield a function's own statements in their order, with the lines of the block in which each stands."""
    block = (body[0].lineno, body[-1].end_lineno or 0) if body else (0, 0)
    for statement in body:
        yield statement, block
        if isinstance(statement, (*Function.__args__, ast.ClassDef)):
            continue
        for name in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, name, []))
        for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            yield from _statements(part.body)


def _assignments(function: Function) -> dict[str, list[_Value]]:
    found: dict[str, list[_Value]] = {}
    for statement, block in _statements(function.body):
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        value = statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
        for target in targets if value is not None else ():
            parts = list(enumerate(target.elts)) if isinstance(target, ast.Tuple) else [(None, target)]
            for index, part in parts:
                if isinstance(part, ast.Name) and value is not None:
                    found.setdefault(part.id, []).append(_Value(value, index, statement.lineno, block))
    return found
