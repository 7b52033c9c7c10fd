"""Bugs to be planted in what is done with Kafka's log and groups; those of the core are planted here as well."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from infra.runners.books import Draft, Raw
from infra.runners.own_log import LiveControls, PartitionLog
from infra.runners.owner import Owner, OwnLane, Rebuild
from infra.runners.owners import PartitionOwners
from schemas.controls import Controls
from schemas.events import Event
from schemas.values import Cause
from tests.simulation import plants
from tests.simulation.groups import GroupMetadata
from tests.simulation.plants import Plant, both, put

OF_THE_LOG_IN_MEMORY = ("dead-lettered-freeze",)  # it replaces what only that log does


def _stale_controls_read_as_not_frozen() -> contextlib.AbstractContextManager[None]:
    real = LiveControls.read

    async def read(self: LiveControls) -> Controls:
        return replace(await real(self), live=True)

    return put(LiveControls, "read", read)


def _skip_fence() -> contextlib.AbstractContextManager[None]:
    """Each owner has a transactional id of its own, so that it shuts nobody out."""

    async def fence(self: Any) -> None:
        known = self.clients.process.brokers.cluster.coordinator.known
        writer = self.clients.writer(f"{self.role}-{self.partition}-{len(known)}", 10_000)
        await writer.init()
        self._writer = writer

    return put(PartitionLog, "_fence", fence)


def _init_outside_assign() -> contextlib.AbstractContextManager[None]:
    """The predecessor is shut out when the first commit comes, not when the partition is taken over."""
    really, commit = PartitionLog._fence, PartitionLog._commit

    async def not_yet(self: PartitionLog) -> None:
        return None

    async def first(self: PartitionLog, stamped: Any, dead: Any) -> int:
        if self._writer is None:
            await really(self)
        return await commit(self, stamped, dead)

    return both(put(PartitionLog, "_fence", not_yet), put(PartitionLog, "_commit", first))


def _commit_without_group_metadata() -> contextlib.AbstractContextManager[None]:
    real = PartitionLog._commit

    async def commit(self: PartitionLog, stamped: Any, dead: Any) -> int:
        self.group_metadata = lambda: GroupMetadata(self.role)
        return await real(self, stamped, dead)

    return put(PartitionLog, "_commit", commit)


def _trust_committed_offset() -> contextlib.AbstractContextManager[None]:
    real = PartitionLog.seek

    async def seek(self: Any, positions: Mapping[str, int]) -> None:
        known = self.clients.process.brokers.cluster.group(self.role).offsets
        mine = {topic: known[topic, self.partition][0] for topic in self.inputs if (topic, self.partition) in known}
        await real(self, mine)

    return put(PartitionLog, "seek", seek)


def _stop_the_fold_at_the_last_stable_offset() -> contextlib.AbstractContextManager[None]:
    async def end(self: PartitionLog) -> tuple[int, int]:
        return await self._of_reader().ends((self.topic, self.partition), 30)

    return put(PartitionLog, "_proven_end", end)


def _fold_read_uncommitted() -> contextlib.AbstractContextManager[None]:
    real = PartitionLog._begin_at_the_start

    async def begin(self: PartitionLog) -> int:
        end = await real(self)
        self._reader = self.clients.reader(committed_only=False)
        await self._reader.assign({(self.topic, self.partition): 0})
        return end

    return put(PartitionLog, "_begin_at_the_start", begin)


def _evolve_before_commit() -> contextlib.AbstractContextManager[None]:
    """And stays there where the commit was aborted."""
    real = Owner._commit

    async def commit(self: Owner[Any], draft: Any) -> None:
        self._books.accept(draft)
        with contextlib.suppress(Rebuild):
            await real(self, draft)

    return put(Owner, "_commit", commit)


def _offset_moves_without_claim_or_refusal() -> contextlib.AbstractContextManager[None]:
    real = Draft.take

    def take(self: Draft[Any], raw: Raw, *, may_wait: bool = False) -> bool:
        if self.books.role == "execute" and self.inputs and raw.offset % 7 == 0:
            self._took(raw)
            return True
        return real(self, raw, may_wait=may_wait)

    return put(Draft, "take", take)


def _effect_on_unknown_commit() -> contextlib.AbstractContextManager[None]:
    """A lane that has had no answer for a while takes it for a yes."""
    real = OwnLane.commit

    async def commit(self: OwnLane[Any], *decided: Event, cause: Cause | None = None) -> None:
        asked = asyncio.ensure_future(real(self, *decided, cause=cause))
        if asked in (await asyncio.wait([asked], timeout=1))[0]:
            asked.result()

    return put(OwnLane, "commit", commit)


def _lane_shared_by_two_owners_after_revoke() -> contextlib.AbstractContextManager[None]:
    """What was revoked or lost is not stopped."""

    async def give_up(self: PartitionOwners, partitions: Any, within_s: float) -> None:
        for partition in partitions:
            self._tasks.pop(partition, None)

    return put(PartitionOwners, "_give_up", give_up)


OF_THE_LOG: Mapping[str, Plant] = {
    "skip-fence": _skip_fence,
    "init-outside-assign": _init_outside_assign,
    "commit-without-group-metadata": _commit_without_group_metadata,
    "trust-committed-offset": _trust_committed_offset,
    "stop-the-fold-at-the-last-stable-offset": _stop_the_fold_at_the_last_stable_offset,
    "fold-read-uncommitted": _fold_read_uncommitted,
    "evolve-before-commit": _evolve_before_commit,
    "offset-moves-without-claim-or-refusal": _offset_moves_without_claim_or_refusal,
    "effect-on-unknown-commit": _effect_on_unknown_commit,
    "lane-shared-by-two-owners-after-revoke": _lane_shared_by_two_owners_after_revoke,
}
PLANTS: Mapping[str, Plant] = {
    **{name: plant for name, plant in plants.PLANTS.items() if name not in OF_THE_LOG_IN_MEMORY},
    "stale-controls-read-as-not-frozen": _stale_controls_read_as_not_frozen,
    **OF_THE_LOG,
}
