"""Update codecs from the names in a configuration; another scheme costs one encoding and one line here."""

from fedpriv.errors import UserError
from fedpriv.he.codec import UpdateCodec
from fedpriv.he.packing_plan import NoiseFrom
from fedpriv.he.plain import PlainCodec
from fedpriv.privacy.sum_plan import SumPlan

SCHEMES = ("plain", "bfv", "ckks")
KEYS = ("authority", "committee")
MOST_HOLDERS = 16
MOST_SMUDGING_BITS = 80


def build_codec(
    scheme: str,
    max_clients: int,
    keys: str = "authority",
    holders: int = 3,
    bits: int = 16,
    value_range: float = 0.5,
    values_per_slot: int | None = None,
    smudging_bits: int = 56,
    noise: SumPlan | None = None,
) -> UpdateCodec:
    """Return the codec of a scheme, without any key.

    Args:
        scheme: one of :data:`SCHEMES`; ``plain`` has no other option than ``max_clients``.
        max_clients: most updates in one sum.
        keys: one of :data:`KEYS`, see :mod:`fedpriv.he.authority` and :mod:`fedpriv.he.committee`.
        holders: size of the committee.
        bits: bits per coordinate (bfv), precision of a released sum (ckks).
        value_range: coordinates beyond it, in magnitude, saturate.
        values_per_slot: coordinates per slot (bfv); None takes what costs fewest bytes.
        smudging_bits: log2 of the noise that key holders add over the noise that it hides.
        noise: discrete noise that clients or server add under encryption (bfv); its step must be that of
            ``bits`` and ``value_range``.

    Raises:
        UserError: when there is no such scheme, or the values do not fit together.
    """
    if scheme not in SCHEMES:
        raise UserError(f"secure.scheme={scheme}: unknown; choose one of {', '.join(sorted(SCHEMES))}")
    if noise is not None and scheme != "bfv":
        raise UserError(f"secure.scheme={scheme}: carries no discrete noise; use secure.scheme=bfv")
    if scheme == "plain":
        return PlainCodec(max_clients)
    if keys not in KEYS:
        raise UserError(f"secure.keys={keys}: unknown; choose one of {', '.join(KEYS)}")
    if keys == "committee" and not 2 <= holders <= MOST_HOLDERS:
        raise UserError(f"secure.holders={holders}: choose 2 to {MOST_HOLDERS}, or secure.keys=authority")
    if not 0 <= smudging_bits <= MOST_SMUDGING_BITS:
        raise UserError(f"secure.smudging_bits={smudging_bits}: choose 0 to {MOST_SMUDGING_BITS}")
    # imported on use: a plain run needs no encryption library
    from fedpriv.he.authority import AuthorityCodec, plan_authority
    from fedpriv.he.bfv import IntegerEncoding
    from fedpriv.he.ckks import FloatEncoding
    from fedpriv.he.committee import CommitteeCodec, plan_committee
    from fedpriv.he.packing_plan import quantisation_step

    if scheme == "ckks":
        if keys == "authority":
            return AuthorityCodec(FloatEncoding(max_clients, bits, value_range, smudging_bits))
        floats = FloatEncoding(max_clients, bits, value_range, smudging_bits, holders)
        return CommitteeCodec(floats, holders, floats.smudge_log2)
    bounds = (0, 0) if noise is None else (noise.client_noise_bound, noise.server_noise_bound)
    given: NoiseFrom = "noise_multiplier" if noise is None or noise.target_epsilon is None else "epsilon"
    if noise is not None and noise.step != quantisation_step(bits, value_range):
        raise ValueError(
            f"noise: made for steps of {noise.step}, not of {quantisation_step(bits, value_range)}"
        )
    if keys == "authority":
        plan, parameters = plan_authority(bits, max_clients, values_per_slot, value_range, *bounds, given)
        return AuthorityCodec(IntegerEncoding(plan, parameters, noise))
    plan, parameters, smudge_log2 = plan_committee(
        holders,
        bits,
        max_clients,
        values_per_slot,
        value_range,
        smudging_bits,
        *bounds,
        given,
    )
    return CommitteeCodec(IntegerEncoding(plan, parameters, noise), holders, smudge_log2)
