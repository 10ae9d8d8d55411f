"""Each form of an export becomes the same lake: known columns in known types, nothing exported is lost."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from export_writer import (
    canonical_columns,
    describe_lake_file,
    make_event,
    make_events,
    query_to_parquet,
    read_day,
    write_ndjson,
    write_parquet,
)

from foundation.settings import Settings
from ingest.job import load_changed_days
from warehouse.lake import carry_unknown_columns, read_manifests

DAY = "2026-08-01"
KEYS = "event_date, event_timestamp, event_name, event_params[1].value.int_value, user_pseudo_id"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(make_settings: Callable[..., Settings], source: Path) -> Settings:
    return make_settings(source=str(source))


def _lake_file(settings: Settings, number: int = 0) -> Path:
    return settings.lake_dir / f"event_date={DAY}" / f"part-{number:05}.parquet"


def _manifest(settings: Settings) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((settings.lake_dir / f"event_date={DAY}" / "_manifest.json").read_text())
    return values


def _gzip(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


@pytest.mark.parametrize(
    "names",
    [
        ["events_20260801.parquet"],
        ["events_20260801.parquet.gz"],
        ["events_20260801.json"],
        ["events_20260801.ndjson"],
        ["events_20260801.jsonl.gz"],
        ["events_20260801_000000000000.json.gz", "events_20260801_000000000001.json.gz"],
        ["events_20260801-000000000000.parquet", "events_20260801-000000000001.parquet"],
        ["events_20260801/000000000000.parquet", "events_20260801/000000000001.parquet"],
        ["events_20260801/000000000000.json", "events_20260801/000000000001.json"],
    ],
)
def test_every_form_gives_the_same_rows_in_the_same_order(settings: Settings, source: Path, names: list[str]) -> None:
    events = make_events(6)
    share = len(events) // len(names)
    for position, name in enumerate(names):
        part = events[position * share : (position + 1) * share]
        if ".parquet" in name:
            write_parquet(source / name.removesuffix(".gz"), part)
            if name.endswith(".gz"):
                _gzip(source / name.removesuffix(".gz"))
        else:
            write_ndjson(source / name, part)
    report = load_changed_days(settings)
    assert [(day.event_date, day.kind, day.rows, day.change) for day in report.days_loaded] == [
        (DAY, "daily", 6, "new")
    ]
    assert read_day(settings, DAY, KEYS) == [
        ("20260801", 1_785_542_400_000_000 + n, "page_view", 1_785_542_400 + n, f"{n}.1") for n in range(6)
    ]
    for position in range(len(names)):
        assert describe_lake_file(_lake_file(settings, position)) == canonical_columns()
    assert not report.quarantined


def test_manifest_tells_where_a_day_came_from(settings: Settings, source: Path) -> None:
    write_ndjson(source / "events_intraday_20260801.json", make_events(3))
    load_changed_days(settings)
    manifest = _manifest(settings)
    content = (source / "events_intraday_20260801.json").read_bytes()
    assert manifest["table_name"] == "events_intraday_20260801"
    assert (manifest["event_date"], manifest["kind"], manifest["row_count"]) == (DAY, "intraday", 3)
    assert manifest["source_uri"] == str(source)
    assert manifest["lake_files"] == ["part-00000.parquet"]
    [file] = manifest["source_files"]
    assert file["name"] == "events_intraday_20260801.json"
    assert (file["sha256"], file["size_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert file["modified_at"].endswith("+00:00")
    assert list(read_manifests(settings)) and "loaded_at" in manifest


def test_canonical_parquet_keeps_its_bytes_and_its_extra_columns(settings: Settings, source: Path) -> None:
    path = source / "events_20260801.parquet"
    write_parquet(path, make_events(4), extra="7 as new_column, {'a': 1} as new_record")
    load_changed_days(settings)
    assert _lake_file(settings).read_bytes() == path.read_bytes()
    assert _manifest(settings)["unknown_columns"] == {"new_column": "INTEGER", "new_record": "STRUCT(a INTEGER)"}


def test_old_parquet_is_cast_by_name_and_its_drift_is_reported(settings: Settings, source: Path) -> None:
    # As the public sample of 2020-21: fewer columns, integer ids, all-null fields of any type, other field order.
    query_to_parquet(
        """select '20260801' as event_date, 17::bigint as event_timestamp, 'purchase' as event_name,
             [{'value': {'int_value': 5::bigint, 'string_value': null::varchar}, 'key': 'k'}] as event_params,
             'u' as user_pseudo_id, 2100450278::bigint as stream_id,
             {'analytics_storage': null::bigint, 'uses_transient_token': 'No'} as privacy_info,
             null::struct(key bigint, value struct(string_value bigint, float_value bigint))[] as user_properties,
             null::bigint as items, {'region': 'BE', 'country': 'Germany'} as geo, 12.0::double as user_id""",
        source / "events_20260801.parquet",
    )
    report = load_changed_days(settings)
    assert describe_lake_file(_lake_file(settings)) == canonical_columns()
    rows = read_day(
        settings,
        DAY,
        "stream_id, privacy_info.uses_transient_token, geo.country, geo.city, event_params[1].value.int_value, items, "
        "user_id",
    )
    assert rows == [("2100450278", "No", "Germany", None, 5, None, "12")]
    [drift] = report.schema_drift
    assert (drift["first_date"], drift["last_date"], drift["days"]) == (DAY, DAY, 1)
    assert drift["retyped"]["stream_id"] == "BIGINT"
    assert drift["retyped"]["user_properties.key"] == "BIGINT"
    assert {"device", "geo.city", "event_params.value.double_value"} <= set(drift["missing"])
    assert drift["unknown"] == {}
    assert not report.uncast_values


def test_repeated_records_without_list_annotation_are_lists(settings: Settings, source: Path) -> None:
    query_to_parquet(
        """select '20260801' as event_date, 1::bigint as event_timestamp, 'page_view' as event_name,
             'u' as user_pseudo_id,
             {'list': [{'element': {'key': 'ga_session_id', 'value': {'int_value': 9::bigint}}}]} as event_params""",
        source / "events_20260801.parquet",
    )
    load_changed_days(settings)
    assert read_day(settings, DAY, "event_params[1].key, event_params[1].value.int_value") == [("ga_session_id", 9)]


def test_unknown_keys_and_sub_fields_are_kept(settings: Settings, source: Path) -> None:
    events = [
        make_event(0, brand_new={"a": 1, "when": "2026-08-01"}, device={"category": "mobile", "fold": "open"}),
        make_event(1, mixed=1, huge=12345678901234567890123),
        make_event(2, mixed="one"),
    ]
    write_ndjson(source / "events_20260801.json", events)
    report = load_changed_days(settings)
    columns = "brand_new, device.category, device__as_exported.fold, mixed"
    assert read_day(settings, DAY, columns) == [
        ({"a": 1, "when": "2026-08-01"}, "mobile", "open", None),
        (None, None, None, "1"),
        (None, None, None, '"one"'),
    ]
    [drift] = report.schema_drift
    assert drift["unknown"]["device.fold"] == "VARCHAR"
    assert drift["unknown"]["brand_new"] == 'STRUCT(a BIGINT, "when" VARCHAR)'
    assert set(drift["unknown"]) == {"device.fold", "brand_new", "mixed", "huge"}
    names = [name for name, _ in describe_lake_file(_lake_file(settings))]
    assert names[:31] == [name for name, _ in canonical_columns()]
    assert names[31:] == ["brand_new", "mixed", "huge", "device__as_exported"]


def test_what_json_leaves_out_is_neither_missing_nor_gone(settings: Settings, source: Path) -> None:
    days = [f"2026080{number}" for number in range(1, 7)]
    write_parquet(source / f"events_{days[0]}.parquet", make_events(2, days[0]), extra="1 as n1")
    write_ndjson(source / f"events_{days[1]}.json", make_events(2, days[1], user_id="a", n1=5, n2=True))
    write_ndjson(source / f"events_{days[2]}.json.gz", make_events(2, days[2]))
    write_ndjson(source / f"events_{days[3]}_000.json", [])
    (source / f"events_{days[3]}_000.json").write_text("\n")
    write_ndjson(source / f"events_{days[4]}.json", make_events(2, days[4], user_id="b", n2="x"))
    write_parquet(source / f"events_{days[5]}.parquet", make_events(2, days[5]))
    report = load_changed_days(settings)
    assert [drift["missing"] for drift in report.schema_drift] == [[], [], []]
    manifests = read_manifests(settings)
    assert {day.day for day, manifest in manifests.items() if manifest.unknown_columns} == {1, 2, 5}
    carried = [manifest.unknown_columns for manifest in carry_unknown_columns(manifests.values())]
    assert carried == [
        {"n1": "INTEGER"},
        *[{"n1": "BIGINT", "n2": "BOOLEAN"}] * 3,
        {"n1": "BIGINT", "n2": "VARCHAR"},
        {},  # Parquet has each column, with values or without: these are gone
    ]


def test_json_of_every_column_type(settings: Settings, source: Path) -> None:
    event = make_event(
        stream_id=123,
        is_active_user=True,
        event_value_in_usd=3,
        batch_page_id="1785542400000",
        privacy_info={},
        user_properties=[],
        ecommerce={"purchase_revenue": 9.5, "total_item_quantity": "2", "transaction_id": "T1"},
        items=[
            {"item_id": "a", "quantity": "2", "price": 4.75, "item_params": [{"key": "k", "value": {"int_value": "1"}}]}
        ],
    )
    write_ndjson(source / "events_20260801.json", [event])
    report = load_changed_days(settings)
    columns = (
        "stream_id, is_active_user, event_value_in_usd, batch_page_id, ecommerce.total_item_quantity, "
        "items[1].quantity, items[1].item_params[1].value.int_value, user_id"
    )
    assert read_day(settings, DAY, columns) == [("123", True, 3.0, 1785542400000, 2, 2, 1, None)]
    assert report.schema_drift[0]["retyped"] == {"stream_id": "BIGINT"}  # strings of INT64 are how JSON exports are
    assert not report.uncast_values


def test_a_value_that_does_not_cast_is_null_and_kept_beside(settings: Settings, source: Path) -> None:
    events = make_events(4)
    events[2]["event_timestamp"] = "abc"
    events[3]["event_params"][0]["value"]["int_value"] = "1.5"
    write_ndjson(source / "events_20260801.json", events)
    report = load_changed_days(settings)
    assert report.events_loaded == 4
    rows = read_day(settings, DAY, "event_timestamp, event_timestamp__as_exported, event_params[1].value.int_value")
    assert rows[2] == (None, "abc", 1_785_542_402)
    assert rows[3] == (1_785_542_400_000_003, "1785542400000003", None)
    kept = read_day(settings, DAY, "event_params__as_exported[1].value.int_value, event_params[2].value.string_value")
    assert kept[3] == ("1.5", "https://shop.example/3")
    found = [(v["file"], v["column"], v["rows"], v["first_row"], v["kept_in"]) for v in report.uncast_values]
    assert found == [
        ("events_20260801.json", "event_timestamp", 1, 3, "event_timestamp__as_exported"),
        ("events_20260801.json", "event_params.value.int_value", 1, 4, "event_params__as_exported"),
    ]
    assert "not every value is a BIGINT" in _manifest(settings)["retyped_columns"]["event_timestamp"]
    assert "row 3" in report.to_text()


ITEM = {"item_id": "a", "quantity": "2", "item_params": [{"key": "k", "value": {"int_value": "7"}}]}
SHOWN = "[{id: x.item_id, params: [y.value.int_value for y in x.item_params]} for x in items]"
# column, a sound value, an odd one, where it is odd, what belongs there, what to read, and that of the two values
ODD_SHAPES = {
    "a record for a list": ("items", [ITEM], ITEM, "items", "list of records", "items[1].quantity", 2, None),
    "an empty record for a list": ("items", [ITEM], {}, "items", "list of records", "items[1].quantity", 2, None),
    "text for a list": ("items", [ITEM], "", "items", "list of records", "items[1].quantity", 2, None),
    "a list for a record": ("device", {"category": "tv"}, [], "device", "record", "device.category", "tv", None),
    "text for a record": ("ecommerce", {"tax_value": 2}, "no", "ecommerce", "record", "ecommerce.tax_value", 2.0, None),
    "text for a record in a list": (
        "items",
        [ITEM],
        [ITEM, "b"],
        "items",
        "record",
        SHOWN,
        [{"id": "a", "params": [7]}],
        [{"id": "a", "params": [7]}, {"id": None, "params": None}],
    ),
    "text for a list in a list": (
        "items",
        [ITEM],
        [{"item_id": "b", "item_params": "none"}, ITEM],
        "items.item_params",
        "list of records",
        SHOWN,
        [{"id": "a", "params": [7]}],
        [{"id": "b", "params": None}, {"id": "a", "params": [7]}],
    ),
    "text for a record in a record in two lists": (
        "items",
        [ITEM],
        [{"item_id": "b", "item_params": [{"key": "k", "value": "x"}, *ITEM["item_params"]]}],
        "items.item_params.value",
        "record",
        SHOWN,
        [{"id": "a", "params": [7]}],
        [{"id": "b", "params": [None, 7]}],
    ),
}


@pytest.mark.parametrize("case", ODD_SHAPES)
def test_a_value_of_an_odd_shape_costs_no_other_value(settings: Settings, source: Path, case: str) -> None:
    column, sound, odd, path, expected_type, shown, shown_sound, shown_odd = ODD_SHAPES[case]
    write_ndjson(
        source / "events_20260801.json",
        [make_event(number, **{column: odd if number == 3 else sound}) for number in range(5)],
    )
    [found] = load_changed_days(settings).uncast_values
    assert [row[0] for row in read_day(settings, DAY, shown)] == [shown_sound] * 3 + [shown_odd, shown_sound]
    assert (found["column"], found["expected_type"]) == (path, expected_type)
    assert (found["rows"], found["first_row"], found["kept_in"]) == (1, 4, f"{column}__as_exported")
    assert read_day(settings, DAY, f"{column}__as_exported is not null")[3] == (True,)


def test_odd_shapes_at_several_depths_are_told_apart(settings: Settings, source: Path) -> None:
    items = ["", [{"item_id": "a", "item_params": "none"}], [ITEM, {"quantity": "1.5"}], [ITEM]]
    write_ndjson(source / "events_20260801.json", [make_event(n, items=value) for n, value in enumerate(items)])
    report = load_changed_days(settings)
    assert [(values["column"], values["rows"], values["first_row"]) for values in report.uncast_values] == [
        ("items", 1, 1),
        ("items.item_params", 1, 2),
        ("items.quantity", 1, 3),
    ]
    assert read_day(settings, DAY, "[x.quantity for x in items]") == [(None,), ([None],), ([2, None],), ([2],)]


@pytest.mark.parametrize("odd", [{}, "", "(not set)", 5, True])
def test_one_row_with_odd_params_keeps_those_of_the_others(settings: Settings, source: Path, odd: Any) -> None:
    events = make_events(4)
    events[1]["event_params"] = odd
    events[2]["event_params"][0]["value"]["int_value"] = "1.5"
    write_ndjson(source / "events_20260801.json", events)
    report = load_changed_days(settings)
    read = "event_params[1].key, event_params[1].value.int_value, event_params[2].value.string_value"
    assert read_day(settings, DAY, read) == [
        ("ga_session_id", 1_785_542_400, "https://shop.example/0"),
        (None, None, None),
        ("ga_session_id", None, "https://shop.example/2"),
        ("ga_session_id", 1_785_542_403, "https://shop.example/3"),
    ]
    assert [(values["column"], values["rows"], values["first_row"]) for values in report.uncast_values] == [
        ("event_params", 1, 2),
        ("event_params.value.int_value", 1, 3),
    ]
    assert "1 row with a event_params that is not a list of records (first: row 2)" in report.to_text()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1.5::double", None),
        ("2.0::double", 2),
        ("'nan'::double", None),
        ("18446744073709551615::ubigint", None),
        ("' 12 '", 12),
        ("''", None),
        ("timestamp '2026-08-01'", None),
        ("5::tinyint", 5),
        ("7.00::decimal(9, 2)", 7),
        ("7.01::decimal(9, 2)", None),
    ],
)
def test_casts_to_int64_never_round(settings: Settings, source: Path, expression: str, expected: int | None) -> None:
    base = "'20260801' as event_date, 1::bigint as event_timestamp, 'x' as event_name, 'u' as user_pseudo_id"
    query_to_parquet(
        f"select {base}, null::integer as event_params, {expression} as batch_page_id",
        source / "events_20260801.parquet",
    )
    report = load_changed_days(settings)
    assert read_day(settings, DAY, "batch_page_id") == [(expected,)]
    assert [values["column"] for values in report.uncast_values] == ([] if expected is not None else ["batch_page_id"])


def test_event_date_may_be_a_date_or_an_integer(settings: Settings, source: Path) -> None:
    base = "1::bigint as event_timestamp, 'x' as event_name, 'u' as user_pseudo_id, null::integer as event_params"
    query_to_parquet(f"select date '2026-08-01' as event_date, {base}", source / "events_20260801-000.parquet")
    query_to_parquet(f"select 20260801 as Event_Date, {base}", source / "events_20260801-001.parquet")
    load_changed_days(settings)
    assert read_day(settings, DAY, "event_date") == [("20260801",), ("20260801",)]


def test_rows_of_another_date_stay_in_the_file_they_came_in(settings: Settings, source: Path) -> None:
    write_ndjson(source / "events_20260801.json", [make_event(0, "20260801"), make_event(1, "20260731")])
    load_changed_days(settings)
    assert read_day(settings, DAY, "event_date") == [("20260801",), ("20260731",)]


@pytest.mark.parametrize("form", ["parquet", "old parquet", "json", "json.gz"])
def test_a_day_without_rows_is_a_day(settings: Settings, source: Path, form: str) -> None:
    if form == "parquet":
        write_parquet(source / "events_20260801.parquet", [])
    elif form == "old parquet":
        base = "event_timestamp, 'x' as event_name, 'u' as user_pseudo_id, null::integer as event_params"
        query = f"select '20260801' as event_date, 1::bigint as {base} where false"
        query_to_parquet(query, source / "events_20260801.parquet")
    elif form == "json":
        (source / "events_20260801.json").write_text("\n")
    else:
        write_ndjson(source / "events_20260801.json.gz", [])
    report = load_changed_days(settings)
    assert [(day.rows, day.change) for day in report.days_loaded] == [(0, "new")]
    assert describe_lake_file(_lake_file(settings)) == canonical_columns()
    assert read_day(settings, DAY) == []


def test_an_empty_last_shard_is_no_error(settings: Settings, source: Path) -> None:
    write_ndjson(source / "events_20260801_000.json", make_events(2))
    (source / "events_20260801_001.json").write_bytes(b"")
    report = load_changed_days(settings)
    assert (report.events_loaded, report.quarantined) == (2, [])


def test_a_day_of_cookieless_pings_in_json_has_no_pseudo_id_column(settings: Settings, source: Path) -> None:
    events = make_events(2)
    for event in events:
        del event["user_pseudo_id"]
    write_ndjson(source / "events_20260801.json", events)
    report = load_changed_days(settings)
    assert (report.events_loaded, report.quarantined) == (2, [])
    assert read_day(settings, DAY, "user_pseudo_id") == [(None,), (None,)]


def test_paths_with_glob_characters_and_quotes_are_paths(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    source = tmp_path / "it's [an] export*"
    write_ndjson(source / "events_20260801.json", make_events(2))
    settings = make_settings(source=str(source), home=tmp_path / "ho[m]e's x=1")
    assert load_changed_days(settings).events_loaded == 2
