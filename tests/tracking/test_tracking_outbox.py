"""The outbox: nothing lost, nothing out of order, nobody kept waiting."""

import contextlib
import signal
import subprocess
import sys
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


def settle(box):
    with contextlib.suppress(MlflowException):
        box.flush()


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


def test_what_is_refused_is_said_with_its_step_raised_by_a_flush_and_goes_with_the_next():
    store, said = Store(refuses=range(10)), []
    box = outbox(store, said)
    box.put(entry(7), {"epsilon": "1"})
    with pytest.raises(MlflowException, match="database is locked"):
        box.flush()
    assert set(said) == {(7, "database is locked")}
    assert store.calls == []
    store.refuses.clear()
    box.put(entry(8), {"epsilon": "2"})
    box.flush()
    assert store.calls == [(keys(7) + keys(8), {"epsilon": "2"})]
    box.close()


def test_another_error_than_mlflows_is_said_kept_and_raised_by_the_flush():
    store, said = Store(), []
    taken, store.log_batch = store.log_batch, lambda *_, **__: 1 / 0
    box = outbox(store, said)
    box.put(entry(1))
    with pytest.raises(ZeroDivisionError):
        box.flush()
    assert {step for step, _ in said} == {1}
    store.log_batch = taken
    box.put(entry(2))
    box.flush()
    assert store.written == keys(1) + keys(2)
    box.close()


def test_other_work_is_done_after_what_was_put_before_even_if_that_is_refused():
    store, said, done = Store(), [], []
    box = outbox(store, said)
    box.put(entry(1))
    box.do(lambda: done.append(store.written))
    store.refuses.add(2)
    box.put(entry(2))
    box.do(lambda: done.append(store.written))
    assert done == [keys(1), keys(1)] or done == [keys(1), keys(1) + keys(2)]
    with pytest.raises(KeyError):
        box.do(lambda: {}["planted"])
    box.flush()
    assert store.written == keys(1) + keys(2)
    box.close()


def test_who_has_patience_waits_no_longer_for_a_store_that_is_away():
    store = Store()
    store.open.clear()
    box = outbox(store)
    box.put(entry(1))
    with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
        box.flush(patience=0.01)
    with pytest.raises(TimeoutError):
        box.do(lambda: None, patience=0.01)
    store.open.set()
    box.flush()
    assert store.written == keys(1)
    box.close()


def test_a_process_ends_though_its_store_is_away():
    program = (
        "import threading\n"
        "from fedpriv.tracking.outbox import Outbox\n"
        "class Away:\n"
        "    def log_batch(self, *_, **__): threading.Event().wait()\n"
        "Outbox(Away(), 'run', print).put([], {'a': 'b'})\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_an_interrupt_anywhere_loses_nothing_that_was_put(monkeypatch):
    """Signals in the midst of puts and flushes, as Ctrl-C would come."""
    # one that comes in a callback of the interpreter's is lost, as ever
    monkeypatch.setattr(sys, "unraisablehook", lambda *_: None)
    store, put, armed, heard = Store(), [], [False], 0
    box = outbox(store, [])

    def interrupt(*_):
        if armed[0]:
            raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 3e-4)
    try:
        for step in range(4000):
            try:
                armed[0] = True
                box.put(entry(step, 1))
                put.append(step)
                if step % 10 == 0:
                    box.flush()
                armed[0] = False
            except KeyboardInterrupt:
                armed[0] = False
                heard += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    box.flush()
    found = [step for _, step in store.written]
    assert found == sorted(set(found))
    assert set(put) <= set(found)
    assert heard > 10
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


def test_nothing_to_write_is_no_call_and_leaves_no_thread():
    store = Store()
    box = outbox(store)
    box.flush()
    box.close()
    box.close()
    assert not box._thread.is_alive()
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
            settle(box)
    for _ in range(20):  # more than are refused
        settle(box)
    box.close()
    assert store.written == expected
    assert store.tags == tags
    assert all(len(metrics) <= 900 for metrics, _ in store.calls)
