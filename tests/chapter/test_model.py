"""Our BERT against d2l's, weight for weight; and an answer that depends on its own sentences alone."""

import pickle

import numpy as onp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import (
    LAYERS,
    MAX_LEN,
    C,
    F,
    H,
    V,
    assert_close,
    gradients_of,
    pairs,
    pretraining_batch,
    random_weights,
    run_backward,
    small_bert,
    small_net,
    weights_of,
)

from bertnli import BERTClassifier, BERTEncoder, BERTModel, MaskLM, NextSentencePred, SettingsError
from bertnli.fast.blocks import CLS
from bertnli.runtime import autograd, d2l, init, mx, np, npx

# vocab_size, num_hiddens, ffn_num_hiddens, num_heads, blocks, max_len; then B, T, P
SHAPES = [
    ((31, 12, 10, 3, 2, 17), (5, 13, 4)),
    ((11, 8, 19, 2, 1, 7), (3, 6, 2)),
    ((23, 10, 7, 5, 3, 29), (2, 9, 6)),
    ((8, 3, 5, 1, 2, 6), (1, 4, 1)),
]


def make(cls, sizes, batch=None):
    """A BERT of ours or d2l's; d2l's knows the shapes of its heads only when it has run once."""
    vocab_size, num_hiddens, ffn, heads, blocks, max_len = sizes
    net = cls(vocab_size, num_hiddens, ffn, heads, blocks, 0, max_len)
    if batch:
        net.initialize(init.Normal(0.3))
        net(*batch[:4])
        random_weights(net)
    return net


def batch_of(sizes, batch):
    return pretraining_batch(batch[0], batch[2], batch[1], sizes[0])


def outputs_and_gradients(net, batch):
    """The three outputs, and all gradients of a sum in which every real position has its own weight."""
    tokens, segments, valid_lens, positions = batch[:4]
    valid = npx.sequence_mask(np.ones((*tokens.shape, 1)), valid_lens, True, axis=1)
    results = []

    def total():
        encoded_X, mlm_Y_hat, nsp_Y_hat = net(tokens, segments, valid_lens, positions)
        results.extend([encoded_X * valid, mlm_Y_hat, nsp_Y_hat])
        rng = onp.random.default_rng(1)
        return sum((Y * np.array(rng.normal(size=Y.shape).astype('float32'))).sum() for Y in results)

    run_backward(total)
    return results, gradients_of(net)


@pytest.mark.parametrize(('sizes', 'batch'), SHAPES)
def test_ours_and_d2ls_agree_in_all_outputs_and_every_gradient(sizes, batch, tmp_path):
    batch = batch_of(sizes, batch)
    theirs = make(d2l.BERTModel, sizes, batch)
    theirs.save_parameters(str(tmp_path / 'weights'))
    ours = make(BERTModel, sizes)
    ours.load_parameters(str(tmp_path / 'weights'))
    our_outputs, our_gradients = outputs_and_gradients(ours, batch)
    their_outputs, their_gradients = outputs_and_gradients(theirs, batch)
    for found, expected in zip(our_outputs, their_outputs):
        assert_close(found, expected)
    assert len(our_gradients) == 16 * sizes[4] + 13
    assert_close(our_gradients, their_gradients)


def test_the_gradients_compared_are_none_of_them_zero_but_one():
    _, gradients = outputs_and_gradients(small_bert(), pretraining_batch(5))
    largest = {name: abs(array).max() for name, array in gradients.items()}
    assert {name for name, size in largest.items() if size < 1e-3} == {
        f'encoder.blks.{n}.attention.W_k.bias' for n in range(LAYERS)
    }


