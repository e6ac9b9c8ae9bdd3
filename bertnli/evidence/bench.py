"""Benchmarks against the chapter's code, in one run: ratios, not seconds.

Each measurement runs in a process of its own: the chapter's with d2l as published and MXNet's own defaults,
ours with what `runtime` sets, and compiled PyTorch's (peer.py), if it is installed. They alternate, and
medians are compared, because machines are noisy. `bertnli bench` prints the table; `--json` saves it.
"""

import contextlib
import functools
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from unittest import mock

import numpy as onp

from .. import runtime
from ..batches import Batches
from ..corpora.files import download_extract
from ..datasets import SNLIBERTDataset, WikiTextDataset
from ..errors import BertNLIError, SettingsError
from ..fast import blocks, operators
from ..finetuning import train_nli
from ..model import BERTClassifier, BERTModel
from ..prediction import predict_pairs, predict_snli
from ..pretraining import train_bert
from ..runtime import autograd, gluon, init, mx, np, npx
from ..settings import FinetuneSettings
from ..text import SentencePair, read_snli, read_wiki
from ..tokens import RESERVED, Vocab
from .peer import peer

BATCH, MAX_LEN, UNITS, FFN, HEADS, LAYERS = 256, 128, 128, 128, 2, 2  # the chapter's
WORKS = 'pretrain', 'finetune', 'wiki_dataset', 'snli_dataset', 'predict'
_UNITS = dict(zip(WORKS, ('sentence pairs/s', 'examples/s', 'paragraphs/s', 'pairs/s', 'pairs/s')))
_PEER = 'pretrain', 'finetune', 'predict'  # what PyTorch can do, too
# What the operators of a step are for, by parts of MXNet's names and by our own (fast/operators.py).
_FAMILIES = {
    'optimizer': 'adam_update',
    'dropout': 'dropout',
    'layer norm': 'layernorm layer_norm',
    'attention': 'batch_dot attend',
    'dense layers': 'fullyconnected dense',
    'softmax and masks': 'softmax sequence',
    'word vectors': 'embedding sums_at',
}
_OURS = 'dense layer_norm softmax sums_at attend attend_from finish'.split()
_BEGAN = 'BERTNLI_BEGAN'  # when a process of ours was started, seconds since 1970


def _paragraphs(data, limit):
    return read_wiki(download_extract('wikitext-2', data_dir=data))[:limit]


def _vocab(data):
    """The vocabulary of the whole corpus: its size decides what pretraining costs."""
    sentences = [sentence.split() for paragraph in _paragraphs(data, None) for sentence in paragraph]
    return Vocab(sentences, min_freq=5, reserved_tokens=RESERVED)


def _pairs(data, split, limit):
    return read_snli(download_extract('SNLI', data_dir=data), split=split, limit=limit)


def _timed(work):
    start = time.perf_counter()
    work()
    npx.waitall()
    return time.perf_counter() - start


def _since_start():
    """Seconds since this process was started: until the first step a class waits that long."""
    return time.time() - float(os.environ[_BEGAN])


def _steps(step, batches, count, warm_up=2):
    """The rate of `count` steps without the first `warm_up`, and when the first one was done."""
    seconds, first = [], None
    for batch, _ in zip(batches, range(count)):
        seconds.append(_timed(lambda batch=batch: step(batch)))
        first = _since_start() if first is None else first
    return {'rate': BATCH / statistics.median(seconds[warm_up:] or seconds), 'first_step_s': first}


def _chapter_encode(vocab, pair):
    """A pair of lists of tokens as padded indices: what the chapter runs in four processes."""
    premise, hypothesis = map(list, pair)
    while len(premise) + len(hypothesis) > MAX_LEN - 3:
        (premise if len(premise) > len(hypothesis) else hypothesis).pop()
    tokens, segments = runtime.d2l.get_tokens_and_segments(premise, hypothesis)
    gap = MAX_LEN - len(tokens)
    return vocab[tokens] + [vocab['<pad>']] * gap, segments + [0] * gap, len(tokens)


def _chapter_snli(pairs, vocab):
    tokens = [runtime.d2l.tokenize([s.lower() for s in column]) for column in pairs[:2]]
    with multiprocessing.get_context('fork').Pool(4) as pool:
        rows = pool.map(functools.partial(_chapter_encode, vocab), zip(*tokens))
    ids, segments, lengths = zip(*rows)
    arrays = np.array(ids, dtype='int32'), np.array(segments, dtype='int32'), np.array(lengths)
    return gluon.data.ArrayDataset(*arrays, np.array(pairs[2]))


