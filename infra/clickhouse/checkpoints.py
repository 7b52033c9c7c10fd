"""Where every chain stood, written to a second place: who changes table and topics has to change this too.

A directory with a file a month. A line is JSON, and holds the SHA-256 of the line before it: to append is all that
can be done unseen. Steward acts on none of it; `steward audit verify` reads it, best from a copy that nobody here can
change.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import structlog
from pydantic import Field, ValidationError

from infra.clickhouse.rows import AT, Row
from schemas.values import Model, sha256
from streams.pipeline import OWNED

EVERY_S = 3600.0
LOOK_S = 5.0
CLOSE_WITHIN_S = 5.0
TAIL_BYTES = 1 << 16  # a line is far shorter
Key = tuple[str, str, int]  # cluster (empty: a topic without chains), topic, partition
Moment = Annotated[int, Field(ge=0, le=253_402_300_799_999)]  # up to the end of the year 9999: ms since 1970 UTC
_log = structlog.get_logger()


class Checkpoint(Model):
    """One line. Of a topic that nobody chains there is one a partition: `cluster` empty, `seq` 0."""

    n: int = Field(ge=1)  # 1, 2, 3... over all files
    at_ms: Moment  # when it was written
    cluster: str
    topic: str
    partition: int
    offset: int
    seq: int = Field(ge=0)
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")  # as the column `hash`: SHA-256 of the event's body
    appended_at_ms: Moment
    prev_hash: str = Field(pattern=r"^([0-9a-f]{64})?$")  # SHA-256 of the line before, without its line end


class Mark(NamedTuple):
    """A line as a verification keeps it."""

    n: int
    at_ms: int
    cluster: str
    topic: str
    partition: int
    offset: int
    seq: int
    hash: bytes

    @property
    def when(self) -> str:
        return datetime.fromtimestamp(self.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


class ChangedUnderUs(Exception):
    """The file doesn't hold what was written to it: a person must look."""


@dataclass(frozen=True)
class Fault:
    """Where the checkpoints cease to be what was written."""

    kind: Literal["edited", "missing", "repeated", "cut"]
    line: int
    text: str


@dataclass(frozen=True)
class Known:
    """What checkpoints say. `lines`: those before the first fault. `every_ms`: how far apart they are at most, as
    configured; 0: unknown."""

    lines: tuple[Mark, ...] = ()
    fault: Fault | None = None
    where: str = ""
    every_ms: int = 0


def file_of(at_ms: int) -> str:
    return f"checkpoints-{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m}.jsonl"


def files_in(directory: Path) -> list[Path]:
    return sorted(directory.glob("checkpoints-????-??.jsonl"))


# -- reading --------------------------------------------------------------------------------------------------------


def read(directory: Path, every_s: float = 0) -> Known:
    """All that is there, up to the first fault; nothing, where there is no such directory. Raises OSError where it
    can't be read. Memory: about 400 bytes a line."""
    lines: list[Mark] = []
    fault = None
    for line in _judged(directory):
        if isinstance(line, Fault):
            fault = line
            break
        cluster, topic = sys.intern(line.cluster), sys.intern(line.topic)
        hash_ = bytes.fromhex(line.hash)
        lines.append(Mark(line.n, line.at_ms, cluster, topic, line.partition, line.offset, line.seq, hash_))
    return Known(tuple(lines), fault, str(directory), int(every_s * 1000))


def _judged(directory: Path) -> Iterator[Checkpoint | Fault]:
    before, last = "", 0
    for path in files_in(directory):
        for number, line in enumerate(_lines(path), 1):
            at = f"{path.name} line {number}"
            if not line.endswith(b"\n"):
                yield Fault("cut", number, f"{at} ends in its middle")
                return
            text = line[:-1]
            try:
                found = Checkpoint.model_validate_json(text)
            except ValidationError as error:
                yield Fault("edited", number, f"{at} is no checkpoint: {error.errors()[0]['msg']}")
                return
            if found.n > last + 1:
                what = f"n {last + 1}" if found.n == last + 2 else f"n {last + 1} to {found.n - 1}"
                yield Fault("missing", number, f"{at} is n {found.n}: {what} not there before it")
                return
            if found.n <= last:
                yield Fault("repeated", number, f"{at} is n {found.n}, and comes after n {last}")
                return
            if found.prev_hash != before:
                yield Fault("edited", number, f"n {last} is not what it was when {at} was written")
                return
            before, last = sha256(text).hex(), found.n
            yield found


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


# -- writing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _End:
    """Where a chain, or a topic's partition, ends now."""

    offset: int
    seq: int
    hash: str
    appended_at_ms: int


@dataclass(frozen=True)
class _Written:
    """The last line of ours, to be found again."""

    path: Path
    upto: int
    text: bytes
    n: int


