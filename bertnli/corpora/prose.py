"""Text of one's own as paragraphs of sentences: one sentence a line, a paragraph a line, or broken lines."""

import itertools
import re

from .rows import BLANK, NO_SENTENCES, Rows, read_lines
from .treebank import words

# subtle: a library would do no better here. NLTK's Punkt needs a download or these abbreviations, and a
# second to import; pySBD has had no release since 2021.
_END = re.compile(r'(?<=[.!?…])["\'”’)\]]*(\s+)(?=["\'“‘(\[]*[^\Wa-z_])')
_TITLES = 'Mrs?|Ms|Drs?|St|Prof|Sgt|Lt|Capt|Rev|Gen|vs|cf|No|Jr|Sr'
_NO_END = re.compile(rf'\b(?:[A-Z]|[A-Za-z]\.[A-Za-z]|{_TITLES})\.$')
_ENDED = re.compile(r'[.!?…]["\'”’)\]]*$')


def sentences_of(text):
    """Split running text behind end marks that a capital letter or a digit follows.

    >>> sentences_of('Mr. Fox sleeps. "Why?" He is tired.')
    ['Mr. Fox sleeps.', '"Why?"', 'He is tired.']
    """
    sentences, begin = [], 0
    for match in _END.finditer(text):
        if not _NO_END.search(text, begin, match.start(1)):
            sentences.append(text[begin : match.start(1)])
            begin = match.end()
    return [sentence for sentence in (*sentences, text[begin:]) if sentence.strip()]


def read_prose(path):
    """(paragraphs, skipped): lists of at least two sentences, words between blanks; and unused lines.

    Blank lines part documents. Lines that mostly end inside a sentence are joined before they are split; a
    line of several sentences is a paragraph of its own.
    """
    rows = Rows(read_lines(path), path, str.strip)
    lines = [*rows]
    full = [line for line in lines if line]
    ended = sum(bool(_ENDED.search(line)) for line in full)
    broken = ended < len(full) / 2 and sum(bool(_END.search(line)) for line in full) > len(full) / 10
    paragraphs = []
    for filled, group in itertools.groupby(enumerate(lines, 1), lambda numbered: bool(numbered[1])):
        numbers, block = zip(*group)
        if not filled:
            rows.count_skipped(BLANK, numbers[0], len(block))
            continue
        split = [sentences_of(part) for part in ([' '.join(block)] if broken else block)]
        if 2 * sum(len(part) > 1 for part in split) < len(split):  # mostly a sentence a line
            split = [[*itertools.chain(*split)]]
        for number, sentences in zip(numbers, split):
            if len(sentences) > 1:
                paragraphs.append([' '.join(words(sentence)) for sentence in sentences])
            else:
                rows.count_skipped(NO_SENTENCES, number, len(block) if broken else 1)
    return paragraphs, rows.skipped
