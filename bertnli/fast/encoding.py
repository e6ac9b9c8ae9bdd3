"""Whole batches of numbers in NumPy: what examples.py does for one example."""

import contextlib
import itertools
import multiprocessing.connection
import signal
import sys
import threading
import time
import types
from collections import defaultdict
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np
import numpy as onp
from tqdm.auto import tqdm

from ..errors import RuntimeMismatch, SettingsError
from ..examples import _SHARE, _SPECIAL_WORDS, check_max_len, kept_lengths
from ..tokens import RESERVED, Vocab

_PATIENCE = 120  # seconds; a chunk takes milliseconds, the start of a process a few seconds
_CHUNK = 1024  # sentences; their words fit into a processor's cache


def index_words(sentences, table, unk=None):
    """Numbers of all words of many sentences: (flat numbers, words per sentence), both int32.

    `table` maps lower-case words to numbers, `unk` is the number of all others; with `unk=None`
    the table itself must answer for new words (a `defaultdict`). The sentences are lower-cased and
    split at blanks. This is the inner loop of every data set: only C functions touch a word.

    >>> index_words(['A dog', 'dog barks loudly'], {'a': 5, 'dog': 6}, unk=0)
    (array([5, 6, 6, 0, 0], dtype=int32), array([2, 3], dtype=int32))
    """
    lists = [sentence.lower().split() for sentence in sentences]
    lengths = np.fromiter(map(len, lists), np.int32, len(lists))
    flow = chain.from_iterable(lists)
    numbers = map(table.__getitem__, flow) if unk is None else map(table.get, flow, repeat(unk))
    return np.fromiter(numbers, np.int32, int(lengths.sum())), lengths


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


def _encode(sentences, vocab, num_workers=0, progress=False):
    """`index_words` of many sentences, chunk by chunk; `num_workers` processes share the work."""
    chunks = [sentences[i : i + _CHUNK] for i in range(0, len(sentences), _CHUNK)]
    table, unk = vocab.token_to_idx, vocab['<unk>']
    if num_workers:
        parts = _in_workers(chunks, table, unk, num_workers)
    else:
        parts = (index_words(chunk, table, unk) for chunk in chunks)
    # The compact type is chosen chunk by chunk, so that the wide one never exists as a whole.
    kind = _word_type(len(vocab))
    bar = tqdm(parts, 'encoding', len(chunks), disable=not progress, unit='chunk', leave=False)
    flats, lengths = zip(*((flat.astype(kind), length) for flat, length in bar))
    return onp.concatenate(flats), onp.concatenate(lengths)


def _word_type(vocab_size):
    return onp.uint16 if vocab_size <= 1 << 16 else onp.int32


def _in_workers(chunks, table, unk, num_workers):
    """Yield `index_words` of each chunk in order, computed by spawned processes.

    Each process has a pipe of its own and at most one chunk: the death of any process ends its
    pipe and is noticed at once. (ProcessPoolExecutor can wait for ever if one dies while another
    starts, a Pool if one dies at all.) One that hangs is killed after `_PATIENCE` seconds.
    """
    context = multiprocessing.get_context('spawn')
    workers = {}  # our end of the pipe -> process
    watch = _Watch(workers)
    try:
        for _ in range(min(num_workers, len(chunks))):
            ours, theirs = context.Pipe()
            worker = context.Process(target=serve_chunks, args=(theirs,), daemon=True)
            with _hidden_main():
                worker.start()
            theirs.close()
            workers[ours] = worker
        yield from watch.over(_distribute(chunks, list(workers), (table, unk)))
    except (EOFError, OSError, MemoryError) as error:
        found = f'{type(error).__name__}: {error}'
        raise RuntimeMismatch(
            'a worker process died while it encoded sentences',
            found=f'no answer for {_PATIENCE} seconds' if watch.has_killed else found,
            allowed='workers that live to the end; most often the memory ran out',
            remedy='close other programs, or encode in this process with num_workers=0',
        ) from error
    finally:
        watch.end()
        for ours, worker in workers.items():
            ours.close()
            worker.kill()
            worker.join()


