"""A party takes an enrolment as its own root of trust, after checking that it is in it as itself."""

from collections.abc import Sequence
from pathlib import Path

from fedpriv.config.secure import policy_of
from fedpriv.enrol.party import Party, make_private_folder, parties_in
from fedpriv.enrol.shared import place_shared_key
from fedpriv.enrol.terms import run_for
from fedpriv.errors import UserError
from fedpriv.he.cards import fingerprint
from fedpriv.he.identity import Enrolment
from fedpriv.he.provision import enrolment_file, load_enrolment


def accept(
    folder: Path,
    source: Path,
    digest: str | None = None,
    overrides: Sequence[str] = (),
    shared_key: Path | None = None,
) -> Enrolment:
    """Check an enrolment and copy it into a party's key folder; return it.

    Guarantee:
        - Everything is checked before anything is written, and the enrolment is written last.
        - An enrolment that is in place is never replaced.

    Edge cases:
        - The same one once more: nothing is written but a shared key that was missing.

    Args:
        folder: the party's key folder.
        source: the enrolment's file.
        digest: 64 hexadecimal digits that it must have; None leaves comparing to people.
        overrides: of the runs that the party will take part in, which the enrolment must admit; with none
            this is not checked, and neither is a shared key.
        shared_key: the file of the key that clients and holder share, for a party that lacks it.

    Raises:
        UserError: when the folder has no key or is open to others, the enrolment does not have that key
            under its number, or one of the above fails.
    """
    enrolment = Enrolment.load(source)
    if digest is not None and enrolment.digest.hex() != digest:
        raise UserError(
            f"{source}: its digest is {enrolment.digest.hex()}, not the one that was named; somebody has "
            "another enrolment, so accept none before you know why"
        )
    parties = list(parties_in(folder))
    if not parties:
        raise UserError(f"{folder}: holds no party's key; make it first, with `fedpriv enrol party`")
    make_private_folder(folder)  # is there, and must be closed to others
    for party in parties:
        _require_enrolled(party, enrolment, source)
    place = enrolment_file(folder)
    if place.exists() and load_enrolment(folder).digest != enrolment.digest:
        raise UserError(f"{place}: is another enrolment; move it away first if this one is to take its place")
    if shared_key is not None and (enrolment.shared_key is None or not overrides):
        reason = (
            "has no effect, this federation shares no key; leave it out"
            if enrolment.shared_key is None
            else "is checked against the runs' settings; give them too, as for `fedpriv run`"
        )
        raise UserError(f"--shared-key: {reason}")
    if overrides:
        config = run_for(overrides, len(enrolment.clients))
        policy = enrolment.policy
        if policy is not None:  # what is loaded has one
            policy.require(policy_of(config), source)
        if enrolment.shared_key is not None:
            place_shared_key(shared_key, parties, config, enrolment)
    if not place.exists():
        enrolment.save(place)
    return enrolment


def _require_enrolled(party: Party, enrolment: Enrolment, source: Path) -> None:
    enrolled = party.enrolled(enrolment)
    if enrolled is None:
        raise UserError(f"{source}: does not enrol {party.name}; send the coordinator your card")
    if enrolled != party.public:
        other = fingerprint(party.role, party.number, enrolled)
        raise UserError(
            f"{source}: enrols {party.name} under another key, of fingerprint {other}, not under yours, of "
            f"{party.fingerprint}; do not accept it, and ask the coordinator whose card that is"
        )
