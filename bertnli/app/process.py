"""The command `bertnli` as a process: Ctrl-C ends it, at whatever moment, with 130 and without a traceback.

What the command does, cli.py knows; that a training ends its step first, training.py. This file sees to it
that no interrupt is lost: Python swallows the exception of Ctrl-C where no caller could take it (`__del__`,
callbacks), libraries turn it into other errors or drop it, and MXNet's own exit may take long.
"""

import contextlib
import os
import signal
import sys
import time

_GRACE = 10  # seconds in which what was interrupted may clean up
_AGAIN = 0.02  # seconds until an interrupt that Python has swallowed is tried once more
_CODE = 128 + signal.SIGINT


class _Interrupt:
    """The handler of Ctrl-C, and of the alarm with which it sees later what has become of it.

    The first Ctrl-C is a `KeyboardInterrupt` where that can be caught; a second one, or a first one that has
    not ended the process after `_GRACE` seconds, ends it as `kill` would, which loses no state.
    """

    def __init__(self):
        self.until, self._raised = None, False

    def begin(self):
        """Handle Ctrl-C, unless it is ignored (as in background jobs) or handled outside of Python."""
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGALRM, self)
            signal.signal(signal.SIGINT, self)
            sys.unraisablehook = self._swallowed

    def end(self):
        """From here on Ctrl-C ends the process at once: nothing is left that could be caught."""
        if signal.getsignal(signal.SIGINT) is self:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def __call__(self, number, frame):
        now = time.monotonic()
        self.until = self.until or now + _GRACE
        if self._raised or now >= self.until or not _can_raise(frame):
            _tell()
            os._exit(_CODE)
        self._raised = True
        signal.setitimer(signal.ITIMER_REAL, max(_AGAIN, self.until - now))
        raise KeyboardInterrupt

    def _swallowed(self, unraisable):
        if self._raised and issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._raised = False
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        else:
            sys.__unraisablehook__(unraisable)


def _tell():
    with contextlib.suppress(OSError):
        os.write(2, b'\nbertnli: interrupted\n')


def _can_raise(frame):
    """Whether an exception here ends the command in an orderly way.

    Around `main` nobody would catch it. In the middle of an import, libraries written in C print it and claim
    to be missing; there is nothing to clean up.
    """
    codes = [frame.f_code]
    while frame := frame.f_back:
        codes.append(frame.f_code)
    around = codes[0] is run.__code__ or {_Interrupt.begin.__code__, _Interrupt.end.__code__} & {*codes}
    return not around and all(code.co_filename != '<frozen importlib._bootstrap>' for code in codes)


def run():
    """Be the command; does not return."""
    interrupt = _Interrupt()
    interrupt.begin()
    try:
        from .cli import end_at_once, main  # lazy: Ctrl-C may come while it loads

        main()
    except SystemExit as done:
        code = done.code
    except BaseException:
        if interrupt.until is None:
            raise
        _tell()
        code = _CODE
    interrupt.end()
    if interrupt.until is not None:  # whatever somebody has made of it
        code = _CODE
    if code in (_CODE, 128 + signal.SIGTERM):
        # Nobody who has said stop wants to wait for MXNet's goodbye, and nothing is left to do.
        end_at_once(code)
    sys.exit(code)


if __name__ == '__main__':
    run()
