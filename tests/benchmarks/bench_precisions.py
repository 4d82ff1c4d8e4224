"""What FP16 and INT8 cost in accuracy, for trained models of every method, on the whole test protocol.

Each model goes through the user's own commands: build_engine.py with the default budget, then evaluate_model.py on the
engine in each precision and runtime. The reference is PyTorch FP32 on the same ten trials; the test people took part
neither in training nor in calibration nor in the build's judgement. Prints a table and one JSON line.

    python tests/benchmarks/bench_precisions.py --data bench/data --model bench/mcja-160000-seed0 --out bench/engines
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
ENGINES = (
    ("openvino", "fp32"), ("openvino", "fp16"), ("openvino", "int8"), ("onnxruntime", "fp16"), ("onnxruntime", "int8"),
)  # fmt: skip
FIGURES = ("rank1", "mean_ap")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_precisions", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the tree of the training")
    parser.add_argument("--model", type=Path, required=True, action="append", metavar="RUN", help="may be repeated")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="keep the engines here; built once")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    return run_script("bench_precisions", lambda: measure(args.data, args.model, args.out))


def measure(data: Path, models: Sequence[Path], out: Path) -> None:
    from engines.benchmark import cpu_name
    from engines.manifest import load_manifest
    from engines.progress import progress
    from engines.provenance import git_revision, tool_versions

    rows: list[dict[str, Any]] = []
    for model in progress(models, total=len(models), unit="models", label="precisions"):
        engine = out / model.name
        if not engine.is_dir():
            command("deploy/build_engine.py", str(model), "--data", str(data), "--out", str(engine))
        manifest = load_manifest(engine)
        reference = score(model, data, out / f"{model.name}.torch.json")
        for backend, precision in ENGINES:
            flags = ("--backend", backend, "--precision", precision)
            found = score(engine, data, out / f"{model.name}.{backend}.{precision}.json", *flags)
            rows.append(
                {
                    "model": model.name,
                    "method": manifest.method,
                    "engine": f"{backend} {precision}",
                    **{f"{name}_torch": round(reference[name], 3) for name in FIGURES},
                    **{f"{name}_change": round(found[name] - reference[name], 3) for name in FIGURES},
                    "layers_kept": len(manifest.calibration["kept"]) if precision == "int8" else None,
                    "layers": manifest.calibration["layers"] if precision == "int8" else None,
                }
            )
    write = sys.stdout.write
    write("points of 100 against PyTorch FP32 on the same ten trials, all-search, single-shot\n")
    write(f"{'model':<24}{'engine':<20}{'mAP':>8}{'change':>8}{'rank-1':>8}{'change':>8}   kept out of INT8\n")
    for row in rows:
        kept = "" if row["layers"] is None else f"{row['layers_kept']} of {row['layers']}"
        write(
            f"{row['model']:<24}{row['engine']:<20}{row['mean_ap_torch']:8.2f}{row['mean_ap_change']:+8.2f}"
            f"{row['rank1_torch']:8.2f}{row['rank1_change']:+8.2f}   {kept}\n"
        )
    facts = {
        "bench": "precisions",
        "commit": git_revision(),
        "cpu": cpu_name(),
        "tools": tool_versions(("torch", "openvino", "onnxruntime", "numpy")),
    }
    write(json.dumps({**facts, "rows": rows}) + "\n")


def score(model: Path, data: Path, result: Path, *flags: str) -> dict[str, float]:
    """Return the figures of the protocol in points of 100, measured once."""
    if not result.is_file():
        command("train/evaluate_model.py", str(model), "--data", str(data), "--json", str(result), *flags)
    found = json.loads(result.read_text(encoding="utf-8"))
    return {name: 100.0 * found[name] for name in FIGURES}


def command(script: str, *arguments: str) -> None:
    """Run one of our scripts; its errors end the benchmark."""
    from engines.errors import BadInput

    done = subprocess.run([sys.executable, str(ROOT / script), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadInput(f"{script} {' '.join(arguments)}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main())
