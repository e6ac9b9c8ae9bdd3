"""Start the processes of one training on this machine or several, watch them, and end them together.

MXNet's parameter server has three roles: workers train, servers add up gradients, and one scheduler tells
everybody where the others are. This file knows nothing of MXNet: worker.py does.

Each process has a guard, which is this file run as a program, directly or by ssh. The launcher sends its
guards a beat every few seconds. A guard kills its process when the beats stop or their pipe closes, and exits
when its process does, with the same exit code.
"""

import collections
import contextlib
import ctypes
import ipaddress
import itertools
import math
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from ..errors import BertNLIError, SettingsError

_PORT = 9091  # of the scheduler, where no free one can be looked for
_MOST = 1024  # workers, servers, and slots of a host
_LOOK, _BEAT, _SILENCE = 0.1, 2, 12  # seconds between looks, between beats, without one until a guard kills
_GRACE = 5  # seconds in which a process that was told to end should be gone
_STOP = 30  # seconds for the first worker to finish its step and save its state
_GOODBYE = 60  # seconds for workers to exit after their servers have: MXNet can be slow
_MISTAKE = 2  # exit code for a mistake of the reader's, which a restart would not mend
_SSH = ('ssh', '-oBatchMode=yes', '-oConnectTimeout=10', '-oServerAliveInterval=5', '-oServerAliveCountMax=3')


class Host(NamedTuple):
    """A machine: its name for ssh (None: this machine), its address, and how many workers it takes."""

    name: str
    address: str
    slots: int


class Outcome(NamedTuple):
    """How a job ended: an exit code (0, or that of the first failure) and a message."""

    code: int
    message: str


def read_hosts(path):
    """The `Host`s of a file with one `user@host slots` a line; empty lines and `#` comments are skipped.

    The first host also runs the scheduler. Raises `SettingsError` for invalid lines, unknown or duplicate
    hosts, and a loopback address beside other hosts.
    """
    path, hosts = str(path), []
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError('cannot read the hosts file', path, str(error)) from error
    for number, line in enumerate(lines, 1):
        if words := line.partition('#')[0].split():
            hosts.append(_read_host(words, f'{path}, line {number}'))
    if not hosts:
        raise SettingsError('the hosts file is empty', path, allowed='lines such as: user@host 2')
    counts = collections.Counter(host.name for host in hosts)
    if duplicates := ', '.join(sorted(name for name in counts if counts[name] > 1)):
        raise SettingsError('duplicate host', path, duplicates, remedy='write it once, with all slots')
    local = [host.name for host in hosts if ipaddress.ip_address(host.address).is_loopback]
    if local and len(local) < len(hosts):
        problem, remedy = 'other hosts cannot reach a loopback address', 'use its network address'
        raise SettingsError(problem, found=local[0], remedy=remedy)
    return hosts


def _read_host(words, where):
    name, slots, *more = [*words, '1'] if len(words) == 1 else words
    usable = slots.isdecimal() and 1 <= int(slots[:9]) <= _MOST  # Python parses no thousands of digits
    if more or name.startswith('-') or not usable:
        raise SettingsError('invalid line', where, ' '.join(words), f'user@host and 1 to {_MOST} slots')
    return Host(name, address_of(name.rpartition('@')[2], where), int(slots))


def address_of(name, where):
    """The IPv4 address of a host: MXNet listens on addresses, not on names."""
    try:
        return socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    except (OSError, UnicodeError) as error:
        remedy = 'check the spelling, or use its address'
        raise SettingsError('unknown host', where, f'{name}: {error}', remedy=remedy) from error


def check_command(command):
    """Raise `SettingsError` unless it is a training."""
    if not command or command[0] not in ('finetune', 'pretrain'):
        problem, found = 'only finetune and pretrain can be launched', ' '.join(command) or 'nothing'
        remedy = 'write the command after --, such as: bertnli launch --workers 2 -- finetune'
        raise SettingsError(problem, found=found, remedy=remedy)


def check_numbers(workers, servers, restarts=0):
    """Raise `SettingsError` unless a job can have so many processes, and restarts."""
    for name, value, least in (('workers', workers, 1), ('servers', servers, 1), ('restarts', restarts, 0)):
        if not isinstance(value, int) or not least <= value <= _MOST:
            allowed = f'a whole number from {least} to {_MOST}'
            raise SettingsError(f'invalid number of {name}', found=value, allowed=allowed)


def job_variables(workers, servers, port, kvstore):
    """What every process of a job finds in its environment."""
    return {
        'DMLC_PS_ROOT_PORT': str(port or _PORT),
        'DMLC_NUM_WORKER': str(workers),
        'DMLC_NUM_SERVER': str(servers),
        'BERTNLI_KVSTORE': kvstore,
    }


def roles_of(workers, servers):
    """`(role, number)` of every process of a job."""
    counts = {'scheduler': 1, 'server': servers, 'worker': workers}
    return [(role, number) for role, count in counts.items() for number in range(count)]


