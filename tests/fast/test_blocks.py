"""The plain encoder against its fast form, and every way to change a part: the plain form must run then."""

import re

import numpy as onp
import pytest
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
)

from bertnli import BERTClassifier, BERTModel, MaskLM, model
from bertnli.devices import cpu_devices
from bertnli.fast import blocks as fast
from bertnli.pretraining import train_batch_bert
from bertnli.runtime import autograd, d2l, gluon, mx, nn, np, set_dropout


def watched(*_):
    """A hook that does nothing: but the plain form runs, for only that calls every part."""


def value_and_gradients(encoder, positions, valid_lens):
    tokens, segments, _ = pairs(4)
    found = []

    def total():
        found.append(encoder.read(tokens, segments, valid_lens, positions))
        weights = onp.random.default_rng(0).normal(size=found[0].shape).astype('float32')
        if positions is None and valid_lens is not None:  # what stands at padding means nothing
            real = onp.arange(tokens.shape[1]) < valid_lens.asnumpy()[:, None]
            found[0] = found[0] * np.array(real[:, :, None].astype('float32'))
        return (found[0] * np.array(weights)).sum()

    run_backward(total)
    return found[0], gradients_of(encoder)


@pytest.mark.parametrize('layers', [1, 2, 3])
@pytest.mark.parametrize('where', ['whole', 'in parts', 'on a GPU'])
@pytest.mark.parametrize('masked', [True, False])
@pytest.mark.parametrize('which', ['all', 'cls', 'some'])
def test_the_plain_form_and_the_fast_one_agree_in_value_and_every_gradient(
    which, masked, where, layers, monkeypatch
):
    if where == 'in parts':
        monkeypatch.setattr(fast, '_LEAST', 1)
    elif where == 'on a GPU':  # what runs there runs here, too
        monkeypatch.setattr(fast, 'in_numpy', lambda *_: False)
    positions = {'all': None, 'cls': fast.CLS, 'some': np.array([[0, 2, 1]] * 4, dtype='int32')}[which]
    valid_lens = pairs(4)[2] if masked else None
    encoder = random_weights(BERTModel(V, C, F, H, layers, 0, MAX_LEN)).encoder
    assert fast.unchanged(encoder)
    found = value_and_gradients(encoder, positions, valid_lens)
    encoder.blks[0].attention.W_o.register_forward_hook(watched)
    assert not fast.unchanged(encoder)
    for one, other in zip(found, value_and_gradients(encoder, positions, valid_lens)):
        assert_close(one, other)


@pytest.mark.parametrize('positions', [None, fast.CLS])
def test_attention_weights_of_both_forms_are_the_same(positions, monkeypatch):
    monkeypatch.setattr(fast, '_LEAST', 1)
    tokens, segments, valid_lens = pairs(4)
    tokens, segments = (np.concatenate([x, x[:, :2]], axis=1) for x in (tokens, segments))  # padded more
    real = onp.arange(tokens.shape[1]) < valid_lens.asnumpy()[:, None]  # (B, T)
    encoder, weights = small_bert().encoder, []
    for hook in (None, watched):
        if hook:
            encoder.blks[0].attention.register_forward_hook(hook)
        encoder.read(tokens, segments, valid_lens, positions)
        for block in encoder.blks:
            shares = block.attention.attention_weights.asnumpy()
            shares = shares.reshape(4, H, *shares.shape[1:])[:, :, : 1 if positions else None]  # (B, H, K, T)
            if positions:  # then nobody computes what padding looks at
                shares = shares * real[:, None, : shares.shape[2], None]
            weights.append(shares)
    block.attention.attention_weights = 'set by a reader'
    assert block.attention.attention_weights == 'set by a reader'
    assert len(weights) == 2 * LAYERS
    for fast_form, plain in zip(weights, weights[LAYERS:]):
        assert fast_form.any()
        assert_close(np.array(fast_form), np.array(plain))


@pytest.mark.parametrize('frozen', ['embedding', 'blks.0', 'W_q|gamma', 'encoder'])
def test_what_a_reader_freezes_stays_and_all_else_has_its_gradient(frozen):
    found = []
    for plain in (False, True):
        net = small_net()
        for name, parameter in net._collect_params_with_prefix().items():
            if re.search(frozen, name):
                parameter.grad_req = 'null'
        if plain:
            net.bert.encoder.blks[0].attention.W_o.register_forward_hook(watched)
        run_backward(lambda net=net: (net(pairs(4)) * np.array([1, -2, 3])).sum())
        parameters = net._collect_params_with_prefix().items()
        found.append({name: p.grad().asnumpy() for name, p in parameters if p.grad_req != 'null'})
    heads = [name for name in found[0] if name.startswith(('bert.mlm', 'bert.nsp', 'bert.hidden'))]
    assert len(found[0]) > len(heads)
    assert_close(found[0], found[1])


