"""Attention that is used, words that are really deleted, slopes that are slopes, vectors that are read."""

import json
import re
import runpy
from pathlib import Path

import numpy as onp
import pytest
from small_models import random_weights

from bertnli import (
    LABELS,
    RESERVED,
    BERTClassifier,
    BERTModel,
    DataError,
    SentencePair,
    SettingsError,
    Vocab,
    attention,
    cls_vectors,
    counterfactuals,
    fill_mask,
    integrated_gradients,
    load_checkpoint,
    nearest_words,
    occlusion,
    predict_snli,
    saliency,
    words,
)
from bertnli.runtime import autograd, d2l, np

ROOT = Path(__file__).resolve().parents[2]
VOCAB = Vocab('a the man dog run sleeps in park . two'.split(), reserved_tokens=RESERVED)
NET = random_weights(BERTClassifier(BERTModel(len(VOCAB), 12, 10, 3, 2, 0.4, max_len=40)))
PREMISE, HYPOTHESIS = 'A man sleeps in the park.', 'A dog, a dog.'
WORDS = '<cls> a man sleeps in the park . <sep> a dog , a dog . <sep>'.split()


def of_d2l():
    """d2l's network with the weights of ours."""
    bert = d2l.BERTModel(len(VOCAB), 12, 10, 3, 2, 0.4, max_len=40)
    net = BERTClassifier(bert)
    net.initialize()
    numbers = np.zeros((1, 4), dtype='int32')
    bert(numbers, numbers, np.array([4]), numbers)  # d2l's heads learn their sizes when they are first used
    ours = NET._collect_params_with_prefix()
    for name, parameter in net._collect_params_with_prefix().items():
        if 'encoder' in name or 'classifier' in name:
            parameter.set_data(ours[name].data())
    return net


def scores(vectors):
    """The network's scores when the T word vectors are replaced by these."""

    def replace(_block, _inputs, output):
        output[:] = np.array(vectors).reshape(output.shape)

    hook = NET.bert.encoder.token_embedding.register_forward_hook(replace)
    try:
        return NET(inputs_of(WORDS))[0].asnumpy().astype('float64')
    finally:
        hook.detach()


def inputs_of(words):
    first = words.index('<sep>') + 1
    segments = [0] * first + [1] * (len(words) - first)
    return (
        np.array([VOCAB[words]], dtype='int32'),
        np.array([segments], dtype='int32'),
        np.array([len(words)]),
    )


# --- attention ------------------------------------------------------------------------------------


def test_attention_names_each_token_and_each_row_sums_to_one():
    words, weights = attention(NET, VOCAB, PREMISE, HYPOTHESIS)
    assert words == WORDS
    assert weights.shape == (2, 3, len(WORDS), len(WORDS))
    assert onp.allclose(weights.sum(axis=-1), 1, atol=1e-5)


def test_attention_of_cls_is_the_one_that_a_prediction_uses():
    _, weights = attention(NET, VOCAB, PREMISE, HYPOTHESIS)
    with autograd.predict_mode():
        NET(inputs_of(WORDS)).wait_to_read()
    used = NET.bert.encoder.blks[1].attention.attention_weights.asnumpy()
    assert used.shape == (3, 1, len(WORDS))
    assert onp.allclose(weights[1][:, :1], used, atol=1e-5)


def test_what_d2ls_network_shows_is_the_same():
    net = of_d2l()
    for function, part in ((attention, 'weights'), (saliency, 'values'), (occlusion, 'values')):
        ours, theirs = (function(one, VOCAB, PREMISE, HYPOTHESIS) for one in (NET, net))
        assert ours.words == theirs.words
        assert onp.allclose(getattr(ours, part), getattr(theirs, part), atol=1e-4)


def test_attention_of_a_pretrained_bert_needs_no_classifier():
    assert onp.array_equal(*(attention(one, VOCAB, 'a dog', 'a man').weights for one in (NET, NET.bert)))


def test_a_long_pair_is_shortened_by_the_rule_of_training():
    words, weights = attention(NET, VOCAB, 'a dog run in the park', 'a man', max_len=8)
    assert words == '<cls> a dog run <sep> a man <sep>'.split()
    assert weights.shape[-1] == 8


# --- what words bring ------------------------------------------------------------------------------


