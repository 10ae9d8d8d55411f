"""Cut a failing scenario down to what makes it fail: fewer deliveries, visits and acts, and plainer ones.

Hypothesis would shrink the thousands of choices a scenario was drawn from, one build after the other; this knows what a
scenario is made of, and needs some dozens of checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from tests.dbt_project.shop_scenarios import Act, Delivery, Scenario, Visit

T = TypeVar("T")
Check = Callable[[Scenario], bool]


def reduce_scenario(scenario: Scenario, fails: Check, *, max_checks: int = 150) -> Scenario:
    """The smallest scenario found that still fails, with at most so many checks (each some builds)."""
    left = max_checks

    def still_fails(candidate: Scenario) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and fails(candidate)

    while True:
        before = scenario
        for reduce in (_reduce_visits, _reduce_deliveries, _join_portions, _reduce_acts, _make_plain):
            scenario = reduce(scenario, still_fails)
        if scenario == before or left <= 0:
            return scenario


def _reduce_visits(scenario: Scenario, fails: Check) -> Scenario:
    visits = _reduce_list(scenario.visits, lambda kept: fails(replace(scenario, visits=tuple(kept))))
    return replace(scenario, visits=tuple(visits))


def _reduce_deliveries(scenario: Scenario, fails: Check) -> Scenario:
    numbered = [(number, delivery) for number, portion in enumerate(scenario.portions) for delivery in portion]

    def assemble(kept: Sequence[tuple[int, Delivery]]) -> Scenario:
        portions = [tuple(d for n, d in kept if n == number) for number in range(len(scenario.portions))]
        return replace(scenario, portions=tuple(portion for portion in portions if portion))

    return assemble(_reduce_list(numbered, lambda kept: bool(kept) and fails(assemble(kept))))


def _join_portions(scenario: Scenario, fails: Check) -> Scenario:
    position = 1
    while position < len(scenario.portions):
        portions = list(scenario.portions)
        joined = {delivery.table: delivery for delivery in (*portions[position - 1], *portions[position])}
        portions[position - 1 : position + 1] = [tuple(joined.values())]
        candidate = replace(scenario, portions=tuple(portions))
        if fails(candidate):
            scenario = candidate
        else:
            position += 1
    return scenario


def _reduce_acts(scenario: Scenario, fails: Check) -> Scenario:
    for position in range(len(scenario.visits)):
        scenario = _reduce_acts_of_visit(scenario, position, fails)
    return scenario


def _reduce_acts_of_visit(scenario: Scenario, position: int, fails: Check) -> Scenario:
    visit = scenario.visits[position]

    def with_acts(acts: Sequence[Act]) -> Scenario:
        return _with_visit(scenario, position, replace(visit, acts=tuple(acts)))

    return with_acts(_reduce_list(visit.acts, lambda kept: bool(kept) and fails(with_acts(kept))))


def _make_plain(scenario: Scenario, fails: Check) -> Scenario:
    """Every field at its default, where that still fails."""
    for position in range(len(scenario.visits)):
        visit = scenario.visits[position]
        for plainer in _plainer(visit):
            candidate = _with_visit(scenario, position, plainer(scenario.visits[position]))
            if candidate != scenario and fails(candidate):
                scenario = candidate
        for number in range(len(visit.acts)):
            for plainer in _plainer(visit.acts[number]):
                acts = list(scenario.visits[position].acts)
                acts[number] = plainer(acts[number])
                candidate = _with_visit(scenario, position, replace(scenario.visits[position], acts=tuple(acts)))
                if candidate != scenario and fails(candidate):
                    scenario = candidate
    for number, portion in enumerate(scenario.portions):
        for place in range(len(portion)):
            for plainer in _plainer(portion[place]):
                deliveries = list(scenario.portions[number])
                deliveries[place] = plainer(deliveries[place])
                portions = list(scenario.portions)
                portions[number] = tuple(deliveries)
                candidate = replace(scenario, portions=tuple(portions))
                if candidate != scenario and fails(candidate):
                    scenario = candidate
    return scenario


def _plainer(value: Any) -> list[Callable[[Any], Any]]:
    """One function per field that has a default: the value with that field at its default."""
    return [
        lambda item, field=field: replace(item, **{field.name: field.default})
        for field in fields(value)
        if getattr(value, field.name) != field.default and not _is_required(field.default)
    ]


def _is_required(default: Any) -> bool:
    return repr(default).startswith("<dataclasses._MISSING")


def _with_visit(scenario: Scenario, position: int, visit: Visit) -> Scenario:
    visits = list(scenario.visits)
    visits[position] = visit
    return replace(scenario, visits=tuple(visits))


def _reduce_list(items: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> list[T]:
    """Leave out halves, quarters, … and single items for as long as what is left fails (delta debugging)."""
    kept = list(items)
    size = (len(kept) + 1) // 2
    while size and kept:
        position = 0
        while position < len(kept):
            candidate = kept[:position] + kept[position + size :]
            if fails(candidate):
                kept = candidate
            else:
                position += size
        size = 0 if size == 1 else (size + 1) // 2
    return kept
