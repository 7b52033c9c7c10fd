"""Sends one call to a cluster, once: PD's to PD, a store's to the status port of that very store.

A store's call is for one process of one TiKV, and for one value that it has: PD is asked whether that process is still
the store, and TiKV which store it is and what it has, before anything is sent. Where the answer is no, a setting is not
set; and one of ours that is to be taken back is gone: a restart takes it back by itself, another's value is not ours.
"""

from __future__ import annotations

import asyncio

import httpx

from actions import status_address, tikv_config
from actions.calls import CALLS, PREFIX, Request
from actions.tikv_config import CONFIG_BYTES_MAX, NoSetting
from executors.pd import PdWriter, Reply, exchange
from schemas.values import Call

RESTORES = "restore_tikv_config"


class ClusterWriter(PdWriter):
    """A client of one cluster, as PdWriter is, that also sends what goes to a store of it."""

    async def send(self, call: Call, *, caller_id: str, within_s: float) -> Reply:
        if call.name not in CALLS or CALLS[call.name].to == "pd":
            return await super().send(call, caller_id=caller_id, within_s=within_s)
        began = self._monotonic_s()
        request, pd = self._allowed(call)
        url = f"{httpx.URL(pd).scheme}://{request.server}"
        try:
            async with asyncio.timeout(min(self._identity_s, within_s)):
                held = await self._held_back(call, request, pd, url)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, TimeoutError, OSError) as error:
            text = f"before it was sent: {type(error).__name__}: {error}"
            return Reply("never_sent", code="tikv_unreachable", body=text, took_ms=self._since(began))
        except NoSetting as error:
            return Reply("never_sent", code=error.code, body=str(error), took_ms=self._since(began))
        if held:
            if call.name == RESTORES:
                return Reply("accepted", code="already_so", body=held, took_ms=self._since(began))
            return Reply("never_sent", code="tikv_changed", body=held, took_ms=self._since(began))
        if (left_s := within_s - (self._monotonic_s() - began)) <= 0:
            return Reply("never_sent", code="window_passed", took_ms=self._since(began))
        return await self._once(url, request, call, caller_id=caller_id, within_s=left_s, began_s=began)

    async def _held_back(self, call: Call, request: Request, pd: str, url: str) -> str:
        """Why it is not sent: the process has ended that it is for, or has another value; empty: it may be. Raises
        NoSetting and httpx's errors: it can't be told."""
        meant = call.args
        if refused := status_address.objection(meant["status_address"], meant["address"]):
            raise NoSetting(*refused)
        body = await self._get(pd, f"{PREFIX}/store/{meant['store_id']}", at_all=(200, 404))
        if ended := tikv_config.ended(body, meant):
            return ended
        seen = tikv_config.shown(await self._get(url, "/config"), meant["key"])
        if seen.address != meant["address"]:
            raise NoSetting("tikv_wrong_store", f"{request.server}: the TiKV at {seen.address[:100]!r} answers")
        return "" if seen.value == meant["was"] else f"{meant['key']} is {seen.value[:100]}, was {meant['was']}"

    async def _get(self, url: str, path: str, at_all: tuple[int, ...] = (200,)) -> bytes:
        async with self._client(url, self._identity_s) as client:
            status, _, body = await exchange(client, client.build_request("GET", path), CONFIG_BYTES_MAX)
        if status not in at_all:
            raise NoSetting("tikv_error", f"GET {path}: HTTP {status}")
        return body.encode()
