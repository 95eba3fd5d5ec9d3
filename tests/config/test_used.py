"""What is recorded of encryption is a configuration too, and the same one."""

import math
from typing import cast

import pytest
from omegaconf import DictConfig, OmegaConf

from fedpriv.config.as_json import to_json, typed
from fedpriv.config.checks import check
from fedpriv.config.compose import compose_run
from fedpriv.config.models import layout_of
from fedpriv.config.secure import codec_of, policy_of
from fedpriv.config.used import encryption_figures, recorded
from tests.config.small import SMALL

SETTINGS = [
    (),
    ("secure=bfv",),
    ("secure=bfv_committee", "secure.holders=5"),
    ("secure=ckks",),
    ("secure=ckks", "secure.keys=committee", "secure.smudging_bits=44"),
    ("secure=bfv", "secure.select_top=0.25", "secure.bits=12"),
    ("secure=bfv", "privacy=client_level"),
    ("secure=bfv_committee", "privacy=client_level", "secure.values_per_slot=1"),
]


@pytest.mark.parametrize("overrides", SETTINGS, ids=" ".join)
def test_what_is_recorded_is_accepted_and_encrypts_alike(overrides):
    config = compose_run(*SMALL, *overrides)
    plain = OmegaConf.to_container(cast(DictConfig, config), resolve=True, enum_to_str=True)
    again = typed(OmegaConf.create(recorded(config, plain)))
    check(again)
    assert codec_of(again).digest == codec_of(config).digest
    assert policy_of(again) == policy_of(config)
    assert encryption_figures(to_json(again)) == encryption_figures(to_json(config))


def test_selected_coordinates_are_what_bytes_are_counted_for():
    """The coordinates in clear take 4 bytes each, beside the ciphertexts of the others."""
    text = to_json(compose_run(*SMALL, "secure=bfv", "secure.select_top=0.25"))
    size, figures = layout_of(text).size, encryption_figures(text)
    selected = math.ceil(size / 4)
    plaintexts = math.ceil(selected / (figures["poly_degree"] * figures["values_per_slot"]))
    polynomial = figures["poly_degree"] * round(figures["ciphertext_modulus_bits"]) // 8
    # header, signature and the seed of c1 come first
    assert figures["update_bytes"] == 256 + 64 + 32 + plaintexts * polynomial + 4 * (size - selected)
