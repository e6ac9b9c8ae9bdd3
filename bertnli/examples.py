"""A pair of sentences becomes one BERT input; words are masked; next sentences are drawn.

Each step is written here for one example, to be read; fast/encoding.py does the same for whole batches, and
tests hold the two together. No MXNet here, so that worker processes start in a blink.
"""

from typing import NamedTuple

import numpy as np

from .errors import SettingsError
from .tokens import require_special

NUM_SPECIAL = 3  # <cls>, <sep> and <sep> around a pair
MASK_SHARE = 0.15  # of all tokens of an input is to be predicted (BERT, section 3.1)


def check_max_len(max_len):
    """Raise `SettingsError` unless two words fit beside the three special tokens."""
    if max_len < NUM_SPECIAL + 2:
        allowed = f'at least {NUM_SPECIAL + 2}: <cls>, two words, two <sep>'
        remedy = 'raise max_len (the chapter uses 128)'
        raise SettingsError('no room for one word of each sentence', 'max_len', max_len, allowed, remedy)


# --- truncation -----------------------------------------------------------------------------------


def keep_longest(premise_len, hypothesis_len, room):
    """Take words off the longer sentence, one by one (off the hypothesis if equal), as the chapter does.

    `premise_len` and `hypothesis_len` are numbers of words, or arrays of them, and so is what is returned:
    how many words of each sentence stay, `room` at most in all.
    """
    # In closed form: a sentence may use what the other leaves, or its half; the premise gets the odd word.
    premise_half, hypothesis_half = room - room // 2, room // 2
    return (
        np.minimum(premise_len, np.maximum(room - hypothesis_len, premise_half)),
        np.minimum(hypothesis_len, np.maximum(room - premise_len, hypothesis_half)),
    )


def keep_ratio(premise_len, hypothesis_len, room):
    """Shorten both sentences in proportion to their lengths, as the chapter's exercise asks.

    `premise_len`, `hypothesis_len`, `room` and what is returned are those of `keep_longest`.
    """
    total = premise_len + hypothesis_len
    divisor = np.maximum(total, 1)
    kept = (2 * room * premise_len + divisor) // (2 * divisor)  # room · premise_len / total, rounded
    # A sentence with words keeps one if there is room for two.
    kept = np.maximum(kept, np.minimum(premise_len, room >= 2))
    kept = np.minimum(kept, room - np.minimum(hypothesis_len, room >= 2))
    kept = np.where(total <= room, premise_len, kept)
    return kept, np.where(total <= room, hypothesis_len, room - kept)


# A strategy takes two lengths and the room for both, numbers or arrays, and returns how many words stay.
STRATEGIES = {'longest': keep_longest, 'ratio': keep_ratio}


def kept_lengths(premise_len, hypothesis_len, room, strategy='longest'):
    """How many words of each sentence stay when `room` words fit; numbers or arrays of numbers.

    `strategy` is a name in `STRATEGIES`, or a function of two lengths and the room, which is called once for
    each pair. Raises `SettingsError` for another name, and for a function that keeps too many words.

    >>> kept_lengths(10, 3, 8), kept_lengths(10, 3, 8, 'ratio')
    ((5, 3), (6, 2))
    >>> kept_lengths(10, 3, 8, lambda premise, hypothesis, room: (min(premise, room - 1), 1))
    (7, 1)
    """
    if not callable(strategy) and strategy not in STRATEGIES:
        allowed = f'{", ".join(STRATEGIES)}, or a function of two lengths and the room'
        raise SettingsError('unknown truncation strategy', 'strategy', strategy, allowed)
    premise_len, hypothesis_len = np.asarray(premise_len, np.int64), np.asarray(hypothesis_len, np.int64)
    if callable(strategy):
        kept = _apply_own(strategy, premise_len, hypothesis_len, room)
    else:
        kept = STRATEGIES[strategy](premise_len, hypothesis_len, room)
    return tuple(kept) if np.ndim(kept[0]) else (int(kept[0]), int(kept[1]))


def _apply_own(strategy, premise_len, hypothesis_len, room):
    """What a reader's strategy keeps of each pair, checked: never more words than there are, or than fit."""
    lengths = np.stack(np.broadcast_arrays(premise_len, hypothesis_len), axis=-1)  # (…, 2)
    all_kept = []
    for pair in lengths.reshape(-1, 2).tolist():
        kept = strategy(*pair, room)
        try:
            fits = sum(kept) <= room and all(0 <= one <= most for one, most in zip(kept, pair))
        except TypeError:
            fits = False
        if not fits or len(kept) != 2:
            problem = 'the truncation strategy keeps words that do not exist or do not fit'
            where = f'strategy, for {pair[0]} and {pair[1]} words and room for {room}'
            allowed = 'two numbers: at most the words of each sentence, together at most the room'
            raise SettingsError(problem, where, kept, allowed, 'return both lengths unchanged where they fit')
        all_kept.append(kept)
    return np.moveaxis(np.array(all_kept, np.int64).reshape(lengths.shape), -1, 0)  # (2, …)


def truncate_pair(premise, hypothesis, max_tokens, strategy='longest'):
    """The beginnings of two lists of words, `premise` and `hypothesis`, `max_tokens` together, as new lists.

    `strategy` and its errors are those of `kept_lengths`.

    >>> truncate_pair(['a', 'man', 'walks', 'home'], ['he', 'sleeps'], 4)
    (['a', 'man'], ['he', 'sleeps'])
    >>> truncate_pair(['a', 'man', 'walks', 'home'], ['he', 'sleeps'], 4, lambda a, b, room: (room - 1, 1))
    (['a', 'man', 'walks'], ['he'])
    """
    if isinstance(premise, str) or isinstance(hypothesis, str):
        raise SettingsError('not lists of words', found=[premise, hypothesis], remedy='sentence.split()')
    if max_tokens < 0:
        allowed = '0 or more words; max_len - 3 for a BERT input'
        raise SettingsError('negative max_tokens', where='max_tokens', found=max_tokens, allowed=allowed)
    premise_len, hypothesis_len = kept_lengths(len(premise), len(hypothesis), max_tokens, strategy)
    return list(premise[:premise_len]), list(hypothesis[:hypothesis_len])


