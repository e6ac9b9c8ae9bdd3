"""Write the challenge set: pairs in which one word, or the order of the words, decides.

What it does: fills templates, draws as many pairs of each phenomenon, and writes `challenge/dev.tsv` and
`challenge/test.tsv`, the same bytes each time. The last column says why the label holds. What it does not:
use a template or a content word of `bertnli/corpora/contrasts.tsv`, from which training text is made
(tests/corpora/test_challenge.py); only words that are the phenomenon itself (CLOSED) are in both.

    python data/make_challenge.py [--out DIR]

Conventions, those of SNLI: both sentences tell of one and the same scene, at one and the same time. So `nine
nurses` excludes `seven nurses`, and another place, colour or deed of the one who is told of is excluded.
"""

# ruff: noqa: E501 (a template stays in one line)
import argparse
import csv
import random
from pathlib import Path

SEED, EACH = 20, 72  # pairs of each phenomenon
E, C, N = 'entailment', 'contradiction', 'neutral'

# Words without which a phenomenon cannot be said, and the words that hold sentences together.
CLOSED = frozenset(
    """a an the this that these those is are was were be been being has have had do does did not n't no nobody none
    neither nor never some all every most many few several both each any only one two someone everyone everybody and
    or but while who which with without of to in on at by from for as than more less before after already yet still
    longer just soon later earlier inside outside behind front left right above under below near it he she they his
    her their there will would can could fake toy former artificial real pretend stuffed together alone because so
    very when if , . ! `` '' 's another other first last now than beside next person people over about no-one same only
    animal instrument vehicle fruit drink food vegetables sport""".split()
)

PEOPLE = 'nurse lawyer pilot clown chef sailor judge actor waiter tourist queen monk captain priest'.split()
PEOPLE += 'author professor mayor guard hunter'.split()
PLACES = 'garden airport theater bakery factory bank stadium castle hotel lobby courtyard harbor barn'.split()
DEEDS = (
    'rowing skating sewing knitting camping hiking juggling napping shopping smoking praying bowling'.split()
)
ROLES = [  # what is done by one to the other, and not back
    ('rescues', 'rescued'), ('warns', 'warned'), ('lifts', 'lifted'), ('attacks', 'attacked'), ('visits', 'visited'),
    ('greets', 'greeted'), ('interviews', 'interviewed'), ('admires', 'admired'),
]  # fmt: skip
GIVEN = [('offers', 'offered'), ('passes', 'passed')]
THINGS = 'umbrella ladder suitcase lamp mirror basket pillow candle barrel helmet'.split()
COLOURS = 'purple orange pink gray'.split()
NUMBERS = 'seven eight nine eleven twelve twenty'.split()
OPPOSITES = [  # of people
    ('healthy', 'sick'), ('beautiful', 'ugly'), ('famous', 'unknown'), ('busy', 'lazy'), ('calm', 'nervous'),
    ('brave', 'afraid'), ('friendly', 'hostile'), ('guilty', 'innocent'), ('relaxed', 'nervous'),
]  # fmt: skip
OPPOSITE_THINGS = [
    ('river', 'narrow', 'wide'), ('pond', 'deep', 'shallow'), ('trail', 'smooth', 'rough'),
    ('ring', 'cheap', 'expensive'), ('bridge', 'safe', 'dangerous'), ('peach', 'sweet', 'bitter'),
    ('castle', 'ancient', 'modern'), ('suitcase', 'heavy', 'light'),
]  # fmt: skip
OPPOSITE_DEEDS = [
    ('is arriving', 'is departing'), ('accepted the offer', 'refused the offer'),
    ('is attacking', 'is defending'), ('is constructing a wall', 'is destroying a wall'),
    ('remembered the song', 'forgot the song'), ('praised the show', 'criticized the show'),
    ('lost the key', 'found the key'), ('borrowed the key', 'lent the key'),
]  # fmt: skip
KINDS = {  # things of a kind: a sentence with a gap, the word above with its article, the things
    'animals': ('The {A} cares for {x} in the {p}', 'an animal', 'a sheep,an elephant,a donkey,a turtle,a tiger,a wolf'),
    'instruments': ('A {A} in the {p} practices on {x}', 'an instrument', 'a harp,a cello,a banjo,a flute,an organ,a tuba'),
    'vehicles': ('The {A} waited for {x} at the {p}', 'a vehicle', 'a van,a helicopter,an ambulance,a scooter,a jeep'),
    'fruit': ('A {A} holds {x} in the {p}', 'a fruit', 'a pear,a peach,a cherry,a watermelon,a pineapple,a plum'),
    'drinks': ('The {A} ordered {x} at the {p}', 'a drink', 'juice,lemonade,soda,whiskey,champagne'),
    'food': ('The {A} enjoyed {x} near the {p}', 'food', 'noodles,cookies,steak,sushi,cheese,pie,pancakes'),
    'vegetables': ('A {A} grows {x} behind the {p}', 'vegetables', 'corn,cabbage,peppers,beans,lettuce'),
    'sports': ('The {A} practices {x} near the {p}', 'a sport', 'cricket,lacrosse,softball,polo,badminton,rugby'),
}  # fmt: skip
LANGUAGES, STUFF = (
    'russian spanish korean greek turkish swedish'.split(),
    'brick marble bamboo concrete'.split(),
)
SYNONYMS = [
    ('At the {p} the {A} is sick', 'At the {p} the {A} is ill'), ('The {A} got a gift', 'The {A} got a present'),
    ('A {A} made a film about the {p}', 'A {A} made a movie about the {p}'),
    ('The {A} heard a strange noise', 'The {A} heard an odd noise'),
    ('There is a rug in the {p}', 'There is a carpet in the {p}'),
    ('The {A} knits a sweater', 'The {A} knits a pullover'), ('The {A} found a trail to the {p}', 'The {A} found a path to the {p}'),
    ('The {A} is near the ocean', 'The {A} is near the sea'), ('The {A} crossed a stream', 'The {A} crossed a creek'),
    ('The {A} noticed a ship', 'The {A} noticed a vessel'), ('An enormous {p} is near the harbor', 'A massive {p} is near the harbor'),
    ('The {A} is wearing trousers', 'The {A} is wearing pants'), ('The attorney went to the {p}', 'The lawyer went to the {p}'),
]  # fmt: skip
MADE = 'rifle passport diamond beard tooth leg coin spider lawn'.split()  # what there is a false one of

