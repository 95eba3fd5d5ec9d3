"""Connections that services and clients make, with TLS where the URL says https."""

import http.client
import ssl
import urllib.parse
from pathlib import Path

import aiohttp

from fedpriv.errors import UserError


def connections(ca: Path | None = None, most: int = 0) -> aiohttp.ClientSession:
    """Return keep-alive connections; use it in a running event loop, with ``async with``.

    Guarantee:
        - Certificates and host names of https URLs are checked, against ``ca`` or the system's.
        - No proxy is taken from the environment, no cookie kept.

    Args:
        ca: PEM file.
        most: connections at once; 0 is no bound.

    Raises:
        UserError: ``ca`` cannot be read.
    """
    connector = aiohttp.TCPConnector(limit=most, ssl=tls(ca), keepalive_timeout=30.0)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
    )


def plain_connection(url: str, ca: Path | None, timeout_s: float) -> http.client.HTTPConnection:
    """Return a connection for code without an event loop.

    Raises:
        UserError: ``url`` is no URL of a service, or ``ca`` cannot be read.
    """
    try:
        parsed = urllib.parse.urlsplit(url)
        host, port = parsed.hostname, parsed.port
        scheme = parsed.scheme
    except ValueError:
        host, port, scheme = None, None, ""
    if not host or scheme not in ("http", "https"):
        raise UserError(f"{url!r}: is no URL of a service, e.g. http://127.0.0.1:8080")
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=tls(ca))
    return http.client.HTTPConnection(host, port, timeout=timeout_s)


def healthy(url: str, ca: Path | None = None, timeout_s: float = 2.0) -> bool:
    """Tell whether a service answers; ``ca`` as for :func:`tls`."""
    connection = plain_connection(url, ca, timeout_s)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def tls(ca: Path | None) -> ssl.SSLContext:
    """Return what checks a server's certificate; TLS 1.2 at least.

    Raises:
        UserError: ``ca`` cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"{ca}: is no PEM file of certificates: {error}") from error
