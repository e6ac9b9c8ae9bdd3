"""Three hosts in network namespaces (hosts.py) with links of 100 Mbit/s, and what befalls them."""

import signal
import subprocess
import sys
import time

import pytest
from hosts import three_hosts, why_not
from jobs import (
    APART,
    END,
    FINETUNE,
    LONGER,
    apart,
    assert_gone,
    bertnli,
    finished,
    in_role,
    numbers_in,
    wait_for,
)

pytestmark = pytest.mark.slow
PORT = 9091  # of the scheduler, if no other is asked for
JOB = ('--workers', 2, '--servers', 3)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Where keys and settings of ssh lie, which are thrown away."""
    return tmp_path_factory.mktemp('ssh')


@pytest.fixture(scope='module')
def hosts(folder):
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with three_hosts(folder, '100mbit') as made:
        yield made


@pytest.fixture
def start(hosts, folder, tmp_path):
    """A function that launches a job from the first host; it hands out a process that ends with the test."""
    listed, started = tmp_path / 'hosts', []
    listed.write_text(''.join(f'root@{host.address} 1\n' for host in hosts))

    def launch(*words, **options):
        process = bertnli('launch', '--hosts', listed, *words, before=hosts[0].inside(folder), **options)
        started.append(process)
        return process

    yield launch
    for process in started:
        process.kill()
        process.wait()
    for host in hosts:
        host.plug('up')
        for one in host.processes():
            one.kill()


def everything(hosts):
    return [one for host in hosts for one in host.processes()]


def in_training(hosts, folder):
    """Wait until sums have come back from the servers; returns all processes of the job."""
    wait_for(lambda: list(folder.glob('out/training/state-*')))
    return everything(hosts)


def assert_over(hosts, since, process):
    """Every host is as it was before the job, and not too late; returns exit code and standard error."""
    while everything(hosts):
        assert time.monotonic() < since + END, [one.cmdline() for one in everything(hosts)]
        time.sleep(0.2)
    print(f'over after {time.monotonic() - since:.1f} s')
    for host in hosts:
        assert host.listening() == {(host.address, '22')}
    code, _, err = finished(process)
    return code, err


def test_hosts_end_with_the_weights_of_one_process_and_listen_where_they_were_asked(
    alone, hosts, start, tmp_path
):
    before = hosts[2].has_sent()
    process = start('--workers', 3, '--servers', 2, '--', *FINETUNE, '--out', tmp_path / 'out')
    job = in_training(hosts, tmp_path)
    for number, host in enumerate(hosts):
        assert in_role(host.processes(), 'worker', number)
        assert {address for address, _ in host.listening()} == {host.address}
        assert len(host.listening()) > 1
    assert (hosts[0].address, str(PORT)) in hosts[0].listening()
    code, out, err = finished(process)
    assert (code, err) == (0, '')
    assert out.count('the model is in') == 1
    difference = apart(alone(FINETUNE), tmp_path / 'out')
    print(f'largest difference: {difference:.1e}')
    assert 0 < difference < APART
    assert numbers_in(tmp_path / 'out')['dev_accuracy'] == numbers_in(alone(FINETUNE))['dev_accuracy']
    assert_gone(job)
    # The third host has a worker only. It sends its gradients in 22 steps, and little else.
    told = 22 * numbers_in(tmp_path / 'out')['bytes_per_step']
    sent = hosts[2].has_sent() - before
    print(f'the third host sent {sent:,} bytes, of which {told:,} are gradients')
    assert told < sent < 1.15 * told


KILLS = [
    ('worker', 1, False, 'worker 1 on root@10.77.0.2 was killed by SIGKILL'),
    ('worker', 0, False, 'worker 0 on root@10.77.0.1 was killed by SIGKILL'),
    ('server', 0, False, 'was killed by SIGKILL'),
    ('scheduler', 0, False, 'scheduler on root@10.77.0.1 was killed by SIGKILL'),
    ('worker', 1, True, 'root@10.77.0.2 cannot be reached, or was lost'),
    ('ssh', 1, False, 'ssh to root@10.77.0.2 was killed by SIGKILL'),
]


@pytest.mark.parametrize(('role', 'number', 'guard', 'said'), KILLS)
def test_after_a_kill_the_job_is_over_on_all_hosts(hosts, start, tmp_path, role, number, guard, said):
    process = start(*JOB, '--', *LONGER, '--out', tmp_path / 'out')
    in_training(hosts, tmp_path)
    since = time.monotonic()
    if role == 'ssh':
        ssh_to(hosts[0], hosts[number]).kill()
    else:
        in_role(everything(hosts), role, number, guard).kill()
    code, err = assert_over(hosts, since, process)
    assert code == (255 if guard else 128 + signal.SIGKILL)
    assert err.count('bertnli:') == 1
    assert said in err


def ssh_to(host, other):
    """The ssh of a worker's, from one host to another."""
    for one in host.processes():
        words = one.cmdline()
        if words[0] == 'ssh' and f'root@{other.address}' in words and 'DMLC_ROLE=worker' in words[-1]:
            return one
    raise AssertionError('there is no such ssh')


