"""What a page says of a run without looking at an image: where it comes from and what it was made with. Torch-free."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.errors import BadInput
from train.datasets.open import PUBLISHED, TITLES, Counts
from train.run_folder import METRICS_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from train.datasets.images import Dataset
    from train.protocol import Scores
    from train.recipe import Recipe

    Row = dict[str, Any]

METHOD_TITLES = {
    "aligngan": "AlignGAN",
    "baseline": "Baseline",
    "imfe": "IMFE (a reconstruction after the abstract)",
    "mcja": "MCJA",
    "mpanet": "MPANet",
}
NONE = "–"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A checkpoint of a run folder and the folder's rows of metrics."""

    label: str  # names the run on the page
    path: Path  # the checkpoint
    method: str
    recipe: Recipe
    default: Recipe  # the authors' numbers for the dataset
    epoch: int  # complete epochs of this checkpoint
    dataset: Mapping[str, Any]  # what it was trained on
    metrics: Mapping[str, Any]  # how this checkpoint was chosen
    revision: str
    created: str
    parameters: int
    embedding_dim: int
    rows: Sequence[Row]

    @property
    def title(self) -> str:
        return METHOD_TITLES.get(self.method, self.method)

    @property
    def commit(self) -> str:
        """The commit, short, with a mark where files differed from it."""
        return self.revision[:10] + (" + changes" if self.revision.endswith("+changes") else "")

    @property
    def date(self) -> str:
        return self.created.replace("T", " ").replace("+00:00", " UTC") or "unknown"

    @property
    def selection(self) -> str:
        """How the checkpoint's epoch was chosen."""
        chosen = self.metrics.get("selected_by", "last")
        if chosen == "val":
            return "selected on the validation identities"
        if chosen == "test":
            return "SELECTED ON THE TEST SET"
        return "last epoch" if self.epoch >= self.recipe.epochs else "last complete epoch, the run is not finished"

    def differences(self) -> list[tuple[str, Any, Any]]:
        """List the settings that are not the default's: name, default, this run."""
        default = dataclasses.asdict(self.default)
        return [
            (name, default.get(name), value)
            for name, value in dataclasses.asdict(self.recipe).items()
            if default.get(name) != value
        ]

    def course(self, name: str) -> dict[int, float]:
        """A loss term over the epochs; the sum of all terms under the name total."""
        if name == "total":
            return {row["epoch"]: row["loss"] for row in self.rows}
        return {row["epoch"]: row["losses"][name] for row in self.rows if name in row["losses"]}


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A run's unit vectors of the test images by key, and its scores in the order of the protocols."""

    run: Run
    features: Mapping[str, NDArray[Any]]
    scores: tuple[Scores, ...]


def read_rows(folder: Path) -> list[Row]:
    """Read metrics.jsonl of a run folder."""
    path = folder / METRICS_NAME
    if not path.is_file():
        raise BadInput(f"{folder}: expected {METRICS_NAME} beside the checkpoint, got none; name a run folder")
    rows: list[Row] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            rows.append({**row, **{name: row[name] for name in ("epoch", "loss", "losses", "lr", "images_per_s")}})
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path}: expected one object an epoch, line {number} is none ({error!r})") from error
    if not rows:
        raise BadInput(f"{path}: expected at least one complete epoch, got an empty file; train first")
    return rows


def labels(paths: Sequence[Path]) -> list[str]:
    """Name runs by their folder, by more of the path where two folders have one name."""
    depth = 1
    parts = [path.resolve().parent.parts if path.is_file() else path.resolve().parts for path in paths]
    while depth < max(map(len, parts)) and len({found[-depth:] for found in parts}) < len(set(parts)):
        depth += 1
    names = ["/".join(found[-depth:]) for found in parts]
    twice = {name for name in names if names.count(name) > 1}  # two checkpoints of one folder
    return [f"{name}/{path.name}" if name in twice else name for name, path in zip(names, paths, strict=True)]


def data_title(dataset: Dataset) -> str:
    """Name the dataset by what its test split holds: another tree in the same layout is not called by its name."""
    title, records = TITLES[dataset.name], dataset.split("test")
    visible = sum(record.modality == "visible" for record in records)
    found = Counts(len(dataset.identities["test"]), visible, len(records) - visible)
    return title if PUBLISHED[dataset.name]["test",] == found else f"data in the layout of {title}"


def percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def spread(value: float, deviation: float, trials: int) -> str:
    """A mean in percent with its deviation over the trials; one trial has none."""
    return f"{100 * value:.2f} ± {100 * deviation:.2f}" if trials > 1 else f"{100 * value:.2f}"


def setting(value: Any) -> str:
    """A recipe's value as --set takes it."""
    return NONE if value is None else value if isinstance(value, str) else json.dumps(value)
