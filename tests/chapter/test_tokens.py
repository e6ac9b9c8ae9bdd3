"""Sentences become words as SNLI's files have them, and words become numbers as d2l numbers them."""

import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertnli.corpora.files import download_extract
from bertnli.corpora.treebank import words
from bertnli.errors import DataError, SettingsError
from bertnli.fast.encoding import index_words
from bertnli.tokens import RESERVED, Vocab, require_special, tokenize

WORDS = st.text('abcde', min_size=1, max_size=3)


def sentences_and_parses(folder, splits=('dev', 'test')):
    """(raw sentence, its words in the parse column) of SNLI's files."""
    for split in splits:
        with open(os.path.join(folder, f'snli_1.0_{split}.txt'), encoding='utf-8') as file:
            for row in file.read().split('\n')[1:-1]:
                columns = row.split('\t')
                for parse, raw in ((columns[1], columns[5]), (columns[2], columns[6])):
                    yield raw, parse.replace('(', '').replace(')', '').lower().split()


@pytest.mark.parametrize(
    ('sentence', 'expected'),
    [
        ('The dogs don\'t like the man\'s "hat".', "the dogs do n't like the man 's `` hat '' ."),
        ("He cannot say: I've 3,000.50 at 5:30!", "he can not say : i 've 3,000.50 at 5:30 !"),
        ('Mr. Smith (of St. Ives) is on t.v.', 'mr. smith -lrb- of st. ives -rrb- is on t.v.'),
        ('Wait... what?!', 'wait ... what ? !'),
        (
            "The boys' dog; 'no' -- it's gonna bark & run",
            "the boys ' dog ; ` no ' -- it 's gon na bark & run",
        ),
        ('Two dogs- one of 50% pb&j', 'two dogs - one of 50 % pb&j'),
        ('It is over. He sleeps.', 'it is over . he sleeps .'),
        ('It’s “fine”', "it 's `` fine ''"),
        ('', ''),
        ("'", "'"),
    ],
)
def test_words_worked_by_hand(sentence, expected):
    assert words(sentence) == expected.split()


def test_words_agree_with_the_files_of_the_sample():
    pairs = list(sentences_and_parses(download_extract('SNLI', data_dir='sample')))
    right = sum(words(raw) == parse for raw, parse in pairs)
    assert right / len(pairs) >= 0.998


def test_words_agree_with_snlis_own_files(real_data):
    pairs = list(sentences_and_parses(download_extract('SNLI', data_dir=real_data)))
    right = sum(words(raw) == parse for raw, parse in pairs)
    assert right / len(pairs) >= 0.9998


def test_words_agree_with_nltks_tokenizer_where_that_agrees_with_snli():
    nltk = pytest.importorskip('nltk')
    tokenizer = nltk.tokenize.NLTKWordTokenizer()
    sentences = [
        "A man is playing football, and his dogs aren't.",
        'The woman (in red) says "hello" to us.',
        "They'll pay $5; we'd pay 10%, wouldn't we?",
        'The well-known player wanna win!',
    ]
    for sentence in sentences:
        theirs = ' '.join(tokenizer.tokenize(sentence.lower(), convert_parentheses=True))
        assert words(sentence) == theirs.replace('RB-', 'rb-').replace('-L', '-l').replace('-R', '-r').split()


def test_a_plain_split_would_make_every_last_word_unknown():
    assert words('A dog runs.')[-2:] == ['runs', '.']
    assert 'A dog runs.'.lower().split()[-1] == 'runs.'


@given(st.text(max_size=60))
def test_words_hold_no_blanks_and_no_capitals(text):
    for word in words(text):
        assert word
        assert not any(character.isspace() for character in word)
        assert word == word.lower()


@given(
    st.lists(
        st.sampled_from("a dog's don't ( ) \" ' . , -- ... mr. n't 's t.v. pb&j runs- he/ `` ''".split())
    )
)
def test_splitting_the_words_again_changes_nothing_but_plain_quotes(parts):
    once = words(' '.join(parts))
    assert words(' '.join(once)) == once


@pytest.mark.parametrize('mark', ["'", '/', '-', '.', "n't", '"', 'a', "'s"])
def test_a_very_long_run_takes_no_very_long_time(mark):
    start = time.process_time()
    words(mark * 100_000)
    assert time.process_time() - start < 2


