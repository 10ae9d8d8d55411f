"""The true probabilities: calibrated, exact against a plain recomputation, and blind to what is not yet seen."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from sample_shop.behaviour import (
    AFFINITY_SCORE,
    AFFINITY_SHARE,
    EXIT,
    LEVELS,
    STATES,
    Step,
    Z,
    load_behaviour,
    log_intent_prior,
    next_level,
)
from sample_shop.journeys import walk
from sample_shop.options import Calendar, SampleOptions
from sample_shop.records import EVENTS_IN_STEP
from sample_shop.simulate import CHUNK_SESSIONS, simulate_chunk
from sample_shop.truth import DECISION_EVENTS, compute_truth, weigh_intents

CHUNKS = 12
POINTS = [*(f"events_{k}" for k in DECISION_EVENTS), "full"]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The truth of 60,000 sessions."""
    folder = tmp_path_factory.mktemp("truth")
    options = SampleOptions(sessions=CHUNKS * CHUNK_SESSIONS, seed=5)
    calendar = Calendar(options, ZoneInfo("America/Los_Angeles"), dt.date(2026, 9, 30))
    for chunk in range(CHUNKS):
        simulate_chunk(calendar, chunk, CHUNK_SESSIONS, folder)
    return pa.concat_tables([pq.read_table(folder / f"truth_{chunk}.parquet") for chunk in range(CHUNKS)])


