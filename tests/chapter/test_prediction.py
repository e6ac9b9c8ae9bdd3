"""What the network says of a pair, whoever stands beside it in the stream; and words for a gap."""

import itertools
import random

import numpy as onp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import random_weights

import bertnli
from bertnli import (
    LABELS,
    RESERVED,
    BERTClassifier,
    BERTModel,
    DataError,
    SentencePair,
    SettingsError,
    Vocab,
    encode_pair,
    fill_mask,
    predict_pairs,
    predict_snli,
)
from bertnli.devices import cpu_devices
from bertnli.runtime import d2l, nn, np

WORDS = ['a', 'the', 'man', 'dog', "'s", 'do', "n't", 'run', 'sleeps', 'in', 'park', '.', ',', 'two']
VOCAB = Vocab(WORDS, reserved_tokens=RESERVED)
BERT = random_weights(BERTModel(len(VOCAB), 12, 10, 3, 2, 0.4, max_len=40))
NET = random_weights(BERTClassifier(BERTModel(len(VOCAB), 12, 10, 3, 2, 0.4, max_len=40)))
SENTENCES = st.lists(st.sampled_from([*WORDS, 'unseen', 'Dog']), min_size=1, max_size=30)


def by_hand(premise, hypothesis, max_len=40):
    """Probabilities of one pair alone, encoded by the readable function and normalised by NumPy."""
    row = encode_pair(premise, hypothesis, VOCAB, max_len)
    inputs = [np.array([row.token_ids], dtype='int32'), np.array([row.segments], dtype='int32')]
    scores = NET((*inputs, np.array([row.valid_len]))).asnumpy()[0].astype('float64')
    powers = onp.exp(scores - scores.max())
    return powers / powers.sum()


def assert_is(prediction, probabilities):
    assert onp.allclose(prediction.probabilities, probabilities, atol=1e-5)
    assert prediction.label == LABELS[int(onp.argmax(prediction.probabilities))]


# --- one pair -------------------------------------------------------------------------------------


def test_a_raw_sentence_is_split_as_the_files_are():
    raw = predict_snli(NET, VOCAB, "The man's dogs don't run, two do.", 'A dog sleeps in the Park.')
    premise = ['The', 'man', "'s", 'dogs', 'do', "n't", 'run', ',', 'two', 'do', '.']
    assert raw == predict_snli(NET, VOCAB, premise, ['A', 'dog', 'sleeps', 'in', 'the', 'Park', '.'])
    assert_is(raw, by_hand([word.lower() for word in premise], 'a dog sleeps in the park .'.split()))


@given(SENTENCES, SENTENCES)
def test_a_prediction_is_the_softmax_of_the_network(premise, hypothesis):
    lower = [[word.lower() for word in sentence] for sentence in (premise, hypothesis)]
    assert_is(
        predict_snli(NET, VOCAB, premise, hypothesis, max_len=24, max_unknown=None),
        by_hand(*lower, max_len=24),
    )


def test_a_prediction_reads_as_a_sentence_of_numbers():
    prediction = predict_snli(NET, VOCAB, 'a dog', 'a man')
    assert len(prediction.probabilities) == 3
    assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-6)
    assert all(isinstance(p, float) for p in prediction.probabilities)
    shares = ', '.join(f'{name} {p:.3f}' for name, p in zip(LABELS, prediction.probabilities))
    assert str(prediction) == f'{prediction.label} ({shares})'


def test_dropout_is_off_and_the_same_question_has_the_same_answer():
    assert len({predict_snli(NET, VOCAB, 'a dog runs', 'a man') for _ in range(3)}) == 1


def test_a_very_long_sentence_is_shortened_by_the_rule_of_training():
    long, short = ['dog', 'man', 'run'] * 4000, ['a', 'man']
    assert_is(
        predict_snli(NET, VOCAB, long, short, max_len=12, max_unknown=None), by_hand(long, short, max_len=12)
    )
    assert_is(
        predict_snli(NET, VOCAB, short, long, max_len=12, max_unknown=None), by_hand(short, long, max_len=12)
    )


