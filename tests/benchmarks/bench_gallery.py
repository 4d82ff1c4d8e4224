"""What galleries cost: keep, find, find in some cameras, open again, erase; on disk and in memory.

Tracklets of five rows of 2048 values, four tracklets a person, eight cameras; as many rows as --rows says. Every store
runs in this process and the queries of all take turns, so ratios hold on a machine that others use; times of writing
depend on what the disk does for others. "local" is qdrant-client's own store, which stands in for a server in the
tests. Memory is that of a process that opens the gallery and searches it. Prints a table and one JSON line.

Shapes: R rows of a tracklet, D embedding, Q queries.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.gallery import Gallery, Tracklet

DIM, ROWS, TRACKLETS, CAMERAS = 2048, 5, 4, 8
MODEL = "bench"
STORES = ("sqlite", "edge", "local")
MOST_LOCAL = 1000  # rows: filling it with 100,000 took over half an hour
TOOLS = ("numpy", "qdrant-edge-py", "qdrant-client")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One store at one size. Milliseconds: median and 95th percentile; `x_sqlite`: medians against SQLite's."""

    store: str
    rows: int
    enrol_ms: tuple[float, float]
    query_ms: tuple[float, float]
    batch_ms: tuple[float, float]  # 32 queries
    filtered_ms: tuple[float, float]  # in one camera of eight
    erase_ms: float
    open_s: float
    disk_mb: float
    memory_mb: float
    query_x_sqlite: float
    batch_x_sqlite: float
    filtered_x_sqlite: float


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench_gallery", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", type=int, default=[1000, 10_000], metavar="N", help="default: 1000 10000")
    parser.add_argument("--queries", type=int, default=60, metavar="N", help="per store and kind (default: 60)")
    parser.add_argument(
        "--no-index", action="store_true", help="leave Qdrant Edge without its index, which takes minutes from 50000 on"
    )
    parser.add_argument("--peak", metavar="WHERE", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    body = write_memory if args.peak else measure
    return run_script("bench_gallery", lambda: body(args))


def measure(args: argparse.Namespace) -> None:
    from engines.benchmark import cpu_name
    from engines.provenance import git_revision, tool_versions

    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore", message="Payload indexes have no effect|Local mode")
    found: list[Row] = []
    for count in args.rows:
        with tempfile.TemporaryDirectory() as name:
            found += rows_of(Path(name), count, args.queries, index=not args.no_index)
    write = sys.stdout.write
    write(f"galleries of {DIM} values, {cpu_name()}; median / 95th percentile\n")
    write(
        f"{'store':8}{'rows':>8}{'enrol ms':>16}{'query ms':>16}{'32 queries ms':>17}{'filtered ms':>16}"
        f"{'erase ms':>10}{'open s':>8}{'disk MB':>9}{'memory MB':>11}\n"
    )
    for row in found:
        pairs = [f"{a:.2f} / {b:.2f}" for a, b in (row.enrol_ms, row.query_ms, row.batch_ms, row.filtered_ms)]
        write(
            f"{row.store:8}{row.rows:8}{pairs[0]:>16}{pairs[1]:>16}{pairs[2]:>17}{pairs[3]:>16}{row.erase_ms:10.0f}"
            f"{row.open_s:8.2f}{row.disk_mb:9.0f}{row.memory_mb:11.0f}\n"
        )
    for row in found:
        if row.store != "sqlite":
            write(
                f"{row.store} at {row.rows}: query {row.query_x_sqlite:.2f}, 32 queries {row.batch_x_sqlite:.2f}, "
                f"filtered {row.filtered_x_sqlite:.2f} x SQLite's time\n"
            )
    facts = {
        "bench": "gallery",
        "index": not args.no_index,
        "commit": git_revision(),
        "cpu": cpu_name(),
        "tools": tool_versions(TOOLS),
    }
    write(json.dumps({**facts, "rows": [dataclasses.asdict(row) for row in found]}) + "\n")


def rows_of(folder: Path, count: int, queries: int, *, index: bool) -> list[Row]:
    """Measure every store at one size."""
    people = max(1, count // (ROWS * TRACKLETS))
    names = [name for name in STORES if name != "local" or count <= MOST_LOCAL]
    galleries = {name: opened(name, folder) for name in names}
    enrol_ms: dict[str, list[float]] = {name: [] for name in names}
    for number in range(people * TRACKLETS):
        made = tracklet(number, people)
        for name, gallery in galleries.items():
            enrol_ms[name].append(timed(lambda gallery=gallery, made=made: gallery.enrol(made)))
    for gallery in galleries.values():
        if index:
            gallery.tidy()
        else:
            gallery.flush()
    probe_QD = np.concatenate([tracklet(index, people, seed=1).row_RD for index in range(32)])[:32]
    kinds = ("query", "batch", "filtered")
    taken: dict[tuple[str, str], list[float]] = {(name, kind): [] for name in names for kind in kinds}
    for turn in range(queries):
        one_QD = probe_QD[turn % 32][None]
        for name, gallery in galleries.items():
            taken[name, "query"].append(timed(lambda g=gallery, q=one_QD: g.search(q, "visible", 5)))
            taken[name, "filtered"].append(
                timed(lambda g=gallery, q=one_QD: g.search(q, "visible", 5, cameras=["camera3"]))
            )
            if turn % 4 == 0:
                taken[name, "batch"].append(timed(lambda g=gallery: g.search(probe_QD, "visible", 5)))
    spans = {key: spread(values) for key, values in taken.items()}
    erase_ms = {name: timed(lambda gallery=gallery: gallery.erase(1)) for name, gallery in galleries.items()}
    found: list[Row] = []
    for name, gallery in galleries.items():
        gallery.close()
        open_s, memory = reopened(name, folder)
        against = {kind: round(spans[name, kind][0] / spans["sqlite", kind][0], 2) for kind in kinds}
        found.append(
            Row(
                store=name,
                rows=people * TRACKLETS * ROWS,
                enrol_ms=spread(enrol_ms[name]),
                query_ms=spans[name, "query"],
                batch_ms=spans[name, "batch"],
                filtered_ms=spans[name, "filtered"],
                erase_ms=round(erase_ms[name], 1),
                open_s=open_s,
                disk_mb=disk_mb(folder, name),
                memory_mb=memory,
                query_x_sqlite=against["query"],
                batch_x_sqlite=against["batch"],
                filtered_x_sqlite=against["filtered"],
            )
        )
    return found


def where(name: str, folder: Path) -> str:
    return f"qdrant:{folder / 'edge'}" if name == "edge" else str(folder / name)


def opened(name: str, folder: Path) -> Gallery:
    from deploy.gallery import open_gallery

    if name != "local":
        return open_gallery(where(name, folder), MODEL, DIM)
    from qdrant_client import QdrantClient

    from deploy.gallery.server import QdrantServer
    from deploy.gallery.server_points import ServerPoints

    return QdrantServer(ServerPoints(QdrantClient(path=str(folder / "local")), "people"), MODEL, DIM)


def reopened(name: str, folder: Path) -> tuple[float, float]:
    """Return the seconds to open a gallery again, and the memory of a process that does it and searches."""
    before_s = time.perf_counter()
    gallery = opened(name, folder)
    open_s = time.perf_counter() - before_s
    gallery.close()
    command = [sys.executable, __file__, "--peak", f"{name}:{folder}"]
    memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return round(open_s, 3), float(memory)


def write_memory(args: argparse.Namespace) -> None:
    """Open a gallery, search it and write this process's memory in MB; for bench_gallery itself."""
    name, _, folder = args.peak.partition(":")
    warnings.filterwarnings("ignore", message="Payload indexes have no effect|Local mode")
    gallery = opened(name, Path(folder))
    gallery.search(tracklet(0, 1).row_RD, "visible", 5)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    resident_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    gallery.close()
    sys.stdout.write(f"{resident_kb * 1024 / 1e6:.1f}\n")


def tracklet(index: int, people: int, seed: int = 0) -> Tracklet:
    """Return the index-th tracklet: rows around its person's direction."""
    from deploy.gallery import Tracklet

    identity = index % people + 1
    centre_D = np.random.default_rng(identity).standard_normal(DIM, np.float32)
    row_RD = centre_D + 0.7 * np.random.default_rng([seed, index]).standard_normal((ROWS, DIM), np.float32)
    row_RD = np.asarray(row_RD / np.linalg.norm(row_RD, axis=1, keepdims=True), np.float32)
    return Tracklet(
        identity=identity,
        camera=f"camera{index % CAMERAS}",
        track=index,
        modality="visible",
        first_s=float(index),
        last_s=index + 1.0,
        mean_D=row_RD[0],
        prototype_PD=row_RD[1:],
    )


def timed(call: Callable[[], object]) -> float:
    before_s = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - before_s)


def spread(values: Sequence[float]) -> tuple[float, float]:
    median, high = np.percentile(values, [50, 95]).tolist()
    return round(median, 3), round(high, 3)


def disk_mb(folder: Path, name: str) -> float:
    """Return what a store takes on the disk; Qdrant's files have holes."""
    files = [
        path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0].startswith(name)
    ]
    return round(sum(path.stat().st_blocks * 512 for path in files) / 1e6, 1)


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
