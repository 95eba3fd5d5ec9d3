"""Every byte on the wire and every file of the server: ciphertext, ids and metadata, no key and no face."""

import json
from contextlib import ExitStack

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.faces.caller import Asking
from fedpriv.faces.owner import Owner
from fedpriv.he.users.cipher_heads import HEAD_BYTES
from fedpriv.he.users.key_bodies import KeyBodies
from fedpriv.he.users.key_heads import open_head
from fedpriv.he.users.keys import UserKeys
from tests.faces.proxy import RecordingProxy
from tests.faces.running import Running, faces

Recorded = tuple[Running, bytes, bytes, np.ndarray]
NAMES = ("Ada Lovelace", "Grace Hopper", "Alan Turing")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Everything that the commands do, through proxies; probes encrypted."""
    folder = tmp_path_factory.mktemp("wire")
    some = Running(folder / "all", faces(12), budget=50)
    with ExitStack() as stack:
        to_server = stack.enter_context(RecordingProxy(some.server_port))
        to_keyholder = stack.enter_context(RecordingProxy(some.keyholder_port))
        owner = Owner(some.owner, to_server.url)
        files = {name: some.pictures.files(folder / "pictures", row) for row, name in enumerate(NAMES)}
        owner.enrol(files, some.pictures.embedder)
        asking = Asking(some.caller, to_server.url, to_keyholder.url)
        probes = np.stack([some.pictures.vectors[0], faces(1, seed=77)[0]])
        assert asking.verify(NAMES[0], probes[0]).accepted is True
        assert asking.identify(probes[0]).name == NAMES[0]
        assert asking.identify(probes[1]).name is None
        owner.delete(NAMES[1])
        with pytest.raises(UserError, match="scores are not told"):
            asking.scores(probes[0])
    some.stop()
    return (
        some,
        bytes(to_server.bytes),
        bytes(to_keyholder.bytes),
        np.concatenate([some.pictures.vectors, probes]),
    )


def server_files(running: Running) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(running.gallery.rglob("*")) if path.is_file())


def windows(words: np.ndarray) -> np.ndarray:
    """Return every aligned 8-byte window that is not one value over and over."""
    return np.unique(words[(words != 0) & (words != 2**64 - 1)])


def contains_any(hay: bytes, needles: np.ndarray) -> list[int]:
    """Return which of the 8-byte ``needles`` stand in ``hay``, at any offset."""
    low = np.zeros(1 << 24, bool)
    low[needles & np.uint64(0xFFFFFF)] = True
    found: list[int] = []
    for offset in range(8):
        words = np.frombuffer(hay, np.uint64, (len(hay) - offset) // 8, offset)
        likely = words[low[words & np.uint64(0xFFFFFF)]]
        found += likely[np.isin(likely, needles)].tolist()
    return found


def secrets_of(running: Running) -> np.ndarray:
    """Return 8-byte windows of the key as the file packs it and as SEAL holds it, and of the signing seed."""
    file = running.owner / "secret.key"
    _, body = open_head(file, file.read_bytes(), ("secret",), "faces")
    packed = [np.frombuffer(body, np.uint64, (len(body) - at) // 8, at) for at in range(8)]
    words = KeyBodies(running.keys.set).secret_words(running.keys.secret_key())
    return windows(np.concatenate([*packed, words.ravel()]))


def coordinates(vectors: np.ndarray) -> np.ndarray:
    """Return 8-byte windows of the embeddings as float64, and of float32 neighbours, in either byte order."""
    scaled = np.concatenate([vectors, vectors * 2.0**-8])
    forms = []
    for order in "<>":
        forms.append(scaled.astype(f"{order}f8").tobytes())
        single = scaled.astype(f"{order}f4")
        forms.append(single.tobytes())
        forms.append(single[:, 1:-1].tobytes())
    return windows(np.concatenate([np.frombuffer(each, np.uint64) for each in forms]))


def test_the_search_finds_what_is_there(recorded):
    running, to_server, _, vectors = recorded
    planted = to_server[:100_001] + vectors[0, 3:4].tobytes() + vectors.astype(np.float32)[1, 4:6].tobytes()
    assert len(contains_any(planted, coordinates(vectors))) == 2
    secret = (running.owner / "secret.key").read_bytes()
    assert contains_any(b"abc" + secret[5000:6000], secrets_of(running))


def test_no_key_material_leaves_the_owner(recorded):
    running, to_server, to_keyholder, _ = recorded
    needles = secrets_of(running)
    assert len(needles) > 10_000
    for hay in (to_server, to_keyholder, server_files(running), (running.caller / "public.key").read_bytes()):
        assert contains_any(hay, needles) == []


def test_no_embedding_leaves_owner_or_caller_in_clear(recorded):
    running, to_server, to_keyholder, vectors = recorded
    for hay in (to_server, to_keyholder, server_files(running)):
        assert contains_any(hay, coordinates(vectors)) == []
    # nor as text, of as few digits as could matter
    for value in vectors[:3].ravel():
        assert f"{abs(value):.6f}".encode() not in to_server


def test_the_server_is_told_no_name(recorded):
    running, to_server, to_keyholder, _ = recorded
    for name in NAMES:
        assert name.encode() not in to_server
        assert name.encode() not in server_files(running)
    assert NAMES[0].encode() in to_keyholder  # what a caller claims, and is told


def test_the_servers_files_are_ciphertext_ids_and_metadata(recorded):
    running, _, _, _ = recorded
    known = {"public.key", "server.key", "gallery.jsonl", "gallery.jsonl.head"}
    for path in running.gallery.rglob("*"):
        if path.is_dir():
            continue
        if path.parent.name == "segments":
            data = path.read_bytes()
            assert data.startswith(b"FPCT")
            metadata = json.loads(data[HEAD_BYTES : data.index(b"}", HEAD_BYTES) + 1])
            assert metadata.keys() <= {"kind", "dim", "place", "ids", "block", "people"}
        else:
            assert path.name in known, path
            assert path.stat().st_mode & 0o077 == 0 or path.name == "public.key"
    for line in (running.gallery / "gallery.jsonl").read_text().splitlines():
        assert json.loads(line).keys() <= {
            "previous", "time", "event", "set", "key", "dim", "segment", "segments", "ids", "by"
        }  # fmt: skip


def test_ciphertexts_look_like_noise(recorded):
    running, _, _, _ = recorded
    (segment,) = (running.gallery / "segments").iterdir()
    data = np.frombuffer(segment.read_bytes()[4096:], np.uint8)
    shares = np.bincount(data, minlength=256) / len(data)
    assert shares.max() < 0.01  # 1/256 is 0.0039; packed residues are a little uneven at the top


def test_decryption_at_the_server_fails(recorded):
    running, _, _, _ = recorded
    for path in running.gallery.rglob("*"):
        if path.is_file():
            with pytest.raises(UserError):
                UserKeys.load(path)
