"""True purchase probabilities from a file beside the data, for the report alone."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from ml.core.errors import TrainingDataError
from ml.core.metrics import Floats

COLUMNS = ("session_id", "decision_point", "true_probability")
WHOLE_SESSION = "full"  # the decision point of whole sessions in the file


def read_truth(path: Path, session_ids: pd.Series, points: pd.Series | None) -> Floats:
    """The true probability (n,) of each session at its decision point (`full` without `points`), NaN where unknown.

    The file is Parquet with the columns session_id, decision_point, true_probability. Raises `TrainingDataError`
    naming the file where it is missing or lacks a column.
    """
    if not path.exists():
        raise TrainingDataError(f"{path} does not exist: give the Parquet file of true probabilities, or omit --truth")
    with duckdb.connect() as connection:
        try:
            truth = connection.execute(f"select {', '.join(COLUMNS)} from read_parquet(?)", [str(path)]).df()
        except duckdb.Error as error:
            raise TrainingDataError(f"{path} must be Parquet with the columns {', '.join(COLUMNS)}: {error}") from error
    wanted = points if points is not None else pd.Series(WHOLE_SESSION, index=session_ids.index)
    keys = pd.MultiIndex.from_frame(truth[["session_id", "decision_point"]].astype(str))
    at = keys.get_indexer(pd.MultiIndex.from_arrays([session_ids.astype(str), wanted.astype(str)]))
    values = truth["true_probability"].to_numpy(dtype=np.float64)
    return np.where(at >= 0, values[at], np.nan)
