"""Look after a gallery: who is in it, enrol, erase, expire, export, import and check.

examples:
  manage_gallery.py list --gallery people.db
  manage_gallery.py enrol --gallery people.db --name "A. Miller" --engine engines/built/people a.jpg b.jpg
  manage_gallery.py erase 17 --gallery people.db
  manage_gallery.py expire --older-than 7d --gallery qdrant:people
  manage_gallery.py export backup.npz --gallery people.db
  manage_gallery.py import backup.npz --gallery qdrant+http://host:6333/people
  manage_gallery.py check --gallery people.db

A gallery is a file (SQLite), qdrant:FOLDER or qdrant+http://host:6333/collection (API key: QDRANT_API_KEY). list,
export and check read a file while cameras write to it; the rest takes a gallery that nobody else writes to.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="manage_gallery", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument("--gallery", required=True, metavar="WHERE", help="file, qdrant:FOLDER or qdrant+http://...")
        return made

    command("list", "show everybody")
    enrol = command("enrol", "add pictures of a person, cut out; the person does not expire")
    enrol.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    who = enrol.add_mutually_exclusive_group(required=True)
    who.add_argument("--name", help="of a new person")
    who.add_argument("--identity", type=int, metavar="ID", help="somebody who is there already")
    enrol.add_argument("--engine", required=True, type=Path, metavar="FOLDER", help="that the gallery belongs to")
    enrol.add_argument("--modality", choices=["visible", "infrared"], default="visible", help="default: visible")
    erase = command("erase", "erase a person from the disk")
    erase.add_argument("identity", type=int, metavar="ID")
    expire = command("expire", "erase everybody without a name who was not seen for a time")
    expire.add_argument("--older-than", required=True, metavar="AGE", help="such as 7d, 12h or 30m")
    for made in (erase, expire):
        made.add_argument("--yes", action="store_true", help="do not ask")
    command("export", "write everybody into one file").add_argument("file", type=Path, metavar="FILE")
    command("import", "bring in everybody of an exported file").add_argument("file", type=Path, metavar="FILE")
    command("check", "read everything and say what is damaged; exit code 1 where something is")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    def body() -> int:
        from deploy.gallery.administration import manage

        return manage(args)

    return run_script("manage_gallery", body)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
