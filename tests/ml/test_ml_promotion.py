"""The gates: each one alone keeps a version from becoming champion."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ml.core.evaluation import CHAMPION, FlagRule, Judgement
from ml.core.leaks import LeakFinding
from ml.core.metrics import Estimate, Evaluation, compare, evaluate, from_logit
from ml.core.promotion import check_gates

N = 12_000


@pytest.fixture(scope="module")
def latent() -> np.ndarray:
    return np.random.default_rng(1).normal(size=N)


@pytest.fixture(scope="module")
def labels(latent: np.ndarray) -> np.ndarray:
    return np.random.default_rng(2).random(N) < from_logit(latent - 2)


def assess(labels: np.ndarray, logits: np.ndarray) -> Evaluation:
    return evaluate(labels, from_logit(logits), np.arange(len(labels)), baseline=0.15)


def judgement(evaluation: Evaluation, champion: Evaluation | None = None) -> Judgement:
    rivals = {} if champion is None else {CHAMPION: champion}
    nothing = np.zeros(0)
    return Judgement(
        evaluation=evaluation,
        uncorrected=evaluation,
        by_group={},
        champion_by_group={},
        baselines=rivals,
        gains={name: compare(evaluation, rival) for name, rival in rivals.items()},
        flag=FlagRule("is_new_user", 1.0, 0.1, 0.2),
        oracle={},
        labels=nothing.astype(bool),
        scores=nothing,
        plain_scores=nothing,
        flag_scores=nothing,
        points=nothing.astype(object),
    )


def failed(result: Judgement, positives: int = 500, leaks: tuple = (), by_device: dict | None = None) -> list[str]:
    gates = check_gates(result, positives=positives, leaks=leaks, by_device=by_device or {})
    return [gate.name for gate in gates if not gate.passed]


def test_a_good_first_model_passes(labels: np.ndarray, latent: np.ndarray) -> None:
    good = judgement(assess(labels, latent - 2))
    assert failed(good) == []
    assert failed(good, positives=199) == ["enough purchases"]
    finding = LeakFinding("single_feature", "ecommerce_total", 0.99, 0.95, "tells the label")
    assert failed(good, leaks=(finding,)) == ["no leak"]


def test_chance_and_wrong_slopes_are_kept_back(labels: np.ndarray, latent: np.ndarray) -> None:
    chance = np.random.default_rng(3).normal(size=N)
    assert "better than the base rate" in failed(judgement(assess(labels, 0.01 * chance - 2)))
    assert failed(judgement(assess(labels, 1.5 * latent - 2))) == ["calibration slope"]
    assert failed(judgement(assess(labels, 0.7 * latent - 2))) == ["calibration slope"]


def test_a_challenger_must_hold_up_against_the_champion(labels: np.ndarray, latent: np.ndarray) -> None:
    champion = assess(labels, latent - 2)
    noise = np.random.default_rng(4).normal(size=N)
    assert failed(judgement(champion, champion)) == []  # the same model again
    assert failed(judgement(champion, assess(labels, latent + 0.8 * noise - 2))) == []
    worse = failed(judgement(assess(labels, 0.75 * (latent + 0.6 * noise) - 2), champion))
    assert worse == ["average precision against the champion", "Brier score against the champion"]
    shifted = failed(judgement(assess(labels, latent - 1.6), champion))
    assert shifted == ["Brier score against the champion"]


def test_a_brier_score_is_worse_where_that_is_clear_or_much_and_a_tie_is_not(
    labels: np.ndarray, latent: np.ndarray
) -> None:
    gate = "Brier score against the champion"
    champion, noise = assess(labels, latent - 2), np.random.default_rng(4).normal(size=N)
    tie = judgement(assess(labels, latent + 0.01 * noise - 2), champion)
    brier = tie.gains[CHAMPION]["brier"]
    assert brier.value is not None and brier.low is not None and brier.low < 0 < brier.value < 1e-4
    assert failed(tie) == []
    clear = judgement(assess(labels, latent - 1.82), champion)
    brier, of_champion = clear.gains[CHAMPION]["brier"], champion.metrics["brier"].value
    assert brier.value is not None and brier.low is not None and of_champion is not None
    assert brier.low > 0 and brier.value < 0.005 * of_champion and failed(clear) == [gate]
    few = slice(0, 800)
    before = assess(labels[few], latent[few] - 2)
    much = judgement(assess(labels[few], latent[few] + 0.15 * noise[few] - 2), before)
    brier, of_champion = much.gains[CHAMPION]["brier"], before.metrics["brier"].value
    assert brier.value is not None and brier.low is not None and of_champion is not None
    assert brier.low < 0 and brier.value > 0.005 * of_champion and gate in failed(much)


def test_no_device_may_lose(labels: np.ndarray, latent: np.ndarray) -> None:
    champion = assess(labels, latent - 2)
    devices = {"desktop": (300, Estimate(0.01, -0.01, 0.03)), "mobile": (150, Estimate(-0.021, -0.05, 0.01))}
    assert failed(judgement(champion, champion), by_device=devices) == ["AUC on mobile against the champion"]
    devices["mobile"] = (150, dataclasses.replace(devices["mobile"][1], value=-0.019))
    assert failed(judgement(champion, champion), by_device=devices) == []
