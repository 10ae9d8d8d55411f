"""Write, audit, publish: a run builds in a private copy and replaces the published file with one rename."""

from __future__ import annotations

import datetime as dt
import json
import secrets
import shutil
import sqlite3
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from foundation.connect import insert_rows, open_build, open_published
from foundation.durable import sync
from foundation.errors import FunnelhouseError
from foundation.settings import Settings
from warehouse.champions import UNREADABLE, read_champion_versions
from warehouse.fingerprint import STAGING, project_fingerprint, staging_fingerprint, staging_models
from warehouse.flat import flat_versions
from warehouse.ga4_config import CUSTOM_TABLES, custom_fingerprint
from warehouse.lake import Manifest, carry_unknown_columns, read_manifests
from warehouse.public_suffixes import write_public_suffixes

_MATURED = "provisional days have become complete"
_CHAMPIONS_CHANGED = "the champion models have changed"
_TRAINING_ASKED = "a training was asked for"  # what is published starts it
SCHEMAS = (STAGING, "intermediate", "marts", "ml", "ops")


class PublicationError(FunnelhouseError):
    """There is no build of this run to publish."""


class LakeOutdatedError(FunnelhouseError):
    """The lake lacks columns that the SQL reads."""


@dataclass(frozen=True)
class BuildPlan:
    """What the next build has to do, and why. No reason means that there is nothing to do."""

    reasons: list[str]
    # YYYY-MM-DD: content is new, changed or gone since the published build; all days where nothing of it is kept
    touched_dates: list[str]
    is_full_rebuild: bool
    keeps_staging: bool = False  # a full rebuild of everything but the staging tables, which stand as published
    rebuilds_custom: bool = False  # `ga4.yml` has changed: the tables that it has columns in are made anew

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for XCom and logs."""
        return asdict(self)


def plan_build(settings: Settings, *, now: dt.datetime | None = None) -> BuildPlan:
    """Compare the lake, the SQL, the settings and the champions with what the published warehouse was built from."""
    manifests = read_manifests(settings)
    all_dates = [day.isoformat() for day in manifests]
    if not settings.published_path.exists():
        return BuildPlan(["nothing is published yet"] if manifests else [], all_dates, True)
    if _rebuild_request(settings).exists():
        # before the published file is opened: this is also the way out when that is damaged
        return BuildPlan(["a full rebuild was asked for"], all_dates, True)
    with open_published(settings) as connection:
        built = dict(
            connection.sql("select cast(event_date as varchar), content_hash from ops.built_partitions").fetchall()
        )
        fingerprint, champions = _one(connection, "select project_fingerprint, champions_seen from ops.build_info")
        current = {day.isoformat(): manifest.content_hash for day, manifest in manifests.items()}
        touched = sorted(day for day in built.keys() | current.keys() if built.get(day) != current.get(day))
        is_custom_stale = _read_fingerprint(connection, "custom") != custom_fingerprint(settings)
        if fingerprint != project_fingerprint(settings):
            if _read_fingerprint(connection, STAGING) == staging_fingerprint(settings):
                reasons = ["the SQL or a setting behind the marts has changed"]
                return BuildPlan(reasons, touched, True, keeps_staging=True, rebuilds_custom=is_custom_stale)
            return BuildPlan(["the SQL or a setting that it depends on has changed"], all_dates, True)
        clock = (now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC).replace(tzinfo=None)
        matured, rejuvenated = _one(
            connection,
            f"""
            select
                count(*) filter (where is_provisional and complete_at <= timestamp '{clock}'),
                count(*) filter (where not is_provisional and complete_at > timestamp '{clock}')
            from intermediate.int_days
            """,
        )
    reasons = [f"{len(touched)} days are new, rewritten or gone"] if touched else []
    if is_custom_stale:
        reasons.append("what ga4.yml names has changed")
    if matured:
        reasons.append(f"{matured} {_MATURED}")
    if rejuvenated:
        reasons.append(f"{rejuvenated} days were called complete too early: the clock was ahead")
    if champions != json.dumps(read_champion_versions(settings.models_dir), sort_keys=True):
        reasons.append(_CHAMPIONS_CHANGED)
    if is_training_requested(settings):
        reasons.append(_TRAINING_ASKED)
    return BuildPlan(reasons, touched, False, rebuilds_custom=is_custom_stale)


def is_about_scores(reasons: list[str]) -> bool:
    """Whether these reasons leave the published marts as they are: scores alone are made anew."""
    return bool(reasons) and set(reasons) <= {_CHAMPIONS_CHANGED, _TRAINING_ASKED}


def request_full_rebuild(settings: Settings) -> None:
    """Let the next build make everything anew, whatever has changed; asked until such a build is published."""
    settings.home.mkdir(parents=True, exist_ok=True)
    # a name for the request: a build that began before it does not answer it
    _rebuild_request(settings).write_text(secrets.token_hex(8), encoding="utf-8")


def request_training(settings: Settings) -> None:
    """Let the training after the next publication train every model; asked until it has."""
    settings.home.mkdir(parents=True, exist_ok=True)
    _training_request(settings).touch()


def is_training_requested(settings: Settings) -> bool:
    """Whether a training was asked for that has not been done."""
    return _training_request(settings).exists()


def forget_training_request(settings: Settings) -> None:
    """Take the request for a training back, once it has been done."""
    _training_request(settings).unlink(missing_ok=True)


def has_new_final_days(settings: Settings) -> bool:
    """Whether the published build has made days final, or rewritten final ones: anything else is still to change."""
    with open_published(settings) as connection:
        (is_new,) = _one(
            connection,
            f"""
            select
                is_full_rebuild
                or len(list_filter(reasons, lambda reason: contains(reason, '{_MATURED}'))) > 0
                or exists (
                    select 1 from ops.touched_dates as touched
                    inner join intermediate.int_days as days
                        on touched.event_date = days.kpi_date and not days.is_provisional
                )
            from ops.build_info
            """,
        )
    return bool(is_new)


def begin(settings: Settings, *, run_id: str, now: dt.datetime | None = None, full_rebuild: bool = False) -> BuildPlan:
    """Start a build: copy the published file and note in `ops` what the build has to touch.

    Whatever an earlier, failed or killed run left in the build file is thrown away.
    """
    now = now or dt.datetime.now(dt.UTC)
    manifests = read_manifests(settings)
    if full_rebuild:
        plan = BuildPlan(["a full rebuild was asked for"], [day.isoformat() for day in manifests], True)
    else:
        plan = plan_build(settings, now=now)
    _require_flat_columns(settings, manifests.values())
    _make_build_file(settings, is_empty=plan.is_full_rebuild and not plan.keeps_staging)
    with open_build(settings) as connection, _transaction(connection):
        if plan.keeps_staging:
            _drop_all_but_staging(connection, staging_models(settings.dbt_project_dir))
        for schema in SCHEMAS:
            connection.execute(f"create schema if not exists {schema}")
        _drop_rebuilt(connection, CUSTOM_TABLES if plan.rebuilds_custom else {})
        _write_build_info(connection, settings, run_id=run_id, now=now, plan=plan)
        _write_ledger(connection, manifests.values())
        _write_touched_dates(connection, plan.touched_dates)
        if plan.is_full_rebuild:
            write_public_suffixes(connection)
        _copy_state(connection, settings)
    return plan


def begin_scores(settings: Settings, *, run_id: str, reasons: list[str]) -> None:
    """Start a build of nothing but scores: a copy of the published file, whose marts stand as they were built.

    Whatever an earlier, failed or killed run left in the build file is thrown away.
    """
    _make_build_file(settings, is_empty=False)
    with open_build(settings) as connection, _transaction(connection):
        connection.execute(
            """
            update ops.build_info set
                run_id = ?, reasons = ?, is_full_rebuild = false, touched_from = null, champions_seen = '{}',
                champions_used = '{}', published_at = null, rebuild_request = null
            """,
            [run_id, reasons],
        )
        connection.execute(_CREATE_REFUSED)
        _drop_rebuilt(connection, {})
        _write_touched_dates(connection, [])
        _copy_state(connection, settings)


def record_built_partitions(settings: Settings) -> None:
    """Note, in the build, the content of each day that it was built from, and the first session date it touched."""
    with open_build(settings) as connection, _transaction(connection):
        connection.execute(
            "create or replace table ops.built_partitions as select event_date, content_hash from ops.ingest_ledger"
        )
        connection.execute(
            """
            update ops.build_info
            set touched_from = (
                select min(session_date) from intermediate.int_touched_from
                where is_full_rebuild or (select count(*) from ops.touched_dates) > 0
            )
            """
        )
        # what models held before this build rewrote them has served its purpose
        for (name,) in connection.execute(
            "select table_name from duckdb_tables() where schema_name = 'ops' and table_name like 'previous%'"
        ).fetchall():
            connection.execute(f'drop table ops."{name}"')


def record_champions(
    settings: Settings, *, seen: dict[str, str], used: dict[str, str], refused: dict[str, str]
) -> None:
    """Note, in the build, the champions (name, version) that scoring saw and used, and why it refused others."""
    with open_build(settings) as connection, _transaction(connection):
        connection.execute(
            "update ops.build_info set champions_seen = ?, champions_used = ?",
            [json.dumps(seen, sort_keys=True), json.dumps(used, sort_keys=True)],
        )
        connection.execute(_CREATE_REFUSED)
        if refused:
            rows = [(name, seen.get(name), reason) for name, reason in sorted(refused.items())]
            connection.executemany("insert into ops.refused_models values (?, ?, ?)", rows)


def read_used_models(warehouse: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Name and version of the models that a warehouse's scores come from."""
    (used,) = _one(warehouse, "select champions_used from ops.build_info")
    return dict(json.loads(used))


