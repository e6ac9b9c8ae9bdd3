"""Benchmarks against the chapter's code, in one run: ratios, not seconds.

Each measurement runs in a process of its own: the chapter's with d2l as published and MXNet's own defaults,
ours with what `runtime` sets, and PyTorch's if it is installed. They alternate, and medians are compared,
because machines are noisy. `bertnli bench` prints the table; `--json` saves it.
"""

import functools
import importlib.util
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import time

import numpy as onp

from .. import runtime
from ..batches import Batches
from ..corpora.files import download_extract
from ..datasets import SNLIBERTDataset, WikiTextDataset
from ..errors import BertNLIError, SettingsError
from ..finetuning import train_nli
from ..model import BERTClassifier, BERTModel
from ..prediction import predict_pairs, predict_snli
from ..pretraining import train_bert
from ..runtime import autograd, gluon, init, mx, nn, np, npx
from ..settings import FinetuneSettings
from ..text import SentencePair, read_snli, read_wiki
from ..tokens import RESERVED, Vocab

BATCH, MAX_LEN, UNITS, FFN, HEADS, LAYERS = 256, 128, 128, 128, 2, 2  # the chapter's
_UNITS = {
    'pretrain': 'sentence pairs/s',
    'finetune': 'examples/s',
    'wiki_dataset': 'paragraphs/s',
    'snli_dataset': 'pairs/s',
    'predict': 'pairs/s',
}
WORKS = tuple(_UNITS)


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


def _steps(step, batches, count):
    """Seconds of each of `count` steps, after two for warming up."""
    seconds = [_timed(lambda batch=batch: step(batch)) for batch, _ in zip(batches, range(count + 2))]
    return seconds[2:] or seconds


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


class _ChapterClassifier(nn.Block):
    def __init__(self, bert):
        super().__init__()
        self.bert, self.classifier = bert, nn.Sequential()
        self.classifier.add(nn.Dense(256, 'relu', in_units=UNITS), nn.Dense(3, in_units=256))

    def forward(self, inputs):
        return self.classifier(self.bert(*inputs)[0][:, 0, :])


def _chapter_net(vocab):
    net = _ChapterClassifier(_chapter_bert(vocab))
    net.classifier.initialize(init.Xavier())
    return net


def _chapter_pretrain(data, scale):
    d2l, vocab = runtime.d2l, _vocab(data)
    paragraphs = [[s.split() for s in paragraph] for paragraph in _paragraphs(data, 150 * scale)]
    examples = [
        (*d2l._get_mlm_data_from_tokens(tokens, vocab), segments, is_next)
        for one in paragraphs
        for tokens, segments, is_next in d2l._get_nsp_data_from_paragraph(one, paragraphs, vocab, MAX_LEN)
    ]
    columns = [np.stack(column) for column in d2l._pad_bert_inputs(examples, MAX_LEN, vocab)]
    dataset = gluon.data.ArrayDataset(*columns)
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

    return [BATCH / seconds for seconds in _steps(step, loader, scale)]


def _chapter_finetune(data, scale):
    d2l, vocab, pairs = runtime.d2l, _vocab(data), _pairs(data, 'train', BATCH * (2 * scale + 2))
    loader = gluon.data.DataLoader(_chapter_snli(pairs, vocab), BATCH, shuffle=True)
    net, loss = _chapter_net(vocab), gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 1e-4})

    def step(batch):
        split = d2l.split_batch_multi_inputs
        d2l.train_batch_ch13(net, batch[:3], batch[3], loss, trainer, [mx.cpu()], split)

    return [BATCH / seconds for seconds in _steps(step, loader, 2 * scale)]


def _chapter_wiki_dataset(data, scale):
    paragraphs = [list(p) for p in _paragraphs(data, 400 * scale)]
    return [len(paragraphs) / _timed(lambda: runtime.d2l._WikiTextDataset(paragraphs, MAX_LEN))]


def _chapter_snli_dataset(data, scale):
    vocab, pairs = _vocab(data), _pairs(data, 'train', 10_000 * scale)
    return [len(pairs[2]) / _timed(lambda: _chapter_snli(pairs, vocab))]


def _chapter_predict(data, scale):
    vocab, pairs = _vocab(data), _pairs(data, 'test', 500 * scale)
    net = _chapter_net(vocab)

    def work():
        for inputs in gluon.data.DataLoader(_chapter_snli(pairs, vocab), BATCH):
            npx.softmax(net(inputs[:3])).asnumpy()

    return [len(pairs[2]) / _timed(work)]


