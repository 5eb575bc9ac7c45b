"""Compare grpcio versions: CPU per bare call, and handlers that abandoned streams leave running.

    python bench/grpcio_versions.py cost 1.78.2 1.85.1 "1.85.1 GRPC_EXPERIMENTS=-event_engine_client"
    python bench/grpcio_versions.py leaks 1.78.2 1.85.1

Each argument names a grpcio version, optionally followed by environment variables for both processes.
The versions live in virtual environments under --venvs; missing ones are created with pip. The interpreter
that runs this file needs `cryptography`.

`cost` runs a server process and a client process per version, in turns and in a random order each round.
Both use grpc.aio on uvloop, and the client calls a unary echo (100 bytes, 8 in flight) and a server stream.
CPU is user plus system time of the process (all its threads) over the measured calls, warm-up excluded.

`leaks` opens server streams, abandons them in several ways, and asks the server, a few seconds later and
on a connection of its own, how many handlers still run: `cancel` calls cancel(), `task` cancels the task
that reads, `deadline` lets the deadline pass, `drop` and `break` drop the last reference of the call, `close`
closes the channel while the call objects are held, `close-drop` drops them after it, `kill` sends SIGKILL
to the client, and `freeze` SIGSTOP, which only the keepalive of the server can notice.

All traffic is loopback. Every loop is bounded.
"""

import argparse
import contextlib
import datetime
import ipaddress
import json
import os
import random
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from grpcio_peers import ABANDONED, LEAK_WAIT, SHAPES, WAYS

#: No measuring process may run longer than this, in seconds.
PROCESS_LIMIT = 120.0
PEERS = Path(__file__).with_name("grpcio_peers.py")


class Variant:
    """A grpcio version with environment variables, as one command line argument names it."""

    def __init__(self, name: str, venvs: Path) -> None:
        words = shlex.split(name)
        self.name, self.version = name, words[0]
        self.environ = dict(word.split("=", 1) for word in words[1:])
        self.python = venvs / self.version / "bin" / "python"

    def install(self) -> None:
        """Create the virtual environment if it is missing."""
        if self.python.exists():
            return
        subprocess.run([sys.executable, "-m", "venv", self.python.parent.parent], check=True)
        options = ("-q", "--only-binary", ":all:", f"grpcio=={self.version}", "uvloop")
        subprocess.run([str(self.python), "-m", "pip", "install", *options], check=True)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start the measuring process with the arguments under this version."""
        return subprocess.Popen(
            [self.python, PEERS, *arguments],
            env={**os.environ, **self.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextlib.contextmanager
    def server(self, tls: str, *arguments: str) -> Iterator[str]:
        """Run a server, and yield its port."""
        process = self.start("serve", tls, *arguments)
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            try:
                process.communicate("", timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def client(self, *arguments: str) -> str:
        """Run a client to its end, and return what it printed."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=PROCESS_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        if process.returncode not in (0, -signal.SIGKILL):
            sys.stderr.write(err)
        return out


def make_certificates(directory: Path) -> None:
    """Write a CA, and a certificate of a server and of a client that it signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench CA")])
    for who in ("ca", "server", "client"):
        key = ca_key if who == "ca" else ec.generate_private_key(ec.SECP256R1())
        names = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.UniformResourceIdentifier(f"spiffe://bench/{who}"),
        ]
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"bench {who}")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(ca_name if who == "ca" else subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=who == "ca", path_length=None), critical=True)
        )
        if who != "ca":
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(ca_key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        (directory / f"{who}.pem").write_bytes(certificate.public_bytes(pem))
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (directory / f"{who}.key").write_bytes(private)


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def cost(variants: list[Variant], options: argparse.Namespace, tls: str) -> None:
    """Measure all variants in turns, and print medians and quartiles relative to the last variant."""
    mode = "mtls" if tls else "plain"
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(options.rounds):
        figures: dict[str, dict[str, float]] = {}
        for variant in random.sample(variants, len(variants)):
            with variant.server(tls) as port:
                out = variant.client("measure", port, tls, str(options.calls))
            if not out:
                print(f"round {number}: {variant.name} failed", file=sys.stderr)
                continue
            figures[variant.name] = json.loads(out)
            if options.raw:
                line = {"mode": mode, "round": number, "variant": variant.name, **figures[variant.name]}
                with options.raw.open("a") as raw:
                    raw.write(json.dumps(line) + "\n")
        rounds.append(figures)
    base = variants[-1].name
    for kind in ("unary", "stream"):
        print(f"\n{kind}, {mode}, {options.rounds} rounds; us of CPU; ratio to {base}: median (quartiles)")
        for variant in variants:
            values: dict[str, list[float]] = defaultdict(list)
            ratios: list[float] = []
            for figures in rounds:
                mine, theirs = figures.get(variant.name), figures.get(base)
                if mine is None or theirs is None:
                    continue
                for key, value in mine.items():
                    values[key].append(value)
                ratios.append(mine[f"{kind}.both"] / theirs[f"{kind}.both"])
            if not ratios:
                continue
            low, middle, high = quartiles(ratios)
            client, server, both, p50 = (
                statistics.median(values[f"{kind}.{k}"]) for k in ("client", "server", "both", "p50")
            )
            print(
                f"{variant.name:40} client {client:6.1f} server {server:6.1f} both {both:6.1f} "
                f"p50 {p50:7.0f}  {middle:.2f} ({low:.2f}-{high:.2f})",
                flush=True,
            )


def leaks(variants: list[Variant], options: argparse.Namespace, tls: str) -> None:
    """Print, by variant, shape and way, how many of ABANDONED handlers still run."""
    mode = "mtls" if tls else "plain"
    for variant in variants:
        for shape in options.shapes:
            left = []
            for way in options.ways:
                with variant.server(tls, "keepalive") as port:
                    client = variant.start("abandon", port, tls, shape, way)
                    if way not in ("kill", "freeze"):
                        assert client.stdout is not None
                        client.stdout.readline()
                    time.sleep(LEAK_WAIT)
                    out = variant.client("count", port, tls)
                    alive = client.poll() is None
                    client.kill()
                    _, err = client.communicate()
                    counted = json.loads(out)[shape] if out else "?"
                    if alive == (way == "kill"):
                        counted = "failed"
                        sys.stderr.write(err)
                left.append(f"{way} {counted}")
            print(f"{variant.name:30} {mode:5} {shape:5} of {ABANDONED}: {', '.join(left)}", flush=True)


def main() -> None:
    """Parse the command line and run one comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("comparison", choices=("cost", "leaks"))
    parser.add_argument("variants", nargs="+", help="VERSION [NAME=VALUE ...], quoted; the last is the base")
    parser.add_argument("--venvs", type=Path, default=Path(tempfile.gettempdir()) / "grpcio-versions")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--calls", type=int, default=4000, help="unary calls in a round")
    parser.add_argument("--modes", nargs="+", choices=("plain", "mtls"), default=["plain", "mtls"])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--raw", type=Path, help="append each measurement to this file as a JSON line")
    options = parser.parse_args()
    variants = [Variant(name, options.venvs) for name in options.variants]
    for variant in variants:
        variant.install()
    with tempfile.TemporaryDirectory(prefix="grpcio-versions-") as directory:
        make_certificates(Path(directory))
        for mode in options.modes:
            compare = cost if options.comparison == "cost" else leaks
            compare(variants, options, directory if mode == "mtls" else "")


if __name__ == "__main__":
    main()
