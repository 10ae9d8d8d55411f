"""What a build's SQL and settings hash to: another fingerprint means that rows are to be made anew.

There are two: of the whole project, and of the staging layer alone. Where only the first has changed, the published
staging tables are what a build from nothing would make, and are kept. The columns that `ga4.yml` names have a third, in
`warehouse/ga4_config.py`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb

from foundation.settings import Settings
from warehouse.flat import staged_flat_columns
from warehouse.ga4_config import custom_vars, load_ga4_config
from warehouse.public_suffixes import list_version

STAGING = "staging"
_BLOCK = re.compile(r"{%-?\s*(macro|test|materialization)\s+(\w+).*?{%-?\s*end\1\s*-?%}", re.DOTALL)
_WORD = re.compile(r"\w+")
# What dbt calls without anybody's naming it: how a relation is written, and which schema it gets.
_CALLED_BY_DBT = ("table", "view", "incremental", "generate_schema_name")


def project_fingerprint(settings: Settings) -> str:
    """A hash of all SQL and of the settings that the marts depend on: a change means that they are made anew."""
    project = settings.dbt_project_dir
    files = [path for name in ("models", "macros", "seeds") for path in sorted((project / name).rglob("*"))]
    texts = {
        path.relative_to(project).as_posix(): path.read_text(encoding="utf-8")
        for path in files
        if path.suffix in {".sql", ".csv"}
    }
    return _hash(settings, texts, [list_version(), json.dumps(_project_vars(settings), sort_keys=True)])


def staging_fingerprint(settings: Settings) -> str:
    """The same for the staging models, what they name, what that names, and the settings that any of it names."""
    texts = staging_texts(settings.dbt_project_dir)
    words = {word for text in texts.values() for word in _WORD.findall(text)}
    used = {name: value for name, value in _project_vars(settings).items() if name in words}
    return _hash(settings, texts, [json.dumps(used, sort_keys=True)])


def staging_texts(project: Path) -> dict[str, str]:
    """What staging is made from, by name: its models, and each macro, model or seed that a text among these names.

    A name counts wherever it stands, in a comment too: rather one text too many than a table that is stale.
    """
    known: dict[str, str] = {}
    for path in sorted((project / "macros").rglob("*.sql")):
        for block in _BLOCK.finditer(path.read_text(encoding="utf-8")):
            known[f"macro {block[2]}"] = known.get(f"macro {block[2]}", "") + block[0]
    for path in [*sorted((project / "models").rglob("*.sql")), *sorted((project / "seeds").rglob("*.csv"))]:
        known[f"model {path.stem}"] = path.read_text(encoding="utf-8")
    by_word: dict[str, list[str]] = {}
    for name in known:
        word = name.split(" ")[1]
        # `default__name` is what a call of `name` comes to on one engine or another
        by_word.setdefault(word.rpartition("__")[2] if name.startswith("macro") else word, []).append(name)
        by_word.setdefault(word, []).append(name)
    found: dict[str, str] = {}
    waiting = [f"model {stem}" for stem in staging_models(project)]
    waiting += [name for word in _CALLED_BY_DBT for name in by_word.get(word, [])]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = known[name]
            waiting.extend(other for word in set(_WORD.findall(known[name])) for other in by_word.get(word, []))
    return found


def staging_models(project: Path) -> list[str]:
    """The names of the staging models."""
    return sorted(path.stem for path in (project / "models" / STAGING).rglob("*.sql"))


def dbt_vars(settings: Settings) -> dict[str, Any]:
    """The dbt vars that settings decide."""
    return _project_vars(settings) | {"custom": custom_vars(load_ga4_config(settings))}


def _project_vars(settings: Settings) -> dict[str, Any]:
    """Those among them on which any table may hang."""
    return {
        "property_timezone": settings.property_timezone,
        "attribution_lookback_days": settings.attribution_lookback_days,
        "complete_after_hours": settings.complete_after_hours,
        "longest_session_gap_minutes": settings.longest_session_gap_minutes,
        "count_in_app_purchases": settings.count_in_app_purchases,
        "release_parameter": settings.release_parameter,
        "excluded_hostnames": [name.strip() for name in settings.excluded_hostnames.split(",") if name.strip()],
    }


def _hash(settings: Settings, texts: dict[str, str], others: Iterable[str]) -> str:
    # event ids are DuckDB's hashes: those of another version must not stand beside them
    flat = json.dumps({column.name: column.version for column in staged_flat_columns(settings)}, sort_keys=True)
    parts = [
        duckdb.__version__,
        flat,
        (settings.dbt_project_dir / "dbt_project.yml").read_text(encoding="utf-8"),
        *others,
    ]
    parts += [part for item in sorted(texts.items()) for part in item]
    # each with its length, so that no two lists of parts read the same
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()
