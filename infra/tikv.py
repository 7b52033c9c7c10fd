"""Reads one setting of one store from its status port: one GET, bounded; a store that does not answer is a fact too."""

from __future__ import annotations

import asyncio

import httpx

from actions import status_address, tikv_config
from actions.tikv_config import CONFIG_BYTES_MAX, NoSetting
from schemas.facts import StoreFacts, TikvSetting, TikvSettingFacts

BUDGET_S = 1.0


async def setting(
    client: httpx.AsyncClient, scheme: str, asked: TikvSetting, store: StoreFacts | None
) -> TikvSettingFacts:
    """`store`: as PD shows it; its status address is used if it is one that may be. Never raises for what is out there:
    `code` says why there is no value."""
    try:
        value = await _value(client, scheme, asked, store)
    except NoSetting as error:
        return TikvSettingFacts(store_id=asked.store_id, key=asked.key, code=error.code, text=str(error))
    return TikvSettingFacts(store_id=asked.store_id, key=asked.key, value=value)


async def _value(client: httpx.AsyncClient, scheme: str, asked: TikvSetting, store: StoreFacts | None) -> str:
    if store is None or store.state == "Tombstone" or store.is_tiflash() or asked.key not in tikv_config.KEYS:
        raise NoSetting("tikv_not_asked", f"store {asked.store_id} has no such setting that is read")
    if refused := status_address.objection(store.status_address, store.address):
        raise NoSetting(*refused)
    place = f"store {store.id} ({store.status_address})"
    try:
        async with asyncio.timeout(BUDGET_S):
            body = await _get(client, f"{scheme}://{store.status_address}/config", place)
    except (TimeoutError, httpx.TimeoutException):
        raise NoSetting("tikv_timeout", f"{place} gave no answer within {BUDGET_S:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
        raise NoSetting("tikv_unreachable", f"{place}: {type(error).__name__}: {error}") from None
    seen = tikv_config.shown(body, asked.key)
    if seen.address != store.address:
        raise NoSetting("tikv_wrong_store", f"{place}: the TiKV at {seen.address[:100]!r} answers")
    return seen.value


async def _get(client: httpx.AsyncClient, url: str, place: str) -> bytes:
    async with client.stream("GET", url) as response:
        if response.status_code != 200:
            raise NoSetting("tikv_error", f"{place}: GET /config: HTTP {response.status_code}")
        if "content-encoding" in response.headers:  # not asked for: it could unpack to any size
            raise NoSetting("tikv_malformed", f"{place}: GET /config: the answer is compressed")
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > CONFIG_BYTES_MAX:
                raise NoSetting("tikv_too_large", f"{place}: GET /config: more than {CONFIG_BYTES_MAX} bytes")
        return body