@pytest.mark.parametrize(('sizes', 'batch'), SHAPES[:2])
def test_weights_load_both_ways(sizes, batch, tmp_path):
    batch = batch_of(sizes, batch)
    path = str(tmp_path / 'weights')
    for source, target in ((BERTModel, d2l.BERTModel), (d2l.BERTModel, BERTModel)):
        written, read = make(source, sizes, batch), make(target, sizes)
        written.save_parameters(path)
        read.load_parameters(path)
        expected = weights_of(written)
        assert weights_of(read).keys() == expected.keys()
        for name, array in weights_of(read).items():
            assert (array == expected[name]).all()


def test_without_valid_lengths_every_word_counts():
    tokens, segments, _, positions, *_ = pretraining_batch(3)
    net = small_bert()
    full = np.full((3,), tokens.shape[1])
    for found, expected in zip(
        net(tokens, segments, None, positions), net(tokens, segments, full, positions)
    ):
        assert_close(found, expected)
    assert net(tokens, segments)[1] is None


@pytest.mark.parametrize('which', ['cls', 'first', 'some', 'repeated', 'all'])
def test_reading_some_positions_gives_the_rows_of_the_full_encoding_and_its_gradients(which):
    tokens, segments, valid_lens = pairs(4)
    steps = tokens.shape[1]
    columns = {'cls': [0], 'first': [0], 'some': [7, 0, 2], 'repeated': [1, 1], 'all': range(steps)}[which]
    positions = onp.array([columns] * 4)
    if which == 'some':
        positions[1] = [0, 5, 12]  # each example has its own
    encoder = small_bert().encoder
    weight = np.array(onp.random.default_rng(0).normal(size=(4, len(columns), C)).astype('float32'))
    values, gradients = [], []

    def full():
        rows = encoder(tokens, segments, valid_lens)
        picked = [rows[b, int(t)] for b, row in enumerate(positions) for t in row]
        values.append(np.stack(picked).reshape(4, len(columns), C))
        return (values[-1] * weight).sum()

    def lean():
        read = CLS if which == 'cls' else np.array(positions, dtype='int32')
        values.append(encoder.read(tokens, segments, valid_lens, read))
        return (values[-1] * weight).sum()

    for function in (full, lean):
        run_backward(function)
        gradients.append(gradients_of(encoder))
    assert_close(values[1], values[0])
    assert_close(gradients[1], gradients[0])


def test_reading_everything_is_the_encoding():
    encoder, inputs = small_bert().encoder, pairs(3)
    assert_close(encoder.read(*inputs), encoder(*inputs))


def test_predicting_only_the_real_masked_words_gives_their_scores():
    batch = pretraining_batch(5)
    net = small_bert()
    _, mlm_Y_hat, nsp_Y_hat = net(*batch[:4])
    real = onp.flatnonzero(batch[4].asnumpy())
    vectors, next_scores = net.predict(*batch[:4], np.array(real, dtype='int32'))
    expected = mlm_Y_hat.asnumpy().reshape(-1, V)[real]
    assert 5 < len(real) < batch[4].size
    assert_close(net.mlm.output(vectors), expected)
    assert_close(next_scores, nsp_Y_hat)


NET = small_net()


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.integers(0, V - 1), min_size=2, max_size=11), min_size=1, max_size=5),
    st.integers(0, 4),
    st.integers(0, V - 1),
    st.randoms(use_true_random=False),
)
def test_an_answer_does_not_depend_on_batch_mates_order_or_padding(sentences, extra, filler, random):
    order = list(range(len(sentences)))
    random.shuffle(order)
    width = max(map(len, sentences)) + extra
    padded = onp.array([sentences[i] + [filler] * (width - len(sentences[i])) for i in order])
    segments = onp.array([[int(2 * t > len(sentences[i])) for t in range(width)] for i in order])
    lengths = onp.array([len(sentences[i]) for i in order])
    together = NET([np.array(x, dtype='int32') for x in (padded, segments, lengths)]).asnumpy()
    for row, i in enumerate(order):
        end = len(sentences[i])
        alone = NET([np.array(x[row : row + 1, :end], dtype='int32') for x in (padded, segments)] + [None])
        assert_close(together[row : row + 1], alone.asnumpy())


