"""The tour on a real Kubernetes: the same scenes, the same bounds."""

import json

import pytest

from meshmart.tour.scenes import SCENES
from tests.cluster.conftest import Release


@pytest.mark.parametrize("scene", SCENES)
def test_a_scene_keeps_its_bounds_on_kubernetes(release: Release, scene: str) -> None:
    done = release.run("tour", scene, "--json", timeout=900)
    assert done.stdout, done.stderr
    (outcome,) = json.loads(done.stdout)
    # Whole: pytest would cut the figures off.
    assert outcome["passed"], json.dumps(outcome, indent=1)
    assert done.returncode == 0
