"""ZeroGPU is asked for as long as a reply needs, and not for much longer."""

import pytest

from hfdemo.engines.zerogpu.duration import LONGEST_S, GpuTime

GB = 1_000_000_000


def asked(time: GpuTime, prompt_tokens: int = 100, max_new_tokens: int = 512) -> int:
    return time.duration_s(time.work_s(prompt_tokens, max_new_tokens))


def test_it_asks_for_less_when_less_is_to_be_written_or_read():
    time = GpuTime(60.0)
    assert asked(time, max_new_tokens=16) < asked(time, max_new_tokens=256) < asked(time, max_new_tokens=1024)
    assert asked(time, prompt_tokens=30_000) - asked(time, prompt_tokens=100) == pytest.approx(15, abs=1)


def test_until_a_reply_was_measured_it_counts_on_half_the_planned_speed():
    time = GpuTime(80.0)
    assert time.work_s(0, 1600) == pytest.approx(2 + 1.25 * 1600 / 40)


def test_the_first_measurement_replaces_the_guess_and_later_ones_move_it():
    time = GpuTime(80.0)
    time.learn(100, 100.0)
    assert time.work_s(0, 1600) == pytest.approx(2 + 1.25 * 1600 / 100)
    time.learn(100, 50.0)
    assert time.work_s(0, 1600) == pytest.approx(2 + 1.25 * 1600 / 85)
    for _ in range(30):
        time.learn(100, 50.0)
    assert time.work_s(0, 1600) == pytest.approx(2 + 1.25 * 1600 / 50, rel=0.01)


@pytest.mark.parametrize(("new_tokens", "tokens_per_s"), [(1, 0.0), (15, 500.0), (100, 0.0)])
def test_a_reply_that_says_nothing_of_the_speed_changes_nothing(new_tokens, tokens_per_s):
    time = GpuTime(80.0)
    before = asked(time)
    time.learn(new_tokens, tokens_per_s)
    assert asked(time) == before


def test_a_short_reply_has_time_for_a_slow_beginning():
    assert GpuTime(200.0).work_s(10, 1) == 10


def test_a_large_model_needs_longer_to_start():
    assert GpuTime(60.0, 16 * GB).duration_s(10.0) - GpuTime(60.0).duration_s(10.0) == 8


@pytest.mark.parametrize("weights_bytes", [0, 16 * GB, 1000 * GB])
@pytest.mark.parametrize("speed", [0.0, 1.0, 1000.0])
def test_however_slow_the_model_it_asks_for_some_seconds_and_never_for_too_many(weights_bytes, speed):
    time = GpuTime(speed, weights_bytes)
    work_s = time.work_s(100_000, 4096)
    assert 1 <= work_s <= LONGEST_S
    if weights_bytes < 100 * GB:
        assert time.duration_s(work_s) <= LONGEST_S


def test_the_time_limit_of_the_host_is_kept():
    assert GpuTime(1.0).work_s(1000, 4096, time_limit_s=20) == 20


def test_what_zerogpu_asks_for_is_what_is_needed_whatever_it_makes_of_a_second():
    for factor in (1.0, 1.5):
        time = GpuTime(40.0, factor=factor)
        work_s = time.work_s(200, 333)
        assert work_s + 4 <= time.duration_s(work_s) * factor < work_s + 4 + factor
