"""What clients may have spent that were asked to train and have not said so: by their plans."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fedpriv.federated.roster import Member
from fedpriv.privacy.accounting import History, Spent
from fedpriv.privacy.plan import SamplePlan

PlanOf = Callable[[int], SamplePlan]
"""From a client's number of examples to its plan."""


@dataclass
class Unheard:
    """Bounds what silent clients have spent: a client may train, add its noise, and never be heard of.

    Guarantee:
        - A client that follows its plan has spent no more than its bound, whether or not it answered.

    Edge cases:
        - A client that answers ``budget_spent`` did not train: that it was asked does not count.
        - A client that was heard of says itself what it has spent, in all rounds: it has no bound.
        - A client for whose number of examples there is no plan cannot train.

    Attributes:
        plan_of: the plans.
        before: what clients had spent when an interrupted run went on.
    """

    plan_of: PlanOf
    before: Mapping[int, History] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start without a question."""
        self._asked: Counter[int] = Counter()

    def round_done(
        self, asked: Iterable[Member], heard: Iterable[int], refused: Iterable[int]
    ) -> dict[int, Spent]:
        """Count a round and return the bound of each client that was silent in it.

        Args:
            asked: who was asked to train.
            heard: partitions of those who said what they have spent.
            refused: partitions of those who said that their budget is spent.
        """
        asked, heard, refused = list(asked), set(heard), set(refused)
        self._asked.update(member.partition for member in asked if member.partition not in refused)
        found = {}
        for member in asked:
            if member.partition not in heard | refused:
                try:
                    plan = self.plan_of(member.examples)
                except ValueError:
                    continue
                history = self.before.get(member.partition, ())
                found[member.partition] = plan.spent_at_most(history, self._asked[member.partition])
        return found
