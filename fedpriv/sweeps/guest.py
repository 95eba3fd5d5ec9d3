"""How a job behaves in a process that is given other jobs, too, and that its launcher's end must end."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from fedpriv.sweeps.processes import follow
from fedpriv.sweeps.record import SweepRecord
from fedpriv.sweeps.threads import share_of_cores

_AGAIN_S = 0.05
"""After so long a signal that came during an import is heard again."""


@contextmanager
def as_guest(record: SweepRecord) -> Iterator[threading.Event]:
    """Behave as a guest in the block: handlers, log levels and the share of cores are put back after it.

    On SIGINT and SIGTERM the block is left by ``SystemExit``, after an import that is under way, and then
    the process: its launcher would take that for the job's result. In the launcher's own process, that
    decides.

    Yields:
        Set when the process is to end: an exception that a signal raises inside of a finaliser is lost, so
        the block has to look now and then.
    """
    asked_to_end = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if asked_to_end.is_set():  # what is put away meanwhile is not to be cut off
            return
        if _imports(frame):  # what is raised there may come out as an ImportError, and the job be FAILED
            threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number)).start()
            return
        asked_to_end.set()
        sys.exit(128 + number)

    with ExitStack() as stack:
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:  # the log file has all
                stack.callback(handler.setLevel, handler.level)
                handler.setLevel(logging.WARNING)
        logging.getLogger("flwr").handlers.clear()  # it writes its lines itself and again through the root
        stack.enter_context(share_of_cores(record.at_once))
        if record.launcher is not None and record.launcher.pid == os.getpid():
            yield asked_to_end
            return
        if record.launcher is not None:
            follow(record.launcher)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.signal(number, stop))
        try:
            yield asked_to_end
            if asked_to_end.is_set():
                sys.exit(143)
        except (KeyboardInterrupt, SystemExit) as error:
            # the launcher would take this for the job's result, and give the process another job
            logging.shutdown()
            os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 130)


def _imports(frame: FrameType | None) -> bool:
    """Tell whether the code that a signal came upon is run by an import."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


@contextmanager
def logged_in(folder: Path) -> Iterator[None]:
    """Write the log of the block in the folder of the run that is gone on with, too."""
    handler = logging.FileHandler(folder / "run.log", delay=True)
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
