"""The page of the pipeline holds together: who writes what, who reads what, and who asks the controls."""

from __future__ import annotations

import importlib.util

import pytest

from schemas.events import DeadLetter, Event, Lifted, OwnerStarted, all_events
from schemas.topics import Topic
from streams.pipeline import (
    ACT,
    BY_NAME,
    EDGES,
    EVERYTHING,
    OBSERVE,
    OWNER,
    PROCESSORS,
    TOPICS,
    dead_letters,
    may_stand_on,
    processor,
)

LINES = (*EDGES, *PROCESSORS)


def test_every_event_stands_on_exactly_one_topic() -> None:
    placed = [event for topic in TOPICS for event in topic.events if event not in OWNER]

    assert len(placed) == len(set(placed))
    ours = {event for event in all_events().values() if event.__module__ == Event.__module__}
    assert {*placed, *OWNER} == ours - {DeadLetter}


def test_what_an_owner_says_of_itself_stands_on_each_owned_topic_and_on_no_other() -> None:
    owned = {line.writes[0] for line in PROCESSORS if line.verb in ("decides", "works")}

    assert {topic.name for topic in TOPICS if set(OWNER) <= set(topic.events)} == owned
    assert {topic.name for topic in TOPICS if set(OWNER) & set(topic.events)} == owned


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: str(topic.name))
def test_every_topic_has_one_writer(topic: Topic) -> None:
    writers = {line.role for line in LINES if topic.name in line.writes}

    assert writers == ({"gateway", "console"} if topic.name == "alerts" else {topic.writer})
    assert (topic.writer == "monitors") == (topic.name == "alerts")


def test_every_line_names_topics_that_there_are_and_a_module_that_there_is() -> None:
    for line in LINES:
        assert {*line.reads, *line.writes} <= set(BY_NAME)
        assert importlib.util.find_spec(line.by) is not None
        assert processor(line.role) is line
    assert len({line.role for line in LINES}) == len(LINES)


@pytest.mark.parametrize(
    ("role", "verb", "reads"),
    [
        ("gateway", "edge", ""),
        ("console", "edge", EVERYTHING),
        ("audit", "edge", EVERYTHING),
        ("intake", "maps", "alerts"),
        ("incidents", "decides", "signals diagnoses"),
        ("diagnose", "works", "incidents"),
        ("tickets", "decides", "incidents diagnoses remediations outcomes"),
        ("notify", "works", "tickets"),
        ("propose", "works", "incidents remediations"),
        ("validate", "maps", "proposals"),
        ("remediations", "decides", "incidents proposals validations approvals outcomes"),
        ("execute", "works", "remediations"),
    ],
)
def test_what_each_role_may_read(role: str, verb: str, reads: str) -> None:
    """Its ACLs are made from this: one topic more is a door."""
    assert (processor(role).verb, processor(role).reads) == (verb, tuple(reads.split()))


def test_whoever_judges_orders_or_acts_asks_the_controls() -> None:
    assert {line.role for line in LINES if line.consults} == {"notify", "validate", "remediations", "execute"}
    assert [line.role for line in ACT] == ["propose", "validate", "remediations", "execute"]
    assert [line.role for line in OBSERVE] == ["intake", "incidents", "diagnose", "tickets", "notify"]


def test_the_controls_have_one_order_and_only_the_alerts_may_be_forgotten() -> None:
    assert {topic.name: topic.partitions for topic in TOPICS if topic.partitions} == {"controls": 1}
    assert [topic.name for topic in TOPICS if not topic.keeps_all] == ["alerts"]


def test_an_event_on_the_topic_of_another_writer_is_seen() -> None:
    lifted = Lifted(cluster_id="*", by="anna", reason="t")

    assert may_stand_on("controls", lifted)
    assert not may_stand_on("remediations", lifted)
    assert OwnerStarted in BY_NAME["outcomes"].events


def test_a_role_that_there_is_not_is_told_with_those_there_are() -> None:
    with pytest.raises(KeyError, match=r"no role 'shred'; there are gateway, console, .*, execute"):
        processor("shred")
    assert dead_letters("intake") == "dead-letters.intake"
