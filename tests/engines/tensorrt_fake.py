"""TensorRT objects made from a version's real bindings: every attribute, argument and answer is checked against them.

Builder and Runtime cannot start on the stub library. What stands in for their objects knows nothing but the real
classes: an attribute that the version has not raises AttributeError, a call must fit a signature that pybind11
documents, a property must be writable to be written, and what a method returns is the class that its signature names.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

# C++ names that pybind11 did not yet know as Python classes when it wrote the signature.
ALIASES = {"IParserError": "ParserError", "IEngineInspector": "EngineInspector"}
SIMPLE: dict[str, tuple[type, ...]] = {
    "int": (int,), "SupportsInt": (int,), "float": (int, float), "SupportsFloat": (int, float), "str": (str,),
    "bool": (bool,), "buffer": (bytes, memoryview), "Buffer": (bytes, memoryview), "Dims": (tuple,),
}  # fmt: skip
ANSWERS: dict[str, Any] = {"None": None, "bool": True, "int": 0, "str": "", "IHostMemory": memoryview(b"plan")}


class TypedSdk:
    """A version's module. `answers` has the values of properties and what methods return; `without` hides names."""

    def __init__(self, real: Any, *, answers: dict[str, Any], without: frozenset[str] = frozenset()) -> None:
        self.real, self.answers, self.without = real, answers, without
        self.touched: set[str] = set()
        self.calls: list[list[str]] = []
        self.assigned: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        value = self.look(self.real, name, name)
        if hasattr(value, "__members__"):
            return TypedEnum(self, name, value)
        # An interface that our code subclasses is the real class; one that it makes an object of is stood in for.
        if isinstance(value, type) and not name.startswith("I"):
            return lambda *given: self.construct(name, value, given)
        return value

    def look(self, owner: Any, name: str, label: str) -> Any:
        self.touched.add(label)
        if label in self.without or not hasattr(owner, name):
            self.touched.discard(label)
            raise AttributeError(f"TensorRT {self.real.__version__} has no {label}")
        return getattr(owner, name)

    def construct(self, name: str, real: Any, given: tuple[Any, ...]) -> TypedObject:
        self.check(f"{name}.__init__", real.__init__.__doc__ or "", given)
        return TypedObject(self, name)

    def check(self, label: str, text: str, given: tuple[Any, ...]) -> str:
        """Raise TypeError where no documented signature takes the arguments; return what the method returns."""
        self.calls.append([label, *(plain(value) for value in given)])
        signatures = re.findall(r"^(?:\d+\. )?\w+\(self: [\w.:]+(?:, )?(.*)\) -> (.+)$", text, re.MULTILINE)
        for parameters, returned in signatures:
            if self.fits(split(parameters), given):
                return last_part(returned)
        raise TypeError(f"TensorRT {self.real.__version__}: {label} takes none of {given!r}; it says {text[:400]}")

    def fits(self, parameters: list[str], given: tuple[Any, ...]) -> bool:
        required = [parameter for parameter in parameters if " = " not in parameter]
        if not len(required) <= len(given) <= len(parameters):
            return False
        kinds = [last_part(parameter.split(": ", 1)[1].split(" = ")[0]) for parameter in parameters]
        return all(self.is_a(value, kind) for value, kind in zip(given, kinds, strict=False))

    def is_a(self, value: Any, kind: str) -> bool:
        if kind in SIMPLE:
            return isinstance(value, SIMPLE[kind])
        real = getattr(self.real, kind, None)
        if not isinstance(real, type):
            return True  # a container such as list[int]
        return issubclass(value.real_class, real) if isinstance(value, TypedObject) else isinstance(value, real)


class TypedEnum:
    """An enum of the version: members are the real ones."""

    def __init__(self, sdk: TypedSdk, name: str, real: Any) -> None:
        self._sdk, self._name, self._real = sdk, name, real

    def __getattr__(self, name: str) -> Any:
        return self._sdk.look(self._real, name, f"{self._name}.{name}")

    def __dir__(self) -> list[str]:
        return dir(self._real)


class TypedObject:
    """Stands in for an object of one real class."""

    real_class: Any

    def __init__(self, sdk: TypedSdk, name: str) -> None:
        self.__dict__.update(_sdk=sdk, _name=name, real_class=getattr(sdk.real, name))

    def __getattr__(self, name: str) -> Any:
        sdk, label = self._sdk, f"{self._name}.{name}"
        sdk.look(self.real_class, name, label)
        attribute = inspect.getattr_static(self.real_class, name)
        if isinstance(attribute, property):
            return sdk.answers[label]

        def method(*given: Any) -> Any:
            returned: str = sdk.check(label, getattr(self.real_class, name).__doc__ or "", given)
            if label in sdk.answers:
                answer = sdk.answers[label]
                return answer(sdk) if callable(answer) else answer
            return ANSWERS[returned] if returned in ANSWERS else TypedObject(sdk, ALIASES.get(returned, returned))

        return method

    def __setattr__(self, name: str, value: Any) -> None:
        sdk, label = self._sdk, f"{self._name}.{name}"
        sdk.look(self.real_class, name, label)
        attribute = inspect.getattr_static(self.real_class, name)
        if not isinstance(attribute, property) or attribute.fset is None:
            raise AttributeError(f"TensorRT {sdk.real.__version__}: {label} cannot be set")
        sdk.calls.append([f"{label} =", plain(value)])
        sdk.assigned[label] = value


def plain(value: Any) -> str:
    """Write an argument down: an enum's member by its name, an object by its class."""
    if isinstance(value, TypedObject):
        return value.real_class.__name__
    if hasattr(type(value), "__members__"):
        return str(value.name)
    return repr(value) if isinstance(value, (int, float, str, tuple)) else type(value).__name__


def last_part(kind: str) -> str:
    """Return the class of "tensorrt_bindings.tensorrt.ITensor" or "nvonnxparser::IParserError"."""
    return kind.replace("::", ".").rpartition(".")[2]


def split(parameters: str) -> list[str]:
    """Split "a: list[int, str], b: int = 0" at the outer commas."""
    found, depth = [""], 0
    for letter in parameters:
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    return [parameter.strip() for parameter in found if parameter.strip()]
