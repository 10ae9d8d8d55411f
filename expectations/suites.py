"""Reads the suites, `suites/<name>.yml`: what is expected, how bad a miss is, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from foundation.errors import FunnelhouseError

SUITES_DIR = Path(__file__).resolve().parent / "suites"

Severity = Literal["fail", "warn"]


class SuiteError(FunnelhouseError):
    """A suite file is not what it should be."""


class Expectation(BaseModel):
    """One expectation: a Great Expectations class, its arguments, and the table it looks at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    severity: Severity
    description: str = Field(min_length=10)
    what_to_do: str = Field(min_length=10)
    table: str
    expect: str = Field(pattern=r"^(Expect|UnexpectedRows)\w+$", description="Class in great_expectations.expectations")
    arguments: dict[str, Any] = Field(default_factory=dict, alias="with")

    @field_validator("arguments")
    @classmethod
    def _flat_value_set(cls, value: dict[str, Any]) -> dict[str, Any]:
        """`value_set: [*some, *others]` is a list of lists in YAML; make it one list."""
        if "value_set" not in value:
            return value
        flat = [item for entry in value["value_set"] for item in (entry if isinstance(entry, list) else [entry])]
        return {**value, "value_set": flat}


class Suite(BaseModel):
    """A suite: expectations over the tables that the files of `sql/<suite>/` make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    description: str
    lists: dict[str, list[str]] = Field(default_factory=dict, description="YAML anchors for value sets.")
    expectations: list[Expectation] = Field(min_length=1)

    @field_validator("expectations")
    @classmethod
    def _unique_names(cls, value: list[Expectation]) -> list[Expectation]:
        names = [expectation.name for expectation in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"names must be unique; these occur twice: {', '.join(twice)}")
        return value

    @property
    def tables(self) -> list[str]:
        """The tables looked at, in the order of first use."""
        return list(dict.fromkeys(expectation.table for expectation in self.expectations))


def load_suite(name: str, folder: Path = SUITES_DIR) -> Suite:
    """Read `<folder>/<name>.yml`; raises `SuiteError` naming the file and each wrong entry."""
    path = folder / f"{name}.yml"
    try:
        return Suite.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yml")))
        raise SuiteError(f"there is no suite {name!r}; the suites are {known}") from error
    except (ValidationError, yaml.YAMLError) as error:
        raise SuiteError(f"{path} is not a suite: {error}") from error
