"""A site as a YAML file: cameras, which of them see the same ground, and every option of run_cameras.

    cameras:
      door-rgb: {uri: "rtsp://user:${DOOR_PASSWORD}@10.0.0.5/main", modality: visible, place: door}
      door-ir: {uri: /dev/v4l/by-id/usb-PureThermal, modality: infrared, band: lwir, format: Y16, place: door}
    pairs:
      - {visible: door-rgb, infrared: door-ir, alignment: door.alignment.json}
    transits:
      - {places: [door, yard], least_s: 5, most_s: 300}
    engine: engines/built/people
    gallery: gallery.db

The other keys are the flags of run_cameras with _ for -; a flag on the command line wins. Relative paths are relative
to the file, `${NAME}` is taken from the environment. Every mistake is one line that names the key.
"""

from __future__ import annotations

import dataclasses
import os
import re
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin, get_type_hints

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.events import AliasEvent

from deploy.settings.site_plan import CameraSite, PairSite, ThermalSettings, Transit
from engines.errors import BadInput, first_line, shown
from engines.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What a site file may set besides its cameras; types as in deploy.settings.options.Options.
SETTINGS: dict[str, Any] = {
    "patient": bool,
    "max_frames": int,
    "engine": Path,
    "backend": str,
    "precision": str,
    "auto_build": bool,
    "detector": Path,
    "threshold": float,
    "thresholds": Path,
    "embed_every": int,
    "most_crops": int,
    "gallery": str,
    "keep_days": float,
    "sightings": Path,
    "every_box": bool,
    "record_crops": Path,
    "save": Path,
    "show": bool,
    "web": int,
    "listen": str,
    "token": str,
    "mqtt": str,
    "webhook": str,
}
LISTS = ("cameras", "pairs", "transits")
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")  # rtsp:, http:, gst:, csi:, synthetic:
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, kw_only=True)
class SiteFile:
    """What a site file says; settings are keyword arguments of Options."""

    cameras: tuple[CameraSite, ...] = ()
    pairs: tuple[PairSite, ...] = ()
    transits: tuple[Transit, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict[str, Any])


class _Loader(yaml.SafeLoader):
    """YAML without references, of which a page can unpack to gigabytes, and without a key twice in one table."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        loader: Any = self  # PyYAML ships no types
        if loader.check_event(AliasEvent):
            mark = loader.peek_event().start_mark
            raise ComposerError(None, None, "a reference (*name); write the value out", mark)
        plain: Any = super()
        return plain.compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
        if twice is not None:
            raise ConstructorError(None, None, f"the key {twice[1]!r} twice", node.start_mark)
        plain: Any = super()
        return plain.construct_mapping(node, deep)


def read_site(path: Path, environ: Mapping[str, str] = os.environ) -> SiteFile:
    """Read and check a site file."""
    try:
        raw: object = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError as error:
        raise BadInput(f"--site: expected a YAML file, got {str(path)!r}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: expected a YAML file, got one that cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadInput(f"{path}: expected YAML, got a mistake{place}: {getattr(error, 'problem', error)}") from error
    # PyYAML's own way with dates, numbers and brackets that cannot be.
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise BadInput(
            f"{path}: expected YAML, got a value that cannot be read: {first_line(error) or type(error).__name__}; "
            "put texts into quotes"
        ) from error
    table = _table(raw, str(path))
    _known(table, (*LISTS, *SETTINGS), str(path))
    reader = _Reader(path, environ)
    return SiteFile(
        cameras=tuple(
            reader.camera(name, entry) for name, entry in _table(table.get("cameras", {}), f"{path}: cameras").items()
        ),
        pairs=tuple(
            PairSite(**reader.fields(entry, PairSite, f"pairs[{number}]"))
            for number, entry in enumerate(_list(table.get("pairs", []), f"{path}: pairs"))
        ),
        transits=tuple(
            Transit(**reader.fields(entry, Transit, f"transits[{number}]"))
            for number, entry in enumerate(_list(table.get("transits", []), f"{path}: transits"))
        ),
        settings={
            name: reader.address(name, value) if name == "gallery" else reader.value(value, SETTINGS[name], name)
            for name, value in table.items()
            if name in SETTINGS
        },
    )


def suggest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" where a known name is near, else the list of them."""
    choices = sorted(known)
    return did_you_mean(name, choices) or f"; known: {', '.join(choices)}"


