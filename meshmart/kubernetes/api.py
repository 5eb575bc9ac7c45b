"""A client of the Kubernetes API, with objects as JSON.

The official client handles kubeconfigs, tokens and TLS. Its thousand generated models take seconds to import
and are not used: only single fields of well-known objects are read here.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self

import aiohttp

from local.errors import ClusterError, NoAnswerError

_TIMEOUT = 15.0
#: Seconds between two heartbeats on an exec's connection, which breaks if one is not answered within half of
#: that: an API server may be that slow (`_TIMEOUT`).
_HEARTBEAT = 2 * _TIMEOUT
#: The most bytes of a log that are read.
MAX_LOG = 256 * 1024
#: The API path of each kind of object.
_GROUPS = {
    "pods": "/api/v1",
    "services": "/api/v1",
    "deployments": "/apis/apps/v1",
    "horizontalpodautoscalers": "/apis/autoscaling/v2",
    "certificates": "/apis/cert-manager.io/v1",
}
Object = Mapping[str, Any]
"""An object as the API returns it."""


class ApiError(ClusterError):
    """The API refused a request; `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Api:
    """One namespace of a Kubernetes cluster.

    Every method raises NoAnswerError if the API does not answer, and ApiError if it refuses.

    Args:
        configuration: The official client's configuration.
        namespace: The namespace.
    """

    def __init__(self, configuration: Any, namespace: str) -> None:
        from kubernetes.aio.client.api_client import ApiClient

        self.namespace = namespace
        self._configuration = configuration
        self._client = ApiClient(configuration)

    @classmethod
    async def of_context(cls, context: str, namespace: str) -> Self:
        """Connect with a context of the kubeconfig ($KUBECONFIG, or ~/.kube/config).

        Raises:
            ClusterError: there is no such context.
        """
        from kubernetes.aio.client.configuration import Configuration
        from kubernetes.aio.config import ConfigException, load_kube_config

        configuration = Configuration()
        try:
            await load_kube_config(context=context, client_configuration=configuration, persist_config=False)
        except (ConfigException, OSError) as e:
            raise ClusterError(f"the kubeconfig's context {context!r} cannot be used: {e}") from None
        return cls(configuration, namespace)

    @classmethod
    def in_pod(cls, namespace: str) -> Self:
        """Connect with the ServiceAccount of the pod in which this runs.

        Raises:
            ClusterError: it does not run in a pod, or the pod has no token.
        """
        from kubernetes.aio.client.configuration import Configuration
        from kubernetes.aio.config import ConfigException, load_incluster_config

        configuration = Configuration()
        try:
            load_incluster_config(client_configuration=configuration)
        except ConfigException as e:
            raise ClusterError(f"this is no pod with a token for the Kubernetes API: {e}") from None
        return cls(configuration, namespace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def get(self, kind: str, name: str) -> Object:
        """Return one object."""
        return await self._request("GET", self._path(kind, name))

    async def list(self, kind: str, selector: str = "") -> list[Object]:
        """Return the objects of the namespace whose labels match."""
        query = [("labelSelector", selector)] if selector else []
        found: list[Object] = (await self._request("GET", self._path(kind), query))["items"]
        return found

    async def snapshot(self, kind: str, selector: str) -> tuple[Sequence[Object], str]:
        """Return the objects whose labels match, and the version of the list, from which `watch` goes on."""
        found = await self._request("GET", self._path(kind), [("labelSelector", selector)])
        return found["items"], str(found["metadata"]["resourceVersion"])

    async def watch(self, kind: str, selector: str, version: str, seconds: int) -> AsyncIterator[Object]:
        """Yield each change (`type`, `object`) from a version on, until the server ends the watch.

        Close it with `contextlib.aclosing`, which closes the connection.

        Args:
            kind: The kind of objects.
            selector: A label selector.
            version: The resourceVersion after which changes are wanted.
            seconds: When the server ends the watch. If it does not, the client does, a little later.
        """
        query = [
            ("labelSelector", selector),
            ("resourceVersion", version),
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(seconds)),
        ]
        method, url, headers, *_ = await self._serialized(self._client, "GET", self._path(kind), query)
        limit = aiohttp.ClientTimeout(total=seconds + _TIMEOUT)
        try:
            opened = await self._client.call_api(method, url, headers, _request_timeout=limit)
            async with opened.response as response:
                if response.status != 200:
                    raise ApiError(response.status, refusal(response.status, await response.read()))
                async for line in response.content:
                    yield json.loads(line)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as e:
            raise self._silent(e) from None

    async def log(self, pod: str, container: str, lines: int) -> str:
        """Return the last lines of a container's log, as many of them as fit into `MAX_LOG` bytes.

        The log of a container that has restarted begins with the restart.
        """
        path = self._path("pods", pod, "log")
        while True:
            query = [("container", container), ("tailLines", str(lines)), ("limitBytes", str(MAX_LOG))]
            text = await self._answer("GET", path, query)
            if len(text) < MAX_LOG or lines == 1:
                return text[:MAX_LOG].decode(errors="replace")
            # The kubelet ends the answer at the limit, so the newest lines are missing: ask for fewer.
            lines = max(1, lines // 4)

    async def patch(self, kind: str, name: str, body: Object, part: str = "") -> Object:
        """Merge `body` into an object, or into a part of it such as `scale` or `status`.

        Return the object.
        """
        return await self._request("PATCH", self._path(kind, name, part), body=body)

    async def delete(self, kind: str, name: str, grace: int) -> None:
        """Delete an object. It is no error if there is none.

        Args:
            grace: Seconds that a pod has to end; with 0 it is gone at once.
        """
        try:
            await self._request("DELETE", self._path(kind, name), body={"gracePeriodSeconds": grace})
        except ApiError as e:
            if e.code != 404:
                raise

    @contextlib.asynccontextmanager
    async def exec(
        self, pod: str, container: str, command: Sequence[str]
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Run a command in a pod, with standard input, output and error on one WebSocket.

        The first byte of each binary message is the channel (0, 1, 2; 3 is the Status at the end).
        """
        from kubernetes.aio.stream import WsApiClient

        flags = [(name, "true") for name in ("stdin", "stdout", "stderr")]
        query = [("container", container), *flags, *(("command", word) for word in command)]
        client = WsApiClient(self._configuration, heartbeat=_HEARTBEAT)
        try:
            method, url, headers, *_ = await self._serialized(
                client, "GET", self._path("pods", pod, "exec"), query
            )
            opening = await client.request(method, url, headers=headers, _preload_content=False)
            async with opening as socket:
                yield socket
        except aiohttp.WSServerHandshakeError as e:
            raise ApiError(e.status, f"exec into pod {pod}: {e.status} {e.message}") from None
        except (aiohttp.ClientError, OSError) as e:
            raise self._silent(e) from None
        finally:
            await client.close()

    def _path(self, kind: str, name: str = "", part: str = "") -> str:
        parts = [_GROUPS[kind], "namespaces", self.namespace, kind, name, part]
        return "/".join(p for p in parts if p)

    async def _request(
        self, method: str, path: str, query: Sequence[tuple[str, str]] = (), body: Object | None = None
    ) -> Object:
        told: Object = json.loads(await self._answer(method, path, query, body))
        return told

    async def _answer(
        self, method: str, path: str, query: Sequence[tuple[str, str]] = (), body: Object | None = None
    ) -> bytes:
        try:
            async with asyncio.timeout(_TIMEOUT):
                method, url, headers, body, _ = await self._serialized(
                    self._client, method, path, query, body
                )
                response = await self._client.call_api(method, url, headers, body)
                text: bytes = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as e:
            raise self._silent(e) from None
        if not 200 <= response.status < 300:
            raise ApiError(response.status, refusal(response.status, text))
        return text

    async def _serialized(
        self,
        client: Any,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        body: Object | None = None,
    ) -> Any:
        headers = {"Accept": "*/*"}  # an exec refuses a request for JSON; all else is JSON anyway
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        return await client.param_serialize(
            method,
            path,
            query_params=list(query),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )

    def _silent(self, error: Exception) -> NoAnswerError:
        what = str(error) or type(error).__name__
        return NoAnswerError(f"the Kubernetes API at {self._configuration.host} does not answer: {what}")


def refusal(status: int, text: bytes) -> str:
    """Return one line for an error response: the message of its Status object."""
    try:
        message = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        message = text.decode(errors="replace").strip() or "no reason given"
    return f"Kubernetes refuses ({status}): {message}"
