"""Feature rows from DuckDB as the frames that pipelines take: only the columns needed, one dtype per kind."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import pandas as pd

from ml.core.contract import FeatureContract
from ml.core.errors import TrainingDataError


def read_frame(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    contract: FeatureContract,
    *,
    columns: Sequence[str] = (),
    order_by: Sequence[str] = ("session_id",),
) -> pd.DataFrame:
    """Read features (contract order), then `columns`, from `source` (a table, or a query in parentheses), ordered.

    Numeric columns and flags come as float64 (null = NaN), categorical features as pandas categories of str.
    Raises `TrainingDataError` naming each feature that holds an infinite value.
    """
    selected = [
        f"cast({name} as varchar) as {name}" if kind == "categorical" else f"cast({name} as double) as {name}"
        for name, kind in ((feature.name, feature.kind) for feature in contract.features)
    ]
    # DuckDB keeps no order of its own, and a fit must not depend on the order of its rows.
    query = f"select {', '.join([*selected, *columns])} from {source} order by {', '.join(order_by)}"
    frame = connection.execute(query).df()
    for name in contract.names_of_kind("categorical"):
        frame[name] = frame[name].astype("category")
    infinite = [name for name in contract.names_of_kind("numeric") if np.isinf(frame[name].to_numpy()).any()]
    if infinite:
        raise TrainingDataError(
            f"{contract.name}: infinite values in column {', '.join(infinite)}; correct the model's SQL"
        )
    return frame


def split_columns(frame: pd.DataFrame, contract: FeatureContract) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The features of a frame read by `read_frame`, and its other columns."""
    return frame[contract.feature_names], frame.drop(columns=contract.feature_names)
