"""How a visitor with a given intent behaves: a Markov chain over page and action steps, and its exact probabilities.

A session has a latent intent z, one of five. Given z, the device and the day's incident, its steps form a Markov chain
whose state is (step, level), the level being what the future depends on: whether a product was seen and how much is in
the cart. Each step fires a fixed batch of events whose first one reveals it, so that after any number of events the
observer knows the chain's path exactly, wherever in a batch the count ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

INTENTS = ("passer_by", "browser", "comparer", "considerer", "buyer")
Z = len(INTENTS)


class Step(IntEnum):
    """A page view with its events, or an action on the page shown."""

    HOME = 0
    LIST = 1
    SEARCH = 2
    PRODUCT = 3  # a product not seen before in the session
    AGAIN = 4  # one seen before
    CONTENT = 5
    CART = 6
    CHECKOUT = 7
    PURCHASE = 8
    ORDERS = 9  # after the purchase only
    HOME_AFTER = 10
    SELECT_PROMOTION = 11
    SELECT_ITEM = 12
    SCROLL_HOME = 13
    SCROLL_LIST = 14
    SCROLL_SEARCH = 15
    SCROLL_PRODUCT = 16
    SCROLL_CONTENT = 17
    WISH = 18
    ADD = 19
    REMOVE = 20
    SHIPPING = 21
    PAYMENT = 22
    CLICK = 23
    LEAVE_BROWSING = 24  # user_engagement: the page loses the focus
    LEAVE_PRODUCT = 25
    LEAVE_CART = 26
    LEAVE_AFTER = 27


S = len(Step)
EXIT = S  # one more column in every transition table
LEVELS = 5  # 0: no product seen, 1: seen, 2-4: one to three lines in the cart
CART_LEVEL = 2
FULL_CART = LEVELS - 1
STATES = S * LEVELS

PAGE_STEPS = np.zeros(S, dtype=bool)
PAGE_STEPS[: Step.SELECT_PROMOTION] = True

# Which day it is for the chain.
NORMAL_DAY, BROKEN_CHECKOUT_DAY, SLOW_DAY = range(3)
DAY_KINDS = 3
DEVICES = 3  # mobile, desktop, tablet
VARIANTS = DEVICES * DAY_KINDS

_H, _L, _Q, _P, _A, _C = Step.HOME, Step.LIST, Step.SEARCH, Step.PRODUCT, Step.AGAIN, Step.CONTENT
_LB, _LP, _LC = Step.LEAVE_BROWSING, Step.LEAVE_PRODUCT, Step.LEAVE_CART

# Weights of the next step before intent, device and day bend them. A target that the level forbids has weight 0.
_ON_PRODUCT: dict[int, float] = {
    Step.ADD: 17.6,
    Step.WISH: 3.5,
    _L: 13,
    Step.SELECT_ITEM: 12,
    _A: 3,
    _H: 2,
    _Q: 4,
    _LP: 12,
    Step.CART: 7,
}
_ON_CONTENT: dict[int, float] = {Step.CLICK: 6, _H: 12, _L: 16, _Q: 4, _LB: 12, EXIT: 22}
_ON_LIST: dict[int, float] = {Step.SELECT_ITEM: 40, _L: 12, _Q: 5, _H: 3, _LB: 8, Step.CART: 4, EXIT: 12}
_ON_SEARCH: dict[int, float] = {Step.SELECT_ITEM: 48, _Q: 10, _L: 8, _LB: 7, Step.CART: 4, EXIT: 13}
_ON_HOME: dict[int, float] = {Step.SELECT_PROMOTION: 11, _L: 34, _Q: 13, _C: 5, _LB: 8, Step.CART: 8, _A: 2, EXIT: 16}
_ON_CART: dict[int, float] = {Step.CHECKOUT: 40, _L: 10, _A: 6, _LC: 9, EXIT: 14}
BASE: dict[int, dict[int, float]] = {
    Step.HOME: {**_ON_HOME, Step.SCROLL_HOME: 18},
    Step.SCROLL_HOME: _ON_HOME,
    Step.SELECT_PROMOTION: {_L: 1},
    Step.LIST: {**_ON_LIST, Step.SCROLL_LIST: 24},
    Step.SCROLL_LIST: _ON_LIST,
    Step.SEARCH: {**_ON_SEARCH, Step.SCROLL_SEARCH: 15},
    Step.SCROLL_SEARCH: _ON_SEARCH,
    Step.SELECT_ITEM: {_P: 1},
    Step.PRODUCT: {**_ON_PRODUCT, Step.SCROLL_PRODUCT: 26, EXIT: 16},
    Step.AGAIN: {**_ON_PRODUCT, Step.ADD: 20, Step.SCROLL_PRODUCT: 10, EXIT: 12},
    Step.SCROLL_PRODUCT: {**_ON_PRODUCT, EXIT: 14},
    Step.WISH: {**_ON_PRODUCT, Step.ADD: 6, Step.WISH: 0, EXIT: 14},
    Step.CONTENT: {**_ON_CONTENT, Step.SCROLL_CONTENT: 26},
    Step.SCROLL_CONTENT: _ON_CONTENT,
    Step.CLICK: {_LB: 20, _L: 8, _H: 8, EXIT: 50},
    Step.ADD: {Step.CART: 46, Step.CHECKOUT: 10, Step.SELECT_ITEM: 10, _L: 14, _LP: 7, EXIT: 11},
    Step.CART: {**_ON_CART, Step.REMOVE: 7},
    Step.REMOVE: {**_ON_CART, Step.CHECKOUT: 22, EXIT: 22},
    Step.CHECKOUT: {Step.SHIPPING: 64, Step.CART: 5, _LC: 6, EXIT: 20},
    Step.SHIPPING: {Step.PAYMENT: 76, Step.CART: 4, _LC: 5, EXIT: 12},
    Step.PAYMENT: {Step.PURCHASE: 80, Step.PAYMENT: 4, Step.CART: 3, _LC: 3, EXIT: 10},
    Step.PURCHASE: {Step.LEAVE_AFTER: 24, Step.ORDERS: 10, Step.HOME_AFTER: 6, EXIT: 60},
    Step.ORDERS: {Step.LEAVE_AFTER: 30, Step.HOME_AFTER: 10, EXIT: 60},
    Step.HOME_AFTER: {Step.LEAVE_AFTER: 30, EXIT: 70},
    Step.LEAVE_AFTER: {Step.ORDERS: 10, EXIT: 90},
    _LB: {_L: 16, _Q: 6, _H: 6, EXIT: 50},
    _LP: {Step.ADD: 7, Step.SELECT_ITEM: 9, _L: 12, _Q: 4, Step.CART: 6, EXIT: 42},
    _LC: {Step.CHECKOUT: 26, Step.CART: 8, _L: 8, EXIT: 40},
}

# How intent bends the weight of a target, passer-by to buyer.
_FORWARD = (0.25, 0.45, 0.75, 1.15, 1.9)
INTENT_TILT: dict[int, tuple[float, ...]] = {
    EXIT: (2.7, 1.35, 0.9, 0.65, 0.48),
    Step.ADD: (0.07, 0.28, 0.7, 1.5, 3.0),
    Step.CHECKOUT: _FORWARD,
    Step.SHIPPING: _FORWARD,
    Step.PAYMENT: _FORWARD,
    Step.PURCHASE: _FORWARD,
    Step.CART: (0.5, 0.8, 1.0, 1.2, 1.5),
    Step.AGAIN: (0.2, 0.6, 1.2, 1.7, 1.5),
    Step.SELECT_ITEM: (0.5, 0.9, 1.2, 1.25, 1.15),
    Step.SEARCH: (0.4, 0.6, 1.0, 1.4, 1.5),
    Step.CONTENT: (1.4, 1.3, 1.0, 0.6, 0.4),
    Step.WISH: (0.2, 1.0, 1.7, 1.2, 0.7),
    Step.SELECT_PROMOTION: (0.8, 1.4, 1.0, 0.8, 0.6),
    Step.SCROLL_HOME: (0.5, 1.0, 1.2, 1.2, 1.0),
    Step.SCROLL_LIST: (0.45, 0.9, 1.2, 1.3, 1.15),
    Step.SCROLL_SEARCH: (0.45, 0.9, 1.2, 1.3, 1.15),
    Step.SCROLL_PRODUCT: (0.3, 0.8, 1.2, 1.5, 1.4),
    Step.SCROLL_CONTENT: (0.6, 1.2, 1.2, 1.0, 0.8),
    Step.REMOVE: (1.2, 1.2, 1.1, 0.9, 0.6),
}
# Phones pay with a thumb in this shop; desks are where people look around.
DEVICE_TILT: dict[int, tuple[float, ...]] = {
    Step.ADD: (1.15, 0.82, 0.9),
    Step.CHECKOUT: (1.25, 0.68, 0.75),
    Step.SHIPPING: (1.45, 0.54, 0.65),
    Step.PAYMENT: (1.45, 0.54, 0.65),
    Step.PURCHASE: (1.45, 0.54, 0.65),
    Step.SEARCH: (0.85, 1.25, 1.1),
    Step.SELECT_ITEM: (0.95, 1.1, 1.05),
}
SLOW_DAY_EXIT = 1.5
SLOW_DAY_PACE = -0.75  # of the log of the dwell time
FULLER_CART_ADD = 0.55

# First step by the kind of source.
LANDINGS: dict[str, dict[int, float]] = {
    "direct": {_H: 58, _L: 16, _P: 14, _C: 4, _Q: 8},
    "organic": {_H: 14, _L: 42, _P: 30, _C: 14},
    "home": {_H: 80, _L: 14, _P: 6},
    "product": {_P: 86, _L: 14},
    "social": {_L: 38, _P: 46, _H: 8, _C: 8},
    "email": {_L: 46, _P: 26, _H: 18, _C: 10},
    "content": {_C: 40, _H: 24, _L: 20, _P: 16},
}
LANDING_KINDS = tuple(LANDINGS)
_LANDING_TILT: dict[int, tuple[float, ...]] = {
    _H: (0.9, 1.0, 1.0, 1.0, 1.1),
    _L: (0.9, 1.0, 1.1, 1.05, 0.95),
    _P: (1.0, 0.95, 1.0, 1.1, 1.15),
    _C: (1.5, 1.3, 0.9, 0.6, 0.4),
    _Q: (0.4, 0.7, 1.0, 1.3, 1.6),
}

# Gaps between batches are log-normal, cut off below GAP_CAP so that no session ever has a gap of 30 minutes.
GAP_CAP_SECONDS = 1_200.0
_GAPS: dict[str, tuple[float, float, float]] = {  # median seconds, sigma, how strongly intent stretches it
    "read": (36.0, 0.95, 1.0),
    "scroll": (11.0, 0.75, 1.0),
    "act": (36.0, 0.8, 0.6),
    "form": (55.0, 0.6, 0.3),
    "load": (1.1, 0.4, 0.0),
}
_GAP_KINDS = tuple(_GAPS)
INTENT_PACE = np.array([-0.75, -0.2, 0.1, 0.3, 0.35])

# The intent's prior: an ordinal model over one score made of what is known when the session begins.
INTENT_BASE = np.array([0.85, 0.80, 0.35, -0.18, -0.90])
INTENT_SLOPE = np.array([-1.05, -0.35, 0.15, 0.7, 1.15])
DEVICE_SCORE = np.array([0.0, -0.12, -0.05])
RETURNING_SCORE = 0.45
HOUR_SCORE = np.array([-0.5, -0.1, 0.0, 0.2])  # night, morning, afternoon, evening
# A browser's user is casual or keen, for good; nobody sees which, but past sessions tell.
AFFINITY_SHARE = np.array([0.7, 0.3])
AFFINITY_SCORE = np.array([-0.35, 0.85])


def next_level(step: Ints, level: Ints) -> Ints:
    """The level after `step` is taken at `level`; same shapes."""
    seen = np.where((step == Step.PRODUCT) | (step == Step.AGAIN), np.maximum(level, 1), level)
    return seen + (step == Step.ADD) - (step == Step.REMOVE)


def variant_of(device: Ints, day_kind: Ints) -> Ints:
    """The index of the chain's variant for a device category and a kind of day."""
    return device * DAY_KINDS + day_kind


