"""Evaluation protocols: which images are queries, which are the gallery, and what counts (shared/spec/protocols.md A).

A lineage is whose definition is followed; figures of two lineages cannot be compared.

    sysu   official    the authors' MATLAB code: gallery from rand_perm_cam.mat, all or indoor, 1 or 10 shots
           seeded      AGW, DDAG, CAJ, DEEN and others: gallery from Python's generator, 1 shot
    regdb  official    all images against all of one of ten splits, ordinary CMC
           mpanet      the same with MPANet's and IDKL's CMC over identities (they do not normalise the features)
    llcm   official    gallery from Python's generator, one image per person and camera
           transposed  the authors' script since 2023-06-20, visible-to-infrared only: query and gallery exchanged

Torch-free. Shapes: N images, D embedding, Q queries (probes), G gallery, R ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from engines.errors import BadInput
from train.datasets.sysu import INFRARED_CAMERAS
from train.metrics import Metrics, evaluate, same_place
from train.protocol_gallery import GALLERY_CAMERAS, Direction, Search, by_direction, gallery_images, seeded_gallery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from train.datasets.images import Dataset, ImageRecord
    from train.datasets.sysu import SysuDataset

Exclusion = Literal["nothing", "same place", "same person and camera"]

LINEAGES = {"sysu": ("official", "seeded"), "regdb": ("official", "mpanet"), "llcm": ("official", "transposed")}
SEARCHES: tuple[Search, ...] = ("all", "indoor")
SHOTS = (1, 10)
TRIALS = 10
DIRECTIONS: tuple[Direction, ...] = ("visible-to-infrared", "infrared-to-visible")
TRANSPOSED = "the authors' script since 2023-06-20: sampled infrared images rank ALL visible ones; not comparable"
# Which gallery items a query does not see; RegDB's two cameras never show the same modality.
EXCLUSIONS: dict[str, Exclusion] = {"sysu": "same place", "regdb": "nothing", "llcm": "same person and camera"}
# What the authors' own scripts do when no direction is named.
DEFAULT_DIRECTION: dict[str, Direction] = {"regdb": "visible-to-infrared", "llcm": "infrared-to-visible"}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One set of queries against one gallery."""

    query: tuple[ImageRecord, ...]
    gallery: tuple[ImageRecord, ...]
    exclusion: Exclusion = "nothing"

    def excluded(self) -> NDArray[np.bool_] | None:
        """Return which gallery items do not exist for a query (Q, G); None where all of them do."""
        if self.exclusion == "nothing":
            return None
        query_camera_Q, gallery_camera_G = (
            np.array([record.camera for record in records]) for records in (self.query, self.gallery)
        )
        if self.exclusion == "same place":
            return same_place(query_camera_Q, gallery_camera_G)
        query_identity_Q, gallery_identity_G = (identities(records) for records in (self.query, self.gallery))
        return (query_camera_Q[:, None] == gallery_camera_G) & (query_identity_Q[:, None] == gallery_identity_G)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """All that fixes a figure except the features."""

    dataset: str
    lineage: str
    title: str
    choices: Mapping[str, str | int]  # search and shots, or direction and trial
    identity_cmc: bool  # whether CMC counts distinct identities
    trials: tuple[Trial, ...]

    def images(self) -> list[ImageRecord]:
        """List what must be embedded, each image once."""
        found: dict[str, ImageRecord] = {}
        for trial in self.trials:
            for record in (*trial.query, *trial.gallery):
                found.setdefault(key(record), record)
        return list(found.values())


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The mean over trials, and each trial."""

    trials: tuple[Metrics, ...]
    gallery: int  # images of one trial's gallery
    probes: int  # of one trial, valid and invalid

    def mean_rank(self, k: int) -> float:
        return float(np.mean([trial.rank(k) for trial in self.trials]))

    @property
    def rank1(self) -> float:
        return self.mean_rank(1)

    @property
    def mean_ap(self) -> float:
        return float(np.mean([trial.mean_ap for trial in self.trials]))

    @property
    def mean_inp(self) -> float:
        return float(np.mean([trial.mean_inp for trial in self.trials]))

    @property
    def rank1_spread(self) -> float:
        """Standard deviation of rank-1 over the trials."""
        return float(np.std([trial.rank1 for trial in self.trials]))

    @property
    def mean_ap_spread(self) -> float:
        return float(np.std([trial.mean_ap for trial in self.trials]))

    @property
    def mean_inp_spread(self) -> float:
        return float(np.std([trial.mean_inp for trial in self.trials]))

    @property
    def cmc_R(self) -> NDArray[np.float64]:
        length = min(len(trial.cmc_R) for trial in self.trials)
        return np.mean([trial.cmc_R[:length] for trial in self.trials], axis=0)


def build_protocol(
    dataset: Dataset,
    *,
    lineage: str = "official",
    search: str = "all",
    shots: int = 1,
    direction: str | None = None,
) -> Protocol:
    """Lay out every trial; a combination that nobody defined is refused.

    search and shots belong to SYSU-MM01, direction (query modality first) to RegDB and LLCM, whose trial is the
    split that the dataset was opened with.
    """
    lineages = LINEAGES.get(dataset.name)
    if lineages is None:
        raise BadInput(f"expected a data set out of {', '.join(LINEAGES)}, got {dataset.name!r}")
    if lineage not in lineages:
        raise BadInput(f"expected a lineage of {dataset.name} out of {', '.join(lineages)}, got {lineage!r}")
    if dataset.name == "sysu":
        return _sysu(cast("SysuDataset", dataset), lineage, search, shots, direction)
    if (search, shots) != ("all", 1):
        raise BadInput(
            f"{dataset.name} has no {search}-search with {shots} shots; only sysu has a search (all, indoor) and shots "
            f"(1, 10), {dataset.name} has a direction: {', '.join(DIRECTIONS)}"
        )
    chosen = direction or ("visible-to-infrared" if lineage == "transposed" else DEFAULT_DIRECTION[dataset.name])
    if chosen not in DIRECTIONS:
        raise BadInput(f"expected a direction out of {', '.join(DIRECTIONS)}, got {direction!r}")
    return _regdb(dataset, lineage, chosen) if dataset.name == "regdb" else _llcm(dataset, lineage, chosen)


def _sysu(dataset: SysuDataset, lineage: str, search: str, shots: int, direction: str | None) -> Protocol:
    """SYSU-MM01: infrared probes, visible gallery, and who stands where the probe does is removed (A1)."""
    if search not in SEARCHES or shots not in SHOTS:
        raise BadInput(f"sysu: expected search all or indoor and 1 or 10 shots, got {search!r} and {shots}")
    if direction not in {None, "infrared-to-visible"}:
        raise BadInput(
            f"sysu: expected the direction infrared-to-visible, its only one, got {direction!r}; regdb and llcm have "
            "visible-to-infrared"
        )
    if lineage == "seeded" and shots != 1:
        raise BadInput(
            "the seeded lineage of sysu is single-shot only, got 10 shots: AGW draws one image, and the one multi-shot "
            "draw in public code uses a generator that is never seeded; take --lineage official"
        )
    probes = tuple(dataset.split("test", cameras=INFRARED_CAMERAS))
    cameras = GALLERY_CAMERAS[search]
    galleries = (
        [gallery_images(dataset, search, shots, trial) for trial in range(TRIALS)]
        if lineage == "official"
        else [seeded_gallery(dataset.split("test", cameras=cameras), trial) for trial in range(TRIALS)]
    )
    return Protocol(
        dataset="sysu",
        lineage=lineage,
        title=f"SYSU-MM01 {lineage}, {search}-search, {'single-shot' if shots == 1 else f'{shots}-shot'}",
        choices={"search": search, "shots": shots},
        identity_cmc=True,
        trials=tuple(_trial(dataset, probes, gallery) for gallery in galleries),
    )


def _regdb(dataset: Dataset, lineage: str, direction: Direction) -> Protocol:
    """RegDB: all images of one modality against all of the other, in the split of the dataset (A2)."""
    query, gallery = by_direction(dataset.split("test"), direction)
    counted = ", CMC over identities" if lineage == "mpanet" else ""
    return Protocol(
        dataset="regdb",
        lineage=lineage,
        title=f"RegDB {lineage}, {direction}{counted}",
        choices={"direction": direction, "trial": dataset.trial},
        identity_cmc=lineage == "mpanet",
        trials=(_trial(dataset, query, gallery),),
    )


def _llcm(dataset: Dataset, lineage: str, direction: Direction) -> Protocol:
    """LLCM: one drawn gallery image per person and camera, never of the query's own person and camera (A3)."""
    if lineage == "transposed" and direction != "visible-to-infrared":
        raise BadInput(
            f"the transposed lineage of llcm is visible-to-infrared only, got {direction}; the authors' script does "
            "infrared-to-visible correctly: take --lineage official"
        )
    query, pool = by_direction(dataset.split("test"), direction)
    drawn = [seeded_gallery(pool, trial) for trial in range(TRIALS)]
    title = f"LLCM {lineage}, {direction}"
    if lineage == "transposed":
        pairs = [(sampled, query) for sampled in drawn]
        title += f" ({TRANSPOSED})"
    else:
        pairs = [(query, sampled) for sampled in drawn]
    return Protocol(
        dataset="llcm",
        lineage=lineage,
        title=title,
        choices={"direction": direction},
        identity_cmc=True,
        trials=tuple(_trial(dataset, left, right) for left, right in pairs),
    )


