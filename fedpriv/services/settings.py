"""Settings that every service has; secrets only in the files that they name."""

from dataclasses import dataclass, field
from pathlib import Path

from fedpriv.services.json_settings import Count, Level, Port, Readable, Seconds


@dataclass(frozen=True)
class TlsSettings(Readable):
    """How a service proves itself.

    Attributes:
        certificate: PEM chain; plain HTTP without.
        key: PEM private key of the certificate, mode 0600.
    """

    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class HttpLimits(Readable):
    """Bounds on what one service takes from outside.

    Attributes:
        max_body_bytes: of one request (413).
        max_header_bytes: of one request, its first line included (431).
        max_waiting_bytes: of all bodies being received or worked on (503).
        max_requests: at once (503); health and metrics are always answered.
        max_connections: beyond them new ones are closed.
        header_s: from a connection's first byte, or its opening, to the end of its headers.
        body_s: from there to the end of the body (408); and how long an answer may wait to be read.
        idle_s: how long a connection is kept between requests.
        shutdown_s: how long requests may go on after SIGTERM.
    """

    max_body_bytes: Count = 1 << 20
    max_header_bytes: Count = 16 << 10
    max_waiting_bytes: Count = 64 << 20
    max_requests: Count = 4096
    max_connections: Count = 8192
    header_s: Seconds = 5.0
    body_s: Seconds = 5.0
    idle_s: Seconds = 75.0
    shutdown_s: Seconds = 10.0


@dataclass(frozen=True)
class ServiceSettings(Readable):
    """What every service has.

    Attributes:
        host: address to listen on.
        port: port to listen on.
        service: its name in logs and on /healthz.
        tls: certificate and key.
        http: limits.
        log_level: debug, info, warning or error.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    service: str = ""
    tls: TlsSettings = field(default_factory=TlsSettings)
    http: HttpLimits = field(default_factory=HttpLimits)
    log_level: Level = "info"
