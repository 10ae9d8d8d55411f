"""The state file is its owner's alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from foundation.settings import Settings
from foundation.state import open_state


@pytest.mark.parametrize("is_old", [False, True])
def test_nobody_else_may_read_it(tmp_path: Path, is_old: bool) -> None:
    settings = Settings(home=tmp_path / "home")
    before = os.umask(0o022)
    try:
        if is_old:
            settings.home.mkdir()
            settings.state_path.touch(0o644)
        with open_state(settings) as state:
            state.execute("create table things (name text)")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in settings.home.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("ops.sqlite", "ops.sqlite-wal", "ops.sqlite-shm"), 0o600)
    if not is_old:
        assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
