"""Claude behind its Messages API: the only place that imports `anthropic`, and only when a question is first asked.

One request a question, and no retries: the SDK would wait as long as any Retry-After says, and an incident does not.
Our own deadline holds over all of it. A reply is read only when the API says that it ended by itself.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from agents.evidence import quoted
from agents.thinking import (
    ModelBroken,
    ModelDenied,
    ModelOverloaded,
    ModelRefused,
    ModelSaidJunk,
    ModelSaturated,
    ModelTimedOut,
    ModelTruncated,
    ModelUnreachable,
    Reply,
    Request,
    ThinkingFailed,
)

if TYPE_CHECKING:
    import anthropic

TOKENS_MAX = 8_192  # thinking included; a reply within our bounds is far shorter
TEXT_MAX = 64 * 1024  # more than that is no answer to our question
_OVERLOADED = frozenset({503, 529})


class Claude:
    """A Thinker. `api_key` and `base_url` are given, never taken from the environment. Raises ValueError for a key that
    can't stand in a header: it would come back inside the error of each request."""

    def __init__(self, model: str, api_key: str, base_url: str) -> None:
        if not api_key or not all("!" <= c <= "~" for c in api_key):
            raise ValueError(
                "model.api_key: empty, or holds a character that no key has, such as a blank or a line end"
            )
        self._model, self._api_key, self._base_url = model, api_key, base_url
        self._client: anthropic.AsyncAnthropic | None = None
        self._opening = asyncio.Lock()

    @property
    def model(self) -> str:
        return self._model

    def begin(self, request: Request) -> asyncio.Task[Reply]:
        """Ask without waiting. The task is its own handle: nobody who drops it hears of its failure."""
        task = asyncio.create_task(self.ask(request), name=f"ask {request.prompt}")
        task.add_done_callback(_retrieved)
        return task

    async def ask(self, request: Request) -> Reply:
        """The reply, before the request's deadline is over. Raises ThinkingFailed."""
        try:
            async with asyncio.timeout(request.deadline_s):
                client = await self._connected()
                said = await self._send(client, request)
        except TimeoutError as error:
            raise ModelTimedOut(f"no reply within {request.deadline_s:g} s") from error
        return read(said, self._model)

    async def known(self, within_s: float) -> str:
        """Is the key good, and is the model there? The name by which the API knows it; asks no question and costs
        nothing. Raises ThinkingFailed."""
        client = await self._connected()
        try:
            async with asyncio.timeout(within_s):
                said = await self._judged(client.models.retrieve(self._model, timeout=within_s), within_s)
        except TimeoutError as error:
            raise ModelTimedOut(f"no reply within {within_s:g} s") from error
        name = getattr(said, "id", None)
        if not isinstance(name, str):
            raise ModelSaidJunk(quoted(f"no model of the Models API: {said!r}"))
        return name

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _connected(self) -> anthropic.AsyncAnthropic:
        """The client; importing it takes over a second of CPU, so a thread does that and the loop goes on."""
        async with self._opening:
            if self._client is None:
                sdk = await asyncio.to_thread(importlib.import_module, "anthropic")
                self._client = sdk.AsyncAnthropic(api_key=self._api_key, base_url=self._base_url, max_retries=0)
            return self._client

    async def _send(self, client: anthropic.AsyncAnthropic, request: Request) -> object:
        asking = client.messages.create(
            model=self._model,
            max_tokens=TOKENS_MAX,
            system=request.system,
            messages=[{"role": "user", "content": request.user}],
            output_config={"format": {"type": "json_schema", "schema": json.loads(request.schema)}},
            timeout=request.deadline_s,
        )
        return await self._judged(asking, request.deadline_s)

    async def _judged(self, asking: Awaitable[object], within_s: float) -> object:
        """What the API answers. Raises ThinkingFailed."""
        import anthropic

        try:
            return await asking
        except anthropic.APITimeoutError as error:
            raise ModelTimedOut(f"no reply within {within_s:g} s") from error
        except anthropic.APIConnectionError as error:
            raise ModelUnreachable(quoted(self._without_key(str(error.__cause__ or error)))) from error
        except anthropic.APIStatusError as error:
            raise failure_of(
                error.status_code, self._without_key(error.message), error.response.headers.get("retry-after")
            ) from error
        except (anthropic.AnthropicError, ValueError) as error:  # a body that is no JSON, or no message
            raise ModelSaidJunk(quoted(self._without_key(f"{type(error).__name__}: {error}"))) from error

    def _without_key(self, text: str) -> str:
        """A server that is set on it could send the key back in its error."""
        return text.replace(self._api_key, "***")


def failure_of(status: int, message: str, retry_after: str | None) -> ThinkingFailed:
    """A status of the API as what it means to us. Retry-After is told and not obeyed."""
    said = quoted(f"{status}: {message}")
    if status == 429:
        wait = f"; asks to wait {quoted(retry_after, 20)} s, which no incident does" if retry_after else ""
        return ModelSaturated(said + wait)
    if status in _OVERLOADED:
        return ModelOverloaded(said)
    if status in (408, 504):
        return ModelTimedOut(said)
    return ModelBroken(said) if status >= 500 else ModelDenied(said)


def read(said: Any, asked_of: str) -> Reply:
    """The words of a message that ended by itself. The SDK does not check what it parsed, so nothing is granted."""
    content = getattr(said, "content", None)
    stop_reason = getattr(said, "stop_reason", None)
    if not isinstance(content, list) or not isinstance(stop_reason, str):
        raise ModelSaidJunk(quoted(f"no message of the Messages API: {said!r}"))
    texts = [
        b.text for b in content if getattr(b, "type", None) == "text" and isinstance(getattr(b, "text", None), str)
    ]
    text = "".join(texts)
    if stop_reason == "refusal":
        raise ModelRefused("the model declined to answer", text)
    if stop_reason in ("max_tokens", "model_context_window_exceeded"):
        raise ModelTruncated(f"the reply was cut ({stop_reason})", text)
    if stop_reason != "end_turn":
        raise ModelSaidJunk(f"the reply ended with {quoted(stop_reason, 40)}", text)
    if not text or len(text) > TEXT_MAX:
        raise ModelSaidJunk(f"{len(text)} characters are no answer", text)
    model = getattr(said, "model", None)
    return Reply(text, model if isinstance(model, str) and model else asked_of)


def _retrieved(task: asyncio.Task[Reply]) -> None:
    if not task.cancelled():
        task.exception()
