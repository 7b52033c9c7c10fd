"""Every named question, asked of one record written by hand, gives the rows that were worked out by hand.

A question without a known answer fails here. A check has none over the whole record, and its row over the record in
which what it looks for has been planted.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.clickhouse import dashboard
from infra.clickhouse.migrate import migrate
from infra.clickhouse.questions import ask, moment, question, questions
from infra.clickhouse.rows import AT, row_of
from infra.clickhouse.store import Store, open_store
from schemas import events as e
from schemas.values import Objection
from schemas.wire import digest_of
from tests.integration.audit_fixtures import CLUSTER, START_MS, Story, keep, plan_of
from tests.servers import ClickhouseEngine

LAB, US = "lab-3", "prod-us-1"
DAY_S = 86_400
SPRING_S = 100 * DAY_S  # after the rest
RUNS = {
    "default_mode": "dry_run",
    "actions": {"evict_store_leaders": {"mode": "on", "canary": [CLUSTER, LAB]}, "split_region": {"mode": "on"}},
}
CALMER = {**RUNS, "actions": {**RUNS["actions"], "offline_store": {"mode": "dry_run"}}}  # type: ignore[dict-item]


def at(seconds: float) -> datetime:
    """So many seconds after the story begins, by the log's time; the broker's is 40 ms more."""
    return datetime.fromtimestamp((START_MS + round(seconds * 1000)) / 1000, UTC)


def the_record() -> Story:
    """Seconds since the start are at the end of each line; each beat of a stretch is a second after the last."""
    story = Story()
    story.says("incidents", e.OwnerStarted(cluster_id="~1", role="incidents", owner="host-1", build="b1"))  # 1
    adopted: dict[str, Any] = {"cluster_id": "*", "reason": "trial", "by": "anna"}
    story.says("controls", e.PolicyAdopted(**adopted, version=1, policy_json=json.dumps(RUNS)))  # 2
    story.alerted("INC-1")  # alert 2, signal 3, opened 4, asked 5, made 6, asked 7, made 8, adopted 9
    # Proposed 10, opened 11, asked 12, approved 72, counted 73, authorised 74, claimed 75, call 76, 200 at 77, sampled
    # 78, undo 79, 200 at 80, gone 81, concluded 82, closed 83.
    story.repaired("R-1", "INC-1")
    late = e.Denied(cluster_id=CLUSTER, remediation_id="R-1", approval=story.word("ben", "R-1"))
    heard = story.says("approvals", late)  # 84
    rejected: dict[str, Any] = {"cluster_id": CLUSTER, "remediation_id": "R-1", "approval_id": "A-R-1-ben"}
    story.says("remediations", e.ApprovalRejected(**rejected, person="ben", code="closed", text="ended"), heard)  # 85

    story.alerted("INC-2", LAB)  # alert 85, signal 86, opened 87, ..., made 91, adopted 92
    # Proposed 93, opened 94, asked 95, approved 98, counted 99, authorised 100, claimed 101, call 102, 200 at 103,
    # sampled 104; neither taken back nor concluded.
    story.repaired("R-2", "INC-2", LAB, people=("ben",), thinks_s=3, undone=False, concluded=False)
    story.says("controls", e.Frozen(cluster_id=LAB, by="ben", reason="maintenance"))  # 105
    story.step("R-2", 2, "do", plan_of(LAB).changes[0].do, cluster=LAB)  # 106, 200 at 107
    story.says("controls", e.Lifted(cluster_id=LAB, by="anna", reason="over"))  # 108
    story.says("controls", e.PolicyAdopted(**adopted | {"by": "ben"}, version=2, policy_json=json.dumps(CALMER)))  # 109

    last = story.alerted("INC-3", US)  # alert 109, signal 110, opened 111, ..., adopted 116
    of: dict[str, Any] = {"cluster_id": US, "incident_id": "INC-3", "remediation_id": "R-3"}
    found = (
        Objection(code="store_busy", kind="wait", text="busy"),
        Objection(code="too_few_replicas", kind="no", text="2"),
    )
    refused = e.ProposalRefused(**of, proposal_id="P", attempt=1, action="evict_store_leaders", objections=found)
    because = story.says("validations", refused, last)  # 117
    story.says("remediations", e.RemediationClosed(**of, code="too_few_replicas", text="2 left"), because)  # 118

    story.now_ms = START_MS + SPRING_S * 1000
    # Proposed S+1, ..., asked 3, approved 6, counted 7, authorised 8, claimed 9, call 10, 200 at 11, sampled 12, undo
    # 1013, 200 at 1014, gone 1015, concluded 1016, closed 1017.
    story.repaired("R-4", "INC-4", US, people=("ben",), thinks_s=3, lasts_s=1000, outcome="worse")
    return story


@dataclass(frozen=True)
class Known:
    """`columns`: those that are looked at."""

    params: dict[str, str]
    columns: str
    rows: list[tuple[Any, ...]]


S = SPRING_S
TEXT = "leaders 2 -> 0"
CHANGES = [
    {
        "do": {"name": "add_evict_leader", "args": {"store_id": "4"}},
        "undo": {"name": "remove_evict_leader", "args": {"store_id": "4"}},
        "keep_s": 900,
    }
]
BOUNDS = {"stores_max": 1, "regions_max": 9, "leaders_max": 9, "bytes_moved_max": 0}
REACH = {"stores": 1, "regions": 3, "leaders": 2, "leaders_share": 0.1, "bytes_moved": 0}
ACTION_RULE = RUNS["actions"]["evict_store_leaders"]  # type: ignore[index]
KNOWN = {
    "what-touched-store": Known(
        {"cluster": CLUSTER, "store": "4"},
        "intended_at remediation incident action mode attempt step direction call approvers answer finding",
        [
            (
                at(76),
                "R-1",
                "INC-1",
                "evict_store_leaders",
                "on",
                1,
                1,
                "do",
                "add_evict_leader",
                ["anna"],
                "accepted",
                "",
            ),
            (
                at(79),
                "R-1",
                "INC-1",
                "evict_store_leaders",
                "on",
                1,
                2,
                "undo",
                "remove_evict_leader",
                ["anna"],
                "accepted",
                "",
            ),
        ],
    ),
    "who-approved": Known(
        {"remediation": "R-1"},
        "said_at person word via counted reason expires_at digest asked_at tier rule needed mode action params changes"
        " bounds reach premises facts_age_s why cause confidence evidence",
        [
            # The card was asked about at 12 with facts of 3, eight seconds older than what it was made from.
            (
                at(72),
                "anna",
                "Approved",
                "cli",
                "counted",
                "disk known bad",
                at(609),
                digest_of(plan_of()),
                at(12),
                "MEDIUM",
                "one",
                1,
                "on",
                "evict_store_leaders",
                {"store_id": 4},
                CHANGES,
                BOUNDS,
                REACH,
                [],
                69.04,
                "disk stall",
                "disk_stall",
                0.86,
                [],
            ),
            (
                at(84),
                "ben",
                "Denied",
                "cli",
                "rejected: closed",
                "disk known bad",
                at(683),
                "",
                at(12),
                "MEDIUM",
                "one",
                1,
                "on",
                "evict_store_leaders",
                {"store_id": 4},
                CHANGES,
                BOUNDS,
                REACH,
                [],
                81.04,
                "disk stall",
                "disk_stall",
                0.86,
                [],
            ),
        ],
    ),
    "writes-without-approval": Known({}, "", []),
    "overlapping-claims": Known({}, "", []),
    "chain-breaks": Known({}, "", []),
    "owed-undos": Known(
        {"at": "2027-01-15 08:30:00"},
        "cluster remediation change call undo_call since due_at late state",
        [(LAB, "R-2", 0, "add_evict_leader", "remove_evict_leader", at(102), at(1002), True, "under way")],
    ),
    "late-undos": Known(
        {"at": "2027-01-15 08:30:00"},
        "cluster remediation change call undo_call due_at gone_at late_s state",
        [
            (LAB, "R-2", 0, "add_evict_leader", "remove_evict_leader", at(1002), None, 798.0, "owed"),
            (
                US,
                "R-4",
                0,
                "add_evict_leader",
                "remove_evict_leader",
                at(S + 910),
                at(S + 1015),
                105.0,
                "undone late",
            ),
        ],
    ),
    "why-nothing": Known(
        {"incident": "INC-3"},
        "at remediation what code reason outcome until",
        [
            (at(117), "R-3", "ProposalRefused", "store_busy, too_few_replicas", "", "", None),
            (at(118), "R-3", "RemediationClosed", "too_few_replicas", "2 left", "", None),
        ],
    ),
    "which-policy": Known(
        {},
        "authorised_at cluster remediation incident action mode tier approval_rule needed approvers policy_version"
        " adopted_by adopted_at adopted_because action_rule rules in_force",
        [
            (
                at(when),
                cluster,
                remediation,
                incident,
                "evict_store_leaders",
                "on",
                "MEDIUM",
                "one",
                1,
                [person],
                1,
                "anna",
                at(2),
                "trial",
                ACTION_RULE,
                ["mode=on", "approval.medium=one"],
                1,
            )
            for when, cluster, remediation, incident, person in (
                (74, CLUSTER, "R-1", "INC-1", "anna"),
                (100, LAB, "R-2", "INC-2", "ben"),
                (S + 8, US, "R-4", "INC-4", "ben"),
            )
        ],
    ),
    "policy-history": Known(
        {},
        "version adopted_at until adopted_by reason executions policy",
        [(1, at(2), at(109), "anna", "trial", 3, RUNS), (2, at(109), None, "ben", "trial", 0, CALMER)],
    ),
    "what-the-model-said": Known(
        {"incident": "INC-2"},
        "at cluster incident what model prompt_version prompt_sha diagnosis confidence action code summary reply"
        " evidence took_ms",
        [
            (
                at(91),
                LAB,
                "INC-2",
                "DiagnosisMade",
                "claude",
                "3",
                "ab12",
                "disk_stall",
                0.86,
                "",
                "",
                "disk stall, store 4",
                "It is the disk.",
                [],
                0,
            ),
            (
                at(93),
                LAB,
                "INC-2",
                "ActionProposed",
                "claude",
                "",
                "",
                "disk_stall",
                0.86,
                "evict_store_leaders",
                "",
                "disk stall",
                "",
                [],
                0,
            ),
        ],
    ),
    "freezes": Known(
        {},
        "stopped_at cluster what by reason lifted_at lifted_by forward_steps_after undo_steps_after"
        " last_effect_after_s",
        [(at(105.04), LAB, "Frozen", "ben", "maintenance", at(108.04), "anna", 1, 0, 2.0)],
    ),
    "time-to-decide": Known(
        {},
        "person tier decisions denied p50_s p90_s under_5_s share_under_5_s executed failed",
        [("anna", "MEDIUM", 1, 0, 60.0, 60.0, 0, 0.0, 1, 0), ("ben", "MEDIUM", 3, 1, 3.0, 72.0, 2, 0.6667, 1, 1)],
    ),
    "unused-grants": Known(
        {"at": "2027-04-26 12:00:00", "days": "90"},
        "action call granted_since policy_version adopted_by canary uses last_used_at",
        [("split_region", "split_region", at(2), 2, "ben", [], 0, None)],
    ),
    "completeness": Known(
        {"topic": "controls"},
        "topic partition events first_offset last_offset last_appended_at last_recorded_at chains missing_seqs"
        " repeated_rows unreadable",
        [("controls", 0, 4, 0, 4, at(109.04), at(S + 1017), 0, 0, 0, 0)],
    ),
    "incident-story": Known(
        {"incident": "INC-3"},
        "at what remediation who action code text caused_by",
        [
            (at(111), "IncidentOpened", "", "", "", "", "slow", "signals/0@2"),
            (at(112), "DiagnosisAsked", "", "playbook", "", "", "", "signals/0@2"),
            (at(113), "DiagnosisMade", "", "playbook", "", "", "disk stall, store 4", "incidents/0@12"),
            (at(114), "DiagnosisAsked", "", "model", "", "", "", "signals/0@2"),
            (at(115), "DiagnosisMade", "", "model", "", "", "disk stall, store 4", "incidents/0@13"),
            (at(116), "DiagnosisAdopted", "", "model", "", "", "disk", "diagnoses/0@6"),
            (
                at(117),
                "ProposalRefused",
                "R-3",
                "",
                "evict_store_leaders",
                "store_busy, too_few_replicas",
                "",
                "incidents/0@14",
            ),
            (at(118), "RemediationClosed", "R-3", "", "", "too_few_replicas", "2 left", "validations/0@0"),
        ],
    ),
    "lead-times": Known(
        {},
        "stretch n p50_s p90_s p99_s max_s",
        [
            (stretch, n, took_s, took_s, took_s, took_s)
            for stretch, n, took_s in (
                ("alert -> incident", 3, 0.96),
                ("incident -> diagnosis", 3, 5.0),
                ("diagnosis -> proposal", 2, 2.0),
                ("proposal -> asked", 2, 1.0),
                ("asked -> authorised", 2, 62.0),  # and 5
                ("authorised -> claim", 2, 1.0),
                ("claim -> effect", 2, 2.0),
                ("effect -> verified", 1, 5.0),
                ("alert -> verified", 1, 78.96),
            )
        ],
    ),
}


def planted() -> list[tuple[Any, ...]]:
    """Rows of a record with one thing wrong for each check."""
    story = Story()
    story.alerted("INC-1")
    story.repaired("R-1", "INC-1", concluded=False)  # claimed 73, gone 79
    story.repaired("R-2", "INC-1")  # while R-1 is open: claimed 145, closed 153
    story.step("R-7", 1, "do", plan_of().changes[0].do)  # of nobody's claim
    rows = [row_of(raw, story.now_ms) for raw in story.all()]
    edited = next(i for i, row in enumerate(rows) if row[AT["kind"]] == "IncidentOpened")
    bytes_of = rows[edited][AT["raw"]]
    rows[edited] = (*rows[edited][: AT["raw"]], bytes_of[:-1] + b"?", *rows[edited][AT["raw"] + 1 :])
    return rows


PLANTED = {
    "writes-without-approval": Known(
        {},
        "intended_at cluster remediation call place why",
        [(at(154), CLUSTER, "R-7", "add_evict_leader", "outcomes/0@20", "no claim before it")],
    ),
    "overlapping-claims": Known(
        {},
        "cluster remediation claimed_at still_open place",
        [(CLUSTER, "R-2", at(145), "R-1", "outcomes/0@9")],
    ),
    "chain-breaks": Known(
        {},
        "cluster place seq why",
        [(CLUSTER, "incidents/0@0", 1, "its bytes are not those that were hashed")],
    ),
}


@pytest.fixture(scope="module")
def stores(clickhouse_engine: ClickhouseEngine) -> Iterator[dict[str, Store]]:
    """The record, and the one with something wrong in it. Nobody writes to them any more."""
    admin = clickhouse_engine.client()
    story = the_record()
    made = {}
    for name, rows in (("whole", [row_of(raw, story.now_ms) for raw in story.all()]), ("planted", planted())):
        database = f"test_{name}_{secrets.token_hex(4)}"
        admin.command(f"CREATE DATABASE {database}")
        migrate(clickhouse_engine.url, database=database)
        made[name] = open_store(clickhouse_engine.url, database=database)
        keep(made[name], rows)
    yield made
    for store in made.values():
        store.close()
        admin.command(f"DROP DATABASE {store.place.database}")
    admin.close()


def told(store: Store, name: str, known: Known) -> list[tuple[Any, ...]]:
    """The columns that are looked at; what is JSON as what it says."""
    found = ask(store, name, known.params)
    if found.result.rows:
        assert found.result.columns == question(name).columns
    rows = [dict(zip(found.result.columns, row, strict=True)) for row in found.result.rows]
    return [tuple(_said(row[column]) for column in known.columns.split()) for row in rows]


def _said(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value[:1] in ("{", "[") else value


@pytest.mark.parametrize("name", sorted(questions()))
def test_every_question_has_its_known_answer(stores: dict[str, Store], name: str) -> None:
    known = KNOWN[name]
    assert told(stores["whole"], name, known) == known.rows
    assert bool(known.rows) != question(name).must_be_empty, "a known answer that is empty shows nothing"


@pytest.mark.parametrize("name", sorted(n for n, q in questions().items() if q.must_be_empty))
def test_every_check_finds_what_was_planted(stores: dict[str, Store], name: str) -> None:
    known = PLANTED[name]
    assert told(stores["planted"], name, known) == known.rows
    assert known.rows
    assert not ask(stores["planted"], name).ok


# -- the dashboard


def pasted(sql: str, said: dict[str, str]) -> str:
    """As Grafana does it: `sqlstring` in quotes, with quotes in it doubled; the rest, and All's own value, as it is."""

    def value(found: re.Match[str]) -> str:
        name, form = found[1], found[2]
        if form is None or said[name] == "''":
            return said[name]
        assert form == "sqlstring", form
        return "'" + said[name].replace("'", "''") + "'"

    return re.sub(r"\$\{(\w+)(?::(\w+))?\}", value, sql)


