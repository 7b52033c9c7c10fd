"""The composition root: what each line of the pipeline page is made of, and what a process runs.

All that touches the world is handed in here and nowhere else; heavy imports happen in the function that needs them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.settings import ConfigError, Problem, Settings
from streams.pipeline import ACT, EDGES, OBSERVE, Processor, processor

if TYPE_CHECKING:
    import ssl

    from executors.execute import Window, Writer
    from infra.clickhouse.store import Store
    from infra.pd import PdReader
    from infra.process import Process, Role
    from infra.publisher import Publisher
    from infra.runners.kafka import KafkaSettings
    from infra.runners.maps import IntakeStage, MapStage
    from infra.runners.owner import ControlsPort
    from infra.settings import Secret
    from infra.telemetry import Metrics
    from schemas.controls import Controls
    from schemas.events import AlertReceived, Event
    from schemas.facts import Facts, FactsReader, Look
    from schemas.processors import Decides, Record

OBSERVING = (*(p.role for p in EDGES), *(p.role for p in OBSERVE))
ACTING = tuple(p.role for p in ACT if p.role != "execute")
BUILD = "0.1.0"
APART = ("execute",)  # a process of its own: its kernel timers end it when a step is too late


# -- what each line is made of --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hands:
    """All that touches the world. Specs, the demo and production differ in nothing else."""

    reader: FactsReader
    writer: Callable[[str, frozenset[str]], Writer]
    window: Callable[[float], Window]
    controls: ControlsPort
    thinker: Any = None  # agents.thinking.Thinker; None: the playbook alone
    deliver: Any = None  # streams.notify.Deliver
    sinks: tuple[str, ...] = ()  # their names, beside `log`
    keys: Mapping[str, Mapping[str, str]] | None = None  # whose signatures count, by kid
    mode_max: str = "on"  # `dry_run` where the broker can't keep what acting relies on
    owner: str = "steward"


def rules(line: Processor, settings: Settings, hands: Hands) -> Decides[Any]:
    """The rules of a decides or works line, with its hands."""
    match line.role:
        case "incidents":
            from streams.incidents import Incidents, IncidentSettings

            model_s = settings.model.deadline_s if settings.model else None
            return Incidents(IncidentSettings(**settings.incidents.model_dump(), model_deadline_s=model_s))
        case "diagnose":
            from agents.diagnose import Diagnose

            return Diagnose(hands.reader, hands.thinker)
        case "propose":
            from agents.propose import Propose

            model_s = settings.model.deadline_s if settings.model else 60
            return Propose(hands.reader, hands.thinker, settings.playbook.keep_s, model_s)
        case "tickets":
            from actions.calls import render
            from streams.tickets import Tickets

            return Tickets(show_call=lambda call: str(render(call)))
        case "notify":
            from streams.notify import Notify, NotifySettings

            return Notify(hands.deliver, NotifySettings(sinks=hands.sinks))
        case "remediations":
            from streams.remediations import Remediations
            from streams.remediations import Settings as RemediationSettings

            return Remediations(RemediationSettings(settings.environment, hands.keys or {}))
        case "execute":
            from executors.execute import Execute
            from executors.protocol import Rules

            margins = settings.execution
            return Execute(
                Rules(
                    environment=settings.environment,
                    owner=hands.owner,
                    keys=hands.keys or {},
                    pinned={name: c.pd_cluster_id for name, c in settings.clusters.items()},
                    cluster_tiers={name: c.tier for name, c in settings.clusters.items()},
                    mode_max=hands.mode_max,
                    window_s=margins.window_s,
                    proxy_margin_s=margins.proxy_margin_s,
                    poll_s=margins.poll_s,
                    probe_for_s=margins.probe_for_s,
                    look_for_s=margins.look_for_s,
                ),
                hands.reader,
                hands.writer,
                hands.window,
            )
    raise KeyError(f"{line.role} is no decides or works line")


def stage(line: Processor, settings: Settings, hands: Hands) -> IntakeStage | MapStage:
    """A maps line, with what it looks up for each record."""
    from infra.runners.maps import IntakeStage, MapStage

    if line.role == "intake":
        return IntakeStage(settings.kafka.partitions, {n: c.alert_labels for n, c in settings.clusters.items()})
    from schemas.events import ActionProposed
    from schemas.facts import NoFacts
    from streams import validate

    async def look(record: Record) -> tuple[Any, Controls]:
        """Facts, or why there are none; and the controls up to their live end."""
        controls = await hands.controls.read()
        wanted = validate.look_for(record.event) if isinstance(record.event, ActionProposed) else None
        if wanted is None:
            return None, controls
        try:
            return await hands.reader.facts(record.event.cluster_id, wanted), controls
        except NoFacts as error:
            return error, controls

    def check(record: Record, seen: tuple[Any, Controls], now_ms: int) -> Sequence[Any]:
        facts, controls = seen
        cluster = settings.clusters.get(record.event.cluster_id)
        policy = controls.policy if controls.live else controls.policy.model_copy(update={"version": 0})
        return validate.check(
            record,
            facts,
            environment=settings.environment,
            pd_cluster_id=cluster.pd_cluster_id if cluster else None,
            cluster_tier=cluster.tier if cluster else 1,
            policy=policy.at_most(hands.mode_max),
            now_ms=now_ms,
        )

    return MapStage(line.role, settings.kafka.partitions, look, check)


# -- hands of production --------------------------------------------------------------------------------------------


def kafka_settings(settings: Settings, role: str, *, isolated: bool = True) -> KafkaSettings:
    """How this role reaches the broker: its own credentials, a librdkafka properties file. Raises ConfigError."""
    from infra.runners.kafka import KafkaSettings

    # By itself librdkafka writes to stderr, between the lines of JSON (infra.telemetry).
    quiet = {"log_level": 2, "logger": logging.getLogger("librdkafka")}
    client: dict[str, Any] = {"bootstrap.servers": settings.kafka.bootstrap, **quiet}
    if settings.kafka.credentials:
        for line in settings.kafka.credentials.member(role).read().splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.lstrip().startswith("#"):
                client[name.strip()] = value.strip()
    return KafkaSettings(client, settings.kafka.topic_prefix, settings.kafka.partitions, isolated)


def tls(secret: Secret | None, field: str) -> ssl.SSLContext | None:
    """ca.pem, and cert.pem with key.pem where PD asks for them, in a `dir:` secret. Raises ConfigError."""
    import ssl

    if secret is None:
        return None
    there = secret.path
    try:
        context = ssl.create_default_context(cafile=str(there / "ca.pem"))
        if (there / "cert.pem").exists():
            context.load_cert_chain(there / "cert.pem", there / "key.pem")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(Problem(field, "directory", f"no usable certificates: {error}")) from None
    return context


def pd_reader(settings: Settings) -> PdReader:
    from infra.pd import PdEndpoint, PdReader

    return PdReader(
        {
            name: PdEndpoint(c.pd, c.pd_cluster_id, tls(c.tls_read, f"clusters.{name}.tls_read"))
            for name, c in settings.clusters.items()
        }
    )


def pd_writer(settings: Settings) -> Callable[[str, frozenset[str]], Writer]:
    """Write credentials are read here alone, in the process that executes."""
    from executors.pd import PdWriter

    contexts = {n: tls(c.tls_write, f"clusters.{n}.tls_write") for n, c in settings.clusters.items()}

    def writer(cluster_id: str, may_call: frozenset[str]) -> Writer:
        known = settings.clusters.get(cluster_id)  # renamed while something is open there: no PD is reached
        return PdWriter(known.pd if known else (), may_call=may_call, tls=contexts.get(cluster_id))

    return writer


LOOKS_AT_PD = frozenset({"diagnose", "propose", "validate", "execute"})


class NoPd:
    """The reader of a process whose roles look at no cluster: it holds no credentials."""

    async def facts(self, cluster_id: str, look: Look) -> Facts:
        raise RuntimeError("no role of this process looks at PD")


def no_writer(cluster_id: str, may_call: frozenset[str]) -> Writer:
    raise RuntimeError("only `execute` may write to a cluster")


def thinker(settings: Settings) -> Any:
    """Claude where a key is configured; its library is imported when it is first asked."""
    if settings.model is None:
        return None
    from agents.claude import Claude

    return Claude(settings.model.name, settings.model.api_key.read(), settings.model.base_url)


def production_hands(settings: Settings, roles: Sequence[str], controls: ControlsPort, mode_max: str) -> Hands:
    from console.keys import public_keys
    from infra.deadline import KernelWindow
    from infra.sinks import Sinks

    return Hands(
        reader=pd_reader(settings) if LOOKS_AT_PD & set(roles) else NoPd(),
        writer=pd_writer(settings) if "execute" in roles else no_writer,
        window=KernelWindow,
        controls=controls,
        thinker=thinker(settings) if {"diagnose", "propose"} & set(roles) else None,
        deliver=Sinks({name: s.url.read() for name, s in settings.sinks.items()} if "notify" in roles else {}),
        sinks=tuple(settings.sinks),
        keys=public_keys(settings) if {"remediations", "execute"} & set(roles) else {},
        mode_max=mode_max,
        owner=f"{socket.gethostname()}/{os.getpid()}",
    )


# -- processes ------------------------------------------------------------------------------------------------------

MakeHands = Callable[["ControlsPort", str], Hands]


async def serve(
    settings: Settings, roles: Sequence[str], make_hands: MakeHands, stop: asyncio.Event | None = None
) -> None:
    """Run these roles in this process until SIGTERM. `make_hands(controls, mode_max)` gives what touches the world."""
    import structlog

    from infra.process import Process, Role
    from infra.publisher import Publisher
    from infra.runners.kafka import KafkaControls
    from infra.runners.roles import OwnerRole
    from infra.selftest import judge_broker
    from infra.telemetry import Metrics

    lines = [processor(role) for role in roles]
    verdict = await judge_broker(kafka_settings(settings, roles[0]))
    kafka = {line.role: kafka_settings(settings, line.role, isolated=verdict.isolated) for line in lines}
    topic_ids: dict[str, str] = {}
    for line in lines:
        topic_ids |= await asyncio.to_thread(topics_there, line, kafka[line.role])
    metrics = Metrics()
    log = structlog.get_logger()
    reader = next((line.role for line in lines if line.consults), roles[0])  # a principal that may read controls
    controls = KafkaControls(kafka[reader])
    await controls.read()
    hands = make_hands(controls, verdict.allows)
    process = Process(on_up=lambda role, up: metrics.up.labels(role).set(up))
    process.closing.append(lambda: asyncio.to_thread(controls.close))

    def publisher(role: str) -> Publisher:
        """Each role writes as itself: the grants are by role."""
        made = Publisher(kafka[role])
        process.closing.append(made.close)
        return made

    edges = Edges(settings, kafka, publisher, metrics, process)
    for line in lines:
        if line.verb == "maps":
            process.roles.append(_mapping(line, settings, hands, kafka[line.role], publisher(line.role), metrics))
        elif line.verb == "edge":
            process.roles.append(await edges.make(line.role))
        else:
            owners = OwnerRole(
                line,
                rules(line, settings, hands),
                kafka[line.role],
                controls,
                name=hands.owner,
                build=BUILD,
                topic_id=lambda topic: topic_ids.get(topic, ""),
                on_commit=metrics.committed,
            )
            process.roles.append(Role(line.role, owners.run, owners.stop))
    if watch := getattr(hands.reader, "keep_watch", None):
        process.background.append(watch)
    process.closing.append(lambda: asyncio.to_thread(metrics.close))
    where = metrics.serve(_metrics_listen(settings, roles))
    log.info("running", roles=list(roles), metrics=where, broker=verdict.text)
    await process.run(stop)


def _mapping(
    line: Processor, settings: Settings, hands: Hands, kafka: KafkaSettings, publisher: Publisher, metrics: Metrics
) -> Role:
    from infra.process import Role
    from infra.runners.faust_app import FaustStage

    (reads,), (writes,) = line.reads, line.writes
    carried = FaustStage(
        kafka,
        line.role,
        reads,
        writes,
        stage(line, settings, hands).handle,
        publisher,
        isolated=line.role == "validate",
        on_commit=metrics.committed,
    )
    ended = asyncio.Event()

    async def run() -> None:
        await carried.start()
        await ended.wait()

    async def stop() -> None:
        await carried.stop()
        ended.set()

    return Role(line.role, run, stop)


def _metrics_listen(settings: Settings, roles: Sequence[str]) -> str:
    if set(roles) & set(APART):
        return settings.metrics.execute
    return settings.metrics.act if set(roles) & set(ACTING) else settings.metrics.observe


def topics_there(line: Processor, kafka: KafkaSettings) -> dict[str, str]:
    """Ids by name of the topics that this role uses, by its own rights, once each is there with as many partitions as
    configured. Raises ConfigError, or Unreachable while the broker is on its way."""
    from confluent_kafka import KafkaError, TopicCollection
    from confluent_kafka.admin import AdminClient

    from infra.publisher import Unreachable
    from infra.topics import wanted
    from streams.pipeline import dead_letters

    mine = {*line.reads, *line.writes, *(("controls",) if line.consults else ())}
    if line.verb != "edge":
        mine.add(dead_letters(line.role))
    admin = AdminClient(dict(kafka.client))
    topics = [t for t in wanted(kafka.prefix, kafka.partitions) if kafka.name_of(t.name) in mine]
    for topic in topics:
        found = admin.list_topics(topic.name, timeout=15).topics[topic.name]
        if found.error is not None:
            if found.error.retriable() or found.error.code() == KafkaError.LEADER_NOT_AVAILABLE:
                raise Unreachable(f"{topic.name}: {found.error.str()}")
            text = f"{topic.name}: {found.error.str()}: `steward topics apply` makes topics, `render` prints the rights"
            raise ConfigError(Problem("kafka", "broker", text))
        if len(found.partitions) != topic.partitions:
            text = f"{topic.name} has {len(found.partitions)} partitions, not {topic.partitions}"
            raise ConfigError(Problem("kafka.partitions", "number", text))
    if not kafka.isolated or not topics:
        return {}  # librdkafka's broker gives topics no ids
    described = admin.describe_topics(TopicCollection([t.name for t in topics]), request_timeout=15)
    return {kafka.name_of(name): str(future.result().topic_id) for name, future in described.items()}


@dataclass
class Edges:
    """The roles that touch topics from outside: HTTP servers and the audit, sharing what must be one in a process."""

    settings: Settings
    kafka: Mapping[str, KafkaSettings]
    publisher: Callable[[str], Publisher]
    metrics: Metrics
    process: Process
    store: Store | None = None

    async def make(self, role: str) -> Role:
        make = {"gateway": self._gateway, "console": self._console, "audit": self._audit}[role]
        return await make()

    async def _gateway(self) -> Role:
        from infra.gateway import gateway

        token = self.settings.gateway.token
        publisher = self.publisher("gateway")
        app = gateway(
            lambda alerts: _publish_alerts(publisher, alerts),
            self._labels(),
            token=token.read() if token else None,
            registry=self.metrics.registry,
            ready=publisher.ready,
        )
        return _http("gateway", app, self.settings.gateway.listen)

    def _labels(self) -> dict[str, Mapping[str, str]]:
        return {name: c.alert_labels for name, c in self.settings.clusters.items()}

    async def _console(self) -> Role:
        from prometheus_client import generate_latest

        from actions.catalogue import CATALOGUE
        from console.desk import Desk, Place
        from console.journal import Journal
        from console.keys import signing_key
        from console.web import app
        from infra.clickhouse.kafka_reader import KafkaReader
        from schemas.alertmanager import keyed, parse
        from schemas.chain import edge
        from schemas.wire import frame

        settings = self.settings
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
            while True:
                for raw in await reader.poll(2000, 0.2):
                    journal.take(raw)
                for (role, code), count in journal.dead_by.items():
                    self.metrics.dead.labels(role, code).set(count)
                journal.caught_up = journal.caught_up or not sum((await reader.lag()).values())

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
        )
        audit = AuditAnswers(self._store()) if settings.clickhouse else None
        web = app(desk, settings.console.users, audit=audit, metrics=lambda: generate_latest(self.metrics.registry))
        return _http("console", web, settings.console.listen)

    async def _audit(self) -> Role:
        from infra.clickhouse.kafka_reader import KafkaReader
        from infra.clickhouse.migrate import migrate
        from infra.clickhouse.sink import Sink
        from infra.process import Role

        store = self._store()
        if store.place.embedded:  # its only user; a server is migrated by a role that isn't there at run time
            assert self.settings.clickhouse is not None
            await asyncio.to_thread(migrate, self.settings.clickhouse.url)
        reader = KafkaReader(self.kafka["audit"])
        self.process.closing.append(reader.close)

        def measured(lag: Mapping[str, int]) -> None:
            for topic, records in lag.items():
                self.metrics.lag.labels(topic).set(records)

        sink = Sink(store, on_lag=measured)

        async def stop() -> None:
            sink.stop()

        return Role("audit", lambda: sink.run(reader), stop)

    def _store(self) -> Store:
        """One for the console and the audit: of a process they share its engine."""
        if self.store is None:
            store = self.store = open_audit(self.settings)
            self.process.closing.append(lambda: asyncio.to_thread(store.close))
        return self.store


async def _publish_alerts(publisher: Publisher, alerts: list[tuple[str, AlertReceived]]) -> None:
    """Returns when Kafka has acknowledged every one."""
    from schemas.wire import encode

    await asyncio.gather(*(publisher.publish("alerts", key, encode(alert)) for key, alert in alerts))


@dataclass(frozen=True)
class AuditAnswers:
    """console.desk.AuditPort over the store."""

    store: Store

    async def query(self, name: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        """{"columns": [...], "rows": [[...], ...], "ok": bool}. Raises Refusal."""
        from console.desk import Refusal
        from infra.clickhouse.questions import QuestionRefused, ask
        from infra.clickhouse.store import AuditRefused, AuditUnreachable

        try:
            answer = await asyncio.to_thread(ask, self.store, name, params)
        except QuestionRefused as error:
            raise Refusal("not_found", "bad_question", str(error), "name") from None
        except (AuditRefused, AuditUnreachable) as error:
            raise Refusal("unavailable", "audit_unreachable", str(error)) from None
        return answer.to_dict()

    async def verify(self, cluster_id: str) -> Mapping[str, Any]:
        """{"ok": bool, "text": ...}. Raises Refusal."""
        from console.desk import Refusal
        from infra.clickhouse.store import AuditRefused, AuditUnreachable
        from infra.clickhouse.verify import verify_store

        try:
            verdict = await asyncio.to_thread(verify_store, self.store, cluster_id or None)
        except (AuditRefused, AuditUnreachable) as error:
            raise Refusal("unavailable", "audit_unreachable", str(error)) from None
        return {**verdict.to_dict(), "ok": verdict.ok, "text": verdict.to_text()}


def now_ms() -> int:
    return int(time.time() * 1000)


def _http(name: str, app: Any, listen: str) -> Role:
    """An HTTP server in this loop. It leaves signals to the process."""
    import uvicorn

    from infra.process import Role

    host, _, port = listen.rpartition(":")

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    server = Server(
        uvicorn.Config(app, host=host, port=int(port), log_level="warning", log_config=None, lifespan="off")
    )

    async def stop() -> None:
        server.should_exit = True

    return Role(name, server.serve, stop)


# -- what the command line asks for ---------------------------------------------------------------------------------


def run(settings: Settings, roles: Sequence[str]) -> int:
    """`steward run ROLE...`: until SIGTERM. Exits 0 after a stop that was asked for."""
    from infra.supervisor import end_with_supervisor
    from infra.telemetry import set_up_logging

    end_with_supervisor(os.environ)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until the roles begin there is nothing to park
    if set(roles) & set(APART) and set(roles) - set(APART):
        raise ConfigError(Problem("roles", "list", "`execute` runs alone: its timers end the process that is too late"))
    set_up_logging("+".join(roles) if len(roles) < 4 else f"{roles[0]}+{len(roles) - 1}")
    asyncio.run(
        serve(settings, roles, lambda controls, mode_max: production_hands(settings, roles, controls, mode_max))
    )
    return 0


def up(settings: Settings, embedded: bool) -> int:
    """`steward up`: the whole pipeline in three supervised processes; embedded with a broker that lives in this one."""
    from infra.supervisor import Supervisor
    from infra.telemetry import set_up_logging

    set_up_logging("up")
    observing = tuple(r for r in OBSERVING if r != "audit" or settings.clickhouse or embedded)
    groups = {"observe": observing, "act": ACTING, "execute": APART}
    arguments = ["--config", settings.path] if settings.path else []
    if not embedded:
        return Supervisor(groups, arguments, os.environ).run()
    from infra.embedded import LIMITS, EmbeddedBroker

    print("The embedded broker is for looking around. It has", *LIMITS, sep="\n  - ", file=sys.stderr)
    print("So nothing is run on a cluster over it: actions are rehearsed at most.", file=sys.stderr)
    with EmbeddedBroker(settings.kafka.topic_prefix, settings.kafka.partitions) as broker:
        environment = {**os.environ, "STEWARD_KAFKA__BOOTSTRAP": broker.bootstrap}
        if settings.clickhouse is None:
            environment["STEWARD_CLICKHOUSE__URL"] = "chdb:./steward-audit"

        def nearly_full() -> str | None:
            fill = broker.fullest()
            return f"{fill.topic}/{fill.partition} is nearly full: its head would be cut" if fill.share > 0.8 else None

        return Supervisor(groups, arguments, environment, on_tick=nearly_full).run()


def topics(settings: Settings, verb: str) -> tuple[list[str], list[str]]:
    """`steward topics plan|apply`: what was done, and what differs now. Raises Unreachable."""
    from confluent_kafka.admin import AdminClient

    from infra import topics as shape

    kafka = kafka_settings(settings, "admin")
    admin = AdminClient(dict(kafka.client))
    made, differs = ([], shape.plan(admin, kafka)) if verb == "plan" else shape.apply(admin, kafka)
    return [f"made {name}" for name in made], [str(d) for d in differs]


def topics_rendered(settings: Settings) -> str:
    """`steward topics render`: topics and ACLs as commands for a platform team."""
    from infra import topics as shape

    return shape.render(kafka_settings(settings, "admin"))


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
    return [f"leaders are kept off store {s} (evict-leader-scheduler-{s}): ours or a person's" for s in facts.evicting]


async def _facts(settings: Settings, cluster_id: str) -> Facts:
    from schemas.facts import Look

    return await pd_reader(settings).facts(cluster_id, Look())


def doctor(settings: Settings) -> list[tuple[str, bool, str, str]]:
    """(what, well, what was found, what to do): everything that the configuration names, reached read-only."""
    from infra import health

    store = open_audit(settings) if settings.clickhouse and not settings.clickhouse.url.startswith("chdb:") else None
    return [
        *health.kafka(kafka_settings(settings, "console")),
        *health.audit(settings, store),
        *health.clusters(settings, pd_reader(settings)),
    ]


def open_audit(settings: Settings) -> Store:
    """The audit store as configured; it connects when it is first used. Raises ConfigError."""
    from infra.clickhouse.store import open_store

    if settings.clickhouse is None:
        raise ConfigError(Problem("clickhouse.url", "nothing", "there is no audit store without it"))
    return open_store(settings.clickhouse.url, _audit_user(settings, "audit"))


def migrate_audit(settings: Settings) -> list[str]:
    """The names of the migrations that were applied. Raises ConfigError, AuditRefused or AuditUnreachable."""
    from infra.clickhouse.migrate import migrate

    if settings.clickhouse is None:
        raise ConfigError(Problem("clickhouse.url", "nothing", "there is no audit store without it"))
    return migrate(settings.clickhouse.url, _audit_user(settings, "migrator"))


def _audit_user(settings: Settings, role: str) -> tuple[str, str] | None:
    """(user, password) of a role, `user:password` in its file."""
    if settings.clickhouse is None or settings.clickhouse.credentials is None:
        return None
    user, _, password = settings.clickhouse.credentials.member(role).read().partition(":")
    return user, password
