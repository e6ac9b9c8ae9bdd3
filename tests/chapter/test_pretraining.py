"""One pretraining step against the chapter's; the same on any number of devices; and it learns."""

import math
import re

import numpy as onp
import pytest
from small_models import (
    MAX_LEN,
    C,
    F,
    H,
    V,
    assert_close,
    but_key_biases,
    gradients_of,
    pretraining_batch,
    random_weights,
    small_bert,
    weights_of,
)

from bertnli import BERTModel, BertNLIError, PretrainSettings, SettingsError, cpu_devices, train_bert
from bertnli import pretraining as module
from bertnli.fast import scoring
from bertnli.runtime import autograd, d2l, gluon, mx, np
from bertnli.settings import changed

LOSS = gluon.loss.SoftmaxCrossEntropyLoss()
SETTINGS = PretrainSettings(num_steps=3)


def step(net, batch, devices=None, loss=LOSS):
    """Sums of both losses, M and all gradients of one step without its update."""
    words_and_losses = module.train_batch_bert(net, batch, loss, V, devices or [mx.cpu()])
    mlm, nsp, words = words_and_losses
    return sum(x.item() for x in mlm), sum(x.item() for x in nsp), words, gradients_of(net)


def plain(monkeypatch):
    monkeypatch.setattr(module, '_is_plain', lambda net, loss: False)


@pytest.mark.parametrize('rows', [8, 1024])  # scored in several parts, the last not full, or at once
@pytest.mark.parametrize(('count', 'places', 'longest'), [(5, 4, 13), (3, 1, 6), (1, 7, 9)])
def test_the_lean_step_is_the_plain_step(count, places, longest, rows, monkeypatch):
    monkeypatch.setattr(scoring, '_ROWS', rows)
    monkeypatch.setattr(scoring, '_FILL', 4)
    batch = pretraining_batch(count, places, longest)
    assert module._is_plain(small_bert(), LOSS)
    lean = step(small_bert(), batch)
    plain(monkeypatch)
    expected = step(small_bert(), batch)
    assert lean[:3] == pytest.approx(expected[:3], rel=1e-5)
    assert_close(lean[3], expected[3])


@pytest.mark.parametrize('lean', [True, False])
@pytest.mark.parametrize('seed', [5, 6])
def test_gradients_are_the_chapters_times_the_number_of_masked_words(lean, seed, monkeypatch, tmp_path):
    """The chapter takes the mean of each loss; here sums over M words are divided by M in the update."""
    batch = pretraining_batch(5, seed=seed)
    ours = small_bert()
    theirs = d2l.BERTModel(V, C, F, H, 2, 0, MAX_LEN)
    ours.save_parameters(str(tmp_path / 'weights'))
    theirs.load_parameters(str(tmp_path / 'weights'))
    with autograd.record():
        mlm, nsp, total = d2l._get_batch_loss_bert(theirs, LOSS, V, *([x] for x in batch))
    total[0].backward()
    if not lean:
        plain(monkeypatch)
    our_mlm, our_nsp, words, gradients = step(ours, batch)
    assert words == batch[4].sum().item()
    assert our_mlm / words == pytest.approx(mlm[0].item(), rel=1e-5)
    assert our_nsp / 5 == pytest.approx(nsp[0].item(), rel=1e-5)
    assert_close({name: g / words for name, g in gradients.items()}, gradients_of(theirs))


def test_a_d2l_bert_is_trained_by_the_plain_step_with_the_same_result(tmp_path):
    ours = small_bert()
    ours.save_parameters(str(tmp_path / 'weights'))
    theirs = d2l.BERTModel(V, C, F, H, 2, 0, MAX_LEN)
    theirs.load_parameters(str(tmp_path / 'weights'))
    batch = pretraining_batch(4)
    assert not module._is_plain(theirs, LOSS)
    for net in (ours, theirs):
        train_bert([batch], net, LOSS, V, [mx.cpu()], settings=SETTINGS, progress=False)
    assert_close(but_key_biases(weights_of(theirs)), but_key_biases(weights_of(ours)), 1e-4)


