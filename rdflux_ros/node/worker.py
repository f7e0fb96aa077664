"""One thread owns the model; callbacks only leave work in its mailbox."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

WORK_SHARE = 0.5
"""Of a job's time is given to the work between jobs: where jobs always wait, it must get on, too."""
PATIENCE_S = 0.5
"""How long a kind of jobs lets more urgent ones go first [s]."""
GIVE_WAY_S = 1e-3
"""The thread that publishes goes first: on few cores it would wait for the rest of this one's time slice [s]."""
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

    A capacity of 1 makes the latest win. A kind that was passed over for `PATIENCE_S` is served once before the more
    urgent ones, so that those which never end starve none.
    """

    def __init__(self, capacities: Mapping[str, int]) -> None:
        self._queues = {kind: deque[Job](maxlen=capacity) for kind, capacity in capacities.items()}
        self._begun: dict[str, Job] = {}
        self._passed_over: dict[str, float] = {}
        self._cleared = dict.fromkeys(capacities, False)
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

    def put_back(self, job: Job) -> None:
        """Leave the rest of a job that was begun: it goes on before newer ones of its kind.

        One whose kind was cleared meanwhile is forgotten.
        """
        with self._changed:
            if not self._cleared[job.kind]:
                self._begun[job.kind] = job

    def clear(self, kind: str) -> int:
        """Forget what waits of one kind; how many jobs that were."""
        with self._changed:
            waiting = len(self._queues[kind]) + (self._begun.pop(kind, None) is not None)
            self._queues[kind].clear()
            self._passed_over.pop(kind, None)
            self._cleared[kind] = True
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
                waiting = [kind for kind, queue in self._queues.items() if queue or kind in self._begun]
                now = time.monotonic()
                if ready := [kind for kind in waiting if self._not_before[kind] <= now]:
                    return self._handed_out(ready, now)
                if not wait:
                    return None
                self._changed.wait(min((self._not_before[kind] - now for kind in waiting), default=None))
            return None

    def _handed_out(self, ready: Sequence[str], now: float) -> Job:
        late = [kind for kind in ready if now - self._passed_over.get(kind, now) > PATIENCE_S]
        kind = min(late, key=self._passed_over.__getitem__) if late else ready[0]
        for other in ready:
            self._passed_over.setdefault(other, now)
        del self._passed_over[kind]
        self._cleared[kind] = False
        return self._begun.pop(kind) if kind in self._begun else self._queues[kind].popleft()


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
                while left and not self.mailbox.closed and time.monotonic() < end:
                    left = self._step(work)

    def _step(self, work: Callable[[], bool]) -> bool:
        """A step of the work between jobs; whether more is left."""
        step = attempt(lambda _: work(), Job(WORK))
        if step.error is not None:
            self._leave(step)
        return bool(step.result)

    def _serve(self, handler: Callable[[Any], Any], job: Job) -> None:
        done = attempt(handler, job)
        if done.unfinished:
            self.mailbox.put_back(done.job)
        else:
            self._leave(done)

    def _leave(self, done: Done) -> None:
        self._finished.append(done)
        self._notify()
        time.sleep(GIVE_WAY_S)


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
