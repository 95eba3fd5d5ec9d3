"""Tables as files: golden texts, and names that want to be more than text."""

import csv
import io
import itertools
import json
import math

import pytest

from fedpriv.comparison.figures import to_csv, to_json
from fedpriv.comparison.statistics import Summary
from fedpriv.comparison.tables import p_text, results_table, runs_table, summary_text
from fedpriv.comparison.tables import tests_table as differences_table
from fedpriv.comparison.tests_said import OPTIMISTIC
from fedpriv.comparison.trials import wanted_curves
from fedpriv.comparison.written import to_latex, to_markdown
from tests.comparison.made import ERROR, compared, logged

HOSTILE = "=cmd|'/C calc'!A0 <script>alert(1)</script> $\\input{x}$ & # _a_ `b` [c](d) \u202e\x1b[31m\n| %"


def three_by_two():
    """Return epsilon 3 and inf for seeds 0, 1, 2, and one that failed."""
    values = {
        ("3.0", 0): 5.0,
        ("3.0", 1): 6.0,
        ("3.0", 2): 7.5,
        ("inf", 0): 4.0,
        ("inf", 1): 4.5,
        ("inf", 2): 5.0,
    }
    runs = []
    for (epsilon, seed), value in values.items():
        private = (
            {"epsilon": "2.9", "privacy_unit": "sample"} if epsilon == "3.0" else {"privacy_unit": "none"}
        )
        params = {"seed": seed, "privacy.epsilon": epsilon, "privacy.delta": "1e-05"}
        runs.append(logged(params, value, tags=private))
    params = {"seed": 3, "privacy.epsilon": "inf", "privacy.delta": "1e-05"}
    runs.append(logged(params, 1.0, status="FAILED", tags={"failure": "OSError: disk"}))
    curves = {
        run.run_id: {"bytes_up": {1: 4000.0}, "clients_replied": {1: 4.0}, "seconds_train": {1: 2.0}}
        for run in runs
    }
    for run in runs:
        run.metrics.update(bytes_up=4000.0, clients_replied=4.0, seconds_train=2.0)
    return compared(runs, {"epsilon": "inf"}, curves)


MARKDOWN = """\
| epsilon | error (deg), lower is better | runs | epsilon spent | up, client and round | up in all | \
a round takes |
|---|---:|---|---:|---:|---:|---:|
| 3 | 6.2 ± 1.3 | 3 of 3 | 2.9 | 1 kB | 4 kB | 2 ± 0 s |
| inf | 4.50 ± 0.50 | 3 of 4, 1 failed: OSError: disk | none | 1 kB | 4 kB | 2 ± 0 s |

Difference of error (deg) from epsilon=inf, by pairs of the same seed:

| group | difference | 95 % interval | pairs | p | p (Holm) | verdict |
|---|---:|---:|---:|---:|---:|---|
| epsilon=3 | +1.7 | −0.2 to +3.6 | 3 | 0.063 | 0.063 | may be chance |

Mean ± sample standard deviation over seeds, of the runs that have finished.

- INCOMPLETE: 1 of 7 runs have not finished; means are of those that have
- epsilon is the largest that a run of the group states, at delta 1e-05
- seeds redraw who is held out of one population, so runs share people and the paired test is optimistic \
(Nadeau and Bengio 2003, Machine Learning 52, Inference for the generalization error): small p-values count \
less than their digits
"""

HEADS = "epsilon & error (deg), lower is better & runs & epsilon spent & up, client and round & up in all"
LATEX = r"""% \usepackage{booktabs}
\begin{tabular}{lrlrrrr}
\toprule
HEADS & a round takes \\
\midrule
3 & 6.2 $\pm$ 1.3 & 3 of 3 & 2.9 & 1 kB & 4 kB & 2 $\pm$ 0 s \\
inf & 4.50 $\pm$ 0.50 & 3 of 4, 1 failed: OSError: disk & none & 1 kB & 4 kB & 2 $\pm$ 0 s \\
\bottomrule
\end{tabular}
% Difference of error (deg) from epsilon=inf, by pairs of the same seed
\begin{tabular}{lrrrrrl}
\toprule
group & difference & 95 \% interval & pairs & p & p (Holm) & verdict \\
\midrule
epsilon=3 & +1.7 & $-$0.2 to +3.6 & 3 & 0.063 & 0.063 & may be chance \\
\bottomrule
\end{tabular}
% INCOMPLETE: 1 of 7 runs have not finished; means are of those that have
% epsilon is the largest that a run of the group states, at delta 1e-05
% OPTIMISTIC
"""


