"""Retry throttling (gRFC A6): no retries and hedges while too many calls fail."""

from grpcmesh.service_config import RetryThrottling


class Throttle:
    """A bucket of tokens: a failure takes one, a success gives a share of one back.

    Args:
        config: Size of the bucket, and the share.
    """

    def __init__(self, config: RetryThrottling) -> None:
        self._config = config
        self.tokens = float(config.max_tokens)

    @property
    def open(self) -> bool:
        """Return whether retries are allowed: the bucket is more than half full."""
        return self.tokens > self._config.max_tokens / 2

    def succeeded(self) -> None:
        """An attempt was answered well."""
        self.tokens = min(float(self._config.max_tokens), self.tokens + self._config.token_ratio)

    def failed(self) -> None:
        """An attempt failed with a code that may be retried, or its server asked not to try again."""
        self.tokens = max(0.0, self.tokens - 1)
