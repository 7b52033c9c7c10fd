"""The console's HTTP API as the command line calls it. A no becomes Stopped, with the exit code of the contract."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

NO, WRONG_USE, UNREACHED = 1, 2, 3
_CODES = {400: WRONG_USE, 401: WRONG_USE, 413: WRONG_USE, 422: WRONG_USE, 503: UNREACHED}
ANSWER_WITHIN_S = 45.0


class Stopped(Exception):
    """The command ends here: its exit code, and what to say."""

    def __init__(self, exit_code: int, text: str, code: str = "") -> None:
        super().__init__(text)
        self.exit_code, self.text, self.code = exit_code, text, code


def token_from(file: Path | None) -> str | None:
    """The token of --token-file, else $STEWARD_TOKEN, else none. Raises Stopped for a file that can't be read."""
    if file is None:
        return os.environ.get("STEWARD_TOKEN") or None
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Stopped(
            WRONG_USE, f"--token-file: can't read {file}: {getattr(error, 'strerror', 'it is not text')}"
        ) from None


class Client:
    """Talks to one console as one user. Follows no redirects, so that no token goes elsewhere."""

    def __init__(self, url: str, token: str | None) -> None:
        if not token:
            raise Stopped(WRONG_USE, "who are you? Set STEWARD_TOKEN, or name --token-file")
        if not token.isascii() or not token.isprintable():
            raise Stopped(WRONG_USE, "the token is not one: it has other than printable ASCII characters")
        self._url, self._token = url.rstrip("/"), token

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        return self._call("GET", path, params={k: v for k, v in params.items() if v not in (None, "")})

    def post(self, path: str, body: Any, within_s: float = ANSWER_WITHIN_S) -> dict[str, Any]:
        return self._call("POST", path, within_s, json=body)

    def post_bytes(self, path: str, body: bytes) -> dict[str, Any]:
        return self._call("POST", path, content=body)

    def lines(self, path: str, **params: Any) -> Iterator[bytes]:
        """Of an answer that is too long to be held: a line at a time, with its end."""
        import httpx

        kept = b""
        try:
            with httpx.stream(
                "GET",
                self._url + path,
                headers=self._headers(),
                params={k: v for k, v in params.items() if v},
                timeout=ANSWER_WITHIN_S,
                trust_env=False,
            ) as reply:
                if not reply.is_success:
                    reply.read()
                    self._judged(reply)
                for piece in reply.iter_bytes():
                    *whole, kept = (kept + piece).split(b"\n")
                    yield from (line + b"\n" for line in whole)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise Stopped(WRONG_USE, f"{self._url} is no address of a console") from None
        except httpx.HTTPError as error:
            text = f"the console at {self._url} can't be reached: {error or type(error).__name__}"
            raise Stopped(UNREACHED, text) from None
        if kept:
            yield kept

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}", "X-Steward-Via": "cli"}

    def _call(self, method: str, path: str, within_s: float = ANSWER_WITHIN_S, **what: Any) -> dict[str, Any]:
        import httpx

        try:
            reply = httpx.request(
                method, self._url + path, headers=self._headers(), timeout=within_s, trust_env=False, **what
            )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise Stopped(WRONG_USE, f"{self._url} is no address of a console") from None
        except httpx.HTTPError as error:
            text = f"the console at {self._url} can't be reached: {error or type(error).__name__}"
            raise Stopped(UNREACHED, text) from None
        return self._judged(reply)

    def _judged(self, reply: httpx.Response) -> dict[str, Any]:
        """What it says, unless it is a no. Raises Stopped."""
        try:
            said = reply.json()
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise Stopped(
                UNREACHED, f"what answers at {self._url} is no console of Steward (status {reply.status_code})"
            )
        if reply.is_success:
            return said
        field = f"{said['field']}: " if said.get("field") else ""
        text = f"{field}{said.get('reason', 'refused')} ({said.get('code', reply.status_code)})"
        raise Stopped(_CODES.get(reply.status_code, NO), text, str(said.get("code", "")))
