"""Runs the server and the key holder, each as a process of its own, until SIGTERM or SIGINT."""

import argparse
import os
import sys
from typing import Any

from fastapi import FastAPI

from fedpriv.errors import UserError
from fedpriv.relays.logs import configure
from fedpriv.relays.serve import server
from fedpriv.relays.settings import ServiceSettings, TlsSettings


def run_server(options: argparse.Namespace) -> None:
    """Run the server with the options of ``fedpriv faces serve``; begin a gallery where there is none.

    Raises:
        UserError: when the folder holds none and no public key is given, or another key's.
    """
    from fedpriv.faces.server import ServerSettings, build_server
    from fedpriv.he.matching.gallery import JOURNAL_FILE, Gallery
    from fedpriv.he.users.public_keys import PublicKeys

    os.umask(0o077)
    if options.workers < 1:
        raise UserError(f"--workers {options.workers}: choose 1 or more")
    public = None if options.public is None else PublicKeys.load(options.public, "faces")
    if not (options.folder / JOURNAL_FILE).exists():
        if public is None:
            raise UserError(f"{options.folder}: holds no gallery; give --public FILE to begin one")
        Gallery.make(options.folder, public, options.dimension)
    elif public is not None:
        Gallery.open(options.folder).keys.require(public.fingerprint, options.public)
    settings = ServerSettings(**_listening(options), folder=options.folder, workers=options.workers)
    _run(build_server(settings), settings)


def run_keyholder(options: argparse.Namespace) -> None:
    """Run the key holder with the options of ``fedpriv faces keyholder``."""
    from fedpriv.faces.holding import KeyHolderSettings
    from fedpriv.faces.keyholder import build_keyholder

    os.umask(0o077)
    settings = KeyHolderSettings(
        **_listening(options),
        owner=options.owner,
        threshold=options.threshold,
        budget=options.budget,
        raw_scores=options.raw_scores,
    )
    _run(build_keyholder(settings), settings)


def _listening(options: argparse.Namespace) -> dict[str, Any]:
    if not 0 < options.port < 65536:
        raise UserError(f"--port {options.port}: choose 1 to 65535")
    return {
        "host": options.host,
        "port": options.port,
        "tls": TlsSettings(options.certificate, options.key),
        "log_level": options.log_level,
    }


def _run(app: FastAPI, settings: ServiceSettings) -> None:
    configure(settings.service, settings.log_level)
    running = server(app, settings)
    running.run()
    if not running.started:
        sys.exit(1)