def test_importing_tokens_loads_neither_mxnet_nor_nltk():
    code = 'import sys, bertnli.examples, bertnli.text, bertnli.corpora.files; print(*sys.modules)'
    modules = set(
        subprocess.run(
            [sys.executable, '-c', code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert not modules & {'mxnet', 'd2l', 'nltk', 'requests.api', 'scipy', 'pandas'}


# --- vocabularies ---------------------------------------------------------------------------------


def test_tokenize_equals_d2ls():
    from bertnli.runtime import d2l

    lines = ['a dog  runs .', '', 'x']
    for token in ('word', 'char'):
        assert tokenize(lines, token) == d2l.tokenize(lines, token)
    with pytest.raises(SettingsError, match='word, char'):
        tokenize(lines, 'syllable')


def test_numbers_follow_unk_reserved_frequency_alphabet():
    vocab = Vocab(['b', 'a', 'c', 'a', '<pad>', 'b', 'd'], reserved_tokens=RESERVED)
    assert vocab.idx_to_token == ['<unk>', '<pad>', '<mask>', '<cls>', '<sep>', 'a', 'b', 'c', 'd']
    assert vocab.token_freqs == [('a', 2), ('b', 2), ('<pad>', 1), ('c', 1), ('d', 1)]


def test_min_freq_leaves_rare_words_out():
    assert Vocab(['a', 'a', 'b'], min_freq=2).idx_to_token == ['<unk>', 'a']


@given(st.lists(st.lists(WORDS)), st.integers(0, 3))
def test_a_vocabulary_holds_the_words_of_d2ls(lines, min_freq):
    from bertnli.runtime import d2l

    flat = [word for line in lines for word in line]
    ours = Vocab(lines, min_freq=min_freq, reserved_tokens=list(RESERVED))
    theirs = d2l.Vocab(flat, min_freq=min_freq, reserved_tokens=list(RESERVED))
    assert set(ours.idx_to_token) == set(theirs.idx_to_token)
    assert dict(ours.token_freqs) == dict(theirs.token_freqs)
    assert len(ours) == len(theirs)
    for index, word in enumerate(ours.idx_to_token):
        assert ours[word] == index
        assert ours.to_tokens(index) == word


@given(st.lists(WORDS))
def test_the_order_of_the_text_does_not_matter(flat):
    assert Vocab(flat).idx_to_token == Vocab(sorted(flat)).idx_to_token


def test_flat_nested_and_counted_words_give_the_same_vocabulary():
    flat = ['b', 'a', 'b']
    expected = ['<unk>', 'b', 'a']
    for tokens in (flat, [['b'], ['a', 'b']], {'a': 1, 'b': 2}, iter(flat), (('b', 'a'), ('b',))):
        assert Vocab(tokens).idx_to_token == expected
    assert Vocab().idx_to_token == ['<unk>']
    assert Vocab(None or [], reserved_tokens=None).idx_to_token == ['<unk>']


def test_looking_up_lists_arrays_and_single_words():
    vocab = Vocab(['a', 'b'])
    assert vocab['a'] == 1
    assert vocab[[['a'], ['never', 'b']]] == [[1], [0, 2]]
    assert vocab[('a',)] == [1]
    assert vocab.to_tokens(np.array([[1, 0]])) == [['a', '<unk>']]
    assert vocab.to_tokens(np.int32(2)) == 'b'
    assert vocab.to_tokens([1]) == ['a']
    assert 'a' in vocab
    assert 'never' not in vocab
    assert vocab.unk == 0


def test_mxnet_arrays_become_words():
    from bertnli.runtime import np as mxnp

    assert Vocab(['a', 'b']).to_tokens(mxnp.array([1, 2])) == ['a', 'b']


def test_a_published_list_keeps_its_numbers():
    names = ['<pad>', '<mask>', '<cls>', '<sep>', '<unk>', 'a']
    vocab = pickle.loads(pickle.dumps(Vocab.from_list(names)))
    assert vocab.idx_to_token == names
    assert vocab.unk == vocab['never'] == 4
    assert require_special(vocab) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ('names', 'reason'), [(['<unk>', 'a', 'a'], 'two numbers'), (['a'], 'unknown words')]
)
def test_a_published_list_that_is_no_vocabulary_is_refused(names, reason):
    with pytest.raises(DataError, match=reason):
        Vocab.from_list(names)


def test_a_vocabulary_without_special_words_is_refused():
    with pytest.raises(DataError, match='<mask> <cls> <sep>') as caught:
        require_special(Vocab(['a'], reserved_tokens=['<pad>']))
    assert 'reserved_tokens=RESERVED' in caught.value.remedy
    with pytest.raises(DataError, match='NoneType'):
        require_special(None)


@given(st.lists(st.text('aB ', max_size=9)))
def test_index_words_is_tokenize_and_look_up(sentences):
    vocab = Vocab(['a', 'ab'])
    flat, lengths = index_words(sentences, vocab.token_to_idx, vocab.unk)
    lines = tokenize([sentence.lower() for sentence in sentences])
    assert lengths.tolist() == [len(line) for line in lines]
    assert flat.tolist() == [number for line in lines for number in vocab[line]]
