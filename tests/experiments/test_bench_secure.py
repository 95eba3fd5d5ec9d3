"""The end-to-end benchmark runs both ways, logged, on the same data."""

import pytest

from experiments.bench import secure
from tests.conftest import TINY


@pytest.mark.slow
def test_both_ways_run_and_are_compared():
    settings = [setting for setting in TINY if not setting.startswith("tracking")]
    found = secure.compare(settings, repeats=1)
    # the seconds are rounded to milliseconds, of some tens
    assert found["overhead_ratio"] == pytest.approx(found["bfv_s"] / found["none_s"], rel=0.1)
    assert found["paired_ratios"] == [found["overhead_ratio"]]
    assert found["none_phases_s"]["train"] > 0
    assert found["bfv_update_bytes"] != found["none_update_bytes"]
    # quantisation moves the metric a little, another model would move it far
    assert found["bfv_final"] == pytest.approx(found["none_final"], abs=0.5)
