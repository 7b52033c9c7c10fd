"""Are the closed books what their ledger gives? A restart folds from them, and would believe a forged one. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from infra.runners.books import READS, Raw, poison_of
from schemas.events import BookClosed, DayClosed, Event, GenesisMarked, InputIgnored
from schemas.saved import saved_of
from schemas.values import Cause, Head
from schemas.wire import Decoded
from streams.pipeline import PROCESSORS

ROLE_OF = {t: line.role for line in PROCESSORS if line.verb in ("decides", "works") for t in line.writes}
SHOWN_CHARS = 80


class Fold(Protocol):
    """What is folded of schemas.processors.Decides."""

    def initial(self, cluster_id: str) -> Any: ...

    def evolve(self, state: Any, event: Event, head: Head) -> Any: ...


class Wrong(NamedTuple):
    cluster_id: str
    offset: int
    seq: int
    text: str


@dataclass
class Ledger:
    """One partition of one owned topic, folded from its start. `whole`: no cluster is left out, so that what is said of
    all of them can be judged too."""

    topic: str
    partition: int
    fold: Fold | None
    whole: bool = True
    checked: int = 0  # closings that were held against the fold
    unchecked: int = 0  # of another build, or nothing to hold them against
    skips: list[tuple[Wrong, str, int, int]] = field(
        default_factory=list
    )  # an input topic, from, upto: nothing to answer?
    _states: dict[str, Any] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)  # clusters whose fold is no basis any more
    _positions: dict[str, int] = field(default_factory=dict)
    _poisoned: set[tuple[str, str]] = field(default_factory=set)
    _genesis: GenesisMarked | None = None
    _begun: dict[str, int] = field(default_factory=dict)  # cluster -> its first offset
    _closed: dict[str, int] = field(default_factory=dict)  # cluster -> where its last book stands
    _pending: tuple[Raw, int, DayClosed, dict[str, int]] | None = None  # inputs ignored with it are said behind it

    def take(self, raw: Raw, decoded: Decoded, causes: list[Cause], *, broken: bool) -> Iterator[Wrong]:
        """The next event of this partition. `broken`: its chain is, so nothing can be said of its books."""
        event, head, key = decoded.event, decoded.head, decoded.event.cluster_id
        if self._pending and not isinstance(event, InputIgnored):
            yield from self.settle()
        for cause in causes:
            if cause.partition == self.partition and cause.topic != "tick":
                self._positions[cause.topic] = max(self._positions.get(cause.topic, 0), cause.offset + 1)
        if broken:
            self._lost.add(key)
        if isinstance(event, DayClosed):
            yield from self._day(raw, event, head)
        elif isinstance(event, GenesisMarked):
            self._genesis = self._genesis or event
        if (poison := poison_of(event, head)) is not None:
            self._poisoned.add((poison.stops, poison.place))
        if key.startswith("~"):
            return
        self._begun.setdefault(key, raw.offset)
        if isinstance(event, BookClosed):
            self._closed[key] = raw.offset
            if text := self._differs(key, event):
                yield Wrong(key, raw.offset, head.seq, text)
        if self.fold is not None and key not in self._lost:
            try:
                self._states[key] = self.fold.evolve(self._state(key), event, head)
            except Exception:  # whatever an event of another build provokes: a restart stops there too
                self._lost.add(key)

    def _state(self, key: str) -> Any:
        assert self.fold is not None
        return self._states[key] if key in self._states else self.fold.initial(key)

    def _differs(self, key: str, event: BookClosed) -> str:
        if self.fold is None or key in self._lost or event.role != ROLE_OF[self.topic]:
            self.unchecked += 1
            return ""
        kind: Any = type(self.fold.initial(""))
        saved = saved_of(kind)
        if saved.schema != event.state_schema:
            self.unchecked += 1
            return ""
        self.checked += 1
        try:
            said = json.loads(event.state)
        except ValueError:
            return "its book is no JSON"
        found = _difference(said, json.loads(saved.dump(self._state(key))))
        if found is None:
            return ""
        path, says, gives = found
        told = f"its book says {path} = {_short(says)}, and its events give {_short(gives)}"
        if self.topic == "incidents" and path.startswith("echoes"):  # all that a setting decides of a fold
            told += "; or [incidents] echo_s was another one then"
        return told

    def _day(self, raw: Raw, event: DayClosed, head: Head) -> Iterator[Wrong]:
        if not self.whole or event.role != ROLE_OF[self.topic]:
            self.unchecked += 1
            return
        self.checked += 1

        def wrong(text: str) -> Wrong:
            return Wrong(event.cluster_id, raw.offset, head.seq, text)

        left_out = [
            c
            for c, began in self._begun.items()
            if began < event.first_offset and self._closed.get(c, -1) < event.first_offset
        ]
        if left_out:
            yield wrong(f"a restart from its offset {event.first_offset} would know nothing of {sorted(left_out)[0]}")
        said = {(p.stops, p.place) for p in event.poisoned}
        if forgotten := self._poisoned - said:
            yield wrong(f"it does not say that {sorted(forgotten)[0][1]} stops executions")
        if invented := said - self._poisoned:
            yield wrong(f"it says that {sorted(invented)[0][1]} stops executions, and no event does")
        if event.genesis != self._genesis:
            yield wrong("its genesis is not the one on record")
        self._pending = (raw, head.seq, event, dict(self._positions))

    def settle(self) -> Iterator[Wrong]:
        """How far each input had been answered, against the latest DayClosed. Once more at the end of the partition."""
        if self._pending is None:
            return
        (raw, seq, event, before), self._pending = self._pending, None
        for topic in sorted(READS[event.role]):
            says, least, most = event.positions.get(topic, 0), before.get(topic, 0), self._positions.get(topic, 0)
            text = f"it says that {topic}/{self.partition} was answered up to {says}"
            if says < least:
                yield Wrong(event.cluster_id, raw.offset, seq, f"{text}, and it was up to {least}")
            elif says > most:  # housekeeping of others is passed over without an answer, and nothing else is
                self.skips.append((Wrong(event.cluster_id, raw.offset, seq, text), topic, most, says))


def _difference(have: Any, want: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """The first place where two JSON values differ: a dotted path, and both."""
    if isinstance(have, dict) and isinstance(want, dict):
        pairs = [(str(k), have.get(k), want.get(k)) for k in sorted({*have, *want})]
    elif isinstance(have, list) and isinstance(want, list) and len(have) == len(want):
        pairs = [(str(n), a, b) for n, (a, b) in enumerate(zip(have, want, strict=True))]
    else:
        return None if have == want else (path or "all of it", have, want)
    for key, a, b in pairs:
        if found := _difference(a, b, f"{path}.{key}" if path else key):
            return found
    return None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 3] + "..."
