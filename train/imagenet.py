"""ImageNet weights in torchvision's format: from a file, or from PyTorch's hub by the word "imagenet".

The hub's files are torchvision's IMAGENET1K_V1, with which the public code of MPANet, MCJA and AlignGAN begins; V2 is
another training. That code names resnet50-19c8e357.pth. resnet50-0676ba61.pth has the same values (pytorch/vision, pull
request 3620) in a format that weights_only can read; the old file's, a tar archive, it cannot.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import logging
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engines.atomic import atomic_path
from engines.errors import BadInput
from engines.manifest import sha256_of
from engines.progress import progress
from train.weights import impossible_values, read_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

log = logging.getLogger(__name__)

WORD = "imagenet"  # in the place of a file
HUB = "https://download.pytorch.org/models"
# Behind the dash: the first eight hexadecimal digits of the file's SHA-256.
PUBLISHED = {"resnet50": "resnet50-0676ba61.pth", "resnet18": "resnet18-f37072fd.pth"}
PIECE = 1 << 20
TIMEOUT_S = 30.0  # without a byte

open_url = functools.partial(urllib.request.urlopen, timeout=TIMEOUT_S)


def imagenet_weights(
    source: Path | None, backbone: str, opener: Callable[[str], Any] = open_url
) -> tuple[dict[str, Tensor], str]:
    """Return the weights and the file that they lie in; None or the word "imagenet" stands for PyTorch's hub.

    The hub's file is downloaded once, to where torchvision keeps its own. opener answers a URL as urlopen does.
    """
    path = _published(backbone, opener) if source is None or str(source) == WORD else source
    weights = read_weights(path, "file of ImageNet weights")
    foreign = [str(name) for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if foreign:
        raise BadInput(f"{path}: expected a file of ImageNet weights, got {foreign[0]!r} in it, which is no weight")
    if impossible := impossible_values(weights):
        raise BadInput(f"{path}: expected ImageNet weights, got values that cannot be: {impossible[0]}; fetch it again")
    return _with_counters({name: value.detach() for name, value in weights.items()}, path), str(path)


def _with_counters(weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Add the batch counters that PyTorch did not keep before 0.4.1; batch norm with a fixed momentum ignores them."""
    means = [name.removesuffix("running_mean") for name in weights if name.endswith("running_mean")]
    absent = {f"{name}num_batches_tracked" for name in means} - set(weights)
    if absent:
        log.info("%s: %d batch counters are not in the file and start at 0", path, len(absent))
    return {**weights, **{name: torch.tensor(0) for name in sorted(absent)}}


def _published(backbone: str, opener: Callable[[str], Any]) -> Path:
    if backbone not in PUBLISHED:
        raise BadInput(
            f"expected a backbone with published ImageNet weights ({', '.join(PUBLISHED)}), got {backbone!r}; train it "
            "from the start, or name a file with --pretrained"
        )
    path = Path(torch.hub.get_dir()) / "checkpoints" / PUBLISHED[backbone]
    digits = path.stem.rpartition("-")[2]
    if not path.is_file():
        _download(f"{HUB}/{path.name}", path, digits, opener)
    elif not sha256_of(path).startswith(digits):
        raise BadInput(f"{path}: expected a SHA-256 that begins with {digits}, got a damaged file; remove it")
    return path


def _download(url: str, path: Path, digits: str, opener: Callable[[str], Any]) -> None:
    """Write path whole, or leave nothing."""
    by_hand = f"fetch {url} by hand and put it at {path}"
    try:
        with opener(url) as response, atomic_path(path) as temporary, temporary.open("wb") as file:
            told = response.headers.get("Content-Length") or ""
            length = int(told) if told.isdecimal() else 0
            digest, received = hashlib.sha256(), 0
            for piece in progress(_pieces(response), total=-(-length // PIECE) or None, unit="MiB", label=path.name):
                file.write(piece)
                digest.update(piece)
                received += len(piece)
            if received < length:
                raise BadInput(f"{url}: expected {length} bytes, got {received}; try again, or {by_hand}")
            if not digest.hexdigest().startswith(digits):
                raise BadInput(
                    f"{url}: expected a SHA-256 that begins with {digits}, got {digest.hexdigest()[:8]}; something on "
                    f"the way changed the file: {by_hand}"
                )
    except (OSError, http.client.HTTPException) as error:
        raise BadInput(f"{url}: could not be downloaded ({str(error) or type(error).__name__}); {by_hand}") from error
    log.info("downloaded %s to %s", url, path)


def _pieces(response: Any) -> Iterator[bytes]:
    while piece := response.read(PIECE):
        yield piece
