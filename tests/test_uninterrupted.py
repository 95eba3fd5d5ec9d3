import signal
import threading

import pytest

from fedpriv.uninterrupted import uninterrupted


@pytest.fixture(autouse=True)
def _interrupts_are_heard():
    """A shell's background jobs start with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_is_heard_after_the_block_and_not_in_it():
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        done.append(True)
    assert done == [True]


def test_the_handlers_are_restored():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with uninterrupted():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_exception_of_the_block_passes_through():
    with pytest.raises(RuntimeError, match="inside"), uninterrupted():
        raise RuntimeError("inside")


def test_other_threads_run_the_block_as_it_is():
    seen = []

    def work():
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
