"""Pairs of our own: what one word can do, or the order of words. Made from pairs at hand and `contrasts.tsv`.

People who write to captions seldom change one word only, so a network that counts shared words does well on
SNLI (McCoy et al. 2019; Glockner et al. 2018). In the pairs made here nearly all words are shared, and one
decides: a negation, a number, a colour, another thing of the same kind, who does it to whom.
"""

import random
import re
from collections import defaultdict
from functools import lru_cache
from itertools import permutations, product
from pathlib import Path

_ENTAILMENT, _CONTRADICTION, _NEUTRAL = range(3)  # as in text.LABELS
_LABELS = {'entailment': _ENTAILMENT, 'contradiction': _CONTRADICTION, 'neutral': _NEUTRAL}
_PLURALS = {'person': 'people', 'child': 'children', 'knife': 'knives', 'shelf': 'shelves', 'sheep': 'sheep'}
_PLURALS.update(mouse='mice', tomato='tomatoes', potato='potatoes', fish='fish')
_BE, _NO = ('is', 'are', 'was', 'were'), {'not', "n't", 'no', 'nobody', 'never', 'none', 'nothing', 'without'}
_PAST, _VOWELS = {'is': 'was', 'are': 'were'}, 'aeiou'


class _Tables:
    """The lines of `contrasts.tsv`: words that exclude each other, words above, synonyms, frames, forms."""

    def __init__(self):
        self.others, self.above, self.alike = defaultdict(list), {}, defaultdict(list)
        self.frames, self.by_order, self.slots, self.forms = [], [], defaultdict(list), {'v': [], 'x': []}
        self.adjectives, self.kinds, self.new = set(), [], {'alike': [], 'other': []}
        for line in Path(__file__).with_suffix('.tsv').read_text('utf-8').splitlines():
            if not line.startswith('#'):
                self._read(*line.split('\t'))

    def _read(self, kind, first, rest):
        words = rest.split()
        if kind.strip('*') in _LABELS:
            frame = first, rest, _LABELS[kind.strip('*')]
            self.by_order += [frame] if '*' in kind else []
            self.frames += [frame] if first != rest else []  # by itself a sentence is asked for order only
        elif kind == 'slot':
            self.slots[first] += [rest] if '=' in rest else words
        elif kind == 'form':
            self.forms[first].append(words)
        elif kind in self.new:
            # The first word with each of the others, there and back, or, where there is none, each with each.
            pairs = [*product([first], words), *product(words, [first])]
            self.new[kind] += permutations(words, 2) if first == '-' else pairs
        else:
            for group in (words, [plural(word) for word in words])[: 2 if kind == 'noun' else 1]:
                self._relate(kind, first if group is words else plural(first), group)
        if kind in ('noun', 'mass') and first != '-':
            one = 'a {}'.format if kind == 'noun' else str
            above = first if kind == 'mass' else one(first)
            self.kinds += [(one(a), one(b), above) for a in words for b in words if a != b]

    def _relate(self, kind, above, words):
        for word in words:
            table = self.alike if kind == 'synonym' else self.others
            table[word] += [other for other in words if other != word]
            if above[0] != '-':
                self.above[word] = above
            if kind == 'adjective':
                self.adjectives.add(word)


_tables = lru_cache(maxsize=None)(_Tables)


def plural(noun):
    """The plural of a noun of `contrasts.tsv`.

    >>> plural('dog'), plural('bus'), plural('man')
    ('dogs', 'buses', 'men')
    """
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith('man'):
        return noun[:-2] + 'en'
    if noun.endswith('y') and noun[-2:-1] not in _VOWELS:
        return noun[:-1] + 'ies'
    return noun + ('es' if noun.endswith(('s', 'ch', 'sh', 'x')) else 's')


