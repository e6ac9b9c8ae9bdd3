"""Devices are found, read and never left empty; a batch is split without losing an example."""

import numpy as onp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertnli import SettingsError, cpu_devices, parse_devices, split_batch_multi_inputs, try_all_gpus
from bertnli.cluster.worker import Cluster
from bertnli.runtime import autograd, d2l, mx, nn, np


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that MXNet sees so many GPUs."""
    return lambda count: monkeypatch.setattr(mx.context, 'num_gpus', lambda: count)


def test_all_gpus_are_taken_and_without_one_the_processor(gpus):
    gpus(3)
    assert try_all_gpus() == [mx.gpu(0), mx.gpu(1), mx.gpu(2)]
    gpus(0)
    assert try_all_gpus() == [mx.cpu(0)]
    assert str(try_all_gpus()) == '[cpu(0)]'


def test_devices_on_the_processor_are_counted():
    assert cpu_devices(3) == [mx.cpu(0), mx.cpu(1), mx.cpu(2)]


@pytest.mark.parametrize('count', [0, -1, 1.5, '2', None])
def test_no_devices_are_refused(count):
    with pytest.raises(SettingsError, match='number of devices') as caught:
        cpu_devices(count)
    assert 'whole number from 1' in str(caught.value)


def test_words_of_the_command_line_are_read(gpus):
    gpus(3)
    assert parse_devices('cpu') == [mx.cpu(0)]
    assert parse_devices(' CPU:2 ') == [mx.cpu(0), mx.cpu(1)]
    assert parse_devices('gpu') == parse_devices(None) == [mx.gpu(0), mx.gpu(1), mx.gpu(2)]
    assert parse_devices('gpu:2,0') == [mx.gpu(2), mx.gpu(0)]
    gpus(0)
    assert parse_devices(None) == [mx.cpu(0)]


@pytest.mark.parametrize('text', ['', 'tpu', 'cpu:', 'cpu:x', 'cpu:1,2', 'gpu:', 'gpu:0,', 'gpux', 'cpu:-1'])
def test_other_words_are_refused_with_the_words_that_are_allowed(text):
    with pytest.raises(SettingsError, match=r'allowed: gpu, gpu:0,1, cpu or cpu:2'):
        parse_devices(text)


@pytest.mark.parametrize(('present', 'text'), [(0, 'gpu'), (0, 'gpu:0'), (2, 'gpu:2'), (2, 'gpu:1,1')])
def test_gpus_that_are_not_there_are_refused(gpus, present, text):
    gpus(present)
    with pytest.raises(SettingsError, match='GPUs cannot be used') as caught:
        parse_devices(text)
    assert 'bertnli doctor' in str(caught.value)


def test_zero_devices_on_the_processor_are_refused():
    with pytest.raises(SettingsError, match='number of devices'):
        parse_devices('cpu:0')


@given(st.integers(1, 20), st.integers(1, 6))
def test_shards_are_the_batch_in_its_order_as_equal_as_can_be(count, number):
    X = [np.arange(count * 3).reshape(count, 3), np.arange(count)]
    devices = cpu_devices(number)
    X_shards, y_shards = split_batch_multi_inputs(X, X[1] * 10, devices)
    assert len(X_shards) == len(y_shards) == min(count, number)
    sizes = [len(y) for y in y_shards]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) >= 1
    for shard, y, device in zip(X_shards, y_shards, devices):
        assert {x.ctx for x in (*shard, y)} == {device}
        assert (shard[1] * 10 == y.as_in_ctx(device)).all()
    for n, x in enumerate(X):
        assert (onp.concatenate([shard[n].asnumpy() for shard in X_shards]) == x.asnumpy()).all()


def test_an_even_batch_is_split_as_the_chapter_splits_it():
    X, devices = [np.arange(24).reshape(6, 4), np.arange(6)], cpu_devices(3)
    for ours, theirs in zip(
        split_batch_multi_inputs(X, X[1], devices), d2l.split_batch_multi_inputs(X, X[1], devices)
    ):
        assert str(ours) == str([tuple(part) if isinstance(part, list) else part for part in theirs])


def test_the_dtype_of_each_input_is_kept():
    X = [np.array([1, 2, 3], dtype=dtype) for dtype in ('int32', 'float32', 'int64')]
    shards, _ = split_batch_multi_inputs(X, X[0], cpu_devices(2))
    assert [x.dtype for x in shards[1]] == [onp.int32, onp.float32, onp.int64]


def test_small_gradients_are_pieces_of_one_array_and_the_table_is_not():
    devices = cpu_devices(2)
    net = nn.Sequential()
    net.add(nn.Dense(5, in_units=3), nn.Dense(4, in_units=5), nn.Dense(1, in_units=4))
    net.initialize(ctx=devices)
    parameters = [*net.collect_params().values()]
    parameters[3].grad_req = 'null'

    def gradients():
        with autograd.record():
            losses = [net(np.full((1, 3), i + 1.0, ctx=device)).sum() for i, device in enumerate(devices)]
        autograd.backward(losses)
        return [[g.asnumpy() for g in p.list_grad()] for p in parameters if p.grad_req != 'null']

    before = gradients()
    cluster = Cluster()
    cluster.join_small(parameters, table=2)
    after = gradients()
    for ours, theirs in zip(after, before):
        assert all((one == other).all() and one.any() for one, other in zip(ours, theirs))
    del after[2]
    for number, sent in enumerate(cluster._small):
        assert (sent.asnumpy() == onp.concatenate([copies[number].reshape(-1) for copies in after])).all()
        assert sent.ctx == devices[number]
    # What is written there, as sums are, is what a trainer reads.
    cluster._small[1][:] = 7
    assert (parameters[5].list_grad()[1].asnumpy() == 7).all()
    assert (parameters[2].list_grad()[1].asnumpy() == before[2][1]).all()
