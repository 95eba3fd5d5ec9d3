"""``deploy/``: the Compose file against the specification and against what the services need.

No container engine is needed: what is mounted is what ``fedpriv relays keys`` writes, and every command runs
with exactly the files that its container would see.
"""

import fnmatch
import json
import re
import shlex
import stat
import threading
import time
import tomllib
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from fedpriv.cli import main
from fedpriv.relays.keys import _loopback
from fedpriv.relays.serve import ROLES
from fedpriv.services.outgoing import healthy
from fedpriv.services.running import server

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SECRETS = "/run/secrets/"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SCHEMA = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
SERVICES = {name: each for name, each in COMPOSE["services"].items() if name != "keys"}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A model server sets torch's threads, for a process of its own."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the container ``keys`` would write, by its own command."""
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    program, *arguments = COMPOSE["services"]["keys"]["entrypoint"]
    assert program == "fedpriv"
    main([str(folder) if each == "/secrets" else each for each in arguments] + ["--adversary"])
    return folder


def networks(service: str) -> set[str]:
    return set(SERVICES[service]["networks"])


def test_the_file_is_as_the_compose_specification_says() -> None:
    jsonschema.Draft201909Validator(SCHEMA).validate(COMPOSE)


@pytest.mark.parametrize(
    "wrong",
    [{"restrat": "no"}, {"networks": 3}, {"deploy": {"resources": {"limits": {"memory": 5}}}}],
    ids=str,
)
def test_the_schema_refuses_what_is_wrong(wrong: dict[str, Any]) -> None:
    services = {**COMPOSE["services"], "gateway": {**COMPOSE["services"]["gateway"], **wrong}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft201909Validator(SCHEMA).validate({**COMPOSE, "services": services})


def test_there_are_seven_containers_and_the_adversary_only_when_asked_for() -> None:
    assert set(SERVICES) == {"gateway", *(f"relay-{name}" for name in "abcd"), "model-server", "adversary"}
    assert [name for name, each in SERVICES.items() if "profiles" in each] == ["adversary"]


def test_only_relays_are_beside_the_model_server_and_only_the_gateway_has_a_way_out() -> None:
    relays = {f"relay-{name}" for name in "abcd"}
    assert {name for name in SERVICES if "models" in networks(name)} == {"model-server", *relays}
    assert networks("model-server") == {"models"}
    assert all(networks(name) == {"clients", "models"} for name in relays)
    assert not networks("gateway") & networks("model-server")
    assert networks("adversary") == {"clients"}
    outside = {name for name, each in COMPOSE["networks"].items() if not each.get("internal")}
    assert {name for name in SERVICES if networks(name) & outside} == {"gateway"}
    assert {name for name, each in SERVICES.items() if "ports" in each} == {"gateway"}
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["gateway"]["ports"])


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_containers_are_closed(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r":-([1-9]\d*)}:.*:-([1-9]\d*)}$", service["user"])
    assert service["pids_limit"] > 0
    assert not {"privileged", "environment", "env_file", "cap_add"} & set(service)
    if name != "keys":
        assert "healthz" in service["healthcheck"]["test"][-1]
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
        assert "volumes" not in service


def test_every_file_that_is_mounted_is_written_by_keys_with_mode_0600_and_reads_as_settings(keys) -> None:
    assert set(COMPOSE["secrets"]) == {each for service in SERVICES.values() for each in service["secrets"]}
    for name, each in COMPOSE["secrets"].items():
        assert each == {"file": f"./secrets/{name}"}
        assert stat.S_IMODE((keys / name).stat().st_mode) == 0o600
    for service in SERVICES.values():
        role, path = command(service)
        assert path.name in service["secrets"]
        ROLES[role](keys / path.name)  # builds the application: all that it names is there and fits


def test_nobody_gets_a_key_that_is_not_its_own() -> None:
    for name, service in SERVICES.items():
        own = {"gateway": "gateway-client", "model-server": "model_server"}.get(name, name)
        extra = {"clients.secret", "relays.secret"} if name == "model-server" else set()
        given = {each for each in service["secrets"] if not each.endswith(".json")}
        assert given <= {f"{own}.key", *extra}


def command(service: dict[str, Any]) -> tuple[str, Path]:
    """Return role and settings of a service's command."""
    group, verb, role, option, path = service["command"]
    assert (group, verb, option) == ("relays", "serve", "--settings")
    assert path.startswith(SECRETS)
    return role, Path(path)


