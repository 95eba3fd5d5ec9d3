"""What a node is told of a run, in 32 bytes: any other value shows, and what is a party's own does not."""

import hashlib
import json
from typing import Any

import pytest

from fedpriv.config.as_json import from_json, run_digest, to_json
from fedpriv.config.compose import compose_run
from fedpriv.errors import UserError
from tests.config.small import SMALL


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return json.loads(to_json(compose_run(*SMALL, "secure=bfv", "privacy=dp_sgd")))


def digest(plain: dict[str, Any]) -> bytes:
    return run_digest(from_json(json.dumps(plain)))


def leaves(plain: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(plain, dict) and plain:
        return [leaf for key, value in plain.items() for leaf in leaves(value, (*path, key))]
    return [path]


def changed(plain: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(plain))
    node = copy
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return copy


ENUMS = {
    "mode": "centralized",
    "optimizer": "adam",
    "schedule": "cosine",
    "layers": "head",
    "protocol": "folds",
    "unit": "none",
    "noise": "fast",
    "noise_by": "server",
    "correlation": "banded",
    "order": "cyclic",
    "gradients": "opacus",
    "clipping": "adaptive",
    "scheme": "ckks",
    "keys": "committee",
    "name": "ray",
}


def other(path: tuple[str, ...], value: Any) -> Any:
    """Return another value that the schema takes."""
    if path[-1] in ENUMS and value != ENUMS[path[-1]]:
        return ENUMS[path[-1]]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return ["0:nan"]
    return {"select": ["*"], "run_id": "ab"}.get(path[-1], 3)


def test_any_other_value_anywhere_gives_another_digest(plain):
    own = {("tracking",), ("secure", "key_folder"), ("privacy", "ledger"), ("privacy", "lifetime_epsilon")}
    paths = [path for path in leaves(plain) if path not in own]
    assert len(paths) > 50
    assert {("training", "learning_rate"), ("privacy", "clipping_norm"), ("partition", "_target_")} <= set(
        paths
    )
    seen = {digest(plain)}
    for path in paths:
        value = plain
        for key in path:
            value = value[key]
        seen.add(digest(changed(plain, path, other(path, value))))
    assert len(seen) == len(paths) + 1


def test_where_keys_lie_where_a_run_is_tracked_and_how_it_is_written_down_do_not_count(plain):
    expected = digest(plain)
    assert digest(changed(plain, ("privacy", "ledger"), "/my/ledger")) == expected
    assert digest(changed(plain, ("privacy", "ledger"), None)) == expected
    assert digest(changed(plain, ("privacy", "lifetime_epsilon"), 3.0)) == expected
    assert digest(changed(plain, ("secure", "key_folder"), "/somewhere")) == expected
    assert digest(changed(plain, ("tracking",), {"uri": "file:///tmp/x"})) == expected
    assert digest(dict(reversed(plain.items()))) == expected
    left_out = json.loads(json.dumps(plain))
    assert left_out["training"].pop("weight_decay") == 0.0  # the schema's default
    assert digest(left_out) == expected
    assert digest(changed(plain, ("training", "weight_decay"), 0)) == expected  # 0.0


def test_it_is_the_hash_of_the_documented_bytes():
    config = compose_run(*SMALL, "secure.key_folder=/keys")
    plain = json.loads(to_json(config))
    plain["secure"]["key_folder"] = None
    plain["privacy"] |= {"ledger": None, "lifetime_epsilon": None}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    assert text.isascii()
    assert run_digest(config) == hashlib.sha256(b"fedpriv-run-1\0" + text.encode()).digest()


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "a${now:%S}", "${seed}"])
def test_a_node_is_told_values_and_nothing_that_it_would_have_to_look_up(plain, text):
    """Otherwise all nodes could be told the same, and each would read another number into it."""
    for path in (("training", "learning_rate"), ("data", "root"), ("federation", "faults")):
        lied = changed(plain, path, [text] if path[-1] == "faults" else text)
        for sent in (json.dumps(lied), json.dumps(lied).replace("$", "\\u0024")):
            with pytest.raises(
                UserError, match=r"^configuration: holds \$\{\.\.\.\}; a node takes values only"
            ):
                from_json(sent)