class _Reader:
    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path, self._environ = path, environ

    def camera(self, name: str, entry: object) -> CameraSite:
        place = f"cameras.{name}"
        values = self.fields({"name": name, **_table(entry, f"{self._path}: {place}")}, CameraSite, place)
        values["uri"] = self.address(f"{place}.uri", values["uri"])
        return CameraSite(**values)

    def fields(self, entry: object, kind: Any, place: str) -> dict[str, Any]:
        """Return the keyword arguments of a dataclass out of a table."""
        table = _table(entry, f"{self._path}: {place}")
        hints = get_type_hints(kind)
        needed = [
            item.name
            for item in dataclasses.fields(kind)
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        ]
        _known(table, hints, f"{self._path}: {place}")
        missing = [name for name in needed if name not in table]
        if missing:
            raise BadInput(f"{self._path}: {place}: expected the key {missing[0]!r}, which is missing; add it")
        return {name: self.value(value, hints[name], f"{place}.{name}") for name, value in table.items()}

    def address(self, place: str, value: object) -> str:
        """Return where something lies: an address as it is, a path relative to the file."""
        text = str(self.value(value, str, place))
        if text.isdigit() or text.startswith("/") or ADDRESS.match(text) or text == "memory":
            return text
        return str(self._path.parent / text)

    def value(self, value: object, kind: Any, place: str) -> Any:
        """Check a value against a type and convert what YAML cannot say."""
        where = f"{self._path}: {place}"
        origin = get_origin(kind)
        if origin in (types.UnionType, typing.Union):
            if value is None:
                return None
            kind = next(option for option in get_args(kind) if option is not type(None))
            origin = get_origin(kind)
        if kind is ThermalSettings:
            return ThermalSettings(**self.fields(value, ThermalSettings, place))
        if origin is Literal:
            choices = cast("tuple[str, ...]", get_args(kind))
            if value not in choices:
                near = suggest(value, choices) if isinstance(value, str) else ""
                raise BadInput(f"{where}: expected one of {', '.join(choices)}, got {shown(value)}{near}")
            return value
        if origin is tuple:
            items, parts = _list(value, where), get_args(kind)
            if len(items) != len(parts):
                raise BadInput(f"{where}: expected {len(parts)} values, got {len(items)}")
            return tuple(self.value(item, part, place) for item, part in zip(items, parts, strict=True))
        return self._plain(value, kind, where)

    def _plain(self, value: object, kind: Any, where: str) -> Any:
        if kind is bool and isinstance(value, bool):
            return value
        if kind is int and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31:
            return value
        # NaN is not below anything, and a whole number of 400 digits is no float.
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
            return float(value)
        if kind in (str, Path) and isinstance(value, str | int) and not isinstance(value, bool):
            text = VARIABLE.sub(lambda match: self._variable(match[1], where), str(value))
            return self._path.parent / text if kind is Path else text
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
        raise BadInput(f"{where}: expected {words[kind]}, got {shown(value)}")

    def _variable(self, name: str, where: str) -> str:
        if name not in self._environ:
            raise BadInput(f"{where}: the environment variable {name} is not set; set it before the start")
        return self._environ[name]


def _known(table: Mapping[str, object], known: Iterable[str], where: str) -> None:
    names = list(known)
    for key in table:
        if key not in names:
            raise BadInput(f"{where}: unknown key {key!r}{suggest(key, names)}")


def _table(raw: object, where: str) -> dict[str, Any]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise BadInput(f"{where}: expected keys and values, got {type(raw).__name__}")
    return {str(key): value for key, value in cast("dict[Any, Any]", raw).items()}


def _list(raw: object, where: str) -> list[Any]:
    if not isinstance(raw, list | tuple):
        raise BadInput(f"{where}: expected a list, got {shown(raw)}")
    return list(cast("list[Any]", raw))
