"""Variables that gRPC reads once, when it is imported. Importing this module sets them, if it is in time.

`GRPC_SSL_CIPHER_SUITES` is the only way from Python to TLS 1.3: it names the suites of TLS 1.2, and those of
TLS 1.3 stay whatever it says. It holds for the whole process, also for channels that are none of the mesh.
What the environment says already is left alone.
"""

import os
import sys
from collections.abc import MutableMapping
from typing import Final

CIPHER_SUITES: Final = "GRPC_SSL_CIPHER_SUITES"
#: A suite that needs a pre-shared key, which nobody here has: no TLS below 1.3 can be negotiated.
TLS13_ONLY: Final = "ECDHE-PSK-CHACHA20-POLY1305"


def prepare(environ: MutableMapping[str, str], imported: bool) -> bool:
    """Ask for TLS 1.3 only.

    Args:
        environ: Of the process.
        imported: Whether gRPC has been imported: then it has read its variables.

    Returns:
        Whether handshakes with an older TLS fail in this process. Otherwise a server refuses the calls.
    """
    if not imported:
        environ.setdefault(CIPHER_SUITES, TLS13_ONLY)
    return environ.get(CIPHER_SUITES) == TLS13_ONLY


#: Whether it holds for this process.
tls13_only: Final = prepare(os.environ, "grpc._cython.cygrpc" in sys.modules)
