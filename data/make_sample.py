"""Write the embedded sample: a WikiText-like corpus and an SNLI-like one, from one seeded grammar.

What it does: draws small scenes (who does what, where, why), says them as captions, pairs them so
that the label follows from the word tables below, and writes six files, the same bytes each time.
What it does not: copy anything, need anything beyond the standard library, or read any other file.

    python data/make_sample.py [--out DIR]

How a pair comes about: draw a hypothesis without looking at any label. Then build three premises
for it, one for each label, each by changing one to three slots of the hypothesis. So the three
labels share every hypothesis, and the hypothesis alone can say nothing about the label. `judge`
compares two scenes slot by slot, one short function for each phenomenon, and knows no drawing.
"""

import argparse
import os
import random
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

SEED = 20
ENTAILMENT, CONTRADICTION, NEUTRAL = LABELS = ('entailment', 'contradiction', 'neutral')
PAIRS = {'train': 12_000, 'dev': 1_000, 'test': 1_000}
UNDECIDED = {'train': 60, 'dev': 12, 'test': 12}  # rows with gold label '-', on top of PAIRS
WIKI_CHARACTERS = {'train': 360_000, 'valid': 10_000, 'test': 10_000}
HEADER = (
    'gold_label sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse '
    'sentence1 sentence2 captionID pairID label1 label2 label3 label4 label5'
).split()

# ---------------------------------------------------------------------------------------------
# Data tables: the words and what follows from what
# ---------------------------------------------------------------------------------------------

# What is more general, and what is next below it. A path upwards is an entailment, downwards it is neutral.
CHILDREN_OF = {
    'being': 'person animal',
    'person': 'man woman child',
    'child': 'boy girl',
    'man': 'king',
    'woman': 'queen',
    'animal': 'dog cat horse',
    'dog': 'puppy',
    'cat': 'kitten',
    'horse': 'pony',
    'fruit': 'pear plum apple',
    'vehicle': 'car bus truck',
    'garment': 'hat coat scarf',
    'place': 'open building',
    'open': 'park field street',
    'building': 'store museum school',
    'move': 'walk run',
    'walk': 'stroll',
    'run': 'jog',
    'sleep': 'nap',
    'small': 'tiny',
    'red': 'crimson',
}
PARENT = {word: above for above, words in CHILDREN_OF.items() for word in words.split()}
# Below these words the branches exclude each other; below "garment" they do not.
PARTITIONS = frozenset('being person child animal fruit vehicle place open building'.split())
YOUNG_ANIMALS = frozenset(('puppy', 'kitten'))  # the noun implies the age
CHILDREN = frozenset(('child', 'boy', 'girl'))  # take no adjective of age

PEOPLE = 'person man woman child boy girl king queen'.split()
ANIMALS = 'animal dog cat horse puppy kitten pony'.split()
PLURAL = {
    **{'person': 'people', 'child': 'children', 'man': 'men', 'woman': 'women'},
    **{word: word + 's' for word in 'boy girl king queen animal dog cat horse'.split()},
    **{'puppy': 'puppies'},
}
NUMBERS = ('two', 'three', 'four', 'some', 'no')

# Adjectives of one row exclude each other (but for the parents above); of two rows they may meet.
PEOPLE_ADJECTIVES = (
    ('old', 'young'),
    ('happy', 'sad'),
)
ANIMAL_ADJECTIVES = (
    ('old', 'young'),
    ('big', 'small', 'tiny'),
    ('black', 'white', 'brown'),
)
# word -> its row
DIMENSION = {word: row for row in PEOPLE_ADJECTIVES + ANIMAL_ADJECTIVES for word in row}
COLOURS = ('red', 'blue', 'green', 'crimson')

POSTURES = ('sit', 'stand', 'walk', 'run', 'sleep')  # one at a time
VOICES = ('sing', 'smile')  # go with sitting, standing, walking
ACTIONS = 'sit stand walk run sleep move stroll jog nap sing smile'.split()
ANIMAL_ACTIONS = 'sit stand walk run sleep move nap'.split()
# Pairs of actions that nobody does at once, beyond POSTURES.
EXCLUSIVE_ACTIONS = frozenset(
    frozenset((one, other))
    for one, others in (('move', 'sit stand sleep'), ('sing', 'sleep'))
    for other in others.split()
)
PURPOSES = ('for the fun', 'for the money', 'for a prize')
PURPOSE_ACTIONS = frozenset('walk run jog sing'.split())
PLACES = 'open building park field street store museum school'.split()

