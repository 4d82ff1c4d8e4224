"""Dockerfiles and .dockerignore read as Docker reads them, as far as ours go; what they do not use is refused.

Sources: the Dockerfile reference (format, shell and exec form, COPY) and its chapter on .dockerignore.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = frozenset(
    "ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK RUN STOPSIGNAL USER VOLUME WORKDIR".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Instruction:
    """`flags` are its --name=value words, `text` is what follows them."""

    name: str
    flags: tuple[str, ...]
    text: str

    @property
    def words(self) -> list[str]:
        """The words of the exec form, or of a list of paths."""
        return json.loads(self.text) if self.text.startswith("[") else self.text.split()


def read_dockerfile(path: Path) -> list[Instruction]:
    found: list[Instruction] = []
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, *words = line.split(" ")
        assert name in KNOWN, f"{path.name}: {line}"
        flags = [word for word in words if word.startswith("--")] if name in ("COPY", "FROM", "HEALTHCHECK") else []
        found.append(Instruction(name, tuple(flags), " ".join(words[len(flags) :]).strip()))
    return found


def stages(instructions: list[Instruction]) -> list[list[Instruction]]:
    """Return the instructions of every stage, each beginning with its FROM; what stands before them is left out."""
    found: list[list[Instruction]] = []
    for instruction in instructions:
        if instruction.name == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def in_context(path: str, ignore: str) -> bool:
    """Return whether a file is sent to the builder: the last line that fits it or a folder above it decides."""
    sent = True
    for line in ignore.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        wanted = pattern.startswith("!")
        parts = path.split("/")
        if any(_fits("/".join(parts[:end]), pattern.lstrip("!").strip("/")) for end in range(1, len(parts) + 1)):
            sent = wanted
    return sent


def _fits(path: str, pattern: str) -> bool:
    translated = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(translated, path) is not None