def test_the_whole_model_does_not_depend_on_batch_mates_or_padding():
    batch = pretraining_batch(5)
    net = small_bert()
    encoded_X, mlm_Y_hat, nsp_Y_hat = (Y.asnumpy() for Y in net(*batch[:4]))
    for b in range(5):
        end = int(batch[2][b].item())
        tokens, segments = (x[b : b + 1, :end] for x in batch[:2])
        alone = net(tokens, segments, None, batch[3][b : b + 1])
        assert_close(encoded_X[b : b + 1, :end], alone[0])
        assert_close(mlm_Y_hat[b : b + 1], alone[1])
        assert_close(nsp_Y_hat[b : b + 1], alone[2])


def test_a_classifier_around_d2ls_bert_is_a_classifier_around_ours(tmp_path):
    sizes, batch = (V, C, F, H, LAYERS, MAX_LEN), pretraining_batch(5)
    theirs = BERTClassifier(make(d2l.BERTModel, sizes, batch))
    random_weights(theirs)
    theirs.save_parameters(str(tmp_path / 'weights'))
    ours = BERTClassifier(make(BERTModel, sizes))
    ours.load_parameters(str(tmp_path / 'weights'))
    found = []
    for net in (ours, theirs):
        run_backward(lambda net=net: (net(batch[:3]) ** 2).sum())
        moved = net.bert.encoder, net.classifier
        found.append((net(batch[:3]), *map(gradients_of, moved)))
    for one, other in zip(*found):
        assert_close(one, other)


def test_the_classifier_has_the_chapters_parts_and_number_of_labels():
    net = small_net()
    assert [layer.weight.shape for layer in net.classifier] == [(256, C), (3, 256)]
    assert small_net()(pairs(4)).shape == (4, 3)
    five = BERTClassifier(small_bert(), num_labels=5)
    five.classifier.initialize()
    assert five(pairs(4)).shape == (4, 5)


def test_blocks_may_be_called_layers_as_in_the_seed_or_blks_as_in_newer_editions():
    for blocks in ({'num_layers': 3}, {'num_blks': 3}):
        net = BERTModel(V, num_hiddens=C, ffn_num_hiddens=F, num_heads=H, dropout=0.2, **blocks)
        assert len(net.encoder.blks) == net.settings.num_layers == 3
        assert net.encoder.pos_embedding.shape == (1, 1000, C)


@pytest.mark.parametrize('blocks', [{'num_layers': 3}, {'num_blks': 3}])
def test_the_encoder_knows_both_names_of_its_blocks(blocks):
    encoder = BERTEncoder(V, C, F, H, dropout=0, **blocks)
    assert len(encoder.blks) == 3
    for both in ({}, {'num_layers': 2, 'num_blks': 2}):
        with pytest.raises(SettingsError, match='num_blks'):
            BERTEncoder(V, C, F, H, dropout=0, **both)


@pytest.mark.parametrize('blocks', [{}, {'num_layers': 2, 'num_blks': 3}, {'num_layers': 0}])
def test_no_number_of_blocks_or_two_different_ones_are_refused(blocks):
    with pytest.raises(SettingsError, match='num_layers'):
        BERTModel(V, C, F, H, dropout=0, **blocks)


def test_the_cells_on_the_heads_run_with_the_chapters_arguments():
    encoded_X = np.ones((2, 8, C))
    mlm, nsp = MaskLM(V, C), NextSentencePred()
    mlm.initialize()
    nsp.initialize()
    assert mlm(encoded_X, np.array([[1, 5, 2], [6, 1, 5]])).shape == (2, 3, V)
    assert nsp(encoded_X[:, 0]).shape == (2, 2)


