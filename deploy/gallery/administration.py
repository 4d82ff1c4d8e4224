"""What manage_gallery.py does: list, enrol, and the rules of a question before something is lost.

Shapes: N pictures, D embedding.
"""

from __future__ import annotations

import datetime
import re
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from calib.prototypes import choose_prototypes, unit_mean
from deploy.gallery.archive import export_gallery, import_gallery, read_archive
from deploy.gallery.opening import open_gallery
from deploy.gallery.protocol import ENROLLED, GalleryError, Tracklet
from engines.errors import BadInput
from engines.preprocess import batch_crops

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from deploy.gallery.protocol import Gallery
    from engines.backend import Backend
    from engines.manifest import Modality

    Pixels = NDArray[np.uint8]

UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
BATCH = 16
FACE_QUALITY = 1.0  # an operator's picture of somebody: none of a camera is better


def manage(args: argparse.Namespace, now_s: float | None = None) -> int:
    """Run a command of manage_gallery.py at a time (None: now) and return its exit code."""
    now_s = time.time() if now_s is None else now_s
    try:
        return _COMMANDS[args.command](args, now_s)
    except GalleryError as error:
        raise BadInput(str(error)) from error


def parse_age(text: str) -> float:
    """Return the seconds of an age such as 7d, 12h or 30m."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if match is None:
        raise BadInput(f"expected an age such as 7d, 12h or 30m, got {text!r}")
    return float(match[1]) * UNIT_S[match[2]]


def listing(gallery: Gallery) -> str:
    """Return everybody as a table."""
    lines = [f"{'identity':>8}  {'label':20} {'tracklets':>9}  {'first seen (UTC)':16}  {'last seen (UTC)':16}  where"]
    for person in gallery.people():
        where = f"{', '.join(person.cameras)} ({', '.join(person.modalities)})"
        times = f"{_utc(person.first_s):16}  {_utc(person.last_s):16}"
        lines.append(f"{person.identity:8}  {person.label:20} {person.tracklets:9}  {times}  {where}")
    lines.append(f"{gallery.count_people()} people, {len(gallery)} tracklets, model {gallery.model}")
    return "\n".join(lines) + "\n"


def read_pictures(paths: Sequence[Path]) -> list[Pixels]:
    """Read pictures that show one person each, cut out."""
    pictures: list[Pixels] = []
    for path in paths:
        try:
            with Image.open(path) as image:
                pictures.append(np.asarray(image.convert("RGB"), np.uint8))
        except (OSError, ValueError) as error:
            raise BadInput(f"{path}: expected a picture of a person, got none that can be read ({error})") from error
    return pictures


def enrol_pictures(
    gallery: Gallery, backend: Backend, pictures: Sequence[Pixels], modality: Modality, time_s: float, identity: int
) -> None:
    """Add pictures of one person as a tracklet, and the first of them as face."""
    size = backend.manifest.height_px, backend.manifest.width_px
    batches = [batch_crops(pictures[i : i + BATCH], *size) for i in range(0, len(pictures), BATCH)]
    embedding_ND = np.concatenate([backend.embed(batch_BHWC, modality) for batch_BHWC in batches])
    tracklet = Tracklet(
        identity=identity,
        camera=ENROLLED,
        track=0,
        modality=modality,
        first_s=time_s,
        last_s=time_s,
        mean_D=unit_mean(embedding_ND),
        prototype_PD=choose_prototypes(embedding_ND),
    )
    gallery.enrol(tracklet)
    done, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(pictures[0][..., ::-1]))
    if done:
        gallery.keep_face(identity, modality, jpeg.tobytes(), FACE_QUALITY)


def confirm(question: str, *, yes: bool) -> bool:
    """Ask a person before something is lost; without a terminal, --yes must say it."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise BadInput(f"{question} Expected a terminal to ask on, or --yes; nothing was changed")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _utc(time_s: float) -> str:
    moment = datetime.datetime.fromtimestamp(time_s, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%d %H:%M")


def _list(args: argparse.Namespace, now_s: float) -> int:
    with closing(open_gallery(args.gallery, None, None, read_only=True)) as gallery:
        sys.stdout.write(listing(gallery))
    return 0


def _enrol(args: argparse.Namespace, now_s: float) -> int:
    from engines.model_id import model_id
    from engines.open import open_engine

    pictures = read_pictures(args.images)
    with open_engine(args.engine) as backend:
        manifest = backend.manifest
        with closing(open_gallery(args.gallery, model_id(manifest), manifest.embedding_dim)) as gallery:
            identity = _whom(gallery, args.name, args.identity)
            enrol_pictures(gallery, backend, pictures, args.modality, now_s, identity)
            if args.name is not None:
                gallery.rename(identity, args.name)
    sys.stdout.write(f"identity {identity}\n")
    return 0


def _whom(gallery: Gallery, name: str | None, identity: int | None) -> int:
    people = {person.identity: person.label for person in gallery.people()}
    if identity is not None:
        if identity not in people:
            raise BadInput(f"--identity: expected somebody in the gallery, got {identity}; list shows who is there")
        return identity
    namesakes = [number for number, label in people.items() if label == name]
    if not name or namesakes:
        raise BadInput(
            f"--name: expected a name that is new here, got {name!r} of identity {namesakes[0]}; add pictures with "
            f"--identity {namesakes[0]}, or choose another name"
            if namesakes
            else "--name: expected a name, got an empty one"
        )
    return gallery.new_identity()


def _erase(args: argparse.Namespace, now_s: float) -> int:
    with closing(open_gallery(args.gallery, None, None)) as gallery:
        person = next((person for person in gallery.people() if person.identity == args.identity), None)
        if person is None:
            raise BadInput(f"expected somebody in the gallery, got {args.identity}; list shows who is there")
        name = f" ({person.label})" if person.label else ""
        if not confirm(f"Erase identity {args.identity}{name} and {person.tracklets} tracklets?", yes=args.yes):
            return 1
        sys.stdout.write(f"{gallery.erase(args.identity)} tracklets erased\n")
    return 0


def _expire(args: argparse.Namespace, now_s: float) -> int:
    before_s = now_s - parse_age(args.older_than)
    with closing(open_gallery(args.gallery, None, None)) as gallery:
        people = gallery.people()
        old = sum(person.last_s < before_s and not person.enrolled for person in people)
        question = f"Erase {old} people last seen before {_utc(before_s)} UTC, and what is older of the others?"
        if any(person.first_s < before_s for person in people) and not confirm(question, yes=args.yes):
            return 1
        sys.stdout.write(f"{gallery.expire(before_s)} people erased\n")
    return 0


def _export(args: argparse.Namespace, now_s: float) -> int:
    with closing(open_gallery(args.gallery, None, None, read_only=True)) as gallery:
        sys.stdout.write(f"{export_gallery(gallery, args.file)} people in {args.file}\n")
    return 0


def _import(args: argparse.Namespace, now_s: float) -> int:
    archive = read_archive(args.file)
    with closing(open_gallery(args.gallery, archive.model, archive.dim)) as gallery:
        numbers = import_gallery(gallery, args.file)
    renumbered = {before: after for before, after in numbers.items() if before != after}
    told = ", ".join(f"{before} is {after}" for before, after in renumbered.items())
    sys.stdout.write(f"{len(numbers)} people from {args.file}{f'; new numbers: {told}' if told else ''}\n")
    return 0


def _check(args: argparse.Namespace, now_s: float) -> int:
    with closing(open_gallery(args.gallery, None, None, read_only=True)) as gallery:
        found = gallery.check()
        sys.stdout.write("".join(f"{line}\n" for line in found) or f"{len(gallery)} tracklets, all whole\n")
    return 1 if found else 0


_COMMANDS = {
    "list": _list,
    "enrol": _enrol,
    "erase": _erase,
    "expire": _expire,
    "export": _export,
    "import": _import,
    "check": _check,
}
