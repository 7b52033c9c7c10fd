"""What has to be on the broker: topics, their configuration, and who may do what. Derived from streams.pipeline.

`plan`, `apply`, `look` and `used_by` talk to a broker; all else is pure. Nothing here deletes, shrinks or alters a
topic: what differs is reported, and a person decides.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not re-export
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from infra.publisher import Unreachable
from infra.runners.kafka import KafkaSettings
from infra.settings import ConfigError, Problem
from streams.pipeline import BY_NAME, EDGES, PROCESSORS, TOPICS, Processor, dead_letters

SELF_TEST = "selftest"  # infra.selftest writes nonsense on it; nobody reads it
DOCTOR = "doctor"  # the principal of `steward doctor`: it looks and writes nothing
ADMIN = "admin"  # the principal of `steward topics plan|apply` and `steward rbac audit`; no role
AUDITOR = "auditor"  # the principal of who verifies the record without asking us: it reads everything
STOP = "stop"  # the principal as which `freeze` writes by itself, when the console doesn't answer
ANSWERS_WITHIN_S = 5.0  # a broker that says nothing at all to a first question
CALL_TIMEOUT_S = 15.0
REPLICATION_MAX = 3


@dataclass(frozen=True)
class Wanted:
    """One topic as it should be. `name` includes the prefix; `config` holds what a broker's default may get wrong."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """One topic as it is, with every configuration value in force, wherever that comes from."""

    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True)
class Difference:
    """`what`: missing, partitions, replication, or the name of a configuration."""

    topic: str
    what: str
    wanted: str
    found: str

    @property
    def is_missing(self) -> bool:
        return self.what == "missing"

    def __str__(self) -> str:
        if self.is_missing:
            return f"{self.topic} is missing; it is to have {self.wanted}"
        return f"{self.topic}: {self.what} is {self.found}, and should be {self.wanted}"


