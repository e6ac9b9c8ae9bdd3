"""Whole corpora as data sets, held as compact arrays: no padding is kept, a word is two bytes.

`SNLIBERTDataset` holds labelled pairs for fine-tuning, `WikiTextDataset` next-sentence pairs with
masked words for pretraining. `dataset[i]` is the chapter's padded example, `dataset.batch(rows, rng)` a whole
batch. What one example is, examples.py tells; shuffling and grouping is batches.py's.

Shapes: B examples in the batch, T tokens in the longest input, P masked tokens in the richest input.
"""

from functools import cached_property
from itertools import chain

import numpy as onp

from .corpora.treebank import MAX_UNKNOWN, not_a_sentence, unknown_share
from .errors import DataError
from .examples import check_max_len, ordinary_ids
from .fast.encoding import PairTable, draw_next_sentences, encode, index_corpus, join_pairs, mask_batch
from .runtime import array, full_name, gluon, np
from .text import LABELS, MAX_SKIPPED, read_snli, read_wiki
from .tokens import require_special


def to_mxnet(arrays):
    """The same NumPy arrays, in the same nesting of tuples, as MXNet arrays of the same types."""
    if isinstance(arrays, tuple):
        return tuple(to_mxnet(array) for array in arrays)
    return array(arrays)


class PairDataset(gluon.data.Dataset):
    """What both data sets share: n pairs of words of `vocab` in a `table`, padded to `max_len` on request."""

    def __init__(self, max_len, vocab):
        check_max_len(max_len)
        self.max_len, self.vocab, self.special = max_len, vocab, require_special(vocab)

    def __len__(self):
        return len(self.table.lengths)

    @property
    def lengths(self):
        """Tokens of each input, special ones included: (n,)."""
        return self.table.valid_lens

    def padded(self, idx):
        """Inputs of a row: (max_len,), (max_len,) and (); of a slice: one more dimension in front."""
        single = self.table.lengths[idx].ndim == 1
        token_ids, segments, _ = join_pairs(self.table, [idx] if single else idx, self.special, self.max_len)
        inputs = (token_ids[0], segments[0]) if single else (token_ids, segments)
        return (*to_mxnet(inputs), self.valid_lens[idx])

    # All inputs at once, as the chapter's class keeps them: (n, max_len), (n, max_len) and (n,).
    all_token_ids = cached_property(lambda self: self.padded(slice(None))[0])
    all_segments = cached_property(lambda self: self.padded(slice(None))[1])
    valid_lens = cached_property(lambda self: np.array(self.lengths, dtype='float32'))


# --- fine-tuning ----------------------------------------------------------------------------------


