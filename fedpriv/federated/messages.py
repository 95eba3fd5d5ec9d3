"""What travels between server and clients, as Flower records; :mod:`holder_messages` has the key holders'."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedpriv.types import FloatVector

DESCRIBE = "query.describe"
KEYS = "query.keys"
SENSITIVITY = "query.sensitivity"
TRAIN = "train"
OPEN = "query.open"
RELAYED = "query.relayed"


FIGURES = (
    "examples",
    "train-loss",
    "train-seconds",
    "encrypt-seconds",
    "clipped-fraction",
    "coarse-fraction",
    "epsilon",
    "delta",
    "rdp",
)
"""What a client may report besides its update; anything else is dropped unread."""

LARGEST_FIGURE = 1e12
MOST_EXAMPLES = 2**40

PARAMETERS_STYPE = "fedpriv.parameters.v1"
BYTES_STYPE = "fedpriv.bytes.v1"
ROLE_CLIENT = "client"
ROLE_KEYHOLDER = "keyholder"


class MessageError(ValueError):
    """A message that does not hold what it must; ``cause`` is safe to log and to send."""

    def __init__(self, cause: str) -> None:
        """Keep the cause, a short identifier."""
        super().__init__(cause)
        self.cause = cause


def update_stype(scheme: str) -> str:
    """Return the Flower ``stype`` of a sealed update."""
    return f"fedpriv.{scheme}.v1"


def pack_parameters(vector: FloatVector) -> ArrayRecord:
    """Wrap a parameter vector: little-endian float32 bytes, copied once."""
    data = np.ascontiguousarray(vector, dtype="<f4").tobytes()
    return ArrayRecord({"parameters": Array("float32", (len(vector),), PARAMETERS_STYPE, data)})


def pack_public_key(data: bytes) -> ArrayRecord:
    """Wrap a committee's joint key, uncopied."""
    return ArrayRecord({"public": bytes_array(data)})


def pack_chosen(packed: bytes) -> ArrayRecord:
    """Wrap a selection of coordinates (:func:`fedpriv.he.selection.pack_selection`), uncopied."""
    return ArrayRecord({"packed": bytes_array(packed)})


def unpack_parameters(record: ArrayRecord) -> FloatVector:
    """Return the vector as a read-only view of the message's bytes.

    Raises:
        MessageError: ``malformed`` when bytes, shape and dtype do not agree.
    """
    array = record.get("parameters")
    if array is None or array.stype != PARAMETERS_STYPE or array.dtype != "float32":
        raise MessageError("malformed")
    if len(array.shape) != 1 or len(array.data) != 4 * array.shape[0]:
        raise MessageError("malformed")
    return np.frombuffer(array.data, dtype="<f4")


@dataclass(frozen=True)
class TrainRequest:
    """What the server asks of a client.

    Attributes:
        run_id: 32 hexadecimal digits.
        round: from 1.
        weight: the client's weight in the average, in (0, 1].
        settings: what the strategy adds, e.g. ``{"proximal-mu": 0.01}``.
        parameters: the global model, shape (P,).
        public_key: a committee's joint key with its endorsements; None where the scheme has none.
        selection: the coordinates to encrypt, packed; None where the server does not choose them.
    """

    run_id: str
    round: int
    weight: float
    settings: Mapping[str, float]
    parameters: FloatVector
    public_key: bytes | None = None
    selection: bytes | None = None

    def to_content(
        self, model: ArrayRecord, key: ArrayRecord | None = None, chosen: ArrayRecord | None = None
    ) -> RecordDict:
        """Build the content around ``model``, ``key`` and ``chosen``, which a cohort shares uncopied."""
        request = ConfigRecord({"run": self.run_id, "round": self.round, "weight": self.weight})
        content = RecordDict(
            {"model": model, "request": request, "settings": ConfigRecord(dict(self.settings))}
        )
        if key is not None:
            content["key"] = key
        if chosen is not None:
            content["chosen"] = chosen
        return content

    @staticmethod
    def from_content(content: RecordDict) -> "TrainRequest":
        """Read a request.

        Raises:
            MessageError: ``malformed``.
        """
        try:
            request, settings = content.config_records["request"], content.config_records["settings"]
            key = content.array_records.get("key")
            return TrainRequest(
                run_id=str(request["run"]),
                round=integer(request["round"]),
                weight=_number(request["weight"]),
                settings={name: _number(value) for name, value in settings.items()},
                parameters=unpack_parameters(content.array_records["model"]),
                public_key=None if key is None else key["public"].data,
                selection=unpack_chosen(content),
            )
        except KeyError as error:
            raise MessageError("malformed") from error


