"""Runs one service: ``python -m fedpriv.relays.serve ROLE --settings FILE``."""

import argparse
import os
import resource
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from fedpriv.arguments import Parser, command_line
from fedpriv.errors import UserError
from fedpriv.relays.logs import configure
from fedpriv.relays.protocol import bounded
from fedpriv.relays.settings import (
    AdversarySettings,
    GatewaySettings,
    ModelServerSettings,
    RelaySettings,
    ServiceSettings,
)

_FILES = 65536


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


def server(app: FastAPI, settings: ServiceSettings) -> uvicorn.Server:
    """Return the server of an application, ready to run.

    Raises:
        UserError: certificate or key cannot be read.
    """
    tls = settings.tls
    more: dict[str, Any] = {}
    if tls.certificate is not None:
        if tls.key is not None and tls.key.exists() and tls.key.stat().st_mode & 0o077:
            raise UserError(f"{tls.key}: others may read the key of the certificate; chmod 0600")
        more = {"ssl_certfile": tls.certificate, "ssl_keyfile": tls.key}
    elif tls.key is not None:
        raise UserError(f"tls: {tls.key} needs a certificate")
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=bounded(settings.http),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,  # nobody's word is taken for where a request is from
        timeout_keep_alive=round(settings.http.idle_s),
        timeout_graceful_shutdown=round(settings.http.shutdown_s),
        **more,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"tls: {tls.certificate}, {tls.key}: cannot be used: {error}") from error
    return uvicorn.Server(config)


def _end_with(parent: int) -> None:
    # not PR_SET_PDEATHSIG: that one fires when the parent's thread ends, not its process; and the parent is
    # told by its number, for it may have gone while this process was still starting
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


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
        threading.Thread(target=_end_with, args=(options.with_parent,), daemon=True).start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _FILES)), hard))
    os.umask(0o077)
    app, settings = ROLES[options.role](options.settings)
    configure(settings.service or options.role, settings.log_level)
    running = server(app, settings)
    running.run(_listening(options.settings, settings))
    if not running.started:
        sys.exit(1)


def _listening(path: Path, settings: ServiceSettings) -> list[socket.socket]:
    """Return sockets at the address of the settings, so that one that is taken is told in one line."""
    try:
        found = socket.getaddrinfo(
            settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        places = dict.fromkeys((family, address[:2]) for family, _, _, _, address in found)
        return [socket.create_server(address, family=family) for family, address in places]
    except OSError as error:
        # what the system says without the address, which create_server adds to it
        why = str(error.strerror or error).partition(" (while")[0].lower()
        raise UserError(
            f"{path}: cannot listen on host={settings.host}, port={settings.port}: {why}; "
            "end what listens there, or choose another address"
        ) from error


if __name__ == "__main__":
    main()
