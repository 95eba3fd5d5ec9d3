"""A comparison as one HTML page that needs nothing else: no network, no script."""

import html
import re
from collections.abc import Sequence

from fedpriv.comparison.comparison import WARNINGS, Comparison
from fedpriv.comparison.drawing import Plot, rendered
from fedpriv.comparison.tables import Table, results_table, runs_table, tests_table

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser lets the page do: show itself. It can load nothing, send nothing and run nothing."""

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 2rem auto;
       max-width: 96rem; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
code, pre { font-family: ui-monospace, monospace; font-size: 13px; }
pre { background: #f5f5f5; padding: .7rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top;
         overflow-wrap: break-word; max-width: 26rem; }
th { border-bottom: 2px solid #888; font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; } th { min-width: 4.5rem; vertical-align: bottom; }
.runs td { font-size: 12.5px; } .open td { background: #fff4e0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(32rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; } figure svg { width: 100%; height: auto; } figcaption { color: #555; font-size: 13px; }
.notes li { margin: .25rem 0; } .incomplete { font-weight: 600; color: #9a3b00; }
"""


def to_html(found: Comparison, plots: Sequence[Plot]) -> str:
    """Return the page: command, results, tests, notes, plots as inline SVG, and every run with its state.

    Guarantee:
        Whatever names, labels and reasons hold is text on the page, and its policy (:data:`POLICY`) forbids
        a browser all requests and all scripts.
    """
    title = html.escape(found.title)
    tests, runs = tests_table(found), runs_table(found)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        f"<pre>{html.escape(found.command)}</pre>",
        "<h2>Results</h2>",
        "<p>Mean ± sample standard deviation over seeds, of the runs that have finished.</p>",
        _table(results_table(found)),
        *([f"<h2>{html.escape(tests.title)}</h2>", _table(tests)] if tests is not None else []),
        _notes(found.notes),
        "<h2>Plots</h2>",
        _plots(plots),
        f"<h2>{html.escape(runs.title)}</h2>",
        _table(runs, "runs"),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _table(table: Table, kind: str = "") -> str:
    def row(tag: str, cells: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=number' if numeric else ''}>{html.escape(cell)}</{tag}>"
            for cell, numeric in zip(cells, table.numeric, strict=True)
        )

    states = table.heads.index("state") if kind else None
    unfinished = [states is not None and cells[states] != "finished" for cells in table.rows]
    lines = [
        f"<tr{' class=open' if marked else ''}>{row('td', cells)}</tr>"
        for cells, marked in zip(table.rows, unfinished, strict=True)
    ]
    head = f"<thead><tr>{row('th', table.heads)}</tr></thead>"
    body = "\n".join(lines)
    name = f' class="{kind}"' if kind else ""
    return f'<div class="wide"><table{name}>{head}<tbody>\n{body}\n</tbody></table></div>'


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    lines = [
        f"<li{' class=incomplete' if note.startswith(WARNINGS) else ''}>{html.escape(note)}</li>"
        for note in notes
    ]
    return "\n".join(["<h2>Notes</h2>", '<ul class="notes">', *lines, "</ul>"])


def _plots(plots: Sequence[Plot]) -> str:
    if not plots:
        return "<p>No finished run has figures to draw.</p>"
    figures = [
        f'<figure id="{plot.name}"><h3>{html.escape(plot.title)}</h3>{_svg(plot)}'
        f"<figcaption>{html.escape(plot.caption)}</figcaption></figure>"
        for plot in plots
    ]
    return "\n".join(['<div class="plots">', *figures, "</div>"])


def _svg(plot: Plot) -> str:
    """Return a figure as an element of the page, its ids its own, without what only files have."""
    text = rendered(plot.figure, "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)  # matplotlib's copies of the labels
    for before, after in (('id="', f'id="{plot.name}-'), ('href="#', f'href="#{plot.name}-')):
        text = text.replace(before, after)
    text = text.replace("url(#", f"url(#{plot.name}-")
    name = html.escape(plot.title, quote=True)
    return text.replace("<svg", f'<svg role="img" aria-label="{name}"', 1)
