"""How often messages may come: a visitor's, an address's, everybody's."""

import pytest

from hfdemo import rates
from hfdemo.rates import ADDRESS_VISITORS, ALL_VISITORS, MessageRates, Pace, RateLimit


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def waits(rate: RateLimit, name: str) -> float:
    """Try to pass, and return how long one must wait."""
    wait_s = rate.wait_s(name)
    if not wait_s:
        rate.passes(name)
    return wait_s


def test_a_rate_lets_some_pass_at_once_and_the_others_in_time(clock):
    rate = RateLimit(20, clock)
    assert [waits(rate, "me") for _ in range(8)] == [0.0] * 6 + [3.0, 3.0]  # 15 s' share of one in 3 s, and the next
    assert waits(rate, "they") == 0.0
    clock.now += 3.0
    assert [waits(rate, "me"), waits(rate, "me")] == [0.0, 3.0]
    clock.now += 600.0
    assert [waits(rate, "me") for _ in range(7)] == [0.0] * 6 + [3.0]


def test_without_a_limit_or_a_name_nobody_waits():
    assert {waits(RateLimit(0), "me") for _ in range(100)} == {0.0}
    nameless, unlimited = RateLimit(1), MessageRates(0)
    assert {waits(nameless, "") for _ in range(100)} == {0.0}
    assert {unlimited.wait_s("me", "here") for _ in range(10_000)} == {0.0}


def test_the_rates_of_many_take_bounded_memory(clock):
    rate = RateLimit(1, clock)
    for n in range(rates.MAX_RATED + 10):
        rate.passes(str(n))
    assert len(rate._due) == rates.MAX_RATED


def passed(message_rates: MessageRates, who: list[tuple[str, str]]) -> int:
    return sum(message_rates.wait_s(*one) == 0.0 for one in who)


def test_visitor_address_and_all_have_a_limit_each(clock):
    per_minute, at_once = 4, 2  # 15 seconds' share, and the next
    one = MessageRates(per_minute, clock)
    assert passed(one, [("me", "here")] * 50) == at_once
    address = MessageRates(per_minute, clock)
    assert passed(address, [(f"visitor {n}", "here") for n in range(500)]) == ADDRESS_VISITORS * (at_once - 1) + 1
    everybody = MessageRates(per_minute, clock)
    assert passed(everybody, [(f"visitor {n}", f"10.0.0.{n}") for n in range(500)]) == ALL_VISITORS * (at_once - 1) + 1


def test_messages_that_have_to_wait_take_no_share_of_others(clock):
    message_rates = MessageRates(4, clock)
    passed(message_rates, [("loud", "here")] * 10_000)
    others = [(f"visitor {n}", "here") for n in range(ADDRESS_VISITORS - 2)]
    assert passed(message_rates, others) == len(others)


def test_the_pace_follows_the_ends_of_replies(clock):
    pace = Pace(clock)
    assert pace.seconds is None
    for _ in range(30):
        clock.now += 4.0
        pace.one_ended(others=True)
    assert pace.seconds == pytest.approx(4.0)
    for _ in range(30):
        clock.now += 1.0
        pace.one_ended(others=True)
    assert pace.seconds == pytest.approx(1.0, abs=0.01)


def test_a_quiet_hour_is_no_measure_of_the_pace(clock):
    pace = Pace(clock)
    for others in (True, True, False):
        clock.now += 2.0
        pace.one_ended(others)
    clock.now += 3600.0
    pace.one_ended(others=True)
    assert pace.seconds == pytest.approx(2.0)