@pytest.mark.parametrize('label', LABELS)
def test_saliency_is_the_slope_along_each_words_own_vector(label):
    found = saliency(NET, VOCAB, PREMISE, HYPOTHESIS, label=label)
    assert (found.words, found.label) == (WORDS, label)
    table = NET.bert.encoder.token_embedding.weight.data().asnumpy()
    vectors = table[VOCAB[WORDS]]

    def margin(position, factor):
        moved = vectors.copy()
        moved[position] *= factor
        row = scores(moved)
        return row[LABELS.index(label)] - row.mean()

    step = 1e-2
    slopes = [(margin(i, 1 + step) - margin(i, 1 - step)) / (2 * step) for i in range(len(WORDS))]
    assert onp.allclose(found.values, slopes, atol=0.03 * max(map(abs, slopes)))


def test_the_same_word_at_two_places_has_two_values():
    found = saliency(NET, VOCAB, PREMISE, HYPOTHESIS)
    first, second = (value for word, value in zip(found.words, found.values) if word == 'dog')
    assert first != second


def test_the_saliencies_of_all_labels_add_up_to_nothing():
    values = [saliency(NET, VOCAB, PREMISE, HYPOTHESIS, label=label).values for label in LABELS]
    assert onp.allclose(onp.sum(values, axis=0), 0, atol=1e-4)


def test_occlusion_is_what_the_answer_loses_when_the_word_is_really_deleted():
    net = random_weights(BERTClassifier(BERTModel(len(VOCAB), 12, 10, 3, 2, 0.4, max_len=40)))
    for parameter in net.classifier.collect_params('.*weight').values():  # less sure of itself
        parameter.set_data(parameter.data() / 20)
    pair = [WORDS[1 : WORDS.index('<sep>')], WORDS[WORDS.index('<sep>') + 1 : -1]]
    for label in LABELS:
        found = occlusion(net, VOCAB, PREMISE, HYPOTHESIS, label=label)
        whole = predict_snli(net, VOCAB, *pair).probabilities[LABELS.index(label)]
        lost = []
        for side in (0, 1):
            lost.append(0)  # <cls> and <sep> stay
            for place in range(len(pair[side])):
                less = [list(words) for words in pair]
                del less[side][place]
                lost.append(whole - predict_snli(net, VOCAB, *less).probabilities[LABELS.index(label)])
        assert (found.words, found.label) == (WORDS, label)
        assert onp.allclose(found.values, [*lost, 0], atol=2e-6)
        assert max(map(abs, found.values)) > 1e-4


def test_a_sentence_of_one_word_and_a_long_pair_can_be_occluded():
    assert len(occlusion(NET, VOCAB, 'dog', 'man').values) == 5
    assert len(occlusion(NET, VOCAB, 'a dog run in the park', 'a man', max_len=8).words) == 8


def test_integrated_gradients_add_up_to_what_the_vectors_bring():
    found = integrated_gradients(NET, VOCAB, PREMISE, HYPOTHESIS, label='neutral', steps=300)
    table = NET.bert.encoder.token_embedding.weight.data().asnumpy()[VOCAB[WORDS]]
    with_them, without = (scores(vectors)[2] - scores(vectors).mean() for vectors in (table, 0 * table))
    assert sum(found.values) == pytest.approx(with_them - without, rel=0.03)
    assert sum(saliency(NET, VOCAB, PREMISE, HYPOTHESIS, label='neutral').values) != pytest.approx(
        with_them - without, rel=0.1
    )
    with pytest.raises(SettingsError, match='steps'):
        integrated_gradients(NET, VOCAB, PREMISE, HYPOTHESIS, steps=0)


@pytest.mark.parametrize('function', [occlusion, integrated_gradients, saliency])
def test_without_a_label_the_networks_answer_is_explained_and_nothing_is_left_behind(function):
    before = predict_snli(NET, VOCAB, PREMISE, HYPOTHESIS)
    assert function(NET, VOCAB, PREMISE, HYPOTHESIS).label == before.label
    assert predict_snli(NET, VOCAB, PREMISE, HYPOTHESIS) == before
    assert not NET.bert.encoder.token_embedding._forward_hooks
    with pytest.raises(SettingsError, match='unknown label'):
        function(NET, VOCAB, PREMISE, HYPOTHESIS, label='maybe')


