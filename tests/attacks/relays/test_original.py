"""The original's design does what its source does, its errors included, and falls where it must."""

import asyncio
import math

import numpy as np
import pytest

from fedpriv.attacks.relays.original import Original
from fedpriv.attacks.relays.original_attacks import ATTACKS, NOT_APPLICABLE, run
from fedpriv.attacks.relays.original_server import BANDS, RELAYS, bands, pixels, slot
from fedpriv.data.synthetic.eyes import render_person
from fedpriv.serving.defaults import default_models

EYES = render_person(3, 1, 6).images[:, 0]
ALL = {
    "replay_while_next", "replay_later", "replay_other_session", "replay_after_expiry",
    "replay_after_restart", "replayed_handshake", "reorder", "splice_two_images",
    "swap_share_index", "duplicate", "drop",
    "tamper_header", "tamper_body", "wrong_relay", "forged_relay", "forged_sender", "expired", "clock_skew",
    "oversized_body", "slow_sender", "slow_reader", "pipelined_flood",
    "half_finished_flood", "colluding_relays",
}  # fmt: skip


def on_original(scenario, **settings):
    async def go():
        async with Original(**settings) as original:
            return await scenario(original)

    return asyncio.run(go())


def test_images_arrive_whole_one_after_another() -> None:
    async def scenario(original):
        return [await original.send(eye) for eye in EYES]

    for number, (built, eye) in enumerate(zip(on_original(scenario), EYES, strict=True)):
        assert [each.number for each in built] == [number]
        np.testing.assert_array_equal(built[0].image, eye)


def test_each_image_takes_three_distinct_relays_and_an_id_of_its_own() -> None:
    slots = [slot(5, number) for number in range(400)]
    assert all(len(set(each.servers)) == BANDS and set(each.servers) <= set(RELAYS) for each in slots)
    assert len({each.id for each in slots}) == 400
    assert len({each.servers for each in slots}) == math.perm(4, 3)
    assert slots != [slot(6, number) for number in range(400)]


def test_every_relay_of_an_image_sees_a_third_of_it_in_clear() -> None:
    async def scenario(original):
        servers = original.slot.servers
        await original.send(EYES[0])
        return [pixels(original.seen[name]) for name in servers]

    np.testing.assert_array_equal(np.concatenate(on_original(scenario)), EYES[0])


def test_a_replay_as_it_is_is_dropped_and_one_with_the_id_rewritten_is_answered_as_the_next_image() -> None:
    model = default_models()

    def replayed(rewrite: bool):
        async def scenario(original):
            first = (await original.send(EYES[0]))[0]
            current = original.slot

            async def between(sent):
                if sent == 2:
                    await original.replay(current.id if rewrite else None)

            original.hostile = lambda band: original.deliver(band)  # keeps what was captured first
            second = await original.send(EYES[1], between)
            return first, second[0]

        return on_original(scenario, seed=seed, model=lambda image: model.answer([image], [["gaze"]])[0])

    # relay A has a band of both images, and not the last of the second
    seed = next(s for s in range(100) if "a" in slot(s, 0).servers and slot(s, 1).servers.find("a") in (0, 1))
    said = model.answer(list(EYES[:2]), [["gaze"]] * 2)
    first, second = replayed(rewrite=False)
    assert [first.answer, second.answer] == said
    np.testing.assert_array_equal(second.image, EYES[1])
    first, second = replayed(rewrite=True)
    assert first.answer == said[0]
    assert second.answer != said[1]
    expected = EYES[1].copy()
    place, third = slot(seed, 1).servers.index("a"), len(expected) // BANDS
    old = pixels(bands(EYES[0], slot(seed, 0))[slot(seed, 0).servers.index("a")])
    expected[place * third : (place + 1) * third] = old
    np.testing.assert_array_equal(second.image, expected)


def test_bands_that_do_not_fit_leave_both_ends_out_of_step_for_good() -> None:
    async def scenario(original):
        one, two, three = bands(EYES[0], original.slot)
        narrow = {**three, "image_arr": [[[1]]]}
        assert [await original.deliver(each) for each in (one, two, narrow)] == [200, 200, 500]
        original.number += 1
        return [built for eye in EYES[:3] for built in await original.send(eye)]

    assert on_original(scenario) == []


@pytest.mark.parametrize(
    "change", [{"id": "1"}, {"id": True}, {"server": 1}, {"image_arr": [[1]]}, {"image_arr": [[[0.5]]]}]
)
def test_only_types_are_looked_at(change) -> None:
    async def scenario(original):
        band = bands(EYES[0], original.slot)[0]
        unnamed = next(name for name in RELAYS if name not in original.slot.servers)
        return (
            await original.deliver({**band, **change}),
            await original.deliver({**band, "server": unnamed}),
            await original.deliver({**band, "image_arr": [[[999]], []]}),
        )

    assert on_original(scenario) == (422, 500, 200)


def test_every_attack_of_the_matrix_is_run_or_its_absence_explained() -> None:
    assert ATTACKS.keys() | NOT_APPLICABLE.keys() == ALL
    assert not ATTACKS.keys() & NOT_APPLICABLE.keys()
    with pytest.raises(ValueError, match="replay_never: no attack"):
        asyncio.run(run(1, ["replay_never"]))


def test_the_original_refuses_plain_replays_and_accepts_nearly_all_else() -> None:
    attempts = 12
    outcomes = asyncio.run(run(attempts, sorted(ALL), slow_s=0.3))
    assert outcomes.keys() == ATTACKS.keys()
    assert {each.attempted for each in outcomes.values()} == {attempts}
    refused = {"replay_while_next", "replay_later", "reorder", "duplicate", "half_finished_flood"}
    accepted = {name: each.accepted for name, each in outcomes.items()}
    assert {name for name, count in accepted.items() if count == 0} == refused
    # ids altered in every second attempt are dropped; of servers, those in the sequence are believed
    assert 0 < accepted["tamper_header"] <= attempts // 2
    partly = refused | {"tamper_header"}
    assert {count for name, count in accepted.items() if name not in partly} == {attempts}
    assert all(each.why and "\n" not in each.why for each in outcomes.values())
