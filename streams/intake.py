"""Alerts -> signals: what any monitor may write becomes signals of the right cluster, or a dead letter with the reason.

Stateless: repeats are harmless, because a signal carries what makes it the same one (`identity`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas import alertmanager
from schemas.alertmanager import Clusters, clusters_of, fingerprint_of, level_of
from schemas.events import AlertFired, AlertReceived, AlertResolved, Unreadable
from schemas.topics import partition_of
from schemas.wire import REGISTERED, decode, decode_registered

Signal = AlertFired | AlertResolved

AHEAD_MS_MAX = 24 * 3600 * 1000  # a monitor's clock may be off, but not by more than a day
LABELS_MAX = 64
LABELS_BYTES_MAX = 16 * 1024
NAME_CHARS_MAX = 256
URL_CHARS_MAX = 1024  # a longer one is left out: half an address leads nowhere
LABEL_CHARS_MAX = 1024  # the longest `expr` label of the stock rules has some 300
ANNOTATIONS_MAX = 32
ANNOTATION_CHARS_MAX = 1024
CUT = "…"


class Raw(Protocol):
    """A record as the broker gives it."""

    @property
    def partition(self) -> int: ...
    @property
    def at_ms(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


@dataclass(frozen=True)
class Dead:
    """One alert, or one whole record, that goes no further. `cluster_id` is empty where nobody can tell."""

    error: Unreadable
    cluster_id: str = ""


@dataclass(frozen=True)
class Checked:
    """What one record comes to. `wrong_partition`: its producer does not use murmur2, and a signal had to move."""

    events: tuple[Signal, ...] = ()
    dead: tuple[Dead, ...] = ()
    wrong_partition: bool = False


def check(raw: Raw, now_ms: int, clusters: Clusters, partitions: int) -> Checked:
    """The signals in one record of `alerts`, and what in it can't be one. Never raises, whatever the bytes are."""
    try:
        alerts, faults = _read(raw.value)
    except Unreadable as error:
        return Checked(dead=(Dead(error, _configured(_key(raw), clusters)),))
    dead = [Dead(fault, _configured(_key(raw), clusters)) for fault in faults]
    events: list[Signal] = []
    for at, alert in alerts:
        try:
            cluster_id = _cluster(alert, _key(raw), clusters)
        except Unreadable as error:
            dead.append(Dead(error))
            continue
        try:
            events.append(_signal(alert, cluster_id, now_ms, raw.at_ms or now_ms, at))
        except Unreadable as error:
            dead.append(Dead(error, cluster_id))
    moved = any(partition_of(e.cluster_id, partitions) != raw.partition for e in events)
    return Checked(tuple(events), tuple(dead), moved)


def identity(signal: Signal) -> str:
    """What makes two signals the same one: an HA pair of Alertmanagers says everything twice (Alertmanager #1005)."""
    status = "firing" if isinstance(signal, AlertFired) else "resolved"
    return f"{signal.cluster_id}/{signal.fingerprint}/{signal.starts_at_ms}/{status}"


def _read(value: bytes | None) -> tuple[list[tuple[str, AlertReceived]], Sequence[Unreadable]]:
    """Each alert with the prefix of its fields in messages."""
    if value and value.lstrip()[:1] in (b"{", b"["):
        webhook = alertmanager.read(value)
        return [(f"{at}.", alert) for at, alert in zip(webhook.at, webhook.alerts, strict=True)], webhook.faults
    registered = value is not None and value[:1] == REGISTERED
    event = (decode_registered(value, AlertReceived) if value and registered else decode(value)).event
    if not isinstance(event, AlertReceived):
        raise Unreadable("not_of_this_topic", f"{type(event).__name__} is no event of `alerts`")
    return [("", alertmanager.cleansed(event))], ()


def _key(raw: Raw) -> str:
    return (raw.key or b"").decode("utf-8", "replace")


def _configured(name: str, clusters: Clusters) -> str:
    return name if name in clusters else ""