def read_refused_models(warehouse: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The models whose champion was not used, and why; none in what an older Funnelhouse has published."""
    is_known = warehouse.execute(
        "select 1 from duckdb_tables() where schema_name = 'ops' and table_name = 'refused_models'"
    ).fetchone()
    return dict(warehouse.execute("select model, reason from ops.refused_models").fetchall()) if is_known else {}


def publish(settings: Settings, *, run_id: str) -> bool:
    """Replace the published file by the build; True if this call did it, False if this run had published before.

    Raises `PublicationError` when there is no build of this run.
    """
    if not settings.build_path.exists():
        if settings.published_path.exists():
            with open_published(settings) as connection:
                published_run_id, answered = _read_identity(connection)
            if published_run_id == run_id:
                _forget_rebuild_request(settings, answered)  # killed after the rename, this is what was left to do
                return False
        raise PublicationError(f"nothing to publish: {settings.build_path} does not exist; run the build again")
    with open_build(settings) as connection:
        build_run_id, answered = _read_identity(connection)
        if build_run_id != run_id:
            raise PublicationError(
                f"the build file belongs to run {build_run_id!r}, not to {run_id!r}; run the build again"
            )
        # once more: this run's own validation results are published with it
        _copy_state(connection, settings)
        connection.execute("update ops.build_info set published_at = ?", [_utc_naive(dt.datetime.now(dt.UTC))])
        connection.execute("checkpoint")
    if settings.published_path.exists():  # whoever may read it may go on
        settings.build_path.chmod(stat.S_IMODE(settings.published_path.stat().st_mode))
    sync(settings.build_path)
    settings.build_path.replace(settings.published_path)
    _forget_rebuild_request(settings, answered)
    sync(settings.published_path.parent)
    return True


def unused_models(settings: Settings, names: Collection[str]) -> list[str]:
    """The models without a champion, or with one that the published warehouse was not scored with."""
    champions = read_champion_versions(settings.models_dir)
    with open_published(settings) as connection:
        used = read_used_models(connection)
    # on disk but not used: it was refused, for example because the features have changed since
    return [name for name in names if champions.get(name, UNREADABLE) == UNREADABLE or name not in used]


def _training_request(settings: Settings) -> Path:
    return settings.home / "training.requested"


def _rebuild_request(settings: Settings) -> Path:
    return settings.home / "rebuild.requested"


def _read_rebuild_request(settings: Settings) -> str | None:
    path = _rebuild_request(settings)
    return path.read_text(encoding="utf-8") if path.exists() else None


def _forget_rebuild_request(settings: Settings, answered: str | None) -> None:
    """Take back the request that a build has answered; a later one stays."""
    if answered is not None and _read_rebuild_request(settings) == answered:
        _rebuild_request(settings).unlink()


def _read_identity(connection: duckdb.DuckDBPyConnection) -> tuple[str, str | None]:
    """Which run has built a warehouse, and which request for a full rebuild that answered."""
    run_id, answered = _one(connection, "select run_id, rebuild_request from ops.build_info")
    return str(run_id), answered


def _make_build_file(settings: Settings, *, is_empty: bool) -> None:
    """An empty database or a copy of the published one, in the place of whatever was left there."""
    build = settings.build_path
    build.parent.mkdir(parents=True, exist_ok=True)
    temporary = build.with_suffix(".copy")
    for leftover in (build, build.with_name(build.name + ".wal"), temporary):
        leftover.unlink(missing_ok=True)
    if is_empty:
        # storage 1.4 so that analysts can open the published file with older DuckDB tools, too
        duckdb.connect(str(build), config={"storage_compatibility_version": "v1.4.0"}).close()
    else:
        shutil.copyfile(settings.published_path, temporary)
        temporary.replace(build)


def _require_flat_columns(settings: Settings, manifests: Iterable[Manifest]) -> None:
    """Raise LakeOutdatedError for days without a column that staging reads: the next load derives it."""
    wanted = flat_versions(settings).items()
    missing = {
        manifest.event_date: sorted(name for name, _ in wanted - manifest.flat_columns.items())
        for manifest in manifests
    }
    stale = {day: names for day, names in missing.items() if names}
    if stale:
        day, names = min(stale.items())
        raise LakeOutdatedError(
            f"{len(stale)} days of the lake lack columns that the SQL reads ({day}: {', '.join(names[:3])}"
            f"{', …' if len(names) > 3 else ''}); run `python -m ingest`, which derives them"
        )


def _drop_all_but_staging(connection: duckdb.DuckDBPyConnection, models: Collection[str]) -> None:
    """Leave the staging models' tables; a model whose table is not there is built whole, as in an empty file."""
    for schema in SCHEMAS:
        if schema != STAGING:
            connection.execute(f"drop schema if exists {schema} cascade")
    for name, is_view in connection.execute(
        """
        select view_name, true from duckdb_views() where schema_name = $1
        union all
        select table_name, false from duckdb_tables() where schema_name = $1
        """,
        [STAGING],
    ).fetchall():
        if is_view or name not in models:
            connection.execute(f'drop {"view" if is_view else "table"} {STAGING}."{name}"')


def _drop_rebuilt(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, str]) -> None:
    """Leave these tables, by name and schema, to be built whole, and note which they are."""
    for name, schema in tables.items():
        connection.execute(f"drop table if exists {schema}.{name}")
    connection.execute("create or replace table ops.rebuilt_tables (table_name varchar)")
    insert_rows(connection, "ops.rebuilt_tables", [(name,) for name in tables])


