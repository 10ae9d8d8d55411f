"""The page of settings says what the class says."""

from __future__ import annotations

from foundation.settings import Settings
from foundation.settings_page import PAGE, render_page


def test_the_page_is_level_with_the_class() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_page(), "write it anew: make settings-page"


def test_every_setting_is_on_the_page_and_says_what_it_is_for() -> None:
    page = render_page()
    for name, field in Settings.model_fields.items():
        assert f"| `FUNNELHOUSE_{name.upper()}` |" in page and (field.description or "").endswith(".")
