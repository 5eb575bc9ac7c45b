"""The timeout of an attempt as it is sent to the server."""


def quantized(seconds: float) -> int:
    """Return a timeout in milliseconds that gRPC's header holds exactly, and that is at most `seconds`.

    C-core rounds a timeout up to the header's precision (src/core/call/metadata_batch.cc, Timeout). The
    server, which computes queueing time from it, would underestimate that by as much.
    """
    milliseconds = int(seconds * 1000)
    if milliseconds < 1000:
        return milliseconds
    grain = 10 if milliseconds < 10_000 else 100 if milliseconds < 100_000 else 1000
    return milliseconds - milliseconds % grain
