import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.bfv import BFVCodec
from fedpriv.he.codec import UpdateCodec
from fedpriv.he.keys import generate_key
from fedpriv.he.registry import SCHEMES, build_codec


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_scheme_carries_a_round_behind_one_interface(scheme, random):
    server = build_codec(scheme, max_clients=3)
    assert isinstance(server, UpdateCodec)
    assert server.scheme == scheme
    options = {"secret_key": generate_key(BFVCodec(3).parameters)} if server.needs_keyholder else {}
    client = build_codec(scheme, max_clients=3, **options)
    vectors = random.uniform(-0.4, 0.4, (3, 100)).astype(np.float32)
    total = server.aggregator(100)
    for vector in vectors:
        payload = client.encode(vector, random).payload
        assert len(payload) <= server.max_payload_bytes(100)
        total.add(payload)
    decoded = client.decoder(3).decode_sum(total.result(), total.count, 100)
    assert np.abs(decoded - vectors.sum(axis=0, dtype=np.float64)).max() < 1e-4


def test_an_unknown_scheme_is_named_with_the_known_ones():
    with pytest.raises(UserError, match=r"secure.scheme=rsa: unknown; choose one of bfv, plain"):
        build_codec("rsa", max_clients=3)


def test_a_plain_run_does_not_load_the_encryption_library():
    program = (
        "import sys; from fedpriv.he.registry import build_codec; build_codec('plain', 3); "
        "sys.exit(any(name.startswith('tenseal') for name in sys.modules))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