def _trial(dataset: Dataset, query: Sequence[ImageRecord], gallery: Sequence[ImageRecord]) -> Trial:
    if not query or not gallery:
        raise BadInput(
            f"{dataset.folder}: expected test images of both modalities, got {len(query)} queries and "
            f"{len(gallery)} gallery images; check the folder and its lists of test identities"
        )
    return Trial(query=tuple(query), gallery=tuple(gallery), exclusion=EXCLUSIONS[dataset.name])


def score(
    protocol: Protocol,
    features: Mapping[str, NDArray[np.float32]],
    *,
    distance: Callable[[Trial], NDArray[np.floating]] | None = None,
) -> Scores:
    """Score unit vectors (D,), named by their image's `key`, by cosine.

    With distance, a trial is ranked by that matrix (Q, G) instead, lowest first: what re-ranking makes.
    """
    compare = (
        _cosines(protocol, features) if distance is None else lambda trial: -np.asarray(distance(trial), np.float64)
    )
    results = [
        evaluate(
            compare(trial),
            identities(trial.query),
            identities(trial.gallery),
            excluded_QG=trial.excluded(),
            identity_cmc=protocol.identity_cmc,
        )
        for trial in protocol.trials
    ]
    last = protocol.trials[-1]
    return Scores(trials=tuple(results), gallery=len(last.gallery), probes=len(last.query))


