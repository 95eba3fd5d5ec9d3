"""What a command chose of groups of the configuration, in the place of the settings that follow from it."""

from collections.abc import Mapping, Sequence

TAG = "choice."
"""Tag of a run, with a group of the configuration: ``choice.secure`` is ``bfv``."""

Params = Mapping[str, str]


def choices_in(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the choices that a run's tags say, by group."""
    return {name.removeprefix(TAG): text for name, text in tags.items() if name.startswith(TAG)}


def telling(
    settings: Sequence[Params],
    choices: Sequence[Params],
    differing: Sequence[str],
    shown: Sequence[str],
    begun: Sequence[bool],
) -> dict[str, list[str]]:
    """Return the groups whose choices tell runs apart, each with the settings that follow from it.

    A choice stands for settings of its own group; one of a group that no setting is named after, as
    ``experiment``, for any. Which of them it is must follow from the settings, too: choices of two names that
    come to the same settings tell nothing apart.

    Args:
        settings: of each run.
        choices: of each run, by group; a group that some runs do not say is left out.
        differing: names of settings that are not the same in all runs.
        shown: those of them that groups may differ in.
        begun: of each run, whether it was. One that was refused before says settings that it would not have
            had; so it is in those that were begun, if there are any, that a setting has to follow.
    """
    common = set.intersection(*(set(each) for each in choices)) if choices else set()
    alike = [tuple(each.get(name) for name in differing) for each in settings]
    asked = [place for place, was in enumerate(begun) if was or not any(begun)]
    found = {}
    for group in sorted(common):
        chosen = [each[group] for each in choices]
        if len(set(chosen)) < 2 or not _decide(alike, chosen):
            continue
        own = any(name.startswith(f"{group}.") for each in settings for name in each)
        follow = [
            name
            for name in shown
            if (name.startswith(f"{group}.") or not own)
            and _decide([chosen[n] for n in asked], [settings[n].get(name) for n in asked])
        ]
        if follow:
            found[group] = follow
    return found


def _decide(first: Sequence[object], second: Sequence[object]) -> bool:
    """Tell whether what is alike in the first is alike in the second."""
    return len(set(zip(first, second, strict=True))) == len(set(first))
