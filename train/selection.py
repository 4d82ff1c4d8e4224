"""Which epoch's network a run ends with.

The sound ways are the last epoch, or the best one on validation identities that were not trained on. Published codes
keep the epoch that scores best on the test set; that is offered to reproduce them and marks everything it touches.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from train.checkpoint import load_checkpoint, save_checkpoint
from train.run_folder import BEST_NAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from train.checkpoint import Checkpoint
    from train.method import Method
    from train.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Scores the network every few epochs; with keep_best, the best epoch is kept beside the last."""

    split: Literal["val", "test"]
    every: int
    score: Callable[[Method], Metrics]
    keep_best: bool

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether this many complete epochs call for a score; the last one does."""
        return self.every > 0 and (epoch % self.every == 0 or epoch == epochs)

    def judge(self, method: Method, epoch: int) -> dict[str, float]:
        """Score the network and say so."""
        found = self.score(method)
        name = "validation" if self.split == "val" else "TEST"
        log.info("epoch %d  %s rank-1 %.1f %%  mAP %.1f %%", epoch, name, 100 * found.rank1, 100 * found.mean_ap)
        return {"rank1": found.rank1, "mean_ap": found.mean_ap, "mean_inp": found.mean_inp}

    def keep(self, checkpoint: Checkpoint, scores: dict[str, float], folder: Path) -> None:
        """Write best.pt if this epoch is better than the one there: by mAP, on the test set by rank-1 as they do."""
        if not self.keep_best:
            return
        path, criterion = folder / BEST_NAME, "mean_ap" if self.split == "val" else "rank1"
        earlier: dict[str, Any] = load_checkpoint(path).metrics if path.is_file() else {}
        if earlier and earlier["epoch"] < checkpoint.epoch and earlier[criterion] >= scores[criterion]:
            return
        chosen = {"selected_by": self.split, "epoch": checkpoint.epoch, **scores}
        save_checkpoint(path, dataclasses.replace(checkpoint, metrics=chosen, optimizer={}))
