"""What the command line asks for, one function a command."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actions.catalogue import CATALOGUE
from bootstrap.processes import ACTING, APART, OBSERVING, may_listen, run_roles
from bootstrap.production import audit_user, kafka_settings, now_ms, open_audit, pd_reader, production_hands, thinker
from infra.settings import ConfigError, Problem, Settings

if TYPE_CHECKING:
    from bootstrap.rbac import Row
    from console.audit import AuditAnswers
    from infra.clickhouse.store import Store
    from infra.clickhouse.verify import Source
    from infra.runners.kafka import KafkaSettings
    from schemas.events import Event
    from schemas.facts import Facts


def run(settings: Settings, roles: Sequence[str]) -> int:
    """`steward run ROLE...`: until SIGTERM. Exits 0 after a stop that was asked for."""
    from infra.process import GONE_WITHIN_S, is_gone_within
    from infra.supervisor import end_with_supervisor
    from infra.telemetry import set_up_logging

    end_with_supervisor(os.environ)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until the roles begin there is nothing to park
    if set(roles) & set(APART) and set(roles) - set(APART):
        raise ConfigError(Problem("roles", "list", "`execute` runs alone: its timers end the process that is too late"))
    set_up_logging("+".join(roles) if len(roles) < 4 else f"{roles[0]}+{len(roles) - 1}")
    may_listen(settings, roles)

    async def running() -> None:
        code = 1
        try:
            await run_roles(
                settings, roles, lambda controls, mode_max: production_hands(settings, roles, controls, mode_max)
            )
            code = 0
        finally:
            is_gone_within(GONE_WITHIN_S, code)

    asyncio.run(running())
    return 0


def up(settings: Settings, embedded: bool) -> int:
    """`steward up`: the whole pipeline in three supervised processes; embedded with a broker that lives in this one."""
    from infra.supervisor import Supervisor
    from infra.telemetry import set_up_logging

    observing = tuple(r for r in OBSERVING if r != "audit" or settings.clickhouse or embedded)
    groups = {"observe": observing, "act": ACTING, "execute": APART}
    may_listen(settings, *groups.values())
    set_up_logging("up")
    arguments = ["--config", settings.path] if settings.path else []
    if not embedded:
        return Supervisor(groups, arguments, os.environ).run()
    from infra.embedded import LIMITS, EmbeddedBroker

    print("The embedded broker is for looking around. It has", *LIMITS, sep="\n  - ", file=sys.stderr)
    print("So nothing is run on a cluster over it: actions are rehearsed at most.", file=sys.stderr)
    with (
        EmbeddedBroker(settings.kafka.topic_prefix, settings.kafka.partitions) as broker,
        tempfile.TemporaryDirectory(prefix="steward-audit-") as kept,  # a record of another broker would not fit it
    ):
        print(f"The audit is in {kept}, and ends with the broker that it is about.", file=sys.stderr)
        if settings.clickhouse is not None:
            print("Nothing is written to the store that [clickhouse] names.", file=sys.stderr)
        environment = {
            **os.environ,
            "STEWARD_KAFKA__BOOTSTRAP": broker.bootstrap,
            "STEWARD_CLICKHOUSE__URL": f"chdb:{kept}",
        }
        if settings.audit.checkpoints is not None:  # those are of another record
            environment["STEWARD_AUDIT__CHECKPOINTS"] = f"file:{kept}/checkpoints"

        def nearly_full() -> str | None:
            fill = broker.fullest()
            return f"{fill.topic}/{fill.partition} is nearly full: its head would be cut" if fill.share > 0.8 else None

        return Supervisor(groups, arguments, environment, on_tick=nearly_full).run()


def topics(settings: Settings, verb: str) -> tuple[list[str], list[str]]:
    """`steward topics plan|apply`: what was done, and what differs now. Raises Unreachable."""
    from confluent_kafka.admin import AdminClient

    from infra import topics as shape

    kafka = kafka_settings(settings, shape.ADMIN)
    admin = AdminClient(dict(kafka.client))
    made, differs = ([], shape.plan(admin, kafka)) if verb == "plan" else shape.apply(admin, kafka)
    return [f"made {name}" for name in made], [str(d) for d in differs]


def topics_rendered(settings: Settings) -> str:
    """`steward topics render`: topics and ACLs as commands for a platform team. It needs no credentials."""
    from infra import topics as shape
    from infra.runners.kafka import KafkaSettings

    return shape.render(KafkaSettings({}, settings.kafka.topic_prefix, settings.kafka.partitions))


def rbac_rendered(settings: Settings, system: str) -> str:
    """`steward rbac render`. Raises KeyError for a system that we keep no rights for."""
    from bootstrap import rbac

    return rbac.render(settings, system)


def rbac_audit(settings: Settings) -> list[Row]:
    """`steward rbac audit`."""
    from bootstrap import rbac

    return rbac.audit(settings)


def publish_control(settings: Settings, event: Event) -> None:
    """One control straight to Kafka, acknowledged, as principal `stop`. Raises Unreachable or Refused."""
    from infra.publisher import Publisher
    from schemas.chain import edge
    from schemas.wire import frame

    async def publish() -> None:
        publisher = Publisher(kafka_settings(settings, "stop"))
        try:
            made = edge(event, str(uuid.uuid4()), now_ms())
            await publisher.publish("controls", event.cluster_id, frame(type(event), made.body))
        finally:
            await publisher.close()

    asyncio.run(publish())


def leftovers(settings: Settings, cluster_id: str) -> list[str]:
    """What may be ours and is still on the cluster, by PD's word alone. Raises NoFacts."""
    facts = asyncio.run(_facts(settings, cluster_id))
    return [f"{found}: ours or a person's" for action in CATALOGUE.values() for found in action.left_over(facts)]


