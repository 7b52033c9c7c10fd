"""Topics and grants derive from the page; on a broker what is missing is made, and nothing else is touched."""

import time
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not re-export
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from infra.embedded import EmbeddedBroker
from infra.publisher import Unreachable
from infra.runners.kafka import KafkaSettings
from infra.selftest import judge_broker
from infra.settings import ConfigError
from infra.topics import Found, apply, bindings, differences, grants, look, matrix, plan, render, used_by, wanted
from streams.pipeline import BY_NAME, EDGES, EVERYTHING, PROCESSORS, TOPICS, dead_letters, processor
from tests.conftest import StartKafka

ANY: Any = None

# What should be


def test_every_topic_of_the_page_is_wanted_and_every_role_has_its_dead_letters() -> None:
    names = {t.name: t for t in wanted("p.", 12)}
    for topic in TOPICS:
        found = names.pop(f"p.{topic.name}")
        assert found.partitions == (topic.partitions or 12)
        assert found.config["message.timestamp.type"] == "LogAppendTime"
        assert found.config.get("retention.ms") == ("-1" if topic.keeps_all else None)
        assert "min.insync.replicas" not in found.config
    for line in PROCESSORS:
        assert names.pop(f"p.{dead_letters(line.role)}").partitions == 1
    assert list(names) == ["p.selftest"]
    assert all(t.config["min.insync.replicas"] == "2" for t in wanted("", 3, replication=3))


def test_every_difference_is_named_not_only_the_first() -> None:
    want = wanted("", 4, 3)[:2]
    config = {**want[0].config, "message.timestamp.type": "CreateTime", "min.insync.replicas": "1"}
    found = {want[0].name: Found(partitions=8, replication=1, config=config)}
    said = differences(want, found, 3)
    assert [(d.topic, d.what) for d in said] == [
        ("alerts", "partitions"),
        ("alerts", "replication"),
        ("alerts", "message.timestamp.type"),
        ("alerts", "min.insync.replicas"),
        ("signals", "missing"),
    ]
    assert str(said[0]) == "alerts: partitions is 8, and should be 4"


@pytest.mark.parametrize(
    ("in_sync", "wrong"), [("3", []), ("2", []), ("1", ["min.insync.replicas"]), ("", ["min.insync.replicas"])]
)
def test_more_replicas_in_sync_than_are_wanted_are_well(in_sync: str, wrong: list[str]) -> None:
    (alerts, *_) = wanted("", 4, 3)
    found = {alerts.name: Found(4, 5, {**alerts.config, "min.insync.replicas": in_sync})}
    assert [d.what for d in differences([alerts], found, 3)] == wrong


# Who may do what


def test_each_topic_has_exactly_the_writers_that_the_page_gives_it() -> None:
    writers: dict[str, set[str]] = {}
    for principal, topic, operation, allowed in matrix(""):
        if operation == "WRITE" and allowed:
            writers.setdefault(topic, set()).add(principal)
    everybody = {line.role for line in (*EDGES, *PROCESSORS)}
    assert writers.pop("selftest") == everybody
    assert writers.pop("controls") == {"console", "stop"}
    assert writers.pop("alerts") == {"gateway", "console"}
    for line in PROCESSORS:
        assert writers.pop(dead_letters(line.role)) == {line.role}
    assert writers == {name: {BY_NAME[name].writer} for name in writers}
    assert set(writers) == {t.name for t in TOPICS} - {"alerts", "controls"}


def test_a_role_reads_its_inputs_its_own_state_and_the_controls_that_it_consults() -> None:
    read = {(p, t) for p, t, operation, allowed in matrix("") if operation == "READ" and allowed}
    for line in PROCESSORS:
        own = line.writes if line.verb in ("decides", "works") else ()
        controls = ("controls",) if line.consults else ()
        assert {t for p, t in read if p == line.role} == {*line.reads, *own, *controls, "selftest"}
    for role in ("console", "audit"):
        assert {t for p, t in read if p == role} == {
            *EVERYTHING.split(),
            *(dead_letters(line.role) for line in PROCESSORS),
            "selftest",
        }
    assert {t for p, t in read if p == "gateway"} == {"selftest"}


