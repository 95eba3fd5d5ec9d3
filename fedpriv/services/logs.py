"""Structured logs: one JSON object per line, on standard error."""

import json
import logging
import sys
import time
from collections import Counter
from typing import Any

LOGGER = logging.getLogger("fedpriv.services")
_MOST_ALIKE = 5
LISTENS = "listens on "
"""What a service that was started by hand writes on standard output before its URL."""


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object; ``extra={"fields": {...}}`` adds to it."""

    def __init__(self, service: str) -> None:
        """Name the service in every line."""
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "service": self._service,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class FewAlike(logging.Filter):
    """Lets at most five records of one message through each second: floods must not fill disks."""

    def __init__(self) -> None:
        """Count from now."""
        super().__init__()
        self._second, self._seen = 0, Counter[str]()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to write the record."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._seen = second, Counter()
        self._seen[record.msg] += 1
        return self._seen[record.msg] <= _MOST_ALIKE


def configure(service: str, level: str) -> None:
    """Send all logs of this process, uvicorn's included, to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    handler.addFilter(FewAlike())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.access").disabled = True


def event(name: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event of a service; never what it is asked about, nor a secret."""
    LOGGER.log(level, name, extra={"fields": fields})
