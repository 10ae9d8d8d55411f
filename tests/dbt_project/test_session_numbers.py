"""Inside, a session is a 64-bit number: two sessions of one number end the build before anything is published."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dbt_project.recorded_builds import SettingsOfAnotherProject, copy_project
from tests.lake_writer import make_event, write_day
from warehouse.build import BuildFailedError, build_marts


def test_sessions_of_one_number_fail_the_build(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    functions = project / "macros" / "engine" / "functions.sql"
    sql = functions.read_text(encoding="utf-8")
    assert sql.count("    hash({{ session_id }})\n") == 1
    functions.write_text(
        sql.replace("    hash({{ session_id }})\n", "    length({{ session_id }})\n"), encoding="utf-8"
    )
    settings = SettingsOfAnotherProject(home=tmp_path / "home", property_timezone="UTC", project=project)
    events = [make_event("page_view", "2026-08-01T10:00:00", user=user, session=1) for user in ("a", "b")]
    write_day(settings, "2026-08-01", events)
    with pytest.raises(BuildFailedError, match=r"int_touched_sessions.*\n *session_no repeats"):
        build_marts(settings, run_id="collides")
