"""Sets environment variables that gRPC reads once, at import. `import grpcmesh` has to come before it.

`GRPC_SSL_CIPHER_SUITES` is the only way to require TLS 1.3 from Python. It restricts the suites of TLS 1.2;
those of TLS 1.3 are always available. It applies to the whole process, also to channels outside the mesh.

`GRPC_ENABLE_FORK_SUPPORT=0` disables grpc's fork handlers. uvloop starts subprocesses with `fork`, and grpc's
handlers then corrupt TLS connections of the parent: of 1,000 calls that each started a subprocess, 151
failed.

`GRPC_EXPERIMENTS=-event_engine_poller_for_python` lets the thread that waits for I/O do it, as up to grpcio
1.78, where threads otherwise hand it to each other: a call costs about an eighth less CPU (bench/grpcio.md).
It is set on grpcio 1.82 only, since newer versions do not know it. `GRPC_EXPERIMENTS=` (empty) leaves it out.

Variables that are set already are not changed.
"""

import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from importlib import metadata
from typing import Final, NoReturn

FORK_SUPPORT: Final = "GRPC_ENABLE_FORK_SUPPORT"
#: The values that grpc reads as true.
_TRUE = frozenset({"1", "t", "true", "y", "yes", "on"})
CIPHER_SUITES: Final = "GRPC_SSL_CIPHER_SUITES"
#: A TLS 1.2 suite that needs a pre-shared key. As no key is set, no TLS version below 1.3 can be negotiated.
TLS13_ONLY: Final = "ECDHE-PSK-CHACHA20-POLY1305"
EXPERIMENTS: Final = "GRPC_EXPERIMENTS"
OWN_POLLER: Final = "-event_engine_poller_for_python"
#: The beginnings of the versions, of those that this library takes, that know `OWN_POLLER`.
_WITH_OWN_POLLER = ("1.82.",)


def prepare(environ: MutableMapping[str, str], imported: bool, version: str) -> bool:
    """Set the variables for TLS 1.3 only, no fork handlers and cheap I/O, unless gRPC has been imported.

    Args:
        environ: The environment of the process.
        imported: Whether gRPC has been imported, and so has read its variables.
        version: The version of grpcio, or "" if it is not known.

    Returns:
        Whether handshakes with an older TLS version fail in this process. Otherwise servers refuse the calls,
        or, if grpcio does not tell them the version, no identity is loaded (`identity.old_tls`).
    """
    if not imported:
        environ.setdefault(CIPHER_SUITES, TLS13_ONLY)
        environ.setdefault(FORK_SUPPORT, "0")
        if version.startswith(_WITH_OWN_POLLER):
            environ.setdefault(EXPERIMENTS, OWN_POLLER)
    return environ.get(CIPHER_SUITES) == TLS13_ONLY


def fork_handlers_wanted(environ: Mapping[str, str]) -> bool:
    """Return whether the environment enables grpc's fork handlers."""
    return environ.get(FORK_SUPPORT, "").lower() in _TRUE


def restart_if_too_late(environ: MutableMapping[str, str]) -> str | None:
    """Make sure, at the start of a program, that grpc has no fork handlers and was asked for TLS 1.3 only.

    If gRPC was imported before this module, the program is executed again in the same process, with the
    variables set. Only imports run twice.

    Args:
        environ: `os.environ`.

    Returns:
        Why this is not possible; None if all is well.
    """
    if fork_handlers_wanted(environ):
        return f"{FORK_SUPPORT}={environ[FORK_SUPPORT]}: a subprocess would corrupt TLS connections; unset it"
    if FORK_SUPPORT in environ and CIPHER_SUITES in environ:
        return None
    import multiprocessing  # only programs of `run` need it

    again = sys.orig_argv[1:]
    if again[:1] in ([], ["-"]) or multiprocessing.parent_process() is not None:
        wanted = f"{FORK_SUPPORT}=0 and {CIPHER_SUITES}={TLS13_ONLY}"
        return f"grpc was imported before grpcmesh; set {wanted} in the environment"
    prepare(environ, imported=False, version=_grpcio())
    return _restart(again, environ)


def _grpcio() -> str:
    """Return the version of grpcio without importing it, or "" if its metadata is missing."""
    try:
        return metadata.version("grpcio")
    except metadata.PackageNotFoundError:
        return ""


def _restart(arguments: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *arguments], dict(environ))


#: Whether gRPC had read the environment before this module could change it.
imported_first: Final = "grpc._cython.cygrpc" in sys.modules
#: Whether handshakes with TLS versions below 1.3 fail in this process.
tls13_only: Final = prepare(os.environ, imported_first, _grpcio())