@pytest.mark.parametrize('role', ['worker', 'server', 'scheduler'])
def test_after_a_kill_a_restart_ends_with_the_undisturbed_weights(undisturbed, hosts, start, tmp_path, role):
    process = start(*JOB, '--restarts', 1, '--', *LONGER, '--out', tmp_path / 'out')
    job = in_training(hosts, tmp_path)
    in_role(job, role, 1 if role == 'worker' else 0).kill()
    code, out, err = finished(process)
    assert code == 0, err
    assert 'restart 1 of 1' in err
    assert 'resuming after step' in out
    assert apart(undisturbed, tmp_path / 'out') == 0.0
    assert everything(hosts) == []


@pytest.mark.parametrize('number', [0, 2])
def test_a_cut_link_ends_the_job_on_both_sides_and_it_goes_on(undisturbed, hosts, start, tmp_path, number):
    words = (*JOB, '--', *LONGER, '--out', tmp_path / 'out')
    process = start(*words)
    in_training(hosts, tmp_path)
    since = time.monotonic()
    hosts[number].plug('down')
    code, err = assert_over(hosts, since, process)
    assert code == 255
    assert err.count('bertnli:') == 1
    assert 'cannot be reached, or was lost' in err
    hosts[number].plug('up')
    code, out, err = finished(start(*words, '--resume'))
    assert code == 0, err
    assert 'resuming after step' in out
    assert apart(undisturbed, tmp_path / 'out') == 0.0


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_hosts_end_with_the_launcher(undisturbed, hosts, start, tmp_path, number):
    words = (*JOB, '--', *LONGER, '--out', tmp_path / 'out')
    process = start(*words)
    in_training(hosts, tmp_path)
    since = time.monotonic()
    process.send_signal(number)
    code, err = assert_over(hosts, since, process)
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    assert 'Traceback' not in err
    code, _, err = finished(start(*words, '--resume'))
    assert code == 0, err
    assert apart(undisturbed, tmp_path / 'out') == 0.0


def test_a_host_behind_a_cut_link_is_told(hosts, start, tmp_path):
    hosts[2].plug('down')
    since = time.monotonic()
    process = start(*JOB, '--', *FINETUNE, '--out', tmp_path / 'out')
    code, _, err = finished(process, END)
    assert code == 255
    assert err.count('bertnli:') == 1
    assert 'root@10.77.0.3 cannot be reached, or was lost' in err
    assert_over(hosts, since, process)


def test_a_host_that_lets_nobody_in_is_told_with_what_ssh_says(hosts, start, tmp_path):
    (tmp_path / 'hosts').write_text('root@10.77.0.1 1\nnobody@10.77.0.2 1\n')
    since = time.monotonic()
    process = start('--', *FINETUNE, '--out', tmp_path / 'out')
    code, _, err = finished(process, END)
    assert code == 255
    assert 'nobody@10.77.0.2 cannot be reached, or was lost' in err
    assert 'Permission denied' in err
    assert_over(hosts, since, process)


def test_a_port_that_is_taken_on_the_first_host_is_told(hosts, start, tmp_path):
    take = f"one = socket.create_server(('10.77.0.1', {PORT})); print('taken', flush=True); one.accept()"
    words = [*hosts[0].into, sys.executable, '-c', f'import socket; {take}']
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline()
            process = start(*JOB, '--', *FINETUNE, '--out', tmp_path / 'out')
            code, _, err = finished(process, END)
        finally:
            holder.kill()
    assert code == 2
    assert f'10.77.0.1:{PORT}' in err
    assert '--port' in err
    process = start(*JOB, '--', *FINETUNE, '--out', tmp_path / 'out')
    code, _, err = finished(process)
    assert code == 0, err
