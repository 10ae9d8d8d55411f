"""Walk the chain for many sessions at once, keeping each step's likelihood under every intent for the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sample_shop.behaviour import (
    DAY_KINDS,
    EXIT,
    LANDING_KINDS,
    LEVELS,
    Behaviour,
    next_level,
)
from sample_shop.options import MICROSECONDS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
LANDING_NUMBER = {kind: number for number, kind in enumerate(LANDING_KINDS)}
_SHORTEST_GAP = 1_000  # microseconds; batches of a session never share a timestamp


@dataclass(frozen=True)
class Paths:
    """The steps of all sessions, one entry each, in order of session and time; N sessions, M steps."""

    session: Ints  # (M,) 0 … N - 1
    order: Ints  # (M,) 0, 1, … within the session
    step: Ints  # (M,)
    level: Ints  # (M,) after the step
    gap: Ints  # (M,) microseconds since the step before; 0 for the first
    log_likelihood: Floats  # (M, Z) log P(path and gaps up to here | z)
    end_log_likelihood: Floats  # (N, Z) of the whole session and of its having ended


def walk(rng: np.random.Generator, behaviour: Behaviour, variant: Ints, landing: Ints, intent: Ints) -> Paths:
    """Walk until all have left. `variant`, `landing` (row of LANDING_KINDS) and `intent` have one entry a session."""
    count = len(variant)
    end = np.zeros((count, behaviour.log_landing.shape[-1]))
    alive = np.arange(count)
    cumulative = behaviour.landing_cumulative[landing, intent]
    step = _pick(rng, cumulative)
    level = next_level(step, np.zeros(count, dtype=np.int64))
    log_likelihood = behaviour.log_landing[landing, step]
    gap = np.zeros(count, dtype=np.int64)
    rounds: list[tuple[NDArray, ...]] = []
    while len(alive):
        rounds.append((alive, np.full(len(alive), len(rounds)), step, level, gap, log_likelihood))
        state = step * LEVELS + level
        following = _pick(rng, behaviour.cumulative[variant[alive], intent[alive], state])
        log_likelihood = log_likelihood + behaviour.log_transition[variant[alive], state, following]
        leaves = following == EXIT
        end[alive[leaves]] = log_likelihood[leaves]
        stays = ~leaves
        alive, before, step = alive[stays], step[stays], following[stays]
        level = next_level(step, level[stays])
        day_kind = variant[alive] % DAY_KINDS
        gap, gap_log_density = _draw_gaps(rng, behaviour, day_kind, before, step, intent[alive])
        log_likelihood = log_likelihood[stays] + gap_log_density
    session, order, step, level, gap, log_likelihood = (np.concatenate(part) for part in zip(*rounds, strict=True))
    by_session = np.argsort(session, kind="stable")  # the rounds come in order of time
    return Paths(
        session[by_session],
        order[by_session],
        step[by_session],
        level[by_session],
        gap[by_session],
        log_likelihood[by_session],
        end,
    )


def _pick(rng: np.random.Generator, cumulative: Floats) -> Ints:
    """One draw a row from rows of cumulative probabilities."""
    uniform = rng.random(len(cumulative)) * cumulative[:, -1]
    return (uniform[:, None] >= cumulative).sum(axis=1)


def _draw_gaps(
    rng: np.random.Generator, behaviour: Behaviour, day_kind: Ints, before: Ints, after: Ints, intent: Ints
) -> tuple[Ints, Floats]:
    """Gaps in microseconds, and their log density (up to a constant that no intent changes) under every intent."""
    mu = behaviour.gap_mu[day_kind, before, after]  # (n, Z)
    log_mass = behaviour.gap_log_mass[day_kind, before, after]
    sigma = behaviour.gap_sigma[before, after]
    rows = np.arange(len(intent))
    # The inverse of the truncated distribution function.
    uniform = (1.0 - rng.random(len(intent))) * np.exp(log_mass[rows, intent])
    seconds = np.exp(mu[rows, intent] + sigma * ndtri(uniform))
    gap = np.maximum(np.round(seconds * MICROSECONDS).astype(np.int64), _SHORTEST_GAP)
    deviation = (np.log(gap / MICROSECONDS)[:, None] - mu) / sigma[:, None]
    return gap, -0.5 * deviation**2 - log_mass
