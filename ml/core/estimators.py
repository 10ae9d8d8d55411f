"""The candidate pipelines for purchase propensity: a readable logistic regression and gradient-boosted trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from ml.core.contract import FeatureContract

Family = Literal["logistic_regression", "gradient_boosting"]

RARE_LEVEL_SHARE = 0.01  # levels seen in fewer rows than this share one column
MAX_LEVELS = 64  # gradient boosting takes at most 255 levels of a categorical column
LOGISTIC_STRENGTHS = (0.01, 0.1, 1.0)
BOOSTING_LEAVES = (7, 15)
BOOSTING_LEARNING_RATE = 0.05
BOOSTING_COLUMN_SHARE = 0.3  # of the columns at each split: many of them say nearly the same
BOOSTING_MAX_ITERATIONS = 240
BOOSTING_ITERATION_STEP = 20


@dataclass(frozen=True)
class Candidate:
    """One family with its parameters; `build` gives an unfitted pipeline."""

    family: Family
    params: dict[str, Any]

    def build(self, contract: FeatureContract, n_rows: int, *, seed: int = 0) -> Pipeline:
        """An unfitted pipeline for `n_rows` training rows; its input is a frame of the contract's columns.

        No class weights: the outputs are to be probabilities. No early stopping: its random split would mix days.
        """
        if self.family == "logistic_regression":
            return _build_logistic(contract, self.params)
        return _build_boosting(contract, self.params, n_rows, seed)


def list_candidates() -> list[Candidate]:
    """All candidates, simplest family first; the number of boosting iterations is chosen while fitting."""
    return [
        *(Candidate("logistic_regression", {"C": strength}) for strength in LOGISTIC_STRENGTHS),
        *(
            Candidate("gradient_boosting", {"max_leaf_nodes": leaves, "max_iter": BOOSTING_MAX_ITERATIONS})
            for leaves in BOOSTING_LEAVES
        ),
    ]


def _build_logistic(contract: FeatureContract, params: dict[str, Any]) -> Pipeline:
    # arcsinh is close to log for large values, linear near 0 and defined everywhere: counts, seconds and prices alike.
    numeric = Pipeline(
        [
            ("shrink_tails", FunctionTransformer(np.arcsinh)),
            ("impute", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )
    columns = [
        ("numeric", numeric, contract.names_of_kind("numeric")),
        (
            "flag",
            SimpleImputer(strategy="most_frequent", keep_empty_features=True),
            contract.names_of_kind("flag"),
        ),
        (
            "categorical",
            OneHotEncoder(min_frequency=RARE_LEVEL_SHARE, handle_unknown="infrequent_if_exist"),
            contract.names_of_kind("categorical"),
        ),
    ]
    return Pipeline(
        [
            # Always sparse: a sparse product sums each row by itself, so a score never depends on the batch it is in.
            ("prepare", ColumnTransformer([step for step in columns if step[2]], sparse_threshold=1.0)),
            ("model", LogisticRegression(C=params["C"], max_iter=500)),
        ]
    )


def _build_boosting(contract: FeatureContract, params: dict[str, Any], n_rows: int, seed: int) -> Pipeline:
    plain = contract.names_of_kind("numeric", "flag")
    categorical = contract.names_of_kind("categorical")
    encoder = OrdinalEncoder(
        min_frequency=RARE_LEVEL_SHARE,
        max_categories=MAX_LEVELS,
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
    )
    columns = [("plain", "passthrough", plain), ("categorical", encoder, categorical)]
    model = HistGradientBoostingClassifier(
        learning_rate=BOOSTING_LEARNING_RATE,
        max_iter=params["max_iter"],
        max_leaf_nodes=params["max_leaf_nodes"],
        min_samples_leaf=max(20, n_rows // 150),
        max_features=BOOSTING_COLUMN_SHARE,
        l2_regularization=1.0,
        categorical_features=list(range(len(plain), len(plain) + len(categorical))) or None,
        early_stopping=False,
        random_state=seed,
    )
    return Pipeline([("prepare", ColumnTransformer([step for step in columns if step[2]])), ("model", model)])