def contrast_pairs(premises, hypotheses, labels, count, seed=0, new_words=0.0):
    """`count` new pairs as three columns, [premises, hypotheses, labels], a function of the seed.

    The columns given are those of `read_snli`, words separated by blanks. A new pair changes one thing in a
    sentence at hand, or fills a frame of `contrasts.tsv`. Its label follows from how it was made. In the
    share `new_words` a word is exchanged that is never exchanged otherwise: words that are seen often are
    learnt by heart, and what is true of new ones is learnt from words seen seldom.

    >>> columns = contrast_pairs(['A man is sitting .'], ['A person is sitting .'], [0], 4)
    >>> [len(column) for column in columns]
    [4, 4, 4]
    """
    rng, tables, made = random.Random(seed), _tables(), []
    where = _where(tables, premises, hypotheses, labels) if new_words else []
    while len(made) < count:
        if len(made) < new_words * count and all(where):  # they come first, if there are some of both kinds
            pair = _new_word(rng, where)
        elif rng.random() < _FRAMES:
            pair = _fill(tables, rng, tables.frames)
        else:
            row = rng.randrange(len(labels))
            pair = _change(tables, rng, premises[row].lower(), hypotheses[row].lower(), labels[row])
        # Most changes of a word contradict; too many would teach that sharing words is a contradiction.
        if pair and (pair[2] != _CONTRADICTION or rng.random() < _KEPT):
            made.append(pair)
    return _columns(made)


def _columns(made):
    return [list(column) for column in zip(*((' '.join(a), ' '.join(b), label) for a, b, label in made))]


def order_pairs(count, seed=0):
    """`count` pairs in which order alone decides, as `contrast_pairs` gives them.

    A network that answers by shared words is right on half of them. Mixed with others they are not learnt:
    the rest is easier by words. By themselves they are, in minutes, and not forgotten when others follow.

    >>> [len(column) for column in order_pairs(4)]
    [4, 4, 4]
    """
    rng, tables = random.Random(seed), _tables()
    return _columns([_fill(tables, rng, tables.by_order) for _ in range(count)])


_FRAMES, _KEPT = 0.4, 0.6  # shares: of filled frames, and of the contradictions that are kept


def _where(tables, premises, hypotheses, labels):
    """Of each kind of new words, `(word, other, pairs)`: the second sentence follows, and has the word."""
    known, where = {word for kind in tables.new.values() for word, _ in kind}, defaultdict(list)
    for first, second, label in zip(premises, hypotheses, labels):
        first, second = first.lower().split(), second.lower().split()
        for a, b in ((first, first), (second, second), (first, second))[: 3 if label == _ENTAILMENT else 2]:
            for word in known & {*b} if len(b) > 2 and not _NO & {*a, *b} else ():
                where[word].append((a, b))
    return [[(a, b, where[a]) for a, b in kind if a in where] for kind in tables.new.values()]


def _new_word(rng, where):
    label = _ENTAILMENT if rng.random() < 0.6 else _CONTRADICTION
    word, other, pairs = rng.choice(where[label])
    a, b = rng.choice(pairs)
    new = _put(rng, b, {word: other}, a)
    return new and ((new, a, label) if a == b and rng.random() < 0.5 else (a, new, label))


# --- a change in a sentence at hand ---------------------------------------------------------------


def _change(tables, rng, premise, hypothesis, label):
    """(premise words, hypothesis words, label) from a pair; None where the change is not possible."""
    premise, hypothesis = premise.split(), hypothesis.split()
    # What is entailed: a sentence by itself, or a hypothesis by its premise.
    draw = rng.random()
    a, b = (premise, premise) if draw < 0.35 else (hypothesis, hypothesis)
    if draw > 0.8 and label == _ENTAILMENT:
        a = premise
    if len(a) < 3 or len(b) < 3:
        return None
    change = rng.choices(_CHANGES, _WEIGHTS)[0]
    if change is _across:
        return _across(tables, rng, premise, hypothesis, label)
    return change(tables, rng, a, b)


def _put(rng, words, table, avoid=()):
    """A copy in which one word is replaced by one of those that the table has for it, or None."""
    places = [i for i, word in enumerate(words) if word in table]
    if not places:
        return None
    place = rng.choice(places)
    found = table[words[place]]
    new = found if isinstance(found, str) else rng.choice(found)
    if new in words or new in avoid:
        return None
    return _articles([*words[:place], new, *words[place + 1 :]])