def test_stop_writes_controls_and_can_do_nothing_else() -> None:
    assert {(g.kind, g.name, g.operation) for g in grants("p.") if g.principal == "stop"} == {
        ("topic", "p.controls", "WRITE"),
        ("topic", "p.controls", "DESCRIBE"),
    }


def test_doctor_looks_everywhere_reads_what_could_not_be_read_and_writes_nothing() -> None:
    table = [g for g in grants("p.") if g.principal == "doctor"]
    assert {g.operation for g in table} == {"DESCRIBE", "DESCRIBE_CONFIGS", "READ"}
    assert {g.name for g in table if g.operation == "DESCRIBE_CONFIGS"} == {t.name for t in wanted("p.", 1)}
    assert {g.name for g in table if g.operation == "READ"} == {f"p.{dead_letters(p.role)}" for p in PROCESSORS}
    assert {g.principal for g in grants("p.") if g.operation == "DESCRIBE_CONFIGS"} == {"doctor", "admin"}


def test_only_roles_with_a_state_have_transactional_ids_of_their_own() -> None:
    ids = {g.principal: g.name for g in grants("p.") if g.kind == "transactional-id" and g.operation == "WRITE"}
    assert ids["execute"] == "p.execute-"
    assert ids["gateway"] == "p.gateway-selftest-"


def test_what_is_rendered_names_every_topic_and_every_grant() -> None:
    text = render(KafkaSettings({}, "p.", 6))
    for topic in wanted("p.", 6, 3):
        assert f"--topic {topic.name} --partitions {topic.partitions} --replication-factor 3" in text
    for grant in grants("p."):
        assert f"--allow-principal User:{grant.principal} " in text
        assert ("--cluster" if grant.kind == "cluster" else f"--{grant.kind} {grant.name}") in text
    assert (
        "--operation Write --operation Describe --transactional-id p.execute- --resource-pattern-type prefixed" in text
    )
    assert len(bindings(grants("p."))) == len(grants("p."))


# On a broker


def _of(kafka: str, prefix: str, partitions: int = 3) -> tuple[AdminClient, KafkaSettings]:
    client: dict[str, str | int | float | bool] = {"bootstrap.servers": kafka}
    return AdminClient(client), KafkaSettings(client, prefix, partitions)


def give_grants(admin: AdminClient, prefix: str) -> None:
    """Returns when the broker acts on them, which is a moment after it has accepted them."""
    wanted_ones = bindings(grants(prefix))
    for made in admin.create_acls(wanted_ones).values():
        made.result(15)
    anything = AclBindingFilter(
        ResourceType.ANY, ANY, ResourcePatternType.ANY, ANY, ANY, AclOperation.ANY, AclPermissionType.ANY
    )
    give_up_s = time.monotonic() + 15
    while len(admin.describe_acls(anything).result(15)) < len(set(wanted_ones)):
        assert time.monotonic() < give_up_s
        time.sleep(0.1)


def test_what_is_missing_is_made_once_and_then_nothing_differs(kafka: str, topic_prefix: str) -> None:
    admin, settings = _of(kafka, topic_prefix)
    everything = sorted(t.name for t in wanted(topic_prefix, 3))
    assert sorted(d.topic for d in plan(admin, settings) if d.is_missing) == everything
    assert apply(admin, settings) == (everything, [])
    assert plan(admin, settings) == []
    assert apply(admin, settings) == ([], [])


