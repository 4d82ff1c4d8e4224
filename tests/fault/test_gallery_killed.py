"""A process that is killed, or whose disk is full, while it writes to a gallery: nothing acknowledged is lost."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.gallery import open_gallery

if TYPE_CHECKING:
    from deploy.gallery import Gallery

ROOT = Path(__file__).resolve().parents[2]
DIM, ROUNDS, MOST = 64, 6, 3
STORES = ["people.db", "qdrant:people"]
# Tells each thing when it is done. Vectors follow from the identity, so that the reader knows them.
WRITER = """
import json, sys
import numpy as np
from deploy.gallery import Tracklet, open_gallery, retention
from tests.fault.test_gallery_killed import DIM, MOST, row_of

retention.MOST_PER_PERSON = MOST

def tell(*what):
    sys.stdout.write(json.dumps(what) + "\\n")
    sys.stdout.flush()

gallery = open_gallery(sys.argv[1], "m", DIM)
tell("open", len(gallery))
step = 0
while True:
    step += 1
    identity = gallery.new_identity()
    tell("number", identity)
    rows = np.stack([row_of(identity, row) for row in range(3)])
    gallery.enrol(Tracklet(identity=identity, camera="door", track=step, modality="visible", first_s=float(identity),
                           last_s=identity + 1.0, mean_D=rows[0], prototype_PD=rows[1:]))
    tell("enrolled", identity)
    if step % 2 == 0:  # somebody who comes all the time: the oldest visit goes for each new one
        gallery.enrol(Tracklet(identity=1, camera="door", track=step, modality="infrared", first_s=float(identity),
                               last_s=identity + 1.0, mean_D=rows[0], prototype_PD=rows[1:]))
        tell("visited", identity)
    if step % 5 == 0:
        gallery.keep_face(identity, "visible", b"face of %d" % identity, 0.5)
        gallery.rename(identity, f"name of {identity}")
        tell("named", identity)
    if step % 7 == 0:
        gallery.flush()
    if step % 11 == 0:
        tell("erasing", identity - 1)
        gallery.erase(identity - 1)
        tell("erased", identity - 1)
"""
FULL = """
import resource, sys
import numpy as np
from deploy.gallery import GalleryError, Tracklet, open_gallery
from tests.fault.test_gallery_killed import DIM, row_of

def enrol(identity):
    rows = np.stack([row_of(identity, row) for row in range(16)])
    gallery.enrol(Tracklet(identity=identity, camera="door", track=1, modality="visible", first_s=0.0, last_s=1.0,
                           mean_D=rows[0], prototype_PD=rows[1:]))

gallery = open_gallery(sys.argv[1], "m", DIM)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # no file may grow beyond this
kept = 0
try:
    while kept < 3000:
        enrol(kept + 1)
        kept += 1
except GalleryError as error:
    assert "\\n" not in str(error)
    print(error)
assert 0 < kept < 3000, kept
assert len(gallery) == kept
assert gallery.search(row_of(kept, 0)[None], "visible", 1)[0][0].identity == kept
assert gallery.search(row_of(kept + 1, 0)[None], "visible", 1)[0][0].similarity < 0.9
try:
    enrol(kept + 1)
    raise SystemExit("the disk is still full")
except GalleryError:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
enrol(kept + 1)  # the same again
gallery.close()
gallery = open_gallery(sys.argv[1], None, None)
assert [p.identity for p in gallery.people()] == list(range(1, kept + 2))
assert gallery.check() == []
gallery.close()
print("whole")
"""


def row_of(identity: int, row: int) -> np.ndarray:
    vector_D = np.random.default_rng([identity, row]).standard_normal(DIM).astype(np.float32)
    return vector_D / np.linalg.norm(vector_D)


def place(store: str, folder: Path) -> str:
    kind, _, name = store.rpartition(":")
    if kind:
        pytest.importorskip("qdrant_edge", reason="needs qdrant-edge-py")
    return f"{kind}:{folder / name}" if kind else str(folder / name)


def write_until_killed(where: str, rng: random.Random) -> list[tuple[str, int]]:
    """Return what the writer told before it was killed, in the middle of something."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, where], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())[0] == "open"
        lines = [process.stdout.readline() for _ in range(rng.randrange(1, 60))]
        time.sleep(rng.random() * 0.01)  # anywhere between two lines
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines()
    return [tuple(json.loads(line)) for line in lines if line.endswith("]") or line.endswith("]\n")]


def kept_by(gallery: Gallery) -> dict[int, str]:
    return {person.identity: person.label for person in gallery.people()}


@pytest.mark.parametrize("store", STORES)
def test_killed_again_and_again_nothing_acknowledged_is_lost(tmp_path: Path, store: str) -> None:
    where, rng = place(store, tmp_path), random.Random(7)
    numbers: list[int] = []
    enrolled: set[int] = set()
    named: set[int] = set()
    erased: set[int] = set()
    unsure: set[int] = set()
    visits: list[int] = []
    for _ in range(ROUNDS):
        told = write_until_killed(where, rng)
        numbers += [identity for what, identity in told if what == "number"]
        enrolled |= {identity for what, identity in told if what == "enrolled"}
        named |= {identity for what, identity in told if what == "named"}
        erased |= {identity for what, identity in told if what == "erased"}
        unsure |= {identity for what, identity in told if what == "erasing"}
        visits += [identity for what, identity in told if what == "visited"]
        gallery = open_gallery(where, "m", DIM)
        kept = kept_by(gallery)
        stored = [int(t.first_s) for t in gallery.tracklets(1) if t.modality == "infrared"]
        assert set(visits[1 - MOST :]) <= set(stored)  # one that nobody was told of may stand in for the third
        assert len(stored) <= MOST + 1  # killed before the oldest went
        assert enrolled - unsure <= set(kept)
        assert not erased & set(kept)
        assert set(kept) <= set(numbers)
        for identity in sorted(named - unsure):
            assert kept[identity] == f"name of {identity}"
            assert gallery.face(identity, "visible") == b"face of %d" % identity
        probes = sorted(enrolled - unsure)[-20:]
        found = gallery.search(np.stack([row_of(identity, 2) for identity in probes]), "visible", 1)
        assert [hits[0].identity for hits in found] == probes
        assert all(hits[0].similarity > 0.999 for hits in found)
        assert gallery.check() == []
        assert gallery.last_identity >= max(numbers)
        gallery.close()
    assert len(numbers) > 20
    assert len(visits) > 2 * MOST
    assert len(set(numbers)) == len(numbers)  # none was given twice


def test_a_full_disk_stops_writing_and_nothing_else(tmp_path: Path) -> None:
    """Of Qdrant Edge, whose first file is larger than any limit here, see test_gallery_edge."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, place("people.db", tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    message, whole = done.stdout.splitlines()
    assert "cannot keep a tracklet" in message
    assert whole == "whole"


def test_the_lock_ends_with_the_process(tmp_path: Path) -> None:
    where = place("people.db", tmp_path)
    write_until_killed(where, random.Random(1))
    gallery = open_gallery(where, "m", DIM)  # at once
    gallery.close()
