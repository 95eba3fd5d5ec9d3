from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.config.tracking_address import refusal_of_address
from fedpriv.tracking.secrets import (
    HARMLESS_NAMES,
    HIDDEN,
    hide_in_override,
    hide_in_text,
    hide_secrets,
)


@pytest.mark.parametrize("name", ["api_key", "SECRET", "authToken", "db_password", "keys"])
def test_value_below_a_secret_name_is_hidden(name):
    plain, hidden = hide_secrets({"a": {name: "swordfish"}})
    assert plain == {"a": {name: HIDDEN}}
    assert hidden == {"swordfish"}


def test_a_group_or_list_below_a_secret_name_is_hidden_whole():
    plain, hidden = hide_secrets({"token": {"deep": ["alpha1", {"x": "beta22"}], "n": 123456}})
    assert plain == {"token": HIDDEN}
    assert hidden == {"alpha1", "beta22", "123456"}


def test_secrets_inside_lists_of_groups_are_hidden():
    plain, _ = hide_secrets({"sites": [{"host": "h", "password": "swordfish"}]})
    assert plain == {"sites": [{"host": "h", "password": HIDDEN}]}


def test_credentials_in_urls_are_hidden_and_remembered():
    plain, hidden = hide_secrets({"uri": "postgresql://ann:swordfish@db:5432/x"})
    assert plain == {"uri": f"postgresql://{HIDDEN}@db:5432/x"}
    assert hidden == {"ann:swordfish"}


def test_a_password_in_a_query_is_hidden_and_remembered():
    plain, hidden = hide_secrets({"uri": "postgresql://db/x?user=ann&password=swordfish"})
    assert plain == {"uri": f"postgresql://db/x?user=ann&password={HIDDEN}"}
    assert hidden == {"swordfish"}


@pytest.mark.parametrize(
    "name", ["password", "PASSWD", "sslpassword", "pwd", "access_token", "client_secret"]
)
def test_what_may_not_be_configured_is_hidden_where_it_is_shown(name):
    address = f"postgresql://db/x?a=b&{name}=swordfish"
    assert refusal_of_address(address) is not None
    assert hide_in_text(address, ()) == f"postgresql://db/x?a=b&{name}={HIDDEN}"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("postgresql://ann:sword@fish@db/x", f"postgresql://{HIDDEN}@db/x"),
        ("postgresql://ann:sword/fish@db/x", f"postgresql://{HIDDEN}@db/x"),
        ("is http://ann:1234@db and no more", f"is http://{HIDDEN}@db and no more"),
        ("postgresql://db/x?user=a&password=b#c/d;e&z=1", f"postgresql://db/x?user=a&password={HIDDEN}&z=1"),
        ("(mysql://db/x?ssl_Passphrase=swordfish) no", f"(mysql://db/x?ssl_Passphrase={HIDDEN} no"),
        ("mssql:///?odbc_connect=A;PWD=b&c and on", f"mssql:///?odbc_connect={HIDDEN} and on"),
        ("postgresql://db/x?sslmode=require", "postgresql://db/x?sslmode=require"),
        ("http://db:5000/a@b", "http://db:5000/a@b"),
        ("at HTTPS://db:5000/a@b", "at HTTPS://db:5000/a@b"),
        ("is postgresql://u:1234/secret@127.0.0.1:9/db", f"is postgresql://{HIDDEN}@127.0.0.1:9/db"),
        ("postgresql://u:12#3@h", f"postgresql://{HIDDEN}@h"),
        ("postgresql://u:12,3@h", f"postgresql://{HIDDEN}@h"),
        ("postgresql://u:123}s@h", f"postgresql://{HIDDEN}@h"),
        ("shttp://u:12/3@h", f"shttp://{HIDDEN}@h"),
        ("postgresql://db:5432/x of ann@work", "postgresql://db:5432/x of ann@work"),
        ("sqlite:////home/ann@work/a:b.db", "sqlite:////home/ann@work/a:b.db"),
    ],
)
def test_a_password_of_any_signs_is_hidden_and_a_port_is_none(text, safe):
    assert hide_in_text(text, ()) == safe


@pytest.mark.parametrize("name", sorted(HARMLESS_NAMES))
def test_harmless_names_keep_their_value_but_are_searched(name):
    assert hide_secrets({name: 3})[0] == {name: 3}
    assert hide_secrets({name: {"token": "swordfish"}})[0] == {name: {"token": HIDDEN}}


def test_who_holds_the_keys_is_a_choice_and_no_key():
    config = {"secure": {"scheme": "bfv", "keys": "committee"}, "x": {"keys": "swordfish"}}
    plain, hidden = hide_secrets(config)
    assert plain == {"secure": {"scheme": "bfv", "keys": "committee"}, "x": {"keys": HIDDEN}}
    assert hidden == {"swordfish"}
    assert hide_in_override("secure.keys=committee") == "secure.keys=committee"
    assert hide_in_override("secure.keys=swordfish") == f"secure.keys={HIDDEN}"


def test_result_holds_plain_types_only():
    plain, _ = hide_secrets({"p": Path("/a/b"), "n": np.int64(3), "t": (1, None, True), "c": complex(1)})
    assert plain == {"p": "/a/b", "n": 3, "t": [1, None, True], "c": "(1+0j)"}
    assert type(plain["n"]) is int


def test_text_loses_longer_secrets_first():
    assert hide_in_text("x abcdef abcd y", {"abcd", "abcdef"}) == f"x {HIDDEN} {HIDDEN} y"


def test_short_hidden_values_do_not_mangle_text():
    _, hidden = hide_secrets({"pin_token": 3})
    assert hide_in_text("round 3 failed", hidden) == "round 3 failed"


@pytest.mark.parametrize(
    "override",
    [
        "api_key=swordfish",
        "+tracking.token=swordfish",
        "auth.token.value=swordfish",
        "auth={token: swordfish}",
        "auth={'password': 'swordfish'}",
        "uri=http://ann:swordfish@host",
    ],
)
def test_overrides_hide_secrets(override):
    assert "swordfish" not in hide_in_override(override)
    assert HIDDEN in hide_in_override(override)


@pytest.mark.parametrize("override", ["task=gaze", "secure.key_holders=3", "~hydra.x", "lr=0.1,0.2"])
def test_harmless_overrides_stay(override):
    assert hide_in_override(override) == override


_names = st.sampled_from(["lr", "model", "api_key", "Token", "key_holders", "my.password"])
_configs = st.recursive(
    st.dictionaries(_names, st.sampled_from(["plain", "s3cr3t"]), max_size=3),
    lambda inner: st.dictionaries(_names, st.one_of(inner, st.lists(inner, max_size=2)), max_size=3),
    max_leaves=12,
)


def _only_below_secrets(value, below):
    if isinstance(value, dict):
        return {
            key: _only_below_secrets(
                inner,
                below
                or (
                    key != "key_holders"
                    and any(w in key.lower() for w in ("key", "secret", "token", "password"))
                ),
            )
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_only_below_secrets(inner, below) for inner in value]
    return "s3cr3t" if below else "plain"


@given(_configs)
def test_no_value_below_a_secret_name_survives_anywhere(config):
    plain, _ = hide_secrets(_only_below_secrets(config, below=False))
    assert "s3cr3t" not in repr(plain)
