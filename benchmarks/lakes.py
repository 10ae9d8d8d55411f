"""Lakes of any size for the benchmarks: a generated shop, and copies of its visitors beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb

from foundation.settings import Settings, load_settings
from ingest.flatten import flatten_lake
from ingest.place import hold_lake
from warehouse.lake import MANIFEST_NAME, Manifest, read_manifests

PROJECT = Path(__file__).resolve().parent.parent
WORK = PROJECT / "benchmarks" / ".work"
END_DATE = "2026-09-30"  # of every shop: what is measured on two days must be the same


def environment_for(home: Path, memory_limit: str) -> dict[str, str]:
    """Environment of a benchmark's processes: a home of its own, and nobody's `.env`."""
    return {
        **os.environ,
        "FUNNELHOUSE_HOME": str(home),
        "FUNNELHOUSE_DUCKDB_MEMORY_LIMIT": memory_limit,
        "FUNNELHOUSE_ENV_FILE": os.devnull,
        "PYTHONPATH": str(PROJECT),
    }


def settings_for(home: Path) -> Settings:
    """Settings of a benchmark's home."""
    os.environ.update(environment_for(home, "4GB"))
    return load_settings()


def make_lake(home: Path, *, sessions: int, days: int, copies: int, has_own_pages: bool = False) -> Settings:
    """A lake of `days` dates with about `sessions` x `copies` sessions; an existing one is kept.

    The shop is generated once. The copies have visitors, logins and order numbers of their own and the same behaviour,
    so that tables grow as they would with more visitors. With `has_own_pages` each event has a page_location of its
    own, as where a shop's addresses carry ids: such texts hardly compress.
    """
    settings = settings_for(home)
    if read_manifests(settings):
        flatten(settings)
        return settings
    shop = WORK / f"shop-{sessions}-{days}"
    shop_settings = settings_for(shop)
    if not read_manifests(shop_settings):
        options = ["--sessions", str(sessions), "--days", str(days), "--end-date", END_DATE]
        for command in (["sample_shop", *options], ["ingest"]):
            subprocess.run([sys.executable, "-m", *command], cwd=PROJECT, env=environment_for(shop, "4GB"), check=True)
        shop_settings = settings_for(shop)
    shutil.rmtree(settings.lake_dir, ignore_errors=True)
    with duckdb.connect() as connection:
        for manifest in read_manifests(shop_settings).values():
            _copy_day(connection, shop_settings, settings, manifest, copies, has_own_pages=has_own_pages)
    settings = settings_for(home)
    flatten(settings)
    return settings


def flatten(settings: Settings) -> None:
    """Give each day its flat files, as a load does."""
    with hold_lake(settings):
        flatten_lake(settings)


_OWN_PAGES = """
    list_transform(
        event_params, lambda param: case
            when param.key = 'page_location'
                then {
                    'key': param.key,
                    'value': struct_update(
                        param.value,
                        string_value := param.value.string_value
                            || case when contains(param.value.string_value, '?') then '&' else '?' end
                            || 'visit=' || hash(user_pseudo_id, event_timestamp, copy_number)
                    )
                }
            else param
        end
    )
"""


def link_export(settings: Settings, folder: Path) -> None:
    """The lake's files once more under the names of an export."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for manifest in read_manifests(settings).values():
        (file,) = (settings.lake_dir / f"event_date={manifest.event_date}").glob("*.parquet")
        (folder / f"{manifest.table_name}.parquet").hardlink_to(file)


def _copy_day(
    connection: duckdb.DuckDBPyConnection,
    source: Settings,
    target: Settings,
    manifest: Manifest,
    copies: int,
    *,
    has_own_pages: bool,
) -> None:
    name = f"event_date={manifest.event_date}"
    folder = target.lake_dir / name
    folder.mkdir(parents=True)
    connection.execute(
        f"""
        copy (
            select events.* replace (
                user_pseudo_id || '.' || copy_number as user_pseudo_id,
                case when user_id != '(not set)' then user_id || '.' || copy_number else user_id end as user_id,
                case
                    when ecommerce.transaction_id != '(not set)' then struct_update(
                        ecommerce, transaction_id := ecommerce.transaction_id || '.' || copy_number
                    )
                    else ecommerce
                end as ecommerce,
                {_OWN_PAGES if has_own_pages else "event_params"} as event_params
            )
            from read_parquet('{source.lake_dir / name}/*.parquet', hive_partitioning = false) as events,
                range({copies}) as copies(copy_number)
        ) to '{folder}/part-00000.parquet' (format parquet, compression zstd)
        """
    )
    copied = dataclasses.replace(
        manifest,
        row_count=manifest.row_count * copies,
        content_hash=hashlib.sha256(f"{manifest.content_hash} x {copies}".encode()).hexdigest(),
        lake_files=["part-00000.parquet"],
        flat_columns={},
    )
    (folder / MANIFEST_NAME).write_text(copied.to_json(), encoding="utf-8")
