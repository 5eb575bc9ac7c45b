"""The timeout of an attempt, as it goes over the wire."""


def quantized(seconds: float) -> int:
    """Return a timeout in milliseconds that gRPC's header tells exactly, not above `seconds`.

    The header has a precision of its own (src/core/call/metadata_batch.cc, Timeout): the server would take
    what it is rounded up by for less time spent queueing.
    """
    milliseconds = int(seconds * 1000)
    if milliseconds < 1000:
        return milliseconds
    grain = 10 if milliseconds < 10_000 else 100 if milliseconds < 100_000 else 1000
    return milliseconds - milliseconds % grain
