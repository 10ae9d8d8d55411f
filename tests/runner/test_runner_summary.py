"""The summary puts the rooms' sections together."""

from __future__ import annotations

import duckdb

from foundation.settings import Settings
from runner.summary import summarise


def test_before_the_first_publication_it_says_what_to_do_and_where_to_look(settings: Settings) -> None:
    nothing, further = summarise(settings).split("\n\n")
    assert nothing.startswith(str(settings.published_path)) and "run `make run` first" in nothing
    assert further.splitlines()[0] == "LOOK FURTHER"


def test_what_cannot_be_read_says_so_and_is_no_traceback(settings: Settings) -> None:
    settings.home.mkdir(parents=True, exist_ok=True)
    duckdb.connect(str(settings.published_path)).close()
    sections = [text.splitlines() for text in summarise(settings).split("\n\n")]
    titles = ["DATA", "KPIS OF THE LAST DAYS", "VALIDATION", "MODELS", "SEGMENTS"]
    assert [lines[0] for lines in sections if "can't be read" in lines[-1]] == titles
    settings.published_path.write_bytes(b"no database" * 1000)
    said = summarise(settings)
    assert "can't be opened" in said and "`make rebuild` makes it anew" in said and "LOOK FURTHER" in said
