"""No test of this room reaches the network."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from foundation.settings import Settings


@pytest.fixture(autouse=True, scope="module")
def network_attempts() -> Iterator[list[str]]:
    """Refuse every connection and name look-up while this room's tests run, and say what was tried."""
    attempts: list[str] = []

    def refuse(*args: Any, **_: Any) -> None:
        attempts.append(repr(args[-1]))
        raise OSError("no network in this test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket.socket, "connect_ex", refuse)
        patch.setattr(socket, "create_connection", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield attempts


@pytest.fixture(scope="module")
def make_home(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    """Settings over a new empty home folder, UTC unless overridden."""

    def make(**overrides: Any) -> Settings:
        values: dict[str, Any] = {"home": tmp_path_factory.mktemp("home"), "property_timezone": "UTC", **overrides}
        return Settings(**values)

    return make


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
