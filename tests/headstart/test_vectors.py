"""Vectors of words from counts: against counts by hand, a full decomposition, and what they are for."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertnli.datasets import WikiTextDataset
from bertnli.errors import SettingsError
from bertnli.headstart import counting
from bertnli.headstart import counting as vectors
from bertnli.headstart.alignment import begin_with_alignment
from bertnli.headstart.counting import begin_with_vectors, word_vectors
from bertnli.model import BERTClassifier, BERTModel
from bertnli.runtime import d2l, mx, nn

SENTENCES = st.lists(st.lists(st.integers(0, 6), min_size=2, max_size=9), min_size=1, max_size=9)


def flat(sentences):
    lengths = [len(sentence) for sentence in sentences]
    return [word for sentence in sentences for word in sentence], np.cumsum([0, *lengths[:-1]])


def count_by_hand(sentences, size, window):
    """A loop over all pairs of places."""
    near = np.zeros((size, size))
    for sentence in sentences:
        for i, one in enumerate(sentence):
            for j, other in enumerate(sentence):
                if 0 < abs(i - j) <= window:
                    near[one, other] += 1 / abs(i - j)
    return near


@given(SENTENCES, st.integers(1, 4))
def test_neighbours_are_counted_as_by_hand(sentences, window):
    near = vectors._count_neighbours(np.array(flat(sentences)[0]), flat(sentences)[1], 7, window)
    np.testing.assert_allclose(near.toarray(), count_by_hand(sentences, 7, window), atol=1e-12)


def test_a_text_worked_by_hand():
    # Two sentences, 0 1 and 2 3: whoever meets 0 is always 1, by chance it would be every fourth time. So
    # partners have log(1 / (1/4)), and the others never meet.
    near = vectors._count_neighbours(np.array([0, 1, 2, 3]), [0, 2], 4, 5)
    information = vectors._more_than_chance(near).toarray()
    expected = np.zeros((4, 4))
    expected[[0, 1, 2, 3], [1, 0, 3, 2]] = np.log(4)
    np.testing.assert_allclose(information, expected)


@settings(max_examples=25)
@given(SENTENCES)
def test_as_many_dimensions_as_words_lose_nothing(sentences):
    numbers, starts = flat(sentences)
    found = word_vectors(numbers, starts, 7, 7)
    near = vectors._count_neighbours(np.array(numbers), starts, 7, 5)
    information = vectors._more_than_chance(near).toarray()
    np.testing.assert_allclose(
        found.words @ found.contexts.T * np.outer(*sizes_by_numpy(information)), information, atol=1e-7
    )
    for side in (found.words, found.contexts):
        squares = (side**2).mean(axis=1)
        assert np.all(np.isclose(squares, 1) | (squares == 0))
    assert found.counts.tolist() == np.bincount(numbers, minlength=7).tolist()


def sizes_by_numpy(information):
    """How long the rows of both sides of a full decomposition are."""
    left, strength, right = np.linalg.svd(information)
    return [np.sqrt((side**2 * strength).mean(axis=1)) for side in (left, right.T)]


def test_words_of_one_company_point_one_way():
    rng = np.random.default_rng(0)
    # Words 0-4 stand with each other and 5-9 with each other.
    sentences = [rng.integers(0, 5, 8) + 5 * (n % 2) for n in range(200)]
    found = word_vectors(*flat(sentences), 10, 2)
    scores = found.words @ found.contexts.T
    assert scores[:5, :5].min() > scores[:5, 5:].max()
    assert scores[5:, 5:].min() > scores[5:, :5].max()


def test_words_that_do_not_occur_have_no_vector_and_more_dimensions_than_words_are_filled():
    found = word_vectors([2, 3, 2, 4], [0], 6, 16)
    assert found.words.shape == found.contexts.shape == (6, 16)
    assert not found.words[[0, 1, 5]].any()
    assert not found.words[:, 6:].any()


@pytest.mark.parametrize(('numbers', 'starts'), [([1, 2, 3], [0, 1, 2]), ([1], [0]), ([], [])])
def test_words_that_all_stand_alone_are_told(numbers, starts):
    with pytest.raises(SettingsError, match='no word has a neighbour'):
        word_vectors(np.array(numbers, int), np.array(starts, int), 5, 4)


def test_the_bits_do_not_depend_on_the_number_of_threads():
    code = """
