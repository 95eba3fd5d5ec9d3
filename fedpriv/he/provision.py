"""The key folder: who signs with what, who holds which secret; where each party finds its own.

::

    enrolment.json                     everybody's public key and the policy: all that the server reads
    clients/<i>/signing.key            client i
    clients/<i>/shared.key             client i, where clients and key holder share a key
    keyholders/<j>/signing.key         key holder j
    keyholders/<j>/shared.key          key holder j, where clients and key holder share a key
    keyholders/<j>/transcript.jsonl    what key holder j has answered

A simulation has all of it in one folder. On real sites each party has the enrolment and its own
subfolder, and nobody has another's.
"""

import contextlib
import os
from pathlib import Path
from typing import cast

from fedpriv.errors import UserError
from fedpriv.he.codec import UpdateCodec
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.key_files import SHARED_KEY, require_unwritable
from fedpriv.he.policy import Policy
from fedpriv.he.transcript import Transcript


def enrolment_file(folder: Path) -> Path:
    """Return the file of everybody's public keys."""
    return folder / "enrolment.json"


def client_folder(folder: Path, client: int) -> Path:
    """Return the folder of one client's secrets."""
    return folder / "clients" / str(client)


def keyholder_folder(folder: Path, number: int) -> Path:
    """Return the folder of one key holder's secrets."""
    return folder / "keyholders" / str(number)


def signing_key_file(party: Path) -> Path:
    """Return the signing key's file in the folder of a client or key holder."""
    return party / "signing.key"


def transcript_file(party: Path) -> Path:
    """Return the transcript in the folder of a key holder, or the file that a link in its place names.

    A run that makes its keys in memory keeps its transcripts on disk by such links. The folder is its
    owner's alone, so nobody else can put one there.
    """
    path = party / "transcript.jsonl"
    return party / path.readlink() if path.is_symlink() else path


def load_enrolment(folder: Path) -> Enrolment:
    """Return the enrolment of a key folder, as a party trusts it.

    Raises:
        UserError: when the file is missing or damaged, or others than its owner may write it or its
            folder (:func:`~fedpriv.he.key_files.require_unwritable`): they could enrol themselves.
    """
    path = enrolment_file(folder)
    with contextlib.suppress(OSError):  # which the loading names
        require_unwritable(path)
    return Enrolment.load(path)


def enrolment_for(folder: Path, offered: Policy) -> Enrolment:
    """Return the enrolment, which a party loads before any key.

    Args:
        folder: of keys.
        offered: the terms of the run's configuration.

    Raises:
        UserError: as :func:`load_enrolment`, or when it demands more than is offered.
    """
    enrolment = load_enrolment(folder)
    cast(Policy, enrolment.policy).require(offered, enrolment_file(folder))  # what is loaded has one
    return enrolment


def provision(folder: Path, clients: int, codec: UpdateCodec, policy: Policy) -> None:
    """Make everything that a simulation needs in an empty folder, with mode 0700 and 0600.

    Nothing is forced to disk: these keys do not outlive the run.

    Args:
        folder: exists, empty and private.
        clients: their number.
        codec: says how many key holders there are, and whether clients share a key.
        policy: what every party is to demand of a run.

    Raises:
        UserError: when a file exists or cannot be written.
    """
    for role in ("clients", "keyholders"):
        (folder / role).mkdir(mode=0o700)
    shared: Path | None = None
    fingerprint: str | None = None
    keyholders = {}
    for number in range(codec.holders):
        party = keyholder_folder(folder, number)
        keyholders[number] = _enrol(party)
        if _shares_key(codec):
            shared = party / SHARED_KEY
            fingerprint = codec.make_shared_key(shared)
    enrolled = {}
    for client in range(clients):
        party = client_folder(folder, client)
        enrolled[client] = _enrol(party)
        if shared is not None:
            os.link(shared, party / SHARED_KEY)
    enrolment = Enrolment(enrolled, keyholders, fingerprint, policy)
    enrolment.save(enrolment_file(folder), durable=False)


def require(folder: Path, clients: int, codec: UpdateCodec, offered: Policy) -> None:
    """Check that a folder has all that a simulation needs, and that its parts belong together.

    Raises:
        UserError: for terms that the enrolment does not admit (:func:`enrolment_for`), or the first file
            that is missing, damaged or another party's; one line that names it.
    """
    enrolment = enrolment_for(folder, offered)
    for role, number, enrolled in (
        ("clients", clients, enrolment.clients),
        ("keyholders", codec.holders, enrolment.keyholders),
    ):
        if sorted(enrolled) != list(range(number)):
            raise UserError(
                f"{enrolment_file(folder)}: enrols {len(enrolled)} {role}, the run has {number}, numbered "
                "from 0; make the keys for this run, or set secure.key_folder=null"
            )
    shared = codec.with_public_key(b"", bytes(16), enrolment).digest if _shares_key(codec) else None
    for number, public in enrolment.keyholders.items():
        party = keyholder_folder(folder, number)
        signer = _require_signer(party, public)
        transcript = transcript_file(party)
        if any(transcript.parent.glob(f"{transcript.name}*")):
            Transcript(transcript, signer).answered(bytes(16), 0)  # refuses a damaged one
        if shared is not None:
            _require_shared(party, codec.holder(party).digest, shared)
    for client, public in enrolment.clients.items():
        party = client_folder(folder, client)
        _require_signer(party, public)
        if shared is not None:
            _require_shared(party, codec.with_key_folder(party).digest, shared)


def _shares_key(codec: UpdateCodec) -> bool:
    return codec.holders > 0 and not codec.needs_public_key


def _enrol(party: Path) -> bytes:
    """Give a party its folder and signing key; return the public part."""
    party.mkdir(mode=0o700)
    key = SigningKey.generate()
    key.save(signing_key_file(party), durable=False)
    return key.public


def _require_shared(party: Path, digest: bytes, enrolled: bytes) -> None:
    if digest != enrolled:
        raise UserError(f"{party / SHARED_KEY}: is not the key that was enrolled; give all the same one")


def _require_signer(party: Path, public: bytes) -> SigningKey:
    path = signing_key_file(party)
    signer = SigningKey.load(path)
    if signer.public != public:
        raise UserError(f"{path}: is not the key that was enrolled; give the party its own key")
    return signer