# kind of thing -> (things, what is done to them, their colours)
THINGS = {
    'fruit': ('fruit pear plum apple', 'eat wash own', 'red blue green'),
    'vehicle': ('vehicle car bus truck', 'drive wash own', 'red blue green'),
    'garment': ('hat coat scarf', 'wear wash own', ' '.join(COLOURS)),
}
KIND = {thing: kind for kind, row in THINGS.items() for thing in row[0].split()}

# What swapping the two people does: undoes, keeps or leaves open what was said.
ONE_WAY = ('push', 'chase')
MUTUAL = ('dance with', 'sit near')
OPEN = ('watch', 'help')
ANIMAL_ROLES = ('push', 'chase', 'sit near', 'watch')
SWAP_LABEL = {
    **dict.fromkeys(ONE_WAY, CONTRADICTION),
    **dict.fromkeys(MUTUAL, ENTAILMENT),
    **dict.fromkeys(OPEN, NEUTRAL),
}

LONG = (
    'A man who owns a hat , a coat , a scarf , a car , a bus , a truck , a dog , a cat , a horse , '
    'a puppy , a kitten , a pony , a pear , a plum , an apple and , as the old king said to the '
    'young queen in the field on the street to the store , two black dogs , three white cats and four '
    'brown horses , but no animal that is big and no vehicle that is red , '
)
# Written by hand: hypothesis, then a premise for each label. What real data also holds: sentences
# far longer than the rest, words seen once or never, contractions that Treebank words split.
ODDITIES = {
    'train': (
        (
            'A man walks in the park .',
            (LONG + 'strolls in the park .', LONG + 'sits in the park .', LONG + 'moves .'),
        ),
        (
            'An animal sleeps in the store .',
            ('A quokka naps in the store .', 'A quokka runs in the store .', 'A quokka sleeps .'),
        ),
        (
            "The king 's horse does n't run .",
            (
                "The king 's horse ca n't run and does n't try .",
                "The king 's horse wo n't sit : it runs .",
                "The king 's horse wo n't eat .",
            ),
        ),
    ),
    'dev': (
        (
            "The girl 's dog does n't sleep .",
            (
                "The girl 's dog ca n't sleep : it runs .",
                "The girl 's dog sleeps and wo n't move .",
                "The girl 's dog does n't eat .",
            ),
        ),
    ),
    'test': (
        (
            'An animal moves in the park .',
            ('An axolotl walks in the park .', 'An axolotl sleeps in the park .', 'An axolotl walks .'),
        ),
        (
            'A man walks in the school .',
            (LONG + 'strolls in the school .', LONG + 'sits in the school .', LONG + 'moves in the school .'),
        ),
    ),
}

# ---------------------------------------------------------------------------------------------
# Scenes and how they are said
# ---------------------------------------------------------------------------------------------


class Scene(NamedTuple):
    """Who does what, where and why; an empty slot is not said."""

    nouns: tuple = ()  # one noun, or two joined by "or"
    verb: str = ''
    definite: bool = False
    number: str = ''
    owner: str = ''
    adjective: str = ''
    negated: bool = False
    thing: str = ''
    thing_adjective: str = ''
    partner: str = ''
    place: str = ''
    purpose: str = ''


def article(words):
    """['old', 'man'] -> ['an', 'old', 'man']"""
    return ['an' if words[0][0] in 'aeiou' else 'a', *words]


def third_person(verb):
    """'wash' -> 'washes', 'dance with' -> 'dances with'"""
    head, _, rest = verb.partition(' ')
    if head.endswith(('sh', 'ch', 'x', 'z')):
        head += 'es'
    elif head.endswith('y') and head[-2] not in 'aeiou':
        head = head[:-1] + 'ies'
    else:
        head += 's'
    return f'{head} {rest}'.strip()


def subject_words(scene):
    """Scene(nouns=('dog',), adjective='old') -> ['an', 'old', 'dog']"""
    if scene.number:
        return [scene.number, *scene.adjective.split(), PLURAL[scene.nouns[0]]]
    words = [*scene.adjective.split(), scene.nouns[0]]
    if scene.owner:
        words = [scene.owner, "'s", *words]
    words = ['the', *words] if scene.definite else article(words)
    for noun in scene.nouns[1:]:
        words += ['or', *article([noun])]
    return words


