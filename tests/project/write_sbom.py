"""Write down what an installation holds, as CycloneDX 1.6 in JSON: packages, versions, licences, who needs what.

Without --wheels it is what this environment holds of the role's packages, without hashes, as the archives that they
came from are gone. With --wheels it is every wheel of a folder, such as a device bundle's, with its SHA-256.
"""

# CycloneDX's classes lose their types in the decorators of its serialisation.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.metadata import Distribution

    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component

ROLES = {
    "device": ("cpu",),
    "workstation": ("cpu", "train", "qdrant", "tensorrt-rtx", "dev"),
}


def make_bom(
    role: str, packages: Mapping[str, Distribution], sha256s: Mapping[str, str], missing: Sequence[str]
) -> Bom:
    """Return the bill of materials of packages; sha256s are of the archives, as far as they are known."""
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType

    from tests.project.packages import OURS, needs, project, requirements

    table = project()
    ours = Component(
        name=OURS,
        version=str(table["version"]),
        type=ComponentType.APPLICATION,
        bom_ref=OURS,
        licenses=[LicenseFactory().make_from_string(str(table["license"]))],
        properties=[Property(name="crosslight:role", value=role)]
        + [Property(name="crosslight:not-installed", value=name) for name in missing],
    )
    bom = Bom()
    bom.metadata.component = ours
    components = {name: _component(name, package, sha256s.get(name)) for name, package in packages.items()}
    for name, component in components.items():
        bom.components.add(component)
        bom.register_dependency(component, _known(components, [item.name for item in needs(packages[name])]))
    asked = [item.name for item in requirements(ROLES[role])]
    bom.register_dependency(ours, _known(components, asked))
    return bom


def _component(name: str, package: Distribution, sha256: str | None) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    from tests.project.licences import CARRIED, stated
    from tests.project.packages import field

    licence = stated(package)
    return Component(
        name=name,
        version=package.version,
        bom_ref=f"{name}=={package.version}",
        purl=PackageURL("pypi", None, name, package.version),
        description=field(package, "Summary"),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else [],
        properties=[Property(name="crosslight:carries", value=CARRIED[name])] if name in CARRIED else [],
    )


def _known(components: Mapping[str, Component], names: Sequence[str]) -> list[Component]:
    from packaging.utils import canonicalize_name

    wanted = [canonicalize_name(name) for name in names]
    return [components[name] for name in dict.fromkeys(wanted) if name in components]


def write_sbom(role: str, out: Path, wheels: Path | None) -> str:
    """Write the bill of materials of a role; return what is in it, in one line."""
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    from engines.atomic import write_text
    from engines.errors import BadInput
    from tests.project.licences import refusals, unread_notices
    from tests.project.packages import closure, installed, requirements, wheels_in

    sha256s: dict[str, str] = {}
    missing: list[str] = []
    if wheels is None:
        packages, missing = closure(requirements(ROLES[role]), installed())
    else:
        files = wheels_in(wheels)
        packages = {name: package for name, (package, _) in files.items()}
        sha256s = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, (_, path) in files.items()}
    refused = refusals(packages) + (unread_notices(packages) if role == "device" else [])
    if refused:
        raise BadInput(f"{refused[0]} ({len(refused)} refused)")
    bom = make_bom(role, packages, sha256s, missing)
    write_text(out, make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2) + "\n")
    told = f"; not installed: {', '.join(missing)}" if missing else ""
    return f"{out}: {len(packages)} packages of a {role}, {len(sha256s)} with the SHA-256 of their wheel{told}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="write_sbom", description=__doc__)
    parser.add_argument("--role", action="append", choices=ROLES, help="what is installed (default: each of them)")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="describe these wheels instead, of a device")
    parser.add_argument("--out", type=Path, default=Path("sbom"), metavar="DIR", help="for ROLE.cdx.json (sbom)")
    args = parser.parse_args(argv)

    from engines.errors import run_script

    def body() -> int:
        for role in args.role or (["device"] if args.wheels else list(ROLES)):
            sys.stdout.write(write_sbom(role, args.out / f"{role}.cdx.json", args.wheels) + "\n")
        return 0

    return run_script("write_sbom", body)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
