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

from warehouse.settings import Settings


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
    """The long tests first: the workers then share the short ones out between them."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
