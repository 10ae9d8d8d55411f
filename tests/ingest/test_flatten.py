"""The flat form of the lake: each param as the type it is read as, derived once, and only what is new."""

from __future__ import annotations

import datetime as dt
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from foundation.quoting import quote_name, quote_path, quote_text
from foundation.settings import Settings
from ingest.flatten import FlattenError, flatten_lake, write_flat_file
from ingest.place import hold_lake
from tests.dbt_project.recorded_builds import SettingsOfAnotherProject, copy_project
from tests.dbt_runner import build_and_publish
from tests.lake_writer import make_event, write_day
from warehouse import flat
from warehouse.build import BuildFailedError
from warehouse.flat import ParamsError, flat_columns, flat_path, flat_versions
from warehouse.ga4_schema import EVENT_COLUMNS
from warehouse.lake import MANIFEST_NAME, Manifest, partition_dir, read_manifests
from warehouse.transaction import LakeOutdatedError, begin, plan_build

DAY = dt.date(2026, 8, 1)
# What a param is as a type, written down once more and looked for in another way: row by row, in the list itself.
REFERENCE = {
    "text": "coalesce(value.string_value, cast(value.int_value as varchar))",
    "int": """coalesce(
        value.int_value, try_cast(value.string_value as bigint),
        try_cast(coalesce(value.double_value, value.float_value) as bigint)
    )""",
    "double": """coalesce(
        value.double_value, value.float_value, cast(value.int_value as double),
        try_cast(value.string_value as double)
    )""",
    "string": "value.string_value",
}
ANY_TEXT = "coalesce(value.string_value, value.int_value::text, coalesce(value.double_value, value.float_value)::text)"
CUSTOM_REFERENCE = {
    "text": ANY_TEXT,
    "integer": """coalesce(
        value.int_value,
        if(try_cast(value.string_value as decimal(38, 9)) % 1 = 0 and value.string_value not similar to '.*[.e].*',
            try_cast(value.string_value as bigint), null),
        if(coalesce(value.double_value, value.float_value) % 1 = 0,
            try_cast(coalesce(value.double_value, value.float_value) as bigint), null)
    )""",
    "number": f"if(isfinite({REFERENCE['double']}), {REFERENCE['double']}, null)",
    "boolean": f"case {ANY_TEXT}.lower() when 'true' then true when '1' then true when 'yes' then true"
    " when 'false' then false when '0' then false when 'no' then false end",
}
GA4_CONFIG = """
event_parameters:
  - {name: page_title, as: a}
  - {name: size, type: integer, as: b}
  - {name: weight, type: number, as: c}
  - {name: "is it'", type: boolean, as: d}
user_properties:
  - {name: page_title, as: e}
  - {name: size, type: integer, as: f}
  - {name: value, type: number, as: g}
  - {name: gclid, type: boolean, as: h}
"""
TEXTS = [
    "", " ", "7", " 7 ", "7.5", "-7", "1e3", "1e400", "nan", "inf", "0x10", "true", "9223372036854775807",
    "9223372036854775808", "(not set)", "https://shop.example/a?x=1&y=2#z", "été", "𝄞", "a'b\"c", "\t", "NULL",
]  # fmt: skip
VALUES = ("string_value", "int_value", "float_value", "double_value")
INTS = [0, 1, -1, 7, 2**31, 2**63 - 1, -(2**63)]
DOUBLES = [0.0, -0.0, 0.5, 1.5, 2.5, -1.5, 1e15, 1e300, 9.3e18, float("nan"), float("inf")]


@pytest.fixture
def copied(tmp_path: Path) -> SettingsOfAnotherProject:
    """Settings over a copy of the dbt project, whose event_params can be changed."""
    project = copy_project(tmp_path)
    return SettingsOfAnotherProject(home=tmp_path / "home", property_timezone="UTC", project=project)


def add_param(settings: SettingsOfAnotherProject, param: str, types: str) -> None:
    """Name one more param in `event_params`."""
    path = settings.project / "dbt_project.yml"
    text = path.read_text(encoding="utf-8")
    line = "    page_title: [text]\n"
    assert text.count(line) == 1
    path.write_text(text.replace(line, f"{line}    {param}: [{types}]\n"), encoding="utf-8")


