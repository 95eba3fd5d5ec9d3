"""The table at the end of a run: what it reached and what it cost."""

import shlex
import statistics
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedpriv.console.wording import (
    accountant_text,
    bytes_text,
    causes_text,
    number_text,
    seconds_text,
    wall_seconds,
)
from fedpriv.privacy.rounded import at_most
from fedpriv.results import RoundResult

_PHASES = ("train", "encrypt", "aggregate", "decrypt", "evaluate")


def summary_table(
    console: Console,
    results: Sequence[RoundResult],
    *,
    metric: str,
    label: str,
    baseline: float | None = None,
    baseline_label: str = "baseline",
    other_baselines: Mapping[str, float] | None = None,
    epsilon_caveat: str | None = None,
    epsilon_unit: str | None = None,
    relation: str | None = None,
    lifetime: str | None = None,
    audit: str | None = None,
    personal: Mapping[str, float] | None = None,
    relayed: Sequence[tuple[str, str]] = (),
    parameters: int | None = None,
    readers: str | None = None,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    run_id: str | None = None,
    registered: str | None = None,
) -> None:
    """Print what a run reached and what it cost.

    Args:
        console: where to print; without a terminal the table is plain text of the same content.
        results: all rounds, in order.
        metric: key in :attr:`RoundResult.metrics`.
        label: its name for people, with its unit.
        baseline: the metric of what needs no learning.
        baseline_label: what ``baseline`` stands for.
        other_baselines: the further metrics of what needs no learning, each shown in a row.
        epsilon_caveat: what limits the meaning of epsilon, shown beside it.
        epsilon_unit: whom it protects, where the server computes it; None where it is the largest that
            clients report.
        relation: between the data sets that epsilon tells apart; None without differential privacy.
        lifetime: what all private runs on the same data have cost; None leaves the row out.
        audit: what the run's canaries prove; None leaves the row out.
        personal: what clients found on their own people; None leaves the rows out.
        relayed: rows on what clients found who asked the model through relays.
        parameters: parameters in an update; plain float32 takes 4 bytes each.
        readers: who can read what of the updates; None leaves the row out.
        tracking_uri: where MLflow keeps the run, free of credentials.
        experiment: its experiment.
        run_id: its run.
        registered: what its model is registered as; None leaves the row out.
    """
    table = Table(title="Run summary", title_justify="left", title_style="bold", show_header=False)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")

    def section(rows: Sequence[tuple[str, str]]) -> None:
        for name, value in rows:
            table.add_row(Text(name), Text(value))
        table.add_section()

    section(_metric_rows(results, metric, label, baseline, baseline_label))
    if others := _other_rows(results, metric, other_baselines or {}):
        section(others)
    if personal is not None:
        section(_personal_rows(personal, metric))
    spent = _epsilon_text(results, epsilon_unit, private=relation is not None)
    epsilons = [("epsilon", f"{spent}; {epsilon_caveat}" if epsilon_caveat else spent)]
    if relation is not None:
        epsilons.append(("  neighbours differ by", relation))
    if lifetime is not None:
        epsilons.append(("  all private runs on the data", lifetime))
    if audit is not None:
        epsilons.append(("  proven by audit", audit))
    section([*epsilons, *_norm_rows(results)])
    if any(result.asked for result in results):
        read_by = [] if readers is None else [("updates are read by", readers)]
        section(read_by + _traffic_rows(results, parameters))
    if relayed:
        section(relayed)
    section(_time_rows(results))
    failures: dict[str, int] = {}
    for result in results:
        for cause, count in result.failures.items():
            failures[cause] = failures.get(cause, 0) + count
    if failures:
        section([("clients failed", causes_text(failures))])
    if run_id is not None:
        as_model = [] if registered is None else [("registered model", registered)]
        section([("MLflow experiment", experiment or "?"), ("MLflow run", run_id), *as_model])
    console.print(table)
    if tracking_uri is not None:
        # Outside the table and unwrapped: a command broken into lines cannot be copied.
        command = (
            f"look: open {tracking_uri}"
            if tracking_uri.startswith(("http:", "https:"))
            else f"look: mlflow ui --backend-store-uri {shlex.quote(tracking_uri)}"
        )
        console.print(Text(command), soft_wrap=True)


def _metric_rows(
    results: Sequence[RoundResult], metric: str, label: str, baseline: float | None, baseline_label: str
) -> list[tuple[str, str]]:
    measured = [result for result in results if metric in result.metrics]
    before = next((result for result in measured if result.number == 0), None)
    after = next((result for result in reversed(measured) if result.number > 0), None)
    return [
        ("measured", f"{label}, on unseen people"),
        (f"baseline ({baseline_label})", "not measured" if baseline is None else number_text(baseline)),
        ("before training", "not measured" if before is None else number_text(before.metrics[metric])),
        (
            "after training",
            "not measured"
            if after is None
            else f"{number_text(after.metrics[metric])} (round {after.number})",
        ),
    ]


