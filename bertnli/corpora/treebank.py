"""Raw sentences become the words of the Penn Treebank, as SNLI's files are split, however they were typed."""

import html
import re
import unicodedata
import warnings
from functools import lru_cache
from itertools import chain, compress, count, cycle

from ..errors import DataError

# Clitics and marks stand apart, brackets and quotes have names. All rules look at one run of non-blanks
# only, so each run is split once and kept.

_BRACKETS = {'(': '-lrb-', ')': '-rrb-', '[': '-lsb-', ']': '-rsb-', '{': '-lcb-', '}': '-rcb-'}
# Marks that stand alone: a comma or colon only where no digit follows (3,000 and 5:30), an
# ampersand only where a letter is missing beside it (pb&j); two full stops are two, three are one.
_MARKS = re.compile(r'(\.{3,}|\.(?=\.)|-{2,}|``|`|\'\'|[;@#$%*?!()\[\]{}"…–—]|[,:](?!\d)|(?<!\w)&|&(?!\w))')
_NAMED = re.compile(r'-[lr][rsc]b-')  # a bracket that already has its name
_CLITICS = ("'s", "'m", "'d", "'ll", "'re", "'ve")
_END = re.compile(r"(?<=.)(?:[-/.]|n't|'(?:s|m|d|ll|re|ve)?)$")
_ABBREVIATION = re.compile(
    r'(?:[a-z]\.)+|(?:mr|mrs|ms|dr|st|mt|rt|ft|jr|sr|vs|etc|prof|sgt|lt|capt|rev|inc|corp|ltd|ave)\.'
)
_ENDS = ('.', '!', '...', '…')
_LONGEST_WORD = 100  # characters
MAX_UNKNOWN, _MANY_UNKNOWN = 0.6, 0.1  # shares of the words: more is an error; more is told
_FUSED = {
    pair.replace('+', ''): pair.split('+')
    for pair in "can+not gon+na got+ta gim+me lem+me wan+na d+'ye 't+is 't+was".split()
}

# What Treebank text never has: marks and clitics at a word, plain quotes, brackets.
_RAW = re.compile(r"""\w[;@#$%*?!…–—,:](?!\d)|[$#@]\w|["()\[\]{}]|\w(?:n't|'(?:s|m|d|ll|re|ve))(?!\S)""")
# How other corpora (WikiText) spell the marks that Treebank gives a name.
PLAIN = {**{name: mark for mark, name in _BRACKETS.items()}, '``': '"', "''": '"', '`': "'"}

_TYPED = {
    **dict.fromkeys('\u00ad\u061c\u180e\ufeff', None),  # soft hyphen, direction marks, byte order mark
    **dict.fromkeys(map(chr, [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)]), None),
    **dict.fromkeys('\u00a0\u1680\u202f\u205f\u3000' + ''.join(map(chr, range(0x2000, 0x200B))), ' '),
    **dict.fromkeys('‘’‛ʼ′＇´', "'"),
    **dict.fromkeys('„“”‟«»＂', '"'),
    **dict.fromkeys('\u2010\u2011\u2212', '-'),
}
_TYPED = str.maketrans(_TYPED)
QUOTED = re.compile(r'\s*"((?:[^"]|"")*)"\s*')  # a cell as spreadsheets save one that holds quotes
_ENTITY = re.compile(r'&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,30});')


def normalize(text):
    r"""The same `text` in plain characters, whatever keyboard, editor or web page it came from.

    In this order: HTML entities become characters, composed (NFC); characters without width go; all spaces
    become blanks; apostrophes, quotes and hyphens become `'`, `"` and `-`, a back-tick between letters too;
    doubled quotes, as spreadsheets save them, one.

    >>> normalize('He doesn&#39;t say “co\u2011op”,\u00a0Zoe\u0308.')
    'He doesn\'t say "co-op", Zoë.'
    """
    if text.isascii() and not ('&' in text or '`' in text or '""' in text):
        return text
    text = _ENTITY.sub(lambda entity: html.unescape(entity.group()), text)
    text = unicodedata.normalize('NFC', text).translate(_TYPED)
    text = re.sub(r'(?<=\w)`(?=\w)', "'", text)
    if '""' in text:
        # A whole cell stands in quotes if there are quotes in it.
        cell = QUOTED.fullmatch(text)
        text = (cell[1] if cell else text).replace('""', '"')
    return text


