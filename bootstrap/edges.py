"""The roles that touch topics from outside: HTTP servers and the audit, sharing what must be one in a process."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bootstrap.production import now_ms, open_audit
from infra.settings import Settings

if TYPE_CHECKING:
    from console.desk import ReplayPort
    from infra.clickhouse.checkpoints import Checkpoints
    from infra.clickhouse.store import Store
    from infra.process import Process, Role
    from infra.publisher import Publisher
    from infra.runners.kafka import KafkaSettings
    from infra.telemetry import Metrics
    from schemas.events import AlertReceived, Event


@dataclass
class Edges:
    """The roles that touch topics from outside: HTTP servers and the audit, sharing what must be one in a process."""

    settings: Settings
    kafka: Mapping[str, KafkaSettings]
    publisher: Callable[[str], Publisher]
    metrics: Metrics
    process: Process
    stores: dict[str, Store] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)  # by role: what is wrong with it now, for `steward status`
    audit_lag: dict[str, int] | None = None  # by topic; None: the audit runs elsewhere, or has not measured yet

    async def make(self, role: str) -> Role:
        make = {"gateway": self._gateway, "console": self._console, "audit": self._audit}[role]
        return await make()

    async def _gateway(self) -> Role:
        from infra.gateway import gateway
        from infra.http import http_role

        token = self.settings.gateway.token
        publisher = self.publisher("gateway")
        app = gateway(
            lambda alerts: _publish_alerts(publisher, alerts),
            self._labels(),
            token=token.read() if token else None,
            registry=self.metrics.registry,
            ready=publisher.ready,
        )
        return http_role("gateway", app, self.settings.gateway.listen)

    def _labels(self) -> dict[str, Mapping[str, str]]:
        return {name: c.alert_labels for name, c in self.settings.clusters.items()}

    async def _console(self) -> Role:
        import structlog
        from confluent_kafka import KafkaException
        from prometheus_client import generate_latest

        from actions.catalogue import CATALOGUE
        from bootstrap.roles import folds
        from console.audit import AuditAnswers, Evidence
        from console.desk import Desk, Place
        from console.journal import Journal
        from console.keys import signing_key
        from console.web import app
        from infra.clickhouse.kafka_reader import KafkaReader, WholeTopics
        from infra.clickhouse.sink import RecordsLost
        from infra.http import http_role
        from schemas.alertmanager import keyed, parse
        from schemas.chain import edge
        from schemas.wire import frame

        settings, log = self.settings, structlog.get_logger()
        journal = Journal(settings.kafka.partitions)
        reader = KafkaReader(self.kafka["console"])
        self.process.closing.append(reader.close)

        publisher = self.publisher("console")

        async def publish(topic: str, cluster_id: str, event: Event) -> None:
            made = edge(event, str(uuid.uuid4()), now_ms())
            await publisher.publish(topic, cluster_id, frame(type(event), made.body))

        async def take_in(body: bytes) -> str:
            """A webhook body, as the gateway would take it. Raises Unreadable, Unreachable or Refused."""
            alerts = keyed(parse(body), self._labels())
            await _publish_alerts(publisher, alerts)
            return f"{len(alerts)} alerts published"

        async def follow() -> None:
            await reader.seek({})
            lost: dict[str, None] = {}  # said once by the reader, and true until a person has looked
            while True:
                try:
                    raws = await reader.poll(2000, 0.2)
                except (RecordsLost, KafkaException) as error:  # the rest is shown, with this beside it
                    log.error("the console does not see everything", reason=str(error))
                    lost[str(error)] = None
                    raws = []
                for raw in raws:
                    journal.take(raw)
                for (role, code), count in journal.dead_by.items():
                    self.metrics.dead.labels(role, code).set(count)
                behind = sum((await reader.lag()).values())
                journal.caught_up = journal.caught_up or not (behind or reader.trouble)
                if trouble := "; ".join([*lost, *filter(None, (reader.trouble,))]):
                    self.troubles["console"] = trouble
                else:
                    self.troubles.pop("console", None)

        self.process.background.append(follow)
        desk = Desk(
            environment=settings.environment,
            clusters={n: Place(c.pd_cluster_id, c.tier, c.alert_labels) for n, c in settings.clusters.items()},
            journal=journal,
            publish=publish,
            now_ms=now_ms,
            new_id=lambda: str(uuid.uuid4()),
            key=signing_key(settings) if settings.console.signing_key else None,
            draft=settings.policy,
            take_in=take_in,
            known_actions=frozenset(CATALOGUE),
            troubles=self.troubles,
            audit_lag=lambda: self.audit_lag,
        )
        evidence = Evidence(
            topics=lambda: WholeTopics(self.kafka["console"]),
            directory=settings.audit.checkpoints,
            every_s=settings.audit.checkpoints_every_s,
            folds=folds(settings),
        )
        store = self._store("auditor") if settings.clickhouse else None
        audit = AuditAnswers(store, tuple(settings.clusters), evidence)
        web = app(
            desk,
            settings.console.users,
            audit=audit,
            replays=self._replays(),
            metrics=lambda: generate_latest(self.metrics.registry),
        )
        return http_role("console", web, settings.console.listen)

    def _replays(self) -> ReplayPort:
        from bootstrap.replay import rules_of
        from bootstrap.roles import BUILD
        from console.keys import public_keys
        from console.replay import Replays
        from infra.clickhouse.kafka_reader import WholeTopics

        settings = self.settings
        return Replays(
            rules=lambda mode_max: rules_of(settings, public_keys(settings))(mode_max),  # read when it is asked
            partitions=settings.kafka.partitions,
            build=BUILD,
            store=self._store("auditor") if settings.clickhouse else None,
            topics=lambda: WholeTopics(self.kafka["console"]),
        )

    async def _audit(self) -> Role:
        from infra.clickhouse.kafka_reader import KafkaReader
        from infra.clickhouse.migrate import migrate
        from infra.clickhouse.sink import Sink
        from infra.process import Role

        store = self._store("audit")

        def prepare() -> None:
            if store.place.embedded:  # its only user; a server is migrated by a role that isn't there at run time
                assert self.settings.clickhouse is not None
                migrate(self.settings.clickhouse.url)

        reader = KafkaReader(self.kafka["audit"])
        self.process.closing.append(reader.close)

        def measured(lag: Mapping[str, int]) -> None:
            self.audit_lag = dict(lag)
            for topic, records in lag.items():
                self.metrics.lag.labels(topic).set(records)

        def troubled(why: str) -> None:
            self.metrics.audit_trouble.set(bool(why))
            self.troubles.pop("audit", None)
            if why:
                self.troubles["audit"] = why

        kept = self._checkpoints()
        sink = Sink(store, on_lag=measured, on_trouble=troubled, on_kept=kept.take if kept else lambda block: None)

        async def stop() -> None:
            sink.stop()

        return Role("audit", lambda: sink.keep_at_it(reader, prepare), stop)

    def _checkpoints(self) -> Checkpoints | None:
        """How far each chain is, in a second place; None: none is configured."""
        from infra.clickhouse.checkpoints import Checkpoints

        there = self.settings.audit
        if there.checkpoints is None:
            return None

        def troubled(why: str) -> None:
            self.metrics.checkpoint_trouble.set(bool(why))
            self.troubles.pop("audit.checkpoints", None)
            if why:
                self.troubles["audit.checkpoints"] = why

        kept = Checkpoints(
            there.checkpoints, there.checkpoints_every_s, on_trouble=troubled, on_written=self.metrics.checkpoint.set
        )
        self.process.background.append(kept.keep_at_it)
        self.process.closing.append(kept.close)
        return kept

    def _store(self, member: str) -> Store:
        """With credentials of its own. The embedded engine has one user, and of a process the roles share it."""
        there = self.settings.clickhouse
        key = "embedded" if there and there.url.startswith("chdb:") else member
        if key not in self.stores:
            store = self.stores[key] = open_audit(self.settings, member)
            self.process.closing.append(lambda: asyncio.to_thread(store.close))
        return self.stores[key]


async def _publish_alerts(publisher: Publisher, alerts: list[tuple[str, AlertReceived]]) -> None:
    """Returns when Kafka has acknowledged every one."""
    from schemas.wire import encode

    await asyncio.gather(*(publisher.publish("alerts", key, encode(alert)) for key, alert in alerts))
