"""The feature contract: what a model expects of its columns, and what differs when it is not met."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from foundation.errors import FunnelhouseError

FeatureKind = Literal["numeric", "categorical", "flag"]
FEATURE_KINDS: tuple[FeatureKind, ...] = ("numeric", "categorical", "flag")


class ContractError(FunnelhouseError):
    """The feature contract cannot be read, or forbids what is asked."""


class ContractMismatchError(ContractError):
    """A model, a table and the contract do not agree; the message names the differing columns."""


@dataclass(frozen=True)
class Feature:
    """One input column: SQL type, kind, unit (None = no unit), and whether it is known only late in the funnel."""

    name: str
    type: str
    kind: FeatureKind
    unit: str | None
    late_funnel: bool


@dataclass(frozen=True)
class FeatureContract:
    """The features of one dbt model, in the order in which a pipeline sees them."""

    name: str
    version: str
    features: tuple[Feature, ...]

    @property
    def feature_names(self) -> list[str]:
        """Column names in order."""
        return [feature.name for feature in self.features]

    @property
    def late_funnel_names(self) -> list[str]:
        """Columns that are known only once a visitor has moved towards the checkout."""
        return [feature.name for feature in self.features if feature.late_funnel]

    @property
    def sha256(self) -> str:
        """Hash over name, version and every feature."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def names_of_kind(self, *kinds: FeatureKind) -> list[str]:
        """Column names of the given kinds, in order."""
        return [feature.name for feature in self.features if feature.kind in kinds]

    def select(self, names: Iterable[str]) -> FeatureContract:
        """The contract of these columns only, in the order given; columns that are not there are left out."""
        by_name = {feature.name: feature for feature in self.features}
        return FeatureContract(self.name, self.version, tuple(by_name[name] for name in names if name in by_name))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, with the hash."""
        return {**asdict(self), "features": [asdict(feature) for feature in self.features], "sha256": self.sha256}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeatureContract:
        """Read what `to_dict` wrote; raises `ContractError` where the stored hash does not fit the content."""
        try:
            features = tuple(Feature(**feature) for feature in values["features"])
            contract = cls(values["name"], values["version"], features)
            stored = values["sha256"]
        except (KeyError, TypeError) as error:
            raise ContractError(f"the stored feature contract is not readable: {error!r}") from error
        if stored != contract.sha256:
            raise ContractError(f"the stored contract of {contract.name} does not match its own hash: it was changed")
        return contract


@dataclass(frozen=True)
class FeatureTable:
    """One feature table: its contract, and its columns that are not features, by role."""

    relation: str  # schema.table
    contract: FeatureContract
    column_types: dict[str, str]  # every column with a role: name -> SQL type
    label: str
    risk: str | None = None  # BOOLEAN: the row is at risk (prefix tables only)
    point: str | None = None  # name of the decision point (prefix tables only)


def require_same_contract(model: FeatureContract, current: FeatureContract, *, model_name: str) -> None:
    """Raise `ContractMismatchError` unless `current` holds every feature of `model` with the same definition.

    Columns that the model does not read may come and go. The message names every column that differs, and how.
    """
    now = current.select(model.feature_names)
    if now.sha256 == model.sha256:
        return
    differences = []
    if model.name != current.name:
        differences.append(f"table: {model.name} → {current.name}")
    if model.version != current.version:
        differences.append(f"contract_version: {model.version} → {current.version}")
    by_name = {feature.name: feature for feature in now.features}
    for feature in model.features:
        other = by_name.get(feature.name)
        if other is None:
            differences.append(f"column {feature.name}: is gone")
        elif other != feature:
            changes = [
                f"{key} {value!r} → {getattr(other, key)!r}"
                for key, value in asdict(feature).items()
                if value != getattr(other, key)
            ]
            differences.append(f"column {feature.name}: {', '.join(changes)}")
    raise ContractMismatchError(
        f"the model {model_name} was trained on another contract of {model.name}: {'; '.join(differences)}. "
        f"Remove the champion with `python -m ml retire {model_name}` (scores are empty until the next training), "
        "publish, and train again; or restore the columns."
    )


def forbid_late_funnel(prefixes: FeatureContract, sessions: FeatureContract) -> None:
    """Raise `ContractError` if the pre-checkout contract holds a column that is late funnel in either contract."""
    late = set(prefixes.late_funnel_names) | set(sessions.late_funnel_names)
    leaking = [name for name in prefixes.feature_names if name in late]
    if leaking:
        raise ContractError(
            f"{prefixes.name} contains late-funnel columns: {', '.join(leaking)}. The pre-checkout model may only see "
            "what is known before a cart or a checkout; take them out of the model's SQL and YAML."
        )
