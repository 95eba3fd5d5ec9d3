"""Ends a service when whoever started it is gone."""

import os
import signal
import threading
import time
from collections.abc import Callable


def end_with_parent(parent: int) -> None:
    """End this process, as SIGTERM does, when the process ``parent``, which started it, is gone."""

    def watch() -> None:
        # not PR_SET_PDEATHSIG: that one fires when the parent's thread ends, not its process; and the parent
        # is told by its number, for it may have gone while this process was still starting
        while os.getppid() == parent:
            time.sleep(1.0)

    _end_after(watch)


def end_with_input() -> None:
    """End this process, as SIGTERM does, when its standard input ends."""

    def drain() -> None:
        # not sys.stdin: its lock, held here, would abort the interpreter at its end
        while os.read(0, 4096):
            pass

    _end_after(drain)


def _end_after(wait: Callable[[], None]) -> None:
    def end() -> None:
        wait()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end, daemon=True).start()