# ---------------------------------------------------------------------------------------------
# Phenomena: a template is (premise, hypothesis, label, why). {A} and {B} are two people, {p} and {q} two
# places, {x} and {y} two deeds, {t} and {u} two things, {c} and {d} colours, {i} and {j} numbers.
# ---------------------------------------------------------------------------------------------

NOT_SAID = 'the premise does not say so'
ONE_SCENE = 'both sentences tell of the same one'


def turned(templates):
    """Each template, and premise and hypothesis exchanged."""
    return [pair for p, h, *rest in templates for pair in ((p, h, *rest), (h, p, *rest))]


SIMPLE = {
    'negation in the premise': [
        ('The {A} in the {p} was not {x}', 'The {A} in the {p} was {x}', C, 'what is denied is said'),
        ("A {A} near the {p} isn't {x}", 'A {A} near the {p} is {x}', C, 'what is denied is said'),
        ('The {A} does not have a {t} at the {p}', 'The {A} has a {t} at the {p}', C, 'what is denied is said'),
        ('At the {p} no {A} was {x}', 'At the {p} a {A} was {x}', C, 'there was none'),
        ('The {A} in the {p} was not {x}', 'The {A} in the {p} was {y}', N, 'who does not do one thing may do another'),
        ('At the {p} the {A} with the {t} is not {x}', 'The {A} has a {t}', E, 'the denial is about something else'),
    ],
    'negation in the hypothesis': [
        ('The {A} in the {p} was {x}', 'The {A} in the {p} was not {x}', C, 'what is said is denied'),
        ('A {A} near the {p} is {x}', "A {A} near the {p} isn't {x}", C, 'what is said is denied'),
        ('The {A} has a {t} at the {p}', 'The {A} has no {t} at the {p}', C, 'what is said is denied'),
        ('At the {p} a {A} was {x}', 'No {A} was {x} at the {p}', C, 'one was'),
        ('The {A} at the {p} is {x}', 'The {A} at the {p} is not {y}', E, 'one does one thing at a time'),
        ('The {A} was {x} at the {p}', 'The {B} was not {x} at the {p}', N, NOT_SAID),
    ],
    'negation in both': [
        ('The {A} was not {x} in the {p}', 'In the {p} the {A} was not {x}', E, 'the same is denied'),
        ('A {A} in the {p} is not {x}', "A {A} in the {p} isn't {x}", E, 'the same is denied'),
        ('The {A} does not have a {t} or a {u}', 'The {A} does not have a {u}', E, 'both are denied'),
        ('The {A} has not been {x} at the {p}', 'The {A} has not been {y} at the {p}', N, 'denying one says nothing of the other'),
        ('The {A} at the {p} was not {x}', 'The {B} at the {p} was not {x}', N, 'denying it of one says nothing of the other'),
        ('Neither the {A} nor the {B} was {x}', 'The {B} was not {x}', E, 'it is denied of both'),
    ],
    'quantifiers': [
        ('All of the {As} at the {p} were {x}', 'Some {As} at the {p} were {x}', E, 'all are some'),
        ('Some {As} at the {p} were {x}', 'All of the {As} at the {p} were {x}', N, 'some need not be all'),
        ('Nobody was {x} at the {p}', 'Several {As} were {x} at the {p}', C, 'nobody excludes everybody'),
        ('Several {As} were {x} at the {p}', 'Nobody was {x} at the {p}', C, 'somebody was'),
        ('Most {As} in the {p} have a {t}', 'Every {A} in the {p} has a {t}', N, 'most need not be all'),
        ('Most {As} in the {p} have a {t}', 'No {A} in the {p} has a {t}', C, 'most are some'),
        ('Every {A} in the {p} has a {t}', 'Most {As} in the {p} have a {t}', E, 'all are most'),
        ('Not every {A} was {x} at the {p}', 'Every {A} was {x} at the {p}', C, 'what is denied is said'),
        ('None of the {As} has a {t}', 'A few of the {As} have a {t}', C, 'none excludes a few'),
    ],
    'numbers': [
        *turned([('There were {i} {As} {x} at the {p}', 'There were {j} {As} {x} at the {p}', C, 'another number of the same')]),
        *turned([('A {A} with {i} {ts} waited', 'A {A} with {j} {ts} waited', C, 'another number of the same')]),
        ('The {A} noticed {i} {ts} in the {p}', 'The {A} noticed some {ts} in the {p}', E, 'so many are some'),
        ('The {A} noticed some {ts} in the {p}', 'The {A} noticed {i} {ts} in the {p}', N, 'how many is not said'),
        ('{I} {As} went to the {p}', 'More than one {A} went to the {p}', E, 'so many are more than one'),
        ('{I} {As} went to the {p}', 'Just one {A} went to the {p}', C, 'so many are more than one'),
        ('There were {i} {As} {x} at the {p}', 'At the {p} there were {i} {As} {x}', E, 'the same number'),
    ],
    'colours': [
        *turned([('The {A} at the {p} is holding a {c} {t}', 'The {A} at the {p} is holding a {d} {t}', C, 'another colour of the same thing')]),
        *turned([('There is a {c} {t} at the {p}', 'The {t} at the {p} is {d}', C, 'another colour of the same thing')]),
        ('There is a {c} {t} at the {p}', 'The {t} at the {p} is {c}', E, 'the same colour'),
        ('The {t} in the {p} is {c}', 'The {t} in the {p} is not {d}', E, 'it has one colour'),
        ('The {A} described the {t}', 'The {A} described the {c} {t}', N, 'its colour is not said'),
    ],
    'roles': [
        *turned([('The {A} {vs} the {B} at the {p}', 'At the {p} the {B} {vs} the {A}', C, 'who does it to whom is turned round')]),
        ('The {A} in the {p} {vs} the {B}', 'The {B} is {ved} by the {A} in the {p}', E, 'the same, said in the passive'),
        ('A {A} was {ved} by a {B} in the {p}', 'A {B} {ved} a {A} in the {p}', E, 'the same, said in the active'),
        ('A {A} was {ved} by a {B} in the {p}', 'A {A} {ved} a {B} in the {p}', C, 'who does it to whom is turned round'),
        ('The {A} {gs} the {B} a {t} at the {p}', 'The {B} {gs} the {A} a {t} at the {p}', C, 'who gives is turned round'),
        ('The {A} {ged} the {B} a {t} at the {p}', 'The {A} {ged} a {t} to the {B}', E, 'the same in another order'),
        ('A {A} and a {B} {ved} a monk', 'A monk {ved} the {B}', C, 'who does it to whom is turned round'),
    ],
    'whose attribute': [
        ('A {A} has a {t} and a {B} has a {u} in the {p}', 'A {A} in the {p} has a {u} and a {B} has a {t}', C, 'what they have is exchanged'),
        ('A {A} has a {t} and a {B} has a {u} in the {p}', 'In the {p} a {B} has a {u}', E, 'it is said'),
        ('The {c} {t} is near the {d} {u}', 'The {d} {t} is near the {c} {u}', C, 'the colours are exchanged'),
        ('The {c} {t} is near the {d} {u}', 'The {u} is {d}', E, 'it is said'),
        ('The {A} was {x} at the {p} when the {B} was {y}', 'The {B} was {x} at the {p}', C, 'the other one was'),
        ('The {A} was {x} at the {p} when the {B} was {y}', 'The {B} was {y} when the {A} was {x}', E, 'the same in another order'),
        ("The {A}'s {t} at the {p} was {c}", "The {B}'s {t} at the {p} was {c}", N, NOT_SAID),
        ('The {m} {A} met the {n} {B} at the {p}', 'The {n} {A} met the {m} {B} at the {p}', C, 'what they are is exchanged'),
    ],
    'place': [
        *turned([('A {A} was hiding outside the {p}', 'A {A} was hiding inside the {p}', C, 'nobody is inside and outside at once')]),
        *turned([('The {t} in the {p} is under the {u}', 'The {t} in the {p} is above the {u}', C, 'the places exclude each other')]),
        *turned([('The {A} was posing in front of the {p}', 'The {A} was posing behind the {p}', C, 'the places exclude each other')]),
        ('In the {p} the {t} is behind the {u}', 'In the {p} the {u} is in front of the {t}', E, 'the same, seen from the other'),
        ('In the {p} the {t} is above the {u}', 'In the {p} the {u} is below the {t}', E, 'the same, seen from the other'),
        ('The {A} waited in the {p} with a {t}', 'The {A} waited in the {q} with a {t}', C, 'one is in one place at a time'),
        ('A {A} waited beside the {p}', 'A {A} waited inside the {p}', C, 'beside it is not in it'),
    ],
    'modifiers dropped': [
        ('A {m} {A} was {x} at the {p}', 'A {A} was {x} at the {p}', E, 'less is said'),
        ('The {A} found a {c} {t} at the {p}', 'The {A} found a {t} at the {p}', E, 'less is said'),
        ('The {A} with the {t} was {x} at the {p}', 'The {A} was {x} at the {p}', E, 'less is said'),
        ('The {A} was {x} beside the {p}', 'The {A} was {x}', E, 'less is said'),
        ('The {A} waited patiently at the {p}', 'The {A} waited at the {p}', E, 'less is said'),
    ],
    'modifiers added': [
        ('A {A} was {x} at the {p}', 'A {m} {A} was {x} at the {p}', N, NOT_SAID),
        ('The {A} found a {t} at the {p}', 'The {A} found a {c} {t} at the {p}', N, NOT_SAID),
        ('The {A} was {x} at the {p}', 'The {A} with the {t} was {x} at the {p}', N, NOT_SAID),
        ('The {A} was {x}', 'The {A} was {x} beside the {p}', N, NOT_SAID),
        ('The {A} waited at the {p}', 'The {A} waited patiently at the {p}', N, NOT_SAID),
    ],
    'modifiers that take back': [
        ('The {A} showed a fake {f} at the {p}', 'The {A} showed a real {f} at the {p}', C, 'what is fake is not real'),
        ('The {f} in the {p} is artificial', 'The {f} in the {p} is real', C, 'what is artificial is not real'),
        ('The {A} found a real {f} at the {p}', 'The {A} found a fake {f} at the {p}', C, 'what is real is not fake'),
        ('A former {A} went to the {p}', 'The one who went to the {p} is a {A} now', C, 'who was one is none now'),
        ('The {A} at the {p} has a toy {f}', 'The {f} at the {p} is not real', E, 'a toy is no real one'),
    ],
    'conjunction dropped': [
        ('The {A} and the {B} were {x} at the {p}', 'The {B} was {x} at the {p}', E, 'what holds of both holds of one'),
        ('The {A} was {x} and {y} at the {p}', 'The {A} was {y} at the {p}', E, 'who does both does one'),
        ('This {p} has a {t} and a {u}', 'This {p} has a {u}', E, 'who has both has one'),
        ('The {A} or the {B} was {x} at the {p}', 'The {A} was {x} at the {p}', N, 'it may be the other'),
        ('There is a {t} or a {u} in the {p}', 'There is a {t} in the {p}', N, 'it may be the other'),
    ],
    'conjunction added': [
        ('The {B} was {x} at the {p}', 'The {A} and the {B} were {x} at the {p}', N, NOT_SAID),
        ('The {A} was {y} at the {p}', 'The {A} was {x} and {y} at the {p}', N, NOT_SAID),
        ('This {p} has a {u}', 'This {p} has a {t} and a {u}', N, NOT_SAID),
        ('The {A} was {x} at the {p}', 'The {A} or the {B} was {x} at the {p}', E, 'one of them is enough'),
    ],
    'time': [
        ('The {A} visited the {p} before the {q}', 'The {A} visited the {p} after the {q}', C, 'the order is turned round'),
        ('The {A} met the {B} after visiting the {p}', 'The {A} met the {B} before visiting the {p}', C, 'the order is turned round'),
        ('The {A} departed before the {B} in the {p} finished', 'The {B} in the {p} finished after the {A} departed', E, 'the same, seen from the other'),
        ('The {A} at the {p} finished after the {B} departed', 'The {B} departed after the {A} at the {p} finished', C, 'the order is turned round'),
        ('The {A} already visited the {p}', 'The {A} did not visit the {p} yet', C, 'already excludes not yet'),
        ('The {A} has not finished yet at the {p}', 'The {A} has already finished at the {p}', C, 'not yet excludes already'),
        ('The {A} is still {x} in the {p}', 'The {A} is {x} in the {p}', E, 'what lasts is so'),
        ('The {A} in the {p} is no longer {x}', 'The {A} in the {p} is still {x}', C, 'what is over does not last'),
        ('The {A} will visit the {p} soon', 'The {A} has already visited the {p}', C, 'soon is not already'),
    ],
    'shared words': [
        ('The {A} beside the {B} was {x} at the {p}', 'The {B} was {x} at the {p}', N, 'it is said of the other one'),
        ('The {A} talked about the {B} who was {x}', 'The {A} was {x}', N, 'it is said of the other one'),
        ('The {A} imagined that the {B} was {x} near the {p}', 'The {B} was {x} near the {p}', N, 'what one imagines need not be'),
        ('When the {A} visits the {p} , the {B} is {x}', 'The {B} visits the {p}', N, NOT_SAID),
        ('From the {p} the {A} wrote to the {B}', 'From the {p} the {B} wrote to the {A}', N, NOT_SAID),
        ('The {A} wonders if the {B} is at the {p}', 'The {B} is at the {p}', N, 'what one wonders need not be'),
        ('A {A} described the {t} of the {B}', 'The {B} described a {t}', N, NOT_SAID),
    ],
}  # fmt: skip


