"""A gallery as one file: what comes out of one store goes into another."""

from __future__ import annotations

import json
import stat
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deploy.gallery import GalleryError, MemoryGallery
from deploy.gallery.archive import export_gallery, import_gallery, read_archive
from engines.errors import BadInput
from tests.deploy.gallery.gallery_stores import DIM, MODEL, STORES, Store, files_with, tracklet, unit

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.gallery import Gallery

X, Y = unit(1), unit(0, 1)


def people_in(gallery: Gallery) -> Any:
    rows = {p.identity: [t.row_RD.tolist() for t in gallery.tracklets(p.identity)] for p in gallery.people()}
    faces = {p.identity: gallery.face(p.identity, "visible") for p in gallery.people()}
    return gallery.people(), rows, faces


def filled(gallery: Gallery) -> Gallery:
    rng = np.random.default_rng(4)
    for identity, camera in product((2, 5, 9), ("a", "b")):
        rows = rng.standard_normal((3, DIM)).astype(np.float32)
        gallery.enrol(tracklet(identity, *(rows / np.linalg.norm(rows, axis=1, keepdims=True)), camera=camera))
    gallery.rename(5, "Ada Ω")
    gallery.keep_face(5, "visible", b"face of five", 0.7)
    gallery.keep_face(9, "visible", b"face of nine", 0.3)
    gallery.erase(9)
    return gallery


@pytest.mark.parametrize(("source", "target"), [*product(STORES, ("sqlite",)), *product(("sqlite",), STORES)])
def test_everybody_goes_from_one_store_into_another(tmp_path: Path, source: str, target: str) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    first = filled(Store(source, tmp_path / "from").open())
    assert export_gallery(first, tmp_path / "people.npz") == 2
    second = Store(target, tmp_path / "to").open()
    assert import_gallery(second, tmp_path / "people.npz") == {2: 2, 5: 5}
    before, after = people_in(first), people_in(second)
    assert after[0] == before[0]
    assert after[2] == before[2]
    for identity in (2, 5):
        np.testing.assert_allclose(after[1][identity], before[1][identity], atol=0 if source != "memory" else 1e-3)
    assert second.new_identity() > 9  # who was erased keeps his number
    first.close()
    second.close()


def test_in_a_gallery_with_people_everybody_gets_a_new_number(tmp_path: Path) -> None:
    export_gallery(filled(MemoryGallery(model=MODEL)), tmp_path / "people.npz")
    gallery = MemoryGallery(model=MODEL)
    gallery.enrol(tracklet(gallery.new_identity(), X))
    gallery.enrol(tracklet(gallery.new_identity(), Y))
    assert import_gallery(gallery, tmp_path / "people.npz") == {2: 3, 5: 4}
    assert [(person.identity, person.label) for person in gallery.people()] == [(1, ""), (2, ""), (3, ""), (4, "Ada Ω")]
    assert gallery.face(4, "visible") == b"face of five"


def test_people_of_another_model_are_refused(tmp_path: Path) -> None:
    export_gallery(filled(MemoryGallery(model="9c1b")), tmp_path / "people.npz")
    with pytest.raises(BadInput, match=r"expected embeddings of model 3f2a .* got a gallery of model 9c1b"):
        import_gallery(MemoryGallery(model=MODEL), tmp_path / "people.npz")


def test_an_import_that_fails_leaves_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_gallery(filled(MemoryGallery(model=MODEL)), tmp_path / "people.npz")
    gallery = MemoryGallery(model=MODEL)
    gallery.enrol(tracklet(1, X))

    def full(*_: object) -> None:
        raise GalleryError("the disk is full")

    monkeypatch.setattr(gallery, "rename", full)
    with pytest.raises(GalleryError, match="the disk is full"):
        import_gallery(gallery, tmp_path / "people.npz")
    assert [person.identity for person in gallery.people()] == [1]


def test_the_file_is_for_its_owner_and_forgets_the_erased(tmp_path: Path) -> None:
    export_gallery(filled(MemoryGallery(model=MODEL)), tmp_path / "people.npz")
    assert stat.S_IMODE((tmp_path / "people.npz").stat().st_mode) == 0o600
    assert files_with(tmp_path, {"nine": b"face of nine", "five": b"face of five"}) == {"five": ["people.npz"]}


def test_an_empty_gallery_goes_too(tmp_path: Path) -> None:
    assert export_gallery(MemoryGallery(model=MODEL, dim=DIM), tmp_path / "nobody.npz") == 0
    assert import_gallery(MemoryGallery(model=MODEL), tmp_path / "nobody.npz") == {}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_a_damaged_file_is_refused_as_a_whole(tmp_path: Path, share: float) -> None:
    path = tmp_path / "people.npz"
    export_gallery(filled(MemoryGallery(model=MODEL)), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInput, match=r"expected a whole file of manage_gallery\.py export, got another") as caught:
        read_archive(path)
    assert "\n" not in str(caught.value)
    content = bytearray(content)
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(BadInput, match="expected a whole file"):
        read_archive(path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 2}, "expected format 1, got 2"),
        ({"dim": 4}, "its parts do not fit together"),
        ({"people": []}, "its parts do not fit together"),
        ({"tracklets": [[2, "a", 1, "visible", 0, 1, 99]]}, "a tracklet without its embeddings"),
        ({"tracklets": [[2, "a", 1, "purple", 0, 1, 1]]}, "a tracklet without its embeddings"),
        ({"tracklets": [[2, "a"]]}, "expected a whole file"),
    ],
)
def test_a_file_whose_parts_do_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    path = tmp_path / "people.npz"
    export_gallery(filled(MemoryGallery(model=MODEL)), path)
    with np.load(path) as arrays:
        parts = dict(arrays)
    header = {**json.loads(bytes(parts["header"])), **change}
    parts["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **parts)
    with pytest.raises(BadInput, match=expected):
        read_archive(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected a whole file .*No such file"):
        read_archive(tmp_path / "none.npz")
    with pytest.raises(BadInput, match="expected a file that can be written"):
        export_gallery(MemoryGallery(model=MODEL), tmp_path)
