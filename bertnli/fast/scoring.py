"""The loss of masked words with its gradient in closed form: the fast form of pretraining's plain step.

Legend: B examples, T tokens, C `num_hiddens`, V vocabulary size, P predicted positions, M real masked words.
"""

import weakref

import numpy as onp

from ..runtime import autograd, np, npx

# So many masked words are scored at a time, in a place that each network keeps on each device: the scores of
# all at once would be the largest arrays by far, of another size in every batch, and the memory would grow.
_ROWS = 1024
_ROOMS = weakref.WeakKeyDictionary()
_FILL = 64  # to this the count of masked words is rounded up, for the sake of the smaller arrays


def lean_step(net, loss, X, nsp_y, nsp_weight):
    """A plain step of pretraining, sooner: real masked words only, and the closed form of their gradient.

    Returns arrays to go backward from, their gradients, and both summed losses; None without a masked word.
    """
    tokens, segments, valid_lens, pred_positions, mlm_weights, mlm_Y = X
    real = onp.flatnonzero(mlm_weights.asnumpy())  # (M,) places in (B, P)
    if not len(real):  # MXNet has no arrays without entries
        return None
    filler = onp.zeros(-len(real) % _FILL, real.dtype)
    places = np.array(onp.append(real, filler), dtype='int32', ctx=tokens.ctx)  # (M + filler,)
    truth = np.array(mlm_Y.asnumpy().reshape(-1)[real], dtype='int32', ctx=tokens.ctx)  # (M,)
    with autograd.record():
        vectors, nsp_Y_hat = net.predict(tokens, segments, valid_lens.reshape(-1), pred_positions, places)
        nsp_l = loss(nsp_Y_hat, nsp_y).sum()
        # Copies, through which autograd takes the gradients found here to the parameters.
        weight, bias = (p.data(tokens.ctx) * 1 for p in (net.mlm.output.weight, net.mlm.output.bias))
    room = _room_for_scores(net, tokens.ctx, len(bias))
    mlm_l, gradients = score_words(vectors, weight, bias, truth, room)
    return [vectors, weight, bias, nsp_l], [*gradients, np.full_like(nsp_l, nsp_weight)], mlm_l, nsp_l


def _room_for_scores(net, device, vocab_size):
    rooms = _ROOMS.setdefault(net, {})
    if device not in rooms:
        rooms[device] = np.empty((_ROWS, vocab_size), ctx=device)
    return rooms[device]


def score_words(vectors, weight, bias, truth, room):
    """The summed loss of the M words `truth`, and its gradients by `vectors`, `weight` and `bias`.

    The derivative of cross-entropy after softmax is the probabilities minus one at the true word. With that
    the scores of as many words as there is `room` for, `(_ROWS, V)`, are made, turned into their gradient,
    used for the other three, and overwritten.
    """
    mlm_l, by_vectors, weight, bias = 0, [], weight.detach(), bias.detach()
    for leaf in (weight, bias):
        leaf.attach_grad('add')  # over all parts
    for start in range(0, len(vectors), len(room)):
        part, true = vectors[start : start + len(room)].detach(), truth[start : start + len(room)]
        part.attach_grad()
        scores, gradient = room[: len(part)], room[: len(part)]  # one memory, and autograd knows the first
        with autograd.record():
            npx.fully_connected(part, weight, bias, num_hidden=len(bias), flatten=False, out=scores)
        npx.softmax(gradient, out=gradient)
        hits = npx.pick(gradient[: len(true)], true)
        mlm_l = mlm_l - np.log(np.maximum(hits, 1e-37)).sum()
        gradient[np.arange(len(true), dtype='int32', ctx=true.ctx), true] = hits - 1
        if len(true) < len(part):
            gradient[len(true) :] = 0
        # The dense layer's own backward pass is twice as fast as products of these matrices.
        scores.backward(gradient)
        by_vectors.append(part.grad)
    return mlm_l, [np.concatenate(by_vectors), weight.grad, bias.grad]
