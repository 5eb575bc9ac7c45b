"""A cluster of stubs: `python -m tests.integration.local.stub_cluster OPTIONS` tells its events on stdout."""

import sys

from local.backoff import BackoffConfig
from local.catalog import Catalog, ServiceSpec
from local.deployment import RolloutConfig
from local.events import Event, Listener
from local.main import run
from local.options import Options
from local.probes import ProbeConfig
from local.supervisor import Supervisor

STUB = "tests.integration.local.stub"
STUBS: Catalog = {
    "product": ServiceSpec("product", STUB, 1, first=True),
    "storefront": ServiceSpec("storefront", STUB, 9, replicas=1, stores=False, web=True),
}
PROBES = ProbeConfig(period=0.1, failure_period=0.2, timeout=0.3, live_failures=5)
ROLLOUT = RolloutConfig(min_ready=0.3, grace=5, ready_timeout=20)
BACKOFF = BackoffConfig(first=0.1, longest=0.5)


def supervisor(options: Options, environ: dict[str, str], listener: Listener) -> Supervisor:
    return Supervisor(
        options,
        STUBS,
        environ,
        listener,
        probes=PROBES,
        rollout=ROLLOUT,
        backoff=BACKOFF,
        migrate=(),
        console=(),
    )


def _say(event: Event) -> None:
    sys.stdout.buffer.write(event.encode())
    sys.stdout.flush()


if __name__ == "__main__":
    import os

    wish = Options.decode(sys.argv[1])
    sys.exit(run(wish, _say, make=lambda listener: supervisor(wish, dict(os.environ), listener)))