def test_unknown_words_are_all_one_word():
    assert predict_snli(NET, VOCAB, 'zyx 犬', 'a dog', max_unknown=None) == predict_snli(
        NET, VOCAB, '<unk> <unk>'.split(), 'a dog', max_unknown=None
    )


def test_networks_and_vocabularies_of_d2l_answer_too():
    vocab = d2l.Vocab([WORDS], reserved_tokens=list(RESERVED))
    bert = d2l.BERTModel(len(vocab), 12, 10, 3, 2, 0.0, max_len=40)
    bert.initialize()
    net = BERTClassifier(bert)
    net.classifier.initialize()
    pairs = [SentencePair('a dog', 'a man'), SentencePair('two dog sleeps in the park .', 'a')]
    together, alone = (
        list(predict_pairs(net, vocab, pairs)),
        [predict_snli(net, vocab, *p[:2]) for p in pairs],
    )
    for found, expected in zip(together, alone):
        assert onp.allclose(found.probabilities, expected.probabilities, atol=1e-5)


@pytest.mark.parametrize('sentences', [('', 'a dog'), ('a dog', '  \t '), ([], ['a']), (['a'], ())])
def test_a_sentence_without_words_is_named(sentences):
    with pytest.raises(DataError, match='no words') as caught:
        predict_snli(NET, VOCAB, *sentences)
    assert caught.value.where == f'pair 1, {"hypothesis" if sentences[0] else "premise"}'
    assert caught.value.remedy


@pytest.mark.parametrize('sentence', [None, 7, [1, 2], {'a': 1}, b'a dog'])
def test_something_else_than_a_sentence_is_refused(sentence):
    with pytest.raises(DataError, match='not a sentence'):
        predict_snli(NET, VOCAB, 'a dog', sentence)


def test_a_vocabulary_without_special_words_is_refused():
    with pytest.raises(DataError, match='special tokens'):
        predict_snli(NET, Vocab(WORDS), 'a dog', 'a man')


@pytest.mark.parametrize('max_len', [4, 0, -1])
def test_room_for_fewer_than_two_words_is_refused(max_len):
    with pytest.raises(SettingsError, match='no room'):
        predict_snli(NET, VOCAB, 'a dog', 'a man', max_len=max_len)


def test_a_pair_longer_than_the_position_table_is_told():
    with pytest.raises(SettingsError, match='position table'):
        predict_snli(NET, VOCAB, ['dog'] * 100, 'a man')


class Attention(nn.Block):
    """The shape of the chapter on attention's network: two arrays of words, (1, T) each, to three scores."""

    def __init__(self, vocab_size):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 5)
        self.aggregate = nn.Dense(3, in_units=10)

    def forward(self, X):
        premises, hypotheses = X
        return self.aggregate(
            np.concatenate([self.embedding(x).sum(axis=1) for x in (premises, hypotheses)], 1)
        )


def test_the_network_of_the_chapter_on_attention_answers_as_by_d2l():
    vocab = d2l.Vocab([[*WORDS, 'Dog']], reserved_tokens=['<pad>'])
    net = random_weights(Attention(len(vocab)))
    for parameter in net.collect_params().values():  # large enough for answers that differ
        parameter.set_data(parameter.data() * 4)
    labels = set()
    for premise, hypothesis in itertools.permutations(
        (['a', 'dog'], ['the', 'Dog', 'sleeps'], ['zyx'], ['.']), 2
    ):
        found = predict_snli(net, vocab, premise, hypothesis)
        assert found.label == d2l.predict_snli(net, vocab, premise, hypothesis)
        assert sum(found.probabilities) == pytest.approx(1, abs=1e-6)
        labels.add(found.label)
    assert len(labels) > 1
    raw = predict_snli(net, vocab, "The man's.", 'two')
    assert raw == predict_snli(net, vocab, ['the', 'man', "'s", '.'], ['two'])
    with pytest.raises(DataError, match='no words'):
        predict_snli(net, vocab, ['a'], [])


# --- streams --------------------------------------------------------------------------------------


def stream(count, seed):
    rng = random.Random(seed)
    for _ in range(count):
        yield SentencePair(*(rng.choices(WORDS, k=rng.randint(1, 25)) for _ in range(2)))


