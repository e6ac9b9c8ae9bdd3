"""Ask a trained network: two sentences to a label, a sentence with a gap to words.

Sentences may be raw, as a reader types them, or lists of words; raw ones are split as SNLI's files are.
Legend: B examples in the batch, T tokens in the longest of them, V vocabulary size, n pairs.
"""

import itertools
from typing import NamedTuple

import numpy as onp

from .corpora.treebank import MAX_UNKNOWN, Unread, ended, not_a_sentence, pairs_in, words
from .devices import check_devices, devices_of
from .errors import DataError, SettingsError
from .examples import get_tokens_and_segments
from .fast.encoding import PairTable, join_pairs
from .runtime import array, autograd, full_name, np, npx
from .text import LABELS, SentencePair
from .tokens import require_special

_WINDOW = 16  # batches that are read ahead, so that pairs of like length can go together


class Prediction(NamedTuple):
    """The most probable `label`, and the `probabilities` of all three in the order of `LABELS`."""

    label: str
    probabilities: tuple

    def __str__(self):
        shares = ', '.join(f'{name} {p:.3f}' for name, p in zip(LABELS, self.probabilities))
        return f'{self.label} ({shares})'


class Guess(NamedTuple):
    """A `word` for a gap, and its `probability`."""

    word: str
    probability: float


def predict_snli(net, vocab, premise, hypothesis, *, max_len=128, max_unknown=1.0):
    """Does the `hypothesis` follow from the `premise`? Returns a `Prediction`.

    `net` is a `BERTClassifier`, or the network of section 16.5 (attention), which reads two arrays; `vocab`
    are its words. Sentences are raw or lists of words; a BERT reads up to `max_len` tokens. Warns and raises
    as `predict_pairs` does, but who asks about one pair is answered, however few words are known: the share
    `max_unknown` is 1.

    >>> from bertnli import BERTClassifier, BERTModel, Vocab
    >>> vocab = Vocab(['a', 'dog', 'runs'], reserved_tokens=['<pad>', '<mask>', '<cls>', '<sep>'])
    >>> net = BERTClassifier(BERTModel(len(vocab), 4, 4, 2, 1, 0))
    >>> net.initialize()
    >>> len(predict_snli(net, vocab, 'A dog runs.', ['a', 'dog']).probabilities)
    3
    """
    _check_net(net)
    pair, parts = SentencePair(premise, hypothesis), []
    # A network with a vector for each segment reads both sentences as one input.
    net.apply(parts.append)
    if any(hasattr(part, 'segment_embedding') for part in parts):
        (answer,) = predict_pairs(net, vocab, [pair], max_len=max_len, max_unknown=max_unknown)
        return answer
    # Any other reads them apart, without special words, and words of a list as they are spelt.
    unread = Unread(max_unknown)
    pair_table([pair], vocab, unread)  # are they sentences?
    unread.tell()
    sentences = [sentence_words(one, vocab) if isinstance(one, str) else list(one) for one in pair[:2]]
    inputs = [np.array([vocab[one]], dtype='int32', ctx=devices_of(net)[0]) for one in sentences]  # (1, T)
    with autograd.predict_mode():
        return next(_predictions(npx.softmax(net(inputs)).asnumpy()))


def check_fit(net, vocab):
    """Raise `SettingsError` unless `vocab` has a word for each row of the network's table of words."""
    encoder = getattr(getattr(net, 'bert', net), 'encoder', None)
    if hasattr(encoder, 'token_embedding') and encoder.token_embedding.weight.shape[0] != len(vocab):
        words = encoder.token_embedding.weight.shape[0]  # with another, each number means another word
        raise SettingsError("not this network's vocabulary", found=len(vocab), allowed=f'{words} words')


def _predictions(probabilities):
    return map(Prediction, [LABELS[i] for i in probabilities.argmax(axis=1)], zip(*probabilities.T.tolist()))


def predict_pairs(net, vocab, pairs, *, batch_size=256, max_len=128, devices=None, max_unknown=MAX_UNKNOWN):
    """A `Prediction` for each pair of a stream, in its order and in constant memory.

    `net` is a classifier, `vocab` are its words. Each of the `pairs` is a `SentencePair`, a tuple, or a
    dictionary with `premise` and `hypothesis`; two columns, or a pandas `DataFrame` with these names, are
    many. Some batches of `batch_size` pairs are read ahead and grouped by length, and `devices` take turns
    with them (None: all that hold the network). Raises `DataError` with the pair's number, from 1, if a
    sentence has no words, and if more than `max_unknown` of all words are unknown. Warns at the end of more
    than 10 % (see `Unread`), and of pairs that were cut to `max_len` tokens; with `max_unknown` None neither.
    """
    _check_net(net)
    devices, special = check_devices(devices or devices_of(net)), require_special(vocab)
    check_fit(net, vocab)
    pairs, unread = pairs_in(pairs), Unread(max_unknown)
    # A window of the stream at a time, until it ends.
    while window := list(itertools.islice(pairs, _WINDOW * batch_size)):
        # From words to numbers, and long pairs shortened as in training.
        table = pair_table(window, vocab, unread)
        short = table.shortened(max_len)
        unread.cut += int((table.valid_lens > short.valid_lens).sum())
        # From scores to probabilities, (n, 3).
        rows = rows_of_table(lambda X: npx.softmax(net(X)), short, special, batch_size, devices)
        yield from _predictions(rows)
    unread.tell(max_len)