def test_markdown_is_the_golden_text():
    assert to_markdown(three_by_two()) == MARKDOWN


def test_latex_is_the_golden_text():
    assert to_latex(three_by_two()) == LATEX.replace("HEADS", HEADS).replace("OPTIMISTIC", OPTIMISTIC)


def test_csv_has_all_digits_and_every_line_the_notes():
    lines = list(csv.DictReader(io.StringIO(to_csv(three_by_two()))))
    assert [line["privacy.epsilon"] for line in lines] == ["3.0", "inf"]
    first, second = lines
    assert float(first["error_mean"]) == 18.5 / 3
    assert float(first["error_sd"]) == pytest.approx(math.sqrt(1.5833333333333333))
    assert (first["error_n"], first["runs"], first["finished"], first["seeds"]) == ("3", "3", "3", "0 1 2")
    assert (second["runs"], second["finished"], second["failed"]) == ("4", "3", "1")
    assert second["reasons"] == "seed 3 failed: OSError: disk"
    assert (first["epsilon_spent"], second["epsilon_spent"]) == ("2.9", "")
    assert (first["error_against"], first["error_difference_pairs"]) == ("epsilon=inf", "3")
    assert float(first["error_difference_mean"]) == pytest.approx(5 / 3)
    assert second["error_difference_p"] == ""
    assert all(line["note"].startswith("INCOMPLETE: 1 of 7") for line in lines)


def test_bytes_down_and_of_key_holders_have_columns_where_runs_log_them():
    runs, curves = [], {}
    for seed in (0, 1):
        named = {"error": 1.0, "bytes_up": 1.0, "bytes_down": 1.0, "bytes_keyholders": 1.0}
        runs.append(logged({"seed": seed}, named))
        rounds = {"bytes_up": {1: 1000.0}, "bytes_down": {1: 3000.0, 2: 1000.0 + 2000.0 * seed}}
        curves[runs[-1].run_id] = {**rounds, "bytes_keyholders": {1: 7000.0, 2: 0.0}}
    assert set(curves[runs[0].run_id]) <= set(wanted_curves(runs[0], [ERROR]))
    table = results_table(compared(runs, curves=curves))
    costs = dict(zip(table.heads, table.rows[0], strict=True))
    assert (costs["up in all"], costs["down in all"], costs["key holders in all"]) == ("1 kB", "5 kB", "7 kB")
    (line,) = csv.DictReader(io.StringIO(to_csv(compared(runs, curves=curves))))
    assert (float(line["bytes_down_mean"]), float(line["bytes_keyholders_mean"])) == (5000.0, 7000.0)
    without = {run: {**each, "bytes_keyholders": {1: 0.0}} for run, each in curves.items()}
    assert "key holders in all" not in results_table(compared(runs, curves=without)).heads


def test_json_has_every_run_and_no_word_that_json_has_not():
    found = compared([logged({"seed": 0}, 1.0, tags={"epsilon": "inf", "privacy_unit": "sample"})])
    whole = json.loads(to_json(found), parse_constant=lambda word: pytest.fail(word))
    assert whole["groups"][0]["epsilon_spent"] == "inf"
    assert whole["groups"][0]["runs"][0]["metrics"] == {"error": 1.0}
    failed = json.loads(to_json(three_by_two()))["groups"][1]["runs"][3]
    assert (failed["state"], failed["reason"], failed["metrics"]) == ("failed", "OSError: disk", {})


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        (Summary(3, 8.4952, 0.3753), "8.50 ± 0.38"),
        (Summary(3, 10.6628, 0.15737), "10.66 ± 0.16"),
        (Summary(3, 123.4, 12.3), "123 ± 12"),
        (Summary(3, 12345.0, 1234.0), "12345 ± 1234"),
        (Summary(3, 1.0, 0.0996), "1.00 ± 0.10"),
        (Summary(3, 5.25, 0.0), "5.25 ± 0"),
        (Summary(1, 5.2512345, None), "5.251"),
        (Summary(3, 1e300, math.inf), "1e+300 ± inf"),
        (Summary(3, 1e-12, 2e-13), "1e-12 ± 2e-13"),
        (None, "–"),
    ],
)
def test_a_mean_has_the_places_of_its_deviation(summary, text):
    assert summary_text(summary) == text


