"""What `report.py` does once its arguments are read: open runs, embed the test images, score, write the page."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.atomic import write_text
from engines.errors import BadInput
from train.datasets.open import checked_split, open_dataset
from train.evaluation import embed_images, method_embedder
from train.protocol import DIRECTIONS, build_protocol, key, score
from train.reports.compare import comparison_page
from train.reports.runs import Evaluated, Run, labels, read_rows
from train.reports.sections import run_page
from train.reports.statistics import map_images
from train.run_folder import checkpoint_path, split_folders

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from train.checkpoint import Checkpoint
    from train.datasets.images import Dataset, ImageRecord
    from train.method import Method
    from train.protocol import Protocol

log = logging.getLogger(__name__)

SHOTS = 10  # of SYSU-MM01's multi-shot search


def run_report(args: argparse.Namespace) -> None:
    """Write the page that the arguments ask for; see report.py --help."""
    if (args.run is None) == (args.compare is None):
        raise BadInput("expected one RUN, or --compare with the runs to set side by side")
    paths: list[Path] = [args.run] if args.compare is None else args.compare
    if args.compare is not None and len(paths) < 2:
        raise BadInput("expected two or more runs behind --compare, got one; name it without --compare")
    opened = [open_run(path, label) for path, label in zip(paths, labels(paths), strict=True)]
    dataset = open_data(args, [run for run, _ in opened])
    protocols, left_out = choose_protocols(dataset)
    evaluated = [evaluate_run(run, checkpoint, dataset, protocols) for run, checkpoint in opened]
    if args.compare is not None:
        text = comparison_page(evaluated, dataset, protocols, left_out)
    else:
        shown = map_images(checked_split(dataset, "test"))
        text = run_page(evaluated[0], dataset, protocols, left_out, shown, before(opened[0][1], shown))
    out: Path = args.out or (opened[0][0].path.parent / "report.html" if args.compare is None else COMPARISON)
    write_text(out, text)
    log.info("wrote %s (%.1f MB)", out, out.stat().st_size / 1e6)


COMPARISON = Path("comparison.html")


def open_run(path: Path, label: str) -> tuple[Run, Checkpoint]:
    """Read a run folder, or one checkpoint of it; of a folder the chosen epoch, as evaluate_model.py does."""
    from train.checkpoint import build_method, load_checkpoint
    from train.methods import load

    if splits := split_folders(path):
        raise BadInput(
            f"{path}: expected one run, got the runs of {len(splits)} splits; name one, such as {splits[min(splits)]}"
        )
    file = checkpoint_path(path)
    checkpoint = load_checkpoint(file)
    method = build_method(checkpoint)
    run = Run(
        label=label,
        path=file,
        method=checkpoint.method_name,
        recipe=checkpoint.recipe,
        default=load(checkpoint.method_name).recipe_for(checkpoint.dataset.get("name", "sysu")),
        epoch=checkpoint.epoch,
        dataset=checkpoint.dataset,
        metrics=checkpoint.metrics,
        revision=checkpoint.git_revision,
        created=checkpoint.created,
        parameters=sum(parameter.numel() for parameter in method.parameters()),
        embedding_dim=method.embedding_dim,
        rows=read_rows(file.parent),
    )
    return run, checkpoint


def open_data(args: argparse.Namespace, runs: Sequence[Run]) -> Dataset:
    """Open the dataset of the runs, which must be one, with the split that they were trained for."""
    trained = {(str(run.dataset["name"]), int(run.dataset.get("trial", 1))) for run in runs if "name" in run.dataset}
    if len(trained) > 1:
        found = ", ".join(
            f"{run.label}: {run.dataset.get('name')}"
            + (f" split {run.dataset['trial']}" if "trial" in run.dataset else "")
            for run in runs
        )
        raise BadInput(f"expected runs of one data set and split, got {found}; compare what was trained for one test")
    name, trial = next(iter(trained), (args.dataset or "sysu", 1))
    if args.dataset is not None and args.dataset != name:
        name, trial = args.dataset, 1
    return open_dataset(name, args.data, trial=trial)


def choose_protocols(dataset: Dataset) -> tuple[list[Protocol], list[str]]:
    """Return the protocols that the tree has what they need for, and why others are left out."""
    if dataset.name != "sysu":
        return [build_protocol(dataset, direction=direction) for direction in DIRECTIONS], []
    protocols: list[Protocol] = []
    left_out: list[str] = []
    try:
        protocols = [build_protocol(dataset, search=search) for search in ("all", "indoor")]
    except BadInput as error:
        left_out.append(f"The official gallery draw is left out ({error}); the seeded lineage stands in for it.")
        return [build_protocol(dataset, lineage="seeded", search=search) for search in ("all", "indoor")], left_out
    images: dict[tuple[int, int], int] = {}
    for record in dataset.split("test"):
        if record.modality == "visible":
            images[record.identity, record.camera] = images.get((record.identity, record.camera), 0) + 1
    if max(images.values()) >= SHOTS:
        protocols += [build_protocol(dataset, search=search, shots=SHOTS) for search in ("all", "indoor")]
    else:
        left_out.append(
            f"Ten shots are left out: a person has at most {max(images.values())} images in a visible camera here."
        )
    return protocols, left_out


def evaluate_run(run: Run, checkpoint: Checkpoint, dataset: Dataset, protocols: Sequence[Protocol]) -> Evaluated:
    """Embed every test image once and score it by each protocol."""
    from train.checkpoint import build_method

    wanted = {key(record): record for record in checked_split(dataset, "test")}
    for protocol in protocols:
        wanted |= {key(record): record for record in protocol.images()}
    log.info("%s: embedding %d test images", run.label, len(wanted))
    features = embed(build_method(checkpoint), list(wanted.values()))
    return Evaluated(run=run, features=features, scores=tuple(score(protocol, features) for protocol in protocols))


def embed(method: Method, records: Sequence[ImageRecord]) -> dict[str, NDArray[Any]]:
    """Embed with the network as it ships, on a GPU where there is one."""
    import torch

    method = method.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return embed_images(method_embedder(method), records, method.recipe.height_px, method.recipe.width_px)


def before(checkpoint: Checkpoint, records: Sequence[ImageRecord]) -> dict[str, NDArray[Any]] | str:
    """Embed with the network as training began, or say why that network cannot be had any more."""
    method = initial_method(checkpoint)
    return method if isinstance(method, str) else embed(method, records)


def initial_method(checkpoint: Checkpoint) -> Method | str:
    """Build the network as train.loop begins with it: seeded, with the ImageNet weights that the run names."""
    import torch

    from train.methods import load

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(checkpoint.recipe.seed)
        method = load(checkpoint.method_name)(checkpoint.recipe, checkpoint.identity_count)
    pretrained = checkpoint.dataset.get("pretrained")
    if pretrained is not None:
        from train.imagenet import imagenet_weights

        try:
            weights, source = imagenet_weights(Path(pretrained), checkpoint.recipe.backbone, _no_download)
        except BadInput as error:
            return f"Training began with the ImageNet weights {pretrained}, which cannot be read now ({error})"
        method.load_backbone(weights, source)
    return method.eval()


def _no_download(url: str) -> None:
    raise OSError("a report fetches nothing")