def antonyms(rng):
    for a, b in OPPOSITES:
        a, b = rng.sample((a, b), 2)
        yield f'The {a} {{A}} was at the {{p}}', f'The {{A}} at the {{p}} was {b}', C, 'opposites'
        yield f'The {{A}} at the {{p}} seems {a}', f'The {{A}} at the {{p}} seems {b}', C, 'opposites'
    for thing, a, b in OPPOSITE_THINGS:
        yield f'The {{A}} went to a {a} {thing}', f'The {thing} was {b}', C, 'opposites'
        yield (
            f'The {{A}} says that this {thing} is {b}',
            f'The {{A}} says that this {thing} is {a}',
            C,
            'opposites',
        )
    for a, b in OPPOSITE_DEEDS:
        yield f'At the {{p}} the {{A}} {a}', f'At the {{p}} the {{A}} {b}', C, 'deeds that exclude each other'


def _things(rng):
    for kind, (sentence, above, things) in KINDS.items():
        for thing in things.split(','):
            yield kind, sentence, above, thing, rng.choice([one for one in things.split(',') if one != thing])


def co_hyponyms(rng):
    for kind, sentence, _, one, other in _things(rng):
        yield sentence.replace('{x}', one), sentence.replace('{x}', other), C, f'another of the {kind}'
    for word, words in (
        ('The {A} at the {p} speaks ?', LANGUAGES),
        ('Behind the {p} there is a ? wall', STUFF),
    ):
        for one in words:
            other = rng.choice([word for word in words if word != one])
            yield word.replace('?', one), word.replace('?', other), C, ONE_SCENE
    for one in DEEDS:
        other = rng.choice([deed for deed in DEEDS if deed != one])
        yield (
            f'A {{A}} is {one} at the {{p}}',
            f'A {{A}} is {other} at the {{p}}',
            C,
            'one does one thing at a time',
        )


