"""Services that go and come back, in one process: nothing is answered wrongly, nothing is lost silently."""

import asyncio

import pytest

from fedpriv.relays.client import Unanswered
from fedpriv.relays.plan import Plan
from fedpriv.services.secret_files import write_secrets
from fedpriv.serving.defaults import default_models
from fedpriv.sharing.causes import Cause
from tests.relays.running import Running


@pytest.fixture
def pair(tmp_path):
    with Running(
        tmp_path / "c", Plan(relays=2, shares=2, server={"set_timeout_s": 0.5, "hold_s": 0.2})
    ) as running:
        yield running


def expected(image):
    return default_models().answer([image], [("gaze", "emotion")])[0]


async def off_thread(function, *arguments):
    return await asyncio.to_thread(function, *arguments)


def test_a_restarted_model_server_forgets_sessions_and_clients_open_new_ones(pair, eyes) -> None:
    async def go():
        async with pair.client() as client:
            before = await client.ask(eyes[0])
            session = (await client.session()).terms.session
            await off_thread(pair.stop, "model_server")
            asking = [asyncio.create_task(client.ask(eyes[0])) for _ in range(5)]
            await asyncio.sleep(0.3)
            await off_thread(pair.start, "model_server")
            after = await asyncio.gather(*asking)
            return before, after, session != (await client.session()).terms.session

    before, after, renewed = asyncio.run(go())
    assert renewed
    assert {each.answer for each in (before, *after)} == {expected(eyes[0])}


def test_a_relay_that_comes_back_gets_the_same_bytes_again(pair, eyes) -> None:
    async def go():
        async with pair.client() as client:
            await client.ask(eyes[0])
            await off_thread(pair.stop, "relay-a")
            asking = asyncio.create_task(client.ask(eyes[1]))
            await asyncio.sleep(0.2)
            await off_thread(pair.start, "relay-a")
            return await asking

    asked = asyncio.run(go())
    assert asked.answer == expected(eyes[1])
    assert asked.sent_bytes > 2 * 4236  # some bytes went more than once


def test_a_set_that_waited_too_long_is_shared_anew(pair, eyes) -> None:
    async def go():
        async with pair.client() as client:
            await client.ask(eyes[0])
            await off_thread(pair.stop, "relay-a")
            asking = asyncio.create_task(client.ask(eyes[1]))
            await asyncio.sleep(1.5)  # past the set's time: the share that went through b is dropped
            await off_thread(pair.start, "relay-a")
            return await asking

    asked = asyncio.run(go())
    assert asked.answer == expected(eyes[1])
    assert asked.attempts > 1


def test_a_relay_tells_a_server_that_is_down_from_one_that_does_not_know_it(pair, eyes) -> None:
    async def go():
        async with pair.client() as client:
            session = await client.session()
            relay, envelope = session.seal(eyes[0], ("gaze",), session.ends_ms - 60_000).shares[0]
            await off_thread(pair.stop, "model_server")
            down = await client.courier(relay).ask(envelope)
            write_secrets(pair.layout.folder / "relays.secret", {"a": bytes(32), "b": bytes(32)})
            await off_thread(pair.start, "model_server")
            return down, await client.courier(relay).ask(envelope)

    assert [record[0] for record in asyncio.run(go())] == [Cause.BUSY, Cause.WRONG_RELAY]


def test_without_relays_there_is_one_clear_error_in_time(pair, eyes) -> None:
    async def go():
        async with pair.client(timeout_s=1.0) as client:
            await client.ask(eyes[0])
            for name in ("relay-a", "relay-b"):
                await off_thread(pair.stop, name)
            return await asyncio.gather(*(client.ask(image) for image in eyes), return_exceptions=True)

    for error in asyncio.run(go()):
        assert isinstance(error, Unanswered)
        assert str(error).startswith("unreachable: no answer in ")
        assert "\n" not in str(error)


def test_a_model_that_fails_is_an_error_not_an_answer(pair, eyes, monkeypatch) -> None:
    from fedpriv.serving.model_set import ModelSet

    def fail(self, images, wanted):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(ModelSet, "answer", fail)

    async def go():
        async with pair.client(timeout_s=3.0) as client:
            await client.ask(eyes[0])

    with pytest.raises(Unanswered, match=r"^failed: "):
        asyncio.run(go())


def test_windows_full_of_lost_images_do_not_stop_a_client(tmp_path, eyes) -> None:
    plan = Plan(relays=2, shares=2, server={"window": 4, "set_timeout_s": 0.3, "hold_s": 0.1})
    with Running(tmp_path / "c", plan) as running:

        async def go():
            async with running.client(timeout_s=20.0) as client:
                session = await client.session()
                for _ in range(2):  # sealed and never sent: half a window
                    session.seal(eyes[0], ("gaze",), session.ends_ms - 60_000)
                return await asyncio.gather(*(client.ask(image) for image in eyes))

        assert [each.answer for each in asyncio.run(go())] == [expected(image) for image in eyes]