def _our_net(vocab, bert_alone=False):
    bert = BERTModel(len(vocab), UNITS, FFN, HEADS, LAYERS, 0.2)
    net = bert if bert_alone else BERTClassifier(bert)
    net.initialize(init.Xavier())
    return net


def _our_pretrain(data, scale):
    vocab = _vocab(data)
    dataset = WikiTextDataset(_paragraphs(data, None), MAX_LEN, vocab=vocab)
    given = Batches(dataset, BATCH), _our_net(vocab, bert_alone=True), gluon.loss.SoftmaxCELoss(), len(vocab)
    for steps in (2, 8 * scale):  # the first for warming up
        result = train_bert(*given, num_steps=steps, log_interval=steps, progress=False)
    return [result.pairs_per_second]


def _our_finetune(data, scale):
    vocab, settings = _vocab(data), FinetuneSettings(num_epochs=1)
    dataset = SNLIBERTDataset(_pairs(data, 'train', BATCH * 20 * scale), MAX_LEN, vocab)
    few = SNLIBERTDataset(_pairs(data, 'dev', BATCH), MAX_LEN, vocab)
    net, dev = _our_net(vocab), Batches(few, len(few), shuffle=False)
    for train_iter in (Batches(few, len(few)), Batches(dataset, BATCH)):  # the first for warming up
        result = train_nli(net, train_iter, dev, settings, progress=False)
    return [result.examples_per_second, _plain_operations(dataset.lengths)]


def _our_wiki_dataset(data, scale):
    paragraphs = _paragraphs(data, 400 * scale)

    def work():
        # One epoch of masks belongs to the work: the chapter draws its only ones here.
        dataset = WikiTextDataset(paragraphs, MAX_LEN)
        rows, rng = onp.arange(len(dataset)), onp.random.default_rng(0)
        for start in range(0, len(rows), BATCH):
            dataset.batch(rows[start : start + BATCH], rng)

    return [len(paragraphs) / _timed(work)]


def _our_snli_dataset(data, scale):
    vocab, pairs = _vocab(data), _pairs(data, 'train', 10_000 * scale)
    return [len(pairs[2]) / _timed(lambda: SNLIBERTDataset(pairs, MAX_LEN, vocab))]


def _our_predict(data, scale):
    vocab, columns = _vocab(data), _pairs(data, 'test', 2_000 * scale)
    pairs = [SentencePair(p.split(), h.split(), None) for p, h, _ in zip(*columns)]
    net = _our_net(vocab)
    list(predict_pairs(net, vocab, pairs[:BATCH], max_unknown=None))
    rate = len(pairs) / _timed(lambda: list(predict_pairs(net, vocab, pairs)))
    single = [
        _timed(lambda p=p, h=h: predict_snli(net, vocab, p, h, max_unknown=None))
        for p, h, _ in [*zip(*columns)][:50]
    ]
    return [rate, 1e3 * statistics.median(single)]


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
    return [2 * size**3 / min(seconds)]


def measure(side, work, data, scale):
    """One measurement in this process: a list of numbers, the first a rate, and the peak memory in MB."""
    numbers = globals()[f'_{side}_{work}'](data, scale)
    if side == 'chapter':
        numbers = [statistics.median(numbers)]
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {'numbers': numbers, 'peak_mb': round(peak / 1024)}


def _in_process(side, work, data, scale):
    """The same in a new process; the chapter's keeps MXNet's own threads, allocator and kernels."""
    threads = ('OMP_NUM_THREADS', 'OMP_WAIT_POLICY')
    environment = {name: value for name, value in os.environ.items() if name not in threads}
    environment['BERTNLI_TUNING'] = 'off' if side == 'chapter' else 'on'
    command = [sys.executable, '-m', 'bertnli.evidence.bench', side, work, str(scale), data or '']
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        found, remedy = done.stderr.strip().splitlines()[-1:] or done.returncode, 'run `bertnli doctor`'
        raise BertNLIError('a measurement failed', f'{side}, {work}', found, remedy=remedy)
    return json.loads(done.stdout.splitlines()[-1])