def _chapter_bert(vocab):
    bert = runtime.d2l.BERTModel(len(vocab), UNITS, FFN, HEADS, LAYERS, 0.2)
    bert.initialize(init.Xavier())
    ids = np.ones((1, 8), dtype='int32')
    bert(ids, ids, np.array([8]), ids[:, :1])  # the first use makes the weights
    return bert


def _chapter_classifier(vocab):
    net = BERTClassifier(_chapter_bert(vocab))  # of d2l's BERT it asks d2l's own encoder
    net.classifier.initialize(init.Xavier())
    return net


def _chapter_pretrain(data, scale):
    d2l, vocab = runtime.d2l, _vocab(data)
    # A part of the text, with the words of all of it.
    with mock.patch.object(d2l, 'Vocab', return_value=vocab):
        dataset = d2l._WikiTextDataset([list(p) for p in _paragraphs(data, 150 * scale)], MAX_LEN)
    loader = gluon.data.DataLoader(dataset, BATCH, shuffle=True, last_batch='discard')
    bert, loss = _chapter_bert(vocab), gluon.loss.SoftmaxCELoss()
    trainer = gluon.Trainer(bert.collect_params(), 'adam', {'learning_rate': 1e-3})

    def step(batch):
        shards = [gluon.utils.split_and_load(x, [mx.cpu()], even_split=False) for x in batch]
        with autograd.record():
            mlm, nsp, losses = d2l._get_batch_loss_bert(bert, loss, len(vocab), *shards)
        for one in losses:
            one.backward()
        trainer.step(1)
        return float(mlm[0]), float(nsp[0])

    return _steps(step, loader, scale + 2)


def _chapter_finetune(data, scale):
    d2l, vocab, pairs = runtime.d2l, _vocab(data), _pairs(data, 'train', BATCH * (2 * scale + 2))
    loader = gluon.data.DataLoader(_chapter_snli(pairs, vocab), BATCH, shuffle=True)
    net, loss = _chapter_classifier(vocab), gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 1e-4})

    def step(batch):
        split = d2l.split_batch_multi_inputs
        d2l.train_batch_ch13(net, batch[:3], batch[3], loss, trainer, [mx.cpu()], split)

    return _steps(step, loader, 2 * scale + 2)


def _chapter_wiki_dataset(data, scale):
    paragraphs = [list(p) for p in _paragraphs(data, 400 * scale)]
    return {'rate': len(paragraphs) / _timed(lambda: runtime.d2l._WikiTextDataset(paragraphs, MAX_LEN))}


def _chapter_snli_dataset(data, scale):
    vocab, pairs = _vocab(data), _pairs(data, 'train', 10_000 * scale)
    return {'rate': len(pairs[2]) / _timed(lambda: _chapter_snli(pairs, vocab))}


def _chapter_predict(data, scale):
    vocab, pairs = _vocab(data), _pairs(data, 'test', 500 * scale)
    net = _chapter_classifier(vocab)

    def work():
        for inputs in gluon.data.DataLoader(_chapter_snli(pairs, vocab), BATCH):
            npx.softmax(net(inputs[:3])).asnumpy()

    return {'rate': len(pairs[2]) / _timed(work)}


def _our_net(vocab):
    net = BERTClassifier(BERTModel(len(vocab), UNITS, FFN, HEADS, LAYERS, 0.2))
    net.initialize(init.Xavier())
    return net


def _our_pretrain(data, scale):
    vocab = _vocab(data)
    dataset = WikiTextDataset(_paragraphs(data, None), MAX_LEN, vocab=vocab)
    given = Batches(dataset, BATCH), _our_net(vocab).bert, gluon.loss.SoftmaxCELoss(), len(vocab)
    train_bert(*given, num_steps=1, log_interval=1, progress=False)
    first = _since_start()
    result = train_bert(*given, num_steps=8 * scale, log_interval=8 * scale, progress=False)
    return {'rate': result.pairs_per_second, 'first_step_s': first}


