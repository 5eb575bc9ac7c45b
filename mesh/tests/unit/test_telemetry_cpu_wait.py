"""The seconds that the event loop's thread waited for a CPU, from the kernel's schedstat."""

import threading
from pathlib import Path

import pytest

from grpcmesh.telemetry.lag import CpuWait


def told(wait: CpuWait) -> dict[str, float]:
    return {sample.name: sample.value for metric in wait.collect() for sample in metric.samples}


def test_waits_are_summed_and_those_of_half_a_second_are_counted(tmp_path: Path) -> None:
    schedstat = tmp_path / "schedstat"

    def waited(seconds: float) -> None:
        schedstat.write_text(f"1234 {seconds * 1e9:.0f} 99\n")

    waited(10.0)
    wait = CpuWait(schedstat)
    for seconds in (10.4, 10.9, 11.3, 12.3):  # 0.4, 0.5, 0.4 and 1 s more
        waited(seconds)
        wait.look()
    waited(12.4)
    assert told(wait) == {
        "mesh_event_loop_cpu_wait_seconds_total": 12.4,
        "mesh_event_loop_cpu_stalls_total": 2.0,
    }


@pytest.mark.parametrize("text", [None, "", "1234\n", "a b c\n"])
def test_a_kernel_that_does_not_report_it_has_no_such_metric(tmp_path: Path, text: str | None) -> None:
    schedstat = tmp_path / "schedstat"
    if text is not None:
        schedstat.write_text(text)
    wait = CpuWait(schedstat)
    wait.look()
    assert told(wait) == {}


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel has no schedstat")
def test_the_kernel_reports_the_wait_of_this_thread() -> None:
    figures = told(CpuWait(Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")))
    assert figures["mesh_event_loop_cpu_wait_seconds_total"] >= 0