def role_variables(role, number, address, root):
    """What one process finds in its environment: it listens on `address`, the scheduler on `root`."""
    rank = {'DMLC_RANK': str(number)} if role == 'worker' else {}
    return {'DMLC_ROLE': role, 'DMLC_NODE_HOST': address, 'DMLC_PS_ROOT_URI': root, **rank}


def python_words(role, command):
    """The words that start a process in this role."""
    # With DMLC_ROLE in its environment, a process that imports MXNet serves until the workers have ended.
    words = ['-m', 'bertnli', *command] if role == 'worker' else ['-c', 'import bertnli.runtime']
    return [sys.executable, *words]


def _plan(workers, servers, hosts, variables):
    """The `_Process`es of a job: the scheduler, servers over the hosts in turn, workers by slots."""
    hosts = hosts or [Host(None, '127.0.0.1', workers)]
    slots = [host for host in hosts for _ in range(host.slots)]
    if len(slots) < workers:
        allowed, remedy = f'up to {len(slots)}', 'add slots or hosts'
        raise SettingsError('more workers than slots', found=workers, allowed=allowed, remedy=remedy)
    places = {'scheduler': hosts[:1], 'server': hosts, 'worker': slots[:workers]}
    planned = []
    for role, number in roles_of(workers, servers):
        host = places[role][number % len(places[role])]
        share = {'BERTNLI_SHARE': str(max(1, places['worker'].count(host)))}
        own = role_variables(role, number, host.address, hosts[0].address)
        planned.append(_Process(role, number, host, {**variables, **own, **share}))
    return planned


def launch(command, *, workers, servers=1, hosts=None, port=None, kvstore='dist_sync', restarts=0, say=print):
    """Run a training, `['finetune', …]` or `['pretrain', …]`, in many processes; returns an `Outcome`.

    `hosts` are `Host`s to be reached by ssh. None is this machine, where all listen on the loopback address
    only. A process that fails ends the job. Unless the cause was a mistake of the reader's, the job resumes
    up to `restarts` times from the last saved state. On Ctrl-C and SIGTERM the first worker finishes its step
    and saves its state. `say` is told of restarts. Raises `SettingsError` before anything is started.
    """
    command = list(command)
    check_command(command)
    check_numbers(workers, servers, restarts)
    for restart in itertools.count(1):
        variables = job_variables(workers, servers, port if port or hosts else _free_port(), kvstore)
        job = _Job(_plan(workers, servers, hosts, variables))
        outcome = job.run(command)
        if outcome.code in (0, _MISTAKE) or job.signals or restart > restarts:
            return outcome
        say(f'{outcome.message}; restart {restart} of {restarts}')
        command += [] if '--resume' in command else ['--resume']


def _free_port():
    with socket.create_server(('127.0.0.1', 0)) as probe:
        return probe.getsockname()[1]


