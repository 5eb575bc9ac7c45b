"""Retry throttling (gRFC A6): stops retries and hedges while too many calls fail."""

from grpcmesh.service_config import RetryThrottling


class Throttle:
    """A token bucket. A failure takes one token, and a success returns a part of one.

    Args:
        config: Size of the bucket, and the tokens that a success returns.
    """

    def __init__(self, config: RetryThrottling) -> None:
        self._config = config
        self.tokens = float(config.max_tokens)

    @property
    def open(self) -> bool:
        """Return whether retries are allowed: the bucket is more than half full."""
        return self.tokens > self._config.max_tokens / 2

    def succeeded(self) -> None:
        """Note that an attempt succeeded."""
        self.tokens = min(float(self._config.max_tokens), self.tokens + self._config.token_ratio)

    def failed(self) -> None:
        """Note that an attempt failed with a retryable code, or that its server asked not to retry."""
        self.tokens = max(0.0, self.tokens - 1)
