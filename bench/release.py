"""Measures a whole release on Kubernetes: seconds from `helm install` to an order, and memory at rest.

    python bench/release.py [--context NAME] [--namespace meshmart] [--rest 120] [-- HELM INSTALL'S OPTIONS]

It installs the chart (the name `meshmart` must be free in the namespace), and tries to order each half second
until an order is confirmed, so the images should be on the nodes already. Then it leaves the release idle for
--rest seconds, and reads from the kubelets the working set of each pod's containers, to which their limits
apply. The release stays. It needs helm, kubectl, and rights to read `nodes/proxy`.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_CHART = Path(__file__).parents[1] / "helm/meshmart"
_ORDER = """
import os, sys
from meshmart.smoke import main
os.environ.update(SMOKE_USER="alice", SMOKE_PASSWORD="alice-password")
sys.exit(main(["order"]))
"""


def install(options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start `helm install`, and return its process."""
    place = ["--kube-context", options.context] if options.context else []
    command = ["helm", "install", "meshmart", str(_CHART), "--namespace", options.namespace, *place]
    command += ["--values", str(_CHART / "demo.yaml")]
    return subprocess.Popen(
        [*command, "--wait", "--timeout", "10m", *options.helm], stdout=subprocess.DEVNULL
    )


def kubectl(options: argparse.Namespace, *arguments: str) -> list[str]:
    """Return the kubectl command line, with context and namespace."""
    place = ["--context", options.context] if options.context else []
    return ["kubectl", *place, "--namespace", options.namespace, *arguments]


def order(options: argparse.Namespace, helm: subprocess.Popen[bytes]) -> None:
    """Wait until the toolbox has had an order confirmed. Exits if the installation fails first."""
    command = kubectl(options, "exec", "deploy/client", "--", "python", "-c", _ORDER)
    while subprocess.run(command, capture_output=True, check=False, timeout=60).returncode:
        if helm.poll():
            sys.exit(f"helm exited {helm.returncode}")
        time.sleep(0.5)


def memory(options: argparse.Namespace) -> dict[str, list[float]]:
    """Return the MiB of each running pod of the namespace, by app.kubernetes.io/name."""
    selector = ["--selector", "app.kubernetes.io/instance=meshmart", "--output", "json"]
    listed = subprocess.check_output(kubectl(options, "get", "pods", *selector))
    running = [pod for pod in json.loads(listed)["items"] if pod["status"]["phase"] == "Running"]
    charged: dict[str, float] = {}
    for node in {pod["spec"]["nodeName"] for pod in running}:
        raw = subprocess.check_output(
            kubectl(options, "get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary")
        )
        charged |= {pod["podRef"]["uid"]: _working_set(pod) for pod in json.loads(raw)["pods"]}
    found = defaultdict(list)
    for pod in running:
        meta = pod["metadata"]
        found[meta["labels"]["app.kubernetes.io/name"]].append(charged[meta["uid"]])
    return found


def _working_set(pod: dict[str, Any]) -> float:
    used: int = sum(each["memory"]["workingSetBytes"] for each in pod.get("containers", []))
    return used / 2**20


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Parse the options; everything after `--` is for Helm."""
    own, helm = list(given), []
    if "--" in own:
        at = own.index("--")
        own, helm = own[:at], own[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--context", help="kubeconfig context; default: the current one")
    parser.add_argument("--namespace", default="meshmart")
    parser.add_argument("--rest", type=float, default=120, metavar="SECONDS")
    return argparse.Namespace(**vars(parser.parse_args(own)), helm=helm)


def main() -> None:
    """Measure and print."""
    options = arguments(sys.argv[1:])
    started = time.monotonic()
    with install(options) as helm:
        order(options, helm)
        print(f"first order confirmed after {time.monotonic() - started:.1f} s", flush=True)
    if helm.returncode:
        sys.exit(f"helm exited {helm.returncode}")
    print(f"helm install --wait returned after {time.monotonic() - started:.1f} s", flush=True)
    time.sleep(options.rest)
    found = memory(options)
    for name, pods in sorted(found.items()):
        print(f"{name:<14}{len(pods):>3} pods {max(pods):>6.0f} MiB the largest")
    whole = [each for pods in found.values() for each in pods]
    print(f"{'all':<14}{len(whole):>3} pods {sum(whole):>6.0f} MiB")


if __name__ == "__main__":
    main()