def _other_rows(
    results: Sequence[RoundResult], metric: str, baselines: Mapping[str, float]
) -> list[tuple[str, str]]:
    measured = [result for result in results if result.metrics]
    if not measured:
        return []
    rows = []
    for name, after in measured[-1].metrics.items():
        if name == metric:
            continue
        parts = [f"{number_text(after)} after"]
        if name in measured[0].metrics:
            parts.insert(0, f"{number_text(measured[0].metrics[name])} before")
        if name in baselines:
            parts.insert(0, f"baseline {number_text(baselines[name])}")
        rows.append((name.replace("_", " "), ", ".join(parts)))
    return rows


def _personal_rows(personal: Mapping[str, float], metric: str) -> list[tuple[str, str]]:
    before, after = (personal[f"personal_{when}_{metric}"] for when in ("before", "after"))
    better = f"better for {100 * personal['personal_improved']:.0f} % of clients"
    return [
        ("on clients' own people", f"{number_text(before)}, mean over clients, images held out"),
        ("  each with a model of its own", f"{number_text(after)}; {better}"),
    ]


def _epsilon_text(results: Sequence[RoundResult], unit: str | None, private: bool) -> str:
    last = next((result for result in reversed(results) if result.epsilon is not None), None)
    if last is None or last.epsilon is None:
        if not private:
            return "none (no differential privacy)"
        return "0" if any(result.replied for result in results) else "0 (nothing was released)"
    stated = "" if last.delta is None else f" at delta {at_most(last.delta)}"
    said = [_whose(last, unit), accountant_text(last.accountant)]
    words = ("; " if unit is None else ", ").join(text for text in said if text)
    return f"{at_most(last.epsilon)}{stated}{words and f' ({words})'}"


def _whose(last: RoundResult, unit: str | None) -> str:
    """Say of whom epsilon is, and whose word it is; empty where one party trains alone."""
    if unit is not None or not last.asked:
        return unit or ""
    if last.epsilon_reported is None:
        return "by the plan of clients, of which none reported any"
    if last.epsilon is not None and last.epsilon_reported < last.epsilon:
        return f"largest reported {at_most(last.epsilon_reported)}; more by clients that did not answer"
    return "largest reported"


def _norm_rows(results: Sequence[RoundResult]) -> list[tuple[str, str]]:
    norms = [result.clipping_norm for result in results if result.clipping_norm is not None]
    if not norms:
        return []
    return [("clipping norm (adaptive)", f"{norms[0]:.3g} in round 1, {norms[-1]:.3g} in round {len(norms)}")]


def _traffic_rows(results: Sequence[RoundResult], parameters: int | None) -> list[tuple[str, str]]:
    sizes = [result.update_bytes for result in results if result.replied and result.update_bytes]
    rows = []
    if sizes:
        size = statistics.median(sizes)
        text = bytes_text(size)
        if parameters:
            plain = 4 * parameters
            text += f" ({size / plain:.2f} x plain float32, {bytes_text(plain)})"
        rows.append(("one update", text))
    up = sum(result.bytes_up for result in results)
    down = sum(result.bytes_down for result in results)
    rows.append(("all traffic", f"{bytes_text(up)} up, {bytes_text(down)} down"))
    if holders := sum(result.bytes_keyholders for result in results):
        rows.append(("  with key holders", f"{bytes_text(holders)}, both ways"))
    if clear := max(result.clear_fraction for result in results):
        rows.append(("IN CLEAR", f"{100 * clear:.3g} % of every update: the server reads it"))
    return rows


def _time_rows(results: Sequence[RoundResult]) -> list[tuple[str, str]]:
    totals = dict.fromkeys(_PHASES, 0.0)
    for result in results:
        for phase, value in result.seconds.items():
            totals[phase] = totals.get(phase, 0.0) + value
    who = "clients train" if any(result.asked for result in results) else "train"
    names = {
        "train": f"time: {who}",
        "encrypt": "  of it: encrypt (client mean)",
        "keys": "time: key holders make a key",
    }
    rows = [
        (names.get(phase, f"time: {phase}"), seconds_text(value)) for phase, value in totals.items() if value
    ]
    return [*rows, ("time: all phases", seconds_text(sum(map(wall_seconds, results))))] if rows else []
