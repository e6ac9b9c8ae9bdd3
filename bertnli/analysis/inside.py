"""What goes on inside a trained network: attention, what words bring, vectors, neighbours.

Dropout is off; networks of d2l work too.
Legend: T tokens of the pair, C `num_hiddens`, H heads, L layers, n pairs.
"""

from typing import NamedTuple

import numpy as onp

from ..devices import devices_of
from ..errors import DataError, SettingsError
from ..examples import get_tokens_and_segments, truncate_pair
from ..fast.blocks import read_cls
from ..fast.encoding import join_pairs
from ..prediction import check_fit, fill_mask, pair_table, predict_pairs, rows_of_table, sentence_words
from ..runtime import array, autograd, np, npx
from ..settings import check
from ..text import LABELS, SentencePair
from ..tokens import require_special


class Attention(NamedTuple):
    """The T tokens of a pair, `words`, and who looks at whom: `weights` `(L, H, T, T)`, rows sum to 1."""

    words: list
    weights: onp.ndarray


class Saliency(NamedTuple):
    """The T tokens of a pair, `words`, and `values`: how far each speaks for the `label` asked for."""

    words: list
    label: str
    values: list


class Neighbour(NamedTuple):
    """A `word`, and its `similarity`: the cosine between its vector and that of the word asked for."""

    word: str
    similarity: float


class Counterfactual(NamedTuple):
    """A single word that flips the answer: in `sentence`, 'premise' or 'hypothesis', `instead` for `word`.

    The new answer is `label`, with its `probability`.
    """

    sentence: str
    word: str
    instead: str
    label: str
    probability: float


def attention(net, vocab, premise, hypothesis, *, max_len=128):
    """Who looks at whom, in all layers, while a `BERTClassifier` or `BERTModel` reads a pair: an `Attention`.

    `net` reads the words of `vocab`; `premise` and `hypothesis` are raw or lists of words, cut to `max_len`
    tokens together. Raises `DataError` if a sentence has no words.

    >>> from bertnli import load_checkpoint
    >>> model = load_checkpoint('bert-nli-small')
    >>> words, weights = attention(model.net, model.vocab, 'A dog.', 'Runs.')
    >>> words, weights.shape[2:]
    (['<cls>', 'a', 'dog', '.', '<sep>', 'runs', '.', '<sep>'], (8, 8))
    """
    words, inputs = _one_pair(net, vocab, premise, hypothesis, max_len)
    encoder = _encoder(net)
    with autograd.predict_mode():
        encoder(*inputs).wait_to_read()
    # d2l keeps the weights one level deeper.
    attentions = [getattr(block.attention, 'attention', block.attention) for block in encoder.blks]
    return Attention(words, onp.stack([one.attention_weights.asnumpy() for one in attentions]))


def occlusion(net, vocab, premise, hypothesis, *, label=None, max_len=128):
    """What deleting each word really changes: the label's probability with the word, less that without it.

    `net` is a classifier with the words of `vocab`, `premise` and `hypothesis` are raw or lists of words, cut
    to `max_len` tokens, `label` is a name (None: the network's own answer). Values lie in [-1, 1]: above 0
    the word speaks for the label; `<cls>` and `<sep>`, which stay, have 0 (Zeiler & Fergus 2014; Li et al.
    2016). Returns a `Saliency`. Raises `DataError` if a sentence has no words, `SettingsError` for an unknown
    label.

    >>> from bertnli import load_checkpoint
    >>> model = load_checkpoint('bert-nli-small')
    >>> found = occlusion(model.net, model.vocab, 'A dog.', 'Runs.')
    >>> found.words[1], found.values[0], len(found.values)
    ('a', 0.0, 8)
    """
    words, inputs = _one_pair(net, vocab, premise, hypothesis, max_len, label)
    pad = require_special(vocab)[0]
    pair = onp.concatenate([x.asnumpy() for x in inputs[:2]])  # (2, T): numbers and segments
    places = [i for i, word in enumerate(words) if word not in ('<cls>', '<sep>')]
    # A row less a word is padded by one: (1 + words, 2, T), the whole pair first.
    less = [onp.append(onp.delete(pair, place, axis=1), [[pad], [0]], axis=1) for place in places]
    rows = onp.stack([pair, *less])
    lengths = onp.array([len(words), *[len(words) - 1] * len(places)], 'float32')
    with autograd.predict_mode():
        scores = net([array(x, devices_of(net)[0]) for x in (rows[:, 0], rows[:, 1], lengths)])
    shares = npx.softmax(scores).asnumpy().astype('float64')  # (1 + words, labels)
    number = LABELS.index(label) if label else int(shares[0].argmax())
    values = onp.zeros(len(words))
    values[places] = shares[0, number] - shares[1:, number]
    return Saliency(words, LABELS[number], values.tolist())


