# ruff: noqa: E501 (a change and all that it makes stay in one line)
"""Pairs of our own: what they are made of, and that each label follows."""

import collections
import json
import random
import re
from pathlib import Path

import make_challenge
import pytest

from bertnli import download_extract, read_snli
from bertnli.analysis.challenge import read_challenge
from bertnli.corpora import contrasts
from bertnli.corpora.contrasts import contrast_pairs, plural
from bertnli.corpora.treebank import words

ROOT = Path(__file__).resolve().parents[2]

VOCABULARY = set(
    json.loads(next((ROOT / 'bertnli/weights/bert-nli-small').glob('vocab-*')).read_text('utf-8'))
)
LINES = [
    line.split('\t')
    for line in Path(contrasts.__file__).with_suffix('.tsv').read_text('utf-8').splitlines()
    if not line.startswith('#')
]
LABELS = ('entailment', 'contradiction', 'neutral')
E, C, N = range(3)


@pytest.fixture(scope='module')
def columns():
    return read_snli(download_extract('SNLI', data_dir='sample'), split='train', limit=500)


def ours():
    """Every word of the lists and frames, in the singular and the plural."""
    found = set()
    for line in LINES:
        text = re.sub(r'\{\w+\}|[=-]', ' ', ' '.join(line)).lower()
        found |= {*words(text), *' '.join(line).lower().split()}
    return found | {plural(word) for word in found}


def test_all_its_words_are_in_the_vocabulary_that_comes_with_the_library():
    gaps = re.compile(r'\{\w+\}|[=-]')
    for kind, first, rest in LINES:
        for word in (f'{first} {rest}' if kind in (*LABELS, 'alike', 'other') else rest).split():
            parts = [word] if word in VOCABULARY else gaps.sub(' ', word).split()
            assert set(parts) <= VOCABULARY, (kind, first, rest)


def test_the_challenge_set_tests_other_words():
    asked = set()
    for split in ('dev', 'test'):
        for _, pair, _ in read_challenge(split):
            asked |= {*words(pair.premise), *words(pair.hypothesis)}
    assert asked <= VOCABULARY
    assert asked & ours() <= make_challenge.CLOSED


def test_the_challenge_set_has_other_templates():
    def skeleton(*sentences):
        """A pair with all words that are no function words blank."""
        keep = make_challenge.CLOSED
        return tuple(' '.join(w if w in keep else '_' for w in words(one)) for one in sentences)

    gap = re.compile(r'\{\w+\}')
    frames = {skeleton(*(gap.sub('zzz', one) for one in line[1:])) for line in LINES if line[0] in LABELS}
    asked = {
        skeleton(pair.premise, pair.hypothesis)
        for split in ('dev', 'test')
        for _, pair, _ in read_challenge(split)
    }
    assert len(frames) > 300
    assert not asked & frames


def test_no_frame_has_two_labels():
    labels = collections.defaultdict(set)
    for label, *pair in LINES:
        if label in LABELS:
            labels[tuple(pair)].add(label)
    assert all(len(found) == 1 for found in labels.values())


def test_what_means_the_same_does_not_exclude():
    tables = contrasts._tables()
    alike, others = ({(a, b) for a in table for b in table[a]} for table in (tables.alike, tables.others))
    new = [{tuple(pair) for pair in kind} for kind in tables.new.values()]  # what means the same, opposites
    every = [alike, others, *new, {*tables.above.items()}]
    for number, known in enumerate(every):
        assert all(not known & other for other in every[:number])
    assert min(map(len, new)) > 700  # both ways


def test_pairs_are_a_function_of_the_seed(columns):
    first = contrast_pairs(*columns, 300, 1)
    assert first == contrast_pairs(*columns, 300, 1)
    assert first != contrast_pairs(*columns, 300, 2)
    assert [len(column) for column in first] == [300, 300, 300]
    shares = collections.Counter(contrast_pairs(*columns, 3000, 1)[2])
    assert min(shares.values()) > 500  # no label is all of it