def test_the_parts_of_the_classifier_have_the_names_of_both_editions():
    for cls in (BERTModel, d2l.BERTModel):
        bert = cls(V, C, F, H, LAYERS, 0, MAX_LEN)
        net = BERTClassifier(bert)
        bert.initialize()
        net.output.initialize()  # the cell of edition 1.0.3
        assert net(pairs(4)).shape == (4, 3)
        assert (net.encoder, net.hidden, net.output) == (bert.encoder, bert.hidden, net.classifier)


def test_what_is_not_a_bert_gets_no_classifier():
    with pytest.raises(SettingsError, match='not a BERT') as caught:
        BERTClassifier(small_bert().encoder)
    assert caught.value.found == 'bertnli.model.BERTEncoder'


def test_heads_that_do_not_divide_the_units_are_refused():
    with pytest.raises(SettingsError, match='multiple of num_heads') as caught:
        BERTModel(V, 10, F, 4, 1, 0)
    assert '10 units, 4 heads' in str(caught.value)
    assert 'num_hiddens=12' in str(caught.value)


def test_a_sequence_longer_than_the_position_table_is_refused():
    net = small_net()
    with pytest.raises(SettingsError, match='longer than the position table') as caught:
        net(pairs(2, MAX_LEN + 1))
    assert str(MAX_LEN) in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).found == MAX_LEN + 1
    assert net(pairs(2, MAX_LEN)).shape == (2, 3)


def test_dropout_works_in_training_only_and_in_every_place_the_chapter_has_it():
    net, inputs = small_net(dropout=0.5), pairs(4)
    assert (net(inputs) == net(inputs)).all()
    layers = [
        layer
        for blk in net.bert.encoder.blks
        for layer in (blk.attention.dropout, blk.addnorm1.dropout, blk.addnorm2.dropout)
    ]
    assert [layer._rate for layer in layers] == [0.5] * 3 * LAYERS
    for layer in [*layers, None]:  # one alone, and then none
        for other in layers:
            other._rate = 0.5 * (other is layer)
        with autograd.record():
            assert (net(inputs) == net(inputs)).all() == (layer is None)


def test_dropout_can_be_changed_in_all_places_at_once():
    bert = BERTModel(11, 12, 8, 3, 2, 0.5)
    bert.set_dropout(0.0)
    bert.initialize()
    tokens = np.ones((2, 5), dtype='int32')
    with autograd.record():
        once, again = (bert(tokens, tokens * 0)[0] for _ in range(2))
    assert (once == again).all()
    assert bert.settings.dropout == 0.0


def test_words_segments_and_positions_start_at_the_same_scale():
    bert = BERTModel(3000, 64, 8, 2, 1, 0.0)
    bert.initialize(init.Xavier())
    encoder = bert.encoder
    tables = encoder.token_embedding.weight, encoder.segment_embedding.weight, encoder.pos_embedding
    spread = [table.data().std().item() for table in tables]
    assert max(spread) < 1.2 * min(spread)


def test_attention_weights_of_the_last_call_are_kept_for_the_pictures():
    net, (tokens, segments, valid_lens) = small_net(), pairs(4)
    net((tokens, segments, valid_lens))
    first, last = (blk.attention.attention_weights for blk in net.bert.encoder.blks)
    assert first.shape == (4 * H, tokens.shape[1], tokens.shape[1])
    assert last.shape == (4 * H, 1, tokens.shape[1])  # only '<cls>' asks there
    assert_close(first.sum(axis=-1), onp.ones(first.shape[:2]))


def test_the_encoder_can_stand_alone_with_the_chapters_arguments():
    encoder = BERTEncoder(V, C, F, H, 2, 0.1, max_len=9)
    encoder.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    tokens, segments, valid_lens = (x.as_in_ctx(mx.cpu(1)) for x in pairs(3, 8))
    encoded_X = encoder(tokens, segments, valid_lens)
    assert encoded_X.shape == (3, 8, C)
    assert encoded_X.ctx == mx.cpu(1)
