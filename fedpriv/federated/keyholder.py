"""What a key holder does: open the sum of one round, once, of clients whose signatures it checked."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedpriv.errors import UserError
from fedpriv.federated.start import codec_of_run
from fedpriv.he.answer import SignedAnswer, sign_answer
from fedpriv.he.codec import Holder, PayloadError, SumError, UpdateCodec
from fedpriv.he.envelope import (
    EnvelopeError,
    Expected,
    SignedHeader,
    check_mask,
    claimed_client,
    open_signed,
)
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.transcript import Transcript

WEIGHT_TOLERANCE = 1e-6
"""By how much, relatively, the weight of an example may differ between clients: rounding, nothing more."""


@dataclass(frozen=True)
class OpenRequest:
    """What the server asks of a key holder. All of it is the server's word.

    Attributes:
        run_id: 16 bytes.
        round: round number.
        signed: header and signature of each client's envelope.
        masks: each client's mask, in the same order.
        body_sum: what the scheme needs besides, such as the sum of the bodies.
        selection: the coordinates that the clients encrypted, packed, where the server chose them; see
            :class:`~fedpriv.federated.selection.SelectingKeyHolder`.
    """

    run_id: bytes
    round: int
    signed: Sequence[bytes | memoryview]
    masks: Sequence[bytes | memoryview]
    body_sum: bytes | memoryview
    selection: bytes | None = None


class Refusal(ValueError):
    """A request that a key holder does not answer.

    Attributes:
        cause: ``wrong_run``, ``wrong_round``, ``already_released``, ``too_few_clients``,
            ``too_many_clients``, ``unknown_client``, ``duplicate_client``, or a cause of the envelope,
            the payload or the sum. Safe to send and to count.
    """

    def __init__(self, cause: str) -> None:
        """Keep the cause."""
        super().__init__(cause)
        self.cause = cause


class KeyHolder:
    """One key holder of one run.

    Guarantee:
        - At most one answer per run and round, over all processes and restarts: two sums that
          differ in one client would reveal that client's update.
        - No answer to another round than those that the run is planned to have.
        - An answer opens the sum of at least ``min_clients`` and at most ``max_clients`` clients
          that are enrolled, distinct, and signed for that run, round, layout and codec; the masks
          are those that they signed.
        - They trained under the configuration that the holder itself was given: its rounds, its fewest
          clients and its noise are theirs.
        - All of them started from one model with the same settings, and every example of every client
          has the same weight, as the clients have signed. A server that sends others another model
          or lighter weights would otherwise open one client's update among zeros.
        - An answer is signed, see :mod:`fedpriv.he.answer`.
        - The round is on the transcript, synced, before the key is used.
        - Nothing of masks and body sum is read, and no key is used, before run, round, number of
          clients and every signature have been checked.

    Edge cases:
        - A request that is refused on these grounds does not use up its round.
        - One that the scheme itself refuses (a malformed body sum, say) does: whether opening
          fails can depend on the key, and a server that may try again would learn it bit by bit.
        - A holder that is killed after the round was written and before its answer has used up
          the round.
        - Refusals are written to the transcript as well, a bounded number of them.
        - ``min_clients`` below 2 is refused: the sum of one update is that update.
        - Clients that are enrolled and collude with the server count as clients all the same:
          ``min_clients - 1`` of them are left with one honest update.
        - So does a client that signs for more examples than it has; the holder cannot count them.
    """

    def __init__(
        self,
        number: int,
        holder: Holder,
        codec: UpdateCodec,
        enrolment: Enrolment,
        transcript: Transcript,
        run_id: bytes,
        run: bytes,
        parameters: int,
        layout: bytes,
        rounds: range,
        last_round: int,
        min_clients: int,
        max_clients: int,
        signer: SigningKey,
    ) -> None:
        """Prepare to answer for one run.

        Args:
            number: of this holder, for whoever reports about it.
            holder: its key.
            codec: scheme, and sizes of masks and bodies.
            enrolment: whose signatures count.
            transcript: where its decisions are kept.
            run_id: 16 bytes.
            run: 32 bytes, digest of the configuration that rounds and clients are taken from.
            parameters: coordinates of an update.
            layout: 32 bytes, digest of the model's layout.
            rounds: that it answers, e.g. ``range(1, 21)``.
            last_round: after which the holder forgets its key, where that is the run's own.
            min_clients: fewest clients in a sum, at least 2.
            max_clients: most clients in a sum.
            signer: signs its answers.

        Raises:
            UserError: when the limits contradict each other, the transcript is damaged, or the key is
                another run's or holder's.
        """
        if not 2 <= min_clients <= max_clients:
            raise UserError(
                f"secure.min_clients={min_clients}: a key holder opens sums of 2 to {max_clients} updates, "
                "as many as federation.clients or federation.cohort says"
            )
        if max_clients > codec.max_clients:
            raise UserError(f"federation.clients={max_clients}: the codec sums at most {codec.max_clients}")
        holder.require(run_id, number)
        self.number = number
        self._holder, self._codec, self._enrolment, self._transcript = holder, codec, enrolment, transcript
        self._run_id, self._parameters, self._layout = run_id, parameters, layout
        self._last_round = last_round
        self._rounds, self._min_clients, self._max_clients = rounds, min_clients, max_clients
        self._signer, self._run = signer, run
        transcript.answered(run_id, 0)

    def open(self, request: OpenRequest) -> SignedAnswer:
        """Return this holder's part of opening the sum, signed.

        Raises:
            Refusal: by its cause; the transcript has it.
            UserError: when the transcript is damaged or cannot be written; nothing is opened then.
        """
        server_round = request.round if 0 <= request.round < 1 << 32 else -1
        try:
            clients = self._check(request)
            if not self._transcript.claim(self._run_id, server_round, clients, request.signed):
                raise Refusal("already_released")
        except (Refusal, EnvelopeError) as refused:
            self._transcript.note_refusal(self._run_id, server_round, refused.cause)
            raise Refusal(refused.cause) from refused
        try:
            answer = self._holder.open(request.masks, request.body_sum, self._parameters)
        except (PayloadError, SumError) as failed:
            self._transcript.note_failure(self._run_id, server_round, failed.cause)
            raise Refusal(failed.cause) from failed
        self._transcript.note_answer(self._run_id, server_round, answer)
        if server_round == self._last_round:
            self._holder.forget()
        return sign_answer(self._signer, self._run_id, server_round, self.number, answer)

    def _check(self, request: OpenRequest) -> list[int]:
        """Return the clients of the sum; the cheap checks come first."""
        if request.run_id != self._run_id:
            raise Refusal("wrong_run")
        if not 0 <= request.round < 1 << 32 or len(request.masks) != len(request.signed):
            raise Refusal("malformed")
        if request.round not in self._rounds:
            raise Refusal("wrong_round")
        if len(request.signed) < self._min_clients:
            raise Refusal("too_few_clients")
        if len(request.signed) > self._max_clients:
            raise Refusal("too_many_clients")
        if self._transcript.answered(self._run_id, request.round):
            raise Refusal("already_released")
        headers: dict[int, SignedHeader] = {}
        for signed in request.signed:
            client = claimed_client(signed)
            if client not in self._enrolment.clients:
                raise Refusal("unknown_client")
            if client in headers:
                raise Refusal("duplicate_client")
            headers[client] = open_signed(
                signed, self._expected(client, request.round), self._enrolment.clients[client]
            )
        _require_alike(list(headers.values()))
        for header, mask in zip(headers.values(), request.masks, strict=True):
            check_mask(header, mask)
        return list(headers)

    def _expected(self, client: int, server_round: int) -> Expected:
        return Expected(
            scheme=self._codec.scheme,
            run_id=self._run_id,
            round=server_round,
            client=client,
            parameters=self._parameters,
            layout=self._layout,
            start=None,
            codec=codec_of_run(self._holder.digest, self._run),
            mask_bytes=self._codec.mask_bytes(self._parameters),
            body_bytes=self._codec.body_bytes(self._parameters),
            examples=None,
            weight=None,
        )


def _require_alike(headers: Sequence[SignedHeader]) -> None:
    """Refuse a sum in which one client would stand out, by its model or by its weight."""
    if len({header.start for header in headers}) != 1:
        raise Refusal("wrong_model")
    if any(header.examples < 1 for header in headers):
        raise Refusal("wrong_weight")
    each = [header.weight / header.examples for header in headers]
    # zero: too small to tell one from another
    if min(each) == 0.0 or max(each) > min(each) * (1.0 + WEIGHT_TOLERANCE):
        raise Refusal("wrong_weight")
