"""Commands of callers: ``fedpriv faces verify | identify``."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedpriv.arguments import command_parser
from fedpriv.faces.options import asks

if TYPE_CHECKING:
    from fedpriv.faces.caller import Answer, Asking
    from fedpriv.faces.embedder import Embeddings


def verify(arguments: list[str]) -> None:
    """Ask whether a face is the one enrolled under a name: accepted or not."""
    parser = command_parser(
        "fedpriv faces verify", verify, "fedpriv faces verify anna picture.png --model faces.npz"
    )
    parser.add_argument("name", help="of the person that it is said to be")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a picture of a face")
    asks(parser)
    options = parser.parse_args(arguments)
    asking, (embedding,) = _asking(options), _embedded(options, [options.image])
    answer = asking.verify(options.name, embedding)
    _print(options, answer, {"accepted": answer.accepted}, "accepted" if answer.accepted else "not accepted")


def identify(arguments: list[str]) -> None:
    """Ask who a face is: the best match above the threshold, or nobody."""
    parser = command_parser(
        "fedpriv faces identify",
        identify,
        "fedpriv faces identify picture.png --model faces.npz\n"
        "fedpriv faces identify picture.png --model faces.npz --plain-probe",
    )
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="pictures of faces, one of each"
    )
    parser.add_argument(
        "--raw-scores", action="store_true", help="ask for everybody's score; key holders refuse it as a rule"
    )
    asks(parser)
    options = parser.parse_args(arguments)
    asking = _asking(options)
    for path, embedding in zip(options.images, _embedded(options, options.images), strict=True):
        if options.raw_scores:
            answer = asking.scores(embedding)
            best = sorted((answer.scores or {}).items(), key=lambda each: -each[1])
            said = ", ".join(f"{name} {score:.4f}" for name, score in best[:5])
            _print(options, answer, {"image": str(path), "scores": dict(best)}, f"{path}: raw scores: {said}")
        else:
            answer = asking.identify(embedding)
            _print(
                options,
                answer,
                {"image": str(path), "name": answer.name},
                f"{path}: {answer.name or 'nobody'}",
            )


def _asking(options: argparse.Namespace) -> "Asking":
    from fedpriv.faces.caller import Asking

    return Asking(options.caller, options.server, options.keyholder, options.ca, options.plain_probe)


def _embedded(options: argparse.Namespace, images: Sequence[Path]) -> "Embeddings":
    from fedpriv.faces.embed import load_embedder

    return load_embedder(options.model, options.tracking_uri).read(images)


def _print(options: argparse.Namespace, answer: "Answer", fields: dict[str, object], text: str) -> None:
    if options.json:
        counted = {
            "left": answer.left,
            "sent_bytes": answer.sent_bytes,
            "received_bytes": answer.received_bytes,
        }
        print(json.dumps({**fields, **counted}), flush=True)
    else:
        print(f"{text}  ({answer.left} openings left today)", flush=True)