def compare(works=WORKS, *, data=None, rounds=3, scale=2, say=print):
    """Measure chapter and library in turn, `rounds` times each; returns JSON content.

    Each work has `chapter`, `bertnli` (medians, in `unit`), `ratio` (median of the rounds' ratios), all
    `ratios`, and the peak memory of both in MB. Raises `SettingsError` for a work that is not in `WORKS`.
    """
    if unknown := [work for work in works if work not in WORKS]:
        raise SettingsError('unknown measurement', None, unknown, ', '.join(WORKS))
    found, measured = {'machine': runtime.report(), 'rounds': rounds, 'scale': scale}, (data, scale)
    for work in works:
        row, ratios, theirs, ours = _in_turn('chapter', work, rounds, measured)
        peaks = [max(result['peak_mb'] for result in results) for results in (theirs, ours)]
        row.update(unit=_UNITS[work], ratios=ratios, chapter_peak_mb=peaks[0], bertnli_peak_mb=peaks[1])
        if work == 'finetune':
            machine = _in_process('our', 'machine', *measured)['numbers'][0]
            done = statistics.median(r['numbers'][0] * r['numbers'][1] for r in ours)
            row.update(matrix_rate=machine, share_of_matrix_rate=done / machine)
        if work == 'predict':
            row['single_pair_ms'] = statistics.median(r['numbers'][1] for r in ours)
        found[work] = row
        say(_line(work, row['chapter'], row) + f'   peak {peaks[0]} → {peaks[1]} MB')
    if 'finetune' in works and importlib.util.find_spec('torch'):
        found['torch'] = {}
        for padding in ('padded', 'grouped'):  # to `MAX_LEN`, or by length
            row = found['torch'][padding] = _in_turn(f'torch_{padding}', 'finetune', rounds, measured)[0]
            say(_line(f'torch {padding}', row['torch'], {**row, 'unit': _UNITS['finetune']}))
    return found


def _in_turn(side, work, rounds, measured):
    """A side against ours in turn: the row of medians, the ratios, and all results of both."""
    theirs, ours = [], []
    for _ in range(rounds):
        theirs.append(_in_process(side, work, *measured))
        ours.append(_in_process('our', work, *measured))
    rates = [[result['numbers'][0] for result in results] for results in (theirs, ours)]
    ratios = [b / a for a, b in zip(*rates)]
    their, our, ratio = map(statistics.median, (*rates, ratios))
    return {side.partition('_')[0]: their, 'bertnli': our, 'ratio': ratio}, ratios, theirs, ours


def _line(name, theirs, row):
    return f'{name:14} {theirs:10.1f} → {row["bertnli"]:10.1f} {row["unit"]:18} {row["ratio"]:6.1f} ×'


def _torch_finetune(data, scale, grouped):
    """The same network and batches in PyTorch, padded to `MAX_LEN` or to the longest of a batch."""
    torch = importlib.import_module('torch')  # lazy: an optional peer
    vocab = _vocab(data)
    dataset = SNLIBERTDataset(_pairs(data, 'train', BATCH * 10 * scale), MAX_LEN, vocab)
    layers = torch.nn

    class Net(layers.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.segments = layers.Embedding(len(vocab), UNITS), layers.Embedding(2, UNITS)
            self.positions = layers.Parameter(torch.randn(1, 1000, UNITS) * 0.02)
            block = layers.TransformerEncoderLayer(UNITS, HEADS, FFN, 0.2, batch_first=True)
            self.encoder = layers.TransformerEncoder(block, LAYERS)
            self.head = layers.Sequential(layers.Linear(UNITS, 256), layers.ReLU(), layers.Linear(256, 3))

        def forward(self, ids, segments, lengths):
            padding = torch.arange(ids.shape[1])[None] >= lengths[:, None]
            X = self.tokens(ids) + self.segments(segments) + self.positions[:, : ids.shape[1]]
            return self.head(self.encoder(X, src_key_padding_mask=padding)[:, 0])

    net, loss = Net(), layers.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)

    def step(rows):
        (ids, segments, lengths), labels = dataset.batch(rows)
        if not grouped:
            ids, segments = (onp.pad(x, ((0, 0), (0, MAX_LEN - x.shape[1]))) for x in (ids, segments))
        inputs = [torch.from_numpy(onp.asarray(x, dtype='int64')) for x in (ids, segments, lengths)]
        optimizer.zero_grad()
        loss(net(*inputs), torch.from_numpy(labels.astype('int64'))).backward()
        optimizer.step()

    batches = Batches(dataset, BATCH).order()[: None if grouped else 4 * scale]
    return [BATCH / statistics.mean(_steps(step, batches, len(batches) - 2))]


_torch_padded_finetune = functools.partial(_torch_finetune, grouped=False)
_torch_grouped_finetune = functools.partial(_torch_finetune, grouped=True)

if __name__ == '__main__':
    _side, _work, _scale, _data = sys.argv[1:]
    print(json.dumps(measure(_side, _work, _data or None, int(_scale))))
