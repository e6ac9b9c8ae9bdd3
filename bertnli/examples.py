"""A pair of sentences becomes one BERT input; words are hidden; next sentences are drawn.

Each step stands here twice: as a short function for one example, written to be read, and for whole
batches of numbers in NumPy, written to be fast; tests hold the two together. No MXNet here, so
that worker processes start in a blink.

Shapes: B pairs in the batch, T words in the longest input, P hidden words in the richest input.
"""

import html
import signal
from typing import NamedTuple, Optional

import numpy as np

from .errors import SettingsError
from .tokens import index_words, require_special, words

__all__ = [
    'PairTable',
    'check_max_len',
    'draw_next_sentences',
    'encode_pair',
    'explain_pair',
    'get_tokens_and_segments',
    'join_pairs',
    'mask_batch',
    'mask_tokens',
    'next_sentence_pairs',
    'ordinary_ids',
    'serve_chunks',
    'truncate_pair',
]

STRATEGIES = ('longest', 'ratio')
_SPECIAL_WORDS = 3  # '<cls>', '<sep>' and '<sep>' around a pair
_SHARE = 0.15  # of all words in an input is to be predicted (BERT, section 3.1)


# --- two sentences, one input ---------------------------------------------------------------------


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


class PairTable(NamedTuple):
    """Many pairs without padding: all words one after the other, and where each sentence lies.

    `flat` holds word numbers (uint16 if they fit), `starts` and `lengths` are (n, 2): premise and
    hypothesis of each pair. Shortening a pair shortens only its `lengths`.
    """

    flat: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @property
    def valid_lens(self):
        """Words of each input, special ones included: (n,)."""
        return self.lengths.sum(axis=1, dtype=np.int64) + _SPECIAL_WORDS

    def shortened(self, max_len, strategy='longest'):
        """The same pairs, each short enough for `max_len`."""
        check_max_len(max_len)
        kept = kept_lengths(*self.lengths.T, max_len - _SPECIAL_WORDS, strategy)
        return self._replace(lengths=np.stack(kept, axis=1).astype(np.int32))


def join_pairs(table, rows, special, width=None):
    """BERT inputs for some rows of a `PairTable`: (token_ids, segments, valid_lens).

    (B, T), (B, T) and (B,), all int32; T is `width`, or the longest of the inputs. `special` is
    what `require_special` returned. This is `encode_pair` for a batch, without a loop over rows.
    """
    pad, _, cls, sep = special
    start_a, start_b = table.starts[rows].T[:, :, None]  # (B, 1) each
    len_a, len_b = table.lengths[rows].astype(np.int64).T[:, :, None]  # (B, 1) each
    valid_lens = len_a + len_b + _SPECIAL_WORDS  # (B, 1)
    if width is None:
        width = int(valid_lens.max())
    position = np.arange(width)  # (T,)
    second = position > len_a + 1  # (B, T): behind the first <sep>
    source = np.where(second, start_b - len_a - 2, start_a - 1) + position  # (B, T)
    # Places of special words and of padding point anywhere; they are overwritten at once.
    token_ids = table.flat.take(source, mode='clip').astype(np.int32)  # (B, T)
    token_ids[:, 0] = cls
    np.put_along_axis(token_ids, len_a + 1, sep, axis=1)
    np.put_along_axis(token_ids, valid_lens - 1, sep, axis=1)
    padding = position >= valid_lens  # (B, T)
    token_ids[padding] = pad
    return token_ids, (second & ~padding).astype(np.int32), valid_lens[:, 0].astype(np.int32)


# --- worker processes -----------------------------------------------------------------------------


def serve_chunks(connection):
    """All that a worker process does: answer (number, sentences) by (number, what they become).

    The vocabulary (table, unk) comes once, first. It ends when the other side closes the connection.
    """
    # Ctrl-C reaches every process of a terminal; the one that started us decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    table, unk = connection.recv()
    while True:
        try:
            number, sentences = connection.recv()
        except EOFError:
            return
        try:
            answer = index_words(sentences, table, unk)
        except Exception as error:
            answer = error  # raised again by the process that asked
        connection.send((number, answer))


# --- masked words ---------------------------------------------------------------------------------


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


def mask_batch(token_ids, valid_lens, special, ordinary, rng):
    """`mask_tokens` for a batch, without a loop: (token_ids, pred_positions, mlm_weights, mlm_Y).

    (B, T), then three times (B, P); unused places hold 0. `ordinary` is what `ordinary_ids`
    returned, `rng` a NumPy generator. The input is not changed.
    """
    _, mask, cls, sep = special
    hidden = (token_ids == cls) | (token_ids == sep)  # (B, T)
    hidden |= np.arange(token_ids.shape[1]) >= valid_lens[:, None]
    # np.rint rounds half to even, as Python's round does.
    counts = np.maximum(1, np.rint(valid_lens * _SHARE)).astype(np.int64)  # (B,)
    counts = np.minimum(counts, token_ids.shape[1] - hidden.sum(axis=1))
    most = max(1, int(counts.max()))  # P
    # A random key for each place; the smallest keys win. Hidden places cannot win.
    keys = rng.random(token_ids.shape, dtype=np.float32)  # (B, T)
    keys[hidden] = 2.0
    positions = np.argpartition(keys, most - 1, axis=1)[:, :most]  # (B, P), unordered
    rank = np.take_along_axis(keys, positions, axis=1).argsort(axis=1)
    positions = np.take_along_axis(positions, rank, axis=1)  # (B, P), winners first
    # Losers move behind every real position, so that sorting puts the winners in reading order.
    used = np.arange(most) < counts[:, None]  # (B, P)
    positions = np.where(used, positions, token_ids.shape[1])
    positions.sort(axis=1)
    positions[~used] = 0
    answers = np.where(used, np.take_along_axis(token_ids, positions, axis=1), 0)  # (B, P)
    draw = rng.random(positions.shape, dtype=np.float32)
    read = np.where(draw < 0.8, mask, answers)
    read = np.where((draw >= 0.8) & (draw < 0.9), rng.choice(ordinary, positions.shape), read)
    token_ids = token_ids.copy()
    row = np.nonzero(used)[0]
    token_ids[row, positions[used]] = read[used]
    return (
        token_ids,
        positions.astype(np.int32),
        used.astype(np.float32),
        answers.astype(np.int32),
    )


