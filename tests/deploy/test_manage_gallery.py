"""The command line of a gallery: what a person types, and what must be asked first."""

from __future__ import annotations

import io
import sqlite3
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from deploy.gallery import open_gallery
from deploy.gallery.administration import parse_age
from deploy.manage_gallery import main
from engines.errors import BadInput
from engines.model_id import model_id
from tests.camera_fakes import ColourBackend
from tests.deploy.gallery.gallery_stores import DIM, MODEL, tracklet, unit

if TYPE_CHECKING:
    from pathlib import Path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=["people.db", "qdrant:people"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Ada, seen long ago, and two others, of whom one was here in 2026."""
    if request.param.startswith("qdrant:"):
        pytest.importorskip("qdrant_edge", reason="needs qdrant-edge-py")
    kind, _, name = request.param.rpartition(":")
    place = f"{kind}:{tmp_path / name}" if kind else str(tmp_path / name)
    gallery = open_gallery(place, MODEL, DIM)
    gallery.enrol(tracklet(1, unit(1), first_s=1000.0, camera="door"))
    gallery.rename(1, "Ada")
    gallery.enrol(tracklet(2, unit(0, 1), first_s=1000.0))
    gallery.enrol(tracklet(3, unit(0, 0, 1), first_s=1.8e9, modality="infrared"))
    gallery.close()
    return place


def identities(where: str) -> list[int]:
    gallery = open_gallery(where, None, None)
    found = [person.identity for person in gallery.people()]
    gallery.close()
    return found


def test_list_shows_everybody(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--gallery", where]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["1", "Ada", "1", "1970-01-01", "00:16", "1970-01-01", "00:16", "door", "(visible)"]
    assert lines[3].split()[-1] == "(infrared)"
    assert lines[4] == "3 people, 3 tracklets, model 3f2a"


def test_erase_asks_on_a_terminal(
    where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert main(["erase", "1", "--gallery", where]) == 1
    assert "Erase identity 1 (Ada) and 1 tracklets? [y/N]" in capsys.readouterr().err
    assert identities(where) == [1, 2, 3]
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert main(["erase", "1", "--gallery", where]) == 0
    assert identities(where) == [2, 3]


def test_without_a_terminal_erasing_needs_yes(
    where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    for command in (["erase", "2"], ["expire", "--older-than", "7d"]):
        assert main([*command, "--gallery", where]) == 2
        assert "Expected a terminal to ask on, or --yes; nothing was changed" in capsys.readouterr().err
    assert identities(where) == [1, 2, 3]
    assert main(["erase", "2", "--yes", "--gallery", where]) == 0
    assert capsys.readouterr().out == "1 tracklets erased\n"
    assert main(["erase", "2", "--yes", "--gallery", where]) == 2
    assert "expected somebody in the gallery, got 2; list shows who is there" in capsys.readouterr().err


def test_expire_takes_who_has_no_name_and_was_not_seen_for_so_long(
    where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("time.time", lambda: 1.8e9 + 3600)
    assert main(["expire", "--older-than", "2h", "--yes", "--gallery", where]) == 0
    assert capsys.readouterr().out == "1 people erased\n"
    assert identities(where) == [1, 3]
    assert main(["expire", "--older-than", "30m", "--yes", "--gallery", where]) == 0
    assert identities(where) == [1]


def test_export_and_import(where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, copy = str(tmp_path / "all.npz"), str(tmp_path / "copy.db")
    assert main(["export", file, "--gallery", where]) == 0
    assert main(["import", file, "--gallery", copy]) == 0
    assert identities(copy) == [1, 2, 3]
    assert main(["import", file, "--gallery", copy]) == 0
    assert capsys.readouterr().out.endswith("3 people from " + file + "; new numbers: 1 is 4, 2 is 5, 3 is 6\n")


def test_check_reads_everything(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--gallery", where]) == 0
    assert capsys.readouterr().out == "3 tracklets, all whole\n"


def test_check_names_a_damaged_tracklet(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In a file the embeddings have a checksum, and opening finds it; in Qdrant only what is no unit vector is seen."""
    if where.startswith("qdrant:"):
        gallery: Any = open_gallery(where, None, None)
        gallery._rows.add(gallery._ledger.of(2)[0], np.full((1, DIM), 9.0, np.float32))
        gallery.close()
        assert main(["check", "--gallery", where]) == 1
        assert capsys.readouterr().out == "tracklet 2: its embeddings are damaged\n"
    else:
        db = sqlite3.connect(where)
        db.execute("UPDATE tracklet SET embeddings = zeroblob(length(embeddings)) WHERE number = 2")
        db.commit()
        db.close()
        assert main(["check", "--gallery", where]) == 2
        assert "expected whole embeddings, got a damaged tracklet 2; it was left as it is" in capsys.readouterr().err


def test_a_gallery_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["list"], ["check"], ["erase", "1", "--yes"], ["export", str(tmp_path / "x.npz")]):
        assert main([*command, "--gallery", str(tmp_path / "typo.db")]) == 2
        assert "expected a gallery, got nothing there; check the path" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def write_pictures(folder: Path, colour: tuple[int, int, int]) -> list[str]:
    paths = [folder / f"{index}.png" for index in range(3)]
    for path in paths:
        Image.fromarray(np.full((40, 20, 3), colour, np.uint8)).save(path)
    return [str(path) for path in paths]


