"""Bad input gets a clear answer, and nothing else is lost: the good record after it is answered as ever."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from bootstrap.roles import Hands
from infra.runners.books import Raw
from infra.runners.maps import IntakeStage, MapStage
from pdsim.faults import Garbage, HalfBody, HtmlBody, WrongCluster
from schemas import events as e
from schemas.chain import edge
from schemas.facts import Facts, FactsReader, Look
from schemas.topics import partition_of
from schemas.values import canonical_json
from schemas.wire import frame
from streams.pipeline import BY_NAME, OBSERVE, OWNER, PROCESSORS
from tests.spec.test_execution_recovery import EVICT
from tests.spec.world import CLUSTER, SMALL, TRUST, World, live


def proposal(cluster_id: str = CLUSTER, action: str = "evict_store_leaders", params: str = '{"store_id":4}') -> bytes:
    event = e.ActionProposed(
        cluster_id=cluster_id,
        incident_id="INC-0",
        remediation_id="R-0",
        proposal_id="P-0",
        attempt=1,
        action=action,
        params=params,
        why="spec",
        cause="slow_store",
        confidence=0.9,
        disputed=False,
        evidence=(),
        by="playbook",
    )
    return frame(type(event), edge(event, "p0", 0).body)


def denial(cluster_id: str = CLUSTER) -> bytes:
    event = e.Frozen(cluster_id=cluster_id, by="anna", reason="spec")
    return frame(type(event), edge(event, "f0", 0).body)


UNREADABLE = [
    pytest.param(b"", "no_value", id="empty"),
    pytest.param(b"not avro at all", "no_schema", id="schema-less"),
    pytest.param(b'{"cluster_id": "prod-eu-7"}', "no_schema", id="json"),
    pytest.param(b"\xc3\x01" + b"\x07" * 8 + b"body", "unknown_fingerprint", id="unknown-fingerprint"),
    pytest.param(proposal()[:40], "undecodable", id="cut-in-the-middle"),
    pytest.param(proposal() + b"more", "undecodable", id="too-long"),
    pytest.param(denial(), "not_of_this_topic", id="event-of-another-topic"),
    pytest.param(proposal("prod-eu-8"), "wrong_key", id="another-cluster-than-its-key"),
]


@pytest.mark.parametrize(("value", "code"), UNREADABLE)
def test_a_record_that_cant_be_read_is_a_dead_letter_and_the_next_one_is_answered(value: bytes, code: str) -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start(*TRUST)
        await world.passes(1)
        bad = world.log.append("proposals", CLUSTER, value)
        world.proposes("evict_store_leaders", **EVICT)

        ask = await world.until(lambda: world.one(e.ApprovalAsked), 60)
        assert ask.remediation_id == "R-1"
        for role in ("validate", "remediations"):
            (letter,) = world.dead(role)
            assert (letter.topic, letter.offset, letter.raw) == ("proposals", bad.offset, value)
            assert letter.reason
            codes.add(letter.code)

    codes: set[str] = set()
    live(spec, **SMALL)
    assert codes == {code}


def test_a_record_on_the_wrong_partition_is_a_dead_letter() -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start(*TRUST)
        await world.passes(1)
        wrong = (partition_of(CLUSTER, 3) + 1) % 3
        world.log.append("proposals", CLUSTER, proposal(), wrong)
        world.proposes("evict_store_leaders", **EVICT)

        await world.until(lambda: world.one(e.ApprovalAsked), 60)
        assert [(d.code, d.partition) for d in world.dead("remediations")] == [("wrong_partition", wrong)]
        assert "R-0" not in {r.remediation_id for r in world.found(e.RemediationOpened)}

    live(spec, **{**SMALL, "partitions": 3})


@dataclass
class Odd:
    """A reader with a bug: it raises, or gives `validate` facts that its rules choke on, the first time it is asked."""

    real: FactsReader
    raises: bool
    asked: int = 0

    async def facts(self, cluster_id: str, look: Look) -> Facts:
        self.asked += 1
        found = await self.real.facts(cluster_id, look)
        if self.asked > 1:
            return found
        if self.raises:
            raise ZeroDivisionError("a bug of ours")
        return found.model_copy(update={"stores": None})


class BuggyLook(World):
    raises = True

    def hands(self) -> Hands:
        hands = super().hands()
        return replace(hands, reader=Odd(hands.reader, self.raises))


class BuggyCheck(BuggyLook):
    raises = False


@pytest.mark.parametrize(
    ("kind", "reason"), [(BuggyLook, "ZeroDivisionError: a bug of ours"), (BuggyCheck, "TypeError")]
)
def test_a_proposal_that_makes_validate_raise_is_a_dead_letter_nothing_acts_on_it_and_the_next_is_answered(
    kind: type[World], reason: str
) -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start(*TRUST)
        await world.passes(1)
        world.proposes("evict_store_leaders", **EVICT)
        await world.until(lambda: world.dead("validate"), 30)
        world.proposes("evict_store_leaders", "R-2", **EVICT)

        ask = await world.until(lambda: world.one(e.ApprovalAsked), 60)
        assert ask.remediation_id == "R-2"
        (letter,) = world.dead("validate")
        assert (letter.cluster_id, letter.topic, letter.offset, letter.code) == (CLUSTER, "proposals", 0, "impossible")
        assert reason in letter.reason
        assert world.writes() == []
        closed = await world.until(
            lambda: next((c for c in world.found(e.RemediationClosed) if c.remediation_id == "R-1"), None)
        )
        assert closed.code == "validation_overdue"

    live(spec, kind, **SMALL)


class Choking(dict[str, Mapping[str, str]]):
    """Labels of clusters whose first look-up is a bug."""

    raised = False

    def __contains__(self, key: object) -> bool:
        if not self.raised:
            self.raised = True
            raise ZeroDivisionError("a bug of ours")
        return super().__contains__(key)


async def test_an_alert_that_makes_intake_raise_is_a_dead_letter_and_the_next_is_a_signal() -> None:
    alert = e.AlertReceived(cluster_id=CLUSTER, name="TiKV_down", status="firing", starts_at_ms=1, labels={})
    value = frame(type(alert), edge(alert, "a0", 0).body)
    stage = IntakeStage(1, Choking({CLUSTER: {}}))
    first, second = [await stage.handle(Raw("alerts", 0, n, 1000, CLUSTER.encode(), value)) for n in (0, 1)]

    (letter,) = (d.event for d in first.dead)
    assert isinstance(letter, e.DeadLetter)
    assert (first.events, letter.cluster_id, letter.offset, letter.raw) == ((), CLUSTER, 0, value)
    assert (letter.code, letter.reason) == ("impossible", "ZeroDivisionError: a bug of ours")
    assert [type(s.event) for s in second.events] == [e.AlertFired]
    assert second.dead == ()


async def test_what_is_cut_off_while_it_looks_is_no_dead_letter() -> None:
    """An end of the process is no bug of the record's: it passes through, and the record is met again."""

    async def look(record: Any) -> Any:
        raise asyncio.CancelledError

    stage = MapStage("validate", 1, look, lambda record, seen, now_ms: ())
    with pytest.raises(asyncio.CancelledError):
        await stage.handle(Raw("proposals", 0, 0, 1000, CLUSTER.encode(), proposal()))


