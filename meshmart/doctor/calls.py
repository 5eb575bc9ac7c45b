"""The calls that each workload of the shop makes, from the shop's own policy. Pure but for `of_the_shop`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from grpcmesh.authz.policy import Policy


@dataclass(frozen=True, slots=True)
class Calls:
    """What one workload calls.

    Args:
        targets: Names of services, such as `product`, sorted.
        methods: Methods with their targets, such as `product=ecommerce.ProductService/GetProduct`, sorted.
    """

    targets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


def of_the_shop() -> Mapping[str, Calls]:
    """Return the calls of each workload, by its name.

    A test holds this policy equal to the calls that the services' code makes. A cluster may have another one
    installed, which denies some of them: that is a finding.
    """
    import services
    from meshmart import methods

    text = Path(services.__file__).with_name("policy.toml").read_text()
    return calls(Policy.parse(text), {name: target for target, name in methods.targets().items()})


def calls(policy: Policy, targets: Mapping[str, str]) -> dict[str, Calls]:
    """Return the calls that a policy allows, by workload. Patterns such as `Service/*` name no method.

    Args:
        policy: The policy.
        targets: The target of each service, such as `product` of `ecommerce.ProductService`. Methods of other
            services are ignored.
    """
    found: dict[str, set[tuple[str, str]]] = {}
    for method, callers in policy.workloads.items():
        target = targets.get(method.partition("/")[0])
        for caller in callers if target else ():
            found.setdefault(caller, set()).add((target or "", method))
    return {caller: Calls(*_sorted(pairs)) for caller, pairs in found.items()}


def _sorted(pairs: set[tuple[str, str]]) -> Iterator[tuple[str, ...]]:
    yield tuple(sorted({target for target, _ in pairs}))
    yield tuple(sorted(f"{target}={method}" for target, method in pairs if not method.endswith("/*")))
