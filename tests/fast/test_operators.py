"""Each fast operator against the computation that it stands for, written out: values and gradients."""

import math

import numpy as onp
import pytest
from small_models import assert_close

from bertnli.fast import operators
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


@pytest.mark.parametrize('train_mode', [True, False])
@pytest.mark.parametrize('shape', [(7, 3, 5), (2, 9), (1, 1, 4), (2, 3, 4, 6), (11,)])
def test_layer_norm_is_the_formula_in_and_out_of_training_mode(shape, train_mode):
    gamma, beta = rows(shape[-1], seed=1, centre=1.0), rows(shape[-1], seed=2)
    agree(operators.layer_norm, plain_layer_norm, rows(*shape), gamma, beta, train_mode=train_mode)


def test_layer_norm_is_the_formula_where_nothing_is_recorded():
    X, gamma, beta = rows(3, 4, 5), rows(5, seed=1), rows(5, seed=2)
    assert_close(operators.layer_norm(X, gamma, beta), plain_layer_norm(X, gamma, beta))


@pytest.mark.parametrize('train_mode', [True, False])
def test_layer_norm_survives_rows_without_variance_and_rows_far_from_zero(train_mode):
    X = rows(4, 6)
    X[0] = 2.0
    X[1] += 30
    agree(operators.layer_norm, plain_layer_norm, X, rows(6, seed=1), rows(6, seed=2), train_mode=train_mode)


def test_layer_norm_uses_the_epsilon_it_is_given():
    X, ones, zeros = np.array([[1e-3, -1e-3]]), np.ones(2), np.zeros(2)
    for train_mode in (True, False):
        with autograd.record(train_mode=train_mode):
            found = operators.layer_norm(X, ones, zeros, eps=3e-6)
        assert_close(found, onp.array([[0.5, -0.5]]), 1e-4)


def plain_attention(queries, keys, values, valid_lens):
    """Softmax(Q K^T / sqrt(d)) V for each example and head: `(K or T, B, H, d)` to `(…, B, H * d)`."""
    scale = math.sqrt(queries.shape[-1])
    columns = []
    for b in range(queries.shape[1]):
        end = keys.shape[0] if valid_lens is None else int(valid_lens[b].item())
        for h in range(queries.shape[2]):
            scores = np.dot(queries[:, b, h], keys[:end, b, h].T) / scale
            columns.append(np.dot(npx.softmax(scores), values[:end, b, h]))
    return np.stack(columns, axis=1).reshape(queries.shape[0], queries.shape[1], -1)


def identity(weights):
    return weights


SIZES = [(2, 5, 3, 4, 1), (4, 7, 2, 3, 5), (1, 1, 1, 2, 1), (3, 6, 5, 1, 4)]  # B, T, H, d, K


@pytest.mark.parametrize('masked', [True, False])
@pytest.mark.parametrize(('B', 'T', 'H', 'd', 'K'), SIZES)
def test_attend_is_the_formula_head_by_head(B, T, H, d, K, masked):
    valid_lens = np.array([1 + 3 * b % T for b in range(B)]) if masked else None

    def fast(qkv):
        return operators.attend(qkv, operators.key_lengths(valid_lens, H, T), H, identity)[0]

    def plain(qkv):
        parts = qkv.reshape(T, B, H, 3, d)
        return plain_attention(parts[:, :, :, 0], parts[:, :, :, 1], parts[:, :, :, 2], valid_lens)

    agree(fast, plain, rows(T, B, H * 3 * d))


@pytest.mark.parametrize('masked', [True, False])
@pytest.mark.parametrize(('B', 'T', 'H', 'd', 'K'), SIZES)
def test_attend_from_is_the_formula_head_by_head(B, T, H, d, K, masked):
    valid_lens = np.array([1 + 3 * b % T for b in range(B)]) if masked else None

    def fast(queries, kv):
        return operators.attend_from(queries, kv, operators.key_lengths(valid_lens, H, K), H, identity)[0]

    def plain(queries, kv):
        parts = kv.reshape(T, B, H, 2, d)
        return plain_attention(queries.reshape(K, B, H, d), parts[:, :, :, 0], parts[:, :, :, 1], valid_lens)

    agree(fast, plain, rows(K, B, H * d), rows(T, B, H * 2 * d, seed=1))


def test_attention_weights_are_distributions_over_the_real_keys_and_are_returned_before_dropout():
    B, T, H, d, K = 2, 5, 3, 4, 1
    valid_lens = [2, 4]

    def drop_all(weights):
        return weights * 0

    for queries, mixed_and_weights in (
        (T, lambda n: operators.attend(rows(T, B, H * 3 * d), n, H, drop_all)),
        (K, lambda n: operators.attend_from(rows(K, B, H * d), rows(T, B, H * 2 * d), n, H, drop_all)),
    ):
        mixed, weights = mixed_and_weights(operators.key_lengths(np.array(valid_lens), H, queries))
        assert mixed.shape == (queries, B, H * d)
        assert not mixed.asnumpy().any()
        weights = weights.reshape(B, H, queries, T).asnumpy()
        assert_close(weights.sum(axis=-1), onp.ones((B, H, queries)))
        for b, length in enumerate(valid_lens):
            assert (weights[b, :, :, :length] > 0).all()
            assert not weights[b, :, :, length:].any()


def test_key_lengths_repeat_an_example_for_each_of_its_heads():
    lengths = operators.key_lengths(np.array([4, 1], dtype='float32'), 3, 2)
    assert lengths.dtype == onp.int32
    assert lengths.asnumpy().tolist() == [[4, 4]] * 3 + [[1, 1]] * 3
    assert operators.key_lengths(None, 3, 2) is None


@pytest.mark.parametrize(('T', 'B', 'C', 'K'), [(5, 2, 3, 4), (3, 4, 1, 2), (1, 1, 2, 3)])
def test_take_rows_is_indexing_and_gradients_of_a_row_taken_twice_add_up(T, B, C, K):
    positions = onp.random.default_rng(0).integers(0, T, (B, K))
    positions[0] = T - 1

    def plain(X):
        return np.stack([np.stack([X[int(t), b] for b, t in enumerate(column)]) for column in positions.T])

    for dtype in ('int32', 'int64', 'float32'):
        columns = np.array(positions, dtype=dtype)
        agree(lambda X, at=columns: operators.take_rows(X, at), plain, rows(T, B, C))