@pytest.mark.parametrize(
    ('count', 'batch_size'), [(1, 4), (4, 4), (63, 4), (64, 4), (65, 4), (137, 3), (50, 1)]
)
def test_a_stream_keeps_its_order_whatever_the_lengths(count, batch_size):
    found = list(
        predict_pairs(NET, VOCAB, stream(count, count), batch_size=batch_size, max_len=30, max_unknown=None)
    )
    assert len(found) == count
    for prediction, pair in itertools.islice(zip(found, stream(count, count)), 0, None, 7):
        assert_is(prediction, by_hand(pair.premise, pair.hypothesis, max_len=30))


def test_an_endless_stream_is_answered_and_read_a_window_ahead_only():
    read = itertools.count()

    def endless():
        for _ in read:
            yield SentencePair('a dog', 'a man')

    answers = predict_pairs(NET, VOCAB, endless(), batch_size=2)
    for number in range(1, 100):
        next(answers)
        assert number <= next(read) <= number + 2 * 16 + number  # this test reads along, one each time


def test_nothing_is_answered_by_nothing():
    assert list(predict_pairs(NET, VOCAB, [])) == []


@pytest.mark.parametrize('bad', [0, 31, 32, 77])
def test_the_number_of_a_bad_pair_counts_from_the_beginning_of_the_stream(bad):
    pairs = [SentencePair('a dog', '' if number == bad else 'a man') for number in range(90)]
    with pytest.raises(DataError) as caught:
        list(predict_pairs(NET, VOCAB, pairs, batch_size=2))
    assert caught.value.where == f'pair {bad + 1}, hypothesis'


def test_the_device_asked_for_is_used():
    net = random_weights(BERTClassifier(BERTModel(len(VOCAB), 12, 10, 3, 2, 0.4, max_len=40)), cpu_devices(2))
    first, second = cpu_devices(2)
    pair = [SentencePair('a dog', 'a man')]
    assert_is(next(predict_pairs(net, VOCAB, pair, devices=[second])), by_hand(['a', 'dog'], ['a', 'man']))
    # The second device's weights, not the first's.
    net.classifier[1].bias.data(first)[:] += 100 * np.array([1, 0, 0], ctx=first)
    assert_is(next(predict_pairs(net, VOCAB, pair, devices=[second])), by_hand(['a', 'dog'], ['a', 'man']))


def test_all_devices_that_hold_the_network_answer(monkeypatch):
    devices = cpu_devices(3)
    net = random_weights(BERTClassifier(BERTModel(len(VOCAB), 12, 10, 3, 2, 0.4, max_len=40)), devices)
    seen, call = set(), BERTClassifier.__call__
    monkeypatch.setattr(BERTClassifier, '__call__', lambda self, X: (seen.add(X[0].ctx), call(self, X))[1])
    pairs = [SentencePair(['a'] * length, ['dog'], None) for length in range(1, 8)]
    for pair, prediction in zip(pairs, predict_pairs(net, VOCAB, pairs, batch_size=2)):
        assert_is(prediction, by_hand(pair.premise, pair.hypothesis))
    assert seen == set(devices)


# --- gaps -----------------------------------------------------------------------------------------


def scores_by_hand(tokens, gap):
    """Probabilities of all words for one gap."""
    numbers = np.array([VOCAB[['<cls>', *tokens, '<sep>']]], dtype='int32')
    _, scores, _ = BERT(numbers, np.zeros_like(numbers), np.array([numbers.shape[1]]), np.array([[gap]]))
    scores = scores.asnumpy()[0, 0].astype('float64')
    return onp.exp(scores - scores.max()) / onp.exp(scores - scores.max()).sum()


def test_gaps_are_filled_with_the_most_probable_ordinary_words():
    found = fill_mask(BERT, VOCAB, 'The <mask> sleeps in the<mask>.', top=4)
    tokens = ['the', '<mask>', 'sleeps', 'in', 'the', '<mask>', '.']
    for guesses, gap in zip(found, (2, 6)):
        expected = scores_by_hand(tokens, gap)
        best = sorted((w for w in WORDS if w in VOCAB), key=lambda word: -expected[VOCAB[word]])[:4]
        assert [guess.word for guess in guesses] == best
        assert onp.allclose(
            [guess.probability for guess in guesses], [expected[VOCAB[w]] for w in best], atol=1e-5
        )
    assert len(found) == 2