def saliency(net, vocab, premise, hypothesis, *, label=None, max_len=128):
    """Which words speak for a label, by gradient times input: quick, well known, and often wrong.

    Takes `net`, `vocab`, `premise`, `hypothesis`, `label` and `max_len`, returns and raises as `occlusion`
    does. A token's value is, to first order, what the label's score above the mean would lose without the
    token's vector (Simonyan et al. 2014; Shrikumar et al. 2017); `occlusion` measures that loss.

    >>> from bertnli import load_checkpoint
    >>> model = load_checkpoint('bert-nli-small')
    >>> len(saliency(model.net, model.vocab, 'A dog.', 'Runs.', label='neutral').values)
    8
    """
    return _slopes(net, *_one_pair(net, vocab, premise, hypothesis, max_len, label), label, [1.0])


def integrated_gradients(net, vocab, premise, hypothesis, *, label=None, max_len=128, steps=32):
    """Gradient times input, averaged over the way from no word vectors to the pair's, in `steps`, one batch.

    Takes `net`, `vocab`, `premise`, `hypothesis`, `label` and `max_len`, returns and raises as `occlusion`
    does. The values add up to what all word vectors together bring the label's score above the mean
    (Sundararajan et al. 2017).

    >>> from bertnli import load_checkpoint
    >>> model = load_checkpoint('bert-nli-small')
    >>> len(integrated_gradients(model.net, model.vocab, 'A dog.', 'Runs.', steps=8).values)
    8
    """
    check('steps', steps, int, 1)
    words, inputs = _one_pair(net, vocab, premise, hypothesis, max_len, label)
    # The network's answer to the pair, not to its shadow.
    label = label or LABELS[int(net(inputs)[0].asnumpy().argmax())]
    return _slopes(net, words, inputs, label, (onp.arange(steps) + 0.5) / steps)


def _slopes(net, words, inputs, label, shares):
    """Gradient times input, a `Saliency`: the mean over word vectors that are shortened to these shares."""
    vectors, shares = [], onp.array(shares, 'float32')[:, None, None]
    inputs = [x.repeat(len(shares), axis=0) for x in inputs]

    def catch(_block, _inputs, output):
        # subtle: from here on the vectors are variables of their own, one for each position; the gradient of
        # the table would add up the places of a word that occurs twice.
        with autograd.pause():
            output[:] = output * np.array(shares, ctx=output.ctx)
        output.attach_grad()
        vectors.append(output)

    hook = _encoder(net).token_embedding.register_forward_hook(catch)
    try:
        with autograd.record(train_mode=False):
            scores = net(inputs)  # (shares, labels)
            number = LABELS.index(label) if label else int(scores[0].asnumpy().argmax())
            margin = (scores[:, number] - scores.mean(axis=1)).sum()
    finally:
        hook.detach()
    margin.backward()
    slopes, shortened = (x.asnumpy() for x in (vectors[0].grad, vectors[0]))  # (shares, T, C)
    values = (slopes * (shortened / shares)).sum(axis=2).mean(axis=0)
    return Saliency(words, LABELS[number], values.tolist())


