"""What a federation's parties agreed on before any run: the least that each of them insists on.

In a deployment a run's configuration is what the server says. The policy is part of the enrolment,
which is each party's own file, so that the server's word cannot go below it.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from fedpriv.errors import UserError

SCHEMES = ("plain", "bfv", "ckks")
KEYS = ("authority", "committee")
UNITS = ("none", "sample", "client")
NOISES = ("secure", "fast")
NOISE_BY = ("clients", "server")

_LARGEST = 1 << 32


@dataclass(frozen=True)
class Policy:
    """The terms of a federation, or those that a run's configuration offers; see :meth:`require`.

    Edge cases:
        - Values of another type (``true`` and ``3.0`` are no integers), integers outside 0 to 2^32 - 1, an
          epsilon that is not positive and finite, and a delta outside (0, 1) are refused.
        - An epsilon without its delta, or either without a unit, is refused.

    Attributes:
        scheme: how updates travel: ``plain``, ``bfv`` or ``ckks``.
        keys: who can open sums: ``authority`` or ``committee``.
        holders: number of key holders: 0 with ``plain``, 1 with ``authority``.
        min_clients: fewest updates in a sum that key holders open.
        smudging_bits: log2 of the noise that key holders add over the noise that it hides.
        clear: whether part of an encrypted update may travel in clear (``secure.select`` and
            ``secure.select_top``).
        unit: what differential privacy protects: ``none``, ``sample`` or ``client``.
        noise: where its randomness comes from: ``secure``, or ``fast``, which is derived from the run's seed.
        noise_by: who draws the noise of ``client``: ``clients`` or ``server``.
        epsilon: the most that one run may state as ``privacy.epsilon``; runs are not counted, and None bounds
            nothing, not even the noise that ``privacy.noise_multiplier`` states.
        delta: the most that epsilon is stated for; None bounds nothing.

    Raises:
        UserError: on each of these.
    """

    scheme: str
    keys: str
    holders: int
    min_clients: int = 2
    smudging_bits: int = 0
    clear: bool = False
    unit: str = "none"
    noise: str = "secure"
    noise_by: str = "clients"
    epsilon: float | None = None
    delta: float | None = None

    def __post_init__(self) -> None:
        """Check every field; integers become floats where a float is due, so that equals have one digest."""
        for name, known in (
            ("scheme", SCHEMES),
            ("keys", KEYS),
            ("unit", UNITS),
            ("noise", NOISES),
            ("noise_by", NOISE_BY),
        ):
            if getattr(self, name) not in known:
                raise _bad(name, getattr(self, name), f"choose one of {', '.join(known)}")
        for name in ("holders", "min_clients", "smudging_bits"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value < _LARGEST:
                raise _bad(name, value, "need an integer of 0 to 2^32 - 1")
        if type(self.clear) is not bool:
            raise _bad("clear", self.clear, "need true or false")
        for name, below in (("epsilon", math.inf), ("delta", 1.0)):
            value = getattr(self, name)
            if value is None:
                continue
            # an integer may be too large for a float
            if type(value) not in (int, float) or not 0 < value < min(below, 1e300):
                raise _bad(name, value, f"need a number above 0 and below {below:g}, or null")
            object.__setattr__(self, name, float(value))
        if self.unit == "none" and (self.epsilon, self.delta) != (None, None):
            raise UserError("policy.unit=none: has no epsilon and no delta; set both to null")
        if self.epsilon is not None and self.delta is None:
            raise _bad("epsilon", self.epsilon, "means nothing without policy.delta; give both")

    @staticmethod
    def from_plain(value: Any) -> "Policy":
        """Return the policy of :meth:`to_plain`'s dictionary, from wherever it came.

        Raises:
            UserError: for missing and unknown fields, and what :class:`Policy` refuses.
        """
        names = [field.name for field in fields(Policy)]
        if not isinstance(value, dict) or value.keys() != set(names):
            raise UserError(f"policy: need {', '.join(names)}, nothing else")
        return Policy(**value)

    def to_plain(self) -> dict[str, Any]:
        """Return the fields by name, as plain values."""
        return asdict(self)

    @property
    def canonical(self) -> bytes:
        """JSON with sorted names and no white space: equal bytes, equal policies."""
        return json.dumps(self.to_plain(), sort_keys=True, separators=(",", ":")).encode()

    def require(self, offered: "Policy", source: object) -> None:
        """Refuse what is weaker than this policy; equal and stronger terms pass.

        Scheme, keys and number of key holders must be the same. So must be the unit of privacy where
        one is demanded: neither implies the other, for noise in a sum hides nothing in the update itself
        and noise in an update hides images, not the person.

        Args:
            offered: the terms of a run's configuration.
            source: the file that this policy is from, for the message.

        Raises:
            UserError: for the first field that falls short: one line with both values.
        """
        for field, demanded, said in self._shortfalls(offered):
            raise UserError(
                f"{source}: the enrolment demands {field} {demanded}, the run's configuration says {said}; "
                "run as agreed, or enrol everybody anew on other terms"
            )

    def _shortfalls(self, offered: "Policy") -> Iterator[tuple[str, str, object]]:
        for name in ("scheme", "keys", "holders"):
            if getattr(offered, name) != getattr(self, name):
                yield f"secure.{name}", f"= {getattr(self, name)}", getattr(offered, name)
        for name in ("min_clients", "smudging_bits"):
            if getattr(offered, name) < getattr(self, name):
                yield f"secure.{name}", f">= {getattr(self, name)}", getattr(offered, name)
        if offered.clear and not self.clear:
            yield "secure.select", "= null and secure.select_top = null", "otherwise for one of them"
        if self.unit == "none":
            return
        if offered.unit != self.unit:
            yield "privacy.unit", f"= {self.unit}", offered.unit
        if self.noise == "secure" != offered.noise:
            yield "privacy.noise", "= secure", offered.noise
        if self.unit == "client" and self.noise_by == "clients" != offered.noise_by:
            yield "privacy.noise_by", "= clients", offered.noise_by
        for name in ("delta", "epsilon"):
            most, said = getattr(self, name), getattr(offered, name)
            if most is not None and (said is None or said > most):
                yield f"privacy.{name}", f"<= {most:g}", "null" if said is None else f"{said:g}"


def _bad(name: str, value: object, need: str) -> UserError:
    shown = f"{value!r:.40}" if isinstance(value, (str, int, float)) else f"({type(value).__name__})"
    return UserError(f"policy.{name}={shown}: {need}")
