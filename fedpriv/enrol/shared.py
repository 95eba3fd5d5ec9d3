"""The symmetric key that one key holder makes and all clients get: made, checked, put in place."""

from collections.abc import Sequence
from pathlib import Path

from fedpriv.config.schema import RunConfig
from fedpriv.config.secure import codec_of, policy_of
from fedpriv.enrol.party import Party, parties_in
from fedpriv.errors import UserError
from fedpriv.he.cards import HOLDER
from fedpriv.he.codec import UpdateCodec
from fedpriv.he.identity import Enrolment
from fedpriv.he.key_files import SHARED_KEY, read_private, write_private
from fedpriv.he.policy import Policy

_MOST_BYTES = 1 << 22


def shares_key(policy: Policy) -> bool:
    """Whether clients and key holder share a key on these terms."""
    return policy.keys == "authority" and policy.holders > 0


def make_shared_key(folder: Path, config: RunConfig) -> tuple[Path, str]:
    """Make the key in the folder of key holder 0; return its file and fingerprint.

    Args:
        folder: the holder's key folder, with its signing key.
        config: of the runs; the key fits no other scheme, bits, packing or number of clients.

    Raises:
        UserError: where nothing is shared, the folder has no key holder 0, or the key exists.
    """
    policy = policy_of(config)
    if not shares_key(policy):
        raise UserError(
            f"secure.scheme={policy.scheme}, secure.keys={policy.keys}: clients and key holders share no "
            "key; there is none to make"
        )
    holders = [party for party in parties_in(folder) if (party.role, party.number) == (HOLDER, 0)]
    if not holders:
        raise UserError(f"{folder}: has no key holder 0, who makes this key; run `fedpriv enrol party` first")
    path = holders[0].shared_key
    return path, codec_of(config).make_shared_key(path)


def place_shared_key(
    source: Path | None, parties: Sequence[Party], config: RunConfig, enrolment: Enrolment
) -> None:
    """Check that every party has the enrolled key, and copy it from ``source`` to those who have none.

    Args:
        source: a file named ``shared.key`` of mode 0600; None only checks.
        parties: with their folders.
        config: of the runs.
        enrolment: names the key.

    Raises:
        UserError: for another key, a damaged one, or one that others may read.
    """
    codec = codec_of(config)
    enrolled = codec.with_public_key(b"", bytes(16), enrolment).digest
    if source is not None:
        if source.name != SHARED_KEY:
            raise UserError(f"--shared-key {source}: rename it to {SHARED_KEY}, which says what it is")
        _require(codec, source.parent, enrolled)
    for party in parties:
        if not party.shared_key.exists() and source is not None:
            write_private(party.shared_key, read_private(source, _MOST_BYTES))
        if party.shared_key.exists():
            _require(codec, party.folder, enrolled)


def _require(codec: UpdateCodec, folder: Path, enrolled: bytes) -> None:
    if codec.with_key_folder(folder).digest != enrolled:
        raise UserError(f"{folder / SHARED_KEY}: is not the key that was enrolled; ask the key holder for it")