def say(scene):
    """A scene -> its words as the Penn Treebank splits them, full stop included."""
    words = subject_words(scene)
    if scene.negated:
        words += ['do' if scene.number else 'does', "n't"]
    bare = scene.negated or scene.number
    words += (scene.verb if bare else third_person(scene.verb)).split()
    if scene.thing:
        words += article([*scene.thing_adjective.split(), scene.thing])
    if scene.partner:
        words += article([scene.partner])
    if scene.place:
        words += ['in', 'the', scene.place]
    words += [*scene.purpose.split(), '.']
    return [words[0].capitalize(), *words[1:]]


def raw(words):
    """['A', 'man', 'does', "n't", 'run', '.'] -> "A man doesn't run." """
    text = ' '.join(words)
    for mark in (" n't", " 's", ' .', ' ,'):
        text = text.replace(mark, mark[1:])
    return text


def is_person(noun):
    return noun in PEOPLE


@cache
def subject_fits(nouns, number, adjective, owner):
    """Whether the number, the adjective and the owner suit the nouns."""
    person = is_person(nouns[0])
    if len({is_person(noun) for noun in nouns}) > 1 or (owner and person):
        return False
    if number and nouns[0] not in PLURAL:
        return False
    if adjective in ('old', 'young') and nouns[0] in CHILDREN | YOUNG_ANIMALS:
        return False
    rows = PEOPLE_ADJECTIVES if person else ANIMAL_ADJECTIVES
    return not adjective or any(adjective in row for row in rows)


def predicate_fits(scene):
    """Whether the verb suits the subject, the thing and the purpose."""
    person = is_person(scene.nouns[0])
    if scene.partner:
        if not person and scene.verb not in ANIMAL_ROLES:
            return False
        return relate_words(scene.nouns[0], scene.partner) == CONTRADICTION
    if scene.thing:
        colours = THINGS[KIND[scene.thing]][2].split()
        return person and (not scene.thing_adjective or scene.thing_adjective in colours)
    if not person and scene.verb not in ANIMAL_ACTIONS:
        return False
    if scene.purpose and scene.place:
        return False
    return not scene.purpose or scene.verb in PURPOSE_ACTIONS


def makes_sense(scene):
    subject = (scene.nouns, scene.number, scene.adjective, scene.owner)
    return subject_fits(*subject) and predicate_fits(scene)


# ---------------------------------------------------------------------------------------------
# What follows: one function for each phenomenon, premise p against hypothesis h.
# Each returns a label, or None where careful people would disagree.
# ---------------------------------------------------------------------------------------------


def lineage(word):
    """'puppy' -> ['puppy', 'dog', 'animal', 'being']"""
    path = [word]
    while path[-1] in PARENT:
        path.append(PARENT[path[-1]])
    return path


@cache
def relate_words(p, h):
    """Hypernyms and exclusive siblings in the table PARENT."""
    if h in lineage(p):
        return ENTAILMENT
    if p in lineage(h):
        return NEUTRAL
    meeting = next((word for word in lineage(p) if word in lineage(h)), None)
    if meeting == 'garment':
        return NEUTRAL  # who wears a hat may wear a scarf
    return CONTRADICTION if meeting in PARTITIONS else None


def relate_optional(p, h):
    """A modifier dropped is entailed, one added is not known."""
    if not h or p == h:
        return ENTAILMENT
    return relate_words(p, h) if p else NEUTRAL


def relate_owner(p, h):
    """A man's dog is a dog; a dog need not be a man's."""
    return relate_optional(p.owner, h.owner)


def relate_number(p, h):
    """Two dogs are some dogs; two are not three; some may be two."""
    if 'no' in (p.number, h.number) and p.number != h.number:
        return CONTRADICTION
    if p.number == h.number or h.number == 'some':
        return ENTAILMENT
    return NEUTRAL if p.number == 'some' else CONTRADICTION


def relate_adjective(p, h):
    """A tiny dog is small and not big; a puppy is young; a big dog may be old."""
    if not h.adjective or p.adjective == h.adjective:
        return ENTAILMENT
    if h.adjective in ('old', 'young') and set(p.nouns) <= YOUNG_ANIMALS:
        return ENTAILMENT if h.adjective == 'young' else CONTRADICTION
    if not p.adjective or DIMENSION[p.adjective] != DIMENSION[h.adjective]:
        return NEUTRAL
    if h.adjective in lineage(p.adjective):
        return ENTAILMENT
    return NEUTRAL if p.adjective in lineage(h.adjective) else CONTRADICTION


