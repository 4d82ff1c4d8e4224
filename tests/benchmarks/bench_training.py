"""How fast training images are loaded on one core, and where the time of a training step goes.

The loader against a pipeline written the way the public codes write theirs: one image at a time through Pillow, float
tensors from the start, augmentation on float tensors. Same files, same sizes, same random choices in distribution,
both in this process on one thread, taken in turns. Prints a table and one JSON line.

Shapes: B batch, C channel, H height, W width.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from train.datasets.images import ImageRecord

SIZE = (288, 144)  # of the AGW lineage, and of the baseline here
LOADED = 256  # images a turn
STEPS = (
    ("resnet_small", 96, 48, 64),  # what the demo trains
    ("resnet50", 288, 144, 16),
)
STEPS_TIMED = 5
PLAIN = "the public codes' way"
TOOLS = ("torch", "numpy", "pillow")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each loader (default: 5)")
    parser.add_argument("--skip", nargs="+", default=[], choices=["resnet50"], help="leave slow parts out")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    return run_script("bench_training", lambda: measure(args.rounds, args.skip))


def measure(rounds: int, skip: Sequence[str]) -> None:
    import logging

    import torch

    from engines.benchmark import cpu_name
    from engines.provenance import git_revision, tool_versions
    from train.datasets.sysu import open_sysu
    from train.make_synthetic import main as make_synthetic

    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        make_synthetic(
            ["--out", str(data), "--train-identities", "24", "--val-identities", "2", "--test-identities", "2"]
        )
        records = open_sysu(data).split("train")
        loaders = loader_rows(records, rounds)
        steps = [step_row(records, *shape) for shape in STEPS if shape[0] not in skip]
    write = sys.stdout.write
    write(f"\nfiles to a normalised, augmented batch of {LOADED}, {SIZE[0]} x {SIZE[1]}, one thread\n")
    for row in loaders:
        write(f"  {row['loader']:<28} {row['images_per_s']:8.0f} images/s  {row['times_plain']:5.2f} x\n")
    write("\none training step of the baseline from memory-cached images, one thread, ms\n")
    write(f"  {'network, input, batch':<30} {'data':>7} {'forward':>8} {'backward':>9} {'update':>7} {'images/s':>9}\n")
    for row in steps:
        name = f"{row['backbone']} {row['height_px']} x {row['width_px']}, {row['batch']}"
        write(
            f"  {name:<30} {row['data_ms']:7.0f} {row['forward_ms']:8.0f} {row['backward_ms']:9.0f} "
            f"{row['update_ms']:7.0f} {row['images_per_s']:9.1f}\n"
        )
    found = {
        "bench": "training",
        "commit": git_revision(),
        "cpu": cpu_name(),
        "tools": tool_versions(TOOLS),
        "loaders": loaders,
        "steps": steps,
    }
    write(json.dumps(found) + "\n")


def loader_rows(records: Sequence[ImageRecord], rounds: int) -> list[dict[str, Any]]:
    """Time our loader, with and without its cache, and the plain one."""
    import torch

    from engines.benchmark import time_in_turns
    from train.methods import load
    from train.training_images import Collate, Draw, TrainingImages

    height, width = SIZE
    recipe = dataclasses.replace(load("baseline").default_recipe, height_px=height, width_px=width)
    collate = Collate({record.identity: record.identity for record in records})
    indices = [index % len(records) for index in range(LOADED)]
    from_disk, cached = (TrainingImages(records, recipe, cache) for cache in ("none", "ram"))

    def ours(images: TrainingImages) -> Tensor:
        return collate([images[Draw(index, (0, 0, place), 0)] for place, index in enumerate(indices)]).batch.image_BCHW

    def plain() -> Tensor:
        generator = random.Random(0)
        return torch.stack([plain_image(records[index].path, generator) for index in indices])

    calls: dict[str, Callable[[], object]] = {
        PLAIN: plain,
        "crosslight, from disk": lambda: ours(from_disk),
        "crosslight, --cache ram": lambda: ours(cached),
    }
    timings = time_in_turns(calls, LOADED, rounds=rounds)
    slowest = next(timing for timing in timings if timing.name == PLAIN)
    return [
        {
            "loader": timing.name,
            "images_per_s": round(timing.images_per_s, 1),
            "times_plain": round(slowest.least_s / timing.least_s, 2),
        }
        for timing in timings
    ]


def plain_image(path: Path, generator: random.Random) -> Tensor:
    """Load one image as the public codes' transforms do, with torch in torchvision's place."""
    import torch
    from PIL import Image, ImageOps

    from train.export import IMAGENET_MEAN, IMAGENET_STD

    height, width = SIZE
    image = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    if generator.random() < 0.5:
        image = ImageOps.mirror(image)
    padded = ImageOps.expand(image, 10, (127, 127, 127))
    top, left = generator.randint(0, 20), generator.randint(0, 20)
    image = padded.crop((left, top, left + width, top + height))
    pixels_CHW = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
    mean_C11, std_C11 = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    normal_CHW = (pixels_CHW - mean_C11) / std_C11
    if generator.random() < 0.5:
        area, aspect = generator.uniform(0.02, 0.3) * height * width, generator.uniform(0.3, 3.3)
        tall, wide = min(height - 1, round((area * aspect) ** 0.5)), min(width - 1, round((area / aspect) ** 0.5))
        first, start = generator.randint(0, height - tall), generator.randint(0, width - wide)
        normal_CHW[:, first : first + tall, start : start + wide] = 0.0
    return normal_CHW


def step_row(records: Sequence[ImageRecord], backbone: str, height: int, width: int, images: int) -> dict[str, Any]:
    """Time the parts of a training step; the median over a few steps, after one to warm up."""
    import torch

    from train.methods import load
    from train.sampler import epoch_batches
    from train.training_images import Collate, TrainingImages, epoch_loader

    changes = {"backbone": backbone, "height_px": height, "width_px": width, "identities_per_batch": images // 8}
    recipe = dataclasses.replace(load("baseline").default_recipe, **changes)
    method = load("baseline")(recipe, max(record.identity for record in records) + 1).train()
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    (optimizer,) = method.optimizers().values()
    collate = Collate({record.identity: record.identity for record in records})
    batches = (epoch_batches(records, recipe, 0) * STEPS_TIMED)[: STEPS_TIMED + 1]
    loader = iter(epoch_loader(TrainingImages(records, recipe, "ram"), collate, batches, 0, workers=0))
    parts: list[list[float]] = []
    for _ in batches:
        times = [time.perf_counter()]
        batch = next(loader).batch
        batch = dataclasses.replace(batch, image_BCHW=batch.image_BCHW.contiguous(memory_format=torch.channels_last))
        times.append(time.perf_counter())
        total = torch.stack(list(method.losses(batch, 0).values())).sum()
        times.append(time.perf_counter())
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        times.append(time.perf_counter())
        optimizer.step()
        times.append(time.perf_counter())
        parts.append([1000 * (after - before) for before, after in itertools.pairwise(times)])
    data, forward, backward, update = (statistics.median(column) for column in zip(*parts[1:], strict=True))
    return {
        "backbone": backbone,
        "height_px": height,
        "width_px": width,
        "batch": images,
        "data_ms": round(data, 1),
        "forward_ms": round(forward, 1),
        "backward_ms": round(backward, 1),
        "update_ms": round(update, 1),
        "images_per_s": round(1000 * images / (data + forward + backward + update), 1),
    }


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