def _at(truth: pa.Table, point: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = truth["decision_point"].to_numpy() == point
    columns = ("true_probability", "purchased", "is_at_risk")
    probability, purchased, at_risk = (truth[name].to_numpy()[rows] for name in columns)
    return probability, purchased, at_risk


@pytest.mark.parametrize("point", POINTS)
def test_the_truth_is_calibrated_in_every_decile(truth: pa.Table, point: str) -> None:
    probability, purchased, at_risk = _at(truth, point)
    for rows in (np.ones(len(probability), dtype=bool), at_risk):
        p, y = probability[rows], purchased[rows]
        for decile in np.array_split(np.argsort(p, kind="stable"), 10):
            error = np.sqrt((p[decile] * (1 - p[decile])).sum()) + 1e-9
            # Sixty deciles or so are looked at: 4 standard errors each.
            assert abs(y[decile].sum() - p[decile].sum()) < max(4 * error, 1.0)


def test_the_oracle_separates_buyers_as_well_as_it_should(truth: pa.Table) -> None:
    probability, purchased, at_risk = _at(truth, "events_3")
    assert 0.68 < roc_auc_score(purchased[at_risk], probability[at_risk]) < 0.80
    probability, purchased, _ = _at(truth, "full")
    assert roc_auc_score(purchased, probability) > 0.93


def test_probabilities_end_with_the_purchase(truth: pa.Table) -> None:
    probability, purchased, at_risk = _at(truth, "events_8")
    assert probability.min() == 0.0
    assert not purchased[probability == 0.0].any()
    # Who still browses may hope, but for those whose checkout is broken.
    assert 0 < (probability[at_risk] == 0.0).mean() < 0.06


def test_absorption_agrees_with_walking_on() -> None:
    """P(purchase ahead) by power iteration over the same chain, state by state."""
    behaviour = load_behaviour()
    steps, levels = np.divmod(np.arange(STATES), LEVELS)
    reachable = np.flatnonzero(levels <= LEVELS - 1)
    for variant in (0, 1, 5):
        transition = np.exp(behaviour.log_transition[variant])  # (states, S + 1, Z)
        ahead = np.zeros((STATES, Z))
        for _ in range(2_000):
            following = transition[:, Step.PURCHASE].copy()
            for target in Step:
                if target != Step.PURCHASE:
                    level = np.clip(next_level(np.full(STATES, int(target)), levels), 0, LEVELS - 1)
                    following += transition[:, target] * ahead[target * LEVELS + level]
            following[steps == Step.PURCHASE] = 0.0
            following[np.isin(steps, [Step.ORDERS, Step.HOME_AFTER, Step.LEAVE_AFTER])] = 0.0
            change, ahead = np.abs(following - ahead).max(), following
            if change < 1e-13:
                break
        np.testing.assert_allclose(behaviour.purchase_ahead[variant][reachable], ahead[reachable], atol=1e-9)


def test_transitions_are_probabilities_and_forbid_the_impossible() -> None:
    behaviour = load_behaviour()
    probability = np.exp(behaviour.log_transition)
    np.testing.assert_allclose(probability.sum(axis=2), 1.0)
    steps, levels = np.divmod(np.arange(STATES), LEVELS)
    assert (probability[:, levels < 2][:, :, [Step.CART, Step.CHECKOUT, Step.REMOVE]] == 0).all()
    assert (probability[:, levels == LEVELS - 1][:, :, Step.ADD] == 0).all()
    for before, after in ((Step.CHECKOUT, Step.SHIPPING), (Step.SHIPPING, Step.PAYMENT), (Step.PAYMENT, Step.PURCHASE)):
        others = ~np.isin(steps, [before, Step.PAYMENT] if after == Step.PAYMENT else [before])
        assert (probability[:, others][:, :, after] == 0).all()


def test_the_truth_is_bayes_rule_spelt_out() -> None:
    """One client's three sessions, recomputed one number at a time."""
    behaviour = load_behaviour()
    rng = np.random.default_rng(3)
    variant, landing = np.array([0, 3, 0]), np.array([1, 3, 5])
    paths = walk(rng, behaviour, variant, landing, np.array([2, 3, 4]))
    score, client = np.array([0.2, -0.4, 0.9]), np.zeros(3, dtype=np.int64)
    log_prior = weigh_intents(score, client, paths.end_log_likelihood)
    found = compute_truth(behaviour, paths, EVENTS_IN_STEP[paths.step], variant, log_prior, np.zeros(3, dtype=np.int64))

    belief = dict(enumerate(AFFINITY_SHARE))  # P(casual), P(keen)
    checked = 0
    for session in range(3):
        rows = np.flatnonzero(paths.session == session)
        given = {a: np.exp(log_intent_prior(np.array(score[session] + AFFINITY_SCORE[a]))) for a in belief}
        prior = sum(belief[a] * given[a] for a in belief)
        likelihood = np.zeros((len(rows), Z))
        for z in range(Z):
            running = np.exp(behaviour.log_landing[landing[session], paths.step[rows[0]], z])
            likelihood[0, z] = running
            for number, (before, row) in enumerate(itertools.pairwise(rows), start=1):
                kind, here, there = variant[session] % 3, paths.step[before], paths.step[row]
                seconds, sigma = paths.gap[row] / 1e6, behaviour.gap_sigma[here, there]
                deviation = (np.log(seconds) - behaviour.gap_mu[kind, here, there, z]) / sigma
                density = np.exp(-0.5 * deviation**2) / np.exp(behaviour.gap_log_mass[kind, here, there, z])
                state = here * LEVELS + paths.level[before]
                running *= np.exp(behaviour.log_transition[variant[session], state, there, z]) * density
                likelihood[number, z] = running
        counted = np.cumsum(EVENTS_IN_STEP[paths.step[rows]])
        bought = np.flatnonzero(paths.step[rows] == Step.PURCHASE)
        for k in DECISION_EVENTS:
            mine = (found.session == session) & (found.decision_point == f"events_{k}")
            assert mine.sum() == (counted[-1] >= k)
            if not mine.any():
                continue
            number = int(np.argmax(counted >= k))
            posterior = prior * likelihood[number] / (prior * likelihood[number]).sum()
            state = paths.step[rows[number]] * LEVELS + paths.level[rows[number]]
            expected = (posterior * behaviour.purchase_ahead[variant[session], state]).sum()
            if len(bought) and number >= bought[0]:
                expected = 0.0
            assert found.probability[mine][0] == pytest.approx(expected, abs=1e-12)
            checked += 1
        # The whole session, and that it ended, teaches about the client.
        last = paths.step[rows[-1]] * LEVELS + paths.level[rows[-1]]
        whole = likelihood[-1] * np.exp(behaviour.log_transition[variant[session], last, EXIT])
        weight = {a: belief[a] * (given[a] * whole).sum() for a in belief}
        belief = {a: weight[a] / sum(weight.values()) for a in weight}
    assert checked >= 6


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # nobody ends where these paths are cut
def test_what_comes_later_does_not_change_what_was_said_before(tmp_path: Path) -> None:
    """Cut every path after its third step: the truth after one event stays the same, to the last bit."""
    behaviour = load_behaviour()
    rng = np.random.default_rng(4)
    variant, landing = np.zeros(500, dtype=np.int64), np.full(500, 2)
    paths = walk(rng, behaviour, variant, landing, rng.integers(0, Z, 500))
    log_prior = log_intent_prior(np.zeros(500))
    nothing = np.zeros(500, dtype=np.int64)
    whole = compute_truth(behaviour, paths, EVENTS_IN_STEP[paths.step], variant, log_prior, nothing)
    kept = paths.order < 3
    short = type(paths)(
        *(getattr(paths, name)[kept] for name in ("session", "order", "step", "level", "gap", "log_likelihood")),
        paths.end_log_likelihood,
    )
    cut = compute_truth(behaviour, short, EVENTS_IN_STEP[short.step], variant, log_prior, nothing)
    for point in ("events_1", "events_2", "events_3"):
        before, after = whole.decision_point == point, cut.decision_point == point
        same, mine, yours = np.intersect1d(whole.session[before], cut.session[after], return_indices=True)
        assert len(same) > 100
        np.testing.assert_array_equal(whole.probability[before][mine], cut.probability[after][yours])
