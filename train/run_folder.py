"""What lies in a run folder, by name. Torch-free, because a device's scripts look for checkpoints too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train.datasets.regdb import TRIALS

if TYPE_CHECKING:
    from pathlib import Path

CHECKPOINT_NAME = "checkpoint.pt"  # the last complete epoch
BEST_NAME = "best.pt"  # the epoch that the run chose, if it chose one
METRICS_NAME = "metrics.jsonl"


def checkpoint_path(path: Path) -> Path:
    """Return the checkpoint of a run folder: the chosen epoch if there is one, else the last; a file is itself."""
    if not path.is_dir():
        return path
    best = path / BEST_NAME
    return best if best.is_file() else path / CHECKPOINT_NAME


def split_folder(path: Path, trial: int) -> Path:
    """Return where a run with --all-splits keeps the model of one RegDB split."""
    return path / f"split-{trial}"


def split_folders(path: Path) -> dict[int, Path]:
    """Map the RegDB splits of a run with --all-splits to their run folders; empty for any other model."""
    folders = {trial: split_folder(path, trial) for trial in TRIALS}
    return {trial: folder for trial, folder in folders.items() if checkpoint_path(folder).is_file()}
