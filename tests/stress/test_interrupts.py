"""Ctrl-C to the command, a real process, at any moment: it ends with 130, soon and without a traceback.

And the interrupt button of a notebook, whose kernel is a real one: the network is of use afterwards.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time

import jupyter_client.manager
import pytest

from bertnli import LABELS

# The process says when it has begun: what comes before is Python's own start, which nobody can change.
BEGIN = """
import os, signal, sys, time
import bertnli.app.process as command
sys.argv = ['bertnli', *sys.argv[1:]]
def begin():
    os.write(2, b'begun')
    command.run()
"""
ENVIRONMENT = {**os.environ, 'PYTHONUNBUFFERED': '', 'PYTHONWARNINGS': 'error::UserWarning'}
TRAINING = 'pretrain --preset demo --steps 12 --batch-size 32 --overwrite --out'.split()


def start(words, code='begin()', env=ENVIRONMENT):
    process = subprocess.Popen(
        [sys.executable, '-c', BEGIN + code, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=env,
    )
    assert os.read(process.stderr.fileno(), 5) == b'begun'
    return process


def end(process, seconds=60):
    try:
        _, errors = process.communicate(timeout=seconds)
    finally:
        process.kill()  # nothing, if it has ended
    return process.returncode, errors.decode()


@pytest.mark.parametrize('count', [3, pytest.param(100, marks=pytest.mark.slow)])
def test_ctrl_c_at_random_moments_ends_a_training_with_130_and_no_traceback(count, tmp_path):
    began = time.monotonic()
    assert end(start([*TRAINING, tmp_path / 'whole']), 300)[0] == 0
    seconds, rng, found = time.monotonic() - began, random.Random(count), []
    for number in range(count):
        process = start([*TRAINING, tmp_path / 'out'])
        # The first moments are those of the imports, the last ones those of MXNet's exit.
        time.sleep(seconds * rng.uniform(0.01, 1))
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        code, errors = end(process)
        said = re.search('interrupted.*|Aborted', errors)  # click says Aborted while it reads the words
        found.append((code, said and said[0], time.monotonic() - sent))
        # While Python itself ends, Ctrl-C ends the process at once, which a shell calls 130, too.
        assert code in (128 + signal.SIGINT, -signal.SIGINT, 0), (number, errors)
        assert bool(said) == (code == 128 + signal.SIGINT), (number, errors)
        assert not re.search('Traceback|ignored', errors), (number, errors)
    codes = [code for code, *_ in found]
    slowest = max(waited for *_, waited in found)
    steps = sum(bool(said) and 'after step' in said for _, said, _ in found)
    print(f'{codes.count(130)} ended with 130, {steps} of them in a training; the slowest in {slowest:.1f} s')
    assert codes.count(130) >= count / 2


# Where an interrupt is lost, turned into another error, or not heard; `hit()` is Ctrl-C.
UNLUCKY = """
command._GRACE = 2
import bertnli.app.cli
@bertnli.app.cli.main.command()
def unlucky():
    moment()
def hit():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.001)
class Finalized:
    def __del__(self):
        hit()
"""
MOMENTS = {
    'in __del__': 'def moment():\n Finalized()\n while True: time.sleep(0.01)',
    'where all is caught': """def moment():
 try: hit()
 except BaseException: pass
 while True: time.sleep(0.1)""",
    'where it becomes another error': """def moment():
 try: hit()
 except BaseException: raise TypeError""",
    'where a mistake is told': """def moment():
 try: hit()
 finally: raise bertnli.SettingsError('another matter')""",
    'in the middle of an import': 'def moment():\n import broken',
    # As NumPy's does while it is imported: C's PyErr_Print is this call.
    'where a C extension prints it': """def moment():
 try: hit()
 except BaseException: sys.excepthook(*sys.exc_info())
 raise ImportError('another matter')""",
    'in a loop': 'def moment():\n while True: hit()',
    'before an exit that hangs': """import atexit
