"""Virtual time, no process."""

import pytest

from local.backoff import Backoff, BackoffConfig
from local.probes import Answer, Probe, ProbeConfig, Verdict

CONFIG = ProbeConfig()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def probe(clock: Clock | None = None) -> Probe:
    return Probe(CONFIG, clock or Clock())


def test_a_new_replica_is_not_ready() -> None:
    assert not probe().ready


def test_the_first_serving_answer_makes_it_ready() -> None:
    p = probe()
    assert p.observe(Answer.SERVING) is Verdict.KEEP
    assert p.ready


def test_not_serving_takes_it_out_at_once_and_never_kills_it() -> None:
    p = probe()
    p.observe(Answer.SERVING)
    for _ in range(100):
        assert p.observe(Answer.NOT_SERVING) is Verdict.KEEP
        assert not p.ready


def test_one_lost_probe_changes_nothing() -> None:
    p = probe()
    p.observe(Answer.SERVING)
    p.observe(Answer.NONE)
    assert p.ready


def test_silence_takes_it_out_first_and_kills_it_later() -> None:
    p = probe()
    p.observe(Answer.SERVING)
    verdicts = []
    for n in range(1, CONFIG.live_failures + 1):
        verdicts.append(p.observe(Answer.NONE))
        assert p.ready == (n < CONFIG.ready_failures)
    assert verdicts == [Verdict.KEEP] * (CONFIG.live_failures - 1) + [Verdict.KILL]


def test_an_answer_between_silences_starts_the_count_anew() -> None:
    p = probe()
    for _ in range(10):
        p.observe(Answer.SERVING)
        for _ in range(CONFIG.live_failures - 1):
            assert p.observe(Answer.NONE) is Verdict.KEEP


def test_a_process_may_be_silent_while_it_starts_but_not_for_ever() -> None:
    clock = Clock()
    p = probe(clock)
    for second in range(int(CONFIG.startup_timeout)):
        clock.now = float(second)
        assert p.observe(Answer.NONE) is Verdict.KEEP
    clock.now = CONFIG.startup_timeout
    assert p.observe(Answer.NONE) is Verdict.KILL


def test_a_supervisor_that_slept_does_not_take_a_ready_replica_for_hung() -> None:
    clock = Clock()
    p = probe(clock)
    p.observe(Answer.SERVING)
    clock.now = 1e6
    assert p.observe(Answer.NONE) is Verdict.KEEP
    assert p.ready


def test_probes_are_quick_until_it_is_ready_and_slow_while_it_is_silent() -> None:
    p = probe()
    assert p.wait() == CONFIG.startup_period
    p.observe(Answer.NONE)
    assert p.wait() == CONFIG.startup_period
    p.observe(Answer.SERVING)
    assert p.wait() == CONFIG.period
    p.observe(Answer.NONE)
    assert p.wait() == CONFIG.failure_period
    p.observe(Answer.NOT_SERVING)
    assert p.wait() == CONFIG.startup_period


def test_restarts_wait_longer_each_time_up_to_a_bound() -> None:
    backoff = Backoff(BackoffConfig(first=0.2, longest=10, stable=5))
    waits = [backoff.after(0.1) for _ in range(9)]
    assert waits[:4] == pytest.approx([0.2, 0.4, 0.8, 1.6])
    assert waits[-1] == 10


def test_a_process_that_ran_for_long_restarts_at_once_again() -> None:
    backoff = Backoff(BackoffConfig(first=0.2, longest=10, stable=5))
    for _ in range(5):
        backoff.after(0.1)
    assert backoff.after(5) == 0.2
