"""Right answers are counted once, divided once, and not waited for before somebody asks."""

import math

import pytest
from small_models import labelled_pairs, pairs, random_weights, small_net

from bertnli import SettingsError, Tally, cpu_devices, evaluate_accuracy_gpus
from bertnli.metrics import correct
from bertnli.runtime import d2l, mx, nn, np


def test_a_tally_sums_numbers_and_arrays_under_their_names():
    tally = Tally()
    tally.add(loss=np.array([1.5]), examples=2)
    tally.add(loss=0.5, examples=4, hits=np.array(3, dtype='int32'))
    assert tally['loss'] == 2.0
    assert tally['hits'] == 3
    assert tally.mean('loss', 'examples') == pytest.approx(1 / 3)
    tally.add(loss=np.array(4.0))
    assert tally['loss'] == 6.0


def test_a_mean_of_nothing_is_not_a_number():
    assert math.isnan(Tally().mean('loss', 'examples'))
    tally = Tally()
    tally.add(loss=1.0)
    assert math.isnan(tally.mean('loss', 'examples'))


def test_a_tally_fetches_arrays_only_when_asked(monkeypatch):
    fetched = []
    monkeypatch.setattr(mx.np.ndarray, 'item', lambda self: fetched.append(1) or 2.0)
    tally = Tally()
    for _ in range(3):
        tally.add(loss=np.array(2.0), examples=1)
    assert not fetched
    assert tally.mean('loss', 'examples') == 2.0
    assert tally['loss'] == 6.0
    assert len(fetched) == 3


def test_right_answers_are_counted_as_d2l_counts_them():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4], [0, 0, 1], [0.3, 0.3, 0.4]])
    for dtype in ('float32', 'int32'):
        labels = np.array([1, 2, 2, 0], dtype=dtype)
        assert correct(scores, labels).item() == 2 == d2l.accuracy(scores, labels)
        assert correct(scores, labels).shape == ()


@pytest.mark.parametrize('count', [1, 2, 3])
def test_accuracy_is_d2ls_whatever_the_number_of_devices_and_the_sizes_of_batches(count):
    net = small_net(cpu_devices(count))
    batches = [labelled_pairs(size, seed=size) for size in (7, 5, 9, 3)]
    predicted = [net(features).argmax(axis=1) for features, _ in batches]
    hits = sum((p.asnumpy() == y.asnumpy()).sum() for p, (_, y) in zip(predicted, batches))
    assert 0 < hits < 24
    assert evaluate_accuracy_gpus(net, batches) == hits / 24
    assert d2l.evaluate_accuracy_gpus(net, batches, d2l.split_batch_multi_inputs) == hits / 24


def test_fewer_examples_than_devices_are_counted_too():
    features, labels = pairs(2), small_net()(pairs(2)).argmax(axis=1)
    assert evaluate_accuracy_gpus(small_net(cpu_devices(3)), [(features, labels)]) == 1.0


def test_another_chapters_network_and_way_of_splitting_work_here():
    net = nn.Dense(3, in_units=4)
    random_weights(net, cpu_devices(2))
    X, y = np.ones((6, 4)), np.zeros(6)
    expected = d2l.evaluate_accuracy_gpus(net, [(X, y)], d2l.split_batch)
    assert evaluate_accuracy_gpus(net, [(X, y)], d2l.split_batch) == expected


def test_dropout_is_off_and_nothing_is_recorded_while_counting():
    net = small_net(dropout=0.9)
    features = pairs(40)
    labels = net(features).argmax(axis=1)
    assert evaluate_accuracy_gpus(net, [(features, labels)] * 2) == 1.0
    assert evaluate_accuracy_gpus(net, iter([(features, labels)])) == 1.0  # an iterator without length


def test_nothing_to_evaluate_is_an_error():
    with pytest.raises(SettingsError, match='nothing to evaluate'):
        evaluate_accuracy_gpus(small_net(), [])
