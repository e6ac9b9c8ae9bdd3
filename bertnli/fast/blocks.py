"""BERT's encoder, sooner: the values and gradients of model.py's plain form (and its legend), with less work.

On a processor it runs in NumPy, in parts of a batch that go to all threads, each as long as its own longest
example, and three things are left out. A word that stands at the same place in many examples is projected
once for all of them. The last block is computed only for the positions that somebody reads. And there it is
not all keys and values that are projected, but, back, the few queries. On a GPU the parts of model.py run; of
the last block as much as here.
"""

import functools
import os

import numpy as onp

from ..runtime import array, autograd, epsilon_of, is_only_weights, np, npx, rate_of, view
from .operators import Dropout, OnHost, attend, attend_from, finish, in_threads, sums_at

CLS = 'cls'  # in place of positions: the first
# A batch goes into a part for each thread, and in training, where all is kept for the way back and a cache
# soon full, into so many at least; a part has at least so many examples.
_PARTS, _LEAST = 4, 32
_COMMON = 100  # the most frequent words are not mixed: they hold sentences together
_ALIKE = 0.4  # the least cosine of a mixed word and the word itself; two words for the same seldom have less
_OWN = {'bertnli.model', 'mxnet.gluon.nn.basic_layers', 'mxnet.gluon.nn.activations'}


# An attribute that is set as others are, or by a function, `later`, which is called when it is read.
LATER = property(
    lambda owner: owner.later() if callable(owner.later) else owner.later,
    lambda owner, value: setattr(owner, 'later', value),
)


def kinds(block):
    """The classes of all parts of a block, and its own, in order."""
    found = []
    block.apply(lambda part: found.append(type(part)))
    return found


def unchanged(block):
    """Whether a block of model.py may run in its fast form: no part was subclassed, replaced or hooked."""
    parts = []
    block.apply(parts.append)
    own = [type(part) for part in parts] == getattr(block, 'kinds', None)
    # The fast form asks many parts for their weights, and does not call them.
    return own and {kind.__module__ for kind in block.kinds} <= _OWN and all(map(is_only_weights, parts))


def in_numpy(encoder, tokens):
    """Whether an encoder runs here: `unchanged`, and on a processor."""
    return tokens.ctx.device_type == 'cpu' and unchanged(encoder)


def words(encoder, tokens):
    """The vectors of words; in training, a share `encoder.mixed` of them is mixed with other words' vectors.

    What is mixed so is like the word itself, and not the same: what is learnt is to be about likeness.
    """
    X = encoder.token_embedding(tokens)
    if encoder.mixed and autograd.is_training():
        table, shape = encoder.token_embedding.weight.data(tokens.ctx).detach(), (*tokens.shape, 1)
        others = table[np.random.randint(len(table), size=tokens.shape, ctx=tokens.ctx)]
        mixed = np.random.uniform(size=shape, ctx=tokens.ctx) < encoder.mixed
        alike = np.random.uniform(_ALIKE, 1, shape, ctx=tokens.ctx)
        alike = np.where(mixed * (tokens >= _COMMON).reshape(shape), alike, 1)
        X = alike * X + np.sqrt(1 - alike**2) * others
    return X


def read(encoder, tokens, segments, valid_lens, positions=None):
    """The vectors at `positions` `(B, K)`, or at `CLS`, `(B, K, C)`, or at all (None), `(B, T, C)`."""
    if in_numpy(encoder, tokens):
        return encode(encoder, tokens, segments, valid_lens, positions)
    if not unchanged(encoder):
        return _pick(encoder(tokens, segments, valid_lens), positions)
    X = encoder.words(tokens) + encoder.segment_embedding(segments) + encoder.places(tokens)
    *blocks, last = list(encoder.blks)
    for block in blocks:
        X = block(X, valid_lens)
    # A position's last block looks at the other positions' previous block, never at their last.
    picked = _pick(X, positions)
    Y = last.addnorm1(picked, last.attention(picked, X, X, valid_lens))
    return last.addnorm2(Y, last.ffn(Y))


def read_cls(encoder, tokens, segments, valid_lens):
    """The vectors of `<cls>`, `(B, C)`, from any encoder, of this library or of d2l."""
    return read(encoder, tokens, segments, valid_lens, CLS).reshape(len(tokens), -1)


