"""Settings in JSON files: strict, and wrong ones are named in one line."""

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path

import pytest

from fedpriv.errors import UserError
from fedpriv.services.json_settings import Count, Url, as_json
from fedpriv.services.settings import HttpLimits, ServiceSettings


@dataclasses.dataclass(frozen=True)
class ThingSettings(ServiceSettings):
    """A service of every kind of setting."""

    key_file: Path = Path("thing.key")
    ca: Path | None = None
    upstream: Url = ""
    others: Mapping[str, Url] = dataclasses.field(default_factory=dict)
    names: tuple[str, ...] = ()
    many: Count = 3
    wait_s: float = 0.5


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "is no JSON"),
        ("[]", "settings: is no JSON object"),
        ("[" * 100_000, "is no JSON"),
        (" " * (1 << 20) + "{}", "more than 1048576 bytes are no settings"),
        ('{"prot": 1}', "prot: no such setting; known are ca, host, http"),
        ('{"http": {"body": 1}}', "http.body: no such setting"),
        ('{"tls": 3}', "tls: is no JSON object"),
        ('{"port": "80"}', 'port="80": is no int'),
        ('{"port": true}', "port=true"),
        ('{"port": -1}', "port=-1"),
        ('{"port": 99999}', "port=99999: give 0 to 65535"),
        ('{"many": 0}', "many=0: give 1 to"),
        ('{"key_file": ""}', 'key_file=""'),
        ('{"names": ["a", 3]}', 'names=["a", 3]'),
        ('{"wait_s": -1}', "wait_s=-1: is no float"),
        ('{"http": {"body_s": NaN}}', "http.body_s=NaN"),
        ('{"http": {"body_s": 0}}', "http.body_s=0: give 0.001 to"),
        ('{"http": {"max_requests": 0}}', "http.max_requests=0: give 1 to"),
        ('{"log_level": "loud"}', 'log_level="loud": give one of debug, info, warning, error'),
        ('{"upstream": "nonsense"}', 'upstream="nonsense": give a URL'),
        ('{"upstream": "ftp://x"}', 'upstream="ftp://x": give a URL'),
        ('{"upstream": "http://x:99999"}', 'upstream="http://x:99999": give a URL'),
        ('{"upstream": "http://[x"}', 'upstream="http://[x": give a URL'),
        ('{"others": {"a": "http://x", "b": "nonsense"}}', 'others.b="nonsense": give a URL'),
        ('{"others": {"a": 3}}', "others.a=3: is no str"),
    ],
)
def test_settings_that_are_wrong_are_named(tmp_path, text, named) -> None:
    path = tmp_path / "thing.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        ThingSettings.read(path)
    assert named in str(caught.value)
    assert "thing.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match=r"none\.json: No such file or directory; name a file of settings$"):
        ThingSettings.read(tmp_path / "none.json")


@pytest.mark.parametrize("kind", [HttpLimits, ServiceSettings])
def test_no_number_is_without_a_range(kind) -> None:
    hints = typing.get_type_hints(kind, include_extras=True)
    assert not any(hint in (int, float) for hint in hints.values())


def test_what_is_missing_has_its_default_and_paths_are_beside_the_file(tmp_path) -> None:
    (tmp_path / "thing.json").write_text('{"key_file": "k", "ca": null, "http": {"body_s": 2}}')
    expected = ThingSettings(key_file=tmp_path / "k", http=HttpLimits(body_s=2.0))
    assert ThingSettings.read(tmp_path / "thing.json") == expected


def test_what_is_written_is_read_again(tmp_path) -> None:
    written = ThingSettings(
        port=0, ca=tmp_path / "ca.pem", key_file=tmp_path / "k", others={"a": "http://x"}, names=("a", "b")
    )
    (tmp_path / "thing.json").write_text(as_json(written))
    assert ThingSettings.read(tmp_path / "thing.json") == written
