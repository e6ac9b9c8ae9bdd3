"""Each fast operator against the computation that it stands for, written out: values and gradients."""

import math
from types import SimpleNamespace

import numpy as onp
import pytest
from small_models import assert_close

from bertnli.fast import operators
from bertnli.fast.operators import OnHost
from bertnli.runtime import autograd, np, npx


def rows(*shape, seed=0, centre=0.0):
    rng = onp.random.default_rng([seed, *shape])
    return np.array(rng.normal(centre, 1, shape).astype('float32'))


def value_and_gradients(function, *inputs, train_mode=True):
    """The value of a function and the gradients of a random projection of it, one for each input."""
    inputs = [x.copy() for x in inputs]
    for x in inputs:
        x.attach_grad()
    with autograd.record(train_mode=train_mode):
        value = function(*inputs)
        projection = (value * rows(*value.shape, seed=9)).sum()
    projection.backward()
    return {'value': value, **{f'gradient {n}': x.grad for n, x in enumerate(inputs)}}


def agree(fast, plain, *inputs, **kwargs):
    found = value_and_gradients(fast, *inputs, **kwargs)
    expected = value_and_gradients(plain, *inputs, **kwargs)
    for name in expected:  # one by one: each relative to its own size
        assert_close(found[name], expected[name])


def plain_layer_norm(X, gamma, beta, eps=1e-5):
    centred = X - X.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * gamma + beta


def fast_layer_norm(X, gamma, beta, eps=1e-5):
    return OnHost(lambda *inputs: operators.layer_norm(*inputs, eps))(X, gamma, beta)


@pytest.mark.parametrize('train_mode', [True, False])
@pytest.mark.parametrize('shape', [(21, 5), (2, 9), (1, 4), (24, 6), (1, 11)])
def test_layer_norm_is_the_formula_in_and_out_of_training_mode(shape, train_mode):
    gamma, beta = rows(shape[-1], seed=1, centre=1.0), rows(shape[-1], seed=2)
    agree(fast_layer_norm, plain_layer_norm, rows(*shape), gamma, beta, train_mode=train_mode)


def test_layer_norm_is_the_formula_where_nothing_is_recorded():
    X, gamma, beta = rows(12, 5), rows(5, seed=1), rows(5, seed=2)
    assert_close(fast_layer_norm(X, gamma, beta), plain_layer_norm(X, gamma, beta))


@pytest.mark.parametrize('train_mode', [True, False])
def test_layer_norm_survives_rows_without_variance_and_rows_far_from_zero(train_mode):
    X = rows(4, 6)
    X[0] = 2.0
    X[1] += 30
    agree(fast_layer_norm, plain_layer_norm, X, rows(6, seed=1), rows(6, seed=2), train_mode=train_mode)


def test_layer_norm_uses_the_epsilon_it_is_given():
    X, ones, zeros = np.array([[1e-3, -1e-3]]), np.ones(2), np.zeros(2)
    for train_mode in (True, False):
        with autograd.record(train_mode=train_mode):
            found = fast_layer_norm(X, ones, zeros, eps=3e-6)
        assert_close(found, onp.array([[0.5, -0.5]]), 1e-4)


def test_dense_and_softmax_are_those_of_mxnet():
    X, weight, bias = rows(7, 4), rows(3, 4, seed=1), rows(3, seed=2)
    plain = lambda X, W, b: npx.fully_connected(X, W, b, num_hidden=3)  # noqa: E731
    agree(lambda *inputs: OnHost(operators.dense)(*inputs), plain, X, weight, bias)

    masks = [onp.array(mask, 'float32') * -1e6 for mask in ([0], [0, 0, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1])]
    for X in (rows(2, 3, 4), rows(1, 4) + np.array([0, 1e3, -1e3, 1e3]), rows(1, 4) - 200):
        for mask in masks:

            def softmax(X, mask=mask):
                value, back = operators.softmax(X.copy(), mask)
                return value, lambda gradient: [back(gradient)]

            agree(lambda X: OnHost(softmax)(X), lambda X, mask=mask: npx.softmax(X + np.array(mask)), X)


