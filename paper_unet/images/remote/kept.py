"""Bytes that were read over a network, kept while they may be needed again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock


class Kept:
    """What was read last, by name, up to so many bytes; used by several threads.

    Attributes
    ----------
    room : int
        Bytes kept at most; 0: nothing.
    """

    def __init__(self) -> None:
        self.room = 0
        self._held = 0
        self._data: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, name: Hashable, read: Callable[[], bytes | None]) -> bytes | None:
        """Return what is kept under a name, or else read it; what is not there is not kept."""
        with self._lock:
            if name in self._data:
                self._data.move_to_end(name)
                return self._data[name]
        data = read()
        if data is None or len(data) > self.room:
            return data
        with self._lock:
            if name not in self._data:
                self._data[name] = data
                self._held += len(data)
            while self._held > self.room:
                self._held -= len(self._data.popitem(last=False)[1])
        return data

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._data.clear()
            self._held = 0
