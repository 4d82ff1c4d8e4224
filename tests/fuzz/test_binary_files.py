"""Files of bytes: MATLAB's draw, evidence and exports of NumPy, galleries of SQLite, checkpoints, pictures."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import shutil
import sqlite3
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from calib.crops_folder import calibration_from_folder, read_crops
from deploy.gallery import GalleryError, Tracklet
from deploy.gallery.archive import export_gallery, read_archive
from deploy.gallery.memory import MemoryGallery
from deploy.gallery.opening import open_sqlite
from deploy.sightings import TrackKey
from deploy.thresholds.evidence import Evidence, EvidenceTrack, Meeting, load_evidence
from deploy.web.uploads import LONGEST_PX, decode_picture
from engines.errors import BadInput
from engines.strict_json import parse_json
from tests.fuzz.harness import attempt, check_types
from tests.fuzz.mutations import changed_bytes, json_bytes, trees
from train.datasets.sysu import read_permutations

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.gallery.stored import StoredGallery

    Put = Callable[[bytes, str], Path]

DIM = 4


def unit(seed: int, rows: int) -> Any:
    row_RD = np.random.default_rng(seed).normal(size=(rows, DIM)).astype(np.float32)
    return row_RD / np.linalg.norm(row_RD, axis=1, keepdims=True)


def tracklet(identity: int, camera: str = "door") -> Tracklet:
    row_RD = unit(identity, 3)
    return Tracklet(
        identity=identity,
        camera=camera,
        track=identity,
        modality="visible",
        first_s=1.0,
        last_s=2.0,
        mean_D=row_RD[0],
        prototype_PD=row_RD[1:],
    )


def fill(gallery: Any) -> Any:
    for identity in (1, 2):
        gallery.skip(identity)
        gallery.enrol(tracklet(identity))
    gallery.rename(1, "Ada")
    gallery.keep_face(1, "visible", b"\xff\xd8 a face", 0.5)
    return gallery


def evidence() -> Evidence:
    tracks = tuple(
        EvidenceTrack(
            key=TrackKey(camera, number),
            modality="visible",
            first_s=float(number),
            last_s=number + 1.0,
            embedding_ND=unit(number, number),
            quality_N=np.full(number, 0.5, np.float32),
        )
        for camera, number in (("door", 1), ("yard", 2))
    )
    meeting = Meeting(first=0, second=1, apart_s=0.5, at_one_s=0.0)
    return Evidence(
        model="m",
        engine="e",
        created="",
        seconds=60.0,
        grounds={"door": "a", "yard": "b"},
        tracks=tracks,
        meetings=(meeting,),
    )


def arrays_of(content: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@st.composite
def npz_bytes(draw: st.DrawFn, content: bytes, text: str) -> bytes:
    """Draw a changed .npz: an array of another type, shape or number, its JSON changed, or bytes of the zip."""
    arrays = arrays_of(content)
    kind = draw(st.sampled_from(("array", "array", "json", "json", "bytes", "object", "missing")))
    name = draw(st.sampled_from(sorted(arrays)))
    if kind == "bytes":
        return draw(changed_bytes(content))
    if kind == "missing":
        del arrays[name]
    elif kind == "json":
        value = arrays[text]
        said = draw(json_bytes(parse_json(value.tobytes() if value.dtype == np.uint8 else str(value))))
        plain = value.dtype == np.uint8
        arrays[text] = np.frombuffer(said, np.uint8) if plain else np.array(said.decode("utf-8", "replace"))
    elif kind == "object":
        arrays[name] = np.array([Sleeper()], object)
    else:
        arrays[name] = changed_array(draw, arrays[name])
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=True, **arrays)
    return stream.getvalue()


def changed_array(draw: st.DrawFn, array: Any) -> Any:
    match draw(st.integers(0, 6)):
        case 0:
            return (
                array.astype(draw(st.sampled_from(("U5", "f8", "i1", "c16", "?"))))
                if array.dtype.kind != "U"
                else array
            )
        case 1:
            return array.reshape(-1)
        case 2:
            return array[..., None]
        case 3:
            return array[:-1] if array.ndim else array
        case 4:
            return np.concatenate([array, array]) if array.ndim else array
        case 5 if array.dtype.kind in "fi" and array.size:
            odd = draw(st.sampled_from((-1, 0, 2, 1e30) if array.dtype.kind == "f" else (-1, 0, 2, 2**62)))
            array = array.copy()
            array.flat[draw(st.integers(0, array.size - 1))] = odd
            return array
        case 6 if array.dtype.kind == "f" and array.size:
            array = array.copy()
            array.flat[0] = draw(st.sampled_from((np.nan, np.inf)))
            return array
        case _:
            return np.zeros((0, 3))


class Sleeper:
    """Fails the test where it is unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("a pickle was run",)


