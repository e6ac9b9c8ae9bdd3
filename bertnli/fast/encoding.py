"""Whole batches of numbers in NumPy: what examples.py does for one example; tests hold the two together."""

import signal
from collections import defaultdict
from functools import partial
from itertools import chain, count, repeat
from typing import NamedTuple

import joblib
import numpy as np
from joblib.externals.loky import BrokenProcessPool, get_reusable_executor
from tqdm.auto import tqdm

from ..corpora.treebank import is_word, not_a_sentence, words
from ..errors import RuntimeMismatch, SettingsError
from ..examples import MASK_SHARE, NUM_SPECIAL, check_max_len, kept_lengths
from ..tokens import RESERVED, Vocab

_CHUNK = 512  # sentences; their words fit into a cache, and their lists wake no garbage collector
_TIMEOUT = 120  # seconds for a chunk, which takes less than one; starting a process takes a few


def index_words(sentences, table, unk=None, kind=np.int32):
    """Numbers of all words of many sentences, of type `kind`, and how many each sentence has, int32.

    `table` maps lower-case words to numbers, `unk` is the number of all others; with `unk=None` the table
    itself must answer for new words (a `defaultdict`). Strings are split at blanks, lists of words are not.
    This is the inner loop of every data set: only C functions touch a word.

    >>> index_words(['A dog', 'dog barks loudly', ['A', 'dog']], {'a': 5, 'dog': 6}, unk=0)
    (array([5, 6, 6, 0, 0, 5, 6], dtype=int32), array([2, 3, 2], dtype=int32))
    """
    try:
        lists = list(map(str.split, map(str.lower, sentences)))
    except TypeError:  # not only strings
        lists = list(map(_split, sentences))
    lengths = np.fromiter(map(len, lists), np.int32, len(lists))
    flow = chain.from_iterable(lists)
    numbers = map(table.__getitem__, flow) if unk is None else map(table.get, flow, repeat(unk))
    return np.fromiter(numbers, kind, int(lengths.sum())), lengths


def _split(sentence):
    if isinstance(sentence, str):
        return sentence.lower().split()
    if isinstance(sentence, (list, tuple)) and all(isinstance(word, str) for word in sentence):
        return [word.lower() for word in sentence]
    raise not_a_sentence(sentence)


class Runs(dict):
    """What `index_typed` looks up: the numbers of runs of non-blanks, each found when it first comes.

    `table` and `unk` are those of `index_words`. A run that is not one word has the number `strange`.
    """

    def __init__(self, table, unk):
        super().__init__()
        self.table, self.unk, self.strange = table, unk, len(table)

    def __missing__(self, run):
        self[run] = number = self.table.get(run, self.unk) if is_word(run) else self.strange
        return number


def index_typed(sentences, runs, kind=np.int32):
    """`index_words` for raw sentences, too: strings are split by `words`, as SNLI's files are.

    Takes no longer for text that is split already. The vocabulary comes as `Runs`.
    """
    flat, lengths = index_words(sentences, runs, kind=kind)
    strange = np.flatnonzero(flat == runs.strange)
    if not len(strange):
        return flat, lengths
    # Sentences with a run that is not one word are split again, and their numbers put between the others'.
    ends = np.cumsum(lengths)
    rows = np.unique(np.searchsorted(ends, strange, 'right')).tolist()
    typed = [sentences[row] for row in rows]
    typed = [words(one, runs.table) if isinstance(one, str) else one for one in typed]
    found, counts = index_words(typed, runs.table, runs.unk, kind)
    parts, last = [], 0
    for row, numbers in zip(rows, np.split(found, np.cumsum(counts)[:-1])):
        parts += [flat[last : ends[row] - lengths[row]], numbers]
        last = ends[row]
    lengths[rows] = counts
    return np.concatenate([*parts, flat[last:]]), lengths


