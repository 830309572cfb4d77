"""The report of a run as one self-contained HTML file: `report.html`, beside the model."""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from tasks.evaluation.per_class import confused_line, score_cells
from tasks.results.card import SAMPLE, shortened
from tasks.results.report import Report
from tasks.results.report_markdown import duration, facts, number, slice_metrics

STYLE = """
:root { color-scheme: light dark; --ground: light-dark(#f6f7f9, #0e1116); --card: light-dark(#fff, #161b22);
  --ink: light-dark(#1c2128, #e6e8eb); --soft: light-dark(#666d78, #9198a1); --line: light-dark(#e4e7eb, #2a3038);
  --blue: light-dark(#2563eb, #6ea8fe); --green: light-dark(#15803d, #4ade80); --wash: light-dark(#eef3fe, #18243c);
  --warn: light-dark(#92580c, #e3b341); --warnwash: light-dark(#fdf5e4, #2b2413); }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 980px; margin: 0 auto; padding: 44px 24px 72px; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 13px; letter-spacing: .07em; text-transform: uppercase; color: var(--soft); margin: 0 0 14px; }
h3 { font-size: 15px; margin: 22px 0 8px; }
.about { color: var(--soft); margin: 0 0 26px; display: flex; flex-wrap: wrap; gap: 4px 16px; }
.state { color: var(--green); font-weight: 600; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 22px 24px;
  margin: 0 0 18px; overflow-x: auto; }
.scores { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 14px; margin: 0 0 20px; }
.score { background: var(--wash); border-radius: 10px; padding: 14px 16px; }
.score b { display: block; font-size: 27px; line-height: 1.2; font-variant-numeric: tabular-nums; font-weight: 650; }
.score span { color: var(--soft); font-size: 13px; display: block; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 500; color: var(--soft); font-size: 13px; padding: 0 14px 7px 0; }
td { border-top: 1px solid var(--line); padding: 7px 14px 7px 0; vertical-align: top; overflow-wrap: break-word; }
td.any { overflow-wrap: anywhere; }
td.said { white-space: pre-wrap; min-width: 130px; }
th:last-child, td:last-child { padding-right: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.soft { color: var(--soft); } .keep { white-space: nowrap; }
.built { color: var(--green); } .cached { color: var(--blue); }
.track { display: block; min-width: 110px; height: 6px; margin-top: 8px; border-radius: 3px; background: var(--line);
  position: relative; }
.track i { position: absolute; top: 0; height: 6px; min-width: 4px; border-radius: 3px; background: var(--blue); }
.bar { width: 130px; }
code, pre { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { background: var(--ground); border: 1px solid var(--line); border-radius: 8px; padding: 13px 15px;
  margin: 12px 0 0; overflow-x: auto; }
img { display: block; width: 100%; max-width: 900px; height: auto; margin: 4px auto 0; }
img.square { max-width: 520px; margin-top: 18px; }
.warnings { list-style: none; margin: 14px 0 0; padding: 0; }
.warnings li { background: var(--warnwash); color: var(--warn); border-radius: 8px; padding: 7px 12px;
  margin: 6px 0 0; font-size: 14px; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: 13px; text-align: center; margin-top: 26px; }
@media (max-width: 640px) { main { padding: 26px 12px 40px; } section { padding: 18px 16px; } .bar { display: none; } }
@media print { body { background: none; } section { break-inside: avoid; } }
"""
FEW = 3  # metrics shown large


def html(report: Report) -> str:
    """Return the report of a run as a whole page with light and dark styles and inline pictures."""
    sections = (
        _metrics(report),
        _classes(report),
        _samples(report),
        _curves(report),
        _model(report),
        _data(report),
        _stages(report),
        _configuration(report),
    )
    body = "\n".join(f"<section>\n{section}\n</section>" for section in sections if section)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(report.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(report.title)}</h1>
