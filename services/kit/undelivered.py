"""Maps gRPC errors to the errors of the outbox's relay."""

import grpc

from services.kit.relay import Refused, Undelivered


def undelivered(error: grpc.aio.AioRpcError) -> Undelivered:
    """Return the relay's error for a call that failed.

    It is `Refused` only for INVALID_ARGUMENT, the one code that does not depend on the state of the system. A
    call that a policy denies, for example, may be allowed once the policy is fixed.
    """
    refused = error.code() is grpc.StatusCode.INVALID_ARGUMENT
    return (Refused if refused else Undelivered)(f"{error.code().name}: {error.details()}")
