"""A key holder opens one sum per round, of enough enrolled and distinct signers, and nothing else."""

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.federated.keyholder import KeyHolder, OpenRequest, Refusal
from fedpriv.federated.start import codec_of_run
from fedpriv.he.answer import is_signed
from fedpriv.he.codec import Aggregator, Holder, PayloadError, SumError, UpdateCodec
from fedpriv.he.envelope import SIGNED_BYTES, Header
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.transcript import Transcript
from tests.envelopes import seal

from .conftest import RUN_DIGEST

SIZE, RUN, LAYOUT, START = 50, bytes(range(16)), bytes(range(32)), bytes(range(32, 64))
CLIENTS, MIN_CLIENTS, MAX_CLIENTS = 5, 3, 4
LAST = 1000


class PadCodec(UpdateCodec):
    """An additive scheme that is easy to see through: body = update + pad modulo 2^64, mask = pad."""

    scheme = "pad"
    holders = 1
    max_clients = 100
    digest = bytes([7]) * 32

    def encode_into(self, vector, mask, body, random, source=None):
        pad = np.frombuffer(random.bytes(8 * len(vector)), "<u8")
        mask[:], body[:] = pad.tobytes(), (vector.astype("<i8").view("<u8") + pad).tobytes()
        return 0

    def mask_bytes(self, length):
        return 8 * length

    def body_bytes(self, length):
        return 8 * length

    def aggregator(self, length):
        return PadAggregator(length, self.max_clients)

    def holder(self, folder):
        return PadHolder()


class PadAggregator(Aggregator):
    def __init__(self, length, max_clients):
        super().__init__(length, max_clients)
        self.total = np.zeros(length, "<u8")

    def _add(self, body):
        self.total = self.total + np.frombuffer(body, "<u8")

    def open(self, answers):
        (pads,) = answers
        return (self.total - np.frombuffer(pads, "<u8")).view("<i8").astype(np.float64)


class PadHolder(Holder):
    """Its answer to n masks is their sum; it opens whatever it is asked to open."""

    digest = PadCodec.digest
    opened = 0

    def open(self, masks, body_sum, length):
        self.opened += 1
        if bytes(body_sum) == b"malformed":
            raise PayloadError("malformed", "planted")
        if bytes(body_sum) == b"not a sum":
            raise SumError("not_a_sum", "planted")
        return np.sum([np.frombuffer(mask, "<u8") for mask in masks], axis=0, dtype="<u8").tobytes()


class Unused(Holder):
    """A key that must not be touched."""

    digest = PadCodec.digest

    def open(self, masks, body_sum, length):
        raise AssertionError("the key was used")


class Killed(Holder):
    digest = PadCodec.digest

    def open(self, masks, body_sum, length):
        os.kill(os.getpid(), signal.SIGKILL)


class Parties:
    """Five enrolled clients, their updates, and whoever else may turn up."""

    def __init__(self):
        self.random = np.random.default_rng(3)
        self.keys = {number: SigningKey.generate() for number in range(CLIENTS)}
        self.stranger = SigningKey.generate()
        self.signer = SigningKey.generate()
        clients = {number: key.public for number, key in self.keys.items()}
        self.enrolment = Enrolment(clients, {0: self.signer.public})
        self.updates = self.random.integers(-1000, 1000, (CLIENTS, SIZE)).astype(np.float32)

    def send(self, client, key=None, vector=None, **changed):
        """Return what the server gets: signed header, mask, body."""
        fields = {
            "scheme": "pad",
            "run_id": RUN,
            "round": 1,
            "client": client,
            "parameters": SIZE,
            "layout": LAYOUT,
            "start": START,
            "codec": codec_of_run(PadCodec.digest, RUN_DIGEST),
            "examples": 10 + client,
            "weight": (10 + client) / 14,
        }
        encoded = PadCodec().encode(self.updates[client] if vector is None else vector, self.random)
        header, key = Header(**{**fields, **changed}), key or self.keys[client]
        data = seal(header, encoded.mask, encoded.body, key)
        end = SIGNED_BYTES + len(encoded.mask)
        return data[:SIGNED_BYTES], data[SIGNED_BYTES:end], data[end:]

    def request(self, *sent, number=1, body_sum=b""):
        return OpenRequest(RUN, number, [each[0] for each in sent], [each[1] for each in sent], body_sum)


