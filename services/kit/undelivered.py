"""What a failed delivery of the outbox means."""

import grpc

from services.kit.relay import Refused, Undelivered


def undelivered(error: grpc.aio.AioRpcError) -> Undelivered:
    """The relay's error of a call that failed.

    `Refused` for INVALID_ARGUMENT only: of all codes the one that means "whatever the state of the system".
    What a policy denies, for one, may be allowed once that is mended.
    """
    refused = error.code() is grpc.StatusCode.INVALID_ARGUMENT
    return (Refused if refused else Undelivered)(f"{error.code().name}: {error.details()}")
