"""The command line ``fedpriv stats``."""

import contextlib
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedpriv.arguments import Command, command_parser, run_command
from fedpriv.errors import UserError
from fedpriv.stats.wishes import add_wishes, told_of, wishes_of

_KEYS = Path("keys-table")
_DELTA = 1e-6


def main(arguments: Sequence[str]) -> None:
    """Run one of the commands."""
    run_command("fedpriv stats", _ABOUT, COMMANDS, _EXAMPLES, arguments)


def _schema(arguments: list[str]) -> None:
    """Write what is public of a CSV file, for all owners of a pool to encrypt by."""
    parser = command_parser(
        "fedpriv stats schema", _schema, "fedpriv stats schema patients.csv --bounds age=0:120 --group sex"
    )
    parser.add_argument("csv", type=Path, metavar="CSV")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default CSV with the suffix .schema.json")
    add_wishes(parser)
    options = parser.parse_args(arguments)
    from fedpriv.he.tables.csv_table import read_table
    from fedpriv.he.tables.drafting import draft

    schema = draft(read_table(options.csv), wishes_of(options))
    out = options.out or Path(options.csv.stem + ".schema.json")
    schema.save(out)
    print(f"schema   {out}")
    for column in schema.columns:
        bounds = f"{column.shown(column.low)} to {column.shown(column.high)}"
        print(f"  {column.name:20} {column.decimals} decimals, {bounds}")
    if schema.group:
        print(f"  {schema.group:20} {', '.join(schema.levels)}")
    if told := told_of(schema):
        print(told)