@pytest.mark.parametrize("topic", ["signals", "incidents", "diagnoses", "approvals", "outcomes", "remediations"])
def test_junk_on_any_topic_costs_no_role_its_life(topic: str) -> None:
    async def spec(world: World) -> None:
        world.start()
        await world.passes(1)
        world.log.append(topic, CLUSTER, b"junk", partition_of(CLUSTER, world.log.partitions))
        world.pd.set_slow(4, 90)
        await world.passes(15)
        world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")
        await world.until(lambda: world.one(e.DiagnosisAdopted), 120)
        readers = [p.role for p in world.processors if topic in p.reads]
        assert all(len(world.dead(role)) == 1 for role in readers)

    live(spec, **{**SMALL, "partitions": 2})


def test_an_unreadable_approval_stops_acting_because_it_could_be_a_no() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.log.append("approvals", CLUSTER, b"junk")
        world.approve(ask)
        blocked = await world.until(lambda: world.one(e.ExecutionBlocked))
        assert blocked.code == "controls_unreadable"
        assert world.writes() == []

        await world.kill("remediations")
        world.start("remediations")
        await world.passes(60)
        assert world.found(e.ExecutionAuthorized) == []

    live(spec, **SMALL)


@pytest.mark.parametrize("value", [b"junk", proposal()], ids=["junk", "no-control"])
def test_an_unreadable_control_stops_acting_because_it_could_be_a_freeze(value: bytes) -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.log.append("controls", CLUSTER, value)
        world.approve(ask)
        blocked = await world.until(lambda: world.one(e.ExecutionBlocked))
        assert blocked.code == "controls_unreadable"
        await world.passes(30)
        assert world.writes() == []

    live(spec, **SMALL)