def test_dropout_follows_from_mxnets_random_numbers():
    net, seen = small_net(dropout=0.5), []
    for seed in (1, 1, 2):
        mx.random.seed(seed)
        run_backward(lambda: net(pairs(4)).sum())
        seen.append(gradients_of(net))
    name = 'bert.encoder.token_embedding.weight'
    assert (seen[0][name] == seen[1][name]).all()
    assert (seen[0][name] != seen[2][name]).any()
    with autograd.record(train_mode=False):
        assert_close(net(pairs(4)), net(pairs(4)), 0)


@pytest.mark.parametrize('part', [0, 1, 2])
def test_each_dropout_of_a_block_has_its_own_rate(part):
    net = small_net()
    block = net.bert.encoder.blks[0]
    layer = [block.attention, block.addnorm1, block.addnorm2][part].dropout
    before = net(pairs(4))
    set_dropout(layer, 0.9)
    with autograd.record():
        assert abs(net(pairs(4)) - before).max() > 1e-3
    assert_close(net(pairs(4)), before, 0)  # not outside training


class LooksEverywhere(model.MultiHeadAttention):
    """Padding is looked at as well."""

    def masked_softmax(self, scores, valid_lens):
        return super().masked_softmax(scores, None)


class AddOnly(model.AddNorm):
    def forward(self, X, Y):
        return X + Y


def replace_attention(encoder):
    encoder.blks[0].attention = random_weights(LooksEverywhere(C, H, 0))


def replace_norm(encoder):
    encoder.blks[LAYERS - 1].addnorm2 = AddOnly(C, 0)


def replace_epsilon(encoder):
    encoder.blks[0].addnorm1.ln = nn.LayerNorm(epsilon=0.5)  # its size is not known before it runs
    encoder.blks[0].addnorm1.ln.initialize()


def leave_out_a_bias(encoder):
    encoder.blks[0].attention.W_q = nn.Dense(C, flatten=False, use_bias=False, in_units=C)
    encoder.blks[0].attention.W_q.initialize()


def replace_segments(encoder):
    del encoder.segment_embedding  # MXNet lets only a subclass take a place that is not empty
    encoder.segment_embedding = nn.Sequential()
    encoder.segment_embedding.add(random_weights(nn.Embedding(2, C)))


def replace_forward_of_one_block(encoder):
    encoder.blks[0].forward = lambda X, valid_lens: X


def change_by_hook(encoder):
    encoder.blks[0].attention.register_forward_hook(lambda _block, _inputs, output: output.__imul__(0))


CHANGES = [
    replace_attention,
    replace_norm,
    replace_epsilon,
    leave_out_a_bias,
    replace_segments,
    replace_forward_of_one_block,
    change_by_hook,
]


@pytest.mark.parametrize('change', CHANGES)
def test_what_a_reader_changes_has_effect_in_every_call(change):
    bert, inputs, batch = small_bert(), pairs(4), pretraining_batch(4)
    net = BERTClassifier(bert)
    random_weights(net.classifier)
    before = [net(inputs), bert(*batch[:4])[0], bert.encoder.read(*inputs)]
    change(bert.encoder)
    after = [net(inputs), bert(*batch[:4])[0], bert.encoder.read(*inputs)]
    for old, new in zip(before, after):
        assert abs(old - new).max() > 1e-3
    assert_close(after[2], bert.encoder(*inputs))


@pytest.mark.parametrize('part', ['attention', 'addnorm1', 'ffn', 'block'])
def test_d2ls_blocks_stand_in_for_ours(part, tmp_path):
    net, inputs = small_net(), pairs(4)
    expected, block = net(inputs), net.bert.encoder.blks[0]
    theirs = {
        'attention': lambda: d2l.MultiHeadAttention(C, H, 0, use_bias=True),
        'addnorm1': lambda: d2l.AddNorm(0),
        'ffn': lambda: d2l.PositionWiseFFN(F, C),
        'block': lambda: getattr(d2l, 'TransformerEncoderBlock', getattr(d2l, 'EncoderBlock', None))(
            C, F, H, 0, use_bias=True
        ),
    }[part]()
    ours = block if part == 'block' else getattr(block, part)
    ours.save_parameters(str(tmp_path / 'weights'))
    theirs.load_parameters(str(tmp_path / 'weights'))
    if part == 'block':
        blks = nn.Sequential()
        blks.add(theirs, *list(net.bert.encoder.blks)[1:])
        net.bert.encoder.blks = blks
    else:
        delattr(block, part)
        setattr(block, part, theirs)
    assert not fast.unchanged(net.bert.encoder)
    assert_close(net(inputs), expected)


