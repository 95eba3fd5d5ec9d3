"""What ``fedpriv evaluate`` prints."""

import math
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.evaluate.measure import Evaluation
from fedpriv.console.wording import number_text
from fedpriv.privacy.rounded import at_most


def print_evaluation(console: Console, found: Evaluation) -> None:
    """Print the metrics of a model beside those of the baseline, its privacy and what limits them."""
    table = Table(title=f"Evaluation of {found.source}", title_justify="left", title_style="bold")
    table.add_column("", style="bold", overflow="fold")
    table.add_column("model", overflow="fold")
    table.add_column(found.baseline_label if found.baseline else "baseline", overflow="fold")
    names = sorted(found.metrics, key=lambda name: name != found.metric)
    for name in names:
        label = found.label if name == found.metric else name.replace("_", " ")
        baseline = number_text(found.baseline[name]) if name in found.baseline else "not measured"
        table.add_row(Text(label), number_text(found.metrics[name]), baseline)
    console.print(table)
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    facts.add_row("data", Text(f"{found.data}: {found.images:,} images of {found.people:,} people"))
    facts.add_row("test part", Text(found.protocol))
    if found.people_trained_on:
        facts.add_row(
            Text("caution", style="yellow"),
            f"the model was trained on {found.people_trained_on:,} of these people; they are not unseen",
        )
    facts.add_row("privacy", Text(privacy_text(found.privacy)))
    if found.epsilon_charged is not None:
        facts.add_row(
            Text("caution", style="yellow"),
            f"epsilon {at_most(found.epsilon_charged)} is spent on the data so far, more than this model's, "
            "for rounds that are not in it; `fedpriv resume` counts them",
        )
    console.print(facts)


def privacy_text(statement: dict[str, Any]) -> str:
    """Return a model's privacy statement in a line."""
    unit, trained = statement.get("unit"), f"trained on {statement.get('data', 'unknown data')}"
    if unit in (None, "none"):
        return f"none (no differential privacy), {trained}"
    if statement.get("epsilon") is None:
        return f"unknown: no epsilon was reported, unit {unit}, {trained}"
    epsilon, delta = at_most(statement["epsilon"]), at_most(statement["delta"])
    if math.isinf(statement["epsilon"]):
        return f"NOT PRIVATE: its epsilon is infinite, so nothing is promised, unit {unit}, {trained}"
    text = f"epsilon {epsilon} at delta {delta}, unit {unit}, {trained}"
    if statement.get("noise") == "fast":
        text += "; noise is seeded (privacy.noise=fast), so it protects nobody: research only"
    if statement.get("noise_by") == "server":
        text += "; not against the server, which drew the noise"
    return text
