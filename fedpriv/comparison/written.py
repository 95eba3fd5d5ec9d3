"""Tables as Markdown and LaTeX: whatever a cell holds is text there, never markup."""

import re

from fedpriv.comparison.comparison import Comparison
from fedpriv.comparison.tables import Table, results_table, tests_table

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "ε": r"$\varepsilon$",
    "δ": r"$\delta$",
    "∞": r"$\infty$",
    "−": r"$-$",
    "–": "--",
    # after the end of a row, LaTeX would take a bracket for the space to leave, and a star for its form
    "[": "{[}",
    "*": "{*}",
}


def to_markdown(found: Comparison) -> str:
    """Return results and tests as Markdown tables, and all notes below them."""
    parts = [_markdown(results_table(found))]
    if (tests := tests_table(found)) is not None:
        parts += [f"{_md(tests.title)}:", _markdown(tests)]
    parts += ["Mean ± sample standard deviation over seeds, of the runs that have finished."]
    if found.notes:
        parts.append("\n".join(f"- {_md(note)}" for note in found.notes))
    return "\n\n".join(parts) + "\n"


def to_latex(found: Comparison) -> str:
    r"""Return results and tests as LaTeX tables; they need ``\usepackage{booktabs}``, notes are comments."""
    parts = [_latex(results_table(found))]
    if (tests := tests_table(found)) is not None:
        parts += [f"% {_tex(tests.title)}", _latex(tests)]
    parts += [f"% {_tex(note)}" for note in found.notes]
    return "\n".join(["% \\usepackage{booktabs}", *parts]) + "\n"


def _markdown(table: Table) -> str:
    lines = [
        _md_row(table.heads),
        "|" + "".join("---:|" if numeric else "---|" for numeric in table.numeric),
        *(_md_row(row) for row in table.rows),
    ]
    return "\n".join(lines)


def _md_row(cells: list[str]) -> str:
    return f"| {' | '.join(_md(cell) for cell in cells)} |"


def _md(text: str) -> str:
    safe = re.sub(r"([\\`*_{}\[\]|~$])", r"\\\1", text)
    # an underscore between letters and digits marks nothing up, and names are full of them
    safe = re.sub(r"(?<=[A-Za-z0-9])\\_(?=[A-Za-z0-9])", "_", safe)
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _latex(table: Table) -> str:
    kinds = "".join("r" if numeric else "l" for numeric in table.numeric)
    rows = [" & ".join(map(_tex, row)) + r" \\" for row in table.rows]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{kinds}}}",
            r"\toprule",
            " & ".join(map(_tex, table.heads)) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _tex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
