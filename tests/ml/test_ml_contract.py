"""The feature contract: read from the YAML, checked against tables, compared by column."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import LATE_FEATURES, HomeSettings, Shop, make_shop, write_contract, write_tables

from foundation.settings import Settings
from ml.core.contract import (
    ContractError,
    ContractMismatchError,
    FeatureContract,
    forbid_late_funnel,
    require_same_contract,
)
from ml.io.contracts import check_table, contract_path, read_feature_tables, require_tables


@pytest.fixture
def small() -> Shop:
    return make_shop(60, days=3)


def edit(shop: Shop, table: str, column: str, **changes: Any) -> None:
    """Change the declaration of one column: `data_type`, or an entry of its meta; None removes it."""
    declared = next(entry for entry in shop.columns[table] if entry["name"] == column)
    for key, value in changes.items():
        target = declared if key == "data_type" else declared["config"]["meta"]
        if value is None:
            del target[key]
        else:
            target[key] = value


def test_the_products_own_contract_is_complete_and_pre_checkout_is_clean(settings: Settings) -> None:
    sessions, prefixes = require_tables(contract_path(settings))
    forbid_late_funnel(prefixes.contract, sessions.contract)
    assert {"add_to_carts", "begin_checkouts", "cart_value_usd"} <= set(sessions.contract.late_funnel_names)
    assert not {"add_to_carts", "begin_checkouts", "cart_value_usd"} & set(prefixes.contract.feature_names)
    assert sessions.label == prefixes.label == "label_purchased"
    assert (prefixes.point, prefixes.risk) == ("decision_point", "is_at_risk")


def test_contract_survives_json_and_notices_changes(shop_settings: HomeSettings, small: Shop) -> None:
    sessions, _ = require_tables(write_contract(shop_settings, small))
    stored = sessions.contract.to_dict()
    assert FeatureContract.from_dict(stored) == sessions.contract
    stored["features"][0]["unit"] = "furlongs"
    with pytest.raises(ContractError, match="does not match its own hash"):
        FeatureContract.from_dict(stored)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_type": None}, "column page_views: data_type is missing"),
        ({"role": "ornament"}, "column page_views: config.meta.role is 'ornament'"),
        ({"kind": None}, "column page_views: config.meta.kind is None"),
        ({"late_funnel": "no"}, "column page_views: config.meta.late_funnel must be true or false"),
        ({"role": "label"}, "2 columns have the role label"),
    ],
)
def test_a_wrong_declaration_names_file_model_and_column(
    shop_settings: HomeSettings, small: Shop, changes: dict[str, Any], message: str
) -> None:
    edit(small, "feat_sessions", "page_views", **changes)
    folder = write_contract(shop_settings, small)
    with pytest.raises(ContractError) as caught:
        read_feature_tables(folder)
    assert message in str(caught.value)
    assert f"{folder / 'feat_sessions.yml'}, model feat_sessions" in str(caught.value)


def test_what_a_table_lacks_is_said_with_its_file(shop_settings: HomeSettings, small: Shop) -> None:
    columns = small.columns["feat_session_prefixes"]
    small.columns["feat_session_prefixes"] = [column for column in columns if column["name"] != "is_at_risk"]
    folder = write_contract(shop_settings, small)
    file = re.escape(str(folder / "feat_session_prefixes.yml"))
    with pytest.raises(ContractError, match=f"{file}, model feat_session_prefixes: no column has the role risk"):
        require_tables(folder)
    (folder / "feat_session_prefixes.yml").write_text("models: [")
    with pytest.raises(ContractError, match=f"{file} is not valid YAML"):
        require_tables(folder)


def test_a_missing_file_or_model_is_a_clear_error(tmp_path: Path, shop_settings: HomeSettings, small: Shop) -> None:
    with pytest.raises(ContractError, match=f"there is no YAML file in {re.escape(str(tmp_path))}"):
        read_feature_tables(tmp_path)
    del small.columns["feat_session_prefixes"]
    with pytest.raises(ContractError, match="declares no model feat_session_prefixes"):
        require_tables(write_contract(shop_settings, small))


def test_late_funnel_columns_are_forbidden_before_the_checkout(shop_settings: HomeSettings, small: Shop) -> None:
    late = next(entry for entry in small.columns["feat_sessions"] if entry["name"] in LATE_FEATURES)
    small.columns["feat_session_prefixes"].append(late)
    sessions, prefixes = require_tables(write_contract(shop_settings, small))
    with pytest.raises(ContractError, match="late-funnel columns: begin_checkouts"):
        forbid_late_funnel(prefixes.contract, sessions.contract)


def test_a_late_funnel_column_is_caught_even_where_the_prefixes_do_not_mark_it(
    shop_settings: HomeSettings, small: Shop
) -> None:
    edit(small, "feat_sessions", "searches", late_funnel=True)
    sessions, prefixes = require_tables(write_contract(shop_settings, small))
    with pytest.raises(ContractError, match="late-funnel columns: searches"):
        forbid_late_funnel(prefixes.contract, sessions.contract)


def test_a_mismatch_names_every_differing_column(shop_settings: HomeSettings, small: Shop) -> None:
    trained = require_tables(write_contract(shop_settings, small))[0].contract
    edit(small, "feat_sessions", "engagement_seconds", unit="milliseconds")
    edit(small, "feat_sessions", "page_views", data_type="double")
    small.columns["feat_sessions"] = [entry for entry in small.columns["feat_sessions"] if entry["name"] != "searches"]
    small.version = "2"
    current = require_tables(write_contract(shop_settings, small))[0].contract
    with pytest.raises(ContractMismatchError) as caught:
        require_same_contract(trained, current, model_name="propensity_full")
    message = str(caught.value)
    assert "contract_version: 1 → 2" in message
    assert "column searches: is gone" in message
    assert "column engagement_seconds: unit 'seconds' → 'milliseconds'" in message
    assert "column page_views: type 'BIGINT' → 'DOUBLE'" in message
    assert "product_views" not in message


def test_columns_that_a_model_does_not_read_may_come_and_move(shop_settings: HomeSettings, small: Shop) -> None:
    trained = require_tables(write_contract(shop_settings, small))[0].contract
    extra = {**small.columns["feat_sessions"][-1], "name": "new_feature"}
    small.columns["feat_sessions"] = [extra, *reversed(small.columns["feat_sessions"])]
    current = require_tables(write_contract(shop_settings, small))[0].contract
    require_same_contract(trained, current, model_name="propensity_full")
    assert trained.sha256 != current.sha256


def test_a_table_that_does_not_fit_is_refused_by_column(shop_settings: HomeSettings, small: Shop) -> None:
    write_tables(shop_settings.build_path, small)
    edit(small, "feat_sessions", "page_views", data_type="double")
    extra = {**small.columns["feat_sessions"][-1], "name": "new_feature"}
    declared = dataclasses.replace(small, columns={**small.columns})
    declared.columns["feat_sessions"] = [*small.columns["feat_sessions"], extra]
    sessions, prefixes = require_tables(write_contract(shop_settings, declared))
    with duckdb.connect(str(shop_settings.build_path)) as connection:
        check_table(connection, prefixes)
        with pytest.raises(ContractMismatchError) as caught:
            check_table(connection, sessions)
        assert "page_views is BIGINT, declared as DOUBLE" in str(caught.value)
        assert "new_feature is missing" in str(caught.value)
        connection.execute("drop table ml.feat_sessions")
        with pytest.raises(ContractMismatchError, match=r"there is no table ml\.feat_sessions"):
            check_table(connection, sessions)