def test_an_event_for_an_unknown_incident_or_remediation_changes_nothing() -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start()
        await world.passes(1)
        stray: list[tuple[str, e.Event]] = [
            ("diagnoses", abstained("INC-404", "A-404")),
            ("outcomes", e.ClaimRefused(cluster_id=CLUSTER, remediation_id="R-404", code="busy", text="")),
            ("validations", refused("R-404")),
        ]
        for topic, event in stray:
            world.log.write(topic, edge(event, "stray", world.now_ms()))
        await world.passes(5)
        assert world.found(e.RemediationClosed) == []
        assert world.found(e.IncidentOpened) == []
        assert world.found(e.TicketWritten) == []
        answered = {(c.cause.topic, c.code) for i in world.found(e.InputIgnored) for c in i.inputs}
        assert {("diagnoses", "changes_nothing"), ("outcomes", "changes_nothing")} <= answered

    live(spec, **SMALL)


def test_a_word_about_an_unknown_remediation_is_rejected() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        stray = ask.model_copy(update={"remediation_id": "R-404"})
        world.approve(stray)
        await world.until(lambda: world.one(e.ApprovalRejected))
        assert world.one(e.ApprovalRejected).code == "unknown_remediation"  # type: ignore[union-attr]

    live(spec, **SMALL)


def test_stale_and_repeated_events_are_ignored() -> None:
    """The same proposal, the same validation, an answer to an earlier attempt: each was answered by the first."""

    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        for topic in ("proposals", "validations"):
            for raw in list(world.log.read(topic, 0, 0)):
                world.log.append(topic, CLUSTER, raw.value or b"", 0)
        world.log.write("validations", edge(refused("R-1"), "stale", world.now_ms()))
        await world.passes(30)
        assert len(world.found(e.RemediationOpened)) == 1
        assert world.found(e.ApprovalAsked) == [ask]
        assert world.found(e.RemediationClosed) == []

    live(spec, **SMALL)


def test_repeated_orders_and_outcomes_are_executed_once() -> None:
    async def spec(world: World) -> None:
        world.approve(await world.asks("evict_store_leaders", **EVICT))
        await world.closed()
        for topic in ("remediations", "outcomes", "approvals"):
            for raw in list(world.log.read(topic, 0, 0)):
                if topic != "outcomes" or raw.key == CLUSTER.encode():
                    world.log.append(topic, (raw.key or b"").decode(), raw.value or b"", 0)
        await world.passes(120)
        assert len(world.found(e.Claimed)) == 2  # one, and its copy as it was put on the log again
        assert len(world.applied()) == 2

    live(spec, intruder=True, off_record=True, **SMALL)


BAD_PROPOSALS: list[Any] = [
    pytest.param("reboot_everything", {}, "unknown_action", id="unknown-action"),
    pytest.param("unsafe_remove_failed_stores", {"store_ids": [4, 5]}, "forbidden", id="never-done"),
    pytest.param("compact_store", {"store_id": "every"}, "forbidden", id="never-done-whatever-its-parameters"),
    pytest.param("evict_store_leaders", {"store_id": "four"}, "bad_parameters", id="wrong-type"),
    pytest.param("evict_store_leaders", {"store_id": "4"}, "bad_parameters", id="a-number-as-text"),
    pytest.param("evict_store_leaders", {"store_id": True}, "bad_parameters", id="true-is-no-store"),
    pytest.param("evict_store_leaders", {"store_id": 0}, "bad_parameters", id="below-range"),
    pytest.param("evict_store_leaders", {"store_id": 2**63}, "bad_parameters", id="above-range"),
    pytest.param("evict_store_leaders", {"store_id": 4, "keep_s": 86_400}, "bad_parameters", id="kept-too-long"),
    pytest.param("evict_store_leaders", {"store_id": 4, "force": 1}, "bad_parameters", id="unknown-parameter"),
    pytest.param("evict_store_leaders", {}, "bad_parameters", id="missing"),
    pytest.param("evict_store_leaders", [4], "bad_parameters", id="no-object"),
    pytest.param("evict_store_leaders", {"store_id": 99}, "no_such_store", id="unknown-store"),
    pytest.param("remove_tombstones", {"store_ids": []}, "bad_parameters", id="no-stores"),
    pytest.param("remove_tombstones", {"store_ids": [4]}, "not_a_tombstone", id="a-living-store"),
]


