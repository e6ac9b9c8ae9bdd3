"""Vectors for words from counts alone: which words stand near which.

A BERT that begins with random vectors spends its first thousand steps on finding out that *guitar* and
*plays* have to do with each other. That can be counted, in seconds (Levy and Goldberg 2014; Levy, Goldberg
and Dagan 2015, section 3; Dive into Deep Learning, 15.5).

Legend: V vocabulary size, C `num_hiddens`, N words in the text.
"""

import math
from typing import NamedTuple

import numpy as onp
from scipy import sparse
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from ..errors import SettingsError
from ..model import check_bert
from ..runtime import np

_SPREAD = 0.2  # root mean square of a vector from counts; 0.1 and 0.3 learn alike
_SMOOTHING = 0.75  # power of the contexts' counts: without it rare words are everybody's neighbours


class WordVectors(NamedTuple):
    """`words @ contexts.T` tells how much more often than by chance two words meet.

    Both are `(V, C)`, each row of mean square 1, or 0 for a word without neighbours; `counts` `(V,)` is how
    often each word occurs.
    """

    words: onp.ndarray
    contexts: onp.ndarray
    counts: onp.ndarray


def word_vectors(numbers, starts, vocab_size, num_hiddens, *, window=5, seed=0):
    """Positive pointwise mutual information of words that stand near each other, in `num_hiddens` dimensions.

    `numbers` (N,) are the words of all sentences, one after the other, below `vocab_size`, and `starts` where
    sentences begin. Words at most `window` apart in a sentence are near, and count less with the distance.
    `seed` is that of the decomposition. Raises `SettingsError` if no word has a neighbour.

    >>> dog, runs, cat, sleeps = range(4)
    >>> found = word_vectors([dog, runs, cat, sleeps, dog, runs], [0, 2, 4], 4, 2)
    >>> found.words.shape, found.counts.tolist()
    ((4, 2), [2, 2, 1, 1])
    """
    numbers = onp.asarray(numbers, onp.int32)
    near = _count_neighbours(numbers, starts, vocab_size, window)
    if not near.nnz:
        found = f'{len(numbers)} words, window {window}'
        allowed = 'at least sentences of two words, a window of 1'
        raise SettingsError('no word has a neighbour', None, found, allowed)
    # One thread: how many there are would change the last bits, and with them the model.
    with threadpool_limits(1):
        size = min(num_hiddens, vocab_size)
        left, strength, right = randomized_svd(_more_than_chance(near), size, random_state=seed)
    words, contexts = (_evenly(side * onp.sqrt(strength), num_hiddens) for side in (left, right.T))
    return WordVectors(words, contexts, onp.bincount(numbers, minlength=vocab_size))


def _count_neighbours(numbers, starts, vocab_size, window):
    """How often each word has each other one beside it: (V, V), sparse and symmetric."""
    begins = onp.zeros(len(numbers), bool)
    begins[starts] = True
    sentence = onp.cumsum(begins)
    near = sparse.csr_matrix((vocab_size, vocab_size))
    for distance in range(1, window + 1):
        together = sentence[distance:] == sentence[:-distance]
        pairs = numbers[:-distance][together], numbers[distance:][together]
        weights = onp.full(len(pairs[0]), 1 / distance)
        near += sparse.coo_matrix((weights, pairs), near.shape).tocsr()
    return near + near.T


def _more_than_chance(near):
    """Positive pointwise mutual information: the logarithm of seen over expected, where more is seen."""
    near = near.tocoo()
    total = onp.bincount(near.row, near.data, minlength=near.shape[0])
    smooth = total**_SMOOTHING
    information = onp.log(near.data / total[near.row] / smooth[near.col] * smooth.sum())
    more = information > 0
    return sparse.csr_matrix((information[more], (near.row[more], near.col[more])), near.shape)


def _evenly(vectors, width):
    """Rows of mean square 1, filled with zeros to `width`; what is zero but for rounding becomes zero."""
    size = onp.sqrt((vectors**2).sum(axis=1, keepdims=True) / width)
    vectors = onp.divide(vectors, size, out=onp.zeros_like(vectors), where=size > 1e-6)
    return onp.pad(vectors, ((0, 0), (0, width - vectors.shape[1])))


def begin_with_vectors(net, numbers, starts, *, seed=0):
    """Before its first step, tell `net` which words stand near each other (`word_vectors`).

    `net` is a `BERTModel` of this library or of d2l (else `SettingsError`); `numbers` and `starts` are the
    text, as `WikiTextDataset.sentences`. Scores of masked words prefer frequent words and those whose
    neighbours were read; positions are sine waves (chapter section 11.6). Words that are not in the text keep
    their vectors. `seed` is that of `word_vectors`.

    >>> from bertnli.model import BERTModel
    >>> bert = BERTModel(9, 8, 8, 2, 1, 0.0, max_len=16)
    >>> bert.initialize()
    >>> begin_with_vectors(bert, [5, 6, 7, 8, 5, 6], [0, 2, 4])
    >>> [round(float(score), 1) for score in bert.mlm.output.bias.data()[5:]]
    [-0.9, -0.9, -1.4, -1.4]
    """
    encoder, output = check_bert(net).encoder, net.mlm.mlp[2]
    table, places = encoder.token_embedding.weight, encoder.pos_embedding
    if min(output.weight.shape) < 1:  # d2l's layers learn their sizes from their first input
        zero = np.zeros((1, 1), dtype='int32', ctx=table.list_ctx()[0])
        net(zero, zero, None, zero)
    found = word_vectors(numbers, starts, *table.shape, seed=seed)
    for parameter, vectors in ((table, found.words), (output.weight, found.contexts)):
        known = vectors.any(axis=1, keepdims=True)
        values = onp.where(known, _SPREAD * vectors, parameter.list_data()[0].asnumpy())
        parameter.set_data(np.array(values, dtype='float32'))
    frequency = (found.counts + 0.5) / found.counts.sum()  # half a word: no logarithm of nothing
    output.bias.set_data(np.array(onp.log(frequency), dtype='float32'))
    waves = _SPREAD / 2 * _waves(*places.shape[1:])  # half: a word says more than its place
    places.set_data(np.array(waves[None], dtype='float32'))


def _waves(length, width):
    """Sines and cosines of ever longer waves, `(length, width)`, of mean square 1."""
    column = onp.arange(width)
    angles = onp.arange(length)[:, None] / 10000 ** (column // 2 * 2 / width)
    return math.sqrt(2) * onp.where(column % 2, onp.cos(angles), onp.sin(angles))
