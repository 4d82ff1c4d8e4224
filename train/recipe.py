"""Recipes: every number of a training run, as a frozen dataclass beside the method that uses it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from engines.errors import BadInput
from engines.spelling import did_you_mean
from engines.strict_json import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every method needs. Sizes in pixels, epochs counted from 0 at milestones."""

    backbone: str = "resnet50"  # train.backbone.BACKBONES
    height_px: int = 384
    width_px: int = 192
    identities_per_batch: int = 8  # P
    images_per_identity: int = 16  # K
    epochs: int = 140
    lr: float = 3.5e-4
    weight_decay: float = 5e-4
    milestones: tuple[int, ...] = (80, 120)  # the learning rate is multiplied by lr_decay at the start of these
    lr_decay: float = 0.1
    warmup_epochs: int = 0  # the learning rate is (epoch + 1) / warmup_epochs of itself during these
    accumulate: int = 1  # batches whose gradients are averaged for one step, where the method allows it
    augment: str = "plain"  # train.augment.AUGMENTATIONS
    sampler: str = "mixed"  # train.sampler.SAMPLERS
    train_on: tuple[str, ...] = ("train", "val")  # splits; every published SYSU-MM01 row uses both
    seed: int = 8
    flip_probability: float = 0.5
    pad_px: int = 10
    pad_value: int = 127
    erase_probability: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.30)

    def __post_init__(self) -> None:
        for name in ("height_px", "width_px", "identities_per_batch", "images_per_identity", "epochs", "accumulate"):
            if getattr(self, name) < 1:
                raise BadInput(f"setting {name}: expected at least 1, got {getattr(self, name)}")
        if not self.lr > 0:
            raise BadInput(f"setting lr: expected a learning rate above 0, got {self.lr}")


RecipeT = TypeVar("RecipeT", bound=Recipe)


def override(recipe: RecipeT, settings: Iterable[str]) -> RecipeT:
    """Return recipe with `name=value` settings applied; values are JSON, or bare text for text fields."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise BadInput(f"expected --set name=value, got {setting!r}")
        try:
            values[name] = parse_json(text)
        except ValueError:
            values[name] = text
    return replace_checked(recipe, values)


def replace_checked(recipe: RecipeT, values: Mapping[str, Any]) -> RecipeT:
    """Return recipe with values replaced, each checked against the field that it replaces."""
    fields = {field.name for field in dataclasses.fields(recipe)}
    hints = get_type_hints(type(recipe))
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            hint = did_you_mean(name, fields) or f"; it has {', '.join(sorted(fields))}"
            raise BadInput(f"{type(recipe).__name__} has no setting {name!r}{hint}")
        checked[name] = _like(name, value, getattr(recipe, name))
        wanted = get_args(hints[name]) if isinstance(checked[name], tuple) else ()
        if wanted and Ellipsis not in wanted and len(checked[name]) != len(wanted):
            raise BadInput(
                f"setting {name}: expected {len(wanted)} values like {getattr(recipe, name)!r}, got {value!r}"
            )
    return dataclasses.replace(recipe, **checked)


def _like(name: str, value: Any, old: Any) -> Any:
    """Return value in the type of old, or refuse it."""
    if isinstance(old, tuple) and isinstance(value, list):
        element = old[0] if old else 0
        return tuple(_like(name, item, element) for item in value)
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**64:
        return float(value)
    if type(value) is not type(old):
        raise BadInput(f"setting {name}: expected {type(old).__name__} like {old!r}, got {value!r}")
    return value


def save_recipe(recipe: Recipe, method: str, path: Path) -> None:
    """Write the resolved recipe, so that the run can be repeated with --recipe."""
    from engines.atomic import write_text

    write_text(path, json.dumps({"method": method, **dataclasses.asdict(recipe)}, indent=2) + "\n")


def read_recipe_values(path: Path, method: str) -> dict[str, Any]:
    """Read a recipe.json written by an earlier run of the same method."""
    try:
        values: Any = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: expected a recipe.json of an earlier run, got {error}") from error
    if not isinstance(values, dict) or values.pop("method", None) != method:
        raise BadInput(f"{path}: expected a recipe of method {method!r}; name the method that wrote it")
    return values