def any_param(random_: random.Random, key: str | None) -> dict[str, Any] | None:
    """A param with any of its values, none or several."""
    if random_.random() < 0.03:
        return None
    value: dict[str, Any] | None = {
        "string_value": random_.choice(TEXTS) if random_.random() < 0.5 else None,
        "int_value": random_.choice(INTS) if random_.random() < 0.4 else None,
        "float_value": random_.choice(DOUBLES) if random_.random() < 0.2 else None,
        "double_value": random_.choice(DOUBLES) if random_.random() < 0.3 else None,
    }
    return {"key": key, "value": None if random_.random() < 0.03 else value}


def write_lake_rows(path: Path, params: list[list[dict[str, Any] | None] | None]) -> None:
    """A lake file with these params, in this order, and nothing else."""
    properties = """
        list_transform(params, lambda a: {
            'key': a.key,
            'value': case when a.value is not null then {
                'string_value': a.value.string_value, 'int_value': a.value.int_value,
                'float_value': a.value.float_value, 'double_value': a.value.double_value,
                'set_timestamp_micros': 1
            } end
        })
    """
    given = {"event_params": "params", "user_properties": properties}
    columns = ", ".join(f"{given.get(name, f'cast(null as {kind})')} as {name}" for name, kind in EVENT_COLUMNS.items())
    values = [(name, pa.string() if name == "string_value" else pa.float64()) for name in VALUES]
    values = [(name, pa.int64() if name == "int_value" else kind) for name, kind in values]
    listed = pa.list_(pa.struct([("key", pa.string()), ("value", pa.struct(values))]))
    with duckdb.connect() as connection:
        connection.register("rows", pa.table({"params": pa.array(params, type=listed)}))
        connection.execute(f"copy (select {columns} from rows) to {quote_text(str(path))} (format parquet)")


def find_reference(name: str) -> str:
    """The reference of a flat column."""
    plain, _, read_as = name.rpartition("__")
    if "." not in plain:
        return REFERENCE[read_as]
    if read_as != "misfit":
        return CUSTOM_REFERENCE[read_as]
    wanted = {"size": "integer", "weight": "number", "value": "number"}.get(plain.split(".")[1], "boolean")
    return f"if({CUSTOM_REFERENCE[wanted]} is null, {ANY_TEXT}, null)"


def test_every_param_is_read_as_the_reference_reads_it(make_settings: Any, tmp_path: Path) -> None:
    config = tmp_path / "ga4.yml"
    config.write_text(GA4_CONFIG, encoding="utf-8")
    columns = [column for column in flat_columns(make_settings(ga4_config=config)) if column.param]
    read_as = {column.name.rpartition("__")[2] for column in columns}
    assert read_as == {*REFERENCE, *CUSTOM_REFERENCE, "misfit"}
    keys = sorted({str(column.param) for column in columns})
    random_ = random.Random(4)
    rows: list[list[dict[str, Any] | None] | None] = [None, [], [None]]
    for _ in range(1500):
        # the first occurrence of a key wins; keys that are like another one are others
        chosen = random_.choices([*keys, None, "", "PAGE_LOCATION", "page_location "], k=random_.randrange(25))
        rows.append([any_param(random_, key) for key in chosen])
    lake_file = tmp_path / "part-00000.parquet"
    write_lake_rows(lake_file, rows)
    with duckdb.connect() as connection:
        assert write_flat_file(connection, columns, lake_file, lake_file) == len(rows)
        for column in columns:
            reference = f"""
                select place, (
                    select {find_reference(column.name)}
                    from (
                        select unnest({column.field}).key as key, unnest({column.field}).value as value,
                            generate_subscripts({column.field}, 1) as position
                    )
                    where key = {quote_text(str(column.param))} order by position limit 1
                ) as expected
                from (
                    select *, file_row_number as place
                    from read_parquet({quote_path(lake_file)}, file_row_number = true)
                )
            """
            differ = connection.execute(
                f"""
                select reference.expected, flat.{quote_name(column.name)}
                from ({reference}) as reference
                full join read_parquet({quote_path(flat_path(lake_file))}, file_row_number = true) as flat
                    on reference.place = flat.file_row_number
                where reference.expected is distinct from flat.{quote_name(column.name)}
                """
            ).fetchall()
            assert differ == [], column.name


