"""Models and project macros hold no SQL that only one engine understands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.dbt_project.portability import PROJECT, find_leaks, list_leaks


def test_no_sql_of_one_engine_outside_its_macros() -> None:
    assert list_leaks() == []


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select a::date from t", "::"),
        ("select cast(a as varchar) from t", "varchar"),
        ("select count(*) filter (where b) from t", "filter"),
        ("select a from t\nunion\nselect a from u", "union"),
        ("select a from t except select a from u", "except"),
        ("select items[1] from t", "list"),
        ("select split(a, ',')[1] from t", "list"),
        ("select f(lambda x: x) from t", "lambda"),
        ("select bool_or(a) from t", "bool_or"),
        ("select arg_max(a, b) from t", "arg_max"),
        ("select\n    {{ sum_money('list_sum(a)') }}\nfrom t", "list_sum"),
        ("{% set total = 'epoch_us(a)' %}select {{ total }} from t", "epoch_us"),
        ("select * exclude (a) from t", "exclude"),
        ("select a from t qualify row_number() over (order by a) = 1", "clause"),
        ("create or replace table x as select 1", "keep_as"),
        ("select\n    a,\n    strftime(b, '%Y')\nfrom t", "strftime"),
    ],
)
def test_each_kind_is_found_with_its_line(sql: str, said: str) -> None:
    found = list(find_leaks(sql))
    assert len(found) >= 1
    assert any(said in reason for _, reason in found), found
    marker = re.search(re.escape(said), sql)
    if marker:
        assert sql.count("\n", 0, marker.start()) + 1 in {line for line, _ in found}


@pytest.mark.parametrize(
    "sql",
    [
        "select sum(a), {{ count_where('b > 0') }} from t where a in (select b from u) and (a or b)",
        "-- epoch_us(a) in a comment\nselect 'a text of list_sum(x)' as b from t {# and lambda x: y here #}",
        "select a from t\nunion all\n(select a from u\nunion distinct\nselect a from v)",
        "select {{ regex_extract('a', '^[A-Z]+(foo)bar(x)') }} from t cross join u as series (hour)",
        "select row_number() over (partition by (a) order by b desc) from t",
    ],
)
def test_what_every_engine_reads_is_left_alone(sql: str) -> None:
    assert list(find_leaks(sql)) == []


def test_every_macro_of_an_engine_is_dispatched() -> None:
    """Another engine brings `spark__name` beside `duckdb__name`; no caller changes."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in (PROJECT / "macros" / "engine").glob("*.sql")}
    # these are columns of the lake by their names, and materializations, which name their adapter themselves
    neutral = {"params.sql", "materializations.sql"}
    assert neutral < set(texts)
    names = [name for file in set(texts) - neutral for name in re.findall(r"{% macro (\w+)\(", texts[file])]
    called = {name for name in names if not name.startswith("duckdb__")}
    assert {f"duckdb__{name}" for name in called} == set(names) - called and len(called) > 50
    everything = "".join(texts.values())
    for name in called:
        assert f"adapter.dispatch('{name}', 'funnelhouse')" in everything


def test_leaks_are_told_with_their_file(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "macros" / "project").mkdir(parents=True)
    (tmp_path / "models" / "a.sql").write_text("select\n    list_sum(a)\nfrom t\n")
    (tmp_path / "models" / "a.yml").write_text("columns:\n  - name: a\n    data_type: varchar\n")
    assert [leak.split(": ")[0] for leak in list_leaks(tmp_path)] == ["models/a.sql:2", "models/a.yml:3"]
