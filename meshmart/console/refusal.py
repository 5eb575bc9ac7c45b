"""The error with which the console refuses a request, and its answer."""

import math

from starlette.responses import JSONResponse


class RefusedError(Exception):
    """The console refuses a request.

    Args:
        status: The HTTP status.
        message: One line for the person at the page.
        retry_after: Seconds after which it makes sense to try again; 0 if that is not known.
    """

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after

    def response(self) -> JSONResponse:
        """Return the answer, with the message as `error`."""
        headers = {"retry-after": str(math.ceil(self.retry_after))} if self.retry_after else {}
        return JSONResponse({"error": str(self)}, self.status, headers)