def log_intent_prior(score: Floats) -> Floats:
    """log P(z | score): shape (…, Z) for scores of shape (…)."""
    logits = INTENT_BASE + score[..., None] * INTENT_SLOPE
    return logits - log_sum_exp(logits)[..., None]


def log_sum_exp(values: Floats) -> Floats:
    """log(sum(exp(values))) over the last axis, without overflow."""
    highest = values.max(axis=-1)
    with np.errstate(divide="ignore"):
        return highest + np.log(np.exp(values - highest[..., None]).sum(axis=-1))


@dataclass(frozen=True)
class Behaviour:
    """The chain's tables. V = VARIANTS, Z intents, STATES states, S + 1 next steps (the last is leaving)."""

    cumulative: Floats  # (V, Z, STATES, S + 1) of the next step's probability
    log_transition: Floats  # (V, STATES, S + 1, Z)
    purchase_ahead: Floats  # (V, STATES, Z): P(a purchase later in the session | state, z)
    buy_next: Floats  # (V, STATES, Z)
    leave_next: Floats  # (V, STATES, Z)
    landing_cumulative: Floats  # (landing kinds, Z, S)
    log_landing: Floats  # (landing kinds, S, Z)
    gap_mu: Floats  # (DAY_KINDS, S, S + 1, Z) of log seconds
    gap_sigma: Floats  # (S, S + 1)
    gap_log_mass: Floats  # (DAY_KINDS, S, S + 1, Z): log of the log-normal's mass below the cap


