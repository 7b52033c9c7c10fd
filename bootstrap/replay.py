"""The rules of every role for a replay: those of production, without any hands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootstrap.roles import handless, rules, stage
from infra.replay.again import Rules
from infra.settings import Settings
from streams.pipeline import PROCESSORS


def rules_of(settings: Settings, keys: Mapping[str, Mapping[str, str]]) -> Rules:
    """By the most that the broker allows. `keys`: whose signatures count, by kid."""

    def made(mode_max: str) -> Mapping[str, Any]:
        hands = handless(sinks=tuple(settings.sinks), keys=keys, mode_max=mode_max)
        return {
            line.role: stage(line, settings, hands) if line.verb == "maps" else rules(line, settings, hands)
            for line in PROCESSORS
        }

    return made
