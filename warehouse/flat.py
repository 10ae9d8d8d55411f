"""The flat form of a lake file: what staging reads of an event, in one column and one type each.

Params are a list in which each value lies in one of four fields; to find one costs more than all that is done with it.
Ingestion looks for them once, while it reads a file anyway. The rows as exported stay beside it: a column that is
wanted later is derived from them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import duckdb
import yaml

from foundation.errors import FunnelhouseError
from foundation.quoting import quote_name, quote_text
from foundation.settings import Settings
from warehouse.ga4_config import EventParameter, flat_name, load_ga4_config

FLAT_FOLDER = "flat"  # beside a day's lake files, holding one file of the same name for each of them

_LEAVES = (
    "event_date",
    "event_timestamp",
    "event_name",
    "event_value_in_usd",
    "user_id",
    "user_pseudo_id",
    "privacy_info.analytics_storage",
    "privacy_info.ads_storage",
    "stream_id",
    "platform",
    "batch_page_id",
    "batch_ordering_id",
    "batch_event_index",
    "device.category",
    "device.operating_system",
    "device.operating_system_version",
    "device.language",
    "device.browser",
    "device.browser_version",
    "device.web_info.browser",
    "device.web_info.browser_version",
    "device.web_info.hostname",
    "app_info.version",
    "geo.country",
    "geo.region",
    "geo.city",
    "ecommerce.transaction_id",
    "ecommerce.purchase_revenue",
    "ecommerce.purchase_revenue_in_usd",
    "ecommerce.refund_value",
    "ecommerce.refund_value_in_usd",
    "ecommerce.shipping_value",
    "ecommerce.shipping_value_in_usd",
    "ecommerce.tax_value",
    "ecommerce.tax_value_in_usd",
    "ecommerce.total_item_quantity",
    "collected_traffic_source.manual_source",
    "collected_traffic_source.manual_medium",
    "collected_traffic_source.manual_campaign_name",
    "collected_traffic_source.manual_campaign_id",
    "collected_traffic_source.manual_content",
    "collected_traffic_source.manual_term",
    "collected_traffic_source.gclid",
    "collected_traffic_source.dclid",
    "session_traffic_source_last_click.cross_channel_campaign.source",
    "session_traffic_source_last_click.cross_channel_campaign.medium",
    "session_traffic_source_last_click.cross_channel_campaign.campaign_name",
    "session_traffic_source_last_click.cross_channel_campaign.campaign_id",
    "session_traffic_source_last_click.cross_channel_campaign.default_channel_group",
    "session_traffic_source_last_click.google_ads_campaign.campaign_name",
    "session_traffic_source_last_click.google_ads_campaign.campaign_id",
    "session_traffic_source_last_click.manual_campaign.source",
    "session_traffic_source_last_click.manual_campaign.medium",
    "session_traffic_source_last_click.manual_campaign.campaign_name",
    "session_traffic_source_last_click.manual_campaign.campaign_id",
    "session_traffic_source_last_click.manual_campaign.content",
    "session_traffic_source_last_click.manual_campaign.term",
)
_LISTS_READ = ("event_params", "items")  # hashed as exported
_ITEM_FIELDS = (
    "item_id",
    "item_name",
    "item_category",
    "price_in_usd",
    "quantity",
    "item_revenue_in_usd",
    "item_refund_in_usd",
)
# What items have beside that, in a list of its own: events need not carry it, and it is not written twice.
_ITEM_DETAILS = (
    "item_brand",
    "item_variant",
    "item_category2",
    "item_category3",
    "item_category4",
    "item_category5",
    "price",
    "item_revenue",
    "item_refund",
    "coupon",
    "affiliation",
    "location_id",
    "item_list_id",
    "item_list_name",
    "item_list_index",
    "promotion_id",
    "promotion_name",
    "creative_name",
    "creative_slot",
)
_ITEM_PARAMS = """list_transform(an_item.item_params, lambda a_param: struct_pack(key := a_param.key, value := coalesce(
    a_param.value.string_value, cast(a_param.value.int_value as varchar),
    cast(a_param.value.double_value as varchar), cast(a_param.value.float_value as varchar)
)))"""
# How a param's value is read as a type: its place in the list is `{at}`, and lists of one value each say what it holds.
_READ_AS = {
    "text": "coalesce(param_strings[{at}], cast(param_ints[{at}] as varchar))",
    "int": (
        "coalesce(param_ints[{at}], try_cast(param_strings[{at}] as bigint), try_cast(param_doubles[{at}] as bigint))"
    ),
    "double": (
        "coalesce(param_doubles[{at}], cast(param_ints[{at}] as double), try_cast(param_strings[{at}] as double))"
    ),
    "string": "param_strings[{at}]",
}
_ANY_TEXT = "coalesce(param_strings[{at}], cast(param_ints[{at}] as varchar), cast(param_doubles[{at}] as varchar))"
_TRUE, _FALSE = "('true', '1', 'yes')", "('false', '0', 'no')"
# The types of `ga4.yml`, and under `misfit` what there is of a value that is none of its type.
_READ_CUSTOM_AS = {
    "text": _ANY_TEXT,
    # a cast alone would round
    "integer": (
        "coalesce(param_ints[{at}], "
        "case when regexp_full_match(param_strings[{at}], ' *[+-]?[0-9]+ *') "
        "then try_cast(param_strings[{at}] as bigint) end, "
        "case when param_doubles[{at}] = floor(param_doubles[{at}]) then try_cast(param_doubles[{at}] as bigint) end)"
    ),
    # what is infinite or no number would spoil every sum
    "number": f"case when isfinite({_READ_AS['double']}) then {_READ_AS['double']} end",
    "boolean": f"case when lower({_ANY_TEXT}) in {_TRUE} then true when lower({_ANY_TEXT}) in {_FALSE} then false end",
}
# What a list is called in SQL, by the field that it is in.
_LIST_NAMES = {"event_params": "param", "user_properties": "property"}
_LISTS = """
    list_transform(event_params, lambda a_param: a_param.key) as param_keys,
    list_transform(event_params, lambda a_param: a_param.value.string_value) as param_strings,
    list_transform(event_params, lambda a_param: a_param.value.int_value) as param_ints,
    list_transform(
        event_params, lambda a_param: coalesce(a_param.value.double_value, a_param.value.float_value)
    ) as param_doubles
