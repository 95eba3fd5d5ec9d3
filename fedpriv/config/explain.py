"""Hydra's and OmegaConf's errors as one line that names the key, the value and the mend."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)
from yaml import MarkedYAMLError

_PRINT = "`--cfg job` prints all keys"


def explain(error: BaseException) -> str:
    """Return one line for a composition error, whatever the depth of its chain of causes."""
    chain = list(_chain(error))
    whole = "\n".join(str(cause) for cause in chain)
    return " ".join((_syntax(chain) or _choice(whole) or _key(chain, whole) or _value(chain, whole)).split())


def explain_group(error: ValueError, overrides: Iterable[str], configs: Path) -> str | None:
    """Return one line for a group that is set to null or a number; None for any other error.

    Hydra's own complaint names neither group nor value.

    Args:
        error: what composing raised.
        overrides: as typed, ``KEY=VALUE``.
        configs: folder of the groups.
    """
    if "Config group override" not in str(error):
        return None
    for override in overrides:
        key, given, value = override.partition("=")
        group = key.partition("@")[0].lstrip("+")
        choices = sorted(file.stem for file in (configs / group).glob("*.yaml")) if group else []
        if given and choices and value not in choices:
            return _no_choice(group, value, choices)
    return "a group is set to what is no name; name one of its choices, see --help"


def needs(message: str) -> str:
    """Return what a value must be, from OmegaConf's complaint about it."""
    if "converted to Integer" in message:
        return "needs a whole number"
    if "converted to Float" in message:
        return "needs a number"
    if "not a valid bool" in message:
        return "needs true or false"
    if match := re.search(r"expected one of \[([^\]]*)\]", message):
        return f"choose one of {match[1]}"
    if "is not a ListConfig" in message or "with ListConfig" in message:
        return "needs a list in brackets, e.g. [a,b]"
    if "is not Optional" in message or "Incompatible value 'None'" in message:
        return "needs a value, not null"
    return f"{message.splitlines()[0]}; mend the value" if message else "is not possible; mend the value"


def closest(key: str, known: Iterable[str]) -> str | None:
    """Return the known dotted key that ``key`` most likely misspells, or None.

    Looked for among the keys of its own group, then whole if there is no such group, then by its
    last part anywhere.
    """
    keys = [name for name in known if not key.startswith(f"{name}.")]
    group, _, last = key.rpartition(".")
    siblings = {name.rpartition(".")[2]: name for name in keys if name.rpartition(".")[0] == group}
    if match := difflib.get_close_matches(last, list(siblings), 1, 0.7):
        return siblings[match[0]]
    if not siblings and (match := difflib.get_close_matches(key, keys, 1, 0.7)):
        return match[0]
    anywhere = {name.rpartition(".")[2]: name for name in reversed(keys)}
    match = difflib.get_close_matches(last, list(anywhere), 1, 0.8)
    return anywhere[match[0]] if match else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _syntax(chain: list[BaseException]) -> str | None:
    for cause in chain:
        if isinstance(cause, MarkedYAMLError) and cause.problem_mark is not None:
            mark = cause.problem_mark
            return f"{mark.name}:{mark.line + 1}: is not YAML ({cause.problem}); mend the file"
        if isinstance(cause, OverrideParseException):
            return f"{cause.override}: is not KEY=VALUE; quote lists and special characters, e.g. 'key=[1,2]'"
    return None


def _choice(whole: str) -> str | None:
    if match := re.search(r"Could not (?:find|load) '([^']+)'", whole):
        group, _, value = match[1].rpartition("/")
        options = re.search(r"Available options in '[^']+':\n((?:\t.*\n?)+)", whole)
        return _no_choice(group, value, options[1].split() if options else [])
    if match := re.search(r"You must specify '([^']+)'", whole):
        return f"{match[1]}: is missing; name one, e.g. {match[1]}=..."
    if match := re.search(r"Ambiguous value for argument '([^']+)'", whole):
        return f"{match[1]}: are several values; add -m to run with each of them, or write a list as [a,b]"
    return None


def _no_choice(group: str, value: str, choices: Iterable[str]) -> str:
    listed = ", ".join(choices)
    mend = f"choose one of {listed}" if listed else f"look into configs/{group} for what there is"
    return f"{group}={value}: there is no such choice; {mend}"


def _key(chain: list[BaseException], whole: str) -> str | None:
    unknown = next((e for e in chain if isinstance(e, ConfigKeyError | ConfigAttributeError)), None)
    override = re.search(r"Could not override '([^']+)'", whole)
    if override:
        key = override[1]
    elif unknown is not None and unknown.full_key:
        key = str(unknown.full_key)
    else:
        return None
    file = re.search(r"In '([^']+)':", whole)
    place = f" (in {file[1]}.yaml)" if file else ""
    tree: Mapping[str, Any] = {}
    if unknown is not None and unknown.parent_node is not None:
        root = unknown.parent_node._get_root()
        if isinstance(root, DictConfig):
            tree = OmegaConf.to_container(root)  # type: ignore[assignment]
    known = list(_dotted(tree))
    if close := closest(key, known):
        return f"{key}: there is no such key{place}; did you mean {close}?"
    group = key.rpartition(".")[0]
    siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == group]
    if group and siblings:
        return f"{key}: there is no such key{place}; {group} has {', '.join(siblings)}"
    if key == "experiment":
        return "experiment: is not in the list of defaults; write it with a plus, +experiment=NAME"
    return f"{key}: there is no such key{place}; check the spelling ({_PRINT})"


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if name == "_target_" or (not prefix and name == "hydra"):
            continue
        yield prefix + str(name)
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")


def _value(chain: list[BaseException], whole: str) -> str:
    telling = next((e for e in chain if isinstance(e, OmegaConfBaseException)), chain[0])
    message = next(
        (line.strip() for line in str(telling).splitlines() if line.strip()), type(telling).__name__
    )
    key = str(getattr(telling, "full_key", None) or "")
    if isinstance(telling, MissingMandatoryValue):
        return f"{key}: is missing; give it on the command line as {key}=..."
    override = re.search(r"Error merging override (.+)", whole)
    value = re.search(r"[Vv]alue '([^']*)'", message)
    file = re.search(r"In '([^']+)':", whole)
    place = f" (in {file[1]}.yaml)" if file else ""
    if override:
        name = override[1]
    elif key:
        name = f"{key}={value[1]}" if value else key
    else:
        return f"{message}; mend the command line"
    return f"{name}{place}: {needs(message)}"
