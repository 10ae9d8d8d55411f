"""Fixtures shared by all rooms. No test reads the developer's `.env` or the real Slack."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ["FUNNELHOUSE_ENV_FILE"] = os.devnull
_KEPT = {"FUNNELHOUSE_ENV_FILE", "FUNNELHOUSE_TEST_DATA"}
for name in [name for name in os.environ if name.startswith("FUNNELHOUSE_") and name not in _KEPT]:
    del os.environ[name]

from foundation.settings import Settings


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings over an empty home folder of this test; keyword arguments override."""

    def make(**overrides: Any) -> Settings:
        values: dict[str, Any] = {"home": tmp_path / "home", "property_timezone": "UTC", **overrides}
        return Settings(**values)

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Settings over an empty home folder, UTC."""
    return make_settings()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the long tests to the workers, each of which begins with its own and then shares the short ones.

    Each is given a run of the list at first: were the long tests all in one place, one worker would get them all.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("slow")]
    short = [item for item in items if not item.get_closest_marker("slow")]
    share = -(-len(short) // workers)
    items[:] = [
        item
        for worker in range(workers)
        for item in [*long[worker::workers], *short[worker * share : (worker + 1) * share]]
    ]
