"""The figures of processes, from /proc (Linux)."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """The figures of one process at one time: MiB and CPU seconds."""

    proportional: float
    resident: float
    cpu: float


def read(pid: int) -> Reading:
    """Return a process's memory and the CPU time that it has used. Raises OSError if it has ended."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    return Reading(kilobytes["Pss"] / 1024, kilobytes["Rss"] / 1024, cpu_seconds(pid))


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process, all threads. Raises OSError if it has ended."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def parent(pid: int) -> int:
    """Return the id of the process that started a process. Raises OSError if it has ended."""
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, which may contain spaces (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