def hypernyms_up(rng):
    for kind, sentence, above, one, _ in _things(rng):
        yield sentence.replace('{x}', one), sentence.replace('{x}', above), E, f'it is one of the {kind}'
    for one in DEEDS:
        yield (
            f'A {{A}} is {one} at the {{p}}',
            f'A person is {one} at the {{p}}',
            E,
            'who has a profession is a person',
        )


def hypernyms_down(rng):
    for premise, hypothesis, _, _ in hypernyms_up(rng):
        yield hypothesis, premise, N, 'which one is not said'


def synonyms(rng):
    for a, b in SYNONYMS:
        yield a, b, E, 'two words for the same'
        yield b, a, E, 'two words for the same'


FROM_TABLES = {
    'antonyms': antonyms,
    'co-hyponyms': co_hyponyms,
    'hypernyms, up': hypernyms_up,
    'hypernyms, down': hypernyms_down,
    'synonyms': synonyms,
}


def filled(rng, premise, hypothesis):
    """Both sentences with the same words in their gaps, articles and beginnings as they should be."""
    values = {}
    for names, words in (
        ('AB', PEOPLE[:]),
        ('pq', PLACES),
        ('xy', DEEDS),
        ('tu', THINGS),
        ('cd', COLOURS),
        ('ij', NUMBERS),
    ):
        values.update(zip(names, rng.sample(words, 2)))
    if 'monk' in premise:
        values.update(zip('AB', rng.sample([one for one in PEOPLE if one != 'monk'], 2)))
    (vs, ved), (gs, ged) = rng.choice(ROLES), rng.choice(GIVEN)
    m, n = rng.sample(rng.choice(OPPOSITES[:-2]), 2)
    m, n = (word if word != 'afraid' else 'scared' for word in (m, n))
    values.update(vs=vs, ved=ved, gs=gs, ged=ged, m=m, n=n, f=rng.choice(MADE), I=values['i'].capitalize())
    values.update((name + 's', values[name] + 's') for name in 'ABtu')
    return [_articles(one.format(**values)) + '.' for one in (premise, hypothesis)]


