"""Many processes train as one: the same weights, one voice, one end. All processes and all kills are real."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
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
    run,
    wait_for,
)
from safetensors.numpy import load_file

from bertnli import SettingsError
from bertnli.cluster.launch import launch, read_hosts
from bertnli.cluster.managers import manager_script, task_environment

PRETRAIN = 'pretrain --preset demo --batch-size 31 --steps 20 --quiet'.split()


@pytest.fixture
def unused_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def family(process):
    """Everything that a launcher has started."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def of_role(process, *role, **guard):
    return in_role(family(process), *role, **guard)


def listening(processes):
    """The addresses on which some processes listen."""
    found = set()
    for one in processes:
        try:
            connections = getattr(one, 'net_connections', None) or one.connections
            found |= {(c.laddr.ip, c.laddr.port) for c in connections('inet') if c.status == 'LISTEN'}
        except psutil.Error:
            continue
    return found


# --- the same weights -------------------------------------------------------------------------------


JOBS = [
    pytest.param(FINETUNE, 2, 1, 'cpu', id='finetune-2x1'),
    pytest.param(PRETRAIN, 2, 1, 'cpu:2', id='pretrain-2x2', marks=pytest.mark.slow),
    pytest.param(FINETUNE, 2, 1, 'cpu:2', id='finetune-2x2', marks=pytest.mark.slow),
    pytest.param(FINETUNE, 3, 2, 'cpu', id='finetune-3x1', marks=pytest.mark.slow),
    pytest.param(PRETRAIN, 2, 1, 'cpu', id='pretrain-2x1', marks=pytest.mark.slow),
    pytest.param(PRETRAIN, 3, 2, 'cpu', id='pretrain-3x1', marks=pytest.mark.slow),
]


@pytest.mark.parametrize(('command', 'workers', 'servers', 'devices'), JOBS)
def test_workers_end_with_the_weights_of_one_process(alone, tmp_path, command, workers, servers, devices):
    job = ['launch', '--workers', workers, '--servers', servers, '--']
    out, err = run(*job, *command, '--devices', devices, '--out', tmp_path)
    difference = apart(alone(command), tmp_path)
    print(f'largest difference: {difference:.1e}')
    assert 0 < difference < APART
    ours, theirs = numbers_in(tmp_path), numbers_in(alone(command))
    for name in {'dev_accuracy', 'best_epoch', 'train_accuracy', 'train_pairs', 'pretrain_steps'} & {*theirs}:
        assert ours[name] == theirs[name], name
    for name in {'train_loss', 'mlm_loss', 'nsp_loss'} & {*theirs}:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-4), name
    assert out.count('the model is in') == 1  # one voice
    assert err == ''


@pytest.mark.slow
@pytest.mark.parametrize('devices', ['cpu', 'cpu:2'])
def test_of_many_words_only_those_of_the_batch_are_sent_and_the_weights_are_the_same(
    write_snli, tmp_path, devices
):
    # 1,600 words, each five times in 500 pairs, each anywhere: a batch of 30 pairs has 480 words at most.
    order = [f'word{n * 7919 % 1600}' for n in range(8000)]
    sides = [' '.join(order[i : i + 8]) for i in range(0, 8000, 8)]
    rows = [('neutral' if i % 3 else 'entailment', *sides[2 * i : 2 * i + 2]) for i in range(500)]
    for split in ('train', 'dev', 'test'):
        write_snli(rows if split == 'train' else rows[:9], split)
    job = f'finetune --preset demo --bert none --epochs 1 --batch-size 30 --quiet --data {tmp_path}'.split()
    run(*job, '--devices', 'cpu', '--out', tmp_path / 'alone')
    run('launch', '--', *job, '--devices', devices, '--out', tmp_path / 'together')
    assert 0 < apart(tmp_path / 'alone', tmp_path / 'together') < APART
    [path] = (tmp_path / 'alone').glob('weights-*.safetensors')
    weights = {name: array.size for name, array in load_file(path).items()}
    assert weights['bert.encoder.token_embedding.weight'] > 1600 * 128
    trained = sum(size for name, size in weights.items() if 'encoder' in name or 'classifier' in name)
    # 512 rows of 128 numbers in place of more than 1,600.
    sent = numbers_in(tmp_path / 'together')['bytes_per_step']
    assert sent == 4 * (trained - weights['bert.encoder.token_embedding.weight'] + 512 * 128)