class _Watch:
    """Kills all workers when one of their answers has been waited for too long, which ends the wait."""

    def __init__(self, workers):
        self.has_killed, self._workers = False, workers
        self._since, self._ended = None, threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def over(self, answers):
        """The same answers; only the time of waiting for them counts, not what is done with them."""
        while True:
            self._since = time.monotonic()
            answer = next(answers, None)
            self._since = None
            if answer is None:
                return
            yield answer

    def end(self):
        self._ended.set()

    def _look(self):
        while not self._ended.wait(_PATIENCE / 10):
            since = self._since
            if since is not None and time.monotonic() - since > _PATIENCE:
                self.has_killed = True
                for worker in self._workers.values():
                    worker.kill()


def _distribute(chunks, connections, vocabulary):
    """Give every connection a chunk, and the next one when it answers; yield answers in order."""
    tasks, done, wanted = enumerate(chunks), {}, itertools.count()
    busy = set(connections)
    for connection in connections:
        connection.send(vocabulary)
        connection.send(next(tasks))
    number = next(wanted)
    while busy:
        for connection in multiprocessing.connection.wait(busy):
            place, answer = connection.recv()
            if isinstance(answer, Exception):
                raise answer
            done[place] = answer
            task = next(tasks, None)
            if task is None:
                busy.discard(connection)
            else:
                connection.send(task)
        while number in done:
            yield done.pop(number)
            number = next(wanted)


@contextlib.contextmanager
def _hidden_main():
    """Let spawned processes start without the reader's script.

    subtle: a spawned process imports the file that the reader runs, once more, and so would train
    again in each worker unless the file has a main guard. Ours need only bertnli.examples.
    """
    main = sys.modules['__main__']
    sys.modules['__main__'] = types.ModuleType('__main__')
    try:
        yield
    finally:
        sys.modules['__main__'] = main


def _index_text(paragraphs, vocab, min_freq, progress):
    """All words of a corpus as numbers, and the words and counts of a vocabulary made here."""
    sentences = list(itertools.chain.from_iterable(paragraphs))
    paragraph_lens = onp.fromiter(map(len, paragraphs), onp.int64, len(paragraphs))
    if vocab is not None:
        flat, lengths = _encode(sentences, vocab, progress=progress)
        return {'flat': flat, 'lengths': lengths, 'paragraph_lens': paragraph_lens}
    if min_freq < 0:
        raise SettingsError(
            'a word cannot occur fewer than zero times',
            where='min_freq',
            found=min_freq,
            allowed='0 or more (the chapter uses 5)',
        )
    # Words are numbered as they come, counted, and renumbered once the vocabulary is known.
    seen = defaultdict(itertools.count().__next__)
    chunks = range(0, len(sentences), _CHUNK)
    bar = tqdm(chunks, 'indexing', disable=not progress, unit='chunk', leave=False)
    parts = [index_words(sentences[i : i + _CHUNK], seen) for i in bar]
    flat, lengths = (onp.concatenate(column) for column in zip(*parts))
    counts = dict(zip(seen, onp.bincount(flat, minlength=len(seen)).tolist()))
    vocab = Vocab(counts, min_freq=min_freq, reserved_tokens=RESERVED)
    renumber = onp.array([vocab[word] for word in seen], _word_type(len(vocab)))
    kept = [(word, freq) for word, freq in vocab.token_freqs if word in vocab]
    return {
        'flat': renumber[flat],
        'lengths': lengths,
        'paragraph_lens': paragraph_lens,
        'words': onp.frombuffer('\n'.join(w for w, _ in kept).encode('utf-8'), onp.uint8),
        'counts': onp.array([freq for _, freq in kept], onp.int64),
        'min_freq': onp.array(min_freq),
    }
