"""The encoder's operators in NumPy, each with its gradient in closed form.

Each returns its value and a function that makes, of the gradient by the value, those by its inputs. On a
processor this is sooner than MXNet's own operators: it starts at once, works on arrays that still lie in the
cache, and several threads take each a part of the batch. All arrays are float32.

Legend: N rows, C `num_hiddens`, B examples in the batch, T tokens in the longest of them, H heads, K vectors
of an example that are read, U different rows.
"""

import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as onp
from scipy import sparse
from threadpoolctl import ThreadpoolController

from ..runtime import array, autograd, mx, view

_ALONE, _BLAS = threading.Lock(), ThreadpoolController().select(user_api='blas')


class OnHost(autograd.Function):
    """A function of NumPy arrays with its gradient, as a step of autograd's: `work` returns both."""

    def __init__(self, work):
        super().__init__()
        self.work = work

    def forward(self, *inputs):
        self.inputs = [view(x) for x in inputs]
        value, self.back = self.work(*self.inputs)
        return array(value, inputs[0].ctx)

    def backward(self, gradient):
        # What the way back needs is much, and losses are looked at later: nothing is kept for a second time.
        back, self.back = self.back or self.work(*self.inputs)[1], None
        return [array(x, gradient.ctx).as_nd_ndarray() for x in back(view(gradient))]


def in_threads(function, items):
    """`function` of each of the `items`, as many at a time as there are processors for this process."""
    if len(items) == 1:
        return [function(items[0])]
    # Each thread multiplies alone. Whoever else comes here waits: what he found of BLAS he would restore.
    with _ALONE, _BLAS.limit(limits=1), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(function, items))


def dense(X, weight, bias):
    """`X` `(N, C)` times `weight` `(O, C)`, plus `bias` `(O,)`."""

    def back(gradient):
        return gradient @ weight, gradient.T @ X, gradient.sum(axis=0)

    value = X @ weight.T
    value += bias
    return value, back


def layer_norm(X, gamma, beta, eps=1e-5):
    """Normalize each row of `X` `(N, C)` to mean 0 and variance 1, then scale and shift (Ba et al. 2016).

    >>> layer_norm(onp.array([[1., 3.]]), onp.ones(2), onp.zeros(2))[0].round(3)
    array([[-1.,  1.]])
    """
    count = X.shape[-1]
    mean = onp.full((count, 1), 1 / count, X.dtype)  # as a product: NumPy adds up short rows slowly
    rows = X - X @ mean
    scale = 1 / onp.sqrt(_dots(rows, rows) / count + eps)
    rows *= scale

    def back(gradient):
        inner = gradient * gamma
        inner -= inner @ mean + rows * (_dots(inner, rows) / count)
        return inner * scale, onp.einsum('nc,nc->c', gradient, rows), gradient.sum(axis=0)

    value = rows * gamma
    value += beta
    return value, back


def _dots(X, Y):
    """The products of rows with rows, `(..., C)` to `(..., 1)`."""
    return onp.einsum('...c,...c->...', X, Y)[..., None]


def softmax(X, mask):
    """Shares along the last axis of `X`, which they take the place of; `mask` is added, 0 or far below 0."""
    # The largest of each row, slow to find, is only subtracted where an exponential could leave float32.
    large = mask[..., 0].any() or not max(X.max(), -X.min()) < 60
    X += mask
    if large:
        X -= X.max(axis=-1, keepdims=True)
    onp.exp(X, out=X)
    X /= X @ onp.ones((X.shape[-1], 1), X.dtype)  # a sum as a product: NumPy adds up short rows slowly
    return X, lambda gradient: X * (gradient - _dots(gradient, X))


