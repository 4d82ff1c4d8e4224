# PYTHON_ARGCOMPLETE_OK
"""Look after a gallery: who is in it, enrol, erase, expire, export, import and check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

EXAMPLES = (
    "python deploy/manage_gallery.py list --gallery people.db",
    'python deploy/manage_gallery.py enrol --gallery people.db --name "A. Miller" --engine engines/built/people a.jpg',
    "python deploy/manage_gallery.py erase 17 --gallery people.db",
    "python deploy/manage_gallery.py expire --older-than 7d --gallery qdrant:people",
    "python deploy/manage_gallery.py export backup.npz --gallery people.db",
    "python deploy/manage_gallery.py import backup.npz --gallery qdrant+http://host:6333/people",
    "python deploy/manage_gallery.py check --gallery people.db",
)
NOTES = """A gallery is a file (SQLite), qdrant:FOLDER or qdrant+http://HOST:6333/NAME (API key: QDRANT_API_KEY). list,
export and check read a file while cameras write to it; the rest takes a gallery that nobody else writes to."""


def parser() -> Parser:
    """Return the command line: one for each command."""
    from engines.command_line import Parser
    from engines.option_values import whole

    parser = Parser("manage_gallery", __doc__, EXAMPLES, notes=NOTES)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", title="commands (each has its own --help)"
    )

    def command(name: str, text: str) -> Parser:
        example = next(text for text in EXAMPLES if text.split()[2] == name)
        made = commands.add_parser(name, help=text, purpose=f"{text[0].upper()}{text[1:]}.", examples=(example,))
        made.add_argument_group("gallery").add_argument(
            "--gallery",
            required=True,
            metavar="WHERE",
            help="file, qdrant:FOLDER or qdrant+http://HOST:6333/NAME",
        )
        return made

    command("list", "show everybody")
    enrol = command("enrol", "add pictures of a person, cut out; the person does not expire")
    add = enrol.add_argument_group("input").add_argument
    add("images", nargs="+", type=Path, metavar="IMAGE", help="pictures of the person")
    add("--modality", choices=("visible", "infrared"), default="visible", metavar="NAME", help="of them: %(choices)s")
    add = enrol.add_argument_group("person").add_mutually_exclusive_group(required=True).add_argument
    number = whole("the number of an identity")
    add("--name", metavar="NAME", help="of a new person; required without --identity")
    add("--identity", type=number, metavar="ID", help="of somebody who is there; required without --name")
    add = enrol.add_argument_group("model").add_argument
    add(
        "--engine",
        required=True,
        type=Path,
        metavar="FOLDER",
        help="engine folder that the gallery belongs to",
    )
    erase = command("erase", "erase a person from the disk")
    add = erase.add_argument_group("person").add_argument
    add("identity", type=number, metavar="ID", help="the number of the person, as list shows it")
    expire = command("expire", "erase everybody without a name who was not seen for a time")
    add = expire.add_argument_group("person").add_argument
    add("--older-than", required=True, metavar="AGE", help="not seen for so long: 7d, 12h or 30m")
    for made in (erase, expire):
        add = made.add_argument_group("confirmation").add_argument
        add("--yes", action="store_true", help="do not ask")
    add = command("export", "write everybody into one file").add_argument_group("output").add_argument
    add("file", type=Path, metavar="FILE", help="archive to write, .npz")
    add = command("import", "bring in everybody of an exported file").add_argument_group("input").add_argument
    add("file", type=Path, metavar="FILE", help="archive of export")
    command("check", "read everything and say what is damaged; exit code 1 where something is")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

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