def encode(sentences, vocab, num_workers=0, progress=False, typed=False):
    """`index_words` (or `index_typed`) of a whole corpus by chunks; two or more `num_workers` share the work.

    Raises `DataError` if something is not a sentence, `RuntimeMismatch` if a worker process dies or hangs.
    """
    shared = bool(num_workers and num_workers > 1)
    # The vocabulary travels with each chunk to another process: few and large ones.
    size = max(_CHUNK, len(sentences) // (4 * num_workers) + 1) if shared else _CHUNK
    chunks = [sentences[i : i + size] for i in range(0, len(sentences), size)]
    table, unk, kind = vocab.token_to_idx, vocab['<unk>'], _word_type(len(vocab))
    index = partial(index_words, table=table, unk=unk, kind=kind)
    if typed:
        index = partial(index_typed, runs=Runs(table, unk), kind=kind)
    parts = _index_in_processes(index, chunks, num_workers) if shared else map(index, chunks)
    bar = tqdm(parts, 'encoding', len(chunks), disable=not progress, unit='chunk', leave=False)
    return tuple(map(np.concatenate, zip(*bar)))


def _index_in_processes(index, chunks, num_workers):
    # Ctrl-C is for this process, which ends the workers; between two chunks they would print a traceback.
    deaf = {'initializer': signal.signal, 'initargs': (signal.SIGINT, signal.SIG_IGN)}
    options = {'timeout': _TIMEOUT, 'batch_size': 1, 'max_nbytes': None}
    pool = joblib.Parallel(num_workers, 'loky', 'generator', **options, **deaf)
    try:
        yield from pool(joblib.delayed(index)(chunk) for chunk in chunks)
    except (BrokenProcessPool, OSError, MemoryError, joblib.parallel.TimeoutError) as error:
        hung = isinstance(error, joblib.parallel.TimeoutError)
        problem = 'a worker process died or hung while it encoded sentences'
        found = f'no answer for {_TIMEOUT} seconds' if hung else f'{type(error).__name__}: {error}'
        remedy = 'close other programs (most often memory ran out), or use num_workers=0'
        raise RuntimeMismatch(problem, found=found, remedy=remedy) from error
    finally:  # idle workers would stay for minutes
        get_reusable_executor(reuse=True).shutdown(kill_workers=True)


def _word_type(vocab_size):
    return np.uint16 if vocab_size < 1 << 16 else np.int32  # one number more than words


def index_corpus(sentences, min_freq, progress=False):
    """(flat, lengths, vocab): the numbers of all words, and a vocabulary built of these very words."""
    if min_freq < 0:
        raise SettingsError('negative word frequency', where='min_freq', found=min_freq, allowed='0 or more')
    # Words are numbered as they come, counted, and renumbered once the vocabulary is known.
    seen = defaultdict(count().__next__)
    chunks = range(0, len(sentences), _CHUNK)
    bar = tqdm(chunks, 'indexing', disable=not progress, unit='chunk', leave=False)
    parts = [index_words(sentences[i : i + _CHUNK], seen) for i in bar]
    flat, lengths = (np.concatenate(column) for column in zip(*parts))
    freqs = np.bincount(flat, minlength=len(seen)).tolist()
    frequent = {word: freq for word, freq in zip(seen, freqs) if freq >= min_freq}
    vocab = Vocab(frequent, reserved_tokens=RESERVED)
    renumber = np.array([vocab[word] for word in seen], _word_type(len(vocab)))
    return renumber[flat], lengths, vocab


class PairTable(NamedTuple):
    """Many pairs without padding: all words one after the other, and where the two sentences of each lie."""

    flat: np.ndarray  # (N,) word numbers, uint16 if they fit
    starts: np.ndarray  # (n, 2)
    lengths: np.ndarray  # (n, 2); truncation changes nothing else

    @classmethod
    def from_columns(cls, flat, lengths):
        """All premises, then all hypotheses; `lengths` is (2 n,)."""
        starts = np.cumsum(lengths) - lengths
        return cls(flat, starts.reshape(2, -1).T, lengths.reshape(2, -1).T)

    @property
    def valid_lens(self):
        """Tokens of each input, special ones included: (n,)."""
        return self.lengths.sum(axis=1, dtype=np.int64) + NUM_SPECIAL

    def shortened(self, max_len, strategy='longest'):
        """The same pairs, each short enough for `max_len`."""
        check_max_len(max_len)
        kept = kept_lengths(*self.lengths.T, max_len - NUM_SPECIAL, strategy)
        return self._replace(lengths=np.stack(kept, axis=1).astype(np.int32))


def join_pairs(table, rows, special, width=None):
    """`encode_pair` for some rows of a `PairTable`, without a loop: (token_ids, segments, valid_lens).

    (B, T), (B, T) and (B,), all int32; T is `width`, or the longest of the inputs. `special` is
    what `require_special` returned.
    """
    pad, _, cls, sep = special
    start_a, start_b = table.starts[rows].T[:, :, None]  # (B, 1) each
    len_a, len_b = table.lengths[rows].astype(np.int64).T[:, :, None]  # (B, 1) each
    valid_lens = len_a + len_b + NUM_SPECIAL  # (B, 1)
    if width is None:
        width = int(valid_lens.max())
    position = np.arange(width)  # (T,)
    second = position > len_a + 1  # (B, T): behind the first <sep>
    source = np.where(second, start_b - len_a - 2, start_a - 1) + position  # (B, T)
    # Places of special tokens and of padding point anywhere; they are overwritten at once.
    token_ids = table.flat.take(source, mode='clip').astype(np.int32)  # (B, T)
    token_ids[:, 0] = cls
    np.put_along_axis(token_ids, len_a + 1, sep, axis=1)
    np.put_along_axis(token_ids, valid_lens - 1, sep, axis=1)
    padding = position >= valid_lens  # (B, T)
    token_ids[padding] = pad
    return token_ids, (second & ~padding).astype(np.int32), valid_lens[:, 0].astype(np.int32)


def mask_batch(token_ids, valid_lens, special, ordinary, rng):
    """`mask_tokens` for a batch, without a loop: (token_ids, pred_positions, mlm_weights, mlm_Y).

    (B, T), then three times (B, P), P for the row with most masks; unused places hold 0. `ordinary` is
    what `ordinary_ids` returned, `rng` a NumPy generator. The input is not changed.
    """
    _, mask, cls, sep = special
    hidden = (token_ids == cls) | (token_ids == sep)  # (B, T)
    hidden |= np.arange(token_ids.shape[1]) >= valid_lens[:, None]
    # np.rint rounds half to even, as Python's round does.
    counts = np.maximum(1, np.rint(valid_lens * MASK_SHARE)).astype(np.int64)  # (B,)
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
    return token_ids, positions.astype(np.int32), used.astype(np.float32), answers.astype(np.int32)


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
    fits = sentence_lens[first] + sentence_lens[second] + NUM_SPECIAL <= max_len
    return first[fits], second[fits], is_next[fits], int(len(fits) - fits.sum())
