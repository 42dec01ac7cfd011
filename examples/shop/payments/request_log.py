"""One line a call on stdout, for unary and streaming methods alike."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any

import grpc


def logged(method: Callable[..., Any]) -> Callable[..., Any]:
    """Print the call when it has ended: name, gRPC code, time, request id."""

    def write(context: grpc.ServicerContext, started: float, failed: bool) -> None:
        code = context.code() or (grpc.StatusCode.UNKNOWN if failed else grpc.StatusCode.OK)
        if failed and not context.is_active():
            code = grpc.StatusCode.CANCELLED
        request_id = dict(context.invocation_metadata()).get("x-request-id", "-")
        ms = (time.perf_counter() - started) * 1000
        print(f"{method.__name__} {code.name} {ms:.1f}ms id={request_id}", flush=True)

    @functools.wraps(method)
    def unary(self: object, request: Any, context: grpc.ServicerContext) -> Any:
        started, failed = time.perf_counter(), True
        try:
            answer = method(self, request, context)
            failed = False
            return answer
        finally:
            write(context, started, failed)

    @functools.wraps(method)
    def stream(self: object, request: Any, context: grpc.ServicerContext) -> Any:
        started, failed = time.perf_counter(), True
        try:
            yield from method(self, request, context)
            failed = False
        finally:
            write(context, started, failed)

    return stream if inspect.isgeneratorfunction(method) else unary