def _read_fingerprint(connection: duckdb.DuckDBPyConnection, part: str) -> str | None:
    """What the published tables of a part were made by; none in what an older Funnelhouse has published."""
    is_known = connection.execute(
        """
        select 1 from duckdb_columns()
        where schema_name = 'ops' and table_name = 'build_info' and column_name = $1 || '_fingerprint'
        """,
        [part],
    ).fetchone()
    return str(_one(connection, f"select {part}_fingerprint from ops.build_info")[0]) if is_known else None


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.execute("begin")
    try:
        yield
    except BaseException:
        connection.execute("rollback")
        raise
    connection.execute("commit")


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    rows = connection.execute(sql).fetchall()
    if len(rows) != 1:
        raise RuntimeError(f"expected one row, got {len(rows)}: {sql}")
    return tuple(rows[0])


def _utc_naive(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(tzinfo=None)


_CREATE_REFUSED = "create or replace table ops.refused_models (model varchar, version varchar, reason varchar)"


def _write_build_info(
    connection: duckdb.DuckDBPyConnection, settings: Settings, *, run_id: str, now: dt.datetime, plan: BuildPlan
) -> None:
    connection.execute(
        """
        create or replace table ops.build_info (
            run_id varchar, as_of timestamp, touched_from date, is_full_rebuild boolean, reasons varchar[],
            project_fingerprint varchar, staging_fingerprint varchar, champions_seen varchar, champions_used varchar,
            published_at timestamp, rebuild_request varchar, custom_fingerprint varchar
        )
        """
    )
    values = [
        run_id,
        _utc_naive(now),
        plan.is_full_rebuild,
        plan.reasons,
        project_fingerprint(settings),
        staging_fingerprint(settings),
        "{}",
        "{}",
        _read_rebuild_request(settings) if plan.is_full_rebuild else None,
        custom_fingerprint(settings),
    ]
    connection.execute("insert into ops.build_info values (?, ?, null, ?, ?, ?, ?, ?, ?, null, ?, ?)", values)
    connection.execute(_CREATE_REFUSED)


def _write_ledger(connection: duckdb.DuckDBPyConnection, manifests: Any) -> None:
    connection.execute(
        """
        create or replace table ops.ingest_ledger (
            event_date date, table_name varchar, kind varchar, source_uri varchar, content_hash varchar,
            row_count bigint, loaded_at timestamp, unknown_columns varchar, missing_columns varchar,
            retyped_columns varchar
        )
        """
    )
    rows = [
        (
            manifest.event_date,
            manifest.table_name,
            manifest.kind,
            manifest.source_uri,
            manifest.content_hash,
            manifest.row_count,
            _utc_naive(dt.datetime.fromisoformat(manifest.loaded_at)),
            json.dumps(manifest.unknown_columns),
            json.dumps(manifest.missing_columns),
            json.dumps(manifest.retyped_columns),
        )
        for manifest in carry_unknown_columns(manifests)
    ]
    insert_rows(connection, "ops.ingest_ledger", rows)


def _write_touched_dates(connection: duckdb.DuckDBPyConnection, touched_dates: list[str]) -> None:
    connection.execute("create or replace table ops.touched_dates (event_date date)")
    insert_rows(connection, "ops.touched_dates", [(day,) for day in touched_dates])


def _copy_state(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Copy every table of the SQLite state file into `ops`, as text, integer or double columns."""
    if not settings.state_path.exists():
        return
    duckdb_types = {"INTEGER": "bigint", "REAL": "double"}
    with closing(sqlite3.connect(f"file:{settings.state_path}?mode=ro", uri=True, timeout=60)) as state:
        names = [
            row[0]
            for row in state.execute(
                "select name from sqlite_master where type = 'table' and name not like 'sqlite_%' order by name"
            )
        ]
        for name in names:
            columns = [
                (row[1], duckdb_types.get(row[2].upper(), "varchar"))
                for row in state.execute(f'pragma table_info("{name}")')
            ]
            definition = ", ".join(f'"{column}" {kind}' for column, kind in columns)
            connection.execute(f'create or replace table ops."{name}" ({definition})')
            rows = state.execute(f'select * from "{name}"').fetchall()
            # SQLite lets any column hold anything
            is_text = [kind == "varchar" for _, kind in columns]
            insert_rows(
                connection,
                f'ops."{name}"',
                [
                    [
                        str(value) if of_text and value is not None else value
                        for value, of_text in zip(row, is_text, strict=True)
                    ]
                    for row in rows
                ],
            )
