"""Seconds that outlive a session."""

from core_distill.clock import Clock, Longest


def test_a_clock_goes_on_where_it_stood(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("core_distill.clock.time.monotonic", lambda: now[0])
    clock = Clock()
    now[0] += 5
    kept = clock.state_dict()
    later = Clock()
    now[0] += 30  # before it is loaded nothing counts
    later.load_state_dict(kept)
    now[0] += 2
    assert (clock.seconds, later.seconds) == (37, 7)


def test_the_longest_of_sessions_stays():
    longest = Longest(3.0)
    longest.load_state_dict({"seconds": 40.0})
    longest.load_state_dict({"seconds": 1.0})
    assert longest.state_dict() == {"seconds": 40.0}
