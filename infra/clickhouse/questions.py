"""Named questions: one SQL file each, that documents itself, takes bound parameters, and may have to have no answer.

The head of a file says what it is for, its parameters (`name Type`, with ` = default` where it has one), whether rows
are welcome (`any`) or wrong (`none`: then it is a check), and an example.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from infra.clickhouse.store import Result, Store

DIRECTORY = Path(__file__).parent / "questions"
_HEAD = re.compile(r"-- (purpose|param|rows|example)(?: ?:)? ?(.*)")
_PARAM = re.compile(
    r"(?P<name>[a-z_]+) (?P<type>[A-Za-z0-9]+(?:\([^)]*\))?)(?P<has> = (?P<default>.*?))?: (?P<text>.+)"
)
_BOUND = re.compile(r"\{([a-z_]+):([^}]+)\}")
_LOOKS_LIKE: Mapping[str, str] = {
    "String": r"(?s).*",
    "UInt64": r"\d{1,20}",
    "DateTime64(3, 'UTC')": r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d{1,3})?)?",
}


class QuestionRefused(Exception):
    """No such question, or parameters that don't fit it; lists everything that is wrong."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Param:
    name: str
    type: str
    text: str
    default: str | None = None  # None: it must be given


@dataclass(frozen=True)
class Question:
    """`must_be_empty`: any row is a finding, and the answer is no."""

    name: str
    purpose: str
    params: tuple[Param, ...]
    must_be_empty: bool
    example: str
    sql: str


@dataclass(frozen=True)
class Answer:
    question: Question
    result: Result

    @property
    def ok(self) -> bool:
        return not (self.question.must_be_empty and self.result.rows)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: times as ISO 8601, bytes as hex."""
        return {
            "question": self.question.name,
            "ok": self.ok,
            "must_be_empty": self.question.must_be_empty,
            "columns": list(self.result.columns),
            "rows": [[plain(value) for value in row] for row in self.result.rows],
        }


def plain(value: Any) -> Any:
    """A value of a result as JSON knows it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


@cache
def questions(directory: Path = DIRECTORY) -> Mapping[str, Question]:
    """All of them, by name."""
    return {path.stem: parse(path.stem, path.read_text()) for path in sorted(directory.glob("*.sql"))}


def question(name: str) -> Question:
    known = questions()
    if name not in known:
        raise QuestionRefused(f"no question {name!r}; there are {', '.join(known)}")
    return known[name]


def parse(name: str, text: str) -> Question:
    """A question from its file. Raises ValueError where its head is incomplete, or is not what the SQL binds."""
    said: dict[str, str] = {}
    params = []
    body = text.splitlines()
    while body and (line := _HEAD.fullmatch(body[0])):
        body.pop(0)
        if line[1] == "param":
            found = _PARAM.fullmatch(line[2])
            if found is None or found["type"] not in _LOOKS_LIKE:
                raise ValueError(f"{name}: {line[2]!r} is no parameter: name Type [= default]: text")
            params.append(
                Param(found["name"], found["type"], found["text"], found["default"] if found["has"] else None)
            )
        else:
            said[line[1]] = line[2]
    sql = "\n".join(body).strip()
    if missing := {"purpose", "rows", "example"} - said.keys():
        raise ValueError(f"{name}: its head says nothing of {', '.join(sorted(missing))}")
    if said["rows"] not in ("any", "none"):
        raise ValueError(f"{name}: rows: {said['rows']!r} is neither any nor none")
    bound = {(found[1], found[2]) for found in _BOUND.finditer(sql)}
    if bound != {(p.name, p.type) for p in params}:
        raise ValueError(f"{name}: the head declares {[p.name for p in params]}, the SQL binds {sorted(bound)}")
    return Question(name, said["purpose"], tuple(params), said["rows"] == "none", said["example"], sql)


def bind(asked: Question, given: Mapping[str, str]) -> dict[str, str]:
    """What the server is to bind. Raises QuestionRefused."""
    wrong = [f"{asked.name} has no parameter {name!r}" for name in given if name not in {p.name for p in asked.params}]
    bound = {}
    for param in asked.params:
        value = given.get(param.name, param.default)
        if value is None:
            wrong.append(f"{asked.name} needs {param.name}: {param.text}, e.g. {asked.example}")
        elif not re.fullmatch(_LOOKS_LIKE[param.type], value):
            wrong.append(f"{asked.name}: {param.name} is not a {param.type}")
        else:
            bound[param.name] = value
    if wrong:
        raise QuestionRefused(*wrong)
    return bound


def ask(store: Store, name: str, params: Mapping[str, str] | None = None) -> Answer:
    """Blocks. Raises QuestionRefused, AuditUnreachable, AuditRefused."""
    asked = question(name)
    return Answer(asked, store.query(asked.sql, bind(asked, params or {})))
