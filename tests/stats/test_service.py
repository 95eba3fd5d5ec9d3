"""Server and client as processes of their own; what the server sees, and what it refuses."""

import json
import re
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from fedpriv.he.keys import SecretKey
from fedpriv.he.users.keys import SECRET_FILE, UserKeys
from fedpriv.he.users.public_keys import PUBLIC_FILE
from fedpriv.he.users.sets import parameter_set
from tests.stats.recording import RecordingProxy
from tests.traces import found_in, windows

ROWS = 30
COMMAND = [sys.executable, "-c", "import sys; from fedpriv.cli import main; main(sys.argv[1:])", "stats"]


def cells() -> list[tuple[str, str]]:
    """Return values that no other file holds by chance."""
    random = np.random.default_rng(4)
    return [
        (f"{random.integers(10**6, 8 * 10**6)}", f"{random.integers(10**5, 10**6) / 100:.2f}")
        for _ in range(ROWS)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("service")
    (made / "keys").mkdir(mode=0o700)
    UserKeys.make(parameter_set("table")).save(made / "keys")
    (made / "server").mkdir()
    (made / "server" / PUBLIC_FILE).write_bytes((made / "keys" / PUBLIC_FILE).read_bytes())
    (made / "t.csv").write_text("income,rate\n" + "".join(f"{a},{b}\n" for a, b in cells()))
    return made


@pytest.fixture(scope="module")
def server(folder):
    """Run a server with the public key alone; yield its port."""
    with subprocess.Popen(
        [
            *COMMAND,
            "serve",
            "--key",
            PUBLIC_FILE,
            "--folder",
            "store",
            "--port",
            "0",
            "--workers",
            "1",
            "--until-eof",
        ],
        cwd=folder / "server",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        line = process.stdout.readline()
        assert line.startswith("listens on http://127.0.0.1:"), process.stderr.read()
        yield int(line.rsplit(":", 1)[1])
        process.communicate()


def stats(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)


def test_the_server_sees_ciphertexts_and_no_key_and_no_cell(folder, server):
    made = stats(folder, "encrypt", "t.csv", "--key", "keys")
    assert made.returncode == 0, made.stderr
    with RecordingProxy(server) as proxy:
        made = stats(folder, "compute", "t.table", "--server", proxy.url)
        assert made.returncode == 0, made.stderr
        seen = proxy.seen
    opened = stats(folder, "decrypt", "t.result", "--key", "keys", "--json")
    found = json.loads(opened.stdout)["columns"]
    values = np.array(cells(), float)
    assert found["income"]["mean"] == pytest.approx(values[:, 0].mean(), rel=1e-12)
    assert found["rate"]["standard_deviation"] == pytest.approx(values[:, 1].std(ddof=1), rel=1e-9)

    assert not list((folder / "server" / "store" / "tables").iterdir())  # sent for this result alone

    number = stats(folder, "upload", "t.table", "--server", f"http://127.0.0.1:{server}").stdout.split()[0]
    again = ("--server", f"http://127.0.0.1:{server}", "--no-pairs", "--out", "again.result")
    assert stats(folder, "compute", number, *again).returncode == 0
    opened = stats(folder, "decrypt", "again.result", "--key", "keys", "--json")
    assert json.loads(opened.stdout)["columns"] == found
    public = (folder / "server" / PUBLIC_FILE).read_bytes()
    kept = b"".join(path.read_bytes() for path in (folder / "server" / "store").rglob("*") if path.is_file())
    assert len(kept) > 300_000  # the table
    assert len(seen) > 1_000_000
    secret = (folder / "keys" / SECRET_FILE).read_bytes()
    own = windows(secret)
    own -= found_in(public, own)
    keys = UserKeys.load(folder / "keys")
    coefficients = np.asarray(SecretKey(keys.set.seal, bytes(16), keys.secret_key()).coefficients())
    assert set(np.unique(coefficients)) == {-1, 0, 1}
    bare = [windows(coefficients.astype(kind).tobytes(), 96, size) for kind, size in (("i1", 1), ("<i8", 8))]
    forms = [form for value in values.reshape(-1) for form in shapes_of(value)]
    texts = texts_of(values)
    for data in (seen, kept):
        for needles in (own, *bare):
            assert len(needles) > 5000
            assert not found_in(data, needles)
        assert not any(form in data for form in forms)
        assert not texts.search(data)
    # the search finds what is there: the table was sent before it was kept
    assert found_in(kept, windows(seen, 96, 96))
    assert found_in(secret, own) == own
    assert len(texts.findall((folder / "t.csv").read_bytes())) == 2 * ROWS


def shapes_of(value: float) -> list[bytes]:
    """Return what a number might look like in a file that is no text."""
    forms = [struct.pack(each, value) for each in ("<d", ">d")]
    numbers = (round(value * 100), int(value))
    return forms + [struct.pack(each, number) for each in ("<q", ">q") for number in numbers]


def texts_of(values: np.ndarray) -> re.Pattern[bytes]:
    """Return what finds numbers in a text, as they are or without their point.

    Not within longer ones, nor within hexadecimal digests: of 64 digits, one in 10,000 holds one of 30 rates.
    """
    forms = [
        form
        for value in values.reshape(-1)
        for form in (f"{value:.10g}", f"{value:.2f}", f"{value * 100:.0f}")
    ]
    return re.compile(rf"(?<![0-9a-f.])(?:{'|'.join(map(re.escape, forms))})(?![0-9a-f])".encode())


def call(server: int, method: str, path: str, body: bytes = b"", kind: str = "application/json"):
    request = urllib.request.Request(
        f"http://127.0.0.1:{server}{path}", body or None, {"content-type": kind}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def put(server: int, upload: str, offset: int, body: bytes):
    return call(server, "PUT", f"/v1/uploads/{upload}?offset={offset}", body, "application/octet-stream")


def test_parts_come_in_order_and_may_be_sent_again(server):
    upload = call(server, "POST", "/v1/uploads")[1]["upload"]
    assert put(server, upload, 0, b"abc") == (200, {"upload": upload, "received": 3})
    assert put(server, upload, 0, b"abc") == (200, {"upload": upload, "received": 3})
    status, said = put(server, upload, 7, b"abc")
    assert (status, said["cause"]) == (409, "out_of_place")
    status, said = call(server, "POST", f"/v1/uploads/{upload}/finish")
    assert (status, said["cause"]) == (400, "malformed")
    assert "store" not in said["detail"]
    assert put(server, upload, 3, b"abc")[0] == 404  # forgotten with the refusal


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/v1/uploads/..%2f..%2fpublic.key?offset=0", b"x", 404),
        ("PUT", f"/v1/uploads/{'0' * 32}?offset=0", b"x", 404),
        ("PUT", f"/v1/uploads/{'0' * 32}", b"x", 422),
        ("POST", f"/v1/uploads/{'0' * 32}/finish", b"", 404),
        ("GET", f"/v1/results/{'0' * 32}", b"", 404),
        ("GET", "/v1/results/..", b"", 404),
        ("DELETE", f"/v1/tables/{'0' * 32}", b"", 404),
        ("POST", "/v1/results", b'{"tables": ["../public.key"]}', 404),
        ("POST", "/v1/results", b'{"tables": []}', 422),
        ("POST", "/v1/results", b'{"tables": ["x"], "model": {"kind": "tree"}}', 422),
        ("POST", "/v1/results", b"[", 422),
    ],
)
def test_what_is_not_there_or_not_understood_is_refused_in_one_line(server, method, path, body, status):
    found, said = call(server, method, path, body)
    assert found == status
    assert set(said) == {"cause", "detail"}
    assert "\n" not in said["detail"]


def test_a_table_under_another_key_is_refused_and_not_kept(folder, server, tmp_path):
    (tmp_path / "other").mkdir(mode=0o700)
    UserKeys.make(parameter_set("table")).save(tmp_path / "other")
    stats(folder, "encrypt", "t.csv", "--key", str(tmp_path / "other"), "--out", "other.table")
    kept = len(list((folder / "server" / "store" / "tables").iterdir()))
    made = stats(
        folder, "compute", "other.table", "--server", f"http://127.0.0.1:{server}", "--out", "o.result"
    )
    assert made.returncode == 2
    assert re.search(r"other.table: http://127.0.0.1:\d+: refuses \(malformed\): table: .*key", made.stderr)
    assert made.stderr.count("\n") == 1
    assert len(list((folder / "server" / "store" / "tables").iterdir())) == kept
    assert not (folder / "o.result").exists()


def test_a_server_that_is_not_there_is_named(folder):
    made = stats(folder, "compute", "t.table", "--server", "http://127.0.0.1:9", "--out", "n.result")
    assert made.returncode == 2
    assert "http://127.0.0.1:9" in made.stderr
    assert made.stderr.count("\n") == 1


def test_every_route_is_typed(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server}/openapi.json", timeout=30) as answer:
        paths = json.loads(answer.read())["paths"]
    assert {"/v1/uploads", "/v1/uploads/{upload}", "/v1/results", "/v1/results/{result}"} <= set(paths)
    with urllib.request.urlopen(f"http://127.0.0.1:{server}/healthz", timeout=30) as answer:
        assert json.loads(answer.read())["service"] == "stats"


def serve(folder: Path, store: Path, *more: str) -> subprocess.CompletedProcess[str]:
    key = str(folder / "keys" / PUBLIC_FILE)
    return stats(folder, "serve", "--key", key, "--folder", str(store), *more)


def test_a_second_server_on_the_folder_is_refused_and_the_first_loses_nothing(folder, server):
    upload = call(server, "POST", "/v1/uploads")[1]["upload"]
    assert put(server, upload, 0, b"abc")[0] == 200
    for port in (str(server), "0"):
        made = serve(folder, folder / "server" / "store", "--port", port)
        assert made.returncode == 2
        assert "store: another fedpriv stats has it; end that one, or name another" in made.stderr
        assert made.stderr.count("\n") == 1
    assert put(server, upload, 3, b"d") == (200, {"upload": upload, "received": 4})


def test_a_folder_of_somebody_else_is_refused_and_left_as_it_was(folder, tmp_path):
    for name in ("results", "uploads"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    made = serve(folder, tmp_path, "--port", "0")
    assert made.returncode == 2
    assert "holds files that are not fedpriv's own; name a new or empty folder with --folder" in made.stderr
    assert sorted(tmp_path.rglob("*")) == before
