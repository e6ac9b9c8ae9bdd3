"""The command `bertnli` as a process: Ctrl-C ends it at any moment, with 130 and without a traceback.

What the command does is in cli.py; that a training first ends its step, and says how to resume, in
machine/signals.py. This file makes sure that no Ctrl-C is lost: libraries turn its exception into another one
or drop it, Python drops it where no caller could catch it (`__del__`, callbacks), and MXNet may exit slowly.
"""

import contextlib
import os
import re
import signal
import sys
import traceback
import warnings

_GRACE = 10  # seconds to clean up after the first Ctrl-C
_CODE = 128 + signal.SIGINT


class _Interrupt:
    """The handler of Ctrl-C: the first one raises `KeyboardInterrupt`; a second, or an alarm, exits."""

    came = False

    def install(self):
        """Handle Ctrl-C, unless it is ignored (as in background jobs) or handled outside of Python."""
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # Python calls these hooks to print what nobody caught; so do C extensions, in the middle of an
            # import too. There is nothing left to clean up.
            sys.excepthook = lambda *error: self._uncaught(error[0]) or sys.__excepthook__(*error)
            sys.unraisablehook = lambda one: self._uncaught(one.exc_type) or sys.__unraisablehook__(one)
            signal.signal(signal.SIGALRM, self)
            signal.signal(signal.SIGINT, self)

    def __call__(self, *_):
        if self.came:
            _end()
        self.came = True
        signal.alarm(_GRACE)
        raise KeyboardInterrupt

    def _uncaught(self, kind):
        if self.came and issubclass(kind, KeyboardInterrupt):
            _end()


def _end():
    with contextlib.suppress(OSError):
        os.write(2, b'\nbertnli: interrupted\n')
    os._exit(_CODE)


def visible(text, stream):
    """Text for a stream: on a terminal its control characters are shown, not obeyed."""
    if stream is None or not stream.isatty():
        return text
    return re.sub(r'[\x00-\x08\x0b-\x1f\x7f-\x9f]', lambda one: repr(one.group())[1:-1], text)


def in_cluster():
    """Whether this process is one of the workers of a cluster."""
    return os.environ.get('DMLC_ROLE') == 'worker'


def _end_at_once(code):
    """End this process without cleaning up."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more
            stream.flush()
    os._exit(code or 0)


class _Closed:
    """In place of a standard input that was closed."""

    def __getattr__(self, name):
        from ..errors import SettingsError  # lazy: the first line of all is Ctrl-C's

        raise SettingsError('standard input is closed', remedy='send it a file, or a pipe')


def _prepare_streams():
    """No file of ours may take the number of a closed standard stream; answers go through `visible`."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stdin is None:
        sys.stdin = _Closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, 'w')  # noqa: SIM115 (until the end)
    if sys.stdout is not None and sys.stdout.isatty():
        write = sys.stdout.write
        sys.stdout.write = lambda text: write(visible(text, sys.stdout))
    warnings.formatwarning = lambda message, *_: visible(f'bertnli: {message}\n', sys.stderr)


def run(command=None):
    """Be the `command`, or else `bertnli` itself; does not return."""
    interrupt = _Interrupt()
    interrupt.install()
    _prepare_streams()
    code = 0
    try:
        from .cli import main  # lazy: Ctrl-C may come while it loads

        (command or main)()
    except SystemExit as done:
        code = done.code
    except BaseException:
        if not interrupt.came:
            if not in_cluster():
                raise
            traceback.print_exc()
            code = 1
    if signal.getsignal(signal.SIGINT) is interrupt:  # from here on nobody could catch its exception
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if code in (_CODE, 128 + signal.SIGTERM, 128 + signal.SIGHUP):
        # Whoever said stop does not want to wait for MXNet's own exit.
        _end_at_once(code)
    if interrupt.came:  # whatever became of it
        _end()
    if in_cluster():  # where MXNet's exit would wait for workers that wait for us
        _end_at_once(code)
    sys.exit(code)
