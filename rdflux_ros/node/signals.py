"""SIGINT, SIGTERM and SIGHUP end the process with exit code 0, whatever it is doing.

The signals are blocked in every thread and taken by one that waits for nothing else, so that no import, transition or
computation is ever interrupted half-way, and none can delay the end beyond `HEED_S` and `GRACE_S`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

HEED_S = 0.4
"""How long the main thread may take to heed a signal [s]; it cannot while it configures, and the process just ends."""
GRACE_S = 1.2
"""What an orderly end may take from then on [s]."""


class StopRequest:
    """Set by the first signal. Create it in the main thread before anything starts threads (torch and rclpy do)."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._heeded = threading.Event()
        self._lock = threading.Lock()
        self._notify: Callable[[], None] | None = None
        self._signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup leaves it, to outlive the terminal
            self._signals.append(signal.SIGHUP)
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        for number in self._signals:  # a shell starts background jobs with SIGINT ignored: such never arrive
            signal.signal(number, signal.SIG_DFL)
        threading.Thread(target=self._wait, name="signals", daemon=True).start()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def orderly(self, notify: Callable[[], None]) -> None:
        """From now on a signal calls `notify` (from another thread) and gives time to `heed` it."""
        with self._lock:
            self._notify = notify

    def heed(self) -> None:
        """The orderly end begins; it may take `GRACE_S`."""
        self._heeded.set()

    def _wait(self) -> None:
        signal.sigwait(self._signals)
        self._event.set()
        with self._lock:
            notify = self._notify
        if notify is not None:
            notify()
            if self._heeded.wait(HEED_S):
                time.sleep(GRACE_S)
        leave(0)


def leave(code: int) -> NoReturn:
    """End the process at once: no finalisers of libraries that still have threads at work."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
