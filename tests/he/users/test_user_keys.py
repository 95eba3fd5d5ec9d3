"""Key pairs as files: what fits, what is refused, and what no file or text ever holds."""

import copy
import os
import pickle
import re
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest
from tenseal import sealapi

from fedpriv.errors import FormatError, UserError
from fedpriv.he.parameters import LONGEST_MODULUS, seal_context
from fedpriv.he.users.key_bodies import KeyBodies
from fedpriv.he.users.key_heads import KeyHead
from fedpriv.he.users.keys import SECRET_FILE, UserKeys
from fedpriv.he.users.public_keys import PUBLIC_FILE, PublicKeys
from fedpriv.he.users.row_packing import RowPacking, key_moduli
from fedpriv.he.users.sets import SETS, parameter_set


def opened(keys, ciphertext):
    return (keys.decrypt_floats if keys.set.ckks else keys.decrypt_integers)(ciphertext)


@pytest.mark.parametrize("name", SETS)
def test_a_loaded_pair_reads_what_the_saved_one_and_its_public_half_encrypt(owner, tmp_path, name):
    keys = owner(name)
    keys.save(tmp_path)
    loaded = UserKeys.load(tmp_path)
    assert (loaded.fingerprint, loaded.set) == (keys.fingerprint, SETS[name])
    for encryptor in (keys.encryptor(), PublicKeys.load(tmp_path).encryptor()):
        got = opened(loaded, encryptor.ciphertext(encryptor.constant(3)))
        assert np.allclose(got, 3, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_within_the_standard_s_128_bits(name):
    seal = SETS[name].seal
    assert sum(seal.coeff_bits) <= LONGEST_MODULUS[seal.poly_degree]
    assert len(SETS[name].name.encode()) <= 24


def test_a_set_of_another_name_is_refused():
    with pytest.raises(UserError, match=r"no such parameter set; choose one of faces"):
        parameter_set("facets")


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_the_secret_is_private_and_the_public_key_is_not_whatever_the_umask(images, tmp_path, umask):
    before = os.umask(umask)
    try:
        images.save(tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {SECRET_FILE: 0o600, PUBLIC_FILE: 0o644}


@pytest.mark.parametrize("name", [SECRET_FILE, PUBLIC_FILE])
def test_an_existing_file_is_never_replaced_and_nothing_is_left_beside_it(images, tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(UserError, match="exists already"):
        images.save(tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"precious"]


def test_a_secret_that_cannot_be_written_takes_its_public_key_away_again(images, tmp_path):
    # a link to nowhere is a name in use that does not exist
    (tmp_path / SECRET_FILE).symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="exists already"):
        images.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [SECRET_FILE]


@pytest.mark.parametrize(("kill_at", "named"), [(1, set()), (3, {PUBLIC_FILE})])
def test_killed_while_it_writes_a_file_it_leaves_nothing_under_its_name(tmp_path, kill_at, named):
    program = (
        "import os, sys, signal\n"
        "from pathlib import Path\n"
        "from fedpriv.he.users.keys import UserKeys\n"
        "from fedpriv.he.users.sets import SETS\n"
        "keys, real, calls = UserKeys.make(SETS['images']), os.fsync, []\n"
        "def fsync(descriptor):\n"
        "    calls.append(0)\n"
        f"    if len(calls) == {kill_at}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(descriptor)\n"
        "os.fsync = fsync\n"
        "keys.save(Path(sys.argv[1]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} == named


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_secret_that_others_may_access_is_refused(folder, mode):
    (folder / SECRET_FILE).chmod(mode)
    with pytest.raises(UserError, match="chmod 600"):
        UserKeys.load(folder)


def test_two_files_of_different_pairs_are_named_by_both_fingerprints(folder, images):
    other = UserKeys.make(SETS["images"])
    (folder / PUBLIC_FILE).write_bytes(other.public.to_bytes())
    with pytest.raises(UserError) as caught:
        UserKeys.load(folder)
    text = str(caught.value)
    assert SECRET_FILE in text
    shown = re.findall(r"(?:[0-9a-f]{4} ){7}[0-9a-f]{4}", text)
    assert [each.replace(" ", "") for each in shown] == [images.fingerprint[:32], other.fingerprint[:32]]


@pytest.mark.parametrize("load", [UserKeys.load, PublicKeys.load])
def test_a_key_for_another_purpose_is_named_as_such(folder, load):
    with pytest.raises(FormatError, match="a key for images, and one for faces is needed"):
        load(folder, "faces")


@pytest.mark.parametrize(("load", "given", "needed"), [
    (UserKeys.load, PUBLIC_FILE, "secret"), (PublicKeys.load, SECRET_FILE, "public")
])  # fmt: skip
def test_one_kind_of_file_in_the_place_of_the_other_is_named_as_such(folder, load, given, needed):
    (folder / PUBLIC_FILE).chmod(0o600)
    with pytest.raises(FormatError, match=f"and a {needed} key is needed"):
        load(folder / given)


def test_a_secret_of_another_pair_under_the_owner_s_own_signature_does_not_fit(folder, images):
    other = UserKeys.make(SETS["images"])
    head = KeyHead("secret", images.set, images.fingerprint, images.public.verify_key)
    body = KeyBodies(images.set).pack_secret(other.secret_key()) + images._seed
    (folder / SECRET_FILE).write_bytes(head.seal(body, images.signer))
    with pytest.raises(FormatError, match="does not fit the public key"):
        UserKeys.load(folder)


def test_a_secret_that_is_not_ternary_does_not_fit(folder, images):
    moduli = key_moduli(images.set.seal)
    words = np.random.default_rng(1).integers(0, moduli, (len(moduli), 4096), dtype=np.uint64)
    head = KeyHead("secret", images.set, images.fingerprint, images.public.verify_key)
    body = RowPacking(moduli, 4096).pack(words) + images._seed
    (folder / SECRET_FILE).write_bytes(head.seal(body, images.signer))
    with pytest.raises(FormatError, match="does not fit the public key"):
        UserKeys.load(folder)


def test_another_owner_s_signing_key_in_the_secret_does_not_fit(folder, images):
    head = KeyHead("secret", images.set, images.fingerprint, images.public.verify_key)
    body = KeyBodies(images.set).pack_secret(images.secret_key()) + bytes(32)
    (folder / SECRET_FILE).write_bytes(head.seal(body, images.signer))
    with pytest.raises(FormatError, match="does not fit the public key"):
        UserKeys.load(folder)


@pytest.mark.parametrize("forge", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("half", ["pair", "public"])
def test_keys_are_not_copied_and_not_pickled(images, forge, half):
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        forge(images if half == "pair" else images.public)


def test_no_text_of_a_pair_holds_its_secrets(images):
    coefficients = str(KeyBodies(images.set).secret_words(images.secret_key())[0, 0])
    for text in (
        repr(images),
        str(images),
        f"{images}",
        repr([images]),
        repr(images.public),
        repr(images.signer),
    ):
        assert images._seed.hex() not in text
        assert repr(images._seed)[2:-1] not in text
        assert coefficients not in text
    assert images.fingerprint in repr(images)


@pytest.mark.parametrize("place", [0, 5, 70, 150, 3000, -65, -1])
def test_no_refusal_of_a_damaged_secret_quotes_it(folder, images, place):
    data = bytearray((folder / SECRET_FILE).read_bytes())
    data[place] ^= 0x40
    (folder / SECRET_FILE).write_bytes(data)
    with pytest.raises(UserError) as caught:
        UserKeys.load(folder)
    chain, texts = caught.value, []
    while chain is not None:
        texts.append(repr(chain))
        chain = chain.__cause__ or chain.__context__
    assert images._seed.hex() not in "".join(texts)
    assert not re.search(r"[0-9a-f]{64}", "".join(texts))


@pytest.mark.parametrize("name", ["faces", "table"])
def test_the_public_file_holds_no_row_and_no_word_of_the_secret(owner, name):
    keys = owner(name)
    seal, data = keys.set.seal, keys.public.to_bytes()
    words = KeyBodies(keys.set).secret_words(keys.secret_key())
    packed = KeyBodies(keys.set).pack_secret(keys.secret_key())
    # a window of 16 bytes is there by chance with probability below 2^-80
    for start in range(0, len(packed) - 16, 997):
        assert packed[start : start + 16] not in data
    for row in words:
        for start in range(0, seal.poly_degree - 2, 499):
            assert row[start : start + 2].tobytes() not in data
    assert keys._seed not in data
    rows = RowPacking(key_moduli(seal), seal.poly_degree)
    public = [rows.unpack(data[at : at + rows.size]) for at in range(140, len(data) - 64, rows.size)]
    for polynomial in public:
        # independent residues agree in a place with probability 2^-50 or less
        assert not (polynomial == words).any()
        assert not (polynomial == np.where(words == 0, 0, key_moduli(seal) - words)).any()


def test_with_the_public_file_alone_nothing_decrypts(images):
    public = PublicKeys.from_bytes(images.public.to_bytes(), "the server's copy")
    context, encryptor = seal_context(public.set.seal), images.encryptor()
    ciphertext = encryptor.ciphertext(encryptor.integers(np.arange(100, dtype=np.int64)))
    assert images.noise_budget(ciphertext) > 0
    bodies, rows = KeyBodies(public.set), RowPacking(key_moduli(public.set.seal), 4096)
    candidates = [sealapi.KeyGenerator(context).secret_key()]
    # the polynomials of the file, taken for secrets
    for start in range(140, len(public.to_bytes()) - 64, rows.size):
        candidates.append(bodies.unpack_secret(public.to_bytes()[start : start + rows.size]))
    assert len(candidates) == 3
    for candidate in candidates:
        assert sealapi.Decryptor(context, candidate).invariant_noise_budget(ciphertext) == 0
    assert not hasattr(public, "decrypt_integers")


def test_another_pair_s_ciphertext_is_refused_and_not_read_as_garbage(images):
    other = UserKeys.make(SETS["images"]).encryptor()
    with pytest.raises(UserError, match="under another key"):
        images.decrypt_integers(other.ciphertext(other.constant(1)))


def test_another_pair_s_floats_are_beyond_the_limit(faces):
    other = UserKeys.make(SETS["faces"]).encryptor()
    with pytest.raises(UserError, match=r"a value is beyond 1\.1"):
        faces.decrypt_floats(other.ciphertext(other.constant(0.5)), limit=1.1)


def test_integers_and_floats_are_not_mistaken_for_each_other(images, faces):
    with pytest.raises(ValueError, match="holds floats"):
        faces.decrypt_integers(None)
    with pytest.raises(ValueError, match="holds integers"):
        images.decrypt_floats(None)


def test_two_pairs_differ_in_everything(images):
    other = UserKeys.make(SETS["images"])
    assert other.fingerprint != images.fingerprint
    assert other.public.verify_key != images.public.verify_key
    mine, theirs = (KeyBodies(each.set).secret_words(each.secret_key()) for each in (images, other))
    assert not (mine == theirs).any()
