"""What a configuration of encryption comes to: for the record of a run, where defaults would mislead."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedpriv.config.as_json import from_json
from fedpriv.config.models import layout_of
from fedpriv.config.privacy import sum_plan_of
from fedpriv.config.schema import Mode, RunConfig, Scheme
from fedpriv.config.secure import codec_of, smudges, update_codec_of
from fedpriv.he.envelope import SIGNED_BYTES
from fedpriv.he.selection import selected_count
from fedpriv.he.selective import select
from fedpriv.privacy.sum_plan import update_length


def recorded(config: RunConfig, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``plain`` with the settings of encryption that have an effect, and ``holders`` as there are.

    Guarantee:
        A configuration with these values is accepted, and encrypts as ``config`` does.

    Args:
        config: of the run.
        plain: the same as nested plain values.
    """
    secure = dict(plain["secure"])
    if config.secure.scheme is Scheme.plain:
        secure = {name: secure[name] for name in ("scheme", "key_folder")}
    else:
        secure["holders"] = codec_of(config).holders
        if not smudges(config):
            del secure["smudging_bits"]
        if config.secure.scheme is Scheme.ckks:
            del secure["values_per_slot"]
    return {**plain, "secure": secure}


def encryption_figures(text: str) -> dict[str, float]:
    """Return what updates will be encrypted with and measure, by name; empty without clients.

    The names of :attr:`fedpriv.he.encoding.Encoding.figures`, ``holders``, ``smudging_bits`` where it
    counts, ``update_bytes`` of one sealed update and ``bytes_per_parameter``, which is 4 in clear.
    Where coordinates are chosen in the run (``secure.select_top``), that many are counted as encrypted.

    Args:
        text: the configuration as JSON.

    Raises:
        UserError: when the values do not fit together.
    """
    config = from_json(text)
    if config.mode is not Mode.federated:
        return {}
    size, codec = layout_of(text).size, update_codec_of(text)
    if (share := config.secure.select_top) is not None:
        codec = select(codec, np.arange(size) < selected_count(share, size))
    length = update_length(size, sum_plan_of(config))
    update = SIGNED_BYTES + codec.mask_bytes(length) + codec.body_bytes(length)
    figures = {
        **codec.figures,
        "holders": codec.holders,
        "update_bytes": update,
        "bytes_per_parameter": round(update / size, 4),
    }
    return figures | ({"smudging_bits": config.secure.smudging_bits} if smudges(config) else {})