def _our_finetune(data, scale):
    vocab, settings = _vocab(data), FinetuneSettings(num_epochs=1)
    dataset = SNLIBERTDataset(_pairs(data, 'train', BATCH * 20 * scale), MAX_LEN, vocab, verbose=False)
    few = SNLIBERTDataset(_pairs(data, 'dev', BATCH), MAX_LEN, vocab, verbose=False)
    net, dev = _our_net(vocab), Batches(few, len(few), shuffle=False)
    train_nli(net, Batches(few, len(few)), dev, settings, progress=False)
    first = _since_start()
    result = train_nli(net, Batches(dataset, BATCH), dev, settings, progress=False)
    done = result.examples_per_second * _plain_operations(dataset.lengths)
    return {'rate': result.examples_per_second, 'first_step_s': first, 'operations': done}


def _our_wiki_dataset(data, scale):
    paragraphs = _paragraphs(data, 400 * scale)

    def work():
        # One epoch of masks belongs to the work: the chapter draws its only ones here.
        dataset = WikiTextDataset(paragraphs, MAX_LEN)
        rows, rng = onp.arange(len(dataset)), onp.random.default_rng(0)
        for start in range(0, len(rows), BATCH):
            dataset.batch(rows[start : start + BATCH], rng)

    return {'rate': len(paragraphs) / _timed(work)}


def _our_snli_dataset(data, scale):
    vocab, pairs = _vocab(data), _pairs(data, 'train', 10_000 * scale)
    return {'rate': len(pairs[2]) / _timed(lambda: SNLIBERTDataset(pairs, MAX_LEN, vocab))}


def _our_predict(data, scale):
    vocab, columns = _vocab(data), _pairs(data, 'test', 2_000 * scale)
    pairs = [SentencePair(p.split(), h.split(), None) for p, h, _ in zip(*columns)]
    net = _our_net(vocab)
    list(predict_pairs(net, vocab, pairs[:BATCH], max_unknown=None))
    rate = len(pairs) / _timed(lambda: list(predict_pairs(net, vocab, pairs, max_unknown=None)))
    ask = functools.partial(predict_snli, net, vocab, max_unknown=None)
    single = [_timed(functools.partial(ask, *one[:2])) for one in [*zip(*columns)][:50]]
    return {'rate': rate, 'single_pair_ms': 1e3 * statistics.median(single)}


# --- compiled PyTorch, on our batches -------------------------------------------------------------


def _tensors(torch, arrays):
    return [torch.from_numpy(onp.asarray(x, dtype='int64')) for x in arrays]


