"""The few operators whose fast form is not the plain one; each says why it is exact, and a test holds both.

On a processor some of MXNet's operators are slow for no mathematical reason. Nothing here knows BERT.

Legend: B examples in the batch, T tokens in the longest of them, C `num_hiddens`, H heads, K positions
that are read. Sequences are time-major, `(T, B, C)`: that is the layout of the attention operators.
"""

from ..runtime import autograd, mx, np, npx


def layer_norm(X, gamma, beta, eps=1e-5):
    """Normalize the last axis to mean 0 and variance 1, then scale and shift (Ba et al. 2016).

    `X` has any shape `(..., C)`, `gamma` and `beta` have `(C,)`; the result has the shape of `X`.

    The plain operator's backward pass costs some twelve times its forward pass on a processor. Batch
    normalization computes the same if every row is called a channel of one single example, and its backward
    pass is fast; scale and shift are then one small dense layer with a diagonal matrix.

    >>> layer_norm(np.array([[1., 3.]]), np.ones(2), np.zeros(2)).round(3)
    array([[-1.,  1.]])
    """
    # subtle: outside training mode batch normalization would use its running averages, which are nobody's.
    if not (autograd.is_recording() and autograd.is_training()) or X.ctx.device_type != 'cpu':
        return npx.layer_norm(X, gamma, beta, axis=-1, eps=eps)
    width = X.shape[-1]
    rows = X.reshape(1, -1, width)  # (1, B * T, C)
    ones, zeros = np.ones(rows.shape[1], ctx=X.ctx), np.zeros(rows.shape[1], ctx=X.ctx)
    # The two running averages are written by the operator and read by nobody.
    means, variances = np.zeros_like(zeros), np.zeros_like(zeros)
    rows = npx.batch_norm(rows, ones, zeros, means, variances, eps=eps, fix_gamma=True, axis=1)
    scaled = npx.fully_connected(rows, np.diag(gamma), beta, num_hidden=width, flatten=False)  # (1, B * T, C)
    return scaled.reshape(X.shape)


def key_lengths(valid_lens, num_heads, num_queries):
    """How many keys each row of attention scores may look at: `(B,)` to `(B * H, K)`, int32; None: all.

    >>> key_lengths(np.array([2, 3]), 2, 1).T
    array([[2, 2, 3, 3]], dtype=int32)
    """
    if valid_lens is None:
        return None
    lengths = np.repeat(valid_lens.astype('int32'), num_heads).reshape(-1, 1)
    return np.broadcast_to(lengths, (lengths.shape[0], num_queries))


def _weights(scores, lengths, dropout):
    """Softmax over the keys that are real: the operator masks by length, in one pass."""
    weights = npx.softmax(scores) if lengths is None else npx.softmax(scores, length=lengths, use_length=True)
    return weights, dropout(weights)


def attend(qkv, lengths, num_heads, dropout):
    """Scaled dot-product self-attention: the mixed values `(T, B, C)` and the weights `(B * H, T, T)`.

    `qkv` is `(T, B, 3 * C)` with, head by head, queries, keys and values next to each other; `lengths` is
    `(B * H, T)` or None. The plain form moves every head to the front and back: six transpositions.
    """
    flat = qkv.as_nd_ndarray()
    scores = mx.nd.contrib.interleaved_matmul_selfatt_qk(flat, heads=num_heads)
    weights, dropped = _weights(scores.as_np_ndarray(), lengths, dropout)  # (B * H, T, T)
    mixed = mx.nd.contrib.interleaved_matmul_selfatt_valatt(flat, dropped.as_nd_ndarray(), heads=num_heads)
    return mixed.as_np_ndarray(), weights


def attend_from(queries, kv, lengths, num_heads, dropout):
    """`attend` for `queries` `(K, B, C)` only, with `kv` `(T, B, 2 * C)`: `(K, B, C)`, `(B * H, K, T)`."""
    flat = kv.as_nd_ndarray()
    scores = mx.nd.contrib.interleaved_matmul_encdec_qk(queries.as_nd_ndarray(), flat, heads=num_heads)
    weights, dropped = _weights(scores.as_np_ndarray(), lengths, dropout)  # (B * H, K, T)
    mixed = mx.nd.contrib.interleaved_matmul_encdec_valatt(flat, dropped.as_nd_ndarray(), heads=num_heads)
    return mixed.as_np_ndarray(), weights


def take_rows(X, positions):
    """The vectors at some positions: `X` `(T, B, C)`, `positions` `(B, K)` int, to `(K, B, C)`.

    >>> X = np.arange(6).reshape(3, 2, 1)
    >>> take_rows(X, np.array([[2], [0]], dtype='int32')).reshape(-1)
    array([4., 1.])
    """
    steps, batch, width = X.shape
    flat = positions.astype('int32').T * batch + np.arange(batch, dtype='int32', ctx=X.ctx)
    # An embedding look-up has a fast backward pass; indexing with two arrays does not.
    return npx.embedding(flat, X.reshape(-1, width), steps * batch, width)


def sum_of_squares(arrays):
    """The sum of the squares of all entries of all `arrays`, as an array of one element."""
    arrays = [array.as_nd_ndarray() for array in arrays]
    # MXNet's own sum is good for many small arrays; of large ones a product of vectors takes a tenth of that.
    small = [array for array in arrays if array.size < 1 << 17]
    sums = [mx.nd.multi_sum_sq(*small, num_arrays=len(small)).sum()] if small else []
    large = [array.reshape(-1) for array in arrays if array.size >= 1 << 17]
    sums += [mx.nd.dot(array, array) for array in large]
    return mx.nd.add_n(*sums).as_np_ndarray()
