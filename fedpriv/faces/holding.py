"""What the key holder opens, and for whom; nothing of HTTP.

It says ``accepted`` or who it is: never a score, unless the owner starts it with the flag for that, and then
rounded to 2^-16. It never sees a probe.
"""

import io
from dataclasses import dataclass
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.faces.bodies import Known, Opened, Policy
from fedpriv.faces.lengths import require_length
from fedpriv.faces.parties import Refusal
from fedpriv.faces.register import BUDGET, Register
from fedpriv.faces.signing import SKEW_MS
from fedpriv.faces.tickets import Ticket, open_ticket, ticket_name
from fedpriv.he.matching.opening import open_question
from fedpriv.he.users.keys import UserKeys
from fedpriv.relays.settings import HttpLimits, ServiceSettings

THRESHOLD = 0.5
LIMITS = HttpLimits(
    max_body_bytes=64 << 20, max_waiting_bytes=512 << 20, max_requests=64, max_connections=256, body_s=60.0
)
"""A ticket has 0.2 MB for each 4,096 people."""


@dataclass(frozen=True)
class KeyHolderSettings(ServiceSettings):
    """The key holder's.

    Attributes:
        owner: folder with secret.key, public.key and the register.
        threshold: cosine from which a face is accepted.
        budget: openings in any 24 hours, for callers without a budget of their own.
        raw_scores: whether to open scores.
    """

    http: HttpLimits = LIMITS
    service: str = "faces key holder"
    owner: Path = Path("keys-faces")
    threshold: float = THRESHOLD
    budget: int = BUDGET
    raw_scores: bool = False


class KeyHolder:
    """Opens tickets under a policy; knows nothing of HTTP.

    Guarantee:
        - What is not a fresh ticket of the gallery's server for this very caller, under this policy, is
          refused before it costs anything.
        - What is opened was charged before, on disk; a refusal after that (such as for a probe of another
          length than 1) stays charged.
    """

    def __init__(self, settings: KeyHolderSettings) -> None:
        """Load keys and register.

        Raises:
            UserError: when the folder holds none, or the threshold is no cosine.
        """
        if not -1.0 <= settings.threshold <= 1.0:
            raise UserError(f"--threshold {settings.threshold}: is a cosine, choose -1 to 1")
        if settings.budget < 1:
            raise UserError(f"--budget {settings.budget}: choose 1 or more a day")
        self.keys, self.register = UserKeys.load(settings.owner, "faces"), Register(settings.owner)
        self._settings = settings

    def policy(self) -> Policy:
        """Return what it opens."""
        return Policy(
            fingerprint=self.keys.fingerprint,
            threshold=self._settings.threshold,
            budget=self._settings.budget,
            raw_scores=self._settings.raw_scores,
        )

    def known(self, caller: str, name: str) -> Known:
        """Return the id of a name.

        Raises:
            Refusal: when nobody has it, or the caller is none.
        """
        self.register.require_admitted(caller)
        return Known(id=self.register.find(name).id)

    def open(self, caller: str, data: bytes, now: int) -> tuple[str, Opened]:
        """Open a ticket.

        Args:
            caller: who brings it, authenticated.
            data: as it came.
            now: milliseconds since 1970.

        Returns:
            The kind of the ticket, and the answer.

        Raises:
            Refusal: with its cause.
        """
        self.register.require_admitted(caller)
        server, _ = self.register.pinned()
        try:
            ticket, proof, question = open_ticket(data, bytes.fromhex(server))
        except UserError as error:
            raise Refusal("not_opened", str(error)) from error
        self._check(ticket, caller, now)
        left = self.register.charge(caller, ticket_name(data), self._settings.budget, now)
        try:
            if proof:
                require_length(self.keys, proof)
            answer = open_question(
                self.keys, io.BytesIO(question), "ticket", raw_scores=self._settings.raw_scores
            )
        except UserError as error:
            raise Refusal("not_opened", str(error)) from error
        if answer.kind != ticket.kind:
            raise Refusal("not_opened", f"ticket: of kind {ticket.kind}, its question is of {answer.kind}")
        opened = Opened(kind=ticket.kind, left=left)
        people = self.register.at([*answer.accepted, *answer.scores])
        if ticket.kind == "verify":
            opened.accepted = any(
                people[each].id == ticket.person for each in answer.accepted if each in people
            )
        elif ticket.kind == "identify":
            opened.name = next((people[each].name for each in answer.accepted if each in people), None)
        else:
            opened.scores = {person.name: answer.scores[place] for place, person in people.items()}
        return ticket.kind, opened

    def _check(self, ticket: Ticket, caller: str, now: int) -> None:
        if ticket.caller != caller:
            raise Refusal("not_yours", "this ticket was made for another caller; ask for one of your own")
        if abs(now - ticket.made_ms) > SKEW_MS:
            raise Refusal(
                "too_old", f"ticket: older than {SKEW_MS // 1000} s, or clocks differ; ask for a new one"
            )
        if ticket.kind == "scores":
            if not self._settings.raw_scores:
                raise Refusal(
                    "no_scores", "scores are not told; the key holder was started without --raw-scores"
                )
        elif ticket.threshold != self._settings.threshold:
            raise Refusal(
                "other_threshold",
                f"threshold {ticket.threshold:g}: decisions are taken at {self._settings.threshold:g} only",
            )
