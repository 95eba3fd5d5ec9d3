"""All attacks on the same people, by what is answered and what is defended."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedpriv.attacks.templates.population import Population, Vectors, unit_rows
from fedpriv.attacks.templates.recovery import BISECTIONS, Accepts, boundary, climb, one_bit, solve
from fedpriv.attacks.templates.scene import Scene, forged_probe, scene
from fedpriv.errors import UserError
from fedpriv.faces.parties import Refusal
from fedpriv.faces.register import BUDGET
from fedpriv.faces.registered import DAY_MS
from fedpriv.seeding import generator

SCORE_STEP = 2.0**-16
LONG = (30.0, math.sqrt(4097.0))
"""Lengths of the probes that are to be answered by signs; the square of the second is 1 modulo 2^12."""

WITHIN, FREE = "yes or no: within the budget", "yes or no: no budget"
PHOTO, LENGTHS = "yes or no: photo, no budget", "signs: lengths checked"

_UNLIKE = 0.6
"""Of a photo: it has a cosine of about 0.86 with the template."""
_STRANGERS = 20_000
_SURPRISE = 1e-3
_NO_BUDGET = 1_000_000_000

Guess = Callable[[int], tuple[Vectors, int]]
"""Attacks the n-th target; returns a guess, and how many queries it took to a first accepted probe."""


@dataclass(frozen=True)
class Settings:
    """What is attacked.

    Attributes:
        dimension: of embeddings.
        targets: people whose templates are sought.
        rate: how often a stranger is to be accepted: the threshold follows from it.
        budget: openings that the attacker has, in 24 hours.
        unlimited: queries where there is no budget.
        real: on how many of the targets encryption, server and key holder are run; on the others the same
            answers are computed in clear.
        seed: of people, probes and guesses; keys are always new.
    """

    dimension: int = 128
    targets: int = 20
    rate: float = 1e-4
    budget: int = BUDGET
    unlimited: int = 30_000
    real: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check.

        Raises:
            UserError: when a setting is out of range.
        """
        for name, value, least, most in (
            ("dimension", self.dimension, 4, 1024),
            ("targets", self.targets, 1, 1000),
            ("far", self.rate, 1e-5, 0.1),
            ("budget", self.budget, 1, 10_000),
            ("unlimited", self.unlimited, 100, 1_000_000),
            ("real", self.real, 0, min(self.targets, 100)),
        ):
            if not least <= value <= most:
                raise UserError(f"--{name} {value:g}: choose {least:g} to {most:g}")


@dataclass(frozen=True)
class Row:
    """One attack.

    Attributes:
        name: what the attacker is told, and what is done with it.
        queries: how many it made for each target.
        cosines: of its guess with the template, one for each target.
        accepted: share of the guesses above the threshold.
        first: median number of queries before a probe was accepted, of attacks that need one; else None.
        real: cosines of the guesses on the targets where everything was run.
        refused: queries there that the key holder refused to answer.
    """

    name: str
    queries: int
    cosines: tuple[float, ...]
    accepted: float
    first: float | None = None
    real: tuple[float, ...] = ()
    refused: int = 0


@dataclass(frozen=True)
class Found:
    """What came of it.

    Attributes:
        settings: as given.
        threshold: cosine.
        chance: mean probability that one of ``budget`` strangers' faces is accepted as a target.
        rows: by name.
        held: whether the guesses made within the budget are accepted no more often than by chance, at the
            level 0.001, and probes of another length were refused.
    """

    settings: Settings
    threshold: float
    chance: float
    rows: dict[str, Row] = field(default_factory=dict)
    held: bool = True


def run(settings: Settings) -> Found:
    """Run all attacks.

    Raises:
        UserError: as :class:`Settings`.
    """
    population = Population.simulated(settings.dimension)
    threshold = population.threshold(settings.rate, settings.seed)
    targets = population.draw(settings.targets, generator(settings.seed, "templates", "targets"))
    strangers = population.draw(_STRANGERS, generator(settings.seed, "templates", "strangers"))
    rates = ((strangers @ targets.T) > threshold).mean(axis=0)
    chance = float((1.0 - (1.0 - rates) ** settings.budget).mean())
    attacks = _Attacks(settings, population, threshold, targets)
    rows = attacks.on_scores() + attacks.on_decisions()
    by_name = {row.name: row for row in rows}
    within, lengths = by_name[WITHIN], by_name[LENGTHS]
    successes = round(within.accepted * settings.targets)
    held = _at_least(successes, settings.targets, min(1.0, chance + settings.rate)) > _SURPRISE
    held = held and lengths.refused == settings.real * settings.budget
    return Found(settings, threshold, chance, by_name, held)