def words(sentence, known=None):
    """Split a raw `sentence` as SNLI's files are split, in lower case; what is split already stays as it is.

    Right for 99.9 % of the sentences in SNLI's dev and test files. `known` are the words of a vocabulary (its
    `token_to_idx`): brackets and quotes that it has by their plain form alone (`(` for `-lrb-`) come in that.

    >>> words("The man's dogs don't run.")
    ['the', 'man', "'s", 'dogs', 'do', "n't", 'run', '.']
    """
    text = normalize(sentence).lower()
    runs = text.split()
    if runs[-1:] == ['.'] and not _RAW.search(text):
        return runs
    if '"' in runs:  # one that stands alone opens, the next one closes
        quotes = cycle(['``', "''"])
        runs = [next(quotes) if run == '"' else run for run in runs]
    out = list(chain.from_iterable(map(_split_run, runs)))
    if known is not None and not ('-lrb-' in known and '``' in known):
        out = [PLAIN[w] if w not in known and PLAIN.get(w) in known else w for w in out]
    return out


def ended(tokens):
    """The words of a sentence as a caption ends, with one full stop, whether none was typed, `!` or more.

    A question keeps its mark.

    >>> ended(['it', 'rains']), ended(['it', 'rains', '!', '!']), ended(['why', '?'])
    (['it', 'rains', '.'], ['it', 'rains', '.'], ['why', '?'])
    """
    kept = list(tokens)
    while kept and kept[-1] in _ENDS:
        kept.pop()
    # What is quoted whole has its mark inside.
    whole = kept[-1:] == ["''"] and kept[-2:-1] and kept[-2] in (*_ENDS, '?')
    return kept if whole or kept[-1:] == ['?'] else [*kept, '.'] if kept else list(tokens)


def is_word(run):
    """Whether `words` leaves a run of lower-case non-blanks as it is."""
    return (run.isalpha() and run.isascii() and run not in _FUSED) or words(run) == [run]


class Unread:
    """Counts what a network does not read of the pairs it is given: unknown words, and ends that were cut.

    `tell` warns if more than a tenth of the words are unknown, and if pairs were cut; above `max_unknown` it
    raises `DataError`. With `max_unknown` None it is silent; fewer than `least` unknown words say nothing.
    """

    def __init__(self, max_unknown=MAX_UNKNOWN, least=2, where=None):
        self.max_unknown, self.least, self.where, self.some = max_unknown, least, where, ()
        self.pairs = self.words = self.unknown = self.cut = 0

    def count(self, pairs, unknown, words=()):
        """Count pairs, and an array that is true for each unknown word of theirs; `words` names them."""
        self.pairs, self.words = self.pairs + pairs, self.words + len(unknown)
        if unknown.any():
            self.unknown += int(unknown.sum())
            self.some = list(dict.fromkeys(compress(words, unknown)))[:5]
        if self.max_unknown is not None and self.unknown > max(self.least - 1, self.max_unknown * self.words):
            self.tell()

    def tell(self, max_len=None):
        if self.max_unknown is None:
            return
        place, share = f'{self.where}: ' if self.where else '', self.unknown / (self.words or 1)
        found = f'{self.unknown:,} of {self.words:,} words ({share:.0%})'
        if self.some:
            found += f', for example {", ".join(self.some)}'
        if self.unknown >= self.least and share > self.max_unknown:
            allowed = f'up to {self.max_unknown:.0%} unknown words'
            remedy = 'use text in the language of the model, or insist with max_unknown=1 (--max-unknown 1)'
            raise DataError('the vocabulary does not know these words', self.where, found, allowed, remedy)
        if self.unknown >= self.least and share > _MANY_UNKNOWN:
            warnings.warn(f'{place}not in the vocabulary: {found}; the network reads <unk>', stacklevel=3)
        if self.cut:
            cut = f'{self.cut:,} of {self.pairs:,} pairs cut to {max_len} tokens'
            warnings.warn(place + cut, stacklevel=3)