def test_params_count_in_any_order_and_items_in_theirs(settings: Settings) -> None:
    def row(params: dict[str, Any], items: list[str]) -> dict[str, Any]:
        listed = [{"item_id": item, "coupon": "c"} for item in items]
        return make_event("view_item", "2026-08-01T10:00:00", params=params, items=listed)

    rows = [
        row({"a": "1", "b": 2}, ["x", "y"]),
        row({"b": 2, "a": "1"}, ["x", "y"]),
        row({"a": 1, "b": 2}, ["y", "x"]),
        row({"a": "1"}, []),
        {**row({"a": "1"}, []), "items": None, "event_params": []},
    ]
    write_day(settings, DAY.isoformat(), rows)
    params, items, flat_items = zip(*read_flat(settings, "params_hash", "items_hash", "items"), strict=True)
    assert params[0] == params[1] and len(set(params)) == 4 and None not in params
    assert items[0] == items[1] != items[2] and items[3] is items[4] is None
    assert [item["item_id"] for item in flat_items[0]] == ["x", "y"] and "coupon" not in flat_items[0][0]


def read_flat(settings: Settings, *names: str, date: dt.date = DAY) -> list[tuple[Any, ...]]:
    """Columns of a day's flat files, in the order of the rows."""
    files = partition_dir(settings, date) / "flat" / "*.parquet"
    with duckdb.connect() as connection:
        columns = ", ".join(map(quote_name, names))
        return connection.execute(f"select {columns} from read_parquet({quote_text(str(files))})").fetchall()


def fill(settings: Settings, *dates: dt.date) -> None:
    """Days with a page view and a click each, of the params that the tests name."""
    for date in dates:
        params = {"page_title": "Home", "colour": "red", "size": 42, "odd 'name\"": "here"}
        write_day(
            settings,
            date.isoformat(),
            [
                make_event("page_view", f"{date}T10:00:00", params=params),
                make_event("click", f"{date}T10:01:00", params={"size": "43"}),
            ],
        )


def derive(settings: Settings) -> list[str]:
    """What a load does first."""
    with hold_lake(settings):
        return flatten_lake(settings)


def test_a_new_param_is_derived_and_nothing_else_is(copied: SettingsOfAnotherProject) -> None:
    fill(copied, DAY, DAY + dt.timedelta(days=1))
    before = read_manifests(copied)
    assert derive(copied) == []
    # a mark in what stands: whoever derives it again loses it
    marked = partition_dir(copied, DAY) / "flat" / "a.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (select * replace ('marked' as page_title__text) from read_parquet({quote_path(marked)})) "
            f"to '{marked}.new' (format parquet)"
        )
    Path(f"{marked}.new").replace(marked)
    add_param(copied, "size", "int, text")
    with pytest.raises(LakeOutdatedError, match=r"2 days of the lake lack .*2026-08-01: size__int, size__text.*ingest"):
        begin(copied, run_id="early")
    assert derive(copied) == ["2026-08-01", "2026-08-02"]
    assert read_flat(copied, "page_title__text", "size__int", "size__text") == [
        ("marked", 42, "42"),
        ("marked", 43, "43"),
    ]
    after = read_manifests(copied)
    assert [replace(manifest, flat_columns={}) for manifest in after.values()] == [
        replace(manifest, flat_columns={}) for manifest in before.values()
    ]
    assert derive(copied) == []
    begin(copied, run_id="then")


def test_a_param_of_any_name_is_a_column(copied: SettingsOfAnotherProject) -> None:
    fill(copied, DAY)
    add_param(copied, json.dumps("odd 'name\""), "text")
    assert derive(copied) == ["2026-08-01"]
    assert read_flat(copied, "odd 'name\"__text") == [("here",), (None,)]


def test_a_param_that_is_named_no_more_goes_with_the_next_change(copied: SettingsOfAnotherProject) -> None:
    add_param(copied, "size", "int")
    fill(copied, DAY)
    path = copied.project / "dbt_project.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("    size: [int]\n", ""), encoding="utf-8")
    assert derive(copied) == []
    add_param(copied, "colour", "text")
    assert derive(copied) == ["2026-08-01"]
    assert "size__int" not in read_manifests(copied)[DAY].flat_columns
    assert read_flat(copied, "colour__text") == [("red",), (None,)]


