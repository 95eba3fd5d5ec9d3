"""Asking clients to send their test images through the relays: the messages, and the server's side.

Flower carries the question and sums of what was found; an image leaves its client as sealed shares only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from fedpriv.federated import messages
from fedpriv.federated.latencies import BINS
from fedpriv.federated.messages import MOST_EXAMPLES, MessageError, integer, unpack_parameters
from fedpriv.federated.roster import discover
from fedpriv.types import FloatVector

_MOST_SUMS, _MOST_SHOWN, _MOST_ANSWER_BYTES = 1024, 256, 512
_LARGEST = 2**62
NO_REPLY = "no_reply"


@dataclass(frozen=True)
class RelayedRequest:
    """What the server asks of a client.

    Attributes:
        run_id: 32 hexadecimal digits.
        settings: path of the client's settings for the relays, which name the file of its secret; a client on
            a site of its own goes by its own.
        kind: what to ask of every image, ``gaze`` or ``emotion``.
        images: how many test images all clients have together.
        in_flight: images under way at once.
        shown: of so many of its images a client tells both answers; of the others only sums.
        parameters: the global model, shape (P,), for the answers to compare with.
    """

    run_id: str
    settings: str
    kind: str
    images: int
    in_flight: int
    shown: int
    parameters: FloatVector

    def to_content(self, model: ArrayRecord) -> RecordDict:
        """Build the content around ``model``, which all clients share uncopied."""
        request = ConfigRecord(
            {
                "run": self.run_id,
                "settings": self.settings,
                "kind": self.kind,
                "images": self.images,
                "in-flight": self.in_flight,
                "shown": self.shown,
            }
        )
        return RecordDict({"model": model, "request": request})

    @staticmethod
    def from_content(content: RecordDict) -> "RelayedRequest":
        """Read a request.

        Raises:
            MessageError: ``malformed``.
        """
        try:
            request = content.config_records["request"]
            return RelayedRequest(
                run_id=str(request["run"]),
                settings=str(request["settings"]),
                kind=str(request["kind"]),
                images=_count(request["images"], MOST_EXAMPLES),
                in_flight=_count(request["in-flight"], 1 << 16, least=1),
                shown=_count(request["shown"], _MOST_SHOWN),
                parameters=unpack_parameters(content.array_records["model"]),
            )
        except KeyError as error:
            raise MessageError("malformed") from error


@dataclass(frozen=True)
class RelayedReply:
    """What a client found.

    Attributes:
        images: how many it asked about.
        lost: how many of them got no answer, by cause.
        differing: answers that are not, number by number, those of local inference.
        relayed: the metric's sums (:mod:`fedpriv.serving.sums`) over the images that were answered.
        local: the same of local inference on the same images.
        latencies: :func:`~fedpriv.federated.latencies.histogram` of the answered images.
        sent_bytes: of envelopes, retries included, for the answered images.
        received_bytes: of records, likewise.
        retries: how often an answered image had to be shared anew.
        shown: (answer through the relays or b"", local answer) of some images.
    """

    images: int
    lost: Mapping[str, int]
    differing: int
    relayed: tuple[int, ...]
    local: tuple[int, ...]
    latencies: tuple[int, ...]
    sent_bytes: int
    received_bytes: int
    retries: int
    shown: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def answered(self) -> int:
        """Number of images that got an answer."""
        return self.images - sum(self.lost.values())

    def to_content(self) -> RecordDict:
        """Build the message content."""
        figures: dict[str, Any] = {
            "images": self.images,
            "differing": self.differing,
            "relayed": list(self.relayed),
            "local": list(self.local),
            "latencies": list(self.latencies),
            "sent-bytes": self.sent_bytes,
            "received-bytes": self.received_bytes,
            "retries": self.retries,
            "shown-relayed": [relayed for relayed, _ in self.shown],
            "shown-local": [local for _, local in self.shown],
        }
        return RecordDict(
            {
                "figures": ConfigRecord(figures),
                "lost": ConfigRecord(dict(self.lost)),
                "status": ConfigRecord({"outcome": "ok"}),
            }
        )

    @staticmethod
    def from_content(content: RecordDict) -> "RelayedReply":
        """Read a reply; whether its figures are those of this client's images is for the caller to say.

        Raises:
            MessageError: with the client's own cause, or ``malformed``.
        """
        messages.raise_failure(content)
        try:
            found, lost = content.config_records["figures"], content.config_records["lost"]
            reply = RelayedReply(
                images=_count(found["images"], MOST_EXAMPLES),
                lost={_cause(cause): _count(count, MOST_EXAMPLES) for cause, count in lost.items()},
                differing=_count(found["differing"], MOST_EXAMPLES),
                relayed=_counts(found["relayed"]),
                local=_counts(found["local"]),
                latencies=_counts(found["latencies"]),
                sent_bytes=_count(found["sent-bytes"], _LARGEST),
                received_bytes=_count(found["received-bytes"], _LARGEST),
                retries=_count(found["retries"], _LARGEST),
                shown=tuple(zip(_blobs(found["shown-relayed"]), _blobs(found["shown-local"]), strict=True)),
            )
        except (KeyError, ValueError) as error:
            raise MessageError("malformed") from error
        fits = len(reply.latencies) == BINS and sum(reply.latencies) == reply.answered >= reply.differing
        if not fits or len(reply.relayed) != len(reply.local):
            raise MessageError("malformed")
        return reply


RelayedInference = Callable[[str, int, str, RelayedRequest], RelayedReply]
"""What a client does: configuration (JSON), number, path of its settings for the relays, request."""


@dataclass(frozen=True)
class RelayedAnswers:
    """What came of asking all clients.

    Attributes:
        replies: by client.
        failures: cause by client that gave none.
    """

    replies: Mapping[int, RelayedReply]
    failures: Mapping[int, str]


def make_relayed_app(
    clients: int,
    request_of: Callable[[int], RelayedRequest],
    usable: Callable[[int, RelayedReply], bool],
    start_timeout_s: float,
    timeout_s: float,
    finished: Callable[[RelayedAnswers], None],
) -> ServerApp:
    """Return a ServerApp that asks every client once.

    Args:
        clients: expected number of clients.
        request_of: makes a client's request; all have the same parameters.
        usable: tells whether a client's reply can be what it was asked for.
        start_timeout_s: patience for nodes to register.
        timeout_s: seconds that a client has for its images.
        finished: told the answers, in the server's process.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        del context
        finished(_ask_all(grid, clients, request_of, usable, start_timeout_s, timeout_s))

    return app