class SNLIBERTDataset(PairDataset):
    """Labelled pairs as BERT inputs of `max_len` tokens; `dataset` is [premises, hypotheses, labels].

    `pairs[i]` is ((token_ids, segments, valid_len), label) as in the chapter: two (max_len,) int32 arrays and
    two float32; `pairs[2:5]` has three of each. Sentences are strings or lists of words, truncated by
    `strategy` (see `truncate_pair`). `unknown` is the share of words that `vocab` lacks: told above 10 %, a
    `DataError` above `max_unknown`. So many `num_workers` encode: if one dies, `RuntimeMismatch`. `progress`
    shows a bar, `verbose` prints how many pairs there are.

    >>> from bertnli.tokens import RESERVED, Vocab
    >>> vocab = Vocab(['dog', 'runs'], reserved_tokens=RESERVED)
    >>> pairs = SNLIBERTDataset([['A dog runs'], ['A cat runs'], [1]], 8, vocab, verbose=False)
    >>> (token_ids, segments, valid_len), label = pairs[0]
    >>> token_ids.tolist(), int(valid_len), int(label)
    ([3, 0, 5, 6, 4, 0, 0, 4], 8, 1)
    """

    word_dropout = 0.0  # the share of words that `batch` masks, for training only

    def __init__(
        self,
        dataset,
        max_len,
        vocab=None,
        *,
        strategy='longest',
        num_workers=0,
        progress=False,
        verbose=True,
        max_unknown=MAX_UNKNOWN,
    ):
        premises, hypotheses, labels = _check_columns(dataset)
        super().__init__(max_len, vocab)
        # Words become numbers: all premises one after the other, then all hypotheses.
        flat, lengths = encode([*premises, *hypotheses], vocab, num_workers, progress, typed=True)
        self.unknown = unknown_share(flat == vocab['<unk>'], max_unknown, getattr(dataset, 'path', None))
        self.table = PairTable.from_columns(flat, lengths).shortened(max_len, strategy)
        self.label_ids = onp.array(labels, onp.int8)  # (n,)
        self.labels = np.array(self.label_ids, dtype='float32')  # (n,)
        self.skipped = getattr(dataset, 'skipped', {})  # rows that `read_snli` left out
        self.names = getattr(dataset, 'names', LABELS)
        if verbose:
            print(f'read {len(self)} examples')

    def __getitem__(self, idx):
        return self.padded(idx), self.labels[idx]  # <cls> premise <sep> hypothesis <sep>, then padding

    def batch(self, rows, rng=None):
        """NumPy arrays of some rows, padded to the longest: ((token_ids, segments, valid_lens), labels)."""
        token_ids, segments, valid_lens = join_pairs(self.table, rows, self.special)  # (B, T), (B, T), (B,)
        if self.word_dropout and rng is not None:
            masked = rng.random(token_ids.shape) < self.word_dropout
            token_ids[masked & ~onp.isin(token_ids, self.special)] = self.vocab['<mask>']
        return (token_ids, segments, valid_lens.astype(onp.float32)), self.label_ids[rows].astype(onp.float32)

    @classmethod
    def from_folder(cls, folder, split, max_len, vocab, *, limit=None, max_skipped=MAX_SKIPPED, **options):
        """The same from the files of SNLI, silently; arguments of `read_snli` and of the class."""
        data = read_snli(folder, split=split, limit=limit, max_skipped=max_skipped)
        return cls(data, max_len, vocab, verbose=False, **options)


def _check_columns(dataset):
    """The three columns as lists, or `DataError`."""
    remedy = 'give [premises, hypotheses, labels] as read_snli returns them'
    try:
        premises, hypotheses, labels = (list(column) for column in dataset)
    except (TypeError, ValueError) as error:
        raise DataError('not three columns', 'dataset', full_name(dataset), remedy=remedy) from error
    counts = len(premises), len(hypotheses), len(labels)
    if len(set(counts)) > 1 or not premises:
        raise DataError('columns are empty or of different lengths', found=counts, remedy=remedy)
    wrong = next((row for row, label in enumerate(labels) if label not in range(len(LABELS))), None)
    if wrong is not None:
        allowed = ', '.join(f'{number} ({name})' for number, name in enumerate(LABELS))
        raise DataError('invalid label', f'pair {wrong}', labels[wrong], allowed)
    for name, column in ('premise', premises), ('hypothesis', hypotheses):
        # Quick for what everybody gives; all else is looked at one by one.
        for row, one in [] if {*map(type, column)} <= {str, list, tuple} else enumerate(column):
            if not isinstance(one, (str, list, tuple)):
                raise not_a_sentence(one, f'pair {row}, {name}')
    return premises, hypotheses, labels


# --- pretraining ----------------------------------------------------------------------------------


