"""Servers in threads of their own that fail as told: of files over HTTP, and before another one."""

import http.client
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

FAILURES = ("500", "503", "close", "reset", "short", "stall", "429")


@dataclass
class Faults:
    """What a server does wrong: every so many requests, one failure after the other.

    Attributes
    ----------
    every : int
        0: nothing fails; 1: everything does.
    kinds : tuple of str
        A status, "close", "reset", "short" or "stall".
    stall : float
        Seconds.
    first : int
        Requests before the first that may fail.
    """

    every: int = 0
    kinds: tuple[str, ...] = FAILURES
    stall: float = 3.0
    first: int = 0
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    def next(self, method: str, path: str, headers: dict[str, str]) -> str | None:
        with self.lock:
            self.requests.append((method, path, headers))
            count = len(self.requests) - self.first
            if not self.every or count <= 0 or count % self.every:
                return None
            kind = self.kinds[len(self.failed) % len(self.kinds)]
            self.failed.append(kind)
            return kind


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: ClassVar[Faults]
    timeout = 30
    disable_nagle_algorithm = True  # header and body are two writes

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        kind = self.faults.next(self.command, self.path, dict(self.headers.items()))
        if kind is None:
            self.answer(body)
        elif kind == "stall":
            time.sleep(self.faults.stall)
            self.close_connection = True
        elif kind in ("close", "reset") or (kind == "short" and self.command == "HEAD"):
            if kind == "reset":
                once = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, once)
            self.close_connection = True
            self.connection.close()
        elif kind == "short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
            self.close_connection = True
        else:
            self.reply(int(kind), b"<html>secret page of the server</html>")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any  # noqa: N815

    def answer(self, body: bytes) -> None:
        raise NotImplementedError

    def reply(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):  # the other side has gone, or we closed it ourselves
            self.close_connection = True

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(handler: type[_Handler], faults: Faults) -> Iterator[str]:
    """Run a server; yield its address, ``http://127.0.0.1:PORT``."""
    kind = type("Handler", (handler,), {"faults": faults})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def file_server(
    folder: Path,
    faults: Faults | None = None,
    *,
    ranges: bool = True,
    tags: bool = True,
    authorization: str = "",
    query: str = "",
    missing: int = 404,
    pages: bool = False,
    heads: bool = True,
    lengths: bool = True,
) -> Iterator[str]:
    """Serve the files of a folder, as different kinds of servers do.

    Parameters
    ----------
    ranges, tags, heads, lengths : bool
        Whether it sends parts, says ETags, answers to HEAD, and says how many bytes come.
    authorization, query : str
        What has to come with each request; else it is 401 or 403.
    missing : int
        What it answers where there is no file.
    pages : bool
        Whether it answers with a page and 200 there.
    """

    class Files(_Handler):
        def answer(self, body: bytes) -> None:
            split = urlsplit(self.path)
            if authorization and self.headers.get("authorization") != authorization:
                return self.reply(401, b"<html>no</html>")
            if query and split.query != query:
                return self.reply(403, b"<html>no</html>")
            if self.command not in ("GET", "HEAD")[: 1 + heads]:
                return self.reply(405, b"")
            file = folder / unquote(split.path).lstrip("/")
            if not file.is_file():
                return self.reply(200 if pages else missing, b"<!DOCTYPE html><p>welcome")
            return self._send(file.read_bytes(), file)

        def _send(self, data: bytes, file: Path) -> None:
            if not lengths:
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
                return None
            more = {"ETag": f'"{file.stat().st_mtime_ns:x}-{len(data):x}"'} if tags else {}
            wanted = self.headers.get("range") if ranges else None
            if wanted is None:
                return self.reply(200, data, **more)
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start = int(first) if first else max(len(data) - int(last), 0)
            stop = min(int(last) + 1, len(data)) if first and last else len(data)
            place = f"bytes {start}-{stop - 1}/{len(data)}"
            return self.reply(206, data[start:stop], Content_Range=place, **more)

    with serving(Files, faults or Faults()) as url:
        yield url


@contextmanager
def proxy(upstream: str, faults: Faults) -> Iterator[str]:
    """Pass requests on to another server, but for those that fail."""
    host = urlsplit(upstream).netloc

    class Proxy(_Handler):
        def answer(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(host, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name != "Connection"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            drop = ("content-length", "transfer-encoding", "connection", "date", "server")
            more = {k: v for k, v in answer.getheaders() if k.lower() not in drop}
            if self.command == "HEAD":
                more["Content-Length"] = answer.getheader("content-length") or "0"
            self.reply(answer.status, data, **more)

    with serving(Proxy, faults) as url:
        yield url


@contextmanager
def fake_gcs(faults: Faults | None = None) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Answer as Google's storage does, as far as objects are written, read, listed and removed.

    Yields
    ------
    str
        For $STORAGE_EMULATOR_HOST.
    dict
        The objects by ``BUCKET/KEY``.
    """
    objects: dict[str, bytes] = {}

    class Bucket(_Handler):
        def answer(self, body: bytes) -> None:
            split = urlsplit(self.path)
            key = unquote(split.path).lstrip("/")
            asked = {name: values[0] for name, values in parse_qs(split.query).items()}
            if "list-type" in asked:
                return self._list(key, asked)
            if self.command == "PUT":
                objects[key] = body
                return self.reply(200, b"", ETag=f'"{len(body)}"')
            if key not in objects:
                return self.reply(404, b"<Error/>")
            if self.command == "DELETE":
                del objects[key]
                return self.reply(204, b"")
            data = objects[key]
            more = {"ETag": f'"{zlib.crc32(data):x}"', "Last-Modified": formatdate(0, usegmt=True)}
            return self.reply(200, data, **more)

        def _list(self, bucket: str, asked: dict[str, str]) -> None:
            last = asked.get("start-after") or asked.get("continuation-token") or ""
            prefix = f"{bucket}/{asked.get('prefix', '')}"
            names = [key.partition("/")[2] for key in sorted(objects) if key.startswith(prefix)]
            names = [name for name in names if name > last]
            shown = "".join(
                f"<Contents><Key>{escape(name)}</Key><Size>{len(objects[f'{bucket}/{name}'])}</Size>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>1</ETag></Contents>"
                for name in names[:2]
            )  # two on a page
            if names[2:]:
                shown += f"<NextContinuationToken>{escape(names[1])}</NextContinuationToken>"
            self.reply(200, f"<ListBucketResult>{shown}</ListBucketResult>".encode())

    with serving(Bucket, faults or Faults()) as url:
        yield url, objects
