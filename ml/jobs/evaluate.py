"""Train and judge on a table of one's own, in the same way as the product's models; nothing becomes champion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.core.calibration import TrailingWindow
from ml.core.card import ModelCard, write_card
from ml.core.errors import TrainingDataError
from ml.core.evaluation import MAX_GROUPS, judge
from ml.core.leaks import check_leaks
from ml.core.metrics import N_RESAMPLES
from ml.core.propensity import NotTrained, TrainingSet, train_propensity
from ml.core.record import DataRecord, PropensityRecord
from ml.core.split import TimeSplit, split_periods
from ml.io.tables import Table, TableError, read_table
from ml.jobs.propensity import WINDOW_DAYS, make_card, make_record
from ml.jobs.report import SEED

MANY_PERIODS = 20  # with fewer, blocks of rows stand for the steps in which scores are made
BLOCK_ROWS = 100
WINDOW_BLOCKS = 5
MAX_GROUPINGS = 3


@dataclass(frozen=True)
class TableOptions:
    """What `python -m ml evaluate` was asked; see its help."""

    label: str
    time: str
    features: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    categorical: Sequence[str] = ()
    user: str | None = None
    order: Sequence[str] | None = None
    test_from: str | None = None
    budget: float = 60.0
    out: Path | None = None


@dataclass(frozen=True)
class TableReport:
    """What came out; `why_not` says why no model was made, the rest is empty then."""

    notes: list[str]
    why_not: str | None = None
    estimator: str | None = None
    why: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    metrics_uncorrected: dict[str, Any] = field(default_factory=dict)
    baselines: dict[str, Any] = field(default_factory=dict)
    record: PropensityRecord | None = None
    card: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        values = {**vars(self), "manifest": {} if self.record is None else self.record.to_dict()}
        del values["record"]
        return values


def evaluate_table(path: Path, options: TableOptions) -> TableReport:
    """Choose, calibrate and judge a model on a CSV or Parquet file; with `out`, write model card and evaluation there.

    The last fifth of the periods, or those from `test_from` on, serve the judging alone. Scores of the held-out rows
    are corrected in turn: by the 28 periods before where there are 20 or more, else in blocks of 100 rows by the 500
    rows before, in order of period and then of the file. Raises `TableError`.
    """
    table = read_table(
        path,
        label=options.label,
        time=options.time,
        features=options.features,
        exclude=options.exclude,
        categorical=options.categorical,
        user=options.user,
        order=options.order,
    )
    split = _split(path, table, options)
    data = _make_training_set(table)
    leaks = check_leaks(data.features, data.labels, data.users, table.contract, seed=SEED)
    notes = [*table.notes, *(f"possible leak: {finding.message}" for finding in leaks)]
    trained = train_propensity(data, table.contract, budget_seconds=options.budget, split=split, seed=SEED)
    if isinstance(trained, NotTrained):
        return TableReport(notes, why_not=trained.why)
    judgement = judge(data, trained.model, table.contract, split, seed=SEED)
    step = f"{WINDOW_DAYS} periods" if len(table.period_names) >= MANY_PERIODS else f"{WINDOW_BLOCKS * BLOCK_ROWS} rows"
    record = make_record(
        table.contract,
        DataRecord(
            relation=path.name,
            rows=len(data.labels),
            first_date=table.period_names[0],
            last_date=table.period_names[-1],
            label=options.label,
            positives=int(data.labels.sum()),
            users=len(np.unique(data.users)),
        ),
        data,
        trained,
        judgement,
        leaks,
        name_period=lambda period: table.period_names[period],
        note=f"held-out rows, the base rate corrected in turn from the {step} before; 95 % intervals from "
        f"{N_RESAMPLES} bootstrap resamples of {'rows' if options.user is None else options.user}",
    )
    report = TableReport(
        notes=notes,
        estimator=trained.candidate.family,
        why=trained.why,
        metrics=record.metrics,
        metrics_uncorrected=record.metrics_uncorrected,
        baselines=record.baselines,
        record=record,
        card=None if options.out is None else str(options.out / "model_card.html"),
    )
    if options.out is not None:
        _write_files(options.out, make_card(path.name, data, trained, judgement, record), report)
    return report


def _write_files(folder: Path, card: ModelCard, report: TableReport) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_card.html").write_text(write_card(card), encoding="utf-8")
    text = json.dumps(report.to_dict(), indent=1, ensure_ascii=False, default=str)
    (folder / "evaluation.json").write_text(text, encoding="utf-8")


def _split(path: Path, table: Table, options: TableOptions) -> TimeSplit:
    test_from = None
    if options.test_from is not None:
        if options.test_from not in table.period_names:
            raise TableError(
                f"{path}, column {options.time}: no row of {options.test_from} (--test-from); there are "
                f"{', '.join(table.period_names[:12])}{' …' if len(table.period_names) > 12 else ''}"
            )
        test_from = table.period_names.index(options.test_from)
    try:
        return split_periods(table.periods, test_from=test_from)
    except TrainingDataError as error:
        raise TableError(f"{path}, column {options.time}: {error}") from error


def _make_training_set(table: Table) -> TrainingSet:
    by_period = len(table.period_names) >= MANY_PERIODS
    return TrainingSet(
        features=table.frame,
        labels=table.labels,
        periods=table.periods,
        users=table.users,
        blocks=table.periods if by_period else np.arange(len(table.labels)) // BLOCK_ROWS,
        window=TrailingWindow(WINDOW_DAYS if by_period else WINDOW_BLOCKS),
        groups=_list_groups(table),
    )


def _list_groups(table: Table) -> dict[str, npt.NDArray[np.object_]]:
    """The first three columns of a few texts or of yes and no, to report by."""
    groups: dict[str, npt.NDArray[np.object_]] = {}
    for feature in table.contract.features:
        column = table.frame[feature.name]
        if feature.kind == "numeric" or column.nunique() > MAX_GROUPS or len(groups) == MAX_GROUPINGS:
            continue
        if feature.kind == "flag":
            column = pd.Series(np.where(column.to_numpy() > 0, "yes", "no"))
        groups[feature.name] = column.astype(object).fillna("(unknown)").to_numpy(dtype=object)
    return groups
