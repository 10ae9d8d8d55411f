"""`ga4.yml`: what it may say, and how its mistakes are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from foundation.settings import PROJECT_DIR, Settings
from foundation.yaml_file import YamlFile
from warehouse.__main__ import SCHEMA_PAGE
from warehouse.flat import custom_flat_columns
from warehouse.ga4_config import (
    Ga4ConfigError,
    custom_fingerprint,
    custom_vars,
    load_ga4_config,
    render_json_schema,
    to_column,
)

WHOLE = """
event_parameters:
  - {name: plan}
  - {name: articleCount, type: integer}
  - {name: is premium, type: boolean, as: is_premium, events: [login, sign_up], description: "Pays."}
user_properties:
  - {name: tier}
session_properties:
  - {of: plan, take: first}
  - {of: is_premium, take: any, as: was_premium}
key_events:
  - {event: generate_lead, value: 12.5}
  - {event: sign_up, as: registration, counting: once_per_session, value: article_count}
"""


@pytest.fixture
def write(tmp_path: Path, make_settings: Callable[..., Settings]) -> Callable[[str], Settings]:
    """Settings over a `ga4.yml` with this text."""

    def write_text(text: str) -> Settings:
        path = tmp_path / "ga4.yml"
        path.write_text(text, encoding="utf-8")
        return make_settings(ga4_config=path)

    return write_text


def problems(settings: Settings) -> list[str]:
    """What is wrong with the file, each as `line: message`."""
    with pytest.raises(Ga4ConfigError) as caught:
        load_ga4_config(settings)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{settings.ga4_config}:") for line in lines)
    return [line.removeprefix(f"{settings.ga4_config}:") for line in lines]


def test_each_entry_becomes_columns_under_its_name_or_the_one_given(write: Callable[[str], Settings]) -> None:
    settings = write(WHOLE)
    config = load_ga4_config(settings)
    assert [entry.column for entry in config.event_columns] == ["plan", "article_count", "is_premium", "tier"]
    assert [entry.column for entry in config.session_properties] == ["first_plan", "was_premium"]
    assert [entry.columns for entry in config.key_events] == [
        {"generate_lead_count": "bigint", "has_generate_lead": "boolean", "generate_lead_value_usd": "double"},
        {"registration_count": "bigint", "has_registration": "boolean", "registration_value_usd": "double"},
    ]
    assert [column.name for column in custom_flat_columns(settings)] == [
        "event_parameter.plan__text",
        "event_parameter.articleCount__integer",
        "event_parameter.articleCount__misfit",
        "event_parameter.is premium__boolean",
        "event_parameter.is premium__misfit",
        "user_property.tier__text",
    ]
    given = custom_vars(config)
    assert [column["events"] for column in given["event_columns"]] == [[], [], ["login", "sign_up"], []]
    assert [entry["type"] for entry in given["session_properties"]] == ["text", "boolean"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("event_parameter:\n  - {name: a}", ["1: event_parameter: unknown key: did you mean 'event_parameters'?"]),
        (
            "event_parameters:\n  - {name: a}\n  - {name: b, typ: integer}",
            ["3: event_parameters.1.typ: unknown key: did you mean 'type'?"],
        ),
        (
            "user_properties:\n  - name: a\n    type: int",
            [
                "3: user_properties.0.type: Input should be 'text', 'integer', 'number' or 'boolean'"
                ": did you mean 'integer'?"
            ],
        ),
        (
            "event_parameters:\n  - {name: order}",
            ["2: event_parameters.0: 'order' is a word of SQL: give the column another name with 'as'"],
        ),
        (
            "event_parameters:\n  - {name: a, as: Größe}",
            [
                "2: event_parameters.0.as: 'Größe' cannot be a column: lower-case letters, digits and _ only, "
                "a letter first"
            ],
        ),
        (
            "event_parameters:\n  - {name: page_path}",
            ["2: fct_events has a column 'page_path' already: give this one another name with 'as'"],
        ),
        (
            "event_parameters:\n  - {name: tier}\nuser_properties:\n  - {name: tier}",
            ["4: fct_events would have two columns 'tier': give this one another name with 'as'"],
        ),
        (
            "event_parameters:\n  - {name: plan}\nsession_properties:\n  - {take: last,\n     of: plam}",
            ["5: 'plam' is no column of event_parameters: did you mean 'plan'?"],
        ),
        (
            "event_parameters:\n  - {name: plan}\nsession_properties:\n  - {of: plan, take: any}",
            ["4: any is for a boolean, and 'plan' is a text"],
        ),
        (
            "event_parameters:\n  - {name: plan}\nkey_events:\n  - {event: lead, value: plan}",
            [
                "4: 'plan' is no number, nor value_usd, nor a column of event_parameters that holds numbers"
                "; there are value_usd"
            ],
        ),
        (
            "key_events:\n  - {event: purchase}",
            ["2: fct_sessions has a column 'has_purchase' already: give this one another name with 'as'"],
        ),
        (
            "key_events:\n  - {event: bounce}",
            ["2: agg_kpis_daily has a column 'bounce_rate' already: give this one another name with 'as'"],
        ),
        (
            "- name: a",
            ["1: expected event_parameters, user_properties, session_properties, key_events, each with a list"],
        ),
        ("event_parameters:\n  - {name: a", ["3: not valid YAML: did not find expected ',' or '}'"]),
    ],
)
def test_a_mistake_is_told_by_its_line_with_what_may_be_meant(
    write: Callable[[str], Settings], text: str, expected: list[str]
) -> None:
    assert problems(write(text)) == expected


def test_a_file_that_is_not_there_names_the_setting(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    (problem,) = problems(make_settings(ga4_config=tmp_path / "none.yml"))
    assert problem == "1: it cannot be read (No such file or directory); see FUNNELHOUSE_GA4_CONFIG"


@pytest.mark.parametrize("text", ["", "# nothing\n", "event_parameters:\nkey_events: []\n"])
def test_an_empty_file_names_nothing(write: Callable[[str], Settings], text: str) -> None:
    settings = write(text)
    assert custom_flat_columns(settings) == []
    assert not any(custom_vars(load_ga4_config(settings)).values())


def test_what_is_written_is_read_again(write: Callable[[str], Settings]) -> None:
    before = custom_fingerprint(write(WHOLE))
    assert custom_fingerprint(write(WHOLE + "# a remark\n")) == before
    assert custom_fingerprint(write(WHOLE.replace("12.5", "12"))) != before


@pytest.mark.parametrize(
    ("name", "column"),
    [("planType", "plan_type"), ("Plan-Type", "plan_type"), ("plan_type", "plan_type"), ("ABTest", "abtest")],
)
def test_names_become_snake_case(name: str, column: str) -> None:
    assert to_column(name) == column


def test_the_schema_for_editors_is_current_and_agrees(write: Callable[[str], Settings]) -> None:
    assert SCHEMA_PAGE.read_text(encoding="utf-8") == render_json_schema(), "run `make settings-page`"
    validator = Draft202012Validator(json.loads(render_json_schema()))

    def errors(path: Path) -> list[Any]:
        return list(validator.iter_errors(YamlFile(path).values))

    assert errors(PROJECT_DIR / "ga4.yml") == []
    assert errors(write(WHOLE).ga4_config) == []
    for text in ("event_parameter: []", "event_parameters: [{name: a, typ: integer}]", "key_events: [{as: a}]"):
        assert errors(write(text).ga4_config) != [], text


def test_the_shipped_file_can_be_used(settings: Settings) -> None:
    assert settings.ga4_config == PROJECT_DIR / "ga4.yml"
    assert load_ga4_config(settings).key_events
