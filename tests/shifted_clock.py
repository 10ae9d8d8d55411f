"""A clock that is wrong: `datetime.now` tells another time to the whole process."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_RIGHT = dt.datetime


@contextmanager
def clock_shifted(shift: dt.timedelta) -> Iterator[None]:
    """Within it, the clock of this process is ahead by `shift`, or behind if that is negative.

    What measures durations (`time.monotonic`) goes on as it does when somebody sets a real clock.
    """

    class Wrong(type):
        def __call__(cls, *args: Any, **options: Any) -> dt.datetime:
            return _RIGHT(*args, **options)

        def __getattr__(cls, name: str) -> Any:
            return getattr(_RIGHT, name)

        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, _RIGHT)

    class Clock(metaclass=Wrong):
        @staticmethod
        def now(tz: dt.tzinfo | None = None) -> dt.datetime:
            return _RIGHT.now(tz) + shift

    dt.datetime = Clock  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        dt.datetime = _RIGHT  # type: ignore[misc]
