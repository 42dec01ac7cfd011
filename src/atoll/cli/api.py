"""The control plane's API as the command line speaks it: one small synchronous client on http.client.

Promises: an answer in time, whole and JSON, or an AtollError. A control plane that is down, slow, drips bytes, breaks
off or talks nonsense becomes Unreachable with a hint; a problem document becomes the error it was made from.
"""

from __future__ import annotations

import http.client
import socket
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import msgspec

from atoll.cli.place import Place
from atoll.errors import AtollError, Unreachable
from atoll.kit.clock import Clock
from atoll.kit.text import scrub
from atoll.sdk.problem import error_of

T = TypeVar("T")
Query = Mapping[str, object] | Sequence[tuple[str, object]]
Answer: Any = dict[str, Any] | None
"""What a JSON answer is at least: an object, or nothing at all (204)."""

ANSWER_LIMIT = 256 << 20
"""Bytes of one JSON answer; the largest listing of facts stays far below."""
DOWN_HINT = "start it with `atoll up`; `atoll doctor` shows what is wrong"
SLOW_HINT = "it may be stopped or overloaded: `atoll doctor`, or give it longer with ATOLL_TIMEOUT=60"
ODD_HINT = "is this URL or socket atoll's? `atoll doctor` shows who listens where"


class _Deadlined(socket.socket):
    """A socket whose reads all end at one deadline: a peer that drips bytes cannot hold us."""

    clock: Clock
    deadline: float

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        left = self.deadline - self.clock.now()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)
        return super().recv_into(*args, **kwargs)


