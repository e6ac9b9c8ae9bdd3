"""Teach BERT to fill gaps and to tell which sentence follows: masked words and next sentences.

Legend: B examples in the batch, T tokens in the longest of them, C `num_hiddens`, V vocabulary size,
P predicted positions, M real masked words of the batch.

Source: Devlin et al. 2019, section 3.1; Dive into Deep Learning, section 15.10.
"""

import dataclasses
import math
import weakref

import numpy as onp
from tqdm.auto import tqdm

from . import operators
from .devices import join_cluster, try_all_gpus
from .errors import SettingsError
from .metrics import Tally
from .model import BERTModel, table_of_words
from .runtime import autograd, gluon, np, npx
from .settings import PretrainSettings
from .stopwatch import watch
from .training import Course, Updater, check_steps, in_parts, seed_step
from .vectors import word_vectors

__all__ = ['PretrainResult', 'begin_with_vectors', 'train_bert']

# So many masked words are scored at a time, in a place that each network keeps on each device: the scores of
# all at once would be the largest arrays by far, of another size in every batch, and the memory would grow.
_ROWS = 1024
_ROOMS = weakref.WeakKeyDictionary()
_FILL = 64  # to this the count of masked words is rounded up, for the sake of the smaller arrays
_SPREAD = 0.2  # root mean square of a vector from counts; 0.1 and 0.3 learn alike


@dataclasses.dataclass(frozen=True)
class PretrainResult:
    """How a pretraining ended: mean losses (nats) since the last log point, speed and duration.

    `history` is the list of all records that `on_log` receives, also of those before a `start`.
    """

    mlm_loss: float
    nsp_loss: float
    pairs_per_second: float
    seconds: float
    history: list


def begin_with_vectors(net, numbers, starts, *, seed=0):
    """Before its first step, tell `net` which words stand near each other (`vectors.word_vectors`).

    `numbers` and `starts` are the text, as `WikiTextDataset.sentences`. A word's vector tells its neighbours,
    the scores of masked words prefer frequent words and those whose neighbours were read, and positions are
    sine waves, so that near ones are alike (Vaswani et al. 2017, section 3.5; chapter section 11.6). Words
    that do not occur in the text, the special ones among them, keep their vectors.

    >>> from bertnli.model import BERTModel
    >>> bert = BERTModel(9, 8, 8, 2, 1, 0.0, max_len=16)
    >>> bert.initialize()
    >>> begin_with_vectors(bert, [5, 6, 7, 8, 5, 6], [0, 2, 4])
    >>> [round(float(score), 1) for score in bert.mlm.output.bias.data()[5:]]
    [-0.9, -0.9, -1.4, -1.4]
    """
    table, output, places = net.encoder.token_embedding.weight, net.mlm.output, net.encoder.pos_embedding
    found = word_vectors(numbers, starts, *table.shape, seed=seed)
    for parameter, vectors in ((table, found.words), (output.weight, found.contexts)):
        known = vectors.any(axis=1, keepdims=True)
        values = onp.where(known, _SPREAD * vectors, parameter.list_data()[0].asnumpy())
        parameter.set_data(np.array(values, dtype='float32'))
    frequency = (found.counts + 0.5) / found.counts.sum()  # half a word: no logarithm of nothing
    output.bias.set_data(np.array(onp.log(frequency), dtype='float32'))
    waves = _SPREAD / 2 * _waves(*places.shape[1:])  # half: a word says more than its place
    places.set_data(np.array(waves[None], dtype='float32'))


