"""Three hosts on one machine: network namespaces with shaped links, and an sshd each. Only root may do this.

A host has its own interfaces, addresses and ports, and shares the files, as machines with a common folder do.
A switch, which is a namespace too, joins them: nothing appears in the machine's own network. How ssh gets in
(a key, known hosts) stands where an administrator writes it, in /etc/ssh/ssh_config, of which what runs on
such a host sees one that is thrown away afterwards.

    python tests/cluster/hosts.py --rate 100mbit --list hosts.txt bertnli launch --hosts hosts.txt -- finetune

runs a command on the first of them.
"""

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

TOOLS = ('ip', 'tc', 'ss', 'ssh', 'sshd', 'ssh-keygen')
SSHD = """\
ListenAddress {address}
HostKey {folder}/host-key
AuthorizedKeysFile {folder}/user-key.pub
PidFile none
StrictModes no
UsePAM no
"""
SSH = """\
Host 10.77.0.*
  IdentityFile {folder}/user-key
  UserKnownHostsFile {folder}/known-hosts
  StrictHostKeyChecking yes
"""


def command(*words):
    subprocess.run([*map(str, words)], check=True, capture_output=True, text=True, timeout=30)


class Host(NamedTuple):
    """A namespace with one address; `into` are the words that lead into it, `link` its plug in the switch."""

    name: str
    address: str
    into: tuple
    link: tuple

    def pids(self):
        words = ['ip', 'netns', 'pids', self.name]
        return map(int, subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())

    def processes(self):
        """All that runs there but sshd and its sessions, which are the machine's and not the job's."""
        found = []
        for pid in self.pids():
            try:
                one = psutil.Process(pid)
                if not one.name().startswith('sshd') and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(one)
            except psutil.NoSuchProcess:
                continue
        return found

    def listening(self):
        """The addresses on which anything listens there, with their ports."""
        lines = subprocess.run([*self.into, 'ss', '-Htln'], capture_output=True, text=True, check=True).stdout
        return {tuple(line.split()[3].rsplit(':', 1)) for line in lines.splitlines()}

    def plug(self, state):
        """`up`, or `down`, which cuts the link."""
        command(*self.link, state)

    def has_sent(self):
        """Bytes that have left the host since it was made."""
        words = [*self.into, 'cat', '/proc/net/dev']
        lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
        [line] = (line for line in lines if line.strip().startswith('eth0:'))
        return int(line.split()[9])

    def inside(self, folder):
        """The words before a command that is to run there, with the ssh_config of `three_hosts`."""
        path = shlex.quote(str(Path(folder, 'ssh_config')))
        # `ip netns exec` gives a view of the files in which such a mount is seen by nobody else.
        return (*self.into, 'sh', '-c', f'mount --bind {path} /etc/ssh/ssh_config; exec "$@"', 'sh')


def why_not():
    """Why there can be no such hosts here, or None."""
    if os.getuid():
        return 'only root may make network namespaces'
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f'not installed: {", ".join(missing)}'
    probe = f'bertnli-{os.getpid()}-probe'
    if subprocess.run(['ip', 'netns', 'add', probe], capture_output=True).returncode:
        return 'this machine lets nobody make network namespaces'
    command('ip', 'netns', 'delete', probe)
    return None


@contextlib.contextmanager
def three_hosts(folder, rate):
    """Three `Host`s whose links carry `rate` (as tc writes it) each way; keys and settings go to `folder`."""
    mark = f'bertnli-{os.getpid()}'
    switch, made, daemons = f'{mark}-switch', [], []
    command('ip', 'netns', 'add', switch)
    try:
        command('ip', '-n', switch, 'link', 'add', 'bridge', 'type', 'bridge')
        command('ip', '-n', switch, 'link', 'set', 'bridge', 'up')
        _make_keys(folder)
        for number in (1, 2, 3):
            made.append(_make_host(f'{mark}-{number}', f'10.77.0.{number}', switch, f'plug{number}', rate))
            daemons.append(_start_sshd(made[-1], folder))
        until = time.monotonic() + 10
        while not all((host.address, '22') in host.listening() for host in made):
            assert time.monotonic() < until, 'sshd does not start'
            time.sleep(0.1)
        yield made
    finally:
        for daemon in daemons:
            daemon.kill()
            daemon.wait()
        for pid in [pid for host in made for pid in host.pids()]:  # sessions, and what hangs there
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for name in [*(host.name for host in made), switch]:
            subprocess.run(['ip', 'netns', 'delete', name], check=True)


def _make_keys(folder):
    for name in ('host-key', 'user-key'):
        command('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', folder / name)
    public = (folder / 'host-key.pub').read_text()
    (folder / 'known-hosts').write_text(f'10.77.0.* {public}')
    (folder / 'ssh_config').write_text(SSH.format(folder=folder))


def _make_host(name, address, switch, plug, rate):
    command('ip', 'netns', 'add', name)
    into, inside = ('ip', 'netns', 'exec', name), ('ip', '-n', name)
    command(*inside, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', plug, 'netns', switch)
    command('ip', '-n', switch, 'link', 'set', plug, 'master', 'bridge', 'up')
    command(*inside, 'address', 'add', f'{address}/24', 'dev', 'eth0')
    for link in ('lo', 'eth0'):
        command(*inside, 'link', 'set', link, 'up')
    shape = ['root', 'tbf', 'rate', rate, 'burst', '256kb', 'latency', '50ms']
    for place, link in ((name, 'eth0'), (switch, plug)):
        command('tc', '-n', place, 'qdisc', 'add', 'dev', link, *shape)
    return Host(name, address, into, ('ip', '-n', switch, 'link', 'set', plug))


def _start_sshd(host, folder):
    config = folder / f'sshd-{host.address}'
    config.write_text(SSHD.format(address=host.address, folder=folder))
    script = 'mount -t tmpfs none /run; mkdir /run/sshd; exec "$@"'
    daemon = [shutil.which('sshd'), '-D', '-E', f'{config}.log', '-f', config]
    words = [*host.into, 'sh', '-c', script, 'sh', *daemon]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)


def main():
    parser = argparse.ArgumentParser(description='Run a command on the first of three hosts of this machine.')
    parser.add_argument('--rate', default='100mbit', help='of each link and direction, as tc writes it')
    parser.add_argument(
        '--list', default='hosts.txt', help='the file that is to list them, for bertnli launch'
    )
    parser.add_argument('command', nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    reason = why_not()
    if reason:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder, three_hosts(Path(folder), asked.rate) as hosts:
        Path(asked.list).write_text(''.join(f'root@{host.address} 1\n' for host in hosts))
        sys.exit(subprocess.run([*hosts[0].inside(folder), *asked.command]).returncode)


if __name__ == '__main__':
    main()
