"""What somebody may have meant by a word that is not known."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def did_you_mean(word: str, known: Iterable[str], *, shown: Callable[[str], str] = repr) -> str:
    """Return "; did you mean 'x'?" for the known words that word begins, or else is nearest to; without any, nothing.

    Neither capitals nor the dashes of an option count.
    """
    plain = {name.lstrip("-").lower(): name for name in sorted(known)}
    wanted = word.lstrip("-").lower()
    begun = [name for text, name in plain.items() if wanted and text.startswith(wanted)]
    near = begun[:3] or [plain[text] for text in difflib.get_close_matches(wanted, plain, n=1)]
    return f"; did you mean {' or '.join(map(shown, near))}?" if near else ""
