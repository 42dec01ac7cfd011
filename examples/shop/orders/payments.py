"""Payments as orders sees them: gRPC at PAYMENTS_HOST and PAYMENTS_PORT, or wherever PAYMENTS_URL points."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import grpc
import payments_pb2_grpc
from payments_pb2 import PAID, ChargeRecord, ChargeRequest, RefundRequest
from problem import Problem, broken, unavailable

TIMEOUT = 2.0  # seconds
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),  # payments restarts faster than gRPC's own two minutes
]


def endpoint(environment: Mapping[str, str]) -> str:
    """host:port of the payments service; raises ValueError when the environment does not say."""
    host, port = environment.get("PAYMENTS_HOST"), environment.get("PAYMENTS_PORT")
    if not (host and port):
        url = urlsplit(environment.get("PAYMENTS_URL", ""))
        host, port = url.hostname, str(url.port or "")
    if not (host and port):
        raise ValueError("set PAYMENTS_HOST and PAYMENTS_PORT, or PAYMENTS_URL")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Payments:
    """One channel, shared by all threads; it reconnects by itself."""

    def __init__(self, target: str) -> None:
        self._stub = payments_pb2_grpc.PaymentsStub(grpc.insecure_channel(target, OPTIONS))

    def charge(self, order_id: str, customer: str, amount_cents: int, headers: dict[str, str]) -> str:
        """Take the money; the charge's id. Raises Problem 402 when the bank declines, 502 or 503 when payments fails."""
        request = ChargeRequest(order_id=order_id, customer=customer, amount_cents=amount_cents, currency="EUR")
        try:
            record: ChargeRecord = self._stub.Charge(request, timeout=TIMEOUT, metadata=list(headers.items()))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                self._undo(order_id, headers)
            raise (unavailable if error.code() in AWAY else broken)("payments", error.details()) from error
        if record.status != PAID:
            raise Problem(402, "declined", "Payment declined", detail=record.reason, charge_id=record.id)
        return record.id

    def _undo(self, order_id: str, headers: dict[str, str]) -> None:
        """Give back what a charge without an answer may have taken."""
        try:
            self._stub.Refund(RefundRequest(order_id=order_id), timeout=TIMEOUT / 2, metadata=list(headers.items()))
        except grpc.RpcError as error:
            print(f"order {order_id}: charge unknown, refund answered {error.code().name}", flush=True)
