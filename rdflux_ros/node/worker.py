"""One thread owns the model; callbacks only leave work in its mailbox."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

WORK_SHARE = 0.5
"""Of a job's time is given to the work between jobs: where jobs always wait, it must get on, too."""
WORK = "work"
"""Kind of the steps between jobs; only one that failed is left in `finished`."""


@dataclass(frozen=True)
class Job:
    """Work of one kind; `generation` tells whether its result is still wanted when it is done."""

    kind: str
    payload: Any = None
    generation: int = 0
    steps: Generator[None, None, Any] | None = None
    """What is left of a job that was begun."""


class ReplacedError(Exception):
    """A job that was begun lost its place to newer ones."""


@dataclass(frozen=True)
class Done:
    """A job with what came of it: exactly one of `result` and `error` counts (error None = success)."""

    job: Job
    result: Any = None
    error: Exception | None = None
    unfinished: bool = False
    """The job has steps left."""


class Mailbox:
    """Bounded queues by kind, served in the order in which the kinds are given; a full one loses its oldest job.

    A capacity of 1 makes the latest win.
    """

    def __init__(self, capacities: Mapping[str, int]) -> None:
        self._queues = {kind: deque[Job](maxlen=capacity) for kind, capacity in capacities.items()}
        self._not_before = dict.fromkeys(capacities, 0.0)
        self._changed = threading.Condition()
        self._closed = False

    def put(self, job: Job) -> bool:
        """Leave a job; never blocks. Whether an older one of its kind was lost for it."""
        with self._changed:
            queue = self._queues[job.kind]
            full = len(queue) == queue.maxlen
            queue.append(job)
            self._changed.notify()
            return full

    def put_back(self, job: Job) -> bool:
        """Leave the rest of a job in front of its kind; False where newer ones have taken all places."""
        with self._changed:
            queue = self._queues[job.kind]
            if len(queue) == queue.maxlen:
                return False
            queue.appendleft(job)
            return True

    def clear(self, kind: str) -> int:
        """Forget what waits of one kind; how many jobs that were."""
        with self._changed:
            waiting = len(self._queues[kind])
            self._queues[kind].clear()
            return waiting

    def hold(self, kind: str, seconds: float) -> None:
        """Hand out nothing of this kind for so long from now; meanwhile newer jobs may replace older ones."""
        with self._changed:
            self._not_before[kind] = time.monotonic() + seconds
            self._changed.notify()

    def close(self) -> None:
        """End: `take` returns None from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Nothing is handed out any more."""
        return self._closed

    def take(self, *, wait: bool = True) -> Job | None:
        """The next job in order of kinds; waits for one. None once closed, or where there is none to `wait` for."""
        with self._changed:
            while not self._closed:
                waiting = [kind for kind, queue in self._queues.items() if queue]
                now = time.monotonic()
                for kind in waiting:
                    if self._not_before[kind] <= now:
                        return self._queues[kind].popleft()
                if not wait:
                    return None
                self._changed.wait(min((self._not_before[kind] - now for kind in waiting), default=None))
            return None


class Worker:
    """The thread that builds the handlers of all kinds, serves the mailbox with them and leaves what was done.

    A handler that returns a generator is advanced one step at a time, and more urgent kinds go first between its
    steps; its return value is the job's result. Work that nobody waits for is done in small steps, too: after each job
    for a share of the time that it took, one step at least, and while there is no job.

    Parameters
    ----------
    build
        Runs first, in the thread; returns a handler by kind, and the step between jobs, which returns whether more is
        left. What it raises is raised by `start`.
    mailbox
        Where the jobs come from.
    notify
        Called from the thread after each `Done`; results wait in `finished`.
    """

    def __init__(
        self,
        build: Callable[[], tuple[Mapping[str, Callable[[Any], Any]], Callable[[], bool]]],
        mailbox: Mailbox,
        notify: Callable[[], None],
    ) -> None:
        self._build, self._notify = build, notify
        self.mailbox = mailbox
        self._finished: deque[Done] = deque()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="mapper", daemon=True)

    def start(self) -> None:
        """Start the thread and wait until it is ready."""
        self._thread.start()
        self._ready.result()

    def stop(self, timeout_s: float) -> bool:
        """Close the mailbox and wait for the job at hand; whether the thread has ended."""
        self.mailbox.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def finished(self) -> list[Done]:
        """What was done since the last call, oldest first."""
        return [self._finished.popleft() for _ in range(len(self._finished))]

    def _run(self) -> None:
        try:
            handlers, work = self._build()
        except Exception as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        left = False
        while not self.mailbox.closed:
            job = self.mailbox.take(wait=not left)
            begun = time.monotonic()
            if job is not None:
                self._serve(handlers[job.kind], job)
            if job is not None or left:
                end = time.monotonic() + WORK_SHARE * (time.monotonic() - begun)
                left = self._step(work)
                while left and time.monotonic() < end:
                    left = self._step(work)

    def _step(self, work: Callable[[], bool]) -> bool:
        """A step of the work between jobs; whether more is left."""
        step = attempt(lambda _: work(), Job(WORK))
        if step.error is not None:
            self._leave(step)
        return bool(step.result)

    def _serve(self, handler: Callable[[Any], Any], job: Job) -> None:
        done = attempt(handler, job)
        if not done.unfinished:
            self._leave(done)
        elif not self.mailbox.put_back(done.job):
            self._leave(Done(done.job, error=ReplacedError()))

    def _leave(self, done: Done) -> None:
        self._finished.append(done)
        self._notify()


def attempt(handler: Callable[[Any], Any], job: Job) -> Done:
    """Run one job or its next step; an exception becomes its outcome, since the thread must outlive it."""
    try:
        if job.steps is None:
            result = handler(job.payload)
            if not isinstance(result, Generator):
                return Done(job, result)
            job = replace(job, steps=result)
        assert job.steps is not None
        next(job.steps)
    except StopIteration as end:
        return Done(job, end.value)
    except Exception as error:
        return Done(job, error=error)
    return Done(job, unfinished=True)
