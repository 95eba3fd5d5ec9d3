"""What a caller does: is this who they say, or who is it?"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.faces.answers import SIGNATURE, answer_signed
from fedpriv.faces.asking import JSON, OCTETS, Service
from fedpriv.faces.cards import Caller
from fedpriv.faces.gallery_service import gallery_of, is_plain
from fedpriv.faces.signing import request_name
from fedpriv.he.matching.people import encrypted_probe
from fedpriv.he.strict_json import parse_object
from fedpriv.he.users.public_keys import PUBLIC_FILE, PublicKeys

_ANSWERS: dict[str, tuple[Any, str]] = {
    "verify": (bool, "accepted"),
    "identify": (str | None, "name"),
    "scores": (dict, "scores"),
}
"""What an answer holds, and in which field."""


@dataclass(frozen=True)
class Answer:
    """What a caller is told.

    Attributes:
        accepted: to ``verify``.
        name: to ``identify``; None for nobody.
        scores: to ``scores``: cosine by name.
        left: openings that are left of the caller's budget.
        sent_bytes: in bodies of requests.
        received_bytes: in bodies of replies.
    """

    accepted: bool | None
    name: str | None
    scores: dict[str, float] | None
    left: int
    sent_bytes: int
    received_bytes: int


class Asking:
    """A caller, between server and key holder."""

    def __init__(
        self, folder: Path, server: str, keyholder: str, ca: Path | None = None, plain_probe: bool = False
    ) -> None:
        """Load the caller's folder and compare its key with those of both services.

        Args:
            folder: with ``caller.key``, ``caller.card`` and ``public.key``.
            server: URL.
            keyholder: URL.
            ca: see :class:`~fedpriv.faces.asking.Service`.
            plain_probe: send the probe in clear: the server then sees the face's embedding.

        Raises:
            UserError: when the folder or a service is not what it should be, or a plain probe is for a plain
                gallery.
        """
        self._public = PublicKeys.load(folder / PUBLIC_FILE, "faces")
        sender = Caller.load(folder, self._public.verify_key)
        self._server, self._keyholder = Service(server, sender, ca), Service(keyholder, sender, ca)
        self._plain = plain_probe
        gallery = gallery_of(self._server, self._public.fingerprint)
        if plain_probe and is_plain(gallery):
            raise UserError(f"{server}: its gallery is plain: leave out --plain-probe, or nothing is hidden")
        self.dimension: int = gallery["dimension"]
        policy = self._keyholder.ask_json("GET", "/v1/about")
        if type(policy.get("threshold")) is not float or not isinstance(policy.get("fingerprint"), str):
            raise UserError(f"{keyholder}: is no key holder; see its address")
        if policy["fingerprint"] != self._public.fingerprint:
            raise UserError(
                f"{keyholder}: holds the key {policy['fingerprint'][:16]}, and the key here is "
                f"{self._public.fingerprint[:16]}; ask the key holder of this gallery"
            )
        self.threshold: float = policy["threshold"]

    def verify(self, name: str, embedding: NDArray[np.float64]) -> Answer:
        """Ask whether a face is the one enrolled under a name.

        Args:
            name: clear; the key holder alone is told it.
            embedding: (d,), of length 1.

        Raises:
            UserError: when nobody of that name is enrolled, the budget is spent, or a service refuses.
        """
        asked = self._keyholder.ask_json("POST", "/v1/people", json.dumps({"name": name}).encode())
        person = asked.get("id")
        if not isinstance(person, str):
            raise UserError(f"{self._keyholder.url}: says no id; is it a key holder?")
        return self._ask(f"/v1/verify/{person}?threshold={self.threshold!r}", embedding, "verify", name)

    def identify(self, embedding: NDArray[np.float64]) -> Answer:
        """Ask who a face is; raises as :meth:`verify`."""
        return self._ask(f"/v1/identify?threshold={self.threshold!r}", embedding, "identify")

    def scores(self, embedding: NDArray[np.float64]) -> Answer:
        """Ask for the scores of everybody; key holders refuse it as a rule. Raises as :meth:`verify`."""
        return self._ask("/v1/scores", embedding, "scores")

    def _ask(self, path: str, embedding: NDArray[np.float64], kind: str, person: str | None = None) -> Answer:
        if embedding.shape != (self.dimension,):
            raise UserError(
                f"embedding of {embedding.size} numbers, the gallery's have {self.dimension}; use the model "
                "that people were enrolled by"
            )
        if self._plain:
            body, content = json.dumps({"probe": embedding.tolist()}).encode(), JSON
        else:
            body, content = b"".join(encrypted_probe(self._public, embedding)), OCTETS
        ticket = self._server.ask("POST", path, body, content).body
        reply = self._keyholder.ask("POST", "/v1/open", ticket, OCTETS)
        if not answer_signed(self._public.verify_key, ticket, reply.body, reply.headers.get(SIGNATURE, "")):
            raise UserError(
                f"{self._keyholder.url}: the answer is not signed by the gallery's owner; trust it not"
            )
        found = parse_object(self._keyholder.url, reply.body, "answer")
        if found.get("request") != request_name("POST", path, body) or found.get("person") != person:
            raise UserError(
                f"{self._keyholder.url}: answered another question than was asked, or about somebody else; "
                "somebody may have changed it on the way: use https"
            )
        wanted, field = _ANSWERS[kind]
        value: Any = found.get(field)
        if found.get("kind") != kind or not isinstance(value, wanted) or type(found.get("left")) is not int:
            raise UserError(f"{self._keyholder.url}: answered something else than was asked")
        return Answer(
            value if kind == "verify" else None,
            value if kind == "identify" else None,
            value if kind == "scores" else None,
            found["left"],
            len(body) + len(ticket),
            len(ticket) + len(reply.body),
        )