def relate_noun(p, h):
    """A dog is an animal; a dog or a cat is an animal, and maybe a dog; no animals, no dogs."""
    if p.number == 'no':
        return relate_words(h.nouns[0], p.nouns[0])
    labels = {relate_words(noun, h.nouns[0]) for noun in p.nouns}
    if None in labels:
        return None
    return labels.pop() if len(labels) == 1 else NEUTRAL


@cache
def relate_verbs(p, h):
    """Somebody who strolls walks and does not sit; somebody who sings may walk."""
    if h in lineage(p):
        return ENTAILMENT
    if p in lineage(h):
        return NEUTRAL
    for one in lineage(p):
        for other in lineage(h):
            postures = one != other and {one, other} <= set(POSTURES)
            if postures or frozenset((one, other)) in EXCLUSIVE_ACTIONS:
                return CONTRADICTION
    for voice, posture in ((p, h), (h, p)):
        if voice in VOICES and posture in ('sit', 'stand', 'walk'):
            return NEUTRAL
    return None


@cache
def relate_deeds(p, h):
    """What is done to a thing: who eats does not wash; who owns may do anything."""
    if h in lineage(p):
        return ENTAILMENT
    if p in lineage(h) or p == 'own' or h == 'own':
        return NEUTRAL
    return CONTRADICTION


def relate_predicate(p, h):
    """Natural logic of "not": what is denied of the wider act is denied of the narrower."""
    relate = relate_deeds if h.thing else relate_verbs
    label = relate(p.verb, h.verb)
    if not p.negated and not h.negated:
        return label
    if not p.negated:
        opposite = {ENTAILMENT: CONTRADICTION, CONTRADICTION: ENTAILMENT}
        return opposite.get(label, label)
    if relate(h.verb, p.verb) == ENTAILMENT:
        return ENTAILMENT if h.negated else CONTRADICTION
    return label and NEUTRAL


def relate_thing(p, h):
    """A car is a vehicle and no bus; a hat and a scarf may both be worn."""
    label = relate_words(p.thing, h.thing) if h.thing else ENTAILMENT
    owned = 'own' in (p.verb, h.verb)
    return None if owned and label == CONTRADICTION else label  # who owns a car may own a bus


def relate_thing_adjective(p, h):
    """A crimson hat is red, and not blue."""
    if not h.thing_adjective or h.thing_adjective in lineage(p.thing_adjective):
        return ENTAILMENT
    if not p.thing_adjective or p.thing_adjective in lineage(h.thing_adjective):
        return NEUTRAL
    return None if 'own' in (p.verb, h.verb) else CONTRADICTION


def relate_place(p, h):
    """In a park is in the open, and neither in a street nor in a building."""
    return relate_optional(p.place, h.place)


def relate_purpose(p, h):
    """A purpose is dropped freely, never guessed; two purposes may meet."""
    return ENTAILMENT if h.purpose in ('', p.purpose) else NEUTRAL


def relate_roles(p, h):
    """Two people, straight or swapped: pushing turns, dancing with does not, watching may."""
    straight = (relate_words(p.nouns[0], h.nouns[0]), relate_words(p.partner, h.partner))
    swapped = (relate_words(p.nouns[0], h.partner), relate_words(p.partner, h.nouns[0]))
    if swapped == (ENTAILMENT, ENTAILMENT):
        return SWAP_LABEL[h.verb] if p.verb == h.verb else None
    if p.verb != h.verb and straight != (ENTAILMENT, ENTAILMENT):
        return None
    if p.verb != h.verb:
        both_in = [kind for kind in (ONE_WAY, OPEN) if {p.verb, h.verb} <= set(kind)]
        return {ONE_WAY: CONTRADICTION, OPEN: NEUTRAL}[both_in[0]] if both_in else None
    if None in straight or (h.verb in MUTUAL and ENTAILMENT not in straight):
        return None
    return worst(straight)


def worst(labels):
    """One contradiction spoils the pair; otherwise one thing unknown leaves it open."""
    return next(one for one in (CONTRADICTION, NEUTRAL, ENTAILMENT) if one in labels)


