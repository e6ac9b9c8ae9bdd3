"""Where is it wrong? One pass over labelled pairs, and a report of plain numbers and arrays.

Legend: B examples in the batch, n examples in all, N labels.
"""

import collections
import dataclasses
import html
import json
import math
from typing import NamedTuple

import numpy
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from tqdm.auto import tqdm

from ..devices import devices_of, split_batch_multi_inputs
from ..errors import SettingsError
from ..metrics import Tally, correct
from ..runtime import autograd, np, npx
from ..text import LABELS

_AHEAD = 8  # batches under way before the oldest is read: enough work, little memory


class Mistake(NamedTuple):
    """A wrong answer: the pair's row, its sentences, both labels, and the probability of the wrong one.

    In this order: `index`, `premise` and `hypothesis`, `true` and `predicted`, `confidence`.
    """

    index: int
    premise: str
    hypothesis: str
    true: str
    predicted: str
    confidence: float


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Report:
    """What a classifier did on `n` pairs; the arrays are in the order of the data set.

    `accuracy` is a share, `loss` the mean cross-entropy in nats, `ece` the expected calibration error of 15
    bins. Of N `labels`, `confusion` holds N lists of N counts, rows true, columns predicted, and `per_class`
    for each label precision, recall, f1 and support; recall and f1 are None where there is none. Arrays are
    `true` and `predicted` `(n,)`, numbers of labels, and `probabilities` `(n, N)`.

    >>> report = Report.from_probabilities([0, 1], [[0.5, 0.3, 0.2], [0.6, 0.4, 0.0]])
    >>> report.accuracy, report.confusion[1], report.per_class['entailment']['precision']
    (0.5, [1, 0, 0], 0.5)
    """

    labels: tuple
    n: int
    accuracy: float
    loss: float
    confusion: list
    per_class: dict
    ece: float
    true: numpy.ndarray
    predicted: numpy.ndarray
    probabilities: numpy.ndarray

    @classmethod
    def from_probabilities(cls, true, probabilities, labels=LABELS):
        """A report from label numbers `(n,)` and probabilities `(n, N)`; `SettingsError` on a misfit."""
        from sklearn import metrics  # lazy: takes a second

        labels = tuple(labels)
        true, probabilities = numpy.asarray(true), numpy.asarray(probabilities, dtype=numpy.float64)
        _check_answers(true, probabilities, labels)
        true, predicted, numbers = true.astype(int), probabilities.argmax(axis=1), range(len(labels))
        # A probability of 0 is a float32 that was too small: its logarithm stays finite.
        of_true = probabilities[numpy.arange(len(true)), true]
        losses = -numpy.log(numpy.maximum(of_true, numpy.finfo(numpy.float32).tiny))
        figures = metrics.precision_recall_fscore_support(true, predicted, labels=numbers, zero_division=0)
        per_class = {}
        for label, *row in zip(labels, *(column.tolist() for column in figures)):
            per_class[label] = dict(zip(('precision', 'recall', 'f1', 'support'), row))
            if not row[-1]:  # of a label that does not occur nothing could be recalled
                per_class[label].update(recall=None, f1=None)
        right = true == predicted
        accuracy, loss = float(right.mean()), float(losses.mean())
        confusion = metrics.confusion_matrix(true, predicted, labels=numbers).tolist()
        ece = expected_calibration_error(probabilities.max(axis=1), right)
        arrays = true, predicted, probabilities
        return cls(labels, len(true), accuracy, loss, confusion, per_class, ece, *arrays)

    def as_dict(self):
        """Everything but the arrays, ready for JSON, numbers rounded to six places."""
        names = 'n', 'accuracy', 'loss', 'ece', 'labels', 'confusion', 'per_class'
        text = json.dumps({name: getattr(self, name) for name in names})
        return json.loads(text, parse_float=lambda number: round(float(number), 6))

    def hardest(self, n, pairs):
        """The `n` most confident mistakes, as `Mistake`s, the most confident first; fewer if there are fewer.

        `pairs` are those of the data set, in its order: `SentencePair`s, or [premises, hypotheses, labels].
        """
        pairs = _sentences(pairs)
        if len(pairs) != self.n:
            raise SettingsError('not the pairs of this report', None, f'{len(pairs)} pairs', self.n)
        confidence = self.probabilities.max(axis=1)
        wrong = numpy.flatnonzero(self.true != self.predicted)
        wrong = wrong[numpy.argsort(-confidence[wrong], kind='stable')][:n]
        names = [(self.labels[self.true[row]], self.labels[self.predicted[row]]) for row in wrong]
        return [Mistake(int(i), *pairs[i], *both, float(confidence[i])) for i, both in zip(wrong, names)]

    def _headline(self):
        share = f'{self.accuracy:.4f} ({(self.true == self.predicted).sum():,} of {self.n:,} right)'
        return f'accuracy {share}, loss {self.loss:.4f}, calibration error {self.ece:.4f}'

    def _tables(self):
        """Two tables, each a list of rows of words; the first row names the columns."""
        rows = [['per label', 'precision', 'recall', 'F1', 'support']]
        for label, (*figures, support) in zip(self.labels, map(dict.values, self.per_class.values())):
            rows.append([label, *('–' if one is None else f'{one:.3f}' for one in figures), f'{support:,}'])
        counts = [[label, *map('{:,}'.format, row)] for label, row in zip(self.labels, self.confusion)]
        return rows, [['rows true, columns predicted', *self.labels], *counts]

    def __repr__(self):
        lines = [self._headline()]
        for rows in self._tables():
            first, *widths = (max(map(len, column)) for column in zip(*rows))
            lines.append('')
            for start, *cells in rows:
                lines.append('  '.join([start.ljust(first), *map(str.rjust, cells, widths)]))
        return '\n'.join(lines)

    def _repr_html_(self):
        page = f'<p><strong>{self._headline()}</strong></p>'
        for (caption, *names), *rows in self._tables():
            head = ''.join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
            page += f'<table><caption>{caption}</caption><tr><td></td>{head}</tr>'
            for start, *cells in rows:
                line = ''.join(f'<td>{cell}</td>' for cell in cells)
                page += f'<tr><th scope="row">{html.escape(start)}</th>{line}</tr>'
            page += '</table>'
        return page


