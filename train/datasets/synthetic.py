"""Write a data set of rendered people in exactly the layout of SYSU-MM01.

Every image is drawn from (seed, camera, identity, index), so the tree is the same byte for byte for any number of
workers. The people are drawn by synthetic_person, the pictures by synthetic_camera.

How hard the default is (seed 0, 60 unseen test identities, official single-shot all-search, rank-1 in %, chance 1.7):

    features                                             infrared->visible   visible->visible   infrared->infrared
    pixels, 64 x 32                                                    5.2               21.9                 10.2
    pixels, PCA to 150 and LDA on the training people                 14.7               58.9                 30.0
    residual network of 0.4 M parameters, 337 steps of 96             22.5               79.4                 65.3
    the same, 600 steps (4.5 minutes of one core)                     29.0               89.7                 72.2
    size of the file alone                                             1.4                1.6                    -
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from engines.atomic import new_folder
from engines.errors import BadInput
from engines.progress import progress
from train.datasets.images import SPLITS, Split
from train.datasets.synthetic_camera import SceneStyle, render_crop
from train.datasets.synthetic_person import draw_person
from train.datasets.synthetic_tailor import make_solids
from train.datasets.sysu import CAMERAS, INFRARED_CAMERAS, VISIBLE_CAMERAS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from train.datasets.synthetic_material import InfraredKind

    Counts = dict[tuple[int, int], int]  # (camera, identity) -> number of images

INDOOR_CAMERAS = (1, 2)
TRIALS = 10  # rows of a permutation, as in the official file


@dataclass(frozen=True, kw_only=True)
class DatasetShape:
    """How many people and pictures. The default trains on a CPU in minutes."""

    train_identities: int = 320
    val_identities: int = 20
    test_identities: int = 60
    visible_images: int = 2  # of an identity in one visible camera, on average
    infrared_images: int = 4
    indoor_share: float = 0.58  # of the people were seen by cameras 1 and 2; 56 of 96 in SYSU-MM01's test split
    presence: float = 0.98  # chance that cameras 3 to 6 saw a person; 378 of 384 there


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that decides what is written."""

    identities: dict[Split, tuple[int, ...]]
    counts: Counts
    seed: int = 0
    style: SceneStyle = field(default_factory=SceneStyle)
    infrared: InfraredKind = "nir"
    blank: bool = False  # 4 x 8 grey images: for tests that only count

    @property
    def image_count(self) -> int:
        return sum(self.counts.values())


def draw_counts(shape: DatasetShape, seed: int) -> tuple[dict[Split, tuple[int, ...]], Counts]:
    """Draw which camera saw whom how often; everyone is seen in both modalities."""
    ends = np.cumsum((shape.train_identities, shape.val_identities, shape.test_identities))
    if min(shape.train_identities, shape.val_identities, shape.test_identities) < 1 or ends[-1] > 9999:
        raise BadInput(f"expected at least 1 identity in each split and at most 9999 in all, got {shape}")
    identities: dict[Split, tuple[int, ...]] = {
        split: tuple(range(int(end) - size + 1, int(end) + 1))
        for split, end, size in zip(
            SPLITS, ends, (shape.train_identities, shape.val_identities, shape.test_identities), strict=True
        )
    }
    counts: Counts = {}
    for identity in range(1, int(ends[-1]) + 1):
        rng = np.random.default_rng((seed, 3, identity))
        indoor = rng.random() < shape.indoor_share
        draws = {camera: rng.random() for camera in CAMERAS}
        for camera in CAMERAS:
            seen = indoor if camera in INDOOR_CAMERAS else draws[camera] < shape.presence
            lacks = camera == VISIBLE_CAMERAS[-1] and not any((other, identity) in counts for other in VISIBLE_CAMERAS)
            lacks = lacks or (camera == INFRARED_CAMERAS[-1] and (INFRARED_CAMERAS[0], identity) not in counts)
            if seen or lacks:
                mean = shape.infrared_images if camera in INFRARED_CAMERAS else shape.visible_images
                counts[camera, identity] = max(1, round(mean * rng.uniform(0.7, 1.3)))
    return identities, counts


