"""SYSU-MM01's official evaluation protocol (shared/spec/protocols.md A1; the authors' MATLAB code).

Torch-free. Shapes: N images, D embedding, Q probes, G gallery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from engines.errors import BadInput
from train.datasets.sysu import INFRARED_CAMERAS
from train.metrics import Metrics, evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from train.datasets.images import ImageRecord
    from train.datasets.sysu import SysuDataset

Search = Literal["all", "indoor"]
SEARCHES: tuple[Search, ...] = ("all", "indoor")
GALLERY_CAMERAS: dict[Search, tuple[int, ...]] = {"all": (1, 2, 4, 5), "indoor": (1, 2)}
SHOTS = (1, 10)
TRIALS = 10


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The mean over trials, and each trial."""

    search: Search
    shots: int
    trials: tuple[Metrics, ...]
    gallery: int  # images of one trial's gallery
    probes: int  # valid and invalid

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
    def cmc_R(self) -> NDArray[np.float64]:
        length = min(len(trial.cmc_R) for trial in self.trials)
        return np.mean([trial.cmc_R[:length] for trial in self.trials], axis=0)


def probe_images(dataset: SysuDataset) -> list[ImageRecord]:
    """Every infrared image of the test identities: the probes of both searches and all trials."""
    return dataset.split("test", cameras=INFRARED_CAMERAS)


def gallery_images(dataset: SysuDataset, search: Search, shots: int, trial: int) -> list[ImageRecord]:
    """Draw one trial's gallery: camera by camera, identity ascending, in the order of the official permutation.

    The i-th image is the i-th in ascending file name. An identity with fewer images than shots gives what it has.
    """
    if search not in SEARCHES or shots not in SHOTS or not 0 <= trial < TRIALS:
        raise BadInput(f"expected search all or indoor, 1 or 10 shots, trial 0 to 9; got {search}, {shots}, {trial}")
    drawn: list[ImageRecord] = []
    for camera in GALLERY_CAMERAS[search]:
        by_identity: dict[int, list[ImageRecord]] = {}
        for record in dataset.split("test", cameras=(camera,)):
            by_identity.setdefault(record.identity, []).append(record)
        for identity, records in by_identity.items():
            rows = dataset.permutations.get((camera, identity))
            if rows is None or rows.shape[1] != len(records):
                listed = 0 if rows is None else rows.shape[1]
                raise BadInput(
                    f"{dataset.folder}: rand_perm_cam.mat lists {listed} images of identity {identity} in camera "
                    f"{camera}, the folder holds {len(records)}; restore the missing files or remove the stray ones"
                )
            drawn += [records[index - 1] for index in rows[trial, :shots]]
    return drawn


def score(
    dataset: SysuDataset,
    embeddings: dict[str, NDArray[np.float32]],
    *,
    search: Search = "all",
    shots: int = 1,
    trials: Sequence[int] = tuple(range(TRIALS)),
) -> Scores:
    """Score embeddings by the official protocol; embeddings maps a record's `key` to its unit vector (D,)."""
    probes = probe_images(dataset)
    probe_QD = np.stack([embeddings[key(record)] for record in probes]).astype(np.float64)
    results: list[Metrics] = []
    gallery: list[ImageRecord] = []
    for trial in trials:
        gallery = gallery_images(dataset, search, shots, trial)
        gallery_GD = np.stack([embeddings[key(record)] for record in gallery]).astype(np.float64)
        results.append(
            evaluate(
                probe_QD @ gallery_GD.T,
                [record.identity for record in probes],
                [record.camera for record in probes],
                [record.identity for record in gallery],
                [record.camera for record in gallery],
            )
        )
    return Scores(search=search, shots=shots, trials=tuple(results), gallery=len(gallery), probes=len(probes))


def key(record: ImageRecord) -> str:
    """Name an image independently of where the tree lies: cam1/0001/0001."""
    return f"cam{record.camera}/{record.identity:04d}/{record.path.stem}"