class WikiTextDataset(PairDataset):
    """Next-sentence pairs with masked words; `paragraphs` are lists of sentences, as `read_wiki` returns.

    `dataset[i]` is the chapter's example of seven: token_ids, segments (max_len,), valid_len,
    pred_positions, mlm_weights, mlm_Y (0.15 · max_len places), nsp_y. Its masks are a function of
    `seed` and i; `batch(rows, rng)` draws fresh ones. Without `vocab` one is built from the text
    (words that occur `min_freq` times). A sentence is a string, or a list of words. `left_out` counts the
    pairs that were longer than `max_len`; `progress` shows a bar. Raises `DataError` and `SettingsError`.

    >>> text = [['a dog runs', 'it is fast .'], ['the sun is out', 'a dog sleeps .']]
    >>> dataset = WikiTextDataset(text, 16, min_freq=1)
    >>> len(dataset), dataset[0][0].shape, dataset[0][3].shape
    (2, (16,), (2,))
    """

    def __init__(self, paragraphs, max_len, *, vocab=None, min_freq=5, seed=0, progress=False):
        check_max_len(max_len)
        paragraphs = _check_paragraphs(paragraphs)
        sentences = list(chain.from_iterable(paragraphs))
        # Words become numbers; without a vocabulary these very words make one.
        if vocab is None:
            flat, sentence_lens, vocab = index_corpus(sentences, min_freq, progress)
        else:
            require_special(vocab)
            flat, sentence_lens = encode(sentences, vocab, progress=progress)
        super().__init__(max_len, vocab)
        self.seed, self._ordinary = seed, ordinary_ids(vocab)
        # Every sentence meets its next one or a random one; pairs are two sentence numbers each.
        paragraph_lens = onp.array([len(paragraph) for paragraph in paragraphs])
        first, second, self.is_next, self.left_out = draw_next_sentences(
            sentence_lens, paragraph_lens, max_len, onp.random.default_rng([seed, 0])
        )
        if not len(first):
            found = f'{max_len}, {self.left_out} pairs left out'
            remedy = 'raise max_len, or give text with shorter sentences'
            raise DataError('no two sentences fit into one input', 'max_len', found, remedy=remedy)
        both = onp.stack([first, second], axis=1)  # (n, 2)
        starts = onp.cumsum(sentence_lens, dtype=onp.int64) - sentence_lens
        self.sentences = flat, starts  # all words of the text, (N,), and where each sentence begins, (n,)
        self.table = PairTable(flat, starts[both], sentence_lens[both])

    @classmethod
    def from_folder(cls, folder, max_len, *, split='train', **options):
        """The same from the files of WikiText-2; `options` are those of the class."""
        return cls(read_wiki(folder, split), max_len, **options)

    def __getitem__(self, idx):
        rows = range(len(self))[idx]  # counts from the end, cuts a slice, refuses what is outside
        if isinstance(rows, range):
            return tuple(np.stack(column) for column in zip(*(self[row] for row in rows)))
        # Each example has a generator of its own, so that its masks do not depend on the others.
        rng = onp.random.default_rng([self.seed, 1, rows])
        row = [array[0] for array in self.batch([rows], rng, self.max_len)]
        # The chapter's room for masked words is 15 % of max_len.
        places = max(1, round(self.max_len * 0.15))
        row[3:6] = [onp.pad(array, (0, places - len(array))) for array in row[3:6]]
        return to_mxnet(tuple(row))

    def batch(self, rows, rng, width=None):
        """NumPy arrays of some rows with masks from `rng`, in the chapter's order of seven.

        token_ids, segments (B, T), valid_lens (B,), pred_positions, mlm_weights, mlm_Y (B, P),
        nsp_y (B,).
        """
        token_ids, segments, valid_lens = join_pairs(self.table, rows, self.special, width)
        # token_ids is what the model reads from here on; mlm_Y keeps the words behind the masks.
        token_ids, positions, weights, answers = mask_batch(
            token_ids, valid_lens, self.special, self._ordinary, rng
        )
        valid_lens, is_next = valid_lens.astype(onp.float32), self.is_next[rows].astype(onp.float32)
        return token_ids, segments, valid_lens, positions, weights, answers, is_next


def _check_paragraphs(paragraphs):
    paragraphs = list(paragraphs)
    wrong = [paragraph for paragraph in paragraphs if isinstance(paragraph, str) or not len(paragraph)]
    if wrong:
        problem = 'a paragraph is a list of sentences, with at least one'
        remedy = "split the text at ' . ' first, as read_wiki does"
        raise DataError(problem, found=wrong[0], remedy=remedy)
    if not any(len(paragraph) > 1 for paragraph in paragraphs):
        raise DataError('no paragraph has a next sentence', found=f'{len(paragraphs)} paragraphs')
    return paragraphs
