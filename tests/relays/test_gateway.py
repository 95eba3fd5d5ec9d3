"""The gateway says whose mistake it is, names no series as a relay likes, and keeps no large picture."""

import asyncio
import io
import json
import threading
import time
import tracemalloc
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from fedpriv.relays.gateway import _small
from fedpriv.relays.plan import Plan
from tests.relays.running import Running


def png(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side), 90).save(file, "PNG")
    return file.getvalue()


def post(url: str, body: bytes) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as reply:  # noqa: S310
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def metrics(running: Running) -> str:
    with urllib.request.urlopen(running.layout.urls["gateway"] + "/metrics", timeout=30) as reply:  # noqa: S310
        return reply.read().decode()


def changed(running: Running, **changes) -> None:
    """Change the settings of the gateway's client, before the gateway starts."""
    path = running.layout.client_settings("gateway-client")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_relay_that_the_settings_do_not_name_is_no_fault_of_the_picture(tmp_path) -> None:
    running = Running(tmp_path / "c", Plan(relays=3, shares=2))
    urls = running.layout.urls
    changed(running, relays={name: urls[f"relay-{name}"] for name in "ab"})
    with running:
        status, found = post(urls["gateway"] + "/v1/images", png(40))
        assert (status, found["cause"]) == (500, "settings")
        assert "'c'" in found["detail"]
        assert 'fedpriv_records_total{outcome="settings"} 1.0' in metrics(running)


class _Liar(BaseHTTPRequestHandler):
    count = 0

    def do_POST(self) -> None:
        type(self).count += 1
        body = json.dumps({"cause": f"made_up_{self.count}", "detail": "no"}).encode()
        self.send_response(403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def liar():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Liar)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_cause_that_a_relay_makes_up_is_no_name_of_a_series(tmp_path, liar) -> None:
    running = Running(tmp_path / "c", Plan(relays=2, shares=2))
    changed(running, relays={"a": liar, "b": liar}, timeout_s=0.5)
    with running:
        for _ in range(2):
            status, found = post(running.layout.urls["gateway"] + "/v1/images", png(40))
            assert status == 504
            assert not found["cause"].startswith("made_up")
        assert _Liar.count > 0
        text = metrics(running)
    assert "made_up" not in text
    assert 'fedpriv_records_total{outcome="' in text


def test_what_is_decoded_large_leaves_small() -> None:
    found = _small(png(2000), 4096)
    assert found.nbytes <= 4096
    assert found.base is None or found.base.nbytes <= 1 << 16


def test_pictures_that_wait_for_answers_are_kept_small(tmp_path) -> None:
    """Six pictures of 4 million pixels, and no model server to answer."""
    with Running(tmp_path / "c", Plan(relays=2, shares=2, client={"timeout_s": 2.5})) as running:
        url = running.layout.urls["gateway"] + "/v1/images"
        assert post(url, png(40))[0] == 200
        running.stop("model_server")
        large = png(2000)

        async def ask() -> int:
            tasks = [asyncio.create_task(asyncio.to_thread(post, url, large)) for _ in range(6)]
            await asyncio.sleep(0.1)
            tracemalloc.start()
            begun = time.monotonic()
            while time.monotonic() - begun < 1.2:
                await asyncio.sleep(0.1)
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert not any(task.done() for task in tasks)
            await asyncio.gather(*tasks)
            return held

        assert asyncio.run(ask()) < 3 * np.zeros((2000, 2000), np.uint8).nbytes
