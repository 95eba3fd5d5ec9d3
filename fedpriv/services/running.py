"""Runs one service in this process, with bounds on connections, until SIGTERM or SIGINT."""

import contextlib
import resource
import socket
import ssl
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI

from fedpriv.errors import UserError
from fedpriv.services.logs import LISTENS, configure
from fedpriv.services.protocol import bounded
from fedpriv.services.settings import ServiceSettings

_FILES = 65536


def run(app: FastAPI, settings: ServiceSettings, source: object, announce: bool = True) -> None:
    """Listen, say where on standard output, and serve; requests under way are ended first.

    Args:
        app: made by :func:`~fedpriv.services.service.new_service`.
        settings: address, certificate, limits.
        source: where the address is from, for who has to mend it.
        announce: whether to say it: one line, :data:`~fedpriv.services.logs.LISTENS` and the URL.

    Raises:
        UserError: the address is not to be had, or a file of the certificate cannot be used.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _FILES)), hard))
    running = server(app, settings)
    sockets = _listening(settings, source)
    configure(settings.service, settings.log_level)
    if announce:
        scheme = "http" if settings.tls.certificate is None else "https"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        sys.stdout.write(f"{LISTENS}{scheme}://{host}:{sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
    running.run(sockets)
    if not running.started:
        sys.exit(1)


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


def _listening(settings: ServiceSettings, source: object) -> list[socket.socket]:
    """Return sockets at the address of the settings, so that one that is taken is told in one line."""
    with contextlib.ExitStack() as stack:
        try:
            found = socket.getaddrinfo(
                settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            made: list[socket.socket] = []
            for family, host in dict.fromkeys((family, address[0]) for family, _, _, _, address in found):
                # where any port will do, it is the same one at all addresses of the host
                port = made[0].getsockname()[1] if made else settings.port
                made.append(stack.enter_context(socket.create_server((host, port), family=family)))
        except OSError as error:
            # what the system says without the address, which create_server adds to it
            why = str(error.strerror or error).partition(" (while")[0].lower()
            raise UserError(
                f"{source}: cannot listen on host={settings.host}, port={settings.port}: {why}; "
                "end what listens there, or choose another address"
            ) from error
        stack.pop_all()
        return made
