"""The privacy ledger of one data holder: what its examples have been charged with, by every run.

Entries are keyed by what was trained on (:mod:`fedpriv.privacy.example_set`) and not by run, so that
two runs on the same examples add up, however these were divided among clients.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.journal import Entry, Journal, require_place
from fedpriv.privacy import composition
from fedpriv.privacy.account import Account, account_of, shown
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.charge import Charge, Unit, UnknownKind, from_entry, to_entry
from fedpriv.privacy.composition import Loss
from fedpriv.privacy.example_set import ExampleSet, from_text
from fedpriv.privacy.exposure import Exposure, loss_of
from fedpriv.privacy.overlap import Overlap
from fedpriv.privacy.party_of_run import Judge, PartyOfRun
from fedpriv.privacy.use import Use, uses_of

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
          one release: the square roots of their rho add up. So are equal shares of several parties.
        - A client is not protected by what protects its examples: once such a charge overlaps it, its
          client-level epsilon is infinite, accountant ``none``.
        - An example that stands several times in one share is charged once: each copy is protected by itself,
          all together less, see :class:`~fedpriv.privacy.plan.SamplePlan`.
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
        self._ranks: dict[tuple[str, str], dict[int, int]] = {}
        self._overlap: Overlap | None = None
        self._parties: dict[tuple[str, int], PartyOfRun] = {}

    def charge(self, charges: Sequence[Charge], judge: Judge | None = None) -> None:
        """Write charges; on return they are durable, all of them by one sync.

        Args:
            charges: what is about to be released.
            judge: is called for each of them before any is written; nobody else can charge in between.

        Raises:
            UserError: when the ledger is damaged or cannot be written. What was written stays counted.
            Exception: what ``judge`` raises; nothing is written then.
        """
        self._write(charges, None, judge=judge)

    def charge_within(
        self, charges: Sequence[Charge], epsilon: float, delta: float, judge: Judge | None = None
    ) -> list[bool]:
        """Write those charges after which their shares have spent at most ``epsilon`` at ``delta``.

        Each is judged at its own unit, with the ones before it in place; nobody else can charge in between.

        Returns:
            For each charge whether it was written: where not, nothing may be released.

        Raises:
            UserError: as for :meth:`charge`.
            Exception: what ``judge`` raises, see :meth:`charge`.
        """
        return self._write(charges, (epsilon, delta), judge=judge)

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
        return frozenset(use.run for use in self.uses_of(shares))

    def uses_of(self, shares: Iterable[ExampleSet]) -> list[Use]:
        """Return what each run made of the examples of these shares, in the order of the ledger.

        Those of a set that was charged and holds but one of them count in whole.

        Raises:
            UserError: when the ledger is damaged or cannot be used.
        """
        with self._journal.reading():
            accounts = list(self._accounts.values())
            touched = {number for share in shares for number in self._index().touching(share)}
            return uses_of([accounts[number].uses for number in sorted(touched)])

    def check(self) -> None:
        """Read all of it, and try whether its folder could be written to; nothing is made.

        Raises:
            UserError: when the ledger is damaged or cannot be used.
        """
        require_place(self.path.parent)
        with self._journal.reading():
            pass

    def summary(self) -> list[Account]:
        """Return all shares that were charged, in the order of their first mention.

        One that several parties of a run held is there as often.

        Epsilons take an accountant's time each: :meth:`spent`, for the shares that are wanted.

        Raises:
            UserError: when the ledger is damaged or cannot be used.
        """
        with self._journal.reading():
            return [account_of(exposure) for exposure in self._accounts.values() if exposure.charges]

    def _write(
        self,
        charges: Sequence[Charge],
        budget: tuple[float, float] | None,
        times: int | None = None,
        judge: Judge | None = None,
    ) -> list[bool]:
        """Write charges, of those only that the budget allows and that are not there ``times`` times."""
        if not charges:
            return []
        with self._journal.writing() as append:
            if judge is not None:
                for charge in charges:
                    judge(self._parties.get((charge.run, charge.party), PartyOfRun()))
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
        account = self._accounts.get(self._place(charge.share.identity, charge.run, charge.party))
        return 0 if account is None else account.rounds[charge.run, charge.round]

    def _place(self, identity: str, run: str, party: int) -> str:
        """Return which account of a share a party is charged to: the first of a run to hold it, to the first.

        So the division among parties makes no difference, but where two of a run hold the same examples: they
        contribute to one release twice, while the charges of one party are a release each.
        """
        ranks = self._ranks.setdefault((identity, run), {})
        rank = ranks.setdefault(party, len(ranks))
        return f"{identity} {rank}" if rank else identity

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
        place = self._place(charge.share.identity, charge.run, charge.party)
        account = pending.get(place) or self._accounts.get(place) or Exposure(charge.share)
        return {**pending, place: account.with_charge(charge)}

    def _losses(self, share: ExampleSet, unit: Unit, pending: Mapping[str, Exposure]) -> list[Loss]:
        """Return the losses of which the greatest is the share's."""
        accounts = list({**self._accounts, **pending}.values())
        known = len(accounts) == len(self._accounts)
        overlap = self._index() if known else Overlap([account.share for account in accounts])
        if unit == "client":
            touching = overlap.touching(share).items()
            parts = [(accounts[number], 1.0 if whole else 2.0) for number, whole in touching]
            return [loss_of(parts, "client")]
        combinations = overlap.combinations(share)
        return list({loss_of([(accounts[n], 2.0) for n in numbers], "sample") for numbers in combinations})

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
            place = self._place(record.share, record.run, record.party)
            if place not in self._accounts:
                self._accounts[place] = Exposure(self._accounts[record.share].share)
                self._overlap = None
            self._accounts[place].add(record)
            self._parties.setdefault((record.run, record.party), PartyOfRun()).add(record)
        else:
            raise self._later("event", str(entry["event"]))

    def _later(self, field: str, value: str) -> UserError:
        return UserError(
            f"{self.path}: line {self._journal.line}: {field} {shown(value)!r} is not known to this version "
            "of fedpriv, so that its cost cannot be counted; use the version that wrote it, or a later one"
        )