def wanted(prefix: str, partitions: int, replication: int = 1) -> tuple[Wanted, ...]:
    """Every topic of the pipeline, the dead letters of each role, and the self-test's."""
    times = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete"}
    # Acknowledged means: on two brokers, and no broker without it may lead.
    safe = {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"} if replication > 1 else {}
    for_ever = {"retention.ms": "-1", "retention.bytes": "-1"}
    return (
        *(
            Wanted(prefix + t.name, t.partitions or partitions, {**times, **(for_ever if t.keeps_all else {}), **safe})
            for t in TOPICS
        ),
        *(Wanted(prefix + dead_letters(p.role), 1, {**times, **for_ever, **safe}) for p in PROCESSORS),
        Wanted(prefix + SELF_TEST, 1, {**times, "retention.ms": "86400000", **safe}),
    )


def differences(want: Iterable[Wanted], found: Mapping[str, Found], replication: int) -> list[Difference]:
    """All of them, topic by topic."""
    return [difference for topic in want for difference in _compared(topic, found.get(topic.name), replication)]


def _compared(topic: Wanted, found: Found | None, replication: int) -> Iterator[Difference]:
    if found is None:
        config = ", ".join(f"{key}={value}" for key, value in topic.config.items())
        yield Difference(topic.name, "missing", f"{topic.partitions} partitions, {config}", "")
        return
    if found.partitions != topic.partitions:
        yield Difference(topic.name, "partitions", str(topic.partitions), str(found.partitions))
    if found.replication < replication:
        yield Difference(topic.name, "replication", f"at least {replication}", str(found.replication))
    for key, value in topic.config.items():
        if not _is_kept(key, value, found.config.get(key)):
            yield Difference(topic.name, key, value, found.config.get(key, "unknown"))


def _is_kept(key: str, value: str, there: str | None) -> bool:
    """More replicas in sync than are wanted is stricter, and well."""
    if key == "min.insync.replicas" and there is not None and there.isdecimal():
        return int(there) >= int(value)
    return there == value


# on a broker


def plan(admin: AdminClient, settings: KafkaSettings, replication: int | None = None) -> list[Difference]:
    """What is not as it should be. `replication`: by default as many as there are brokers, at most 3.

    Raises Unreachable where nobody answers (librdkafka's own broker answers no administrator).
    """
    replicas, found = look(admin, settings.prefix, settings.where)
    replicas = replication or replicas
    return differences(wanted(settings.prefix, settings.partitions, replicas), found, replicas)


def apply(
    admin: AdminClient, settings: KafkaSettings, replication: int | None = None
) -> tuple[list[str], list[Difference]]:
    """Makes what is missing. Returns what it made, and what differs and is left to a person."""
    replicas = replication or look(admin, settings.prefix, settings.where)[0]
    missing = {d.topic for d in plan(admin, settings, replicas) if d.is_missing}
    new = [
        NewTopic(t.name, num_partitions=t.partitions, replication_factor=replicas, config=dict(t.config))
        for t in wanted(settings.prefix, settings.partitions, replicas)
        if t.name in missing
    ]
    if not new:
        return [], plan(admin, settings, replicas)
    for name, made in admin.create_topics(new, operation_timeout=CALL_TIMEOUT_S).items():
        try:
            _answer(made, settings.where)
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody was quicker: then it is compared
                raise
            missing.discard(name)
    return sorted(missing), _settled(admin, settings, replicas)


def _settled(admin: AdminClient, settings: KafkaSettings, replication: int) -> list[Difference]:
    """What differs once what was made has reached the broker that is asked: it trails the one that made it."""
    give_up_s = time.monotonic() + CALL_TIMEOUT_S
    while True:
        left = plan(admin, settings, replication)
        if not any(d.is_missing for d in left) or time.monotonic() > give_up_s:
            return left
        time.sleep(0.1)


def look(admin: AdminClient, prefix: str, where: str = "Kafka") -> tuple[int, dict[str, Found]]:
    """(the replication that these brokers allow, at most 3; every topic under the prefix). `where` is for messages."""
    try:
        cluster = admin.list_topics(timeout=ANSWERS_WITHIN_S)
    except KafkaException as failure:
        raise Unreachable(f"{where}: {failure.args[0].str()}") from failure
    there = {name: topic for name, topic in cluster.topics.items() if name.startswith(prefix) and topic.error is None}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in there]
    configs: dict[str, dict[str, str]] = {}
    if resources:
        for resource, answer in admin.describe_configs(resources, request_timeout=CALL_TIMEOUT_S).items():
            try:
                configs[resource.name] = {key: entry.value for key, entry in _answer(answer, where).items()}
            except KafkaException as failure:
                if failure.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:  # made, and not yet known everywhere
                    raise
    found = {
        name: Found(
            partitions=len(topic.partitions),
            replication=min((len(p.replicas) for p in topic.partitions.values()), default=0),
            config=configs[name],
        )
        for name, topic in there.items()
        if name in configs
    }
    return min(REPLICATION_MAX, len(cluster.brokers)), found


def _answer(future: Any, where: str) -> Any:
    """Raises Unreachable where nobody answered, and KafkaException where the answer is no."""
    try:
        return future.result(CALL_TIMEOUT_S + 5)
    except TimeoutError as late:
        raise Unreachable(f"{where}: no answer in time") from late
    except KafkaException as failure:
        if failure.args[0].code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            raise Unreachable(f"{where}: {failure.args[0].str()}") from failure
        raise


# who may do what

Operation = Literal["READ", "WRITE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS"]
Kind = Literal["topic", "group", "transactional-id", "cluster"]
CLUSTER = "kafka-cluster"  # the one name of its kind


@dataclass(frozen=True)
class Grant:
    """One permission. A principal is a role; whatever is not granted is denied."""

    principal: str
    kind: Kind
    name: str  # with the prefix
    operation: Operation
    prefixed: bool = False  # everything that begins so


def grants(prefix: str) -> tuple[Grant, ...]:
    """The least that each role needs, and no more."""
    found: dict[Grant, None] = {}
    for line in (*EDGES, *PROCESSORS):
        found |= dict.fromkeys(_of(line, prefix))
    # It stops everything and can do nothing else.
    found |= dict.fromkeys(_topic(STOP, prefix + "controls", "WRITE"))
    found |= dict.fromkeys(_of_doctor(prefix))
    found |= dict.fromkeys(_of_admin(prefix))
    found |= dict.fromkeys(_of_auditor(prefix))
    return tuple(found)