class _Attacks:
    def __init__(
        self, settings: Settings, population: Population, threshold: float, targets: Vectors
    ) -> None:
        self._settings, self._population = settings, population
        self._threshold, self._targets = threshold, targets

    def on_scores(self) -> list[Row]:
        """Attack raw scores, which the key holder tells under a flag."""
        full, part = self._settings.dimension, self._settings.dimension // 4
        rows = []
        with scene(self._targets, self._threshold, _NO_BUDGET, raw_scores=True) as real:
            for name, attack, queries in (
                ("scores: one per dimension", solve, full),
                ("scores: a quarter of that", solve, part),
                ("scores: climbing", climb, part),
            ):

                def guess(index: int, attack: Any = attack, queries: int = queries, name: str = name) -> Any:
                    template = self._targets[index]
                    random = generator(self._settings.seed, "templates", name, str(index))
                    told = self._scores(real, index, template)
                    return attack(told, queries, self._population, random), 0

                rows.append(self._row(name, queries, guess))
        return rows

    def on_decisions(self) -> list[Row]:
        """Attack accept or reject."""
        settings = self._settings
        budget, most = settings.budget, settings.unlimited
        photo = 2 * settings.dimension * BISECTIONS
        return [
            self._row(WITHIN, budget, self._boundary(budget)),
            self._row(FREE, most, self._boundary(most, real=False), first=True, real=False),
            self._row("yes or no: photo, budget", budget, self._boundary(budget, photo=True)),
            self._row(PHOTO, photo, self._boundary(photo, real=False, photo=True), first=True, real=False),
            self._row("signs: lengths unchecked", budget, self._signs(budget), real=False),
            self._checked_lengths(),
        ]

    def _scores(self, real: Scene, index: int, template: Vectors) -> Callable[[Vectors], float]:
        if index < self._settings.real:
            return lambda probe: real.score(index, probe)
        return lambda probe: round(float(probe @ template) / SCORE_STEP) * SCORE_STEP

    def _boundary(self, queries: int, real: bool = True, photo: bool = False) -> Guess:
        def guess(index: int) -> tuple[Vectors, int]:
            random = generator(self._settings.seed, "templates", "boundary", str(index))
            template = self._targets[index]
            seen = unit_rows(template + _UNLIKE * self._population.draw(1, random)[0]) if photo else None

            def attack(accepts: Accepts) -> tuple[Vectors, int]:
                return boundary(accepts, queries, self._threshold, self._population, random, seen)

            if real and index < self._settings.real:
                # a budget of its own for each target, as if the attack began on another day
                with scene(self._targets, self._threshold, queries, raw_scores=False) as stage:
                    return attack(lambda probe: stage.accepts(index, probe))
            return attack(lambda probe: bool(probe @ template > self._threshold))

        return guess

    def _signs(self, queries: int) -> Guess:
        def guess(index: int) -> tuple[Vectors, int]:
            random = generator(self._settings.seed, "templates", "signs", str(index))
            template = self._targets[index]
            return (
                one_bit(
                    lambda probe: bool(LONG[0] * probe @ template > self._threshold),
                    queries,
                    self._population,
                    random,
                ),
                0,
            )

        return guess

    def _checked_lengths(self) -> Row:
        """Send the long probes to the real services: a refusal is no bit, and is charged all the same."""
        budget, refused, guesses = self._settings.budget, 0, []
        for index in range(self._settings.real):
            random = generator(self._settings.seed, "templates", "signs", str(index))
            with scene(self._targets, self._threshold, budget, raw_scores=False) as stage:
                said = []
                for number, probe in enumerate(self._population.draw(budget, random)):
                    forged = forged_probe(stage.keys.public, LONG[number % 2] * probe)
                    try:
                        said.append((stage.accepts(index, forged), probe))
                    except Refusal:
                        refused += 1
            if said:
                guesses.append(sum((1.0 if yes else -1.0) * probe for yes, probe in said))
        cosines = tuple(
            float(guess @ self._targets[index] / np.linalg.norm(guess)) for index, guess in enumerate(guesses)
        )
        accepted = float(np.mean([each > self._threshold for each in cosines])) if cosines else 0.0
        return Row(LENGTHS, budget, (), accepted, None, cosines, refused)

    def _row(self, name: str, queries: int, guess: Guess, first: bool = False, real: bool = True) -> Row:
        found = [guess(index) for index in range(self._settings.targets)]
        cosines = tuple(float(vector @ self._targets[index]) for index, (vector, _) in enumerate(found))
        accepted = float(np.mean([each > self._threshold for each in cosines]))
        median = float(np.median([count for _, count in found])) if first else None
        return Row(name, queries, cosines, accepted, median, cosines[: self._settings.real] if real else ())


def days(queries: float, budget: int) -> float:
    """Return how many days so many queries take within a budget for 24 hours."""
    return max(0.0, math.ceil(queries / budget) - 1) * DAY_MS / 86_400_000


def _at_least(successes: int, trials: int, rate: float) -> float:
    """Return the probability of at least so many successes."""
    terms: Sequence[float] = [
        math.comb(trials, each) * rate**each * (1.0 - rate) ** (trials - each) for each in range(successes)
    ]
    return 1.0 - math.fsum(terms)