class Api:
    """A client of one control plane. Each call is one connection, so nothing is left over from an earlier failure."""

    def __init__(self, place: Place, *, timeout: float, clock: Clock) -> None:
        self.place = place
        self.timeout = timeout
        self._clock = clock

    def get(self, path: str, query: Query = (), *, timeout: float | None = None) -> Any:
        """The JSON at `path`; `timeout` seconds for the whole answer instead of the usual."""
        return self._json("GET", path, query, None, timeout, Answer)

    def get_as(self, path: str, kind: type[T], query: Query = (), *, timeout: float | None = None) -> T:
        """The JSON at `path` as a Struct."""
        return self._json("GET", path, query, None, timeout, kind)

    def put(self, path: str, body: Any = None, query: Query = ()) -> Any:
        """PUT `body` as JSON; returns the JSON of the answer (None when it is empty)."""
        return self._json("PUT", path, query, body, None, Answer)

    def put_as(self, path: str, body: Any, kind: type[T]) -> T:
        """PUT `body` as JSON; returns the answer as a Struct."""
        return self._json("PUT", path, (), body, None, kind)

    def post(self, path: str, body: Any = None, query: Query = ()) -> Any:
        """POST `body` as JSON; returns the JSON of the answer (None when it is empty)."""
        return self._json("POST", path, query, body, None, Answer)

    def post_as(self, path: str, body: Any, kind: type[T]) -> T:
        """POST `body` as JSON; returns the answer as a Struct."""
        return self._json("POST", path, (), body, None, kind)

    def delete(self, path: str, query: Query = ()) -> Any:
        """DELETE; returns the JSON of the answer (None when it is empty)."""
        return self._json("DELETE", path, query, None, None, Answer)

    def download(self, path: str, write: Callable[[bytes], object], *, timeout: float) -> int:
        """Hand a streamed answer to `write` piece by piece; returns its bytes.

        Raises:
            Unreachable: it did not come whole within `timeout` seconds; `write` may have seen a part.
        """
        count = 0
        with self._answer("GET", path, (), None, timeout) as answer:
            if answer.status != http.client.OK:
                self._refuse(answer, answer.read(1 << 20))
            whole = answer.length
            while piece := answer.read(1 << 16):
                count += len(piece)
                write(piece)
            if whole is not None and count != whole:
                raise http.client.IncompleteRead(b"", whole - count)
        return count

    def _json(self, method: str, path: str, query: Query, body: Any, timeout: float | None, kind: type[T]) -> T:
        with self._answer(method, path, query, body, timeout) as answer:
            content = answer.read(ANSWER_LIMIT + 1)
            if len(content) > ANSWER_LIMIT:
                self._odd(f"sent more than {ANSWER_LIMIT >> 20} MiB")
            if answer.length:  # read(amount) does not complain about a body that ends too early
                raise http.client.IncompleteRead(content, answer.length)
            if not 200 <= answer.status < 300:
                self._refuse(answer, content)
            if answer.status == http.client.NO_CONTENT:
                content = b"null"
            elif not content:  # http.client takes an end in the middle of the headers for the end of the headers
                raise http.client.IncompleteRead(b"")
            try:
                return msgspec.json.decode(content, type=kind)
            except (msgspec.DecodeError, ValueError, RecursionError):
                self._odd("did not answer as the control plane of this version does")

    @contextmanager
    def _answer(
        self, method: str, path: str, query: Query, body: Any, timeout: float | None
    ) -> Iterator[http.client.HTTPResponse]:
        seconds = timeout or self.timeout
        target = path + ("?" + urllib.parse.urlencode(query) if query else "")
        headers = {"Accept": "application/json", "User-Agent": "atoll-cli", "Connection": "close"}
        if self.place.token:
            headers["Authorization"] = f"Bearer {self.place.token}"
        content = None
        if body is not None:
            content = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        connection = self._connection(seconds)
        try:
            connection.request(method, target, content, headers)
            answer = connection.getresponse()
            yield answer
        except AtollError:
            raise
        except TimeoutError:
            raise Unreachable(
                f"the control plane at {self._where} did not answer within {seconds:g} s", hint=SLOW_HINT
            ) from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise Unreachable(f"no control plane answers at {self._where}", hint=DOWN_HINT) from None
        except PermissionError:
            raise Unreachable(
                f"this user may not talk to the control plane at {self._where}",
                hint="run this as the user who started the platform",
            ) from None
        except http.client.BadStatusLine as error:
            if isinstance(error, http.client.RemoteDisconnected):
                self._odd("hung up without an answer", hint=DOWN_HINT)
            self._odd("does not speak HTTP")
        except http.client.IncompleteRead:
            self._odd("broke off in the middle of its answer", hint="try again; `atoll doctor` shows what is wrong")
        except (http.client.HTTPException, ValueError) as error:
            self._odd(f"sent a broken answer ({type(error).__name__})")
        except OSError as error:
            if error.filename:  # not the network: a file of ours that the caller writes to
                raise
            raise Unreachable(
                f"the control plane at {self._where} cannot be reached: {error.strerror or type(error).__name__}",
                hint=DOWN_HINT,
            ) from None
        finally:
            connection.close()

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        if self.place.tls:
            return http.client.HTTPSConnection(self.place.host, self.place.port, timeout=seconds)
        connection = http.client.HTTPConnection(self.place.host, self.place.port, timeout=seconds)
        deadline = self._clock.now() + seconds
        place, clock = self.place, self._clock

        def connect() -> None:
            connection.sock = _connect(place, clock, deadline)

        connection.connect = connect  # type: ignore[method-assign]
        if place.socket is not None:
            connection.host, connection.port = "localhost", 80
        return connection

    @property
    def _where(self) -> str:
        return scrub(str(self.place))

    def _odd(self, what: str, *, hint: str = ODD_HINT) -> NoReturn:
        raise Unreachable(f"what listens at {self._where} {what}", hint=hint) from None

    def _refuse(self, answer: http.client.HTTPResponse, content: bytes) -> NoReturn:
        """Raise what a status outside 2xx means."""
        raise error_of(answer.status, content)


def _connect(place: Place, clock: Clock, deadline: float) -> _Deadlined:
    if place.socket is not None:
        candidates: list[tuple[int, Any]] = [(socket.AF_UNIX, str(place.socket))]
    else:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        candidates = [(family, address) for family, _, _, _, address in found]
    failure = OSError()
    for family, address in candidates:
        made = _Deadlined(family, socket.SOCK_STREAM)
        made.clock, made.deadline = clock, deadline
        try:
            made.settimeout(max(0.001, deadline - clock.now()))
            made.connect(address)
        except OSError as error:
            made.close()
            failure = error
            continue
        return made
    raise failure
