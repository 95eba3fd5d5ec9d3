"""What a constellation is made of, and where its files lie."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedpriv.errors import FormatError, UserError
from fedpriv.sharing.schedule import MAX_RELAYS
from fedpriv.sharing.scheme import Scheme

MODEL_SERVER, GATEWAY, ADVERSARY = "model_server", "gateway", "adversary"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Address:
    """Where a service is.

    Attributes:
        host: by which others reach it.
        port: likewise.
        bind: address that it listens on, if another, e.g. ``0.0.0.0`` in a container.
    """

    host: str
    port: int
    bind: str | None = None

    def url(self, tls: bool) -> str:
        """Return the URL."""
        return f"{'https' if tls else 'http'}://{self.host}:{self.port}"


@dataclass(frozen=True)
class Plan:
    """A constellation.

    Attributes:
        relays: how many, called a, b, c...
        shares: n, how many shares each image is cut into.
        threshold: t of Shamir's scheme; additive shares without.
        adversary: put one in relay a's place: clients find it at relay a's address, and it passes on to a.
        allow_plain: the model server also answers images in clear.
        tls: every service gets a certificate of an authority made for this constellation.
        clients: how many keys besides the gateway's.
        models: sources of models; the shipped ones without.
        digests: of registered models among them, by source; see :mod:`fedpriv.relays.pinned`.
        tracking_uri: MLflow store of run ids among them.
        addresses: of every service; free ports on 127.0.0.1 without.
        server: fields of :class:`~fedpriv.relays.settings.ModelServerSettings` to set.
        client: fields of :class:`~fedpriv.relays.settings.ClientSettings` to set.
        limits: fields of :class:`~fedpriv.relays.settings.HttpLimits` to set, for every service.

    Raises:
        UserError: when the numbers do not fit each other.
    """

    relays: int = 4
    shares: int = 3
    threshold: int | None = None
    adversary: bool = False
    allow_plain: bool = False
    tls: bool = False
    clients: int = 1
    models: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    tracking_uri: str | None = None
    addresses: Mapping[str, Address] | None = None
    server: Mapping[str, Any] = field(default_factory=dict)
    client: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 2 <= self.relays <= min(MAX_RELAYS, len(_ALPHABET)):
            raise UserError(f"relays={self.relays}: give 2 to {min(MAX_RELAYS, len(_ALPHABET))}")
        if not 2 <= self.shares <= self.relays:
            raise UserError(f"shares={self.shares}: give 2 to {self.relays}, one through each relay")
        if self.threshold is not None and not 2 <= self.threshold <= self.shares:
            raise UserError(f"threshold={self.threshold}: give 2 to {self.shares}, the number of shares")
        if not 0 <= self.clients <= 1024:
            raise UserError(f"clients={self.clients}: give 0 to 1024")
        if self.addresses is not None and (missing := set(self.services) - set(self.addresses)):
            raise UserError(f"addresses: lack one for {sorted(missing)[0]}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the relays."""
        return tuple(_ALPHABET[: self.relays])

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the services, in the order in which they start."""
        relays = tuple(f"relay-{name}" for name in self.names)
        return (MODEL_SERVER, *relays, *([ADVERSARY] if self.adversary else []), GATEWAY)

    @property
    def scheme(self) -> Scheme:
        """How images are shared."""
        if self.threshold is None:
            return Scheme("additive", self.shares, self.shares)
        return Scheme("shamir", self.shares, self.threshold)


def role_of(service: str) -> str:
    """Return the role under which :mod:`fedpriv.relays.serve` runs a service."""
    return "relay" if service.startswith("relay-") else service


@dataclass(frozen=True)
class Layout:
    """The files of a constellation.

    Attributes:
        folder: mode 0700.
        urls: of every service.
    """

    folder: Path
    urls: Mapping[str, str]

    def settings(self, service: str) -> Path:
        """Return the settings file of a service."""
        return self.folder / f"{service}.json"

    def client_settings(self, name: str = "client-0") -> Path:
        """Return the settings file of a client: ``client-0``..., or ``gateway-client``."""
        return self.folder / f"{name}.json"

    @property
    def ca(self) -> Path | None:
        """The certificate of the constellation's authority, if it has one."""
        path = self.folder / "ca.pem"
        return path if any(url.startswith("https:") for url in self.urls.values()) else None

    def log(self, service: str) -> Path:
        """Return the log file of a service."""
        return self.folder / f"{service}.log"

    def save(self) -> None:
        """Write ``constellation.json``; it holds no secret."""
        text = json.dumps({"urls": dict(self.urls)}, indent=1) + "\n"
        temporary = self.folder / ".constellation.json"
        temporary.write_text(text)
        temporary.replace(self.folder / "constellation.json")

    @classmethod
    def read(cls, folder: Path) -> "Layout":
        """Read what :meth:`save` wrote.

        Raises:
            UserError: there is no constellation in the folder.
        """
        path = folder / "constellation.json"
        try:
            found = json.loads(path.read_text())
        except OSError as error:
            raise UserError(
                f"{path}: {error.strerror}; start one with `fedpriv relays up`, or give --folder"
            ) from error
        except (ValueError, RecursionError) as error:
            raise FormatError(path, None, "is no JSON") from error
        urls = found.get("urls") if isinstance(found, dict) else None
        if not isinstance(urls, dict) or not all(isinstance(url, str) for url in urls.values()):
            raise FormatError(path, None, "has no urls of services")
        return cls(folder, urls)
