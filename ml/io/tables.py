"""Any CSV or Parquet table as rows to train and judge on; every problem is told with file and column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from foundation.errors import FunnelhouseError
from ml.core.contract import Feature, FeatureContract
from ml.core.metrics import Flags
from ml.core.split import Periods

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
TRUE_WORDS, FALSE_WORDS = ("true", "1", "yes", "y", "t"), ("false", "0", "no", "n", "f")
MAX_LEVELS = 200  # a text column with more is an id, an address or free text
ID_SHARE = 0.5  # … and so is one whose values are different in this share of the rows
CSV_ENDINGS, PARQUET_ENDINGS = (".csv", ".tsv", ".txt", ".csv.gz"), (".parquet", ".pq")


class TableError(FunnelhouseError):
    """The table can't be used as asked; the message names the file and the column, and says what to do."""


@dataclass(frozen=True)
class Table:
    """A table in time order: what a model reads, what it predicts, when each row was and whose it is."""

    frame: pd.DataFrame  # features only: float64 and categories
    contract: FeatureContract
    labels: Flags
    periods: Periods  # positions in `period_names`
    period_names: list[str]
    users: np.ndarray
    notes: list[str]


def read_table(
    path: Path,
    *,
    label: str,
    time: str,
    features: Sequence[str] | None,
    exclude: Sequence[str],
    categorical: Sequence[str],
    user: str | None,
    order: Sequence[str] | None,
) -> Table:
    """Read and check a CSV or Parquet file; rows come in order of time, those of one period as in the file.

    Without `features` every column is one but for the others named here and what looks like an id. Raises `TableError`.
    """
    raw = _read_file(path)
    named = [label, time, *(features or []), *exclude, *categorical, *([user] if user else [])]
    missing = sorted(set(named) - set(raw.columns))
    if missing:
        raise TableError(
            f"{path} has no column {', '.join(missing)}; its columns are: {', '.join(map(str, raw.columns))}"
        )
    labels = _read_label(path, raw[label])
    periods, names = _read_periods(path, raw[time], order)
    rows = np.argsort(periods, kind="stable")
    raw, labels, periods = raw.iloc[rows].reset_index(drop=True), labels[rows], periods[rows]
    wanted = (
        list(features) if features is not None else [name for name in raw.columns if name not in (label, time, user)]
    )
    if label in wanted:
        raise TableError(f"{path}: the label {label} can't be a feature too; leave it out of --features")
    frame, contract, notes = _read_features(
        path, raw[[name for name in wanted if name not in exclude]], set(categorical), keep_all=features is not None
    )
    users = np.arange(len(raw)) if user is None else pd.factorize(raw[user], use_na_sentinel=False)[0]
    return Table(frame, contract, labels, periods, names, users.astype(np.int64), notes)


def _read_file(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise TableError(f"{path} is not a file")
    name = path.name.lower()
    if not name.endswith(CSV_ENDINGS + PARQUET_ENDINGS):
        raise TableError(f"{path}: give a file that ends in {', '.join(CSV_ENDINGS + PARQUET_ENDINGS)}")
    reader = "read_parquet(?)" if name.endswith(PARQUET_ENDINGS) else "read_csv(?, sample_size = -1)"
    with duckdb.connect() as connection:
        try:
            # The order of rows inside a period is the file's: the base-rate correction goes through them in turn.
            connection.execute("set preserve_insertion_order = true")
            frame = connection.execute(f"from {reader}", [str(path)]).df()
        except duckdb.Error as error:
            raise TableError(f"{path} can't be read: {error}") from error
    if not len(frame):
        raise TableError(f"{path} has no rows")
    return frame


def _read_label(path: Path, column: pd.Series) -> Flags:
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0]) + 1
        raise TableError(
            f"{path}, column {column.name}: {int(column.isna().sum())} rows have no label, the first is row {row}"
        )
    words = column.astype(str).str.strip().str.lower().str.removesuffix(".0")
    unknown = sorted(set(words) - set(TRUE_WORDS) - set(FALSE_WORDS))
    if unknown:
        raise TableError(
            f"{path}, column {column.name}: a label is true or false, 1 or 0, yes or no; found {', '.join(unknown[:3])}"
        )
    labels: Flags = words.isin(TRUE_WORDS).to_numpy(dtype=bool)
    if labels.all() or not labels.any():
        raise TableError(
            f"{path}, column {column.name}: every row is {str(bool(labels[0])).lower()}; there is nothing to "
            "distinguish"
        )
    return labels