@pytest.fixture(scope="module")
def parties():
    return Parties()


def build(parties, path, holder=None, **changed):
    arguments = {
        "number": 0,
        "holder": holder or PadHolder(),
        "codec": PadCodec(),
        "enrolment": parties.enrolment,
        "transcript": Transcript(path, parties.signer),
        "run_id": RUN,
        "run": RUN_DIGEST,
        "parameters": SIZE,
        "layout": LAYOUT,
        "rounds": range(1, LAST + 1),
        "last_round": LAST,
        "min_clients": MIN_CLIENTS,
        "max_clients": MAX_CLIENTS,
        "signer": parties.signer,
    }
    return KeyHolder(**{**arguments, **changed})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "transcript.jsonl"


def events(path):
    return [(entry["event"], entry.get("cause")) for entry in map(json.loads, path.read_bytes().splitlines())]


def refused(keyholder, request, expected):
    with pytest.raises(Refusal) as refusal:
        keyholder.open(request)
    assert refusal.value.cause == str(refusal.value) == expected


def refused_unused(parties, path, request, expected):
    """Refused by its cause and recorded, no key used, and the round still free."""
    refused(build(parties, path, Unused()), request, expected)
    assert events(path)[-1] == ("refusal", expected)
    assert "release" not in {event for event, _ in events(path)}
    honest = [parties.send(client) for client in (0, 1, 2)]
    assert build(parties, path).open(parties.request(*honest))


# What is opened


@pytest.mark.parametrize("clients", [(0, 1, 2), (4, 0, 3, 1)])
def test_the_sum_of_enough_signers_is_opened_exactly_and_put_on_the_transcript(parties, path, clients):
    sent = [parties.send(client) for client in clients]
    aggregator = PadCodec().aggregator(SIZE)
    for _, _, body in sent:
        aggregator.add(body)
    request = parties.request(*sent)
    masks = [memoryview(mask) for mask in request.masks]
    signed = build(parties, path).open(replace(request, masks=masks))
    answer = signed.answer
    assert is_signed(signed, parties.signer.public, RUN, 1, 0)
    assert np.array_equal(aggregator.open([answer]), parties.updates[list(clients)].sum(axis=0))
    release, answered = map(json.loads, path.read_bytes().splitlines())
    assert (release["event"], release["run"], release["round"]) == ("release", RUN.hex(), 1)
    assert release["clients"] == list(clients)
    assert release["signed"] == [hashlib.sha256(signed).hexdigest() for signed, _, _ in sent]
    assert (answered["event"], answered["sha256"]) == ("answer", hashlib.sha256(answer).hexdigest())


def test_rounds_follow_each_other_and_need_no_order(parties, path):
    keyholder = build(parties, path)
    for number in (2, 1, LAST, LAST - 1):
        sent = [parties.send(client, round=number) for client in (0, 1, 2)]
        assert keyholder.open(parties.request(*sent, number=number))


@pytest.mark.parametrize("number", [0, LAST + 1, 2**32 - 1])
def test_no_round_is_opened_that_the_run_is_not_planned_to_have(parties, path, number):
    sent = [parties.send(client, round=number) for client in (0, 1, 2)]
    refused_unused(parties, path, parties.request(*sent, number=number), "wrong_round")
    # the same request is opened where that round is planned, so nothing else was amiss
    assert build(parties, path, rounds=range(number, number + 1)).open(parties.request(*sent, number=number))


def test_the_transcript_holds_neither_masks_nor_answers_nor_keys(parties, path):
    sent = [parties.send(client) for client in (0, 1, 2)]
    answer = build(parties, path).open(parties.request(*sent)).answer
    written = path.read_bytes().lower()
    for secret in [answer, *(mask for _, mask, _ in sent)]:
        for start in range(0, len(secret) - 8, 8):
            piece = secret[start : start + 8]
            assert piece.hex().encode() not in written
            assert str(int.from_bytes(piece, "little")).encode() not in written


# Once per round


