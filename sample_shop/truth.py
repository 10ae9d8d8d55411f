"""The true purchase probability of each session after its first k events, by Bayes over the intents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sample_shop.behaviour import (
    AFFINITY_SCORE,
    AFFINITY_SHARE,
    LEVELS,
    Behaviour,
    Step,
    log_intent_prior,
    log_sum_exp,
)
from sample_shop.journeys import Paths

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DECISION_EVENTS = (1, 2, 3, 5, 8)
FULL = "full"


@dataclass(frozen=True)
class Truth:
    """One entry per session and decision point."""

    session: Ints
    decision_point: NDArray[np.str_]
    probability: Floats
    purchased: Bools  # a purchase after the decision point
    is_at_risk: Bools  # no cart, checkout or purchase event so far


def weigh_intents(score: Floats, client: Ints, end_log_likelihood: Floats) -> Floats:
    """log P(z | the session's context and the client's earlier sessions), shape (N, Z).

    `score` is the observable part of the intent score; sessions come in order of client and start. A client is casual
    or keen for good: P(keen | earlier sessions) follows from their likelihoods, and mixes the two priors.
    """
    given_affinity = log_intent_prior(score[:, None] + AFFINITY_SCORE)  # (N, affinities, Z)
    session_log_likelihood = log_sum_exp(given_affinity + end_log_likelihood[:, None, :])  # (N, affinities)
    log_odds = session_log_likelihood[:, 1] - session_log_likelihood[:, 0]
    running = np.cumsum(log_odds) - log_odds  # of all sessions before this one …
    is_first = np.diff(client, prepend=-1) != 0
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(client)), 0))
    log_odds_before = running - running[first]  # … of this client
    log_odds_before = log_odds_before + np.log(AFFINITY_SHARE[1] / AFFINITY_SHARE[0])
    log_affinity = np.stack([-np.logaddexp(0, log_odds_before), -np.logaddexp(0, -log_odds_before)], axis=1)
    return log_sum_exp((log_affinity[:, :, None] + given_affinity).transpose(0, 2, 1))


def compute_truth(
    behaviour: Behaviour, paths: Paths, events_in_step: Ints, variant: Ints, log_prior: Floats, extra_events: Ints
) -> Truth:
    """The truth of every session at every decision point it reaches.

    `events_in_step` (M,) counts each step's events without session_start and first_visit; `extra_events` (N,) are
    events fired after the chain's end, which only follow a purchase. The k-th event may be inside a step's batch: its
    first event already tells the step, so what is known is the path up to and including that step.
    """
    sessions = len(variant)
    state = paths.step * LEVELS + paths.level
    log_posterior = log_prior[paths.session] + paths.log_likelihood
    posterior = np.exp(log_posterior - log_sum_exp(log_posterior)[:, None])
    ahead = (posterior * behaviour.purchase_ahead[variant[paths.session], state]).sum(axis=1)

    first_row = np.searchsorted(paths.session, np.arange(sessions))
    last_row = np.append(first_row[1:], len(paths.session)) - 1
    total_before = np.cumsum(events_in_step) - events_in_step
    events_before = total_before - total_before[first_row][paths.session]  # in the session, before the step
    session_events = (events_before + events_in_step)[last_row]
    # Row of the first cart step and of the purchase; beyond the end where there is none.
    never = len(paths.session)
    cart_row = _first_row_of(paths, Step.ADD, sessions, never)
    purchase_row = _first_row_of(paths, Step.PURCHASE, sessions, never)
    # In the whole table the events' count rises: one search finds the step that holds a session's k-th event.
    session_offset = total_before[first_row]

    columns: list[tuple[NDArray, ...]] = []
    for k in DECISION_EVENTS:
        reached = np.flatnonzero(session_events + extra_events >= k)
        row = np.searchsorted(total_before, session_offset[reached] + k - 1, side="right") - 1
        row = np.minimum(row, last_row[reached])
        after_purchase = row >= purchase_row[reached]
        columns.append(
            (
                reached,
                np.full(len(reached), f"events_{k}"),
                np.where(after_purchase, 0.0, ahead[row]),
                (purchase_row[reached] < never) & ~after_purchase,
                row < np.minimum(cart_row[reached], purchase_row[reached]),
            )
        )
    # Full: the session is seen up to its purchase or its end, and it is known that one of the two comes next.
    row = np.where(purchase_row < never, purchase_row - 1, last_row)
    buy = (posterior[row] * behaviour.buy_next[variant, state[row]]).sum(axis=1)
    leave = (posterior[row] * behaviour.leave_next[variant, state[row]]).sum(axis=1)
    columns.append(
        (
            np.arange(sessions),
            np.full(sessions, FULL),
            buy / (buy + leave),
            purchase_row < never,
            row < cart_row,
        )
    )
    return Truth(*(np.concatenate(part) for part in zip(*columns, strict=True)))


def _first_row_of(paths: Paths, step: Step, sessions: int, never: int) -> Ints:
    rows = np.flatnonzero(paths.step == step)[::-1]  # backwards, so that the earliest is written last
    first = np.full(sessions, never)
    first[paths.session[rows]] = rows
    return first
