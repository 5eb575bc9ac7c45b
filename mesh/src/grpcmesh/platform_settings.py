"""Settings that the platform gives a process: the namespace of its pod, and the SPIFFE Workload API."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grpcmesh.environ import ConfigError

#: The namespace of a process that nothing else gives one. Kubernetes has the same default.
DEFAULT_NAMESPACE = "default"
#: The variable by which SPIFFE names the socket of the Workload API
#: (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_Endpoint.md, 4).
ENDPOINT_SOCKET = "SPIFFE_ENDPOINT_SOCKET"
#: Where the kubelet writes the namespace of a pod that has a service account token
#: (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/), and the variable that it sets in
#: every pod. Without the variable, the file is not looked at.
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
IN_POD = "KUBERNETES_SERVICE_HOST"
#: The most characters of a namespace (RFC 1123).
_LONGEST = 63


def of_platform(
    environ: Mapping[str, str], table: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Mapping[str, tuple[str, str]]:
    """Return the value and the source of each setting that the platform gives, by its variable.

    Args:
        environ: The variables of the process. They override the platform, as the next two do.
        table: The settings of the file.
        defaults: The program's own defaults.

    Raises:
        ConfigError: The file with the pod's namespace cannot be read.
    """
    found = {}
    named = "MESH_NAMESPACE" in environ or "namespace" in table or "namespace" in defaults
    if not named and (name := _pod_namespace(environ)):
        found["MESH_NAMESPACE"] = name, str(NAMESPACE_FILE)
    if socket := _workload_api(environ, table):
        found["MESH_IDENTITY_ENDPOINT_SOCKET"] = socket, ENDPOINT_SOCKET
    return found


def _pod_namespace(environ: Mapping[str, str]) -> str:
    """Return the namespace of this process's pod; empty outside a pod, and in one without the file."""
    if IN_POD not in environ:
        return ""
    try:
        with NAMESPACE_FILE.open("rb") as file:
            return file.read(_LONGEST + 2).decode("ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeError) as e:
        reason = getattr(e, "strerror", None) or "is no text"
        raise ConfigError([f"MESH_NAMESPACE: set it, because {NAMESPACE_FILE} gives none: {reason}"]) from e


def _workload_api(environ: Mapping[str, str], table: Mapping[str, Any]) -> str:
    """Return the socket of the SPIFFE Workload API if the platform names one, and no setting overrides it.

    A process in plaintext mode gets it in any case, so that it is refused: it was meant to have an identity.
    """
    socket, identity = environ.get(ENDPOINT_SOCKET, ""), table.get("identity", {})
    own, directory = "MESH_IDENTITY_ENDPOINT_SOCKET", "MESH_IDENTITY_DIRECTORY"
    in_file = isinstance(identity, Mapping) and identity.keys() & {"endpoint_socket", "directory"}
    plaintext = "MESH_PLAINTEXT" in environ or "plaintext" in table
    if own in environ or ((directory in environ or in_file) and not plaintext):
        return ""
    return socket
