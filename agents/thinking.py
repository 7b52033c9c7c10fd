"""What a model is asked, what it gives back, and every way in which that fails. The wire is in agents/claude.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from schemas.processors import Lane
from schemas.values import canonical_json, sha256

LOOK_AGAIN_MS = 200  # how often a lane looks whether a thought has ended; nothing of the log tells it


@dataclass(frozen=True)
class Request:
    """One question, rendered whole. `schema` is the JSON schema (canonical JSON) that the reply is held to."""

    prompt: str  # diagnosis | proposal
    version: str
    system: str
    user: str
    schema: str
    deadline_s: float = 0.0

    def sha256(self) -> str:
        """Of all that the model reads, so that the record proves what was asked; the deadline is none of it."""
        return sha256(canonical_json([self.prompt, self.version, self.system, self.user, self.schema]).encode()).hex()


@dataclass(frozen=True)
class Reply:
    """The model's words, complete, and not yet believed."""

    text: str
    model: str


class ThinkingFailed(Exception):
    """No usable reply. `code` goes on record, `text` is for people, `reply` is what there was of one (bounded)."""

    code = "model_failed"

    def __init__(self, text: str, reply: str = "") -> None:
        super().__init__(f"{self.code}: {text}")
        self.text, self.reply = text, reply


class ModelRefused(ThinkingFailed):
    """It declined to answer."""

    code = "model_refused"


class ModelTruncated(ThinkingFailed):
    """The reply was cut at a limit: what there is of it is not read."""

    code = "model_truncated"


class ModelOverloaded(ThinkingFailed):
    """The service has no room now (529, 503)."""

    code = "model_overloaded"


class ModelSaturated(ThinkingFailed):
    """Our own quota is used up (429). Never waited for: the incident does not wait either."""

    code = "model_rate_limited"


class ModelTimedOut(ThinkingFailed):
    """No whole reply before our deadline."""

    code = "model_timed_out"


class ModelUnreachable(ThinkingFailed):
    """No connection."""

    code = "model_unreachable"


class ModelDenied(ThinkingFailed):
    """The key or the request was not accepted (other 4xx): a matter of configuration."""

    code = "model_denied"


class ModelBroken(ThinkingFailed):
    """The service failed (other 5xx)."""

    code = "model_broken"


class ModelSaidJunk(ThinkingFailed):
    """What came back is no reply of the Messages API."""

    code = "model_said_junk"


class Thought(Protocol):
    """A question under way. An asyncio.Task of a Reply is one."""

    def done(self) -> bool: ...

    def result(self) -> Reply:
        """The reply. Raises ThinkingFailed."""
        ...

    def cancel(self) -> object: ...


class Thinker(Protocol):
    """A model behind its wire."""

    @property
    def model(self) -> str: ...

    async def ask(self, request: Request) -> Reply:
        """The reply, before `request.deadline_s` is over. Raises ThinkingFailed."""
        ...

    def begin(self, request: Request) -> Thought:
        """Ask without waiting for it, so that a lane can answer other things meanwhile."""
        ...


def conclude(thought: Thought) -> Reply:
    """The reply of a thought that has ended. Raises ThinkingFailed, whatever went wrong in it."""
    try:
        return thought.result()
    except ThinkingFailed:
        raise
    except Exception as error:  # a defect in the wire must not stop a lane: the playbook's answer stands
        raise ThinkingFailed(f"{type(error).__name__} while asking") from error


async def think(thinker: Thinker, request: Request, lane: Lane[Any]) -> Reply:
    """Ask and wait, never longer than the deadline by the log's clock either. Raises ThinkingFailed."""
    until_ms = lane.now_ms() + round(1000 * request.deadline_s)
    thought = thinker.begin(request)
    try:
        while not thought.done():
            if lane.now_ms() >= until_ms:
                raise ModelTimedOut(f"no reply within {request.deadline_s:g} s")
            await lane.sleep_until(min(until_ms, lane.now_ms() + LOOK_AGAIN_MS))
        return conclude(thought)
    finally:
        if not thought.done():
            thought.cancel()
