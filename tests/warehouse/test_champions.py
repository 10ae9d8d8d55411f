"""The champion of a model: one file, whole or not there, read as it was written or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from warehouse.champions import (
    MAX_HISTORY,
    UNREADABLE,
    Champion,
    ChampionError,
    read_champion,
    read_champion_versions,
    remove_champion,
    write_champion,
)

FIRST, SECOND = "20260801T090000Z-0123abcd", "20260808T090000Z-4567cdef"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "segments").mkdir()
    return tmp_path


def test_what_was_written_is_read(models: Path) -> None:
    assert read_champion(models, "segments") is None and read_champion_versions(models) == {}
    write_champion(models, "segments", SECOND, reason="größer", history=[FIRST])
    champion = read_champion(models, "segments")
    assert champion is not None and champion.promoted_at is not None
    assert champion == Champion(SECOND, "größer", (FIRST,), champion.promoted_at)
    assert champion.previous == FIRST
    assert read_champion_versions(models) == {"segments": SECOND}
    assert [path.name for path in (models / "segments").iterdir()] == ["champion.json"]
    remove_champion(models, "segments")
    assert read_champion(models, "segments") is None


def test_the_file_has_the_keys_that_it_always_had(models: Path) -> None:
    write_champion(models, "segments", SECOND, reason="newer", history=[FIRST])
    values = json.loads((models / "segments" / "champion.json").read_text())
    assert list(values) == ["history", "previous", "promoted_at", "reason", "version"]
    assert (values["version"], values["previous"], values["history"]) == (SECOND, FIRST, [FIRST])


def test_only_the_last_champions_are_remembered(models: Path) -> None:
    history = [f"202607{day:02d}T090000Z-0123abcd" for day in range(1, 31)]
    write_champion(models, "segments", SECOND, reason="newer", history=history)
    champion = read_champion(models, "segments")
    assert champion is not None and champion.history == tuple(history[-MAX_HISTORY:])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{half", "names no champion"),
        ("[]", "names no champion"),
        ("{}", "'version'"),
        ('{"version": "v1"}', "'v1' is not a version"),
        ('{"version": "../../elsewhere"}', "is not a version"),
        (f'{{"version": "{FIRST}", "history": [null]}}', "None is not a version"),
    ],
)
def test_a_file_that_names_no_version_is_refused_with_the_way_out(models: Path, text: str, problem: str) -> None:
    path = models / "segments" / "champion.json"
    path.write_text(text)
    with pytest.raises(ChampionError, match=problem) as caught:
        read_champion(models, "segments")
    assert str(path) in str(caught.value) and "python -m ml models promote segments VERSION" in str(caught.value)
    assert read_champion_versions(models) == {"segments": UNREADABLE}