class Dropout:
    """Leaves out a share of all numbers and enlarges the rest; what it draws is a function of `seed`."""

    def __init__(self, seed):
        self.bits = seed is not None and onp.random.SFC64(seed)

    def __call__(self, X, rate):
        if not self.bits or not rate:
            return X, lambda gradient: gradient
        drawn = self.bits.random_raw(-(-X.size // 4)).view('uint16')[: X.size]  # four numbers of each draw
        kept = (drawn >= round(rate * 65536)).reshape(X.shape) * onp.float32(1 / (1 - rate))
        return X * kept, lambda gradient: gradient * kept


def sums_at(places, count):
    """The matrix `(count, N)` that adds up those of N rows which stand at one of `places` `(N,)`."""
    ones, ends = onp.ones(len(places), 'float32'), onp.arange(len(places) + 1)
    return sparse.csc_matrix((ones, places, ends), (count, len(places)))


def attend(block, weights, rows, places, mask, dropout):
    """`MultiHeadAttention` of `rows` `(U, C)`, as they stand at `places` `(B, T)`, to each other.

    `block` has `heads`, `rates` and `epsilons`; `weights` are its 16; `mask` `(B, 1, T)` is added to scores.
    Returns `(B * T, C)`, the shares of attention `(B, H, T, T)`, and the way back to `rows` and 8 weights.
    """
    W_q, b_q, W_k, b_k, W_v, b_v, W_o, b_o = weights[:8]
    (batch, steps), heads, (count, width) = places.shape, block.heads, rows.shape
    scale = onp.float32(1 / math.sqrt(width // heads))
    weight, bias = onp.concatenate([W_q * scale, W_k, W_v]), onp.concatenate([b_q * scale, b_k, b_v])
    # Different rows are projected, and then stand, head by head, where they belong.
    projected, back_project = dense(rows, weight, bias)  # (U, 3 * C)
    by_head = projected.reshape(count, 3, heads, -1).transpose(1, 2, 0, 3)  # (3, H, U, C / H)
    queries, keys, values = onp.take(by_head, places, axis=2)  # (H, B, T, C / H)
    shares, back_softmax = softmax(queries @ keys.swapaxes(2, 3), mask)  # (H, B, T, T)
    dropped, back_drop = dropout(shares, block.rates[0])
    mixed = onp.empty((batch, steps, heads, width // heads), 'float32')
    onp.matmul(dropped, values, out=mixed.transpose(2, 0, 1, 3))  # (B, T, H, C / H), without a copy
    value, back_out = dense(mixed.reshape(-1, width), W_o, b_o)

    def back(gradient):
        by_mixed, by_W_o, by_b_o = back_out(gradient)
        by_mixed = by_mixed.reshape(batch, steps, heads, -1).transpose(2, 0, 1, 3)
        by_scores = back_softmax(back_drop(by_mixed @ values.swapaxes(2, 3)))
        parts = by_scores @ keys, by_scores.swapaxes(2, 3) @ queries, dropped.swapaxes(2, 3) @ by_mixed
        # What belongs to one row is added up.
        sums, by_projected = sums_at(places.reshape(-1), count), onp.empty_like(by_head)
        for part, whole in zip(parts, by_projected):
            for head in range(heads):
                whole[head] = sums @ part[head].reshape(-1, width // heads)
        by_rows, by_weight, by_bias = back_project(by_projected.transpose(2, 0, 1, 3).reshape(count, -1))
        by_weight[:width] *= scale
        by_bias[:width] *= scale
        pairs = zip(onp.split(by_weight, 3), onp.split(by_bias, 3))
        return by_rows, [x for pair in pairs for x in pair] + [by_W_o, by_b_o]

    return value, shares.swapaxes(0, 1), back


def attend_from(block, weights, starts, X, mask, dropout):
    """`attend` of few vectors of `X` `(B, T, C)`, those at its rows `starts` `(B * K,)`, to all of them.

    Returns `(B * K, C)`, the shares `(B, H, K, T)`, and the way back to `X` and 8 weights.
    """
    W_q, b_q, W_k, b_k, W_v, b_v, W_o, b_o = weights[:8]
    heads, (batch, steps, width) = block.heads, X.shape
    scale, size = onp.float32(1 / math.sqrt(width // heads)), width // heads
    parts = [slice(head * size, (head + 1) * size) for head in range(heads)]
    projected, back_project = dense(X.reshape(-1, width)[starts], W_q * scale, b_q * scale)
    # Not the keys are projected but, back, the few queries: q (W x) = (q W) x. The keys' bias would add the
    # same to all scores of a query, of which softmax takes no notice.
    queries = onp.stack([projected[:, part] @ W_k[part] for part in parts], axis=1)
    queries = queries.reshape(batch, -1, width)  # (B, K * H, C)
    shares, back_softmax = softmax(queries @ X.swapaxes(1, 2), mask)  # (B, K * H, T)
    dropped, back_drop = dropout(shares, block.rates[0])
    # Not the values are projected, but what is mixed of X; what is dropped is missing in the bias, too.
    mixed = (dropped @ X).reshape(-1, heads, width)  # (B * K, H, C)
    totals = dropped.sum(axis=-1).reshape(-1, heads, 1)
    values = [mixed[:, head] @ W_v[part].T + totals[:, head] * b_v[part] for head, part in enumerate(parts)]
    value, back_out = dense(onp.concatenate(values, axis=1), W_o, b_o)

    def back(gradient):
        by_values, by_W_o, by_b_o = back_out(gradient)
        by_W_k, by_W_v, by_mixed, by_projected = (onp.empty_like(x) for x in (W_k, W_v, mixed, projected))
        by_totals = onp.empty_like(totals)
        for head, part in enumerate(parts):
            by_mixed[:, head] = by_values[:, part] @ W_v[part]
            by_totals[:, head, 0] = by_values[:, part] @ b_v[part]
            by_W_v[part] = by_values[:, part].T @ mixed[:, head]
        by_b_v = (by_values.reshape(-1, heads, size) * totals).sum(axis=0).reshape(-1)
        by_mixed = by_mixed.reshape(batch, -1, width)
        by_dropped = by_mixed @ X.swapaxes(1, 2) + by_totals.reshape(batch, -1, 1)
        by_scores = back_softmax(back_drop(by_dropped))
        by_queries = (by_scores @ X).reshape(-1, heads, width)
        by_X = dropped.swapaxes(1, 2) @ by_mixed + by_scores.swapaxes(1, 2) @ queries
        for head, part in enumerate(parts):
            by_projected[:, part] = by_queries[:, head] @ W_k[part].T
            by_W_k[part] = projected[:, part].T @ by_queries[:, head]
        by_picked, by_W_q, by_b_q = back_project(by_projected)
        found = [by_W_q * scale, by_b_q * scale, by_W_k, onp.zeros_like(b_k), by_W_v, by_b_v, by_W_o, by_b_o]
        return by_X.reshape(-1, width) + sums_at(starts, batch * steps) @ by_picked, found

    return value, shares.reshape(batch, -1, heads, steps).swapaxes(1, 2), back


def finish(block, weights, X, attended, dropout):
    """What follows attention in a block, of rows `(N, C)`: add and norm, feed-forward, add and norm."""
    W_1, b_1, W_2, b_2, gamma_1, beta_1, gamma_2, beta_2 = weights[8:]
    dropped, back_drop_1 = dropout(attended, block.rates[1])
    Y, back_norm_1 = layer_norm(dropped + X, gamma_1, beta_1, block.epsilons[0])
    hidden, back_1 = dense(Y, W_1, b_1)
    onp.maximum(hidden, 0, out=hidden)
    out, back_2 = dense(hidden, W_2, b_2)
    out, back_drop_2 = dropout(out, block.rates[2])
    value, back_norm_2 = layer_norm(out + Y, gamma_2, beta_2, block.epsilons[1])

    def back(gradient):
        by_sum, *norm_2 = back_norm_2(gradient)
        by_hidden, *second = back_2(back_drop_2(by_sum))
        by_hidden *= hidden > 0
        by_Y, *first = back_1(by_hidden)
        by_sum, *norm_1 = back_norm_1(by_Y + by_sum)
        return by_sum, back_drop_1(by_sum), [*first, *second, *norm_1, *norm_2]

    return value, back


def sum_of_squares(arrays):
    """The sum of the squares of all entries of all `arrays`, MXNet's, as an array of one element."""
    arrays = [array.as_nd_ndarray() for array in arrays]
    # MXNet's own sum is good for many small arrays; of large ones a product of vectors takes a tenth of that.
    small = [array for array in arrays if array.size < 1 << 17]
    sums = [mx.nd.multi_sum_sq(*small, num_arrays=len(small)).sum()] if small else []
    large = [array.reshape(-1) for array in arrays if array.size >= 1 << 17]
    sums += [mx.nd.dot(array, array) for array in large]
    return mx.nd.add_n(*sums).as_np_ndarray()
