"""Every lineage against a slow reference written from the definitions: the draw and the figures, in plain loops."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from scipy.io import loadmat

from tests.small_other_trees import write_llcm, write_regdb
from tests.small_tree import write_blank_tree, write_splits
from train.datasets.open import open_dataset
from train.protocol import build_protocol, key, score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from train.protocol import Protocol, Scores


class Seen(NamedTuple):
    """One image as the reference knows it."""

    path: str
    identity: int
    camera: int


class Figures(NamedTuple):
    """One trial, or the mean of several."""

    rank1: float
    rank3: float
    mean_ap: float
    mean_inp: float


Vectors = dict[str, "NDArray[np.float64]"]


@pytest.fixture(scope="module")
def sysu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree") / "sysu"
    counts = {(camera, identity): 10 + (camera * identity) % 3 for camera in range(1, 7) for identity in range(1, 8)}
    for nobody in ((2, 4), (1, 6), (5, 7), (3, 5)):  # not everybody was seen by every camera
        del counts[nobody]
    write_blank_tree(folder, counts)
    write_splits(folder, {"train": [1], "val": [2], "test": [7, 3, 6, 5, 4]}, counts)
    return folder


@pytest.fixture(scope="module")
def regdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_regdb(tmp_path_factory.mktemp("tree") / "regdb", trials=(1, 7), blank=True)


@pytest.fixture(scope="module")
def llcm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_llcm(
        tmp_path_factory.mktemp("tree") / "llcm", train=2, test=6, cameras=(1, 2, 3, 5), images=4, blank=True
    )
    (folder / "idx/test_id.txt").write_text("8,3,6,5,4,7\n")
    # Numbers of images that all differ: 0 to 4 of an identity before a camera.
    for place in folder.glob("test_*/cam*/0*"):
        for image in sorted(place.iterdir())[: (7 * int(place.name) + 3 * ord(place.parent.name[-1])) % 5]:
            image.unlink()
        if not list(place.iterdir()):
            place.rmdir()
    return folder


@pytest.fixture
def python_stream() -> Iterator[None]:
    """Leave Python's global generator as it was: the public codes seed that one."""
    state = random.getstate()
    yield
    random.setstate(state)


def files_of(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.iterdir()) if folder.is_dir() else []


def random_vectors(protocol: Protocol) -> tuple[dict[str, NDArray[np.float32]], Vectors]:
    """Return one unit vector an image, under our key and under its path; people are weakly alike."""
    rng = np.random.default_rng(5)
    by_key: dict[str, NDArray[np.float32]] = {}
    by_path: Vectors = {}
    for record in protocol.images():
        centre = np.random.default_rng(record.identity).normal(size=6)
        vector = (0.5 * centre + rng.normal(size=6)).astype(np.float32)
        vector /= np.linalg.norm(vector)
        by_key[key(record)] = vector
        by_path[str(record.path)] = vector.astype(np.float64)
    assert len(by_key) == len(by_path)
    return by_key, by_path


def slow_figures(
    queries: list[Seen],
    gallery: list[Seen],
    vectors: Vectors,
    gone: Callable[[Seen, Seen], bool],
    *,
    distinct: bool,
) -> Figures:
    """One query at a time; distinct counts identities in CMC, not images."""
    ranks: list[int] = []
    precisions: list[float] = []
    penalties: list[float] = []
    for query in queries:
        left = [item for item in gallery if not gone(query, item)]
        left.sort(key=lambda item: -float(vectors[query.path] @ vectors[item.path]))
        names = [item.identity for item in left]
        if query.identity not in names:
            continue
        counted = list(dict.fromkeys(names)) if distinct else names
        ranks.append(counted.index(query.identity) + 1)
        found, precision, last = 0, 0.0, 0
        for position, name in enumerate(names, start=1):
            if name == query.identity:
                found, last = found + 1, position
                precision += found / position
        precisions.append(precision / found)
        penalties.append(found / last)
    share = [sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 3)]
    return Figures(share[0], share[1], sum(precisions) / len(precisions), sum(penalties) / len(penalties))


