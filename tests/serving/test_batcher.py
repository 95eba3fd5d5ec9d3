import asyncio
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.serving.answers import Answer, Gaze
from fedpriv.serving.batcher import Batcher, Busy, Closed
from fedpriv.serving.model_set import ModelSet
from tests.serving.conftest import noise

_LONG = 30.0


class Gate(ModelSet):
    """Models that tell their batches, and infer only when they may; a black image makes them fail."""

    def __init__(self, models):
        super().__init__(models)
        self.batches, self.reached, self.open = [], threading.Event(), threading.Event()

    def answer(self, images, wanted):
        self.batches.append([int(image[0, 0]) for image in images])
        self.reached.set()
        assert self.open.wait(_LONG)
        if any(not image.any() for image in images):
            raise RuntimeError("black")
        return [Answer(Gaze(float(image[0, 0]), 0.0, "0" * 16)) for image in images]


@pytest.fixture
def gate(gaze):
    gate = Gate([gaze])
    yield gate
    gate.open.set()


def _image(number):
    return np.full((8, 8), number, np.uint8)


def _held(batcher, gate):
    """Let a first image be under way, so that what follows waits."""
    first = batcher.submit(_image(255), ("gaze",))
    assert gate.reached.wait(_LONG)
    return first


def test_images_from_many_threads_get_their_own_answers(both):
    images = [noise(*size, seed=index) for index, size in enumerate([(36, 60), (48, 48), (20, 90)] * 20)]
    wanted = [("gaze",), ("emotion",), ("gaze", "emotion")] * 20
    expected = both.answer(images, wanted)
    with Batcher(both) as batcher, ThreadPoolExecutor(8) as pool:
        futures = list(pool.map(batcher.submit, images, wanted))
        assert [future.result(_LONG) for future in futures] == expected
        assert batcher.images == 60


def test_an_event_loop_can_wait_for_answers(both):
    images = [noise(36, 60, seed=index) for index in range(10)]

    async def ask(batcher):
        asked = [asyncio.wrap_future(batcher.submit(image, ("gaze",))) for image in images]
        return await asyncio.gather(*asked)

    with Batcher(both) as batcher:
        assert asyncio.run(ask(batcher)) == both.answer(images, [("gaze",)] * 10)


def test_what_waits_is_inferred_together_up_to_the_limit(gate):
    with Batcher(gate, most_images=4, longest_wait_s=0.0) as batcher:
        _held(batcher, gate)
        futures = [batcher.submit(_image(number), ("gaze",)) for number in range(1, 11)]
        assert batcher.waiting == 10
        gate.open.set()
        assert [future.result(_LONG).gaze.pitch for future in futures] == list(range(1, 11))
    assert gate.batches == [[255], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert (batcher.batches, batcher.images) == (4, 11)


def test_a_batch_waits_for_more_images_as_long_as_it_may(gate):
    gate.open.set()
    with Batcher(gate, most_images=2, longest_wait_s=_LONG) as batcher:
        futures = [batcher.submit(_image(number), ("gaze",)) for number in (1, 2)]
        assert [future.result(_LONG / 2).gaze.pitch for future in futures] == [1.0, 2.0]
    assert gate.batches == [[1, 2]]


def test_an_error_reaches_its_own_request_only(gate):
    with Batcher(gate, longest_wait_s=0.0) as batcher:
        _held(batcher, gate)
        futures = [batcher.submit(_image(number), ("gaze",)) for number in (1, 0, 2)]
        gate.open.set()
        assert [futures[index].result(_LONG).gaze.pitch for index in (0, 2)] == [1.0, 2.0]
        with pytest.raises(RuntimeError, match="black"):
            futures[1].result(_LONG)
        assert batcher.submit(_image(3), ("gaze",)).result(_LONG).gaze.pitch == 3.0
        assert batcher.images == 4


def test_past_the_bound_nothing_is_taken(gate):
    with Batcher(gate, most_waiting=3, longest_wait_s=0.0) as batcher:
        _held(batcher, gate)
        futures = [batcher.submit(_image(number), ("gaze",)) for number in (1, 2, 3)]
        for _ in range(5):
            with pytest.raises(Busy):
                batcher.submit(_image(4), ("gaze",))
        assert batcher.waiting == 3
        gate.open.set()
        assert [future.result(_LONG).gaze.pitch for future in futures] == [1.0, 2.0, 3.0]
        assert batcher.submit(_image(5), ("gaze",)).result(_LONG).gaze.pitch == 5.0


def test_closing_answers_what_was_taken_and_takes_no_more(gate):
    batcher = Batcher(gate, most_waiting=3, longest_wait_s=0.0)
    _held(batcher, gate)
    futures = [batcher.submit(_image(number), ("gaze",)) for number in (1, 2, 3)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while True:
        try:
            batcher.submit(_image(9), ("gaze",))
        except Busy:
            continue
        except Closed:
            break
    gate.open.set()
    closing.join(_LONG)
    assert not closing.is_alive()
    assert [future.result(0).gaze.pitch for future in futures] == [1.0, 2.0, 3.0]
    batcher.close()


def test_what_was_cancelled_is_not_inferred(gate):
    with Batcher(gate, longest_wait_s=0.0) as batcher:
        _held(batcher, gate)
        futures = [batcher.submit(_image(number), ("gaze",)) for number in (1, 2)]
        assert futures[0].cancel()
        gate.open.set()
        assert futures[1].result(_LONG).gaze.pitch == 2.0
        with pytest.raises(CancelledError):
            futures[0].result(_LONG)
    assert gate.batches == [[255], [2]]


def test_bad_images_and_questions_are_refused_at_once(gaze):
    with Batcher(ModelSet([gaze])) as batcher:
        with pytest.raises(UserError, match="give sides"):
            batcher.submit(noise(4, 4), ("gaze",))
        with pytest.raises(UserError, match="is not answered here"):
            batcher.submit(noise(36, 60), ("emotion",))
        assert batcher.waiting == 0


@pytest.mark.parametrize("bounds", [{"most_images": 0}, {"most_waiting": 0}, {"longest_wait_s": -1.0}])
def test_bounds_are_checked(both, bounds):
    with pytest.raises(ValueError, match="most_images="):
        Batcher(both, **bounds)
