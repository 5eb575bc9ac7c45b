"""The settings of the process; its life is tested in tests/integration/mesh/test_runtime.py."""

import gc

from grpcmesh.lifecycle import started_for_good


def test_the_collector_leaves_alone_what_the_start_made_and_takes_it_back_at_the_end() -> None:
    with started_for_good():
        assert gc.get_freeze_count() > 10_000
    assert gc.get_freeze_count() == 0