def _of(line: Processor, prefix: str) -> Iterator[Grant]:
    role, owns = line.role, line.verb in ("decides", "works")
    reads = {*line.reads, *(line.writes if owns else ()), *(("controls",) if line.consults else ())}
    writes = {*line.writes, *(() if line.verb == "edge" else (dead_letters(role),))}
    if line.verb == "edge" and line.reads:  # who shows or keeps everything, shows and keeps what could not be read too
        reads |= {dead_letters(p.role) for p in PROCESSORS}
    reads.add(SELF_TEST)  # each process judges its broker at start
    writes.add(SELF_TEST)
    for name in sorted(reads):
        yield from _topic(role, prefix + name, "READ")
    for name in sorted(writes):
        yield from _topic(role, prefix + name, "WRITE")
    if line.reads:
        yield Grant(role, "group", prefix + role, "READ")
    yield Grant(role, "group", f"{prefix}unused", "DESCRIBE")  # the name that hand-assigned consumers have to give
    transactions = f"{prefix}{role}-" if owns else f"{prefix}{role}-{SELF_TEST}-"
    yield Grant(role, "transactional-id", transactions, "WRITE", prefixed=True)
    yield Grant(role, "transactional-id", transactions, "DESCRIBE", prefixed=True)


def _of_doctor(prefix: str) -> Iterator[Grant]:
    for topic in wanted(prefix, 1):
        yield from _topic(DOCTOR, topic.name, "DESCRIBE_CONFIGS")
    for line in PROCESSORS:
        yield from _topic(DOCTOR, prefix + dead_letters(line.role), "READ")
    yield Grant(DOCTOR, "group", f"{prefix}unused", "DESCRIBE")


def _of_admin(prefix: str) -> Iterator[Grant]:
    """It makes what is missing, compares, and reads the ACLs. It can't alter, delete, or give itself more."""
    for topic in wanted(prefix, 1):
        yield from _topic(ADMIN, topic.name, "CREATE")
        yield Grant(ADMIN, "topic", topic.name, "DESCRIBE_CONFIGS")
    yield Grant(ADMIN, "cluster", CLUSTER, "DESCRIBE")


def _of_auditor(prefix: str) -> Iterator[Grant]:
    """Who verifies without asking us: reads everything."""
    for name in (*(t.name for t in TOPICS), *(dead_letters(p.role) for p in PROCESSORS)):
        yield from _topic(AUDITOR, prefix + name, "READ")
    yield Grant(AUDITOR, "group", f"{prefix}unused", "DESCRIBE")


def _topic(role: str, name: str, operation: Operation) -> Iterator[Grant]:
    yield Grant(role, "topic", name, operation)
    yield Grant(role, "topic", name, "DESCRIBE")


def matrix(prefix: str) -> Iterator[tuple[str, str, Operation, bool]]:
    """Every principal x topic x operation, and whether it is allowed: what a test holds against a broker."""
    table = grants(prefix)
    allowed = {(g.principal, g.name, g.operation) for g in table if g.kind == "topic"}
    operations: tuple[Operation, ...] = ("READ", "WRITE", "DESCRIBE")
    for principal in dict.fromkeys(g.principal for g in table):
        for topic in wanted(prefix, 1):
            for operation in operations:
                yield principal, topic.name, operation, (principal, topic.name, operation) in allowed


def bindings(table: Sequence[Grant]) -> list[AclBinding]:
    """The same for AdminClient.create_acls."""
    kinds = {
        "topic": ResourceType.TOPIC,
        "group": ResourceType.GROUP,
        "transactional-id": ResourceType.TRANSACTIONAL_ID,
        "cluster": ResourceType.BROKER,
    }
    return [
        AclBinding(
            kinds[g.kind],
            g.name,
            ResourcePatternType.PREFIXED if g.prefixed else ResourcePatternType.LITERAL,
            f"User:{g.principal}",
            "*",
            AclOperation[g.operation],
            AclPermissionType.ALLOW,
        )
        for g in table
    ]


def render(settings: KafkaSettings, replication: int = REPLICATION_MAX) -> str:
    """For a platform team that makes topics and ACLs itself: the commands, with Kafka's own tools."""
    lines = [
        _HEAD.format("Topics and ACLs"),
        _PRINCIPALS,
        "",
    ]
    for topic in wanted(settings.prefix, settings.partitions, replication):
        config = " ".join(f"--config {key}={value}" for key, value in topic.config.items())
        lines.append(
            f'kafka-topics.sh --bootstrap-server "$BOOTSTRAP" --command-config "$ADMIN" --create --if-not-exists'
            f" --topic {topic.name} --partitions {topic.partitions} --replication-factor {replication} {config}"
        )
    return "\n".join([*lines, *_acl_lines(settings.prefix), ""])


