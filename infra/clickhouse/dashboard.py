"""A Grafana dashboard over the named questions, for the data source plugin `grafana-clickhouse-datasource`.

What is in it derives from the questions: `python -m docs.generate` writes the file, which ships with the wheel. A panel
a question, as a table; a check also as a number, red where it is not 0. A parameter of a question is a variable of the
dashboard, but for times, which are the dashboard's own.

Grafana pastes variables into SQL and quotes them for SQL in general, not for ClickHouse, which also knows backslashes:
who may look at the dashboard may read all that its data source's user may. Give it the auditor's user, which can only
read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.clickhouse.questions import Param, Question, granted_calls, literal, questions
from infra.clickhouse.reading import READER_SETTINGS

FILE = Path(__file__).parent / "steward-audit.json"
UID = "steward-audit"
SOURCE = {"type": "grafana-clickhouse-datasource", "uid": "${source}"}
SCHEMA = 39  # of Grafana 11; newer ones read it
WIDTH, CHECK_HEIGHT, TABLE_HEIGHT = 24, 4, 9
# Of a readonly user ClickHouse takes this where its profile says the same, else it refuses: better than a wrong answer.
SETTINGS = "\nSETTINGS " + ", ".join(f"{name} = {value}" for name, value in READER_SETTINGS.items())
CLUSTERS = "SELECT DISTINCT cluster_id FROM events WHERE topic = 'signals' AND cluster_id != '' ORDER BY cluster_id"
_TIMES = {"since": "${__from}", "at": "${__to}"}  # ms since 1970


def dashboard() -> dict[str, Any]:
    """The whole dashboard, as Grafana imports it."""
    return {
        "uid": UID,
        "title": "Steward: the audit",
        "description": "The named questions of `steward audit query`. Written by `python -m docs.generate`.",
        "tags": ["steward"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "refresh": "",
        "timezone": "utc",
        "time": {"from": "now-90d", "to": "now"},
        "annotations": {"list": []},
        "templating": {"list": list(_variables())},
        "panels": list(_panels()),
    }


def text() -> str:
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


def sql_of(asked: Question) -> str:
    """The question with Grafana's variables where its parameters are."""
    sql = asked.sql
    for param in asked.params:
        sql = sql.replace(f"{{{param.name}:{param.type}}}", _value(param))
    return sql


def _value(param: Param) -> str:
    if param.type.startswith("DateTime64"):
        return f"fromUnixTimestamp64Milli(toInt64({_TIMES[param.name]}), 'UTC')"
    if param.default == "@catalogue":
        return literal(granted_calls())
    quoted = f"${{{param.name}:sqlstring}}"
    return f"toUInt64OrZero({quoted})" if param.type == "UInt64" else quoted


def _variables() -> Iterator[dict[str, Any]]:
    """One for each parameter, under its name; questions that share a name mean the same by it."""
    yield {"name": "source", "label": "ClickHouse", "type": "datasource", "query": SOURCE["type"]}
    yield {
        "name": "cluster",
        "type": "query",
        "datasource": SOURCE,
        "query": CLUSTERS,
        "definition": CLUSTERS,
        "refresh": 2,
        "includeAll": True,
        "allValue": "''",  # it is pasted as it is: the empty text, which questions take for all
        "current": {"selected": True, "text": "All", "value": "$__all"},
    }
    seen = {"cluster", *_TIMES}
    for asked in questions().values():
        for param in asked.params:
            if param.name not in seen and param.default != "@catalogue":
                seen.add(param.name)
                value = param.default or ""
                yield {
                    "name": param.name,
                    "type": "textbox",
                    "description": param.text,
                    "query": value,
                    "current": {"selected": True, "text": value, "value": value},
                }


def _panels() -> Iterator[dict[str, Any]]:
    checks = [q for q in questions().values() if q.must_be_empty]
    width = WIDTH // len(checks)
    for n, asked in enumerate(checks):
        counted = f"SELECT count() AS found FROM (\n{sql_of(asked)}\n){SETTINGS}"
        yield _panel(n + 1, "stat", asked, counted, x=n * width, y=0, w=width, h=CHECK_HEIGHT) | {
            "fieldConfig": {
                "defaults": {
                    "noValue": "no answer",
                    "thresholds": {
                        "mode": "absolute",
                        "steps": [{"color": "green", "value": None}, {"color": "red", "value": 1}],
                    },
                },
                "overrides": [],
            },
            "options": {
                "colorMode": "background",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            },
        }
    for n, asked in enumerate(questions().values()):
        y = CHECK_HEIGHT + n * TABLE_HEIGHT
        yield _panel(100 + n, "table", asked, sql_of(asked) + SETTINGS, x=0, y=y, w=WIDTH, h=TABLE_HEIGHT)


def _panel(number: int, kind: str, asked: Question, sql: str, **place: int) -> dict[str, Any]:
    needs = [p.name for p in asked.params if p.default is None]
    title = re.sub("-", " ", asked.name).capitalize()
    return {
        "id": number,
        "type": kind,
        "title": f"{title} (of the {' and '.join(needs)} above)" if needs else title,
        "description": "\n\n".join([asked.purpose, *asked.notes]),
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "editorType": "sql",
                "queryType": "table",
                "format": 1,
                "rawSql": sql,
                "pluginVersion": "",
            }
        ],
    }