def _check_net(net):
    # A BERT or its encoder, a whole checkpoint, or what load_pretrained_model returned.
    if not hasattr(net, 'apply') or hasattr(net, 'mlm') or hasattr(net, 'pos_embedding'):
        allowed = 'a fine-tuned BERTClassifier, or another network with three scores'
        remedy = 'fine-tune BERTClassifier(bert), or give the `net` of load_checkpoint(…)'
        problem, found = 'no network with a head for labels', full_name(net)
        raise SettingsError(problem, found=found, allowed=allowed, remedy=remedy)


def rows_of_table(function, table, special, batch_size, devices):
    """What `function` makes of each pair of a table, `(n, k)`: it takes `(tokens, segments, valid_lens)`.

    The pairs are worked on in batches of similar length; a batch goes to one device, the next to the next.
    """
    # From the shortest pair to the longest: little padding in every batch.
    order = onp.argsort(table.valid_lens, kind='stable')
    waiting = []
    with autograd.predict_mode():
        for start, device in zip(range(0, len(order), batch_size), itertools.cycle(devices)):
            rows = order[start : start + batch_size]
            inputs = [array(x, device) for x in join_pairs(table, rows, special)]
            waiting.append((rows, function(inputs)))
    # Nothing is waited for before all batches are under way; then every answer goes to its own row.
    result = onp.empty((len(order), waiting[0][1].shape[1]), 'float32')
    for rows, answers in waiting:
        result[rows] = answers.asnumpy()
    return result


def pair_table(pairs, vocab, unread=None):
    """The numbers of all words of some pairs of sentences, a `PairTable`; `unread` counts what is lost."""
    every, lengths, seen = [], [], unread.pairs if unread else 0
    for number, sentence in enumerate(sentence for pair in pairs for sentence in pair[:2]):
        try:
            tokens = sentence_words(sentence, vocab)
            if not tokens:
                problem, allowed, remedy = 'a sentence has no words', 'at least one word', 'write a sentence'
                raise DataError(problem, found=sentence, allowed=allowed, remedy=remedy)
        except DataError as error:
            error.where = f'pair {seen + number // 2 + 1}, {("premise", "hypothesis")[number % 2]}'
            raise
        every += tokens
        lengths.append(len(tokens))
    # All words one after the other; unknown ones share a number.
    unk = vocab['<unk>']
    flat = onp.fromiter(map(vocab.token_to_idx.get, every, itertools.repeat(unk)), 'int32', len(every))
    if unread:
        unread.count(len(lengths) // 2, flat == unk, every)
    lengths = onp.array(lengths, 'int32').reshape(-1, 2)
    return PairTable(flat, (onp.cumsum(lengths) - lengths.reshape(-1)).reshape(-1, 2), lengths)


def sentence_words(sentence, vocab=None):
    """A raw sentence split as SNLI's files are, by `words`; a list of words only lower-cased."""
    if isinstance(sentence, str):
        tokens = words(sentence, vocab and vocab.token_to_idx)
        return ended(tokens) if getattr(vocab, 'ends', False) else tokens
    if not isinstance(sentence, (list, tuple)):
        raise not_a_sentence(sentence)
    try:
        tokens = ' '.join(sentence).lower().split()
    except TypeError:  # not only words
        raise not_a_sentence(sentence) from None
    if len(tokens) > len(sentence):
        remedy = 'predict_pairs(net, vocab, pairs) takes many sentences'
        raise DataError('a sentence where a word should be', found=sentence, remedy=remedy)
    return tokens


def fill_mask(bert, vocab, sentence, top=5):
    """The `top` most probable words for each `<mask>` of a `sentence`: a list of `Guess` for each gap.

    The sentence is raw or a list of words; `vocab` are those of `bert`. Raises `DataError` if it has no gap,
    `SettingsError` for anything else than a pretrained `BERTModel`.

    >>> from bertnli import BERTModel, Vocab
    >>> vocab = Vocab(['a', 'dog', 'runs'], reserved_tokens=['<pad>', '<mask>', '<cls>', '<sep>'])
    >>> bert = BERTModel(len(vocab), 4, 4, 2, 1, 0)
    >>> bert.initialize()
    >>> [len(guesses) for guesses in fill_mask(bert, vocab, 'a <mask> runs', top=2)]
    [2]
    """
    special = require_special(vocab)
    check_fit(bert, vocab)
    if not hasattr(bert, 'mlm'):
        remedy = 'fine-tuning does not train the head for words: load the pretrained model'
        raise SettingsError('this network cannot fill gaps', found=full_name(bert), remedy=remedy)
    # The gap is one word, whatever stands beside it; splitting would take its brackets apart.
    if isinstance(sentence, str):
        parts = [words(part, vocab.token_to_idx) for part in sentence.split('<mask>')]
        tokens = [word for part in parts for word in ('<mask>', *part)][1:]
    else:
        tokens = sentence_words(sentence)
    tokens, segments = get_tokens_and_segments(tokens)
    gaps = [i for i, word in enumerate(tokens) if word == '<mask>']
    if not gaps:
        raise DataError('the sentence has no gap', found=sentence, remedy='write <mask> for a word')
    # One example with P gaps: (1, T), (1, T), (1,), (1, P).
    rows = [vocab[tokens]], [segments], [len(tokens)], [gaps]
    inputs = [np.array(row, dtype='int32', ctx=devices_of(bert)[0]) for row in rows]
    with autograd.predict_mode():
        probabilities = npx.softmax(bert(*inputs)[1])[0].asnumpy()  # (P, V)
    # A gap is never a special word.
    probabilities[:, [vocab.unk, *special]] = 0
    return [
        [Guess(vocab.to_tokens(int(i)), float(row[i])) for i in onp.argsort(-row)[:top]]
        for row in probabilities
    ]
