"""One GET of a target: bounded in time and bytes, however the answer is packed. The scraper's only socket.

Follows no redirect: an instance cannot send us elsewhere. Uses no proxy of the environment.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx2

from atoll.errors import AtollError
from atoll.telemetry.inflate import inflate
from atoll.telemetry.metrics.target import Target

BODY_LIMIT = 16 << 20
"""Bytes of a page, inflated."""
OPENMETRICS = "application/openmetrics-text"
ACCEPT = f"{OPENMETRICS};version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


class NoAnswer(Exception):
    """A target that did not answer, or with too much; the text says which."""


@dataclass(frozen=True)
class Answer:
    """What came."""

    status: int
    media: str
    body: bytes = b""

    @property
    def openmetrics(self) -> bool:
        """Whether it is OpenMetrics; else the older text format."""
        return self.media.lower().startswith(OPENMETRICS)

    @property
    def is_page(self) -> bool:
        """Whether it calls itself an exposition; HTML and JSON are none."""
        kind = self.media.partition(";")[0].strip().lower()
        return kind in {"", "text/plain", OPENMETRICS}

    @property
    def text(self) -> str:
        """The page; bytes that are not UTF-8 are replaced, and are no reason to lose the rest."""
        return self.body.decode("utf-8", "replace")


class Fetcher:
    """A client for all targets; keeps connections for a while. Close it."""

    def __init__(self) -> None:
        limits = httpx2.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=60.0)
        self._http = httpx2.AsyncClient(limits=limits, trust_env=False, follow_redirects=False)
        self._sockets: dict[str, httpx2.AsyncClient] = {}

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._http, *self._sockets.values()):
            await client.aclose()

    async def __call__(self, target: Target, trace: str) -> Answer:
        """See `scrape.Fetch`."""
        timeout = min(target.timeout, target.interval)
        headers = {
            "Accept": ACCEPT,
            "Accept-Encoding": "gzip",
            "User-Agent": "atoll-scraper",
            "X-Prometheus-Scrape-Timeout-Seconds": f"{timeout:g}",
            "traceparent": trace,
        }
        if target.token:
            headers["Authorization"] = f"Bearer {target.token}"
        host = f"[{target.host}]" if ":" in target.host else target.host
        url = f"http://localhost{target.path}" if target.socket else f"http://{host}:{target.port}{target.path}"
        try:
            async with asyncio.timeout(timeout):
                return await self._get(self._client(target), url, headers)
        except TimeoutError:
            raise NoAnswer(f"no answer within {timeout:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            raise NoAnswer(f"no answer: {type(error).__name__}") from None
        except AtollError as error:
            raise NoAnswer(error.detail) from None

    async def _get(self, client: httpx2.AsyncClient, url: str, headers: dict[str, str]) -> Answer:
        async with client.stream("GET", url, headers=headers, timeout=None) as response:
            media = response.headers.get("content-type", "")
            answer = Answer(response.status_code, media)
            if answer.status != 200 or not answer.is_page:
                return answer
            pieces, size = [], 0
            async for piece in response.aiter_raw():
                size += len(piece)
                if size > BODY_LIMIT:
                    raise NoAnswer(f"the page has more than {BODY_LIMIT} bytes")
                pieces.append(piece)
            packed = b"".join(pieces)
            encoding = response.headers.get("content-encoding", "")
            body = await asyncio.to_thread(inflate, packed, encoding, BODY_LIMIT)
            return Answer(answer.status, media, body)

    def _client(self, target: Target) -> httpx2.AsyncClient:
        if not target.socket:
            return self._http
        if target.socket not in self._sockets:
            transport = httpx2.AsyncHTTPTransport(uds=target.socket, trust_env=False)
            self._sockets[target.socket] = httpx2.AsyncClient(transport=transport, trust_env=False)
        return self._sockets[target.socket]
