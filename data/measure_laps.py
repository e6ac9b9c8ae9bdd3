"""Where the time of a training step goes: a command of bertnli with a stopwatch, run by measure_cluster.py.

    python data/measure_laps.py FILE finetune --data DIR

Each lap ends with a wait for all that MXNet was given, so that its time is its own. Together the laps are the
step, which is longer than without such waits by what Python would have done meanwhile. Each process that
`launch` starts writes a FILE, its number behind the name. Processors are known from Linux' /proc.
"""

import collections
import json
import os
import sys
import time
from pathlib import Path

from bertnli.app.process import run
from bertnli.cluster import launch
from bertnli.cluster.worker import join_cluster
from bertnli.runtime import mx

_FIRST = 4  # steps that do not count: memory is being found, and servers hear of arrays for the first time


class Stopwatch:
    """Laps of the steps of a training, written to the file `path` at its end: a team's `lap`.

    The file has seconds a step. Of each lap: of the clock, of the processors with all threads of this
    process, and of the processors with Python alone. In all: how long threads of this process were ready to
    run and had none, and what servers and scheduler of its job on this machine took of the processors.
    """

    def __init__(self, path):
        self._path, self._steps, self._last = path, 0, None
        self._laps, self._before = {}, {}

    def __call__(self, name):
        """A lap ends; 'begin' comes before the first step, 'losses' ends a step, 'end' comes after the last.

        Of laps of the same name the sum is told.
        """
        if name == 'end':
            return self._write()
        mx.nd.waitall()
        now, last = _now(), self._last
        self._last = now
        if name == 'begin':
            return
        passed = [after - before for after, before in zip(now, last)]
        self._laps[name] = [a + b for a, b in zip(self._laps.get(name, [0.0] * len(now)), passed)]
        if name == 'losses':
            self._steps += 1
            if self._steps == _FIRST:
                self._laps, self._before, self._last = {}, _elsewhere(), _now()  # in this order

    def _write(self):
        """Write what was found since the first steps."""
        count = self._steps - _FIRST
        if count > 0:
            # subtle: others' time first, for reading it takes time of ours.
            after, names = _elsewhere(), ('seconds', 'processor', 'python')
            elsewhere = {name: (after[name] - self._before.get(name, 0.0)) / count for name in after}
            laps = {lap: {n: x / count for n, x in zip(names, sums)} for lap, sums in self._laps.items()}
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


def main(path, *words):
    """Run a command of bertnli's, each process that trains with a stopwatch."""
    if words[0] == 'launch':
        plain = launch.python_words

        def python_words(role, command):
            return [sys.executable, __file__, path, *command] if role == 'worker' else plain(role, command)

        launch.python_words = python_words
    else:
        team = join_cluster()
        team.lap = Stopwatch(path + os.environ.get('DMLC_RANK', ''))
        team.measured = True
    sys.argv[1:] = words
    run()


if __name__ == '__main__':
    main(*sys.argv[1:])