def _check_answers(true, probabilities, labels):
    if true.ndim != 1 or not len(true) or probabilities.shape != (len(true), len(labels)):
        found, allowed = f'{true.shape} and {probabilities.shape}', f'(n,) and (n, {len(labels)}), not empty'
        raise SettingsError('labels and probabilities do not fit', None, found, allowed)
    unknown = sorted(set(true.tolist()) - set(range(len(labels))))
    if unknown:
        raise SettingsError('invalid label', None, unknown, f'an index into {labels}')
    sums = probabilities.sum(axis=1)
    # Written so that NaN is refused as well.
    if not (abs(sums - 1) < 1e-2).all() or probabilities.min() < 0:
        found, allowed = f'sums of {sums.min():g} … {sums.max():g}', 'rows in [0, 1] that sum to 1'
        remedy = "apply softmax to the network's scores"
        raise SettingsError('not valid probabilities', None, found, allowed, remedy)


def _sentences(pairs):
    """(premise, hypothesis) of each pair, from either form."""
    pairs = list(pairs)
    if pairs and hasattr(pairs[0], 'premise'):
        return [(pair.premise, pair.hypothesis) for pair in pairs]
    if len(pairs) != 3 or len(pairs[0]) != len(pairs[1]) or isinstance(pairs[0], str):
        allowed = 'SentencePairs, or [premises, hypotheses, labels]'
        raise SettingsError('not sentence pairs', None, f'a list of {len(pairs)}', allowed)
    return list(zip(pairs[0], pairs[1]))


def expected_calibration_error(confidences, correct, bins=15):
    """How far confidence and accuracy lie apart: the mean over equal `bins`, weighted by their examples.

    `confidences` `(n,)` in [0, 1], `correct` `(n,)`. Bins are open on the left (Guo et al. 2017).

    >>> round(expected_calibration_error([0.9, 0.9, 0.6, 0.6], [1, 1, 1, 0], bins=10), 3)
    0.1
    """
    confidences = numpy.asarray(confidences, dtype=numpy.float64)
    excess = confidences - numpy.asarray(correct, dtype=numpy.float64)
    places = numpy.maximum(numpy.ceil(confidences * bins).astype(int) - 1, 0)
    # Weight times distance of the means is the sum's size over n: the bin's own count cancels.
    return float(abs(numpy.bincount(places, excess)).sum() / len(confidences))


