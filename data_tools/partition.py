"""``fedpriv-data partition``: how a run would share its images out among clients, without the run."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedpriv.config.as_json import to_json
from fedpriv.config.datasets import build_data, build_shares
from fedpriv.config.given import compose_given
from fedpriv.config.schema import RunConfig
from fedpriv.data.partition.overview import ShareOverview, overview
from fedpriv.errors import UserError

_ROWS = 40
_FORMATS = (".png", ".pdf", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "examples:\n"
        "  fedpriv-data partition task=classification partition=dirichlet partition.alpha=0.3 "
        "federation.clients=10\n"
        "  fedpriv-data partition task=face data=orl data.root=orl_faces partition=by_identity "
        "evaluation.test_subjects=10 federation.clients=30 --plot split.png"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="the configuration, as for `fedpriv run`"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a picture (.png, .pdf or .svg)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with every client")


def main(options: argparse.Namespace) -> None:
    """Print the shares of the training images.

    Raises:
        UserError: for a configuration that cannot be built, data without a training part, or a
            picture that cannot be written.
    """
    if options.plot is not None and options.plot.suffix.lower() not in _FORMATS:
        raise UserError(f"--plot {options.plot}: cannot draw that format; end it in {', '.join(_FORMATS)}")
    config = compose_given(options.overrides)
    _check(config)
    _, training, test = build_data(to_json(config))
    if not len(training):
        raise UserError(f"data={training.name}: is nothing but a test, there is no image to share out")
    seen = overview(training, build_shares(config, training))
    if options.plot is not None:
        _draw(seen, options.plot)
    target = str(config.partition["_target_"]).rpartition(".")[2]
    found = {
        "data": training.name,
        "partition": target,
        "seed": config.seed,
        "test_images": len(test),
        **_summary(seen),
    }
    if options.json:
        print(json.dumps({**found, "clients": [_client(seen, k) for k in range(len(seen.sizes))]}))
        return
    _print(Console(), seen, found)


def _check(config: RunConfig) -> None:
    """Refuse, as a run would, the numbers that a split needs; the rest of a run need not be possible."""
    if config.federation.clients < 1:
        raise UserError(f"federation.clients={config.federation.clients}: must be positive")
    if config.evaluation.test_subjects < 1:
        raise UserError(f"evaluation.test_subjects={config.evaluation.test_subjects}: must be positive")
    if config.seed < 0:
        raise UserError(f"seed={config.seed}: must not be negative")
    if config.seed >= 2**63:
        raise UserError(f"seed={config.seed}: must be below 2^63")


def _summary(seen: ShareOverview) -> dict[str, Any]:
    return {
        "images": int(seen.sizes.sum()),
        "people": seen.all_people,
        "label": seen.kind,
        "labels": seen.all_labels,
        "smallest_client": int(seen.sizes.min()),
        "median_client": float(np.median(seen.sizes)),
        "largest_client": int(seen.sizes.max()),
        "effective_clients": seen.effective_clients,
        "mean_labels_per_client": float(seen.labels.mean()),
        "mean_largest_label_share": float(seen.largest.mean()),
    }


def _client(seen: ShareOverview, client: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "client": client,
        "images": int(seen.sizes[client]),
        "people": int(seen.people[client]),
        "labels": int(seen.labels[client]),
        "largest_label_share": float(seen.largest[client]),
    }
    if seen.names:
        held = zip(seen.names, seen.counts[client].tolist(), strict=True)
        row["images_per_label"] = {name: count for name, count in held if count}
    return row


def _print(console: Console, seen: ShareOverview, found: dict[str, Any]) -> None:
    classes = seen.kind == "class"
    table = Table(title=f"{found['partition']} of {found['data']}", title_justify="left")
    for name in ("client", "images", "people", *(["classes"] if classes else [])):
        table.add_column(name, justify="right")
    table.add_column(f"largest {seen.kind}")
    for client in range(min(_ROWS, len(seen.sizes))):
        share = f"{100 * seen.largest[client]:.0f} %"
        if seen.names:
            name = seen.names[int(seen.counts[client].argmax())]
            share += f" ({''.join(sign if sign.isprintable() else '?' for sign in name)})"
        cells = [client, f"{seen.sizes[client]:,}", seen.people[client]]
        cells += [seen.labels[client]] if classes else []
        table.add_row(*map(str, cells), Text(share))
    console.print(table)
    if len(seen.sizes) > _ROWS:
        console.print(f"and {len(seen.sizes) - _ROWS:,} clients more; --json prints every one", style="dim")
    kinds = "classes" if classes else "people"
    console.print(
        f"{len(seen.sizes):,} clients hold {found['images']:,} images of {seen.all_people:,} people: "
        f"{found['smallest_client']:,} to {found['largest_client']:,} each, median "
        f"{found['median_client']:,.0f}, worth {seen.effective_clients:.1f} clients of equal size; "
        f"{found['mean_labels_per_client']:.1f} of {seen.all_labels:,} {kinds} and a largest share of "
        f"{100 * found['mean_largest_label_share']:.0f} % on average.",
        highlight=False,
        soft_wrap=True,
    )


def _draw(seen: ShareOverview, path: Path) -> None:
    from fedpriv.tracking.partition_plot import partition_plot

    try:
        with tempfile.TemporaryDirectory(prefix=".partition-", dir=path.parent) as folder:
            fresh = Path(folder, f"plot{path.suffix.lower()}")
            partition_plot(seen).savefig(fresh, dpi=150)
            fresh.replace(path)
    except OSError as error:
        raise UserError(f"--plot {path}: {error.strerror or error}; choose another place") from error