def _articles(words):
    """a or an, as the next word begins."""
    return [
        ('an' if after[0] in _VOWELS else 'a') if word in ('a', 'an') else word
        for word, after in zip(words, [*words[1:], 'x'])
    ]


def _not(rng, words):
    """The sentence denied, or None unless exactly one verb can be."""
    places = [i for i, word in enumerate(words) if word in _BE]
    if len(places) != 1 or _NO & {*words}:
        return None
    after = places[0] + 1
    if words[0] == 'there':
        if words[after : after + 1] in (['a'], ['an']):
            return [*words[:after], 'no', *words[after + 1 :]]
        return None
    return [*words[:after], rng.choice(['not', 'not', "n't"]), *words[after:]]


def _less(rng, a, b, new):
    """What says less follows from `a`; from what says less `b` does not."""
    return (a, new, _ENTAILMENT) if a != b or rng.random() < 0.5 else (new, b, _NEUTRAL)


def _same(tables, rng, a, b):
    return a, b, _ENTAILMENT


def _other(tables, rng, a, b):
    """Another colour, number, thing of the same kind."""
    if _NO & {*a, *b}:
        return None
    new = _put(rng, b, tables.others, a)
    if not new:
        return None
    return (new, a, _CONTRADICTION) if a == b and rng.random() < 0.4 else (a, new, _CONTRADICTION)


def _wider(tables, rng, a, b):
    """What a thing is; and not the other way round."""
    new = None if _NO & {*b} else _put(rng, b, tables.above, a)
    return new and _less(rng, a, b, new)


def _alike(tables, rng, a, b):
    new = _put(rng, b, tables.alike)
    return new and (a, new, _ENTAILMENT)


def _exchanged(tables, rng, a, b):
    """Two colours, or two numbers, of two things change places; joined by a word, they say the same."""
    kind = tables.slots[rng.choice('ci')]
    places = [i for i, word in enumerate(b) if word in kind]
    if len(places) != 2 or b[places[0]] == b[places[1]] or _NO & {*b}:
        return None
    i, j = places
    if j == i + 1 or b[i + 1 : i + 2] == b[j + 1 : j + 2]:
        return None
    new = _articles([*b[:i], b[j], *b[i + 1 : j], b[i], *b[j + 1 :]])
    return a, new, _ENTAILMENT if j == i + 2 else _CONTRADICTION


def _denied(tables, rng, a, b):
    no = _not(rng, b)
    if not no:
        return None
    if a != b:
        return a, no, _CONTRADICTION
    draw = rng.random()
    if draw < 0.6:
        return rng.choice([(b, no, _CONTRADICTION), (no, b, _CONTRADICTION), (no, no, _ENTAILMENT)])
    table = rng.choice([tables.others, tables.others, tables.above])
    new = _put(rng, b, table)
    denied = new and _not(rng, new)
    if not denied:
        return None
    if table is tables.above:
        return rng.choice([(denied, no, _ENTAILMENT), (no, denied, _NEUTRAL), (b, denied, _CONTRADICTION)])
    return rng.choice([(b, denied, _ENTAILMENT), (no, new, _NEUTRAL), (no, denied, _NEUTRAL)])


def _across(tables, rng, premise, hypothesis, label):
    """A pair's hypothesis denied, or a pair turned round."""
    if label == _ENTAILMENT and len(premise) > len(hypothesis) + 3 and rng.random() < 0.5:
        return hypothesis, premise, _NEUTRAL
    if label == _CONTRADICTION and rng.random() < 0.4:
        return hypothesis, premise, _CONTRADICTION
    no = _not(rng, hypothesis)
    return no and (premise, no, {_ENTAILMENT: _CONTRADICTION, _CONTRADICTION: _ENTAILMENT}.get(label, label))


def _adjective(tables, rng, a, b):
    """A modifier dropped follows, one added does not."""
    places = [i for i, word in enumerate(b[:-2]) if word in tables.adjectives and i and b[i - 1] not in _BE]
    if not places or _NO & {*b}:
        return None
    place = rng.choice(places)
    return _less(rng, a, b, _articles([*b[:place], *b[place + 1 :]]))


