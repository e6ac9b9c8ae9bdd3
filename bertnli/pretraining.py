"""Teach BERT to fill gaps and to tell which sentence follows: masked words and next sentences.

Legend: B examples in the batch, T tokens in the longest of them, C `num_hiddens`, V vocabulary size,
P predicted positions, M real masked words of the batch.

Source: Devlin et al. 2019, section 3.1; Dive into Deep Learning, section 15.10.
"""

import dataclasses

from tqdm.auto import tqdm

from .cluster.stopwatch import watch
from .cluster.worker import join_cluster
from .devices import try_all_gpus
from .errors import SettingsError
from .fast.blocks import unchanged
from .fast.scoring import _lean_step
from .metrics import Tally
from .model import BERTModel, table_of_words
from .runtime import autograd, gluon, np
from .settings import PretrainSettings
from .training import Course, Updater, check_steps, in_parts, seed_step


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
        unchanged(net)
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