@pytest.mark.parametrize('function', [attention, occlusion, integrated_gradients, saliency])
def test_a_sentence_without_words_is_named(function):
    with pytest.raises(DataError, match='no words'):
        function(NET, VOCAB, 'a dog', ' ')


def test_counterfactuals_are_single_words_whose_exchange_flips_the_answer():
    net, bert = load_checkpoint('bert-nli-small'), load_checkpoint('bert-wikitext2')
    pair = 'A man sleeps in the park.', 'A person sleeps.'
    found = counterfactuals(net.net, bert.net, net.vocab, *pair, top=6)
    before = predict_snli(net.net, net.vocab, *pair).label
    for one in found[:4]:
        changed = dict(zip(('premise', 'hypothesis'), pair))
        assert one.word in words(changed[one.sentence])
        changed[one.sentence] = re.sub(rf'\b{one.word}\b', one.instead, changed[one.sentence].lower())
        answer = predict_snli(net.net, net.vocab, **changed, max_unknown=None)
        assert answer.label == one.label != before
        assert max(answer.probabilities) == pytest.approx(one.probability, abs=1e-4)
    assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)
    assert all(any(map(str.isalnum, one.instead)) for one in found)
    gap = 'a man <mask> in the park .'.split()
    guessed = {guess.word for guess in fill_mask(bert.net, bert.vocab, gap, 6)[0]}
    assert {one.instead for one in found if one[:2] == ('premise', 'sleeps')} <= guessed
    with pytest.raises(SettingsError, match='vocabulary'):
        counterfactuals(net.net, NET.bert, net.vocab, *pair)


# --- vectors --------------------------------------------------------------------------------------


def test_cls_vectors_lead_to_the_predictions_in_the_order_of_the_pairs():
    pairs = [SentencePair('a dog run', 'a man ' * length) for length in (5, 1, 9, 2)]
    vectors = cls_vectors(NET, VOCAB, pairs, batch_size=3)
    rows = NET.classifier(np.array(vectors)).asnumpy()
    expected = [predict_snli(NET, VOCAB, *pair[:2]).probabilities for pair in pairs]
    shares = onp.exp(rows) / onp.exp(rows).sum(axis=1, keepdims=True)
    assert onp.allclose(shares, expected, atol=1e-5)


def test_no_pairs_are_refused():
    with pytest.raises(DataError, match='no pairs'):
        cls_vectors(NET, VOCAB, [])


def test_the_nearest_words_are_those_of_the_largest_cosine():
    net = random_weights(BERTModel(len(VOCAB), 2, 4, 1, 1, 0))
    angles = onp.linspace(0, 2.5, len(VOCAB))  # ordered by number: the neighbours of a word stand beside it
    table = onp.stack([onp.cos(angles), onp.sin(angles)], axis=1) * onp.arange(1, len(VOCAB) + 1)[:, None]
    net.encoder.token_embedding.weight.set_data(np.array(table))
    number = VOCAB['the']
    found = nearest_words(net, VOCAB, 'The', count=2)
    assert {VOCAB[neighbour.word] for neighbour in found} == {number - 1, number + 1}
    assert found[0].similarity == pytest.approx(onp.cos(angles[1]), abs=1e-5)
    assert not {'<cls>', '<unk>'} & {n.word for n in nearest_words(net, VOCAB, 'the', count=99)}


@pytest.mark.parametrize('word', ['unseen', '<cls>', ''])
def test_a_word_without_a_vector_of_its_own_is_refused(word):
    with pytest.raises(DataError, match='no vector'):
        nearest_words(NET, VOCAB, word)


# --- the committed measurement --------------------------------------------------------------------


def test_the_decisive_word_has_the_right_sign_here_and_in_the_committed_measurement():
    script = runpy.run_path(str(ROOT / 'data' / 'measure_occlusion.py'))
    committed = json.loads((ROOT / 'data' / 'results' / 'occlusion.json').read_text(encoding='utf-8'))['rows']
    here = script['measure']({'sample': None}, count=3)
    assert here[0]['sign'] == 1
    assert here[0]['correlation'] > 0.999
    assert [row['name'] for row in committed[:3]] == [row['name'] for row in here]
    assert [row['pairs'] for row in committed] == [200] * 6
    for deleted, _, gradient in (committed[:3], committed[3:]):
        assert deleted['sign'] >= 0.95 > 0.7 > gradient['sign']
