"""Settings and keys of a constellation: strict, in one line, and no secret where none belongs."""

import json
import stat
import typing
from pathlib import Path

import pytest

from fedpriv.errors import UserError
from fedpriv.relays.keys import make_folder
from fedpriv.relays.plan import Address, Layout, Plan
from fedpriv.relays.relay import build_relay
from fedpriv.relays.settings import (
    AdversarySettings,
    ClientSettings,
    GatewaySettings,
    ModelServerSettings,
    RelaySettings,
)
from fedpriv.services.json_settings import as_json
from fedpriv.services.settings import HttpLimits, TlsSettings


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"prot": 1}', "prot: no such setting"),
        ('{"http": {"body": 1}}', "http.body: no such setting"),
        ('{"port": "80"}', 'port="80"'),
        ('{"port": 99999}', "port=99999: give 0 to 65535"),
        ('{"upstream_requests": 0}', "upstream_requests=0: give 1 to"),
        ('{"model_server": "nonsense"}', 'model_server="nonsense": give a URL'),
    ],
)
def test_settings_that_are_wrong_are_named(tmp_path, text, named) -> None:
    path = tmp_path / "relay.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        RelaySettings.read(path)
    assert named in str(caught.value)
    assert "relay.json" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text", "named"),
    [
        (ModelServerSettings, '{"most_batch": 0}', "most_batch=0: give 1 to"),
        (ModelServerSettings, '{"session_s": 0.0}', "session_s=0.0: give 0.001 to"),
        (ClientSettings, '{"timeout_s": 0}', "timeout_s=0: give 0.001 to"),
        (ClientSettings, '{"relays": {"a": "http://x", "b": "nonsense"}}', 'relays.b="nonsense": give a URL'),
        (ClientSettings, '{"relays": {"a": 3}}', "relays.a=3: is no str"),
        (AdversarySettings, '{"upstream": "//x"}', 'upstream="//x": give a URL'),
    ],
)
def test_settings_out_of_range_are_named(tmp_path, kind, text, named) -> None:
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(UserError) as caught:
        kind.read(tmp_path / "settings.json")
    assert named in str(caught.value)


@pytest.mark.parametrize("kind", [HttpLimits, RelaySettings, ModelServerSettings, ClientSettings])
def test_no_number_is_without_a_range(kind) -> None:
    """But the one wait that may be none."""
    hints = typing.get_type_hints(kind, include_extras=True)
    assert {name for name, hint in hints.items() if hint in (int, float)} <= {"batch_wait_s"}


def test_missing_settings_have_defaults_and_paths_are_beside_the_file(tmp_path) -> None:
    path = tmp_path / "relay.json"
    path.write_text('{"name": "a", "key_file": "k", "ca": null, "http": {"body_s": 2}}')
    settings = RelaySettings.read(path)
    assert settings == RelaySettings(name="a", key_file=tmp_path / "k", http=HttpLimits(body_s=2.0))


@pytest.mark.parametrize(
    "settings",
    [
        RelaySettings(name="a", model_server="http://x", tls=TlsSettings()),
        ModelServerSettings(models=("a", "b"), max_skew_s=3.5),
        ClientSettings(relays={"a": "http://x"}, threshold=2),
        GatewaySettings(),
        AdversarySettings(upstream="http://x"),
    ],
)
def test_what_is_written_is_read_again(tmp_path, settings) -> None:
    path = tmp_path / "settings.json"
    path.write_text(as_json(settings))
    assert json.loads(as_json(type(settings).read(path)).replace(f"{tmp_path}/", "")) == json.loads(
        path.read_text()
    )


def test_keys_are_kept_and_settings_are_written_anew(tmp_path) -> None:
    folder = tmp_path / "c"
    make_folder(folder, Plan(clients=2))
    kept = {
        each.name: each.read_bytes() for each in folder.iterdir() if each.suffix in (".key", ".id", ".secret")
    }
    assert len(kept) == 4 + 1 + 2 * 3 + 2
    make_folder(folder, Plan(clients=2, shares=2))
    assert kept == {name: (folder / name).read_bytes() for name in kept}
    assert ClientSettings.read(folder / "client-1.json").shares == 2
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for each in folder.iterdir():
        assert each.name == "constellation.json" or stat.S_IMODE(each.stat().st_mode) == 0o600


def test_no_secret_stands_in_settings_or_in_the_list_of_services(tmp_path) -> None:
    folder = tmp_path / "c"
    make_folder(folder, Plan(adversary=True, tls=True))
    secrets = [each.read_text().strip() for each in folder.glob("*.key") if "tls" not in each.name]
    assert len(secrets) == 4 + 1 + 2
    for path in folder.glob("*.json"):
        assert not any(secret in path.read_text() for secret in secrets)


def test_a_folder_that_others_can_look_into_is_refused(tmp_path) -> None:
    folder = tmp_path / "c"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(UserError, match="chmod 0700"):
        make_folder(folder, Plan())


def test_without_its_key_a_relay_says_what_makes_one(tmp_path) -> None:
    settings = RelaySettings(name="a", model_server="http://127.0.0.1:9", key_file=tmp_path / "none.key")
    with pytest.raises(UserError, match=r"none\.key: .*; make the keys with `fedpriv relays keys`$"):
        build_relay(settings)


def test_addresses_are_taken_and_listened_on_where_told(tmp_path) -> None:
    plan = Plan(relays=2, shares=2)
    addresses = {name: Address(name, 8000, "0.0.0.0") for name in plan.services}  # noqa: S104 - a container
    layout = make_folder(tmp_path / "c", Plan(relays=2, shares=2, addresses=addresses))
    relay = RelaySettings.read(layout.settings("relay-a"))
    assert (relay.host, relay.port, relay.model_server) == ("0.0.0.0", 8000, "http://model_server:8000")  # noqa: S104
    assert Layout.read(tmp_path / "c") == layout


@pytest.mark.parametrize(
    "numbers",
    [
        {"relays": 1},
        {"relays": 99},
        {"shares": 5},
        {"shares": 1},
        {"threshold": 4},
        {"threshold": 1},
        {"clients": -1},
        {"addresses": {}},
    ],
)
def test_plans_that_contradict_themselves_are_refused(numbers) -> None:
    with pytest.raises(UserError, match=next(iter(numbers))):
        Plan(**numbers)


def test_unknown_fields_of_a_plan_are_refused(tmp_path) -> None:
    for name in ("server", "client", "limits"):
        with pytest.raises(UserError, match=f"{name}.nonsense"):
            make_folder(tmp_path / "c", Plan(**{name: {"nonsense": 1}}))


def test_without_a_constellation_the_mend_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match="fedpriv relays up"):
        Layout.read(tmp_path)
    (tmp_path / "constellation.json").write_text("{")
    with pytest.raises(UserError, match="is no JSON"):
        Layout.read(tmp_path)


def test_free_ports_are_outside_those_of_outgoing_connections(tmp_path) -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if first <= 10_000:
        pytest.skip("all ports are used for outgoing connections here")
    layout = make_folder(tmp_path / "c", Plan(relays=20))
    ports = [int(url.rpartition(":")[2]) for url in layout.urls.values()]
    assert len(set(ports)) == 22
    assert not any(first <= port <= last for port in ports)
