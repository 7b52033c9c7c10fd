"""`steward doctor`: everything that the configuration names, reached read-only. A line a thing: is it well, what was
found, what to do. What is wrong with one thing keeps nobody from looking at the next."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its stubs do not re-export

from infra.publisher import Unreachable
from infra.runners.kafka import KafkaSettings, ends_of, passes, records_of
from infra.settings import ConfigError, Secret, Settings
from infra.topics import SELF_TEST, Difference, plan, wanted
from schemas.events import DeadLetter, Unreadable
from schemas.facts import FactsReader, Look, NoFacts
from schemas.wire import decode
from streams.pipeline import BY_NAME, PROCESSORS, dead_letters

if TYPE_CHECKING:
    from infra.clickhouse.store import Store

Line = tuple[str, bool, str, str]  # (what, well, what was found, what to do); well and something to do: a warning
Partition = tuple[str, int]
CALL_TIMEOUT_S = 10.0
ASK_TIMEOUT_S = CALL_TIMEOUT_S / 2  # of one of several asks, so that one that got lost is asked again in time
ASK_DO = "is the topic there, does its leader answer, and may `doctor` describe it?"
LATEST = 500  # dead letters of a role that are looked at
NAMED_MAX = 10  # differences with a line of their own
A_DAY_MS = 86_400_000
LAG_NOTED = 10_000  # records that are not in the audit yet


def wrong(what: str, error: ConfigError) -> Iterator[Line]:
    """What keeps us from even asking: a secret that is not there, named by its field and its path."""
    for problem in error.problems:
        yield what, False, str(problem), f"put it there, or correct {problem.field}"


def kafka(open_settings: Callable[[], KafkaSettings]) -> Iterator[Line]:
    """The broker, the topics on it, and what could not be read lately."""
    try:
        settings = open_settings()
    except ConfigError as error:
        yield from wrong("kafka", error)
        return
    where = str(settings.client.get("bootstrap.servers", ""))
    try:
        admin = AdminClient(dict(settings.client))
        admin.list_topics(timeout=CALL_TIMEOUT_S)
        yield "kafka", True, f"{where} answers", ""
    except KafkaException as error:
        yield "kafka", False, f"{where}: {error.args[0].str()}", "does it run there, and are the credentials good?"
        return
    missing: set[str] = set()
    try:
        differences = plan(admin, settings)
        missing = {settings.name_of(d.topic) for d in differences if d.is_missing}
        yield from topics(settings, differences)
    except (KafkaException, Unreachable) as error:
        text = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        yield "topics", False, text, "may `doctor` describe topics and their configuration?"
    try:
        yield from unread(settings, missing)
    except KafkaException as error:
        yield "dead letters", False, error.args[0].str(), "may `doctor` read them?"


def topics(settings: KafkaSettings, differences: Sequence[Difference]) -> Iterator[Line]:
    """What is missing, in one line; what differs, a line each."""
    do = "`steward topics apply`, or give `steward topics render` to the platform team"
    if not differences:
        yield "topics", True, "all there, as they should be", ""
    if missing := [settings.name_of(d.topic) for d in differences if d.is_missing]:
        all_of_them = len(wanted(settings.prefix, settings.partitions))
        names = ", ".join(missing)
        prefix = f" (prefix {settings.prefix})" if settings.prefix else ""
        yield "topics", False, f"{len(missing)} of {all_of_them} are missing{prefix}: {names}", do
    others = [d for d in differences if not d.is_missing]
    for difference in others[:NAMED_MAX]:
        yield "topics", False, str(difference), "a person changes it: nothing of ours alters a topic"
    if len(others) > NAMED_MAX:
        yield "topics", False, f"and {len(others) - NAMED_MAX} more differences", "`steward topics plan` lists them"


def unread(settings: KafkaSettings, missing: set[str]) -> Iterator[Line]:
    """What was dead-lettered in the last day, by role and reason; alerts of clusters nobody configured among it. To be
    known, and not wrong: one junk record would be a failed check for a day. What could not be read is wrong."""
    found: Counter[tuple[str, str, str]] = Counter()
    unknown: dict[str, str] = {}
    for topic, role in ((dead_letters(line.role), line.role) for line in PROCESSORS):
        if topic in missing:
            continue
        try:
            for letter in _letters(settings, topic):
                found[letter.role, letter.code, letter.reason if letter.code == "unknown_cluster" else ""] += 1
        except KafkaException as failure:
            unknown[role] = failure.args[0].str()
    if unknown:
        role, why = min(unknown.items())
        yield "dead letters", False, f"not known of {len(unknown)} roles; {role}: {why}", "may this user read them?"
    elif not found:
        yield "dead letters", True, "none in the last day", ""
    for (role, code, reason), count in sorted(found.items()):
        text = f"{count} x {code} by {role} in the last day{': ' + reason if reason else ''}"
        do = "add the cluster to [clusters], or stop its alerts" if reason else "`steward dead-letters` shows them"
        yield "dead letters", True, text, do


def _letters(settings: KafkaSettings, topic: str) -> Iterator[DeadLetter]:
    """The latest. Raises KafkaException where they can't be read to their end."""
    consumer = settings.consumer()
    place = TopicPartition(settings.topic(topic), 0)
    since_ms = time.time() * 1000 - A_DAY_MS
    try:
        low, high = ends_of(consumer, place, CALL_TIMEOUT_S)
        place.offset = max(low, high - LATEST)
        if place.offset >= high:
            return
        consumer.assign([place])
        give_up_s = time.monotonic() + CALL_TIMEOUT_S
        reached = place.offset
        while reached < high:
            if time.monotonic() > give_up_s:
                text = f"{place.topic}: read to {reached} of {high} within {CALL_TIMEOUT_S:g} s"
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, text))
            messages = consumer.consume(LATEST, 0.5)
            for raw in records_of(messages, settings):
                reached = raw.offset + 1
                try:
                    event = decode(raw.value).event
                except Unreadable:
                    continue
                if isinstance(event, DeadLetter) and raw.at_ms >= since_ms:
                    yield event
            for error in filter(None, (m.error() for m in messages)):
                if error.code() == KafkaError._PARTITION_EOF:  # where transaction markers are left
                    return
                raise KafkaException(error)
    finally:
        consumer.close()