def fit_temperature(true, probabilities):
    """By what to divide the scores so that confidence is accuracy (Guo et al. 2017): above 1 if too sure.

    `true` `(n,)` are label numbers, `probabilities` `(n, N)`; the temperature minimises their mean loss.

    >>> round(fit_temperature([0, 0, 0, 1], [[0.9, 0.1]] * 4), 2)
    2.0
    """
    scores, true = numpy.log(numpy.maximum(probabilities, 1e-30)), numpy.asarray(true)

    def loss(temperature):
        warm = scores / temperature
        return (logsumexp(warm, axis=1) - warm[numpy.arange(len(true)), true]).mean()

    return float(minimize_scalar(loss, bounds=(0.2, 5), method='bounded').x)


def evaluate(net, data_iter, devices=None, progress=False):
    """A `Report` of `net` on `data_iter`, in the order of the data set, whatever the batches are.

    `data_iter` is a `Batches`, or a `DataLoader` that does not shuffle; `devices` hold the network (None: all
    that do); `progress` shows a bar. Raises `SettingsError` for an iterator without batches, or answers that
    do not fit the labels.
    """
    devices = devices or devices_of(net)
    # Batches of similar length come in another order than the data, and say in which.
    order = data_iter.order() if hasattr(data_iter, 'order') else None
    under_way, answers = collections.deque(), []
    with autograd.pause(train_mode=False):
        for X, y in _with_bar(data_iter, progress):
            X_shards, y_shards = split_batch_multi_inputs(X, y, devices)
            shards = [npx.softmax(net(shard).astype('float32')) for shard in X_shards]  # (B / devices, N)
            under_way.append((shards, y_shards))
            if len(under_way) > _AHEAD:
                answers.append(_read(under_way.popleft()))
    answers += map(_read, under_way)
    if not answers:
        raise SettingsError('there is nothing to evaluate', found='an iterator without batches')
    probabilities, true = (numpy.concatenate(arrays) for arrays in zip(*answers))  # (n, N), (n,)
    delivered = numpy.arange(len(true)) if order is None else numpy.concatenate(order)
    if len(delivered) != len(true):
        found, remedy = f'{len(true)} of {len(delivered)} examples', 'start the iterator at its first batch'
        raise SettingsError('the iterator did not yield the whole data set', None, found, remedy=remedy)
    rows = numpy.argsort(delivered)
    return Report.from_probabilities(true[rows], probabilities[rows])


def _with_bar(data_iter, progress):
    total = len(data_iter) if hasattr(data_iter, '__len__') else None
    # subtle: the bar gets an iterator; given the iterable, tqdm begins it twice, and each time is an epoch.
    return tqdm(iter(data_iter), 'evaluating', total, unit='batch', disable=not progress)


def evaluate_pretraining(net, data_iter, progress=False, among=None):
    """How well `net`, a `BERTModel`, fills gaps and tells next sentences: a dictionary of numbers.

    `data_iter` yields the seven arrays of `load_data_wiki`; set a `Batches`' `epoch` to compare networks on
    the same masks. `mlm_accuracy` is the share of the masked words that are guessed first, `perplexity` the
    exponential of their mean loss, `nsp_accuracy` the share of the pairs. `among` are the numbers of the
    words that count (None: all), as a small vocabulary has it easier; `progress` shows a bar. Raises
    `SettingsError` without batches.
    """
    devices, tally = devices_of(net), Tally()
    with autograd.pause(train_mode=False):
        for *X, y in _with_bar(data_iter, progress):
            for shard, is_next in zip(*split_batch_multi_inputs(X, y, devices)):
                *inputs, weights, words = shard
                if among is not None:
                    counted = numpy.isin(words.asnumpy(), among).astype('float32')
                    weights = weights * np.array(counted, ctx=words.ctx)
                # Nothing else is waited for.
                _, scores, nsp_scores = net(*inputs)  # (B, P, V), (B, 2)
                hits = (scores.argmax(axis=-1).astype('int32') == words.astype('int32')).astype('float32')
                gains = npx.pick(npx.log_softmax(scores), words) * weights
                tally.add(loss=-gains.sum(), found=(hits * weights).sum(), words=weights.sum())
                tally.add(next=correct(nsp_scores, is_next))
            tally.add(pairs=len(y))
    if not tally['pairs']:
        raise SettingsError('there is nothing to evaluate', found='an iterator without batches')
    return {
        'mlm_accuracy': tally.mean('found', 'words'),
        'perplexity': math.exp(tally.mean('loss', 'words')),
        'nsp_accuracy': tally.mean('next', 'pairs'),
        'words': int(tally['words']),
        'pairs': tally['pairs'],
    }


def _read(arrays):
    """Wait for one batch: its probabilities and labels as NumPy arrays."""
    return tuple(numpy.concatenate([shard.asnumpy() for shard in shards]) for shards in arrays)
