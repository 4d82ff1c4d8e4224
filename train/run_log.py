"""What a run writes of its course: one JSON object an epoch, TensorBoard scalars, and a line for people."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from engines.atomic import write_text
from train.run_folder import METRICS_NAME

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

TENSORBOARD_NAME = "tensorboard"


class RunLog:
    """The course of one run; rows of epochs from first_epoch on are dropped, they are about to be trained again."""

    def __init__(self, folder: Path, first_epoch: int) -> None:
        from tensorboardX import SummaryWriter

        self.path = folder / METRICS_NAME
        rows = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        kept = [row for row in rows if json.loads(row)["epoch"] <= first_epoch]
        write_text(self.path, "".join(row + "\n" for row in kept))
        self.board = SummaryWriter(str(folder / TENSORBOARD_NAME), purge_step=first_epoch + 1)

    def write(self, row: dict[str, Any], epochs: int) -> None:
        """Add one epoch."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        epoch = row["epoch"]
        scalars = {f"loss/{name}": value for name, value in row["losses"].items()}
        scalars |= {"loss/total": row["loss"], "lr": row["lr"], "images_per_s": row["images_per_s"]}
        for split in ("validation", "test"):
            scalars |= {f"{split}/{name}": value for name, value in row.get(split, {}).items()}
        for name, value in scalars.items():
            self.board.add_scalar(name, value, epoch)
        self.board.flush()
        terms = " ".join(f"{name} {value:.4f}" for name, value in row["losses"].items())
        log.info(
            "epoch %d/%d  loss %.4f (%s)  lr %.2g  %.0f images/s  %s left",
            epoch, epochs, row["loss"], terms, row["lr"], row["images_per_s"], clock(row["seconds"] * (epochs - epoch)),
        )  # fmt: skip

    def close(self) -> None:
        self.board.close()


def clock(seconds: float) -> str:
    """Show a duration as hours:minutes:seconds."""
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
