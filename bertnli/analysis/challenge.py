"""Pairs in which one word decides, by phenomenon, and the same pair typed otherwise.

Accuracy on pairs like those of training says little of what was understood (McCoy et al. 2019). The challenge
set is ours: `data/make_challenge.py` makes it, and its last column says why each label holds.
"""

import unicodedata
from collections import defaultdict

import numpy

from ..corpora.files import data_dir
from ..errors import SettingsError
from ..prediction import predict_pairs
from ..text import LABELS, SentencePair

# Twelve ways to type a sentence that mean the same.
WAYS = {
    'no end mark': lambda text: text.rstrip(' .!'),
    'another end mark': lambda text: text.rstrip(' .!') + '!',
    'capitals': str.upper,
    'small letters': str.lower,
    'wide blanks': lambda text: text.replace(' ', '  '),
    'tabs': lambda text: text.replace(' ', '\t'),
    'no-break spaces': lambda text: text.replace(' ', '\u00a0'),
    'zero-width characters': lambda text: text.replace(' ', ' \u200b'),
    'byte order mark': lambda text: '\ufeff' + text,
    'typographic apostrophes': lambda text: text.replace("'", '’'),
    'entities': lambda text: text.replace("'", '&#39;'),
    'decomposed letters': lambda text: unicodedata.normalize('NFD', text),
}


def read_challenge(split='dev'):
    """A half of the challenge set: [(phenomenon, `SentencePair`, why)]; 'dev' chooses, 'test' judges.

    Raises `SettingsError` for another `split`.

    >>> phenomenon, pair, why = read_challenge()[0]
    >>> phenomenon, why
    ('negation in the premise', 'there was none')
    """
    if split not in ('dev', 'test'):
        raise SettingsError('no such half of the challenge set', 'split', split, 'dev, test')
    path = data_dir('sample') / 'challenge' / f'{split}.tsv'
    rows = [line.split('\t') for line in path.read_text('utf-8').splitlines()[1:]]
    return [(name, SentencePair(p, h, LABELS.index(label)), why) for name, p, h, label, why in rows]


def judge_challenge(net, vocab, split='dev', *, max_len=128):
    """Accuracy for each phenomenon of the half `split`, by name, in its order.

    `net` is a classifier with the words of `vocab`; pairs are cut to `max_len` tokens.
    """
    names, pairs, _ = zip(*read_challenge(split))
    found = defaultdict(list)
    for name, pair, answer in zip(names, pairs, predict_pairs(net, vocab, pairs, max_len=max_len)):
        found[name].append(answer.label == LABELS[pair.label])
    return {name: float(numpy.mean(right)) for name, right in found.items()}


def judge_typing(net, vocab, premises, hypotheses, *, max_len=128):
    """The share of answers that change if raw `premises` and `hypotheses` are typed in each of `WAYS`.

    `net`, `vocab` and `max_len` are those of `judge_challenge`.
    """

    def answers(way):
        pairs = [SentencePair(*map(way, pair)) for pair in zip(premises, hypotheses)]
        return numpy.array([one.label for one in predict_pairs(net, vocab, pairs, max_len=max_len)])

    plain = answers(str)
    return {name: float((answers(way) != plain).mean()) for name, way in WAYS.items()}
