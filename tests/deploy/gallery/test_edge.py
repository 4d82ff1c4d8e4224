"""Qdrant Edge beside its SQLite file: whatever is interrupted between the two is put right when it is opened."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deploy.gallery import GalleryError, Hit, edge, retention
from deploy.gallery.opening import open_edge
from engines.errors import BadInput
from tests.deploy.gallery.gallery_stores import DIM, MODEL, files_with, tracklet, unit

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.gallery.stored import StoredGallery

pytest.importorskip("qdrant_edge", reason="needs qdrant-edge-py")

X, Y = unit(1), unit(0, 1)
SECRET = unit(*np.linspace(0.1, 0.9, DIM))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "people"


def opened(folder: Path) -> StoredGallery:
    return open_edge(folder, MODEL, DIM)


def killed(gallery: StoredGallery) -> None:
    """Let go of the files as the end of a process does."""
    inside: Any = gallery
    inside._rows._shard.close()
    if inside._rows._next is not None:
        inside._rows._next[1].close()
    inside._record.abort()


def places(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("rows-*"))


def test_a_tracklet_that_only_the_record_has_is_given_to_qdrant(folder: Path) -> None:
    gallery = opened(folder)
    gallery.enrol(tracklet(1, X))
    inside: Any = gallery
    entry = inside._ledger.entry(tracklet(2, Y), 1)
    inside._record.add(entry, Y[None])  # killed before Qdrant had it
    killed(gallery)
    gallery = opened(folder)
    assert gallery.search(Y[None], "visible", 1) == [[Hit(2, 1.0)]]
    assert gallery.check() == []
    gallery.close()


def test_rows_that_only_qdrant_has_are_erased(folder: Path) -> None:
    gallery = opened(folder)
    gallery.enrol(tracklet(1, X))
    inside: Any = gallery
    inside._rows.add(inside._ledger.entry(tracklet(2, SECRET), 1), SECRET[None])
    inside._rows.flush()
    killed(gallery)
    assert files_with(folder, {"secret": SECRET.astype(np.float16).tobytes()})
    gallery = opened(folder)
    assert gallery.search(SECRET[None], "visible", 9)[0][0].identity == 1
    assert gallery.check() == []
    gallery.close()
    assert files_with(folder, {"secret": SECRET.astype(np.float16).tobytes()}) == {}


def test_an_erasure_that_was_not_committed_has_not_happened(folder: Path) -> None:
    gallery = opened(folder)
    gallery.enrol(tracklet(1, SECRET))
    gallery.enrol(tracklet(2, X))
    inside: Any = gallery
    assert inside._rows.without([1]) == "rows-2"
    killed(gallery)
    assert places(folder) == ["rows-1", "rows-2"]
    gallery = opened(folder)
    assert places(folder) == ["rows-1"]
    assert [person.identity for person in gallery.people()] == [1, 2]
    assert gallery.check() == []
    gallery.close()


def test_an_erasure_that_was_committed_is_completed(folder: Path) -> None:
    gallery = opened(folder)
    gallery.enrol(tracklet(1, SECRET))
    gallery.enrol(tracklet(2, X))
    gallery.flush()
    inside: Any = gallery
    inside._record.erase([1], inside._rows.without([1]))
    killed(gallery)
    assert places(folder) == ["rows-1", "rows-2"]
    gallery = opened(folder)
    assert places(folder) == ["rows-2"]
    assert files_with(folder, {"secret": SECRET.astype(np.float16).tobytes()}) == {}
    assert gallery.search(X[None], "visible", 9) == [[Hit(2, 1.0)]]
    assert gallery.check() == []
    gallery.close()


def test_a_tracklet_too_many_that_qdrant_still_has_is_found_by_nobody_and_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, or Qdrant failing, between the commit that drops it and the deletion of its rows."""
    secret = {"secret": SECRET.astype(np.float16).tobytes()}
    monkeypatch.setattr(retention, "MOST_PER_PERSON", 1)
    for by_expiry in (True, False):
        gallery = opened(folder)
        gallery.enrol(tracklet(1, SECRET, first_s=10.0))
        gallery.flush()
        with monkeypatch.context() as patch:

            def broken(shard: object, ids: object) -> None:
                raise Exception("Service runtime error")

            patch.setattr(edge, "delete", broken)
            gallery.enrol(tracklet(1, X, first_s=20.0))
        assert len(gallery) == 1
        assert gallery.search(X[None], "visible", 9) == [[Hit(1, 1.0)]]
        assert gallery.search(SECRET[None], "visible", 9)[0][0].similarity < 0.5
        gallery.flush()
        assert files_with(folder, secret)
        if by_expiry:
            gallery.expire(0.0)
            assert files_with(folder, secret) == {}
            assert gallery.check() == []
            gallery.close()
        else:
            killed(gallery)
            gallery = opened(folder)
            assert gallery.check() == []
            assert len(gallery) == 1
            gallery.close()
            assert files_with(folder, secret) == {}


def test_a_gallery_that_was_being_made_is_made(folder: Path) -> None:
    opened(folder).close()
    inside: Any = opened(folder)
    inside._record._db.execute("DELETE FROM fact WHERE name = 'place'")
    killed(inside)
    gallery = opened(folder)
    gallery.enrol(tracklet(1, X))
    assert gallery.check() == []
    gallery.close()


