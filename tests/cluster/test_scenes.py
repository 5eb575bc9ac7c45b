"""The tour on a real Kubernetes: the same scenes, the same bounds."""

import json

import pytest

from meshmart.tour.scenes import SCENES
from tests.cluster.conftest import Release


@pytest.mark.parametrize("scene", SCENES)
def test_a_scene_keeps_its_bounds_on_kubernetes(release: Release, scene: str) -> None:
    done = release.run("tour", scene, "--json", timeout=900)
    (outcome,) = json.loads(done.stdout)
    assert outcome["passed"], outcome
    assert done.returncode == 0
