"""The summary puts the rooms' sections together."""

from __future__ import annotations

from foundation.settings import Settings
from runner.summary import summarise


def test_before_the_first_publication_it_says_what_to_do_and_where_to_look(settings: Settings) -> None:
    nothing, further = summarise(settings).split("\n\n")
    assert nothing.startswith(str(settings.published_path)) and "run `make run` first" in nothing
    assert further.splitlines()[0] == "LOOK FURTHER"
