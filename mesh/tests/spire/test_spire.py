"""Workloads with certificates of a real SPIRE: rotation, a new CA, restarts, federation."""

import signal
from collections.abc import Iterator

import pytest

from tests.ports import free_port
from tests.spire.kit import Running, Spire, calls, spire

#: What a workload logs with each new certificate.
RENEWED = "certificate reloaded"
CHECKOUT, PAYMENT = "/ns/default/sa/checkout", "/region/eu/payment"
#: The ids that are not `/ns/NAMESPACE/sa/SERVICE`.
PAYMENT_ID = "spiffe://example.org/region/*/payment"


@pytest.fixture
def ports() -> dict[str, int]:
    return {name: free_port() for name in ("checkout", "payment", "buyer")}


@pytest.fixture
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spire]:
    """A SPIRE of `example.org`, not started yet."""
    with spire(tmp_path_factory.mktemp("a")) as made:
        yield made


@pytest.fixture
def partner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spire]:
    """A SPIRE of another trust domain, not started yet."""
    with spire(tmp_path_factory.mktemp("b"), "partner.example") as made:
        yield made


async def pair(on: Spire, ports: dict[str, int]) -> tuple[Running, Running]:
    """Start SPIRE, and two workloads that call each other. Wait until both have succeeded."""
    await on.start()
    on.entry("checkout", CHECKOUT)
    on.entry("payment", PAYMENT)
    checkout = on.workload("checkout", "payment", ports, MESH_IDENTITY_SERVERS=f"payment={PAYMENT_ID}")
    payment = on.workload("payment", "checkout", ports, MESH_IDENTITY_SPIFFE_ID=PAYMENT_ID)
    for running in (checkout, payment):
        await running.says("first\n")
    return checkout, payment


async def none_failed(*workloads: Running) -> None:
    """End the workloads' calls, and assert that none failed."""
    for running in workloads:
        running.process.send_signal(signal.SIGUSR1)
    for running in workloads:
        await running.says("\ncalls ")
        print(running.log.stem, calls(running), "calls,", running.output().count(RENEWED), "renewals")
        assert "\nfailed " not in running.output(), running.output()[-5000:]


async def test_certificates_rotate_without_a_failed_call(example: Spire, ports: dict[str, int]) -> None:
    workloads = await pair(example, ports)
    for running in workloads:
        await running.says(RENEWED, times=4)
    await none_failed(*workloads)


async def test_the_last_certificate_stays_while_the_agent_restarts(
    example: Spire, ports: dict[str, int]
) -> None:
    workloads = await pair(example, ports)
    await example.running[1].stop()
    for running in workloads:
        await running.says("gave no identity: UNAVAILABLE")
    before = [running.output().count(RENEWED) for running in workloads]
    await example.start_agent()  # it has its own identity in its data directory
    for running, count in zip(workloads, before, strict=True):
        await running.says(RENEWED, times=count + 2)
    await none_failed(*workloads)


async def test_the_ca_is_replaced_without_a_failed_call(example: Spire, ports: dict[str, int]) -> None:
    workloads = await pair(example, ports)
    old = example.authority("show")["active"]["authority_id"]
    new = example.authority("prepare")["prepared_authority"]["authority_id"]
    for running in workloads:  # the bundle with both has arrived
        await running.says(RENEWED, times=running.output().count(RENEWED) + 1)
    example.authority("activate", "-authorityID", new)
    example.authority("taint", "-authorityID", old)  # agents replace what the old CA has issued
    for running in workloads:
        await running.says(RENEWED, times=running.output().count(RENEWED) + 1)
    example.authority("revoke", "-authorityID", old)
    for running in workloads:
        await running.says(RENEWED, times=running.output().count(RENEWED) + 3)
    await none_failed(*workloads)


async def test_a_workload_without_an_entry_is_told(example: Spire, ports: dict[str, int]) -> None:
    await example.start()
    checkout = example.workload("checkout", "payment", ports)
    assert await checkout.ends() == 1
    told = "gave no identity: PERMISSION_DENIED: no identity issued: register an entry for this workload"
    assert told in checkout.output()


async def test_an_entry_that_comes_later_is_waited_for(example: Spire, ports: dict[str, int]) -> None:
    await example.start()
    checkout = example.workload("checkout", "payment", ports)
    await checkout.says("PERMISSION_DENIED: no identity issued")
    example.entry("checkout", CHECKOUT)
    await checkout.says('"msg":"ready"')


async def test_an_entry_without_a_dns_name_is_told(example: Spire, ports: dict[str, int]) -> None:
    await example.start()
    example.entry("checkout", CHECKOUT, dns=False)
    checkout = example.workload("checkout", "payment", ports)
    assert await checkout.ends() == 1
    assert "DNS name" in checkout.output()


async def test_a_federated_trust_domain_calls_and_is_called(
    example: Spire, partner: Spire, ports: dict[str, int]
) -> None:
    await example.start()
    await partner.start()
    for own, other in ((example, partner), (partner, example)):
        bundle = own.directory / "other.json"
        bundle.write_text(other.server("bundle", "show", "-format", "spiffe"))
        own.server(
            "federation", "create", "-trustDomain", other.domain, "-bundleEndpointProfile", "https_spiffe",
            "-bundleEndpointURL", f"https://127.0.0.1:{other.bundle_port}",
            "-endpointSpiffeID", f"spiffe://{other.domain}/spire/server",
            "-trustDomainBundleFormat", "spiffe", "-trustDomainBundlePath", str(bundle),
        )  # fmt: skip
    example.entry("checkout", CHECKOUT, "-federatesWith", "partner.example")
    partner.entry("buyer", "/shop/buyer", "-federatesWith", "example.org")
    checkout = example.workload(
        "checkout", "buyer", ports, MESH_IDENTITY_SERVERS="buyer=spiffe://partner.example/shop/*"
    )
    buyer = partner.workload(
        "buyer", "checkout", ports,
        MESH_IDENTITY_SPIFFE_ID="spiffe://partner.example/shop/*",
        MESH_IDENTITY_SERVERS=f"checkout=spiffe://example.org{CHECKOUT}",
    )  # fmt: skip
    for running in (checkout, buyer):
        await running.says("first\n")
        await running.says(RENEWED, times=2)
    await none_failed(checkout, buyer)