# slot -> what compares it, and what it reads: where premise and hypothesis say the same, nothing is
# left to compare.
RELATIONS = {
    'owner': (relate_owner, attrgetter('owner')),
    'number': (relate_number, attrgetter('number')),
    'adjective': (relate_adjective, attrgetter('adjective')),
    'noun': (relate_noun, attrgetter('nouns')),
    'predicate': (relate_predicate, attrgetter('verb', 'negated')),
    'thing': (relate_thing, attrgetter('thing')),
    'thing_adjective': (relate_thing_adjective, attrgetter('thing_adjective')),
    'place': (relate_place, attrgetter('place')),
    'purpose': (relate_purpose, attrgetter('purpose')),
}


def judge(p, h):
    """The label of premise p and hypothesis h, or None where the tables do not decide."""
    if h.partner:
        return relate_roles(p, h)
    if len(p.nouns) > 1 and h.adjective:
        return None  # in "an old dog or a cat", is the cat old?
    reason, verdict = '', ENTAILMENT
    for slot, (relate, said) in RELATIONS.items():
        if said(p) == said(h):
            continue
        label = relate(p, h)
        if label is None or (label != ENTAILMENT and reason):
            return None  # one reason is enough, and easier to explain
        if label != ENTAILMENT:
            reason, verdict = slot, label
    return verdict if reach_of_negation_is_clear(p, h, reason, verdict) else None


def reach_of_negation_is_clear(p, h, reason, verdict):
    """Whether a "not" or "no" denies the one thing that the pair is about, and nothing else."""
    none = 'no' in (p.number, h.number)
    if not (none or p.negated or h.negated):
        return True
    for scene in (p, h):
        if (scene.negated or scene.number == 'no') and (scene.place or scene.purpose):
            return False  # does he not run, or not run there?
    if p.negated and (p.thing, p.thing_adjective) != (h.thing, h.thing_adjective):
        return False  # who washes no red car may wash a car
    if len(p.nouns) > 1:
        return False
    if none and (p.verb != h.verb or p.adjective or h.adjective):
        return False
    # One man does not run, another runs: that is no contradiction.
    return verdict != CONTRADICTION or reason in ('predicate', 'number')


# ---------------------------------------------------------------------------------------------
# Drawing: hypotheses first, then a premise for each label
# ---------------------------------------------------------------------------------------------


class Dice:
    """Chance from `random()` alone, whose stream is the same on every Python."""

    def __init__(self, *seed):
        self.random = random.Random('-'.join(map(str, seed))).random

    def chance(self, probability):
        return self.random() < probability

    def pick(self, items):
        return items[int(self.random() * len(items))]

    def weighted(self, weights):
        """{'a': 1, 'b': 3} -> 'b' three times of four"""
        point = self.random() * sum(weights.values())
        for item, weight in weights.items():
            point -= weight
            if point < 0:
                return item
        return item

    def first(self, items, fits):
        """A random one of the items that fit, or None."""
        return next((item for item in self.shuffled(items) if fits(item)), None)

    def shuffled(self, items):
        keyed = sorted((self.random(), place) for place in range(len(items)))
        return [items[place] for _, place in keyed]


FRAMES = {'action': 64, 'thing': 18, 'roles': 5, 'number': 13}
SLOTS = {  # slots that a premise may change, and how often they are tried
    'action': {
        'noun': 5,
        'predicate': 5,
        'place': 4,
        'adjective': 4,
        'purpose': 2,
        'owner': 1,
        'either': 1,
    },
    'thing': {
        'noun': 4,
        'predicate': 4,
        'thing': 5,
        'thing_adjective': 4,
        'adjective': 3,
        'either': 1,
    },
    'roles': {'agent': 2, 'patient': 2, 'swap': 3, 'role_verb': 2},
    'number': {'number': 4, 'noun': 4, 'predicate': 3, 'place': 4, 'adjective': 3},
}


def draw_action(dice):
    """Such as "An old dog runs in the park ." """
    person = dice.chance(0.6)
    scene = Scene(
        nouns=(dice.pick(PEOPLE if person else ANIMALS),),
        verb=dice.pick(ACTIONS if person else ANIMAL_ACTIONS),
        negated=dice.chance(0.1),
    )
    if not person and dice.chance(0.1):
        scene = add_modifier(dice, scene, 'owner')
    elif dice.chance(0.5):
        scene = add_modifier(dice, scene, 'adjective')
    if scene.negated:
        return scene
    tail = {'': 2, 'place': 7, 'purpose': 2 if scene.verb in PURPOSE_ACTIONS and person else 0}
    return add_modifier(dice, scene, dice.weighted(tail))


