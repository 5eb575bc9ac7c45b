"""The durable log of actions."""

import asyncio
import fcntl
import os
from pathlib import Path

import pytest

from meshmart.console.action_log import DROPPED, ActionLog, Entry, Outcome


def entry(number: int, **more: object) -> Entry:
    told = {"at": 1000.0 + number, "id": f"{number:06}", "who": "alice", "action": "kill", **more}
    return Entry(outcome=Outcome.DONE, arguments={"service": "product", "replica": 1}, words="…", **told)  # type: ignore[arg-type]


async def test_what_was_written_is_read_newest_first_by_another_process(tmp_path: Path) -> None:
    log = ActionLog(tmp_path / "console")
    assert await log.read(10) == []
    for n in range(5):
        await log.write(entry(n))
    again = ActionLog(tmp_path / "console")
    assert await again.read(3) == [entry(4), entry(3), entry(2)]
    assert (await again.read(100))[-1] == entry(0)


async def test_every_entry_is_on_the_disk_before_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        synced.append(path.read_bytes() if path.is_file() else b"directory")
        real(fd)

    monkeypatch.setattr("meshmart.console.action_log.os.fsync", fsync)
    log = ActionLog(tmp_path)
    await log.write(entry(1))
    assert synced == [entry(1).line(), b"directory"]
    await log.write(entry(2))
    assert synced[2:] == [entry(1).line() + entry(2).line()]


async def test_the_files_are_the_owners_only(tmp_path: Path) -> None:
    log = ActionLog(tmp_path / "console")
    await log.write(entry(1))
    assert (tmp_path / "console").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "console" / "actions.jsonl").stat().st_mode & 0o777 == 0o600


async def test_the_oldest_entries_are_dropped_and_that_is_said(tmp_path: Path) -> None:
    size = len(entry(0).line())
    log = ActionLog(tmp_path, max_file=10 * size, old_files=2)
    for n in range(100):
        await log.write(entry(n))
    sizes = [entry.stat().st_size for entry in os.scandir(tmp_path)]
    assert len(sizes) == 3
    assert max(sizes) <= 11 * size + 300
    found = await log.read(1000)
    told = [e for e in found if e.action == DROPPED]
    kept = [e.id for e in found if e.action != DROPPED]
    assert kept == [f"{n:06}" for n in range(99, 99 - len(kept), -1)]
    assert len(kept) >= 20
    assert told
    dropped = told[0].arguments
    assert dropped["entries"] > 0
    assert dropped["until"] == 1000.0 + int(kept[-1]) - 1


async def test_a_line_that_is_torn_costs_itself_only(tmp_path: Path) -> None:
    log = ActionLog(tmp_path)
    await log.write(entry(1))
    with (tmp_path / "actions.jsonl").open("ab") as file:
        file.write(entry(2).line()[:20])
    await log.write(entry(3))
    assert [e.id for e in await log.read(10)] == ["000003", "000001"]


@pytest.mark.parametrize("line", [b"", b"[]", b"null", b"{", b'{"at": "x"}', b"[" * 100_000, b"\xff"])
async def test_lines_that_are_no_entries_are_left_out(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "actions.jsonl").write_bytes(line + b"\n" + entry(1).line())
    assert await ActionLog(tmp_path).read(10) == [entry(1)]


async def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    size = len(entry(0).line())
    logs = [ActionLog(tmp_path, max_file=10 * size, old_files=20) for _ in range(2)]
    await asyncio.gather(*(logs[n % 2].write(entry(n)) for n in range(60)))
    assert sorted(e.id for e in await logs[0].read(1000)) == [f"{n:06}" for n in range(60)]


async def test_a_disk_that_is_full_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("meshmart.console.action_log.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        await ActionLog(tmp_path).write(entry(1))


async def test_a_lock_that_another_process_keeps_is_an_error_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ActionLog(tmp_path)
    await log.write(entry(1))
    monkeypatch.setattr("meshmart.console.action_log.PATIENCE", 0.01)
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        async with asyncio.timeout(60):
            with pytest.raises(OSError, match="did not answer within"):
                await log.write(entry(2))
            with pytest.raises(OSError, match="did not answer within"):
                await log.read(1)
            for number in range(40):  # more than there are threads for everything else
                with pytest.raises(OSError, match="did not answer within"):
                    await log.write(entry(number))
            assert await asyncio.to_thread(str, 1) == "1"
    finally:
        os.close(held)
