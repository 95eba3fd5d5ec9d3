"""Plots and the report: what is drawn, and that names draw and run nothing."""

import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fedpriv.comparison.drawing import MOST, rendered, style
from fedpriv.comparison.plots import plots_of
from fedpriv.comparison.report import POLICY, to_html
from tests.comparison.made import compared, logged
from tests.comparison.test_comparison_written import HOSTILE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def swept(epsilons=("1.0", "3.0", "inf"), schemes=("plain",), seeds=(0, 1), name="run", **note):
    runs, curves = [], {}
    for place, (epsilon, scheme, seed) in enumerate(
        (e, s, n) for e in epsilons for s in schemes for n in seeds
    ):
        value = 4.0 + place
        private = {} if epsilon == "inf" else {"epsilon": epsilon, "privacy_unit": "sample"}
        params = {"seed": seed, "privacy.epsilon": epsilon, "secure.scheme": scheme, **note}
        run = logged(
            params,
            {
                "error": value,
                "baseline_error": 15.0,
                "bytes_up": 1e6,
                "clients_replied": 2.0,
                "seconds_train": 1.0,
            },
            tags=private,
            name=name,
        )
        runs.append(run)
        curves[run.run_id] = {
            "error": {0: 15.0, 1: value + 1, 2: value},
            "clients_failed": {0: 0.0, 1: 0.0, 2: 0.0},
            "bytes_up": {1: 1e6 * (place + 1), 2: 1e6},
            "clients_replied": {1: 2.0, 2: 2.0},
            "seconds_train": {1: 1.0 + place, 2: 1.0},
        }
    return compared(runs, None, curves)


def named(plots):
    return {plot.name: plot for plot in plots}


def test_all_four_plots_are_drawn_of_a_sweep_over_epsilon():
    plots = named(plots_of(swept()))
    assert list(plots) == ["rounds_error", "frontier_error", "bytes_error", "seconds_error"]
    axes = plots["rounds_error"].figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["epsilon=1"].get_xdata()) == [0, 1, 2]
    assert list(lines["epsilon=1"].get_ydata()) == [15.0, 5.5, 4.5]  # means of (5, 6) and (4, 5)
    band = axes.collections[0].get_paths()[0].vertices
    assert {round(y, 6) for x, y in band if x == 2} == {round(4.5 + s * math.sqrt(0.5), 6) for s in (1, -1)}
    assert list(lines["without learning"].get_ydata()) == [15.0, 15.0]


def test_no_privacy_stands_at_the_right_end_of_a_log_axis():
    axes = named(plots_of(swept()))["frontier_error"].figure.axes[0]
    assert axes.get_xscale() == "log"
    ticks = {
        label.get_text(): place
        for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    }
    assert ticks["no\nprivacy"] > 3 * 3.0 * 0.99
    assert {"1", "3"} <= set(ticks)
    assert max(ticks.values()) == ticks["no\nprivacy"] < axes.get_xlim()[1]


def test_an_infinite_epsilon_is_no_number_on_the_axis():
    runs = [logged({"seed": 0, "a": n}, 1.0 + n, tags={"epsilon": e}) for n, e in enumerate(("2", "inf"))]
    axes = named(plots_of(compared(runs)))["frontier_error"].figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()][-1] == "no privacy\nor ε = ∞"


def test_without_any_epsilon_there_is_no_frontier_and_without_rounds_no_curve():
    runs = [logged({"seed": 0, "a": n}, 1.0) for n in range(2)]
    assert plots_of(compared(runs)) == []


def test_the_pareto_front_is_ringed():
    found = swept(epsilons=("inf",), schemes=("a", "b", "c"), seeds=(0,))
    axes = named(plots_of(found))["bytes_error"].figure.axes[0]
    rings = [tuple(line.get_xydata()[0]) for line in axes.lines if line.get_markersize() == 15]
    # errors 4, 5, 6 at 2, 3, 4 MB: the first beats the others
    assert rings == [(2.0, 4.0)]


