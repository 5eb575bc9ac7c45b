"""Finds the cluster that a verb works on."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from local.events import Report
from meshmart.cluster import Cluster
from meshmart.errors import CommandError

VARIABLE = "MESHMART_CLUSTER"
"""The variable that names the kind of cluster: `embedded` (the default) or, in the toolbox's pod,
`kubernetes`.
"""


def _quiet(_: str) -> None:
    return


@contextlib.asynccontextmanager
async def running(state_dir: Path, report: Report = _quiet, watching: bool = False) -> AsyncIterator[Cluster]:
    """Yield the embedded cluster of a state directory, or the Kubernetes cluster of this pod.

    Args:
        state_dir: The state directory, such as `.meshmart`. Ignored on Kubernetes.
        report: Called with each line of progress.
        watching: Whether `status` is called several times a second. On Kubernetes the API is then watched.

    Raises:
        CommandError: MESHMART_CLUSTER names neither.
        ClusterError: the cluster cannot be reached.
    """
    match os.environ.get(VARIABLE, "embedded"):
        case "embedded":
            from meshmart.embedded import EmbeddedCluster

            async with EmbeddedCluster(state_dir, report) as embedded:
                yield embedded
        case "kubernetes":
            from meshmart.kubernetes.cluster import KubernetesCluster

            async with KubernetesCluster.of_this_pod(report, watching) as cluster:
                yield cluster
        case other:
            raise CommandError(f"{VARIABLE} is {other!r}: must be embedded or kubernetes")