@dataclass(frozen=True)
class TrainReply:
    """What a client returns: its sealed update and figures about it."""

    scheme: str
    sealed: bytes
    metrics: Mapping[str, float] = field(default_factory=dict)

    def to_content(self) -> RecordDict:
        """Build the message content."""
        sealed = Array("uint8", (len(self.sealed),), update_stype(self.scheme), self.sealed)
        return RecordDict(
            {
                "update": ArrayRecord({"sealed": sealed}),
                "metrics": MetricRecord(dict(self.metrics)),
                "status": ConfigRecord({"outcome": "ok"}),
            }
        )

    @staticmethod
    def from_content(content: RecordDict, scheme: str) -> "TrainReply":
        """Read a reply of the expected ``scheme``; the sealed bytes are not looked at.

        Raises:
            MessageError: with the client's own cause, ``wrong_scheme`` or ``malformed``.
        """
        raise_failure(content)
        record = content.array_records.get("update")
        array = None if record is None else record.get("sealed")
        if array is None:
            raise MessageError("malformed")
        if array.stype != update_stype(scheme):
            raise MessageError("wrong_scheme")
        metrics = content.metric_records.get("metrics") or MetricRecord({})
        return TrainReply(
            scheme=scheme,
            sealed=array.data,
            metrics={name: _number(metrics[name]) for name in FIGURES if name in metrics},
        )


@dataclass(frozen=True)
class Description:
    """What a node says of itself when a run starts.

    Attributes:
        role: ``client`` or ``keyholder``.
        number: the client's partition or the key holder's number, both from 0.
        examples: the client's training examples; 0 for a key holder.
    """

    role: str
    number: int
    examples: int

    def to_content(self) -> RecordDict:
        """Build the message content."""
        record = ConfigRecord({"role": self.role, "number": self.number, "examples": self.examples})
        return RecordDict({"node": record, "status": ConfigRecord({"outcome": "ok"})})

    @staticmethod
    def from_content(content: RecordDict) -> "Description":
        """Read a description.

        Raises:
            MessageError: with the node's own cause, or ``malformed``.
        """
        raise_failure(content)
        try:
            node = content.config_records["node"]
            role, number, examples = (
                str(node["role"]),
                integer(node["number"]),
                integer(node["examples"]),
            )
        except KeyError as error:
            raise MessageError("malformed") from error
        known = role in (ROLE_CLIENT, ROLE_KEYHOLDER)
        if not known or not 0 <= number < 2**32 or not 0 <= examples <= MOST_EXAMPLES:
            raise MessageError("malformed")
        return Description(role, number, examples)


def failure(cause: str) -> RecordDict:
    """Say that a request failed: a short cause and never an exception's text."""
    return RecordDict({"status": ConfigRecord({"outcome": "failed", "cause": cause})})


def raise_failure(content: RecordDict) -> None:
    """Raise the cause that a node gave, cut to an identifier: it is untrusted text.

    Raises:
        MessageError: when the content is a :func:`failure` or has no status.
    """
    status = content.config_records.get("status")
    if status is None:
        raise MessageError("malformed")
    if status.get("outcome") != "ok":
        cause = str(status.get("cause", "unknown"))
        plain = cause.isascii() and cause.isidentifier() and len(cause) <= 32
        raise MessageError(cause if plain else "unknown")


def unpack_chosen(content: RecordDict) -> bytes | None:
    """Return the selection that a message holds under ``chosen``, uncopied and unread, or None.

    Raises:
        MessageError: ``malformed``.
    """
    record = content.array_records.get("chosen")
    if record is None:
        return None
    if "packed" not in record:
        raise MessageError("malformed")
    return record["packed"].data


def bytes_array(data: bytes) -> Array:
    """Wrap bytes, uncopied."""
    return Array("uint8", (len(data),), BYTES_STYPE, data)


def integer(value: object) -> int:
    """Return ``value`` if it is an integer.

    Raises:
        MessageError: ``malformed`` otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise MessageError("malformed")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MessageError("malformed")
    if isinstance(value, int) and abs(value) > LARGEST_FIGURE:
        raise MessageError("malformed")
    return float(value)
