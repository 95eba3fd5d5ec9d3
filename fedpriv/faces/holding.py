"""What the key holder opens, and for whom; nothing of HTTP.

It says ``accepted`` or who it is: never a score, unless the owner starts it with the flag for that, and then
rounded to 2^-16. It is sent no probe; but who knows the templates, as the owner does, can compute one from a
single question of ``identify`` (:mod:`fedpriv.he.matching.blinding`).
"""

import io
from dataclasses import dataclass
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.faces.bodies import Known, Opened, Policy
from fedpriv.faces.embedder import Embedder
from fedpriv.faces.false_accepts import FAR, FalseAccepts, in_words
from fedpriv.faces.parties import Refusal
from fedpriv.faces.register import BUDGET, Register
from fedpriv.faces.signing import SKEW_MS
from fedpriv.faces.tickets import Ticket, open_ticket, ticket_name
from fedpriv.he.matching.opening import open_question
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.shares import SHARE_FILE
from fedpriv.services.settings import HttpLimits, ServiceSettings

LIMITS = HttpLimits(
    max_body_bytes=64 << 20, max_waiting_bytes=512 << 20, max_requests=64, max_connections=256, body_s=60.0
)
"""A ticket has 0.2 MB for each 4,096 people."""


@dataclass(frozen=True)
class KeyHolderSettings(ServiceSettings):
    """The key holder's.

    Attributes:
        owner: folder with secret.key, public.key and the register.
        threshold: cosine from which a face is accepted; None for that of ``far``.
        far: how often a stranger may be accepted, as measured with the model that people are enrolled by.
        model: that model, to take what was measured from it; None for what the register has of enrolling.
        budget: openings in any 24 hours, for callers without a budget of their own.
        raw_scores: whether to open scores.
    """

    http: HttpLimits = LIMITS
    service: str = "faces key holder"
    owner: Path = Path("keys-faces")
    threshold: float | None = None
    far: float = FAR
    model: Embedder | None = None
    budget: int = BUDGET
    raw_scores: bool = False


class KeyHolder:
    """Opens tickets under a policy; knows nothing of HTTP.

    Attributes:
        keys: of the owner.
        register: of the owner.
        threshold: cosine from which a face is accepted.
        basis: what that is founded on, in words.
        warning: that it decides above the FAR that was asked for; None where it does not.

    Guarantee:
        - What is not a fresh ticket of the gallery's server for this very caller, under this policy, is
          refused before it costs anything.
        - What is opened was charged before, on disk; a refusal after that (such as for a probe of another
          length than 1) stays charged.
    """

    def __init__(self, settings: KeyHolderSettings) -> None:
        """Load keys and register.

        Raises:
            UserError: when the folder holds none, the threshold is no cosine, none is given and no FAR was
                measured, or the model is not the one that people are enrolled by.
        """
        if settings.threshold is not None and not -1.0 <= settings.threshold <= 1.0:
            raise UserError(f"--threshold {settings.threshold}: is a cosine, choose -1 to 1")
        if settings.budget < 1:
            raise UserError(f"--budget {settings.budget}: choose 1 or more a day")
        if (settings.owner / SHARE_FILE).exists():
            raise UserError(
                f"{settings.owner / SHARE_FILE}: part of a split key, for which there is no key holder's "
                "service; give the folder with secret.key"
            )
        self.keys, self.register = UserKeys.load(settings.owner, "faces"), Register(settings.owner)
        self._settings = settings
        self.warning: str | None = None
        self.threshold, self.basis = self._decided(settings)

    def _decided(self, settings: KeyHolderSettings) -> tuple[float, str]:
        if settings.threshold is not None:
            if settings.model is not None:
                raise UserError("--threshold and --model: choose one of them")
            return settings.threshold, f"threshold {settings.threshold:g}: as given, at a FAR unknown here"
        if not 0.0 < settings.far < 1.0:
            raise UserError(f"--far {settings.far:g}: is a share of strangers, choose one between 0 and 1")
        measured, source = self._measured(settings.model)
        chosen = None if measured is None else measured.at(settings.far)
        if measured is None or chosen is None:
            raise UserError(
                f"{source}: no FAR is known of the model that people are enrolled by; give --model FILE of "
                "`fedpriv faces export RUN FILE`, which measures it, or give --threshold COSINE"
            )
        self.warning = measured.shortfall(settings.far)
        return chosen[1], in_words(measured, settings.far, chosen)

    def _measured(self, model: Embedder | None) -> tuple[FalseAccepts | None, object]:
        """Return what was measured, and where that is from."""
        if model is None:
            return self.register.measured(), self.register.path
        _, enrolled = self.register.pinned()
        if model.digest != enrolled:
            raise UserError(
                f"--model {model.source}: is the model {model.digest[:16]}, people are enrolled by "
                f"{enrolled[:16]}; give a file of that one"
            )
        return model.false_accepts, f"--model {model.source}"

    def policy(self) -> Policy:
        """Return what it opens."""
        return Policy(
            fingerprint=self.keys.fingerprint,
            threshold=self.threshold,
            budget=self._settings.budget,
            raw_scores=self._settings.raw_scores,
        )

    def known(self, caller: str, name: str, now: int) -> Known:
        """Return the id of a name.

        A name that nobody has costs an opening: a budget bounds guesses at who is enrolled as well.

        Args:
            caller: who asks, authenticated.
            name: clear.
            now: milliseconds since 1970.

        Raises:
            Refusal: when nobody has it, the caller is none, or its budget is spent.
        """
        return Known(id=self.register.look_up(caller, name, self._settings.budget, now).id)

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
            ticket, question = open_ticket(data, bytes.fromhex(server))
        except UserError as error:
            raise Refusal("not_opened", str(error)) from error
        self._check(ticket, caller, now)
        person = self.register.person(ticket.person).name if ticket.kind == "verify" else None
        left = self.register.charge(caller, ticket_name(data), self._settings.budget, now)
        try:
            answer = open_question(
                self.keys, io.BytesIO(question), "ticket", raw_scores=self._settings.raw_scores
            )
        except UserError as error:
            raise Refusal("not_opened", str(error)) from error
        if answer.kind != ticket.kind:
            raise Refusal("not_opened", f"ticket: of kind {ticket.kind}, its question is of {answer.kind}")
        opened = Opened(kind=ticket.kind, request=ticket.request, person=person, left=left)
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
        elif ticket.threshold != self.threshold:
            raise Refusal(
                "other_threshold",
                f"threshold {ticket.threshold:g}: decisions are taken at {self.threshold:g} only",
            )