def write_dataset(plan: Plan, target: Path, *, workers: int = 1, official_exp: Path | None = None) -> int:
    """Write the tree in one piece and return the number of images; official_exp's files are copied into exp/."""
    with new_folder(target) as partial:
        for camera in CAMERAS:
            (partial / f"cam{camera}").mkdir()
        _write_exp(plan, partial / "exp", official_exp)
        people = sorted({identity for _, identity in plan.counts})
        steps = _write_people(plan, partial, people, workers)
        for _ in progress(steps, total=len(people), unit="people", label="write"):
            pass
    return plan.image_count


def _write_people(plan: Plan, folder: Path, people: Sequence[int], workers: int) -> Iterator[int]:
    if workers <= 1:
        for identity in people:
            yield _write_person(plan, folder, identity)
        return
    # Spawned, not forked: a process that has started threads (OpenCV, torch) must not be forked.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_write_person, plan, folder, identity) for identity in people]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _write_person(plan: Plan, folder: Path, identity: int) -> int:
    """Write one identity's pictures of all cameras; returns how many."""
    render = _blank_renderer() if plan.blank else _renderer(plan, identity)
    written = 0
    for camera in CAMERAS:
        count = plan.counts.get((camera, identity), 0)
        if count:
            place = folder / f"cam{camera}" / f"{identity:04d}"
            place.mkdir()
        for index in range(1, count + 1):
            (folder / f"cam{camera}" / f"{identity:04d}" / f"{index:04d}.jpg").write_bytes(render(camera, index))
            written += 1
    return written


def _renderer(plan: Plan, identity: int) -> Callable[[int, int], bytes]:
    cv2.setNumThreads(1)  # the processes are the parallelism
    person = draw_person(plan.seed, identity)
    solids = make_solids(person)

    def render(camera: int, index: int) -> bytes:
        rng = np.random.default_rng((plan.seed, 4, camera, identity, index))
        crop_HWC = render_crop(person, solids, camera, rng, seed=plan.seed, style=plan.style, infrared=plan.infrared)
        quality = int(rng.integers(*plan.style.jpeg_quality))
        return cv2.imencode(".jpg", crop_HWC, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()

    return render


def _blank_renderer() -> Callable[[int, int], bytes]:
    data = cv2.imencode(".jpg", np.full((8, 4, 3), 127, np.uint8))[1].tobytes()
    return lambda camera, index: data


def _write_exp(plan: Plan, folder: Path, official_exp: Path | None) -> None:
    folder.mkdir()
    if official_exp is not None:
        for path in sorted(official_exp.iterdir()):
            if path.suffix in (".txt", ".mat"):
                shutil.copyfile(path, folder / path.name)
        return
    for split in SPLITS:
        _write_identities(folder / f"{split}_id.txt", plan.identities[split])
    _write_identities(
        folder / "available_id.txt", sorted(identity for split in SPLITS for identity in plan.identities[split])
    )
    (folder / "rand_perm_cam.mat").write_bytes(permutation_file(plan.counts, plan.seed))


def _write_identities(path: Path, identities: Sequence[int]) -> None:
    path.write_text(",".join(str(identity) for identity in identities) + "\n", encoding="utf-8")


def permutation_file(counts: Counts, seed: int) -> bytes:
    """Draw the galleries as the official rand_perm_cam.mat does; without the date that scipy puts in the header."""
    from scipy.io import savemat

    last = max(identity for _, identity in counts)
    cameras = np.empty((len(CAMERAS), 1), object)
    for camera in CAMERAS:
        cell = np.empty((last, 1), object)
        for identity in range(1, last + 1):
            rng = np.random.default_rng((seed, 5, camera, identity))
            count = counts.get((camera, identity), 0)
            rows = np.empty((TRIALS, count), np.uint8)
            for trial in range(TRIALS):
                rows[trial] = rng.permutation(count) + 1
            cell[identity - 1, 0] = rows
        cameras[camera - 1, 0] = cell
    buffer = BytesIO()
    savemat(buffer, {"rand_perm_cam": cameras}, do_compression=True)
    header = b"MATLAB 5.0 MAT-file, written by Crosslight".ljust(116)
    return header + buffer.getvalue()[116:]


def default_workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
