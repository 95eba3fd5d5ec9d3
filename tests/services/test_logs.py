"""Logs: one JSON object per line, and no flood of them."""

import json
import logging

from fedpriv.services.logs import FewAlike, JsonFormatter


def record(text: str, **fields) -> logging.LogRecord:
    made = logging.LogRecord("fedpriv.services", logging.INFO, __file__, 1, text, None, None)
    if fields:
        made.fields = fields
    return made


def test_a_record_is_one_line_of_json_with_its_fields() -> None:
    line = JsonFormatter("relay-a").format(record('two\nlines "quoted"', cause="busy", at=b"x"))
    assert "\n" not in line
    found = json.loads(line)
    assert found.pop("time") > 0
    assert found == {
        "level": "info",
        "service": "relay-a",
        "event": 'two\nlines "quoted"',
        "cause": "busy",
        "at": "b'x'",
    }


def test_of_many_records_alike_a_few_pass_each_second(monkeypatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("fedpriv.services.logs.time.monotonic", lambda: now[0])
    few = FewAlike()
    assert sum(few.filter(record("again")) for _ in range(100)) == 5
    assert few.filter(record("another"))
    now[0] += 1
    assert few.filter(record("again"))