@dataclass
class Checkpoints:
    """Writes them, in the role `audit`: once a day's books are closed, and every so often what has moved meanwhile.
    Never holds up the sink: what can't be written is said (`on_trouble`; empty: it could) and tried again."""

    directory: Path
    every_s: float = EVERY_S
    now_s: Callable[[], float] = time.time
    on_trouble: Callable[[str], None] = lambda why: None
    on_written: Callable[[int], None] = lambda n: None  # the number of the last line
    _moved: dict[Key, _End] = field(default_factory=dict)
    _last: _Written | None = None
    _written_at_s: float | None = None
    _day_closed: bool = False
    _trouble: str = ""

    def take(self, rows: Sequence[Row]) -> None:
        """These are in the table now. Reads and writes nothing."""
        for row in rows:
            topic, seq = row[AT["topic"]], row[AT["seq"]]
            chained = topic in OWNED
            if chained and seq < 1:
                continue  # of somebody else: of no chain
            key: Key = (row[AT["cluster_id"]] if chained else "", topic, row[AT["partition"]])
            end = _End(row[AT["offset"]], seq if chained else 0, row[AT["hash"]], row[AT["appended_at"]])
            held = self._moved.get(key)
            if held is None or (end.seq, end.offset) > (held.seq, held.offset):
                self._moved[key] = end
            self._day_closed = self._day_closed or (chained and row[AT["kind"]] == "DayClosed")

    def is_due(self) -> bool:
        if not self._moved:
            return False
        if self._written_at_s is None or self._day_closed:
            return True
        return not 0 <= self.now_s() - self._written_at_s < self.every_s

    async def keep_at_it(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self.is_due():
                await self.write()

    async def close(self) -> None:
        """What has moved since, unless its disk hangs: then the next one writes what has moved after its start."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self.write()

    async def write(self) -> None:
        """All that has moved since the last time. Never raises."""
        moved, self._moved = self._moved, {}
        day_closed, self._day_closed = self._day_closed, False
        if not moved:
            return
        try:
            self._last = await asyncio.to_thread(self._append, moved)
        except (OSError, ValueError, ChangedUnderUs) as error:
            self._moved = {**moved, **self._moved}  # what has moved again meanwhile stands further on
            self._day_closed = self._day_closed or day_closed
            self._tell(f"checkpoints can't be written: {_reason(error)}")
            return
        self._written_at_s = self.now_s()
        self._tell("")
        last = self._last
        # A third place, where logs are collected: a tail cut off the file shows against it.
        _log.info("checkpoint", n=last.n, sha256=sha256(last.text).hex(), chains=len(moved))
        self.on_written(last.n)

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble:
                _log.warning("the chains' ends are not kept in a second place", error=trouble)
            self.on_trouble(trouble)

    def _append(self, moved: Mapping[Key, _End]) -> _Written:
        """One write, all of it or nothing, on the disk when this returns. Blocks."""
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a predecessor may still be writing
            self._is_still_there()
            return self._appended(moved)
        finally:
            os.close(lock)

    def _is_still_there(self) -> None:
        """Is what we wrote last where we wrote it?"""
        if (last := self._last) is None:
            return
        text = b""
        if last.path.exists():
            with last.path.open("rb") as file:
                file.seek(last.upto - len(last.text) - 1)
                text = file.read(len(last.text) + 1)
        if text != last.text + b"\n":
            raise ChangedUnderUs(
                f"{last.path.name} no longer holds n {last.n}, which was written to it: it was cut or edited. "
                "Look at it, keep it, and start `audit` anew in another directory"
            )

    def _appended(self, moved: Mapping[Key, _End]) -> _Written:
        at_ms = int(self.now_s() * 1000)
        there = files_in(self.directory)
        path = self.directory / max([file_of(at_ms), *(p.name for p in there)])  # also where the clock went back
        n, before = 0, ""
        for found in reversed(there):
            if (text := _last_line(found)) is not None:
                n, before = Checkpoint.model_validate_json(text).n, sha256(text).hex()
                break
        lines: list[bytes] = []
        for (cluster, topic, partition), end in sorted(moved.items()):
            n += 1
            said = Checkpoint(
                n=n, at_ms=at_ms, cluster=cluster, topic=topic, partition=partition, offset=end.offset, seq=end.seq,
                hash=end.hash, appended_at_ms=end.appended_at_ms, prev_hash=before,
            )  # fmt: skip
            lines.append(json.dumps(said.model_dump(), ensure_ascii=False, separators=(",", ":")).encode())
            before = sha256(lines[-1]).hex()
        body = b"\n".join(lines) + b"\n"
        upto = _append_all(path, body)
        return _Written(path, upto, lines[-1], n)


def _append_all(path: Path, body: bytes) -> int:
    """Returns where the file ends then. A disk that is full leaves nothing of it."""
    is_new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        begins = os.fstat(file).st_size
        try:
            written = 0
            while written < len(body):
                written += os.write(file, body[written:])
            os.fsync(file)
        except OSError:
            os.ftruncate(file, begins)
            raise
    finally:
        os.close(file)
    if is_new:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return begins + len(body)


def _last_line(path: Path) -> bytes | None:
    """Without its line end; None: the file is empty. What a crash of the host has left of a line is taken off: it was
    never said to be written."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - TAIL_BYTES)
        file.seek(start)
        tail = file.read()
        whole = tail.rpartition(b"\n")
        if whole[2]:
            _log.warning("a torn checkpoint is taken off", file=path.name, bytes=len(whole[2]))
            file.truncate(size - len(whole[2]))
        if not whole[1]:
            if start:
                raise ValueError(f"{path.name} has no line end in its last {TAIL_BYTES} bytes")
            return None
        return whole[0].rpartition(b"\n")[2]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or ''}: {error.strerror}".removeprefix(": ")
    text = str(error)
    return f"the last line is no checkpoint: {text.splitlines()[0]}" if isinstance(error, ValidationError) else text
