"""Whole corpora as compact arrays: no padding is kept, a word is two bytes.

`SNLIBERTDataset` holds labelled pairs for fine-tuning, `WikiTextDataset` next-sentence pairs with
masked words for pretraining. Both answer `dataset[i]` as the chapter's classes do (one padded
example) and `dataset.batch(rows, rng)` for whole batches. Shuffling and grouping is batches.py's.

Shapes: B examples in the batch, T words in the longest input, P hidden words in the richest input.
"""

import hashlib
import io
import itertools
import json
import os
import warnings
from functools import cached_property

import numpy as onp

from .corpora.rows import warn_of_skipped
from .errors import DataError
from .examples import check_max_len, ordinary_ids
from .fast.encoding import PairTable, _encode, _index_text, draw_next_sentences, join_pairs, mask_batch
from .machine.disk import cache_dir, whole_file
from .runtime import gluon, np
from .text import LABELS, MAX_SKIPPED, read_snli, read_wiki
from .tokens import RESERVED, Vocab, require_special

_CACHE_FORMAT = 1  # raise when the arrays below change their meaning


def _hash(*parts):
    """One checksum of bytes, arrays, texts and settings."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, onp.ndarray):
            part = f'{part.dtype}{part.shape}'.encode() + onp.ascontiguousarray(part).tobytes()
        elif not isinstance(part, bytes):
            part = repr(part).encode('utf-8', 'surrogatepass')
        digest.update(len(part).to_bytes(8, 'little') + part)
    return digest.hexdigest()


def _hash_texts(texts):
    """A checksum of many texts; their lengths say where each ends."""
    lengths = onp.fromiter(map(len, texts), onp.int64, len(texts))
    return _hash(lengths, ''.join(texts).encode('utf-8', 'surrogatepass'))


def _hash_file(path):
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, 'rb') as file:
            for block in iter(lambda: file.read(1 << 20), b''):
                digest.update(block)
    except OSError:
        return None  # the reader of the file has the better message
    return digest.hexdigest()


def _unchanged(path, content, build):
    """`build`, unless the file has not the same content after it: what was built has no known name."""

    def built():
        arrays = build()
        if content and _hash_file(path) != content:
            raise DataError(
                'the file changed while it was read',
                where=path,
                remedy='wait until it is written, then retry',
            )
        return arrays

    return built


def _cached(kind, key, build):
    """The arrays that `build()` returns, from the cache if it holds exactly these.

    `key` stands for the content and all settings. A file that is torn, altered or of another
    format does not match its own checksum and is built anew. Where no file can be kept, a warning
    says so and the work goes on. No key, no cache.
    """
    path = key and _cache_path(kind, key)
    arrays = _load(path, key) if path else None
    if arrays is None:
        arrays = build()
        if path:
            _store(path, key, arrays)
    return arrays


def _cache_path(kind, key):
    try:
        return cache_dir() / 'encoded' / f'{kind}-{key}.npz'
    except DataError as error:
        warnings.warn(f'the encoded corpus is not kept: {error}', stacklevel=5)
        return None


def _load(path, key):
    try:
        with open(path, 'rb') as file, onp.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        digest = str(arrays.pop('digest'))
    # A damaged archive may fail anywhere in NumPy or zipfile, with nearly any exception.
    except Exception:
        return None
    return arrays if digest == _digest(key, arrays) else None


def _store(path, key, arrays):
    # subtle: on a full disk savez would leave an archive that nobody can close, and with it a traceback.
    content = io.BytesIO()
    onp.savez(content, digest=_digest(key, arrays), **arrays)
    try:
        with whole_file(path) as file:
            file.write(content.getbuffer())
    except OSError as error:
        warnings.warn(f'the encoded corpus is not kept: {error}', stacklevel=5)


def _digest(key, arrays):
    return _hash(key, *itertools.chain.from_iterable(sorted(arrays.items())))


def _vocab_key(vocab):
    return None if vocab is None else _hash_texts(vocab.idx_to_token)


class SNLIBERTDataset(gluon.data.Dataset):
    """Labelled sentence pairs as BERT inputs; `dataset` is [premises, hypotheses, labels].

    `dataset[i]` is ((token_ids, segments, valid_len), label) as in the chapter: two (max_len,)
    int32 arrays and two float32 scalars. Sentences are lower-cased, split at blanks, shortened by
    `strategy` (examples.kept_lengths); the lists given stay as they are. `vocab` is the vocabulary
    of pretraining (ours or d2l's). `num_workers` processes may encode; without them this one
    does, which on two cores is the faster way. `cache=True` keeps the encoded corpus on disk.

    >>> from bertnli.tokens import RESERVED, Vocab
    >>> vocab = Vocab(['dog', 'runs'], reserved_tokens=RESERVED)
    >>> pairs = SNLIBERTDataset([['A dog runs'], ['A cat runs'], [1]], 8, vocab)
    read 1 examples
    >>> (token_ids, segments, valid_len), label = pairs[0]
    >>> token_ids.tolist(), int(valid_len), int(label)
    ([3, 0, 5, 6, 4, 0, 0, 4], 8, 1)
    """

    def __init__(
        self,
        dataset,
        max_len,
        vocab=None,
        *,
        strategy='longest',
        num_workers=None,
        progress=False,
        cache=False,
    ):
        premises, hypotheses, labels = (list(column) for column in dataset)
        _check_pairs(premises, hypotheses, labels)
        self._settle(max_len, vocab)

        def build():
            sentences = [*premises, *hypotheses]
            flat, lengths = _encode(sentences, vocab, num_workers, progress)
            return {'flat': flat, 'lengths': lengths, 'labels': onp.array(labels, onp.int8)}

        key = cache and _hash(
            _CACHE_FORMAT, _hash_texts(premises), _hash_texts(hypotheses), labels, _vocab_key(vocab)
        )
        self._finish(_cached('snli', key or None, build), strategy)
        print(f'read {len(self)} examples')  # as the chapter's class does

    @classmethod
    def from_folder(
        cls,
        folder,
        split,
        max_len,
        vocab,
        *,
        limit=None,
        max_skipped=MAX_SKIPPED,
        strategy='longest',
        num_workers=None,
        progress=False,
        cache=True,
    ):
        """The same from the files of SNLI: with a warm cache the sentences are not read at all.

        Takes the arguments of `read_snli` and of the class. The attribute `skipped` tells which
        rows were skipped and why; nothing is printed.
        """
        self = cls.__new__(cls)
        self._settle(max_len, vocab)

        path = os.path.join(folder, f'snli_1.0_{split}.txt')
        read = []

        def build():
            data = read_snli(folder, split=split, limit=limit, max_skipped=max_skipped)
            read.append(data)
            flat, lengths = _encode([*data[0], *data[1]], vocab, num_workers, progress)
            skipped = onp.array(json.dumps(data.skipped))
            labels = onp.array(data[2], onp.int8)
            return {'flat': flat, 'lengths': lengths, 'labels': labels, 'skipped': skipped}

        content = _hash_file(path) if cache else None
        key = content and _hash(_CACHE_FORMAT, content, split, limit, float(max_skipped), _vocab_key(vocab))
        self._finish(_cached('snli', key, _unchanged(path, content, build)), strategy)
        if not read:  # the reader of the file would have said so
            warn_of_skipped(path, self.skipped)
        return self

    def _settle(self, max_len, vocab):
        check_max_len(max_len)
        self.special = require_special(vocab)
        self.vocab, self.max_len = vocab, max_len
        self._pid = os.getpid()

    def _finish(self, arrays, strategy):
        lengths = arrays['lengths'].reshape(2, -1).T  # (n, 2): premise, hypothesis
        starts = (onp.cumsum(arrays['lengths']) - arrays['lengths']).reshape(2, -1).T
        table = PairTable(arrays['flat'], starts, lengths)
        self.table = table.shortened(self.max_len, strategy)
        self.label_ids = arrays['labels']
        self.skipped = {
            reason: (count, lines)
            for reason, (count, lines) in json.loads(str(arrays.get('skipped', '{}'))).items()
        }

    def __len__(self):
        return len(self.label_ids)

    def __getitem__(self, idx):
        if not -len(self) <= idx < len(self):
            raise IndexError(f'there are {len(self)} examples')
        rows = onp.array([idx])
        token_ids, segments, valid_lens = join_pairs(self.table, rows, self.special, self.max_len)
        row = (token_ids[0], segments[0], onp.float32(valid_lens[0]))
        label = onp.float32(self.label_ids[idx])
        # subtle: in a forked worker of gluon's DataLoader these stay NumPy arrays, so that no
        # MXNet operation runs per example there; the loader makes the same batch of them.
        if os.getpid() != self._pid:
            return row, label
        return (
            np.array(row[0], dtype='int32'),
            np.array(row[1], dtype='int32'),
            np.array(row[2]),
        ), np.array(label)

    word_dropout = 0.0

    def batch(self, rows, rng=None):
        """NumPy arrays of some rows: ((token_ids, segments, valid_lens), labels).

        With `rng`, a share of `word_dropout` of the words is hidden behind `<mask>`.
        """
        token_ids, segments, valid_lens = join_pairs(self.table, rows, self.special)
        if self.word_dropout and rng is not None:
            hidden = rng.random(token_ids.shape) < self.word_dropout
            token_ids[hidden & ~onp.isin(token_ids, self.special)] = self.vocab['<mask>']
        labels = self.label_ids[rows].astype(onp.float32)
        return (token_ids, segments, valid_lens.astype(onp.float32)), labels

    @property
    def lengths(self):
        """Words of each input, special ones included: (n,)."""
        return self.table.valid_lens

    def _padded(self):
        return join_pairs(self.table, onp.arange(len(self)), self.special, self.max_len)

    @cached_property
    def all_token_ids(self):
        """All inputs, padded to max_len as in the chapter (made when first asked for)."""
        return np.array(self._padded()[0], dtype='int32')

    @cached_property
    def all_segments(self):
        return np.array(self._padded()[1], dtype='int32')

    @cached_property
    def valid_lens(self):
        return np.array(self.lengths, dtype='float32')

    @cached_property
    def labels(self):
        return np.array(self.label_ids, dtype='float32')


def _check_pairs(premises, hypotheses, labels):
    counts = (len(premises), len(hypotheses), len(labels))
    if len(set(counts)) > 1 or not premises:
        raise DataError(
            'a data set needs as many premises as hypotheses and labels, and at least one',
            found=counts,
            remedy='give [premises, hypotheses, labels] as read_snli returns them',
        )
    wrong = [n for n, label in enumerate(labels) if label not in range(len(LABELS))]
    if wrong:
        raise DataError(
            'a label is none',
            where=f'pair {wrong[0]}',
            found=labels[wrong[0]],
            allowed=', '.join(f'{number} ({name})' for number, name in enumerate(LABELS)),
            remedy='number the labels as text.LABELS does',
        )


class WikiTextDataset(gluon.data.Dataset):
    """Next-sentence pairs with masked words; `paragraphs` is what `read_wiki` returns.

    `dataset[i]` is the chapter's example of seven: token_ids, segments (max_len,), valid_len,
    pred_positions, mlm_weights, mlm_Y (0.15 · max_len places), nsp_y. Its masks are a function of
    `seed` and i; `batch(rows, rng)` draws fresh ones. Without `vocab` one is built from the text
    (words that occur `min_freq` times). More text is more paragraphs: lists can be added.
    `left_out` counts the pairs that were longer than `max_len`.

    >>> text = [['a dog runs', 'it is fast .'], ['the sun is out', 'a dog sleeps .']]
    >>> dataset = WikiTextDataset(text, 16, min_freq=1)
    >>> len(dataset), dataset[0][0].shape, dataset[0][3].shape
    (2, (16,), (2,))
    """

    def __init__(self, paragraphs, max_len, *, vocab=None, min_freq=5, seed=0, progress=False, cache=False):
        check_max_len(max_len)
        paragraphs = list(paragraphs)
        _check_paragraphs(paragraphs)
        key = cache and _hash(
            _CACHE_FORMAT,
            [_hash_texts(paragraph) for paragraph in paragraphs],
            min_freq,
            _vocab_key(vocab),
        )
        arrays = _cached('wiki', key or None, lambda: _index_text(paragraphs, vocab, min_freq, progress))
        self._finish(arrays, max_len, vocab, seed)

    @classmethod
    def from_folder(
        cls,
        folder,
        max_len,
        *,
        split='train',
        vocab=None,
        min_freq=5,
        seed=0,
        progress=False,
        cache=True,
    ):
        """The same from the files of WikiText-2: with a warm cache the text is not read at all."""
        check_max_len(max_len)
        self = cls.__new__(cls)
        path = os.path.join(folder, f'wiki.{split}.tokens')
        content = _hash_file(path) if cache else None
        key = content and _hash(_CACHE_FORMAT, content, min_freq, _vocab_key(vocab))

        def build():
            return _index_text(read_wiki(folder, split), vocab, min_freq, progress)

        arrays = _cached('wiki', key, _unchanged(path, content, build))
        self._finish(arrays, max_len, vocab, seed)
        return self

    def _finish(self, arrays, max_len, vocab, seed):
        if vocab is None:
            words = arrays['words'].tobytes().decode('utf-8').split('\n')
            vocab = Vocab(
                dict(zip(words, arrays['counts'].tolist())),
                min_freq=int(arrays['min_freq']),
                reserved_tokens=RESERVED,
            )
        self.vocab, self.max_len, self.seed = vocab, max_len, seed
        self.special, self._ordinary = require_special(vocab), ordinary_ids(vocab)
        self._pid = os.getpid()
        sentence_lens = arrays['lengths']
        first, second, self.is_next, self.left_out = draw_next_sentences(
            sentence_lens, arrays['paragraph_lens'], max_len, onp.random.default_rng([seed, 0])
        )
        if not len(first):
            raise DataError(
                'no two sentences fit into one input',
                where='max_len',
                found=f'{max_len}, {self.left_out} pairs left out',
                remedy='raise max_len, or give text with shorter sentences',
            )
        both = onp.stack([first, second], axis=1)  # (n, 2)
        self._starts = onp.cumsum(sentence_lens, dtype=onp.int64) - sentence_lens
        self.table = PairTable(arrays['flat'], self._starts[both], sentence_lens[both])

    def __len__(self):
        return len(self.is_next)

    def __getitem__(self, idx):
        if not -len(self) <= idx < len(self):
            raise IndexError(f'there are {len(self)} examples')
        idx %= len(self)
        rng = onp.random.default_rng([self.seed, 1, idx])
        row = [array[0] for array in self.batch(onp.array([idx]), rng, self.max_len)]
        for place in (3, 4, 5):  # the three lists about hidden words
            row[place] = onp.pad(row[place], (0, self.max_pred - len(row[place])))
        # subtle: NumPy in a forked worker, for the reason given in SNLIBERTDataset.
        return tuple(row if os.getpid() != self._pid else [np.array(x, dtype=x.dtype) for x in row])

    @property
    def max_pred(self):
        """The chapter's room for hidden words: 15 % of max_len."""
        return max(1, round(self.max_len * 0.15))

    def batch(self, rows, rng, width=None):
        """NumPy arrays of some rows with masks from `rng`, in the chapter's order of seven.

        token_ids, segments (B, T), valid_lens (B,), pred_positions, mlm_weights, mlm_Y (B, P),
        nsp_y (B,).
        """
        token_ids, segments, valid_lens = join_pairs(self.table, rows, self.special, width)
        token_ids, positions, weights, answers = mask_batch(
            token_ids, valid_lens, self.special, self._ordinary, rng
        )
        return (
            token_ids,
            segments,
            valid_lens.astype(onp.float32),
            positions,
            weights,
            answers,
            self.is_next[rows].astype(onp.float32),
        )

    @property
    def lengths(self):
        """Words of each input, special ones included: (n,)."""
        return self.table.valid_lens

    @property
    def sentences(self):
        """All words of the text as numbers, (N,), and where each sentence begins, (n,)."""
        return self.table.flat, self._starts


def _check_paragraphs(paragraphs):
    if any(isinstance(paragraph, str) or not len(paragraph) for paragraph in paragraphs):
        raise DataError(
            'a paragraph is a list of sentences, with at least one',
            found=next(p for p in paragraphs if isinstance(p, str) or not len(p)),
            remedy="split the text at ' . ' first, as read_wiki does",
        )
    if not any(len(paragraph) > 1 for paragraph in paragraphs):
        raise DataError(
            'no paragraph has a next sentence',
            found=f'{len(paragraphs)} paragraphs',
            allowed='at least one paragraph of two sentences',
            remedy='give longer paragraphs',
        )