def test_what_differs_is_told_and_left_as_it_is(kafka: str, topic_prefix: str) -> None:
    admin, settings = _of(kafka, topic_prefix)
    theirs = NewTopic(f"{topic_prefix}signals", num_partitions=8, replication_factor=1, config={"retention.ms": "1000"})
    admin.create_topics([theirs])[f"{topic_prefix}signals"].result(15)
    made, left = apply(admin, settings)
    assert f"{topic_prefix}signals" not in made
    assert len(made) == len(wanted("", 3)) - 1
    assert {(d.topic, d.what, d.found) for d in left} == {
        (f"{topic_prefix}signals", "partitions", "8"),
        (f"{topic_prefix}signals", "retention.ms", "1000"),
        (f"{topic_prefix}signals", "message.timestamp.type", "CreateTime"),
    }
    there = look(admin, topic_prefix)[1][f"{topic_prefix}signals"]
    assert (there.partitions, there.config["retention.ms"]) == (8, "1000")
    fewer = KafkaSettings(settings.client, topic_prefix, 2)
    assert {d.what for d in apply(admin, fewer)[1]} >= {"partitions"}
    assert look(admin, topic_prefix)[1][f"{topic_prefix}incidents"].partitions == 3, "never shrunk"


def test_three_brokers_give_three_copies_of_which_two_must_be_written(own_kafka: StartKafka, topic_prefix: str) -> None:
    broker = own_kafka(brokers=3)
    admin, settings = _of(broker.bootstrap, topic_prefix, 2)
    assert apply(admin, settings)[1] == []
    found = look(admin, topic_prefix)[1][f"{topic_prefix}remediations"]
    assert (found.replication, found.config["min.insync.replicas"]) == (3, "2")
    assert apply(admin, settings, replication=2) == ([], []), "more copies than asked for is no difference"


@pytest.mark.local
def test_nobody_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.topics.ANSWERS_WITHIN_S", 1)
    monkeypatch.setattr("infra.topics.CALL_TIMEOUT_S", 1)
    client: dict[str, str | int | float | bool] = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    with pytest.raises(Unreachable, match=r"Kafka at 127\.0\.0\.1:1: "):
        plan(AdminClient(client), KafkaSettings(client))
    with pytest.raises(Unreachable, match=r"Kafka at 127\.0\.0\.1:1: "):
        used_by(processor("incidents"), KafkaSettings(client))


# Before a role starts (infra.topics.used_by)


LINES = (*EDGES, *PROCESSORS)


def test_each_role_finds_its_topics_with_rights_on_them_alone(own_kafka: StartKafka, topic_prefix: str) -> None:
    broker = own_kafka(users=tuple(line.role for line in LINES))
    admin = AdminClient(broker.client_config())
    apply(admin, KafkaSettings(broker.client_config(), topic_prefix, 2))
    give_grants(admin, topic_prefix)

    for line in LINES:
        found = used_by(line, KafkaSettings(broker.client_config(line.role), topic_prefix, 2))

        assert {*line.reads, *line.writes} <= set(found)
        assert all(found.values()), "each has the id that its genesis is held against"


def test_a_role_without_rights_on_a_topic_of_its_own_does_not_start_and_says_what_prints_them(
    own_kafka: StartKafka, topic_prefix: str
) -> None:
    broker = own_kafka(users=("notify", "execute"))
    admin = AdminClient(broker.client_config())
    apply(admin, KafkaSettings(broker.client_config(), topic_prefix, 2))
    give_grants(admin, topic_prefix)

    with pytest.raises(ConfigError) as refused:
        used_by(processor("execute"), KafkaSettings(broker.client_config("notify"), topic_prefix, 2))

    assert f"{topic_prefix}remediations" in str(refused.value)
    assert "`render` prints the rights" in str(refused.value)


def test_a_role_without_one_of_its_topics_does_not_start_and_says_what_makes_it(kafka: str, topic_prefix: str) -> None:
    admin, settings = _of(kafka, topic_prefix)
    apply(admin, settings)
    gone = f"{topic_prefix}{dead_letters('incidents')}"
    admin.delete_topics([gone])[gone].result(15)
    _is_gone(admin, gone)

    with pytest.raises(ConfigError) as refused:
        used_by(processor("incidents"), settings)

    assert gone in str(refused.value)
    assert "`steward topics apply` makes topics" in str(refused.value)
    assert used_by(processor("notify"), settings), "it is no topic of this one"


def _is_gone(admin: AdminClient, topic: str) -> None:
    give_up_s = time.monotonic() + 15
    while topic in admin.list_topics(timeout=15).topics:
        assert time.monotonic() < give_up_s
        time.sleep(0.1)


