"""The catalogue: every action there is, and what is never one, by name. Adding one is its file and one line here."""

from __future__ import annotations

from pydantic import ValidationError

from actions.action import Action, Entry
from actions.compact_store import CompactStore
from actions.evict_store_leaders import EvictStoreLeaders
from actions.forbidden import Forbidden
from actions.pause_scheduler import PauseScheduler
from actions.remove_tombstones import RemoveTombstones
from actions.scatter_regions import ScatterRegions
from actions.set_schedule_config import SetScheduleConfig
from actions.set_store_weight import SetStoreWeight
from actions.split_region import SplitRegion
from actions.transfer_region_leader import TransferRegionLeader
from actions.transfer_region_peer import TransferRegionPeer
from actions.unsafe_remove_failed_stores import UnsafeRemoveFailedStores

CATALOGUE: dict[str, type[Action]] = {
    action.name: action
    for action in (
        EvictStoreLeaders,
        PauseScheduler,
        RemoveTombstones,
        ScatterRegions,
        SplitRegion,
        SetStoreWeight,
        SetScheduleConfig,
        TransferRegionLeader,
        TransferRegionPeer,
    )
}
FORBIDDEN: dict[str, type[Forbidden]] = {
    forbidden.name: forbidden
    for forbidden in (
        CompactStore,
        UnsafeRemoveFailedStores,
    )
}


class UnknownAction(Exception):
    """There is no action of that name."""


class ForbiddenAction(UnknownAction):
    """There never is one of that name: what it would do is explained and refused, and this says why."""


class BadParameters(Exception):
    """Parameters of a known action that are of the wrong type or out of range; `field` names the first."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


def named(name: str) -> type[Entry]:
    """What the catalogue has of that name, to be shown. Raises UnknownAction."""
    return FORBIDDEN[name] if name in FORBIDDEN else _action(name)


def parse(name: str, params: str) -> Action:
    """The action from its name and its parameters as JSON. Raises ForbiddenAction whatever these are, UnknownAction or
    BadParameters."""
    if name in FORBIDDEN:
        raise ForbiddenAction(FORBIDDEN[name].why_not())
    kind = _action(name)
    try:
        return kind.model_validate_json(params)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadParameters(".".join(str(p) for p in first["loc"]) or "params", first["msg"]) from error


def _action(name: str) -> type[Action]:
    if name not in CATALOGUE:
        raise UnknownAction(f"no action {name!r}; there are {', '.join(sorted(CATALOGUE))}")
    return CATALOGUE[name]
