"""A study: the trials of a search, kept so that any later command goes on with them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from fedpriv.errors import UserError
from fedpriv.seeding import derive
from fedpriv.sweeps.keys import sweep_key
from fedpriv.sweeps.reports import Report
from fedpriv.sweeps.search.objectives import Objective
from fedpriv.sweeps.search.settings import Settings
from fedpriv.sweeps.search.space import Space
from fedpriv.sweeps.search.storage import alone, connect, prepare_storage, quiet_optuna
from fedpriv.sweeps.search.trials import REPORT, STATES, Told, Trial, told_of
from fedpriv.tracking.secrets import hide_in_text
from fedpriv.tracking.store import Location

_WHAT, _INSTEAD = "fedpriv_search", "fedpriv_instead_of"
_ASKED = "fedpriv_asked_once"


class Study:
    """A study of Optuna's, one process at a time.

    Guarantee:
        What a trial tries depends on the sampler's seed, the trial's place and what was told before it. So
        a search of one job at a time that is cut off, and gone on with, tries what the undisturbed one does.

    Edge cases:
        A trial that failed without being refused is tried again by the next command: Optuna changes no trial
        that has ended, so a new one takes its settings and its place, and the old one counts no more.
    """

    def __init__(
        self,
        storage: RDBStorage,
        name: str,
        what: str,
        space: Space,
        objectives: Sequence[Objective],
        settings: Settings,
        pruner: BasePruner,
    ) -> None:
        """Open or create it; see :func:`open_study`."""
        self.name, self.space, self.objectives = name, space, list(objectives)
        self._settings = settings
        directions = [each.direction for each in objectives]
        with quiet_optuna():
            try:
                self.optuna = optuna.create_study(
                    study_name=name,
                    storage=storage,
                    pruner=pruner,
                    directions=directions,
                    load_if_exists=True,
                    sampler=RandomSampler(),
                )
            except ValueError as error:
                raise UserError(f"hydra.sweeper.study_name={name}: {error}; choose another name") from error
            known = self.optuna.user_attrs.get(_WHAT)
            if known is None and not self.optuna.trials:
                self.optuna.set_user_attr(_WHAT, what)
            elif known != what:
                raise UserError(
                    f"hydra.sweeper.study_name={name}: is a search of something else (its space, other "
                    "settings, objectives or fedpriv's version differ); choose another name"
                )
            told = [told_of(each) for each in self._counting(TrialState.FAIL)]
        self.again = [each.number for each in told if not each.report.refused]
        """Numbers of trials that failed in earlier commands, and that this one has yet to try again."""

    @property
    def ended(self) -> list[Told]:
        """Every trial that has ended, in order, those apart that another was made in the place of."""
        return [told_of(each) for each in self._counting(*STATES)]

    @property
    def runs(self) -> dict[str, Report]:
        """What was last told of each run of a trial that has ever ended, by its id in MLflow."""
        found = [told_of(each).report for each in self._trials(*STATES)]
        return {report.run_id: report for report in found if report.run_id is not None}

    @property
    def best(self) -> list[Told]:
        """The best trial; with several objectives those of the Pareto front. Empty while none is complete."""
        if not self._trials(TrialState.COMPLETE):
            return []
        return [told_of(each) for each in self.optuna.best_trials[: None if len(self.objectives) > 1 else 1]]

    def batch(self, size: int, total: int) -> list[Trial]:
        """Return trials to be run side by side: what a killed command left or failed with, and new ones.

        New trials fill batches that end at multiples of ``size``: what they are chosen by does not depend on
        where an earlier command was cut off.

        Args:
            size: of a batch.
            total: how many trials the study is to have.

        Returns:
            Nothing where the study has them, and all have ended.
        """
        with quiet_optuna():
            left = self._trials(TrialState.RUNNING)
            if not left and self.again:
                return [self._again(self._renewed(self.again.pop(0)), size) for _ in self.again[:size]]
            count = self._count()
            first = self._place(left[0]) if left else count
            end = min(total, (first // size + 1) * size)
            taken = [self._again(each, size) for each in left]
            return taken + [self._ask(place, size) for place in range(count, end)]

    def asked_once(self) -> bool:
        """Tell whether a run was found before that has all objectives, or was asked for one that it lacks."""
        before = bool(self.optuna.user_attrs.get(_ASKED)) or bool(self._trials(TrialState.COMPLETE))
        self.optuna.set_user_attr(_ASKED, True)
        return before

    def twin(self, trial: Trial) -> Told | None:
        """Return an earlier trial of the same settings that has ended, failed ones apart."""
        for each in self.ended:
            if each.state != "failed" and dict(each.params) == trial.params:
                return each
        return None

    def tell(self, trial: Trial, report: Report, values: Sequence[float] | None = None) -> Told:
        """End a trial.

        Args:
            trial: that is under way.
            report: of its job: finished, reused, pruned or failed.
            values: of the objectives, for a trial that is complete; none is NaN.
        """
        reason = report.reason
        if reason is not None:
            reason = hide_in_text(reason.partition("\n")[0], ())[:500]
        plain = {**asdict(report), "reason": reason, "process": None}
        state = TrialState.COMPLETE if values is not None else TrialState.FAIL
        if report.state == "pruned":
            state, values = TrialState.PRUNED, None
        with quiet_optuna():
            trial.handle.set_user_attr(REPORT, json.dumps(plain))
            told = self.optuna.tell(trial.number, None if values is None else list(values), state)
        return told_of(told)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        found = self.optuna.get_trials(deepcopy=False, states=states)
        return sorted(found, key=lambda each: each.number)

    def _counting(self, *states: TrialState) -> list[FrozenTrial]:
        """Return trials without those that another was made in the place of."""
        replaced = {each.user_attrs.get(_INSTEAD) for each in self._trials(TrialState.RUNNING, *STATES)}
        return [each for each in self._trials(*states) if each.number not in replaced]

    def _count(self) -> int:
        return len(self._counting(TrialState.RUNNING, *STATES))

    def _place(self, trial: FrozenTrial) -> int:
        """Return how many of the search's trials were asked for before this one, or the one it stands for."""
        known = {each.number: each for each in self._trials(TrialState.RUNNING, *STATES)}
        while (before := trial.user_attrs.get(_INSTEAD)) is not None:
            trial = known[before]
        return sum(
            number < trial.number and _INSTEAD not in each.user_attrs for number, each in known.items()
        )

    def _renewed(self, number: int) -> FrozenTrial:
        """Make a trial of the settings of one that failed, under way, in one step."""
        failed = self._trials(TrialState.FAIL)
        (old,) = (each for each in failed if each.number == number)
        self.optuna.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=old.params,
                distributions=old.distributions,
                user_attrs={_INSTEAD: number},
            )
        )
        return self._trials(TrialState.RUNNING)[-1]

    def _ask(self, place: int, size: int) -> Trial:
        self.optuna.sampler = self._sampler(place, size)
        handle = self.optuna.ask()
        return Trial(handle.number, self.space.suggest(handle), handle)

    def _again(self, left: FrozenTrial, size: int) -> Trial:
        """Take up a trial that was left; one that was killed while it got its settings gets the rest."""
        sampler = self.optuna.sampler = self._sampler(self._place(left), size)
        for name in left.params:  # what these took of the sampler's random numbers is not for the rest
            sampler.sample_independent(self.optuna, left, name, self.space.searched[name])
        handle = optuna.Trial(self.optuna, left._trial_id)
        return Trial(left.number, self.space.suggest(handle), handle)

    def _sampler(self, place: int, size: int) -> BaseSampler:
        """Return the sampler for one trial: a seed that was used before would repeat the first trials."""
        seed = derive(self._settings.seed, "search", place) % 2**32
        if self._settings.sampler == "random":
            return RandomSampler(seed=seed)
        return TPESampler(seed=seed, n_startup_trials=self._settings.startup_trials, constant_liar=size > 1)