atexit.register(time.sleep, 600)
def moment():
 hit()""",
}


@pytest.mark.parametrize('moment', MOMENTS)
def test_ctrl_c_in_an_unlucky_moment_is_not_lost(moment, tmp_path):
    (tmp_path / 'broken.py').write_text(
        'import os, signal, time\ntry: os.kill(os.getpid(), signal.SIGINT); time.sleep(600)\nexcept: pass'
    )
    env = {**ENVIRONMENT, 'PYTHONPATH': str(tmp_path)}
    code, errors = end(start(['unlucky'], f'{UNLUCKY}\n{MOMENTS[moment]}\nbegin()', env))
    assert code == 128 + signal.SIGINT, errors
    assert 'Traceback' not in errors
    assert 'ignored' not in errors
    if moment != 'where a mistake is told':
        assert 'bertnli: interrupted' in errors


def test_ctrl_c_while_python_ends_ends_it_at_once_and_silently():
    code = f'{UNLUCKY}\nimport atexit\natexit.register(time.sleep, 600)\natexit.register(hit)\nmoment = int'
    assert end(start(['unlucky'], f'{code}\nbegin()')) == (-signal.SIGINT, '')


def test_what_ignores_ctrl_c_goes_on_ignoring_it(tmp_path):
    code = f'{UNLUCKY}\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nmoment = hit'
    assert end(start(['unlucky'], f'{code}\nbegin()')) == (0, '')


def test_a_real_error_keeps_its_traceback():
    code, errors = end(start(['unlucky'], f'{UNLUCKY}\ndef moment(): 1 / 0\nbegin()'))
    assert code == 1
    assert 'ZeroDivisionError' in errors


# --- a notebook -----------------------------------------------------------------------------------

CELLS = {
    'train': """
from bertnli import *
vocab = Vocab(['a dog runs . it moves .'.split()] * 9, min_freq=1, reserved_tokens=RESERVED)
data = SNLIBERTDataset([['a dog runs .'] * 40, ['it moves .'] * 40, [0, 1] * 20], 16, vocab, num_workers=2)
net = BERTClassifier(BERTModel(len(vocab), 8, 8, 2, 1, 0.1, 16))
net.initialize()
def train(epochs, **options):
    settings = FinetuneSettings(num_epochs=epochs)
    return train_nli(net, Batches(data, 8), Batches(data, 8), settings, progress=False, **options)
train(10**6, on_log=lambda record: print('in training', flush=True))
""",
    'ask': "print(predict_snli(net, vocab, ['a', 'dog'], ['it', 'moves']))",
    'go on': 'print(train(2).best_epoch)',
}


def answers(client, code, on_stream=None):
    """What a cell prints and the name and the words of its error, from a kernel."""
    printed, error = '', None
    number = client.execute(code)
    while True:
        message = client.get_iopub_msg(timeout=120)
        if message['parent_header'].get('msg_id') != number:
            continue
        kind, content = message['msg_type'], message['content']
        if kind == 'stream':
            printed += content['text']
            if on_stream and 'in training' in printed:
                on_stream, _ = None, on_stream()
        elif kind == 'error':
            error = content['ename'], content['evalue']
        elif kind == 'status' and content['execution_state'] == 'idle':
            return printed, error


def test_the_interrupt_button_of_a_notebook_leaves_a_net_that_answers_and_trains_on():
    manager, client = jupyter_client.manager.start_new_kernel(kernel_name='python3')
    try:
        _, (name, words) = answers(client, CELLS['train'], manager.interrupt_kernel)
        assert (name, words.split(' step ')[0]) == ('Stopped', 'interrupted after')
        said, error = answers(client, CELLS['ask'])
        assert error is None
        assert said.split()[0] in LABELS
        assert answers(client, CELLS['go on'])[0].split()[-1] in ('1', '2')
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
