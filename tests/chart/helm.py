"""Runs Helm, and reads what it renders."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "meshmart"
NAMESPACE = "shop"
RELEASE = "spring"
#: For `--kube-version` and the schemas: the oldest that is supported, and a newer one.
VERSIONS = ("1.30.0", "1.36.0")

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Helm:
    """One Helm."""

    major: int
    binary: str

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([self.binary, *arguments], capture_output=True, text=True, timeout=60)

    @functools.cache  # noqa: B019 - one Helm a session
    def render(self, *settings: str, version: str = VERSIONS[-1]) -> "Rendered":
        """The objects of `helm template`.

        Args:
            settings: As for `--set-json`: `tls.mode="generated"`.
            version: Of Kubernetes.

        Raises:
            AssertionError: with Helm's message.
        """
        done = self.template(*settings, version=version)
        assert done.returncode == 0, done.stderr
        return Rendered(done.stdout)

    def template(
        self, *settings: str, version: str = VERSIONS[-1], namespace: str = NAMESPACE
    ) -> "subprocess.CompletedProcess[str]":
        flags = [flag for setting in settings for flag in ("--set-json", setting)]
        where = ["--namespace", namespace, "--kube-version", version]
        return self.run("template", RELEASE, str(CHART), *where, *flags)


class Rendered:
    """Objects, by kind and name."""

    def __init__(self, text: str) -> None:
        self.text = text
        # The C parser: the pure one takes ten times as long.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.objects: list[Manifest] = [o for o in yaml.load_all(text, loader) if o]

    def of(self, kind: str) -> dict[str, Manifest]:
        """By name."""
        return {o["metadata"]["name"]: o for o in self.objects if o["kind"] == kind}

    def pods(self) -> Iterator[tuple[str, Manifest]]:
        """`Deployment/product` and the pod's `metadata` and `spec`, for everything that makes pods."""
        for o in self.objects:
            template = _pod_of(o)
            if template is not None:
                yield f"{o['kind']}/{o['metadata']['name']}", template

    def services(self) -> dict[str, Manifest]:
        """The Deployments of the shop's services."""
        return {
            name: o
            for name, o in self.of("Deployment").items()
            if o["metadata"]["labels"]["app.kubernetes.io/component"] in ("service", "web", "load")
        }


def _pod_of(o: Manifest) -> Manifest | None:
    match o["kind"]:
        case "Pod":
            return o
        case "Deployment" | "StatefulSet" | "Job" | "DaemonSet":
            return dict(o["spec"]["template"])
        case "CronJob":
            return dict(o["spec"]["jobTemplate"]["spec"]["template"])
    return None


def containers(pod: Manifest) -> list[Manifest]:
    """All of a pod's."""
    spec = pod["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"], *spec.get("ephemeralContainers", ())]


def environment(container: Manifest) -> dict[str, str]:
    """The variables of a container that have a plain value."""
    return {e["name"]: e["value"] for e in container.get("env", ()) if "value" in e}


def find(environ: Mapping[str, str] = os.environ) -> dict[int, str]:
    """The installed Helms by major version: HELM3 and HELM4, else `helm` and `helm4` in the PATH."""
    named = [environ.get("HELM3"), environ.get("HELM4"), "helm", "helm3", "helm4"]
    found: dict[int, str] = {}
    for binary in filter(None, map(shutil.which, filter(None, named))):
        found.setdefault(_major(binary), binary)
    return found


@functools.cache
def _major(binary: str) -> int:
    told = subprocess.run(
        [binary, "version", "--template", "{{.Version}}"], capture_output=True, text=True, timeout=60
    )
    return int(told.stdout.strip().removeprefix("v").split(".")[0] or 0)
