"""What tests/train/test_processes.py runs under torchrun and alone: train methods and leave their run folders.

Batch normalisation of feature maps (and of MCJA's contexts) is frozen, because on a CPU each process would normalise
with its own images; everything else must then give the same numbers with any number of processes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from torch import nn
from torch.optim import SGD, Optimizer

from tests.train.test_training import small_recipe
from train.datasets.sysu import open_sysu
from train.loop import train
from train.methods import load
from train.processes import Hardware, leave

STEP = 3e-6


def main(tree: str, out: str, names: str, resume: str) -> None:
    for name in names.split(","):
        method = load(name)

        def train_mode(self: nn.Module, mode: bool = True) -> nn.Module:
            nn.Module.train(self, mode)
            for module_name, module in self.named_modules():
                if isinstance(module, nn.BatchNorm2d | nn.Dropout) or module_name.endswith("ca_bn"):
                    module.eval()
            return self

        def plain_descent(self: nn.Module) -> dict[str, Optimizer]:
            """Small steps along the gradient: Adam's, or large ones, would blow up the rounding."""
            return {"all": SGD([p for p in self.parameters() if p.requires_grad], lr=STEP)}

        method.train, method.optimizers = train_mode, plain_descent  # type: ignore[method-assign]
        size = {"height_px": 64, "width_px": 32}  # on two places MPANet's instance norm is a sign function
        recipe = small_recipe(name, identities_per_batch=4, epochs=1 if resume == "begin" else 2, **size)
        train(
            name,
            recipe,
            open_sysu(Path(tree)).split("train", "val"),
            Path(out) / name,
            dataset={},
            hardware=Hardware(accelerator="cpu", workers=0),
            resume=resume == "go on",
        )
    leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
