"""The tour is the acceptance test: every scene keeps its bounds, and each can fail."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.manifest import GRPC
from services.manifest import shop as manifests
from tests.e2e.conftest import TRIES, RunningCluster, up

pytestmark = pytest.mark.tour

SCENES = [
    "balance",
    "scale-up",
    "rolling-restart",
    "kill",
    "sick-replica",
    "slow-dependency",
    "overload",
    "retry-storm",
    "rotate-certs",
    "intruder",
    "streams",
    "no-lost-orders",
]

#: What the scenes show, switched off on the servers' side. The client's side goes with `--plain`: gRPC's
#: own client, which has no balancer, no retry and no certificate reload; nor does that client resume streams
#: by their cursors (streams) or ask again under an idempotency key (no-lost-orders).
FEATURES_OFF = {
    "MESH_DRAIN_DELAY": "0",  # rolling-restart
    "MESH_DRAIN_GRACE": "0",
    "MESH_IDENTITY_POLL_INTERVAL": "86400",  # rotate-certs
    "MESHMART_TOUR_HANG": "payment",  # slow-dependency: a service that a checkout waits for
    "MESH_ADMISSION_ENABLED": "false",  # overload
    # sick-replica: no outlier detection
    "MESH_SERVICE_CONFIG_INLINE": '{"product": {"loadBalancingConfig": [{"round_robin": {}}]}}',
    "MESHMART_LOOPBACK": "127.43",  # beside the other cluster
}
#: The scenes whose feature a setting of the mesh's own client or servers switches off, each with variables of
#: the command beside those above, and the figure that must miss its bound.
SWITCHED_OFF: dict[str, tuple[dict[str, str], str]] = {
    "sick-replica": ({}, "readers that ejected it"),
    "overload": ({}, "goodput"),
    "retry-storm": ({"MESH_RETRY_BUDGET_FLOOR": "100000"}, "extra load"),
}
#: intruder: whoever is a member may call anything.
SERVICES = [m.service for m in manifests().values() if m.kind == GRPC]
#: Orders and chat rooms belong to users, whom these services ask for.
PERSONAL = {"ecommerce.OrderService", "ecommerce.ChatService"}
FAULTS = "mesh.fault.v1.FaultService"
ALLOW_EVERYONE = "\n".join(
    [
        "[[allow]]",
        f"from = {json.dumps(['client', 'outsider', *manifests()])}",
        f"methods = {json.dumps([f'{service}/*' for service in (*SERVICES, FAULTS)])}",
        "[users]",
        *(f'"{service}/*" = "anyone"' for service in (*SERVICES, FAULTS) if service not in PERSONAL),
        "",
    ]
)


def test_every_scene_keeps_its_bounds(cluster: RunningCluster) -> None:
    outcomes = cluster.played()
    assert list(outcomes) == SCENES
    failed = {name: o for name, o in outcomes.items() if not o["passed"]}
    assert not failed, json.dumps(failed, indent=1)  # whole: pytest would cut the figures off


@pytest.fixture(scope="module")
def without_features(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """The outcomes on a cluster that does without what the scenes show."""
    state: Path = tmp_path_factory.mktemp("without") / "state"
    with up(RunningCluster(state, FEATURES_OFF), "--replicas", "product=3") as cluster:
        (state / "policy.toml").write_text(ALLOW_EVERYONE)
        outcomes = _failed(cluster, "--plain", *(name for name in SCENES if name not in SWITCHED_OFF))
        for name, (variables, figure) in SWITCHED_OFF.items():
            without = RunningCluster(state, FEATURES_OFF | variables)
            outcomes |= _failed(without, name)
            for _ in range(TRIES):
                if outcomes[name]["measured"] or figure in _missed(outcomes[name], figure):
                    break
                outcomes |= _failed(without, name)
        yield outcomes


def _missed(outcome: dict[str, Any], figure: str) -> list[str]:
    """The beginnings, as long as this one, of the names of the figures that missed their bounds."""
    return [check["what"][: len(figure)] for check in outcome["checks"] if not check["passed"]]


def _failed(cluster: RunningCluster, *arguments: str) -> dict[str, dict[str, Any]]:
    done = cluster.run("tour", "--json", *arguments, timeout=3600)
    assert done.returncode == 1, done.stderr
    return {o["scene"]: o for o in json.loads(done.stdout)}


@pytest.mark.parametrize("scene", SCENES)
def test_a_scene_fails_without_the_feature_that_it_shows(
    without_features: dict[str, dict[str, Any]], scene: str
) -> None:
    assert not without_features[scene]["passed"], without_features[scene]


@pytest.mark.parametrize(("scene", "figure"), [(name, figure) for name, (_, figure) in SWITCHED_OFF.items()])
def test_the_figure_that_shows_the_feature_misses_its_bound_without_it(
    without_features: dict[str, dict[str, Any]], scene: str, figure: str
) -> None:
    assert figure in _missed(without_features[scene], figure), without_features[scene]


def test_an_unknown_scene_is_a_clear_error(cluster: RunningCluster) -> None:
    done = cluster.run("tour", "balanec")
    assert done.returncode == 1
    assert done.stderr.startswith("meshmart: there is no scene 'balanec'; there are balance,")
