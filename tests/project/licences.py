"""Under which licences the installed packages may be used, and which of them are refused.

Permissive licences and MPL-2.0 (its copyleft ends at the file) are allowed. GPL and AGPL are not, LGPL only where a
wheel of the device carries it as shared libraries of their own (CARRIED). A licence that is not known here is refused
until somebody has read it and written it down.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from license_expression import AND, OR, ExpressionError, get_spdx_licensing

from tests.project.packages import field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.metadata import Distribution
    from pathlib import Path, PurePath

ALLOWED = frozenset(
    {
        "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
        "ISC", "LicenseRef-BSD", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib",
    }
)  # fmt: skip

# What packages write instead of an SPDX identifier. LicenseRef-BSD: a BSD licence that does not say which.
SPELLINGS = {
    "Apache 2.0": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "LicenseRef-BSD",
    "BSD License": "LicenseRef-BSD",
    "BSD 2-Clause License": "BSD-2-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "The MIT License (MIT)": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PSFL": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0",
}

# Where one of two licences is not allowed, the one that we take.
CHOSEN = {
    "paho-mqtt": ("BSD-3-Clause", "EPL-2.0 OR BSD-3-Clause: the Eclipse Distribution License is the BSD one"),
    "siphash24": ("Apache-2.0", "Apache-2.0 OR LGPL-2.1-or-later; pycuda needs it through pytools"),
}

# Proprietary, never part of what we hand out: a user who wants an NVIDIA GPU installs them and accepts their terms.
NVIDIA = re.compile(r"(nvidia|tensorrt|cuda)(-.+)?")
PROPRIETARY = frozenset({"Proprietary", "Other/Proprietary License", "NVIDIA Proprietary Software"})

# What wheels of the device carry or mention under a copyleft licence, read in their own notices. A device bundle and a
# container hand these on, so each must be known; the tests fail for one that is not.
CARRIED = {
    "numpy": "libgfortran (GPL-3.0 with the GCC runtime exception) and libquadmath (LGPL-2.1), shared libraries",
    "onnxruntime": "Mbed TLS, of which it takes the Apache-2.0 option; the MPL-2.0's text names the GPL",
    "opencv-python": "FFmpeg (LGPL-2.1) and Qt 5 (LGPL-3.0), shared libraries that can be replaced",
    "openvino": "oneTBB names a libstdc++ workaround (GPL-3.0 with the GCC runtime exception); liburing as MIT",
    "paho-mqtt": "EPL-2.0's text names the GPL as a secondary licence; we take BSD-3-Clause",
    "pillow": "FreeType (its own licence or GPL-2.0: the first); liblzma, of whose GPL files none is in the binary",
    "pip": "nothing: distlib's PSF licence, which it has inside, says how it goes with the GPL",
    "setuptools": "autocommand (LGPL-3.0), a package of Python files inside; only to build pycuda on a device",
    "scipy": "libgfortran (GPL-3.0 with the GCC runtime exception) and libquadmath (LGPL-2.1), shared libraries",
    "typing-extensions": "nothing: Python's own licence says how it goes with the GPL",
}
COPYLEFT = re.compile(r"GNU\s+(?:Affero\s+|Lesser\s+|Library\s+)?General\s+Public|\b[AL]?GPL[v-]?\d", re.IGNORECASE)
NOTICE = re.compile(r"licen[cs]e|copying|notice|third.?party", re.IGNORECASE)
LICENSING = get_spdx_licensing()


def stated(package: Distribution) -> str:
    """Return the licence that a package's metadata states: an SPDX expression where it can be read as one.

    A field and a classifier that differ are both stated. A licence's whole text in the field is no statement.
    """
    expression = field(package, "License-Expression")
    if expression:
        return expression
    text = field(package, "License").strip()
    words = [text] if text and "\n" not in text and len(text) < 100 else []
    classifiers = package.metadata.get_all("Classifier") or []
    words += [line.rsplit(" :: ", 1)[-1] for line in classifiers if line.startswith("License")]
    spelled = [SPELLINGS.get(word.removeprefix("OSI Approved :: "), word) for word in words]
    return " AND ".join(dict.fromkeys(f"({word})" if " OR " in word else word for word in spelled))


def refusal(name: str, package: Distribution) -> str | None:
    """Return why a package may not be used, in one line; None where it may."""
    licence = stated(package)
    if NVIDIA.fullmatch(name) and set(licence.split(" AND ")) <= PROPRIETARY:
        return None
    where = f"{name} {package.version}"
    if not licence:
        return (
            f"{where}: expected a licence in its metadata, got none; read it and name it in tests/project/licences.py"
        )
    try:
        parsed = LICENSING.parse(licence)
    except ExpressionError:
        parsed = None
    if parsed is None:
        return f"{where}: expected a licence of ALLOWED, got {licence!r}; read it and name it in SPELLINGS"
    refused = sorted(set(_refused(parsed, CHOSEN.get(name, ("", ""))[0])))
    if not refused:
        return None
    return (
        f"{where}: expected licences of ALLOWED, got {licence!r} with {', '.join(refused)}; take another package, or "
        "name the option we take in CHOSEN, in tests/project/licences.py"
    )


def refusals(packages: Mapping[str, Distribution]) -> list[str]:
    """Return why packages may not be used, a line each."""
    return [line for name, package in sorted(packages.items()) if (line := refusal(name, package))]


def copyleft_notices(packages: Mapping[str, Distribution]) -> dict[str, list[str]]:
    """Return the packages whose licence files speak of GPL, LGPL or AGPL, and these files."""
    found: dict[str, list[str]] = {}
    for name, package in packages.items():
        for file in package.files or []:
            if _is_notice(file):
                text = cast("Path", file.locate()).read_text(encoding="utf-8", errors="replace")
                if COPYLEFT.search(text):
                    found.setdefault(name, []).append(str(file))
    return found


def unread_notices(packages: Mapping[str, Distribution]) -> list[str]:
    """Return what speaks of copyleft in packages that are handed on and is not written down, a line each."""
    return [
        f"{name} {packages[name].version}: expected what it carries in CARRIED of tests/project/licences.py, got "
        f"nothing; read {', '.join(files)}"
        for name, files in copyleft_notices(packages).items()
        if name not in CARRIED
    ]


def _is_notice(file: PurePath) -> bool:
    named = ".dist-info/licenses/" in file.as_posix() or NOTICE.search(file.name)
    return bool(named) and file.suffix not in (".py", ".pyc")


def _refused(expression: Any, chosen: str) -> Iterable[str]:
    """Yield the licences that do not allow the use; of alternatives all must be allowed, or one be chosen."""
    if isinstance(expression, AND):
        for part in expression.args:
            yield from _refused(part, chosen)
    elif isinstance(expression, OR):
        options = {part.render(): list(_refused(part, chosen)) for part in expression.args}
        if options.get(chosen, [chosen]):
            yield from (item for refused in options.values() for item in refused)
    elif (name := expression.render()) not in ALLOWED:
        yield name
