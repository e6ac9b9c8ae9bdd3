"""Ctrl-C, SIGTERM and a closed terminal while a training runs: the step ends first."""

import contextlib
import os
import signal
import stat
import threading


class Stopped(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP, at the end of a step; `signal` is its number, `last` the step kept."""

    def __init__(self, signal, steps, last):
        self.signal, self.last = signal, last
        resume = '' if last is None else f'; the state of step {last} is kept'
        super().__init__(f'interrupted after step {steps}{resume}')


@contextlib.contextmanager
def noted_signals(terminate=False):
    """A list that receives Ctrl-C (with `terminate` SIGTERM and SIGHUP, too), so that a step can end first.

    A second signal acts as it would have without us, and so does one that nobody looked at before the end.
    Only the main thread may do this; in others nothing is changed.
    """
    noted, former, owner = [], {}, os.getpid()

    def restore():
        while former:
            signal.signal(*former.popitem())

    def note(number, _):
        restore()
        # subtle: a worker that was forked meanwhile has this handler too, and must end when it is told.
        if os.getpid() != owner:
            signal.raise_signal(number)
        if number == signal.SIGHUP:
            _leave_terminal()
        noted.append(number)

    if threading.current_thread() is threading.main_thread():
        more = (signal.SIGTERM, signal.SIGHUP) if terminate else ()
        for number in (signal.SIGINT, *more):
            # What is ignored (as Ctrl-C in background jobs) or handled outside of Python stays so.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                former[number] = signal.getsignal(number)
                signal.signal(number, note)
    try:
        yield noted
    finally:
        restore()
    if noted:
        signal.raise_signal(noted[0])


def _leave_terminal():
    """Where a terminal was closed, every word to it would be an error, in the middle of a step."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
