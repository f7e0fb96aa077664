"""The region cache: nothing is computed twice, the least recently used goes, failures leave nothing."""

import threading

import pytest

from rdflux_ros.flux.midpoints import RegionCache


def test_a_hit_computes_nothing():
    cache: RegionCache[str] = RegionCache()
    assert cache.get_or_compute("a", lambda: "first") == ("first", False)
    assert cache.get_or_compute("a", lambda: pytest.fail("computed again")) == ("first", True)
    assert cache.misses == 1


def test_the_least_recently_used_goes_first():
    cache: RegionCache[str] = RegionCache(2)
    for key in "abac":  # a is younger than b when c comes
        cache.get_or_compute(key, lambda key=key: key)
    assert ("a" in cache, "b" in cache, "c" in cache) == (True, False, True)
    assert len(cache) == 2


def test_a_failing_computation_leaves_no_entry():
    cache: RegionCache[int] = RegionCache()
    with pytest.raises(ZeroDivisionError):
        cache.get_or_compute("a", lambda: 1 // 0)
    assert "a" not in cache
    assert cache.get_or_compute("a", lambda: 2) == (2, False)


def test_a_failure_does_not_push_out_a_good_entry():
    cache: RegionCache[int] = RegionCache(1)
    cache.get_or_compute("good", lambda: 1)
    with pytest.raises(ZeroDivisionError):
        cache.get_or_compute("bad", lambda: 1 // 0)
    assert cache.get_or_compute("good", lambda: 2) == (1, True)


def test_clear_makes_it_compute_again():
    cache: RegionCache[int] = RegionCache()
    cache.get_or_compute("a", lambda: 1)
    cache.clear()
    assert cache.get_or_compute("a", lambda: 3) == (3, False)


def test_two_threads_asking_at_once_compute_once():
    cache: RegionCache[int] = RegionCache()
    started, go = threading.Event(), threading.Event()

    def slow() -> int:
        started.set()
        assert go.wait(5)
        return 7

    found: list[tuple[int, bool]] = []
    first = threading.Thread(target=lambda: found.append(cache.get_or_compute("a", slow)))
    second = threading.Thread(target=lambda: found.append(cache.get_or_compute("a", lambda: 8)))
    first.start()
    assert started.wait(5)
    second.start()
    go.set()
    first.join(5)
    second.join(5)
    assert sorted(found) == [(7, False), (7, True)]


def test_capacity_is_checked():
    with pytest.raises(ValueError, match="capacity = 0"):
        RegionCache(0)