def counterfactuals(net, bert, vocab, premise, hypothesis, *, top=10, max_len=128):
    """What would you have to change? Every single word whose exchange flips the answer, the surest first.

    The `top` likeliest fillings of each word's gap, by a pretrained `bert` with the same `vocab`, are tried
    on the classifier `net`: one batch of pairs of at most `max_len` tokens. Returns `Counterfactual`s.
    `premise` and `hypothesis` are raw or lists of words. Raises what `fill_mask` and `predict_pairs` do.

    >>> from bertnli import load_checkpoint
    >>> model, pretrained = map(load_checkpoint, ('bert-nli-small', 'bert-wikitext2'))
    >>> found = counterfactuals(model.net, pretrained.net, model.vocab, 'A dog', 'runs')
    >>> all(one.word != one.instead for one in found)
    True
    """
    check('top', top, int, 1)
    pair = [sentence_words(sentence, vocab) for sentence in (premise, hypothesis)]
    pairs, changes = [tuple(pair)], []
    for name, side in ('premise', 0), ('hypothesis', 1):
        for place, word in enumerate(pair[side]):
            gap, changed = list(pair[side]), list(pair)
            gap[place] = '<mask>'
            # Signs are neither exchanged nor put in: another full stop is no thought.
            guesses = fill_mask(bert, vocab, gap, top)[0] if any(map(str.isalnum, word)) else ()
            for other in (guess.word for guess in guesses):
                if other != word and any(map(str.isalnum, other)):
                    changed[side] = [*gap[:place], other, *gap[place + 1 :]]
                    pairs.append(tuple(changed))
                    changes.append((name, word, other))
    options = {'batch_size': len(pairs), 'max_len': max_len, 'max_unknown': None}
    whole, *answers = predict_pairs(net, vocab, pairs, **options)
    found = [Counterfactual(*what, new.label, max(new.probabilities)) for what, new in zip(changes, answers)]
    return sorted((one for one in found if one.label != whole.label), key=lambda one: -one.probability)


def cls_vectors(net, vocab, pairs, *, batch_size=256, max_len=128):
    """The vector of `<cls>` for each `SentencePair`, `(n, C)`: all that the three labels are read from.

    `net` is a classifier or a BERT with the words of `vocab`; of the `pairs`, cut to `max_len` tokens,
    `batch_size` are read at a time. Raises `DataError` if there are no pairs, or a sentence has no words.

    >>> from bertnli import load_checkpoint
    >>> model = load_checkpoint('bert-nli-small')
    >>> len(cls_vectors(model.net, model.vocab, [SentencePair('A dog', 'runs')]))
    1
    """
    pairs = list(pairs)
    if not pairs:
        raise DataError('there are no pairs', found=pairs, allowed='at least one SentencePair')
    encoder, special = _encoder(net), require_special(vocab)
    check_fit(net, vocab)
    table = pair_table(pairs, vocab).shortened(max_len)
    return rows_of_table(lambda X: read_cls(encoder, *X), table, special, batch_size, devices_of(net))


def nearest_words(net, vocab, word, count=8):
    """The `count` words with the most similar rows of `net`'s embedding table, `Neighbour`s, nearest first.

    Special words are left out. Raises `DataError` for a `word` that `vocab` does not have, in lower case.

    >>> from bertnli import load_checkpoint
    >>> model = load_checkpoint('bert-nli-small')
    >>> 'dogs' in [near.word for near in nearest_words(model.net, model.vocab, 'Dog')]
    True
    """
    special = [vocab['<unk>'], *require_special(vocab)]
    number = vocab[word.lower()]
    if number in special:
        remedy = 'try a more frequent word, or ask `word in vocab.token_to_idx` first'
        raise DataError('the vocabulary has no vector for this word', None, word, remedy=remedy)
    table = _encoder(net).token_embedding.weight.data(devices_of(net)[0]).asnumpy()  # (V, C)
    lengths = onp.linalg.norm(table, axis=1)
    cosines = table @ table[number] / onp.maximum(lengths * lengths[number], 1e-12)
    cosines[[number, *special]] = -onp.inf
    best = onp.argsort(-cosines, kind='stable')[: min(count, len(cosines) - len(special) - 1)]
    return [Neighbour(vocab.to_tokens(int(i)), float(cosines[i])) for i in best]


def _encoder(net):
    # A classifier keeps it in its BERT.
    return getattr(net, 'bert', net).encoder


def _one_pair(net, vocab, premise, hypothesis, max_len, label=None):
    """The T tokens of a pair, and (tokens, segments, valid_lens) of shapes (1, T), (1, T) and (1,)."""
    if label is not None and label not in LABELS:  # a wrong name is told before any work
        raise SettingsError('unknown label', found=label, allowed=', '.join(LABELS))
    special = require_special(vocab)
    check_fit(net, vocab)
    table = pair_table([SentencePair(premise, hypothesis)], vocab).shortened(max_len)
    kept = truncate_pair(sentence_words(premise, vocab), sentence_words(hypothesis, vocab), max_len - 3)
    inputs = [array(x, devices_of(net)[0]) for x in join_pairs(table, onp.array([0]), special)]
    return get_tokens_and_segments(*kept)[0], inputs