def plain_attention(queries, keys, values, valid_lens):
    """Softmax(Q K^T / sqrt(d)) V for each example and head: `(B, K or T, H, d)` to `(B, …, H * d)`."""
    scale = math.sqrt(queries.shape[-1])
    columns = []
    for b in range(queries.shape[0]):
        end = keys.shape[1] if valid_lens is None else valid_lens[b]
        for h in range(queries.shape[2]):
            scores = np.dot(queries[b, :, h], keys[b, :end, h].T) / scale
            columns.append(np.dot(npx.softmax(scores), values[b, :end, h]))
    columns = np.stack(columns).reshape(queries.shape[0], queries.shape[2], queries.shape[1], -1)
    return columns.transpose(0, 2, 1, 3).reshape(queries.shape[0], queries.shape[1], -1)


def attention_weights(C, seed=5):
    """W_q, b_q, …, W_o, b_o as NumPy arrays."""
    return [rows(*shape, seed=seed + i).asnumpy() for i, shape in enumerate([(C, C), (C,)] * 4)]


def padding(valid_lens, steps):
    if valid_lens is None:
        return onp.zeros((1, 1, 1), 'float32')
    return (onp.arange(steps) >= onp.array(valid_lens).reshape(-1, 1, 1)) * onp.float32(-1e6)


SIZES = [(2, 5, 3, 4, 1), (4, 7, 2, 3, 5), (1, 1, 1, 2, 1), (3, 6, 5, 1, 4)]  # B, T, H, d, K


@pytest.mark.parametrize('masked', [True, False])
@pytest.mark.parametrize('some', [False, True])
@pytest.mark.parametrize(('B', 'T', 'H', 'd', 'K'), SIZES)
def test_attention_is_the_formula_head_by_head(B, T, H, d, K, some, masked):
    rng, C = onp.random.default_rng(0), H * d
    valid_lens = [1 + 3 * b % T for b in range(B)] if masked else None
    places, starts = rng.integers(0, 4, (B, T)), rng.integers(0, T, (B, K))  # 4 rows, some of them often
    block = SimpleNamespace(heads=H, rates=[0])
    order = [0, 2, 4, 6, 1, 3, 5, 7]  # matrices, then biases

    def fast(X, *given):
        def work(X, *given):
            weights = [given[order.index(i)] for i in range(8)]
            mask, drop = padding(valid_lens, T), operators.Dropout(None)
            if some:
                at = (starts + T * onp.arange(B)[:, None]).reshape(-1)
                value, _, back = operators.attend_from(block, weights, at, X[places], mask, drop)
            else:
                value, _, back = operators.attend(block, weights, X, places, mask, drop)

            def gradients(gradient):
                by_X, found = back(gradient)
                by_X = operators.sums_at(places.reshape(-1), len(X)) @ by_X if some else by_X
                return [by_X, *(found[i] for i in order)]

            return value, gradients

        return OnHost(work)(X, *given)

    def plain(X, W_q, W_k, W_v, W_o, b_q, b_k, b_v, b_o):
        X = np.stack([np.stack([X[int(u)] for u in row]) for row in places])  # (B, T, C)
        asked = np.stack([np.stack([x[int(t)] for t in row]) for x, row in zip(X, starts)]) if some else X
        q, k, v = (
            (np.dot(x, W.T) + b).reshape(B, -1, H, d)
            for x, W, b in ((asked, W_q, b_q), (X, W_k, b_k), (X, W_v, b_v))
        )
        return (np.dot(plain_attention(q, k, v, valid_lens), W_o.T) + b_o).reshape(-1, C)

    weights = [np.array(attention_weights(C)[i]) / math.sqrt(C) for i in order]
    found, expected = (value_and_gradients(f, rows(4, C), *weights) for f in (fast, plain))
    assert_close(found, expected)