# --- next sentences -------------------------------------------------------------------------------


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


def draw_next_sentences(sentence_lens, paragraph_lens, max_len, rng):
    """`next_sentence_pairs` for a whole corpus in numbers: (first, second, is_next, left_out).

    `sentence_lens` counts the words of all sentences, `paragraph_lens` the sentences of all
    paragraphs. `first` and `second` are sentence numbers, `left_out` counts pairs too long.
    """
    ends = np.cumsum(paragraph_lens)
    starts = ends - paragraph_lens
    first = np.setdiff1d(np.arange(ends[-1]), ends - 1)  # every sentence with one behind it
    is_next = rng.random(len(first)) < 0.5
    paragraph = rng.integers(len(paragraph_lens), size=len(first))
    inside = (rng.random(len(first)) * paragraph_lens[paragraph]).astype(np.int64)
    second = np.where(is_next, first + 1, starts[paragraph] + inside)
    fits = sentence_lens[first] + sentence_lens[second] + _SPECIAL_WORDS <= max_len
    return first[fits], second[fits], is_next[fits], int(len(fits) - fits.sum())


# --- show your work -------------------------------------------------------------------------------


class ExplainedWord(NamedTuple):
    """One line of an explanation; `position` is None for a word that was dropped."""

    position: Optional[int]
    word: str
    number: Optional[int]
    segment: int
    note: str


class Explanation:
    """How a pair became a BERT input, word by word; prints as a table, also in notebooks."""

    columns = ('position', 'word', 'id', 'segment', 'note')

    def __init__(self, rows, max_len):
        self.rows, self.max_len = rows, max_len

    def _cells(self):
        for row in self.rows:
            yield ['–' if cell is None else str(cell) for cell in row]

    def _summary(self):
        used = sum(row.position is not None for row in self.rows)
        dropped = len(self.rows) - used
        return f'{used} of {self.max_len} places used, {dropped} words dropped'

    def __str__(self):
        table = [self.columns, *self._cells()]
        widths = [max(map(len, column)) for column in zip(*table)]
        lines = ['  '.join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in table]
        return '\n'.join([*lines, self._summary()])

    __repr__ = __str__

    def _repr_html_(self):
        head = ''.join(f'<th>{name}</th>' for name in self.columns)
        body = ''.join(
            '<tr>' + ''.join(f'<td>{html.escape(cell)}</td>' for cell in row) + '</tr>'
            for row in self._cells()
        )
        return f'<table><tr>{head}</tr>{body}</table><p>{self._summary()}</p>'


def explain_pair(premise, hypothesis, vocab, max_len, strategy='longest', rng=None):
    """`encode_pair` that shows its work: an `Explanation`, one line a word.

    Sentences may be raw strings or lists of words. With `rng` (a NumPy generator) words are hidden
    as in pretraining, and the line says how.

    >>> from bertnli.tokens import RESERVED, Vocab
    >>> vocab = Vocab(['a', 'dog', 'runs', '.'], reserved_tokens=RESERVED)
    >>> print(explain_pair('A dog runs.', 'A cat.', vocab, 8))
    position  word   id  segment  note
    0         <cls>  3   0
    1         a      6   0
    2         dog    7   0
    3         runs   8   0
    –         .      5   0        dropped
    4         <sep>  4   0
    5         a      6   1
    6         cat    0   1        unknown
    –         .      5   1        dropped
    7         <sep>  4   1
    8 of 8 places used, 2 words dropped
    """
    check_max_len(max_len)
    require_special(vocab)
    pair = [words(s) if isinstance(s, str) else list(s) for s in (premise, hypothesis)]
    kept = truncate_pair(*pair, max_len - _SPECIAL_WORDS, strategy)
    tokens, segments = get_tokens_and_segments(*kept)
    masked = None if rng is None else mask_tokens(tokens, vocab, rng)
    rows = [_explain(i, *pair_, vocab, masked) for i, pair_ in enumerate(zip(tokens, segments))]
    first_sep = len(kept[0]) + 1
    rows[-1:-1] = _dropped(pair[1][len(kept[1]) :], 1, vocab)
    rows[first_sep:first_sep] = _dropped(pair[0][len(kept[0]) :], 0, vocab)
    return Explanation(rows, max_len)


def _explain(position, token, segment, vocab, masked):
    notes = [] if token in vocab.token_to_idx else ['unknown']
    read = token
    if masked and position in masked.pred_positions:
        how = masked.how[masked.pred_positions.index(position)]
        read = masked.tokens[position]
        notes.append({'mask': 'hidden', 'kept': 'asked, but shown'}.get(how, f'shown as {read}'))
    return ExplainedWord(position, token, vocab[read], segment, ', '.join(notes))


def _dropped(tokens, segment, vocab):
    return [ExplainedWord(None, token, vocab[token], segment, 'dropped') for token in tokens]
