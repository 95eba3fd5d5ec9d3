"""Choosing the packing and the modulus of a scheme together: for the fewest bytes per coordinate."""

from collections.abc import Callable, Iterable

from fedpriv.he.packing_plan import PackingPlan
from fedpriv.he.parameters import SealParameters


def cheapest(
    packing: Callable[[int | None], PackingPlan],
    values_per_slot: int | None,
    moduli: Callable[[PackingPlan], Iterable[tuple[float, SealParameters]]],
) -> tuple[PackingPlan, SealParameters]:
    """Return the packing and parameters of the lowest cost per coordinate.

    Args:
        packing: the packing of so many values per slot, or of as many as fit.
        values_per_slot: coordinates per slot; None compares every number that fits.
        moduli: the parameters that carry a packing, and what a slot costs with each.

    Raises:
        UserError: as ``packing`` does.
        LookupError: where no modulus carries any.
    """
    most = packing(values_per_slot).values_per_slot
    counts = range(1, most + 1) if values_per_slot is None else [most]
    choices = [
        (cost / count, plan, parameters)
        for count in counts
        for plan in [packing(count)]
        for cost, parameters in moduli(plan)
    ]
    if not choices:
        raise LookupError("no modulus carries the packing")
    _, plan, parameters = min(choices, key=lambda choice: choice[0])
    return plan, parameters