def test_after_qdrant_failed_everything_is_as_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = opened(folder)
    gallery.enrol(tracklet(1, X))
    gallery.enrol(tracklet(3, X))
    with monkeypatch.context() as patch:

        def full(shard: object, points: object) -> None:
            raise Exception("Service runtime error: No space left on device")

        patch.setattr(edge, "upsert", full)
        with pytest.raises(GalleryError, match=r"cannot keep a tracklet \(Service runtime error: No space left"):
            gallery.enrol(tracklet(2, Y))
        with pytest.raises(GalleryError, match="cannot write the others anew"):
            gallery.erase(1)
    assert gallery.search(Y[None], "visible", 9) == [[Hit(1, 0.0), Hit(3, 0.0)]]
    gallery.enrol(tracklet(2, Y))  # the same again
    assert gallery.erase(1) == 1
    gallery.close()
    gallery = opened(folder)
    assert [(person.identity, person.tracklets) for person in gallery.people()] == [(2, 1), (3, 1)]
    assert gallery.check() == []
    gallery.close()


def test_a_disk_that_is_nearly_full_is_told_before_qdrant_touches_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full tmpfs its writes into mapped files ended the process with SIGBUS."""
    gallery = opened(folder)
    gallery.enrol(tracklet(1, X))
    gallery.enrol(tracklet(2, Y))
    usage = shutil.disk_usage(folder)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50_000_000))
        for change in (lambda: gallery.enrol(tracklet(3)), gallery.flush, lambda: gallery.erase(1)):
            with pytest.raises(GalleryError, match=r"\(expected \d+ MB of free disk, got 50 MB\)"):
                change()
    assert gallery.search(X[None], "visible", 1) == [[Hit(1, 1.0)]]
    assert gallery.count_people() == 2
    assert gallery.erase(1) == 1
    gallery.close()


def test_rows_that_are_gone_are_refused_and_nothing_is_removed(folder: Path) -> None:
    gallery = opened(folder)
    gallery.enrol(tracklet(1, X))
    gallery.close()
    shutil.move(folder / "rows-1", folder / "elsewhere")
    (folder / "rows-7").mkdir()  # of a newer people.sqlite, perhaps
    people = (folder / "people.sqlite").read_bytes()
    with pytest.raises(
        BadInput, match=r"cannot open its rows .*; it was left as it is: move the folder away"
    ) as caught:
        opened(folder)
    assert "\n" not in str(caught.value)
    assert (folder / "people.sqlite").read_bytes() == people
    (folder / "people.sqlite").rename(folder / "people.moved")
    assert places(folder) == ["rows-7"]
    shutil.move(folder / "elsewhere", folder / "rows-1")
    with pytest.raises(BadInput, match=r"expected people\.sqlite beside the rows, got none; restore it"):
        opened(folder)
    assert places(folder) == ["rows-1", "rows-7"]
    (folder / "people.moved").rename(folder / "people.sqlite")
    gallery = opened(folder)
    assert len(gallery) == 1
    gallery.close()


def test_many_tracklets_without_rows_are_refused_not_dropped(folder: Path) -> None:
    from qdrant_edge import UpdateOperation

    gallery = opened(folder)
    for identity in range(1, 31):
        gallery.enrol(tracklet(identity, X))
    gallery.flush()
    inside: Any = gallery
    inside._rows._shard.update(UpdateOperation.delete_points([3 * 16, 5 * 16]))
    gallery.close()
    gallery = opened(folder)  # two of thirty: they go, the others work
    assert len(gallery) == 28
    inside = gallery
    inside._rows._shard.update(UpdateOperation.delete_points([number * 16 for number in range(6, 16)]))
    gallery.close()
    with pytest.raises(BadInput, match="expected the rows of 28 tracklets, got those of 18; it was left as it is"):
        opened(folder)


def test_every_filtered_key_has_an_index_from_the_beginning(folder: Path) -> None:
    gallery = opened(folder)
    inside: Any = gallery
    assert set(inside._rows._shard.info().payload_schema) == {"camera", "modality"}
    for identity in (1, 2):
        gallery.enrol(tracklet(identity, X, camera=f"c{identity}"))
    gallery.erase(1)  # into a new shard
    schema = inside._rows._shard.info().payload_schema
    assert {key: index.points for key, index in schema.items()} == {"camera": 1, "modality": 1}
    gallery.close()


def test_an_index_finds_what_an_exact_search_finds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a filter: without the field indexes the answers of an index were wrong (recall 0.0007 to 0.13)."""
    rng = np.random.default_rng(2)
    gallery = open_edge(folder, MODEL, 1024)
    centre_KD = rng.standard_normal((400, 1024))
    for identity, centre_D in enumerate(centre_KD, start=1):
        rows = (centre_D + 0.3 * rng.standard_normal((15, 1024))).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        gallery.enrol(tracklet(identity, *rows, camera=f"c{identity % 8}"))
    query_QD = (centre_KD[::10] / np.linalg.norm(centre_KD[::10], axis=1, keepdims=True)).astype(np.float32)
    exact = gallery.search(query_QD, "visible", 3, cameras=["c1", "c3"])
    monkeypatch.setattr(edge, "EXACT_BELOW", 10)
    gallery.tidy()
    inside: Any = gallery
    assert inside._rows._shard.info().indexed_vectors_count > 0
    found = gallery.search(query_QD, "visible", 3, cameras=["c1", "c3"])
    same = [a[0].identity == b[0].identity for a, b in zip(exact, found, strict=True)]
    assert sum(same) >= 0.95 * len(same)
    gallery.close()
