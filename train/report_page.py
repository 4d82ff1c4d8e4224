"""A self-contained HTML page: one file, no script, no network, readable in light and dark and on a telephone."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5d6875; --line: #d9dee5; --card: #ffffff; --page: #f4f6f9;
  --accent: #0b6bcb; --good: #1a8f4c; --bad: #c8382c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7ebf0; --dim: #9aa6b4; --line: #2f3843; --card: #1a2129;
  --page: #11161c; --accent: #5cb0ff; --good: #3ecf7f; --bad: #ff6f61; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 20px; margin: 0 0 4px; }
p { margin: 0 0 12px; max-width: 76ch; }
.lead { color: var(--dim); font-size: 17px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 22px 24px;
  margin-top: 22px; }
.note { color: var(--dim); font-size: 14px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 20px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 16px; }
.tile b { display: block; font-size: 26px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--dim); font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 15px; }
th, td { text-align: right; padding: 7px 10px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, td.words { text-align: left; }
td.words { white-space: normal; min-width: 240px; color: var(--dim); }
th { color: var(--dim); font-weight: 600; font-size: 13px; }
img, svg { max-width: 100%; height: auto; }
.frames img { display: block; width: 100%; border-radius: 8px; margin: 10px 0 4px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 20px; }
.ranks { display: flex; gap: 8px; align-items: flex-end; padding: 8px 0; }
.ranks figure { margin: 0; text-align: center; font-size: 12px; color: var(--dim); }
.ranks img { display: block; height: 128px; width: auto; max-width: none; border-radius: 6px;
  border: 4px solid var(--line); }
.ranks .right img { border-color: var(--good); }
.ranks .wrong img { border-color: var(--bad); }
.ranks .probe { padding-right: 12px; margin-right: 4px; border-right: 2px solid var(--line); }
code { font: 13px ui-monospace, "SF Mono", Menlo, monospace; }
pre { overflow-x: auto; background: var(--page); border: 1px solid var(--line); border-radius: 8px; padding: 12px; }
"""


@dataclass(frozen=True)
class Tile:
    """One headline figure."""

    value: str
    label: str


def page(title: str, lead: str, tiles: Sequence[Tile], sections: Sequence[str]) -> str:
    """Put a page together; sections are HTML made by `section`, the other texts are plain."""
    cells = "".join(
        f'<div class="tile"><b>{html.escape(tile.value)}</b><span>{html.escape(tile.label)}</span></div>'
        for tile in tiles
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}</p><div class="tiles">{cells}</div>'
        + "".join(sections)
        + "</main></body></html>\n"
    )


def section(heading: str, note: str, *content: str) -> str:
    """One card; content is HTML."""
    return (
        f'<section><h2>{html.escape(heading)}</h2><p class="note">{html.escape(note)}</p>{"".join(content)}</section>'
    )


def columns(*parts: str) -> str:
    """Put parts side by side where the screen is wide enough."""
    return '<div class="columns">' + "".join(f"<div>{part}</div>" for part in parts) + "</div>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts that scrolls sideways on a narrow screen; a column without a heading holds words."""
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    opened = ["<td>" if name else '<td class="words">' for name in head]
    body = "".join(
        "<tr>" + "".join(f"{tag}{html.escape(cell)}</td>" for tag, cell in zip(opened, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def picture(image_HWC: NDArray[np.uint8], text: str, *, height_px: int | None = None, quality: int = 82) -> str:
    """An <img> with an RGB image inside the file."""
    image = Image.fromarray(image_HWC)
    if height_px is not None and image.height != height_px:
        image = image.resize(
            (max(1, round(image.width * height_px / image.height)), height_px), Image.Resampling.BICUBIC
        )
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(text, quote=True)}" src="data:image/jpeg;base64,{data}">'