@lru_cache(maxsize=1)
def load_behaviour() -> Behaviour:
    """Build the tables; raises ValueError if a state has nowhere to go."""
    probability = _transition_probabilities()
    landing = _landing_probabilities()
    gap_mu, gap_sigma = _gap_parameters()
    with np.errstate(divide="ignore"):
        log_transition = np.log(probability).transpose(0, 2, 3, 1)
        log_landing = np.log(landing).transpose(0, 2, 1)
    return Behaviour(
        cumulative=np.cumsum(probability, axis=-1),
        log_transition=np.ascontiguousarray(log_transition),
        purchase_ahead=_absorption(probability),
        buy_next=np.ascontiguousarray(probability[..., Step.PURCHASE].transpose(0, 2, 1)),
        leave_next=np.ascontiguousarray(probability[..., EXIT].transpose(0, 2, 1)),
        landing_cumulative=np.cumsum(landing, axis=-1),
        log_landing=np.ascontiguousarray(log_landing),
        gap_mu=gap_mu,
        gap_sigma=gap_sigma,
        gap_log_mass=np.log(ndtr((np.log(GAP_CAP_SECONDS) - gap_mu) / gap_sigma[None, :, :, None])),
    )


def _transition_probabilities() -> Floats:
    weights = np.zeros((VARIANTS, Z, S, LEVELS, S + 1))
    for step, targets in BASE.items():
        for target, weight in targets.items():
            weights[:, :, step, :, target] = weight
    for target, tilt in INTENT_TILT.items():
        weights[..., target] *= np.array(tilt)[None, :, None, None]
    device = np.arange(VARIANTS) // DAY_KINDS
    day_kind = np.arange(VARIANTS) % DAY_KINDS
    for target, tilt in DEVICE_TILT.items():
        weights[..., target] *= np.array(tilt)[device][:, None, None, None]
    # What the level forbids: an empty cart is neither shown, emptied nor checked out, a full one takes no more.
    for target in (Step.CART, Step.CHECKOUT, Step.REMOVE):
        weights[:, :, :, :CART_LEVEL, target] = 0.0
    weights[:, :, :, 0, Step.AGAIN] = 0.0
    weights[:, :, :, CART_LEVEL:, Step.ADD] *= FULLER_CART_ADD
    weights[:, :, :, FULL_CART, Step.ADD] = 0.0
    # Incidents: a slow site loses those with nothing in the cart; at a broken checkout nobody gets past the payment.
    slow = day_kind == SLOW_DAY
    weights[slow, :, :, :CART_LEVEL, EXIT] *= SLOW_DAY_EXIT
    broken = (day_kind == BROKEN_CHECKOUT_DAY) & (device == 0)
    weights[broken, :, :, :, Step.PURCHASE] = 0.0
    total = weights.sum(axis=-1, keepdims=True)
    if not (total > 0).all():
        raise ValueError("a state of the chain has no next step: every row of BASE needs a target allowed at any level")
    return (weights / total).reshape(VARIANTS, Z, STATES, S + 1)


