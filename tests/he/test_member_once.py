"""One share per run: retries, restarts, crashes and other runs in between."""

import json
import threading

import pytest
from hypothesis import HealthCheck, settings

from fedpriv.he import committee_member
from fedpriv.he.codec import KeyRefused
from fedpriv.he.joint_key import assemble
from fedpriv.he.key_share import load_share
from fedpriv.he.key_steps import STEPS
from tests.he.members import HOLDERS, KEPT, kept, refused
from tests.he.parties import RUN, ceremony, new_run

FUZZ = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("after", ["commit", "reveal"])
def test_a_second_commit_gives_the_same_commitment_also_after_a_restart(party, after):
    first = party.step("commit")
    reveals = party.step("reveal", first) if after == "reveal" else None
    for members in (party.members, party.started_again()):
        assert [member.step("commit", ()) for member in members] == first
    party.members = party.started_again()
    assert reveals is None or party.step("reveal", first) == reveals


def test_once_the_key_is_made_no_request_takes_the_share_away_nor_draws_another(party):
    ceremony(party.members)
    own = (party.folders[0] / "share.key").read_bytes()
    for member in (party.members[0], party.started_again()[0]):
        refused("already_made", member.step, "commit", ())
    assert (party.folders[0] / "share.key").read_bytes() == own
    assert kept(party) == [KEPT] * HOLDERS


@pytest.mark.parametrize("gone", ["*.share.draft", "share.key"])
def test_a_run_whose_share_is_gone_gets_no_other(party, gone):
    """After the run its shares are deleted: nobody can have it begin again with fresh ones."""
    if gone == "share.key":
        ceremony(party.members)
    else:
        party.step("commit")
    for folder in party.folders:
        for file in folder.glob(gone):
            file.unlink()
    for member in (party.members[0], party.started_again()[0]):
        refused("already_made", member.step, "commit", ())


def test_another_runs_key_takes_the_place_of_the_share_when_it_is_complete_and_not_before(party):
    ceremony(party.members)
    run = new_run()
    later = party.started_again(run)
    blobs = []
    for step in STEPS:
        assert {load_share(folder, party.parameters, HOLDERS).run_id for folder in party.folders} == {RUN}
        blobs = [member.step(step, blobs) for member in later]
    assert {load_share(folder, party.parameters, HOLDERS).run_id for folder in party.folders} == {run}
    assert kept(party) == [KEPT] * HOLDERS
    for member in party.started_again():
        refused("already_made", member.step, "commit", ())


def test_a_run_that_another_has_pushed_aside_never_reveals_a_second_share(party):
    honest = party.step("commit")
    party.step("reveal", honest)
    party.started_again(new_run())[0].step("commit", ())
    for step, blobs in (("commit", ()), ("reveal", honest)):
        refused("already_made", party.members[0].step, step, blobs)


def test_commits_at_the_same_moment_draw_one_share(party):
    start, seen, causes = threading.Barrier(4), [], set()

    def commit(member):
        start.wait()
        try:
            seen.append(member.step("commit", ()))
        except KeyRefused as refusal:
            causes.add(refusal.cause)

    threads = [threading.Thread(target=commit, args=(party.started_again()[0],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen
    assert causes <= {"already_made"}
    assert set(seen) == {party.members[0].step("commit", ())}


def test_the_commitment_is_on_the_transcript_before_anything_of_the_share_is_anywhere(party, monkeypatch):
    """A holder killed in between draws no second share."""

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(committee_member, "write_private", killed)
        with pytest.raises(KeyboardInterrupt):
            party.members[0].step("commit", ())
    (line,) = map(json.loads, (party.folders[0] / "transcript.jsonl").read_bytes().splitlines())
    assert (line["event"], line["run"], len(line["commitment"])) == ("key", RUN.hex(), 64)
    refused("already_made", party.started_again()[0].step, "commit", ())
    # and an honest run's line is the commitment that everybody gets
    sent = party.members[1].step("commit", ())
    (line,) = map(json.loads, (party.folders[1] / "transcript.jsonl").read_bytes().splitlines())
    assert bytes.fromhex(line["commitment"]) == sent[:32]


def test_a_key_that_was_not_finished_can_be_after_a_crash_between_share_and_draft(party, monkeypatch):
    reveals = party.step("reveal", party.step("commit"))

    saving = committee_member.save_share

    def killed(*arguments):
        saving(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(committee_member, "save_share", killed)
        with pytest.raises(KeyboardInterrupt):
            party.members[0].step("endorse", reveals)
    party.members = party.started_again()
    endorsements = party.step("endorse", reveals)
    codec = party.codec.with_public_key(assemble(reveals, endorsements), RUN, party.enrolment)
    assert {party.codec.holder(folder).digest for folder in party.folders} == {codec.digest}
