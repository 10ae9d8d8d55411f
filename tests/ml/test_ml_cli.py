"""The command line: what it prints, and how it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import HomeSettings

from ml.__main__ import main
from ml.io.registry import ModelRegistry
from ml.jobs.report import MODEL_NAMES
from ml.jobs.wording import describe_versions


def test_models_are_listed_with_champion_and_metrics(trained_home: Path) -> None:
    settings = HomeSettings(home=trained_home, property_timezone="UTC")
    text = "\n".join(describe_versions(ModelRegistry(settings.models_dir), {"segments": "its file has changed"}))
    for name in MODEL_NAMES:
        assert f"{name}  {ModelRegistry(settings.models_dir).champion_version(name)}  champion" in text
    assert "AUC 0." in text and "base rate 0." in text and "conversion" in text and "Mobile low-intent skimmers" in text
    assert "segments: NOT USED by the last scoring, its scores are empty: its file has changed" in text


def test_commands_refuse_with_a_message_and_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FUNNELHOUSE_HOME", str(tmp_path / "empty"))
    assert main(["models"]) == 0
    assert "no models yet" in capsys.readouterr().out
    assert main(["train"]) == 1
    assert "nothing has been published yet" in capsys.readouterr().err
    assert main(["retire", "segments"]) == 0
    assert "segments has no champion" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["retire", "unknown"])
