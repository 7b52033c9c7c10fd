"""Where notifications go: the log, and whatever apprise can reach. Implements streams.notify.Deliver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from streams.notify import LOG, NotDeliveredError

_log = structlog.get_logger()


def say(title: str, body: str) -> None:
    _log.info("notification", title=title, body=body)


class Sinks:
    """`urls`: apprise URLs by the sink's name. They hold secrets, so no reason ever repeats one."""

    def __init__(self, urls: Mapping[str, str], *, within_s: float = 15, log: Callable[[str, str], None] = say) -> None:
        self._urls, self._within_s, self._say = dict(urls), within_s, log

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._urls)

    async def deliver(self, sink: str, title: str, body: str) -> None:
        """Returns when the sink has taken it. Raises NotDeliveredError."""
        if sink == LOG:
            self._say(title, body)
            return
        url = self._urls.get(sink)
        if url is None:
            raise NotDeliveredError("unknown_sink", f"no sink {sink!r} is configured")
        try:
            async with asyncio.timeout(self._within_s):
                taken = await asyncio.to_thread(_send, url, title, body)
        except TimeoutError as error:
            raise NotDeliveredError("timed_out", f"{sink} did not answer in {self._within_s:g} s") from error
        except NotDeliveredError:
            raise
        except Exception as error:  # a plugin of apprise may raise anything; its text may hold the URL
            raise NotDeliveredError("sink_failed", f"{sink}: {type(error).__name__}") from None
        if not taken:
            raise NotDeliveredError("not_taken", f"{sink} did not take it; apprise says why in its own log")


def is_url(url: str) -> bool:
    """Does apprise know this kind of URL? Nothing is sent, and nothing of it is said."""
    import apprise

    return bool(apprise.Apprise().add(url))


def _send(url: str, title: str, body: str) -> bool:
    import apprise  # late: half a second, and only this role needs it

    there = apprise.Apprise()
    if not there.add(url):
        raise NotDeliveredError("bad_url", "apprise does not know this kind of URL")
    return bool(there.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT))