def test_new_words_are_exchanged_where_asked_for(columns):
    tables = contrasts._tables()
    labels = {tuple(pair): label for label, pairs in enumerate(tables.new.values()) for pair in pairs}

    def exchanged(share):
        made, found, same = zip(*contrast_pairs(*columns, 1000, 1, new_words=share)), 0, 0
        for first, second, label in made:
            pairs = {*zip(first.split(), second.split())} & {*labels}
            if len(pairs) == 1 and len(first.split()) == len(second.split()):
                found, same = found + 1, same + (labels[pairs.pop()] == label)
        return found, same

    assert exchanged(0.0)[0] < 30  # by chance
    found, same = exchanged(0.99)
    assert found == same > 700  # others take words away from an entailed hypothesis
    assert exchanged(0.2)[0] == pytest.approx(200, abs=50)
    assert contrast_pairs(*columns, 100, 1) == contrast_pairs(*columns, 100, 1, new_words=0.0)


@pytest.mark.parametrize(
    ('change', 'given', 'expected'),
    [
        ('_other', 'it is alive .', {('it is alive .', 'it is dead .', C), ('it is dead .', 'it is alive .', C)}),
        ('_wider', 'a guitar is red .', {('a guitar is red .', 'an instrument is red .', E), ('an instrument is red .', 'a guitar is red .', N)}),
        ('_alike', 'a sofa is here .', {('a sofa is here .', 'a couch is here .', E)}),
        ('_adjective', 'a red car stops .', {('a red car stops .', 'a car stops .', E), ('a car stops .', 'a red car stops .', N)}),
        ('_shorter', 'a man is sitting on a bench .', {('a man is sitting on a bench .', 'a man is sitting .', E), ('a man is sitting .', 'a man is sitting on a bench .', N)}),
        ('_counted', 'some cars are red .', {('some cars are red .', 'no cars are red .', C), ('no cars are red .', 'some cars are red .', C), ('some cars are red .', 'all the cars are red .', N), ('some of the cars are red .', 'all the cars are red .', N), ('all the cars are red .', 'some of the cars are red .', E)}),
        ('_exchanged', 'a red car and a blue bus stop .', {('a red car and a blue bus stop .', 'a blue car and a red bus stop .', C)}),
        ('_exchanged', 'a red and blue car stops .', {('a red and blue car stops .', 'a blue and red car stops .', E)}),
        ('_exchanged', 'two men see three dogs .', {('two men see three dogs .', 'three men see two dogs .', C)}),
        ('_exchanged', 'a red car and a blue car stop .', set()),
        ('_exchanged', 'no red car stops a blue bus .', set()),
        ('_exchanged', 'he wears white and', set()),
        ('_same', 'it rains .', {('it rains .', 'it rains .', E)}),
    ],
)  # fmt: skip
def test_each_change_and_its_label_by_hand(change, given, expected):
    rng, tables, found = random.Random(0), contrasts._tables(), set()
    for _ in range(300):
        made = getattr(contrasts, change)(tables, rng, given.split(), given.split())
        if made:
            found.add((' '.join(made[0]), ' '.join(made[1]), made[2]))
    assert found == expected


def test_a_star_marks_the_frames_that_order_alone_decides():
    """Others have the same words, and another label; of a gap counts its kind, and whether both have it."""
    tables, same = contrasts._tables(), str.maketrans('BCuyjdn', 'AAtxicm')  # filled from the same list

    def bag(frame):
        both = set.intersection(*({*re.findall(r'\{(\w)', sentence)} for sentence in frame[:2]))

        def gap(found):
            return '{' + found[1].translate(same) + '+' * (found[1] in both)

        return tuple(tuple(sorted(re.sub(r'\{(\w)', gap, sentence).split())) for sentence in frame[:2])

    labels, alone = collections.defaultdict(set), {(first, first, E) for first, *_ in tables.frames}
    for frame in {*tables.frames, *alone}:
        labels[bag(frame)].add(frame[2])
    decided = {frame for frame in {*tables.frames, *alone} if len(labels[bag(frame)]) > 1}
    assert {*tables.by_order} == decided
    assert len(tables.by_order) == len(decided)
    assert not alone & {*tables.frames}