class _Process:
    """A process of a job: its role, its guard on this machine (or the ssh to it), and what it says."""

    def __init__(self, role, number, host, variables):
        self.role, self.number, self.host, self.variables = role, number, host, variables
        self.code = None  # how its guard ended

    def __str__(self):
        name = self.role if self.role == 'scheduler' else f'{self.role} {self.number}'
        return f'{name} on {self.host.name}' if self.host.name else name

    def start(self, command):
        words = [sys.executable, '-m', 'bertnli.cluster.launch', *python_words(self.role, command)]
        environ = {**os.environ, **self.variables}
        if self.host.name:  # ssh takes variables as words
            passed = {name: os.environ[name] for name in os.environ if name.startswith(('BERTNLI_', 'OMP_'))}
            variables = [f'{name}={value}' for name, value in {**passed, **self.variables}.items()]
            remote = f'cd {shlex.quote(os.getcwd())} && exec {shlex.join(["env", *variables, *words])}'
            words, environ = [*_SSH, self.host.name, remote], None
        # The first worker prints for all. What the others print matters when they fail.
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 (until the job's end)
        output = None if (self.role, self.number) == ('worker', 0) else self.said
        # Ctrl-C is for the launcher, which decides who ends when: hence a session of its own.
        own = {'stdin': subprocess.PIPE, 'start_new_session': True}
        self.guard = subprocess.Popen(words, env=environ, stdout=output, stderr=output, **own)

    def tell(self, message):
        """Send the guard a beat, `b't'` for the process to end by itself, or b'' for its end now."""
        with contextlib.suppress(OSError, ValueError):  # that a guard is gone is noticed elsewhere
            if message:
                self.guard.stdin.write(message)
                self.guard.stdin.flush()
            else:
                self.guard.stdin.close()


class _Job:
    """All processes of one attempt, and the `signals` that came meanwhile."""

    def __init__(self, processes):
        self.processes, self.running, self.signals = processes, [], []
        self.workers = [one for one in processes if one.role == 'worker']

    def run(self, command):
        """Start all processes, wait until the job is over, end them all; returns its `Outcome`."""
        former = {}
        try:
            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, signal.SIGTERM):
                    former[number] = signal.signal(number, lambda came, _: self.signals.append(came))
            for one in self.processes:
                one.start(command)
                self.running.append(one)
            return self._watch()
        finally:
            self._end()
            for number, handler in former.items():
                signal.signal(number, handler)

    def _wait(self, over, seconds=math.inf):
        """Look after all processes, and send beats, until `over()`, or for so long."""
        until, looks = time.monotonic() + seconds, itertools.count()
        while not over() and time.monotonic() < until:
            time.sleep(_LOOK)
            due = next(looks) % round(_BEAT / _LOOK) == 0
            for one in self.running:
                one.code = one.guard.poll()
                if due:
                    one.tell(b'b')

    def _succeeded(self):
        return all(one.code == 0 for one in self.workers)

    def _watch(self):
        """Wait until all workers have succeeded, anything has failed, or a signal has come."""
        first, others = self.workers[0], [one for one in self.processes if one.role != 'worker']

        def over():
            return self._succeeded() or self.signals or any(one.code for one in self.processes)

        # Servers end when the workers have said goodbye, which is shortly before their own end.
        self._wait(lambda: over() or any(one.code == 0 for one in others))
        self._wait(over, _GOODBYE)
        if self._succeeded():
            return Outcome(0, '')
        if self.signals:
            # The first worker finishes its step and saves the state, unless a second signal comes.
            first.tell(b't')
            self._wait(lambda: first.code is not None or len(self.signals) > 1, _STOP)
            return Outcome(128 + self.signals[0], 'interrupted')
        failed = [one for one in self.processes if one.code] or [one for one in others if one.code == 0]
        return self._failed(failed[0])

    def _failed(self, one):
        """The outcome after the first failure."""
        first, name, code = self.workers[0], one.host.name, one.code
        if code == _MISTAKE and one.role == 'worker':
            # Most mistakes are everybody's, and the first worker reports them.
            self._wait(lambda: first.code is not None, _GRACE)
        if first.code == _MISTAKE:
            return Outcome(_MISTAKE, 'the job failed: see the error of its first worker')
        problem = f'{one} {_in_words(code)}'
        if name and code == 255:
            problem = f'{name} cannot be reached, or was lost'
        if name and code < 0:  # ssh itself: it returns the codes of the other side as positive numbers
            problem = f'ssh to {name} {_in_words(code)}'
        one.said.seek(0)
        lines = one.said.read().decode('utf-8', 'replace').splitlines()[-8:]
        said = ''.join(f'\n  {line}' for line in lines)
        return Outcome(code if 0 < code < 256 else 128 - code, f'the job failed: {problem}{said}')

    def _end(self):
        """End every process, and see that it is gone: after success servers by themselves, else at once."""

        def gone():
            return all(one.code is not None for one in self.running)

        if self._succeeded():
            self._wait(gone, _GRACE)
        for one in self.running:
            one.tell(b'')
        self._wait(gone, _GRACE)
        for one in self.running:
            one.said.close()
            one.guard.kill()  # unless it is gone; the kernel then kills its process
        self._wait(gone, _GRACE)


def _in_words(code):
    """An exit code, as a process or the guard of another one returns it."""
    with contextlib.suppress(ValueError):
        return f'was killed by {signal.Signals(-code if code < 0 else code - 128).name}'
    return 'exited too early' if code == 0 else f'exited with code {code}'


def _guard(words):
    """Run a command until it ends or the beats on standard input do; returns its exit code."""
    if os.environ['DMLC_ROLE'] == 'scheduler':
        check_port(os.environ['DMLC_PS_ROOT_URI'], int(os.environ['DMLC_PS_ROOT_PORT']))
    share = int(os.environ.pop('BERTNLI_SHARE', '1'))
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, len(os.sched_getaffinity(0)) // share)))
    libc = ctypes.CDLL(None)
    # PR_SET_PDEATHSIG: if even the guard is killed, the kernel kills the process.
    die_with_us = {'start_new_session': True, 'preexec_fn': lambda: libc.prctl(1, signal.SIGKILL)}
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, **die_with_us)
    threading.Thread(target=_listen, args=(child,), daemon=True).start()
    try:
        code = child.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # what the process has started goes with it
    return 128 - code if code < 0 else code


def _listen(child):
    """Kill a process when beats fail to come; `t` among them asks it to end by itself."""
    while select.select([0], [], [], _SILENCE)[0] and (beats := os.read(0, 100)):
        if b't' in beats:
            child.terminate()
    child.kill()


def check_port(address, port):
    """Raise `SettingsError` unless this machine can listen there."""
    try:
        socket.create_server((address, port)).close()
    except (OSError, OverflowError) as error:
        problem, where = 'the scheduler cannot listen on its port', f'{address}:{port}'
        remedy = 'choose a free port of the first host with --port'
        raise SettingsError(problem, where, str(error), remedy=remedy) from error


if __name__ == '__main__':
    try:
        sys.exit(_guard(sys.argv[1:]))
    except BertNLIError as error:
        print(f'bertnli: {error}', file=sys.stderr)
        sys.exit(_MISTAKE)