def _encrypt(arguments: list[str]) -> None:
    """Encrypt a CSV file; what comes out may be carried by anything, seen by anybody."""
    parser = command_parser(
        "fedpriv stats encrypt",
        _encrypt,
        "fedpriv stats encrypt patients.csv\n"
        "fedpriv stats encrypt patients.csv --group sex --bins age=30,40,50,60,70\n"
        "fedpriv stats encrypt here.csv --key public.key --schema pool.schema.json",
    )
    parser.add_argument(
        "csv", type=Path, metavar="CSV", help="with a header; empty cells, NA and NaN are missing"
    )
    parser.add_argument(
        "--key",
        type=Path,
        default=_KEYS,
        help=f"your key's folder, or somebody's public.key; default {_KEYS}",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default CSV with the suffix .table")
    parser.add_argument("--schema", type=Path, metavar="FILE", help="of a pool, from `fedpriv stats schema`")
    parser.add_argument("--round", action="store_true", help="cells with more decimals than the column's")
    add_wishes(parser)
    options = parser.parse_args(arguments)
    from fedpriv.he.tables.schema import Schema
    from fedpriv.stats.owning import encrypt_table

    wishes = wishes_of(options)
    schema = None if options.schema is None else Schema.load(options.schema)
    if schema is not None and wishes != wishes_of(parser.parse_args([str(options.csv)])):
        raise UserError("--schema: says all of the columns; leave out the other wishes, or --schema")
    out = options.out or Path(options.csv.stem + ".table")
    with _unwound():
        made = encrypt_table(options.csv, out, options.key, wishes, schema, options.round)
    print(f"table    {made.path} ({made.bytes:,} bytes)")
    print(f"rows     {made.rows:,}, {made.missing:,} cells without a value")
    columns = made.schema.columns
    print(f"columns  {len(columns)}: {', '.join(each.name for each in columns)}")
    if made.left_out:
        print(f"left out {', '.join(made.left_out)}")
    told = told_of(made.schema)
    print(
        "Who gets it sees names, decimals and bounds of columns, groups and bins, and the number of rows "
        f"rounded up{'.' if told else '; no cell,'}"
    )
    print(told or "and not whether there is one.")


def _upload(arguments: list[str]) -> None:
    """Leave encrypted tables at a server, for whoever pools them; prints the number of each."""
    parser = command_parser(
        "fedpriv stats upload", _upload, "fedpriv stats upload patients.table --server http://127.0.0.1:8091"
    )
    parser.add_argument("tables", type=Path, nargs="+", metavar="TABLE")
    parser.add_argument("--server", metavar="URL", required=True, help="of `fedpriv stats serve`")
    parser.add_argument("--ca", type=Path, metavar="PEM", help="authority of an https server's certificate")
    options = parser.parse_args(arguments)
    from fedpriv.stats.computing import upload

    for table in options.tables:
        print(f"{upload(table, options.server, options.ca)}  {table}", flush=True)


def _compute(arguments: list[str]) -> None:
    """Add up encrypted tables, with the public key alone; several are pooled."""
    parser = command_parser(
        "fedpriv stats compute",
        _compute,
        "fedpriv stats compute patients.table --key public.key\n"
        "fedpriv stats compute a.table b.table --server http://127.0.0.1:8091\n"
        "fedpriv stats compute patients.table --model risk.json --out risk.result",
    )
    parser.add_argument(
        "tables",
        type=Path,
        nargs="+",
        metavar="TABLE",
        help="file; with --server also the number of one that was uploaded",
    )
    parser.add_argument(
        "--key", type=Path, default=_KEYS, help=f"public.key, or a folder with one; default {_KEYS}"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default the first TABLE with .result")
    parser.add_argument(
        "--no-pairs",
        action="store_true",
        help="single columns only: no covariance, correlation, weights; fast",
    )
    parser.add_argument(
        "--model", type=Path, metavar="JSON", help="linear or logistic: scores of all rows instead"
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes; default one a core")
    parser.add_argument("--server", metavar="URL", help="have it computed there (`fedpriv stats serve`)")
    parser.add_argument("--ca", type=Path, metavar="PEM", help="authority of an https server's certificate")
    options = parser.parse_args(arguments)
    from fedpriv.stats.computing import compute_here, compute_there

    out = options.out or Path(options.tables[0].stem + ".result")
    if out.exists():
        raise UserError(f"{out}: exists already; choose another name with --out")
    if not out.parent.is_dir():
        raise UserError(f"{out}: its folder is not there; make it, or choose another name with --out")
    pairs = not options.no_pairs
    with _unwound():
        if options.server:
            compute_there(out, options.tables, options.server, options.ca, pairs, options.model)
        else:
            compute_here(out, options.tables, options.key, pairs, options.model, options.workers)
    print(f"result   {out} ({out.stat().st_size:,} bytes)")


def _decrypt(arguments: list[str]) -> None:
    """Open a result with the secret key, or with the answers of all holders of its shares."""
    parser = command_parser(
        "fedpriv stats decrypt",
        _decrypt,
        "fedpriv stats decrypt patients.result\n"
        "fedpriv stats decrypt patients.result --json > statistics.json\n"
        "fedpriv stats decrypt patients.result --epsilon 1 --budget 3\n"
        "fedpriv stats decrypt pool.result --share holder-1/share.key --out 1.partial\n"
        "fedpriv stats decrypt pool.result --key public.key --partials 1.partial 2.partial 3.partial",
    )
    parser.add_argument("result", type=Path, metavar="RESULT")
    parser.add_argument("--key", type=Path, default=_KEYS, help=f"default {_KEYS}")
    parser.add_argument("--json", action="store_true", help="all of it as one JSON object")
    parser.add_argument(
        "--weights",
        default="",
        metavar="COLUMN",
        help="weighted means, too; none where the weights add up to 0 or less",
    )
    parser.add_argument(
        "--rows", type=int, nargs="+", metavar="N", help="of scores, how many rows each table has"
    )
    parser.add_argument(
        "--share", type=Path, metavar="FILE", help="one holder's: writes its answer, opens nothing"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="of the answer; default RESULT-N.partial")
    parser.add_argument("--partials", type=Path, nargs="+", metavar="FILE", help="the answers of all holders")
    parser.add_argument(
        "--epsilon", type=float, help="add noise: differential privacy for one row added or removed"
    )
    parser.add_argument("--delta", type=float, default=_DELTA, help=f"default {_DELTA:g}")
    parser.add_argument("--budget", type=float, metavar="EPSILON", help="of all releases of a table together")
    parser.add_argument("--ledger", type=Path, metavar="FOLDER", help="default your own")
    options = parser.parse_args(arguments)
    if options.share and options.partials:
        parser.error(
            "--share and --partials: one is a holder's, the other of whoever puts the answers together"
        )
    if options.epsilon is None and (options.budget is not None or options.ledger is not None):
        parser.error("--budget and --ledger: need --epsilon")
    from fedpriv.stats.opening import Opening, answer, open_result
    from fedpriv.stats.releasing import Price

    price = None
    if options.epsilon is not None:
        price = Price(options.epsilon, options.delta, options.budget, options.ledger)
    if options.share:
        print(answer(options.result, options.share, options.out, price))
        return
    found = open_result(
        Opening(options.result, options.key, options.partials, price, options.weights, options.rows)
    )
    print(json.dumps(found.content) if options.json else found.text)


def _serve(arguments: list[str]) -> None:
    """Run a server that computes on encrypted tables and can open none."""
    from fedpriv.stats.serve import main as serve

    serve(arguments)


@contextlib.contextmanager
def _unwound() -> Iterator[None]:
    """Have SIGTERM end the block as Ctrl-C does: what is half written and who computes goes with it."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


COMMANDS: dict[str, Command] = {
    "schema": _schema,
    "encrypt": _encrypt,
    "upload": _upload,
    "compute": _compute,
    "decrypt": _decrypt,
    "serve": _serve,
}

_ABOUT = """Statistics of tables by a server that sees no cell: means, variances, covariances, correlations,
histograms, scores."""

_EXAMPLES = """fedpriv keys new table
fedpriv stats encrypt patients.csv
fedpriv stats compute patients.table --key keys-table/public.key
fedpriv stats decrypt patients.result"""
