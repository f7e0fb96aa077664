"""Mailbox and worker: who is served first, what is lost, what an exception does."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest

from rdflux_ros.node.worker import WORK, Job, Mailbox, Worker


def test_kinds_are_served_in_order_and_the_latest_of_one_wins() -> None:
    mailbox = Mailbox({"map": 1, "pose": 1, "query": 2})
    lost = [mailbox.put(Job(kind, n)) for kind, n in (("query", 1), ("query", 2), ("query", 3), ("pose", 1))]
    lost += [mailbox.put(Job("pose", 2)), mailbox.put(Job("map", 1))]
    assert lost == [False, False, True, False, True, False]
    jobs = [mailbox.take() for _ in range(4)]
    assert [(job.kind, job.payload) for job in jobs if job] == [("map", 1), ("pose", 2), ("query", 2), ("query", 3)]


def test_a_held_kind_waits_while_others_go_on() -> None:
    mailbox = Mailbox({"pose": 1, "map": 1})
    mailbox.hold("pose", 0.2)
    start = time.monotonic()
    mailbox.put(Job("pose"))
    mailbox.put(Job("map"))
    kinds = [job.kind for job in (mailbox.take(), mailbox.take()) if job]
    assert kinds == ["map", "pose"] and time.monotonic() - start >= 0.2


def test_a_hold_can_be_shortened_while_it_is_waited_for() -> None:
    mailbox = Mailbox({"pose": 1})
    mailbox.hold("pose", 60.0)
    mailbox.put(Job("pose"))
    threading.Timer(0.1, mailbox.hold, ("pose", 0.0)).start()
    start = time.monotonic()
    assert mailbox.take() is not None and time.monotonic() - start < 10.0


def test_a_failing_job_is_reported_and_the_next_one_done() -> None:
    done = threading.Semaphore(0)
    mailbox = Mailbox({"divide": 3})
    worker = Worker(lambda: ({"divide": lambda n: 1 / n}, lambda: False), mailbox, done.release)
    worker.start()
    for n in (0, 2):
        mailbox.put(Job("divide", n, generation=n))
        assert done.acquire(timeout=5.0)
    failed, worked = worker.finished()
    assert isinstance(failed.error, ZeroDivisionError) and failed.job.generation == 0
    assert (worked.result, worked.error) == (0.5, None)
    assert worker.stop(5.0) and mailbox.take() is None


def test_steps_between_jobs_delay_none_and_one_that_fails_is_reported() -> None:
    """One step after each short job, more while there is no job, none after the last."""
    done, order = threading.Semaphore(0), []
    mailbox = Mailbox({"pose": 5})

    def build() -> tuple:
        left = iter([True, True, True, False])

        def step() -> bool:
            order.append("step")
            time.sleep(0.1)  # longer than a job: one is enough
            if order.count("step") == 5:
                raise ArithmeticError("a bad step")
            return next(left)

        return {"pose": order.append}, step

    worker = Worker(build, mailbox, done.release)
    for n in (1, 2):
        mailbox.put(Job("pose", n))
    worker.start()
    for _ in range(2):
        assert done.acquire(timeout=5.0)
    deadline = time.monotonic() + 5.0
    while order.count("step") < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.2)
    assert order == [1, "step", 2, "step", "step", "step"]
    mailbox.put(Job("pose", 3))
    for _ in range(2):
        assert done.acquire(timeout=5.0)
    *_, answered, failed = worker.finished()
    assert answered.job.payload == 3 and failed.job.kind == WORK and isinstance(failed.error, ArithmeticError)
    assert worker.stop(5.0)


def test_what_the_build_raises_start_raises() -> None:
    def build() -> dict:
        raise FileNotFoundError("model.safetensors")

    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        Worker(build, Mailbox({}), lambda: None).start()


def test_steps_get_on_where_jobs_always_wait() -> None:
    """A share of a long job's time is theirs."""
    done, order = threading.Semaphore(0), []
    mailbox = Mailbox({"pose": 5})

    def step() -> bool:
        order.append("step")
        time.sleep(0.01)
        return True

    def long(n: int) -> None:
        order.append(n)
        time.sleep(0.2)

    worker = Worker(lambda: ({"pose": long}, step), mailbox, done.release)
    for n in (1, 2):
        mailbox.put(Job("pose", n))
    worker.start()
    for _ in range(2):
        assert done.acquire(timeout=5.0)
    assert worker.stop(5.0)
    assert 2 <= order[: order.index(2)].count("step") <= 20


