"""What to warn of where faces' services and their askers talk without TLS, beyond one machine."""

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit


def listening(host: str, certificate: Path | None) -> str | None:
    """Return a warning for a service that other machines reach without TLS; None else."""
    if certificate is not None or _local(host):
        return None
    return (
        f"--host {host}: without --certificate whoever is on the way reads names and answers, and can pass "
        "for the server that `faces enroll` first meets"
    )


def meeting(url: str) -> str | None:
    """Return a warning for an owner who takes a server's key over the network as it comes; None else."""
    if _hidden(url):
        return None
    return f"{url}: without https whoever is on the way can pass for this server, now and from now on"


def enrolling(url: str) -> str | None:
    """Return a warning for an owner who sends templates in clear over the network; None else."""
    return None if _hidden(url) else f"{url}: without https whoever is on the way reads these templates"


def _hidden(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme != "http" or _local(parts.hostname or "")


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
