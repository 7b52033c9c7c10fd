"""Which lines `make mutate` changes where it is asked for some."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mutation.__main__ import Answer, lines_named, lines_of
from tests.mutation.mutants import mutants_of

SOURCE = (
    "LEAST = 1\n\n\ndef enough(\n    count: int,\n    least: int = LEAST + 2,\n) -> bool:\n    return count >= least\n"
)


def test_the_mutants_of_some_lines_are_those_of_all_that_change_there() -> None:
    every = list(mutants_of(SOURCE))
    assert {m.line for m in every} == {1, 6, 8}
    for line in range(1, 9):
        assert list(mutants_of(SOURCE, {line})) == [m for m in every if m.line == line]
    assert list(mutants_of(SOURCE, {1, 8})) == [m for m in every if m.line != 6]


def test_the_lines_of_a_diff_are_those_that_are_new_or_changed() -> None:
    diff = "--- a/x\n+++ b/x\n@@ -3 +3 @@\n-a\n+b\n@@ -8,2 +8,0 @@ def f():\n-a\n-b\n@@ -20,0 +19,3 @@\n+a\n+b\n+c\n"
    assert lines_of(diff) == {3, 19, 20, 21}


def test_lines_are_named_one_by_one_or_from_and_to() -> None:
    assert lines_named("3-5,9") == {3, 4, 5, 9}
    assert lines_named("7") == {7}


class Heard(Answer):
    """Notes what it would say, and goes on."""

    def says(self, failed: str | None) -> Any:
        self.said = failed


@pytest.mark.parametrize(("outcome", "said"), [("failed", "collection"), ("passed", "")])
def test_a_mutant_with_which_a_test_file_cannot_be_imported_is_seen(outcome: Any, said: str) -> None:
    heard = Heard(write=-1)
    heard.said = ""
    heard.pytest_collectreport(pytest.CollectReport("tests/x.py", outcome, None, []))
    assert heard.said == said
