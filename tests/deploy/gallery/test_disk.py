"""Galleries as files: who may open them, what a damaged or foreign file gets, and what is left of an erased person."""

from __future__ import annotations

import logging
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.gallery import GalleryError, Hit, open_gallery, retention
from deploy.gallery import sqlite_schema as schema
from engines.errors import BadInput
from tests.deploy.gallery.gallery_stores import DIM, MODEL, Store, files_with, tracklet, unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.gallery import Gallery

ROOT = Path(__file__).resolve().parents[3]
X, Y = unit(1), unit(0, 1)
LONG = 1024  # values: rows fill pages, so that damage hits something


@pytest.fixture(params=["sqlite", "edge"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = Store(request.param, tmp_path)
    yield made
    for gallery in made.opened:
        gallery.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A gallery of 40 people in a closed file."""
    gallery = open_gallery(str(tmp_path / "people.db"), MODEL, LONG)
    rng = np.random.default_rng(3)
    for identity in range(1, 41):
        rows = rng.standard_normal((5, LONG)).astype(np.float32)
        gallery.enrol(tracklet(identity, *(rows / np.linalg.norm(rows, axis=1, keepdims=True))))
    gallery.close()
    return tmp_path / "people.db"


def refused(path: Path, expected: str) -> None:
    before = path.read_bytes()
    with pytest.raises(BadInput, match=expected) as caught:
        open_gallery(str(path), MODEL, LONG)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before  # kept as it was


def test_a_second_writer_is_refused_and_the_first_goes_on(store: Store) -> None:
    first = store.open()
    with pytest.raises(BadInput, match=r"expected to be the only writer, got one that is in use by process \d+; stop"):
        store.open()
    first.enrol(tracklet(1))
    first.close()
    assert len(store.open()) == 1


def test_another_process_reads_what_is_being_written(tmp_path: Path) -> None:
    path = str(tmp_path / "people.db")
    gallery = open_gallery(path, MODEL, DIM)
    gallery.enrol(tracklet(7, X))
    code = (
        "from deploy.gallery import open_gallery\n"
        f"g = open_gallery({path!r}, None, None, read_only=True)\n"
        "print([p.identity for p in g.people()], g.tracklets(7)[0].mean_D[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "[7] 1.0\n", done.stderr
    gallery.enrol(tracklet(8, Y))
    assert len(gallery) == 2
    gallery.close()


def test_a_reader_cannot_write(file: Path) -> None:
    gallery = open_gallery(str(file), None, None, read_only=True)
    for change in (
        lambda: gallery.enrol(gallery.tracklets(1)[0]),
        lambda: gallery.rename(1, "Ada"),
        lambda: gallery.merge(1, 2),
        lambda: gallery.erase(1),
        gallery.new_identity,
    ):
        with pytest.raises(GalleryError, match="it was opened for reading only"):
            change()
    assert gallery.check() == []
    gallery.close()


def test_only_the_owner_can_read_the_files(store: Store, tmp_path: Path) -> None:
    gallery = store.open()
    gallery.enrol(tracklet(1))
    for path in tmp_path.rglob("*"):
        parents = [tmp_path / part for part in path.relative_to(tmp_path).parents][:-1]
        closed = [stat.S_IMODE(p.stat().st_mode) & 0o077 == 0 for p in [path, *parents]]
        assert any(closed), path


def test_a_file_that_is_no_gallery_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("to do: " * 99)
    refused(path, "expected an SQLite file, got something else or a damaged file; it was left as it is: move it away")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected a file, got a folder; name a file, or qdrant:.* for a folder of"):
        open_gallery(str(tmp_path), MODEL, DIM)


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE song (name TEXT)")
    db.commit()
    db.close()
    refused(path, "expected a file of this program, got an SQLite file of another one; name another file")


def test_a_file_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"expected a file that can be written, got (Not a directory|File exists)"):
        open_gallery(str(tmp_path / "file" / "people.db"), MODEL, DIM)


@pytest.mark.parametrize("where", ["", "http://host/people", "postgres://u:secret@host/db"])
def test_an_unknown_kind_of_gallery_is_refused_without_its_password(where: str) -> None:
    with pytest.raises(BadInput, match="expected memory, a file, qdrant:FOLDER or qdrant") as caught:
        open_gallery(where, MODEL, DIM)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("start", "end"), [(0.0, 0.001), (0.05, 0.1), (0.3, 0.35), (0.5, 0.5005), (0.9, 1.0)], ids=lambda share: f"{share}"
)
def test_a_damaged_file_is_told_and_kept(file: Path, start: float, end: float) -> None:
    content = bytearray(file.read_bytes())
    first, last = int(start * len(content)), int(end * len(content))
    content[first:last] = bytes(255 - byte for byte in content[first:last])
    file.write_bytes(bytes(content))
    refused(file, "damaged.*; it was left as it is: move it away and import the last export")


def test_a_truncated_file_is_told_and_kept(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])
    refused(file, "expected a whole file, got a damaged one .*; it was left as it is")


def test_a_file_of_an_older_version_is_brought_up_to_date(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = (*schema.STEPS, ("ALTER TABLE person ADD COLUMN note TEXT NOT NULL DEFAULT ''",))
    old = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", newer)
        patch.setattr("deploy.gallery.sqlite_record.STEPS", newer)
        gallery = open_gallery(str(file), MODEL, LONG)
        assert len(gallery) == 40
        gallery.close()
        db = sqlite3.connect(file)
        assert "note" in [row[1] for row in db.execute("PRAGMA table_info(person)")]
        db.close()
    refused(file, "expected at most version 1, got version 2 of a newer program; update this one")
    # A step that fails leaves the old version whole.
    file.write_bytes(old)
    broken = (*schema.STEPS, ("ALTER TABLE person ADD COLUMN note TEXT", "ALTER TABLE absent ADD COLUMN x"))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", broken)
        patch.setattr("deploy.gallery.sqlite_record.STEPS", broken)
        with pytest.raises(BadInput, match="no such table: absent"):
            open_gallery(str(file), MODEL, LONG)
    gallery = open_gallery(str(file), MODEL, LONG)
    assert len(gallery) == 40
    gallery.close()


def test_a_gallery_of_the_other_kind_is_refused(store: Store, tmp_path: Path) -> None:
    store.open().close()
    if store.name == "edge":
        with pytest.raises(BadInput, match="expected a numpy gallery, got edge; write qdrant:FOLDER for it"):
            open_gallery(str(tmp_path / "people" / "people.sqlite"), MODEL, DIM)
    else:
        (tmp_path / "q").mkdir()
        (tmp_path / "people.db").rename(tmp_path / "q" / "people.sqlite")
        with pytest.raises(BadInput, match="expected a edge gallery, got numpy; write its path without qdrant:"):
            open_gallery(f"qdrant:{tmp_path / 'q'}", MODEL, DIM)


def secret_people(gallery: Gallery) -> dict[str, bytes]:
    """Enrol two people and return the bytes by which the first, identity 1, could be found."""
    rng = np.random.default_rng(11)
    rows = rng.standard_normal((5, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    half_RD = rows.astype(np.float16)
    for index in range(3):
        gallery.enrol(tracklet(1, *rows, first_s=float(index)))
        gallery.enrol(tracklet(2, X, Y, first_s=float(index)))
    gallery.rename(1, "Grace Hopper-Murray")
    gallery.keep_face(1, "visible", b"worse jpeg" + rng.bytes(300), 0.1)
    gallery.keep_face(1, "visible", b"better jpeg" + rng.bytes(9000), 0.8)
    gallery.rename(2, "Ada")
    return {
        "halves": half_RD[2].tobytes(),
        "floats": half_RD[2].astype(np.float32).tobytes(),
        "exact floats": rows[2].tobytes(),
        "label": b"Grace Hopper",
        "worse face": b"worse jpeg",
        "better face": b"better jpeg",
    }


@pytest.mark.parametrize("flushed", [False, True], ids=["at once", "after a restart"])
@pytest.mark.parametrize("how", ["erase", "expire", "absorb and erase"])
def test_nothing_is_left_on_the_disk_of_an_erased_person(store: Store, tmp_path: Path, how: str, flushed: bool) -> None:
    gallery = store.open()
    secrets = secret_people(gallery)
    if flushed:
        gallery.tidy()
        gallery = store.reopen(gallery)
    before = files_with(tmp_path, secrets)
    assert {"halves", "label", "better face"} <= set(before)  # the search can find them
    if how == "erase":
        assert gallery.erase(1) == 3
    elif how == "expire":
        gallery.rename(1, "")
        assert gallery.expire(100.0) == 1
    else:
        gallery.enrol(tracklet(3, X))
        gallery.merge(3, 1)
        assert gallery.erase(3) == 4
    assert files_with(tmp_path, secrets) == {}
    assert gallery.search(X[None], "visible", 5) == [[Hit(2, 1.0)]]
    gallery = store.reopen(gallery)
    assert files_with(tmp_path, secrets) == {}
    left = 1 if how == "expire" else 3  # of the other's tracklets, which are as old, the newest
    assert [(p.identity, p.label, p.tracklets) for p in gallery.people()] == [(2, "Ada", left)]
    assert gallery.check() == []


@pytest.mark.parametrize("flushed", [False, True], ids=["at once", "after a restart"])
def test_nothing_is_left_on_the_disk_of_an_old_tracklet_of_somebody_who_stays(
    store: Store, tmp_path: Path, flushed: bool
) -> None:
    gallery = store.open()
    secrets = {name: secret for name, secret in secret_people(gallery).items() if "floats" in name or name == "halves"}
    gallery.enrol(tracklet(1, Y, first_s=50.0))
    if flushed:
        gallery.tidy()
        gallery = store.reopen(gallery)
    assert "halves" in files_with(tmp_path, secrets)
    assert gallery.expire(40.0) == 0
    assert files_with(tmp_path, secrets) == {}
    gallery = store.reopen(gallery)
    assert files_with(tmp_path, secrets) == {}
    assert [(p.identity, p.label, p.tracklets) for p in gallery.people()] == [
        (1, "Grace Hopper-Murray", 1),
        (2, "Ada", 1),
    ]
    assert gallery.check() == []


@pytest.mark.parametrize("restarted", [False, True])
def test_nothing_is_left_on_the_disk_of_what_was_too_much_of_a_person(
    store: Store, tmp_path: Path, restarted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_PER_PERSON", 3)
    gallery = store.open()
    secrets = {name: secret for name, secret in secret_people(gallery).items() if "floats" in name or name == "halves"}
    gallery.flush()
    for day in (50.0, 51.0, 52.0):
        gallery.enrol(tracklet(1, Y, first_s=day))
    gallery.flush()
    if store.name == "edge":
        assert files_with(tmp_path, secrets)  # Qdrant only hides them
        if restarted:
            gallery = store.reopen(gallery)
        assert gallery.expire(0.0) == 0  # nothing is so old, and yet
    elif restarted:
        gallery = store.reopen(gallery)
    assert files_with(tmp_path, secrets) == {}
    assert [t.first_s for t in gallery.tracklets(1)] == [50.0, 51.0, 52.0]
    assert gallery.check() == []


def test_a_bound_that_cannot_be_kept_now_is_kept_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_PER_PERSON", 2)
    gallery = store.open()
    record = gallery._record  # type: ignore[attr-defined]

    def fail(numbers: object) -> None:
        raise GalleryError("gallery people: cannot drop old tracklets (disk I/O error)")

    with monkeypatch.context() as patch:
        patch.setattr(record, "drop", fail)
        for day in (1.0, 2.0, 3.0, 4.0):
            gallery.enrol(tracklet(1, X, first_s=day))  # is kept, and says so
    assert len(gallery) == 4
    gallery.enrol(tracklet(1, X, first_s=5.0))
    assert [t.first_s for t in gallery.tracklets(1)] == [4.0, 5.0]
    assert gallery.check() == []


def test_erasing_says_so_without_naming_the_person(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    gallery = store.open()
    secret_people(gallery)
    with caplog.at_level(logging.INFO):
        gallery.erase(1)
        gallery.rename(2, "")
        gallery.expire(100.0)
    assert "identity 1 erased, 3 tracklets" in caplog.text
    assert "1 people expired, 3 tracklets" in caplog.text
    assert "Grace" not in caplog.text


def test_a_reader_delays_scrubbing_but_not_for_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "people.db"
    gallery = open_gallery(str(path), MODEL, DIM)
    secrets = secret_people(gallery)
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM tracklet").fetchone()
    assert gallery.erase(1) == 3
    assert gallery.tracklets(1) == []
    assert "erased bytes are on the disk until it can be tidied (another process is reading" in caplog.text
    reader.close()
    gallery.flush()
    assert files_with(tmp_path, secrets) == {}
    gallery.close()


def test_another_programs_transaction_is_told_and_survived(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    gallery = open_gallery(str(path), MODEL, DIM)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(GalleryError, match=r"cannot keep a tracklet \(database is locked\)"):
        gallery.enrol(tracklet(1, X))
    assert gallery.search(X[None], "visible", 1) == [[]]
    other.execute("ROLLBACK")
    other.close()
    gallery.enrol(tracklet(1, X))
    assert gallery.search(X[None], "visible", 1) == [[Hit(1, 1.0)]]
    gallery.close()


def test_faces_of_a_track_that_never_ended_go_at_the_next_opening(store: Store, tmp_path: Path) -> None:
    gallery = store.open()
    gallery.keep_face(5, "visible", b"never ended", 0.5)
    gallery.keep_face(6, "visible", b"named", 0.5)
    gallery.rename(6, "Ada")
    assert gallery.face(5, "visible") == b"never ended"
    gallery = store.reopen(gallery)
    assert gallery.face(5, "visible") is None
    assert files_with(tmp_path, {"face": b"never ended"}) == {}
    assert gallery.face(6, "visible") == b"named"


def test_after_a_write_that_failed_everything_is_as_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = store.open()
    gallery.enrol(tracklet(1, X))
    gallery.keep_face(1, "visible", b"face", 0.5)
    db = gallery._record._db  # type: ignore[attr-defined]
    db.execute("PRAGMA query_only = ON")  # every write fails, as on a disk that turned read-only
    for change in (
        lambda: gallery.enrol(tracklet(1, Y)),
        lambda: gallery.enrol(tracklet(2, Y)),
        lambda: gallery.rename(1, "Ada"),
        lambda: gallery.keep_face(1, "visible", b"other", 0.9),
        lambda: gallery.merge(3, 1),
        lambda: gallery.erase(1),
        lambda: gallery.expire(99.0),
    ):
        with pytest.raises(GalleryError, match=r"cannot .* \(attempt to write a readonly database\)") as caught:
            change()
        assert "\n" not in str(caught.value)
    state = gallery.search(np.stack([X, Y]), "visible", 5), gallery.people(), len(gallery), gallery.face(1, "visible")
    assert [hit.identity for hit in state[0][1]] == [1]
    assert [(p.identity, p.label, p.tracklets) for p in state[1]] == [(1, "", 1)]
    assert state[2:] == (1, b"face")
    db.execute("PRAGMA query_only = OFF")
    gallery.enrol(tracklet(2, Y))  # the same again
    gallery = store.reopen(gallery)
    assert gallery.search(Y[None], "visible", 1) == [[Hit(2, 1.0)]]
    assert gallery.check() == []
