"""A run after a round as plain arrays: what a checkpoint writes and reads back, checked."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from fedpriv.privacy import accounting
from fedpriv.privacy.listening import Heard
from fedpriv.results import RoundResult
from fedpriv.training.party import ClientMemory
from fedpriv.types import AnyArray, FloatVector


@dataclass(frozen=True)
class Kept:
    """What those who train keep from round to round, besides the model.

    Attributes:
        arrays: the strategy's or the optimiser's own state.
        memories: what each party keeps to itself, by number.
        ended: no further round will be trained, because the privacy budget is spent.
        selection: the coordinates that the server chose to be encrypted, packed; None without such a choice.
            A resumed run keeps them, or others would be read in clear as well.
        lost_releases: with client-level privacy, round and clients of each sum that may have been opened when
            a run was cut off, as they are charged.
        attempts: how often the round to come was begun and cut off.
        heard: of an audit's canaries; None without.
    """

    arrays: dict[str, AnyArray] = field(default_factory=dict)
    memories: dict[int, ClientMemory] = field(default_factory=dict)
    ended: bool = False
    selection: bytes | None = None
    lost_releases: tuple[tuple[int, int], ...] = ()
    attempts: int = 0
    heard: Heard | None = None


@dataclass(frozen=True)
class Snapshot:
    """A run after its last finished round.

    Attributes:
        history: every round, from round 0.
        parameters: the model.
        layout: digest of the parameters' names and shapes, 32 bytes.
        kept: what else is needed to go on.
    """

    history: list[RoundResult]
    parameters: FloatVector
    layout: bytes
    kept: Kept


def to_arrays(snapshot: Snapshot) -> dict[str, AnyArray]:
    """Return the snapshot as named arrays of numbers; the entry ``facts`` is JSON, as bytes."""
    kept = snapshot.kept
    facts = {
        "history": [asdict(result) for result in snapshot.history],
        "privacy": {number: accounting.to_json(memory.history) for number, memory in kept.memories.items()},
        "ended": kept.ended,
        "lost_releases": kept.lost_releases,
        "attempts": kept.attempts,
        "heard": None if kept.heard is None else [kept.heard.rounds, kept.heard.epsilon],
    }
    arrays: dict[str, AnyArray] = {
        "parameters": snapshot.parameters,
        "layout": np.frombuffer(snapshot.layout, dtype=np.uint8),
        **{f"state/{name}": array for name, array in kept.arrays.items()},
        **{f"head/{n}": memory.head for n, memory in kept.memories.items() if memory.head is not None},
    }
    if kept.selection is not None:
        arrays["selection"] = np.frombuffer(kept.selection, dtype=np.uint8)
    if kept.heard is not None:
        arrays["heard"] = kept.heard.sums
    # a damaged archive may miss an entry without any other sign of it
    facts["arrays"] = sorted(arrays)
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    return arrays


def from_arrays(arrays: dict[str, AnyArray]) -> Snapshot:
    """Read what :func:`to_arrays` made.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RecursionError: it is something else.
    """
    facts = json.loads(arrays["facts"].tobytes())
    if sorted({*arrays} - {"facts"}) != facts["arrays"]:
        raise ValueError("arrays are missing")
    history = [_round(item) for item in facts["history"]]
    if [result.number for result in history] != list(range(len(history))) or not history:
        raise ValueError("rounds are missing")
    parameters = _vector(arrays["parameters"])
    memories = {
        int(number): ClientMemory(history=accounting.from_json(text))
        for number, text in facts["privacy"].items()
    }
    for name, array in arrays.items():
        if name.startswith("head/"):
            memories[int(name.removeprefix("head/"))].head = _vector(array)
    lost = tuple((number, count) for number, count in facts["lost_releases"])
    if not all(type(value) is int and value > 0 for release in lost for value in release):
        raise ValueError("facts are of another type")
    if type(facts["ended"]) is not bool or type(facts["attempts"]) is not int or facts["attempts"] < 0:
        raise ValueError("facts are of another type")
    return Snapshot(
        history=history,
        parameters=parameters,
        layout=arrays["layout"].tobytes(),
        kept=Kept(
            arrays={
                name.removeprefix("state/"): array
                for name, array in arrays.items()
                if name.startswith("state/")
            },
            memories=memories,
            ended=facts["ended"],
            selection=arrays["selection"].tobytes() if "selection" in arrays else None,
            lost_releases=lost,
            attempts=facts["attempts"],
            heard=None if facts["heard"] is None else _heard(arrays["heard"], *facts["heard"]),
        ),
    )


def _vector(array: AnyArray) -> FloatVector:
    if array.dtype != np.float32 or array.ndim != 1:
        raise ValueError("not a float32 vector")
    return array


def _heard(sums: AnyArray, rounds: Any, epsilon: Any) -> Heard:
    if sums.dtype != np.float64 or sums.ndim != 1 or not np.isfinite(sums).all():
        raise ValueError("not a vector of what was heard")
    if type(rounds) is not int or type(epsilon) is not float or rounds < 0 or not epsilon >= 0.0:
        raise ValueError("facts are of another type")
    return Heard(sums, rounds, epsilon)


def _round(item: dict[str, Any]) -> RoundResult:
    if item.keys() != {each.name for each in fields(RoundResult)}:
        raise ValueError("not a round")
    for name, value in item.items():
        if name in ("metrics", "seconds", "failures"):
            good = isinstance(value, dict) and all(type(each) in (int, float) for each in value.values())
        elif name in ("train_loss", "epsilon", "epsilon_reported", "delta", "clipping_norm", "within_norm"):
            good = value is None or type(value) is float
        elif name == "accountant":
            good = value is None or type(value) is str
        else:
            good = type(value) in (int, float)
        if not good:
            raise ValueError(f"{name} is of another type")
    return RoundResult(**item)
