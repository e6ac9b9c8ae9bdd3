"""A pair of sentences becomes one BERT input; words are hidden; next sentences are drawn.

Each step stands here twice: as a short function for one example, written to be read, and for whole
batches of numbers in NumPy, written to be fast; tests hold the two together. No MXNet here, so
that worker processes start in a blink.

Shapes: B pairs in the batch, T words in the longest input, P hidden words in the richest input.
"""

from typing import NamedTuple

import numpy as np

from .errors import SettingsError
from .tokens import require_special

STRATEGIES = ('longest', 'ratio')
_SPECIAL_WORDS = 3  # '<cls>', '<sep>' and '<sep>' around a pair
_SHARE = 0.15  # of all words in an input is to be predicted (BERT, section 3.1)


def check_max_len(max_len):
    """Raise `SettingsError` unless two words fit beside the three special ones."""
    if max_len < _SPECIAL_WORDS + 2:
        raise SettingsError(
            'no room for a word of each sentence',
            where='max_len',
            found=max_len,
            allowed=f'at least {_SPECIAL_WORDS + 2}: <cls>, two words, two <sep>',
            remedy='raise max_len (the chapter uses 128)',
        )


def kept_lengths(premise_len, hypothesis_len, room, strategy='longest'):
    """How many words of each sentence stay when `room` words fit; numbers or arrays of numbers.

    'longest' is the chapter's rule, one word after the other off the longer sentence (off the
    hypothesis where both are equal), in closed form. 'ratio' answers the chapter's exercise: both
    give in proportion to their lengths. A sentence with words keeps one if there is room for two.
    A rule of your own is a function of two lengths and the room; it is asked once for each pair.

    >>> kept_lengths(10, 3, 8), kept_lengths(10, 3, 8, 'ratio')
    ((5, 3), (6, 2))
    >>> kept_lengths(10, 3, 8, lambda premise, hypothesis, room: (min(premise, room - 1), 1))
    (7, 1)
    """
    if callable(strategy):
        return _kept_by(strategy, premise_len, hypothesis_len, room)
    if strategy not in STRATEGIES:
        raise SettingsError(
            'there is no such way to shorten a pair',
            where='strategy',
            found=strategy,
            allowed=f'{", ".join(STRATEGIES)}, or a function of two lengths and the room',
            remedy="the chapter's is 'longest'",
        )
    a, b = np.asarray(premise_len, np.int64), np.asarray(hypothesis_len, np.int64)
    if strategy == 'longest':
        # A sentence may use what the other leaves, or its half; the premise gets the odd word.
        kept_a = np.minimum(a, np.maximum(room - b, room - room // 2))
        kept_b = np.minimum(b, np.maximum(room - a, room // 2))
    else:
        total = np.maximum(a + b, 1)
        share = (2 * room * a + total) // (2 * total)  # room · a / total, rounded
        least_a, least_b = np.minimum(a, room >= 2), np.minimum(b, room >= 2)
        kept_a = np.where(a + b <= room, a, np.minimum(np.maximum(share, least_a), room - least_b))
        kept_b = np.where(a + b <= room, b, room - kept_a)
    return (kept_a, kept_b) if kept_a.ndim else (int(kept_a), int(kept_b))


def _kept_by(rule, premise_len, hypothesis_len, room):
    """What a reader's rule keeps, checked: never more words than there are, or than there is room for."""
    lengths = np.stack(np.broadcast_arrays(premise_len, hypothesis_len), axis=-1)  # (…, 2)
    all_kept = []
    for pair in lengths.reshape(-1, 2).tolist():
        kept = rule(*pair, room)
        try:
            fits = sum(kept) <= room and all(0 <= one <= most for one, most in zip(kept, pair))
        except TypeError:
            fits = False
        if not fits or len(kept) != 2:
            raise SettingsError(
                'your rule keeps words that are not there, or that do not fit',
                where=f'strategy, for {pair[0]} and {pair[1]} words and room for {room}',
                found=kept,
                allowed='two numbers: at most the words of each sentence, together at most the room',
                remedy='return both lengths as they are where they fit together',
            )
        all_kept.append(kept)
    kept = np.array(all_kept, dtype=np.int64).reshape(lengths.shape)
    return (kept[..., 0], kept[..., 1]) if kept.ndim > 1 else tuple(kept.tolist())


def truncate_pair(premise, hypothesis, max_tokens, strategy='longest'):
    """The beginnings of two lists of words that fit into `max_tokens` together, as new lists.

    `strategy` is 'longest', 'ratio', or a function of both lengths and the room that returns how many words
    of each stay. Raises `SettingsError` for another name, and for a rule that keeps too many.

    >>> truncate_pair(['a', 'man', 'walks', 'home'], ['he', 'sleeps'], 4)
    (['a', 'man'], ['he', 'sleeps'])
    >>> truncate_pair(['a', 'man', 'walks', 'home'], ['he', 'sleeps'], 4, lambda a, b, room: (room - 1, 1))
    (['a', 'man', 'walks'], ['he'])
    """
    if max_tokens < 0:
        raise SettingsError(
            'a negative number of words cannot be kept',
            where='max_tokens',
            found=max_tokens,
            allowed='0 or more',
            remedy='for a BERT input it is max_len - 3',
        )
    kept = kept_lengths(len(premise), len(hypothesis), max_tokens, strategy)
    return list(premise[: kept[0]]), list(hypothesis[: kept[1]])


def get_tokens_and_segments(tokens_a, tokens_b=None):
    """The words of a BERT input and their segment numbers (chapter, section 'BERT').

    >>> get_tokens_and_segments(['a', 'dog'], ['it', 'runs'])
    (['<cls>', 'a', 'dog', '<sep>', 'it', 'runs', '<sep>'], [0, 0, 0, 0, 1, 1, 1])
    """
    tokens = ['<cls>', *tokens_a, '<sep>']
    segments = [0] * len(tokens)
    if tokens_b is not None:
        tokens += [*tokens_b, '<sep>']
        segments += [1] * (len(tokens_b) + 1)
    return tokens, segments


class EncodedPair(NamedTuple):
    """One BERT input, filled up to max_len: two lists of numbers and how many of them are real."""

    token_ids: list
    segments: list
    valid_len: int


def encode_pair(premise_tokens, hypothesis_tokens, vocab, max_len, strategy='longest'):
    """Shorten, join, number and fill up one pair: an `EncodedPair` (the chapter's algorithm).

    >>> from bertnli.tokens import RESERVED, Vocab
    >>> vocab = Vocab(['dog', 'runs'], reserved_tokens=RESERVED)
    >>> encode_pair(['dog', 'runs'], ['cat'], vocab, 8)
    EncodedPair(token_ids=[3, 5, 6, 4, 0, 4, 1, 1], segments=[0, 0, 0, 0, 1, 1, 0, 0], valid_len=6)
    """
    check_max_len(max_len)
    pad = require_special(vocab)[0]
    premise, hypothesis = truncate_pair(premise_tokens, hypothesis_tokens, max_len - _SPECIAL_WORDS, strategy)
    tokens, segments = get_tokens_and_segments(premise, hypothesis)
    gap = max_len - len(tokens)
    return EncodedPair(vocab[tokens] + [pad] * gap, segments + [0] * gap, len(tokens))


class MaskedWords(NamedTuple):
    """An input with hidden words: what is read, which positions are asked, what was there, how."""

    tokens: list
    pred_positions: list
    answers: list
    how: list


def mask_tokens(tokens, vocab, rng):
    """Hide 15 % of the words of an input for the masked language model (BERT, section 3.1).

    Of the chosen words 80 % become '<mask>', 10 % a random word, 10 % stay. '<cls>' and '<sep>'
    are never chosen, and no special word replaces another word. `rng` is a NumPy generator.

    >>> from bertnli.tokens import RESERVED, Vocab
    >>> vocab = Vocab(['dog', 'runs'], reserved_tokens=RESERVED)
    >>> tokens = ['<cls>', 'dog', '<sep>', 'runs', '<sep>']
    >>> mask_tokens(tokens, vocab, np.random.default_rng(3)).answers
    ['runs']
    """
    candidates = [i for i, token in enumerate(tokens) if token not in ('<cls>', '<sep>')]
    count = min(max(1, round(len(tokens) * _SHARE)), len(candidates))
    chosen = sorted(rng.choice(candidates, count, replace=False).tolist()) if count else []
    ordinary, read, how = ordinary_ids(vocab), list(tokens), []
    for position in chosen:
        draw = rng.random()
        if draw < 0.8:
            read[position] = '<mask>'
        elif draw < 0.9:
            read[position] = vocab.to_tokens(int(rng.choice(ordinary)))
        how.append('mask' if draw < 0.8 else 'random' if draw < 0.9 else 'kept')
    return MaskedWords(read, chosen, [tokens[i] for i in chosen], how)


def ordinary_ids(vocab):
    """The numbers of all words that are not special: what a random word is drawn from."""
    special = [*require_special(vocab), vocab['<unk>']]
    ids = np.setdiff1d(np.arange(len(vocab), dtype=np.int32), special)
    if not len(ids):
        raise SettingsError(
            'the vocabulary holds special words only',
            found=f'{len(vocab)} words',
            allowed='at least one ordinary word',
            remedy='lower min_freq, or give more text',
        )
    return ids


def next_sentence_pairs(paragraphs, max_len, rng):
    """Yield (sentence, other, is_next) for next sentence prediction (BERT, section 3.1).

    `paragraphs` are lists of sentences, and those lists of words. With probability 1/2 the other
    is the sentence that follows, else one from a random paragraph. Pairs longer than `max_len` are
    left out, as in the chapter.

    >>> text = [[['a', 'dog'], ['it', 'runs']], [['rain']]]
    >>> for pair in next_sentence_pairs(text, 16, np.random.default_rng(0)):
    ...     print(pair)
    (['a', 'dog'], ['rain'], False)
    """
    for paragraph in paragraphs:
        for sentence, following in zip(paragraph, paragraph[1:]):
            other, is_next = following, bool(rng.random() < 0.5)
            if not is_next:
                elsewhere = paragraphs[rng.integers(len(paragraphs))]
                other = elsewhere[rng.integers(len(elsewhere))]
            if len(sentence) + len(other) + _SPECIAL_WORDS <= max_len:
                yield sentence, other, is_next
