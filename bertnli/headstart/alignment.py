"""Heads that begin by looking for like words in the other sentence."""

import math

import numpy as onp

from ..errors import SettingsError
from ..model import check_bert
from ..runtime import np

# Attention scores before softmax, as begun: how much a word prefers itself to one that has nothing to do with
# it, and how much it prefers the other sentence to its own.
_LIKE, _OTHER = 3.0, 2.5


def begin_with_alignment(bert):
    """Before fine-tuning, let the heads of the first layer look for like words in the other sentence.

    Pretraining teaches heads to look at a word's neighbours; whether a hypothesis follows is seen by holding
    it against the premise, word by word (Parikh et al. 2016; chapter section 16.5). Of two layers, the last
    of which reads for `<cls>` alone, only the first can do that. All weights are trained on from here.

    Queries and keys of a head become copies of as many entries of the word vectors, but for the direction in
    which the two segments differ: that is turned round. `bert` is a `BERTModel` of this library or of d2l;
    raises `SettingsError` for anything else, or if its two segments do not differ.

    >>> from bertnli.model import BERTModel
    >>> bert = BERTModel(9, 8, 8, 2, 1, 0.0, max_len=16)
    >>> bert.initialize()
    >>> begin_with_alignment(bert)
    >>> weight = bert.encoder.blks[0].attention.W_q.weight.data()  # two heads of four rows
    >>> [bool(abs(block).max() > 0) for block in (weight[:4, :4], weight[:4, 4:])]
    [True, False]
    """
    encoder = check_bert(bert).encoder
    attention = encoder.blks[0].attention
    tables = encoder.token_embedding.weight, encoder.segment_embedding.weight, encoder.pos_embedding
    words, segments, places = (table.list_data()[0].asnumpy() for table in tables)
    size = words.shape[1]
    width = size // attention.num_heads
    for layer, sign in ((attention.W_q, -1), (attention.W_k, 1)):
        weight, bias = onp.zeros((size, size)), onp.zeros(size)
        for start in range(0, size, width):
            own = slice(start, start + width)
            weight[own, own], bias[own] = _align(words[:, own], segments[:, own], places[0, :, own], sign)
        layer.weight.set_data(np.array(weight, dtype='float32'))
        layer.bias.set_data(np.array(bias, dtype='float32'))


def _align(words, segments, places, sign):
    """Weight and bias of one head: of its queries for `sign` -1, of its keys for 1.

    Their product is that of two inputs, scaled, but for the direction `apart`: there the sign is turned, so
    that inputs on different sides of the `middle` score more, and those on the same side less.
    """
    root = math.sqrt(words.shape[1])  # attention divides by it
    apart = segments[0] - segments[1]
    distance = math.sqrt(apart @ apart)
    if not distance:
        remedy = 'give a BERT that was initialized or pretrained with two segments'
        raise SettingsError('the segments do not differ', None, 'two equal rows', remedy=remedy)
    apart /= distance
    middle = (words.mean(axis=0) + segments.mean(axis=0) + places.mean(axis=0)) @ apart
    scale = math.sqrt(_LIKE * root / (words**2).sum(axis=1).mean())
    turn = sign * 2 * math.sqrt(_OTHER * root) / distance
    weight = scale * onp.eye(len(apart)) + (turn - scale) * onp.outer(apart, apart)
    return weight, -turn * middle * apart
