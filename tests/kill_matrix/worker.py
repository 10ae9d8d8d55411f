"""Runs tasks in forked processes, and kills one at a chosen event: the imports, seconds of CPU, are paid once.

An event is what a process does to the world: a rename, a copy, an fsync, a statement or a commit, a call to Slack.
Reads one JSON order a line from standard input; prints `exit CODE` when its process has ended, -9 for a killed one.
The tasks and everything below them are the product's own: only the functions that make the events are wrapped, so that
a process dies by SIGKILL right before one, in the middle of one, or right after one.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dbt.adapters.duckdb
import dbt.cli.main  # noqa: F401
import duckdb

from foundation.settings import Settings
from ml.core import propensity
from ml.jobs.report import SEGMENTS
from ml.jobs.train import train_models
from tests.main_job import TASKS, run_main_job

DETAIL_LENGTH = 2_000  # two long paths and more
FEW_PURCHASES = 8  # are enough to train from, here: so small a shop costs little
# Packages whose modules take long to import.
PRELOADED = {"dbt", "great_expectations", "matplotlib", "pandas", "pyarrow", "scipy", "skops", "slack_sdk", "sklearn"}


@dataclass(frozen=True)
class Event:
    """Something a task did; `seconds` is how long it took."""

    kind: str  # rename, copy, fsync, duckdb, sqlite, http
    detail: str
    seconds: float


class Killer:
    """Counts the events of each task, and ends the process at the one that the order names."""

    def __init__(self, kill: dict[str, Any] | None) -> None:
        self.events: list[Event] = []
        self._kill = kill
        self._task: str | None = None
        self._next = 0
        self._lock = threading.Lock()

    def within(self, task: str, work: Callable[[], Any]) -> Any:
        """Do `work`, which is one task."""
        self._task, self._next = task, 0
        result = work()
        self._task = None
        if self._kill is not None and self._kill["task"] == task:
            die()  # it has ended, and nobody has been told
        return result

    def around(self, kind: str, detail: str, work: Callable[[], Any]) -> Any:
        """Do `work`, which is one event."""
        with self._lock:  # dbt works in threads
            index = self._next
            self._next += 1
        kill = self._kill
        if kill is not None and (kill["task"], kill["event"]) != (self._task, index):
            kill = None
        if kill is not None and kill["phase"] == "before":
            die()
        if kill is not None and kill["phase"] == "during":
            threading.Thread(target=_die_after, args=[kill["seconds"]], daemon=True).start()
        started = time.monotonic()
        result = work()
        if kill is not None:  # after it; an event that was quicker than last time counts as that, too
            die()
        self.events.append(Event(kind, detail[:DETAIL_LENGTH], time.monotonic() - started))
        return result


def die() -> None:
    """End this process as the kernel ends one that has eaten all memory: no handler, no `finally`."""
    os.kill(os.getpid(), signal.SIGKILL)


def _die_after(seconds: float) -> None:
    time.sleep(seconds)
    die()


def instrument(killer: Killer) -> None:
    """Wrap what makes the events."""
    _wrap_files(killer)
    _wrap_duckdb(killer)
    _wrap_sqlite(killer)
    _wrap_http(killer)


def _wrap_files(killer: Killer) -> None:
    def wrap(module: Any, name: str, kind: str) -> None:
        function = getattr(module, name)

        def wrapped(*args: Any, **options: Any) -> Any:
            detail = " -> ".join(str(arg) for arg in args[:2])
            return killer.around(kind, detail, lambda: function(*args, **options))

        setattr(module, name, wrapped)

    for name in ("rename", "replace"):  # those of pathlib, too, end here
        wrap(os, name, "rename")
    wrap(os, "fsync", "fsync")
    wrap(shutil, "copyfile", "copy")


def _wrap_duckdb(killer: Killer) -> None:
    for name in ("execute", "executemany"):
        function = getattr(duckdb.DuckDBPyConnection, name)

        def wrapped(self: Any, query: Any, *args: Any, _function: Any = function, **options: Any) -> Any:
            return killer.around("duckdb", str(query).strip(), lambda: _function(self, query, *args, **options))

        setattr(duckdb.DuckDBPyConnection, name, wrapped)


def _wrap_sqlite(killer: Killer) -> None:
    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            work = super().execute
            if sql not in ("commit", "begin immediate"):
                return work(sql, *args)
            cursor: sqlite3.Cursor = killer.around("sqlite", sql, lambda: work(sql, *args))
            return cursor

    connect = sqlite3.connect

    def wrapped(*args: Any, **options: Any) -> sqlite3.Connection:
        return connect(*args, factory=Connection, **options)

    sqlite3.connect = wrapped  # type: ignore[assignment]


def _wrap_http(killer: Killer) -> None:
    function = urllib.request.OpenerDirector.open

    def wrapped(self: Any, request: Any, *args: Any, **options: Any) -> Any:
        url = request if isinstance(request, str) else request.full_url
        return killer.around("http", url.split("?")[0], lambda: function(self, request, *args, **options))

    urllib.request.OpenerDirector.open = wrapped  # type: ignore[method-assign]


def preload(names: list[str]) -> None:
    """Import what a process had imported by its end, so that the next ones need not."""
    for name in names:
        if name.partition(".")[0] in PRELOADED and name not in sys.modules:
            with contextlib.suppress(ImportError):  # some exist only once something has run
                importlib.import_module(name)


def run(order: dict[str, Any]) -> None:
    """One process's work: a whole run, or some of its tasks."""
    settings = Settings(**order["settings"])
    killer = Killer(order.get("kill"))
    if order.get("kill") or order.get("trace"):
        instrument(killer)
    for name, task in TASKS.items():
        TASKS[name] = partial(_run_task, killer, name, task)
    for name in order["tasks"]:
        if name == "all":
            run_main_job(settings, run_id=order["run_id"], skipping=order.get("skipping", ()))
        elif name == "train_models":
            killer.within(name, lambda: _train(settings, order.get("models", [SEGMENTS])))
        else:
            TASKS[name](settings, order["run_id"])
    if order.get("trace"):
        Path(order["trace"]).write_text(json.dumps([asdict(event) for event in killer.events]), encoding="utf-8")
    if order.get("modules"):
        Path(order["modules"]).write_text(json.dumps(sorted(sys.modules)), encoding="utf-8")


def _run_task(
    killer: Killer, name: str, task: Callable[[Settings, str], object], settings: Settings, run_id: str
) -> object:
    return killer.within(name, lambda: task(settings, run_id))


def _train(settings: Settings, names: list[str]) -> None:
    for limit in ("TRAIN", "TEST", "POINT", "FOLD"):
        setattr(propensity, f"MIN_{limit}_POSITIVES", FEW_PURCHASES)
    train_models(settings, names=names)


def main() -> None:
    """Serve orders until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the tasks print is no answer
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                run(json.loads(line))
                code = 0
            except Exception:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        modules = json.loads(line).get("modules")
        if modules and Path(modules).exists():
            preload(json.loads(Path(modules).read_text(encoding="utf-8")))
        print(f"exit {os.waitstatus_to_exitcode(status)}", file=answers, flush=True)


if __name__ == "__main__":
    main()
