"""Starts and stops Airflow's own programs on embedded SQLite, and leaves no process behind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from foundation.errors import FunnelhouseError
from foundation.settings import PROJECT_DIR, Settings

# --skip-serve-logs: the log server listens on every interface; the API server reads the log files itself
API_SERVER = "api-server"
DAG_PROCESSOR = "dag-processor"
SCHEDULER = "scheduler --skip-serve-logs"
TRIGGERER = "triggerer --skip-serve-logs"
ADMIN = "admin"


class AirflowStartError(FunnelhouseError):
    """A part of Airflow did not start; the message shows its last log lines."""


@dataclass
class AirflowParts:
    """The running parts of one Airflow, each in a process session of its own."""

    settings: Settings
    port: int
    environment: dict[str, str]
    is_kept: bool
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Base URL of the API server."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, *names: str) -> None:
        """Start parts; their output goes to `$FUNNELHOUSE_HOME/logs/airflow-<part>.log`.

        Which processes these are is written down first thing, so that a later run can stop them if this one is killed.
        """
        (self.settings.home / "logs").mkdir(parents=True, exist_ok=True)
        for part in names:
            with _log_file(self.settings, part).open("wb") as log:
                self.processes[part] = subprocess.Popen(
                    [sys.executable, "-m", "airflow", *part.split()],
                    env=self.environment,
                    cwd=PROJECT_DIR,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            _remember_parts(self.settings, [process.pid for process in self.processes.values()])

    def check(self) -> None:
        """Raise AirflowStartError if a part has ended."""
        for part, process in self.processes.items():
            if process.poll() is not None:
                log = _log_file(self.settings, part)
                raise AirflowStartError(
                    f"Airflow's {part} ended with exit code {process.returncode}. Last lines of {log}:\n"
                    + last_lines(log, 15)
                )

    def stop(self) -> None:
        """Stop every part and everything they started."""
        stop_processes(self.settings)


def prepare(settings: Settings, *, port: int | None = None, is_kept: bool = False) -> AirflowParts:
    """Make AIRFLOW_HOME, its secrets and its database; returns the parts, not yet started.

    Only in an Airflow that is kept running do the DAGs run on their schedules, else when triggered, by hand or by an
    asset.
    """
    home = settings.airflow_home
    home.mkdir(parents=True, exist_ok=True)
    chosen_port = port or _free_port()
    environment = airflow_environment(settings, chosen_port)
    if not is_kept:
        names = ("DAILY_SCHEDULE", "RETRAINING_SCHEDULE", "ALERT_FOLLOWUP_SCHEDULE")
        environment |= {f"FUNNELHOUSE_{name}": "none" for name in names}
    _migrate_database(settings, environment)
    return AirflowParts(settings, chosen_port, environment, is_kept)


def airflow_environment(settings: Settings, port: int) -> dict[str, str]:
    """The environment that makes Airflow's programs use this project and this home, on 127.0.0.1 only."""
    home = settings.airflow_home
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW__", "AIRFLOW_HOME"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT_DIR), os.environ.get("PYTHONPATH", "")])),
        "FUNNELHOUSE_HOME": str(settings.home),
        **({"FUNNELHOUSE_SOURCE": settings.source} if settings.source else {}),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_DIR / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__FERNET_KEY": _secret(home / "fernet.key", _fernet_key),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_passwords_file(home)),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API_AUTH__JWT_SECRET": _secret(home / "jwt.secret", lambda: secrets.token_urlsafe(64)),
        "AIRFLOW__API__SECRET_KEY": _secret(home / "api.secret", lambda: secrets.token_urlsafe(32)),
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def admin_password(settings: Settings) -> str:
    """The password of the user `admin`, made at random on first use and kept readable by its owner only."""
    passwords: dict[str, str] = json.loads(_passwords_file(settings.airflow_home).read_text(encoding="utf-8"))
    return passwords[ADMIN]


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


def last_lines(path: Path, count: int) -> str:
    """The last lines of a text file; empty where there is none."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])


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


def _log_file(settings: Settings, part: str) -> Path:
    return settings.home / "logs" / f"airflow-{part.split()[0]}.log"


def _parts_file(settings: Settings) -> Path:
    return settings.airflow_home / "parts.json"


def _remember_parts(settings: Settings, pids: list[int]) -> None:
    temporary = _parts_file(settings).with_suffix(".new")
    # a session's id is its leader's pid; the boot time tells whether it can still be the same one
    temporary.write_text(json.dumps({"sessions": pids, "boot_time": psutil.boot_time()}), encoding="utf-8")
    temporary.replace(_parts_file(settings))


def _remembered_sessions(settings: Settings) -> set[int]:
    """Sessions of the remembered parts; none after a reboot.

    The kernel does not give out a session's id again while one of its processes lives. If all have ended, the id may
    be another program's by now: only a session that runs Airflow counts.
    """
    if not _parts_file(settings).exists():
        return set()
    remembered = json.loads(_parts_file(settings).read_text(encoding="utf-8"))
    if abs(remembered["boot_time"] - psutil.boot_time()) > 5:
        return set()
    return {sid for sid in remembered["sessions"] if _runs_airflow(sid)}


def _runs_airflow(session_id: int) -> bool:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == session_id and "airflow" in " ".join(process.cmdline()):
                return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _secret(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        _write_private(path, make())
    return path.read_text(encoding="utf-8")


def _fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def _passwords_file(home: Path) -> Path:
    path = home / "passwords.json"
    if not path.exists():
        _write_private(path, json.dumps({ADMIN: secrets.token_urlsafe(16)}))
    return path


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def _migrate_database(settings: Settings, environment: dict[str, str]) -> None:
    """Create or upgrade Airflow's database; quick when it is of this Airflow version already."""
    from importlib.metadata import version

    marker = settings.airflow_home / "database.version"
    if marker.exists() and marker.read_text(encoding="utf-8") == version("apache-airflow-core"):
        return
    started = time.monotonic()
    outcome = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=environment,
        cwd=PROJECT_DIR,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if outcome.returncode != 0:
        raise AirflowStartError(
            f"`airflow db migrate` failed after {time.monotonic() - started:.0f} s:\n"
            + "\n".join((outcome.stdout + outcome.stderr).splitlines()[-15:])
        )
    marker.write_text(version("apache-airflow-core"), encoding="utf-8")
