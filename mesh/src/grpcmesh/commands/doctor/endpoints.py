"""Examines one endpoint: its port, then a TLS handshake, then what its gRPC server answers."""

import asyncio
import contextlib
import ssl

from grpcmesh.commands.doctor.answers import Asker, Caller
from grpcmesh.commands.doctor.facts import Answers, Endpoint, Handshake
from grpcmesh.identity import Material, ServerIdentity, explain
from grpcmesh.identity.leaf import listed, uris
from grpcmesh.identity.material import certificates
from grpcmesh.identity.problems import Cause, Problem
from grpcmesh.identity.proof import client_context
from grpcmesh.resolver import Address
from grpcmesh.spiffe import matches

#: The start of a connection of HTTP/2: the preface and empty settings (RFC 9113, 3.4). A server answers with
#: its own.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


async def examine(address: Address, caller: Caller, asker: Asker) -> Endpoint:
    """Return the facts about an endpoint. Takes a few seconds at most."""
    closed, own_host = await _connect(address, caller.step)
    if closed:
        return Endpoint(str(address), closed)
    if caller.config.plaintext:
        return Endpoint(str(address), answers=await asker.ask(address, caller, own_host))
    if caller.files is None:
        return Endpoint(str(address))
    handshake = await _shake(address, caller.files, caller.expected, caller.step)
    answers: Answers | None = None
    if handshake is not None and handshake.cause is None and not handshake.refused:
        answers = await asker.ask(address, caller, own_host)
    return Endpoint(str(address), "", handshake, answers)


async def _connect(address: Address, timeout: float) -> tuple[str, str]:
    """Return why the port cannot be connected to, or empty; and our own IP address on the connection."""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except ConnectionRefusedError:
        return "refuses connections: nothing listens there", ""
    except TimeoutError:
        return f"does not answer within {timeout:g} s", ""
    except OSError as e:
        return f"cannot be connected to: {e.strerror or e}", ""
    own: str = writer.get_extra_info("sockname")[0]
    writer.transport.abort()
    return "", own


async def _shake(
    address: Address, files: Material, expected: ServerIdentity, timeout: float
) -> Handshake | None:
    """Make a handshake. Return None if our own files are not good enough to try."""
    try:
        context = client_context(files.cert_chain, files.private_key, files.bundle_for(expected.domain))
    except (OSError, ValueError):
        return None
    try:
        async with asyncio.timeout(timeout):
            return await _shaken(address, context, expected)
    except ssl.SSLError as e:
        return _explained(e, expected)
    except TimeoutError:
        return Handshake(Cause.HANDSHAKE, f"the handshake does not end within {timeout:g} s")
    except OSError as e:
        return Handshake(Cause.HANDSHAKE, f"the server ended the handshake ({type(e).__name__})")


async def _shaken(address: Address, context: ssl.SSLContext, expected: ServerIdentity) -> Handshake:
    reader, writer = await asyncio.open_connection(
        address.host, address.port, ssl=context, server_hostname=expected.dns_name
    )
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        found = certificates("the server's certificate", ssl.DER_cert_to_PEM_cert(shown).encode())
        if isinstance(found, Problem):
            return Handshake(found.cause, str(found))
        ids = uris(found[0])
        if expected.spiffe_id and not (len(ids) == 1 and matches(expected.spiffe_id, ids[0])):
            text = f"the server is {listed(ids) or 'nobody by SPIFFE id'}, not {expected.spiffe_id}"
            return Handshake(Cause.WRONG_WORKLOAD, text)
        return Handshake(refused=not await _is_accepted(reader, writer))
    finally:
        writer.transport.abort()


async def _is_accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Return whether the server goes on. With TLS 1.3, it judges our certificate after our handshake."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        writer.write(_PREFACE)
        return bool(await reader.read(1))
    return False


def _explained(error: ssl.SSLError, expected: ServerIdentity) -> Handshake:
    text = str(error)
    if "Hostname mismatch" in text:
        return Handshake(Cause.DNS_NAME, f"the server's certificate has no DNS name {expected.dns_name}")
    cause, told = explain(text) or (Cause.HANDSHAKE, error.reason or "the handshake failed")
    return Handshake(cause, told)
