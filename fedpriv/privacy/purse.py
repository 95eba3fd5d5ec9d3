"""What one run pays with: a data holder's ledger, under the name of the run."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fedpriv.errors import UserError
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.charge import Charge, Mechanism, Unit
from fedpriv.privacy.example_set import ExampleSet
from fedpriv.privacy.ledger import Ledger
from fedpriv.privacy.party_of_run import Judge, PartyOfRun


class BudgetSpent(Exception):
    """One more release would pass a budget, of the run or of all runs; nothing was released."""


class LedgerUnusable(UserError):
    """The ledger is damaged or cannot be written; nothing was released."""


@dataclass(frozen=True)
class Lifetime:
    """What all runs have cost the examples of one.

    Attributes:
        spent: by the example, or the client, that has lost most.
        earlier_runs: other private runs that any of the examples stood in, those still going among them.
        seeded_runs: those of all runs, this one among them, whose noise was seeded and protects nobody.
    """

    spent: Spent
    earlier_runs: int
    seeded_runs: int = 0


@dataclass(frozen=True)
class Purse:
    """Charges to the ledger what a run is about to release.

    Guarantee:
        - A block of :meth:`paying` is left without an error only when its charge is on disk: what is
          released after it is paid for, wherever the process is killed.
        - With ``lifetime_epsilon`` no block is entered after which its examples would have spent more.
        - No two blocks of one party of a run, in any thread or process, are judged by the same charges: each
          is judged by all that were made before it.

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
        seeded: whether the run's noise is; for the record.
        by_server: whether the server draws the run's noise; for the record.
        resumed_as: what the run is called since it was last resumed; empty before.
    """

    ledger: Ledger
    run: str
    delta: float
    name: str
    lifetime_epsilon: float | None = None
    seeded: bool = False
    by_server: bool = False
    resumed_as: str = ""

    @contextmanager
    def paying(
        self,
        share: ExampleSet,
        mechanism: Mechanism,
        number: int,
        party: int = 0,
        judge: Judge | None = None,
    ) -> Iterator[None]:
        """Charge a party for a release, made inside the block in round ``number`` and handed on after it.

        The disk is waited for at the end of the block, while the release is computed: a sync takes
        as long as training a small client.

        Args:
            share: what the party releases something of.
            mechanism: by which.
            number: the round.
            party: of the run.
            judge: is called before the block, see :meth:`Ledger.charge`: in whatever process, no two
                releases of one party are judged by the same charges. It may run in another thread.

        Raises:
            BudgetSpent: before the block, when the release would pass ``lifetime_epsilon``.
            LedgerUnusable: when the ledger is damaged or cannot be written.
            Exception: before the block, what ``judge`` raises; nothing is charged then.
        """
        charge = self._charge(share, mechanism, number, party)
        if self.lifetime_epsilon is not None:
            with _blaming_ledger():
                paid = self.ledger.charge_within([charge], self.lifetime_epsilon, self.delta, judge)
            if paid != [True]:
                raise BudgetSpent
            yield
            return
        errors: list[BaseException] = []
        judged = threading.Event()

        def ask(charged: PartyOfRun) -> None:
            if judge is not None:
                judge(charged)
            judged.set()

        def write() -> None:
            try:
                with _blaming_ledger():
                    self.ledger.charge([charge], ask)
            except BaseException as error:
                errors.append(error)
            finally:
                judged.set()

        writer = threading.Thread(target=write, name="privacy ledger")
        writer.start()
        try:
            if judge is not None:
                judged.wait()
                if errors:
                    raise errors[0]
            yield
        finally:
            writer.join()
        if errors:
            raise errors[0]

    def may_pay(self, share: ExampleSet, mechanism: Mechanism, number: int, party: int = 0) -> bool:
        """Tell whether :meth:`paying` would let the block be entered now; nothing is charged.

        Raises:
            LedgerUnusable: when the ledger is damaged or cannot be used.
        """
        if self.lifetime_epsilon is None:
            return True
        charge = self._charge(share, mechanism, number, party)
        with _blaming_ledger():
            return self.ledger.may_spend(charge, self.lifetime_epsilon, self.delta)

    def make_up(self, due: Mapping[int, tuple[ExampleSet, Mechanism]], number: int, times: int) -> None:
        """Charge round ``number``, begun ``times`` times, to each party that it was charged less often.

        Args:
            due: of each party its share, and what it would have released.
            number: the round.
            times: how often it was begun.

        Raises:
            UserError: when the ledger is damaged or cannot be written.
        """
        charges = [self._charge(share, mechanism, number, party) for party, (share, mechanism) in due.items()]
        self.ledger.make_up(
            [replace(charge, resumed_as="") for charge in charges],
            times,
            None if self.lifetime_epsilon is None else (self.lifetime_epsilon, self.delta),
        )

    def lifetime(self, shares: Sequence[ExampleSet], unit: Unit, least: Spent | None = None) -> Lifetime:
        """Return what all runs together have cost these shares, no less than ``least``.

        Raises:
            UserError: when the ledger is damaged or cannot be used.
        """
        spent = self.ledger.greatest(shares, self.delta, unit)
        if least is not None and least.epsilon > spent.epsilon:
            spent = replace(spent, epsilon=least.epsilon, accountant=least.accountant)
        uses = self.ledger.uses_of(shares)
        seeded = {use.run for use in uses if use.seeded}
        return Lifetime(spent, len({use.run for use in uses} - {self.run}), len(seeded))

    def _charge(self, share: ExampleSet, mechanism: Mechanism, number: int, party: int) -> Charge:
        return Charge(
            share,
            mechanism,
            self.run,
            number,
            self.delta,
            self.name,
            party,
            self.seeded,
            self.by_server,
            self.resumed_as,
        )


@contextmanager
def _blaming_ledger() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise LedgerUnusable(str(error)) from error
