"""The unit for where things lie on this machine, and what stands in the way of installing it."""

from __future__ import annotations

import grp
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.assembly.model_parts import newest_engine
from deploy.settings.options import Options
from deploy.settings.site_file import read_site
from deploy.systemd.account import ENTER, READ, find_account
from deploy.systemd.secrets_file import ServiceEnvironment, read_secrets
from deploy.systemd.survey import STATE, Survey
from deploy.systemd.unit import SHIPPED, command, filled, quoted
from deploy.web.access import checked_token, parse_address
from engines.errors import BadInput
from engines.manifest import load_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable

GROUPS = ("video", "render")  # cameras and GPUs
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))


@dataclass(frozen=True, kw_only=True)
class Request:
    """Where things lie, all absolute. `clone` is the folder that holds deploy/."""

    clone: Path
    python: Path
    site: Path
    user: str
    secrets: Path

    @property
    def script(self) -> Path:
        return self.clone / "deploy" / "run_cameras.py"


@dataclass(frozen=True)
class Service:
    """A unit, and why this machine cannot run it yet, one line each."""

    unit: str
    obstacles: tuple[str, ...]


def plan_service(request: Request) -> Service:
    """Return the unit. A site file that is there and wrong is refused; everything else is an obstacle."""
    known = {group.gr_name: group.gr_gid for group in grp.getgrall()}
    groups = [name for name in GROUPS if name in known]  # with one that is not there systemd does not start it
    account = find_account(request.user, frozenset(known[name] for name in groups))
    survey = Survey(user=request.user, account=account)
    if account is None:
        survey.obstacles.append(
            f"--user: expected a user of this machine, got {request.user!r}; make it: sudo useradd --system "
            f"--home-dir {STATE} --shell /usr/sbin/nologin {request.user}"
        )
    survey.expect_readable("clone", request.script)
    survey.expect_python(request.python)
    options = _read_options(request, survey)
    engine = None if options is None else _look_at_run(request, options, survey)
    argus = options is not None and any(_needs_argus(camera.uri) for camera in options.cameras)
    places = [request.clone, request.python, request.site, *survey.writable, *([engine] if engine else [])]
    start = command(str(request.python), str(request.script), "--site", str(request.site), "--patient")
    settings = {
        "User": [request.user],
        "SupplementaryGroups": [" ".join(groups)] if groups else [],
        "EnvironmentFile": [f"-{request.secrets}"],
        "ExecStart": [start],
        "ReadWritePaths": [quoted(str(path)) for path in survey.writable],
        "ProtectHome": ["read-only" if _any_below(places, HOMES) else "yes"],
        "PrivateTmp": ["no" if argus or _any_below(places, TEMPORARY) else "yes"],
    }
    return Service(filled(SHIPPED.read_text(encoding="utf-8"), settings), tuple(survey.obstacles))


def _read_options(request: Request, survey: Survey) -> Options | None:
    """Read the site as the service will, and check what its page needs; None where there is no file yet."""
    secrets: dict[str, str] = {}
    try:
        secrets = read_secrets(request.secrets)
    except BadInput as error:
        survey.obstacles.append(str(error))
    survey.expect_readable("--site", request.site)
    if not request.site.exists():
        return None
    environment = ServiceEnvironment(secrets)
    file = read_site(request.site, environment)
    options = Options(cameras=file.cameras, pairs=file.pairs, transits=file.transits, **file.settings)
    survey.obstacles += [
        f"{request.site}: expected {name} in {request.secrets}, got no such line; add {name}=..."
        for name in dict.fromkeys(environment.lacking)
    ]
    if options.listen is not None and options.web is not None:
        raise BadInput(f"{request.site}: expected web (this machine only) or listen (others too), got both")
    if options.listen is not None:
        address = parse_address(options.listen)
        try:
            checked_token(address, options.token or secrets.get("CROSSLIGHT_TOKEN"))
        except BadInput as error:
            survey.obstacles.append(f"{error}; write it as CROSSLIGHT_TOKEN=... into {request.secrets}")
    return options


def _look_at_run(request: Request, options: Options, survey: Survey) -> Path | None:
    """Look at what a run reads and writes; return the engine's folder."""
    survey.expect_writable("sightings", options.sightings.parent)
    gallery = options.gallery.removeprefix("qdrant:")
    if gallery != "memory" and "://" not in gallery:
        survey.expect_writable("gallery", Path(gallery).parent)
    for what, path in (("record_crops", options.record_crops), ("save", options.save)):
        if path is not None:
            survey.expect_writable(what, path.parent)
    alignments = [("alignment", pair.alignment) for pair in options.pairs]
    for what, path in (("detector", options.detector), ("thresholds", options.thresholds), *alignments):
        if path is not None:
            survey.expect_readable(what, path)
    if options.auto_build and options.detector is not None:
        survey.expect_writable("auto_build of the detector", options.detector.parent)
    try:
        engine = options.engine or newest_engine(request.clone / "engines" / "built")
        load_manifest(engine)
    except BadInput as error:
        survey.obstacles.append(str(error))
        return None
    survey.expect_readable("engine", engine, READ | ENTER)
    if options.auto_build:
        survey.expect_writable("auto_build", engine)
    return engine


def _needs_argus(uri: str) -> bool:
    return uri.startswith("csi://") or "nvarguscamerasrc" in uri


def _any_below(places: Iterable[Path], folders: Iterable[Path]) -> bool:
    return any(
        here.is_relative_to(folder) for place in places for here in (place, place.resolve()) for folder in folders
    )
