"""The system user that runs the service, and what its mode bits let it do. Access lists are not looked at."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

READ, WRITE, ENTER = 4, 2, 1


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    groups: frozenset[int]


def find_account(name: str, extra_groups: frozenset[int] = frozenset()) -> Account | None:
    """Return the user with all its groups, and those that the service adds; None where there is none of that name."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, frozenset(os.getgrouplist(name, entry.pw_gid)) | extra_groups)


def may(account: Account, path: Path, wanted: int) -> bool:
    """Return whether the user can do all of wanted with what is there, on the way through links as well."""
    places = {Path(os.path.abspath(path)), path.resolve()}  # noqa: PTH100 - the link itself, its .. taken out
    return all(
        _permits(account, place, wanted) and all(_permits(account, above, ENTER) for above in place.parents)
        for place in places
    )


def _permits(account: Account, path: Path, wanted: int) -> bool:
    try:
        found = path.stat()
    except OSError:  # nothing there, or a folder on the way that is closed to us
        return False
    if account.uid == 0:
        return True
    shift = 6 if found.st_uid == account.uid else 3 if found.st_gid in account.groups else 0
    return (found.st_mode >> shift) & wanted == wanted
