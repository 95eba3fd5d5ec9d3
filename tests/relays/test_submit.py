"""What is checked before a picture is sent, and what is sent of it."""

import http.server
import io
import json
import os
import threading

import numpy as np
import pytest
from PIL import Image

from fedpriv.errors import UserError
from fedpriv.relays.submit import submit

ANSWER = {
    "answer": {"gaze": {"pitch": 0.1, "yaw": -0.1, "model": "m"}, "emotion": None},
    "milliseconds": 1.0,
}


@pytest.fixture
def gateway():
    """The bodies that a gateway of one sentence was sent; its URL."""
    bodies: list[bytes] = []

    class Gateway(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(ANSWER).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield bodies, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def noise(path, side=40):
    pixels = np.random.default_rng(1).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path, pixels


def test_a_picture_of_megabytes_is_sent_small(gateway, tmp_path):
    bodies, url = gateway
    path, _ = noise(tmp_path / "large.png", 1400)
    assert path.stat().st_size > 1 << 20
    assert "gaze pitch" in next(iter(submit(url, [path], "gaze", None)))
    assert len(bodies[0]) < 20_000
    assert Image.open(io.BytesIO(bodies[0])).size == (128, 128)


def test_a_small_picture_is_sent_pixel_by_pixel_and_nothing_else_of_its_file(gateway, tmp_path):
    bodies, url = gateway
    path, pixels = noise(tmp_path / "small.png")
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x010F] = "a maker of cameras"
        image.save(path, exif=exif)
    list(submit(url, [path], "gaze", None))
    sent = Image.open(io.BytesIO(bodies[0]))
    assert np.array_equal(np.array(sent), pixels)
    assert b"a maker" not in bodies[0]


def test_a_file_that_is_too_large_is_refused_by_its_size_before_anything_is_sent(gateway, tmp_path):
    bodies, url = gateway
    good, _ = noise(tmp_path / "good.png")
    large = tmp_path / "large.png"
    large.touch()
    os.truncate(large, 3 << 30)  # takes no room on the disk
    with pytest.raises(UserError, match=r"large\.png: 3221225472 bytes, the limit is"):
        list(submit(url, [good, large], "gaze", None))
    with pytest.raises(UserError, match="is no file"):
        list(submit(url, [good, tmp_path], "gaze", None))
    assert not bodies


def test_two_answers_never_go_into_one_file(gateway, tmp_path):
    bodies, url = gateway
    one, other = noise(tmp_path / "eye.png")[0], noise(tmp_path / "eye.bmp")[0]
    with pytest.raises(UserError, match=r"eye\.bmp: its answer and that to .*eye\.png would both"):
        list(submit(url, [one, other], "gaze", None))
    answer = noise(tmp_path / "eye.answer.png")[0]
    with pytest.raises(UserError, match=r"eye\.answer\.png: is where the answer to .*eye\.png"):
        list(submit(url, [one, answer], "gaze", None))
    assert not bodies
    elsewhere = tmp_path / "far"
    list(submit(url, [one, answer], "gaze", elsewhere))
    assert sorted(path.name for path in elsewhere.iterdir()) == ["eye.answer.answer.png", "eye.answer.png"]