@pytest.fixture
def started(keys: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Every container's command, in threads: with the files of its mounts alone, hosts turned to loopback."""
    places = _loopback(tuple(SERVICES))
    urls = {f"http://{name}:8080": at.url(False) for name, at in places.items()}

    def turned(found: Any) -> Any:
        if isinstance(found, dict):
            return {key: turned(value) for key, value in found.items()}
        return urls.get(found, found) if isinstance(found, str) else found

    running = []
    for name, service in SERVICES.items():
        folder = tmp_path / name
        folder.mkdir()
        for file in service["secrets"]:
            text = (keys / file).read_text()
            if file.endswith(".json"):
                settings = turned(json.loads(text))
                if "port" in settings:
                    assert (settings["host"], settings["port"]) == ("0.0.0.0", 8080)  # noqa: S104 - as is
                    settings.update(host="127.0.0.1", port=places[name].port)
                text = json.dumps(settings)
                assert not re.search(r"http://(?!127\.0\.0\.1)", text)
            (folder / file).write_text(text)
            (folder / file).chmod(0o600)
        role, path = command(service)
        serving = server(*ROLES[role](folder / path.name))
        thread = threading.Thread(target=serving.run, daemon=True)
        thread.start()
        running.append((serving, thread))
    found = {name: at.url(False) for name, at in places.items()}
    until = time.monotonic() + 60
    while not all(map(healthy, found.values())) and time.monotonic() < until:
        time.sleep(0.05)
    yield found
    for serving, _ in running:
        serving.should_exit = True
    for _, thread in running:
        thread.join(30)


def test_the_services_answer_with_what_their_containers_are_given(started, tmp_path, capsys) -> None:
    Image.fromarray(np.arange(36 * 60, dtype=np.uint8).reshape(36, 60)).save(tmp_path / "eye.png")
    main(["relays", "submit", str(tmp_path / "eye.png"), "--to", started["gateway"]])
    assert "gaze pitch" in capsys.readouterr().out


def test_the_health_check_asks_the_service(started, monkeypatch) -> None:
    code = SERVICES["relay-a"]["healthcheck"]["test"][-1]
    port = str(urllib.parse.urlsplit(started["relay-a"]).port)
    assert SERVICES["relay-a"]["healthcheck"]["test"][:3] == ["CMD", "python", "-c"]
    exec(code.replace("8080", port), {})  # noqa: S102 - ours
    with pytest.raises(OSError, match="refused"):
        exec(code.replace("8080", "9"), {})  # noqa: S102 - ours


def test_the_commands_of_the_readme_are_of_this_file() -> None:
    block = (DEPLOY / "README.md").read_text().partition("```bash\n")[2].partition("```")[0]
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert lines[0] == ["mkdir", "-m", "700", "deploy/secrets"]
    assert COMPOSE["services"]["keys"]["volumes"][0]["source"] == "./secrets"
    composed = [line for line in lines if line[:2] == ["docker", "compose"]]
    assert all((ROOT / line[line.index("-f") + 1]).is_file() for line in composed)
    assert [line[4:] for line in composed] == [["run", "--rm", "keys"], ["up", "--wait"]]
    variables = set(re.findall(r"FEDPRIV_\w+", block))
    assert variables == set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    (port,) = SERVICES["gateway"]["ports"]
    assert lines[-1][-1] == f"http://{port.rpartition(':')[0]}"


# --- image --------------------------------------------------------------------------------------


def dockerfile() -> list[list[str]]:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_every_source_that_the_image_copies_exists_and_is_not_ignored() -> None:
    ignored = [
        line
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[0] == "*"
    copied = set()
    for word, rest in dockerfile():
        if word == "COPY" and "--from" not in rest:
            copied |= set(rest.split()[:-1])
    assert copied == allowed
    assert all((ROOT / each).exists() for each in copied)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert {each.removesuffix("*") for each in packages["include"]} <= copied
    assert not any(fnmatch.fnmatch("deploy/secrets/relay-a.key", each) for each in allowed)
    assert "secrets/" in (DEPLOY / ".gitignore").read_text().split()


def test_the_image_starts_a_console_script_of_this_project_as_nobody_special() -> None:
    words = dict(dockerfile())
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    entry = json.loads(words["ENTRYPOINT"])
    assert entry[0] in scripts
    assert COMPOSE["services"]["keys"]["entrypoint"][0] in scripts
    assert not words["USER"].startswith(("0", "root"))


def test_the_image_installs_the_locked_versions_from_the_index_that_the_builder_names() -> None:
    (install,) = (rest for word, rest in dockerfile() if word == "RUN" and "pip install" in rest)
    words = shlex.split(install)
    assert words[words.index("--constraint") + 1] == "requirements.lock"
    named = [rest for word, rest in dockerfile() if word == "ARG"]
    assert (
        named == COMPOSE["services"]["gateway"]["build"]["args"] == ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"]
    )
    assert words[-1] == "."
