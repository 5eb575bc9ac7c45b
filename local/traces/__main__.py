"""`python -m local.traces --otlp HOST:PORT --http HOST:PORT`: the trace store as a process of its own."""

import argparse
import asyncio
import signal
import sys

from local.traces.server import TraceServer
from local.traces.store import TraceStore


async def serve(otlp: str, http: str, max_traces: int) -> None:
    """Run until SIGTERM or SIGINT. Prints the ports on standard output."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    async with TraceServer(otlp, http, TraceStore(max_traces)) as server:
        sys.stdout.write(f"traces: otlp port {server.otlp_port}, http port {server.http_port}\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> int:
    """Parses the command line and serves; exit status 1 when a port is taken."""
    parser = argparse.ArgumentParser(prog="python -m local.traces", description=__doc__)
    parser.add_argument(
        "--otlp", default="127.0.0.1:4317", help="address that receives spans (OTLP over gRPC)"
    )
    parser.add_argument("--http", default="127.0.0.1:16686", help="address that serves the web page")
    parser.add_argument("--max-traces", type=int, default=5000, help="most traces to keep in memory")
    args = parser.parse_args()
    try:
        asyncio.run(serve(args.otlp, args.http, args.max_traces))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
