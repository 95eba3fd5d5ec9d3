"""``python -m experiments.utility``: the utility table and its plot, from the runs that MLflow has."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from experiments.utility.figure import utility_plot
from experiments.utility.notes import notes_of, said_of_gaps
from experiments.utility.table import rows_of, to_csv, to_markdown
from experiments.utility.trials import collect
from fedpriv.arguments import Parser
from fedpriv.config.tracking_address import checked_address
from fedpriv.errors import UserError
from fedpriv.tracking.queries import runs_of

_Value = TypeVar("_Value", int, float)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line and exit status 2."""
    try:
        _main(arguments)
    except UserError as error:
        print(f"utility: {error}", file=sys.stderr)
        sys.exit(2)


def _main(arguments: Sequence[str] | None) -> None:
    parser = Parser(
        prog="python -m experiments.utility",
        description="Tabulate and plot what epsilon costs, from the runs of +experiment=utility_*.",
        epilog="Writes table.csv, table.md, utility.png and utility.svg, and prints the table.",
    )
    parser.add_argument(
        "--tracking-uri",
        type=checked_address,
        metavar="URI",
        help="the MLflow store (default mlflow.db here)",
    )
    parser.add_argument("--experiment", default="utility", metavar="NAME", help="default utility")
    parser.add_argument("--epsilon", default="1,3,8,inf", metavar="LIST", help="default 1,3,8,inf")
    parser.add_argument("--seed", default="0,1,2", metavar="LIST", help="default 0,1,2")
    parser.add_argument("--out", type=Path, default=Path("utility"), metavar="FOLDER", help="default utility")
    parser.add_argument(
        "--incomplete", action="store_true", help="tabulate what there is, and say what is missing"
    )
    options = parser.parse_args(arguments)
    epsilons, seeds = _list("--epsilon", options.epsilon, float), _list("--seed", options.seed, int)
    if any(not epsilon > 0 for epsilon in epsilons):
        raise UserError(f"--epsilon {options.epsilon}: must be positive; write e.g. 1,3,8,inf")
    trials, gaps = collect(runs_of(options.tracking_uri, options.experiment), epsilons, seeds)
    if gaps and (not options.incomplete or not trials):
        said = said_of_gaps(trials, gaps)
        raise UserError(f"experiment {options.experiment}: {said}; run them, or give --incomplete")
    rows, notes = rows_of(trials), notes_of(trials, gaps)
    figure = utility_plot(rows)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        _replace(options.out / "table.csv", lambda path: path.write_text(to_csv(rows, notes)))
        _replace(options.out / "table.md", lambda path: path.write_text(to_markdown(rows, notes)))
        _replace(options.out / "utility.png", lambda path: figure.savefig(path, dpi=110))
        _replace(options.out / "utility.svg", lambda path: figure.savefig(path, metadata={"Date": None}))
    except OSError as error:
        raise UserError(f"--out {options.out}: {error.strerror or error}; choose another folder") from error
    print(to_markdown(rows, notes))
    private = sum(trial.claimed is not None for trial in trials)
    print(f"Every one of the {private} private runs states at most its target epsilon.")
    print(f"written: {options.out}/table.csv, table.md, utility.png, utility.svg")


def _list(option: str, text: str, kind: Callable[[str], _Value]) -> list[_Value]:
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text}: needs numbers with commas between them, e.g. 0,1,2") from None
    for value in values:
        if values.count(value) > 1:  # a run counted twice would shrink the deviation
            raise UserError(f"{option} {text}: has {value:g} more than once; name each once")
    return values


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    fresh = path.with_name(f".{path.stem}.fresh{path.suffix}")
    try:
        write(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