def audit(
    settings: Settings, open_store: Callable[[str], Store], open_kafka: Callable[[], KafkaSettings]
) -> Iterator[Line]:
    """The audit store as each of its users sees it whose credentials are here: `audit`, who writes, and `auditor`, who
    reads. A chDB belongs to the process that runs `audit`."""
    from infra.clickhouse.store import AuditRefused, AuditUnreachable

    if settings.clickhouse is None or settings.clickhouse.url.startswith("chdb:"):
        text = "embedded: it belongs to the process that runs `audit`" if settings.clickhouse else "not configured"
        yield "clickhouse", True, text, ""
        return
    credentials = settings.clickhouse.credentials
    asks = credentials is None or credentials.has("witness")
    unasked = "" if asks else "; who acts does not ask it: there is no `witness` among its credentials"
    for member in users_here(credentials):
        try:
            store = open_store(member)
        except ConfigError as error:
            yield from wrong("clickhouse", error)
            continue
        try:
            if member == WRITES:
                yield from _written(store, open_kafka, unasked)
            else:
                yield from _read(store)
        except (AuditRefused, AuditUnreachable) as error:
            do = "is the address right, does it run, may this user read? `steward rbac audit`"
            yield "clickhouse", False, f"as {member}: {error}", do
        finally:
            store.close()


WRITES, READS = "audit", "auditor"


def users_here(credentials: Secret | None) -> tuple[str, ...]:
    """Whose files are here; with none, the writer's is missing. One account for all is both."""
    if credentials is None or credentials.kind != "dir":
        return WRITES, READS
    return tuple(m for m in (WRITES, READS) if (credentials.path / m).exists()) or (WRITES,)


def _written(store: Store, open_kafka: Callable[[], KafkaSettings], unasked: str) -> Iterator[Line]:
    if unfit := store.unfit():
        yield from (("clickhouse", False, f"{store.place}: {finding.what}", finding.do) for finding in unfit)
        if not store.is_there():
            return
    else:
        yield "clickhouse", True, f"{store.place}{unasked}", ""
    positions = store.positions()
    yield from lost(positions, open_kafka)
    yield from behind(positions, open_kafka)


