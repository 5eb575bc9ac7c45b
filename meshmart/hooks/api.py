"""The few requests to the Kubernetes API that hooks make: Secrets of their own namespace.

By the standard library: a hook is over in a second, and loads no client of tens of megabytes.
"""

import base64
import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Where the kubelet puts a pod's token, namespace and the API's CA.
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT = 10.0


class ApiError(Exception):
    """A request failed; the message is one line. `status` is 0 where nobody answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Secrets:
    """The Secrets of a namespace.

    Args:
        url: `https://10.0.0.1:443`.
        namespace: Whose.
        token: Bearer.
        context: Trusts the API's CA.
    """

    url: str
    namespace: str
    token: str
    context: ssl.SSLContext | None

    @classmethod
    def of_this_pod(cls, environ: Mapping[str, str] = os.environ, account: Path = ACCOUNT) -> "Secrets":
        """Raises ApiError outside of a cluster."""
        try:
            host, port = environ["KUBERNETES_SERVICE_HOST"], environ["KUBERNETES_SERVICE_PORT"]
            token = (account / "token").read_text().strip()
            namespace = (account / "namespace").read_text().strip()
            context = ssl.create_default_context(cafile=str(account / "ca.crt"))
        except (KeyError, OSError) as e:
            raise ApiError(0, f"this is no pod with a service account: {e}") from e
        host = f"[{host}]" if ":" in host else host
        return cls(f"https://{host}:{port}", namespace, token, context)

    def read(self, name: str) -> dict[str, bytes] | None:
        """Its data; None where there is no such Secret."""
        try:
            secret = self._request("GET", f"/{name}")
        except ApiError as e:
            if e.status == 404:
                return None
            raise
        return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}

    def write(self, name: str, data: Mapping[str, bytes], labels: Mapping[str, str]) -> None:
        """Creates it, or replaces its data in one step."""
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": dict(labels)},
            "type": "kubernetes.io/tls",
            "data": encoded,
        }
        try:
            self._request("POST", "", secret)
        except ApiError as e:
            if e.status != 409:
                raise
            self._request("PATCH", f"/{name}", {"data": encoded, "metadata": {"labels": dict(labels)}})

    def names(self, selector: str) -> list[str]:
        """Of those that a label selector selects."""
        found = self._request("GET", f"?labelSelector={urllib.parse.quote(selector)}")
        return [item["metadata"]["name"] for item in found.get("items") or []]

    def delete(self, name: str) -> None:
        """One that is gone already is no error."""
        try:
            self._request("DELETE", f"/{name}")
        except ApiError as e:
            if e.status != 404:
                raise

    def _request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            f"{self.url}/api/v1/namespaces/{self.namespace}/secrets{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": kind},
        )
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=self.context))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as e:
            raise ApiError(e.code, f"{method} secrets{path}: {e.code} {_reason(e)}") from e
        except (OSError, ValueError) as e:
            raise ApiError(0, f"{method} secrets{path}: {e}") from e


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(error.reason)