def test_a_gap_is_never_filled_with_a_special_word():
    guesses = fill_mask(BERT, VOCAB, '<mask>', top=len(WORDS))[0]
    assert {guess.word for guess in guesses} == set(WORDS)


def test_a_list_of_words_may_hold_gaps_too():
    assert fill_mask(BERT, VOCAB, ['A', '<mask>', 'sleeps']) == fill_mask(BERT, VOCAB, 'a <mask> sleeps')


def test_a_sentence_without_a_gap_is_told():
    with pytest.raises(DataError, match='no gap') as caught:
        fill_mask(BERT, VOCAB, 'a dog sleeps')
    assert caught.value.found == 'a dog sleeps'


def test_a_fine_tuned_network_guesses_no_words():
    with pytest.raises(SettingsError, match='cannot fill gaps'):
        fill_mask(NET, VOCAB, 'a <mask>')


def test_bert_of_d2l_fills_gaps():
    bert = d2l.BERTModel(len(VOCAB), 12, 10, 3, 2, 0.0, max_len=40)
    bert.initialize()
    bert(*(np.zeros((1, 3), dtype='int32') for _ in range(2)), np.array([3]), np.array([[1]]))
    assert len(fill_mask(bert, VOCAB, 'a <mask> sleeps', top=3)[0]) == 3


# --- those who import one function ------------------------------------------------------------


@pytest.mark.parametrize(
    ('mistake', 'told'),
    [
        (lambda net, v: predict_snli(v, net, 'a', 'a'), 'no network'),
        (lambda net, v: list(predict_pairs(v, net, [('a', 'a')])), 'no network'),
        (lambda net, v: bertnli.fill_mask(v, net.bert, 'a <mask>'), 'BERTModel without <unk>'),
        (lambda net, v: bertnli.occlusion(v, net, 'a', 'a'), 'BERTClassifier without <unk>'),
        (lambda net, v: bertnli.playground(v, net), 'a vocabulary where a network'),
        (lambda net, v: predict_snli(net, FOREIGN, 'a', 'a'), "not this network's vocabulary"),
        (lambda net, v: bertnli.fill_mask(net.bert, FOREIGN, 'a <mask>'), "not this network's vocabulary"),
        (lambda net, v: bertnli.attention(net, FOREIGN, 'a', 'a'), "not this network's vocabulary"),
        (lambda net, v: predict_snli(net, v, ['a b.', 'b c'], ['a', 'b']), 'a sentence where a word'),
        (lambda net, v: bertnli.truncate_pair('a b c', ['a'], 3), 'not lists of words'),
        (lambda net, v: list(predict_pairs(net, v, [('a', 'a')], devices='cpu')), 'not a list of devices'),
        (lambda net, v: bertnli.split_batch_multi_inputs([1], [1], 'cpu'), 'not a list of devices'),
        (lambda net, v: bertnli.load_checkpoint('bert-nli-small', 'cpu'), 'not a list of devices'),
        (lambda net, v: bertnli.load_checkpoint('bert-nli-smal'), 'not a model folder'),
        (lambda net, v: bertnli.show_probabilities([0.9, 0.9, 0], bertnli.LABELS), 'do not sum to 1'),
    ],
)
def test_what_is_mixed_up_is_told(mistake, told):
    vocab = bertnli.Vocab(['a', 'b'], reserved_tokens=bertnli.RESERVED)
    net = bertnli.BERTClassifier(bertnli.BERTModel(len(vocab), 4, 4, 2, 1, 0))
    net.initialize()
    with pytest.raises(bertnli.BertNLIError) as error:
        mistake(net, vocab)
    assert told in str(error.value)
    if told == 'not a model folder':
        assert 'bert-nli-small' in error.value.allowed


FOREIGN = bertnli.Vocab(['a', 'b', 'c'], reserved_tokens=bertnli.RESERVED)
