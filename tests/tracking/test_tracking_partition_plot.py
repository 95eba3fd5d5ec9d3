import io

import numpy as np
import pytest

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.partition.overview import overview
from fedpriv.tracking.partition_plot import partition_plot


def dataset(count, classes, people=30, names=()):
    random = np.random.default_rng(0)
    return ImageDataset(
        "d",
        np.zeros((count, 1, 1, 1), np.uint8),
        random.integers(0, classes, count),
        random.integers(0, people, count),
        tuple(f"p{number}" for number in range(people)),
        names,
    )


def dealt(count, clients):
    return [np.arange(client, count, clients) for client in range(clients)]


def test_each_client_has_a_bar_of_its_images_and_a_column_of_its_mixture():
    data = dataset(40, 3, names=("happy", "sad", "calm"))
    shares = [np.arange(10), np.arange(10, 40)]
    figure = partition_plot(overview(data, shares))
    top, bottom = figure.axes[:2]
    assert [bar.get_height() for bar in top.patches] == [10, 30]
    expected = [np.bincount(data.targets[share], minlength=3) / len(share) for share in shares]
    np.testing.assert_allclose(bottom.images[0].get_array(), np.transpose(expected))
    assert [text.get_text() for text in bottom.get_yticklabels()] == ["happy", "sad", "calm"]
    assert "2 clients, 40 images" in top.get_title(loc="left")
    written = {text.get_text() for text in bottom.texts}
    assert written == {f"{100 * share:.0f}" for row in expected for share in row if share}


def test_more_than_a_hundred_clients_are_sorted_by_class_and_shown_as_means():
    data = dataset(1000, 4)
    # pure clients in mixed order
    by_class = np.argsort(data.targets, kind="stable")
    shares = [np.sort(share) for share in np.array_split(by_class, 250)]
    shares = [shares[index] for index in np.random.default_rng(1).permutation(250)]
    seen = overview(data, shares)
    top, bottom = partition_plot(seen).axes[:2]
    table = np.asarray(bottom.images[0].get_array())
    assert table.shape == (4, 100)
    np.testing.assert_allclose(table.sum(axis=0), 1)
    assert (np.diff(table.argmax(axis=0)) >= 0).all()
    assert len(top.patches) == 100
    assert "sorted by their most frequent class, 2.5 to a column" in bottom.get_xlabel()


def test_many_people_are_counted_per_client():
    data = dataset(600, 2, people=60)
    data = ImageDataset("d", data.images, data.subjects, data.subjects, data.subject_names)
    seen = overview(data, dealt(600, 3))
    bottom = partition_plot(seen).axes[1]
    assert [bar.get_height() for bar in bottom.patches] == seen.people.tolist()
    assert bottom.get_ylabel() == "different people"


@pytest.mark.parametrize("clients", [1, 4, 40, 100, 101, 1000])
@pytest.mark.parametrize("classes", [1, 7, 40, 41])
def test_it_draws_whatever_there_is(clients, classes):
    data = dataset(2000, classes)
    file = io.BytesIO()
    partition_plot(overview(data, dealt(2000, clients))).savefig(file, format="png", dpi=40)
    assert file.getvalue().startswith(b"\x89PNG")


def test_names_that_would_be_formulas_or_are_not_in_the_font_do_no_harm():
    names = ("$\\frac{", "驚き\n", "x" * 500)
    figure = partition_plot(overview(dataset(50, 3, names=names), dealt(50, 2)))
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    assert [text.get_text() for text in figure.axes[1].get_yticklabels()] == [
        r"\$\frac{",
        "???",
        "xxxxxxxxxxxxxxx...",
    ]