def _articles(text):
    words = text.split()
    for i, after in enumerate(words[1:]):
        if words[i] in ('a', 'A', 'an'):
            words[i] = words[i][0] + (
                'n' if after[0] in 'aeio' or after[:2] == 'um' or after in ('ugly', 'unknown') else ''
            )
    text = ' '.join(words).replace(' ,', ',')
    return text[0].upper() + text[1:]


def typed(rng, pairs):
    """Pairs of other phenomena, typed otherwise."""
    ways = [
        (lambda text: text.rstrip('.'), 'no full stop'),
        (str.upper, 'capitals'),
        (str.lower, 'no capitals'),
        (lambda text: text.rstrip('.') + '!', 'another mark'),
        (lambda text: f'"{text}"', 'quotes'),
        (lambda text: text.replace(' ', '  '), 'blanks'),
    ]
    for i, (premise, hypothesis, label, why) in enumerate(pairs):
        way, name = ways[i % len(ways)]
        both = i // len(ways) % 2
        yield way(premise) if both else premise, way(hypothesis), label, f'{why}; {name}'


def challenge():
    """{phenomenon: pairs}, each (premise, hypothesis, label, why)."""
    rng, found = random.Random(SEED), {}
    for name in [*SIMPLE, *FROM_TABLES]:
        templates = SIMPLE.get(name) or list(FROM_TABLES[name](rng))
        rng.shuffle(templates)
        pairs, turn = {}, 0
        while len(pairs) < EACH:
            premise, hypothesis, label, why = templates[turn % len(templates)]
            pairs[tuple(filled(rng, premise, hypothesis))] = label, why
            turn += 1
        found[name] = rng.sample([(*pair, *rest) for pair, rest in pairs.items()], EACH)
    rows = [row for pairs in found.values() for row in pairs]
    found['typed otherwise'] = list(typed(rng, rng.sample(rows, EACH)))
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=Path(__file__).parent)
    out = parser.parse_args(argv).out / 'challenge'
    out.mkdir(parents=True, exist_ok=True)
    found = challenge()
    for half, split in enumerate(('dev', 'test')):
        with open(out / f'{split}.tsv', 'w', encoding='utf-8', newline='') as file:
            writer = csv.writer(
                file, delimiter='\t', quoting=csv.QUOTE_NONE, quotechar=None, lineterminator='\n'
            )
            writer.writerow(['phenomenon', 'premise', 'hypothesis', 'label', 'why'])
            writer.writerows([name, *row] for name, rows in found.items() for row in rows[half::2])


if __name__ == '__main__':
    main()
