"""Laps add up to what passed, the first steps do not count, and others' processors are seen."""

import json
import os
import subprocess
import sys
import time

import pytest
from measure_laps import Stopwatch

from bertnli.devices import Alone
from bertnli.runtime import np

WORK = """
import sys, time
while time.process_time() < 0.3:
    pass
print(flush=True)
sys.stdin.read()
"""


def test_without_a_stopwatch_nothing_is_timed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    team = Alone()
    for name in ('begin', 'one', 'losses', 'end'):
        team.lap(name)
    assert list(tmp_path.iterdir()) == []


def test_laps_add_up_and_the_first_steps_do_not_count(tmp_path):
    watch = Stopwatch(tmp_path / 'laps')
    watch('begin')
    for step in range(6):
        if step == 4:
            before = time.perf_counter()
        time.sleep(0.2 if step < 4 else 0.02)
        watch('sleep')
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass
        watch('work')
        time.sleep(0.01)
        watch('sleep')
        np.dot(np.ones((300, 300)), np.ones((300, 300)))  # MXNet returns before it is done
        watch('losses')
        passed = time.perf_counter()
    watch('end')
    found = json.loads((tmp_path / 'laps').read_text())
    assert found['steps'] == 2
    assert [*found['laps']] == ['sleep', 'work', 'losses']
    assert 2 * sum(lap['seconds'] for lap in found['laps'].values()) == pytest.approx(
        passed - before, rel=0.05
    )
    assert 0.03 <= found['laps']['sleep']['seconds'] < 0.2
    assert found['laps']['sleep']['processor'] < 0.02 <= found['laps']['work']['python']
    for lap in found['laps'].values():
        assert lap['python'] <= lap['processor'] + 1e-3
    assert found['ready'] >= 0


def test_steps_that_are_all_among_the_first_leave_no_file(tmp_path):
    watch = Stopwatch(tmp_path / 'laps')
    watch('begin')
    for _ in range(4):
        watch('losses')
    watch('end')
    assert list(tmp_path.iterdir()) == []


def test_what_a_server_of_the_same_job_takes_is_seen(tmp_path, monkeypatch):
    monkeypatch.setenv('DMLC_PS_ROOT_PORT', '61')
    watch = Stopwatch(tmp_path / 'laps')
    watch('begin')
    for _ in range(4):
        watch('losses')
    others = [
        subprocess.Popen(
            [sys.executable, '-c', WORK],
            env={**os.environ, 'DMLC_ROLE': role, 'DMLC_PS_ROOT_PORT': port},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for role, port in (('server', '61'), ('server', '62'), ('worker', '61'))
    ]
    try:
        for one in others:
            one.stdout.readline()
        watch('losses')
        watch('end')
    finally:
        for one in others:
            one.communicate(b'')
    found = json.loads((tmp_path / 'laps').read_text())
    assert 0.25 <= found['server'] < 0.5  # one of the three
    assert 'worker' not in found
