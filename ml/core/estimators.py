"""The candidate pipelines for purchase propensity, from the readable logistic regression to averaged trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from ml.core.contract import FeatureContract
from ml.core.metrics import Flags, Floats

Family = Literal["logistic_regression", "random_forest", "gradient_boosting", "average"]

RARE_LEVEL_SHARE = 0.01  # levels seen in fewer rows than this count as one
MAX_LEVELS = 64  # gradient boosting takes at most 255 levels of a categorical column; this one stands for the rare
LOGISTIC_STRENGTHS = (0.003, 0.03, 0.3)
FOREST_MIN_LEAF = 50
FOREST_TREES = 40
FOREST_ROWS_PER_TREE = 50_000
FOREST_COLUMN_SHARES = (0.5, 0.25)  # of the columns at each split
BOOSTING_LEAVES = (7, 15)
BOOSTING_LEARNING_RATE = 0.05
BOOSTING_COLUMN_SHARE = 0.3  # of the columns at each split: many of them say nearly the same
BOOSTING_MAX_ITERATIONS = 120
BOOSTING_ITERATION_STEP = 20


@dataclass(frozen=True)
class Candidate:
    """One family with its parameters; `build` gives an unfitted pipeline."""

    family: Family
    params: dict[str, Any]

    def build(self, contract: FeatureContract, features: pd.DataFrame, *, seed: int = 0) -> Pipeline:
        """An unfitted pipeline for the training rows `features`; its input is a frame of the contract's columns.

        No class weights: the outputs are to be probabilities. No early stopping: its random split would mix days.
        """
        if self.family == "logistic_regression":
            return _build_logistic(contract, features, self.params)
        if self.family == "random_forest":
            return _build_forest(contract, features, self.params, seed)
        if self.family == "gradient_boosting":
            return _build_boosting(contract, features, self.params, seed)
        members = [
            (member.family, member.build(contract, features, seed=seed))
            for member in (Candidate(family, params) for family, params in self.params.items())  # type: ignore[arg-type]
        ]
        return Pipeline([("model", VotingClassifier(members, voting="soft"))])

    def list_stages(self) -> list[Candidate]:
        """The candidates that one preparation of the columns serves: weaker regressions, shorter boosting, itself."""
        if self.family == "logistic_regression":
            return [Candidate(self.family, {"C": c}) for c in LOGISTIC_STRENGTHS if c <= self.params["C"]]
        if self.family == "gradient_boosting":
            ends = range(BOOSTING_ITERATION_STEP, self.params["max_iter"] + 1, BOOSTING_ITERATION_STEP)
            return [Candidate(self.family, {**self.params, "max_iter": end}) for end in ends]
        return [self]

    def predict_stages(
        self, contract: FeatureContract, known: pd.DataFrame, labels: Flags, unseen: pd.DataFrame, *, seed: int = 0
    ) -> Floats:
        """Scores (stages, m) of the rows `unseen` by each of `list_stages`, fitted on `known` (n rows) and `labels`."""
        pipeline = self.build(contract, known, seed=seed)
        model, stages = pipeline["model"], self.list_stages()
        prepared = pipeline["prepare"].fit_transform(known[contract.feature_names])
        others = pipeline["prepare"].transform(unseen[contract.feature_names])
        if self.family == "logistic_regression":
            models = [clone(model).set_params(**stage.params).fit(prepared, labels) for stage in stages]
            return np.array([each.predict_proba(others)[:, 1] for each in models])
        model.fit(prepared, labels)
        if self.family == "gradient_boosting":
            scores = [probabilities[:, 1] for probabilities in model.staged_predict_proba(others)]
            return np.array(scores[BOOSTING_ITERATION_STEP - 1 :: BOOSTING_ITERATION_STEP])
        return np.array([model.predict_proba(others)[:, 1]])


def list_candidates(*, wide: bool = False) -> list[Candidate]:
    """The single candidates, simplest first; a wide search tries a second forest and larger boosted trees too.

    The strength of regularisation and the number of boosting iterations are those of the best of their stages.
    """
    n_each = 2 if wide else 1
    return [
        Candidate("logistic_regression", {"C": LOGISTIC_STRENGTHS[-1]}),
        *(Candidate("random_forest", {"max_features": share}) for share in FOREST_COLUMN_SHARES[:n_each]),
        *(
            Candidate("gradient_boosting", {"max_leaf_nodes": leaves, "max_iter": BOOSTING_MAX_ITERATIONS})
            for leaves in BOOSTING_LEAVES[:n_each]
        ),
    ]


def average_of(candidates: list[Candidate]) -> Candidate:
    """The candidate whose probabilities are the mean of these."""
    return Candidate("average", {candidate.family: candidate.params for candidate in candidates})


def drop_constant(contract: FeatureContract, features: pd.DataFrame) -> FeatureContract:
    """The contract of the columns that vary in `features`; the others teach nothing, and trees refuse empty ones."""
    return contract.select(name for name in contract.feature_names if features[name].nunique() > 1)


def _list_levels(contract: FeatureContract, features: pd.DataFrame) -> list[npt.NDArray[np.object_]]:
    """The levels of each categorical column that are not rare, by name, missing last; the commonest in any case.

    Counted here: the encoders' own count of rare levels looks at every value in Python, and took half of a training.
    """
    levels = []
    for name in contract.names_of_kind("categorical"):
        shares = features[name].value_counts(normalize=True, dropna=False).sort_values(ascending=False, kind="stable")
        frequent = shares.index[: max(1, min(MAX_LEVELS, int((shares >= RARE_LEVEL_SHARE).sum())))]
        named = sorted(str(level) for level in frequent if not pd.isna(level))
        levels.append(np.array([*named, *([np.nan] if frequent.hasnans else [])], dtype=object))
    return levels


def _build_logistic(contract: FeatureContract, features: pd.DataFrame, params: dict[str, Any]) -> Pipeline:
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
            OneHotEncoder(categories=_list_levels(contract, features), handle_unknown="ignore"),
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


def _build_forest(contract: FeatureContract, features: pd.DataFrame, params: dict[str, Any], seed: int) -> Pipeline:
    n_rows = len(features)
    # Deep trees on all rows take a hundred times longer, and rank and calibrate worse, than leaves of 50 on samples.
    model = RandomForestClassifier(
        n_estimators=FOREST_TREES,
        min_samples_leaf=max(FOREST_MIN_LEAF, min(n_rows, FOREST_ROWS_PER_TREE) // 500),
        max_features=params["max_features"],
        max_samples=min(1.0, FOREST_ROWS_PER_TREE / n_rows),
        random_state=seed,
    )
    return Pipeline([("prepare", _prepare_for_trees(contract, features)), ("model", model)])


def _build_boosting(contract: FeatureContract, features: pd.DataFrame, params: dict[str, Any], seed: int) -> Pipeline:
    n_plain = len(contract.names_of_kind("numeric", "flag"))
    model = HistGradientBoostingClassifier(
        learning_rate=BOOSTING_LEARNING_RATE,
        max_iter=params["max_iter"],
        max_leaf_nodes=params["max_leaf_nodes"],
        min_samples_leaf=max(20, len(features) // 150),
        max_features=BOOSTING_COLUMN_SHARE,
        l2_regularization=1.0,
        categorical_features=list(range(n_plain, len(contract.features))) or None,
        early_stopping=False,
        random_state=seed,
    )
    return Pipeline([("prepare", _prepare_for_trees(contract, features)), ("model", model)])


def _prepare_for_trees(contract: FeatureContract, features: pd.DataFrame) -> ColumnTransformer:
    encoder = OrdinalEncoder(
        categories=_list_levels(contract, features),
        handle_unknown="use_encoded_value",
        unknown_value=MAX_LEVELS,
        encoded_missing_value=np.nan,
    )
    columns = [
        ("plain", "passthrough", contract.names_of_kind("numeric", "flag")),
        ("categorical", encoder, contract.names_of_kind("categorical")),
    ]
    return ColumnTransformer([step for step in columns if step[2]])
