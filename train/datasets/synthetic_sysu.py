"""Plan a synthetic tree with the real cardinalities of SYSU-MM01, from its published split files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from engines.errors import BadInput
from train.datasets.images import SPLITS, Split
from train.datasets.synthetic import Plan
from train.datasets.sysu import read_identities

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from train.datasets.synthetic_camera import SceneStyle
    from train.datasets.synthetic_material import InfraredKind

COUNTS_FILE = "sysu_image_counts_per_cam_id.json"


def plan_like_sysu(
    splits_folder: Path, *, seed: int, style: SceneStyle, infrared: InfraredKind, only: Sequence[Split] = SPLITS,
    blank: bool = False,
) -> Plan:  # fmt: skip
    """Plan every image that the real data set has; `only` leaves out the other splits' images, not their lists."""
    missing = [
        name for name in (COUNTS_FILE, *(f"{split}_id.txt" for split in SPLITS)) if not (splits_folder / name).is_file()
    ]
    if missing:
        raise BadInput(f"{splits_folder}: expected the published splits of SYSU-MM01, missing: {', '.join(missing)}")
    try:
        table = json.loads((splits_folder / COUNTS_FILE).read_text(encoding="utf-8"))
        counts = {
            (int(camera.removeprefix("cam")), int(identity)): int(count)
            for camera, row in table.items()
            for identity, count in row.items()
        }
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInput(
            f"{splits_folder / COUNTS_FILE}: expected image counts per camera and identity, got {error}"
        ) from error
    identities: dict[Split, tuple[int, ...]] = {
        split: read_identities(splits_folder / f"{split}_id.txt") for split in SPLITS
    }
    if set(only) != set(SPLITS):
        wanted = {identity for split in only for identity in identities[split]}
        counts = {key: count for key, count in counts.items() if key[1] in wanted}
    return Plan(
        identities=identities, counts={key: count for key, count in counts.items() if count}, seed=seed, style=style,
        infrared=infrared, blank=blank,
    )  # fmt: skip
