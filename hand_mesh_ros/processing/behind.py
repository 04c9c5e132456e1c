"""Does work on a thread of its own, a few items behind, in their order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Behind:
    """While the pipeline looks at an image, the hands of the ones before are drawn and written.

    All work, also the last, is done by one thread: SQLite refuses to be used by two.
    """

    def __init__(self, *, at_end: Callable[[], None], depth: int = 4) -> None:
        """Start the thread.

        Args:
            at_end: its last work, whatever happened.
            depth: so much work may wait; then `put` does.
        """
        self._at_end = at_end
        self._queue: queue.Queue[Callable[[], object] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="outputs", daemon=True)
        self._thread.start()

    def put(self, work: Callable[[], object]) -> None:
        """Hand over work; raises what earlier work raised, after which all of it is left undone."""
        self._raise()
        self._queue.put(work)

    def wait(self) -> None:
        """Wait until all is done; raises what the work raised."""
        self._queue.join()
        self._raise()

    def stop(self) -> None:
        """End the thread after what it has; safe to call twice."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            self._do(work)
            self._queue.task_done()
        self._error = None
        self._do(self._at_end)

    def _do(self, work: Callable[[], object]) -> None:
        if self._error is None:
            try:
                work()
            except BaseException as error:  # given on by `put` and `wait`
                self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
