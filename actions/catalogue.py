"""The catalogue: every action there is, by name. Adding one is its file and one line here."""

from __future__ import annotations

from pydantic import ValidationError

from actions.action import Action
from actions.evict_store_leaders import EvictStoreLeaders
from actions.remove_tombstones import RemoveTombstones
from actions.set_store_weight import SetStoreWeight
from actions.transfer_region_leader import TransferRegionLeader

CATALOGUE: dict[str, type[Action]] = {
    action.name: action
    for action in (
        EvictStoreLeaders,
        RemoveTombstones,
        SetStoreWeight,
        TransferRegionLeader,
    )
}


class UnknownAction(Exception):
    """No such type in the catalogue."""


class BadParameters(Exception):
    """Parameters of a known action that are of the wrong type or out of range; `field` names the first."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


def named(name: str) -> type[Action]:
    """The type of that name. Raises UnknownAction."""
    if name not in CATALOGUE:
        raise UnknownAction(f"no action {name!r}; there are {', '.join(sorted(CATALOGUE))}")
    return CATALOGUE[name]


def parse(name: str, params: str) -> Action:
    """The action from its name and its parameters as JSON. Raises UnknownAction or BadParameters."""
    kind = named(name)
    try:
        return kind.model_validate_json(params)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadParameters(".".join(str(p) for p in first["loc"]) or "params", first["msg"]) from error
