"""Ctrl-C and SIGTERM while a training runs: the step ends first."""

import contextlib
import os
import signal
import threading


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, at the end of a step; `signal` is its number, `last` the step last kept or None."""

    def __init__(self, signal, steps, last):
        self.signal, self.last = signal, last
        resume = '' if last is None else f'; the state of step {last} is kept'
        super().__init__(f'interrupted after step {steps}{resume}')


@contextlib.contextmanager
def noted_signals(terminate=False):
    """A list that receives Ctrl-C (with `terminate` also SIGTERM), so that a step can end before a stop.

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
        noted.append(number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM) if terminate else (signal.SIGINT,):
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
