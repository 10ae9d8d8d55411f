"""Whatever a day file holds, the load ends, the other days are in the lake, and dbt can build it.

`python -m tests.ingest.fuzz` does the same with thousands of files.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ingest.fuzz import Fuzz, Summary, make_mutant
from tests.ingest.fuzz_checks import Outcome

FILES = 80


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    fuzz = Fuzz(seed=1, home=tmp_path_factory.mktemp("fuzz") / "home", build_every=2)
    try:
        return fuzz.run(range(FILES))
    finally:
        fuzz.close()


def test_no_odd_file_breaks_a_promise(summary: Summary) -> None:
    assert summary.violations == []
    assert summary.builds == 1


def test_odd_files_of_each_form_are_loaded_and_refused(summary: Summary) -> None:
    assert sum(summary.outcomes.values()) == FILES
    for form in ("json", "json.gz", "parquet", "parquet.gz"):
        states = {state for found, state in summary.outcomes if found == form}
        assert {"loaded", "quarantined"} <= states


def test_a_file_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    again = [make_mutant(7, number, tmp_path) for number in (5, 3, 4)]
    assert again == [make_mutant(7, number, tmp_path) for number in (5, 3, 4)]
    assert again[0] != make_mutant(8, 5, tmp_path)


class _Picky(Fuzz):
    """Finds fault with some files, and with two that are loaded together, without loading them."""

    def _load(self, mutants: list[object], *, is_built: bool) -> Outcome:  # type: ignore[override]
        numbers = {mutant.number for mutant in mutants}  # type: ignore[attr-defined]
        wrong = bool(numbers & {2, 9}) or {12, 17} <= numbers
        return Outcome(violations=["it is wrong"] if wrong else [])


def test_files_that_break_a_promise_are_found_by_halving(tmp_path: Path) -> None:
    found = _Picky(seed=1, home=tmp_path, build_every=1).run(range(12)).violations
    assert [violation.split(" (")[0] for violation in found] == ["file 2", "file 9"]
    [together] = _Picky(seed=1, home=tmp_path, build_every=1).run(range(12, 18)).violations
    assert together.startswith("files [12, 13, 14, 15, 16, 17] only together: it is wrong")