def test_of_order_pairs_words_alone_tell_little_and_exchanging_two_is_a_contradiction():
    premises, hypotheses, labels = contrasts.order_pairs(3000, 1)
    assert [premises, hypotheses, labels] == contrasts.order_pairs(3000, 1)
    # How many words are shared, which decides most of our other pairs, is no better than a coin.
    shared = [len({*h.split()} - {*p.split()}) for p, h in zip(premises, hypotheses)]
    counts = collections.Counter(zip(shared, labels))
    best = sum(max(n for (count, _), n in counts.items() if count == one) for one in {*shared})
    assert best < 0.56 * len(labels)
    plain = re.compile(r'(?:a|the) (\w+) (\w+) (?:a|the) (\w+) \.')
    exchanged = {
        (first[2], label)
        for premise, hypothesis, label in zip(premises, hypotheses, labels)
        for first, second in [(plain.fullmatch(premise), plain.fullmatch(hypothesis))]
        if first and second and first.groups() == second.groups()[::-1]
    }
    # Who meets somebody is met by him; whether he is liked who likes, nobody knows.
    assert {one for one in exchanged if one[1] != C} <= {('meets', E), ('likes', N)}
    assert len(exchanged) > 10


def test_a_phrase_at_an_end_is_added_to_both_or_to_the_premise_alone():
    tables, rng, seen = contrasts._tables(), random.Random(0), collections.Counter()
    phrases = tables.slots['p'][0].split('=')
    frames = [('the {A} {xs} .', 'the {A} {xs} .', E)]
    for _ in range(2000):
        first, second, label = contrasts._fill(tables, rng, frames)
        added = [
            phrase
            for words in (first, second)
            for phrase in [*phrases, '']
            if ' '.join(words).startswith(f'{phrase} the ') or ' '.join(words).endswith(f' {phrase} .')
        ]
        assert label == E
        seen[len(added), first[0] == 'the', second[0] == 'the'] += 1
        assert len({*added}) <= 1  # the same in both
    assert len(seen) > 4
    # What tells of a time or place of its own, or has two clauses, is left as it is.
    for frame in (('the {A} {xed} , and it {yed} .',) * 2, ('the {A} is not {xing} .',) * 2):
        made = [contrasts._fill(tables, rng, [(*frame, E)])[:2] for _ in range(300)]
        assert all(words[0] in ('the', 'in', 'at') for pair in made for words in pair)


@pytest.mark.parametrize(
    ('sentence', 'denied'),
    [
        ('a man is sleeping .', {'a man is not sleeping .', "a man is n't sleeping ."}),
        ('there is a dog .', {'there is no dog .'}),
        ('nobody is here .', set()),
        ('a man sleeps .', set()),
        ('a man who is old is here .', set()),
    ],
)
def test_what_can_be_denied(sentence, denied):
    rng = random.Random(0)
    found = [contrasts._not(rng, sentence.split()) for _ in range(50)]
    assert {' '.join(one) for one in found if one} == denied


@pytest.mark.parametrize(('label', 'turned'), [(E, C), (C, E), (N, N)])
def test_a_hypothesis_denied_changes_sides(label, turned):
    rng, found = random.Random(0), set()
    for _ in range(50):
        made = contrasts._across(None, rng, ['x', 'is', 'y'], ['z', 'is', 'u'], label)
        found.add(made[2] if {'not', "n't"} & set(made[1]) else None)
    assert turned in found
    assert found <= {turned, None}


def test_the_challenge_set_is_what_its_script_writes(tmp_path):
    make_challenge.main(['--out', str(tmp_path)])
    for split in ('dev', 'test'):
        made = (tmp_path / 'challenge' / f'{split}.tsv').read_bytes()
        assert made == (ROOT / 'data' / 'challenge' / f'{split}.tsv').read_bytes()


def test_the_challenge_set_is_as_large_as_it_should_be():
    rows = [row for split in ('dev', 'test') for row in read_challenge(split)]
    counts = collections.Counter(name for name, _, _ in rows)
    assert len(rows) >= 1200
    assert len(counts) >= 16
    assert min(counts.values()) >= 50
    assert len({(pair.premise, pair.hypothesis) for _, pair, _ in rows}) > 0.99 * len(rows)
    assert all(why for _, _, why in rows)
