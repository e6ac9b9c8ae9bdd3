"""Where the time of a training step goes: seconds of its laps, if somebody asks, as `bertnli scaling` does.

Off, as it is unless BERTNLI_LAPS names a file, nothing here costs anything and nobody waits. On, each lap
ends with a wait for all that MXNet was given, so that its time is its own. Together the laps are the step,
which is longer than without such waits by what Python would have done meanwhile.

The loops know what a lap is; this file does not. It knows processors from /proc, where Linux tells of them.
"""

import collections
import json
import os
import time
from pathlib import Path

from ..runtime import mx

_FIRST = 4  # steps that do not count: memory is being found, and servers hear of arrays for the first time


class Stopwatch:
    """Laps of the steps of a training, written to a file; without a `path` every method does nothing.

    The file has seconds a step. Of each lap: of the clock, of the processors with all threads of this
    process, and of the processors with Python alone. In all: how long threads of this process were ready to
    run and had none, and what servers and scheduler of its job on this machine took of the processors.

    >>> Stopwatch().on
    False
    """

    def __init__(self, path=None):
        self._path, self._steps, self._last = path, 0, None
        self._laps, self._before = {}, {}

    def __call__(self, name):
        """What a training tells: laps by name, 'begin' before the first step and 'end' after the last."""
        {'begin': self.start, 'losses': lambda: self.end_step(name), 'end': self.stop}.get(
            name, lambda: self.lap(name)
        )()

    @property
    def on(self):
        """Whether laps are taken."""
        return bool(self._path)

    def start(self):
        """The first lap begins."""
        if self.on:
            mx.nd.waitall()
            self._last = _now()

    def lap(self, name):
        """A lap ends, and the next one begins; of laps of the same name the sum is told."""
        if self.on:
            mx.nd.waitall()
            now = _now()
            passed = [after - before for after, before in zip(now, self._last)]
            self._laps[name] = [a + b for a, b in zip(self._laps.get(name, [0.0] * len(now)), passed)]
            self._last = now

    def end_step(self, name):
        """A step ends with the lap of this name."""
        if self.on:
            self.lap(name)
            self._steps += 1
            if self._steps == _FIRST:
                self._laps, self._before = {}, _elsewhere()

    def stop(self):
        """Write what was found since the first steps."""
        count = self._steps - _FIRST
        if self.on and count > 0:
            # subtle: others' time first, for reading it takes time of ours.
            elsewhere = {
                name: (seconds - self._before.get(name, 0.0)) / count
                for name, seconds in _elsewhere().items()
            }
            laps = {
                name: dict(zip(('seconds', 'processor', 'python'), (sum_ / count for sum_ in sums)))
                for name, sums in self._laps.items()
            }
            Path(self._path).write_text(json.dumps({'steps': count, 'laps': laps, **elsewhere}), 'utf-8')


def _now():
    return time.perf_counter(), time.process_time(), time.thread_time()


def _elsewhere():
    """Seconds that threads of ours were `ready` for a processor, and what other roles of the job used."""
    found = collections.Counter(ready=sum(_seconds_ready(path) for path in Path('/proc/self/task').iterdir()))
    port = os.environ.get('DMLC_PS_ROOT_PORT')
    for path in Path('/proc').glob('[0-9]*') if port else ():
        try:
            words = (path / 'environ').read_bytes().split(b'\0')
            # Behind the name, which is in brackets; fields 14 and 15 of proc(5).
            fields = (path / 'stat').read_text().rpartition(')')[2].split()
        except OSError:  # somebody else's, or gone
            continue
        if f'DMLC_PS_ROOT_PORT={port}'.encode() in words:
            for role in ('server', 'scheduler'):
                if f'DMLC_ROLE={role}'.encode() in words:
                    found[role] += sum(map(int, fields[11:13])) / os.sysconf('SC_CLK_TCK')
    return found


def _seconds_ready(thread):
    try:
        return int((thread / 'schedstat').read_text().split()[1]) / 1e9
    except (OSError, IndexError):  # gone, or a kernel that does not tell
        return 0.0