@pytest.mark.parametrize(("action", "params", "code"), BAD_PROPOSALS)
def test_a_bad_proposal_is_closed_with_its_objection_and_the_next_is_judged(
    action: str, params: Any, code: str
) -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start(*TRUST)
        await world.passes(1)
        world.log.append("proposals", CLUSTER, proposal(action=action, params=canonical_json(params)))
        world.proposes("evict_store_leaders", **EVICT)

        ask = await world.until(lambda: world.one(e.ApprovalAsked), 60)
        closed = world.one(e.RemediationClosed)
        assert closed is not None
        assert (ask.remediation_id, closed.remediation_id, closed.code) == ("R-1", "R-0", code)

    live(spec, **SMALL)


def test_parameters_that_are_no_json_are_bad_parameters() -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start(*TRUST)
        world.log.append("proposals", CLUSTER, proposal(params="{store_id: 4"))
        assert (await world.closed()).code == "bad_parameters"

    live(spec, **SMALL)


PD_NONSENSE = [
    pytest.param(HtmlBody(200), id="html-200"),
    pytest.param(HtmlBody(502), id="html-502"),
    pytest.param(HalfBody(), id="half-a-json"),
    pytest.param(
        Garbage(500, b'"[PD:core:ErrStoreNotFound]store 4 not found"\n', "application/json"), id="500-refusal"
    ),
    pytest.param(WrongCluster(99), id="another-cluster"),
]


@pytest.mark.parametrize("fault", PD_NONSENSE)
def test_a_pd_that_answers_nonsense_is_no_basis_for_a_plan(fault: Any) -> None:
    """It is found why; where time may heal it, it is asked again, and then planned."""

    async def spec(world: World) -> None:
        world.adopt()
        world.start("propose", *TRUST)
        await world.passes(1)
        world.faults.add(fault, method="GET", times=None)
        world.proposes("evict_store_leaders", **EVICT)
        found = await world.until(lambda: world.one(e.RemediationClosed) or world.one(e.ProposalDeferred), 60)
        assert isinstance(found, e.RemediationClosed | e.ProposalDeferred)
        assert all(o.code.startswith("pd_") for o in found.objections)
        assert found.objections
        assert world.found(e.ApprovalAsked) == []
        if isinstance(found, e.ProposalDeferred):
            world.faults.clear()
            await world.until(lambda: world.one(e.ApprovalAsked), 120)

    live(spec, **SMALL)


@pytest.mark.parametrize("fault", PD_NONSENSE)
def test_a_pd_that_answers_nonsense_still_gets_an_incident_and_a_ticket(fault: Any) -> None:
    async def spec(world: World) -> None:
        world.start()
        world.faults.add(fault, method="GET", times=None)
        world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")
        abstained = await world.until(lambda: world.one(e.DiagnosisAbstained), 300)
        assert abstained.code.startswith("pd_")
        await world.until(lambda: world.one(e.TicketWritten), 60)

    live(spec, processors=OBSERVE, **SMALL)


def test_an_alert_of_a_cluster_that_nobody_configured_stays_in_sight() -> None:
    async def spec(world: World) -> None:
        world.start()
        world.alert("TiKV_server_is_down", cluster="nobodys")
        world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")
        await world.until(lambda: world.one(e.IncidentOpened), 60)
        (letter,) = world.dead("intake")
        assert letter.code == "unknown_cluster"
        assert {i.cluster_id for i in world.found(e.IncidentOpened)} == {CLUSTER}

    live(spec, processors=OBSERVE, **SMALL)


def test_a_policy_that_cant_be_read_is_a_no() -> None:
    """It says nothing that this version understands, so nothing acts."""

    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        bad = e.PolicyAdopted(cluster_id="*", by="anna", reason="spec", version=2, policy_json='{"no_such_key":1}')
        world.control(bad)
        world.approve(ask)
        await world.passes(60)
        assert world.found(e.ExecutionAuthorized) == []
        assert world.writes() == []

    live(spec, **SMALL)


def abstained(incident_id: str, ask_id: str) -> e.Event:
    return e.DiagnosisAbstained(
        cluster_id=CLUSTER,
        incident_id=incident_id,
        ask_id=ask_id,
        by="playbook",
        code="spec",
        reason="spec",
        evidence=(),
    )


def refused(remediation_id: str) -> e.Event:
    return e.ProposalRefused(
        cluster_id=CLUSTER,
        incident_id="INC-1",
        remediation_id=remediation_id,
        proposal_id="P-404",
        attempt=1,
        action="evict_store_leaders",
        objections=(),
    )


# -- by topic ---------------------------------------------------------------------------------------------------------


async def a_whole_repair(world: World) -> None:
    """Something of every kind stands on every topic."""
    world.adopt()
    world.start()
    world.pd.set_slow(4, 90)
    await world.passes(15)
    world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")
    world.approve(await world.until(lambda: world.one(e.ApprovalAsked), 120))
    await world.closed()
    await world.until(lambda: (t := world.one(e.TicketWritten)) is not None and t.status == "FIXED, UNDONE", 60)
    await world.passes(5)