def unknown_share(unknown, max_unknown, where):
    """The share of a data set's words that is unknown, told as `Unread` tells it, from a hundred words up."""
    unread = Unread(max_unknown, 100, where)
    unread.count(0, unknown)
    unread.tell()
    return unread.unknown / unread.words


def pairs_in(pairs):
    """`(premise, hypothesis)` of each pair, whatever holds them; raises `DataError` for anything else.

    A stream of tuples, of lists of two or of dictionaries; two columns (or three, with labels), which are
    lists, or a dictionary or pandas `DataFrame` of columns.

    >>> list(pairs_in([{'premise': 'A dog runs.', 'hypothesis': 'It moves.'}]))
    [('A dog runs.', 'It moves.')]
    """
    if hasattr(pairs, 'keys'):
        premises, hypotheses = _of(pairs, 'the columns')
    elif isinstance(pairs, list) and len(pairs) in (2, 3) and all(isinstance(one, list) for one in pairs):
        if {len(one) for one in pairs} == {2} and all(isinstance(one[0], str) for one in pairs):
            raise _not_pairs('columns or pairs?', 'pairs', pairs)
        premises, hypotheses = pairs[:2]
    else:
        # subtle: unlike a generator, `map` goes on after a pause of the stream.
        return map(lambda pair, number: _of(pair, f'pair {number}'), pairs, count(1))
    if len(premises) != len(hypotheses):
        raise _not_pairs('columns of different lengths', 'pairs', (len(premises), len(hypotheses)))
    return zip(premises, hypotheses)


def _of(pair, where):
    """Two sentences, or two columns of them."""
    if isinstance(pair, (tuple, list)) and len(pair) in (2, 3):
        return tuple(pair[:2])
    names = {str(name).lower(): name for name in list(pair.keys())} if hasattr(pair, 'keys') else {}
    for both in ('premise', 'hypothesis'), ('sentence1', 'sentence2'):
        if names.keys() >= {*both}:
            return tuple(pair[names[name]] for name in both)
    raise _not_pairs('no pair of sentences', where, list(names) or pair)


def not_a_sentence(found, where=None):
    allowed, remedy = 'a string, or a list of words', 'leave out pairs with an empty cell (None, NaN)'
    return DataError('not a sentence', where, found, allowed, remedy)


def _not_pairs(problem, where, found):
    forms = 'SentencePairs, tuples, or dictionaries with premise and hypothesis; or two columns of sentences'
    remedy = 'write [(premise, hypothesis), …], or {"premise": […], "hypothesis": […]}'
    return DataError(problem, where, found, forms, remedy)


@lru_cache(maxsize=1 << 15)
def _split_run(run):
    if _NAMED.fullmatch(run):
        return (run,)
    out = []
    for piece in filter(None, _MARKS.split(run)):
        if piece == '"':
            # An opening quote stands at the beginning or after an opening bracket.
            out.append('``' if not out or out[-1] in ('-lrb-', '-lsb-', '-lcb-') else "''")
        elif _MARKS.fullmatch(piece):
            out.append(_BRACKETS.get(piece, piece))
        else:
            out.extend(_split_word(piece))
    return tuple(out)


def _split_word(word):
    """Quotes, clitics, dash and full stop of a piece that holds no other marks."""
    # What is longer is an address, or no language at all.
    if not 1 < len(word) <= _LONGEST_WORD or word in _FUSED:
        return _FUSED.get(word, [word])
    if word[0] == "'" and word not in _CLITICS:
        return ['`', *_split_word(word[1:])]
    end = _END.search(word)
    if end and not _ABBREVIATION.fullmatch(word):
        return [*_split_word(word[: end.start()]), end.group()]
    return [word]
