"""Every byte on the wire and every file of the server: ciphertext, ids and metadata, no key and no face."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fedpriv.errors import UserError
from fedpriv.faces.caller import Asking
from fedpriv.faces.gallery_service import opened_segment
from fedpriv.faces.owner import Owner
from fedpriv.he.keys import SecretKey
from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.places import Place
from fedpriv.he.sealio import SealDataError
from fedpriv.he.users.cipher_heads import HEAD_BYTES
from fedpriv.he.users.key_bodies import KeyBodies
from fedpriv.he.users.key_heads import open_head
from fedpriv.he.users.keys import UserKeys
from tests.faces.needles import Needles, embedding_forms, key_forms
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


@pytest.fixture(scope="module")
def key_needles(recorded: Recorded) -> Needles:
    return Needles(key_forms(recorded[0].keys), window=32, step=32)


@pytest.fixture(scope="module")
def face_needles(recorded: Recorded) -> Needles:
    return Needles(embedding_forms(recorded[3]), window=16, step=2)


def planted(data: bytes) -> bytes:
    pad = np.random.default_rng(0).bytes(5003)
    return pad + data + pad


def keys_planted(running: Running) -> dict[str, bytes]:
    """Return a secret key as somebody might write it down: each with nothing of how needles are made."""
    file = (running.owner / "secret.key").read_bytes()
    secret = running.keys.secret_key()
    ternary = SecretKey(running.keys.set.seal, bytes(16), secret).coefficients()
    words = KeyBodies(running.keys.set).secret_words(secret)
    encoded = running.keys._seed
    return {
        "the file": file,
        "a piece of the file": file[5000:6000],
        "the file in base64": base64.b64encode(file),
        "the file in base64, with line breaks": base64.encodebytes(file),
        "the file in base64 for URLs": base64.urlsafe_b64encode(file[1:]),
        "the file in hex": file.hex().encode(),
        "ternary int8": ternary.tobytes(),
        "ternary int64": ternary.astype(np.int64).tobytes(),
        "ternary int64 from the network": ternary.astype(">i8").tobytes(),
        "words": words.tobytes(),
        "words, big-endian": words.byteswap().tobytes(),
        "words in base64": base64.b64encode(b"x" + words.tobytes()),
        "the seed": encoded,
        "the seed in hex": encoded.hex().encode(),
        "the seed in capital hex": encoded.hex().upper().encode(),
        "the seed in base64": base64.b64encode(encoded),
        "the seed as PEM": Ed25519PrivateKey.from_private_bytes(encoded).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
    }


def faces_planted(vectors: np.ndarray) -> dict[str, bytes]:
    found = {"one row of JSON": json.dumps(vectors[1].tolist()).encode()}
    for kind in (np.float16, np.float32, np.float64):
        one = vectors[1].astype(kind)
        found |= {
            f"{one.dtype}": one.tobytes(),
            f"{one.dtype}, big-endian": one.byteswap().tobytes(),
            f"{one.dtype} in base64": base64.b64encode(vectors.astype(kind).tobytes()),
            f"{one.dtype} in hex": one.tobytes().hex().encode(),
            f"{one.dtype} of many people's columns": vectors.T.astype(kind)[3].tobytes(),
        }
    return found


def as_text(vectors: np.ndarray) -> list[bytes]:
    """Return coordinates as decimals, of as few digits as could matter."""
    return [f"{abs(value):.6f}".encode() for value in vectors.ravel()]


def test_the_search_finds_a_key_in_every_form(recorded, key_needles):
    missed = [
        name for name, data in keys_planted(recorded[0]).items() if not key_needles.found_in(planted(data))
    ]
    assert missed == []
    assert key_needles.found_in(planted(b"")) is None


def test_the_search_finds_embeddings_in_every_form(recorded, face_needles):
    vectors = recorded[3]
    missed = [
        name
        for name, data in faces_planted(vectors).items()
        if not face_needles.found_in(planted(data)) and not any(each in data for each in as_text(vectors))
    ]
    assert missed == []


def test_no_key_material_leaves_the_owner(recorded, key_needles):
    running, to_server, to_keyholder, _ = recorded
    assert len(key_needles) > 50_000
    for hay in (to_server, to_keyholder, server_files(running), (running.caller / "public.key").read_bytes()):
        assert key_needles.found_in(hay) is None


def test_no_embedding_leaves_owner_or_caller_in_clear(recorded, face_needles):
    running, to_server, to_keyholder, vectors = recorded
    for hay in (to_server, to_keyholder, server_files(running)):
        assert face_needles.found_in(hay) is None
        assert not any(each in hay for each in as_text(vectors[:3]))


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
            "previous", "time", "event", "set", "key", "dim", "templates", "segment", "segments", "ids", "by"
        }  # fmt: skip


def test_ciphertexts_look_like_noise(recorded):
    running, _, _, _ = recorded
    (segment,) = (running.gallery / "segments").iterdir()
    data = np.frombuffer(segment.read_bytes()[4096:], np.uint8)
    shares = np.bincount(data, minlength=256) / len(data)
    assert shares.max() < 0.01  # 1/256 is 0.0039; packed residues are a little uneven at the top


def stored(running: Running) -> tuple[bytes, Place]:
    """Return a segment of the server's and where its people are."""
    gallery = Gallery(running.gallery, running.keys.public)
    ((segment, *_),) = gallery.segments().values()
    return gallery.files.path_of(segment).read_bytes(), segment.place


def with_key(running: Running, packed: bytes) -> UserKeys:
    """Return keys whose secret is the polynomial in ``packed``; SealDataError where there is none."""
    secret = KeyBodies(running.keys.set).unpack_secret(packed)
    return UserKeys(running.keys.public, secret, bytes(32))


def polynomials_at_the_server(running: Running) -> Iterator[bytes]:
    """Yield what could be taken for a secret key: every polynomial of the server's keys and ciphertexts."""
    size = KeyBodies(running.keys.set).secret_bytes
    yield bytes(size)
    file = running.gallery / "public.key"
    _, body = open_head(file, file.read_bytes(), ("public",), "faces")
    assert len(body) == 6 * size
    yield from (bytes(body[start : start + size]) for start in range(0, len(body), size))
    for path in sorted(running.gallery.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            yield from (data[start : start + size].ljust(size, b"\0") for start in range(0, len(data), 4096))


def test_decryption_at_the_server_fails(recorded):
    """With all that is there: no polynomial of it opens what is stored, and the owner's key does."""
    running, _, _, vectors = recorded
    data, place = stored(running)
    right = with_key(running, KeyBodies(running.keys.set).pack_secret(running.keys.secret_key()))
    opened = opened_segment(right, data, place)
    assert (np.abs(opened @ vectors.T).max(axis=1) > 1 - 1e-6).all()
    tried = 0
    for packed in polynomials_at_the_server(running):
        try:
            keys = with_key(running, packed)
        except SealDataError:
            continue  # no polynomial: a coefficient is beyond its prime
        tried += 1
        with pytest.raises(UserError, match="a value is beyond"):
            opened_segment(keys, data, place)
    assert tried >= 7


def test_no_file_of_the_server_is_a_secret_key(recorded):
    running, _, _, _ = recorded
    for path in running.gallery.rglob("*"):
        if path.is_file():
            with pytest.raises(UserError):
                UserKeys.load(path)
