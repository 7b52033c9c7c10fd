"""Named questions: one SQL file each, that documents itself, takes bound parameters, and may have to have no answer.

The head of a file says what it is for, its parameters (`name Type`, with ` = default` where it has one), whether rows
are welcome (`any`) or wrong (`none`: then it is a check), its columns, notes for whoever reads the answer, and an
example. A default that begins with `@` is worked out when the question is asked: `@now`, `@catalogue`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actions.catalogue import CATALOGUE
from infra.clickhouse.reading import READER_SETTINGS

if TYPE_CHECKING:
    from infra.clickhouse.store import Result, Store

DIRECTORY = Path(__file__).parent / "questions"
TEXT_CHARS_MAX = 1000
WORDS_MAX = 10_000
Bound = dict[str, Any]  # name -> text, or a list of texts
_HEAD = re.compile(r"-- (purpose|param|rows|columns|note|example)(?: ?:)? ?(.*)")
_PARAM = re.compile(
    r"(?P<name>[a-z_]+) (?P<type>[A-Za-z0-9]+(?:\([^)]*\))?)(?P<has> = (?P<default>.*?))?: (?P<text>.+)"
)
_BOUND = re.compile(r"\{([a-z_]+):([^}]+)\}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d(\.\d{1,3})?Z?)?", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_./-]+", re.ASCII)


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
    columns: tuple[str, ...]
    notes: tuple[str, ...]
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
            "columns": list(self.question.columns),  # chDB names none where there are no rows
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


# -- the files --------------------------------------------------------------------------------------------------------


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
    said: dict[str, list[str]] = {}
    body = text.splitlines()
    while body and (line := _HEAD.fullmatch(body[0])):
        body.pop(0)
        said.setdefault(line[1], []).append(line[2])
    params = tuple(_param(name, text) for text in said.get("param", ()))
    sql = "\n".join(body).strip()
    if missing := {"purpose", "rows", "columns", "example"} - said.keys():
        raise ValueError(f"{name}: its head says nothing of {', '.join(sorted(missing))}")
    rows = said["rows"][0]
    if rows not in ("any", "none"):
        raise ValueError(f"{name}: rows: {rows!r} is neither any nor none")
    bound = {(found[1], found[2]) for found in _BOUND.finditer(sql)}
    if bound != {(p.name, p.type) for p in params}:
        raise ValueError(f"{name}: the head declares {[p.name for p in params]}, the SQL binds {sorted(bound)}")
    columns = tuple(", ".join(said["columns"]).split(", "))
    notes = tuple(said.get("note", ()))
    return Question(name, said["purpose"][0], params, rows == "none", columns, notes, said["example"][0], sql)


def _param(name: str, text: str) -> Param:
    found = _PARAM.fullmatch(text)
    if found is None or found["type"] not in _READ:
        raise ValueError(f"{name}: {text!r} is no parameter: name Type [= default]: text")
    default = found["default"] if found["has"] else None
    if default is not None and default.startswith("@") and default not in _WORKED_OUT:
        raise ValueError(f"{name}: the default {default} is none of {', '.join(_WORKED_OUT)}")
    return Param(found["name"], found["type"], found["text"], default)


# -- their parameters -------------------------------------------------------------------------------------------------


def _text(value: str) -> str:
    if len(value) > TEXT_CHARS_MAX:
        raise ValueError(f"longer than {TEXT_CHARS_MAX} characters")
    return value


def _count(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,20}", value) or int(value) >= 2**64:
        raise ValueError("expected a whole number from 0 to 2^64 - 1")
    return value


def moment(value: str) -> str:
    """A time in UTC as people and answers write it, as ClickHouse reads it. Raises ValueError with the reason."""
    expected = "expected a time in UTC, as in 2027-01-31, 2027-01-31 08:00:00 or 2027-01-31T08:00:00.000Z"
    if not _TIME.fullmatch(value):
        raise ValueError(expected)
    try:
        at = datetime.fromisoformat(value.removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"{expected}: {error}") from None
    if not 1970 <= at.year < 2200:
        raise ValueError("the record knows times from 1970 to 2199")
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1000:03}"


def _words(value: str) -> list[str]:
    found = value.split(",") if value else []
    if len(found) > WORDS_MAX or not all(_WORD.fullmatch(word) for word in found):
        raise ValueError("expected words of letters, digits and _ . / - with a comma between them")
    return found


_READ: Mapping[str, Callable[[str], str | list[str]]] = {
    "String": _text,
    "UInt64": _count,
    "DateTime64(3, 'UTC')": moment,
    "Array(String)": _words,
}


def granted_calls() -> list[str]:
    """`action/call` of every call that an action of this build's catalogue may make."""
    return sorted(f"{action.name}/{call}" for action in CATALOGUE.values() for call in action.may_call)


_WORKED_OUT: Mapping[str, Callable[[datetime], str]] = {
    "@now": lambda now: now.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
    "@catalogue": lambda now: ",".join(granted_calls()),
}


def bind(asked: Question, given: Mapping[str, str], now: datetime | None = None) -> Bound:
    """What the server is to bind; `now` None: this moment. Raises QuestionRefused with everything that is wrong."""
    bound, wrong = _bound(asked, given, now)
    for param in asked.params:
        if param.name not in bound and param.name not in given:
            wrong.append(f"{asked.name} needs {param.name}: {param.text}, e.g. {asked.example}")
    if wrong:
        raise QuestionRefused(*wrong)
    return bound


def _bound(asked: Question, given: Mapping[str, str], now: datetime | None) -> tuple[Bound, list[str]]:
    wrong = [f"{asked.name} has no parameter {name!r}" for name in given if name not in {p.name for p in asked.params}]
    bound: Bound = {}
    for param in asked.params:
        value = given.get(param.name, param.default)
        if value is None:
            continue
        if param.name not in given and value in _WORKED_OUT:
            value = _WORKED_OUT[value](now or datetime.now(UTC))
        try:
            bound[param.name] = _READ[param.type](value)
        except ValueError as error:
            wrong.append(f"{asked.name}: {param.name} is not a {param.type}: {error}")
    return bound, wrong


def ask(store: Store, name: str, params: Mapping[str, str] | None = None) -> Answer:
    """Blocks. Raises QuestionRefused, AuditUnreachable, AuditRefused."""
    asked = question(name)
    return Answer(asked, store.query(asked.sql, bind(asked, params or {})))


# -- as text for ClickHouse's own client ------------------------------------------------------------------------------


def script(asked: Question, given: Mapping[str, str], now: datetime | None = None) -> str:
    """The question as `clickhouse-client` runs it. What must be given and is not stays a comment, so that the client
    says which it misses. Raises QuestionRefused."""
    bound, wrong = _bound(asked, given, now)
    if wrong:
        raise QuestionRefused(*wrong)
    lines = [f"-- {asked.name}: {asked.purpose}"]
    lines += [f"SET {name} = {value}; -- or ClickHouse may miss rows" for name, value in READER_SETTINGS.items()]
    for param in asked.params:
        if param.name in bound:
            lines.append(f"SET param_{param.name} = {literal(_escaped(bound[param.name]))}; -- {param.text}")
        else:
            lines.append(f"-- SET param_{param.name} = '...'; -- {param.text}: {param.type}")
    return "\n".join([*lines, asked.sql + ";"])


def literal(value: str | list[str]) -> str:
    """As ClickHouse's SQL writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _escaped(value: str | list[str]) -> str | list[str]:
    """ClickHouse reads a text parameter as a field of its TabSeparated format. Words need no escape."""
    if isinstance(value, list):
        return value
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
