"""The privacy ledger of one data holder: what its examples have been charged with, by every run.

Entries are keyed by what was trained on (:mod:`fedpriv.privacy.example_set`) and not by run, so that
two runs on the same examples add up, however these were divided among clients.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.journal import Entry, Journal
from fedpriv.privacy import composition
from fedpriv.privacy.account import Account, account_of, shown
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.charge import Charge, Unit, UnknownKind, from_entry, to_entry
from fedpriv.privacy.composition import Loss
from fedpriv.privacy.example_set import ExampleSet, from_text
from fedpriv.privacy.exposure import Exposure, loss_of
from fedpriv.privacy.overlap import Overlap

FILE = "ledger.jsonl"
_CONSEQUENCE = (
    "nothing is trained with this ledger; put back its newest intact copy with its .head, or name another "
    "privacy ledger for data that no run has used"
)


def default_folder() -> Path:
    """Return ``$XDG_STATE_HOME/fedpriv/ledger``, else ``~/.local/state/fedpriv/ledger``."""
    chosen = Path(os.environ.get("XDG_STATE_HOME", ""))
    # relative paths are to be ignored (XDG Base Directory Specification)
    base = chosen if chosen.is_absolute() else Path.home() / ".local" / "state"
    return base / "fedpriv" / "ledger"


class Ledger:
    """What the examples of one data holder have spent, over all runs, shares and processes.

    Guarantee:
        - :meth:`charge` returns when its charges are on disk (synced): call it before the noise that it
          pays for is released. A process killed at any point leaves every acknowledged charge counted.
        - The sample-level epsilon of a share is the greatest over its examples, each composed over every
          charge to a set that holds it, whatever run, share or name that was charged under.
        - The client-level epsilon of a share is composed over every charge to a set that overlaps it.
        - :meth:`charge_within` never lets the examples charged pass the budget, over all processes.
        - Processes and threads that use one ledger wait for each other; none misses another's charge.
        - Nothing is charged and no epsilon is told from a damaged ledger (:class:`fedpriv.journal.Journal`).
        - It holds digests, numbers, times and names; no image, no label, no key. Its files are the
          owner's alone.

    Edge cases:
        - A charge whose release never happened stays counted; a round done again is charged again.
        - A client-level release touches an example by a changed contribution, twice as far as by a
          missing one: four times its rho. Other overlapping clients count so at the client level too.
        - Several shares of one run and round that hold the example, or overlap the client, are parts of
          one release: the square roots of their rho add up.
        - A client is not protected by what protects its examples: once such a charge overlaps it, its
          client-level epsilon is infinite, accountant ``none``.
        - Which examples make up a share is taken as public, and mechanisms as fixed in advance: choosing
          them by looking at other examples or earlier results is not accounted.
        - A budget is that of the share charged: a client-level charge may take another client, whose
          data it overlaps and who is not charged now, past its own.
        - Examples never charged have spent nothing; a ledger that was never written is empty.
        - A charge of a kind, or a line, that only a later version knows stops this one.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folder of the ledger; it appears with the first charge.

        Args:
            folder: of one data holder, see :func:`default_folder`.
        """
        self.path = folder / FILE
        self._journal = Journal(self.path, self._take, _CONSEQUENCE)
        self._accounts: dict[str, Exposure] = {}
        self._overlap: Overlap | None = None

    def charge(self, charges: Sequence[Charge]) -> None:
        """Write charges; on return they are durable, all of them by one sync.

        Raises:
            UserError: when the ledger is damaged or cannot be written. What was written stays counted.
        """
        self._write(charges, None)

    def charge_within(self, charges: Sequence[Charge], epsilon: float, delta: float) -> list[bool]:
        """Write those charges after which their shares have spent at most ``epsilon`` at ``delta``.

        Each is judged at its own unit, with the ones before it in place; nobody else can charge in between.

        Returns:
            For each charge whether it was written: where not, nothing may be released.

        Raises:
            UserError: as for :meth:`charge`.
        """
        return self._write(charges, (epsilon, delta))

    def make_up(self, charges: Sequence[Charge], times: int, budget: tuple[float, float] | None) -> None:
        """Write each charge whose share has fewer than ``times`` charges of that run and round.

        Args:
            charges: of rounds that were cut off, and may have been charged or not.
            times: how often they were begun.
            budget: (epsilon, delta) that none of them may pass, as in :meth:`charge_within`, or None.

        Raises:
            UserError: as for :meth:`charge`.
        """
        self._write(charges, budget, times)

    def may_spend(self, charge: Charge, epsilon: float, delta: float) -> bool:
        """Tell whether :meth:`charge_within` would write the charge now; writes nothing."""
        with self._journal.reading():
            losses = self._losses(charge.share, charge.mechanism.unit, self._pending({}, charge))
        return composition.within(losses, epsilon, delta)

    def spent(self, share: ExampleSet, delta: float, unit: Unit = "sample") -> Spent:
        """Return what the examples of ``share`` (unit ``sample``) or the client that holds it has spent.

        Args:
            share: any set of examples, whether it was ever charged as such or not.
            delta: probability of the bound failing.
            unit: whom the epsilon protects.

        Raises:
            UserError: when the ledger is damaged or cannot be used.
            ValueError: when delta does not lie between 0 and 1.
        """
        return self.greatest([share], delta, unit)

    def greatest(self, shares: Iterable[ExampleSet], delta: float, unit: Unit) -> Spent:
        """Return the most that any of several shares has spent, see :meth:`spent`; nothing for none."""
        with self._journal.reading():
            losses = {loss for share in shares for loss in self._losses(share, unit, {})}
        return composition.greatest(list(losses), delta)

    def runs_on(self, shares: Iterable[ExampleSet]) -> frozenset[str]:
        """Return all runs that were charged to an example of these shares.

        Raises:
            UserError: when the ledger is damaged or cannot be used.
        """
        with self._journal.reading():
            accounts = list(self._accounts.values())
            touched = {number for share in shares for number in self._index().touching(share)}
        return frozenset(run for number in touched for run in accounts[number].runs)

    def check(self) -> None:
        """Read all of it.

        Raises:
            UserError: when the ledger is damaged or cannot be used.
        """
        with self._journal.reading():
            pass

    def summary(self) -> list[Account]:
        """Return all shares that were charged, in the order of their first mention.

        Epsilons take an accountant's time each: :meth:`spent`, for the shares that are wanted.

        Raises:
            UserError: when the ledger is damaged or cannot be used.
        """
        with self._journal.reading():
            return [account_of(exposure) for exposure in self._accounts.values() if exposure.charges]

    def _write(
        self, charges: Sequence[Charge], budget: tuple[float, float] | None, times: int | None = None
    ) -> list[bool]:
        """Write charges, of those only that the budget allows and that are not there ``times`` times."""
        if not charges:
            return []
        with self._journal.writing() as append:
            if times is not None:
                charges = [charge for charge in charges if self._count(charge) < times]
            new = {charge.share.identity: charge.share for charge in charges}
            append(
                [
                    {"event": "share", "share": identity, "examples": len(share), "digests": share.to_text()}
                    for identity, share in new.items()
                    if identity not in self._accounts
                ]
            )
            within = [True] * len(charges) if budget is None else self._within(charges, *budget)
            append([to_entry(charge) for charge, paid in zip(charges, within, strict=True) if paid])
        return within

    def _count(self, charge: Charge) -> int:
        account = self._accounts.get(charge.share.identity)
        return 0 if account is None else account.rounds[charge.run, charge.round]

    def _within(self, charges: Sequence[Charge], epsilon: float, delta: float) -> list[bool]:
        pending: dict[str, Exposure] = {}
        within = []
        for charge in charges:
            after = self._pending(pending, charge)
            losses = self._losses(charge.share, charge.mechanism.unit, after)
            within.append(composition.within(losses, epsilon, delta))
            if within[-1]:
                pending = after
        return within

    def _pending(self, pending: Mapping[str, Exposure], charge: Charge) -> dict[str, Exposure]:
        """Return the accounts that differ from what is written, once ``charge`` is made too."""
        identity = charge.share.identity
        account = pending.get(identity) or self._accounts.get(identity) or Exposure(charge.share)
        return {**pending, identity: account.with_charge(charge)}

    def _losses(self, share: ExampleSet, unit: Unit, pending: Mapping[str, Exposure]) -> list[Loss]:
        """Return the losses of which the greatest is the share's."""
        accounts = [pending.get(identity, account) for identity, account in self._accounts.items()]
        overlap = self._index()
        # a share that was never written holds its own examples all the same
        extra = [pending[share.identity]] if share.identity in pending.keys() - self._accounts.keys() else []
        if unit == "client":
            touching = overlap.touching(share).items()
            parts = [(accounts[number], 1.0 if whole else 2.0) for number, whole in touching]
            return [loss_of([*parts, *((account, 1.0) for account in extra)], "client")]
        combinations = overlap.combinations(share)
        return list(
            {
                loss_of([(account, 2.0) for account in [*(accounts[n] for n in numbers), *extra]], "sample")
                for numbers in combinations
            }
        )

    def _index(self) -> Overlap:
        """Return which accounts, by number, hold which examples."""
        if self._overlap is None:
            self._overlap = Overlap([account.share for account in self._accounts.values()])
        return self._overlap

    def _take(self, entry: Entry) -> None:
        """Remember what a line of the journal says."""
        if entry["event"] == "share":
            share = from_text(entry["digests"])
            if share.identity != entry["share"] or not len(share) or share.identity in self._accounts:
                raise ValueError("share: not its identity, empty, or written before")
            self._accounts[share.identity] = Exposure(share)
            self._overlap = None
        elif entry["event"] == "charge":
            try:
                record = from_entry(entry)
            except UnknownKind as error:
                raise self._later("kind", str(error)) from None
            self._accounts[record.share].add(record)
        else:
            raise self._later("event", str(entry["event"]))

    def _later(self, field: str, value: str) -> UserError:
        return UserError(
            f"{self.path}: line {self._journal.line}: {field} {shown(value)!r} is not known to this version "
            "of fedpriv, so that its cost cannot be counted; use the version that wrote it, or a later one"
        )