def test_another_rule_is_another_version(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = flat_versions(settings)
    monkeypatch.setitem(flat._READ_AS, "double", "cast(param_ints[{at}] as double)")
    after = flat_versions(settings)
    assert {name for name in before if before[name] != after[name]} == {
        "value__double",
        "shipping__double",
        "tax__double",
    }
    monkeypatch.setattr(duckdb, "__version__", "another")
    assert {name for name in after if after[name] != flat_versions(settings)[name]} == {"params_hash", "items_hash"}


def test_a_column_of_an_older_version_is_derived_again(settings: Settings) -> None:
    fill(settings, DAY)
    manifest = read_manifests(settings)[DAY]
    old = replace(manifest, flat_columns={**manifest.flat_columns, "page_title__text": "older"})
    (partition_dir(settings, DAY) / MANIFEST_NAME).write_text(old.to_json(), encoding="utf-8")
    assert derive(settings) == ["2026-08-01"]
    assert read_manifests(settings)[DAY] == manifest


def test_a_lake_from_before_there_were_flat_files_gets_them(settings: Settings) -> None:
    fill(settings, DAY)
    folder = partition_dir(settings, DAY)
    shutil.rmtree(folder / "flat")
    values = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    del values["flat_columns"]
    (folder / MANIFEST_NAME).write_text(json.dumps(values), encoding="utf-8")
    assert Manifest.from_json(json.dumps(values)).flat_columns == {}
    assert derive(settings) == ["2026-08-01"]
    assert read_flat(settings, "page_title__text", "event_name") == [("Home", "page_view"), (None, "click")]
    assert plan_build(settings).reasons == ["nothing is published yet"]


def test_a_flat_file_that_is_gone_is_made_again(settings: Settings) -> None:
    fill(settings, DAY)
    (partition_dir(settings, DAY) / "flat" / "a.parquet").unlink()
    assert derive(settings) == ["2026-08-01"]
    assert read_flat(settings, "page_title__text") == [("Home",), (None,)]


def test_a_damaged_lake_file_is_named_and_the_other_days_are_derived(copied: SettingsOfAnotherProject) -> None:
    days = [DAY + dt.timedelta(days=offset) for offset in range(3)]
    fill(copied, *days)
    broken = partition_dir(copied, days[1]) / "a.parquet"
    content = bytearray(broken.read_bytes())
    content[4:-2000] = bytes(len(content) - 2004)
    broken.write_bytes(content)
    add_param(copied, "size", "int")
    with pytest.raises(FlattenError, match=r"2026-08-02 \(.*Delete the partition folders.*python -m ingest"):
        derive(copied)
    assert (
        read_flat(copied, "size__int", date=days[0]) == read_flat(copied, "size__int", date=days[2]) == [(42,), (43,)]
    )


def test_a_shops_own_columns_do_not_get_in_the_way(settings: Settings, tmp_path: Path) -> None:
    lake_file = tmp_path / "part-00000.parquet"
    write_lake_rows(lake_file, [[{"key": "page_title", "value": {"string_value": "Home"}}]])
    names = ["param_keys", "at_0", "a_param", "an_item", "flat_rows", "where"]
    with duckdb.connect() as connection:
        more = ", ".join(f"'x' as {quote_name(name)}" for name in names)
        odd = tmp_path / "odd.parquet"
        connection.execute(
            f"copy (select *, {more} from read_parquet({quote_path(lake_file)})) to '{odd}' (format parquet)"
        )
        write_flat_file(connection, flat_columns(settings), odd, odd)
        [(title,)] = connection.execute(f"select page_title__text from read_parquet('{flat_path(odd)}')").fetchall()
    assert title == "Home"


def test_a_type_that_there_is_not_is_told(copied: SettingsOfAnotherProject) -> None:
    add_param(copied, "size", "integer")
    with pytest.raises(ParamsError, match="has size as integer; there are text, int, double, string"):
        flat_columns(copied)


def test_dbt_says_how_to_get_a_param_that_is_not_in_the_lake(copied: SettingsOfAnotherProject) -> None:
    fill(copied, DAY)
    model = copied.project / "models" / "staging" / "stg_ga4__events_parsed.sql"
    text = model.read_text(encoding="utf-8")
    model.write_text(text.replace("param_text('search_term')", "param_text('colour')"), encoding="utf-8")
    with pytest.raises(BuildFailedError, match=r"add colour: \[text\] to event_params in dbt_project.yml"):
        build_and_publish(copied)