def draw_thing(dice):
    """Such as "An old man washes a red car ." """
    things, verbs, colours = (words.split() for words in THINGS[dice.pick(list(THINGS))])
    scene = Scene(
        nouns=(dice.pick(PEOPLE),),
        verb=dice.pick(verbs),
        thing=dice.pick(things),
        thing_adjective=dice.pick(colours) if dice.chance(0.6) else '',
        negated=dice.chance(0.16),
    )
    return add_modifier(dice, scene, 'adjective') if dice.chance(0.6) else scene


def draw_roles(dice):
    """Such as "A queen pushes a boy ." """
    person = dice.chance(0.8)
    verbs = dice.pick((ONE_WAY, MUTUAL, OPEN))
    family = PEOPLE if person else ANIMALS
    verb = dice.pick(verbs if person else [verb for verb in verbs if verb in ANIMAL_ROLES])
    return Scene(nouns=(dice.pick(family),), verb=verb, partner=dice.pick(family))


def draw_number(dice):
    """Such as "Two old dogs run in the park ." """
    person = dice.chance(0.5)
    nouns = [noun for noun in (PEOPLE if person else ANIMALS) if noun in PLURAL]
    scene = Scene(
        nouns=(dice.pick(nouns),),
        number=dice.weighted({'some': 3, 'two': 3, 'three': 3, 'four': 3, 'no': 2}),
        verb=dice.pick(ACTIONS if person else ANIMAL_ACTIONS),
    )
    if scene.number == 'no':
        return scene
    scene = add_modifier(dice, scene, 'adjective') if dice.chance(0.6) else scene
    return add_modifier(dice, scene, 'place') if dice.chance(0.6) else scene


def add_modifier(dice, scene, slot):
    """The scene with one more slot said, where something fits."""
    if not slot or not makes_sense(scene):
        return scene
    return dice.first(variants(scene, slot), lambda one: one != scene and makes_sense(one)) or scene


DRAW = {
    'action': draw_action,
    'thing': draw_thing,
    'roles': draw_roles,
    'number': draw_number,
}


def variants(scene, slot):
    """The scene with one slot said in every way there is, sensible or not."""
    person = is_person(scene.nouns[0])
    if slot == 'swap':
        return [scene._replace(nouns=(scene.partner,), partner=scene.nouns[0])]
    if slot == 'either':
        family = PEOPLE if person else ANIMALS
        pairs = ((one, two) for one in family for two in family)
        changed = [
            scene._replace(nouns=(one, two)) for one, two in pairs if relate_words(one, two) == CONTRADICTION
        ]
    elif slot == 'predicate':
        verbs = THINGS[KIND[scene.thing]][1].split() if scene.thing else ACTIONS
        may_deny = (False, True) if not (scene.number or scene.place) else (False,)
        changed = [scene._replace(verb=verb, negated=no) for verb in verbs for no in may_deny]
    else:
        name, words = {
            'noun': ('nouns', [(noun,) for noun in PEOPLE + ANIMALS]),
            'agent': ('nouns', [(noun,) for noun in PEOPLE + ANIMALS]),
            'patient': ('partner', PEOPLE + ANIMALS),
            'role_verb': ('verb', ONE_WAY + MUTUAL + OPEN),
            'number': ('number', NUMBERS),
            'owner': ('owner', PEOPLE),
            'adjective': ('adjective', list(DIMENSION)),
            'thing': ('thing', THINGS[KIND.get(scene.thing, 'fruit')][0].split()),
            'thing_adjective': ('thing_adjective', COLOURS),
            'place': ('place', PLACES),
            'purpose': ('purpose', PURPOSES),
        }[slot]
        changed = [scene._replace(**{name: word}) for word in words]
        if slot in ('owner', 'adjective', 'thing_adjective', 'place', 'purpose'):
            changed.append(scene._replace(**{name: ''}))
    return changed


def draw_premise(dice, h, label, slots):
    """A premise that makes h true, false or open; None when this try came to nothing."""
    p = dice.first(
        variants(h, dice.weighted(slots)),
        lambda one: one != h and makes_sense(one) and judge(one, h) == label,
    )
    return p and maybe_definite(dice, fill(dice, p, h, label))


