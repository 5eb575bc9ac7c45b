"""Proves that an identity is usable, by a TLS 1.3 handshake of the process with itself, in memory.

OpenSSL verifies what gRPC's BoringSSL, a fork of it, verifies: purposes, name and policy constraints,
critical extensions. The validity period is checked by `grpcmesh.identity.trust`, which takes the time as an
argument.
"""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from grpcmesh.identity.leaf import Role

#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python does not name.
_NO_CHECK_TIME = 0x200000
_FLAGS = (
    ssl.VerifyFlags(_NO_CHECK_TIME)
    | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # a bundle may hold an intermediate alone, as for gRPC
    | ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
)
#: The most rounds of a handshake. TLS 1.3 needs three.
_MAX_ROUNDS = 8


def prove(cert_chain: bytes, private_key: bytes, ca: bytes, roles: frozenset[Role]) -> str:
    """Make a handshake in memory, in which each end verifies the other with this bundle.

    Args:
        cert_chain: The leaf and intermediates, in PEM.
        private_key: The key of the leaf, in PEM.
        ca: The trust bundle, in PEM.
        roles: The roles in which the certificate is verified.

    Returns:
        Why the handshake failed, or an empty string.
    """
    try:
        client = _context(ssl.PROTOCOL_TLS_CLIENT, cert_chain, private_key, ca, Role.SERVER in roles)
        server = _context(ssl.PROTOCOL_TLS_SERVER, cert_chain, private_key, ca, Role.CLIENT in roles)
        return _shake(client, server)
    except ssl.SSLError as e:
        return _reason(e)
    except OSError:
        return ""  # this system has no anonymous files: says nothing of the certificate


def client_context(cert_chain: bytes, private_key: bytes, ca: bytes) -> ssl.SSLContext:
    """Return a context that connects with this identity, and verifies the server's chain, validity and name.

    Args:
        cert_chain, private_key, ca: See `prove`.

    Raises:
        OSError: They cannot be loaded. `ssl.SSLError` is one.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, cert_chain, private_key, ca, verify=True)
    context.verify_flags = ssl.VerifyFlags(context.verify_flags & ~_NO_CHECK_TIME)
    context.check_hostname = True
    context.set_alpn_protocols(["h2"])
    return context


def _context(protocol: int, cert_chain: bytes, private_key: bytes, ca: bytes, verify: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # names are looked at before, by the rules of gRPC
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    # A distribution's level may refuse what gRPC takes; sizes and hashes are looked at before.
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    context.verify_flags |= _FLAGS
    context.load_verify_locations(cadata=ca.decode("ascii", errors="ignore"))
    with _file(cert_chain) as certificate, _file(private_key) as key:
        context.load_cert_chain(certificate, key)
    return context


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    """Yield a path with this content, because `ssl` loads keys only from files. It is unnamed on any disk."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("mesh", os.MFD_CLOEXEC)
    else:  # macOS: an unnamed file
        with tempfile.TemporaryFile() as unnamed:
            descriptor = os.dup(unnamed.fileno())
    try:
        with os.fdopen(os.dup(descriptor), "wb") as writer:
            writer.write(content)
            writer.flush()
            writer.seek(0)
        yield f"/dev/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _shake(client: ssl.SSLContext, server: ssl.SSLContext) -> str:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(_MAX_ROUNDS):
        ends = [end for end in ends if not _step(end)]
        if not ends:
            return ""
    return "the handshake did not end"


def _step(end: ssl.SSLObject) -> bool:
    """Continue the handshake of one end. Return whether it has finished."""
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or str(error)).lower().replace("_", " ")
