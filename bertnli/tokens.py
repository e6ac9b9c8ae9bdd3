"""Sentences become words, words become numbers.

`tokenize` is the chapter's way for text whose words are already apart; `words` takes a sentence as
somebody types it and takes it apart as SNLI's own files do; `Vocab` numbers words. Nothing here
knows about pairs, padding or models.
"""

from collections import Counter
from itertools import chain

from .errors import DataError, SettingsError

# After '<unk>', which is number 0, these are numbers 1 to 4.
RESERVED = ('<pad>', '<mask>', '<cls>', '<sep>')


def tokenize(lines, token='word'):
    """Split lines at blanks into words, or into characters (d2l's function of the same name).

    >>> tokenize(['a dog runs .', 'it is fast .'])
    [['a', 'dog', 'runs', '.'], ['it', 'is', 'fast', '.']]
    """
    if token == 'word':
        return [line.split() for line in lines]
    if token == 'char':
        return [list(line) for line in lines]
    raise SettingsError(
        'there is no such kind of token',
        found=token,
        allowed='word, char',
        remedy="BERT in this chapter reads words: token='word'",
    )


class Vocab:
    """Words and their numbers, with the interface of d2l's class of the same name.

    Number 0 is '<unk>', then come the reserved words as given, then all words that occur at least
    `min_freq` times by falling frequency, ties in alphabetical order, so that the numbers do not
    depend on the order of the text. `tokens` is a list of words, a list of lists of words, or a
    mapping from words to counts.

    >>> vocab = Vocab([['a', 'b'], ['b', 'c', 'b']], reserved_tokens=['<pad>'])
    >>> vocab.idx_to_token
    ['<unk>', '<pad>', 'b', 'a', 'c']
    >>> vocab[['b', 'never seen']], vocab.to_tokens([2, 0])
    ([2, 0], ['b', '<unk>'])
    """

    def __init__(self, tokens=(), min_freq=0, reserved_tokens=()):
        counts = _count(tokens)
        self.token_freqs = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        special = dict.fromkeys(['<unk>', *(reserved_tokens or ())])
        frequent = (word for word, freq in self.token_freqs if freq >= min_freq)
        self._number([*special, *(word for word in frequent if word not in special)])

    @classmethod
    def from_list(cls, idx_to_token):
        """The vocabulary of a published `vocab.json`: a list whose positions are the numbers."""
        vocab, idx_to_token = cls(), list(idx_to_token)
        strange = [word for word in idx_to_token if not isinstance(word, str)]
        if strange:
            raise DataError(
                'a vocabulary holds something that is no word',
                found=strange[0],
                allowed='a list of words',
                remedy='use the vocabulary file that came with the weights',
            )
        vocab._number(idx_to_token)
        if len(vocab.token_to_idx) != len(vocab.idx_to_token):
            twice = [word for word, n in Counter(vocab.idx_to_token).items() if n > 1]
            raise DataError(
                'a vocabulary gives two numbers to one word',
                found=twice[:5],
                allowed='each word once',
                remedy='use the vocabulary file that came with the weights',
            )
        if '<unk>' not in vocab.token_to_idx:
            raise DataError(
                'a vocabulary has no number for unknown words',
                found=vocab.idx_to_token[:5],
                allowed="a list of words with '<unk>' among them",
                remedy='use the vocabulary file that came with the weights',
            )
        return vocab

    def _number(self, idx_to_token):
        self.idx_to_token = idx_to_token
        self.token_to_idx = {word: number for number, word in enumerate(idx_to_token)}

    def __len__(self):
        return len(self.idx_to_token)

    def __contains__(self, word):
        return word in self.token_to_idx

    def __getitem__(self, tokens):
        if isinstance(tokens, (list, tuple)):
            return [self[token] for token in tokens]
        return self.token_to_idx.get(tokens, self.unk)

    def to_tokens(self, indices):
        """The words of a number, a list or an array of numbers (in the same nesting)."""
        if hasattr(indices, 'tolist'):
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


def _count(tokens):
    """How often each word occurs in a flat or nested list of words, or in a mapping of counts."""
    if hasattr(tokens, 'items'):
        return tokens
    tokens = list(tokens)
    if tokens and isinstance(tokens[0], (list, tuple)):
        return Counter(chain.from_iterable(tokens))
    return Counter(tokens)


def require_special(vocab):
    """The numbers of '<pad>', '<mask>', '<cls>', '<sep>', or `DataError` if one is missing.

    >>> require_special(Vocab(['a'], reserved_tokens=RESERVED))
    (1, 2, 3, 4)
    """
    table = getattr(vocab, 'token_to_idx', {})
    missing = [word for word in ('<unk>', *RESERVED) if word not in table]
    if missing:
        raise DataError(
            'the vocabulary lacks special words',
            where='vocab',
            found=f'{type(vocab).__name__} without {" ".join(missing)}',
            allowed=f'a vocabulary with <unk> {" ".join(RESERVED)}',
            remedy='build it with Vocab(tokens, min_freq=5, reserved_tokens=RESERVED)',
        )
    return tuple(table[word] for word in RESERVED)
