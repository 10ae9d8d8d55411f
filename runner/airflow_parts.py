"""Starts, watches and stops Airflow's own programs on embedded SQLite, and leaves no process behind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

import psutil

from foundation.errors import FunnelhouseError
from foundation.settings import PROJECT_DIR, Settings
from runner.airflow_api import AirflowApi
from runner.ports import check_port, find_free_port, listens
from runner.processes import find_remembered, remember_processes, stop_processes

# --skip-serve-logs: the log server listens on every interface; the API server reads the log files itself
API_SERVER = "api-server"
DAG_PROCESSOR = "dag-processor"
SCHEDULER = "scheduler"
TRIGGERER = "triggerer --skip-serve-logs"
ADMIN = "admin"
MOST_LOG_BYTES = 10 * 2**20


class AirflowStartError(FunnelhouseError):
    """Airflow cannot start, or a part of it did not; the message shows the part's last log lines."""


class AirflowEndedError(FunnelhouseError):
    """A part of Airflow has ended while it was needed; the message shows its last log lines."""


@dataclass
class AirflowParts:
    """The running parts of one Airflow, each in a process session of its own."""

    settings: Settings
    port: int
    environment: dict[str, str]
    is_kept: bool
    processes: dict[str, psutil.Process] = field(default_factory=dict)
    _word: IO[bytes] | None = None  # to the scheduler that waits for it

    @classmethod
    def find(cls, settings: Settings, port: int) -> AirflowParts | None:
        """The parts of this home that an earlier command has started; None unless all of them still run."""
        processes = find_remembered(settings)
        if not processes:
            return None
        return cls(settings, port, airflow_environment(settings, port), is_kept=True, processes=processes)

    @property
    def url(self) -> str:
        """Base URL of the API server."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, *names: str) -> None:
        """Start parts; their output goes to `$FUNNELHOUSE_HOME/logs/airflow-<part>.log`.

        Which processes these are is written down first thing, so that a later run can stop them if this one is killed.
        """
        for part in names:
            self._start(part, ["airflow", *part.split()], subprocess.DEVNULL)

    def hold_scheduler(self) -> None:
        """Start the scheduler, which only imports what it and its tasks need until it is released.

        It has Airflow in its name, by which its processes are known.
        """
        held = self._start(SCHEDULER, ["dags.airflow_scheduler", "--held", "--skip-serve-logs"], subprocess.PIPE)
        self._word = held.stdin

    def release_scheduler(self) -> None:
        """Let the held scheduler begin."""
        if self._word is None:
            raise RuntimeError("the scheduler is not held")
        with contextlib.suppress(BrokenPipeError), self._word as word:  # one that has ended is found by `check`
            word.write(b"begin\n")
        self._word = None

    def _start(self, part: str, module: list[str], stdin: int) -> psutil.Popen:
        with _open_log(_log_file(self.settings, part)) as log:
            started = psutil.Popen(
                [sys.executable, "-m", *module],
                env=self.environment,
                cwd=PROJECT_DIR,
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes[part] = started
        remember_processes(self.settings, self.processes)
        return started

    def check(self) -> None:
        """Raise AirflowEndedError if a part has ended."""
        for part, process in self.processes.items():
            try:
                code = process.wait(timeout=0)
            except psutil.TimeoutExpired:
                continue
            log = _log_file(self.settings, part)
            raise AirflowEndedError(
                f"Airflow's {part.split()[0]} has ended{_say_exit(code)}. Last lines of {log}:\n{last_lines(log, 15)}"
            )

    def has_port(self) -> bool:
        """Whether it is our own API server that listens on the port: what is sent there stays in the house."""
        server = self.processes.get(API_SERVER)
        return server is not None and any(listens(process, self.port) for process in _with_children(server))

    def stop(self) -> None:
        """Stop every part and everything they started."""
        stop_processes(self.settings)


def prepare(settings: Settings, *, port: int | None = None, is_kept: bool = False) -> AirflowParts:
    """Make AIRFLOW_HOME, its secrets and its database; returns the parts, of which the scheduler is started and held.

    Only in an Airflow that is kept running do the DAGs run on their schedules, else when triggered, by hand or by an
    asset.
    """
    home = settings.airflow_home
    home.mkdir(parents=True, exist_ok=True)
    if port:
        check_port(port)
    chosen_port = port or find_free_port()
    environment = airflow_environment(settings, chosen_port)
    if not is_kept:
        names = ("PIPELINE_SCHEDULE", "DAILY_SCHEDULE", "RETRAINING_SCHEDULE", "ALERT_FOLLOWUP_SCHEDULE")
        environment |= {f"FUNNELHOUSE_{name}": "none" for name in names}
    parts = AirflowParts(settings, chosen_port, environment, is_kept)
    try:
        parts.hold_scheduler()
        _migrate_database(settings, environment)
    except BaseException:
        parts.stop()
        raise
    return parts


def airflow_environment(settings: Settings, port: int) -> dict[str, str]:
    """The environment that makes Airflow's programs use this project and this home, on 127.0.0.1 only."""
    home = settings.airflow_home
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW__", "AIRFLOW_HOME"))}
    return {
        **kept,
        **project_environment(settings),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT_DIR), os.environ.get("PYTHONPATH", "")])),
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
        "AIRFLOW__API__SECRET_KEY": read_secret(home),
        # looking for work ten times a second takes a fifth of a core
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        # airflow.cfg, which Airflow writes once, has these paths as they were then, wrong in a home that has moved
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(settings.home / "logs" / "tasks"),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(settings.home / "logs" / "dag_processor"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def project_environment(settings: Settings) -> dict[str, str]:
    """The project's own variables of the environment, with home and source as they were understood."""
    return {
        **{name: value for name, value in os.environ.items() if name.upper().startswith("FUNNELHOUSE_")},
        "FUNNELHOUSE_HOME": str(settings.home),
        **({"FUNNELHOUSE_SOURCE": settings.source} if settings.source else {}),
    }


def connect(parts: AirflowParts) -> AirflowApi:
    """A client of the parts' API server, which sends the password to it and to nobody else."""
    return AirflowApi(parts.url, username=ADMIN, password=admin_password(parts.settings), is_ours=parts.has_port)


def admin_password(settings: Settings) -> str:
    """The password of the user `admin`, made at random on first use and kept readable by its owner only."""
    passwords: dict[str, str] = json.loads(_passwords_file(settings.airflow_home).read_text(encoding="utf-8"))
    return passwords[ADMIN]


def last_lines(path: Path, count: int) -> str:
    """The last lines of a text file; empty where there is none."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])


def task_log_file(settings: Settings, dag_id: str, run_id: str, task_id: str, try_number: int) -> Path:
    """Where Airflow writes the log of one try of a task."""
    folder = settings.home / "logs" / "tasks" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
    return folder / f"attempt={try_number}.log"


def _log_file(settings: Settings, part: str) -> Path:
    return settings.home / "logs" / f"airflow-{part.split()[0]}.log"


def _open_log(path: Path) -> BinaryIO:
    """The log to append to; what a crash has written stays through a restart, one file back when it grows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MOST_LOG_BYTES:
        path.replace(path.with_suffix(".1.log"))
    return path.open("ab")


def _with_children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


def _say_exit(code: int | None) -> str:
    if code is None:
        return ""
    return f", killed by {signal.Signals(-code).name}" if code < 0 else f" with exit code {code}"


def read_secret(airflow_home: Path) -> str:
    """A secret of this home for keyed hashes, made at random on first use."""
    return _secret(airflow_home / "api.secret", lambda: secrets.token_urlsafe(32))


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