EVIDENCE, ARCHIVE, GALLERY, DRAW = (Path(name) for name in ("e.npz", "a.npz", "g.db", "d.mat"))


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], bytes]:
    folder = tmp_path_factory.mktemp("good")
    evidence().save(folder / EVIDENCE)
    export_gallery(fill(MemoryGallery(model="m", dim=DIM)), folder / ARCHIVE)
    fill(open_sqlite(folder / GALLERY, "m", DIM)).close()
    cells = np.empty((6, 1), object)
    for camera in range(6):
        cells[camera, 0] = np.empty((3, 1), object)
        for identity in range(3):
            cells[camera, 0][identity, 0] = np.tile(np.arange(1, 5, dtype=np.uint8), (10, 1))
    from scipy.io import savemat

    savemat(folder / DRAW, {"rand_perm_cam": cells})
    return lambda path: (folder / path).read_bytes()


@given(data=st.data())
def test_recorded_evidence(file: Put, good: Callable[[Path], bytes], data: st.DataObject) -> None:
    path = file(data.draw(npz_bytes(good(EVIDENCE), "about")), "evidence.npz")
    found = attempt("evidence", lambda: load_evidence(path))
    if found is not None:
        for track in found.tracks:
            assert isinstance(track.key.camera, str)
            assert track.embedding_ND.shape[0] == len(track.quality_N) > 0
        found.save(path)
        again = load_evidence(path)
        assert (again.grounds, again.meetings, again.seconds) == (found.grounds, found.meetings, found.seconds)
        assert [track.key for track in again.tracks] == [track.key for track in found.tracks]


@given(data=st.data())
def test_an_exported_gallery(file: Put, good: Callable[[Path], bytes], data: st.DataObject) -> None:
    path = file(data.draw(npz_bytes(good(ARCHIVE), "header")), "export.npz")
    found = attempt("gallery export", lambda: read_archive(path))
    if found is not None:
        assert all(isinstance(label, str) for label in found.labels.values())
        assert all(t.prototype_PD.shape[1] == found.dim for t in found.tracklets)


@given(data=st.data())
def test_the_official_draw(file: Put, good: Callable[[Path], bytes], data: st.DataObject) -> None:
    path = file(data.draw(changed_bytes(good(DRAW), 8)), "rand_perm_cam.mat")
    found = attempt("rand_perm_cam.mat", lambda: read_permutations(path))
    if found is not None:
        assert all(rows.ndim == 2 and rows.dtype == np.int64 for rows in found.values())


@pytest.mark.parametrize(
    "value", [np.eye(3), "text", np.array([[1.0]], object), {"a": 1}, np.zeros((6, 1), object)], ids=range(5)
)
def test_a_draw_of_another_form(file: Put, value: Any) -> None:
    from scipy.io import savemat

    path = file(b"", "other.mat")
    savemat(path, {"rand_perm_cam": value})
    attempt("rand_perm_cam.mat", lambda: read_permutations(path))


STATEMENTS = (
    "UPDATE tracklet SET identity = 'x'",
    "UPDATE tracklet SET rows = -1",
    "UPDATE tracklet SET rows = 1e18",
    "UPDATE tracklet SET embeddings = x'00'",
    "UPDATE tracklet SET embeddings = 'text'",
    "UPDATE tracklet SET checksum = 'x'",
    "UPDATE tracklet SET modality = 'radar'",
    "UPDATE tracklet SET camera = x'ff'",
    "UPDATE tracklet SET first_s = 'soon'",
    "UPDATE tracklet SET track = 'x'",
    "DELETE FROM fact",
    "UPDATE fact SET value = 'x'",
    "UPDATE fact SET value = '99999999999999999999'",
    "INSERT OR REPLACE INTO person VALUES (1, x'ff')",
    "INSERT OR REPLACE INTO face VALUES (1, 'visible', 'x', x'00')",
    "INSERT OR REPLACE INTO face VALUES (1, 'visible', 0.5, 7)",
    "DROP TABLE face",
    "DROP TABLE tracklet",
    "ALTER TABLE tracklet ADD COLUMN more TEXT",
    "PRAGMA user_version = 99",
    "PRAGMA application_id = 1",
)