@pytest.mark.slow
@pytest.mark.parametrize('command', [FINETUNE, PRETRAIN], ids=['finetune', 'pretrain'])
def test_three_devices_end_with_the_weights_of_one(alone, tmp_path, command):
    run(*command, '--devices', 'cpu:3', '--out', tmp_path)
    assert 0 < apart(alone(command), tmp_path) < APART


@pytest.mark.slow
def test_without_waiting_for_each_other_workers_still_learn(tmp_path):
    plain = 'finetune --preset chapter --bert none --limit 2000 --batch-size 64 --epochs 3 --quiet'.split()
    run('launch', '--kvstore', 'dist_async', '--', *plain, '--out', tmp_path)
    # The chapter's rate is small: a few steps show that the loss falls, not more.
    assert numbers_in(tmp_path)['train_loss'] < 1.1


@pytest.mark.slow
def test_dist_async_refuses_what_no_worker_can_do_alone(tmp_path):
    code, _, err = finished(bertnli('launch', '--kvstore', 'dist_async', '--', *FINETUNE, '--out', tmp_path))
    assert code == 2
    assert 'dist_async cannot train with these settings' in err
    assert err.count('bertnli:') == 2  # the mistake, and that the job failed


COMPRESSED = """
from bertnli.runtime import mx, np
store = mx.kv.create('dist_sync')
store.set_gradient_compression({'type': '2bit', 'threshold': 0.5})
store.init(1, np.zeros(64))
sums = np.zeros(64)
for _ in range(3):
    store.push(1, np.array([0.6, 0.3] * 32))
    store.pull(1, out=sums)
print(sums[:2].tolist(), flush=True)
try:
    store.pushpull(1, sums)
except mx.MXNetError as error:
    print('Compression not supported with PushPull' in str(error), flush=True)
"""


@pytest.mark.slow
def test_mxnets_compression_is_of_no_use_here(unused_port):
    """What the page says: the way trainers sum is refused, and what is below the threshold is lost."""
    env = {**os.environ, 'DMLC_PS_ROOT_URI': '127.0.0.1', 'DMLC_PS_ROOT_PORT': str(unused_port)}
    env.update(DMLC_NODE_HOST='127.0.0.1', DMLC_NUM_WORKER='1', DMLC_NUM_SERVER='1')
    roles = {'scheduler': 'import bertnli.runtime', 'server': 'import bertnli.runtime', 'worker': COMPRESSED}
    with contextlib.ExitStack() as started:
        for role, code in roles.items():
            words = [sys.executable, '-c', code]
            process = subprocess.Popen(
                words, env={**env, 'DMLC_ROLE': role}, stdout=subprocess.PIPE, text=True
            )
            started.enter_context(process)
            started.callback(process.kill)
        lines = [process.stdout.readline() for _ in range(2)]
    assert lines == ['[0.5, 0.0]\n', 'True\n']


# --- one end ----------------------------------------------------------------------------------------


KILLS = [
    ('worker', 1, False),
    ('worker', 0, False),
    ('server', 0, False),
    ('scheduler', 0, False),
    ('worker', 1, True),
    ('server', 0, True),
]


