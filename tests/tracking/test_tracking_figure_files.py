import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fedpriv.results import RoundResult
from fedpriv.tracking.figure_files import save_picture
from fedpriv.tracking.plots import bytes_plot, epsilon_plot, metric_plot, seconds_plot

ROUNDS = [
    RoundResult(
        number,
        {"error_deg": 20.0 - number},
        epsilon=0.5 * number,
        delta=1e-5,
        bytes_up=2_000_000,
        bytes_down=5_000_000,
        seconds={"train": 4.0, "encrypt": 1.0, "evaluate": 0.5},
    )
    for number in range(4)
]


@pytest.mark.parametrize(
    "draw",
    [lambda rounds: metric_plot(rounds, "error_deg", "e", 15.0), epsilon_plot, bytes_plot, seconds_plot],
    ids=["metric", "epsilon", "bytes", "seconds"],
)
def test_a_figure_is_dot_for_dot_what_matplotlib_writes(draw, tmp_path):
    figure = draw(ROUNDS)
    save_picture(figure, tmp_path / "ours.png")
    assert figure.dpi == Figure().dpi
    draw(ROUNDS).savefig(tmp_path / "theirs.png", dpi=150)
    with Image.open(tmp_path / "ours.png") as ours, Image.open(tmp_path / "theirs.png") as theirs:
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs.convert("RGB")))
        assert ours.info["dpi"] == pytest.approx(theirs.info["dpi"])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_a_picture_comes_back_as_it_was(mode, tmp_path):
    dots = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    picture = Image.fromarray(dots).convert(mode)
    save_picture(picture, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as read:
        assert read.mode == mode
        np.testing.assert_array_equal(np.asarray(read.convert("RGB")), np.asarray(picture.convert("RGB")))
