"""Ask a trained network: two sentences to a label, a sentence with a gap to words.

Sentences may be raw, as a reader types them, or lists of words that were split already; raw ones are split
as SNLI's files are. Nothing here trains.
"""

import itertools
from typing import NamedTuple

import numpy as onp

from .corpora.treebank import words
from .devices import devices_of
from .errors import DataError, SettingsError
from .examples import get_tokens_and_segments
from .fast.encoding import PairTable, join_pairs
from .runtime import autograd, np, npx
from .text import LABELS, SentencePair
from .tokens import require_special

_WINDOW = 16  # batches that are read ahead


class Prediction(NamedTuple):
    """The most probable label, and the probabilities of all three in the order of `LABELS`."""

    label: str
    probabilities: tuple

    def __str__(self):
        shares = ', '.join(f'{name} {p:.3f}' for name, p in zip(LABELS, self.probabilities))
        return f'{self.label} ({shares})'


class Guess(NamedTuple):
    """A word for the gap, and its probability."""

    word: str
    probability: float


def predict_snli(net, vocab, premise, hypothesis, *, max_len=128):
    """What follows from the premise for the hypothesis? Returns a `Prediction`.

    Raises `DataError` if a sentence has no words.

    >>> from bertnli import BERTClassifier, BERTModel, Vocab
    >>> vocab = Vocab(['a', 'dog', 'runs'], reserved_tokens=['<pad>', '<mask>', '<cls>', '<sep>'])
    >>> net = BERTClassifier(BERTModel(len(vocab), 4, 4, 2, 1, 0))
    >>> net.initialize()
    >>> len(predict_snli(net, vocab, 'A dog runs.', ['a', 'dog']).probabilities)
    3
    """
    pair = SentencePair(premise, hypothesis, None)
    return next(predict_pairs(net, vocab, [pair], max_len=max_len))


def predict_pairs(net, vocab, pairs, *, batch_size=256, max_len=128, devices=None):
    """A `Prediction` for each `SentencePair` of a stream, in its order and in constant memory.

    Some batches are read ahead and grouped by length, so that short pairs do not wait for long ones, and the
    devices take turns with them (None: all that hold the network). Raises `DataError` with the pair's number,
    counted from 1, if a sentence has no words.
    """
    devices = devices or devices_of(net)
    require_special(vocab)
    pairs, seen = iter(pairs), 0
    while True:
        window = list(itertools.islice(pairs, _WINDOW * batch_size))
        if not window:
            return
        table = pair_table(window, vocab, seen).shortened(max_len)
        probabilities = rows_of_table(
            lambda inputs: npx.softmax(net(inputs)), table, require_special(vocab), batch_size, devices
        )
        for row in probabilities.tolist():
            yield Prediction(LABELS[row.index(max(row))], tuple(row))
        seen += len(window)


def rows_of_table(function, table, special, batch_size, devices):
    """What `function` makes of each pair of a table, `(n, k)`, worked on in batches of similar length.

    A batch goes to one device, the next batch to the next: nothing is waited for before all are under way.
    `function` takes `(tokens, segments, valid_lens)` of B pairs and returns an array `(B, k)`.
    """
    order = onp.argsort(table.valid_lens, kind='stable')
    waiting = []
    with autograd.predict_mode():
        for start, device in zip(range(0, len(order), batch_size), itertools.cycle(devices)):
            rows = order[start : start + batch_size]
            inputs = [np.array(x, dtype=x.dtype, ctx=device) for x in join_pairs(table, rows, special)]
            waiting.append((rows, function(inputs)))
    result = onp.empty((len(order), waiting[0][1].shape[1]), 'float32')
    for rows, answers in waiting:
        result[rows] = answers.asnumpy()
    return result


def pair_table(pairs, vocab, seen=0):
    """The numbers of all words of some `SentencePair`s, a `PairTable`; `seen` pairs came before them.

    Raises `DataError` if a sentence has no words, or is none.
    """
    sentences = [sentence_words(sentence) for pair in pairs for sentence in pair[:2]]
    for number, tokens in enumerate(sentences):
        if not tokens:
            raise DataError(
                'a sentence has no words',
                where=f'pair {seen + number // 2 + 1}, {("premise", "hypothesis")[number % 2]}',
                found=pairs[number // 2][number % 2],
                allowed='at least one word',
                remedy='write a sentence',
            )
    lengths = onp.array([len(tokens) for tokens in sentences], 'int32')
    flat = onp.array(
        [vocab.token_to_idx.get(word, vocab.unk) for tokens in sentences for word in tokens], 'int32'
    )
    starts = onp.cumsum(lengths) - lengths
    return PairTable(flat, starts.reshape(-1, 2), lengths.reshape(-1, 2))


def sentence_words(sentence):
    """A raw sentence split as SNLI's files are; a list of words only lower-cased."""
    if isinstance(sentence, str):
        return words(sentence)
    if not isinstance(sentence, (list, tuple)) or not all(isinstance(word, str) for word in sentence):
        raise DataError('this is no sentence', found=sentence, allowed='a sentence, or a list of its words')
    return [word.lower() for word in sentence]


def fill_mask(bert, vocab, sentence, top=5):
    """The most probable words for each `<mask>` of a sentence: a list of `Guess` for each gap.

    `bert` is a `BERTModel` with its pretraining head. Raises `DataError` if there is no gap, `SettingsError`
    for a network that was fine-tuned.

    >>> from bertnli import BERTModel, Vocab
    >>> vocab = Vocab(['a', 'dog', 'runs'], reserved_tokens=['<pad>', '<mask>', '<cls>', '<sep>'])
    >>> bert = BERTModel(len(vocab), 4, 4, 2, 1, 0)
    >>> bert.initialize()
    >>> [len(guesses) for guesses in fill_mask(bert, vocab, 'a <mask> runs', top=2)]
    [2]
    """
    special = require_special(vocab)
    if not hasattr(bert, 'mlm'):
        raise SettingsError(
            'this network cannot guess words',
            found=type(bert).__name__,
            allowed='a BERTModel as it was pretrained',
            remedy='fine-tuning does not train the head for words: load the folder of the pretraining',
        )
    # The gap is one word, whatever stands beside it; splitting would take its brackets apart.
    parts = sentence.split('<mask>') if isinstance(sentence, str) else [sentence]
    tokens = sentence_words(parts[0])
    for part in parts[1:]:
        tokens += ['<mask>', *sentence_words(part)]
    tokens, segments = get_tokens_and_segments(tokens)
    gaps = [i for i, word in enumerate(tokens) if word == '<mask>']
    if not gaps:
        raise DataError(
            'the sentence has no gap', found=sentence, allowed='at least one <mask>', remedy='write <mask>'
        )
    device = devices_of(bert)[0]
    inputs = [
        np.array(numbers, dtype='int32', ctx=device)
        for numbers in ([vocab[tokens]], [segments], [len(tokens)], [gaps])  # (1, T), (1, T), (1,), (1, P)
    ]
    with autograd.predict_mode():
        probabilities = npx.softmax(bert(*inputs)[1])[0].asnumpy()  # (gaps, V)
    # A gap is never a special word.
    probabilities[:, [vocab.unk, *special]] = 0
    best = onp.argsort(-probabilities, axis=1)[:, :top]
    return [
        [Guess(vocab.to_tokens(int(i)), float(row[i])) for i in places]
        for row, places in zip(probabilities, best)
    ]
