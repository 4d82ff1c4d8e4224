"""The methods that can be trained: one file each, listed once here.

A method file holds a `Method` (train.method.Method) and its recipe; `load` imports only the one asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from engines.errors import BadInput
from engines.spelling import did_you_mean

if TYPE_CHECKING:
    from train.method import Method

METHODS = {
    "aligngan": "train.methods.aligngan",
    "baseline": "train.methods.baseline",
    "imfe": "train.methods.imfe",
    "mcja": "train.methods.mcja",
    "mpanet": "train.methods.mpanet",
}


def load(name: str) -> type[Method]:
    """Return the `Method` class called name; an unknown name lists the known ones."""
    if name not in METHODS:
        hint = did_you_mean(name, METHODS)
        raise BadInput(f"expected a method out of {', '.join(METHODS)}, got {name!r}{hint}")
    return importlib.import_module(METHODS[name]).Method
