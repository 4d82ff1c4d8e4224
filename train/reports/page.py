"""A self-contained HTML page: one file, no script, no network, readable in light and dark and on a telephone."""

from __future__ import annotations

import base64
import html
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

# Twelve colours that differ in hue or lightness under the common kinds of colour blindness, for light and for dark
# ground. Figures are drawn with the first of a pair; `themed` lets the page choose.
_PAIRS = (
    ("#0072b2", "#4aa8ff"), ("#d55e00", "#ff8a3d"), ("#009e73", "#2fd6a3"), ("#aa4499", "#d98be6"),
    ("#8c6a00", "#c9a43a"), ("#332288", "#8f86ff"), ("#e69f00", "#ffd166"), ("#56b4e9", "#a5dcff"),
    ("#882255", "#e0608f"), ("#117733", "#6cc06c"), ("#cc79a7", "#f2a7d0"), ("#4d4d4d", "#c8c8c8"),
)  # fmt: skip
COLOURS = tuple(light for light, _ in _PAIRS)
DIM, INK, CARD = "#5d6875", "#1c2430", "#ffffff"  # axes and their letters; text; the ground of a section

STYLE = (
    ":root { color-scheme: light dark; --ink: #1c2430; --dim: #5d6875; --line: #d9dee5; --card: #ffffff;"
    " --page: #f4f6f9; --accent: #0b6bcb; --good: #1a8f4c; --bad: #c8382c; "
    + " ".join(f"--c{index}: {light};" for index, (light, _) in enumerate(_PAIRS))
    + " }\n@media (prefers-color-scheme: dark) { :root { --ink: #e7ebf0; --dim: #9aa6b4; --line: #2f3843;"
    " --card: #1a2129; --page: #11161c; --accent: #5cb0ff; --good: #3ecf7f; --bad: #ff6f61; "
    + " ".join(f"--c{index}: {dark};" for index, (_, dark) in enumerate(_PAIRS))
    + " } }"
    """
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); overflow-wrap: break-word;
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 20px; margin: 0 0 4px; }
h3 { font-size: 15px; margin: 18px 0 4px; }
p { margin: 0 0 12px; max-width: 76ch; }
.lead { color: var(--dim); font-size: 17px; }
.warning { border-left: 4px solid var(--bad); padding: 8px 14px; background: var(--card); margin-top: 14px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 22px 24px;
  margin-top: 22px; }
.note { color: var(--dim); font-size: 14px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 20px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 16px; }
.tile b { display: block; font-size: 26px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--dim); font-size: 13px; }
.scroll { overflow-x: auto; background: linear-gradient(to left, var(--card) 30%, transparent) right / 44px 100%
  no-repeat local, linear-gradient(to left, var(--line), transparent) right / 16px 100% no-repeat scroll; }
.scroll + .note { margin-top: 10px; }
.slim table { width: auto; min-width: min(560px, 100%); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 15px; }
th, td { text-align: right; padding: 7px 10px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, td.words { text-align: left; }
th:first-child, td:first-child { white-space: normal; position: sticky; left: 0; background: var(--card); }
td.words { white-space: normal; min-width: 240px; color: var(--dim); }
th { color: var(--dim); font-weight: 600; font-size: 13px; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0; font-size: 15px; }
.facts dt { color: var(--dim); }
.facts dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
details { margin-top: 14px; }
summary { cursor: pointer; color: var(--accent); font-size: 15px; padding: 4px 0; }
img, svg { max-width: 100%; height: auto; }
svg { display: block; }
svg.key { display: inline-block; margin-right: 6px; }
.frames img { display: block; width: 100%; border-radius: 8px; margin: 10px 0 4px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); gap: 20px; }
.columns > *, .panels > * { min-width: 0; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); gap: 18px 20px; }
.panels.wide { grid-template-columns: repeat(auto-fill, minmax(min(420px, 100%), 1fr)); }
.panels figure { margin: 0; }
.panels figure > svg { width: 100%; }
.panels figcaption { font-size: 14px; font-weight: 600; margin-bottom: 2px; }
.panels figcaption small { display: block; font-weight: 400; color: var(--dim); font-size: 13px; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 8px 0; padding: 0; font-size: 13px;
  color: var(--dim); }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 50%; margin-right: 5px; }
.ranks { display: flex; gap: 8px; align-items: flex-end; padding: 8px 0; }
.ranks figure { margin: 0; text-align: center; font-size: 12px; color: var(--dim); }
.ranks img { display: block; height: 128px; width: auto; max-width: none; border-radius: 6px;
  border: 4px solid var(--line); }
.ranks .right img { border-color: var(--good); }
.ranks .wrong img { border-color: var(--bad); border-style: dashed; }
.ranks .probe { padding-right: 12px; margin-right: 4px; border-right: 2px solid var(--line); }
code { font: 13px ui-monospace, "SF Mono", Menlo, monospace; }
pre { overflow-x: auto; background: var(--page); border: 1px solid var(--line); border-radius: 8px; padding: 12px; }
@media (max-width: 600px) { main { padding: 20px 10px 40px; } section { padding: 16px 14px; } h1 { font-size: 24px; }
  table { font-size: 14px; } th, td { padding: 6px 5px; } th { font-size: 12px; } td.words { min-width: 130px; }
  .tiles { grid-template-columns: repeat(2, 1fr); } .tile b { font-size: 22px; } }
"""
)


