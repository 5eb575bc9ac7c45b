"""What installing the library costs: packages, their size, import time, memory of hello world.

    nice .venv/bin/python bench/size.py [--rounds 15] [--wheel FILE]

Builds the wheel of mesh/, installs it into an empty virtual environment, and measures there, in turns with
bare grpc.aio of the same environment. Prints the tables of mesh/docs/size.md. Import times are CPU time,
without that of an interpreter that imports nothing: other work on the machine changes it least.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
HELLO = ROOT / "mesh" / "examples" / "hello"
PORT = 50059
#: Seconds for which a server may start, and a program may run.
LIMIT = 120

#: Prints name, version and installed bytes of each package, as JSON.
PACKAGES = """
import importlib.metadata as m, json, pathlib
def size(d):
    files = {pathlib.Path(d.locate_file(f)) for f in d.files or ()}
    return sum(f.stat().st_size for f in files if f.is_file() and "__pycache__" not in f.parts)
own = ("pip", "setuptools")  # of an empty environment
print(json.dumps([(d.name, d.version, size(d)) for d in m.distributions() if d.name not in own]))
"""
#: What is imported, by name. The stub is that of examples/hello.
IMPORTS = {
    "nothing": "pass",
    "`import grpc.aio`": "import grpc.aio",
    "`import grpc.aio`, and a stub": "import grpc.aio, hello_pb2_grpc",
    "`from grpcmesh import Mesh`": "from grpcmesh import Mesh",
    "`from grpcmesh import Mesh`, and a stub": "from grpcmesh import Mesh; import hello_pb2_grpc",
}
BARE_SERVER = f"""
import asyncio, grpc
from hello_pb2 import HelloReply
from hello_pb2_grpc import GreeterServicer, add_GreeterServicer_to_server
class Greeter(GreeterServicer):
    async def SayHello(self, request, context):
        return HelloReply(message=f"Hello, {{request.name}}!")
async def main():
    server = grpc.aio.server()
    add_GreeterServicer_to_server(Greeter(), server)
    server.add_insecure_port("127.0.0.1:{PORT}")
    await server.start()
    await server.wait_for_termination()
asyncio.run(main())
"""
BARE_CLIENT = f"""
import asyncio, grpc
from hello_pb2 import HelloRequest
from hello_pb2_grpc import GreeterStub
async def main():
    async with grpc.aio.insecure_channel("127.0.0.1:{PORT}") as channel:
        greeter = GreeterStub(channel)
        reply = await greeter.SayHello(HelloRequest(name="mesh"), wait_for_ready=True, timeout={LIMIT})
    print(reply.message)
asyncio.run(main())
"""


def build(directory: Path) -> Path:
    """Build the wheel from a copy, because a build leaves files behind."""
    subprocess.run(["cp", "-r", str(ROOT / "mesh"), str(directory / "mesh")], check=True)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-w", str(directory), str(directory / "mesh")], check=True)
    return next(directory.glob("grpcmesh-*.whl"))


def install(wheel: Path, directory: Path) -> Path:
    """Install the wheel into an empty environment. Return its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    python = directory / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", str(wheel)], check=True
    )
    return python


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print("|", " | ".join(head), "|\n|" + "---|" * len(head))
    for row in rows:
        print("|", " | ".join(map(str, row)), "|")
    print()


def packages(python: Path, wheel: Path) -> None:
    listed = json.loads(subprocess.check_output([python, "-I", "-c", PACKAGES]))
    rows = [
        (name, version, f"{size / 1e6:.1f}") for name, version, size in sorted(listed, key=lambda p: -p[2])
    ]
    total = sum(size for *_, size in listed) / 1e6
    bare = sum(size for name, _, size in listed if name in ("grpcio", "protobuf", "typing_extensions")) / 1e6
    table(["package", "version", "MB installed"], rows)
    print(f"{len(rows)} packages, {total:.1f} MB; grpcio and protobuf alone: {bare:.1f} MB.")
    print(f"The wheel itself has {wheel.stat().st_size / 1e6:.2f} MB.\n")


def cpu(python: Path, program: str) -> float:
    """Return the seconds of CPU time that a program takes."""
    pid = os.posix_spawn(str(python), [str(python), "-c", program], _environment())
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, program
    return usage.ru_utime + usage.ru_stime


