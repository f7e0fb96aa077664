"""All that the streets alone decide, kept per region: least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class RegionCache(Generic[T]):
    """Thread-safe LRU cache by content key.

    A key is computed once even when several threads ask for it at the same time; a computation that
    fails raises in all of them and leaves no entry.

    Parameters
    ----------
    capacity
        Entries kept.
    """

    def __init__(self, capacity: int = 100) -> None:
        if capacity < 1:
            raise ValueError(f"capacity = {capacity}: must be at least 1")
        self.capacity = capacity
        self.misses = 0
        """Computations started."""
        self._entries: OrderedDict[str, Future[T]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get_or_compute(self, key: str, compute: Callable[[], T]) -> tuple[T, bool]:
        """(value, hit); `compute` runs only where the key is missing."""
        with self._lock:
            entry = self._entries.get(key)
            hit = entry is not None
            if entry is None:
                entry = self._entries[key] = Future()
                self.misses += 1
            self._entries.move_to_end(key)
        if not hit:
            self._fill(key, entry, compute)
        return entry.result(), hit

    def _fill(self, key: str, entry: Future[T], compute: Callable[[], T]) -> None:
        try:
            value = compute()
        except BaseException as error:
            with self._lock:
                if self._entries.get(key) is entry:
                    del self._entries[key]
            entry.set_exception(error)
            raise
        with self._lock:  # only a success may push out what is there
            while len(self._entries) > self.capacity:
                self._entries.popitem(last=False)
        entry.set_result(value)

    def peek(self, key: str) -> T | None:
        """What is there for the key, without counting or using it; None where it is missing or not yet computed."""
        with self._lock:
            entry = self._entries.get(key)
        return entry.result() if entry is not None and entry.done() and entry.exception() is None else None

    def clear(self) -> None:
        """Forget all entries; the counter stays."""
        with self._lock:
            self._entries.clear()
