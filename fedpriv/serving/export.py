"""``python -m fedpriv.serving.export SOURCE FILE.npz``: a run's model as one file to be served.

A model server that has the file needs neither the run's data nor its MLflow store.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fedpriv.arguments import Parser, command_line
from fedpriv.config.tracking_address import checked_address
from fedpriv.errors import UserError
from fedpriv.serving.loading import load_model, rebuilt
from fedpriv.serving.models import ServedModel
from fedpriv.serving.weights import save_weights


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line and exit status 2."""
    parser = Parser(
        "python -m fedpriv.serving.export", description="Write a run's model into one file to be served."
    )
    parser.add_argument(
        "source", help="a run's output folder, an MLflow run id, models:/NAME/VERSION, or a file of weights"
    )
    parser.add_argument("file", type=Path, help="what to write, ending in .npz")
    parser.add_argument(
        "--tracking-uri", type=checked_address, metavar="URI", help="the MLflow store of a run id"
    )
    parser.add_argument("--half", action="store_true", help="round weights to float16: half the bytes")
    parser.add_argument("--notes", default="{}", metavar="JSON", help="facts to be kept in the file")
    with command_line("fedpriv"):
        options = parser.parse_args(arguments)
        if options.file.suffix != ".npz":
            raise UserError(f"{options.file}: is written as .npz; end its name so")
        notes = _notes(options.notes)
        model = load_model(options.source, options.tracking_uri)
        save_weights(halved(model) if options.half else model, options.file, notes)


def halved(model: ServedModel) -> ServedModel:
    """Return the model with its weights rounded to float16; it is another model, with another digest.

    Raises:
        UserError: a weight is beyond float16's range.
    """
    with np.errstate(over="ignore"):
        rounded = {name: value.astype(np.float16) for name, value in model.weights.items()}
    weights = {name: torch.from_numpy(value.astype(np.float32)) for name, value in rounded.items()}
    return rebuilt(model.task, model.settings, model.in_shape, weights, model.origin)


def _notes(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"--notes {text}: is no JSON; give an object") from error
    if not isinstance(found, dict):
        raise UserError(f"--notes {text}: is no JSON object; give one")
    return found


if __name__ == "__main__":
    main()