def test_enrol_embeds_pictures_and_the_person_does_not_expire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = ColourBackend()
    monkeypatch.setattr("engines.open.open_engine", lambda folder, **options: backend)
    where, pictures = str(tmp_path / "people.db"), write_pictures(tmp_path, (200, 10, 10))
    flags = ["--engine", ".", "--gallery", where]
    assert main(["enrol", *pictures, "--name", "Ada", *flags]) == 0
    assert capsys.readouterr().out == "identity 1\n"
    assert main(["enrol", *pictures, "--name", "Ada", *flags]) == 2
    assert "expected a name that is new here, got 'Ada' of identity 1; add pictures with --identity 1" in (
        capsys.readouterr().err
    )
    assert main(["enrol", pictures[0], "--identity", "1", "--modality", "infrared", *flags]) == 0
    assert main(["enrol", pictures[0], "--identity", "9", *flags]) == 2
    gallery = open_gallery(where, model_id(backend.manifest), backend.manifest.embedding_dim)
    (person,) = gallery.people()
    assert (person.label, person.enrolled, person.modalities) == ("Ada", True, ("visible", "infrared"))
    red_BHWC = np.full((1, backend.manifest.height_px, backend.manifest.width_px, 3), (200, 10, 10), np.uint8)
    (hit,) = gallery.search(backend.embed(red_BHWC, "visible"), "visible", 1)[0]
    assert hit.similarity == pytest.approx(1.0, abs=1e-3)
    face = gallery.face(1, "visible")
    assert face is not None
    with Image.open(io.BytesIO(face)) as image:
        red, green, _ = image.convert("RGB").getpixel((5, 5))  # type: ignore[misc]
    assert red > 150 > green
    assert gallery.expire(1e12) == 0
    gallery.close()


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    flags = ["--engine", ".", "--name", "Ada", "--gallery", str(tmp_path / "people.db")]
    assert main(["enrol", str(tmp_path / "a.jpg"), *flags]) == 2
    assert "a.jpg: expected a picture of a person, got none that can be read" in capsys.readouterr().err
    assert not (tmp_path / "people.db").exists()


@pytest.mark.parametrize(("text", "seconds"), [("7d", 604800.0), ("12h", 43200.0), ("1.5m", 90.0), ("2w", 1209600.0)])
def test_ages(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["7", "d", "-7d", "7 days", ""])
def test_an_age_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="expected an age such as 7d, 12h or 30m"):
        parse_age(text)