def test_small_p_values_are_bounded():
    assert [p_text(p) for p in (None, 0.5, 0.0123, 1e-9)] == ["–", "0.5", "0.012", "< 0.0001"]


def test_one_run_makes_a_table_without_tests():
    found = compared([logged({"seed": 0, "a": 1}, 2.0)])
    assert results_table(found).rows[0][:2] == ["2", "1 of 1"]
    assert differences_table(found) is None
    assert runs_table(found).rows[0][:4] == ["all runs", "0", "finished", "2"]


def test_groups_without_a_finished_run_show_dashes():
    found = compared([logged({"seed": 0, "a": 1}, 2.0, status="RUNNING"), logged({"seed": 0, "a": 2}, 2.0)])
    assert results_table(found).rows[0] == ["1", "–", "0 of 1, 1 running", "–", "–", "–", "–"]


def hostile():
    runs = [
        logged({"seed": seed, "training.note": note}, 1.0 + seed, name=HOSTILE)
        for note in (HOSTILE, "-1+1|x")
        for seed in (0, 1)
    ]
    failed = logged(
        {"seed": 2, "training.note": HOSTILE}, status="FAILED", name=HOSTILE, tags={"failure": HOSTILE}
    )
    return compared([*runs, failed, logged({}, status="FAILED", name=HOSTILE, tags={"failure": HOSTILE})])


def test_hostile_names_are_text_in_markdown():
    text = to_markdown(hostile())
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    cells = {line.replace("\\|", "").count("|") for line in tables}
    assert cells == {8}  # both tables have seven columns
    assert "\\`b\\`" in text
    assert "\\[c\\](d)" in text


def test_hostile_names_are_text_in_latex():
    text = to_latex(hostile())
    assert r"\input" not in text
    assert r"\$\textbackslash{}input\{x\}\$ \& \# \_a\_" in text
    assert all(line.count(" & ") == 6 for line in text.splitlines() if line.endswith(r"\\"))
    assert all(line.startswith("%") for line in text.splitlines() if "INCOMPLETE" in line)


@pytest.mark.parametrize(
    "name", ["[2em] x", "*", "*[1em]", "a & b", "a_b", "50 %", "\\", "\\\\[1em]", "{", "#"]
)
def test_a_name_at_the_beginning_of_a_row_is_text_in_latex(name):
    runs = [logged({"seed": seed, "n.a": text}, 1.0 + seed) for text in ("a", name) for seed in (0, 1)]
    lines = to_latex(compared(runs)).splitlines()
    (row,) = [line for line in lines if line.endswith(r"\\") and line.startswith(latex(name))]
    assert row.count(" & ") == 6  # the columns' own
    following = [line for before, line in itertools.pairwise(lines) if before.endswith((r"\\", "rule"))]
    # the end of a row and a rule take an option, the first a star too
    assert not [line for line in following if line.startswith(("[", "*"))]


def latex(text):
    escaped = {"\\": r"\textbackslash{}", "[": "{[}", "*": "{*}", "{": r"\{"}
    return "".join(escaped.get(sign, f"\\{sign}" if sign in "&_%#" else sign) for sign in text)


def test_a_spreadsheet_computes_none_of_the_hostile_names():
    rows = list(csv.reader(io.StringIO(to_csv(hostile()))))
    assert len({len(row) for row in rows}) == 1
    cells = [cell for row in rows for cell in row]
    formulas = [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert not [cell for cell in formulas if not cell.lstrip("-").replace(".", "").replace("e", "").isdigit()]
    assert any(cell.startswith("'=cmd") for cell in cells)
    assert any(cell == "'-1+1|x" for cell in cells)