def _cluster(alert: AlertReceived, key: str, clusters: Clusters) -> str:
    """Whose alert this is: as it says, else by its labels, else by the record's key where no label contradicts."""
    if alert.cluster_id in clusters:
        return alert.cluster_id
    found = clusters_of(alert.labels, clusters)
    if len(found) == 1:
        return found[0]
    if key in clusters and (key in found or not found) and not _contradicts(alert.labels, clusters[key]):
        return key
    if found:
        reason = f"its labels are those of {len(found)} configured clusters: {', '.join(sorted(found)[:5])}"
    else:
        said = f"cluster {_short(alert.cluster_id, 128)!r}, " if alert.cluster_id else ""
        names = sorted({name for wanted in clusters.values() for name in wanted})
        labels = ", ".join(f"{name}={_short(alert.labels.get(name, ''), 128)!r}" for name in names[:5])
        reason = f"nobody configured it: {said}labels {labels or 'none are configured'}"
    raise Unreadable("unknown_cluster", f"{_short(alert.name, NAME_CHARS_MAX)}: {reason}", "cluster_id")


def _contradicts(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return any(labels.get(name, value) != value for name, value in wanted.items())


def _signal(alert: AlertReceived, cluster_id: str, now_ms: int, appended_ms: int, at: str) -> Signal:
    def wrong(field: str, reason: str) -> Unreadable:
        return Unreadable("invalid", reason, f"{at}{field}")

    if not alert.name.strip():
        raise wrong("labels.alertname", "an alert has to have a name")
    if len(alert.name) > NAME_CHARS_MAX:
        raise wrong("labels.alertname", f"{len(alert.name)} characters, at most {NAME_CHARS_MAX}")
    if alert.status not in ("firing", "resolved"):
        raise wrong("status", f"expected firing or resolved, found {alert.status[:80]!r}")
    if alert.starts_at_ms <= 0:
        raise wrong("starts_at_ms", f"an alert has to have started after 1970, found {alert.starts_at_ms}")
    if alert.starts_at_ms > now_ms + AHEAD_MS_MAX:
        raise wrong("starts_at_ms", f"{(alert.starts_at_ms - now_ms) // 1000} s ahead of the log's time")
    if len(alert.fingerprint) > NAME_CHARS_MAX:
        raise wrong("fingerprint", f"{len(alert.fingerprint)} characters, at most {NAME_CHARS_MAX}")
    if len(alert.labels) > LABELS_MAX:
        raise wrong("labels", f"{len(alert.labels)} labels, at most {LABELS_MAX}")
    if found := next((name for name in alert.labels if len(name) > NAME_CHARS_MAX), None):
        raise wrong("labels", f"a name of {len(found)} characters, at most {NAME_CHARS_MAX}")
    labels = {name: _short(value, LABEL_CHARS_MAX) for name, value in alert.labels.items()}
    if (size := _bytes(labels)) > LABELS_BYTES_MAX:
        raise wrong("labels", f"{size} bytes of labels, at most {LABELS_BYTES_MAX}")
    fingerprint = alert.fingerprint or fingerprint_of(alert.labels)
    if alert.status == "resolved":
        return AlertResolved(
            cluster_id=cluster_id,
            name=alert.name,
            fingerprint=fingerprint,
            starts_at_ms=alert.starts_at_ms,
            ends_at_ms=max(alert.ends_at_ms or appended_ms, alert.starts_at_ms),
            level=level_of(labels),
            labels=labels,
            synthetic=alert.synthetic,
        )
    return AlertFired(
        cluster_id=cluster_id,
        name=alert.name,
        fingerprint=fingerprint,
        starts_at_ms=alert.starts_at_ms,
        level=level_of(labels),
        labels=labels,
        annotations={
            _short(name, NAME_CHARS_MAX): _short(text, ANNOTATION_CHARS_MAX)
            for name, text in sorted(alert.annotations.items())[:ANNOTATIONS_MAX]
        },
        incomplete=alert.truncated_alerts > 0,
        source=_short(alert.source, LABEL_CHARS_MAX),
        synthetic=alert.synthetic,
        generator_url=alert.generator_url if len(alert.generator_url) <= URL_CHARS_MAX else "",
    )


def _short(text: str, chars_max: int) -> str:
    """Cut where it is too long: text of an alert is for reading, its fingerprint is what identifies it."""
    return text if len(text) <= chars_max else text[: chars_max - 1] + CUT


def _bytes(labels: Mapping[str, str]) -> int:
    return sum(len(name.encode()) + len(value.encode()) for name, value in labels.items())
