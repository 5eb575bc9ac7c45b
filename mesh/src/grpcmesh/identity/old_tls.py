"""Makes sure that no connection uses a TLS version below 1.3 where grpcio does not tell the version.

Before grpcio 1.85 the authentication context of a call has no TLS version, so a server cannot refuse the
call, and only the handshake can refuse. `grpcmesh.grpc_environment` leaves gRPC no cipher suite of TLS 1.2,
but gRPC reads that once, when it is imported. If it was imported first, the variable may have been set too
late. Then a server of this process is asked for TLS 1.2.
"""

import contextlib
import functools
import os
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc

from grpcmesh import grpc_environment
from grpcmesh.grpc_environment import CIPHER_SUITES, TLS13_ONLY
from grpcmesh.identity.problems import IdentityError

#: Whether the authentication context of a call holds the TLS version (grpc's #43425).
VERSION_IS_TOLD: Final = tuple(map(int, grpc.__version__.split(".")[:2])) >= (1, 85)
#: Seconds for one handshake of this process with itself.
_PATIENCE = 10.0


def require_tls13() -> None:
    """Make sure that no connection of this process, as client or as server, can use a TLS version below 1.3.

    Does nothing with grpcio 1.85 and newer: there a server refuses the calls.

    Raises:
        IdentityError: A connection might. The message says what to do.
    """
    if VERSION_IS_TOLD:
        return
    suites = os.environ.get(CIPHER_SUITES)
    if suites is not None and not _harmless(suites):
        raise IdentityError(
            f"{CIPHER_SUITES}={suites} would allow TLS 1.2: unset it, or set it to {TLS13_ONLY}"
        )
    if suites is None or (grpc_environment.imported_first and not _refused()):
        raise IdentityError(
            "gRPC was imported before grpcmesh, and would take TLS 1.2: import grpcmesh first, or start the "
            f"process with {CIPHER_SUITES}={TLS13_ONLY} in its environment"
        )


def _harmless(suites: str) -> bool:
    """Return whether TLS 1.2 cannot be negotiated with any of these: each needs a pre-shared key."""
    return all("-PSK-" in suite for suite in suites.split(":"))


@functools.cache
def _refused() -> bool:
    """Return whether a server of this process has refused a client of TLS 1.2."""
    with _server() as port, socket.create_connection(("127.0.0.1", port), _PATIENCE) as connection:
        try:
            with _client().wrap_socket(connection):
                return False
        except (ssl.SSLEOFError, ConnectionError):
            return True  # gRPC closes without an alert; any other error says nothing of the version
        except OSError:
            return False


@contextlib.contextmanager
def _server() -> Iterator[int]:
    from grpcmesh.ca import CertificateAuthority  # few programs get here

    leaf = CertificateAuthority().issue("self")
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        credentials = grpc.ssl_server_credentials([(leaf.tls_key, leaf.tls_crt)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


def _client() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context
