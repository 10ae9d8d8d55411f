"""One home of recorded builds for all tests of a process that need many builds."""

from __future__ import annotations

import pytest

from tests.dbt_project.recorded_builds import RecordedBuilds, make_recorded_settings


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> RecordedBuilds:
    """Builds over an export folder, in Los Angeles; each test begins with `clear`."""
    return RecordedBuilds(make_recorded_settings(tmp_path_factory.mktemp("recorded_builds")))
