"""Which processes an Airflow of this home has: remembered, found again, and stopped to the last one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from foundation.settings import Settings


def stop_processes(settings: Settings) -> int:
    """Stop Airflow's parts of this home and all they started, also what a killed run left; returns how many.

    Takes its time to the end: a second Ctrl-C does not leave half of them running.
    """
    with _signals_ignored():
        return _stop_processes(settings)


def _stop_processes(settings: Settings) -> int:
    found = _processes_of(settings)
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    psutil.wait_procs(found, timeout=10)
    # children may have been started while their parents were ending
    survivors = _processes_of(settings)
    for process in survivors:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(survivors, timeout=10)
    _parts_file(settings).unlink(missing_ok=True)
    return len(found)


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _processes_of(settings: Settings) -> list[psutil.Process]:
    """The parts and whatever they started.

    Airflow renames its processes and so loses their environment, its workers outlive their parents, and a part's
    children lead no session of their own: a process is one of ours if it is a remembered part, descends from one, is
    in a part's session, or still shows our AIRFLOW_HOME.
    """
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    sessions = _remembered_sessions(settings)
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if process.pid in mine:
            continue
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) in sessions or _has_home(process, settings):
                for one in (process, *process.children(recursive=True)):
                    found[one.pid] = one
    return [process for pid, process in found.items() if pid not in mine]


def _has_home(process: psutil.Process, settings: Settings) -> bool:
    """Whether it is an Airflow of this home, and not, for example, a shell that has set AIRFLOW_HOME."""
    with contextlib.suppress(psutil.Error):
        is_airflow = "airflow" in " ".join(process.cmdline()[:4])
        return is_airflow and process.environ().get("AIRFLOW_HOME") == str(settings.airflow_home)
    return False


def _parts_file(settings: Settings) -> Path:
    return settings.airflow_home / "parts.json"


def remember_processes(settings: Settings, processes: Mapping[str, psutil.Process]) -> None:
    temporary = _parts_file(settings).with_suffix(".new")
    # a session's id is its leader's pid; the boot time tells whether it can still be the same one, and pid and start
    # together are one process
    parts = {part: {"pid": process.pid, "started": process.create_time()} for part, process in processes.items()}
    temporary.write_text(json.dumps({"parts": parts, "boot_time": psutil.boot_time()}), encoding="utf-8")
    temporary.replace(_parts_file(settings))


def find_remembered(settings: Settings) -> dict[str, psutil.Process]:
    """The remembered parts' own processes; none unless all of them run."""
    processes = {}
    for part, remembered in _read_remembered(settings).items():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(int(remembered["pid"]))
            if process.create_time() == remembered["started"] and process.status() != psutil.STATUS_ZOMBIE:
                processes[part] = process
                continue
        return {}
    return processes


def _read_remembered(settings: Settings) -> dict[str, dict[str, float]]:
    """Pid and start of each remembered part; none after a reboot."""
    try:
        remembered = json.loads(_parts_file(settings).read_text(encoding="utf-8"))
        is_of_this_boot = abs(remembered["boot_time"] - psutil.boot_time()) <= 5
        return dict(remembered["parts"]) if is_of_this_boot else {}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def _remembered_sessions(settings: Settings) -> set[int]:
    """Sessions of the remembered parts.

    The kernel does not give out a session's id again while one of its processes lives. If all have ended, the id may
    be another program's by now: only a session that runs Airflow counts.
    """
    return {int(part["pid"]) for part in _read_remembered(settings).values() if _runs_airflow(int(part["pid"]))}


def _runs_airflow(session_id: int) -> bool:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == session_id and "airflow" in " ".join(process.cmdline()):
                return True
    return False