@pytest.mark.parametrize(
    ("value", "epsilon"),
    [
        (1e300, "3"),
        (-1.7e308, "1e-300"),
        (1.0, "1e300"),
        (1.0, "0"),
        (1.0, "-1"),
        (1.0, "nan"),
        (0.0, "1e-9"),
    ],
)
def test_figures_of_any_size_are_drawn_or_left_out(value, epsilon):
    runs, curves = [], {}
    for place, (each, spent) in enumerate(((value, epsilon), (2.0, "1"), (3.0, "8"), (-value, "8"))):
        for seed in (0, 1):
            figures = {
                "error": each * (1 + seed),
                "baseline_error": value,
                "bytes_up": 1.0,
                "clients_replied": 1.0,
            }
            runs.append(logged({"seed": seed, "a": place}, figures, tags={"epsilon": spent}))
            rounds = {1: each, 2: each * (1 + seed)}
            curves[runs[-1].run_id] = {
                "error": rounds,
                "bytes_up": {1: abs(value)},
                "clients_replied": {1: 1.0},
            }
    plots = plots_of(compared(runs, None, curves))
    assert "frontier_error" in named(plots)
    for plot in plots:
        assert rendered(plot.figure, "png").startswith(b"\x89PNG")


def test_twelve_groups_look_different_and_more_are_counted_not_drawn():
    looks = [style(number) for number in range(MOST)]
    assert len({(look.color, look.line) for look in looks}) == MOST
    assert len({look.marker for look in looks}) == MOST
    found = swept(epsilons=tuple(f"{n}.0" for n in range(1, 15)), seeds=(0,))
    plot = named(plots_of(found))["rounds_error"]
    assert sum(line.get_label().startswith("epsilon") for line in plot.figure.axes[0].lines) == 12
    assert plot.caption.endswith("12 of 14 groups are drawn.")


@pytest.mark.parametrize(
    ("best", "ringed"),
    [
        # the cheapest and the dearest are better than those between
        ({0: 5.0, 13: 1.0}, [(1.0, 5.0), (14.0, 1.0)]),
        # all 14 are on the front: no more rings than points
        ({n: 30.0 - n for n in range(14)}, [(n + 1.0, 30.0 - n) for n in range(12)]),
    ],
)
def test_of_more_groups_than_colours_those_on_the_front_are_drawn_and_no_ring_is_empty(best, ringed):
    runs, curves = [], {}
    for n in range(14):
        runs.append(logged({"seed": 0, "a": n}, {"error": best.get(n, 20.0), "bytes_up": 1.0}))
        curves[runs[-1].run_id] = {"bytes_up": {1: 1e6 * (n + 1)}}
    plot = named(plots_of(compared(runs, None, curves)))["bytes_error"]
    lines = plot.figure.axes[0].lines
    rings = [tuple(line.get_xydata()[0]) for line in lines if line.get_markersize() == 15]
    drawn = [tuple(line.get_xydata()[0]) for line in lines if line.get_label().startswith("a=")]
    assert sorted(rings) == ringed
    assert len(drawn) == MOST
    assert set(rings) <= set(drawn)
    assert plot.caption.endswith("12 of 14 groups are drawn, those on the front before others.")
    assert plot.figure.axes[0].get_xlabel().startswith("sent by all clients, up only")


def test_lines_of_the_frontier_are_ringed_where_they_are_drawn_though_there_are_more_than_colours():
    runs = [logged({"seed": 0, "a": n}, 20.0 - n, tags={"epsilon": str(n + 1)}) for n in range(2)]
    runs += [logged({"seed": 0, "a": n}, 30.0, tags={"epsilon": "9"}) for n in range(2, 13)]
    runs += [logged({"seed": 0, "a": 13}, 1.0, tags={"epsilon": "9"})]
    plot = named(plots_of(compared(runs)))["frontier_error"]
    lines = plot.figure.axes[0].lines
    rings = [tuple(line.get_xydata()[0]) for line in lines if line.get_markersize() == 15]
    drawn = [tuple(line.get_xydata()[0]) for line in lines if line.get_label().startswith("a=")]
    assert [y for _, y in rings] == [20.0, 19.0, 1.0]
    assert set(rings) <= set(drawn)
    assert "12 of 14 lines are drawn, those on the front before others." in plot.caption