# --- one input ------------------------------------------------------------------------------------


def get_tokens_and_segments(tokens_a, tokens_b=None):
    """The tokens of a BERT input and their segment numbers (chapter, section 'BERT').

    Its words are the lists `tokens_a` and `tokens_b` (None: a single sentence).

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
    """One BERT input, padded to max_len: two lists of numbers and how many of them are no padding."""

    token_ids: list
    segments: list
    valid_len: int


def encode_pair(premise_tokens, hypothesis_tokens, vocab, max_len, strategy='longest'):
    """Truncate, join, number and pad one pair: an `EncodedPair` (the chapter's algorithm).

    `premise_tokens` and `hypothesis_tokens` are words, which get their numbers in `vocab`. `max_len` counts
    special tokens, too; `strategy` is that of `truncate_pair`.

    >>> from bertnli.tokens import RESERVED, Vocab
    >>> vocab = Vocab(['dog', 'runs'], reserved_tokens=RESERVED)
    >>> encode_pair(['dog', 'runs'], ['cat'], vocab, 8)
    EncodedPair(token_ids=[3, 5, 6, 4, 0, 4, 1, 1], segments=[0, 0, 0, 0, 1, 1, 0, 0], valid_len=6)
    """
    check_max_len(max_len)
    pad = require_special(vocab)[0]
    # Both sentences share the places that <cls> and two <sep> leave.
    premise, hypothesis = truncate_pair(premise_tokens, hypothesis_tokens, max_len - NUM_SPECIAL, strategy)
    tokens, segments = get_tokens_and_segments(premise, hypothesis)
    # Padding belongs to segment 0; valid_len keeps attention away from it.
    gap = max_len - len(tokens)
    return EncodedPair(vocab[tokens] + [pad] * gap, segments + [0] * gap, len(tokens))


# --- pretraining: masked words and next sentences -------------------------------------------------


class MaskedWords(NamedTuple):
    """An input with masked words: what is read, which positions are asked, the answers, what was done."""

    tokens: list
    pred_positions: list
    answers: list
    how: list


def mask_tokens(tokens, vocab, rng):
    """Mask 15 % of the `tokens` of an input for the masked language model (BERT, section 3.1).

    Of the chosen ones 80 % become '<mask>', 10 % a random word of `vocab`, 10 % stay. '<cls>' and '<sep>'
    are never chosen, and no special token replaces a word. `rng` is a NumPy generator.

    >>> from bertnli.tokens import RESERVED, Vocab
    >>> vocab = Vocab(['dog', 'runs'], reserved_tokens=RESERVED)
    >>> tokens = ['<cls>', 'dog', '<sep>', 'runs', '<sep>']
    >>> mask_tokens(tokens, vocab, np.random.default_rng(3)).answers
    ['runs']
    """
    # Choose the positions to predict, in reading order: at least one, if there is a word at all.
    candidates = [i for i, token in enumerate(tokens) if token not in ('<cls>', '<sep>')]
    count = min(max(1, round(len(tokens) * MASK_SHARE)), len(candidates))
    chosen = sorted(rng.choice(candidates, count, replace=False).tolist()) if count else []
    # Decide for each what the model reads there; the answer is always the old word.
    ordinary, read, how = ordinary_ids(vocab), list(tokens), []
    for position in chosen:
        draw = rng.random()
        if draw < 0.8:
            read[position] = '<mask>'
            how.append('mask')
        elif draw < 0.9:
            read[position] = vocab.to_tokens(int(rng.choice(ordinary)))
            how.append('random')
        else:
            how.append('kept')
    return MaskedWords(read, chosen, [tokens[i] for i in chosen], how)


def ordinary_ids(vocab):
    """The numbers of all words that are not special: what a random word is drawn from."""
    special = [*require_special(vocab), vocab['<unk>']]
    ids = np.setdiff1d(np.arange(len(vocab), dtype=np.int32), special)
    if not len(ids):
        found, remedy = f'{len(vocab)} tokens', 'lower min_freq (--min-freq), or give more text'
        raise SettingsError('the vocabulary has special tokens only', found=found, remedy=remedy)
    return ids


def next_sentence_pairs(paragraphs, max_len, rng):
    """Yield (sentence, other, is_next) for next sentence prediction (BERT, section 3.1).

    `paragraphs` are lists of sentences, and those lists of words. With probability 1/2 the other
    is the sentence that follows, else one from a random paragraph (`rng` is a NumPy generator). Pairs
    of more than `max_len` tokens are left out, as in the chapter.

    >>> text = [[['a', 'dog'], ['it', 'runs']], [['rain']]]
    >>> for pair in next_sentence_pairs(text, 16, np.random.default_rng(0)):
    ...     print(pair)
    (['a', 'dog'], ['rain'], False)
    """
    for paragraph in paragraphs:
        for sentence, following in zip(paragraph, paragraph[1:]):
            other, is_next = following, bool(rng.random() < 0.5)
            if not is_next:
                # A random paragraph first, then one of its sentences: long paragraphs are not favoured.
                elsewhere = paragraphs[rng.integers(len(paragraphs))]
                other = elsewhere[rng.integers(len(elsewhere))]
            if len(sentence) + len(other) + NUM_SPECIAL <= max_len:
                yield sentence, other, is_next
