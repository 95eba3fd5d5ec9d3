"""One relay of four that fails, in every way: images come through the others; and what is said when not."""

import asyncio
import contextlib
import re
from collections.abc import Iterator

import aiohttp
import pytest
from aiohttp import web

from fedpriv.relays import attempt, client, sessions
from fedpriv.relays.client import Unanswered
from fedpriv.relays.plan import Plan
from fedpriv.serving.defaults import default_models
from fedpriv.sharing.answer import RECORD_BYTES, Record, pack_records
from fedpriv.sharing.causes import Cause
from fedpriv.sharing.envelope import cut_batch
from tests.relays.running import Running

PLAN = Plan(clients=2, server={"hold_s": 0.2, "set_timeout_s": 1.0, "max_client_sessions": 64})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("failing") / "constellation", PLAN) as started:
        yield started


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge in less time, as these model servers say ``busy`` in less time."""
    monkeypatch.setattr(attempt, "SILENT_S", 0.6)
    monkeypatch.setattr(attempt, "GRACE_S", 0.4)


def relays(running: Running) -> dict[str, str]:
    return {name: running.layout.urls[f"relay-{name}"] for name in "abcd"}


@contextlib.asynccontextmanager
async def serving(honest: str, cause: Cause | None, forwards: bool = False):
    """In a relay's place: handshakes go on; shares are answered with a cause, or never."""
    http = aiohttp.ClientSession()
    never = asyncio.Event()

    async def sessions(request: web.Request) -> web.Response:
        async with http.post(honest + "/v1/sessions", data=await request.read()) as reply:
            return web.Response(body=await reply.read(), status=reply.status)

    async def shares(request: web.Request) -> web.Response:
        body = await request.read()
        if cause is None:
            await never.wait()
            return web.Response(status=503)
        if forwards:
            async with http.post(honest + "/v1/shares", data=body) as reply:
                await reply.read()
        record = pack_records([Record(cause, None)])
        return web.Response(body=b"".join(bytes([each]) + record for each in range(len(cut_batch(body)))))

    app = web.Application()
    app.add_routes([web.post("/v1/shares", shares), web.post("/v1/sessions", sessions)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        never.set()
        await runner.cleanup()
        await http.close()


def check(asked, images) -> None:
    assert [each.answer for each in asked] == default_models().answer(
        images, [("gaze", "emotion")] * len(images)
    )


def test_with_one_relay_down_every_image_is_answered_and_only_the_first_notice(running, eyes) -> None:
    images = (eyes * 11)[:64]

    async def go():
        urls = {**relays(running), "b": "http://127.0.0.1:9"}  # nobody listens there
        async with running.client(relays=urls) as asking:
            first = await asyncio.gather(*(asking.ask(image) for image in images))
            avoided = set(asking._sessions.faults.avoided(3))
            return first, avoided, await asyncio.gather(*(asking.ask(image) for image in images))

    first, avoided, later = asyncio.run(go())
    check(first + later, images * 2)
    assert max(each.attempts for each in first) <= 3
    assert avoided == {"b"}
    assert sum(each.attempts - 1 for each in later) <= 2  # who tried whether it is back
    assert not any("b" in each.relays for each in first + later)


@pytest.mark.parametrize(
    "cause",
    [
        None,
        Cause.UNKNOWN_SESSION,
        Cause.EXPIRED,
        Cause.ALREADY_USED,
        Cause.INCOMPLETE,
        Cause.BUSY,
        Cause.WRONG_RELAY,
    ],
    ids=lambda cause: cause.label if cause else "silent",
)
def test_one_relay_that_keeps_its_shares_stops_no_image_whatever_it_says(running, eyes, cause) -> None:
    async def go():
        async with contextlib.AsyncExitStack() as stack:
            url = await stack.enter_async_context(serving(running.layout.urls["relay-b"], cause))
            urls = {**relays(running), "b": url}
            asking = await stack.enter_async_context(running.client(relays=urls, timeout_s=20.0))
            opened = await asking.session()
            asked = await asyncio.gather(*(asking.ask(image) for image in eyes * 4))
            return asked, opened is await asking.session(), asking._sessions.faults.avoided(3)

    asked, kept, avoided = asyncio.run(go())
    check(asked, eyes * 4)
    assert kept  # one relay's word costs no session
    assert set(avoided) <= {"b"}  # nor does it make others look bad
    assert max(each.attempts for each in asked) <= 4


def test_a_relay_that_comes_back_is_used_again(running, eyes) -> None:
    async def go():
        async with running.client() as asking:
            await asyncio.to_thread(running.stop, "relay-b")
            await asyncio.gather(*(asking.ask(image) for image in eyes))
            assert set(asking._sessions.faults.avoided(3)) <= {"b"}
            await asyncio.to_thread(running.start, "relay-b")
            used = set()
            while "b" not in used:
                used |= set((await asking.ask(eyes[0])).relays)
                await asyncio.sleep(0.02)
            return (await asking.ask(eyes[0])).attempts

    assert asyncio.run(asyncio.wait_for(go(), 30)) == 1


@pytest.mark.parametrize("share_s", [0.3, 10.0])
def test_relays_that_say_busy_until_the_time_is_over_are_told_to_be_busy_in_time(
    running, eyes, share_s
) -> None:
    async def go():
        async with serving(running.layout.urls["relay-b"], Cause.BUSY) as url:
            changes = {"relays": dict.fromkeys("abcd", url), "timeout_s": 1.2, "share_s": share_s}
            async with running.client(**changes) as asking:
                many = (asking.ask(eyes[0]) for _ in range(200))  # more than half a window
                return await asyncio.wait_for(asyncio.gather(*many, return_exceptions=True), 5.0)

    for error in asyncio.run(go()):
        assert isinstance(error, Unanswered)
        assert str(error).startswith("busy: ")
        assert "see that the model server runs" in str(error)


def test_without_a_model_server_the_relays_are_not_to_blame(running, eyes) -> None:
    async def go():
        async with running.client(timeout_s=1.5, share_s=0.5) as asking, running.client() as new:
            await asking.ask(eyes[0])
            await asyncio.to_thread(running.stop, "model_server")
            try:
                new.settings = asking.settings
                late = (asking.ask(eyes[0]), new.ask(eyes[0]), new.session())
                return await asyncio.wait_for(asyncio.gather(*late, return_exceptions=True), 8.0)
            finally:
                await asyncio.to_thread(running.start, "model_server")

    for error in asyncio.run(go()):
        assert isinstance(error, Unanswered)
        assert re.match("busy: .*see that the model server runs", str(error))


def test_a_time_in_which_nobody_can_answer_ends_in_time_and_names_who_did_not(running, eyes) -> None:
    async def go():
        async with serving(running.layout.urls["relay-b"], None) as url:
            urls = dict.fromkeys("abcd", url)
            async with running.client(relays=urls, timeout_s=1.0) as asking:
                await asyncio.wait_for(asking.ask(eyes[0]), 4.0)

    with pytest.raises(
        Unanswered, match=r"^unreachable: no answer in .* \(no word from relay .*\); see that"
    ):
        asyncio.run(go())


def test_a_clock_that_is_set_back_costs_one_new_session(running, eyes, monkeypatch) -> None:
    true = sessions.now_ms

    async def go():
        async with running.client("client-1") as asking:
            before = await asking.session()
            for module in (client, sessions):
                monkeypatch.setattr(module, "now_ms", lambda: true() - 15_000)
            asked = await asking.ask(eyes[0])
            return asked, before is await asking.session(), await asking.ask(eyes[0])

    asked, same, next_one = asyncio.run(go())
    check([asked], eyes[:1])
    assert not same
    assert (asked.attempts, next_one.attempts) == (2, 1)


def test_a_reply_that_arrives_in_pieces_is_one_reply(running, eyes) -> None:
    async def pump(reader, writer, cut: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                at = data.find(b"\r\n\r\n") + 104 if cut and b"\r\n\r\n" in data else len(data)
                writer.write(data[:at])
                await writer.drain()
                if data[at:]:
                    await asyncio.sleep(0.02)
                    writer.write(data[at:])
        writer.close()

    async def go():
        async with contextlib.AsyncExitStack() as stack:

            async def cutting(url: str) -> str:
                async def on(reader, writer) -> None:
                    there = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
                    writers.extend((writer, there[1]))
                    await asyncio.gather(pump(reader, there[1], False), pump(there[0], writer, True))

                server = await asyncio.start_server(on, "127.0.0.1", 0)
                stack.callback(server.close)
                return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

            urls = {name: await cutting(url) for name, url in relays(running).items()}
            async with running.client(relays=urls, timeout_s=5.0) as asking:
                asked = await asking.ask(eyes[0])
            for writer in writers:
                writer.close()
            await asyncio.sleep(0.05)
            return asked

    writers: list[asyncio.StreamWriter] = []
    check([asyncio.run(go())], eyes[:1])


def test_an_image_costs_the_records_of_all_its_shares(running, eyes) -> None:
    async def go():
        async with running.client() as asking:
            asked = await asyncio.gather(*(asking.ask(image) for image in eyes))
            await asking.settle()
            return asked, sum(each.received_bytes for each in asking._couriers.values())

    asked, bodies = asyncio.run(go())
    assert {each.received_bytes for each in asked} == {3 * (1 + RECORD_BYTES)}
    assert sum(each.received_bytes for each in asked) == bodies
