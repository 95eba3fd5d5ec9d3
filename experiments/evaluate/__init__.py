"""``fedpriv evaluate``: measure a saved model again, on its own test part or on other data."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from experiments.evaluate.measure import Evaluation, evaluate
from experiments.evaluate.saved_models import SavedModel, from_checkpoint, from_run
from experiments.evaluate.table import print_evaluation
from fedpriv.arguments import Parser
from fedpriv.config.tracking_address import checked_address
from fedpriv.errors import UserError

_FORMATS = (".png", ".jpg", ".jpeg", ".webp")


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = Parser(
        prog="fedpriv evaluate",
        description="Measure a saved model again, on its own test part or on other data.",
        epilog="examples:\n"
        "  fedpriv evaluate --run 0123456789abcdef0123456789abcdef --picture predictions.png\n"
        "  fedpriv evaluate --checkpoint outputs/2026-01-31/12-00-00 --json\n"
        "  fedpriv evaluate --run ID data=lfw data.root=FOLDER\n"
        "  fedpriv evaluate --run models:/gaze/3\n"
        "\n"
        "data=NAME gives its images in the size and colours that the model takes, if it can; data.height,\n"
        "data.width, data.size and data.colour say otherwise.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--run", metavar="RUN_ID", help="the MLflow run, or registered model, that is measured"
    )
    which.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="the output folder of a run")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="data=NAME, data.KEY=..., evaluation.KEY=... or task.KEY=...; the rest is the run's",
    )
    parser.add_argument(
        "--tracking-uri",
        type=checked_address,
        metavar="URI",
        help="the MLflow store of --run (default mlflow.db here)",
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw predictions into this file")
    parser.add_argument("--log", action="store_true", help="write evaluate/DATA/METRIC to the MLflow run")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_intermixed_args(arguments)
    if options.picture is not None and options.picture.suffix.lower() not in _FORMATS:
        raise UserError(
            f"--picture {options.picture}: cannot draw that format; end it in {', '.join(_FORMATS)}"
        )
    if options.checkpoint is not None and options.tracking_uri is not None:
        raise UserError(
            "--tracking-uri: has no effect with --checkpoint, which knows its run's store; leave it away, or "
            "give --run RUN_ID instead of --checkpoint"
        )
    if options.checkpoint is not None:
        saved = from_checkpoint(options.checkpoint)
    else:
        saved = from_run(options.run, options.tracking_uri)
    found = evaluate(saved, options.overrides, options.picture)
    if options.log:
        _log(saved, found)
    if options.json:
        print(json.dumps(asdict(found)))
    else:
        print_evaluation(Console(), found)


def _log(saved: SavedModel, found: Evaluation) -> None:
    from fedpriv.tracking.run_reading import log_evaluation

    if saved.run_id is None:
        raise UserError(f"--log: {saved.source} was not tracked by MLflow; leave --log away")
    log_evaluation(saved.tracking_uri, saved.run_id, found.data, found.metrics)
