"""Sentences become words, words become numbers.

`tokenize` splits text whose words are already separated by blanks, as the chapter does; `Vocab` numbers
words. (Raw sentences, as somebody types them, are split by corpora/treebank.py.)
"""

from collections import Counter
from itertools import chain

from .errors import DataError, SettingsError

# After '<unk>', which is number 0, these are numbers 1 to 4.
RESERVED = ('<pad>', '<mask>', '<cls>', '<sep>')


def tokenize(lines, token='word'):
    """Split `lines` at blanks into words or, if `token` is 'char', into characters (d2l's function).

    >>> tokenize(['a dog runs .', 'it is fast .'])
    [['a', 'dog', 'runs', '.'], ['it', 'is', 'fast', '.']]
    """
    if token == 'word':
        return [line.split() for line in lines]
    if token == 'char':
        return [list(line) for line in lines]
    raise SettingsError('unknown token type', 'token', token, 'word, char (this chapter reads words)')


class Vocab:
    """Words and their numbers, with the interface of d2l's class of the same name.

    Number 0 is '<unk>', then come `reserved_tokens` as given, then all words that occur at least
    `min_freq` times by falling frequency, ties in alphabetical order, so that the numbers do not
    depend on the order of the text. `tokens` is a list of words, a list of lists of words, or a
    mapping from words to counts.

    >>> vocab = Vocab([['a', 'b'], ['b', 'c', 'b']], reserved_tokens=['<pad>'])
    >>> vocab.idx_to_token
    ['<unk>', '<pad>', 'b', 'a', 'c']
    >>> vocab[['b', 'never seen']], vocab.to_tokens([2, 0])
    ([2, 0], ['b', '<unk>'])
    """

    ends = False  # whether a network with these words has seen nearly no sentence without a full stop

    def __init__(self, tokens=(), min_freq=0, reserved_tokens=()):
        if not hasattr(tokens, 'items'):  # not counted yet
            tokens = list(tokens)
            nested = tokens and isinstance(tokens[0], (list, tuple))
            tokens = Counter(chain.from_iterable(tokens) if nested else tokens)
        # The most frequent words come first: (word, frequency).
        self.token_freqs = sorted(tokens.items(), key=lambda pair: (-pair[1], pair[0]))
        special = dict.fromkeys(['<unk>', *(reserved_tokens or ())])  # a set that keeps its order
        frequent = (word for word, freq in self.token_freqs if freq >= min_freq)
        self._number([*special, *(word for word in frequent if word not in special)])

    @classmethod
    def from_list(cls, idx_to_token):
        """The vocabulary of a published `vocab.json`: a list whose positions are the numbers.

        Raises `DataError` unless it holds words only, each once, and '<unk>' among them.
        """
        vocab, idx_to_token = cls(), list(idx_to_token)
        strange = [word for word in idx_to_token if not isinstance(word, str)]
        twice = [] if strange else [word for word, n in Counter(idx_to_token).items() if n > 1]
        if strange:
            problem, found = 'the vocabulary holds something that is not a word', strange[0]
        elif twice:
            problem, found = 'the vocabulary gives two numbers to one word', twice[:5]
        elif '<unk>' not in idx_to_token:
            problem, found = 'the vocabulary has no number for unknown words (<unk>)', idx_to_token[:5]
        else:
            vocab._number(idx_to_token)
            return vocab
        raise DataError(problem, found=found, remedy='use the vocabulary file that came with the weights')

    def _number(self, idx_to_token):
        self.idx_to_token = idx_to_token  # number -> word
        self.token_to_idx = {word: number for number, word in enumerate(idx_to_token)}  # word -> number

    def __len__(self):
        return len(self.idx_to_token)

    def __contains__(self, word):
        return word in self.token_to_idx

    def __getitem__(self, tokens):
        if isinstance(tokens, (list, tuple)):  # lists of lists, too
            return [self[token] for token in tokens]
        return self.token_to_idx.get(tokens, self.unk)

    def to_tokens(self, indices):
        """The words of a number, a list or an array of numbers (in the same nesting)."""
        if hasattr(indices, 'tolist'):  # NumPy's and MXNet's arrays
            indices = indices.tolist()
        if isinstance(indices, (list, tuple)):
            return [self.to_tokens(index) for index in indices]
        return self.idx_to_token[int(indices)]

    @property
    def unk(self):
        """The number of every unknown word."""
        return self.token_to_idx['<unk>']

    def __repr__(self):
        return f'Vocab({len(self)} words, {self.idx_to_token[:8]}…)'


def require_special(vocab):
    """The numbers of '<pad>', '<mask>', '<cls>', '<sep>', or `DataError` if one is missing.

    >>> require_special(Vocab(['a'], reserved_tokens=RESERVED))
    (1, 2, 3, 4)
    """
    table = getattr(vocab, 'token_to_idx', {})  # ours and d2l's have it
    missing = [word for word in ('<unk>', *RESERVED) if word not in table]
    if missing:
        found = f'{type(vocab).__name__} without {" ".join(missing)}'
        allowed = f'a vocabulary with <unk> {" ".join(RESERVED)}'
        remedy = 'build it with Vocab(tokens, min_freq=5, reserved_tokens=RESERVED)'
        raise DataError('the vocabulary lacks special tokens', 'vocab', found, allowed, remedy)
    return tuple(table[word] for word in RESERVED)
