"""Change one setting of one store's TiKV while it runs, until its process restarts."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Literal

from pydantic import Field, model_validator

from actions import calls, status_address, tikv_config
from actions.action import Action, Limits, Undo, figure, health, is_settled, no, wait
from actions.tikv_config import KEYS, MIB
from schemas.events import Finding
from schemas.facts import Facts, Look, StoreFacts, TikvSetting
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, Sample, StoreId

RETRY_S = 60
YOUNG_S = 600  # after a start caches are cold, and memory and disk are as they never are later
WRITTEN_TIMES = 10  # what clients write is written so often, in the log, in flushes and on the way down the levels


class SetTikvConfig(Action):
    """Set one setting of one store's TiKV, through its own status port, until that process restarts.

    `storage.block-cache.capacity`: for memory that grows towards the host's limit. A smaller cache gives memory back
    within seconds; never larger than it is, never below half of it or 1 GiB. Reads go to disk more often.
    `server.snap-io-max-bytes-per-sec`: how fast replicas are copied to and from this store; 10 MiB/s to 1 GiB/s.
    `rocksdb.rate-bytes-per-sec`: the most that flushes and compaction write; 128 MiB/s to 10 GiB/s, and not below ten
    times what clients write. Too low, it lets compaction debt grow until TiKV stalls writes: look again in an hour.

    What clients notice: with a smaller cache 1 to 10 ms more for some reads, as long as it is so; with another rate 0
    to 20 ms less or more a request. No leader moves, no connection breaks.

    It is never written to the store's file: a restart takes it back too. Before 7.4.0 TiKV reads over that wish and
    rewrites the file, so older ones are left alone. That it shows is all that is verified here: neither memory nor
    disk is seen by PD, so look at the store's own dashboards.

    By hand, GET /config of the status port shows what is set; POST /config?persist=false sets it, with a certificate
    that the store accepts where TLS is on. The undo sets the value that was there, and only where ours still is.
    """

    name = "set_tikv_config"
    version = 1
    risk = "MEDIUM"
    undo = Undo.REVERSIBLE
    may_call = frozenset({"set_tikv_config", "restore_tikv_config"})
    clients_notice = "a smaller cache: 1 to 10 ms more for some reads; another rate: 0 to 20 ms less or more a request"
    stops_if = "a peer goes down, a store is no longer Up, this one restarts or gets slow, somebody freezes"
    not_worse = frozenset({"store_restarted"})

    store_id: StoreId = Field(description="The store, as PD numbers it.")
    key: Literal["storage.block-cache.capacity", "server.snap-io-max-bytes-per-sec", "rocksdb.rate-bytes-per-sec"] = (
        Field(description="The setting, as TiKV names it.")
    )
    mib: int = Field(
        ge=10,
        le=262_144,
        description="The new value in MiB, or MiB per second. Cache: 1024 to 262144, at least half of what it is and"
        " less than it. Copying replicas: 10 to 1024, by a factor of 10 at most. RocksDB: 128 to 10240.",
    )

    @model_validator(mode="after")
    def _within(self) -> SetTikvConfig:
        ours = KEYS[self.key]
        if not ours.least <= self.mib * MIB <= ours.most:
            raise ValueError(f"mib: {self.key} is set to {ours.least // MIB} to {ours.most // MIB}")
        return self

    def title(self) -> str:
        per_s = "/s" if KEYS[self.key].unit == "bytes/s" else ""
        return f"Set {self.key} of store {self.store_id} to {self._value()}{per_s} until it restarts"

    def look(self) -> Look:
        return Look(tikv_setting=TikvSetting(store_id=self.store_id, key=self.key))

    def entities(self) -> tuple[str, ...]:
        return (f"store:{self.store_id}",)

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """The one process that is meant, where it is reached, and what it has: the undo is that value."""
        store = facts.store(self.store_id)
        known = {
            "address": store.address if store else "unknown",
            "status_address": store.status_address if store else "unknown",
            "state": store.state if store else "unknown",
            "version": store.version if store else "unknown",
            "started_at_s": str(store.started_at_s) if store else "unknown",
            self.key: self._shown(facts) or "unknown",
        }
        return tuple(Premise(name=f"store:{self.store_id}.{name}", value=value) for name, value in known.items())

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        store = facts.store(self.store_id)
        if store is None:
            yield no("no_such_store", f"PD knows no store {self.store_id}")
            return
        if store.is_tiflash():
            yield no("target_is_tiflash", f"store {store.id} is TiFlash: its settings are others")
            return
        if store.state != "Up":
            yield no("target_not_up", f"store {store.id} is {store.state}")
        yield from self._process(store, limits)
        if refused := status_address.objection(store.status_address, store.address):
            yield no(*refused)
        else:
            yield from self._setting(facts, limits)
        if self.key == "storage.block-cache.capacity" and store.is_strained():
            yield no("target_slow", f"store {store.id} is busy or slow: with a smaller cache it would read still more")

        if self.key == "rocksdb.rate-bytes-per-sec":
            most = self.mib * MIB / WRITTEN_TIMES
            if not store.written_bytes_per_s <= most:
                text = f"store {store.id} takes {store.written_bytes_per_s / 1e6:.1f} MB/s of writes"
                yield no("rate_too_low", f"{text}, at most {most / 1e6:.1f} with {self._value()}/s")

    def _process(self, store: StoreFacts, limits: Limits) -> Iterator[Objection]:
        version = tikv_config.version_of(store.version)
        if version is None or not version < tikv_config.KNOWN_BELOW:
            yield no(
                "version_unknown", f"store {store.id} is of version {store.version!r}, whose settings aren't known"
            )
        elif version < tikv_config.NOT_PERSISTED_SINCE:
            text = f"TiKV {store.version} of store {store.id} would write it to its file; only 7.4.0 and later don't"
            yield no("version_persists", text)
        if store.started_at_s <= 0:
            yield no("start_unknown", f"PD does not say when store {store.id} started")
        elif not (age_s := limits.now_ms / 1000 - store.started_at_s) >= YOUNG_S:
            text = f"store {store.id} started {age_s:.0f} s ago, at least {YOUNG_S}"
            yield wait("store_just_started", text, limits.now_ms + int(max(1.0, YOUNG_S - age_s) * 1000))

    def _setting(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        seen = facts.tikv_setting
        if seen is None or (seen.store_id, seen.key) != (self.store_id, self.key):
            yield no("setting_unread", f"{self.key} of store {self.store_id} was not read")
            return
        if seen.code:
            text = f"{seen.code}: {seen.text}"[:300]
            if seen.code in ("tikv_unreachable", "tikv_timeout"):
                yield wait("setting_out_of_reach", text, limits.now_ms + RETRY_S * 1000)
            else:
                yield no("setting_unread", text)
            return
        ours, old, new = KEYS[self.key], tikv_config.bytes_of(seen.value), self.mib * MIB
        if old is None:
            text = f"{self.key} of store {self.store_id} is {seen.value[:100]!r}, which the undo could not set again"
            yield no("old_value_unsayable", text)
            return
        if new == old:
            yield no("already_so", f"{self.key} of store {self.store_id} is {seen.value}")
        if ours.only_down and new > old:
            yield no("only_down", f"{self.key} is {seen.value}: a machine only makes it smaller")
        if not old <= new * ours.factor or not new <= old * ours.factor:
            text = f"{self.key} is {seen.value}: {self._value()} is more than a factor of {ours.factor} away"
            yield no("step_too_large", text)

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        store, old, new = facts.store(self.store_id), self._shown(facts), self._value()
        if store is None or tikv_config.bytes_of(old) is None:
            return ()
        return (
            Change(
                do=calls.set_tikv_config(store, self.key, old, new),
                undo=calls.restore_tikv_config(store, self.key, new, old),
            ),
        )

    def reach(self, facts: Facts) -> Reach:
        """The regions that have a replica there; none moves."""
        store = facts.store(self.store_id)
        return Reach(stores=1, regions=store.region_count if store else 0, leaders=0, leaders_share=0.0)

    def bounds(self, facts: Facts) -> Bounds:
        """A quarter more, and 16, than are there now: counts move all the time."""
        return Bounds(stores_max=1, regions_max=ceil(self.reach(facts).regions * 1.25) + 16, leaders_max=0)

    def figures(self, facts: Facts) -> dict[str, float]:
        store, size = facts.store(self.store_id), tikv_config.bytes_of(self._shown(facts))
        own = {"started_at_s": float(store.started_at_s) if store else 0.0}
        if size is not None:
            own["bytes"] = float(size)
        if store is not None:
            own["slow"] = float(store.is_strained())
        return health(facts) | own

    def abort_if(self, before: Sample, now: Sample) -> tuple[str, str] | None:
        if shared := super().abort_if(before, now):
            return shared
        if abs(figure(now, "started_at_s") - figure(before, "started_at_s")) > 0:
            return "store_restarted", f"store {self.store_id} has restarted or is gone, and the setting with it"
        if figure(now, "slow") > figure(before, "slow"):
            return "store_slow", f"store {self.store_id} has become busy or slow"
        return None

    def is_done(self, facts: Facts) -> bool:
        return self._shown(facts) == self._value()

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "bytes") == self.mib * MIB

    def probe(self, call: Call, now: Facts) -> Finding:
        """By the process that it was for, and by what TiKV itself shows. What a process had that has ended is gone, so
        there is nothing of ours; a third value is somebody's since, and likewise. PD's silence about a store counts
        once it has settled; a TiKV that can't be asked tells nothing."""
        meant = call.args
        if call.name not in self.may_call or (meant.get("store_id"), meant.get("key")) != (
            str(self.store_id),
            self.key,
        ):
            return "cant_tell"
        is_undo = call.name == "restore_tikv_config"
        gone: Finding = "applied" if is_undo else "not_started"
        store, ours = now.store(self.store_id), meant.get("was" if is_undo else "value")
        if store is None:
            return gone if now.living() and is_settled(now) else "cant_tell"
        if store.state == "Tombstone" or (store.started_at_s and str(store.started_at_s) != meant.get("started_at_s")):
            return gone
        if not (seen := self._shown(now)):
            return "cant_tell"
        if seen != ours:
            return gone
        return "not_started" if is_undo else "applied"

    def _shown(self, facts: Facts) -> str:
        """What it is by these facts, as TiKV shows it; empty: not known."""
        seen = facts.tikv_setting
        return seen.value if seen and (seen.store_id, seen.key) == (self.store_id, self.key) else ""

    def _value(self) -> str:
        return tikv_config.size_text(self.mib * MIB)
