"""`steward doctor` looks at everything, whatever is wrong with one thing, and each line says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from bootstrap.commands import doctor
from infra import health
from infra.clickhouse.checkpoints import Checkpoints, files_in
from infra.clickhouse.rows import row_of
from infra.embedded import EmbeddedBroker
from infra.runners.kafka import KafkaSettings
from infra.settings import Settings, parse
from infra.topics import Difference, wanted
from pdsim.http import serve
from pdsim.model import Cluster
from schemas.chain import edge
from schemas.events import DeadLetter
from schemas.wire import frame
from streams.pipeline import PROCESSORS, dead_letters
from tests.agents.messages_api import fails, messages_api, raw
from tests.integration.audit_fixtures import the_main_story

pytestmark = pytest.mark.local

Checks = dict[str, list[health.Line]]


def checked(settings: Settings) -> Checks:
    """The lines, by what they are about."""
    found: Checks = {}
    for line in doctor(settings):
        found.setdefault(line[0], []).append(line)
    return found


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.health.CALL_TIMEOUT_S", 2)


def test_every_secret_that_is_missing_is_named_and_nothing_stops_at_the_first(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "execute").write_text("sasl.username=execute\n")
    (tmp_path / "junk-url").write_text("nonsense-of-nobody://x?secret=hunter2")
    settings = parse(
        {
            "environment": "test",
            "kafka": {"bootstrap": "127.0.0.1:1", "credentials": "dir:kafka"},
            "clickhouse": {"url": "http://127.0.0.1:1/steward", "credentials": "dir:clickhouse"},
            "model": {"name": "claude", "api_key": "file:claude-key", "base_url": "http://127.0.0.1:1"},
            "clusters": {
                name: {"alert_labels": {"env": name}, "pd": [f"https://{name}:1"], "pd_cluster_id": n, **tls}
                for n, (name, tls) in enumerate(
                    {"a": {"tls_read": "dir:a-read"}, "b": {"tls_read": "dir:b-read"}}.items(), 1
                )
            },
            "sinks": {"chat": {"url": "file:chat-url"}, "mail": {"url": "file:junk-url"}},
        },
        base=tmp_path,
    )

    found = checked(settings)

    for what, says in {
        "kafka": f"kafka.credentials: can't read {tmp_path}/kafka/doctor",
        "clickhouse": f"clickhouse.credentials: can't read {tmp_path}/clickhouse/audit",
        "a": "clusters.a.tls_read: no usable certificates",
        "b": "clusters.b.tls_read: no usable certificates",
        "model": f"model.api_key: can't read {tmp_path}/claude-key",
        "sinks.chat": f"sinks.chat.url: can't read {tmp_path}/chat-url",
        "sinks.mail": "apprise does not know this kind of URL",
    }.items():
        ((_, ok, text, what_to_do),) = found[what]
        assert not ok, what
        assert says in text
        assert what_to_do
    ((_, ok, text, _),) = found["kafka.credentials"]
    assert ok
    assert text.startswith("files for execute; not for gateway, ")
    assert "hunter2" not in json.dumps(found)


def test_the_audit_is_looked_at_as_each_of_its_users_that_is_here(tmp_path: Path) -> None:
    (tmp_path / "ch").mkdir()

    def said(credentials: str | None = "dir:ch") -> list[str]:
        store = {"url": "http://127.0.0.1:1/steward"} | ({"credentials": credentials} if credentials else {})
        kafka = {"bootstrap": "127.0.0.1:1"}
        lines = checked(parse({"environment": "t", "kafka": kafka, "clickhouse": store}, base=tmp_path))["clickhouse"]
        assert not any(ok for _, ok, _, _ in lines)
        assert all(what_to_do for *_, what_to_do in lines)
        return [text.partition(": ")[0] for _, _, text, _ in lines]

    assert said() == ["clickhouse.credentials"]
    (tmp_path / "ch" / "auditor").write_text("reader:x")
    assert said() == ["as auditor"]
    (tmp_path / "ch" / "audit").write_text("sink:x")
    assert said() == ["as audit", "as auditor"]
    assert said(credentials=None) == ["as audit", "as auditor"]


def test_the_model_is_asked_whether_it_is_there_and_a_sinks_url_is_read_and_not_called(tmp_path: Path) -> None:
    (tmp_path / "chat-url").write_text("json://127.0.0.1:1/secret-path")
    (tmp_path / "key").write_text("sk-of-the-test\n")

    def of(base_url: str) -> Settings:
        return parse(
            {
                "environment": "test",
                "kafka": {"bootstrap": "127.0.0.1:1"},
                "model": {"name": "claude", "api_key": "file:key", "base_url": base_url},
                "sinks": {"chat": {"url": "file:chat-url"}},
            },
            base=tmp_path,
        )

    with messages_api(raw(200, b'{"id": "claude-1", "type": "model"}')) as api:
        found = checked(of(api.url))
        assert found["model"] == [("model", True, f"claude-1 at {api.url} answers", "")]
        assert api.asked == ["/v1/models/claude"]
    assert found["sinks.chat"] == [("sinks.chat", True, "a URL that apprise knows; nothing was sent", "")]
    assert found["clickhouse"][0][1]
    ((_, ok, text, _),) = found["kafka"]
    assert (ok, text.startswith("127.0.0.1:1: ")) == (False, True)
    with messages_api(fails(401, "authentication_error")) as api:
        ((_, ok, text, _),) = checked(of(api.url))["model"]
        assert (ok, "model_denied: 401" in text, "sk-of-the-test" in text) == (False, True, False)


def test_without_a_model_doctor_says_who_decides() -> None:
    settings = parse({"environment": "test", "kafka": {"bootstrap": "127.0.0.1:1"}})

    ((_, ok, text, _),) = checked(settings)["model"]

    assert (ok, text) == (True, "none is configured: the playbook diagnoses and proposes")


def test_each_cluster_is_looked_at_by_itself() -> None:
    with serve(Cluster.healthy(cluster_id=7)) as served:
        good = {"alert_labels": {"env": "a"}, "pd": [served.url], "pd_cluster_id": 7}
        bad = {"alert_labels": {"env": "b"}, "pd": ["http://127.0.0.1:1"], "pd_cluster_id": 8}
        settings = parse(
            {"environment": "test", "kafka": {"bootstrap": "127.0.0.1:1"}, "clusters": {"a-bad": bad, "good": good}}
        )
        found = checked(settings)
    assert not found["a-bad"][0][1]
    assert found["good"][0][1], found["good"]


# -- Kafka


async def test_checkpoints_are_read_and_a_file_that_was_touched_is_wrong(tmp_path: Path) -> None:
    given = {"environment": "test", "audit": {"checkpoints": "file:kept"}}
    settings = parse(given, base=tmp_path)
    kept = Checkpoints(tmp_path / "kept")
    ((_, well, text, do),) = health.checkpoints(settings)
    assert (well, text.endswith("kept: none"), bool(do)) == (True, True, True)
    kept.take([row_of(r, 1) for r in the_main_story().all()])
    await kept.write()
    ((_, well, text, do),) = health.checkpoints(settings)
    assert (well, "up to n 10 of" in text, do) == (True, True, "")
    (path,) = files_in(kept.directory)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    ((_, well, text, do),) = health.checkpoints(settings)
    assert (well, "n 1 not there before it" in text, bool(do)) == (False, True, True)

    assert [*health.checkpoints(parse({"environment": "test"}))] == []
    table = parse({"environment": "test", "clickhouse": {"url": "chdb:x"}}, base=tmp_path)
    ((_, well, text, do),) = health.checkpoints(table)
    assert (well, "shows nowhere" in text, "[audit] checkpoints" in do) == (True, True, True)


def test_topics_that_are_missing_are_one_line_and_those_that_differ_a_line_each() -> None:
    settings = KafkaSettings({}, "sre.steward.", 16)
    names = [t.name for t in wanted(settings.prefix, 16)]
    missing = [Difference(name, "missing", "16 partitions, a=b, c=d, e=f", "") for name in names[:22]]
    other = [Difference(names[-1], "partitions", "1", "4")]

    first, *rest = health.topics(settings, [*missing, *other])

    assert first[2].startswith(f"22 of {len(names)} are missing (prefix sre.steward.): alerts, signals, ")
    assert len(first[2]) < 500
    assert [text for _, _, text, _ in rest] == [str(other[0])]
    many = list(health.topics(settings, [Difference(n, "retention.ms", "-1", "1000") for n in names[:15]]))
    assert len(many) == health.NAMED_MAX + 1
    assert many[-1][2] == "and 5 more differences"
    assert list(health.topics(settings, [])) == [("topics", True, "all there, as they should be", "")]


class Letters:
    """A consumer of dead letters: 40 are there, and these messages come."""

    def __init__(self, *messages: Any) -> None:
        self._messages = list(messages)

    def get_watermark_offsets(self, place: Any, timeout: float) -> tuple[int, int]:
        return 0, 40

    def assign(self, places: Any) -> None: ...

    def consume(self, most: int, timeout: float) -> list[Any]:
        return self._messages

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("code", "says"),
    [(KafkaError.TOPIC_AUTHORIZATION_FAILED, "denied"), (None, "read to 0 of 40 within 0.2 s")],
    ids=["denied", "late"],
)
def test_dead_letters_that_could_not_be_read_are_not_none(
    code: int | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CALL_TIMEOUT_S", 0.2)
    denied = SimpleNamespace(error=lambda: KafkaError(code or 0, "denied"), topic=lambda: "t", partition=lambda: 0)
    consumer = Letters(*([denied] if code else []))
    settings: Any = SimpleNamespace(consumer=lambda: consumer, topic=str, name_of=str, prefix="")
    missing = {dead_letters(line.role) for line in PROCESSORS} - {dead_letters("intake")}

    ((what, ok, text, do),) = health.unread(settings, missing)

    assert (what, ok, do) == ("dead letters", False, "may this user read them?")
    assert text.startswith("not known of 1 roles; intake: ")
    assert says in text


def test_what_could_not_be_read_lately_is_to_be_noted_and_fails_nothing() -> None:
    from confluent_kafka import Producer

    with EmbeddedBroker("doctor.", 2) as broker:
        letter = DeadLetter(
            cluster_id="~0", role="intake", topic="alerts", partition=0, offset=0, code="not_json", reason="junk"
        )
        producer = Producer(dict(broker.settings.client))
        made = edge(letter, "id", 1)
        producer.produce(broker.settings.topic(dead_letters("intake")), frame(DeadLetter, made.body), b"~0", 0)
        assert producer.flush(10) == 0

        lines = list(health.unread(broker.settings, set()))

    assert lines == [
        ("dead letters", True, "1 x not_json by intake in the last day", "`steward dead-letters` shows them")
    ]


def test_how_far_the_audit_is_behind_the_log_is_said_by_topic(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient

    from infra.topics import apply

    settings = KafkaSettings({"bootstrap.servers": kafka}, topic_prefix, 2)
    apply(AdminClient(dict(settings.client)), settings)
    producer = Producer({"bootstrap.servers": kafka})
    for partition in (0, 0, 0, 1):
        producer.produce(settings.topic("outcomes"), b"x", partition=partition)
    producer.produce(settings.topic("alerts"), b"x", partition=1)
    producer.produce(settings.topic("selftest"), b"x", partition=0)
    assert producer.flush(20) == 0

    (line,) = health.behind({("outcomes", 0): 2}, lambda: settings)
    assert line == ("audit lag", True, "at most 3 records behind the log: outcomes 2, alerts 1", "")
    monkeypatch.setattr("infra.health.LAG_NOTED", 2)
    (line,) = health.behind({}, lambda: settings)
    assert (line[2], line[3] != "") == ("at most 5 records behind the log: outcomes 4, alerts 1", True)
    (line,) = health.behind({("outcomes", 0): 3, ("outcomes", 1): 1, ("alerts", 1): 1}, lambda: settings)
    assert line[2] == "at most 0 records behind the log"


def test_a_log_that_does_not_answer_is_no_log_that_the_audit_has_caught_up_with(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = KafkaSettings({"bootstrap.servers": kafka}, topic_prefix, 2)  # no topics
    monkeypatch.setattr("infra.health.CALL_TIMEOUT_S", 0.5)

    ((what, ok, text, do),) = health.behind({}, lambda: settings)

    assert (what, ok, do) == ("audit lag", False, health.ASK_DO)
    assert text.startswith("not known on 32 partitions; alerts/0: ")


def test_a_log_that_ends_before_what_the_audit_holds_is_said(kafka: str, topic_prefix: str) -> None:
    from confluent_kafka.admin import AdminClient

    from infra.topics import apply

    settings = KafkaSettings({"bootstrap.servers": kafka}, topic_prefix, 2)
    apply(AdminClient(dict(settings.client)), settings)

    assert list(health.lost({("alerts", 0): 0, ("outcomes", 1): 0}, lambda: settings)) == []
    ((what, ok, text, _),) = health.lost({("alerts", 0): 3, ("outcomes", 1): 0}, lambda: settings)

    assert (what, ok, text) == ("audit", False, "alerts/0 ends at 0, and the audit holds up to 3")
    ((what, ok, text, _),) = health.lost({("alerts", 9): 0}, lambda: settings)
    assert (what, ok) == ("audit", False)
    assert text.startswith("the log was not held against the audit on 1 partitions; alerts/9: ")
