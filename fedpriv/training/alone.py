"""Parties that train side by side and share nothing: every client on its own images, or one on all."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fedpriv.privacy.accounting import Spent
from fedpriv.results import RoundResult
from fedpriv.training.centralized import Centralized
from fedpriv.training.parameters import FlatParameters
from fedpriv.training.party import ClientMemory, charge_lost_round
from fedpriv.types import AnyArray, FloatVector, Metrics

_MODEL = "model"


class Alone:
    """Trains parties round by round, none of which learns anything of another.

    With one party on all images it is ``mode=centralized``, with one on each client's share ``mode=local``:
    what a client reaches without a federation. A round's figures are :func:`together` of the parties'.

    Guarantee:
        - Party k is trained bit by bit as it would be by itself.
        - What each spends is charged to its own privacy budget; one whose budget is spent stays as it is
          while the others go on.

    Edge cases:
        - All models, with their optimisers' states, are in memory and in the checkpoint: clients times up to
          three times the model.
        - A party whose budget was spent is asked again in the first round after a resumption, declines
          and is counted again in ``failures``.

    Attributes:
        parties: by number.
        history: every round, from round 0.
    """

    def __init__(self, parties: Sequence[Centralized]) -> None:
        """Take at least one party."""
        self.parties = list(parties)
        self.history: list[RoundResult] = []

    def train(self) -> Iterator[RoundResult]:
        """Train the rounds that are left and yield each; the first is round 0, before training.

        Raises:
            UserError: when a model diverges.
        """
        rounds = [party.train() for party in self.parties]
        metric = self.parties[0].task.metric.name
        latest: dict[int, RoundResult] = {}
        while True:
            tried = {number: next(own, None) for number, own in enumerate(rounds)}
            fresh = {number: result for number, result in tried.items() if result is not None}
            if not fresh:
                return
            latest |= fresh
            examples = [len(self.parties[number].training) for number in fresh]
            result = together(list(fresh.values()), examples, list(latest.values()), metric)
            self.history.append(result)
            yield result

    @property
    def parameters(self) -> FlatParameters:
        """Party 0's model: a record has room for one, see :meth:`state` for the others."""
        return self.parties[0].parameters

    @property
    def ended(self) -> bool:
        """Whether no party will train any more, because every privacy budget is spent."""
        return all(party.ended for party in self.parties)

    @property
    def memories(self) -> dict[int, ClientMemory]:
        """Privacy history and head of each party as they are now."""
        return {number: party.memory for number, party in enumerate(self.parties)}

    @property
    def spent(self) -> Spent | None:
        """The largest that any party has been charged so far, for a round under way too; None without DP."""
        found = [party.spent for party in self.parties]
        return max((each for each in found if each is not None), key=lambda each: each.epsilon, default=None)

    def state(self) -> dict[str, AnyArray]:
        """Return optimisers' states, ``<party>/<name>``, and all models but party 0's, ``<party>/model``."""
        arrays: dict[str, AnyArray] = {}
        for number, party in enumerate(self.parties):
            arrays |= {f"{number}/{name}": array for name, array in party.state().items()}
            if number:
                arrays[f"{number}/{_MODEL}"] = party.parameters.read()
        return arrays

    def restore(
        self,
        history: list[RoundResult],
        parameters: AnyArray,
        state: Mapping[str, AnyArray],
        memories: Mapping[int, ClientMemory],
    ) -> None:
        """Go on after the last round of ``history``.

        Args:
            history: every finished round, from round 0.
            parameters: party 0's model after the last of them, (P,).
            state: what :meth:`state` returned then.
            memories: what :attr:`memories` were then; a missing one is that of a party that never trained.

        Raises:
            ValueError: when anything does not fit these models.
        """
        own: dict[int, dict[str, AnyArray]] = {number: {} for number in range(len(self.parties))}
        for key, array in state.items():
            text, _, name = key.partition("/")
            if not text.isdecimal() or int(text) not in own:
                raise ValueError(f"there is no party for the state {key}")
            own[int(text)][name] = array
        for number, party in enumerate(self.parties):
            model = model_of(number, parameters, state)
            own[number].pop(_MODEL, None)
            party.restore(history, model, own[number], memories.get(number, ClientMemory()))
        self.history = list(history)

    def charge(
        self, memories: Mapping[int, ClientMemory], number: int, attempts: int
    ) -> dict[int, ClientMemory]:
        """Charge every party for the round that was lost with the process, see :func:`charge_lost_round`.

        The ledger is charged where a party did not come to it.

        Args:
            memories: as kept after the last finished round.
            number: the lost round.
            attempts: how often it was begun.

        Raises:
            UserError: when the ledger is damaged or cannot be written.
        """
        charged = {}
        for index, party in enumerate(self.parties):
            memory = memories.get(index, ClientMemory())
            charged[index] = charge_lost_round(memory, party.plan)
            if charged[index].history != memory.history:
                party.make_up(number, attempts)
        return charged


def model_of(number: int, parameters: AnyArray, state: Mapping[str, AnyArray]) -> FloatVector:
    """Return party ``number``'s model, (P,), from what :class:`Alone` kept.

    Args:
        number: of the party.
        parameters: party 0's model.
        state: what :meth:`Alone.state` returned.

    Raises:
        ValueError: when it is missing.
    """
    if number == 0:
        return parameters
    if (kept := state.get(f"{number}/{_MODEL}")) is None:
        raise ValueError(f"party {number}'s model is missing")
    return kept


def together(
    fresh: Sequence[RoundResult], examples: Sequence[int], latest: Sequence[RoundResult], metric: str
) -> RoundResult:
    """Return one round of parties that train alone as one result; that of a single party is its own.

    A metric is the mean over parties, each counting alike; that which the task is judged by has its spread
    beside it, as ``<metric>_min``, ``_max`` and ``_std`` (over parties, divided by their number). Epsilon is
    the largest, seconds and failures are sums, the loss is the mean weighted by examples.

    Args:
        fresh: of the parties that trained in this round.
        examples: of each of them.
        latest: of all parties their last result, which stays that of a party whose budget is spent.
        metric: the task's.
    """
    if len(latest) == 1:
        return fresh[0]
    heard = [
        (each.train_loss, count)
        for each, count in zip(fresh, examples, strict=True)
        if each.train_loss is not None
    ]
    loss = sum(loss * count for loss, count in heard) / max(1, sum(count for _, count in heard))
    seconds: dict[str, float] = {}
    failures: dict[str, int] = {}
    for each in fresh:
        for phase, value in each.seconds.items():
            seconds[phase] = seconds.get(phase, 0.0) + value
        for cause, count in each.failures.items():
            failures[cause] = failures.get(cause, 0) + count
    most = max(latest, key=lambda each: -1.0 if each.epsilon is None else each.epsilon)
    return RoundResult(
        number=fresh[0].number,
        metrics=_metrics([each.metrics for each in latest], metric),
        train_loss=loss if heard else None,
        epsilon=most.epsilon,
        delta=most.delta,
        accountant=most.accountant,
        seconds=seconds,
        local_seconds=sum(each.local_seconds for each in fresh),
        failures=failures,
    )


def _metrics(measured: Sequence[Metrics], metric: str) -> Metrics:
    if not all(measured):
        return {}  # not a round to evaluate in
    names = [name for name in measured[0] if all(name in each for each in measured)]
    found = {name: float(np.mean([each[name] for each in measured])) for name in names}
    values = [each[metric] for each in measured]
    spread = {"min": np.min(values), "max": np.max(values), "std": np.std(values)}
    return found | {f"{metric}_{name}": float(value) for name, value in spread.items()}