def _pick(X, positions):
    if positions is None:
        return X
    if positions is CLS:
        return X[:, :1]
    return X[np.arange(len(X), dtype='int32', ctx=X.ctx).reshape(-1, 1), positions.astype('int32')]


def encode(encoder, tokens, segments, valid_lens, positions=None):
    """`read` in NumPy: one step for autograd, from the vectors of words to those that are read."""
    (batch, steps), device = tokens.shape, tokens.ctx
    if steps > encoder.pos_embedding.shape[1]:
        encoder.places(tokens)  # which tells it
    # A word that stands at one place in many examples has the same vector in all of them: (U,), (B, T).
    names = (view(tokens).astype(int) * 2 + view(segments).astype(int)) * steps + onp.arange(steps)
    names, where = onp.unique(names, return_inverse=True)
    word, sentence, place = names // (2 * steps), names // steps % 2, names % steps
    words = encoder.words(array(word.astype('int32'), device))  # (U, C)
    lengths = widths = onp.full(batch, steps)
    if valid_lens is not None:
        lengths = onp.minimum(view(valid_lens).astype(int), steps)
    if positions is not None:  # (B, K)
        positions = onp.zeros((batch, 1), int) if positions is CLS else view(positions).astype(int)
        # How far anybody reads in each example: (B,).
        widths = onp.maximum(lengths, positions.max(axis=1) + 1)
    blocks, seed, recorded = [_Block(block) for block in encoder.blks], None, autograd.is_recording()
    if autograd.is_training() and any(rate for block in blocks for rate in block.rates):
        seed = np.random.randint(0, 2**31 - 1).item()  # dropout follows from MXNet's own random numbers
    parameters = [encoder.segment_embedding.weight, encoder.pos_embedding]
    parameters += [p for block in blocks for p in block.parameters]
    trained = [p for p in parameters if p.grad_req != 'null']
    count = max(1, min(batch // _LEAST, max(_PARTS if recorded else 1, len(os.sched_getaffinity(0)))))
    parts = [slice(batch * i // count, batch * (i + 1) // count) for i in range(count)]

    def work(*inputs):
        given = dict(zip(trained, inputs))
        weights = [given[p] if p in given else view(p.data(device)) for p in parameters]

        def forward(part):
            width = widths[part].max()
            at = where.reshape(batch, steps)[part, :width]
            own = onp.flatnonzero(onp.bincount(at.reshape(-1)))
            renumbered = onp.empty(own[-1] + 1, int)
            renumbered[own] = onp.arange(len(own))
            # Far below every score where there is padding: (B, 1, T).
            mask = (onp.arange(width) >= lengths[part].reshape(-1, 1, 1)) * onp.float32(-1e6)
            dropout = Dropout(None if seed is None else (seed, part.start))
            read = None if positions is None else positions[part]
            rows = inputs[-1][own] + weights[0][sentence[own]] + weights[1][0, place[own]]
            return own, *_run(blocks, weights[2:], rows, renumbered[at], mask, read, dropout, recorded)

        owns, values, shares, backs = zip(*in_threads(forward, parts))
        if not autograd.is_training():  # for the pictures
            asked = [steps] * (len(blocks) - 1) + [steps if positions is None else positions.shape[1]]
            for block, many, *seen in zip(encoder.blks, asked, *shares):
                block.attention.later = functools.partial(_together, seen, (many, steps), device)

        def back(gradient):
            found = in_threads(lambda i: backs[i](gradient[parts[i]]), range(count))
            by_rows, by_places = onp.zeros_like(inputs[-1]), onp.zeros_like(weights[1])
            for own, (by_own, _) in zip(owns, found):
                by_rows[own] += by_own
            by_places[0, :steps] = sums_at(place, steps) @ by_rows
            by_parameters = [sums_at(sentence, 2) @ by_rows, by_places]
            by_parameters += [sum(of_parts) for of_parts in zip(*(by_weights for _, by_weights in found))]
            return [x for p, x in zip(parameters, by_parameters) if p in given] + [by_rows]

        return onp.concatenate(values), back

    # subtle: autograd stops at the first input that wants no gradient (words may be one: they come last), and
    # forgets those that are to be added to others: copies hand them on.
    given = (p.data(device) * 1 if p.grad_req == 'add' else p.data(device) for p in trained)
    return OnHost(work)(*given, words)


def _together(shares, shape, device):
    """The attention `(B * H, K, T)` of all parts of a batch, which may be shorter than it, in one array."""
    gaps = [[(0, whole - own) for whole, own in zip(shape, part.shape[2:])] for part in shares]
    padded = [onp.pad(part, [(0, 0), (0, 0), *gap]) for part, gap in zip(shares, gaps)]
    return array(onp.concatenate(padded).reshape(-1, *shape), device)


class _Block:
    """What is needed of a `TransformerEncoderBlock`: its 16 parameters, and numbers that are not trained."""

    def __init__(self, block):
        one, norms = block.attention, [block.addnorm1, block.addnorm2]
        layers = [one.W_q, one.W_k, one.W_v, one.W_o, block.ffn.dense1, block.ffn.dense2]
        self.parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
        self.parameters += [p for norm in norms for p in (norm.ln.gamma, norm.ln.beta)]
        self.heads, self.epsilons = one.num_heads, [epsilon_of(norm.ln) for norm in norms]
        self.rates = [rate_of(part.dropout) for part in (one, *norms)]


def _run(blocks, weights, rows, places, mask, positions, dropout, recorded):
    """The vectors `(B, K, C)`, each block's attention `(B, H, K, T)`, and the way back from their gradient.

    `rows` `(U, C)` are the different vectors of the input, and `places` `(B, T)` says which stands where.
    """
    (batch, steps), (count, width), tape, shares = places.shape, rows.shape, [], []
    X, at = rows[places.reshape(-1)], places  # (B * T, C)
    starts = None if positions is None else (positions + steps * onp.arange(batch)[:, None]).reshape(-1)
    for number, block in enumerate(blocks):
        mine, given = weights[16 * number : 16 * (number + 1)], X
        if starts is None or number < len(blocks) - 1:
            attended, seen, back_attend = attend(block, mine, rows, at, mask, dropout)
        else:
            # A position's last block looks at the other positions' previous block, never at their last.
            given, X = X[starts], X.reshape(batch, steps, width)  # (B * K, C), (B, T, C)
            attended, seen, back_attend = attend_from(block, mine, starts, X, mask, dropout)
        X, back_finish = finish(block, mine, given, attended, dropout)
        rows, at = X, onp.arange(len(X)).reshape(batch, -1)
        shares.append(seen)
        if recorded:  # otherwise memory is free again
            tape.append((back_attend, back_finish))

    def back(gradient):
        by_X, by_weights = gradient.reshape(-1, width), []
        while tape:  # what a block has kept is free after it
            back_attend, back_finish = tape.pop()
            by_X, by_attended, later = back_finish(by_X)
            by_rows, sooner = back_attend(by_attended)
            by_weights = sooner + later + by_weights
            picked = starts is not None and len(tape) == len(blocks) - 1
            if picked:
                by_X = sums_at(starts, batch * steps) @ by_X
            if picked or tape:  # attention read all vectors, not the different ones
                by_X, by_rows = by_X + by_rows, 0
        return by_rows + sums_at(places.reshape(-1), count) @ by_X, by_weights

    return X.reshape(batch, -1, width), shares, back


def predict(bert, tokens, segments, valid_lens, pred_positions, real):
    """What pretraining needs and no more: `(M, C)` for `bert.mlm.output` to score, and `(B, 2)`.

    `real` `(M,)` int holds the places of the M real masked words in `pred_positions`, read row by row; the
    rest is padding.
    """
    first = np.zeros((len(tokens), 1), dtype=pred_positions.dtype, ctx=tokens.ctx)
    positions = np.concatenate([first, pred_positions], axis=1)  # (B, 1 + P)
    rows = read(bert.encoder, tokens, segments, valid_lens, positions)  # (B, 1 + P, C)
    masked = rows[:, 1:].reshape(-1, rows.shape[-1])  # (B * P, C)
    picked = npx.embedding(real, masked, *masked.shape)  # (M, C)
    return bert.mlm.mlp[1](bert.mlm.mlp[0](picked)), bert.nsp(bert.hidden(rows[:, 0]))