def use(gallery: StoredGallery, *, read_only: bool) -> None:
    try:
        for person in gallery.people():
            gallery.tracklets(person.identity)
            gallery.face(person.identity, "visible")
        gallery.search(unit(9, 1), "visible", 3)
        gallery.check()
        if not read_only:
            gallery.enrol(tracklet(gallery.new_identity()))
    finally:
        gallery.close()


@given(data=st.data(), read_only=st.booleans())
def test_a_gallery_with_changed_bytes(
    file: Put, good: Callable[[Path], bytes], data: st.DataObject, read_only: bool
) -> None:
    content = data.draw(changed_bytes(good(GALLERY), 6))
    path = fresh(file, content)
    open_and_use(path, content, read_only)


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_gallery_that_another_program_wrote_in(
    file: Put, good: Callable[[Path], bytes], statement: str, read_only: bool
) -> None:
    path = fresh(file, good(GALLERY))
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)
    open_and_use(path, path.read_bytes(), read_only)


def open_and_use(path: Path, content: bytes, read_only: bool) -> None:
    gallery = attempt("gallery file", lambda: open_sqlite(path, None, None, read_only=read_only))
    if gallery is None:  # it is left as it is: everybody in it may be behind one wrong byte
        assert not content or path.read_bytes() == content
    else:
        attempt("gallery file in use", lambda: use(gallery, read_only=read_only), (BadInput, GalleryError))


def fresh(file: Put, content: bytes) -> Path:
    path = file(content, "gallery.db")
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return path


def pictures() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 255, (24, 16, 3), np.uint8))
    counts = Image.fromarray(rng.integers(0, 65535, (24, 16)).astype(np.uint16))
    made: dict[str, bytes] = {}
    for name, image, kind in (
        ("jpeg", colour, "JPEG"), ("png", colour, "PNG"), ("webp", colour, "WEBP"), ("bmp", colour, "BMP"),
        ("tiff", counts, "TIFF"), ("png-16", counts, "PNG"), ("gif", colour, "GIF"),
        ("palette", colour.convert("P"), "PNG"),
    ):  # fmt: skip
        stream = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(stream, kind, **({"exif": exif} if kind in ("JPEG", "WEBP") else {}))
        made[name] = stream.getvalue()
    return made


PICTURES = pictures()


@given(
    content=st.sampled_from(sorted(PICTURES)).flatmap(lambda name: changed_bytes(PICTURES[name]))
    | st.binary(max_size=80)
)
def test_an_uploaded_picture(content: bytes) -> None:
    found = attempt("uploaded picture", lambda: decode_picture(content, "search"))
    if found is not None:
        assert found.dtype == np.uint8
        assert found.ndim == 3
        assert found.shape[2] == 3
        assert 0 < max(found.shape) <= LONGEST_PX


def test_crops_of_a_folder(tmp_path: Path) -> None:
    for name, content in (
        ("a.png", PICTURES["png"]),
        ("b.png", b"none"),
        ("c.jpg", PICTURES["jpeg"][:90]),
        ("d.bmp", b""),
    ):
        folder = tmp_path / name[0] / "visible" / "1"
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content)
        (folder / ".half.png").write_bytes(b"never finished")
        (folder / "loop.png").symlink_to(folder)
        attempt("crops folder", lambda: read_crops(tmp_path / name[0]))  # noqa: B023
        attempt("crops folder", lambda: calibration_from_folder(tmp_path / name[0], 1))  # noqa: B023


@given(data=st.data())
def test_a_crop_of_a_folder(file: Put, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(("png", "jpeg", "bmp")))
    folder = file(b"", "here").parent / "crops"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "infrared").mkdir(parents=True)
    path = folder / "infrared" / f"a.{name}"
    path.write_bytes(data.draw(changed_bytes(PICTURES[name])))
    attempt("crops folder", lambda: calibration_from_folder(folder, 1))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    torch = pytest.importorskip("torch", reason="needs torch to read checkpoints")
    from train.checkpoint import save_checkpoint
    from train.methods.baseline import BaselineRecipe

    del save_checkpoint, BaselineRecipe, tmp_path_factory
    return {"torch": torch}