def test_a_server_that_is_killed_ends_the_job_everywhere(tmp_path):
    process = bertnli('launch', '--', *LONGER, '--out', tmp_path)
    # The first worker's sums have come back from the server when it has something to keep.
    wait_for(lambda: list(tmp_path.glob('training/state-*')))
    job = family(process)
    assert len(job) == 8  # four processes and their guards
    ports = listening(job)
    assert len(ports) >= 4
    assert {address for address, _ in ports} == {'127.0.0.1'}
    of_role(process, 'server').kill()
    assert_gone(job, END)
    code, _, err = finished(process)
    assert code == 128 + signal.SIGKILL
    assert err.count('bertnli:') == 1
    assert 'the job failed: server 0 was killed by SIGKILL' in err
    for address, port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))


@pytest.mark.slow
@pytest.mark.parametrize(('role', 'number', 'guard'), KILLS)
def test_after_a_kill_a_job_goes_on_to_the_same_weights(undisturbed, tmp_path, role, number, guard):
    process = bertnli('launch', '--restarts', '1', '--', *LONGER, '--out', tmp_path)
    wait_for(lambda: list(tmp_path.glob('training/state-*')))
    job = family(process)
    of_role(process, role, number, guard).kill()
    assert_gone(job, END)
    code, out, err = finished(process)
    assert code == 0, err
    name = role if role == 'scheduler' else f'{role} {number}'
    assert f'the job failed: {name} was killed by SIGKILL' in err
    assert 'restart 1 of 1' in err
    assert 'resuming after step' in out
    assert apart(undisturbed, tmp_path) == 0.0
    assert numbers_in(tmp_path)['dev_accuracy'] == numbers_in(undisturbed)['dev_accuracy']


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_job_ends_with_its_launcher_and_goes_on(undisturbed, tmp_path, number):
    words = ['launch', '--', *LONGER, '--out', tmp_path]
    process = bertnli(*words)
    wait_for(lambda: list(tmp_path.glob('training/state-*')))
    job = family(process)
    process.send_signal(number)
    assert_gone(job, END)
    code, _, err = finished(process)
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert 'the state of step' in err
    out, _ = run(*words, '--resume')
    assert 'resuming after step' in out
    assert apart(undisturbed, tmp_path) == 0.0


def test_a_mistake_is_told_once_and_not_tried_again(tmp_path):
    words = ['launch', '--restarts', '3', '--', *FINETUNE, '--data', tmp_path / 'nowhere', '--out', tmp_path]
    process = bertnli(*words)
    wait_for(lambda: of_role(process, 'worker', 1))
    job = family(process)
    code, _, err = finished(process)
    assert_gone(job)
    assert code == 2
    assert err.count('nowhere') == 1
    assert 'restart' not in err


def test_a_port_that_is_taken_ends_the_job(tmp_path):
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = other.getsockname()[1]
        process = bertnli('launch', '--port', port, '--', *FINETUNE, '--out', tmp_path)
        code, _, err = finished(process, END)
    assert code == 2
    assert 'the scheduler cannot listen on its port' in err
    assert f'127.0.0.1:{port}' in err


def test_a_host_that_cannot_be_reached_ends_the_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Nobody has this address (RFC 5737); ssh is the real one, if there is one.
    Path('hosts').write_text('nobody@192.0.2.1 2\n')
    outcome = launch(FINETUNE, workers=2, hosts=read_hosts('hosts'))
    assert outcome.code == 255
    assert 'nobody@192.0.2.1 cannot be reached, or was lost' in outcome.message


# --- what is asked for ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('', 'is empty'),
        ('# nothing\n\n', 'is empty'),
        ('127.0.0.1 two', 'invalid line'),
        ('127.0.0.1 0', 'invalid line'),
        ('127.0.0.1 1025', 'invalid line'),
        ('127.0.0.1 99999999999999999999', 'invalid line'),
        ('127.0.0.1 ' + '9' * 5000, 'invalid line'),
        ('127.0.0.1 1 1', 'invalid line'),
        ('-oProxyCommand=ls 1', 'invalid line'),
        ('me@127.0.0.1 1\nme@127.0.0.1 1', 'duplicate host'),
        ('127.0.0.1\n192.0.2.1', 'cannot reach a loopback'),
        ('not..a.name 1', 'unknown host'),
    ],
)
def test_a_list_of_hosts_that_makes_no_sense_is_refused(tmp_path, text, problem):
    path = tmp_path / 'hosts'
    path.write_text(text)
    with pytest.raises(SettingsError, match=problem):
        read_hosts(path)


