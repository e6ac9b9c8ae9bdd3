"""Calls as the book's cells make them: what the cells alone would not tell when it is wrong."""

import numpy as onp
import pytest
from small_models import V, labelled_pairs, pretraining_batch, small_bert, small_net

from bertnli import (
    FinetuneSettings,
    PretrainSettings,
    SettingsError,
    cpu_devices,
    evaluate_accuracy_gpus,
    train_batch_ch13,
    train_bert,
    train_ch13,
    train_nli,
)
from bertnli.runtime import d2l, gluon, init, mx, nn, np

LOSS = gluon.loss.SoftmaxCrossEntropyLoss()


@pytest.mark.parametrize(
    ('steps', 'named', 'logged'),
    [
        ((3,), {}, [3]),  # edition 1.0.3: the number of steps
        ((2, 5), {}, [2, 4, 5]),  # March 2020: how often to log, and the number of steps
        ((), {'log_interval': 1, 'num_steps': 2}, [1, 2]),
        ((4,), {'log_interval': 3}, [3, 4]),
    ],
)
def test_pretraining_takes_as_many_steps_as_either_edition_asks_for(steps, named, logged):
    records = []
    options = {'on_log': records.append, 'progress': False, **named}
    train_bert([pretraining_batch(2)], small_bert(), LOSS, V, [mx.cpu()], *steps, **options)
    assert [record['step'] for record in records] == logged


def test_the_devices_may_be_called_as_in_march_2020(capsys):
    devices = cpu_devices(2)
    train_bert([pretraining_batch(2)], small_bert(devices), LOSS, V, ctx=devices, num_steps=1, progress=False)
    net, data = small_net(devices), [labelled_pairs(4)]
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
    train_ch13(net, data, data, LOSS, trainer, 1, ctx=devices, progress=False)
    assert capsys.readouterr().out.count('[cpu(0), cpu(1)]') == 2


@pytest.mark.parametrize('count', [1, 2])
def test_data_with_one_input_is_split_as_d2l_splits_it(count, capsys):
    """Images and sentiment: a batch is an array and its labels, not a tuple of arrays."""
    devices, rng = cpu_devices(count), onp.random.default_rng(0)
    X = np.array(rng.normal(size=(12, 4)), dtype='float32')
    y = np.array(X[:, 0] > 0, dtype='float32')
    net = nn.Dense(2, in_units=4)
    net.initialize(init.Xavier(), ctx=devices)
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
    data = [(X[:7], y[:7]), (X[7:8], y[7:8]), (X[8:], y[8:])]  # one batch is smaller than two devices
    train_ch13(net, data, data, LOSS, trainer, 10, devices, progress=False)
    assert evaluate_accuracy_gpus(net, data) > 0.8
    assert train_batch_ch13(net, X, y, LOSS, trainer, devices)[1] > 0.8 * 12
    assert len(capsys.readouterr().out.splitlines()) == 2


def train(kind, on_log=None):
    options = {'progress': False, 'on_log': on_log}
    if kind == 'pretrain':
        settings = PretrainSettings(num_steps=30)
        return train_bert(
            [pretraining_batch(2)], small_bert(), LOSS, V, log_interval=1, settings=settings, **options
        )
    data = [labelled_pairs(2)] * 5
    return train_nli(small_net(), data, data, FinetuneSettings(num_epochs=9), **options)


@pytest.mark.parametrize('kind', ['pretrain', 'finetune'])
def test_a_result_as_last_line_of_a_cell_is_one_line(kind):
    result = train(kind)
    assert len(result.history) > 25
    assert '\n' not in repr(result)
    assert len(repr(result)) < 250


@pytest.mark.parametrize('kind', ['pretrain', 'finetune'])
def test_after_a_training_random_numbers_are_those_of_the_readers_seed(kind):
    """Each step seeds its dropout; a layer made afterwards must not be the same for every seed."""

    def layer_after(seed):
        mx.random.seed(seed)
        train(kind)
        layer = nn.Dense(3, in_units=2)
        layer.initialize(init.Uniform())
        return layer.weight.data().asnumpy().tolist()

    assert layer_after(1) == layer_after(1) != layer_after(2)


class TheirClassifier(nn.Block):
    """The class that edition 1.0.3 writes in its notebook, around either BERT."""

    def __init__(self, bert):
        super().__init__()
        self.encoder, self.hidden, self.output = bert.encoder, bert.hidden, nn.Dense(3)

    def forward(self, inputs):
        return self.output(self.hidden(self.encoder(*inputs)[:, 0, :]))


@pytest.mark.parametrize('theirs', [True, False])
def test_a_classifier_of_the_readers_own_is_fine_tuned_and_asked(theirs):
    bert = d2l.BERTModel(V, 12, 10, 3, 2, 0, 17) if theirs else small_bert()
    net = TheirClassifier(bert)
    (net if theirs else net.output).initialize(init.Xavier())
    data = [labelled_pairs(4)]
    net(data[0][0])  # d2l's layers have their sizes from here on
    result = train_nli(net, data, data, FinetuneSettings(num_epochs=2, learning_rate=1e-2), progress=False)
    assert result.dev_accuracy == evaluate_accuracy_gpus(net, data)


def test_another_network_is_told_by_its_module():
    net = nn.Dense(3)
    with pytest.raises(SettingsError, match='not a classifier around a BERT') as caught:
        train_nli(net, [labelled_pairs(4)], [], progress=False)
    assert caught.value.found == 'mxnet.gluon.nn.basic_layers.Dense'