def imports(python: Path, rounds: int) -> None:
    times: dict[str, list[float]] = defaultdict(list)
    for program in IMPORTS.values():
        cpu(python, program)  # compiles
    for _ in range(rounds):
        taken = {name: cpu(python, program) for name, program in IMPORTS.items()}
        for name, seconds in taken.items():
            times[name].append(seconds - taken["nothing"])
    bare = times["`import grpc.aio`, and a stub"]
    rows = []
    for name in list(IMPORTS)[1:]:
        ratios = sorted(own / other for own, other in zip(times[name], bare, strict=True))
        rows.append((name, f"{statistics.median(times[name]) * 1e3:.0f}", spread(ratios)))
    table(["", "ms of CPU", "ratio to grpc.aio and a stub"], rows)


def spread(values: Sequence[float]) -> str:
    """Return the median, and the range without the outer tenths."""
    low, *_, high = statistics.quantiles(values, n=10)
    return f"{statistics.median(values):.2f} ({low:.2f} to {high:.2f})"


def _environment(**more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MESH_", "OTEL_", "PYTHON"))}
    return clean | {"PYTHONPATH": str(HELLO), "PYTHONUNBUFFERED": "1", **more}


def modes(
    python: Path, directory: Path
) -> Mapping[str, tuple[list[str], list[str], dict[str, str], dict[str, str]]]:
    """Return the commands of the server and the client, and their environments, by name."""
    subprocess.run(
        [python, "-m", "grpcmesh", "ca", str(directory), "greeter", "caller"],
        check=True, env=_environment(), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    plain = {"MESH_PLAINTEXT": "true"}
    policy = {"MESH_AUTHZ_POLICY_FILE": str(HELLO / "policy.toml")}
    greeter, caller = ({"MESH_IDENTITY_DIRECTORY": str(directory / name)} for name in ("greeter", "caller"))
    own = [str(HELLO / "server.py")], [str(HELLO / "client.py")]
    return {
        "grpc.aio, plaintext": (["-c", BARE_SERVER], ["-c", BARE_CLIENT], {}, {}),
        "grpcmesh, plaintext": (*own, plain, plain),
        "grpcmesh, mutual TLS": (*own, {**greeter, **policy}, caller),
    }


@contextlib.contextmanager
def served(command: Sequence[str], environ: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def hello(python: Path, client: Sequence[str], environ: Mapping[str, str]) -> float:
    """Say hello. Return the MB that the client had in memory at most."""
    end = time.monotonic() + LIMIT
    while True:  # the server may still be starting
        process = subprocess.Popen(
            [python, *client], env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        said = process.stdout.read()
        _, _, usage = os.wait4(process.pid, 0)
        if said == b"Hello, mesh!\n":
            return usage.ru_maxrss / 1e3
        assert time.monotonic() < end, "the server does not answer"


def resident(pid: int) -> float:
    """Return the MB that a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1e3


def memory(python: Path, directory: Path, rounds: int) -> None:
    servers: dict[str, list[float]] = defaultdict(list)
    clients: dict[str, list[float]] = defaultdict(list)
    shared = {
        "MESH_TARGETS": f"greeter=static:///127.0.0.1:{PORT}",
        "MESH_ADDRESS": f"127.0.0.1:{PORT}",
        "MESH_HEALTH_ADDRESS": "127.0.0.1:0",
        "MESH_ADMIN_ADDRESS": "",
    }
    for _ in range(rounds):
        for name, (server, client, own, other) in modes(python, directory).items():
            with served([str(python), *server], _environment(**shared, **own)) as process:
                hello(python, client, _environment(**shared, **other))
                clients[name].append(hello(python, client, _environment(**shared, **other)))
                servers[name].append(resident(process.pid))
    rows = [
        (name, f"{statistics.median(servers[name]):.1f}", f"{statistics.median(clients[name]):.1f}")
        for name in servers
    ]
    table(["hello world", "server, MB resident", "client, MB at most"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--wheel", type=Path, help="a wheel that is built already")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        wheel = arguments.wheel or build(directory)
        python = install(wheel, directory / "venv")
        packages(python, wheel)
        imports(python, arguments.rounds)
        memory(python, directory / "certs", max(1, arguments.rounds // 3))


if __name__ == "__main__":
    main()