def _read_periods(path: Path, column: pd.Series, order: Sequence[str] | None) -> tuple[Periods, list[str]]:
    where = f"{path}, column {column.name}"
    if column.isna().any():
        raise TableError(f"{where}: {int(column.isna().sum())} rows have no time; fill it in or leave these rows out")
    if order is not None:
        words = column.astype(str).str.strip()
        unknown = sorted(set(words) - set(order))
        if unknown:
            raise TableError(f"{where}: {', '.join(unknown[:5])} missing in --order {','.join(order)}")
        names = [name for name in order if name in set(words)]
        positions = words.map({name: position for position, name in enumerate(names)})
        return np.asarray(positions, dtype=np.int64), names
    if pd.api.types.is_datetime64_any_dtype(column):
        values = column.dt.strftime("%Y-%m-%d")
    elif pd.api.types.is_numeric_dtype(column):
        values = column
    else:
        words = column.astype(str).str.strip()
        months = words.str.lower().str.slice(0, 3)
        if months.isin(MONTHS).all() and words.str.fullmatch(r"[A-Za-z]{3,9}\.?").all():
            numbers = months.map({name: number for number, name in enumerate(MONTHS)})
            return _number(numbers, words)
        parsed = pd.to_datetime(words, errors="coerce", format="ISO8601")
        if parsed.isna().any():
            example = words[parsed.isna()].iloc[0]
            raise TableError(
                f"{where}: {example!r} can't be put in order of time; use dates such as 2026-03-31, numbers or names "
                "of months, or give the periods from old to new with --order"
            )
        values = parsed.dt.strftime("%Y-%m-%d")
    return _number(values, values.astype(str))


def _number(values: pd.Series, names: pd.Series) -> tuple[Periods, list[str]]:
    distinct, codes = np.unique(values.to_numpy(), return_inverse=True)
    first = pd.Series(names.to_numpy()).groupby(codes).first()
    return codes.astype(np.int64), [str(first[position]) for position in range(len(distinct))]


def _read_features(
    path: Path, raw: pd.DataFrame, categorical: set[str], *, keep_all: bool
) -> tuple[pd.DataFrame, FeatureContract, list[str]]:
    columns: dict[str, pd.Series] = {}
    features: list[Feature] = []
    notes: list[str] = []
    for name in map(str, raw.columns):
        column = raw[name]
        if column.nunique() <= 1:
            notes.append(f"left out {name}: it has only one value")
            continue
        if pd.api.types.is_bool_dtype(column.dropna().infer_objects()):
            columns[name] = column.astype("float64")
            features.append(Feature(name, "BOOLEAN", "flag", None, False))
        elif pd.api.types.is_datetime64_any_dtype(column):
            notes.append(f"left out {name}: a point in time can't be a feature; give the time since something instead")
        elif pd.api.types.is_numeric_dtype(column) and name not in categorical:
            numbers = column.astype("float64")
            if np.isinf(numbers).any():
                raise TableError(f"{path}, column {name}: infinite values; replace them or leave the column out")
            columns[name] = numbers
            features.append(Feature(name, "DOUBLE", "numeric", None, False))
            if numbers.nunique() == len(numbers) and (numbers % 1 == 0).all():
                if keep_all:
                    notes.append(f"{name} is different in every row: it looks like an id")
                else:
                    notes.append(f"left out {name}: different in every row, it looks like an id (--features keeps it)")
                    del columns[name]
                    features.pop()
        else:
            text = column.astype("string").str.strip()
            n_levels = int(text.nunique())
            if n_levels > MAX_LEVELS or n_levels > ID_SHARE * len(text):
                if keep_all:
                    raise TableError(
                        f"{path}, column {name}: {n_levels:,} different texts: an id or free text, not a feature"
                    )
                notes.append(f"left out {name}: {n_levels:,} different texts, it looks like an id or free text")
                continue
            columns[name] = text.astype(object).where(text.notna(), None).astype("category")
            features.append(Feature(name, "VARCHAR", "categorical", None, False))
    if not features:
        raise TableError(f"{path}: no column is left to learn from ({'; '.join(notes)})")
    frame = pd.DataFrame(columns)
    return frame, FeatureContract(path.name, "1", tuple(features)), notes