@pytest.mark.parametrize(
    'loss',
    [
        gluon.loss.SoftmaxCrossEntropyLoss(weight=2.0),
        gluon.loss.SoftmaxCrossEntropyLoss(from_logits=True),
        gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False),
        gluon.loss.SoftmaxCrossEntropyLoss(axis=0),
        gluon.loss.L2Loss(),
    ],
)
def test_only_the_loss_whose_gradient_is_known_takes_the_lean_step(loss):
    assert not module._is_plain(small_bert(), loss)


@pytest.mark.parametrize('lean', [True, False])
@pytest.mark.parametrize('size', [1, 2, 5, 7])
def test_one_device_is_two_is_three_devices_whatever_the_parts_of_a_batch(size, lean, monkeypatch):
    """Also where a batch has fewer examples than there are devices, before and after a full one."""
    if not lean:
        plain(monkeypatch)
    batches = [pretraining_batch(7, seed=1), pretraining_batch(size, seed=2), pretraining_batch(4, seed=3)]
    results = []
    for count, parts in [(1, 1), (2, 1), (3, 1), (1, 3), (2, 2)]:
        settings = changed(SETTINGS, learning_rate=1e-2, weight_decay=0.1, clip=0.5, accumulate=parts)
        net, records = small_bert(cpu_devices(count)), []
        train_bert(
            batches,
            net,
            LOSS,
            V,
            cpu_devices(count),
            1,
            settings=settings,
            on_log=records.append,
            progress=False,
        )
        for device in cpu_devices(count)[1:]:
            for name, array in weights_of(net, device).items():
                assert (array == weights_of(net, mx.cpu(0))[name]).all(), name
        results.append((weights_of(net), records))
    for weights, records in results[1:]:
        assert_close(but_key_biases(weights), but_key_biases(results[0][0]), 1e-4)
        for record, expected in zip(records, results[0][1]):
            assert record == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('count', [2, 3])
def test_gradients_over_several_devices_add_up_to_those_of_one(count):
    batch = pretraining_batch(7)
    one, several = step(small_bert(), batch), step(small_bert(cpu_devices(count)), batch, cpu_devices(count))
    assert several[:3] == pytest.approx(one[:3], rel=1e-6)
    assert_close(several[3], one[3], 5e-6)


@pytest.mark.parametrize('count', [1, 2])
def test_examples_without_a_masked_word_are_no_trouble(count, monkeypatch):
    batch = list(pretraining_batch(4))
    for empty in ([0, 1], [0, 1, 2, 3]):
        batch[4][empty] = 0  # the first device has none, then no device has any
        lean = step(small_bert(cpu_devices(count)), batch, cpu_devices(count))
        with monkeypatch.context() as patch:
            plain(patch)
            expected = step(small_bert(cpu_devices(count)), batch, cpu_devices(count))
        assert lean[:3] == pytest.approx(expected[:3], rel=1e-5)
        assert_close(lean[3], expected[3])


# 'a b a b …' and 'c d c d …': masked words follow from their neighbours, next sentences from the first word.
def repetitive_batches(count=8, size=16):
    rng = onp.random.default_rng(0)
    for _ in range(count):
        first, second = rng.integers(0, 2, size), rng.integers(0, 2, size)
        words = onp.array([[5, 6] * 3, [7, 8] * 3])
        tokens = onp.concatenate([onp.full((size, 1), 3), words[first], words[second]], axis=1)
        segments = onp.arange(13) > 6
        positions = rng.integers(1, 13, (size, 2))
        answers = onp.take_along_axis(tokens, positions, axis=1)
        onp.put_along_axis(tokens, positions, 2, axis=1)
        yield (
            np.array(tokens, dtype='int32'),
            np.array(onp.tile(segments, (size, 1)), dtype='int32'),
            np.full((size,), 13.0),
            np.array(positions, dtype='int32'),
            np.ones((size, 2)),
            np.array(answers, dtype='int32'),
            np.array(first == second, dtype='float32'),
        )


def test_the_losses_fall_on_a_text_that_repeats_itself():
    net, records = BERTModel(9, 16, 16, 2, 2, 0, 20), []
    net.initialize()
    settings = PretrainSettings(learning_rate=1e-2)
    result = train_bert(
        list(repetitive_batches()),
        net,
        LOSS,
        9,
        None,
        10,
        120,
        settings=settings,
        on_log=records.append,
        progress=False,
    )
    assert records[0]['mlm_loss'] > 1.0
    assert result.mlm_loss < 0.5  # ln 2 = 0.69 is what the place alone, without the context, can tell
    assert result.nsp_loss < 0.1
    assert [record['step'] for record in records] == list(range(10, 121, 10))


