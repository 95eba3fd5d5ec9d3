"""``fedpriv attack audit``: train with canaries, and print what they prove beside what is claimed."""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from fedpriv.arguments import Parser
from fedpriv.attacks.audit import Audit, audit
from fedpriv.attacks.audit_runs import CANARIES, LEVELS, AuditSettings
from fedpriv.errors import UserError
from fedpriv.privacy.audit_verdict import CONFIDENCE
from fedpriv.privacy.rounded import at_least, at_most
from fedpriv.tracking.plots import BLUE, ORANGE

_FORMATS = (".png", ".svg", ".pdf")
_DEFAULT = AuditSettings()


def main(arguments: Sequence[str]) -> None:
    """Run the command line.

    Raises:
        UserError: for settings that are refused, or a picture that cannot be written.
    """
    options = _parser().parse_args(arguments)
    if options.seeds < 1:
        raise UserError(f"--seeds {options.seeds}: choose 1 or more")
    picture: Path | None = options.picture
    if picture is not None and picture.suffix.lower() not in _FORMATS:
        raise UserError(f"--picture {picture}: cannot draw that format; end it in {', '.join(_FORMATS)}")
    if picture is not None and not picture.parent.is_dir():
        raise UserError(f"--picture {picture}: there is no folder {picture.parent}; choose another place")
    found, seconds = [], []
    for seed in range(options.seed, options.seed + options.seeds):
        started = time.perf_counter()
        found.append(
            audit(
                AuditSettings(
                    level=options.level,
                    epsilon=options.epsilon,
                    delta=options.delta,
                    canaries=options.canaries,
                    kind=options.kind,
                    seed=seed,
                    noise=options.noise,
                    noise_off=options.noise_off,
                    clip_off=options.clip_off,
                )
            )
        )
        seconds.append(time.perf_counter() - started)
    if picture is not None:
        _write(draw(found[0]), picture)
    if options.json:
        print(json.dumps(as_fields(found, seconds)))
    else:
        _print(Console(), found)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fedpriv attack audit",
        description="Train once with canaries, each in or out by a coin, guess the coins from what was\n"
        "released, and bound epsilon from below, in two ways that hold at once with 95 %\n"
        "confidence. A bound above the claim refutes it; one below proves nothing, for bounds\n"
        "are seldom near the truth.",
        epilog="examples:\n"
        "  fedpriv attack audit\n"
        "  fedpriv attack audit --level client --epsilon 3 --seeds 5\n"
        "  fedpriv attack audit --noise-off --picture scores.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--level", choices=LEVELS, default=_DEFAULT.level, help="of the privacy (default sample)")
    add("--epsilon", type=float, default=_DEFAULT.epsilon, help="what is claimed (default 8)")
    add("--delta", type=float, default=_DEFAULT.delta, help="of the claim (default 1e-5)")
    add("--canaries", type=int, default=_DEFAULT.canaries, metavar="M", help="how many (default 2000)")
    add(
        "--kind",
        choices=CANARIES,
        default=_DEFAULT.kind,
        help="gradient: every update is seen; image: only the final model is (default gradient)",
    )
    add("--seed", type=int, default=_DEFAULT.seed, help="of data, coins and model (default 0)")
    add("--seeds", type=int, default=1, metavar="N", help="audits, with seeds one after another (default 1)")
    add("--noise", choices=("secure", "fast"), default=_DEFAULT.noise, help="fast is seeded (default secure)")
    add("--noise-off", action="store_true", help="plant a fault: no noise")
    add("--clip-off", action="store_true", help="plant a fault: nothing is clipped")
    add("--picture", type=Path, metavar="FILE", help="draw the first audit's scores into this file")
    add("--json", action="store_true", help="print one JSON object last")
    return parser


