"""ClickHouse's HTTP interface over chDB, in a process of its own: what the engine for servers is tested against.

    python tests/contract/telemetry/shim.py FOLDER

Prints its port. It is as real as it gets here: the statements, formats, settings, parameters and errors are those of
the engine itself; the transport (compression, the place of settings and errors) is what clickhouse-connect expects of
a server. It cannot show replication, users, or a server of another version.
"""

from __future__ import annotations

import re
import sys
import tempfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb.session

SESSION: Any = chdb.session.Session
NOT_SETTINGS = {
    "query", "database", "default_format", "session_id", "query_id", "wait_end_of_query", "compress", "enable_http_compression",
    "client_protocol_version", "send_progress_in_http_headers", "http_headers_progress_interval_ms", "buffer_size", "role",
}  # fmt: skip
INSERT = re.compile(r"^\s*INSERT\s.*?(?P<format>\s+FORMAT\s+\w+)\s*$", re.IGNORECASE | re.DOTALL)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = ""

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/ping":
            self._answer(200, b"Ok.\n")
            return
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) if not self._chunked() else self._chunks()
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = inflated(body, self.headers.get("Content-Encoding", ""))
        kind, _, boundary = self.headers.get("Content-Type", "").partition("; boundary=")
        if kind == "multipart/form-data":
            given |= form(body, boundary.encode())
            body = b""
        if "query" in given:
            sql, data = given["query"], body
        else:
            head, _, rest = body.partition(b"\n") if body.lstrip()[:6].upper() == b"INSERT" else (body, b"", b"")
            sql, data = head.decode(), rest
        try:
            self._answer(200, run(self.folder, sql, data, given))
        except Exception as error:  # noqa: BLE001 - whatever it says is the answer
            text = str(error)
            code = re.search(r"Code: (\d+)", text)
            self._answer(500, text.encode(), {"X-ClickHouse-Exception-Code": code[1] if code else "0"})

    def _chunked(self) -> bool:
        return "chunked" in self.headers.get("Transfer-Encoding", "")

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-ClickHouse-Summary", '{"read_rows":"0","written_rows":"0"}')
        self.send_header("X-ClickHouse-Timezone", "UTC")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def form(body: bytes, boundary: bytes) -> dict[str, str]:
    """The fields of a form: how clickhouse-connect sends parameters that are long."""
    fields = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        if name := re.search(rb'name="([^"]*)"', head):
            fields[name[1].decode()] = value.removesuffix(b"\r\n").decode()
    return fields


def inflated(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return zlib.decompress(body, 31)
    if encoding == "zstd":
        import zstandard

        return zstandard.decompress(body)
    if encoding == "lz4":
        import lz4.frame

        return bytes(lz4.frame.decompress(body))
    return body


def run(folder: str, sql: str, data: bytes, given: dict[str, str]) -> bytes:
    session = SESSION(folder)
    try:
        if database := given.get("database"):
            session.query(f"USE {database}")
        settings = {k: v for k, v in given.items() if k not in NOT_SETTINGS and not k.startswith("param_")}
        for name in sorted(settings, key=lambda name: name == "readonly"):
            quoted = settings[name].replace("\\", "\\\\").replace("'", "\\'")
            session.query(f"SET {name} = '{quoted}'")
        parameters = {k.removeprefix("param_"): v for k, v in given.items() if k.startswith("param_")}
        shape = given.get("default_format", "TabSeparated")
        if data and (found := INSERT.match(sql)):
            with tempfile.NamedTemporaryFile() as file:
                file.write(data)
                file.flush()
                cut = sql[: found.start("format")] + f" FROM INFILE '{file.name}'" + found["format"]
                return bytes(session.query(cut, shape, params=parameters).bytes())
        if data:
            sql += "\n" + data.decode()
        return bytes(session.query(sql, shape, params=parameters).bytes())
    finally:
        session.close()


def main() -> None:
    folder = sys.argv[1]
    keeper = SESSION(folder)
    Handler.folder = folder
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
    keeper.close()


if __name__ == "__main__":
    main()