@given(data=st.data())
def test_a_checkpoint_of_ours(file: Put, checkpoint: dict[str, Any], data: st.DataObject) -> None:
    import dataclasses

    from train.checkpoint import FORMAT, load_checkpoint
    from train.methods.baseline import BaselineRecipe

    torch = checkpoint["torch"]
    recipe = {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(BaselineRecipe()).items()}
    raw = {
        "crosslight_checkpoint": FORMAT,
        "method": "baseline",
        "recipe": recipe,
        "identity_count": 4,
        "epoch": 2,
        "model": {},
        "optimizer": {},
        "precision": {},
        "dataset": {"name": "sysu"},
        "metrics": {"mAP": 0.5},
        "git_revision": "abc",
        "created": "",
        "tools": {},
    }
    changed = data.draw(trees(raw))
    if isinstance(changed, dict) and isinstance(changed.get("model"), dict):
        changed["model"]["weight"] = torch.zeros(2, 2)
    stream = io.BytesIO()
    torch.save(changed, stream)
    content = stream.getvalue()
    if data.draw(st.booleans()):
        content = data.draw(changed_bytes(content))
    path = file(content, "checkpoint.pt")
    found = attempt("checkpoint", lambda: load_checkpoint(path))
    if found is not None:
        check_types(found.recipe)
        for name, kind in (
            ("method_name", str),
            ("identity_count", int),
            ("epoch", int),
            ("model", dict),
            ("optimizer", dict),
        ):
            assert isinstance(getattr(found, name), kind), name


@st.composite
def state_dicts(draw: st.DrawFn, torch: Any) -> Any:
    names = (
        "classifier.weight",
        "module.bn.running_var",
        "visible.conv1.weight",
        "num_batches_tracked",
        "",
        "\ud800",
        7,
    )
    shapes = ((), (0,), (1,), (3, 2), (64, 3, 7, 7), (2, 2048))
    made: Any = {}
    for _ in range(draw(st.integers(0, 5))):
        tensor = torch.zeros(
            draw(st.sampled_from(shapes)),
            dtype=draw(st.sampled_from((torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64))),
        )
        odd = draw(st.integers(0, 9))
        if odd == 0 and tensor.numel():
            tensor = tensor + float("nan") if tensor.is_floating_point() else tensor
        if odd == 1:
            tensor = tensor.to_sparse() if tensor.ndim else tensor
        if odd == 2:
            tensor = tensor.to("meta")
        made[draw(st.sampled_from(names))] = draw(
            st.sampled_from((tensor, tensor, tensor, tensor, None, [tensor], "x", 3))
        )
    return draw(st.sampled_from((made, made, {"state_dict": made}, {"model": made, "epoch": 3}, [made], made or None)))


@given(data=st.data(), method=st.sampled_from(("mpanet", "mcja", "aligngan", "imfe")))
def test_a_checkpoint_of_others(file: Put, checkpoint: dict[str, Any], data: st.DataObject, method: str) -> None:
    from train.importing import import_checkpoint

    torch = checkpoint["torch"]
    stream = io.BytesIO()
    torch.save(data.draw(state_dicts(torch)), stream)
    content = stream.getvalue()
    if data.draw(st.integers(0, 3)) == 0:
        content = data.draw(changed_bytes(content))
    path = file(content, "model-0_100.pkl")
    for part in range(1, 8):
        shutil.copyfile(path, path.with_name(f"model-{part}_100.pkl"))
    out = path.with_name("imported.pt")
    out.unlink(missing_ok=True)
    attempt("checkpoint import", lambda: import_checkpoint(method, path, out, report=path.with_name("report.json")))
    assert not out.exists()


def test_no_file_runs_code(file: Put, checkpoint: dict[str, Any], tmp_path: Path) -> None:
    from train.checkpoint import load_checkpoint
    from train.importing import read_public

    mark = tmp_path / "it ran"

    class Attack:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(mark),)

    stream = io.BytesIO()
    checkpoint["torch"].save({"a": Attack()}, stream)
    contents = (pickle.dumps({"a": Attack()}), stream.getvalue(), pickle.dumps(Attack(), 0))
    for content in contents:
        path = file(content, "attack.pt")
        assert attempt("checkpoint", lambda: load_checkpoint(path)) is None  # noqa: B023
        assert attempt("checkpoint import", lambda: read_public("mpanet", path)) is None  # noqa: B023
    for content in contents:
        for read in (load_evidence, read_archive, read_permutations):
            path = file(content, "attack.npz")
            assert attempt("evidence", lambda: read(path)) is None  # noqa: B023
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(
            "about.npy",
            b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(128)
            + pickle.dumps(Attack()),
        )
    path = file(stream.getvalue(), "attack.npz")
    assert attempt("evidence", lambda: load_evidence(path)) is None
    assert not mark.exists()
