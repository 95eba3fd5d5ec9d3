import pytest

from fedpriv.errors import UserError
from fedpriv.he.fitting import cheapest
from fedpriv.he.packing import plan_packing
from fedpriv.he.parameters import SealParameters


def packing(values_per_slot):
    return plan_packing(8, 4, values_per_slot, capacity_bits=40)


def moduli(plan):
    """A slot that costs 30 for up to three values, and 90 or 41 for the fourth."""
    costs = [30] if plan.values_per_slot < 4 else [90, 41]
    return [(cost, SealParameters(plan.plain_modulus, coeff_bits=(cost, cost))) for cost in costs]


def test_the_lowest_cost_per_coordinate_is_chosen():
    plan, parameters = cheapest(packing, None, moduli)
    assert (plan.values_per_slot, parameters.coeff_bits) == (3, (30, 30))  # 10 a value; 10.25 with four
    assert parameters.plain_modulus == plan.plain_modulus


def test_a_number_of_values_that_is_given_is_kept_and_only_the_modulus_chosen():
    plan, parameters = cheapest(packing, 4, moduli)
    assert (plan.values_per_slot, parameters.coeff_bits) == (4, (41, 41))


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"secure\.values_per_slot=5"):
        cheapest(packing, 5, moduli)
    with pytest.raises(LookupError):
        cheapest(packing, None, lambda plan: [])
