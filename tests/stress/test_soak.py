"""Hours of training in little: the memory after the first epoch is the memory at the end.

`BERTNLI_SOAK_SECONDS` says how long in all (1,800 by default). Large arrays of ever other sizes once made the
memory of pretraining grow by two megabytes a step, so the vocabulary is large and no two batches are alike.
"""

import json
import os
import subprocess
import sys

import pytest

SECONDS = float(os.environ.get('BERTNLI_SOAK_SECONDS', '1800'))

# A process of its own, whose memory nothing else has touched. argv: kind of training, seconds, folder.
SOAK = """
import json, sys, time
import numpy, psutil
from bertnli import *
from bertnli import Keeper
from bertnli.runtime import gluon

kind, seconds, folder = sys.argv[1], float(sys.argv[2]), sys.argv[3]
rng = numpy.random.default_rng(0)
words = [f'word{n}' for n in range(20_000)]

def sentences(count):
    for length in rng.integers(2, 28, count):
        yield ' '.join(words[int(n)] for n in rng.integers(0, len(words), length))

# Some two hundred batches an epoch, fewer than real text has. The heap is not full after the first few dozen:
# arrays have many sizes, and the places that one leaves do not always fit another.
text = [[' '.join(words[n : n + 20]), next(sentences(1))] for n in range(0, len(words), 20)]
dataset = WikiTextDataset([*text, *(list(sentences(4)) for _ in range(4000))], 64, min_freq=1)
bert = BERTModel(len(dataset.vocab), 64, 64, 2, 2, 0.1, 64)
bert.initialize()
memory, began = [], time.monotonic()

class Enough(Exception):
    pass

def measure(record):
    memory.append([record.get('epoch', record.get('step')), psutil.Process().memory_info().rss])
    if time.monotonic() - began > seconds:
        raise Enough

common = dict(on_log=measure, progress=False, keep=Keeper(folder, {}, seconds=5))
try:
    if kind == 'pretrain':
        data = Batches(dataset, 64)
        epoch = len(data)
        loss = gluon.loss.SoftmaxCrossEntropyLoss()
        train_bert(data, bert, loss, len(dataset.vocab), None, 5, 10**9, **common)
    else:
        columns = [list(sentences(2000)), list(sentences(2000)), rng.integers(0, 3, 2000).tolist()]
        pairs = SNLIBERTDataset(columns, 64, dataset.vocab)
        net = BERTClassifier(bert)
        net.initialize()
        dev = Batches(pairs, 64, shuffle=False)
        epoch = 1
        train_nli(net, Batches(pairs, 64), dev, FinetuneSettings(num_epochs=10**6), **common)
except Enough:
    print(json.dumps({'epoch': epoch, 'words': len(dataset.vocab), 'memory': memory}))
"""


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['pretrain', 'finetune'])
def test_the_memory_after_the_first_epoch_is_the_memory_at_the_end(kind, tmp_path):
    work = [sys.executable, '-c', SOAK, kind, str(SECONDS / 2), str(tmp_path)]
    done = subprocess.run(work, capture_output=True, text=True, timeout=SECONDS + 300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found['words'] > 20_000
    # With the first epoch its judgement and its state have ended, too.
    first, *later = [size for place, size in found['memory'] if place > found['epoch']]
    megabytes = [round(size / 2**20) for size in (first, max(later), later[-1])]
    by_epoch = {place // found['epoch']: round(size / 2**20) for place, size in found['memory']}
    print(f'{kind}: {found["memory"][-1][0] / found["epoch"]:.0f} epochs; MB: {megabytes}')
    print('MB at the end of each epoch:', list(by_epoch.values()))
    assert max(later) <= 1.05 * first
