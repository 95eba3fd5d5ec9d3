"""The outbox: nothing lost, nothing out of order, nobody kept waiting."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from fedpriv.tracking.outbox import Outbox


class Store:
    """Notes every call that it takes; refuses those that it is told to."""

    def __init__(self, refuses=()):
        self.calls, self.refuses, self.count = [], set(refuses), 0
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def log_batch(self, run_id, metrics, tags):
        self.entered.set()
        assert self.open.wait(30)
        self.count += 1
        if self.count in self.refuses:
            raise MlflowException("database is locked")
        self.calls.append(([(each.key, each.step) for each in metrics], {tag.key: tag.value for tag in tags}))

    @property
    def written(self):
        return [metric for metrics, _ in self.calls for metric in metrics]

    @property
    def tags(self):
        return {name: text for _, tags in self.calls for name, text in tags.items()}


def entry(step, count=2):
    return [Metric(f"m{number}", 0.0, 0, step) for number in range(count)]


def keys(step, count=2):
    return [(f"m{number}", step) for number in range(count)]


def outbox(store, said=None):
    return Outbox(store, "run", lambda step, error: said.append((step, str(error))))


def test_who_puts_does_not_wait_and_who_flushes_does():
    store = Store()
    store.open.clear()
    box = outbox(store)
    box.put(entry(1))
    assert store.entered.wait(30)  # the first is under way
    box.put(entry(2))
    box.put(entry(3), {"epsilon": "2"})
    assert store.calls == []
    store.open.set()
    box.flush()
    # what came while the first was written goes in one call
    assert store.calls == [(keys(1), {}), (keys(2) + keys(3), {"epsilon": "2"})]
    box.close()


def test_calls_are_of_at_most_900_and_split_no_step_that_fits():
    store = Store()
    store.open.clear()
    box = outbox(store)
    box.put(entry(0, 1))
    assert store.entered.wait(30)
    for step, count in ((1, 500), (2, 400), (3, 1), (4, 900), (5, 2000)):
        box.put(entry(step, count))
    store.open.set()
    box.flush()
    assert [len(metrics) for metrics, _ in store.calls] == [1, 900, 1, 900, 900, 900, 200]
    sizes = ((0, 1), (1, 500), (2, 400), (3, 1), (4, 900), (5, 2000))
    assert store.written == [key for step, count in sizes for key in keys(step, count)]
    box.close()


def test_what_is_refused_is_said_with_its_step_and_goes_with_the_next():
    store, said = Store(refuses=[1]), []
    box = outbox(store, said)
    box.put(entry(7), {"epsilon": "1"})
    box.settle()
    assert said == [(7, "database is locked")]
    assert store.calls == []
    box.put(entry(8), {"epsilon": "2"})
    box.flush()
    assert store.calls == [(keys(7) + keys(8), {"epsilon": "2"})]
    box.close()


def test_a_flush_that_is_refused_raises_and_loses_nothing():
    store, said = Store(refuses=range(10)), []
    box = outbox(store, said)
    box.put(entry(1))
    with pytest.raises(MlflowException, match="database is locked"):
        box.flush()
    store.refuses.clear()
    box.flush()
    assert store.written == keys(1)
    box.close()


def test_another_error_is_raised_by_the_next_put_and_is_no_refusal():
    store, said = Store(), []
    store.log_batch = lambda *_, **__: 1 / 0
    box = outbox(store, said)
    box.put(entry(1))
    with pytest.raises(ZeroDivisionError):
        box.settle()
    with pytest.raises(ZeroDivisionError):
        box.put(entry(2))
    assert said == []
    box.close()


def test_a_tag_that_changes_while_it_is_written_is_written_again():
    store = Store()
    store.open.clear()
    box = outbox(store)
    box.put([], {"epsilon": "1", "other": "a"})
    assert store.entered.wait(30)
    box.put([], {"epsilon": "2"})
    store.open.set()
    box.flush()
    assert store.calls == [([], {"epsilon": "1", "other": "a"}), ([], {"epsilon": "2"})]
    box.close()


def test_nothing_to_write_is_no_call_even_after_the_end():
    store = Store()
    box = outbox(store)
    box.flush()
    box.close()
    box.flush()
    box.settle()
    assert store.calls == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1200), st.booleans(), st.booleans()), max_size=12),
    st.sets(st.integers(1, 12)),
)
def test_every_metric_is_written_once_and_in_order_whatever_is_refused(steps, refuses):
    store, said = Store(refuses), []
    box = outbox(store, said)
    expected, tags = [], {}
    for step, (count, tagged, waits) in enumerate(steps):
        if tagged:
            tags["epsilon"] = str(step)
        box.put(entry(step, count), {"epsilon": str(step)} if tagged else None)
        expected += keys(step, count)
        if waits:
            box.settle()
    for _ in range(20):  # more than are refused
        box.settle()
    box.close()
    assert store.written == expected
    assert store.tags == tags
    assert all(len(metrics) <= 900 for metrics, _ in store.calls)
