"""How far a day's figures still move after its first delivery, learnt from the shop's own past.

GA4 rewrites a day's table for up to three days. A first version is tested as soon as it is there, within a band that is
as much wider as such versions have moved since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from alerts.detection.panel import say_measures
from alerts.detection.scales import Floats, Scale, scale_of
from alerts.rules.book import Rule

# What is believed before a shop has a past: Google says that its fresh table differs from the final one by under 2 %.
# It counts like so many days of one's own.
PRIOR_DEVIATION = 0.02
PRIOR_DAYS = 5
# A first version may be half a day by an accident of the transfer: it counts as this, on the scale of the rule.
LARGEST_MOVE = 0.5
# "Up to" leaves out the largest tenth of the moves.
USUAL_SHARE = 0.9

Measures = Mapping[str, float | None]  # column of marts.agg_kpis_daily → value


@dataclass(frozen=True)
class Revision:
    """How the figures of one rule move, final minus first: `shift` and `variance` on the scale's link.

    `usual_move` is how far nine of ten days have moved, in the rule's unit; None before there was one of the `days`.
    """

    shift: float = 0.0
    variance: float = PRIOR_DEVIATION**2
    usual_move: float | None = None
    days: int = 0


# Before there is a past.
UNKNOWN = Revision()


def learn_revision(rule: Rule, moved: Sequence[tuple[Measures, Measures]]) -> Revision:
    """What the whole shop's KPI of a rule has moved by; `moved` are a day's first and its final figures, a day each."""
    scale = scale_of(rule)
    if not moved:
        return UNKNOWN
    first, final = (_measure(rule, [pair[place] for pair in moved]) for place in (0, 1))
    known = np.isfinite(first).all(axis=0) & np.isfinite(final).all(axis=0) & (first[1] > 0) & (final[1] > 0)
    if not known.any():
        return UNKNOWN
    before, after = (_clip(scale, values[:, known]) for values in (first, final))
    moves = np.clip(scale.start(*after) - scale.start(*before), -LARGEST_MOVE, LARGEST_MOVE)
    weight = PRIOR_DAYS + len(moves)
    shift = float(moves.sum()) / weight
    variance = (PRIOR_DAYS * PRIOR_DEVIATION**2 + float(np.square(moves - shift).sum())) / weight
    shown = [
        abs(scale.show(float(new)) - scale.show(float(old)))
        for old, new in zip(scale.value(*before), scale.value(*after), strict=True)
    ]
    return Revision(shift, variance, float(np.quantile(shown, USUAL_SHARE, method="higher")), len(moves))


def _clip(scale: Scale, values: Floats) -> tuple[Floats, Floats]:
    return scale.clip(values[0], values[1]), values[1]


def _measure(rule: Rule, rows: Sequence[Measures]) -> Floats:
    """y and n of a rule, (2, rows), from figures of days; NaN where a column is missing."""
    columns = sorted({name for row in rows for name in row})
    lists = {f"c{place}": [row.get(name) for row in rows] for place, name in enumerate(columns)}
    selected = ", ".join(
        f'cast(unnest(cast($c{place} as double[])) as double) as "{name}"' for place, name in enumerate(columns)
    )
    with duckdb.connect() as memory:
        try:
            found = memory.execute(f"select y, n from (select {say_measures(rule)} from (select {selected}))", lists)
        except duckdb.BinderException:  # figures of an older version, without a column that the rule reads
            return np.full((2, len(rows)), np.nan)
        return np.array([[np.nan if value is None else value for value in row] for row in found.fetchall()]).T
