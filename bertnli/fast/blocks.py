"""BERT's encoder, sooner: the values and gradients of model.py's plain form (and its legend), with less work.

Three things differ. Sequences are time-major, `(T, B, C)`, the layout of the fast operators; queries, keys
and values of all heads come from one product; and the last block computes queries, output and feed-forward
only for the positions that somebody reads.
"""

from ..runtime import epsilon_of, is_only_weights, np, npx
from . import operators

CLS = 'cls'  # in place of positions: the first
_OWN = {'bertnli.model', 'mxnet.gluon.nn.basic_layers', 'mxnet.gluon.nn.activations'}


def kinds(block):
    """The classes of all parts of a block, and its own, in order."""
    found = []
    block.apply(lambda part: found.append(type(part)))
    return found


def unchanged(block):
    """Whether a block of model.py may run in its fast form: no part was subclassed, replaced or hooked."""
    parts = []
    block.apply(parts.append)
    found = [type(part) for part in parts]
    own = found == getattr(block, 'kinds', None) and {kind.__module__ for kind in set(found)} <= _OWN
    # The fast form asks many parts for their weights, and does not call them.
    return own and all(map(is_only_weights, parts))


def read(encoder, tokens, segments, valid_lens, positions=None):
    """The vectors at `positions` `(B, K)`, or at `CLS`, `(K, B, C)`, or at all (None), `(T, B, C)`."""
    if unchanged(encoder):
        return encode(encoder, tokens, segments, valid_lens, positions)
    return pick(encoder(tokens, segments, valid_lens).swapaxes(0, 1), positions)


def read_cls(encoder, tokens, segments, valid_lens):
    """The vectors of `<cls>`, `(B, C)`, from any encoder, of this library or of d2l."""
    return read(encoder, tokens, segments, valid_lens, CLS)[0]


def encode(encoder, tokens, segments, valid_lens, positions=None):
    """`read` by an `unchanged` encoder."""
    X = embed(encoder, tokens, segments)  # (T, B, C)
    *blocks, last = list(encoder.blks)
    for block in blocks:
        X = transform(block, X, X, valid_lens)
    # A position's last block looks at the other positions' previous block, never at their last.
    return transform(last, pick(X, positions), X, valid_lens)


def pick(X, positions):
    """`X` `(T, B, C)` at `positions` `(B, K)`, `(K, B, C)`, or `X` itself (None)."""
    # `<cls>` alone is the first row of the time axis, and needs no look-up.
    return X if positions is None else X[:1] if positions is CLS else operators.take_rows(X, positions)


def embed(encoder, tokens, segments):
    """The sum of the three embeddings, `(T, B, C)`."""
    places = encoder.places(tokens)  # (T, C)
    steps, width = places.shape
    # Segment and position together have few values: add them up once, in a table of 2 * T rows.
    sums = places + np.expand_dims(encoder.segment_embedding.weight.data(tokens.ctx), 1)
    rows = segments.T * steps + np.arange(steps, dtype=segments.dtype, ctx=tokens.ctx).reshape(-1, 1)
    added = npx.embedding(rows, sums.reshape(-1, width), 2 * steps, width)  # (T, B, C)
    return encoder.token_embedding(tokens.T) + added


def transform(block, rows, X, valid_lens):
    """A `TransformerEncoderBlock` for some `rows` `(K, B, C)` of `X` `(T, B, C)`, or for `X` itself."""
    Y = add_norm(block.addnorm1, rows, attend(block.attention, rows, X, valid_lens))
    return add_norm(block.addnorm2, Y, block.ffn(Y))


def attend(attention, rows, X, valid_lens):
    """`MultiHeadAttention` of some `rows` `(K, B, C)` to all of `X` `(T, B, C)`, or of `X` to itself."""
    heads, dropout = attention.num_heads, attention.dropout
    lengths = operators.key_lengths(valid_lens, heads, len(rows))
    if rows is X:
        qkv = _project(X, heads, attention.W_q, attention.W_k, attention.W_v)  # (T, B, 3 * C)
        mixed, weights = operators.attend(qkv, lengths, heads, dropout)
    else:
        kv = _project(X, heads, attention.W_k, attention.W_v)  # (T, B, 2 * C)
        mixed, weights = operators.attend_from(attention.W_q(rows), kv, lengths, heads, dropout)
    attention.attention_weights = weights
    return attention.W_o(mixed)


def _project(X, heads, *layers):
    """Several dense layers as one: `(T, B, C)` to `(T, B, n * C)`, head by head, layer by layer."""
    width = X.shape[-1]
    weights = [layer.weight.data(X.ctx).reshape(heads, -1, width) for layer in layers]
    biases = [layer.bias.data(X.ctx).reshape(heads, -1) for layer in layers]
    weight = np.stack(weights, axis=1).reshape(-1, width)  # (n * C, C)
    bias = np.stack(biases, axis=1).reshape(-1)  # (n * C,)
    return npx.fully_connected(X, weight, bias, num_hidden=len(bias), flatten=False)


def add_norm(layer, X, Y):
    """`AddNorm` of arrays of any one shape `(..., C)`."""
    return normalize(layer.ln, layer.dropout(Y) + X)


def normalize(norm, X):
    """`nn.LayerNorm` of any shape `(..., C)`."""
    return operators.layer_norm(X, norm.gamma.data(X.ctx), norm.beta.data(X.ctx), epsilon_of(norm))


def predict(bert, tokens, segments, valid_lens, pred_positions, real):
    """What pretraining needs and no more: `(M, C)` for `bert.mlm.output` to score, and `(B, 2)`.

    `real` `(M,)` int holds the places of the M real masked words in `pred_positions.T`, read row by row; the
    rest is padding.
    """
    first = np.zeros((len(tokens), 1), dtype=pred_positions.dtype, ctx=tokens.ctx)
    positions = np.concatenate([first, pred_positions], axis=1)  # (B, 1 + P)
    rows = read(bert.encoder, tokens, segments, valid_lens, positions)  # (1 + P, B, C)
    masked = rows[1:].reshape(-1, rows.shape[-1])  # (P * B, C)
    picked = npx.embedding(real, masked, *masked.shape)  # (M, C)
    dense, norm, _ = bert.mlm.mlp
    return normalize(norm, dense(picked)), bert.nsp(bert.hidden(rows[0]))
