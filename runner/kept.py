"""The Airflow that `make up` keeps running: who it is, and whether it would read the settings that one has here."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from dotenv import dotenv_values

from foundation.durable import write_durably
from foundation.errors import FunnelhouseError
from foundation.settings import Settings
from runner.airflow_api import AirflowApi
from runner.airflow_parts import AirflowParts, connect, project_environment, read_secret
from runner.processes import stop_processes

MARKER = "kept_running.json"
_HIDDEN = "hidden:"


class OtherSettingsError(FunnelhouseError):
    """The Airflow that is kept running has other settings than this command; the message names each."""


def find_kept(settings: Settings) -> tuple[AirflowApi, AirflowParts] | None:
    """The Airflow of this home that was started to be kept, if its parts are alive and answer.

    Raises OtherSettingsError if it would read other settings.
    """
    marker = read_marker(settings)
    if marker is None:
        return None
    parts = AirflowParts.find(settings, int(marker["port"]))
    if parts is None:
        return None
    api = connect(parts)
    if not parts.has_port() or not api.is_healthy("scheduler", "dag_processor"):
        return None
    differences = _find_differences(settings, marker["environment"])
    if differences:
        raise OtherSettingsError(
            "the Airflow that `make up` keeps running was started with other settings: "
            + "; ".join(differences)
            + ". Stop it with `make down`, or give the same settings"
        )
    api.sign_in()
    return api, parts


def read_marker(settings: Settings) -> dict[str, Any] | None:
    """What `remember_kept` wrote; None where nothing is kept running, or an earlier version wrote it."""
    path = settings.airflow_home / MARKER
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return marker if isinstance(marker, dict) and {"port", "environment"} <= marker.keys() else None


def remember_kept(parts: AirflowParts) -> None:
    """Note that these parts stay, and which settings their environment holds; secrets as a keyed hash."""
    environment = _hide_secrets(parts.settings, project_environment(parts.settings))
    content = json.dumps({"port": parts.port, "environment": environment}, indent=2)
    write_durably(parts.settings.airflow_home / MARKER, content.encode())


def stop_kept(settings: Settings) -> int:
    """Stop what is kept running, or was left behind; returns the number of processes stopped."""
    (settings.airflow_home / MARKER).unlink(missing_ok=True)
    return stop_processes(settings)


def _find_differences(settings: Settings, there: Mapping[str, str]) -> list[str]:
    """What the two environments say differently; where one says nothing, both read `.env`, anew with each task."""
    here = project_environment(settings)
    default = _hide_secrets(settings, dotenv_values(str(Settings.model_config.get("env_file"))))
    here = _hide_secrets(settings, here)
    found = []
    for name in sorted(there.keys() | here.keys()):
        old, new = (each.get(name, default.get(name, "unset")) for each in (there, here))
        if old != new:
            is_hidden = old.startswith(_HIDDEN) or new.startswith(_HIDDEN)
            found.append(f"{name} differs" if is_hidden else f"{name} is {old} there and {new} here")
    return found


def _hide_secrets(settings: Settings, environment: Mapping[str, str | None]) -> dict[str, str]:
    """The project's variables that are not empty, by their names in capitals; a keyed hash in place of a secret."""
    key = read_secret(settings.airflow_home).encode()
    given = {name.upper(): value for name, value in environment.items() if value}
    return {
        name: _HIDDEN + hmac.new(key, value.encode(), hashlib.sha256).hexdigest() if _is_secret(name, value) else value
        for name, value in given.items()
        if name.startswith("FUNNELHOUSE_")
    }


def _is_secret(name: str, value: str) -> bool:
    # an address may hold a user and a password
    return "@" in value or Settings.is_secret(name.removeprefix("FUNNELHOUSE_").lower())