def test_hosts_are_read_with_their_places(tmp_path):
    path = tmp_path / 'hosts'
    path.write_text('# ours\nme@192.0.2.1 2\n\n192.0.2.2  # one\n')
    assert [tuple(host) for host in read_hosts(path)] == [
        ('me@192.0.2.1', '192.0.2.1', 2),
        ('192.0.2.2', '192.0.2.2', 1),
    ]


@pytest.mark.parametrize(
    ('command', 'numbers', 'problem'),
    [
        (['demo'], {}, 'only finetune and pretrain'),
        ([], {}, 'only finetune and pretrain'),
        (FINETUNE, {'workers': 0}, 'number of workers'),
        (FINETUNE, {'workers': 99999999}, 'number of workers'),
        (FINETUNE, {'servers': 10**30}, 'number of servers'),
        (FINETUNE, {'servers': 0}, 'number of servers'),
        (FINETUNE, {'restarts': -1}, 'number of restarts'),
    ],
)
def test_what_cannot_be_launched_is_refused_before_anything_starts(command, numbers, problem):
    with pytest.raises(SettingsError, match=problem):
        launch(command, **{'workers': 2, **numbers})


def test_more_workers_than_slots_are_refused(tmp_path):
    path = tmp_path / 'hosts'
    path.write_text('192.0.2.1 2\n192.0.2.2')
    with pytest.raises(SettingsError, match='more workers than slots'):
        launch(FINETUNE, workers=4, hosts=read_hosts(path))


@pytest.mark.parametrize('manager', ['slurm', 'mpi', 'kubernetes'])
def test_a_managers_script_starts_every_task_with_all_variables(manager):
    text = manager_script(manager, ['pretrain', '--data', 'my data'], workers=4, servers=2, port=9000)
    assert 'launch --task' in text
    assert (
        '["pretrain", "--data", "my data"]' if manager == 'kubernetes' else "pretrain --data 'my data'"
    ) in text
    for part in ('DMLC_PS_ROOT_URI', 'DMLC_PS_ROOT_PORT', 'DMLC_NUM_WORKER', 'DMLC_NUM_SERVER', '9000', '7'):
        assert part in text


@pytest.mark.parametrize('task', [-1, 4])
def test_a_task_too_many_is_refused(task):
    given = {'DMLC_PS_ROOT_URI': '127.0.0.1', 'DMLC_PS_ROOT_PORT': '9'}
    with pytest.raises(SettingsError, match='no such task'):
        task_environment(task, {**given, 'DMLC_NUM_WORKER': '2', 'DMLC_NUM_SERVER': '1'})
    with pytest.raises(SettingsError, match='incomplete'):
        task_environment(0, given)
    with pytest.raises(SettingsError, match='number of workers'):
        task_environment(0, {**given, 'DMLC_NUM_WORKER': '9' * 5000, 'DMLC_NUM_SERVER': '1'})


@pytest.mark.slow
def test_tasks_that_a_manager_started_train_together(alone, unused_port, tmp_path):
    env = {'DMLC_PS_ROOT_URI': 'localhost', 'DMLC_PS_ROOT_PORT': str(unused_port)}
    env.update(DMLC_NUM_WORKER='2', DMLC_NUM_SERVER='1')
    words = ['launch', '--task']
    tasks = [bertnli(*words, i, '--', *FINETUNE, '--out', tmp_path, env=env) for i in range(4)]
    assert [finished(task)[0] for task in tasks] == [0, 0, 0, 0]
    assert 0 < apart(alone(FINETUNE), tmp_path) < APART