@contextmanager
def open_study(
    location: Location,
    base: str,
    space: Space,
    objectives: Sequence[Objective],
    settings: Settings,
    rounds: int,
) -> Iterator[Study]:
    """Open the study of a search, alone, and make it where it is missing.

    Args:
        location: of the storage.
        base: names what all trials have in common.
        space: that is searched.
        objectives: that it is searched for.
        settings: see there; sampler and pruner may change from command to command where the study is named.
        rounds: of a trial.

    Raises:
        UserError: when it cannot be opened, is at work in another process, or searches something else.
    """
    searched = json.dumps({name: str(each) for name, each in space.searched.items()}, sort_keys=True)
    aims = json.dumps([(each.name, each.direction) for each in objectives])
    what = sweep_key("study", [base, searched, aims])
    by = [str(each) for each in (settings.sampler, settings.seed, settings.startup_trials, settings.pruner)]
    by += [str(each) for each in (settings.pruner_startup_trials, settings.pruner_warmup_rounds)]
    name = settings.study_name or f"search-{sweep_key('study', [what, *by])[:12]}"
    prepare_storage(location)
    with alone(location, sweep_key("study", [name]), name):
        storage = connect(location.uri)
        try:
            yield Study(storage, name, what, space, objectives, settings, pruner_of(settings, rounds))
        finally:
            storage.remove_session()
            storage.engine.dispose()


def pruner_of(settings: Settings, rounds: int) -> BasePruner:
    """Return the pruner of a search with one objective."""
    if settings.pruner == "median":
        return MedianPruner(settings.pruner_startup_trials, settings.pruner_warmup_rounds)
    if settings.pruner == "hyperband":
        least = min(settings.pruner_warmup_rounds, rounds)
        return HyperbandPruner(min_resource=least, max_resource=max(rounds, 1), reduction_factor=3)
    return NopPruner()