def test_a_job_in_steps_lets_more_urgent_ones_go_first_and_goes_on_before_newer_ones() -> None:
    done, order = threading.Semaphore(0), []
    mailbox = Mailbox({"pose": 5, "path": 1})

    def path(name: str) -> Generator[None, None, str]:
        for n in range(2):
            order.append(f"{name} {n}")
            if n == 0:
                mailbox.put(Job("pose", "pose"))
            if name == "old":
                mailbox.put(Job("path", "new"))
            yield
        return f"{name} done"

    worker = Worker(lambda: ({"pose": order.append, "path": path}, lambda: False), mailbox, done.release)
    mailbox.put(Job("path", "old"))
    worker.start()
    for _ in range(4):
        assert done.acquire(timeout=5.0)
    assert worker.stop(5.0)
    assert order == ["old 0", "pose", "old 1", "new 0", "pose", "new 1"]
    results = [one.result for one in worker.finished() if one.job.kind == "path"]
    assert results == ["old done", "new done"]


def test_a_job_whose_kind_is_cleared_in_a_step_goes_no_further() -> None:
    done, steps = threading.Semaphore(0), []
    mailbox = Mailbox({"pose": 1, "path": 1})

    def path(_: None) -> Generator[None, None, None]:
        for n in range(3):
            steps.append(n)
            mailbox.clear("path")
            yield

    worker = Worker(lambda: ({"pose": steps.append, "path": path}, lambda: False), mailbox, done.release)
    mailbox.put(Job("path"))
    worker.start()
    deadline = time.monotonic() + 5.0
    while not steps and time.monotonic() < deadline:
        time.sleep(0.001)
    mailbox.put(Job("pose", "pose"))
    assert done.acquire(timeout=5.0)
    assert worker.stop(5.0)
    assert steps == [0, "pose"]


@pytest.mark.parametrize(("pose_s", "hold_s"), [(0.02, 0.0), (0.001, 0.02)])
def test_urgent_jobs_that_never_end_starve_none(pose_s: float, hold_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow model whose next pose always waits, and a fast one at its highest rate."""
    monkeypatch.setattr("rdflux_ros.node.worker.PATIENCE_S", 0.1)
    mailbox, served = Mailbox({"pose": 1, "again": 1, "query": 10, "path": 1}), []

    def pose(_: None) -> None:
        served.append("pose")
        time.sleep(pose_s)
        for kind in ("pose", "again"):
            mailbox.hold(kind, hold_s)
        mailbox.put(Job("pose"))

    others = {kind: lambda _, kind=kind: served.append(kind) for kind in ("again", "query", "path")}
    worker = Worker(lambda: ({"pose": pose, **others}, lambda: False), mailbox, lambda: None)
    for kind in ("pose", "again", "query", "path"):
        mailbox.put(Job(kind))
    worker.start()
    deadline = time.monotonic() + 10.0
    while not {"again", "query", "path"} <= set(served) and time.monotonic() < deadline:
        time.sleep(0.01)
    worker.stop(5.0)
    assert {"again", "query", "path"} <= set(served)
    if not hold_s:
        assert served.count("pose") > len(served) / 2, "and the urgent ones still come first"


def test_a_closed_mailbox_ends_the_steps_between_jobs() -> None:
    """However much of a long job's time is left for them."""
    done, steps = threading.Semaphore(0), list[float]()
    mailbox = Mailbox({"map": 1})

    def step() -> bool:
        steps.append(time.monotonic())
        time.sleep(0.01)
        return True

    worker = Worker(lambda: ({"map": lambda _: time.sleep(1.0)}, step), mailbox, done.release)
    mailbox.put(Job("map"))
    worker.start()
    assert done.acquire(timeout=5.0)
    assert worker.stop(0.4), "half a second of steps would be left"
