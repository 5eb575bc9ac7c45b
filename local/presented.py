"""Finds out by a handshake which certificate a replica presents."""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

from cryptography import x509

_TIMEOUT = 2.0


async def presented_serial(host: str, port: int, name: str, directory: Path) -> int | None:
    """Return the serial number of the server's certificate; None if the handshake fails.

    Args:
        host: The replica's address.
        port: Its mesh port.
        name: The DNS name that the certificate must carry.
        directory: The directory of the caller's own certificate.
    """
    context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    except (OSError, TimeoutError):  # ssl.SSLError is an OSError
        return None
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(der).serial_number
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_TIMEOUT):
                await writer.wait_closed()