def test_a_second_sum_of_the_round_is_refused_whoever_is_in_it(parties, path):
    keyholder = build(parties, path)
    first = [parties.send(client) for client in (0, 1, 2, 3)]
    keyholder.open(parties.request(*first))
    refused(keyholder, parties.request(*first), "already_released")
    refused(keyholder, parties.request(*first[:3]), "already_released")
    refused(keyholder, parties.request(*(parties.send(client) for client in (1, 2, 4))), "already_released")


def test_a_round_answered_before_a_restart_is_refused(parties, path):
    sent = [parties.send(client) for client in (0, 1, 2)]
    build(parties, path).open(parties.request(*sent))
    refused(build(parties, path, Unused()), parties.request(*sent), "already_released")


@pytest.mark.parametrize(("body_sum", "expected"), [(b"malformed", "malformed"), (b"not a sum", "not_a_sum")])
def test_a_sum_that_the_scheme_refuses_uses_up_its_round(parties, path, body_sum, expected):
    """Whether opening fails may depend on the key: no second try."""
    sent, holder = [parties.send(client) for client in (0, 1, 2)], PadHolder()
    keyholder = build(parties, path, holder)
    refused(keyholder, parties.request(*sent, body_sum=body_sum), expected)
    refused(keyholder, parties.request(*sent), "already_released")
    assert holder.opened == 1
    assert events(path)[:2] == [("release", None), ("failure", expected)]


def test_the_round_is_on_disk_before_the_key_is_used(parties, path):
    class Looks(PadHolder):
        def open(self, masks, body_sum, length):
            assert Transcript(path, parties.signer).answered(RUN, 1)
            return super().open(masks, body_sum, length)

    assert build(parties, path, Looks()).open(parties.request(*(parties.send(c) for c in (0, 1, 2))))


def test_nothing_is_opened_when_the_transcript_cannot_be_written(parties, path, monkeypatch):
    keyholder = build(parties, path, Unused())

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device; nothing is opened without it"):
        keyholder.open(parties.request(*(parties.send(client) for client in (0, 1, 2))))


def test_no_answer_leaves_before_it_is_on_the_transcript(parties, path, monkeypatch):
    class FillsTheDisk(PadHolder):
        def open(self, masks, body_sum, length):
            def full(descriptor):
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(os, "fsync", full)
            return super().open(masks, body_sum, length)

    with pytest.raises(UserError, match="No space left"):
        build(parties, path, FillsTheDisk()).open(parties.request(*(parties.send(c) for c in (0, 1, 2))))


def test_a_damaged_transcript_is_refused_at_the_start_and_in_use(parties, path):
    keyholder = build(parties, path, Unused())
    build(parties, path).open(
        parties.request(*(parties.send(client, round=9) for client in (0, 1, 2)), number=9)
    )
    path.write_bytes(path.read_bytes().replace(b"release", b"refusal"))
    with pytest.raises(UserError, match="damaged"):
        keyholder.open(parties.request(*(parties.send(client) for client in (0, 1, 2))))
    with pytest.raises(UserError, match="damaged"):
        build(parties, path)


# Who is in the sum


def test_too_few_clients_are_refused_however_the_masks_are_dressed(parties, path):
    alone = parties.send(0)
    for sent in ((), (alone,), (alone, parties.send(1))):
        refused_unused(parties, path.with_name(f"{len(sent)}"), parties.request(*sent), "too_few_clients")


def test_one_clients_mask_is_not_opened_as_a_sum_even_where_two_suffice(parties, path):
    keyholder = build(parties, path, Unused(), min_clients=2)
    refused(keyholder, parties.request(parties.send(0)), "too_few_clients")
    sent = parties.send(0)
    refused(keyholder, parties.request(sent, sent), "duplicate_client")
    zero = parties.send(1, key=parties.stranger, vector=np.zeros(SIZE, np.float32))
    refused(keyholder, parties.request(sent, zero), "forged")


def test_too_many_clients_are_refused(parties, path):
    request = parties.request(*(parties.send(client) for client in range(5)))
    refused_unused(parties, path, request, "too_many_clients")


def test_a_client_listed_twice_is_refused(parties, path):
    first, second = parties.send(0), parties.send(1)
    refused_unused(parties, path, parties.request(first, second, first), "duplicate_client")