import hashlib, numpy as np
from bertnli.headstart.counting import word_vectors
numbers = np.random.default_rng(0).zipf(1.3, 60000) % 3000
found = word_vectors(numbers, range(0, 60000, 12), 3000, 64)
print(hashlib.sha256(found.words.tobytes() + found.contexts.tobytes()).hexdigest())"""
    said = [
        subprocess.run(
            [sys.executable, '-c', code],
            env={**os.environ, 'OMP_NUM_THREADS': threads, 'OPENBLAS_NUM_THREADS': threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ('1', '2', '3')
    ]
    assert len(set(said)) == 1


def test_a_data_set_tells_its_sentences_also_those_in_no_pair():
    text = [['a dog runs', 'it is fast .'], ['the sun is out'], ['a dog sleeps .', 'it dreams .']]
    dataset = WikiTextDataset(text, 16, min_freq=1)
    numbers, starts = dataset.sentences
    told = np.split(dataset.vocab.to_tokens(numbers.tolist()), starts[1:])
    assert [' '.join(sentence) for sentence in told] == [line for lines in text for line in lines]


@pytest.mark.parametrize('width', [1, 2, 7, 16])
def test_places_are_the_chapters_waves(width):
    chapter = d2l.PositionalEncoding(width + width % 2, 0, max_len=30).P.asnumpy()[0]
    waves = counting._waves(30, width)
    assert waves.shape == (30, width)
    if width % 2 == 0:
        np.testing.assert_allclose(waves, np.sqrt(2) * chapter, atol=1e-4)
        np.testing.assert_allclose((waves**2).mean(axis=1), 1)


def test_a_network_begins_with_them_and_keeps_what_the_text_does_not_know():
    mx.random.seed(0)
    net = BERTModel(9, 8, 8, 2, 1, 0.0, max_len=16)
    net.initialize()
    table, output = net.encoder.token_embedding.weight, net.mlm.output
    before = table.data().asnumpy(), output.weight.data().asnumpy()
    begin_with_vectors(net, [5, 6, 7, 8, 5, 6], [0, 2, 4])
    after = table.data().asnumpy(), output.weight.data().asnumpy()
    for old, new in zip(before, after):
        np.testing.assert_array_equal(new[:5], old[:5])
        np.testing.assert_allclose((new[5:] ** 2).mean(axis=1), 0.04, rtol=1e-5)
    # The scores of a network that knows nothing else are the words' frequencies.
    guess = np.exp(output.bias.data().asnumpy())
    np.testing.assert_allclose(guess, (np.array([0, 0, 0, 0, 0, 2, 2, 1, 1]) + 0.5) / 6, rtol=1e-5)


def test_bert_of_d2l_begins_with_the_same_vectors():
    found = []
    for cls in (BERTModel, d2l.BERTModel):
        net = cls(9, 8, 8, 2, 1, 0.0, 16)
        net.initialize(ctx=[mx.cpu(0), mx.cpu(1)])  # d2l's heads have no size yet
        begin_with_vectors(net, [5, 6, 7, 8, 5, 6], [0, 2, 4])
        output = net.mlm.mlp[2]
        parameters = net.encoder.token_embedding.weight, output.weight, output.bias, net.encoder.pos_embedding
        for parameter in parameters:
            one, other = (data.asnumpy() for data in parameter.list_data())
            np.testing.assert_array_equal(one, other)
        found.append([p.list_data()[0].asnumpy()[-4:] for p in parameters])
    for ours, theirs in zip(*found):
        np.testing.assert_array_equal(ours, theirs)


def test_bert_of_d2l_is_aligned_like_ours():
    found = []
    for cls in (BERTModel, d2l.BERTModel):
        net = cls(9, 8, 8, 2, 1, 0.0, 16)
        net.initialize()
        rng = np.random.default_rng(0)
        encoder = net.encoder
        for table in (
            encoder.token_embedding.weight,
            encoder.segment_embedding.weight,
            encoder.pos_embedding,
        ):
            table.set_data(mx.np.array(rng.normal(size=table.shape)))
        begin_with_alignment(net)
        tokens = mx.np.array([[5, 6, 7]], dtype='int32')
        encoder(tokens, tokens * 0, None)
        attention = encoder.blks[0].attention
        found.append([layer.weight.data().asnumpy() for layer in (attention.W_q, attention.W_k)])
    for ours, theirs in zip(*found):
        assert ours.any()
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize('begin', [lambda net: begin_with_vectors(net, [1, 2], [0]), begin_with_alignment])
def test_what_is_not_a_bert_is_named_in_full(begin):
    with pytest.raises(SettingsError, match='not a BERT') as caught:
        begin(BERTClassifier(BERTModel(9, 8, 8, 2, 1, 0.0)))
    assert caught.value.found == 'bertnli.model.BERTClassifier'
    with pytest.raises(SettingsError, match=r'nn\.basic_layers\.Dense'):
        begin(nn.Dense(3))