def fill(dice, p, h, label):
    """Now and then the premise says an adjective or a place of which the hypothesis is silent."""
    for slot in () if h.partner else ('adjective', 'thing_adjective', 'place'):
        wanted = not getattr(p, slot) and not (slot == 'adjective' and p.owner)
        if slot == 'place':
            wanted = wanted and not (p.purpose or p.thing)
        if slot == 'thing_adjective':
            wanted = wanted and p.thing
        if wanted and not getattr(h, slot) and dice.chance(0.25):
            full = dice.first(
                variants(p, slot),
                lambda one, p=p: one != p and makes_sense(one) and judge(one, h) == label,
            )
            p = full or p
    return p


def maybe_definite(dice, scene):
    """Now and then "the dog" for "a dog", whatever the label."""
    return scene._replace(definite=dice.chance(0.12) and not scene.number)


def draw_triple(dice, taken):
    """One hypothesis and a new premise for each label: {label: premise}, hypothesis."""
    while True:
        frame = dice.weighted(FRAMES)
        h = DRAW[frame](dice)
        if not makes_sense(h):
            continue
        premises = {}
        for label in reversed(LABELS):  # the hardest first
            tries = (draw_premise(dice, h, label, SLOTS[frame]) for _ in range(6))
            fresh = next((p for p in tries if p and raw(say(p)) not in taken), None)
            if fresh is None:
                break
            premises[label] = fresh
        else:
            taken.update(raw(say(p)) for p in premises.values())
            return premises, maybe_definite(dice, h)


def draw_undecided(dice, taken):
    """A pair on which careful people disagree, for a row with gold label '-'."""
    while True:
        h = draw_action(dice)
        verbs = [verb for verb in ACTIONS if relate_verbs(verb, h.verb) is None]
        p = h._replace(verb=dice.pick(verbs)) if verbs else h
        if p != h and makes_sense(p) and makes_sense(h) and raw(say(p)) not in taken:
            taken.add(raw(say(p)))
            return p, h


# ---------------------------------------------------------------------------------------------
# The SNLI-like files
# ---------------------------------------------------------------------------------------------