def test_the_lines_printed_have_the_chapters_form(capsys):
    result = train_bert([pretraining_batch(4)], small_bert(), LOSS, V, [mx.cpu()], 20, 2, progress=False)
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r'MLM loss \d+\.\d{3}, NSP loss \d+\.\d{3}', first)
    assert re.fullmatch(r'\d+\.\d sentence pairs/sec on \[cpu\(0\)\]', second)
    assert first == f'MLM loss {result.mlm_loss:.3f}, NSP loss {result.nsp_loss:.3f}'
    assert result.pairs_per_second == pytest.approx(8 / result.seconds)


def test_losses_reported_are_means_over_words_and_pairs_since_the_last_report():
    batches, records = [pretraining_batch(n, seed=n) for n in (2, 5, 4)], []
    still = PretrainSettings(learning_rate=1e-30)
    train_bert(
        batches, small_bert(), LOSS, V, None, 2, 3, settings=still, on_log=records.append, progress=False
    )
    sums = [step(small_bert(), batch)[:3] for batch in batches]
    for record, parts, pairs in zip(records, (sums[:2], sums[2:]), (7, 4)):
        mlm, nsp, words = (sum(column) for column in zip(*parts))
        assert record['mlm_loss'] == pytest.approx(mlm / words, rel=1e-5)
        assert record['nsp_loss'] == pytest.approx(nsp / pairs, rel=1e-5)
        assert record['learning_rate'] == pytest.approx(1e-30)
    assert [record['step'] for record in records] == [2, 3]


def test_data_begin_again_until_the_steps_are_done():
    class Epochs:
        begun = 0

        def __iter__(self):
            self.begun += 1
            return iter([pretraining_batch(2), pretraining_batch(3)])

    data, records = Epochs(), []
    train_bert(data, small_bert(), LOSS, V, None, 1, 5, on_log=records.append, progress=False)
    assert len(records) == 5
    assert data.begun == 3


def test_the_same_seed_gives_the_same_weights_bit_by_bit_with_dropout():
    def train(seed):
        net = small_bert(dropout=0.3)
        settings = PretrainSettings(seed=seed)
        train_bert([pretraining_batch(5)], net, LOSS, V, None, 20, 3, settings=settings, progress=False)
        return weights_of(net)

    first, again, other = train(1), train(1), train(2)
    assert all((array == again[name]).all() for name, array in first.items())
    assert not all((array == other[name]).all() for name, array in first.items())


def test_the_number_of_steps_and_devices_have_defaults():
    net, records = small_bert(), []
    train_bert([pretraining_batch(2)], net, LOSS, V, settings=SETTINGS, on_log=records.append, progress=False)
    assert [record['step'] for record in records] == [3]


@pytest.mark.parametrize('part', ['encoder', 'mlm', 'nsp'])
@pytest.mark.parametrize('lean', [True, False])
def test_a_loss_that_is_no_number_stops_the_training(part, lean, monkeypatch):
    if not lean:
        plain(monkeypatch)
    net = small_bert()
    net.mlm.mlp[2].bias.set_data(np.zeros(V))
    broken = {
        'encoder': net.encoder.pos_embedding,
        'mlm': net.mlm.mlp[2].weight,
        'nsp': net.nsp.output.weight,
    }[part]
    broken.set_data(np.full(broken.shape, math.nan))
    with pytest.raises(BertNLIError, match='no longer a finite number') as caught:
        train_bert([pretraining_batch(4)], net, LOSS, V, None, 2, 9, progress=False)
    assert caught.value.where == 'step 1, learning rate 0.001'


def test_zero_steps_and_empty_data_are_refused():
    with pytest.raises(SettingsError, match='invalid num_'):
        train_bert([pretraining_batch(4)], small_bert(), LOSS, V, None, 20, 0)
    with pytest.raises(SettingsError, match='nothing to train on'):
        train_bert([], small_bert(), LOSS, V, None, 20, 3, progress=False)


def test_the_chapters_loss_under_its_old_name_takes_the_lean_step():
    assert module._is_plain(random_weights(small_bert()), gluon.loss.SoftmaxCELoss())
