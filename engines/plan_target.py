"""What a TensorRT plan was built for, as one line in the manifest, and which device may run it.

Such a line is "tensorrt 10.3.0 SM87 batch=1/8/32" or "tensorrt 10.13.3 SM86 batch=1/8/32 hardware=ampere-plus"; words
behind the compute capabilities are left out where they say nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from engines.errors import BadInput

Flavour = Literal["tensorrt", "tensorrt-rtx"]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)
# same: this model of GPU. same-sm: every GPU of the compute capability (10.13). ampere-plus: Ampere and newer (8.6).
Hardware = Literal["same", "same-sm", "ampere-plus"]
HARDWARE: tuple[Hardware, ...] = get_args(Hardware)
AMPERE = 80


@dataclass(frozen=True, kw_only=True)
class BatchProfile:
    """Batch sizes that a plan takes, and the one that it is tuned for."""

    smallest: int = 1
    usual: int = 8
    largest: int = 32  # engines.loaded.MAX_BATCH

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.usual <= self.largest:
            raise BadInput(f"--batch: expected sizes 1 <= MIN <= USUAL <= MAX, got {self}")

    def __str__(self) -> str:
        return f"{self.smallest}/{self.usual}/{self.largest}"


@dataclass(frozen=True, kw_only=True)
class PlanTarget:
    """The device, the library and the batch sizes of one plan."""

    flavour: Flavour
    version: str  # of the library that built it
    capabilities: tuple[str, ...]  # such as SM87; plans of TensorRT-RTX may have several
    batch: BatchProfile
    hardware: Hardware = "same"
    version_compatible: bool = False  # a newer library may run it
    dla: int | None = None  # number of the deep-learning accelerator that it runs on
    gpu: str = ""  # name of the GPU, where hardware is "same" and one was there; "_" stands for a space

    def __post_init__(self) -> None:
        if not self.capabilities or not all(re.fullmatch(r"SM\d+", name) for name in self.capabilities):
            raise BadInput(f"expected compute capabilities such as SM87, got {' '.join(self.capabilities) or 'none'}")

    def __str__(self) -> str:
        words = [self.flavour, self.version, *self.capabilities, f"batch={self.batch}"]
        if self.hardware != "same":
            words.append(f"hardware={self.hardware}")
        if self.version_compatible:
            words.append("version-compatible")
        if self.dla is not None:
            words.append(f"dla={self.dla}")
        if self.gpu:
            words.append(f"gpu={self.gpu.replace(' ', '_')}")
        return " ".join(words)

    def refusal(self, *, flavour: Flavour, version: str, capability: str, gpu: str = "") -> str | None:
        """Say why a device with this library and compute capability cannot run the plan; None where it can."""
        if flavour != self.flavour:
            return f"it is for {self.flavour}"
        if version != self.version and not (self.version_compatible and _newer(version, self.version)):
            return f"it was built with {self.flavour} {self.version}, here is {version}"
        if self.hardware == "ampere-plus":
            return None if int(capability[2:]) >= AMPERE else f"it is for SM{AMPERE} and newer, here is {capability}"
        if capability not in self.capabilities:
            return f"it was built for {' '.join(self.capabilities)}, here is {capability}"
        if self.hardware == "same" and self.gpu and gpu and gpu.replace(" ", "_") != self.gpu.replace(" ", "_"):
            return f"it was built on {self.gpu}, here is {gpu}"
        return None


def parse_target(text: str) -> PlanTarget:
    """Read the line back; what is not one is refused."""
    words = text.split()
    if len(words) < 3 or words[0] not in FLAVOURS:
        raise BadInput(f"manifest: expected a plan's target such as 'tensorrt 10.3.0 SM87 batch=1/8/32', got {text!r}")
    capabilities = tuple(word for word in words[2:] if re.fullmatch(r"SM\d+", word))
    rest = [word for word in words[2:] if word not in capabilities]
    named = dict(word.split("=", 1) for word in rest if "=" in word)
    unknown = ({word for word in rest if "=" not in word} - {"version-compatible"}) | (
        set(named) - {"batch", "hardware", "dla", "gpu"}
    )
    sizes = re.fullmatch(r"(\d{1,6})/(\d{1,6})/(\d{1,6})", named.get("batch", ""))
    hardware, dla = named.get("hardware", "same"), named.get("dla")
    if unknown or sizes is None or hardware not in HARDWARE or not (dla is None or re.fullmatch(r"[0-9]{1,3}", dla)):
        raise BadInput(f"manifest: expected a plan's target such as 'tensorrt 10.3.0 SM87 batch=1/8/32', got {text!r}")
    smallest, usual, largest = (int(size) for size in sizes.groups())
    return PlanTarget(
        flavour=words[0],
        version=words[1],
        capabilities=capabilities,
        batch=BatchProfile(smallest=smallest, usual=usual, largest=largest),
        hardware=hardware,
        version_compatible="version-compatible" in rest,
        dla=None if dla is None else int(dla),
        gpu=named.get("gpu", "").replace("_", " "),
    )


def _newer(version: str, than: str) -> bool:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d{1,9}", text)]

    return numbers(version) >= numbers(than)
