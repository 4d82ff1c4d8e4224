"""A calibration on site from its command line: evidence from cameras or a file, then thresholds, table and picture."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from deploy.thresholds.evidence import load_evidence
from deploy.thresholds.recorder import EvidenceRecorder
from deploy.thresholds.relations import Walk
from deploy.thresholds.report import table, write_picture
from deploy.thresholds.site import calibrate
from engines.errors import BadInput
from engines.manifest import load_manifest
from engines.model_id import model_id

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.thresholds.evidence import Evidence


def run(args: argparse.Namespace) -> int:
    """Calibrate and write what the evidence supports; exit code 1 where it supports no direction."""
    walks = [walk_of(words) for words in args.walker]
    picture: Path = args.picture or args.out.with_suffix(".png")
    _refuse(args, picture)
    evidence = load_evidence(args.evidence) if args.evidence is not None else _collect(args)
    if args.engine is not None:
        _refuse_other_model(evidence, args.engine)
    if args.save_evidence is not None:
        evidence.save(args.save_evidence)  # before anything can be wrong with the walks: the minutes are spent
    found = calibrate(evidence, false_match_rate=args.false_match_rate, walks=walks)
    sys.stdout.write(table(found))
    write_picture(found, picture)
    if not found.thresholds.measured:
        sys.stderr.write(f"no thresholds were written: see above what is missing; picture: {picture}\n")
        return 1
    found.thresholds.save(args.out)
    sys.stderr.write(f"thresholds: {args.out}, picture: {picture}; use them with run_cameras.py --thresholds\n")
    return 0


def walk_of(words: Sequence[str]) -> Walk:
    """Read FROM TO [NAME] of --walker."""
    try:
        from_s, to_s, name = float(words[0]), float(words[1]), words[2] if len(words) == 3 else "walker"
    except (ValueError, IndexError):
        from_s = to_s = name = None
    if from_s is None or to_s is None or name is None or len(words) > 3:
        raise BadInput(f"--walker: expected FROM TO [NAME], times in seconds, got {' '.join(words)}")
    return Walk(from_s=from_s, to_s=to_s, name=name)


def _refuse(args: argparse.Namespace, picture: Path) -> None:
    """Say what cannot work before minutes are spent."""
    cameras = [name for name in ("rgb", "ir", "site") if getattr(args, name)]
    if args.evidence is not None and cameras:
        raise BadInput(f"expected --evidence or cameras, got both (--{cameras[0]}); leave one out")
    if args.evidence is None and not cameras:
        raise BadInput("expected --evidence FILE, --site FILE, or --rgb and --ir, got none of them")
    if not args.minutes > 0:
        raise BadInput(f"--minutes: expected more than 0, got {args.minutes:g}")
    if not 0 < args.false_match_rate < 1:
        raise BadInput(f"--false-match-rate: expected a share between 0 and 1, got {args.false_match_rate:g}")
    if picture.suffix.lower() != ".png":
        raise BadInput(f"--picture: expected a file name that ends in .png, got {picture.name}")
    if picture == args.out:
        raise BadInput(f"--out: expected a file for the thresholds, got {args.out}, which is the picture")


def _collect(args: argparse.Namespace) -> Evidence:
    from deploy.assembly.installation import collect_evidence
    from deploy.settings.options import options_of

    recorder = EvidenceRecorder()
    collect_evidence(options_of(args), recorder, seconds=60 * args.minutes)
    return recorder.evidence()


def _refuse_other_model(evidence: Evidence, engine: Path) -> None:
    wanted = model_id(load_manifest(engine))
    if evidence.model != wanted:
        raise BadInput(
            f"--evidence: expected evidence of {engine}, model {wanted}, got that of model {evidence.model} "
            f"({evidence.engine}); cosines of two models do not compare: record with this engine"
        )
