"""``fedpriv register``: a run's final model as the next version of a registered model."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from fedpriv.arguments import Parser
from fedpriv.config.tracking_address import checked_address
from fedpriv.errors import UserError
from fedpriv.model_names import check_alias, check_model_name, is_run_id


def main(arguments: Sequence[str]) -> None:
    """Run the command line.

    Raises:
        UserError: see :func:`fedpriv.tracking.registry.register`.
    """
    parser = Parser(
        prog="fedpriv register",
        description="Make a run's final model the next version of a registered model, with what it promises\n"
        "on privacy as tags and in words. A run registered again under a name keeps its version.",
        epilog="examples:\n"
        "  fedpriv register 0123456789abcdef0123456789abcdef gaze --alias champion\n"
        "  fedpriv evaluate --run gaze@champion\n"
        "  fedpriv relays up --gaze models:/gaze/3\n"
        "\n"
        "fedpriv run tracking.register=NAME registers a run's model when it ends.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN_ID", help="the MLflow run")
    parser.add_argument("name", metavar="NAME", help="of the registered model, made where there is none")
    parser.add_argument("--alias", metavar="ALIAS", help="also call this version NAME@ALIAS, e.g. champion")
    parser.add_argument(
        "--tracking-uri",
        type=checked_address,
        metavar="URI",
        help="the MLflow store (default mlflow.db here)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if not is_run_id(options.run):
        raise UserError(
            f"{options.run[:120]!r}: is no run id; give the 32 hexadecimal digits that MLflow lists"
        )
    check_model_name("NAME", options.name)
    if options.alias is not None:
        check_alias("--alias", options.alias)
    from fedpriv.tracking.registry import register

    made = register(options.tracking_uri, options.run, options.name, options.alias)
    if options.json:
        print(json.dumps(asdict(made)))
    else:
        print(f"{made.name}  (run {made.run_id})\n{made.description}")
