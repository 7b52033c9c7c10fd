"""The demo asks every named question at its end; a check that finds something is the end of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from demo.__main__ import Failed, Story
from infra.clickhouse.questions import bind, question, questions

ASK = {"incident": "INC-1", "id": "R-1"}


class Told(Story):
    """A story whose console answers every question with `rows` of it."""

    def __init__(self, rows: dict[str, list[Any]]) -> None:
        self.began, self.rows, self.asked = time.monotonic(), rows, list[str]()

    def post(self, path: str, body: Any) -> Any:
        assert path == "/api/v1/audit/query"
        asked = question(body["name"])
        bind(asked, body["params"])
        self.asked.append(asked.name)
        rows = self.rows.get(asked.name, [])
        return {"rows": rows, "ok": not (asked.must_be_empty and rows), "must_be_empty": asked.must_be_empty}

    def until(self, what: str, found: Callable[[], Any], within_s: float) -> Any:
        return found()


def test_every_question_is_asked_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    story = Told({"freezes": [["x"]]})
    story.ask_everything(ASK)
    assert set(story.asked) == set(questions())
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[0] for line in lines] == list(questions())
    assert lines[list(questions()).index("freezes")] == ["freezes", "1", "rows"]


@pytest.mark.parametrize("name", [n for n, q in questions().items() if q.must_be_empty] + ["owed-undos"])
def test_a_check_that_finds_something_ends_it(name: str) -> None:
    with pytest.raises(Failed, match=name):
        Told({name: [["R-1"]]}).ask_everything(ASK)