def test_a_class_replaced_before_the_model_is_built_has_effect(monkeypatch):
    monkeypatch.setattr(model, 'AddNorm', AddOnly)
    net = small_net()
    monkeypatch.undo()
    assert abs(net(pairs(4)) - small_net()(pairs(4))).max() > 1e-3


class Forgetful(MaskLM):
    """Scores no word above another."""

    def forward(self, X, pred_positions):
        return super().forward(X, pred_positions) * 0


def test_pretraining_calls_a_head_that_was_replaced():
    sums = []
    for head in (None, Forgetful):
        net = small_bert()
        if head:
            net.mlm = random_weights(head(*net.mlm.output.weight.shape))
        batch = pretraining_batch(5)
        loss = gluon.loss.SoftmaxCrossEntropyLoss()
        mlm, _, words = train_batch_bert(net, batch, loss, len(net.mlm.output.bias.data()), cpu_devices(1))
        sums.append(sum(one.item() for one in mlm) / words)
    assert sums[0] != pytest.approx(sums[1])
    assert sums[1] == pytest.approx(onp.log(31))  # all 31 words alike


def test_the_fast_form_is_the_one_that_runs(monkeypatch):
    called = []
    encode = fast.encode
    monkeypatch.setattr(fast, 'encode', lambda *inputs: called.append(1) or encode(*inputs))
    net, batch = small_net(), pretraining_batch(4)
    net(batch[:3])
    net.bert(*batch[:4])
    net.bert.set_dropout(0.5)
    net.bert.encoder.read(*batch[:3])
    assert len(called) == 3
    assert fast.unchanged(net.bert)
    assert not fast.unchanged(d2l.BERTModel(9, C, F, H, 1, 0).encoder)
    assert not fast.unchanged(type('Mine', (BERTModel,), {})(9, C, F, H, 1, 0))


@pytest.mark.parametrize('grad_req', ['write', 'add'])
def test_gradients_of_several_calls_add_up(grad_req):
    found = []
    for plain in (False, True):
        net = small_net()
        net.collect_params().setattr('grad_req', grad_req)
        if plain:
            net.bert.encoder.blks[0].attention.W_o.register_forward_hook(watched)
        for _ in range(2):  # 'write' keeps the last
            run_backward(lambda net=net: net(pairs(4)).sum() + (net(pairs(3, seed=1)) ** 2).sum())
        found.append(gradients_of(net))
    assert_close(found[0], found[1])


@pytest.fixture
def mixing():
    """An encoder of 400 words with 64 units, and each of its words ten times."""
    encoder = BERTModel(400, 64, 8, 2, 1, 0.0, max_len=16).encoder
    encoder.initialize(mx.init.Normal(1))
    encoder.mixed = 0.5
    return encoder, np.array(onp.tile(onp.arange(400), 10), dtype='int32')


def test_mixed_words_stay_like_themselves_and_common_ones_stay(mixing):
    encoder, words = mixing
    with autograd.predict_mode():
        plain = encoder.words(words).asnumpy()
    with autograd.train_mode():
        first, second = (encoder.words(words).asnumpy() for _ in range(2))
    assert (first != second).any()
    cosine = (first * plain).sum(1) / onp.linalg.norm(first, axis=1) / onp.linalg.norm(plain, axis=1)
    mixed = (first != plain).any(axis=1)
    assert not mixed.reshape(10, 400)[:, :100].any()
    assert mixed.reshape(10, 400)[:, 100:].mean() == pytest.approx(0.5, abs=0.05)
    # Evenly from 0.4 to 1, but for what two words have in common by chance: about 1/8 of 64 units.
    low, middle, high = onp.percentile(cosine[mixed], [10, 50, 90])
    assert low == pytest.approx(0.45, abs=0.1)
    assert middle == pytest.approx(0.7, abs=0.05)
    assert high == pytest.approx(0.94, abs=0.05)
    size = onp.linalg.norm(first[mixed], axis=1) / onp.linalg.norm(plain[mixed], axis=1)
    assert size.mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize('form', ['fast', 'plain', 'on a GPU'])
def test_each_form_mixes_words_in_training_only(mixing, form, monkeypatch):
    encoder, words = mixing
    if form == 'plain':
        encoder.blks[0].register_forward_hook(watched)
    elif form == 'on a GPU':
        monkeypatch.setattr(fast, 'in_numpy', lambda *_: False)
    inputs = words.reshape(-1, 10), np.zeros((400, 10), dtype='int32'), None, fast.CLS
    mean = {}
    for share in (0.0, 0.9):
        encoder.mixed = share
        mx.random.seed(1)
        with autograd.record():
            mean[share] = encoder.read(*inputs).asnumpy()
        assert onp.allclose(encoder.read(*inputs).asnumpy(), mean[0.0], atol=1e-4)
    assert abs(mean[0.9] - mean[0.0]).mean() > 0.01
