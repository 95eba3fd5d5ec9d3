"""What one run pays with: a data holder's ledger, under the name of the run."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.charge import Charge, Mechanism, Unit
from fedpriv.privacy.example_set import ExampleSet
from fedpriv.privacy.ledger import Ledger


class BudgetSpent(Exception):
    """One more release would pass a budget, of the run or of all runs; nothing was released."""


@dataclass(frozen=True)
class Lifetime:
    """What all runs have cost the examples of one.

    Attributes:
        spent: by the example, or the client, that has lost most.
        earlier_runs: other runs that any of the examples stood in.
    """

    spent: Spent
    earlier_runs: int


@dataclass(frozen=True)
class Purse:
    """Charges to the ledger what a run is about to release.

    Guarantee:
        - A block of :meth:`paying` is left without an error only when its charge is on disk: what is
          released after it is paid for, wherever the process is killed.
        - With ``lifetime_epsilon`` no block is entered after which its examples would have spent more.

    Edge cases:
        - A block that ends with an error, or is killed, may have been charged for nothing.
        - What the round that a crash cut off has cost is charged once, whether or not it came to its
          charge; done again, it is charged again.
        - Where the round that a crash cut off would have passed ``lifetime_epsilon``, it was never begun
          and is not charged.

    Attributes:
        ledger: of the party.
        run: identifier of the run; the same for all processes that go on with it.
        delta: that epsilons are stated at.
        name: of the data, for people.
        lifetime_epsilon: what the examples may spend over all runs; None for no limit.
    """

    ledger: Ledger
    run: str
    delta: float
    name: str
    lifetime_epsilon: float | None = None

    @contextmanager
    def paying(self, share: ExampleSet, mechanism: Mechanism, number: int) -> Iterator[None]:
        """Charge for one release, made inside the block in round ``number`` and handed on after it.

        The disk is waited for at the end of the block, while the release is computed: a sync takes
        as long as training a small client.

        Raises:
            BudgetSpent: before the block, when the release would pass ``lifetime_epsilon``.
            UserError: when the ledger is damaged or cannot be written.
        """
        charge = self._charge(share, mechanism, number)
        if self.lifetime_epsilon is not None:
            if self.ledger.charge_within([charge], self.lifetime_epsilon, self.delta) != [True]:
                raise BudgetSpent
            yield
            return
        errors: list[BaseException] = []

        def write() -> None:
            try:
                self.ledger.charge([charge])
            except BaseException as error:
                errors.append(error)

        writer = threading.Thread(target=write, name="privacy ledger")
        writer.start()
        try:
            yield
        finally:
            writer.join()
        if errors:
            raise errors[0]

    def make_up(self, due: Sequence[tuple[ExampleSet, Mechanism]], number: int, times: int) -> None:
        """Charge round ``number``, begun ``times`` times, to each share that it was charged less often.

        Raises:
            UserError: when the ledger is damaged or cannot be written.
        """
        self.ledger.make_up(
            [self._charge(share, mechanism, number) for share, mechanism in due],
            times,
            None if self.lifetime_epsilon is None else (self.lifetime_epsilon, self.delta),
        )

    def lifetime(self, shares: Sequence[ExampleSet], unit: Unit, least: float = 0.0) -> Lifetime:
        """Return what all runs together have cost these shares, at least an epsilon of ``least``.

        Raises:
            UserError: when the ledger is damaged or cannot be used.
        """
        spent = self.ledger.greatest(shares, self.delta, unit)
        spent = replace(spent, epsilon=max(spent.epsilon, least))
        return Lifetime(spent, len(self.ledger.runs_on(shares) - {self.run}))

    def _charge(self, share: ExampleSet, mechanism: Mechanism, number: int) -> Charge:
        return Charge(share, mechanism, self.run, number, self.delta, self.name)