def test_a_client_that_signed_two_updates_of_a_round_counts_once(parties, path):
    request = parties.request(
        parties.send(0), parties.send(1), parties.send(0, vector=np.ones(SIZE, np.float32))
    )
    refused_unused(parties, path, request, "duplicate_client")


def test_one_unknown_client_spoils_the_list(parties, path):
    unknown = parties.send(CLIENTS, key=parties.stranger, vector=np.zeros(SIZE, np.float32))
    request = parties.request(parties.send(0), parties.send(1), unknown)
    refused_unused(parties, path, request, "unknown_client")


def test_a_header_signed_by_anybody_else_is_forged(parties, path):
    for key in (parties.stranger, parties.keys[3]):
        request = parties.request(parties.send(0), parties.send(1), parties.send(2, key=key))
        refused_unused(parties, path.with_name(key.public.hex()), request, "forged")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"scheme": "bfv"}, "wrong_scheme"),
        ({"run_id": bytes(16)}, "wrong_run"),
        ({"round": 2}, "wrong_round"),
        ({"parameters": SIZE + 1}, "wrong_model"),
        ({"layout": bytes(32)}, "wrong_model"),
        ({"start": bytes(32)}, "wrong_model"),
        ({"codec": bytes(32)}, "wrong_parameters"),
    ],
)
def test_headers_signed_for_something_else_are_refused_by_name(parties, path, changed, expected):
    request = parties.request(parties.send(0), parties.send(1), parties.send(2, **changed))
    refused_unused(parties, path, request, expected)


# Who would stand out in the sum


@pytest.mark.parametrize(
    "changed",
    [{"start": bytes(32)}, {"examples": 5, "weight": 0.25}, {"examples": 2**40, "weight": 2.0**38}],
    ids=["another model", "other examples", "many examples"],
)
def test_what_a_key_holder_cannot_know_may_be_anything_that_is_alike_for_all(parties, path, changed):
    sent = [parties.send(client, **changed) for client in (0, 1, 2)]
    assert build(parties, path).open(parties.request(*sent))


def test_examples_may_differ_if_the_weights_differ_with_them_up_to_rounding(parties, path):
    examples = (1, 3, 2**40)
    for number, (scale, rounding) in enumerate([(1.0, 0.0), (1 / 3, 5e-7), (1e-30, -5e-7)], 1):
        sent = [
            parties.send(
                client, round=number, examples=each, weight=each * scale * (1.0 + rounding * (client == 1))
            )
            for client, each in enumerate(examples)
        ]
        assert build(parties, path).open(parties.request(*sent, number=number))


@pytest.mark.parametrize("victim", [0, 1, 2])
@pytest.mark.parametrize("lighter", [1e-30, 0.5, 1.0 - 2e-6, 1.0 + 2e-6, 2.0, 5e-324])
def test_a_client_that_weighs_more_or_less_than_its_examples_is_not_opened(parties, path, victim, lighter):
    sent = [
        parties.send(client, examples=4, weight=1.0 if client == victim else lighter) for client in (0, 1, 2)
    ]
    refused_unused(parties, path, parties.request(*sent), "wrong_weight")


@pytest.mark.parametrize(
    "sent",
    [
        [{"weight": 0.5}, {"examples": 0, "weight": 0.5}, {"weight": 0.5}],
        [{"examples": 0}] * 3,
        [{"examples": 2**64 - 1, "weight": 5e-324}] * 3,  # too light to be told from each other
    ],
)
def test_weights_of_no_examples_are_refused(parties, path, sent):
    request = parties.request(*(parties.send(client, **changed) for client, changed in enumerate(sent)))
    refused_unused(parties, path, request, "wrong_weight")


@pytest.mark.parametrize("others", [bytes(32), START[:-1] + b"\0"])
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_client_that_started_from_another_model_than_the_others_is_not_opened(
    parties, path, victim, others
):
    sent = [parties.send(client, start=START if client == victim else others) for client in (0, 1, 2)]
    refused_unused(parties, path, parties.request(*sent), "wrong_model")


# The answer


