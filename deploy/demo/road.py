"""The demonstration: the public commands, one behind the other as a user would type them, and a report."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from engines.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
# Everything that the demo writes; a second run removes these and nothing else.
OUTPUTS = ("data", "streams", "run", "engine", "scores", "sightings.jsonl", "out.mp4", "report.html")


@dataclass(frozen=True, kw_only=True)
class DemoSize:
    """How much is drawn and trained."""

    identities: tuple[int, int, int]  # train, val, test
    epochs: int
    people: int  # who walk through the two streams
    build: tuple[str, ...]  # flags of build_engine


FULL = DemoSize(
    identities=(320, 60, 60),
    epochs=18,
    people=8,
    # Twenty people are too few to hold mAP to half a point, and cameras that see the same place at the same time can
    # afford more false matches than an open search: only who is in both pictures is compared.
    build=("--calibration-images", "256", "--max-map-drop", "2", "--false-match-rate", "0.1"),
)
# Shows that every stage works, in a minute or two; the figures of such a run mean nothing.
QUICK = DemoSize(identities=(24, 8, 8), epochs=2, people=2, build=("--calibration-images", "32", "--accept-drift"))


@dataclass(frozen=True)
class Step:
    """One command of the road."""

    title: str
    arguments: tuple[str, ...]  # behind `python`

    @property
    def typed(self) -> str:
        """The command as a user would type it."""
        return "python " + shlex.join(self.arguments)


@dataclass(frozen=True)
class Done:
    """A step that ran, and how long it took."""

    step: Step
    seconds: float


def demo_steps(out: Path, size: DemoSize) -> list[Step]:
    """List the commands; out is the folder that they share."""
    data, run, engine, scores = (str(out / name) for name in ("data", "run", "engine", "scores"))
    streams, sightings, video = out / "streams", str(out / "sightings.jsonl"), str(out / "out.mp4")
    settings = (
        "backbone=resnet_small",
        "height_px=96",
        "width_px=48",
        "identities_per_batch=16",
        "images_per_identity=4",
        "pad_px=4",
        f"epochs={size.epochs}",
        "lr=2e-3",
        f"milestones=[{size.epochs * 5 // 8}, {size.epochs * 7 // 8}]",
        'train_on=["train"]',
    )
    chosen = tuple(part for setting in settings for part in ("--set", setting))

    build = ("deploy/build_engine.py", run, "--out", engine, *size.build)

    def evaluate(model: str, name: str, *more: str) -> tuple[str, ...]:
        return ("train/evaluate_model.py", model, "--data", data, *more, "--json", f"{scores}/{name}.json")

    return [
        Step(
            "write synthetic people in the layout of SYSU-MM01",
            (
                *("train/make_synthetic.py", "--out", data, "--train-identities", str(size.identities[0])),
                *("--val-identities", str(size.identities[1]), "--test-identities", str(size.identities[2])),
            ),
        ),
        Step(
            "write two overlapping camera streams of other people",
            ("train/make_streams.py", "--out", str(streams), "--people", str(size.people)),
        ),
        Step("train MCJA, small", ("train/train_model.py", "mcja", "--data", data, *chosen, "--out", run)),
        Step("score the floor: raw pixels", evaluate("pixels", "pixels")),
        Step("score the trained model", evaluate(run, "pytorch")),
        Step("export, calibrate, build, measure parity", build),
        Step("score the INT8 engine", evaluate(engine, "int8", "--precision", "int8")),
        Step(
            "run the cameras",
            (
                "deploy/run_cameras.py",
                *("--rgb", str(streams / "visible.mp4"), "--ir", str(streams / "infrared.mp4")),
                *("--engine", engine, "--sightings", sightings, "--every-box", "--save", video),
            ),
        ),
    ]


def run_demo(out: Path, size: DemoSize = FULL) -> int:
    """Run every step and write out/report.html; the first command that fails ends the demo with its exit code."""
    from deploy.demo.report import write_report

    started = time.monotonic()
    clear(out)
    (out / "scores").mkdir(parents=True)
    steps = demo_steps(out, size)
    done: list[Done] = []
    for number, step in enumerate(steps, start=1):
        sys.stdout.write(f"\n[{number}/{len(steps)}] {step.title}\n$ {step.typed}\n")
        sys.stdout.flush()
        begun = time.monotonic()
        script, *rest = step.arguments
        code = subprocess.run([sys.executable, str(ROOT / script), *rest], check=False).returncode
        if code:
            sys.stderr.write(f"run_demo: the command above ended with exit code {code}; the demo stops here\n")
            return code
        done.append(Done(step, time.monotonic() - begun))
    summary = write_report(out, done)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    sys.stdout.write(f"\n{summary}\n{minutes} min {seconds} s in all; open {out / 'report.html'}\n")
    return 0


def clear(out: Path) -> None:
    """Remove what an earlier demo left in out; refuse a folder that holds anything else."""
    if not out.exists():
        return
    foreign = sorted({entry.name for entry in out.iterdir()} - set(OUTPUTS)) if out.is_dir() else [out.name]
    if foreign:
        raise BadInput(f"{out}: expected an empty folder or an earlier demo, found {foreign[0]}; choose another --out")
    for name in OUTPUTS:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