def _ask_all(
    grid: Grid,
    clients: int,
    request_of: Callable[[int], RelayedRequest],
    usable: Callable[[int, RelayedReply], bool],
    start_timeout_s: float,
    timeout_s: float,
) -> RelayedAnswers:
    roster = discover(grid, clients, 0, start_timeout_s)
    model = messages.pack_parameters(request_of(0).parameters)
    number_of = {member.node_id: member.partition for member in roster.clients}
    asked = [
        Message(request_of(number).to_content(model), node, messages.RELAYED)
        for node, number in number_of.items()
    ]
    replies: dict[int, RelayedReply] = {}
    failures = dict.fromkeys(number_of.values(), NO_REPLY)
    for message in grid.send_and_receive(asked, timeout=timeout_s):
        number = number_of.pop(message.metadata.src_node_id, None)
        if number is None:
            continue  # nobody asked it, or it has answered
        try:
            if message.has_error():
                raise MessageError(NO_REPLY)
            reply = RelayedReply.from_content(message.content)
            if not usable(number, reply):
                raise MessageError("malformed")
        except MessageError as error:
            failures[number] = error.cause
            continue
        replies[number] = reply
        del failures[number]
    return RelayedAnswers(replies, failures)


def _count(value: object, most: int, least: int = 0) -> int:
    found = integer(value)
    if not least <= found <= most:
        raise MessageError("malformed")
    return found


def _counts(values: object) -> tuple[int, ...]:
    if not isinstance(values, list) or len(values) > _MOST_SUMS:
        raise MessageError("malformed")
    return tuple(_count(value, _LARGEST) for value in values)


def _blobs(values: object) -> list[bytes]:
    if not isinstance(values, list) or len(values) > _MOST_SHOWN:
        raise MessageError("malformed")
    if not all(isinstance(value, bytes) and len(value) <= _MOST_ANSWER_BYTES for value in values):
        raise MessageError("malformed")
    return values


def _cause(name: str) -> str:
    """Return a cause of lost images; it is a client's word, and goes to logs and metrics."""
    return name if name.isascii() and name.isidentifier() and len(name) <= 32 else "unknown"