@dataclass(frozen=True)
class Tile:
    """One headline figure."""

    value: str
    label: str


def page(title: str, lead: str, tiles: Sequence[Tile], sections: Sequence[str], warnings: Sequence[str] = ()) -> str:
    """Put a page together; sections are HTML made by `section`, the other texts are plain."""
    warned = "".join(f'<p class="warning">{html.escape(warning)}</p>' for warning in warnings)
    cells = "".join(
        f'<div class="tile"><b>{html.escape(tile.value)}</b><span>{html.escape(tile.label)}</span></div>'
        for tile in tiles
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}</p>{warned}<div class="tiles">{cells}</div>'
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


def panels(figures: Mapping[str, str], *, wide: bool = False) -> str:
    """Figures in a grid; the keys are captions, and what stands behind a line break in one is its small print."""
    parts: list[str] = []
    for caption, figure in figures.items():
        title, _, small = caption.partition("\n")
        words = html.escape(title) + (f"<small>{html.escape(small)}</small>" if small else "")
        parts.append(f"<figure><figcaption>{words}</figcaption>{figure}</figure>")
    return f'<div class="panels{" wide" if wide else ""}">{"".join(parts)}</div>'


def folded(summary: str, *content: str) -> str:
    """Content that opens with a click; no script is needed."""
    return f"<details><summary>{html.escape(summary)}</summary>{''.join(content)}</details>"


def heading(text: str) -> str:
    """A heading inside a section."""
    return f"<h3>{html.escape(text)}</h3>"


def note(text: str) -> str:
    """Small print inside a section."""
    return f'<p class="note">{html.escape(text)}</p>'


def facts(rows: Sequence[Sequence[str]]) -> str:
    """Names and what they are, of any length."""
    return (
        '<dl class="facts">'
        + "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in rows)
        + "</dl>"
    )


def themed(text: str) -> str:
    """Replace the colours of figures by the page's, which differ on light and on dark ground."""
    names = {colour: f"var(--c{index})" for index, colour in enumerate(COLOURS)} | {
        DIM: "var(--dim)",
        INK: "var(--ink)",
        CARD: "var(--card)",
    }
    return re.sub("|".join(names), lambda found: names[found.group()], text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, slim: bool = False) -> str:
    """A table of plain texts that scrolls sideways on a narrow screen; a column without a heading holds words.

    slim: no wider than its columns need.
    """
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    opened = ["<td>" if name else '<td class="words">' for name in head]
    body = "".join(
        "<tr>" + "".join(f"{tag}{html.escape(cell)}</td>" for tag, cell in zip(opened, row, strict=True)) + "</tr>"
        for row in rows
    )
    look = "scroll slim" if slim else "scroll"
    return f'<div class="{look}"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


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