<p class="about">{_about(report)}</p>
{body}
<footer>{escape(report.run)} · {escape(_when(report))}</footer>
</main>
</body>
</html>
"""


def _about(report: Report) -> str:
    state, took = report.record.get("state", ""), duration(report.seconds)
    words = [f'<span class="state">{escape(f"{state} in {took}" if took else state)}</span>']
    words += [f"<span>{escape(report.task)}</span>", f"<span>base <code>{escape(report.base)}</code></span>"]
    return "\n".join(words)


def _when(report: Report) -> str:
    return str(report.record.get("started", "")).replace("T", " ").split(".")[0] + " UTC"


def _metrics(report: Report) -> str:
    if not report.metrics:
        return ""
    names = sorted(report.metrics, key=lambda name: name != report.main)
    names = [name for name in names if report.metrics[name] is not None and not name.endswith("loss")]
    cards = "".join(_score(report, name) for name in names[:FEW])
    rows = (
        (escape(name), _n(number(value) or "not a number"), _n(_bounds(report, name), "soft"), _interval(report, name))
        for name, value in report.metrics.items()
    )
    head = ("metric", _n("value"), _n("95 % interval"), '<td class="bar"></td>')
    slices = "".join(_slices(report))
    return f'<h2>Metrics</h2>\n<div class="scores">{cards}</div>\n{_table(head, rows)}{slices}'


def _score(report: Report, name: str) -> str:
    bounds = f"{_bounds(report, name)} with 95 %" if name in report.intervals else "&nbsp;"
    value = report.metrics[name]
    return f'<div class="score"><span>{escape(name)}</span><b>{number(value)}</b><span>{bounds}</span></div>'


def _bounds(report: Report, name: str) -> str:
    ends = report.intervals.get(name, ())
    return " to ".join(number(end) for end in ends)


def _interval(report: Report, name: str) -> str:
    """The interval drawn on a scale from 0 to 1, for metrics in that range."""
    ends = report.intervals.get(name)
    if not ends or not all(0 <= end <= 1 for end in ends) or name.endswith("loss"):
        return '<td class="bar"></td>'
    return _track(ends[0], ends[1] - ends[0])


def _track(start: float, width: float) -> str:
    """A bar on a line of length 1."""
    style = f"left:{100 * start:.1f}%;width:{100 * width:.1f}%"
    return f'<td class="bar"><span class="track"><i style="{style}"></i></span></td>'


def _slices(report: Report) -> Iterator[str]:
    for column, values in report.slices.items():
        names = slice_metrics(values)
        rows = (
            (escape(value), _n(f"{found['rows']:.0f}"), *(_n(number(found.get(name))) for name in names))
            for value, found in values.items()
        )
        head = (escape(column), _n("rows"), *(_n(escape(name)) for name in names))
        yield f"<h3>By {escape(column)}</h3>{_table(head, rows)}"


def _classes(report: Report) -> str:
    parts = []
    for split, found in report.classes.items():
        head, *rows = ([escape(name), *map(_n, rest)] for name, *rest in score_cells(found))
        parts.append(f"<h3>Classes of {escape(split)}</h3>{_table(head, rows)}")
        if line := confused_line(found):
            parts.append(f'<p class="soft">{escape(line)}</p>')
    if report.confusion:
        picture = f"data:image/png;base64,{b64encode(report.confusion).decode()}"
        parts.append(f'<img class="square" alt="Confusion matrix" src="{picture}">')
    return f"<h2>Classes</h2>\n{''.join(parts)}" if parts else ""


def _samples(report: Report) -> str:
    if not report.samples:
        return ""
    rows = (
        [f'<td class="any said">{escape(shortened(each[name]))}</td>' for name in SAMPLE] for each in report.samples
    )
    return f"<h2>Answers</h2>\n{_table(SAMPLE, rows)}"


def _curves(report: Report) -> str:
    if not report.curves:
        return ""
    picture = f"data:image/png;base64,{b64encode(report.curves).decode()}"
    return f'<h2>Training</h2>\n<img alt="Loss and metrics by step" src="{picture}">'


def _model(report: Report) -> str:
    use = f"<pre>{escape(report.usage)}</pre>" if report.usage else ""
    place = f"<code>{escape(report.folder)}</code>" if report.folder else escape(report.place)
    return f"<h2>Model</h2>\n<div>{place}</div>\n{use}"


def _data(report: Report) -> str:
    if not report.data:
        return ""
    counts = "".join(f'<div class="score"><span>{escape(name)}</span><b>{count:,}</b><span>rows</span></div>'
                     for name, count in report.rows.items())  # fmt: skip
    shown = [line for line in facts(report.data) if not line.startswith("warning: ")]
    warnings = "".join(f"<li>{escape(line)}</li>" for line in [*report.data.get("warnings", ()), *report.warnings])
    return f'<h2>Data</h2>\n<div class="scores">{counts}</div>\n<div class="soft">{escape(" · ".join(shown))}</div>' + (
        f'\n<ul class="warnings">{warnings}</ul>' if warnings else ""
    )


def _stages(report: Report) -> str:
    most = max((each["seconds"] for each in report.stages), default=0) or 1
    rows = (
        (
            f'<td class="keep">{escape(each["stage"])}</td>',
            f'<td class="{escape(each["state"])}">{escape(each["state"])}</td>',
            _n(f"{each['seconds']:.1f} s"),
            _track(0, each["seconds"] / most),
            f'<td class="soft any">{escape(each["reason"])}</td>',
        )
        for each in report.stages
    )
    head = ("stage", "state", _n("time"), '<td class="bar"></td>', "why")
    return f"<h2>Stages</h2>\n{_table(head, rows)}" if report.stages else ""


def _configuration(report: Report) -> str:
    rows = (
        (f"<td><code>{escape(name)}</code></td>", f'<td class="any">{escape(_plain(value))}</td>',
         f'<td class="soft">{escape(origin)}</td>')
        for name, value, origin in report.given
    )  # fmt: skip
    return f"<h2>Configuration</h2>\n{_table(('field', 'value', 'from'), rows)}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _n(text: str, more: str = "") -> str:
    return f'<td class="n {more}">{text}</td>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of escaped cells; those without a `<td>` get a plain one."""
    top = "".join(_cell(cell).replace("<td", "<th").replace("</td>", "</th>") for cell in head)
    lines = "\n".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f"<table>\n<tr>{top}</tr>\n{lines}\n</table>"


def _cell(text: str) -> str:
    return text if text.startswith("<td") else f"<td>{text}</td>"
