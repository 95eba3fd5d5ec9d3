"""``fedpriv compare``: runs and sweeps that MLflow has, side by side, as tables, plots and one report."""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fedpriv.arguments import Parser
from fedpriv.comparison.comparison import Comparison
from fedpriv.comparison.drawing import Plot
from fedpriv.comparison.figures import to_csv, to_json
from fedpriv.comparison.files import write, write_all
from fedpriv.comparison.loading import Question, answer
from fedpriv.comparison.plots import plots_of
from fedpriv.comparison.report import to_html
from fedpriv.comparison.tables import results_table, tests_table
from fedpriv.comparison.terminal import laid_out
from fedpriv.comparison.written import to_latex, to_markdown
from fedpriv.config.tracking_address import checked_address
from fedpriv.errors import UserError
from fedpriv.tracking.histories import add_files
from fedpriv.tracking.secrets import hide_in_text

_EPILOG = """Runs are grouped by every setting that differs but the seed; means are of the runs that have
finished, and a group says how many these are. Where groups have seeds in common, their difference is tested
by pairs.

examples:
  fedpriv compare                                    the sweep that was at work last
  fedpriv compare SWEEP --against epsilon=inf --html report.html
  fedpriv compare --filter "params.privacy.epsilon = '3.0'" --tag mode=federated --out comparison"""


def main(arguments: Sequence[str]) -> None:
    """Run the command line.

    Raises:
        UserError: when there is nothing to compare, or a wish makes no sense.
    """
    options = _parser().parse_args(arguments)
    question = Question(
        uri=options.tracking_uri,
        experiment=options.experiment,
        names=options.names,
        tags=_pairs("--tag", options.tag),
        wanted=options.filter,
        metrics=options.metric,
        lower_is_better=options.lower_is_better,
        against=_pairs("--against", [each for text in options.against for each in text.split(",")]),
        command=hide_in_text(shlex.join(["fedpriv", "compare", *arguments]), ()),
    )
    found, sweeps = answer(question)
    if options.json:
        print(to_json(found))
    else:
        _print(found)
    logged = sweeps[0] if options.log is not False and len(sweeps) == 1 else None
    if options.log and logged is None:
        raise UserError(
            f"--log: the runs are of {len(sweeps)} sweeps, and only one can keep their comparison"
        )
    plots = plots_of(found) if options.html or options.out or logged else []
    written = _write(options, found, plots)
    for line in [*written, *([] if logged is None else _log(options.tracking_uri, logged, found, plots))]:
        print(line, file=sys.stderr if options.json else sys.stdout)


def _parser() -> Parser:
    parser = Parser(
        prog="fedpriv compare",
        description="Compare runs and sweeps that MLflow has.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME_OR_ID", help="sweeps or runs (default: last sweep)")
    parser.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE", help="only runs with it")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only runs that it finds, as MLflow's")
    parser.add_argument("--experiment", default="fedpriv", metavar="NAME", help="default fedpriv")
    parser.add_argument(
        "--tracking-uri",
        type=checked_address,
        metavar="URI",
        help="the MLflow store (default mlflow.db here)",
    )
    parser.add_argument(
        "--metric", action="append", default=[], metavar="NAME", help="default: what the runs are judged by"
    )
    sense = parser.add_mutually_exclusive_group()
    for name, value in (("lower", True), ("higher", False)):
        sense.add_argument(
            f"--{name}-is-better",
            dest="lower_is_better",
            action="store_const",
            const=value,
            help="of a --metric of which nothing says it",
        )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="SETTING=VALUE",
        help="reference (default: first group with the metric)",
    )
    for name in ("markdown", "csv", "latex", "html"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"write {name} there")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write all of these there, and the plots")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with every run")
    parser.add_argument(
        "--log",
        action=argparse.BooleanOptionalAction,
        help="keep all with the sweep in MLflow (default: yes)",
    )
    return parser


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise UserError(f"{option} {text}: needs NAME=VALUE, e.g. epsilon=inf")
        pairs[name.strip()] = value.strip()
    return pairs


def _write(options: argparse.Namespace, found: Comparison, plots: Sequence[Plot]) -> list[str]:
    forms: list[tuple[Path | None, Callable[[], str]]] = [
        (options.markdown, lambda: to_markdown(found)),
        (options.csv, lambda: to_csv(found)),
        (options.latex, lambda: to_latex(found)),
        (options.html, lambda: to_html(found, plots)),
    ]
    written = []
    for path, form in forms:
        if path is not None:
            write(path, form())
            written.append(f"written: {path}")
    if options.out is not None:
        names = write_all(options.out, found, plots)
        written.append(f"written: {options.out}/ {', '.join(names)}")
    return written


def _log(uri: str | None, sweep: str, found: Comparison, plots: Sequence[Plot]) -> list[str]:
    """Keep the comparison with its sweep; a store that does not take it is only said."""
    with tempfile.TemporaryDirectory() as folder:
        write_all(Path(folder), found, plots)
        try:
            add_files(uri, sweep, Path(folder), "comparison")
        except UserError as error:
            return [f"not kept in MLflow: {error}"]
    return [f"kept in MLflow: run {sweep}, comparison/"]


def _print(found: Comparison) -> None:
    console = Console()
    for table in filter(None, (results_table(found), tests_table(found))):
        for part in laid_out(table, console.width):
            console.print(part)
    for note in found.notes:
        console.print(Text(note), soft_wrap=True)
