"""Render a sweep as one self-contained HTML file with embedded plots."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence

import pyarrow as pa

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
tr.failed td, tr.killed td { color: #c0392b; } tr.paused td { opacity: .65; } tr:first-child td { font-weight: 600; }
td.error { white-space: normal; min-width: 20rem; } img { max-width: 100%; background: white; border-radius: 6px; }
code { font-size: .9em; }
"""


def page(title: str, lead: Sequence[str], table: pa.Table, pictures: Mapping[str, bytes]) -> str:
    """Return the page as HTML.

    Args:
        lead: paragraphs below the title. table: the leaderboard. pictures: PNGs by heading.
    """
    paragraphs = "".join(f"<p>{html.escape(line)}</p>" for line in lead)
    drawn = "".join(
        f'<h2>{html.escape(name)}</h2><img alt="{html.escape(name)}" src="{data_uri(png)}">'
        for name, png in pictures.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style><h1>{html.escape(title)}</h1>{paragraphs}"
        f'<div class="wide">{_table(table)}</div>{drawn}</html>\n'
    )


def data_uri(png: bytes) -> str:
    """Return a PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def markdown_table(table: pa.Table) -> str:
    """Return the leaderboard in markdown."""
    columns = _non_empty(table)
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in table.select(columns).to_pylist():
        cells = (_cell(value).replace("|", "\\|").replace("\n", " ") for value in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _non_empty(table: pa.Table) -> list[str]:
    """Return the columns that are not empty."""
    one = {"seeds": 1, "share_trained": 1.0}
    return [
        name
        for name in table.column_names
        if table[name].null_count < table.num_rows and set(table[name].to_pylist()) != {one.get(name)}
    ]


def _table(table: pa.Table) -> str:
    columns = _non_empty(table)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = ""
    for row in table.to_pylist():
        cells = "".join(f'<td class="{html.escape(name)}">{html.escape(_cell(row[name]))}</td>' for name in columns)
        body += f'<tr class="{row["state"]}">{cells}</tr>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