def _absorption(probability: Floats) -> Floats:
    """P(purchase ahead) as the solution h of h = r + Q h (r: purchase next, Q: other steps), per variant and intent."""
    steps, levels = np.divmod(np.arange(STATES), LEVELS)
    onward = np.zeros((VARIANTS, Z, STATES, STATES))
    for target in Step:
        if target == Step.PURCHASE:
            continue
        to_state = target * LEVELS + np.clip(next_level(np.full(STATES, int(target)), levels), 0, FULL_CART)
        onward[:, :, np.arange(STATES), to_state] += probability[..., target]
    after = np.isin(steps, [Step.PURCHASE, Step.ORDERS, Step.HOME_AFTER, Step.LEAVE_AFTER])
    onward[:, :, after, :] = 0.0  # nobody buys twice in a session
    ahead = np.linalg.solve(np.eye(STATES) - onward, probability[..., Step.PURCHASE, None])[..., 0]
    return np.ascontiguousarray(ahead.transpose(0, 2, 1))


def _landing_probabilities() -> Floats:
    weights = np.zeros((len(LANDING_KINDS), Z, S))
    for kind, targets in enumerate(LANDINGS.values()):
        for target, weight in targets.items():
            weights[kind, :, target] = weight * np.array(_LANDING_TILT[target])
    return weights / weights.sum(axis=-1, keepdims=True)


def _gap_parameters() -> tuple[Floats, Floats]:
    kind = np.full((S, S + 1), _GAP_KINDS.index("read"))
    scrolls = [s for s in Step if s.name.startswith("SCROLL")]
    kind[:, scrolls] = _GAP_KINDS.index("scroll")
    kind[:, [Step.SELECT_ITEM, Step.SELECT_PROMOTION, Step.ADD, Step.WISH, Step.REMOVE, Step.CLICK]] = _GAP_KINDS.index(
        "act"
    )
    kind[:, [Step.SHIPPING, Step.PAYMENT, Step.PURCHASE]] = _GAP_KINDS.index("form")
    kind[[Step.SELECT_ITEM, Step.SELECT_PROMOTION], :] = _GAP_KINDS.index("load")
    median, sigma, stretch = (np.array([_GAPS[name][part] for name in _GAP_KINDS])[kind] for part in range(3))
    mu = np.log(median)[..., None] + stretch[..., None] * INTENT_PACE
    pace = np.zeros(DAY_KINDS)
    pace[SLOW_DAY] = SLOW_DAY_PACE
    return mu[None] + pace[:, None, None, None], sigma