def test_the_same_figure_gives_the_same_files():
    first, second = (plots_of(swept(seeds=(0,)))[0] for _ in range(2))
    assert rendered(first.figure, "svg") == rendered(second.figure, "svg")
    assert rendered(first.figure, "png") == rendered(first.figure, "png")
    assert rendered(first.figure, "png").startswith(b"\x89PNG")


def test_hostile_names_are_drawn_as_they_are():
    found = swept(name=HOSTILE, **{"training.note": f"{HOSTILE} 漢字 🙂"})
    other = swept(schemes=("--><script>x</script>", "$\\frac{1}{0}$", "ok"))
    for plot in [*plots_of(found), *plots_of(other)]:
        root = ET.fromstring(rendered(plot.figure, "svg"))  # noqa: S314 (our own)
        assert not [each for each in root.iter() if each.tag.endswith(("script", "image", "foreignObject"))]
        rendered(plot.figure, "png")


class Page(HTMLParser):
    """Collects what a browser would load or run."""

    def __init__(self):
        super().__init__()
        self.tags, self.addresses, self.handlers, self.text, self.policies = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name.startswith("on"):
                self.handlers.append(name)
            if name.rpartition(":")[2] in ("src", "href", "data", "action", "srcset"):
                self.addresses.append(value)
            if name == "http-equiv" and value == "Content-Security-Policy":
                self.policies.append(dict(attrs)["content"])

    def handle_data(self, data):
        self.text.append(data)


def page_of(found):
    page = Page()
    text = to_html(found, plots_of(found))
    page.feed(text)
    return page, text


def test_the_report_needs_and_loads_nothing():
    page, text = page_of(swept(schemes=("plain", "bfv")))
    assert page.policies == [POLICY]
    assert "default-src 'none'" in POLICY
    assert page.tags.count("svg") == 4
    assert not {"script", "img", "link", "iframe", "object", "embed", "base", "form", "image"} & set(
        page.tags
    )
    assert page.addresses
    assert all(address.startswith("#") for address in page.addresses)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in page.addresses} <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    assert "@import" not in text


def test_the_report_has_command_tables_notes_states_and_every_run():
    failed = logged({"seed": 1, "a": 1}, status="FAILED", name="broken", tags={"failure": "OSError: disk"})
    runs = [logged({"seed": 0, "a": a}, 1.0 + a, name=f"fine-{a}") for a in (1, 2)]
    page, _ = page_of(compared([*runs, failed]))
    text = " ".join(page.text)
    for wanted in (
        "a command",
        "a title",
        "1 of 2, 1 failed: OSError: disk",
        "INCOMPLETE: 1 of 3",
        "broken",
        "fine-2",
    ):
        assert wanted in text
    assert all(run.run_id in text for run in [*runs, failed])


def test_hostile_names_are_text_on_the_page():
    params = {"seed": 0, "training.note": HOSTILE}
    runs = [logged({**params, "seed": seed}, 1.0, name=HOSTILE) for seed in (0, 1)]
    runs += [logged({"seed": 0, "training.note": '"><img src=x onerror=y>'}, 1.0)]
    runs += [logged(params, status="FAILED", name="</style></svg><script>", tags={"failure": HOSTILE})]
    page, _ = page_of(compared(runs))
    assert not {"script", "img"} & set(page.tags)
    assert page.handlers == []
    assert "<script>alert(1)</script>" in " ".join(page.text)  # as text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install chromium to see the report drawn")
def test_a_browser_without_a_network_shows_the_plots(tmp_path):
    found = swept(schemes=("plain", "bfv"))
    (tmp_path / "report.html").write_text(to_html(found, plots_of(found)))
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--proxy-server=127.0.0.1:9",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1300,2200",
        f"--screenshot={tmp_path / 'seen.png'}",
        (tmp_path / "report.html").as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    seen = np.asarray(Image.open(tmp_path / "seen.png").convert("RGB")).reshape(-1, 3).astype(int)
    colors = [
        tuple(int(style(number).color[place : place + 2], 16) for place in (1, 3, 5)) for number in range(6)
    ]
    counts = [(np.abs(seen - color).sum(axis=1) < 12).sum() for color in colors]
    assert min(counts) > 100  # lines and markers of all six groups