def test_attention_weights_are_distributions_over_the_real_keys_and_are_returned_before_dropout():
    B, T, H, d, K = 2, 5, 3, 4, 1
    valid_lens, block = [2, 4], SimpleNamespace(heads=H, rates=[0.5])
    weights, X = attention_weights(H * d), rows(B * T, H * d).asnumpy()

    def drop_all(shares, rate):
        assert rate == 0.5
        return shares * 0, None

    places = onp.arange(B * T).reshape(B, T)
    for queries, found in (
        (T, operators.attend(block, weights, X, places, padding(valid_lens, T), drop_all)),
        (
            K,
            operators.attend_from(
                block, weights, places[:, 0], X.reshape(B, T, -1), padding(valid_lens, T), drop_all
            ),
        ),
    ):
        mixed, shares, _ = found
        assert_close(mixed, onp.broadcast_to(weights[7], (B * queries, H * d)))  # nothing but the last bias
        assert_close(shares.sum(axis=-1), onp.ones((B, H, queries)))
        for b, length in enumerate(valid_lens):
            assert (shares[b, :, :, :length] > 0).all()
            assert not shares[b, :, :, length:].any()


def test_dropout_leaves_out_the_share_it_is_told_and_keeps_the_mean():
    X = rows(300, 401).asnumpy()
    value, back = operators.Dropout(7)(X, 0.2)
    gone = value == 0
    assert gone.mean() == pytest.approx(0.2, abs=3 * math.sqrt(0.16 / X.size))
    assert_close(value[~gone], X[~gone] / 0.8)
    assert_close(back(X), value)  # the same places
    neighbours = (gone[:, 1:] & gone[:, :-1]).mean()  # each for itself
    assert neighbours == pytest.approx(0.04, abs=4 * math.sqrt(0.04 / X.size))


def test_dropout_is_a_function_of_its_seed_and_goes_on():
    X = onp.ones((5, 7), 'float32')
    one, same, other = (operators.Dropout(seed) for seed in ((3, 0), (3, 0), (3, 1)))
    first = one(X, 0.5)[0]
    assert (first == same(X, 0.5)[0]).all()
    assert (first != other(X, 0.5)[0]).any()
    assert (first != one(X, 0.5)[0]).any()
    for nothing in (operators.Dropout(None)(X, 0.5), one(X, 0)):
        assert nothing[0] is X
        assert nothing[1](X) is X


def test_sums_at_adds_up_the_rows_of_each_place():
    X = rows(5, 2).asnumpy()
    found = operators.sums_at(onp.array([2, 0, 2, 2, 0]), 4) @ X
    assert_close(found, onp.stack([X[1] + X[4], X[0] * 0, X[0] + X[2] + X[3], X[0] * 0]))


def test_threads_answer_in_order_with_one_thread_of_blas_each_and_pass_errors_on():
    def counts(_):
        return [one['num_threads'] for one in operators._BLAS.info() if 'numpy' in one['filepath']]

    assert operators.in_threads(lambda item: item * 2, [3, 1, 2]) == [6, 2, 4]
    before = counts(None)
    assert {count for found in operators.in_threads(counts, [1, 2]) for count in found} == {1}
    assert counts(None) == before
    with pytest.raises(ZeroDivisionError):
        operators.in_threads(lambda item: 1 / item, [1, 0])


def test_a_graph_that_is_kept_can_be_gone_back_through_twice():
    calls = []

    def square(x):
        calls.append(1)
        return x * x, lambda gradient: [2 * x * gradient]

    x = np.array([3.0])
    x.attach_grad()
    with autograd.record():
        y = OnHost(square)(x)
    for _ in range(2):
        y.backward(retain_graph=True)
        assert x.grad.item() == 6
    assert len(calls) == 2  # the second time it is computed anew
