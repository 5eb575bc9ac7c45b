"""Renews cert-manager's Certificates, as `cmctl renew` does. The first half is pure."""

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509

from local.errors import ClusterError
from local.events import Report
from local.tasks import until
from local.words import plural
from meshmart import scrape
from meshmart.kubernetes import objects
from meshmart.kubernetes.api import Api, ApiError, Object
from meshmart.kubernetes.conflicts import repeated

#: Timeouts in seconds: for cert-manager to issue; for the kubelets to project the Secrets and the processes
#: to load them (about a minute if nothing prompts them).
_ISSUE_TIMEOUT, _PROJECT_TIMEOUT = 90.0, 150.0
_POLL = 0.5
_PROMPT = "meshmart.io/certificates-renewed-at"


def leaves(certificates: Sequence[Object]) -> list[Object]:
    """Return the workloads' Certificates: all but the authorities'."""
    return [c for c in certificates if not c["spec"].get("isCA")]


def revision(certificate: Object) -> int:
    """Return the number of times that a Certificate was issued."""
    return int(certificate.get("status", {}).get("revision", 0))


def issuing(certificate: Object, now: datetime.datetime) -> dict[str, Any]:
    """Return a patch of a Certificate's status that makes cert-manager renew it.

    It carries the version that was read, so that a change by somebody else is not overwritten.
    """
    asked = {
        "type": "Issuing",
        "status": "True",
        "reason": "ManuallyTriggered",
        "message": "Certificate re-issuance manually triggered by meshmart",
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "observedGeneration": certificate["metadata"]["generation"],
    }
    others = [c for c in certificate.get("status", {}).get("conditions") or () if c["type"] != "Issuing"]
    version = certificate["metadata"]["resourceVersion"]
    return {"metadata": {"resourceVersion": version}, "status": {"conditions": [*others, asked]}}


def renewed(certificate: Object, before: int) -> bool:
    """Return whether a Certificate was issued again since its revision was `before`.

    Raises:
        ClusterError: cert-manager reports a failure.
    """
    state = objects.condition(certificate, "Issuing")
    if state.get("status") == "False" and state.get("reason") == "Failed":
        raise ClusterError(f"cert-manager did not renew {objects.name(certificate)}: {state.get('message')}")
    return revision(certificate) > before and state.get("status") != "True"


class Renewal:
    """Renews every workload's certificate.

    Args:
        api: The API of the release's namespace.
        certificates: The directory of this process's own certificates, with a subdirectory for each workload.
        report: Called with each line of progress.
    """

    def __init__(self, api: Api, certificates: Path, report: Report) -> None:
        self._api, self._certificates, self._report = api, certificates, report

    async def run(self) -> Mapping[str, str]:
        """Renew all certificates. Returns the serials, in hex, by workload, when each process has loaded its
        new one.

        Raises:
            ClusterError: there are no Certificates, or it takes too long.
        """
        before = leaves(await self._listed())
        serials = await self._serials()
        await asyncio.gather(*(self._renew(objects.name(c)) for c in before))
        await self._until(lambda: self._issued(before), "every certificate is issued", _ISSUE_TIMEOUT)
        self._report(f"{plural(len(before), 'certificate')} issued")
        await self._prompt()
        await self._until(lambda: self._loaded(serials), "every replica has its new one", _PROJECT_TIMEOUT)
        self._report(f"loaded by {plural(len(serials), 'process')}")
        return {key.partition("/")[0]: serial for key, serial in (await self._serials()).items()}

    async def _listed(self) -> list[Object]:
        try:
            found = await self._api.list("certificates", objects.PART_OF)
        except ApiError as e:
            if e.code != 404:
                raise
            found = []  # a cluster without cert-manager
        if not leaves(found):
            raise ClusterError(
                f"namespace {self._api.namespace} has no Certificates of meshmart: renewing needs tls.mode "
                "cert-manager; in the other modes, whoever wrote the Secrets renews them"
            )
        return found

    async def _renew(self, name: str) -> None:
        async def renew() -> None:
            certificate = await self._api.get("certificates", name)
            patch = issuing(certificate, datetime.datetime.now(datetime.UTC))
            await self._api.patch("certificates", name, patch, part="status")

        await repeated(renew)

    async def _issued(self, before: Sequence[Object]) -> bool:
        now = {objects.name(c): c for c in await self._listed()}
        return all(objects.name(c) in now and renewed(now[objects.name(c)], revision(c)) for c in before)

    async def _prompt(self) -> None:
        """Touch each pod, so that its kubelet updates the pod's Secrets now instead of within a minute."""
        now = datetime.datetime.now(datetime.UTC).isoformat()
        for pod in await self._api.list("pods", objects.PART_OF):
            if not objects.leaving(pod):
                patch = {"metadata": {"annotations": {_PROMPT: now}}}
                await self._api.patch("pods", objects.name(pod), patch)

    async def _loaded(self, before: Mapping[str, str]) -> bool:
        now = await self._serials()
        return all(now.get(key) != serial for key, serial in before.items())

    async def _serials(self) -> dict[str, str]:
        """Return the serial that each process reports, by `workload/pod`, and those of this pod's files, by
        `workload/`.
        """
        pods = [p for p in await self._api.list("pods", objects.SERVICES) if objects.ready(p)]
        urls = {f"{objects.service_of(p)}/{objects.name(p)}": objects.replica(p, 0, "").metrics for p in pods}
        states = await asyncio.gather(*(asyncio.to_thread(_state, url) for url in urls.values()))
        told = {key: s for key, s in zip(urls, states, strict=True) if s}
        own = {f"{d.name}/": _serial(d / "tls.crt") for d in self._certificates.iterdir() if d.is_dir()}
        return told | own

    async def _until(self, look: Callable[[], Awaitable[bool]], what: str, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await until(look, _POLL)
        except TimeoutError:
            raise ClusterError(f"waited {timeout:g} s and it was not so: {what}") from None


def _state(metrics: str) -> str:
    """Return the serial that a process reports; empty if it does not answer now."""
    try:
        samples = scrape.samples(metrics)  # its state.json is for callers on its own host
    except ClusterError:
        return ""
    return next((s.labels["serial"] for s in samples if s.name == "mesh_certificate_info"), "")


def _serial(path: Path) -> str:
    return f"{x509.load_pem_x509_certificate(path.read_bytes()).serial_number:x}"
