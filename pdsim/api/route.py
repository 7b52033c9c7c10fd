"""A route: method, path pattern, handler, and what must be true of PD before the handler is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pdsim.model import Cluster
from pdsim.wire import Answer, Ask

Handler = Callable[[Cluster, Ask], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """`pattern` is split at slashes; a part in braces is a variable. Paths are below /pd/api/v1."""

    method: str
    pattern: str
    handler: Handler
    needs_cluster: bool = True  # 500 ErrNotBootstrapped without stores
    local: bool = False  # answered by the asked member itself, leader or not
    queries: tuple[str, ...] = ()  # the route exists only with these parameters
    since: tuple[int, int] = (0, 0)  # the version of PD that brought it

    def match(self, parts: tuple[str, ...]) -> dict[str, str] | None:
        wanted = tuple(part for part in self.pattern.split("/") if part)
        if len(wanted) != len(parts):
            return None
        found: dict[str, str] = {}
        for want, part in zip(wanted, parts, strict=True):
            if want.startswith("{"):
                found[want[1:-1]] = part
            elif want != part:
                return None
        return found
