"""The text files that say who belongs to which split: lists of identities, and lists of images."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

SHOWN = 3  # how many missing files an error names


class ListedImage(NamedTuple):
    """One line of an image list."""

    folder: str  # below the data set's folder
    name: str
    identity: int


def read_identities(path: Path) -> tuple[int, ...]:
    """Read an identity list: one line, integers separated by commas."""
    text = _read(path).strip()
    if not re.fullmatch(r"[0-9]{1,9}( *, *[0-9]{1,9})*", text):
        got = repr(text[:40]) if text else "an empty file"
        raise BadInput(f"{path}: expected one line of integers separated by commas, got {got}")
    identities = tuple(int(part) for part in text.split(","))
    if min(identities) < 1:
        raise BadInput(f"{path}: expected identities from 1 on, got {min(identities)}")
    if len(set(identities)) < len(identities):
        twice = [identity for position, identity in enumerate(identities) if identity in identities[:position]]
        raise BadInput(f"{path}: expected each identity once, got {twice[0]} again ({len(twice)} repeated)")
    return identities


def read_image_list(path: Path, top: str) -> list[ListedImage]:
    """Read an image list: `top/identity/file label` on each line.

    The folder is the identity. The label, which the authors number anew in each list, must go with it one to one.
    """
    pattern = re.compile(rf"({re.escape(top)}/([0-9]{{1,9}}))/([^/\s]+) ([0-9]{{1,9}})")
    images: dict[ListedImage, None] = {}
    label_of: dict[int, int] = {}
    identity_of: dict[int, int] = {}
    for number, line in enumerate(_read(path).rstrip().splitlines(), 1):
        match = pattern.fullmatch(line.rstrip())
        if match is None:
            raise BadInput(f"{path}, line {number}: expected '{top}/<identity>/<file> <label>', got {line[:60]!r}")
        image = ListedImage(match[1], match[3], int(match[2]))
        label = int(match[4])
        if (
            label_of.setdefault(image.identity, label) != label
            or identity_of.setdefault(label, image.identity) != image.identity
        ):
            raise BadInput(
                f"{path}, line {number}: expected one label for each identity and one identity for each label, got "
                f"label {label} for identity {image.identity}, which earlier lines contradict"
            )
        if image in images:
            raise BadInput(f"{path}, line {number}: expected each image once, got {line[:60]!r} again")
        images[image] = None
    if not images:
        raise BadInput(f"{path}: expected lines of '{top}/<identity>/<file> <label>', got an empty file")
    return list(images)


def check_disjoint(identities: Mapping[str, Collection[int]]) -> None:
    """Refuse two files, or groups of files, that name the same identity."""
    for left, right in combinations(identities, 2):
        both = set(identities[left]) & set(identities[right])
        if both:
            raise BadInput(
                f"{left} and {right}: expected different identities, identity {min(both)} stands in both "
                f"({len(both)} in all); restore these files"
            )


def refuse_missing(folder: Path, listed_in: str, wanted: int, missing: Sequence[str]) -> None:
    """Name the first missing files, and count them."""
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise BadInput(
            f"{folder}: {listed_in} lists {wanted} images, {len(missing)} of them missing: "
            f"{', '.join(missing[:SHOWN])}{more}; unpack the data set again"
        )


def held_out_fifth(identities: Collection[int], seed: int) -> tuple[int, ...]:
    """Draw a fifth of the identities, at least one of two, as the validation split of a data set that has none."""
    ascending = sorted(identities)
    count = max(len(ascending) // 5, min(1, len(ascending) - 1))
    order = np.random.default_rng(seed).permutation(len(ascending))
    return tuple(sorted(ascending[position] for position in order[:count]))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: expected a text file, got {error}") from error
