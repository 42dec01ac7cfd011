"""A tiny service that speaks HTTP/2 without TLS and nothing else: says over which protocol and as whom it was asked."""

from __future__ import annotations

import asyncio
import json
import os

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError


class Speaker(asyncio.Protocol):
    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.asked: dict[int, tuple[dict[str, str], int]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        self.h2.initiate_connection()
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except ProtocolError:
            self.transport.close()
            return
        for event in events:
            if isinstance(event, RequestReceived):
                self.asked[event.stream_id] = ({str(name): str(value) for name, value in event.headers}, 0)
            elif isinstance(event, DataReceived):
                headers, received = self.asked[event.stream_id]
                self.asked[event.stream_id] = (headers, received + len(event.data))
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self.answer(event.stream_id)
        self.transport.write(self.h2.data_to_send())

    def answer(self, stream: int) -> None:
        headers, received = self.asked.pop(stream)
        said = {"instance": os.environ.get("ATOLL_INSTANCE", ""), "protocol": "h2c", "received": received}
        body = json.dumps({**said, "path": headers[":path"], "method": headers[":method"]}).encode()
        self.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/json")])
        self.h2.send_data(stream, body, end_stream=True)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Speaker, "127.0.0.1", int(os.environ["PORT"]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