def test_an_answer_is_signed_for_its_run_round_and_holder(parties, path):
    sent = [parties.send(client) for client in (0, 1, 2)]
    signed = build(parties, path, number=3).open(parties.request(*sent))
    message = b"fedpriv-answer-1\0" + RUN + bytes([1, 0, 0, 0, 3, 0, 0, 0])
    message += hashlib.sha256(signed.answer).digest()
    key = Ed25519PublicKey.from_public_bytes(parties.signer.public)
    key.verify(signed.signature, message)  # raises InvalidSignature
    assert is_signed(signed, parties.signer.public, RUN, 1, 3)
    for wrong in (
        (signed, parties.stranger.public, RUN, 1, 3),
        (signed, parties.signer.public, bytes(16), 1, 3),
        (signed, parties.signer.public, RUN, 2, 3),
        (signed, parties.signer.public, RUN, 1, 0),
        (replace(signed, answer=signed.answer[:-1]), parties.signer.public, RUN, 1, 3),
        (replace(signed, signature=bytes(64)), parties.signer.public, RUN, 1, 3),
        (replace(signed, signature=b""), parties.signer.public, RUN, 1, 3),
    ):
        assert not is_signed(*wrong)


def test_masks_swapped_between_two_clients_are_tampered(parties, path):
    request = parties.request(*(parties.send(client) for client in (0, 1, 2)))
    swapped = replace(request, masks=[request.masks[1], request.masks[0], request.masks[2]])
    refused_unused(parties, path, swapped, "tampered")


def test_the_masks_of_another_set_of_clients_are_tampered(parties, path):
    request = parties.request(*(parties.send(client) for client in (0, 1, 2)))
    zeros = [request.masks[0], bytes(8 * SIZE), bytes(8 * SIZE)]
    refused_unused(parties, path, replace(request, masks=zeros), "tampered")


@pytest.mark.parametrize(
    ("mask", "expected"),
    [(b"", "truncated"), (bytes(8 * SIZE - 1), "truncated"), (bytes(8 * SIZE + 1), "malformed")],
)
def test_masks_of_another_size_are_refused(parties, path, mask, expected):
    request = parties.request(*(parties.send(client) for client in (0, 1, 2)))
    refused_unused(parties, path, replace(request, masks=[*request.masks[:2], mask]), expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: replace(r, run_id=bytes(16)), "wrong_run"),
        (lambda r: replace(r, run_id=b""), "wrong_run"),
        (lambda r: replace(r, round=-1), "malformed"),
        (lambda r: replace(r, round=2**32), "malformed"),
        (lambda r: replace(r, round=2), "wrong_round"),
        (lambda r: replace(r, masks=r.masks[:2]), "malformed"),
        (lambda r: replace(r, masks=[*r.masks, b""]), "malformed"),
        (lambda r: replace(r, signed=[*r.signed[:2], r.signed[2][:-1]]), "truncated"),
        (lambda r: replace(r, signed=[*r.signed[:2], r.signed[2] + b"\0"]), "malformed"),
        (lambda r: replace(r, signed=[*r.signed[:2], b""]), "truncated"),
        (lambda r: replace(r, signed=[*r.signed[:2], bytes(SIGNED_BYTES)]), "duplicate_client"),
        (lambda r: replace(r, signed=[b"\xff" * SIGNED_BYTES, *r.signed[1:]]), "unknown_client"),
    ],
)
def test_malformed_requests_are_refused_by_name(parties, path, change, expected):
    request = change(parties.request(*(parties.send(client) for client in (0, 1, 2))))
    refused_unused(parties, path, request, expected)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.integers(0, 2), position=st.integers(0, SIGNED_BYTES + 8 * SIZE - 1), change=st.integers(1, 255)
)
def test_any_changed_byte_of_a_header_or_mask_is_refused(parties, tmp_path_factory, which, position, change):
    request = parties.request(*(parties.send(client) for client in (0, 1, 2)))
    whole = bytearray(request.signed[which] + request.masks[which])
    whole[position] ^= change
    signed, masks = list(request.signed), list(request.masks)
    signed[which], masks[which] = bytes(whole[:SIGNED_BYTES]), bytes(whole[SIGNED_BYTES:])
    with pytest.raises(Refusal):
        build(parties, tmp_path_factory.mktemp("t") / "t", Unused()).open(
            replace(request, signed=signed, masks=masks)
        )