def render_acls(settings: KafkaSettings) -> str:
    """The ACLs alone."""
    return "\n".join([_HEAD.format("ACLs"), _PRINCIPALS, *_acl_lines(settings.prefix), ""])


def _acl_lines(prefix: str) -> list[str]:
    lines: list[str] = []
    by_role: dict[str, list[Grant]] = {}
    for grant in grants(prefix):
        by_role.setdefault(grant.principal, []).append(grant)
    for role, table in by_role.items():
        lines += ["", f"# {role}"]
        resources: dict[tuple[Kind, str, bool], list[str]] = {}
        for grant in table:
            operations = resources.setdefault((grant.kind, grant.name, grant.prefixed), [])
            if grant.operation not in operations:
                operations.append(grant.operation)
        for (kind, name, prefixed), operations in resources.items():
            pattern = " --resource-pattern-type prefixed" if prefixed else ""
            asked = " ".join(f"--operation {_TOOL_NAMES[operation]}" for operation in operations)
            resource = "--cluster" if kind == "cluster" else f"--{kind} {name}"
            lines.append(
                f'kafka-acls.sh --bootstrap-server "$BOOTSTRAP" --command-config "$ADMIN" --add'
                f" --allow-principal User:{role} {asked} {resource}{pattern}"
            )
    lines += [
        "",
        "# Your monitors write alerts themselves, each as a user of its own: Write and Describe on",
        f"# {prefix}alerts, keyed by cluster id, with the murmur2 partitioner.",
    ]
    return lines


_HEAD = "# {} of TiKV Steward. Set BOOTSTRAP, and ADMIN to a client configuration that may do this."
_PRINCIPALS = "# A principal is a role. Rename them as your users are named, one user a role."


_TOOL_NAMES = {
    "READ": "Read",
    "WRITE": "Write",
    "CREATE": "Create",
    "DESCRIBE": "Describe",
    "DESCRIBE_CONFIGS": "DescribeConfigs",
}


def used_by(line: Processor, kafka: KafkaSettings) -> dict[str, str]:
    """Ids by name of the topics that this role uses, by its own rights, once each is there with as many partitions as
    configured. Raises ConfigError, or Unreachable while the broker is on its way."""
    mine = {*line.reads, *line.writes, *(("controls",) if line.consults else ())}
    if line.verb != "edge":
        mine.add(dead_letters(line.role))
    admin = AdminClient(dict(kafka.client))
    topics = [t for t in wanted(kafka.prefix, kafka.partitions) if kafka.name_of(t.name) in mine]
    for topic in topics:
        try:
            found = admin.list_topics(topic.name, timeout=CALL_TIMEOUT_S).topics[topic.name]
        except KafkaException as failure:
            raise Unreachable(f"{kafka.where}: {failure.args[0].str()}") from failure
        if found.error is not None:
            if found.error.retriable() or found.error.code() == KafkaError.LEADER_NOT_AVAILABLE:
                raise Unreachable(f"{kafka.where}: {topic.name}: {found.error.str()}")
            text = f"{topic.name}: {found.error.str()}: `steward topics apply` makes topics, `render` prints the rights"
            raise ConfigError(Problem("kafka", "broker", text))
        if (count := len(found.partitions)) != topic.partitions:
            named = BY_NAME.get(kafka.name_of(topic.name))
            what = f"{topic.name} has {count} partitions, not {topic.partitions}"
            if named is None or named.partitions:
                text = f"{what}, whatever the others have: if nothing counts on it, delete it and make it anew with"
                raise ConfigError(Problem("kafka", "broker", f"{text} `steward topics apply`"))
            text = f"{what}: set kafka.partitions to {count}, if `steward topics plan` then finds nothing else"
            raise ConfigError(Problem("kafka.partitions", "number", text))
    if not kafka.isolated or not topics:
        return {}  # librdkafka's broker gives topics no ids
    described = admin.describe_topics(TopicCollection([t.name for t in topics]), request_timeout=15)
    return {kafka.name_of(name): str(_answer(future, kafka.where).topic_id) for name, future in described.items()}
