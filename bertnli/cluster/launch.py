"""Start the processes of one training on this machine or several, watch them, and end them together.

MXNet's parameter server has three roles: workers train, servers add up their gradients, and one scheduler
tells everybody where the others are. This file starts them, by itself or with ssh, and sees to it that they
end together, whatever happens to any of them. It knows nothing of MXNet: what the processes do, devices.py
and the trainings know.

Each process has a guard, which is this file run as a program. The launcher writes a beat to its guards every
few seconds; a guard ends its process when the beats stop or their pipe ends, and ends itself, with the exit
code of its process, when that ends.
"""

import collections
import contextlib
import ctypes
import ipaddress
import os
import queue
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from ..errors import BertNLIError, SettingsError

_BEAT, _SILENCE = 2, 12  # seconds from beat to beat, and without one until a guard ends its process
_GRACE = 5  # seconds in which a process that was asked to end should be gone
_STOP = 30  # seconds for the first worker to end its step and keep its state
_GOODBYE = 60  # seconds for workers to end after their servers, which they have sent home; exits can be slow
_PORT = 9091  # of the scheduler, where no free one can be looked for
_MISTAKE = 2  # exit code of a command that told a mistake of the reader's: a restart would not help
_SSH = ('ssh', '-oBatchMode=yes', '-oConnectTimeout=10', '-oServerAliveInterval=5', '-oServerAliveCountMax=3')
_PR_SET_PDEATHSIG = 1  # Linux, <sys/prctl.h>
# With these in its environment a process that imports MXNet serves until the workers have ended.
_SERVE = 'import bertnli.runtime'


class Host(NamedTuple):
    """A machine: its name as ssh takes it (None for this one), its address, and how many workers it takes."""

    name: str
    address: str
    slots: int


class Outcome(NamedTuple):
    """How a job ended: an exit code (0, or that of what failed first) and what there is to say of it."""

    code: int
    message: str


class _Plan(NamedTuple):
    """One process of a job."""

    role: str
    number: int
    host: Host
    variables: dict

    def __str__(self):
        name = self.role if self.role == 'scheduler' else f'{self.role} {self.number}'
        return f'{name} on {self.host.name}' if self.host.name else name