class Unreadable:
    """Stands for masks that must not be looked at."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        raise AssertionError("a mask was read")

    def __iter__(self):
        raise AssertionError("a mask was read")


def test_no_mask_is_looked_at_before_every_signature_has_been_checked(parties, path):
    sent = [parties.send(0), parties.send(1), parties.send(2, key=parties.stranger)]
    refused(build(parties, path, Unused()), replace(parties.request(*sent), masks=Unreadable()), "forged")
    honest = parties.request(*(parties.send(client) for client in (0, 1, 2)))
    with pytest.raises(AssertionError, match="a mask was read"):
        build(parties, path, Unused()).open(replace(honest, masks=Unreadable()))


def test_a_flood_of_refused_requests_leaves_a_bounded_transcript(parties, path):
    keyholder = build(parties, path, Unused())
    for number in range(1, 301):
        refused(keyholder, parties.request(number=number), "too_few_clients")
    assert len(path.read_bytes()) < 50_000


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        ({"min_clients": 1}, r"secure\.min_clients=1"),
        ({"min_clients": 5}, r"secure\.min_clients=5"),
        ({"max_clients": 101}, r"federation\.clients=101: the codec sums at most 100"),
    ],
)
def test_limits_that_protect_nobody_are_refused(parties, path, limits, match):
    with pytest.raises(UserError, match=match):
        build(parties, path, **limits)


def test_a_key_of_another_run_or_holder_is_refused_at_the_start(parties, path):
    class Elses(Unused):
        def require(self, run_id, number):
            if (run_id, number) != (RUN, 1):
                raise UserError("share.key of key holder 0: is that of key holder 1")

    with pytest.raises(UserError, match="is that of key holder 1"):
        build(parties, path, Elses())
    build(parties, path, Elses(), number=1)


def test_a_key_holder_needs_neither_flower_nor_torch():
    program = (
        "import sys, fedpriv.federated.keyholder; "
        "sys.exit(any(name.split('.')[0] in ('flwr', 'torch', 'tenseal') for name in sys.modules))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0


# Processes


def elsewhere(clients, key_file):
    """What a key holder in a process of its own has of the parties."""
    return type(
        "Enrolled", (), {"enrolment": Enrolment(clients, {}), "signer": SigningKey.load(Path(key_file))}
    )


@pytest.fixture
def key_file(parties, tmp_path):
    file = tmp_path / "signing.key"
    parties.signer.save(file, durable=False)
    return str(file)


def ask(clients, key_file, path, requests, barrier, answers):
    """Answer every request as soon as all processes are at it; in a process of its own."""
    keyholder = build(elsewhere(clients, key_file), Path(path))
    for request in requests:
        barrier.wait(60)
        try:
            keyholder.open(request)
            answers.put((request.round, "answered"))
        except Refusal as refusal:
            answers.put((request.round, refusal.cause))


def test_of_processes_that_ask_at_once_exactly_one_gets_an_answer(parties, path, key_file):
    rounds, context = range(1, 16), multiprocessing.get_context("spawn")
    requests = [
        parties.request(*(parties.send(client, round=number) for client in (0, 1, 2)), number=number)
        for number in rounds
    ]
    barrier, answers = context.Barrier(2), context.Queue()
    processes = [
        context.Process(
            target=ask, args=(parties.enrolment.clients, key_file, str(path), requests, barrier, answers)
        )
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    outcomes = sorted(answers.get(timeout=60) for _ in range(2 * len(rounds)))
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert outcomes == sorted(
        (number, outcome) for number in rounds for outcome in ("already_released", "answered")
    )
    assert [event for event, _ in events(path)].count("release") == len(rounds)


def open_and_die(clients, key_file, path, request):
    build(elsewhere(clients, key_file), Path(path), Killed()).open(request)


def test_a_holder_killed_between_transcript_and_answer_has_used_up_the_round(parties, path, key_file):
    request = parties.request(*(parties.send(client) for client in (0, 1, 2)))
    context = multiprocessing.get_context("spawn")
    process = context.Process(
        target=open_and_die, args=(parties.enrolment.clients, key_file, str(path), request)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert events(path) == [("release", None)]
    refused(build(parties, path, Unused()), request, "already_released")
    later = parties.request(*(parties.send(client, round=2) for client in (0, 1, 2)), number=2)
    assert build(parties, path).open(later)
