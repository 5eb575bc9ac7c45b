"""The few requests to the Kubernetes API that hooks make, in their own namespace.

It uses the standard library: a hook ends within a second, and should not load a client of tens of megabytes.
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

#: The directory with a pod's token, namespace and the API's CA, written by the kubelet.
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT = 10.0
#: The API path of each kind of object.
_GROUPS = {"secrets": "/api/v1", "pods": "/api/v1", "jobs": "/apis/batch/v1"}
#: Annotations with which an uninstall, or an upgrade to a release without it, keeps the object.
KEPT = {"helm.sh/resource-policy": "keep"}


class ApiError(Exception):
    """A request failed. The message is one line. `status` is 0 if nobody answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Namespace:
    """The objects of a namespace.

    Args:
        url: The API's URL, such as `https://10.0.0.1:443`.
        namespace: The namespace.
        token: The bearer token.
        context: Trusts the API's CA.
    """

    url: str
    namespace: str
    token: str
    context: ssl.SSLContext | None

    @classmethod
    def of_this_pod(cls, environ: Mapping[str, str] = os.environ, account: Path = ACCOUNT) -> "Namespace":
        """Return the namespace of this pod. Raises ApiError outside of a cluster."""
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
        """Return the data of a Secret, or None if there is no such Secret."""
        try:
            secret = self._request("GET", "secrets", name)
        except ApiError as e:
            if e.status == 404:
                return None
            raise
        return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}

    def write(self, name: str, data: Mapping[str, bytes], labels: Mapping[str, str]) -> None:
        """Create a Secret with a certificate, or replace its data in one request."""
        if not self._create(name, data, labels, {}, "kubernetes.io/tls"):
            changed = {"data": _encoded(data), "metadata": {"labels": dict(labels)}}
            self._request("PATCH", "secrets", name, body=changed)

    def create_kept(self, name: str, data: Mapping[str, bytes], labels: Mapping[str, str]) -> bool:
        """Create a Secret that outlives its release.

        An existing one keeps its data, and is kept from now on.

        Returns:
            Whether it was created.
        """
        if self._create(name, data, labels, KEPT, "Opaque"):
            return True
        self._request("PATCH", "secrets", name, body={"metadata": {"annotations": KEPT}})
        return False

    def names(self, selector: str, kind: str = "secrets") -> list[str]:
        """Return the names of the objects that a label selector selects."""
        found = self._request("GET", kind, query={"labelSelector": selector})
        return [item["metadata"]["name"] for item in found.get("items") or []]

    def delete(self, name: str, kind: str = "secrets") -> None:
        """Delete an object and what it owns. It is no error if it is gone already."""
        try:
            self._request("DELETE", kind, name, query={"propagationPolicy": "Background"})
        except ApiError as e:
            if e.status != 404:
                raise

    def _create(
        self,
        name: str,
        data: Mapping[str, bytes],
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        kind: str,
    ) -> bool:
        """Create a Secret. Return False if it exists."""
        metadata = {"name": name, "labels": dict(labels), "annotations": dict(annotations)}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind}
        try:
            self._request("POST", "secrets", body={**secret, "data": _encoded(data)})
        except ApiError as e:
            if e.status != 409:
                raise
            return False
        return True

    def _request(
        self,
        method: str,
        kind: str,
        name: str = "",
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> dict[str, Any]:
        path = "/".join(p for p in (_GROUPS[kind], "namespaces", self.namespace, kind, name) if p)
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            f"{self.url}{path}?{urllib.parse.urlencode(query or {})}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": content},
        )
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=self.context))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as e:
            raise ApiError(e.code, f"{method} {kind}/{name}: {e.code} {_reason(e)}") from e
        except (OSError, ValueError) as e:
            raise ApiError(0, f"{method} {kind}/{name}: {e}") from e


def _encoded(data: Mapping[str, bytes]) -> dict[str, str]:
    return {key: base64.b64encode(value).decode() for key, value in data.items()}


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(error.reason)