def read_hosts(path):
    """The `Host`s of a file, one a line: `user@host slots`; empty lines and `#` comments are left out.

    The first one also gets the scheduler. Raises `SettingsError` with the line's number for what cannot be
    read, a host that has no address, or a first host that is only known as this machine.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError('the list of hosts cannot be read', where=str(path), found=str(error)) from error
    hosts = []
    for number, line in enumerate(lines, 1):
        words = line.partition('#')[0].split()
        if words:
            hosts.append(_read_host(words, f'{path}, line {number}'))
    if not hosts:
        raise SettingsError(
            'the list of hosts is empty', where=str(path), allowed='lines such as: user@host 2'
        )
    names = [host.name for host in hosts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(
            'a host stands twice in the list',
            where=str(path),
            found=', '.join(twice),
            remedy='write one line with the sum of both slots',
        )
    local = [host.name for host in hosts if ipaddress.ip_address(host.address).is_loopback]
    if local and len(local) < len(hosts):
        raise SettingsError(
            'the other hosts cannot reach this one under its name',
            where=str(path),
            found=f'{local[0]}, which is the loopback address here',
            allowed='names or addresses that mean the same on every host',
            remedy='write the address that it has in your network',
        )
    return hosts


def _read_host(words, where):
    name, slots = words[0], words[1] if len(words) > 1 else '1'
    if len(words) > 2 or not slots.isdecimal() or int(slots) < 1 or name.startswith('-'):
        raise SettingsError(
            'a line of the list of hosts cannot be read',
            where=where,
            found=' '.join(words),
            allowed='user@host and the number of its workers',
            remedy='write a line such as: user@host 2',
        )
    return Host(name, _address_of(name.rpartition('@')[2], where), int(slots))


def _address_of(name, where):
    """The IPv4 address of a host: MXNet listens on addresses, not on names."""
    try:
        return socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    except (OSError, UnicodeError) as error:
        raise SettingsError(
            'a host has no address',
            where=where,
            found=f'{name}: {error}',
            allowed='a name that this machine can look up, or an IPv4 address',
            remedy='see the spelling, or write the address',
        ) from error


def _check_numbers(workers, servers, restarts):
    for name, value, least in (('workers', workers, 1), ('servers', servers, 1), ('restarts', restarts, 0)):
        if not isinstance(value, int) or value < least:
            raise SettingsError(
                f'the number of {name} is not usable',
                where=name,
                found=value,
                allowed=f'a whole number from {least}',
            )


def _check_command(command):
    if not command or command[0] not in ('finetune', 'pretrain'):
        raise SettingsError(
            'only a training can be launched',
            where='bertnli launch',
            found=' '.join(command) or 'nothing',
            allowed='finetune or pretrain, with their options, after --',
            remedy='bertnli launch --workers 2 -- finetune',
        )


def _plan(workers, servers, hosts, port, kvstore):
    """The processes of a job: the scheduler, the servers in turn over the hosts, workers by slots."""
    hosts = hosts or [Host(None, '127.0.0.1', workers)]
    places = [host for host in hosts for _ in range(host.slots)]
    if len(places) < workers:
        raise SettingsError(
            'there are more workers than places for them',
            where='workers',
            found=workers,
            allowed=f'up to {len(places)}, the slots of all hosts',
            remedy='add hosts or slots, or start fewer workers',
        )
    common = {
        'DMLC_PS_ROOT_URI': hosts[0].address,
        'DMLC_PS_ROOT_PORT': str(port),
        'DMLC_NUM_WORKER': str(workers),
        'DMLC_NUM_SERVER': str(servers),
        'BERTNLI_KVSTORE': kvstore,
    }
    roles = [('scheduler', 0, hosts[0])]
    roles += [('server', i, hosts[i % len(hosts)]) for i in range(servers)]
    roles += [('worker', i, places[i]) for i in range(workers)]
    sharing = collections.Counter(host for role, _, host in roles if role == 'worker')
    return [
        _Plan(
            role,
            number,
            host,
            {
                **common,
                'DMLC_ROLE': role,
                'DMLC_NODE_HOST': host.address,  # the only address this process listens on
                'BERTNLI_SHARE': str(max(1, sharing[host])),
                **({'DMLC_RANK': str(number)} if role == 'worker' else {}),
            },
        )
        for role, number, host in roles
    ]


def launch(
    command,
    *,
    workers,
    servers=1,
    hosts=None,
    port=None,
    kvstore='dist_sync',
    restarts=0,
    ssh=_SSH,
    say=print,
):
    """Run a training, `['finetune', …]` or `['pretrain', …]`, in many processes; returns an `Outcome`.

    `hosts` are `Host`s to be reached with `ssh`, or None for this machine, where nothing listens beyond the
    loopback address. A process that fails ends the job; unless a mistake of the reader's was the cause, it is
    begun again up to `restarts` times from the last state that was kept. Ctrl-C and SIGTERM let the first
    worker end its step and keep its state. `say` is told what happens in between.

    Raises `SettingsError` before anything is started.
    """
    _check_numbers(workers, servers, restarts)
    command = list(command)
    _check_command(command)
    for attempt in range(restarts + 1):
        job = _Job(_plan(workers, servers, hosts, port or _free_port(hosts), kvstore), command, ssh)
        outcome = job.run()
        if outcome.code in (0, _MISTAKE) or job.stopped or attempt == restarts:
            return outcome
        say(f'{outcome.message}; restart {attempt + 1} of {restarts}')
        command = [*command, *(['--resume'] if '--resume' not in command else [])]
    raise AssertionError('unreachable')


def _free_port(hosts):
    """A free port of this machine; on another host nobody can look, and a usual one is taken."""
    if hosts:
        return _PORT
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class _Running:
    """A process that was started: its plan, its guard here (or the ssh to it), and its last lines."""

    def __init__(self, plan, command, ssh, ended):
        self.plan, self.code, self.lines = plan, None, collections.deque(maxlen=20)
        # The first worker speaks for all; of the others something is shown when it matters.
        heard = plan.role == 'worker' and plan.number == 0
        words, variables = _guarded(plan, command, ssh)
        self.process = subprocess.Popen(
            words,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=None if heard else subprocess.PIPE,
            stderr=None if heard else subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us: we decide who ends when
        )
        self.watcher = threading.Thread(target=self._watch, args=(ended,), daemon=True)
        self.watcher.start()

    def _watch(self, ended):
        if self.process.stdout:
            with self.process.stdout as lines:
                self.lines.extend(line.decode('utf-8', 'replace').rstrip() for line in lines)
        self.process.wait()
        ended.put(self)

    def tell(self, byte):
        """Write to the guard; one that is gone has been noticed elsewhere."""
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.write(byte)
            self.process.stdin.flush()

    def hang_up(self):
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.close()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def _guarded(plan, command, ssh):
    """The words that start a process with its guard, and what they need in the environment."""
    python = [sys.executable, '-m']
    does = [*python, 'bertnli', *command] if plan.role == 'worker' else [sys.executable, '-c', _SERVE]
    words = [*python, 'bertnli.cluster.launch', *does]
    if plan.host.name is None:
        return words, plan.variables
    passed = {**plan.variables, **{k: v for k, v in os.environ.items() if k.startswith(('BERTNLI_', 'OMP_'))}}
    variables = [f'{name}={value}' for name, value in {**passed, **plan.variables}.items()]
    remote = f'cd {shlex.quote(os.getcwd())} && exec {shlex.join(["env", *variables, *words])}'
    return [*ssh, plan.host.name, remote], {}


class _Job:
    """All processes of one attempt."""

    def __init__(self, plans, command, ssh):
        self.plans, self.command, self.ssh = plans, command, ssh
        self.stopped = 0  # the signal that we were stopped with
        self.ended = queue.SimpleQueue()  # processes that ended, and signals that came
        self.running = []

    def run(self):
        former = {}
        try:
            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, signal.SIGTERM):
                    former[number] = signal.signal(number, lambda number, _: self.ended.put(number))
            for plan in self.plans:
                self.running.append(_Running(plan, self.command, self.ssh, self.ended))
            return self._watch()
        finally:
            self._end()
            for number, handler in former.items():
                signal.signal(number, handler)

    def _workers(self):
        return [one for one in self.running if one.plan.role == 'worker']

    def _next(self, seconds):
        """What ended next, or None after some seconds; the guards hear beats meanwhile."""
        until = time.monotonic() + seconds
        while True:
            for one in self.running:
                one.tell(b'b')
            left = until - time.monotonic()
            try:
                found = self.ended.get(timeout=max(0.01, min(left, _BEAT)))
            except queue.Empty:
                if left <= _BEAT:
                    return None
                continue
            if isinstance(found, _Running):
                found.code = found.process.returncode
            return found

    def _watch(self):
        """Wait until all workers have ended well, anything has ended badly, or we are told to stop."""
        until, done = float('inf'), None
        while not all(one.code == 0 for one in self._workers()):
            found = self._next(until - time.monotonic())
            if isinstance(found, int):
                self.stopped = found
                return self._stop()
            if found is None:
                return self._failed(done)
            if found.code:
                return self._failed(found)
            if found.plan.role != 'worker':
                # The servers end when the workers have said goodbye, which is shortly before their own end.
                until, done = min(until, time.monotonic() + _GOODBYE), found
        return Outcome(0, '')

    def _stop(self):
        """Let the first worker end its step: it keeps the state for all."""
        first, until = self._workers()[0], time.monotonic() + _STOP
        first.tell(b't')
        while first.code is None and time.monotonic() < until:
            found = self._next(until - time.monotonic())
            if isinstance(found, int):  # a second signal does not wait
                break
        return Outcome(128 + self.stopped, 'interrupted')

    def _failed(self, found):
        """What to say of the process that ended first."""
        first, plan, code = self._workers()[0], found.plan, found.code
        if code == _MISTAKE and plan.role == 'worker' and found is not first:
            # Most mistakes are everybody's, and the first worker tells them.
            until = time.monotonic() + _GRACE
            while first.code is None and time.monotonic() < until:
                self._next(until - time.monotonic())
        if first.code == _MISTAKE:
            return Outcome(_MISTAKE, 'the job has ended, because its first worker met a mistake')
        problem = f'{plan} {_in_words(code)}'
        if plan.host.name and code == 255:
            problem = f'{plan.host.name} cannot be reached, or was lost'
        if plan.host.name and code < 0:  # of what runs there, ssh tells a code from 0
            problem = f'the ssh to {plan.host.name} {_in_words(code)}'
        said = ''.join(f'\n  {line}' for line in list(found.lines)[-8:])
        return Outcome(code if 0 < code < 256 else 128 - code, f'the job has ended: {problem}{said}')

    def _end(self):
        """Let every process end, and see that it did: servers by themselves after success, others at once."""
        if self.running and all(one.code == 0 for one in self._workers()):
            until = time.monotonic() + _GRACE
            while any(one.code is None for one in self.running) and time.monotonic() < until:
                self._next(until - time.monotonic())
        for one in self.running:
            one.hang_up()
        until = time.monotonic() + _GRACE
        for one in self.running:
            one.watcher.join(max(0.0, until - time.monotonic()))
        for one in self.running:
            if one.process.poll() is None:
                one.kill()
            one.watcher.join(_GRACE)


def _in_words(code):
    """An exit code, as a process or the guard of another one gives it."""
    number = -code if code < 0 else code - 128 if code > 128 else None
    if number in {int(one) for one in signal.Signals}:
        return f'was ended by {signal.Signals(number).name}'
    return 'ended too early' if code == 0 else f'ended with exit code {code}'


def _guard(words):
    """Run a command until it ends or the beats on standard input do; returns its exit code."""
    if os.environ['DMLC_ROLE'] == 'scheduler':
        _check_port(os.environ['DMLC_PS_ROOT_URI'], int(os.environ['DMLC_PS_ROOT_PORT']))
    share = int(os.environ.pop('BERTNLI_SHARE', '1'))
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, len(os.sched_getaffinity(0)) // share)))
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    libc = ctypes.CDLL(None)
    child = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        # If even the guard is killed, the kernel ends the process.
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    try:
        while child.poll() is None:
            ready = select.select([0, woken], [], [], _SILENCE)[0]
            if woken in ready:
                os.read(woken, 100)
            beats = os.read(0, 100) if 0 in ready else None
            if beats and b't' in beats:
                child.terminate()
            if beats == b'' or not ready:
                break
    finally:
        # What the process has started goes with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    code = child.wait()
    return 128 - code if code < 0 else code


def _check_port(address, port):
    """Raise `SettingsError` unless this machine can listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise SettingsError(
                'the scheduler cannot listen on its port',
                where=f'{address}:{port}',
                found=error.strerror,
                allowed='a free port of an address of the first host',
                remedy='choose another one with --port, or look for what else listens there',
            ) from error


if __name__ == '__main__':
    try:
        sys.exit(_guard(sys.argv[1:]))
    except BertNLIError as error:
        print(f'bertnli: {error}', file=sys.stderr)
        sys.exit(_MISTAKE)
