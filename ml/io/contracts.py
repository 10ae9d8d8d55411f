"""Read feature contracts from the dbt YAML and check feature tables against them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import yaml

from foundation.settings import Settings
from ml.core.contract import (
    FEATURE_KINDS,
    ContractError,
    ContractMismatchError,
    Feature,
    FeatureContract,
    FeatureTable,
)

SCHEMA = "ml"
SESSIONS = "feat_sessions"
PREFIXES = "feat_session_prefixes"
ROLES = ("key", "label", "time", "point", "feature", "risk")
KEY_COLUMNS = ("session_id", "user_pseudo_id", "session_date")


def contract_path(settings: Settings) -> Path:
    """The folder whose YAML files declare the feature tables, one beside the SQL of each."""
    return settings.dbt_project_dir / "models" / "ml"


def read_feature_tables(folder: Path) -> dict[str, FeatureTable]:
    """The feature tables declared in the dbt YAML files of a folder, by model name.

    Only models with `config.meta.contract_version` count. Every column of such a model needs `data_type` and, under
    `config.meta`, a `role`; features also `kind` and `late_funnel`. Raises `ContractError` naming file, model, column.
    """
    return {name: _read_table(path, model) for name, (path, model) in _find_models(folder).items()}


def require_tables(folder: Path) -> tuple[FeatureTable, FeatureTable]:
    """The whole-session and the prefix table; raises `ContractError` where one or one of its parts is missing."""
    models = _find_models(folder)
    for name in (SESSIONS, PREFIXES):
        if name not in models:
            raise ContractError(f"{folder} declares no model {name} with config.meta.contract_version")
    sessions, prefixes = (_read_table(*models[name]) for name in (SESSIONS, PREFIXES))
    for name, table in ((SESSIONS, sessions), (PREFIXES, prefixes)):
        missing = [column for column in KEY_COLUMNS if column not in table.column_types]
        if missing:
            raise ContractError(f"{models[name][0]}, model {name}: no column {', '.join(missing)}")
    path, _ = models[PREFIXES]
    for role, column in (("risk", prefixes.risk), ("point", prefixes.point)):
        if column is None:
            raise ContractError(f"{path}, model {PREFIXES}: no column has the role {role}")
    if "decision_events" not in prefixes.contract.feature_names:
        raise ContractError(f"{path}, model {PREFIXES}: decision_events is not declared as a feature")
    return sessions, prefixes


def check_table(connection: duckdb.DuckDBPyConnection, table: FeatureTable) -> None:
    """Raise `ContractMismatchError` naming every declared column that the table lacks or holds as another type."""
    schema, _, name = table.relation.partition(".")
    actual = dict(
        connection.execute(
            "select column_name, data_type from duckdb_columns() where schema_name = ? and table_name = ?",
            [schema, name],
        ).fetchall()
    )
    if not actual:
        raise ContractMismatchError(f"there is no table {table.relation}: build the marts first")
    differences = []
    for column, declared in table.column_types.items():
        if column not in actual:
            differences.append(f"{column} is missing")
        elif actual[column] != (expected := _canonical_type(connection, table, column, declared)):
            differences.append(f"{column} is {actual[column]}, declared as {expected}")
    if differences:
        raise ContractMismatchError(
            f"{table.relation} does not match its contract (version {table.contract.version}): "
            f"{'; '.join(differences)}. "
            "Build and publish the marts with the YAML as it is now, then run this again."
        )


def _canonical_type(connection: duckdb.DuckDBPyConnection, table: FeatureTable, column: str, declared: str) -> str:
    try:
        # DuckDB knows its own aliases (int8 = BIGINT, string = VARCHAR).
        row = connection.execute(f"select typeof(cast(null as {declared}))").fetchone()
    except duckdb.Error as error:
        raise ContractError(
            f"{table.relation}: column {column} is declared as {declared!r}, which is not a type: {error}"
        ) from error
    if row is None:
        raise ContractError(f"{table.relation}: column {column} is declared as {declared!r}, which is not a type")
    return str(row[0])


def _find_models(folder: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The models of a folder that have a contract, by name, each with the file that declares it."""
    paths = sorted(folder.glob("*.yml"))
    if not paths:
        raise ContractError(f"there is no YAML file in {folder}: the feature contracts are read from there")
    models = {}
    for path in paths:
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ContractError(f"{path} is not valid YAML: {error}") from error
        for model in (document or {}).get("models") or []:
            if _meta(model).get("contract_version") is not None:
                models[str(model.get("name"))] = (path, model)
    return models


def _meta(node: dict[str, Any]) -> dict[str, Any]:
    return (node.get("config") or {}).get("meta") or {}


def _read_table(path: Path, model: dict[str, Any]) -> FeatureTable:
    name, version = str(model.get("name")), str(_meta(model)["contract_version"])
    features: list[Feature] = []
    types: dict[str, str] = {}
    by_role: dict[str, list[str]] = {role: [] for role in ROLES}
    for column in model.get("columns") or []:
        where = f"{path}, model {name}, column {column.get('name')}"
        meta = _meta(column)
        role, data_type = meta.get("role"), column.get("data_type")
        if role not in ROLES:
            raise ContractError(f"{where}: config.meta.role is {role!r}; it must be one of {', '.join(ROLES)}")
        if not data_type:
            raise ContractError(f"{where}: data_type is missing")
        column_name = str(column["name"])
        types[column_name] = str(data_type)
        by_role[role].append(column_name)
        if role == "feature":
            features.append(_read_feature(where, column_name, str(data_type), meta))
    if len(by_role["label"]) != 1:
        raise ContractError(
            f"{path}, model {name}: {len(by_role['label'])} columns have the role label; exactly one must"
        )
    for role in ("risk", "point"):
        if len(by_role[role]) > 1:
            raise ContractError(f"{path}, model {name}: more than one column has the role {role}")
    if not features:
        raise ContractError(f"{path}, model {name}: no column has the role feature")
    return FeatureTable(
        relation=f"{SCHEMA}.{name}",
        contract=FeatureContract(name, version, tuple(features)),
        column_types=types,
        label=by_role["label"][0],
        risk=next(iter(by_role["risk"]), None),
        point=next(iter(by_role["point"]), None),
    )


def _read_feature(where: str, name: str, data_type: str, meta: dict[str, Any]) -> Feature:
    kind, late_funnel, unit = meta.get("kind"), meta.get("late_funnel"), meta.get("unit")
    if kind not in FEATURE_KINDS:
        raise ContractError(f"{where}: config.meta.kind is {kind!r}; it must be one of {', '.join(FEATURE_KINDS)}")
    if not isinstance(late_funnel, bool):
        raise ContractError(f"{where}: config.meta.late_funnel must be true or false, not {late_funnel!r}")
    return Feature(name, data_type.upper(), kind, None if unit is None else str(unit), late_funnel)