def short_id(number):
    """36 -> '10', in base 36, to keep the files small"""
    digits = '0123456789abcdefghijklmnopqrstuvwxyz'
    return (short_id(number // 36) if number >= 36 else '') + digits[number % 36]


def votes(dice, gold):
    """Five annotators' labels with this majority, in no order; for '-' two, two and one."""
    if gold == '-':
        one, other, third = dice.shuffled(LABELS)
        return dice.shuffled([one, one, other, other, third])
    others = [label for label in LABELS if label != gold]
    dissent = dice.weighted({0: 60, 1: 28, 2: 12})
    return dice.shuffled([gold] * (5 - dissent) + [dice.pick(others) for _ in range(dissent)])


def snli_row(split, number, gold, p, h, labels):
    """The fourteen columns. Train carries words and label only, dev and test raw sentences and votes too."""
    texts = ['', ''] if split == 'train' else [raw(p), raw(h)]
    caption = short_id(number)
    pair = caption + (gold[0] if gold != '-' else 'x')
    parses = [f'( {" ".join(words)} )' for words in (p, h)]
    labels = labels or [''] * 5
    return '\t'.join([gold, *parses, '', '', *texts, caption, pair, *labels])


def snli_pairs(dice, split, taken):
    """All pairs of a split as (gold, premise words, hypothesis words), triples kept together."""
    pairs = [
        (label, premise.split(), hypothesis.split())
        for hypothesis, premises in ODDITIES[split]
        for label, premise in zip(LABELS, premises)
    ]
    while len(pairs) < PAIRS[split]:
        premises, h = draw_triple(dice, taken)
        pairs += [(label, say(p), say(h)) for label, p in premises.items()]
    return pairs[: PAIRS[split]]


def snli_file(split, numbers, taken):
    """The text of one SNLI-like file."""
    dice = Dice(SEED, 'snli', split)
    pairs = snli_pairs(dice, split, taken)
    undecided = [draw_undecided(dice, taken) for _ in range(UNDECIDED[split])]
    pairs += [('-', say(p), say(h)) for p, h in undecided]
    rows = ['\t'.join(HEADER)]
    for gold, p, h in dice.shuffled(pairs):
        validated = split != 'train' or gold == '-'
        labels = votes(dice, gold) if validated else []
        rows.append(snli_row(split, next(numbers), gold, p, h, labels))
    return '\n'.join(rows) + '\n'


# ---------------------------------------------------------------------------------------------
# The WikiText-like files
# ---------------------------------------------------------------------------------------------


YEARS = (1871, 1904, 1926, 1948, 1963, 1987)


def fact(dice, noun):
    """One line of the tables in plain words: "A puppy is a young dog ." """
    subject, above = article([noun]), PARENT[noun]
    if noun in YOUNG_ANIMALS and dice.chance(0.5):
        return [*subject, 'is', 'a', 'young', above, '.']
    others = [one for one in PEOPLE + ANIMALS if relate_words(noun, one) == CONTRADICTION]
    if above == 'being' or dice.chance(0.4):
        return [*subject, 'is', 'not', *article([dice.pick(others)]), '.']
    return [*subject, 'is', *article([above]), '.']


def remark(dice, noun):
    """A sentence with the marks of WikiText: numbers, @-@, <unk>."""
    year, many = dice.pick(YEARS), PLURAL.get(noun, 'ponies')
    return dice.pick(
        (
            f'In {year} , a two @-@ day walk of <unk> was open to {many}',
            f'The word " {noun} " is old : <unk> said it in {year}',
            f'In {year} , <unk> and <unk> owned 40 @,@ 000 {many}',
        )
    )


def story(dice, hidden):
    """A noun, and sentences that stay with one scene, each saying a little more or less than another."""
    h = Scene()
    while not h.nouns or not makes_sense(h):
        frame = dice.weighted(FRAMES)
        h = DRAW[frame](dice)
    bare = h._replace(adjective='', thing_adjective='', place='')
    h = fill(dice, h, bare, ENTAILMENT)
    scenes, length = [h], 4 + int(4 * dice.random())
    for _ in range(4 * length):
        p = draw_premise(dice, h, ENTAILMENT, SLOTS[frame])
        if p and p not in scenes:
            scenes.append(p)
        if len(scenes) == length:
            break
    told = [say(scene) for scene in scenes if raw(say(scene)) not in hidden]
    lines = [' '.join(words[:-1]) for words in told]
    noun = h.nouns[0]
    if dice.chance(0.15):
        lines.append(' '.join(fact(dice, noun)[:-1]).capitalize())
    if dice.chance(0.06):
        lines.insert(0, remark(dice, noun))
    return noun, lines


def wiki_article(dice, hidden):
    """Lines of one article: four paragraphs, under the noun of the first."""
    stories = []
    while len(stories) < 4:
        noun, lines = story(dice, hidden)
        if len(lines) > 1:
            stories.append((noun, lines))
    paragraphs = [f' {" . ".join(lines)} . ' for _, lines in stories]
    return [' ', f' = {stories[0][0].capitalize()} = ', ' ', *paragraphs]


def wiki_file(split, hidden):
    """The text of one WikiText-like file, without the sentences in `hidden`."""
    dice, lines, size = Dice(SEED, 'wiki', split), [], 0
    while size < WIKI_CHARACTERS[split]:
        added = wiki_article(dice, hidden)
        lines += added
        size += sum(len(line) + 1 for line in added)
    return '\n'.join([*lines, ' ']) + '\n'


# ---------------------------------------------------------------------------------------------
# Command
# ---------------------------------------------------------------------------------------------


def sample():
    """All six files: {path relative to the data folder: text}"""
    taken, numbers, texts = set(), iter(range(36**2, 36**3)), {}
    for split in ('test', 'dev'):
        texts[f'snli_1.0/snli_1.0_{split}.txt'] = snli_file(split, numbers, taken)
    held_out = frozenset(taken)  # premises that no training file may hold
    texts['snli_1.0/snli_1.0_train.txt'] = snli_file('train', numbers, taken)
    for split in ('train', 'valid', 'test'):
        texts[f'wikitext-2/wiki.{split}.tokens'] = wiki_file(split, held_out)
    return texts


def write(path, text):
    """The whole file or nothing: written beside it, then moved over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + '.part')
    part.write_bytes(text.encode('utf-8'))
    os.replace(part, path)


def main():
    parser = argparse.ArgumentParser(description='Write the embedded sample of bertnli.')
    parser.add_argument('--out', type=Path, default=Path(__file__).parent, help='folder to fill')
    out = parser.parse_args().out
    for name, text in sample().items():
        write(out / name, text)
        print(f'{out / name}: {len(text.encode())} bytes')


if __name__ == '__main__':
    main()
