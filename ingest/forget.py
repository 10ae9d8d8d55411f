"""Forgetting a person: find what is linked to an id, remove its rows from the lake, and keep new ones out."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import duckdb
import yaml

from foundation.errors import FunnelhouseError
from foundation.quoting import quote_path, quote_text
from foundation.settings import Settings
from foundation.state import open_state
from ingest import place, quarantine
from ingest.content import hash_content
from ingest.engine import open_engine
from ingest.flatten import write_flat_file
from warehouse.flat import flat_columns, flat_versions
from warehouse.forgotten import Forgotten, add_forgotten, mark_purged, read_forgotten
from warehouse.lake import PARTITION_PREFIX, Manifest, partition_dir, read_manifests
from warehouse.transaction import request_full_rebuild

# More than any person has: an id that stands for nobody (the login "test", the device of a kiosk) links everybody.
MAX_LINKED_IDS = 1000
_REMOVED = "removed: it named sessions, and a person was forgotten"


class ForgetError(FunnelhouseError):
    """A person cannot be forgotten; the message says what to do."""


@dataclass(frozen=True)
class Person:
    """Everything the lake links to one id, and the rows that carry it, by date (YYYY-MM-DD)."""

    user_ids: list[str]
    devices: list[str]
    rows: dict[str, int]

    @property
    def is_known(self) -> bool:
        """Whether any row has the id, also one that is kept beside the lake."""
        return bool(self.user_ids or self.devices)


def find_person(settings: Settings, user: str) -> Person:
    """All devices and login ids of a person, and their rows; changes nothing.

    `user` is a user_id or a user_pseudo_id. Rows that carry both link them, and so on from each of them: two accounts
    that share a device are one person. Raises ForgetError for an id that stands for nobody.
    """
    user = _trim(user)
    if not user or user.lower() in _placeholders(settings):
        raise ForgetError(f"{user!r} does not identify anybody in particular; give a user_id or a user_pseudo_id")
    with closing(open_engine(settings)) as connection:
        files = _list_lake_files(settings)
        _find_linked(connection, settings, files, user)
        linked = connection.execute("select kind, id from linked order by kind, id").fetchall()
        if len(linked) > MAX_LINKED_IDS:
            kind, name, links = _find_hub(connection)
            raise ForgetError(
                f"{len(linked):,} ids are linked to this one, {links:,} of them by the {kind} {name!r} alone: if that "
                f"does not identify anybody in particular, add {name.lower()!r} to placeholder_user_ids in "
                "dbt_project/dbt_project.yml, in lower case, and try again"
            )
        in_partitions = [path for path in files if path.parent.parent == settings.lake_dir]
        rows = _query(
            connection,
            f"select parse_path(filename)[-2][{len(PARTITION_PREFIX) + 1}:] as event_date, count(*) "
            f"from {_relation(in_partitions)} where {_carries('linked')} group by 1 order by 1",
        )
    known = {kind: [name for its_kind, name in linked if its_kind == kind] for kind in ("user_id", "device")}
    return Person(known["user_id"], known["device"], dict(rows))


def forget_person(settings: Settings, user: str) -> Person:
    """Remove a person's rows from the lake and keep new ones out for good; returns what was removed.

    A kill at any moment leaves a whole lake, and the next load or the next call finishes the work. Raises
    `place.LakeLockedError` while a load is running.
    """
    with place.hold_lake(settings):
        person = find_person(settings, user)
        earlier = read_forgotten(settings)
        # of an id that the lake does not know, nobody can tell which kind it is
        unknown = [] if person.is_known else [_trim(user)]
        forgotten = add_forgotten(settings, user_ids=[*person.user_ids, *unknown], devices=[*person.devices, *unknown])
        # what an earlier, killed command has removed must still lead to a full rebuild
        purge(settings, forgotten, may_be_built=person.is_known or not (earlier is None or earlier.is_purged))
    return person


def finish_purge(settings: Settings) -> Forgotten | None:
    """Remove whoever is on the list and not yet out of the lake; returns the list. The caller holds the lake."""
    forgotten = read_forgotten(settings)
    return forgotten if forgotten is None or forgotten.is_purged else purge(settings, forgotten)


def purge(settings: Settings, forgotten: Forgotten, *, may_be_built: bool = True) -> Forgotten:
    """Remove everybody on the list from the lake and what is kept beside it; returns the list as it is then.

    The caller holds the lake. `may_be_built` is False when the lake has had no row of those who are new on the list.
    """
    # Nobody can tell whose rows a broken file holds.
    quarantine.drop_kept_files(settings)
    _drop_validation_examples(settings)
    manifests = read_manifests(settings)
    files = _list_lake_files(settings)
    with closing(open_engine(settings)) as connection:
        devices = find_forgotten_ids(connection, settings, forgotten, files)
        if devices:
            forgotten = add_forgotten(settings, devices=devices)
        names = _query(connection, f"select distinct filename from {_relation(files)} where {_IS_THEIRS}")
        touched = {Path(name) for (name,) in names}
        if may_be_built or touched:
            # Rows that are deleted from a database stay in its file for a while: the next build makes a new one. It is
            # asked for before the first row goes, or a kill could leave the lake without the row and nobody to ask.
            request_full_rebuild(settings)
        for folder in sorted({path.parent for path in touched}):
            if folder.parent == place.retired_dir(settings):
                shutil.rmtree(folder)
                continue
            manifest = manifests[dt.date.fromisoformat(folder.name.removeprefix(PARTITION_PREFIX))]
            _rewrite_partition(settings, connection, manifest, touched)
    return mark_purged(settings, forgotten)


def find_forgotten_ids(
    connection: duckdb.DuckDBPyConnection, settings: Settings, forgotten: Forgotten, files: Sequence[Path]
) -> list[str]:
    """Prepare `drop_rows` for these files; returns the devices that are not on the list yet and must be.

    A device on which a forgotten person logs in is theirs from then on, and in the past. A login id that turns up on a
    forgotten device is not put on the list: it may be somebody else's.
    """
    relation = _relation(files)
    connection.execute("create or replace temp table forgotten_ids (kind varchar, id varchar)")
    for kind, column, hashes in (
        ("user_id", "user_id", forgotten.user_id_hashes),
        ("device", "user_pseudo_id", forgotten.device_hashes),
    ):
        _query(
            connection,
            f"""
            insert into forgotten_ids
            select '{kind}', id from (select distinct trim({column}) as id from {relation})
            where sha256(? || id) in (select unnest(cast(? as varchar[])))
            """,
            [forgotten.key, sorted(hashes)],
        )
    devices = _query(
        connection,
        f"""
        select distinct trim(user_pseudo_id) as id from {relation}
        where
            trim(user_id) in (select id from forgotten_ids where kind = 'user_id')
            and trim(user_pseudo_id) not in (select id from forgotten_ids where kind = 'device')
            and lower(trim(user_pseudo_id)) not in (select unnest(cast(? as varchar[])))
        """,
        [_placeholders(settings)],
    )
    if devices:
        connection.executemany("insert into forgotten_ids values ('device', ?)", devices)
    return [device for (device,) in devices]


def _carries(ids: str) -> str:
    """Whether a row has a login or a device of the table `ids` (kind, id): never null."""
    return (
        f"(coalesce(trim(user_id) in (select id from {ids} where kind = 'user_id'), false) "
        f"or coalesce(trim(user_pseudo_id) in (select id from {ids} where kind = 'device'), false))"
    )


_IS_THEIRS = _carries("forgotten_ids")


def drop_rows(connection: duckdb.DuckDBPyConnection, source: Path, target: Path) -> int:
    """Write a lake file without the rows of `find_forgotten_ids`; returns how many those are, and writes none for 0."""
    count = _query(connection, f"select count(*) from {_relation([source])} where {_IS_THEIRS}")[0][0]
    if count:
        rows = f"select * from read_parquet({quote_path(source)}, hive_partitioning = false) where not {_IS_THEIRS}"
        _query(connection, f"copy ({rows}) to {quote_text(str(target))} (format parquet)")
    return int(count)


def _rewrite_partition(
    settings: Settings, connection: duckdb.DuckDBPyConnection, manifest: Manifest, touched: set[Path]
) -> None:
    folder = partition_dir(settings, dt.date.fromisoformat(manifest.event_date))
    with place.make_workspace(settings) as workspace:
        partition = workspace / "partition"
        partition.mkdir()
        dropped = 0
        for name in manifest.lake_files:
            if folder / name in touched:
                dropped += drop_rows(connection, folder / name, partition / name)
            else:
                shutil.copyfile(folder / name, partition / name)
            write_flat_file(connection, flat_columns(settings), partition / name, partition / name)
        manifest = replace(count_out(manifest, dropped), flat_columns=flat_versions(settings))
        place.put_partition(settings, manifest, partition)


def count_out(manifest: Manifest, dropped: int) -> Manifest:
    """The manifest of a partition after `dropped` rows have gone; its content hash is another one then."""
    forgotten_rows = manifest.forgotten_rows + dropped
    content_hash = hash_content(manifest.kind, manifest.source_files, forgotten_rows)
    if manifest.content_hash != hash_content(manifest.kind, manifest.source_files, manifest.forgotten_rows):
        # written by an older loader: it must go on to look like that
        content_hash = hashlib.sha256(f"{manifest.content_hash} {dropped}".encode()).hexdigest()
    return replace(
        manifest,
        row_count=manifest.row_count - dropped,
        forgotten_rows=forgotten_rows,
        content_hash=content_hash,
    )


def _find_linked(connection: duckdb.DuckDBPyConnection, settings: Settings, files: Sequence[Path], user: str) -> None:
    """Table `linked`: the id itself, as login and as device, where the lake has it, and all that is linked to it."""
    relation = _relation(files)
    _query(
        connection,
        f"""
        create temp table pairs as
        select distinct trim(user_id) as user_id, trim(user_pseudo_id) as device from {relation}
        where coalesce(trim(user_id), trim(user_pseudo_id)) is not null
        """,
    )
    connection.execute(
        """
        create temp table links as
        with logins as (
            select * from pairs
            where
                lower(user_id) not in (select unnest(cast($1 as varchar[])))
                and lower(device) not in (select unnest(cast($1 as varchar[])))
        )
        select 'user_id' as kind, user_id as id, 'device' as other_kind, device as other_id from logins
        union all
        select 'device', device, 'user_id', user_id from logins
        """,
        [_placeholders(settings)],
    )
    connection.execute(
        """
        create temp table linked as
        with recursive person(kind, id) as (
            (
                select 'user_id', user_id from pairs where user_id = $1
                union
                select 'device', device from pairs where device = $1
            )
            union
            select links.other_kind, links.other_id from person inner join links using (kind, id)
        )
        select distinct kind, id from person
        """,
        [user],
    )


def _find_hub(connection: duckdb.DuckDBPyConnection) -> tuple[str, str, int]:
    """Of the linked ids the one that links the most others: its kind, itself, and how many those are."""
    [hub] = connection.execute(
        """
        select case kind when 'user_id' then 'login' else kind end, id, count(*) as links
        from linked inner join links using (kind, id)
        group by all order by links desc, id limit 1
        """
    ).fetchall()
    return hub


def _drop_validation_examples(settings: Settings) -> None:
    """Remove what validations have shown as examples: session ids hold device ids. The next run writes new pages."""
    for folder in (settings.docs_dir / "data_docs", settings.home / "validation" / "results"):
        shutil.rmtree(folder, ignore_errors=True)
    # rows as BigQuery has them; the next run reads them again, and leaves out who is forgotten
    shutil.rmtree(settings.bigquery_dir, ignore_errors=True)
    if not settings.state_path.exists():
        return
    with open_state(settings) as state:
        if state.execute("select 1 from sqlite_master where name = 'validation_results'").fetchone():
            state.execute(
                "update validation_results set observed = ? where success = 0 and suite != 'landing'", [_REMOVED]
            )


def _trim(user: str) -> str:
    """As the SQL does, which takes off blanks of all kinds, but leaves the tabs and line ends that Python takes."""
    with closing(duckdb.connect()) as connection:
        return str(connection.execute("select trim(?)", [user]).fetchall()[0][0])


def _list_lake_files(settings: Settings) -> list[Path]:
    return sorted([*settings.lake_dir.glob("*/*.parquet"), *place.retired_dir(settings).glob("*/*.parquet")])


def _relation(files: Sequence[Path]) -> str:
    """The login and device ids of lake files; without files, none."""
    if not files:
        return "(select null::varchar as user_id, null::varchar as user_pseudo_id, null::varchar as filename limit 0)"
    paths = ", ".join(quote_path(path) for path in files)
    return f"read_parquet([{paths}], filename = true, union_by_name = true, hive_partitioning = false)"


@cache
def _read_placeholders(project: Path) -> tuple[str, ...]:
    values = yaml.safe_load(project.read_text(encoding="utf-8"))["vars"]["placeholder_user_ids"]
    return ("", "(not set)", *map(str, values))


def _placeholders(settings: Settings) -> list[str]:
    """What shops send as an id while nobody is logged in, in lower case; the marts leave it out as well."""
    return list(_read_placeholders(settings.dbt_project_dir / "dbt_project.yml"))


def _query(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[object] = ()) -> list[tuple]:
    try:
        return connection.execute(sql, list(parameters)).fetchall()
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise ForgetError(
            f"a lake file cannot be read: {error}. Delete its partition folder, load the day again (python -m ingest), "
            "and try again"
        ) from error