def _torch_steps(vocab, name, batches):
    torch, net, step = peer(len(vocab), UNITS, FFN, HEADS, LAYERS)
    # Shapes are unknown to the compiler: no batch is as long as the last.
    loss = torch.compile(getattr(net, name), dynamic=True)
    batches = [_tensors(torch, batch) for batch in batches]
    compile_s, first = _timed(lambda: step(loss, batches[0])), _since_start()
    # What is compiled again for a shape of another kind belongs to the first quarter, which does not count.
    found = _steps(lambda batch: step(loss, batch), batches, len(batches), len(batches) // 4)
    return {**found, 'first_step_s': first, 'compile_s': compile_s}


def _torch_pretrain(data, scale):
    vocab, rng, batches = _vocab(data), onp.random.default_rng(0), []
    dataset = WikiTextDataset(_paragraphs(data, None), MAX_LEN, vocab=vocab)
    for rows in Batches(dataset, BATCH).order()[: 16 * scale]:
        ids, segments, lengths, positions, weights, words, is_next = dataset.batch(rows, rng)
        positions = onp.pad(positions, ((0, 0), (1, 0)))  # that of '<cls>' in front
        batches.append([ids, segments, lengths, positions, onp.flatnonzero(weights), words, is_next])
    return _torch_steps(vocab, 'pretrain', batches)


def _torch_finetune(data, scale):
    vocab = _vocab(data)
    dataset = SNLIBERTDataset(_pairs(data, 'train', BATCH * 40 * scale), MAX_LEN, vocab, verbose=False)
    batches = [dataset.batch(rows) for rows in Batches(dataset, BATCH).order()]
    return _torch_steps(vocab, 'finetune', [(*inputs, labels) for inputs, labels in batches])


def _torch_predict(data, scale):
    vocab, columns = _vocab(data), _pairs(data, 'test', 2_000 * scale)
    torch, net, _ = peer(len(vocab), UNITS, FFN, HEADS, LAYERS)
    forward = torch.compile(net.eval(), dynamic=True)

    def answers(columns, size=BATCH):
        dataset = SNLIBERTDataset(columns, MAX_LEN, vocab, verbose=False, max_unknown=1)
        with torch.inference_mode():
            for rows in Batches(dataset, min(size, len(dataset)), shuffle=False).order():
                forward(*_tensors(torch, dataset.batch(rows)[0])).softmax(-1).numpy()

    ones = [[[cell] for cell in row] for row in [*zip(*columns)][:50]]
    for some in (columns, *ones[:2]):  # compiles for batches, and for one pair
        answers(some)
    single = [_timed(lambda one=one: answers(one)) for one in ones]
    # Half as large, batches fit its caches better.
    whole, half = (len(columns[2]) / _timed(lambda n=n: answers(columns, n)) for n in (BATCH, BATCH // 2))
    return {'rate': whole, 'rate_of_half_batches': half, 'single_pair_ms': 1e3 * statistics.median(single)}


# --- where a step's time goes ---------------------------------------------------------------------


def _our_profile(data, scale):
    """Shares of the time of both trainings, by what operators are for; the rest are passes over memory."""
    found = {}
    for name, train in ('finetune', _our_finetune), ('pretrain', _our_pretrain):
        spent = profile(lambda train=train: train(data, scale))
        found[name] = {family: ms / sum(spent.values()) for family, ms in spent.items()}
    return found


def profile(work):
    """Milliseconds in `work` by what operators are for, MXNet's and those of fast/operators.py.

    MXNet's are those of its profiler, on the wall; ours are those of all threads, on their processors.
    """
    dropout = operators.Dropout
    spent, ours = dict.fromkeys([*_FAMILIES, 'passes over memory'], 0.0), []
    watched = {name: _watched(name, getattr(operators, name), ours) for name in _OURS}
    watched['Dropout'] = lambda seed: _watched('dropout', dropout(seed), ours)
    with contextlib.ExitStack() as around:
        path = os.path.join(around.enter_context(tempfile.TemporaryDirectory()), 'profile.json')
        for module in operators, blocks:
            here = {name: one for name, one in watched.items() if name in vars(module)}
            around.enter_context(mock.patch.multiple(module, **here))
        # subtle: what writes its file all the while may write it again when the folder goes.
        mx.profiler.set_config(
            filename=path, profile_imperative=True, aggregate_stats=True, continuous_dump=False
        )
        mx.profiler.set_state('run')
        work()
        npx.waitall()
        mx.profiler.set_state('stop')
        theirs = json.loads(mx.profiler.dumps(reset=True, format='json'))['Time']['operator']
    # Our way back is an operator of MXNet's, too, and is told by its parts.
    ours += [(name, row['Total']) for name, row in theirs.items() if 'CustomFunction' not in name]
    for name, ms in ours:
        spent[_family(name)] += ms
    return spent


def _watched(name, function, found, inner=threading.local()):  # noqa: B008  one for all
    """`function`, and the way back that it returns, which put their own milliseconds into `found`."""

    def run(*given):
        outer, inner.ms, start = getattr(inner, 'ms', 0.0), 0.0, time.thread_time()
        answer = function(*given)
        took = 1e3 * (time.thread_time() - start)
        found.append((name, took - inner.ms))  # without what was watched inside
        inner.ms = outer + took
        if isinstance(answer, tuple) and callable(answer[-1]):
            answer = (*answer[:-1], _watched(name, answer[-1], found))
        return answer

    return run


def _family(name):
    """What an operator is for.

    >>> _family('_backward_npi_dropout'), _family('broadcast_add')
    ('dropout', 'passes over memory')
    """
    name = name.lower()
    known = (key for key, parts in _FAMILIES.items() if any(part in name for part in parts.split()))
    return next(known, 'passes over memory')


def _plain_operations(lengths):
    """Multiplications and additions per training example, without padding and without the head."""
    # Forward, per token and layer: 4 C² of projections, 2 C F of feed-forward, 2 T C of attention, each a
    # multiplication and an addition; backward costs twice as much.
    lengths = onp.asarray(lengths, dtype='float64')
    per_token = 4 * UNITS**2 + 2 * UNITS * FFN + 2 * UNITS * lengths
    return float((3 * 2 * LAYERS * lengths * per_token).mean())


def _our_machine(data, scale, size=2048):
    """Operations a second of this machine in MXNet's best matrix product, the largest of five."""
    a = np.ones((size, size))
    seconds = [_timed(lambda: npx.fully_connected(a, a, num_hidden=size, no_bias=True)) for _ in range(5)]
    return {'rate': 2 * size**3 / min(seconds)}


def measure(side, work, data, scale):
    """One measurement in this process: numbers by name, among them a `rate` and the peak memory in MB."""
    numbers = globals()[f'_{side}_{work}'](data, scale)
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {**numbers, 'peak_mb': round(peak / 1024)}


def _in_process(side, work, data, scale):
    """The same in a new process; the chapter's keeps MXNet's own threads, allocator and kernels."""
    environment = {name: value for name, value in os.environ.items() if name not in runtime.tuning.THREADS}
    environment['BERTNLI_TUNING'] = 'on' if side == 'our' else 'off'
    environment[_BEGAN] = str(time.time())
    command = [sys.executable, '-m', 'bertnli.evidence.bench', side, work, str(scale), data or '']
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        found, remedy = done.stderr.strip().splitlines()[-1:] or done.returncode, 'run `bertnli doctor`'
        raise BertNLIError('a measurement failed', f'{side}, {work}', found, remedy=remedy)
    return json.loads(done.stdout.splitlines()[-1])


def compare(works=WORKS, *, data=None, rounds=3, scale=2, say=print):
    """Measure chapter and library in turn, `rounds` times each; returns JSON content.

    `works` are some of `WORKS`, on `data` as `data_dir` takes it (None: the sample), `scale` times the least;
    `say` receives each line of the table. Each work has `chapter`, `bertnli` (medians, in `unit`), `ratio`
    (median of the rounds' ratios), all `ratios`, and what else was measured of both: peak memory in MB,
    seconds from the start of Python to the end of the first step, milliseconds for a single pair. `torch`
    holds the same against compiled PyTorch. Raises `SettingsError` for a work that is not in `WORKS`.
    """
    if unknown := [work for work in works if work not in WORKS]:
        raise SettingsError('unknown measurement', None, unknown, ', '.join(WORKS))
    found, measured = {'machine': runtime.report(), 'rounds': rounds, 'scale': scale}, (data, scale)
    for work in works:
        row = found[work] = _in_turn('chapter', work, rounds, measured)
        if work == 'finetune':
            machine = _in_process('our', 'machine', *measured)['rate']
            row.update(matrix_rate=machine, share_of_matrix_rate=row.pop('bertnli_operations') / machine)
        peaks = row['chapter_peak_mb'], row['bertnli_peak_mb']
        say(_line(work, row['chapter'], row) + '   peak {:.0f} → {:.0f} MB'.format(*peaks))
    if {'finetune', 'pretrain'} <= set(works):
        found['profile'] = _in_process('our', 'profile', *measured)
        del found['profile']['peak_mb']
    if importlib.util.find_spec('torch'):
        found['torch'] = {'version': importlib.metadata.version('torch')}
        for work in [work for work in works if work in _PEER]:
            try:
                row = found['torch'][work] = _in_turn('torch', work, rounds, measured)
            except BertNLIError as error:  # its compiler needs one of C++
                say(f'{work}, torch: not measured, {error.found}')
                continue
            say(_line(f'{work}, torch', row['torch'], row))
    return found


def _in_turn(side, work, rounds, measured):
    """A side against ours in turn: medians of all that both measured, and the rounds' ratios."""
    results = {side: [], 'bertnli': []}
    for _ in range(rounds):
        results[side].append(_in_process(side, work, *measured))
        results['bertnli'].append(_in_process('our', work, *measured))
    ratios = [our['rate'] / their['rate'] for their, our in zip(*results.values())]
    row = {'unit': _UNITS[work], 'ratio': statistics.median(ratios), 'ratios': ratios}
    for one, several in results.items():
        for name in several[0]:
            median = statistics.median(numbers[name] for numbers in several)
            row[one if name == 'rate' else f'{one}_{name}'] = median
    return row


def _line(name, theirs, row):
    return f'{name:15} {theirs:10.1f} → {row["bertnli"]:10.1f} {row["unit"]:18} {row["ratio"]:6.1f} ×'


if __name__ == '__main__':
    _side, _work, _scale, _data = sys.argv[1:]
    print(json.dumps(measure(_side, _work, _data or None, int(_scale))))
