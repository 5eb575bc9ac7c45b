"""Ports and loopback addresses that no other test process uses."""

import random
import socket

#: Below the ephemeral range of Linux (from 32768): the kernel gives them to no connection by chance.
_PORTS = range(10_000, 30_000)
#: Second octets for clusters of tests. Those below are for the demo and for clusters with one of their own.
_OCTETS = range(100, 250)
#: Not the module's own generator: Hypothesis seeds that alike in every process.
_RANDOM = random.SystemRandom()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free and stays so until a program listens on it."""
    while True:
        port = _RANDOM.choice(_PORTS)
        with socket.socket() as tcp:
            try:
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            if _claimed("127.0.0.1", port):
                return port


def loopback_prefix() -> str:
    """Return the first two octets of a cluster's addresses (MESHMART_LOOPBACK): others each time."""
    prefixes = [f"127.{octet}" for octet in _OCTETS]
    _RANDOM.shuffle(prefixes)
    return next(prefix for prefix in prefixes if _claimed(f"{prefix}.255.254", _PORTS.start))


def _claimed(host: str, port: int) -> bool:
    """Take a UDP port for as long as this process runs; False if another test process has it."""
    with socket.socket(type=socket.SOCK_DGRAM) as claim:
        try:
            claim.bind((host, port))
        except OSError:
            return False
        claim.detach()  # open until the process ends
        return True