def _waves(length, width):
    """Sines and cosines of ever longer waves, `(length, width)`, of mean square 1."""
    column = onp.arange(width)
    angles = onp.arange(length)[:, None] / 10000 ** (column // 2 * 2 / width)
    return math.sqrt(2) * onp.where(column % 2, onp.cos(angles), onp.sin(angles))


def train_bert(
    train_iter,
    net,
    loss,
    vocab_size,
    devices=None,
    log_interval=20,
    num_steps=None,
    *,
    settings=None,
    on_log=None,
    progress=True,
    keep=None,
    start=None,
):
    """Pretrain `net` for `num_steps` batches, beginning the data again as often as needed (section 15.10).

    `train_iter` yields the chapter's seven arrays `(tokens, segments, valid_lens, pred_positions,
    mlm_weights, mlm_Y, nsp_y)`. Every `log_interval` steps `on_log` receives a record with `step`,
    `mlm_loss`, `nsp_loss` and `learning_rate`. Prints the chapter's two lines and returns a `PretrainResult`.

    `keep` is offered the state after each step (`training.Course`); a `start` that it kept is continued, if
    `train_iter` is a `Batches`. Ctrl-C waits for the end of a step and leaves `net` as it is then.

    Raises `SettingsError` for zero steps or empty data, `BertNLIError` when a loss is no longer finite,
    `CheckpointError` for another model's `start`.
    """
    settings = settings or PretrainSettings()
    num_steps = settings.num_steps if num_steps is None else num_steps
    check_steps(num_steps)
    devices = devices or try_all_gpus()
    table = table_of_words(net.encoder) if type(net) is BERTModel else None
    updater = Updater(net.collect_params(), settings, num_steps, table=table)
    course = Course(updater, keep, start, on_log)
    if start:
        train_iter.skip(course.steps)
    clock, todo = course.clock, range(course.steps, num_steps)
    shown = {'desc': 'pretraining', 'unit': 'step', 'disable': not progress}
    with course.running(train_iter), clock, tqdm(total=num_steps, initial=course.steps, **shown) as bar:
        for step, batch in zip(todo, _endless(train_iter)):
            watch.lap('batch')
            seed_step(settings.seed, step)
            *X, y = batch
            X, y = join_cluster().share(X, y)
            parts = in_parts(X, y, settings.accumulate, updater)
            mlm, nsp, words = train_batch_bert(net, (*X, y), loss, vocab_size, devices, parts)
            watch.lap('forward and backward')
            rate = updater.step(step, words, X[0])
            mlm, nsp = join_cluster().total(mlm, nsp)
            course.tally.step = step
            course.tally.add(**updater.seen)
            for one_mlm, one_nsp in zip(mlm, nsp):
                course.tally.add(mlm=one_mlm, nsp=one_nsp)
            course.tally.add(words=words, pairs=len(y))
            clock.tick(mlm + nsp, len(batch[0]))
            bar.update()
            if (step + 1) % log_interval == 0 or step + 1 == num_steps:
                course.means = {
                    'mlm_loss': course.tally.mean('mlm', 'words'),
                    'nsp_loss': course.tally.mean('nsp', 'pairs'),
                }
                course.check(step, rate)
                bar.set_postfix({name: f'{value:.3f}' for name, value in course.means.items()})
                course.log(step=step + 1, **course.means, learning_rate=rate)
                course.tally = Tally()
            course.steps = step + 1
            course.end_step()
    result = PretrainResult(
        **course.means, pairs_per_second=clock.rate(), seconds=clock.seconds, history=course.history
    )
    print(f'MLM loss {result.mlm_loss:.3f}, NSP loss {result.nsp_loss:.3f}')
    print(f'{result.pairs_per_second:.1f} sentence pairs/sec on {devices}')
    return result


def _endless(train_iter):
    """The batches of epoch after epoch."""
    while True:
        empty = True
        for batch in train_iter:
            empty = False
            yield batch
        if empty:
            raise SettingsError('there is nothing to train on', found='an iterator without batches')


def train_batch_bert(net, batch, loss, vocab_size, devices, parts=None):
    """Forward and backward of one batch over all devices; the update is the caller's.

    Gradients are sums over the M masked words of the batch (next-sentence losses weighted by M / B), so that
    dividing them by M once gives mean losses whatever the number of devices. In a cluster they are those of
    this worker's part, with the whole batch's M and B. `parts` may yield the batch in parts, each
    `(inputs, nsp_y)`. Returns the sums of both losses (two lists of arrays) and M.
    """
    *X, y = batch
    weights = batch[4].asnumpy()
    words = max(1, int((weights > 0).sum()))
    mlm, nsp = [], []
    for part_X, part_y in parts or [(X, y)]:
        more_mlm, more_nsp = _forward_backward(
            net, part_X, part_y, loss, vocab_size, devices, words / len(weights)
        )
        mlm, nsp = mlm + more_mlm, nsp + more_nsp
    return mlm, nsp, words


def _forward_backward(net, X, y, loss, vocab_size, devices, nsp_weight):
    """Losses of every device, backward passes begun; nothing is waited for."""
    X_shards, y_shards = join_cluster().split(X, y, devices)
    step = _lean_step if _is_plain(net, loss) else _plain_step
    done = [step(net, loss, *shard, vocab_size, nsp_weight) for shard in zip(X_shards, y_shards)]
    # A device without an example still takes part, with a gradient of zero: its copy of the weights must
    # make the same update as the others', and its last gradients must not count again.
    idle = [
        step(net, loss, [x[:1].as_in_ctx(d) for x in X], y[:1].as_in_ctx(d), vocab_size, 0.0)[0]
        for d in devices[len(done) :]
    ]
    # Only now, with every device at work on its forward pass, ask for the backward passes.
    for heads, gradients, _, _ in done:
        autograd.backward(heads, gradients)
    for heads in idle:
        autograd.backward(heads, [np.zeros_like(head) for head in heads])
    return [mlm for _, _, mlm, _ in done], [nsp for _, _, _, nsp in done]


def _is_plain(net, loss):
    """Whether the gradient of the loss is known in closed form and the network can skip what nobody reads."""
    return (
        isinstance(net, BERTModel)
        and type(loss) is gluon.loss.SoftmaxCrossEntropyLoss
        and (loss._axis, loss._weight, loss._sparse_label, loss._from_logits) == (-1, None, True, False)
    )


def _plain_step(net, loss, X, nsp_y, vocab_size, nsp_weight):
    """As the chapter writes it: every position encoded, every padded word scored and weighted by zero."""
    tokens, segments, valid_lens, pred_positions, mlm_weights, mlm_Y = X
    with autograd.record():
        _, mlm_Y_hat, nsp_Y_hat = net(tokens, segments, valid_lens.reshape(-1), pred_positions)
        mlm_l = loss(mlm_Y_hat.reshape(-1, vocab_size), mlm_Y.reshape(-1), mlm_weights.reshape(-1, 1)).sum()
        nsp_l = loss(nsp_Y_hat, nsp_y).sum()
        total = mlm_l + nsp_l * nsp_weight
    return [total], [None], mlm_l, nsp_l


def _lean_step(net, loss, X, nsp_y, vocab_size, nsp_weight):
    """The same gradients with less work: real masked words only, and the closed form of their gradient."""
    tokens, segments, valid_lens, pred_positions, mlm_weights, mlm_Y = X
    real = onp.flatnonzero(mlm_weights.asnumpy().T)  # (M,) places in (P, B)
    if not len(real):  # MXNet has no arrays without entries
        return _plain_step(net, loss, X, nsp_y, vocab_size, nsp_weight)
    filler = onp.zeros(-len(real) % _FILL, real.dtype)
    places = np.array(onp.append(real, filler), dtype='int32', ctx=tokens.ctx)  # (M + filler,)
    truth = np.array(mlm_Y.asnumpy().T.reshape(-1)[real], dtype='int32', ctx=tokens.ctx)  # (M,)
    with autograd.record():
        vectors, nsp_Y_hat = net.predict(tokens, segments, valid_lens.reshape(-1), pred_positions, places)
        nsp_l = loss(nsp_Y_hat, nsp_y).sum()
        # Copies, through which autograd takes the gradients found here to the parameters.
        weight, bias = (p.data(tokens.ctx) * 1 for p in (net.mlm.output.weight, net.mlm.output.bias))
    room = _room_for_scores(net, tokens.ctx, len(bias))
    mlm_l, gradients = _score_words(vectors, weight, bias, truth, room)
    return [vectors, weight, bias, nsp_l], [*gradients, np.full_like(nsp_l, nsp_weight)], mlm_l, nsp_l


def _room_for_scores(net, device, vocab_size):
    rooms = _ROOMS.setdefault(net, {})
    if device not in rooms:
        rooms[device] = np.empty((_ROWS, vocab_size), ctx=device)
    return rooms[device]


def _score_words(vectors, weight, bias, truth, room):
    """The summed loss of the M words `truth`, and its gradients by `vectors`, `weight` and `bias`.

    The derivative of cross-entropy after softmax is the probabilities minus one at the true word. With that
    the scores of as many words as there is `room` for, `(_ROWS, V)`, are made, turned into their gradient,
    used for the other three, and overwritten.
    """
    mlm_l, by_vectors, by_weight, by_bias = 0, [], 0, 0
    for start in range(0, len(vectors), len(room)):
        part, true = vectors[start : start + len(room)], truth[start : start + len(room)]
        gradient = room[: len(part)]
        npx.fully_connected(part, weight, bias, num_hidden=len(bias), flatten=False, out=gradient)
        npx.softmax(gradient, out=gradient)
        hits = npx.pick(gradient[: len(true)], true)
        mlm_l = mlm_l - np.log(np.maximum(hits, 1e-37)).sum()
        gradient[np.arange(len(true), dtype='int32', ctx=true.ctx), true] = hits - 1
        if len(true) < len(part):
            gradient[len(true) :] = 0
        by_vectors.append(np.dot(gradient, weight))
        by_weight = by_weight + operators.dot_transposed(part, gradient)  # (C, V)
        by_bias = by_bias + np.dot(np.ones((1, len(part)), ctx=bias.ctx), gradient).reshape(-1)
    return mlm_l, [np.concatenate(by_vectors), by_weight.T, by_bias]
