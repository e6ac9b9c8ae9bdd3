"""Show your work: how a pair of sentences becomes a BERT input, word by word."""

import html
from typing import NamedTuple, Optional

from ..corpora.treebank import words
from ..examples import NUM_SPECIAL, check_max_len, get_tokens_and_segments, mask_tokens, truncate_pair
from ..tokens import require_special


class ExplainedWord(NamedTuple):
    """One line of an explanation."""

    position: Optional[int]  # None for a word that was dropped
    word: str
    number: Optional[int]
    segment: int
    note: str


class Explanation:
    """How a pair became a BERT input, word by word; prints as a table, also in notebooks."""

    columns = ('position', 'word', 'id', 'segment', 'note')

    def __init__(self, rows, max_len):
        self.rows, used = rows, sum(row.position is not None for row in rows)
        self._cells = [['–' if cell is None else str(cell) for cell in row] for row in rows]
        self._end = f'{used} of {max_len} places used, {len(rows) - used} words dropped'

    def __repr__(self):
        table = [self.columns, *self._cells]
        widths = [max(map(len, column)) for column in zip(*table)]
        lines = ['  '.join(map(str.ljust, row, widths)).rstrip() for row in table]
        return '\n'.join([*lines, self._end])

    def _repr_html_(self):
        page = '<table><tr>' + ''.join(f'<th>{name}</th>' for name in self.columns)
        for row in self._cells:
            page += '</tr><tr>' + ''.join(f'<td>{html.escape(cell)}</td>' for cell in row)
        return f'{page}</tr></table><p>{self._end}</p>'


def explain_pair(premise, hypothesis, vocab, max_len, strategy='longest', rng=None):
    """`encode_pair` that shows its work: an `Explanation`, one line a word; raises what `encode_pair` does.

    `premise` and `hypothesis` are raw or lists of words, numbered by `vocab`. `strategy` cuts them to
    `max_len` tokens; `rng`, a NumPy generator, masks words of them (None: no word).

    >>> from bertnli.tokens import RESERVED, Vocab
    >>> vocab = Vocab(['a', 'dog', '.'], reserved_tokens=RESERVED)
    >>> explain_pair('A dog.', 'Cat.', vocab, 6)
    position  word   id  segment  note
    0         <cls>  3   0
    1         a      6   0
    2         dog    7   0
    –         .      5   0        dropped
    3         <sep>  4   0
    4         cat    0   1        unknown
    –         .      5   1        dropped
    5         <sep>  4   1
    6 of 6 places used, 2 words dropped
    """
    check_max_len(max_len)
    require_special(vocab)
    pair = [words(s, vocab.token_to_idx) if isinstance(s, str) else list(s) for s in (premise, hypothesis)]
    # The same steps as in encode_pair, then a line for each token.
    kept = truncate_pair(*pair, max_len - NUM_SPECIAL, strategy)
    tokens, segments = get_tokens_and_segments(*kept)
    masked = None if rng is None else mask_tokens(tokens, vocab, rng)
    rows = [_explain(i, *place, vocab, masked) for i, place in enumerate(zip(tokens, segments))]
    # Words that were cut off stand where they would have been: before the <sep> of their sentence.
    for segment, sep in (1, -1), (0, len(kept[0]) + 1):
        dropped = pair[segment][len(kept[segment]) :]
        rows[sep:sep] = [ExplainedWord(None, word, vocab[word], segment, 'dropped') for word in dropped]
    return Explanation(rows, max_len)


def _explain(position, token, segment, vocab, masked):
    notes = [] if token in vocab.token_to_idx else ['unknown']  # d2l's Vocab knows no `in`
    read = token
    if masked and position in masked.pred_positions:  # the model must predict this word
        how = masked.how[masked.pred_positions.index(position)]
        read = masked.tokens[position]
        notes.append({'mask': 'hidden', 'kept': 'asked, but shown'}.get(how, f'shown as {read}'))
    return ExplainedWord(position, token, vocab[read], segment, ', '.join(notes))