def _read(store: Store) -> Iterator[Line]:
    found = store.touched() if store.is_there() else []
    yield from (("clickhouse", False, f"{store.place}: {finding.what}", finding.do) for finding in found)
    if not found:
        yield "clickhouse", True, f"{store.place}: the engine shows no row that was changed or hidden", ""


def behind(positions: Mapping[Partition, int], open_kafka: Callable[[], KafkaSettings]) -> Iterator[Line]:
    """How much of the log is not in the audit. At most: transaction markers have offsets and are no records."""
    try:
        settings = open_kafka()
        admin = AdminClient(dict(settings.client))
    except (ConfigError, KafkaException):
        return  # said by the line of Kafka
    topics = [t for t in wanted(settings.prefix, settings.partitions) if settings.name_of(t.name) != SELF_TEST]
    places = {(settings.name_of(t.name), n): TopicPartition(t.name, n) for t in topics for n in range(t.partitions)}
    ends, unasked = _offsets(admin, places, OffsetSpec.latest())  # type: ignore[no-untyped-call]
    begins, unasked_too = _offsets(admin, places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
    if silent := {**unasked, **unasked_too}:
        yield "audit lag", False, f"not known on {_silent(silent)}", ASK_DO
        return
    lag: Counter[str] = Counter()
    for place, end in ends.items():
        lag[place[0]] += max(0, end - max(positions.get(place, 0), begins.get(place, 0)))
    total = sum(lag.values())
    most = ", ".join(f"{topic} {n}" for topic, n in lag.most_common(3) if n)
    do = "does `audit` run? `steward status`, and the log of `audit`, say what it waits for"
    text = f"at most {total} records behind the log{': ' + most if most else ''}"
    yield "audit lag", True, text, do if total > LAG_NOTED else ""


def checkpoints(settings: Settings) -> Iterator[Line]:
    """Where each chain stands, in a second place. The role `audit` writes it, maybe on another host."""
    from infra.clickhouse import checkpoints

    there = settings.audit.checkpoints
    if there is None:
        if settings.clickhouse is not None:
            text = "not configured: a tail cut off both table and topics shows nowhere"
            yield "checkpoints", True, text, "name a directory in [audit] checkpoints, and sync it from there"
        return
    try:
        known = checkpoints.read(there)
    except OSError as error:
        yield "checkpoints", False, f"{there}: {error.strerror or error}", "may this user read it?"
        return
    if known.fault is not None:
        do = "keep it as it is, and compare it with your own copy; `audit` goes on in another directory"
        yield "checkpoints", False, f"{there}: {known.fault.text}", do
    elif not known.lines:
        yield (
            "checkpoints",
            True,
            f"{there}: none",
            "`audit` writes them where it runs, within seconds of its first row",
        )
    else:
        last = known.lines[-1]
        yield "checkpoints", True, f"{there}: up to n {last.n} of {last.when}", ""


def lost(positions: Mapping[Partition, int], open_kafka: Callable[[], KafkaSettings]) -> Iterator[Line]:
    """Partitions that the audit can't go on with: the log ends before what it holds, or begins behind it."""
    do = "records were lost, or this is another broker: find out before anything is written to either"
    try:
        settings = open_kafka()
        admin = AdminClient(dict(settings.client))
    except (ConfigError, KafkaException):
        return  # said by the line of Kafka
    places = {p: TopicPartition(settings.topic(p[0]), p[1]) for p in positions}
    latest, earliest = OffsetSpec.latest(), OffsetSpec.earliest()  # type: ignore[no-untyped-call]
    ends, unasked = _offsets(admin, places, latest)
    begins, unasked_too = _offsets(admin, places, earliest)
    for (topic, partition), at in sorted(positions.items()):
        low, high = begins.get((topic, partition), at), ends.get((topic, partition), at)
        forgets = topic in BY_NAME and not BY_NAME[topic].keeps_all
        if high < at:
            yield "audit", False, f"{topic}/{partition} ends at {high}, and the audit holds up to {at}", do
        elif low > at and not forgets:
            yield "audit", False, f"{topic}/{partition} begins at {low}, and the audit has read up to {at}", do
    if silent := {**unasked, **unasked_too}:
        yield "audit", False, f"the log was not held against the audit on {_silent(silent)}", ASK_DO


def _silent(why: Mapping[Partition, str]) -> str:
    (topic, partition), first = min(why.items())
    return f"{len(why)} partitions; {topic}/{partition}: {first}"


def _offsets(
    admin: AdminClient, places: Mapping[Partition, TopicPartition], spec: OffsetSpec
) -> tuple[dict[Partition, int], dict[Partition, str]]:
    """(offsets, and why there is none). A partition whose leader moves is asked again for a while."""
    found: dict[Partition, int] = {}
    give_up_s = time.monotonic() + CALL_TIMEOUT_S
    while True:
        wrong: dict[Partition, str] = {}
        again = False
        left = {p: at for p, at in places.items() if p not in found}
        asked = admin.list_offsets(dict.fromkeys(left.values(), spec), request_timeout=ASK_TIMEOUT_S) if left else {}
        for place, at in left.items():
            try:
                found[place] = asked[at].result(ASK_TIMEOUT_S + 5).offset
            except KafkaException as failure:
                wrong[place] = failure.args[0].str()
                again = again or passes(failure.args[0])
            except TimeoutError:
                wrong[place] = "no answer in time"
        if not again or time.monotonic() > give_up_s:
            return found, wrong
        time.sleep(0.2)


def clusters(settings: Settings, reader_of: Callable[[str], FactsReader]) -> Iterator[Line]:
    """Every PD: is it the pinned cluster, and how does it stand?"""
    for name in sorted(settings.clusters):
        try:
            facts = asyncio.run(reader_of(name).facts(name, Look()))
        except ConfigError as error:
            yield from wrong(name, error)
            continue
        except NoFacts as error:
            yield name, False, str(error), "is it the right PD, is it reachable from here, are the certificates good?"
            continue
        text = f"PD {facts.version}, cluster {facts.pd_cluster_id}, "
        text += f"{len(facts.up_store_ids())} of {len(facts.living())} stores up"
        yield name, True, text, ""


def model(settings: Settings, known: Callable[[], Awaitable[str]], fails: type[Exception]) -> Iterator[Line]:
    """The model, by a call that asks it nothing. `known` raises `fails`, ConfigError, or ValueError for a bad key."""
    if settings.model is None:
        yield "model", True, "none is configured: the playbook diagnoses and proposes", ""
        return
    where = f"{settings.model.name} at {settings.model.base_url}"

    async def ask() -> str:
        return await known()

    try:
        yield "model", True, f"{asyncio.run(ask())} at {settings.model.base_url} answers", ""
    except ConfigError as error:
        yield from wrong("model", error)
    except (ValueError, fails) as error:
        yield "model", False, f"{where}: {error}", "until it answers, the playbook diagnoses and proposes"


def sinks(settings: Settings) -> Iterator[Line]:
    """Every sink's URL: can apprise make something of it? Nothing is sent."""
    from infra.sinks import is_url

    for name, sink in sorted(settings.sinks.items()):
        what = f"sinks.{name}"
        try:
            ok = is_url(sink.url.read())
        except ConfigError as error:
            yield from wrong(what, error)
            continue
        text = "a URL that apprise knows; nothing was sent" if ok else "apprise does not know this kind of URL"
        yield what, ok, text, "" if ok else f"see apprise's list of URLs, and correct what {what}.url names"


def members(field: str, secret: Secret | None, roles: Sequence[str]) -> Iterator[Line]:
    """Of credentials that are a file a role: whose are here. That some are not is right where others run them."""
    if secret is None or secret.kind != "dir" or secret.missing():
        return
    here = [role for role in roles if (secret.path / role).exists()]
    for role in here:
        if problem := secret.member(role).missing():
            yield field, False, f"{role}: {problem.reason}", f"put it there, or correct {field}"
    absent = [role for role in roles if role not in here]
    of = f"for {', '.join(here) or 'nobody'}"
    rest = f"; not for {', '.join(absent)}, which can't run on this host" if absent else ""
    yield field, True, f"files {of}{rest}", ""