VARIABLES = {v["name"]: v for v in dashboard.dashboard()["templating"]["list"]}


def variables(params: dict[str, str]) -> dict[str, str]:
    """What each stands for where somebody has said `params`, and else nothing; times as the dashboard's own."""
    said = {name: v.get("allValue", v.get("current", {}).get("value", "")) for name, v in VARIABLES.items()}
    until = moment(params.get("at", "2199-12-31"))
    ends_ms = round(datetime.fromisoformat(until).replace(tzinfo=UTC).timestamp() * 1000)
    return {**said, **params, "__from": "0", "__to": str(ends_ms)}


@pytest.mark.parametrize("panel", dashboard.dashboard()["panels"], ids=lambda p: f"{p['type']}: {p['title']}")
def test_every_panel_gives_what_its_question_gives(stores: dict[str, Store], panel: dict[str, Any]) -> None:
    (target,) = panel["targets"]
    asked = next(q for q in questions().values() if panel["description"].startswith(q.purpose))
    said = variables(KNOWN[asked.name].params)
    for name in ("whole", "planted"):
        found = stores[name].query(pasted(target["rawSql"], said))
        expected = ask(stores[name], asked.name, KNOWN[asked.name].params).result.rows
        assert found.rows == ([(len(expected),)] if panel["type"] == "stat" else expected)


def test_every_question_is_a_panel_and_every_variable_is_there() -> None:
    panels = dashboard.dashboard()["panels"]
    assert len([p for p in panels if p["type"] == "table"]) == len(questions())
    assert len([p for p in panels if p["type"] == "stat"]) == len(PLANTED)
    assert len({p["id"] for p in panels}) == len(panels)
    used = set(re.findall(r"\$\{(\w+)", json.dumps(panels)))
    assert used == {*VARIABLES, "__from", "__to"}


def test_the_variable_of_clusters_lists_them(stores: dict[str, Store]) -> None:
    assert stores["whole"].query(VARIABLES["cluster"]["query"]).rows == [(LAB,), (CLUSTER,), (US,)]


def test_what_somebody_types_into_a_variable_is_text(stores: dict[str, Store]) -> None:
    said = variables({"incident": "INC-1' OR 1=1 --"})
    sql = pasted(dashboard.sql_of(question("incident-story")), said)
    assert stores["whole"].query(sql).rows == []
