"""Turn checkpoints of the methods' public code into ours: every key must fit, and nothing is dropped in silence.

MPANet and MCJA publish one state dict, AlignGAN eight files a step. What differs without harm is undone and logged: the
"module." that DataParallel puts before every key, and a dict that wraps the state dict.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engines.atomic import write_text
from engines.errors import BadInput
from engines.manifest import sha256_of
from train.checkpoint import Checkpoint, save_checkpoint
from train.methods import load
from train.recipe import override
from train.weights import Misfit, compare, impossible_values, read_weights

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from train.method import Method

log = logging.getLogger(__name__)

KIND = "checkpoint of a method's public code"
WRAPPERS = ("state_dict", "model")
DATA_PARALLEL = "module."
IN_PARTS = ("aligngan",)  # saved as model-{0..7}_{step}.pkl; part 6's "module.x" becomes "6.module.x"
PARTS = 8
PART_NAME = re.compile(r"model-([0-7])_(\d+)\.pkl")
OWN_TYPES = {"torch.float32", "torch.int64"}
NAMED_KEYS = 3  # of each sort, in the error; the report has them all


@dataclass(frozen=True, kw_only=True)
class PublicWeights:
    """A checkpoint of public code, under the keys of its files."""

    weights: dict[str, Tensor]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()  # what differed without harm


def run_import(args: argparse.Namespace) -> None:
    """Import as the arguments say, and print what was found; see import_checkpoint.py --help."""
    checkpoint, method = import_checkpoint(args.method, args.file, args.out, settings=args.set, report=args.report)
    parameters = sum(parameter.numel() for parameter in method.parameters())
    sys.stdout.write(
        f"{args.method}: {checkpoint.identity_count} identities, {checkpoint.recipe.backbone}, "
        f"D {method.embedding_dim}, {parameters:,} parameters, all {len(checkpoint.model)} keys\n"
        f"wrote {args.out}; next: python train/evaluate_model.py {args.out} --data FOLDER\n"
        f"or: python deploy/build_engine.py {args.out} --data FOLDER\n"
    )


def import_checkpoint(
    method_name: str, file: Path, out: Path, *, settings: Sequence[str] = (), report: Path | None = None
) -> tuple[Checkpoint, Method]:
    """Write out from file; report lists every key that does not fit. Returns a network of shapes without values."""
    kind = load(method_name)
    if out.exists():
        raise BadInput(f"expected a new file for --out, got {out}, which exists; remove it first or name another")
    public = read_public(method_name, file)
    for note in public.notes:
        log.info("%s: %s", file, note)
    findings = {"method": method_name, "file": str(file), "notes": public.notes, "keys": list(public.weights)}
    try:
        recipe, identity_count = kind.public_shape(public.weights)
    except (BadInput, IndexError, KeyError, TypeError) as error:  # too few keys or axes to tell the network's size
        _write_report(report, {**findings, "problem": str(error)})
        raise BadInput(f"{file}: {error}") from error
    recipe = override(recipe, settings)
    with torch.device("meta"):
        method = kind(recipe, identity_count)
    own = method.state_dict()
    names = {name: method.public_name(name) for name in own}
    misfit = compare({names[name]: value for name, value in own.items()}, public.weights)
    impossible = impossible_values(public.weights)
    _write_report(report, {**findings, **dataclasses.asdict(misfit), "impossible": impossible})
    if misfit or impossible:
        full = f"{report} lists all" if report is not None else "--report FILE lists all"
        raise BadInput(
            f"{file}: expected the {len(own)} keys of {method_name} ({recipe.backbone}, {identity_count} identities), "
            f"got {len(public.weights)}: {_summary(misfit, impossible)}; {full}"
        )
    for kind_of_number in sorted({str(value.dtype) for value in public.weights.values()} - OWN_TYPES):
        log.info("%s: values in %s are stored in the network's own precision", file, kind_of_number)
    checkpoint = Checkpoint(
        method_name=method_name,
        recipe=recipe,
        identity_count=identity_count,
        epoch=recipe.epochs,
        model={name: public.weights[names[name]].detach().to(value.dtype) for name, value in own.items()},
        optimizer={},
        dataset={
            "imported_from": file.name,
            "sha256": {path.name: sha256_of(path) for path in public.files},
            "train_on": list(recipe.train_on),  # whom an engine's threshold must not be set with
        },
    )
    save_checkpoint(out, checkpoint)
    return checkpoint, method


def _write_report(report: Path | None, findings: Mapping[str, object]) -> None:
    if report is None:
        return
    try:
        write_text(report, json.dumps(findings, indent=2) + "\n")
    except OSError as error:
        raise BadInput(f"{report}: could not write the report ({error}); name another file with --report") from error


def _summary(misfit: Misfit, impossible: Sequence[str]) -> str:
    sorts = {
        "missing": misfit.missing,
        "unexpected": misfit.unexpected,
        "of another shape": misfit.unfit,
        "impossible": impossible,
    }
    return "; ".join(
        f"{len(keys)} {sort} ({', '.join(keys[:NAMED_KEYS])}{', ...' if len(keys) > NAMED_KEYS else ''})"
        for sort, keys in sorts.items()
        if keys
    )


def read_public(method_name: str, file: Path) -> PublicWeights:
    """Read the tensors of a public checkpoint and undo what differs without harm."""
    if method_name in IN_PARTS:
        return _read_parts(file)
    weights, notes = _state_dict(file)
    if weights and all(name.startswith(DATA_PARALLEL) for name in weights):
        weights = {name.removeprefix(DATA_PARALLEL): value for name, value in weights.items()}
        notes.append(f"every key began with {DATA_PARALLEL!r} (DataParallel), which was taken off")
    return PublicWeights(weights=weights, files=(file,), notes=tuple(notes))


def _state_dict(file: Path) -> tuple[dict[str, Tensor], list[str]]:
    raw = read_weights(file, KIND)
    notes: list[str] = []
    if "crosslight_checkpoint" in raw:
        raise BadInput(f"{file}: expected a {KIND}, got a Crosslight checkpoint; it needs no import")
    wrapped = [name for name in WRAPPERS if isinstance(raw.get(name), dict)]
    if len(wrapped) == 1:
        beside = ", ".join(str(name) for name in raw if name not in wrapped) or "nothing"
        notes.append(f"the state dict lay under {wrapped[0]!r}; beside it and left out: {beside}")
        raw = raw[wrapped[0]]
    foreign = [str(name) for name, value in raw.items() if not (isinstance(name, str) and _is_plain(value))]
    if foreign or not raw:
        held = f"{', '.join(foreign[:NAMED_KEYS])} of {len(raw)}, which are none" if foreign else "nothing"
        raise BadInput(f"{file}: expected a state dict of named tensors, got {held}; save model.state_dict() alone")
    return raw, notes


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def _read_parts(file: Path) -> PublicWeights:
    folder, steps = _steps(file)
    complete = [step for step, parts in steps.items() if len(parts) == PARTS]
    if not complete:
        lacking = {step: ", ".join(_absent(step, steps[step])) for step in sorted(steps, reverse=True)}
        found = "; ".join(f"step {step} lacks {names}" for step, names in list(lacking.items())[:NAMED_KEYS]) or "none"
        raise BadInput(f"{folder}: expected model-0_STEP.pkl to model-{PARTS - 1}_STEP.pkl of one step, got {found}")
    step = max(complete)
    notes = [f"step {step}, of the complete steps {', '.join(map(str, sorted(complete)))}"]
    notes += [f"newer step {new} lacks {', '.join(_absent(new, steps[new]))}" for new in sorted(steps) if new > step]
    files = tuple(folder / f"model-{part}_{step}.pkl" for part in range(PARTS))
    weights: dict[str, Tensor] = {}
    for part, path in enumerate(files):
        tensors, more = _state_dict(path)
        weights |= {f"{part}.{name}": value for name, value in tensors.items()}
        notes += [f"{path.name}: {note}" for note in more]
    return PublicWeights(weights=weights, files=files, notes=tuple(notes))


def _steps(file: Path) -> tuple[Path, dict[int, set[int]]]:
    """Return the folder, and which parts each step has; a file stands for its own step alone."""
    named = PART_NAME.fullmatch(file.name)
    if not file.is_dir() and not (named and file.is_file()):
        raise BadInput(f"expected the folder with model-0_STEP.pkl to model-{PARTS - 1}_STEP.pkl, got {file}")
    folder = file if file.is_dir() else file.parent
    steps: dict[int, set[int]] = {}
    for path in folder.iterdir():
        if match := PART_NAME.fullmatch(path.name):
            steps.setdefault(int(match[2]), set()).add(int(match[1]))
    if named and not file.is_dir():
        steps = {step: parts for step, parts in steps.items() if step == int(named[2])}
    return folder, steps


def _absent(step: int, parts: set[int]) -> list[str]:
    return [f"model-{part}_{step}.pkl" for part in range(PARTS) if part not in parts]
