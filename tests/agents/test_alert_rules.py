"""The table of stock rules against itself, and against the rule files where they are at hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from schemas.alert_rules import ALIASES, BY_NAME, RULES, CauseName, family_of, level_of, rule_of

RULE_FILES = Path(__file__).parents[3] / "shared" / "reference" / "alert-rules"
HELD_TOGETHER = re.compile(r"\bby\s*\(([^)]*)\)", re.IGNORECASE)


def test_the_table_has_all_49_rules_once() -> None:
    assert len(RULES) == len(BY_NAME) == 49
    assert sum(r.name.lower().startswith("pd_") for r in RULES) == 19


def test_each_rule_names_a_cause_or_says_why_it_abstains_never_both() -> None:
    for rule in RULES:
        assert (rule.cause == "unknown") == bool(rule.abstains), rule.name
        assert rule.cause in get_args(CauseName)
        assert rule.tells, rule.name
        assert not (rule.told_by_alert and rule.abstains), rule.name


def test_old_names_lead_to_the_rule_of_today() -> None:
    assert not set(ALIASES) & set(BY_NAME)
    for old, new in ALIASES.items():
        assert rule_of(old) is BY_NAME[new]
    assert family_of("PD_cluster_offline_tikv_nums") == "store_down"


def test_an_unknown_alert_is_a_family_of_its_own() -> None:
    assert family_of("DiskOnFire") == "other:DiskOnFire"
    assert level_of("DiskOnFire") == "warning"
    assert rule_of("DiskOnFire") is None


def test_the_level_is_the_labels_if_it_is_one_of_ours() -> None:
    assert level_of("PD_cluster_slow_tikv_nums") == "critical"
    assert level_of("PD_cluster_slow_tikv_nums", "emergency") == "emergency"
    assert level_of("PD_cluster_slow_tikv_nums", "page-me") == "critical"


def test_the_table_says_what_the_rule_files_say() -> None:
    if not RULE_FILES.is_dir():
        pytest.skip(
            "the stock rule files are not at hand (../shared/reference/alert-rules): only self-consistency shown"
        )
    found = {name: (level, expr) for path in RULE_FILES.glob("*.yml") for name, level, expr in rules_in(path)}
    assert set(found) == set(BY_NAME)
    for name, (level, expr) in found.items():
        rule = BY_NAME[name]
        assert rule.level == level, name
        kept = labels_kept(expr)
        assert rule.whole_series == (kept is None), name
        if kept is not None:
            assert set(rule.labels) == kept, name
        else:
            assert {"instance", "job"} <= set(rule.labels), name


def rules_in(path: Path) -> list[tuple[str, str, str]]:
    """(name, level, expression) of each rule: these files are so regular that three patterns read them."""
    found = []
    for block in re.split(r"\n\s*- alert:", path.read_text())[1:]:
        expr = re.search(r"\n {4}expr:(.*?)\n {4}(?:for|labels|#)", block, re.DOTALL)
        level = re.search(r"\n\s+level:\s*(\w+)", block)
        assert expr, block
        assert level, block
        found.append((block.split("\n")[0].strip(), level[1], " ".join(expr[1].split())))
    return found


def labels_kept(expr: str) -> set[str] | None:
    """The labels that an expression leaves on its result, from its first operand; None: it aggregates nothing away."""
    if found := HELD_TOGETHER.search(expr):
        return {label.strip() for label in found[1].split(",")} - {"le"}
    outermost = re.match(r"[\s|(]*(sum|count|max|min|avg)\s*\(", expr)
    return set() if outermost else None