def _cosines(protocol: Protocol, features: Mapping[str, NDArray[np.float32]]) -> Callable[[Trial], NDArray[np.float64]]:
    """Return what gives a trial's similarities.

    Trials that share their queries and draw the same gallery images again and again (ten shots: 30,100 of 6,775) take
    their columns out of one product.
    """
    trials, query = protocol.trials, protocol.trials[0].query
    drawn = {key(record): record for trial in trials for record in trial.gallery}
    if any(trial.query != query for trial in trials) or 2 * len(drawn) > sum(len(trial.gallery) for trial in trials):
        return lambda trial: cosine(features, trial)
    column = {name: index for index, name in enumerate(drawn)}
    whole_QG = cosine(features, Trial(query=query, gallery=tuple(drawn.values())))
    return lambda trial: whole_QG[:, [column[key(record)] for record in trial.gallery]]


def cosine(features: Mapping[str, NDArray[np.float32]], trial: Trial) -> NDArray[np.float64]:
    """Compare unit vectors: the similarities of a trial (Q, G)."""
    query_QD, gallery_GD = stack(features, trial.query), stack(features, trial.gallery)
    return query_QD.astype(np.float64) @ gallery_GD.astype(np.float64).T


def stack(features: Mapping[str, NDArray[np.float32]], records: Sequence[ImageRecord]) -> NDArray[np.float32]:
    """Put the features of these images into one matrix (N, D)."""
    return np.stack([features[key(record)] for record in records])


def identities(records: Sequence[ImageRecord]) -> NDArray[np.int64]:
    return np.array([record.identity for record in records], np.int64)


def key(record: ImageRecord) -> str:
    """Name an image independently of where the tree lies: cam1/0001/0001.

    LLCM's cameras see both modalities: a modality that SYSU-MM01's camera of that number does not see goes in front.
    """
    name = f"cam{record.camera}/{record.identity:04d}/{record.path.stem}"
    expected = "infrared" if record.camera in INFRARED_CAMERAS else "visible"
    return name if record.modality == expected else f"{record.modality}/{name}"