async def _facts(settings: Settings, cluster_id: str) -> Facts:
    from schemas.facts import Look

    return await pd_reader(settings).facts(cluster_id, Look())


def doctor(settings: Settings) -> list[tuple[str, bool, str, str]]:
    """(what, well, what was found, what to do): everything that the configuration names, reached read-only."""
    from agents.thinking import ThinkingFailed
    from infra import health
    from infra.topics import AUDITOR, DOCTOR, STOP

    def kafka() -> KafkaSettings:
        return kafka_settings(settings, DOCTOR)

    def store(member: str) -> Store:
        return open_audit(settings, member)

    async def model() -> str:
        claude = thinker(settings)
        try:
            return str(await claude.known(health.CALL_TIMEOUT_S))
        finally:
            await claude.aclose()

    roles = (*OBSERVING, *ACTING, *APART)
    of_clickhouse = settings.clickhouse.credentials if settings.clickhouse else None
    return [
        *health.members("clickhouse.credentials", of_clickhouse, ("audit", "auditor", "witness", "migrator")),
        *health.members("kafka.credentials", settings.kafka.credentials, (*roles, STOP, DOCTOR, AUDITOR)),
        *health.kafka(kafka),
        *health.audit(settings, store, kafka),
        *health.checkpoints(settings),
        *health.clusters(settings, lambda name: pd_reader(settings, name)),
        *health.model(settings, model, ThinkingFailed),
        *health.sinks(settings),
    ]


def verify_audit(settings: Settings, cluster: str | None, source: Source, directory: Path | None) -> dict[str, Any]:
    """`steward audit verify --direct`: in this process, as `auditor`. `directory`: of checkpoints; None: as configured.
    Raises ConfigError, AuditRefused, AuditUnreachable, Unreachable, or OSError for checkpoints that can't be read."""
    from bootstrap.roles import folds
    from infra.clickhouse import checkpoints
    from infra.clickhouse.kafka_reader import WholeTopics
    from infra.clickhouse.verify import Examination
    from infra.topics import AUDITOR

    if directory is not None and not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    place = directory or settings.audit.checkpoints
    every_s = 0 if directory else settings.audit.checkpoints_every_s  # a copy may be older
    known = checkpoints.read(place, every_s) if place else checkpoints.Known()
    asked = Examination(source, cluster, known, folds(settings))
    store = open_audit(settings, AUDITOR) if source != "kafka" else None
    try:
        verdict = asyncio.run(asked.of(store, lambda: WholeTopics(kafka_settings(settings, AUDITOR))))
    finally:
        if store is not None:
            store.close()
    if asked.knows_nobody(verdict) and cluster not in settings.clusters:
        raise ConfigError(Problem("CLUSTER", "text", f"{cluster!r} is neither configured nor on record"))
    return {**verdict.to_dict(), "text": verdict.to_text()}


def ask_audit(settings: Settings, name: str, params: Mapping[str, str]) -> dict[str, Any]:
    """`steward audit query --direct`: in this process, as `auditor`. Raises Refusal, ConfigError."""
    with _auditors(settings) as answers:
        return dict(asyncio.run(answers.query(name, params)))


def export_audit(settings: Settings, cluster: str, since: str, until: str) -> Iterator[bytes]:
    """`steward audit export --direct`: some lines at a time, the last by itself. Raises as `ask_audit`, and
    AuditUnreachable or AuditRefused where the store falls silent on the way."""
    with _auditors(settings) as answers, asyncio.Runner() as runner:
        pages = runner.run(answers.export(cluster, since, until))

        async def following() -> bytes:
            return await anext(pages, b"")

        while page := runner.run(following()):
            yield page


@contextlib.contextmanager
def _auditors(settings: Settings) -> Iterator[AuditAnswers]:
    from console.audit import AuditAnswers
    from infra.topics import AUDITOR

    store = open_audit(settings, AUDITOR)
    try:
        yield AuditAnswers(store, tuple(settings.clusters))
    finally:
        store.close()


def migrate_audit(settings: Settings) -> list[str]:
    """The names of the migrations that were applied. Raises ConfigError, AuditRefused or AuditUnreachable."""
    from infra.clickhouse.migrate import migrate

    if settings.clickhouse is None:
        raise ConfigError(Problem("clickhouse.url", "nothing", "there is no audit store without it"))
    return migrate(settings.clickhouse.url, audit_user(settings, "migrator"))
