"""A local Slack and settings that point to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from slack_server import CHANNEL_ID, TOKEN, SlackServer

from foundation.settings import Settings

BOUND_RULES = Path(__file__).parent / "bound_rules.yml"


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings over an empty home folder and rules with fixed bounds; keyword arguments override."""

    def make(**overrides: Any) -> Settings:
        values = {"home": tmp_path / "home", "property_timezone": "UTC", "alert_rules": BOUND_RULES, **overrides}
        return Settings(**values)

    return make


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    """A running local Slack."""
    with SlackServer() as server:
        yield server


@pytest.fixture
def slack_settings(make_settings: Callable[..., Settings], slack: SlackServer) -> Settings:
    """Settings that post to the local Slack."""
    return make_settings(slack_token=TOKEN, slack_channel=CHANNEL_ID, slack_base_url=slack.base_url)
