"""Payments over gRPC on 127.0.0.1:$PORT, with the standard health service for "" and shop.payments.v1.Payments."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import grpc
import payments_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from ledger import Ledger
from payments_pb2 import (
    DESCRIPTOR,
    ChargeRecord,
    ChargeRequest,
    GetChargeRequest,
    RefundRequest,
    WatchChargesRequest,
)
from request_log import logged

DATA = Path(os.environ.get("SHOP_DATA") or Path(__file__).resolve().parent.parent / "data")
NAME = DESCRIPTOR.services_by_name["Payments"].full_name
THREADS = 32
WATCHERS = 8  # each holds one of the threads for as long as it watches
GRACE = 10.0  # seconds for calls in flight when told to stop
POLL = 0.1  # seconds between two looks at the ledger for a watcher; another instance may have written to it


class Payments(payments_pb2_grpc.PaymentsServicer):
    """The four methods of payments.proto."""

    def __init__(self, ledger: Ledger, stopping: threading.Event) -> None:
        self._ledger = ledger
        self._stopping = stopping
        self._watchers = threading.BoundedSemaphore(WATCHERS)

    @logged
    def Charge(self, request: ChargeRequest, context: grpc.ServicerContext) -> ChargeRecord:
        if not 0 < len(request.order_id) <= 64 or not 0 < len(request.customer) <= 100:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "order_id and customer are needed")
        if request.amount_cents <= 0 or len(request.currency) != 3:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "amount_cents must be positive, currency three letters")
        try:
            return self._ledger.charge(request.order_id, request.customer, request.amount_cents, request.currency)
        except sqlite3.Error as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, f"the ledger does not answer: {error}")

    @logged
    def Refund(self, request: RefundRequest, context: grpc.ServicerContext) -> ChargeRecord:
        try:
            return self._ledger.refund(request.charge_id, request.order_id)
        except KeyError:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such charge")

    @logged
    def GetCharge(self, request: GetChargeRequest, context: grpc.ServicerContext) -> ChargeRecord:
        try:
            return self._ledger.find(request.charge_id)
        except KeyError:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such charge")

    @logged
    def WatchCharges(self, request: WatchChargesRequest, context: grpc.ServicerContext) -> Iterator[ChargeRecord]:
        if not self._watchers.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"at most {WATCHERS} watchers at a time")
        try:
            seen = self._ledger.revision()
            context.send_initial_metadata(())  # the watch has begun: what is charged from now on will be told
            while context.is_active() and not self._stopping.is_set():
                for record in self._ledger.since(seen, request.customer):
                    seen = record.revision
                    yield record
                self._stopping.wait(POLL)
        finally:
            self._watchers.release()


def main() -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight."""
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    options = [("grpc.so_reuseport", 0)]  # two servers on one port would share it silently
    server = grpc.server(ThreadPoolExecutor(THREADS), options=options)
    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    payments_pb2_grpc.add_PaymentsServicer_to_server(Payments(Ledger(DATA / "payments.db"), stopping), server)
    server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}")
    server.start()
    for name in ("", NAME):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    print(f"{NAME} listens on 127.0.0.1:{os.environ['PORT']}", flush=True)
    stopping.wait()
    checks.enter_graceful_shutdown()
    server.stop(GRACE).wait()


if __name__ == "__main__":
    main()
