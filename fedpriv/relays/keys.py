"""Keys and settings of a whole constellation, written into one folder."""

import dataclasses
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedpriv.errors import UserError
from fedpriv.relays.mac import KEY_BYTES
from fedpriv.relays.plan import ADVERSARY, GATEWAY, MODEL_SERVER, Address, Layout, Plan
from fedpriv.relays.settings import (
    AdversarySettings,
    ClientSettings,
    GatewaySettings,
    ModelServerSettings,
    RelaySettings,
)
from fedpriv.services.certificates import certificates
from fedpriv.services.json_settings import as_json
from fedpriv.services.secret_files import read_secret, write_private, write_secret, write_secrets
from fedpriv.services.settings import HttpLimits, TlsSettings
from fedpriv.sharing.opening import KEY_ID_BYTES

GATEWAY_CLIENT = "gateway-client"
_LEAST_PORT = 10_000


def make_folder(folder: Path, plan: Plan) -> Layout:
    """Make keys and settings of every service.

    Guarantee:
        - The folder gets mode 0700 when it is made; every file of a secret has 0600.
        - Keys that are there are kept; settings are written anew.

    Raises:
        UserError: the folder cannot be written, is open to others, or holds what is no key.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_mode & 0o077:
            raise UserError(f"{folder}: others may look into it, and it is to hold secrets; chmod 0700")
        addresses = _loopback(plan.services) if plan.addresses is None else plan.addresses
        return _write(folder, plan, addresses)
    except OSError as error:
        place = error.filename or folder
        raise UserError(f"{place}: {error.strerror or error}; choose another folder") from error


def _write(folder: Path, plan: Plan, addresses: Mapping[str, Address]) -> Layout:
    limits = _set(HttpLimits(), plan.limits, "limits")
    static = X25519PrivateKey.from_private_bytes(_key(folder / "model_server.key"))
    server_public = static.public_key().public_bytes_raw().hex()
    relay_keys = {name: _key(folder / f"relay-{name}.key") for name in plan.names}
    write_secrets(folder / "relays.secret", relay_keys)

    tls = _certificates(folder, plan, addresses)
    ca = Path("ca.pem") if plan.tls else None

    def service(name: str) -> dict[str, Any]:
        at = addresses[name]
        return {
            "host": at.bind or at.host,
            "port": at.port,
            "service": name,
            "http": limits,
            "tls": tls.get(name, TlsSettings()),
        }

    layout = Layout(folder, {name: addresses[name].url(plan.tls) for name in plan.services})
    server = ModelServerSettings(
        **service(MODEL_SERVER),
        models=plan.models,
        digests=plan.digests,
        tracking_uri=plan.tracking_uri,
        allow_plain=plan.allow_plain,
    )
    files: dict[str, object] = {MODEL_SERVER: _set(server, plan.server, "server")}
    for name in plan.names:
        files[f"relay-{name}"] = RelaySettings(
            **service(f"relay-{name}"),
            name=name,
            key_file=Path(f"relay-{name}.key"),
            model_server=layout.urls[MODEL_SERVER],
            ca=ca,
        )
    seen = {name: layout.urls[f"relay-{name}"] for name in plan.names}
    if plan.adversary:
        files[ADVERSARY] = AdversarySettings(**service(ADVERSARY), upstream=seen["a"], ca=ca)
        seen["a"] = layout.urls[ADVERSARY]
    files[GATEWAY] = GatewaySettings(**service(GATEWAY), client=Path(f"{GATEWAY_CLIENT}.json"))
    known: dict[str, bytes] = {}
    for name in (GATEWAY_CLIENT, *(f"client-{number}" for number in range(plan.clients))):
        key_id, secret = _client_key(folder / f"{name}.key")
        known[key_id] = secret
        client = ClientSettings(
            relays=seen,
            server_public=server_public,
            key_id=key_id,
            secret_file=Path(f"{name}.key"),
            shares=plan.shares,
            threshold=plan.threshold,
            ca=ca,
        )
        files[name] = _set(client, plan.client, "client")
    write_secrets(folder / "clients.secret", known)
    for name, settings in files.items():
        write_private(folder / f"{name}.json", as_json(settings))
    layout.save()
    return layout


def _certificates(folder: Path, plan: Plan, addresses: Mapping[str, Address]) -> dict[str, TlsSettings]:
    """Write a certificate for every service, when the plan asks for TLS."""
    if not plan.tls:
        return {}
    authority, made = certificates({name: addresses[name].host for name in plan.services})
    write_private(folder / "ca.pem", authority, mode=0o644)
    for name, (certificate, key) in made.items():
        write_private(folder / f"{name}.pem", certificate, mode=0o644)
        write_private(folder / f"{name}.tls.key", key)
    return {name: TlsSettings(Path(f"{name}.pem"), Path(f"{name}.tls.key")) for name in made}


def _set(settings: Any, given: Mapping[str, Any], place: str) -> Any:
    """Return settings with fields replaced."""
    if unknown := set(given) - {each.name for each in dataclasses.fields(settings)}:
        raise UserError(f"{place}.{sorted(unknown)[0]}: no such setting")
    return dataclasses.replace(settings, **given)


def _key(path: Path) -> bytes:
    """Return the key of a file, made when there is none."""
    if not path.exists():
        write_secret(path, secrets.token_bytes(KEY_BYTES))
    return read_secret(path, KEY_BYTES)


def _client_key(path: Path) -> tuple[str, bytes]:
    """Return a client's key id and secret; the id is drawn once and kept in a file beside the secret."""
    beside = path.with_suffix(".id")
    if not beside.exists():
        write_private(beside, secrets.token_hex(KEY_ID_BYTES) + "\n")
    return read_secret(beside, KEY_ID_BYTES).hex(), _key(path)


def _loopback(services: tuple[str, ...]) -> dict[str, Address]:
    """Return free ports on 127.0.0.1: all held at once, so that they differ, then let go.

    They lie below the range from which the system takes ports of outgoing connections: one of those could
    take the port of a service that is down for a moment, or be connected to itself.
    """
    sockets: list[socket.socket] = []
    try:
        for _ in services:
            sockets.append(_free())
        return {
            name: Address("127.0.0.1", each.getsockname()[1])
            for name, each in zip(services, sockets, strict=True)
        }
    finally:
        for each in sockets:
            each.close()


def _free() -> socket.socket:
    """Return a socket bound to a free port."""
    ports = range(_LEAST_PORT, _first_outgoing())
    for _ in range(100 if ports else 0):
        bound = socket.socket()
        try:
            bound.bind(("127.0.0.1", secrets.choice(ports)))
            return bound
        except OSError:
            bound.close()
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


def _first_outgoing() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
