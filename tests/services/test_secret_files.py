"""Secrets in files: private, strict, and never shown in a message."""

import stat

import pytest

from fedpriv.errors import UserError
from fedpriv.services.secret_files import read_secret, read_secrets, write_secret, write_secrets


def test_secrets_are_private_and_come_back(tmp_path) -> None:
    write_secret(tmp_path / "one", bytes(range(32)))
    write_secrets(tmp_path / "two", {"a": bytes(32), "b": bytes(range(32))})
    for name in ("one", "two"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert read_secret(tmp_path / "one", 32) == bytes(range(32))
    assert list(read_secrets(tmp_path / "two", 32)) == ["a", "b"]
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize("content", ["", "00", "ab" * 31 + "zz", "ab" * 33, "ä" * 64])
def test_a_file_that_is_no_secret_is_refused_without_showing_it(tmp_path, content) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(UserError) as caught:
        read_secret(path, 32)
    assert not content or content not in str(caught.value).replace(str(path), "")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_secret_that_others_can_read_is_refused(tmp_path, mode) -> None:
    write_secret(tmp_path / "key", bytes(32))
    (tmp_path / "key").chmod(mode)
    with pytest.raises(UserError, match="chmod 0600"):
        read_secret(tmp_path / "key", 32)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"a": 3}', '{"a": "00"}', "[" * 100_000])
def test_a_file_that_holds_no_named_secrets_is_refused(tmp_path, content) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(UserError):
        read_secrets(path, 32)


def test_a_secret_that_is_not_there_says_what_mends_it(tmp_path) -> None:
    with pytest.raises(UserError, match=r"key: No such file or directory; name the file of the secret$"):
        read_secret(tmp_path / "key", 32)
    for read in (read_secret, read_secrets):
        with pytest.raises(UserError, match=r"keys: No such file or directory; make them$"):
            read(tmp_path / "keys", 32, "make them")
