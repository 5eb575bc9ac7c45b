"""Ports for programs that are told where to listen."""

import random
import socket

#: Below the ephemeral range of Linux (from 32768): the kernel gives them to no connection by chance.
_PORTS = range(10_000, 30_000)


def address() -> str:
    """Return where a server can listen that is stopped and started again: on a `free_port`."""
    return f"127.0.0.1:{free_port()}"


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free, and stays so while nobody listens on it.

    Other test processes leave it alone: until this one ends, it holds the UDP port of the same number.
    """
    while True:
        # Not the module's own generator: Hypothesis seeds that alike in every process.
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as claim:
            try:
                tcp.bind(("127.0.0.1", port))
                claim.bind(("127.0.0.1", port))
            except OSError:
                continue
            claim.detach()  # open until the process ends
            return port