"""


@dataclass(frozen=True)
class FlatColumn:
    """A column of the flat lake: its name and its SQL, where `{at}` is the place of `param` in its list."""

    name: str
    sql: str
    param: str | None = None
    field: str = "event_params"  # the one with that list

    @property
    def version(self) -> str:
        """What tells two forms of the column apart: its SQL, and the engine where that decides its values."""
        parts = [
            self.sql,
            self.param or "",
            _lists_of(self.field) if self.param else "",
            duckdb.__version__ if "hash(" in self.sql else "",
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def flat_path(lake_file: Path) -> Path:
    """The flat file of a lake file."""
    return lake_file.parent / FLAT_FOLDER / lake_file.name


class ParamsError(FunnelhouseError):
    """`event_params` of dbt_project.yml names a type that there is not."""


def flat_columns(settings: Settings) -> list[FlatColumn]:
    """All columns, those of `ga4.yml` last. Raises ParamsError and Ga4ConfigError."""
    return [*staged_flat_columns(settings), *custom_flat_columns(settings)]


def custom_flat_columns(settings: Settings) -> list[FlatColumn]:
    """The columns of what `ga4.yml` names, and of what in these does not fit the type given there."""
    columns = []
    for entry in load_ga4_config(settings).event_columns:
        field = "event_params" if isinstance(entry, EventParameter) else "user_properties"
        sql = _of_list(_READ_CUSTOM_AS[entry.type], field)
        columns.append(FlatColumn(flat_name(entry), _where_present(sql), entry.name, field))
        if entry.type != "text":
            misfit = f"case when {sql} is null then {_of_list(_ANY_TEXT, field)} end"
            columns.append(FlatColumn(flat_name(entry, "misfit"), _where_present(misfit), entry.name, field))
    return columns


def staged_flat_columns(settings: Settings) -> list[FlatColumn]:
    """The columns that staging reads whatever `ga4.yml` says. Raises ParamsError for a type that there is not."""
    fields = _pack_item(_ITEM_FIELDS)
    details = f"{_pack_item(_ITEM_DETAILS)}, item_params := {_ITEM_PARAMS}"
    columns = [FlatColumn(leaf.replace(".", "_"), leaf) for leaf in _LEAVES]
    columns += [
        FlatColumn("items", f"list_transform(items, lambda an_item: struct_pack({fields}))"),
        FlatColumn("item_details", f"list_transform(items, lambda an_item: struct_pack({details}))"),
        # what the identity of an event hangs on: its params whatever their order, and its items in theirs
        FlatColumn(
            "params_hash",
            # of the sum, for Parquet would make a decimal number of that
            "hash(coalesce(list_aggregate(list_transform(event_params, lambda a_param: hash(a_param)), 'sum'), 0))",
        ),
        FlatColumn("items_hash", "case when len(items) > 0 then hash(items) end"),
    ]
    for param, types in list_params(settings).items():
        columns += [FlatColumn(f"{param}__{name}", _where_present(_READ_AS[name]), param) for name in types]
    return columns


def _pack_item(names: Iterable[str]) -> str:
    return ", ".join(f"{name} := an_item.{name}" for name in names)


def _where_present(sql: str) -> str:
    # most params are absent in most rows: asking that first is a fifth cheaper
    return f"case when {{at}} is not null then {sql} end"


def _of_list(sql: str, field: str) -> str:
    """SQL over the list of event params as SQL over that of another field."""
    return sql.replace("event_params", field).replace("param_", f"{_LIST_NAMES[field]}_")


def _lists_of(field: str) -> str:
    return (
        _LISTS
        if field == "event_params"
        else _LISTS.replace("event_params", field).replace("as param_", f"as {_LIST_NAMES[field]}_")
    )


def flat_versions(settings: Settings) -> dict[str, str]:
    """The version of each flat column, by its name."""
    return {column.name: column.version for column in flat_columns(settings)}


def flatten_query(columns: Iterable[FlatColumn], relation: str) -> str:
    """SQL that selects flat columns from rows that have all known columns of an event in their types."""
    columns = list(columns)
    looked_for = dict.fromkeys((column.field, column.param) for column in columns if column.param)
    places = {entry: f"at_{at}" for at, entry in enumerate(looked_for)}
    fields = dict.fromkeys(["event_params", *(field for field, _ in places)])
    looked_up = "".join(
        f", list_position({_LIST_NAMES[field]}_keys, {quote_text(str(param))}) as {at}"
        for (field, param), at in places.items()
    )
    selected = [
        f"{column.sql.format(at=places[column.field, column.param]) if column.param else column.sql} "
        f"as {quote_name(column.name)}"
        for column in columns
    ]
    known = ", ".join(dict.fromkeys([*(leaf.split(".")[0] for leaf in _LEAVES), *_LISTS_READ, *fields]))
    lists = ", ".join(_lists_of(field) for field in fields)
    # each step reads the one before it once, and none sees a column of the shop's own
    return (
        f"with flat_rows as (select {known} from {relation}), "
        f"flat_lists as (select *, {lists} from flat_rows), flat_places as (select *{looked_up} from flat_lists) "
        f"select {', '.join(selected)} from flat_places"
    )


def list_unread(names: Iterable[str]) -> list[str]:
    """Those columns of a lake file that are not read to their last value when all flat columns are selected."""
    whole = {*_LISTS_READ, *(leaf for leaf in _LEAVES if "." not in leaf)}
    return [name for name in names if name not in whole]


def list_params(settings: Settings) -> dict[str, list[str]]:
    """The params that staging reads, and the types that it reads each of them in."""
    project = settings.dbt_project_dir / "dbt_project.yml"
    params = {name: list(types) for name, types in _parse_params(project, project.read_text(encoding="utf-8")).items()}
    release = params.setdefault(settings.release_parameter, [])
    if "text" not in release:
        release.append("text")
    return params


@lru_cache(maxsize=4)
def _parse_params(project: Path, text: str) -> dict[str, tuple[str, ...]]:
    params = yaml.safe_load(text)["vars"]["event_params"]
    for name, types in params.items():
        unknown = [type_name for type_name in types if type_name not in _READ_AS]
        if unknown:
            raise ParamsError(f"{project}: event_params has {name} as {unknown[0]}; there are {', '.join(_READ_AS)}")
    return {str(name): tuple(types) for name, types in params.items()}
