"""Minibatches of inputs of similar length, which need hardly any padding.

`length_grouped` orders an epoch, `Batches` delivers it as MXNet arrays padded to the longest input
of each batch, and the two `load_data_` functions prepare the chapter's corpora for training.

Shapes: B examples in the batch, T tokens in the longest input, P masked tokens in the richest input.
"""

import contextlib
import os
from typing import NamedTuple

import numpy as onp

from . import runtime
from .corpora.files import download_extract
from .corpora.pairs import NotHere
from .datasets import SNLIBERTDataset, WikiTextDataset, to_mxnet
from .errors import SettingsError
from .runtime import gluon
from .text import read_snli
from .tokens import Vocab

_WINDOW = 100  # batches that are sorted together: enough to be alike, few enough to be mixed


def length_grouped(lengths, batch_size, *, seed, epoch, window=_WINDOW):
    """An epoch's batches as index arrays: similar lengths together, everything else by chance.

    All examples, whose tokens `lengths` `(n,)` counts, are shuffled and cut into windows of `window`
    batches; each window is sorted by length and cut into batches of `batch_size`; the batches are shuffled.
    Every example occurs once, an example meets others each epoch, and the order is a function of `seed` and
    `epoch` alone. One batch, not necessarily the last, is smaller if the numbers do not divide.

    >>> [batch.tolist() for batch in length_grouped([3, 9, 3, 9], 2, seed=0, epoch=0)]
    [[1, 3], [2, 0]]
    """
    lengths = onp.asarray(lengths)
    rng = onp.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))  # (n,)
    batches = []
    for start in range(0, len(order), batch_size * window):
        part = order[start : start + batch_size * window]  # one window
        # Equal lengths stand together; a stable sort keeps their random order.
        part = part[onp.argsort(lengths[part], kind='stable')]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    # Long and short batches alternate by chance.
    return [batches[i] for i in rng.permutation(len(batches))]


