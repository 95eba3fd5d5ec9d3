"""Settings of every party: one JSON file each; secrets only in the files that it names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.services.json_settings import Count, Readable, Seconds, Url
from fedpriv.services.settings import ServiceSettings
from fedpriv.sharing.scheme import Scheme

MAKE_KEYS = "make the keys with `fedpriv relays keys`"
"""What mends a secret that is not there."""


@dataclass(frozen=True)
class RelaySettings(ServiceSettings):
    """A relay.

    Attributes:
        name: as the model server knows it.
        key_file: its key, shared with the model server.
        model_server: URL.
        ca: certificates that the model server's must come from; the system's without.
        upstream_requests: how many requests to the model server at once.
    """

    name: str = ""
    key_file: Path = Path("relay.key")
    model_server: Url = ""
    ca: Path | None = None
    upstream_requests: Count = 64


@dataclass(frozen=True)
class ModelServerSettings(ServiceSettings):
    """The model server.

    Attributes:
        key_file: static X25519 key.
        clients_file: secret by key id (hexadecimal digits).
        relays_file: key by name of relay, in the order that schedules count in.
        models: sources for :func:`fedpriv.serving.defaults.load_models`; the shipped ones without.
        digests: of registered models among them, by source; one that is another now is refused.
        tracking_uri: MLflow store of run ids among them.
        allow_plain: also answer images sent in clear, for the benchmark's direct path.
        max_skew_s: how far clocks of clients and relays may be off.
        window: images of a session that may be open at once; even.
        payload_bytes: fixed size of every payload.
        session_s: lifetime of a session.
        set_timeout_s: how long a set of shares may be incomplete.
        hold_s: how long a request waits for the answer before it is told to come again.
        retention_s: how long answers are kept for retries.
        max_sessions: over all clients.
        max_client_sessions: per client.
        max_partial_bytes: shares in incomplete sets, over all clients.
        max_client_bytes: likewise per client.
        most_batch: images inferred together at most.
        batch_wait_s: how long a lone image waits for others.
    """

    key_file: Path = Path("model_server.key")
    clients_file: Path = Path("clients.secret")
    relays_file: Path = Path("relays.secret")
    models: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    tracking_uri: str | None = None
    allow_plain: bool = False
    max_skew_s: Seconds = 30.0
    window: Count = 256
    payload_bytes: Count = 4104
    session_s: Seconds = 3600.0
    set_timeout_s: Seconds = 5.0
    hold_s: Seconds = 1.0
    retention_s: Seconds = 30.0
    max_sessions: Count = 1024
    max_client_sessions: Count = 8
    max_partial_bytes: Count = 64 << 20
    max_client_bytes: Count = 16 << 20
    most_batch: Count = 64
    batch_wait_s: float = 0.0005


@dataclass(frozen=True)
class ClientSettings(Readable):
    """A client of the relays.

    Attributes:
        relays: URL by name of relay, as the model server names them.
        server_public: the model server's X25519 key, 64 hexadecimal digits.
        key_id: which client, 16 hexadecimal digits.
        secret_file: the secret shared with the model server.
        shares: n, through as many relays.
        threshold: t of Shamir's scheme; additive shares, of which all are needed, without.
        ca: certificates that the relays' must come from; the system's without.
        timeout_s: how long one image is tried.
        share_s: how long one set of shares may be on its way; then the image is shared anew.
        upstream_requests: how many requests to one relay at once.
    """

    relays: Mapping[str, Url] = field(default_factory=dict)
    server_public: str = ""
    key_id: str = ""
    secret_file: Path = Path("client.key")
    shares: Count = 3
    threshold: int | None = None
    ca: Path | None = None
    timeout_s: Seconds = 30.0
    share_s: Seconds = 10.0
    upstream_requests: Count = 16

    @property
    def scheme(self) -> Scheme:
        """How images are shared.

        Raises:
            UserError: when the numbers make no scheme.
        """
        try:
            if self.threshold is None:
                return Scheme("additive", self.shares, self.shares)
            return Scheme("shamir", self.shares, self.threshold)
        except ValueError as error:
            raise UserError(f"shares={self.shares}, threshold={self.threshold}: {error}") from error


@dataclass(frozen=True)
class GatewaySettings(ServiceSettings):
    """The gateway.

    Attributes:
        client: file of the :class:`ClientSettings` that it sends with.
    """

    client: Path = Path("client.json")


@dataclass(frozen=True)
class AdversarySettings(ServiceSettings):
    """The adversary in a relay's place.

    Attributes:
        upstream: URL of the relay (or, with a key, of the model server) that it passes everything on to.
        name: with ``key_file``: the relay that it has taken over, whose key it signs with.
        key_file: that relay's key.
        ca: certificates that the upstream's must come from.
        most_captured: bytes kept; then the oldest go.
    """

    upstream: Url = ""
    name: str = ""
    key_file: Path | None = None
    ca: Path | None = None
    most_captured: int = 64 << 20
