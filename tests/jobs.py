"""Launched trainings, for the test files that start, watch and kill them: all processes are real."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
from safetensors.numpy import load_file

# 202 pairs in batches of 20: the last batch is one pair for each of two workers, and nothing for a third.
FINETUNE = 'finetune --preset demo --bert none --limit 202 --batch-size 20 --epochs 2 --quiet'.split()
LONGER = [*FINETUNE, '--epochs', '6']
APART = 2e-4  # Adam makes steps of 2e-3 whatever the gradient's size: rounding in a tiny one is seen
END = 30  # seconds in which a job is over everywhere


def bertnli(*words, before=(), **options):
    """The command in a process of its own, with one thread; `before` are words that lead to another place."""
    return subprocess.Popen(
        [*map(str, before), sys.executable, '-m', 'bertnli', *map(str, words)],
        env={**os.environ, 'OMP_NUM_THREADS': '1', **options.pop('env', {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finished(process, seconds=300):
    """`(exit code, standard output, standard error)`; a job that hangs is a failure."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err


def run(*words, **options):
    code, out, err = finished(bertnli(*words, **options))
    assert code == 0, err
    return out, err


def numbers_in(folder):
    return json.loads(Path(folder, 'metrics.json').read_text(encoding='utf-8'))


def apart(folder, other):
    """The largest difference of any weight, but for the keys' biases, whose true gradient is zero."""
    ours, theirs = (load_file(*Path(one).glob('weights-*.safetensors')) for one in (folder, other))
    assert ours.keys() == theirs.keys()
    return max(float(abs(ours[n] - theirs[n]).max()) for n in ours if not n.endswith('W_k.bias'))


def in_role(processes, role, number=0, guard=False):
    """A process of a job among some, or its guard; None if it is not there."""
    for one in processes:
        try:
            environ, words = one.environ(), one.cmdline()
        except psutil.Error:
            continue
        wanted = environ.get('DMLC_ROLE') == role and int(environ.get('DMLC_RANK', 0)) == number
        if wanted and ('bertnli.cluster.launch' in words) == guard:
            return one
    return None


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, 'it did not come to that'
        time.sleep(0.1)
    return found


def assert_gone(processes, seconds=3):
    """Nothing of a job is left."""
    _, left = psutil.wait_procs(processes, timeout=seconds)
    assert [one for one in left if one.status() != psutil.STATUS_ZOMBIE] == []
