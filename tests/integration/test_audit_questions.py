"""Each named question has a known answer, over stories written by hand, on the real engine."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from actions.catalogue import CATALOGUE
from infra.clickhouse.migrate import migrate
from infra.clickhouse.questions import (
    Answer,
    Question,
    QuestionRefused,
    ask,
    bind,
    parse,
    plain,
    question,
    questions,
    script,
)
from infra.clickhouse.rows import row_of, row_of_unreadable
from infra.clickhouse.store import Store, open_store
from infra.clickhouse.verify import verify
from infra.runners.books import Books, Raw, fold_control
from schemas import events as e
from schemas.controls import Controls
from schemas.topics import partition_of
from schemas.values import Call, Change, Objection, SignedApproval
from schemas.wire import decode
from streams.pipeline import OWNED
from tests.integration.audit_fixtures import CLUSTER, PARTITIONS, START_MS, Story, keep, plan_of, the_main_story
from tests.servers import ClickhouseDatabase
from tests.spec.test_audit_verify import Folding, junk, noted

JUNK = "topic = 'incidents' AND startsWith(raw, 'junk')"


@pytest.fixture
def store(clickhouse: ClickhouseDatabase) -> Iterator[Store]:
    migrate(clickhouse.url, database=clickhouse.name)
    made = open_store(clickhouse.url, database=clickhouse.name)
    yield made
    made.close()


def tell(store: Store, story: Story, without: tuple[Raw, ...] = ()) -> None:
    keep(store, [row_of(raw, story.now_ms) for raw in story.all() if raw not in without])


def answer(store: Store, name: str, /, **params: str) -> list[dict[str, object]]:
    found: Answer = ask(store, name, params)
    return [dict(zip(found.result.columns, row, strict=True)) for row in found.result.rows]


def values(rows: list[dict[str, object]], *names: str) -> list[tuple[object, ...]]:
    return [tuple(row[n] for n in names) for row in rows]


# -- the files


def test_every_question_says_what_it_is_for_and_binds_what_it_declares() -> None:
    assert len(questions()) >= 17
    for name, found in questions().items():
        assert found.purpose.endswith("."), name
        assert f"steward audit query {name}" in found.example
        for param in found.params:
            assert param.default is not None or f"--param {param.name}=" in found.example


def test_the_checks_are_those_that_must_be_empty() -> None:
    checks = {name for name, found in questions().items() if found.must_be_empty}
    assert checks == {"writes-without-approval", "overlapping-claims", "chain-breaks"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-- purpose: x\n-- rows: any\nSELECT 1", "says nothing of columns, example"),
        ("-- purpose: x\n-- rows: some\n-- columns: a\n-- example: y\nSELECT 1", "neither any nor none"),
        ("-- purpose: x\n-- param a String: b\n-- rows: any\n-- columns: a\n-- example: y\nSELECT 1", "declares"),
        ("-- purpose: x\n-- param a Tuple: b\n-- rows: any\n-- columns: a\n-- example: y\nSELECT 1", "no parameter"),
        ("-- purpose: x\n-- param a String = @then: b\n-- rows: any\n-- columns: a\n-- example: y", "none of @now"),
    ],
)
def test_a_question_that_does_not_document_itself_is_a_bug(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse("q", text)


def test_wrong_parameters_are_refused_all_at_once(store: Store) -> None:
    with pytest.raises(QuestionRefused) as refused:
        ask(store, "what-touched-store", {"store": "four", "shop": "4"})
    assert len(refused.value.problems) == 3
    with pytest.raises(QuestionRefused, match="there are chain-breaks"):
        question("who-did-it")


@pytest.mark.parametrize(
    ("type", "given", "bound"),
    [
        ("String", "", ""),
        ("String", "x' OR 1=1 --", "x' OR 1=1 --"),
        ("UInt64", "18446744073709551615", "18446744073709551615"),
        ("DateTime64(3, 'UTC')", "2027-01-31", "2027-01-31 00:00:00.000"),
        ("DateTime64(3, 'UTC')", "2027-01-31 08:00:01.5", "2027-01-31 08:00:01.500"),
        ("DateTime64(3, 'UTC')", "2027-01-31T08:00:01.500Z", "2027-01-31 08:00:01.500"),  # as answers write it
        ("Array(String)", "", []),
        ("Array(String)", "split_region/split_region,a/b", ["split_region/split_region", "a/b"]),
    ],
)
def test_parameters_are_read(type: str, given: str, bound: object) -> None:
    assert bind(one_param(type), {"p": given}) == {"p": bound}


@pytest.mark.parametrize(
    ("type", "given", "why"),
    [
        ("String", "x" * 1001, "longer than 1000"),
        ("UInt64", "-1", "whole number"),
        ("UInt64", "18446744073709551616", "whole number"),
        ("UInt64", "٤", "whole number"),
        ("DateTime64(3, 'UTC')", "yesterday", "as in 2027-01-31"),
        ("DateTime64(3, 'UTC')", "2027-02-30", "day is out of range"),
        ("DateTime64(3, 'UTC')", "2027-01-31 25:00:00", "hour must be"),
        ("DateTime64(3, 'UTC')", "1969-12-31", "1970 to 2199"),
        ("Array(String)", "a,,b", "with a comma between"),
        ("Array(String)", "a,b'", "with a comma between"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_with_name_and_reason(type: str, given: str, why: str) -> None:
    with pytest.raises(QuestionRefused) as refused:
        bind(one_param(type), {"p": given})
    (problem,) = refused.value.problems
    assert problem.startswith(f"q: p is not a {type}: ")
    assert why in problem


def one_param(type: str) -> Question:
    return parse(
        "q", f"-- purpose: x\n-- param p {type}: y\n-- rows: any\n-- columns: a\n-- example: z\nSELECT {{p:{type}}}"
    )


def test_defaults_that_are_worked_out_are_this_moment_and_this_builds_catalogue() -> None:
    now = datetime(2027, 4, 26, 12, 0, 1, tzinfo=UTC)
    bound = bind(question("unused-grants"), {}, now)
    assert (bound["days"], bound["at"]) == ("90", "2027-04-26 12:00:01.000")
    assert {"evict_store_leaders/add_evict_leader", "evict_store_leaders/remove_evict_leader"} <= set(bound["granted"])
    assert len(bound["granted"]) == sum(len(action.may_call) for action in CATALOGUE.values())


TRICKY = "it's \\ a\ttab, a\nline and {incident:String}"


def test_what_audit_sql_prints_runs_as_it_stands(store: Store, clickhouse: ClickhouseDatabase) -> None:
    story = the_main_story()
    story.alerted(TRICKY, "lab-3")
    tell(store, story)
    client = clickhouse.client()
    for name, given in (
        ("incident-story", {"incident": TRICKY}),
        ("what-touched-store", {"cluster": CLUSTER, "store": "4"}),
        ("unused-grants", {"at": "2027-06-01"}),
        ("lead-times", {"since": "2027-01-01T00:00:00Z"}),
    ):
        printed, sql = script(question(name), given), question(name).sql
        assert printed.endswith(f"\n{sql};")
        for line in printed.removesuffix(f"{sql};").splitlines():
            if line.startswith("SET "):
                client.command(line.rpartition("; -- ")[0])
        ran = [[plain(value) for value in row] for row in client.query(sql).result_rows]
        asked = [[plain(value) for value in row] for row in ask(store, name, given).result.rows]
        assert json.dumps(ran) == json.dumps(asked).replace('Z"', '"'), name
    assert len(ask(store, "incident-story", {"incident": TRICKY}).result.rows) == 6
    client.close()


def test_what_must_be_given_and_is_not_stays_a_comment() -> None:
    printed = script(question("what-touched-store"), {"cluster": "it's"})
    assert "SET param_cluster = 'it\\'s'; -- the cluster" in printed
    assert "-- SET param_store = '...'; -- the store, as PD numbers it: UInt64" in printed
    with pytest.raises(QuestionRefused, match="store is not a UInt64"):
        script(question("what-touched-store"), {"store": "four"})


def test_an_answer_is_plain_json(store: Store) -> None:
    tell(store, the_main_story())
    said = ask(store, "policy-history").to_dict()
    assert (said["ok"], said["must_be_empty"]) == (True, False)
    assert said["rows"][0][said["columns"].index("adopted_at")] == "2027-01-15T08:00:02.000Z"


# -- the answers


def test_what_touched_store(store: Store) -> None:
    tell(store, the_main_story())
    rows = answer(store, "what-touched-store", cluster=CLUSTER, store="4")
    assert values(rows, "remediation", "incident", "step", "direction", "call", "answer", "approvers", "mode") == [
        ("R-1", "INC-1", 1, "do", "add_evict_leader", "accepted", ["anna"], "on"),
        ("R-1", "INC-1", 2, "undo", "remove_evict_leader", "accepted", ["anna"], "on"),
    ]
    assert answer(store, "what-touched-store", cluster=CLUSTER, store="44") == []


def test_who_approved_shows_each_the_card_that_was_there_when_they_spoke(store: Store) -> None:
    story = the_main_story()
    first = next(r for r in story.all() if r.topic == "remediations" and row_of(r, 0)[5] == "ApprovalAsked")
    asked = decode(first.value).event
    assert isinstance(asked, e.ApprovalAsked)
    of = {"cluster_id": CLUSTER, "remediation_id": "R-1"}
    story.says("approvals", e.Denied(**of, approval=story.word("ben", "R-1")))
    story.says("remediations", asked.model_copy(update={"digest": "new", "params": '{"store_id":5}', "tier": "HIGH"}))
    story.says("approvals", e.Denied(**of, approval=story.word("cleo", "R-1")))
    story.says("approvals", e.Approved(**of, digest=asked.digest, approval=story.word("dan", "R-1")))
    tell(store, story)
    rows = answer(store, "who-approved", remediation="R-1")
    assert values(rows, "person", "word", "counted", "tier", "params") == [
        ("anna", "Approved", "counted", "MEDIUM", '{"store_id":4}'),
        ("ben", "Denied", "not answered", "MEDIUM", '{"store_id":4}'),
        ("cleo", "Denied", "not answered", "HIGH", '{"store_id":5}'),
        ("dan", "Approved", "not answered", "MEDIUM", '{"store_id":4}'),  # of the plan that dan named
    ]


def writes(store: Store) -> list[tuple[object, ...]]:
    return values(answer(store, "writes-without-approval"), "remediation", "call", "why")


def both_steps(why: str) -> list[tuple[object, ...]]:
    return [("R-1", "add_evict_leader", why), ("R-1", "remove_evict_leader", why)]


def test_writes_without_approval_an_approved_repair_has_none(store: Store) -> None:
    tell(store, the_main_story())
    assert ask(store, "writes-without-approval").ok


def test_writes_without_approval_a_claim_with_nobodys_word(store: Store) -> None:
    story = Story()
    story.alerted("INC-1")
    story.repaired("R-1", "INC-1", people=())
    tell(store, story)
    assert writes(store) == both_steps("only 0 of its approvals are on record and valid")
    assert not ask(store, "writes-without-approval").ok


def test_writes_without_approval_a_claim_that_names_somebody_who_said_nothing(store: Store) -> None:
    story = Story()
    story.alerted("INC-1")
    story.repaired("R-1", "INC-1", people=(), claims=("anna",))
    tell(store, story)
    assert writes(store) == both_steps("only 0 of its approvals are on record and valid")


def test_writes_without_approval_no_claim_or_one_that_is_over(store: Store) -> None:
    story = the_main_story()
    call = plan_of().changes[0].do
    story.step("R-1", 3, "do", call)
    story.step("R-7", 1, "do", call)
    tell(store, story)
    assert writes(store) == [
        ("R-1", "add_evict_leader", "its claim was concluded before it"),
        ("R-7", "add_evict_leader", "no claim before it"),
    ]


def test_writes_without_approval_a_plan_that_nobody_authorised(store: Store) -> None:
    story = the_main_story()
    order = next(r for r in story.all() if r.topic == "remediations" and row_of(r, 0)[5] == "ExecutionAuthorized")
    tell(store, story, without=(order,))
    assert writes(store) == both_steps("nobody authorised this plan")


def test_writes_without_approval_a_word_that_had_expired(store: Store) -> None:
    class Hasty(Story):
        def word(self, person: str, remediation: str, lives_s: int = 600) -> SignedApproval:
            return super().word(person, remediation, lives_s=20)

    story = Hasty()
    story.alerted("INC-1")
    story.repaired("R-1", "INC-1")  # it is given 60 s after it was signed
    tell(store, story)
    assert writes(store) == both_steps("only 0 of its approvals are on record and valid")


def test_writes_without_approval_a_word_that_the_ledger_did_not_count(store: Store) -> None:
    story = the_main_story()
    counted = next(r for r in story.all() if r.topic == "remediations" and row_of(r, 0)[5] == "ApprovalCounted")
    tell(store, story, without=(counted,))
    assert writes(store) == both_steps("only 0 of its approvals are on record and valid")


def test_writes_without_approval_approvals_that_are_used_twice(store: Store) -> None:
    story = the_main_story()
    claim = next(r for r in story.all() if r.topic == "outcomes" and row_of(r, 0)[5] == "Claimed")
    story.says("outcomes", decode(claim.value).event)
    story.step("R-1", 3, "do", plan_of().changes[0].do)
    tell(store, story)
    assert writes(store) == [("R-1", "add_evict_leader", "its approvals were used by an earlier claim")]


def test_overlapping_claims_of_a_cluster_that_was_renamed_and_after_one_that_came_and_went(store: Store) -> None:
    story = Story()
    story.alerted("INC-1")
    story.repaired("R-1", "INC-1", concluded=False)
    story.repaired("R-2", "INC-1")
    story.repaired("R-3", "INC-1")
    claim = next(r for r in story.all() if r.topic == "outcomes" and row_of(r, 0)[5] == "Claimed")
    renamed = decode(claim.value).event.model_copy(update={"cluster_id": "eu-7", "remediation_id": "R-4"})
    story.says("outcomes", renamed)
    tell(store, story)
    assert values(answer(store, "overlapping-claims"), "cluster", "remediation", "still_open") == [
        (CLUSTER, "R-2", "R-1"),
        (CLUSTER, "R-3", "R-1"),
        ("eu-7", "R-4", "R-1"),
    ]
    assert values(answer(store, "overlapping-claims", cluster="eu-7"), "remediation") == [("R-4",)]


def test_overlapping_claims(store: Store) -> None:
    story = the_main_story()
    story.repaired("R-2", "INC-1", concluded=False)
    tell(store, story)
    assert ask(store, "overlapping-claims").ok
    more = Story(now_ms=story.now_ms, links=story.links, records={})
    more.records = {place: list(held) for place, held in story.records.items()}
    more.repaired("R-3", "INC-1")
    tell(store, more)
    rows = answer(store, "overlapping-claims")
    assert values(rows, "cluster", "remediation", "still_open") == [(CLUSTER, "R-3", "R-2")]


def test_owed_undos(store: Store) -> None:
    story = the_main_story()
    story.repaired("R-2", "INC-1", undone=False, concluded=False)
    tell(store, story)
    rows = answer(store, "owed-undos", cluster=CLUSTER)
    assert values(rows, "remediation", "change", "call", "undo_call", "state") == [
        ("R-2", 0, "add_evict_leader", "remove_evict_leader", "under way")
    ]
    due, since = rows[0]["due_at"], rows[0]["since"]
    assert isinstance(due, datetime)
    assert isinstance(since, datetime)
    assert (due - since).total_seconds() == 900


@pytest.mark.parametrize("outcome", ["unknown", "succeeded"])
def test_what_was_meant_to_stay_is_owed_once_a_person_has_it(store: Store, outcome: e.Outcome) -> None:
    story = the_main_story()
    do = Call(name="set_store_weight", args={"store_id": "4", "leader": "0"})
    back = Call(name="set_store_weight", args={"store_id": "4", "leader": "1"})
    story.step("R-9", 1, "do", do, undo=back, keep_s=0)
    ended = e.Concluded(
        cluster_id=CLUSTER, remediation_id="R-9", attempt=1, incident_id="INC-1", outcome=outcome, code="cant_undo",
        text="", owed=(Change(do=do, undo=back, keep_s=0),) if outcome == "unknown" else (),
    )  # fmt: skip
    at = story.says("outcomes", ended)
    tell(store, story)
    rows = answer(store, "owed-undos", at="2027-01-16")
    handed = [("R-9", 0, "set_store_weight", "handed to a person", True)]
    assert values(rows, "remediation", "change", "call", "state", "late") == (handed if outcome == "unknown" else [])
    due = datetime.fromtimestamp(decode(at.value).head.at_ms / 1000, UTC)
    assert [r["due_at"] for r in rows] == [due] * len(rows)


def test_owed_undos_of_a_claim_that_ended_without_them(store: Store) -> None:
    story = the_main_story()
    story.repaired("R-2", "INC-1", undone=False)
    tell(store, story)
    assert values(answer(store, "owed-undos"), "remediation", "state") == [("R-2", "concluded without it")]


def test_why_nothing(store: Store) -> None:
    story = Story()
    adopted = story.alerted("INC-1")
    of = {"cluster_id": CLUSTER, "incident_id": "INC-1", "remediation_id": "R-1"}
    found = (
        Objection(code="store_busy", kind="wait", text="busy"),
        Objection(code="too_few_replicas", kind="no", text="2"),
    )
    refused = story.says(
        "validations",
        e.ProposalRefused(**of, proposal_id="P", attempt=1, action="evict_store_leaders", objections=found),
        adopted,
    )
    blocked = e.ExecutionBlocked(cluster_id=CLUSTER, remediation_id="R-1", code="quarantined", text="R-0 ended UNKNOWN")
    story.says("remediations", blocked, refused)
    story.says("remediations", e.RemediationClosed(**of, code="too_few_replicas", text="2 left"), refused)
    tell(store, story)
    rows = answer(store, "why-nothing", incident="INC-1")
    assert values(rows, "what", "code") == [
        ("ProposalRefused", "store_busy, too_few_replicas"),
        ("ExecutionBlocked", "quarantined"),
        ("RemediationClosed", "too_few_replicas"),
    ]


def test_policy_history(store: Store) -> None:
    story = the_main_story()
    story.says("controls", e.PolicyAdopted(cluster_id="*", by="ben", reason="calmer", version=2, policy_json="{}"))
    tell(store, story)
    rows = answer(store, "policy-history")
    assert values(rows, "version", "adopted_by", "reason", "executions", "policy") == [
        (1, "anna", "trial", 1, '{"default_mode":"dry_run"}'),
        (2, "ben", "calmer", 0, "{}"),
    ]
    assert (rows[0]["until"], rows[1]["until"]) == (rows[1]["adopted_at"], None)


def two_at_once() -> Story:
    """Version 2 twice, and version 1 again: the first 2 alone is in force, for schemas.controls.evolve too."""
    story = the_main_story()
    for by, version, mode in (("bob", 2, "observe"), ("eve", 2, "on"), ("eve", 1, "on")):
        policy = json.dumps({"actions": {"evict_store_leaders": {"mode": mode}}})
        story.says(
            "controls", e.PolicyAdopted(cluster_id="*", by=by, reason="at once", version=version, policy_json=policy)
        )
    held = Controls()
    for raw in story.records["controls", 0]:
        held = fold_control(held, raw)
    assert (held.policy.version, held.policy_by) == (2, "bob")
    return story


def test_a_policy_that_came_too_late_was_never_in_force(store: Store) -> None:
    tell(store, two_at_once())
    rows = answer(store, "policy-history")
    assert values(rows, "version", "adopted_by") == [(1, "anna"), (2, "bob")]
    assert (rows[0]["until"], rows[1]["until"]) == (rows[1]["adopted_at"], None)


def test_a_policy_that_came_too_late_grants_nothing(store: Store) -> None:
    tell(store, two_at_once())
    asked = {"days": "0", "at": "2027-01-16", "granted": "evict_store_leaders/add_evict_leader"}
    assert answer(store, "unused-grants", **asked) == []


def test_what_the_model_said(store: Store) -> None:
    tell(store, the_main_story())
    rows = answer(store, "what-the-model-said", incident="INC-1")
    assert values(rows, "what", "model", "prompt_version", "diagnosis", "confidence", "reply") == [
        ("DiagnosisMade", "claude", "3", "disk_stall", 0.86, "It is the disk."),
        ("ActionProposed", "claude", "", "disk_stall", 0.86, ""),
    ]


def test_freezes(store: Store) -> None:
    story = the_main_story()
    story.says("controls", e.Frozen(cluster_id=CLUSTER, by="ben", reason="maintenance"))
    story.step("R-1", 9, "do", plan_of().changes[0].do)  # intended 1 s after the freeze
    story.step("R-1", 10, "undo", plan_of().changes[0].do)
    story.says("controls", e.Lifted(cluster_id=CLUSTER, by="anna", reason="over"))
    story.step("R-1", 11, "do", plan_of().changes[0].do)
    story.says("controls", e.Halted(cluster_id="*", by="ben", reason="all"))
    story.says("controls", e.Lifted(cluster_id="*", by="anna", reason="read", kind="input", input="controls/0@9"))
    story.says("controls", e.Lifted(cluster_id="*", by="anna", reason="over", kind="freeze"))
    tell(store, story)
    rows = answer(store, "freezes", cluster=CLUSTER)
    assert values(rows, "cluster", "what", "by", "lifted_by", "forward_steps_after", "last_effect_after_s") == [
        (CLUSTER, "Frozen", "ben", "anna", 1, 2.0),
        ("*", "Halted", "ben", "", 0, None),
    ]
    assert rows[1]["lifted_at"] is None


def test_completeness(store: Store) -> None:
    story = the_main_story()
    gone = [r for r in story.all() if r.topic == "outcomes"][3]
    story.stands("signals", "x", b"\xff", 2)
    tell(store, story, without=(gone,))
    rows = answer(store, "completeness")
    by_place = {(r["topic"], r["partition"]): r for r in rows}
    outcomes = by_place["outcomes", gone.partition]
    held = story.records["outcomes", gone.partition]
    assert (outcomes["events"], outcomes["chains"], outcomes["missing_seqs"]) == (len(held) - 1, 1, 1)
    assert outcomes["last_offset"] == held[-1].offset
    assert by_place["signals", 2]["unreadable"] == 1
    assert {r["topic"] for r in answer(store, "completeness", topic="incidents")} == {"incidents"}


def test_lead_times(store: Store) -> None:
    tell(store, the_main_story())
    took = {r["stretch"]: r["p50_s"] for r in answer(store, "lead-times")}
    assert took == {
        "alert -> incident": 0.96,
        "incident -> diagnosis": 5.0,
        "diagnosis -> proposal": 2.0,
        "proposal -> asked": 1.0,
        "asked -> authorised": 62.0,
        "authorised -> claim": 1.0,
        "claim -> effect": 2.0,
        "effect -> verified": 5.0,
        "alert -> verified": 78.96,
    }
    assert answer(store, "lead-times", since="2027-02-01 00:00:00") == []


def test_an_incident_with_two_remediations_was_opened_once(store: Store) -> None:
    story = the_main_story()
    story.repaired("R-2", "INC-1")
    tell(store, story)
    found = {r["stretch"]: r["n"] for r in answer(store, "lead-times")}
    once = {"alert -> incident", "incident -> diagnosis"}
    assert found == {stretch: 1 if stretch in once else 2 for stretch in found}


def test_incident_story(store: Store) -> None:
    story = the_main_story()
    story.alerted("INC-2", "lab-3")
    tell(store, story)
    rows = answer(store, "incident-story", incident="INC-1")
    kinds = [str(r["what"]) for r in rows]
    assert kinds[0] == "IncidentOpened"
    assert kinds[-2:] == ["Concluded", "RemediationClosed"]
    assert "Approved" in kinds
    assert len(kinds) == len([r for r in story.all() if b"INC-1" in (r.value or b"") or b"R-1" in (r.value or b"")])
    opened = rows[0]
    assert opened["at"] == datetime.fromtimestamp((START_MS + 4000) / 1000, UTC)
    assert str(opened["caused_by"]).startswith("signals/")


def test_chain_breaks(store: Store, clickhouse: ClickhouseDatabase) -> None:
    story = the_main_story()
    gone = [r for r in story.all() if r.topic == "outcomes"][3]
    tell(store, story)
    assert ask(store, "chain-breaks").ok
    client = clickhouse.client()
    client.command(
        f"ALTER TABLE events DELETE WHERE topic = 'outcomes' AND offset = {gone.offset} SETTINGS mutations_sync = 2"
    )
    second = "topic = 'incidents' AND seq = 2 SETTINGS mutations_sync = 2"
    client.command(f"ALTER TABLE events UPDATE raw = concat(raw, 'x') WHERE {second}")
    rows = answer(store, "chain-breaks", cluster=CLUSTER)
    assert values(rows, "seq", "why") == [(2, "its bytes are not those that were hashed"), (5, "follows seq 3")]


@pytest.mark.parametrize("before_the_restart", [0, 1])
@pytest.mark.parametrize("strangers", [1, 2])
def test_a_chain_that_goes_on_behind_a_foreign_record_is_whole_in_sql_too(
    store: Store, clickhouse: ClickhouseDatabase, strangers: int, before_the_restart: int
) -> None:
    """What an owner that starts anew writes next is taken from infra.runners.books itself."""
    story = the_main_story()
    for n in range(strangers):
        junk(story, "incidents", value=b"junk, as somebody else writes it: %d" % n)
    for n in range(before_the_restart):
        story.says("incidents", noted(n))
    restarted = Books("incidents", "incidents", partition_of(CLUSTER, PARTITIONS), PARTITIONS, Folding())
    for raw in story.records["incidents", restarted.partition]:
        restarted.restore(raw)
    story.links["incidents", CLUSTER] = restarted.links[CLUSTER]
    for n in range(2):
        story.says("incidents", noted(10 + n))
    assert verify(story.kept()).ok
    tell(store, story)
    assert answer(store, "chain-breaks") == []
    assert answer(store, "chain-breaks", cluster=CLUSTER) == []

    client = clickhouse.client()
    client.command(f"ALTER TABLE events UPDATE raw = concat(raw, 'x') WHERE {JUNK} SETTINGS mutations_sync = 2")
    edited = values(answer(store, "chain-breaks"), "seq", "why")
    assert edited[:strangers] == [(0, "its bytes are not those that were hashed")] * strangers
    assert len(edited) == strangers + (not before_the_restart)  # it was counted, so now it is missed
    client.command(f"ALTER TABLE events DELETE WHERE {JUNK} SETTINGS mutations_sync = 2")
    assert bool(answer(store, "chain-breaks")) == (not before_the_restart)


def test_all_topics_whose_events_are_chained_are_looked_through_for_what_is_of_no_chain() -> None:
    named = ", ".join(f"'{topic}'" for topic in sorted(OWNED))
    assert f"topic IN ({named})" in question("chain-breaks").sql


def test_a_chain_with_rows_that_an_older_audit_could_not_read_yet_is_whole_in_sql_too(store: Store) -> None:
    story = the_main_story()
    unread = [r for r in story.all() if r.topic == "outcomes"][1:3]
    unknown = e.Unreadable("unknown_fingerprint", "no schema of ours has it")
    rows = [
        row_of_unreadable(r, unknown, story.now_ms) if r in unread else row_of(r, story.now_ms) for r in story.all()
    ]
    keep(store, rows)
    assert answer(store, "chain-breaks") == []
