"""ResNet backbones with torchvision's state-dict names, so that its ImageNet weights load strictly.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; bottlenecks carry the stride in their 3x3
convolution (the "v1.5" that torchvision publishes).

Shapes: B batch, C channel, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip."""

    expansion = 1

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels_in, width, stride)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        skip_BCHW = x_BCHW if self.downsample is None else self.downsample(x_BCHW)
        y_BCHW = self.relu(self.bn1(self.conv1(x_BCHW)))
        return self.relu(self.bn2(self.conv2(y_BCHW)) + skip_BCHW)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 convolutions and a skip."""

    expansion = 4

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels_in, 4 * width, stride)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        skip_BCHW = x_BCHW if self.downsample is None else self.downsample(x_BCHW)
        y_BCHW = self.relu(self.bn1(self.conv1(x_BCHW)))
        y_BCHW = self.relu(self.bn2(self.conv2(y_BCHW)))
        return self.relu(self.bn3(self.conv3(y_BCHW)) + skip_BCHW)


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels_in == channels_out:
        return None
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of a ResNet."""

    block: type[BasicBlock] | type[Bottleneck]
    depths: tuple[int, int, int, int]
    width: int  # channels of the stem and of layer1's 3x3 convolutions
    has_fc: bool  # the 1000-class ImageNet head, unused but part of the published checkpoints


BACKBONES = {
    "resnet50": Architecture(block=Bottleneck, depths=(3, 4, 6, 3), width=64, has_fc=True),
    "resnet18": Architecture(block=BasicBlock, depths=(2, 2, 2, 2), width=64, has_fc=True),
    # For the CPU: the demo and the tests. Not a published network.
    "resnet_small": Architecture(block=BasicBlock, depths=(2, 2, 2, 2), width=24, has_fc=False),
}


class Backbone(nn.Module):
    """A ResNet up to its last feature map; stages are reachable one by one for methods that work between blocks."""

    def __init__(self, architecture: Architecture, last_stride: int) -> None:
        super().__init__()
        width, block = architecture.width, architecture.block
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = width
        self.stage_channels: list[int] = []
        for index, (depth, stride) in enumerate(zip(architecture.depths, (1, 2, 2, last_stride), strict=True)):
            blocks: list[nn.Module] = []
            for position in range(depth):
                blocks.append(block(channels, width << index, stride if position == 0 else 1))
                channels = (width << index) * block.expansion
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
            self.stage_channels.append(channels)
        if architecture.has_fc:
            self.fc = nn.Linear(channels, 1000)
        self.channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        return tuple(self.get_submodule(f"layer{index}") for index in (1, 2, 3, 4))  # type: ignore[return-value]

    def stem(self, image_BCHW: Tensor, conv: nn.Module | None = None, norm: nn.Module | None = None) -> Tensor:
        """Return the first map; conv and norm may stand in for conv1 and bn1, as a second modality's own."""
        return self.maxpool(self.relu((norm or self.bn1)((conv or self.conv1)(image_BCHW))))

    def forward(self, image_BCHW: Tensor, after_block: Callable[[int, int, Tensor], Tensor] | None = None) -> Tensor:
        """Return the last map; after_block(stage, block, map) may replace the map behind each block (both from 0)."""
        map_BCHW = self.stem(image_BCHW)
        for stage_index, stage in enumerate(self.stages):
            for block_index, block in enumerate(stage):
                map_BCHW = block(map_BCHW)
                if after_block is not None:
                    map_BCHW = after_block(stage_index, block_index, map_BCHW)
        return map_BCHW


def build_backbone(name: str, last_stride: int) -> Backbone:
    """Build a backbone by name; the initialisation is He's, pretrained weights are loaded by the caller."""
    if name not in BACKBONES:
        raise BadInput(f"expected a backbone out of {', '.join(BACKBONES)}, got {name!r}; use --set backbone=NAME")
    return Backbone(BACKBONES[name], last_stride)