class Batches:
    """An epoch of batches each time it is iterated; what `train_iter` is in this library.

    Yields what `dataset.batch` returns of `batch_size` rows, as MXNet arrays. The first iteration is epoch 0,
    the next epoch 1, and so on; set `epoch` and `start` (a batch number) to continue elsewhere. The order is
    that of `length_grouped`, with its `window`, and with `shuffle=False` always by length; `order()` tells
    which rows each batch holds, so that results can be put back. Random numbers are a function of `seed`,
    epoch and batch number.
    """

    def __init__(self, dataset, batch_size, *, shuffle=True, seed=0, epoch=0, start=0, window=_WINDOW):
        if not 1 <= batch_size <= len(dataset):
            problem = 'the batch is larger than the data set' if batch_size > 0 else 'the batch is empty'
            allowed = f'1 to {len(dataset)}, the number of examples'
            remedy = 'choose another batch size, or read more data'
            raise SettingsError(problem, 'batch_size', batch_size, allowed, remedy)
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.seed, self.epoch, self.start, self.window = seed, epoch, start, window

    def __len__(self):
        return -(-len(self.dataset) // self.batch_size)  # rounded up: the last batch may be smaller

    def order(self, epoch=None):
        """The rows of each batch of an epoch (by default of the next one), as index arrays."""
        if self.shuffle:
            epoch = self.epoch if epoch is None else epoch
            settings = {'seed': self.seed, 'epoch': epoch, 'window': self.window}
            return length_grouped(self.dataset.lengths, self.batch_size, **settings)
        rows = onp.argsort(self.dataset.lengths, kind='stable')  # (n,), shortest first
        return [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]

    def rows(self, step):
        """The rows in the batch of a step, if step 0 was the first batch of epoch 0."""
        epoch, number = divmod(step, len(self))
        return self.order(epoch)[number]

    def skip(self, count):
        """Leave out the next `count` batches, over as many epochs as they fill."""
        epochs, self.start = divmod(self.start + count, len(self))
        self.epoch += epochs

    def __iter__(self):
        # Taken at once, not at the first batch: two iterators made in a row are two epochs.
        epoch, start = self.epoch, self.start
        self.epoch, self.start = epoch + 1, 0
        return self._deliver(self.order(epoch), epoch, start)

    def _deliver(self, order, epoch, start):
        for number in range(start, len(order)):
            # Each batch has a generator of its own, so that a run resumed here draws the same masks.
            rng = onp.random.default_rng([self.seed, epoch, number])
            yield to_mxnet(self.dataset.batch(order[number], rng))


def get_dataloader_workers():
    """How many processes gluon's DataLoader may start: d2l's four, or fewer on a smaller machine.

    Only readers who build a DataLoader themselves need it; `Batches` works in this process.

    >>> 1 <= get_dataloader_workers() <= 4
    True
    """
    return min(4, len(os.sched_getaffinity(0)))  # the cores this process may use


def load_data_wiki(batch_size, max_len, *, data_dir=None, seed=0, **options):
    """WikiText-2 for pretraining: (train_iter, vocab), as in the chapter.

    Each batch is (tokens_X, segments_X, valid_lens_x, pred_positions_X, mlm_weights_X, mlm_Y, nsp_y): (B, T),
    (B, T), (B,), three times (B, P), (B,), of `batch_size` pairs of at most `max_len` tokens. Pairs, order
    and masks, fresh in each epoch, are a function of `seed`. `data_dir` is what files.data_dir accepts;
    `options` (split, vocab, min_freq, progress) are those of `WikiTextDataset.from_folder`, and so are the
    errors.
    """
    folder = download_extract('wikitext-2', data_dir=data_dir)
    dataset = WikiTextDataset.from_folder(folder, max_len, seed=seed, **options)
    return Batches(dataset, batch_size, seed=seed), dataset.vocab


class SNLIBatches(NamedTuple):
    """The splits of SNLI as batches, and their vocabulary; of own data, `test_iter` may be None."""

    train_iter: Batches
    dev_iter: Batches
    test_iter: Batches
    vocab: Vocab


def load_data_snli(
    batch_size, max_len=50, vocab=None, *, data_dir=None, limit=None, word_dropout=0.0, seed=0, **options
):
    """SNLI for BERT: (train_iter, dev_iter, test_iter, vocab); without `vocab` what the book returns.

    Each batch is ((tokens, segments, valid_lens), labels): (B, T), (B, T), (B,) and (B,), pairs being cut to
    `max_len` tokens. Dev and test are not shuffled and take at most `batch_size` examples at once; `limit`
    restricts the training pairs, which `seed` orders; `word_dropout` is the share of their words that is
    masked in an epoch, by `seed` too. `vocab` is that of pretraining, `data_dir` what files.data_dir accepts;
    `options` (strategy, max_skipped, num_workers, progress) are those of `SNLIBERTDataset.from_folder`, and
    so are the errors.

    `load_data_snli(256, 50)` is the call of the section on NLI with attention: (train_iter, test_iter, vocab)
    of d2l's kind, each batch ((premises, hypotheses), labels): twice (B, max_len), and (B,).
    """
    folder = download_extract('SNLI', data_dir=data_dir)
    if vocab is None:
        return _load_without_bert(batch_size, max_len, folder, limit, word_dropout or options)
    train = SNLIBERTDataset.from_folder(folder, 'train', max_len, vocab, limit=limit, **options)
    dev = SNLIBERTDataset.from_folder(folder, 'dev', max_len, vocab, **options)
    test = None  # own data may have none
    with contextlib.suppress(NotHere):
        test = SNLIBERTDataset.from_folder(folder, 'test', max_len, vocab, **options)
    # Words are masked in training only.
    train.word_dropout = word_dropout
    return SNLIBatches(
        Batches(train, batch_size, seed=seed),
        Batches(dev, min(batch_size, len(dev)), shuffle=False),
        test and Batches(test, min(batch_size, len(test)), shuffle=False),
        vocab,
    )


def _load_without_bert(batch_size, num_steps, folder, limit, bert_options):
    """The book's loader: premise and hypothesis apart, each padded or cut to `num_steps` words."""
    if bert_options:
        remedy = 'give the vocabulary of pretraining: load_data_snli(256, 128, vocab, …)'
        raise SettingsError('word_dropout, strategy and the like need a vocabulary', 'vocab', remedy=remedy)
    # The vocabulary is that of the training split.
    train = runtime.d2l.SNLIDataset(read_snli(folder, True, limit=limit), num_steps)
    test = runtime.d2l.SNLIDataset(read_snli(folder, False), num_steps, train.vocab)
    workers = get_dataloader_workers()
    train_iter = gluon.data.DataLoader(train, batch_size, shuffle=True, num_workers=workers)
    return train_iter, gluon.data.DataLoader(test, batch_size, num_workers=workers), train.vocab