def assert_same(found: Scores, expected: list[Figures]) -> None:
    assert len(found.trials) == len(expected)
    for trial, figures in zip(found.trials, expected, strict=True):
        assert (trial.rank(1), trial.rank(3), trial.mean_ap, trial.mean_inp) == pytest.approx(figures)
    columns = list(zip(*expected, strict=True))
    assert found.rank1 == pytest.approx(sum(columns[0]) / len(expected))
    assert found.mean_ap == pytest.approx(sum(columns[2]) / len(expected))
    for spread, column in zip(
        (found.rank1_spread, found.mean_ap_spread, found.mean_inp_spread),
        (columns[0], columns[2], columns[3]),
        strict=True,
    ):
        mean = sum(column) / len(column)
        assert spread == pytest.approx((sum((value - mean) ** 2 for value in column) / len(column)) ** 0.5)


def sysu_gone(query: Seen, item: Seen) -> bool:
    place = [1, 2, 2, 4, 5, 6]
    return place[query.camera - 1] == place[item.camera - 1]


def sysu_probes(folder: Path) -> list[Seen]:
    return [
        Seen(path, identity, camera)
        for camera in (3, 6)
        for identity in range(3, 8)
        for path in files_of(folder / f"cam{camera}" / f"{identity:04d}")
    ]


@pytest.mark.parametrize(("search", "cameras"), [("all", (1, 2, 4, 5)), ("indoor", (1, 2))])
@pytest.mark.parametrize("shots", [1, 10])
def test_sysu_official_equals_its_definition(sysu: Path, search: str, cameras: tuple[int, ...], shots: int) -> None:
    cells = loadmat(str(sysu / "exp/rand_perm_cam.mat"))["rand_perm_cam"]
    protocol = build_protocol(open_dataset("sysu", sysu), search=search, shots=shots)
    features, vectors = random_vectors(protocol)
    expected: list[Figures] = []
    for trial in range(10):
        gallery: list[Seen] = []
        for camera in cameras:
            for identity in range(3, 8):
                files = files_of(sysu / f"cam{camera}" / f"{identity:04d}")
                row = cells[camera - 1, 0][identity - 1, 0][trial] if files else []
                gallery += [Seen(files[int(index) - 1], identity, camera) for index in row[:shots]]
        assert [item.path for item in gallery] == [str(record.path) for record in protocol.trials[trial].gallery]
        expected.append(slow_figures(sysu_probes(sysu), gallery, vectors, sysu_gone, distinct=True))
    assert_same(score(protocol, features), expected)


@pytest.mark.usefixtures("python_stream")
@pytest.mark.parametrize(("search", "cameras"), [("all", (1, 2, 4, 5)), ("indoor", (1, 2))])
def test_sysu_seeded_equals_its_definition(sysu: Path, search: str, cameras: tuple[int, ...]) -> None:
    protocol = build_protocol(open_dataset("sysu", sysu), lineage="seeded", search=search)
    features, vectors = random_vectors(protocol)
    expected: list[Figures] = []
    for trial in range(10):
        random.seed(trial)
        gallery: list[Seen] = []
        for identity in range(3, 8):
            for camera in cameras:
                folder = sysu / f"cam{camera}" / f"{identity:04d}"
                if folder.is_dir():
                    gallery.append(Seen(random.choice(files_of(folder)), identity, camera))
        expected.append(slow_figures(sysu_probes(sysu), gallery, vectors, sysu_gone, distinct=True))
    assert_same(score(protocol, features), expected)


def regdb_side(folder: Path, top: str, trial: int) -> list[Seen]:
    lines = (folder / f"idx/test_{top.lower()}_{trial}.txt").read_text().splitlines()
    return [Seen(str(folder / line.split()[0]), int(line.split("/")[1]), 0) for line in lines]


