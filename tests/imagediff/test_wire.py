"""What leaves the client, and what the server keeps: no key material and no pixel."""

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.keys import SecretKey
from fedpriv.he.pictures.packing import ValuePacking
from fedpriv.he.users.cipher_reading import open_ciphers
from fedpriv.he.users.keys import SECRET_FILE, UserKeys
from fedpriv.he.users.public_keys import PUBLIC_FILE
from fedpriv.he.users.sets import SETS
from fedpriv.imagediff.client import DifferenceClient
from fedpriv.imagediff.local import local_server
from tests.imagediff.recording import RecordingProxy

SIZE = 12


def windows(data, stride=SIZE):
    """Pieces of 12 bytes in a row: whatever holds any 23 bytes of ``data`` holds one of them."""
    return {data[at : at + SIZE] for at in range(0, len(data) - SIZE + 1, stride)} - {bytes(SIZE)}


def found_in(seen, needles):
    """The needles that occur in ``seen``, at any offset."""
    return {seen[at : at + SIZE] for at in range(len(seen) - SIZE + 1)} & needles


@pytest.fixture(scope="module")
def exchange(keys, tmp_path_factory):
    """Two comparisons through a recording proxy: pictures, bytes on the wire, the server's files."""
    generator = np.random.default_rng(1)
    first, second = generator.integers(0, 256, (2, 60, 70, 3), dtype=np.uint8)
    store = tmp_path_factory.mktemp("wire")
    with local_server(store) as url, RecordingProxy(url) as proxy:
        with DifferenceClient(proxy.url, keys) as client:
            difference = client.difference(first, second)
            client.store_reference("kept", first)
            client.difference_from("kept", second)
        files = {
            path: path.read_bytes() for path in store.rglob("*") if path.is_file() and path.stat().st_size
        }
        return first, second, difference, proxy.bytes, files


def test_no_key_material_leaves_the_client(exchange, keys, tmp_path):
    *_, seen, files = exchange
    keys.save(tmp_path)
    public, secret = (tmp_path / PUBLIC_FILE).read_bytes(), (tmp_path / SECRET_FILE).read_bytes()
    own = {each for each in windows(secret) if each not in public}
    coefficients = np.asarray(SecretKey(keys.set.seal, bytes(16), keys.secret_key()).coefficients())
    assert set(np.unique(coefficients)) == {-1, 0, 1}
    own |= windows(coefficients.astype(np.int8).tobytes(), 1) | windows(
        coefficients.astype("<i8").tobytes(), 8
    )
    assert len(own) > 5000
    assert not found_in(seen, own)
    assert not found_in(b"".join(files.values()), own)
    # the search finds what is there
    assert found_in(seen, windows(public))


def test_no_pixel_leaves_the_client(exchange, keys):
    first, second, difference, seen, files = exchange
    pack = ValuePacking(keys.set).pack
    pixels = windows(difference.astype("<i2").tobytes())
    for picture in (first, second):
        pixels |= windows(picture.tobytes()) | windows(pack(picture.reshape(-1)).tobytes())
    kept = b"".join(files.values())
    assert not found_in(seen, pixels)
    assert not found_in(kept, pixels)
    # the search finds what is there: the reference was sent before it was kept
    assert len(kept) > 27_000
    assert found_in(kept, windows(seen, 1))


def test_the_server_keeps_the_reference_and_nothing_else(exchange, keys):
    *_, files = exchange
    (path,) = files
    assert path.parts[-4:-2] == (keys.fingerprint, "kept")


def test_what_the_server_keeps_opens_under_its_owners_key_only(exchange, keys, tmp_path):
    first, *_, files = exchange
    path = tmp_path / "part.fpct"
    path.write_bytes(next(iter(files.values())))
    with open_ciphers(path, keys.public, most=64) as reader:
        (ciphertext,) = list(reader)
    packed = ValuePacking(keys.set).pack(first.reshape(-1))
    assert np.array_equal(keys.decrypt_integers(ciphertext) % keys.set.seal.plain_modulus, packed)
    with pytest.raises(UserError, match="does not decrypt"):
        UserKeys.make(SETS["images"]).decrypt_integers(ciphertext)
