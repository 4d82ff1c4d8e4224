"""Start once, embed once, print when each happened (seconds of the epoch) as JSON: bench_cold_start.py runs it.

cameras ENGINE OPTION ...: run_cameras.py with these options, until its engine has given the first vector.
torch ENGINE: the program that PyTorch exported into the engine's folder, and one crop.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

moments: dict[str, float] = {}


def main() -> int:
    kind, engine, *options = sys.argv[1:]
    if kind == "torch":
        embed_with_torch(Path(engine))
    else:
        run_cameras(["--engine", engine, *options])
    sys.stderr.write("the run ended before an embedding\n")
    return 1


def run_cameras(options: list[str]) -> None:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the script has it, before NumPy comes
    import deploy.assembly.installation
    import deploy.run_cameras
    from deploy.loop.pipeline import Pipeline
    from engines.loaded import LoadedModel

    moments["imported"] = time.time()
    mark(Pipeline, "_work", "first frame", before=True)
    mark(LoadedModel, "embed", "first embedding", last=True, behind="first frame")  # not the engine's own warming up
    deploy.run_cameras.main(options)


def embed_with_torch(folder: Path) -> None:
    import numpy as np
    import torch  # noqa: F401 # a user's first line

    from engines.loaded import LoadedModel
    from engines.open import open_engine

    moments["imported"] = time.time()
    mark(LoadedModel, "embed", "first embedding", last=True)
    with open_engine(folder, backend="torch") as engine:
        shape = (1, engine.manifest.height_px, engine.manifest.width_px, 3)
        engine.embed(np.zeros(shape, np.uint8), "visible")


def mark(
    owner: Any, method: str, label: str, *, before: bool = False, last: bool = False, behind: str = "imported"
) -> None:
    """Note when a method was first called, or had first given something; after the last one the process ends."""
    plain = getattr(owner, method)

    def timed(self: Any, *given: Any, **more: Any) -> Any:
        if before:
            moments.setdefault(label, time.time())
        result = plain(self, *given, **more)
        if last and len(result) and behind in moments:
            moments[label] = time.time()
            sys.stdout.write(json.dumps(moments) + "\n")
            sys.stdout.flush()
            os._exit(0)
        return result

    setattr(owner, method, timed)


if __name__ == "__main__":
    # As the scripts have it: a bare clone works too.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
