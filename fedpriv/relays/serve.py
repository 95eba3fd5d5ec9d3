"""Runs one service: ``python -m fedpriv.relays.serve ROLE --settings FILE``."""

import argparse
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from fastapi import FastAPI

from fedpriv.arguments import Parser, command_line
from fedpriv.relays.settings import AdversarySettings, GatewaySettings, ModelServerSettings, RelaySettings
from fedpriv.services.ending import end_with_parent
from fedpriv.services.running import run
from fedpriv.services.settings import ServiceSettings


def _relay(path: Path) -> tuple[FastAPI, ServiceSettings]:
    from fedpriv.relays.relay import build_relay

    settings = RelaySettings.read(path)
    return build_relay(settings), settings


def _model_server(path: Path) -> tuple[FastAPI, ServiceSettings]:
    import torch

    from fedpriv.relays.model_server import build_model_server

    torch.set_num_threads(1)  # small models: more threads cost more than they give
    settings = ModelServerSettings.read(path)
    return build_model_server(settings), settings


def _gateway(path: Path) -> tuple[FastAPI, ServiceSettings]:
    from fedpriv.relays.gateway import build_gateway

    settings = GatewaySettings.read(path)
    return build_gateway(settings), settings


def _adversary(path: Path) -> tuple[FastAPI, ServiceSettings]:
    from fedpriv.relays.adversary import build_adversary

    settings = AdversarySettings.read(path)
    return build_adversary(settings), settings


ROLES: dict[str, Callable[[Path], tuple[FastAPI, ServiceSettings]]] = {
    "relay": _relay,
    "model_server": _model_server,
    "gateway": _gateway,
    "adversary": _adversary,
}


def main(arguments: Sequence[str] | None = None, program: str = "python -m fedpriv.relays.serve") -> None:
    """Run a service until SIGTERM or SIGINT; requests under way are ended first.

    Args:
        arguments: of the command line; the process's own without.
        program: how it was called, for help.
    """
    parser = Parser(program, description="Run one service with its settings.")
    parser.add_argument("role", choices=sorted(ROLES))
    parser.add_argument(
        "--settings", type=Path, required=True, metavar="FILE", help="JSON; names the secrets"
    )
    parser.add_argument(
        "--with-parent", type=int, metavar="PID", help="end when this process, which started it, is gone"
    )
    with command_line("fedpriv"):
        _serve(parser.parse_args(arguments))


def _serve(options: argparse.Namespace) -> None:
    if options.with_parent is not None:
        end_with_parent(options.with_parent)
    os.umask(0o077)
    app, settings = ROLES[options.role](options.settings)
    named = dataclasses.replace(settings, service=settings.service or options.role)
    run(app, named, options.settings, announce=False)


if __name__ == "__main__":
    main()
