"""`steward rbac audit` on a real broker that asks who one is, and with a ClickHouse that isn't there."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not re-export
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from bootstrap.rbac import Row, audit
from infra.local.kafka import LocalKafka
from infra.runners.kafka import KafkaSettings
from infra.settings import Settings, parse
from infra.topics import ADMIN, apply, bindings, grants, plan, wanted
from tests.conftest import StartKafka
from tests.integration.test_topics import give_grants

PREFIX = "rbac."
PRINCIPALS = tuple(dict.fromkeys(g.principal for g in grants(PREFIX)))


def configured(broker: LocalKafka, directory: Path, principals: tuple[str, ...] = PRINCIPALS) -> Settings:
    (directory / "kafka").mkdir(exist_ok=True)
    for principal in principals:
        lines = (f"{k}={v}" for k, v in broker.client_config(principal).items() if k != "bootstrap.servers")
        (directory / "kafka" / principal).write_text("\n".join(lines))
    given = {"bootstrap": broker.bootstrap, "topic_prefix": PREFIX, "partitions": 1, "credentials": "dir:kafka"}
    return parse({"environment": "test", "kafka": given}, base=directory)


def rule(principal: str, topic: str, operation: str, *, allow: bool = True) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        f"User:{principal}",
        "*",
        AclOperation[operation],
        AclPermissionType.ALLOW if allow else AclPermissionType.DENY,
    )


def test_admin_makes_topics_by_its_own_rights_and_reality_is_held_against_the_table(
    own_kafka: StartKafka, tmp_path: Path
) -> None:
    broker = own_kafka(users=PRINCIPALS)
    everything = AdminClient(broker.client_config())
    give_grants(everything, PREFIX)

    admin, settings = AdminClient(broker.client_config(ADMIN)), KafkaSettings(broker.client_config(ADMIN), PREFIX, 1)
    made, left = apply(admin, settings)
    assert (made, left) == (sorted(t.name for t in wanted(PREFIX, 1)), [])
    assert plan(admin, settings) == []
    for change in (
        admin.delete_topics([f"{PREFIX}outcomes"])[f"{PREFIX}outcomes"],
        *admin.create_acls([rule(ADMIN, f"{PREFIX}outcomes", "ALL")]).values(),
    ):
        with pytest.raises(KafkaException) as refused:
            change.result(15)
        assert refused.value.args[0].code() in (
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        )

    steward = configured(broker, tmp_path)
    rows = audit(steward)
    assert {(row.system, row.verdict) for row in rows} == {("kafka", "ok")}
    assert {row.principal for row in rows} == set(PRINCIPALS)

    lost = bindings([g for g in grants(PREFIX) if g.principal == "execute" and g.name == f"{PREFIX}outcomes"])
    harm = [rule("intake", f"{PREFIX}controls", "WRITE"), rule("*", f"{PREFIX}approvals", "WRITE")]
    denial = rule("stop", f"{PREFIX}controls", "WRITE", allow=False)
    for done in everything.create_acls([*harm, denial]).values():
        done.result(15)
    for binding in lost:
        some = [b for b in (binding,) if b.operation == AclOperation.WRITE]
        for gone in everything.delete_acls([_filter(b) for b in some]).values() if some else ():
            gone.result(15)
    wrong = {(r.principal, r.verdict, r.text) for r in audit(steward) if r.verdict != "ok"}
    assert wrong == {
        ("intake", "beyond", f"WRITE on topic {PREFIX}controls"),
        ("*", "beyond", f"WRITE on topic {PREFIX}approvals, and so on {PREFIX}approvals"),
        ("execute", "short", f"WRITE on topic {PREFIX}outcomes"),
        ("stop", "short", f"WRITE on topic {PREFIX}controls is denied"),
    }

    (tmp_path / "other").mkdir()
    not_admin = configured(broker, tmp_path / "other")
    (tmp_path / "other" / "kafka" / ADMIN).write_text((tmp_path / "other" / "kafka" / "intake").read_text())
    found = audit(not_admin)
    assert [(r.verdict, "may not describe them" in r.text) for r in found if r.principal == ADMIN] == [
        ("unknown", True)
    ]
    assert any("log in as one user" in r.text for r in found)


def _filter(binding: AclBinding):  # type: ignore[no-untyped-def]  # of a class that its stubs do not have
    from confluent_kafka.admin import AclBindingFilter  # type: ignore[attr-defined]

    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def test_a_broker_without_an_authorizer_lets_everybody_do_everything(kafka: str, topic_prefix: str) -> None:
    settings = parse({"environment": "test", "kafka": {"bootstrap": kafka, "topic_prefix": topic_prefix}})
    (row,) = audit(settings)
    assert (row.principal, row.verdict) == ("everybody", "beyond")
    assert "asks nobody for rights" in row.text


@pytest.mark.local
def test_what_is_not_reached_or_not_here_is_unknown_and_named(tmp_path: Path) -> None:
    (tmp_path / "clickhouse").mkdir()

    def of(**more: object) -> list[Row]:
        kafka = {"bootstrap": "127.0.0.1:1", "credentials": "dir:none"}
        return [r for r in audit(parse({"environment": "t", "kafka": kafka, **more}, base=tmp_path))]

    (row,) = of()
    assert (row.system, row.verdict, row.unreached) == ("kafka", "unknown", False)
    assert "none/admin" in row.text
    store = {"url": "http://127.0.0.1:1/steward", "credentials": "dir:clickhouse"}
    assert "none of audit, auditor, witness, migrator is in" in of(clickhouse=store)[1].text
    (tmp_path / "clickhouse" / "auditor").write_text("reader:secret-of-the-reader")
    asked = of(clickhouse=store)[1]
    assert (asked.principal, asked.verdict, asked.unreached) == ("reader", "unknown", True)
    assert "secret-of-the-reader" not in asked.text
    (alone,) = of(clickhouse={"url": "http://127.0.0.1:1/steward"})[1:]
    assert (alone.verdict, alone.text.startswith("one user for all")) == ("beyond", True)
    (embedded,) = of(clickhouse={"url": "chdb:x"})[1:]
    assert embedded.verdict == "ok"