@pytest.mark.parametrize("lineage", ["official", "mpanet"])
@pytest.mark.parametrize(
    ("direction", "tops"),
    [("visible-to-infrared", ("Visible", "Thermal")), ("infrared-to-visible", ("Thermal", "Visible"))],
)
@pytest.mark.parametrize("trial", [1, 7])
def test_regdb_equals_its_definition(
    regdb: Path, lineage: str, direction: str, tops: tuple[str, str], trial: int
) -> None:
    protocol = build_protocol(open_dataset("regdb", regdb, trial=trial), lineage=lineage, direction=direction)
    features, vectors = random_vectors(protocol)
    queries, gallery = (regdb_side(regdb, top, trial) for top in tops)
    expected = slow_figures(queries, gallery, vectors, lambda query, item: False, distinct=lineage == "mpanet")
    assert_same(score(protocol, features), [expected])


def test_the_lineages_of_regdb_differ_beyond_rank_one(regdb: Path) -> None:
    """Counting identities leaves rank-1 and mAP and raises the ranks behind them."""
    dataset = open_dataset("regdb", regdb)
    official, distinct = (build_protocol(dataset, lineage=name) for name in ("official", "mpanet"))
    features, _ = random_vectors(official)
    plain, inflated = score(official, features), score(distinct, features)
    assert (plain.rank1, plain.mean_ap) == (inflated.rank1, inflated.mean_ap)
    assert inflated.mean_rank(3) > plain.mean_rank(3)


def llcm_all(folder: Path, kind: str) -> list[Seen]:
    return [
        Seen(path, identity, camera)
        for camera in range(1, 10)
        for identity in range(3, 9)
        for path in files_of(folder / f"test_{kind}/cam{camera}/{identity:04d}")
    ]


def llcm_drawn(folder: Path, kind: str, trial: int) -> list[Seen]:
    """As the authors' script draws: seed, identity outer, camera inner."""
    random.seed(trial)
    drawn: list[Seen] = []
    for identity in range(3, 9):
        for camera in (1, 2, 3, 4, 5, 6, 7, 8, 9) if kind == "vis" else (1, 2, 4, 5, 6, 7, 8, 9):
            place = folder / f"test_{kind}/cam{camera}/{identity:04d}"
            if place.is_dir():
                drawn.append(Seen(random.choice(files_of(place)), identity, camera))
    return drawn


def llcm_gone(query: Seen, item: Seen) -> bool:
    return query.identity == item.identity and query.camera == item.camera


@pytest.mark.usefixtures("python_stream")
@pytest.mark.parametrize(
    ("direction", "kinds"), [("infrared-to-visible", ("nir", "vis")), ("visible-to-infrared", ("vis", "nir"))]
)
def test_llcm_official_equals_its_definition(llcm: Path, direction: str, kinds: tuple[str, str]) -> None:
    protocol = build_protocol(open_dataset("llcm", llcm), direction=direction)
    features, vectors = random_vectors(protocol)
    expected: list[Figures] = []
    for trial in range(10):
        gallery = llcm_drawn(llcm, kinds[1], trial)
        assert [item.path for item in gallery] == [str(record.path) for record in protocol.trials[trial].gallery]
        expected.append(slow_figures(llcm_all(llcm, kinds[0]), gallery, vectors, llcm_gone, distinct=True))
    assert_same(score(protocol, features), expected)


@pytest.mark.usefixtures("python_stream")
def test_llcm_transposed_ranks_all_visible_images_for_the_sampled_infrared_ones(llcm: Path) -> None:
    protocol = build_protocol(open_dataset("llcm", llcm), lineage="transposed")
    features, vectors = random_vectors(protocol)
    expected = [
        slow_figures(llcm_drawn(llcm, "nir", trial), llcm_all(llcm, "vis"), vectors, llcm_gone, distinct=True)
        for trial in range(10)
    ]
    assert_same(score(protocol, features), expected)
    assert "transposed" in protocol.title
    assert "not comparable" in protocol.title


def test_llcm_transposed_is_another_measure_than_the_correct_one(llcm: Path) -> None:
    dataset = open_dataset("llcm", llcm)
    correct = build_protocol(dataset, direction="visible-to-infrared")
    transposed = build_protocol(dataset, lineage="transposed")
    features, _ = random_vectors(correct)
    for first, second in zip(correct.trials, transposed.trials, strict=True):
        assert (first.query, first.gallery) == (second.gallery, second.query)
    assert score(correct, features).mean_ap != pytest.approx(score(transposed, features).mean_ap, abs=0.005)