def _shorter(tables, rng, a, b):
    """A phrase at the end dropped follows, one added does not."""
    verb = next((i for i, word in enumerate(b) if word in _BE), len(b))
    places = [i for i, word in enumerate(b) if word in tables.slots['links'] and i > verb + 1]
    if not places or _NO & {*b}:
        return None
    return _less(rng, a, b, [*b[: rng.choice(places)], '.'])


def _counted(tables, rng, a, b):
    """The subject with another quantifier: nobody, no, some, all, most."""
    verb = next((i for i, word in enumerate(b) if word in ('is', 'are')), None)
    if a != b or not verb or verb > 4 or _NO & {*b}:
        return None
    rest, bare = b[verb:], b[1:verb]
    if rest[0] == 'is' and b[0] in ('a', 'an', 'the') and b[1] in tables.slots['persons']:
        nobody = rng.choice(['nobody', 'no one']) if rng.random() < 0.7 else 'nobody'
        if rng.random() < 0.3:
            return b, ['someone', *rest], _ENTAILMENT
        return (*(b, [*nobody.split(), *rest])[:: rng.choice([1, -1])], _CONTRADICTION)
    if rest[0] != 'are' or b[0] not in tables.slots['many'] or bare[:1] == ['of'] or 'and' in bare:
        return None
    draw = rng.random()
    if draw < 0.4:
        return (*(b, ['no', *bare, *rest])[:: rng.choice([1, -1])], _CONTRADICTION)
    if draw < 0.6 and b[0] != 'some':
        return b, ['some', *bare, *rest], _ENTAILMENT
    every = ['all', 'the', *bare, *rest]
    if draw < 0.8:
        return every, ['some', 'of', 'the', *bare, *rest], _ENTAILMENT
    return ['some', *rng.choice([[], ['of', 'the']]), *bare, *rest], every, _NEUTRAL


_CHANGES = (_same, _other, _wider, _alike, _exchanged, _denied, _across, _adjective, _shorter, _counted)
_WEIGHTS = (2, 30, 16, 8, 120, 30, 14, 20, 16, 40)


# --- frames ---------------------------------------------------------------------------------------


def _fill(tables, rng, frames):
    """One of the frames, with the same words in the gaps of both sentences."""
    *pair, label = rng.choice(frames)
    values = {}
    for names in ('ABC', 'tu', 'D', 'ij', 'cd', 'lk'):
        values.update(zip(names, rng.sample(tables.slots[names[0]], len(names))))
    values.update((name + 's', plural(values[name])) for name in 'ABCtu')
    for name, other in ('mn', 'ab'):
        values.update(zip((name, other), rng.sample(rng.choice(tables.slots[name]).split('-'), 2)))
    values.update(zip('hgH', rng.choice(tables.kinds)))
    values.update(zip('ow', rng.sample(rng.choice(tables.slots['o']).split('='), 2)))
    for name, forms in zip('vxy', (rng.choice(tables.forms['v']), *rng.sample(tables.forms['x'], 2))):
        values.update((name + ending, form) for ending, form in zip(('', 's', 'ing', 'ed', 'ed2'), forms))
    if rng.random() < 0.3:  # the same in the past
        pair = [re.sub(r'\b(is|are)(?= (not )?\{[xy]ing)', lambda m: _PAST[m[1]], one) for one in pair]
    if rng.random() < 0.1 and '{l}' not in ''.join(pair):
        where = rng.choice(['in the {l} ', 'at the {l} '])
        pair = [where + one for one in pair]
    # Twice: what is put into a gap may have one itself.
    first, second = (_articles(one.format(**values).format(**values).split()) for one in pair)
    # A phrase at an end belongs to the whole of a sentence that is one clause and tells of no time or place.
    if rng.random() < 0.3 and not {*tables.slots['clauses']} & {*first, *second}:
        words = rng.choice(tables.slots['p'][0].split('=')).split()
        first = _at_an_end(rng, first, words)
        if (label == _ENTAILMENT and _NO & {*first}) or rng.random() < 0.7:  # else it is left out
            second = _at_an_end(rng, second, words)
    return first, second, label


def _at_an_end(rng, sentence, words):
    return [*words, *sentence] if rng.random() < 0.5 else [*sentence[:-1], *words, '.']
