"""The days of a simulated shop: from chunks of compact events to the tables of an export."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sample_shop.export import load_event_schema, make_table
from sample_shop.options import Calendar
from sample_shop.records import EVENT_DTYPE, SESSION_DTYPE
from sample_shop.simulate import CHUNK_SESSIONS, simulate_chunk

Records = NDArray[np.void]

_ROW_GROUP = 40_000  # pyarrow cannot read nested columns of very large row groups


def list_chunks(calendar: Calendar) -> list[int]:
    """How many sessions each chunk of the shop simulates."""
    total = calendar.options.sessions
    return [min(CHUNK_SESSIONS, total - first) for first in range(0, total, CHUNK_SESSIONS)]


@contextmanager
def workers(processes: int) -> Iterator[Callable[[Callable[[Any], int], list[Any]], Iterator[int]]]:
    """A function that yields a task's results for all arguments as they come; in this process if one is enough."""
    if processes == 1:
        yield lambda task, arguments: map(task, arguments)
        return
    # Spawned, because Arrow's threads do not survive a fork.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))

    def run(task: Callable[[Any], int], arguments: list[Any]) -> Iterator[int]:
        for future in as_completed([pool.submit(task, argument) for argument in arguments]):
            yield future.result()

    try:
        yield run
    finally:
        pool.shutdown(cancel_futures=True)  # after an error do not work off the queue for nothing


def simulate_task(argument: tuple[Calendar, int, int, Path]) -> int:
    """Simulate one chunk: (calendar, number, sessions, folder); the number of events."""
    calendar, chunk, sessions, folder = argument
    return simulate_chunk(calendar, chunk, sessions, folder)


def load_day(folder: Path, chunks: int, day: int) -> tuple[Records, Records]:
    """The compact events of one day from all chunks, and their sessions."""
    events, sessions = [], []
    before = 0
    for chunk in range(chunks):
        first, last = np.fromfile(folder / f"offsets_{chunk}.bin", "i8")[day : day + 2]
        offset = int(first) * EVENT_DTYPE.itemsize
        part = np.fromfile(folder / f"events_{chunk}.bin", EVENT_DTYPE, count=last - first, offset=offset)
        used, part["session"] = np.unique(part["session"], return_inverse=True)
        part["session"] += before
        before += len(used)
        events.append(part)
        sessions.append(np.array(np.memmap(folder / f"sessions_{chunk}.bin", SESSION_DTYPE, mode="r")[used]))
    return np.concatenate(events), np.concatenate(sessions)


def write_table(calendar: Calendar, path: Path, events: Records, sessions: Records, is_intraday: bool) -> int:
    """Write the rows of one table of the export; how many there are."""
    with pq.ParquetWriter(path, load_event_schema(), compression="zstd") as writer:
        for first in range(0, max(len(events), 1), _ROW_GROUP):
            part = events[first : first + _ROW_GROUP]
            writer.write_table(make_table(calendar, part, sessions, is_intraday=is_intraday))
    return len(events)