def as_fields(found: Sequence[Audit], seconds: Sequence[float]) -> dict[str, Any]:
    """Return what ``--json`` prints; one list entry per seed under ``audits``."""
    settings = found[0].settings
    return {
        "level": settings.level,
        "kind": settings.kind,
        "canaries": settings.canaries,
        "noise_off": settings.noise_off,
        "clip_off": settings.clip_off,
        "confidence": CONFIDENCE,
        "claimed_epsilon": found[0].claimed.epsilon,
        "delta": settings.delta,
        "accountant": found[0].claimed.accountant,
        "provable_epsilon": found[0].most,
        "refuted": sum(each.refuted for each in found),
        "audits": [
            {
                "seed": each.settings.seed,
                "epsilon_lower_bound": each.lower_bound,
                "epsilon_curve_bound": each.curve_bound,
                "guesses": [[way.made, way.correct] for way in each.ways],
                "refuted": each.refuted,
                "seconds": round(spent, 2),
            }
            for each, spent in zip(found, seconds, strict=True)
        ],
    }


def _print(console: Console, found: Sequence[Audit]) -> None:
    settings, claimed = found[0].settings, found[0].claimed
    faults = [name for name, on in (("noise", settings.noise_off), ("clipping", settings.clip_off)) if on]
    state = f"{' and '.join(faults)} switched off" if faults else "as it is"
    table = Table(
        title=f"{settings.level} level {state}, {settings.canaries} {settings.kind} canaries; "
        f"claimed: epsilon {at_most(claimed.epsilon)} at delta {settings.delta:g}",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("seed", justify="right")
    table.add_column("right of guessed", no_wrap=True)
    table.add_column("any mechanism", justify="right")
    table.add_column("its own curve", justify="right")
    table.add_column("")
    for each in found:
        ways = ", ".join(f"{way.correct}/{way.made}" for way in each.ways)
        table.add_row(
            str(each.settings.seed),
            ways,
            at_least(each.lower_bound),
            at_least(each.curve_bound),
            "[red]refuted[/red]" if each.refuted else "not refuted",
        )
    console.print(table)
    console.print(
        f"Bounds on epsilon from below, both at once with {CONFIDENCE:.0%} confidence: for any mechanism "
        "(Steinke et al. 2023), and against the privacy curve of this one (Mahloujifar et al. 2024).",
        highlight=False,
    )
    if found[0].most <= claimed.epsilon:
        console.print(
            f"These canaries could prove {at_most(found[0].most)} at most, less than is claimed: "
            "add --canaries.",
            style="yellow",
            highlight=False,
        )


def draw(found: Audit) -> Figure:
    """Draw histograms of the scores of canaries that were in and that were out."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    # the few farthest would leave no room for the others
    low, high = np.quantile(found.scores, [0.002, 0.998])
    edges = np.linspace(low, high, 41)
    shown = np.clip(found.scores, low, high)
    for name, coin, colour in (("out", False, BLUE), ("in", True, ORANGE)):
        chosen = shown[found.included == coin]
        label = f"{name} ({len(chosen)})"
        axes.hist(chosen, edges.tolist(), color=colour, alpha=0.6, label=label, histtype="stepfilled")
    axes.axvline(0.0, color="#222222", linewidth=1.0, linestyle=(0, (5, 3)))
    axes.set_xlabel("score (guessed in to the right of 0, out to the left)")
    axes.set_ylabel("canaries")
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_title(
        f"{found.settings.level} level: epsilon above {at_least(found.bound)} proven ({CONFIDENCE:.0%}), "
        f"{at_most(found.claimed.epsilon)} claimed",
        loc="left",
    )
    return figure


def _write(figure: Figure, path: Path) -> None:
    try:
        with tempfile.TemporaryDirectory(prefix=".audit-", dir=path.parent) as folder:
            fresh = Path(folder, f"picture{path.suffix.lower()}")
            figure.savefig(fresh, dpi=150)
            fresh.replace(path)
    except OSError as error:
        raise UserError(f"--picture {path}: {error.strerror or error}; choose another place") from error