def test_a_topic_with_other_partitions_than_configured_is_named_and_so_is_what_to_do(
    kafka: str, topic_prefix: str
) -> None:
    admin, settings = _of(kafka, topic_prefix)
    apply(admin, settings)

    with pytest.raises(ConfigError) as refused:
        used_by(processor("validate"), KafkaSettings(settings.client, topic_prefix, 5))

    assert refused.value.problems[0].field == "kafka.partitions"
    said = str(refused.value)
    assert f"{topic_prefix}proposals has 3 partitions, not 5" in said
    assert "set kafka.partitions to 3" in said


def test_a_topic_that_always_has_one_partition_is_not_blamed_on_the_configuration(
    kafka: str, topic_prefix: str
) -> None:
    admin, settings = _of(kafka, topic_prefix)
    theirs = f"{topic_prefix}controls"
    admin.create_topics([NewTopic(theirs, num_partitions=3, replication_factor=1)])[theirs].result(15)
    apply(admin, settings)

    with pytest.raises(ConfigError) as refused:
        used_by(processor("execute"), settings)

    said = str(refused.value)
    assert f"{theirs} has 3 partitions, not 1" in said
    assert "set kafka.partitions" not in said
    assert "make it anew" in said


# What it is (infra.selftest)


async def test_a_real_broker_may_carry_everything(kafka: str, topic_prefix: str) -> None:
    _, settings = _of(kafka, topic_prefix)
    for _ in range(2):  # it makes its topic the first time
        verdict = await judge_broker(settings)
        assert (verdict.allows, verdict.isolated, verdict.reasons) == ("on", True, ())
    found = look(AdminClient(dict(settings.client)), topic_prefix)[1]
    assert set(found) == {f"{topic_prefix}selftest"}


@pytest.mark.local
async def test_librdkafkas_broker_is_found_out_without_being_told() -> None:
    with EmbeddedBroker("x.", 2) as broker:
        settings = KafkaSettings(broker.settings.client, "x.", 2, isolated=True)
        verdict = await judge_broker(settings)
    assert (verdict.allows, verdict.isolated) == ("dry_run", False)
    assert any("aborted" in reason for reason in verdict.reasons)
    assert any("predecessor" in reason for reason in verdict.reasons)
    assert any("time" in reason for reason in verdict.reasons)
    assert verdict.text.startswith("at most dry_run: ")


async def test_a_real_broker_whose_records_have_their_producers_time_allows_no_more_than_a_dry_run(
    kafka: str, topic_prefix: str
) -> None:
    admin, settings = _of(kafka, topic_prefix)
    assert (await judge_broker(settings)).allows == "on"
    entry = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, f"{topic_prefix}selftest", incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(15)
    verdict = await judge_broker(settings)
    assert (verdict.allows, verdict.isolated) == ("dry_run", True)
    assert len(verdict.reasons) == 1
    assert "LogAppendTime" in verdict.reasons[0]


async def test_credentials_that_may_not_test_allow_a_dry_run_and_say_why(
    own_kafka: StartKafka, topic_prefix: str
) -> None:
    broker = own_kafka(users=("execute", "stop"))
    admin = AdminClient(broker.client_config())
    apply(admin, KafkaSettings(broker.client_config(), topic_prefix, 1))
    give_grants(admin, topic_prefix)
    assert (await judge_broker(KafkaSettings(broker.client_config("execute"), topic_prefix, 1))).allows == "on"
    verdict = await judge_broker(KafkaSettings(broker.client_config("stop"), topic_prefix, 1))
    assert (verdict.allows, verdict.isolated) == ("dry_run", True)
    assert "not tested" in verdict.text
    for user in ("execute", "stop"):
        assert broker.passwords[user] not in verdict.text


@pytest.mark.local
async def test_no_broker_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.selftest.CALL_TIMEOUT_S", 1)
    with pytest.raises(Unreachable, match=r"Kafka at 127\.0\.0\.1:1: "):
        await judge_broker(KafkaSettings({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}))