INPUTS = sorted({topic for line in PROCESSORS for topic in line.reads} - {"alerts"})  # any partition is good there


def test_a_record_on_the_wrong_partition_of_any_input_is_a_dead_letter_of_each_of_its_readers() -> None:
    async def spec(world: World) -> None:
        await a_whole_repair(world)
        wrong = (partition_of(CLUSTER, 3) + 1) % 3
        for topic in INPUTS:
            if BY_NAME[topic].partitions == 1:
                continue
            right = next(r for r in world.log.all() if r.topic == topic and not isinstance(r.event, OWNER))
            assert right.event.cluster_id == CLUSTER
            (raw,) = world.log.read(topic, right.partition, right.offset, 1)
            moved.append((topic, world.log.append(topic, CLUSTER, raw.value or b"", wrong).offset))
        await world.passes(30)
        for topic, offset in moved:
            for line in PROCESSORS:
                found = [(d.code, d.partition, d.offset) for d in world.dead(line.role) if d.topic == topic]
                assert found == ([("wrong_partition", wrong, offset)] if topic in line.reads else []), (
                    topic,
                    line.role,
                )
        assert len(world.applied()) == 2, "nothing was done twice"

    moved: list[tuple[str, int]] = []
    live(spec, intruder=True, **{**SMALL, "partitions": 3})
    assert len(moved) == len(INPUTS)


@pytest.mark.parametrize("topic", ["tickets", "notifications", "proposals", "validations"])
@pytest.mark.parametrize("value", [b"", b"junk", b"\xc3\x01" + b"\x07" * 8 + b"body"], ids=["empty", "junk", "newer"])
def test_what_cant_be_read_on_a_later_topic_costs_no_role_its_life(topic: str, value: bytes) -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start()
        await world.passes(1)
        bad = world.log.append(topic, CLUSTER, value)
        await a_store_gets_its_ticket(world)
        for line in PROCESSORS:
            found = [d.offset for d in world.dead(line.role) if d.topic == topic]
            assert found == ([bad.offset] if topic in line.reads else [])

    live(spec, intruder=True, **SMALL)


async def a_store_gets_its_ticket(world: World, name: str = "PD_cluster_slow_tikv_nums") -> None:
    before = len(world.found(e.TicketWritten))
    world.pd.set_slow(4, 90)
    await world.passes(15)
    world.alert(name, instance="127.0.0.1:2379")
    await world.until(lambda: len(world.found(e.TicketWritten)) > before or None, 120)
    await world.until(lambda: world.found(e.Delivered) or None, 120)


LEDGERS = [line.role for line in PROCESSORS if line.verb in ("decides", "works")]


@pytest.mark.parametrize("role", LEDGERS)
def test_junk_on_its_own_topic_is_said_by_a_role_that_starts_anew_and_stops_nobody(role: str) -> None:
    """Under another key: that ledger is broken, and prod-eu-7 is served as ever."""

    async def spec(world: World) -> None:
        world.adopt()
        world.start()
        await world.passes(1)
        (topic,) = next(line.writes for line in PROCESSORS if line.role == role)
        place = f"{topic}/0@{world.log.append(topic, 'prod-us-1', b'junk').offset}"
        await world.kill(role)
        world.start(role)
        await world.passes(1)
        started = [s for s in world.found(e.OwnerStarted, topic)][-1]
        assert list(started.broken) == ["prod-us-1"]
        assert place in started.broken["prod-us-1"]

        await a_store_gets_its_ticket(world)
        world.approve(await world.until(lambda: world.one(e.ApprovalAsked), 120))
        assert (await world.closed()).code == "succeeded"

    live(spec, intruder=True, **SMALL)


@pytest.mark.parametrize("role", LEDGERS)
def test_junk_on_its_own_topic_under_the_clusters_key_stops_acting_and_never_observing(role: str) -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start()
        await world.passes(1)
        (topic,) = next(line.writes for line in PROCESSORS if line.role == role)
        world.log.append(topic, CLUSTER, b"junk")
        await world.kill(role)
        world.start(role)
        await world.passes(1)
        assert list([s for s in world.found(e.OwnerStarted, topic)][-1].broken) == [CLUSTER]

        await a_store_gets_its_ticket(world)
        if role in ("remediations", "execute"):
            if ask := world.one(e.ApprovalAsked):
                world.approve(ask)
            await world.passes(120)
            assert world.writes() == []

    live(spec, intruder=True, **SMALL)
