"""Teach BERT to fill gaps and to tell which sentence follows: masked words and next sentences.

Legend: B examples in the batch, T tokens in the longest of them, C `num_hiddens`, V vocabulary size,
P predicted positions, M real masked words of the batch.

Source: Devlin et al. 2019, section 3.1; Dive into Deep Learning, section 15.10.
"""

import dataclasses

from .devices import Alone, try_all_gpus
from .fast.blocks import unchanged
from .fast.scoring import lean_step
from .metrics import Tally
from .model import BERTModel, table_of_words
from .runtime import autograd, is_cross_entropy, np
from .settings import PretrainSettings, check
from .training import Run, Updater


@dataclasses.dataclass(frozen=True)
class PretrainResult:
    """How a pretraining ended, after `seconds` at a speed of `pairs_per_second`.

    `mlm_loss` and `nsp_loss` are means since the last log point, in nats; `history` is the list of all
    records that `on_log` receives, also of those before a `start`.
    """

    mlm_loss: float
    nsp_loss: float
    pairs_per_second: float
    seconds: float
    history: list = dataclasses.field(repr=False)


def train_bert(train_iter, net, loss, vocab_size, devices=None, *steps, settings=None, team=None, **options):
    """Pretrain `net` for `num_steps` batches, beginning the data again as often as needed (section 15.10).

    `train_iter` yields the chapter's seven arrays `(tokens, segments, valid_lens, pred_positions,
    mlm_weights, mlm_Y, nsp_y)`. `loss` is gluon's softmax cross-entropy, `vocab_size` how many words `net`
    scores, `devices` are those that hold it (None: `try_all_gpus()`), `settings` a `PretrainSettings` (None:
    the chapter's). `steps` are the book's last arguments: `num_steps`, or `log_interval, num_steps`; both may
    be given by name. Every `log_interval` (20) steps `on_log` receives a record with `step`, `mlm_loss`,
    `nsp_loss` and `learning_rate`. `team` is a `Cluster` (None: this process); `progress`, `on_log`, `keep`
    and `start` are those of `training.Run`. Prints the chapter's two lines; returns a `PretrainResult`.

    Raises `SettingsError` for zero steps or empty data, `BertNLIError` when a loss is no longer finite,
    `CheckpointError` for another model's `start`.
    """
    # The edition of March 2020 calls devices `ctx`.
    devices = devices or options.pop('ctx', None) or try_all_gpus()
    settings = settings or PretrainSettings()
    log_interval, num_steps = _steps_of(steps, options, settings)
    table = table_of_words(net.encoder) if type(net) is BERTModel else None
    updater = Updater(net.collect_params(), settings, num_steps, team, table)
    with Run(updater, **options) as run:
        for X, y in run.batches(train_iter, num_steps, 'pretraining'):
            # Every device works on its share of the batch: forward, then backward.
            mlm, nsp, words = train_batch_bert(net, (*X, y), loss, vocab_size, devices, run)
            # One update for all copies of the weights, by the mean over the masked words.
            run.step(words, X[0], len(y), mlm=mlm, nsp=nsp, words=words, pairs=len(y))
            # Now and then, the mean losses since the last time.
            if run.steps % log_interval == 0 or run.steps == num_steps:
                run.average(mlm_loss=('mlm', 'words'), nsp_loss=('nsp', 'pairs'))
                run.log(step=run.steps, **run.means, learning_rate=run.rate)
                run.tally = Tally()
        run.end_step()
    speed = {'pairs_per_second': run.clock.rate(), 'seconds': run.clock.seconds}
    result = PretrainResult(**run.means, **speed, history=run.history)
    print(f'MLM loss {result.mlm_loss:.3f}, NSP loss {result.nsp_loss:.3f}')
    print(f'{result.pairs_per_second:.1f} sentence pairs/sec on {devices}')
    return result


def _steps_of(steps, options, settings):
    """`(log_interval, num_steps)`: the seed edition gave both after the devices, newer ones the second."""
    named = options.pop('log_interval', 20), options.pop('num_steps', None)
    log_interval, num_steps = (*named[: 2 - len(steps)], *steps)
    num_steps = settings.num_steps if num_steps is None else num_steps
    check('num_steps', num_steps, int, 1)
    return log_interval, num_steps


def train_batch_bert(net, batch, loss, vocab_size, devices, run=None):
    """Forward and backward of one batch over all devices; the update is the caller's.

    `batch` are the seven arrays, `net`, `loss`, `vocab_size` and `devices` are those of `train_bert`.
    Gradients are sums over the M masked words of the batch (next-sentence losses weighted by M / B), so that
    dividing them by M once gives mean losses whatever the number of devices. In a team they are those of this
    process's part, with the whole batch's M and B; a `run` may work on the batch in parts.
    Returns the sums of both losses (two lists of arrays) and M.
    """
    *X, y = batch
    words = max(1, int((batch[4].asnumpy() > 0).sum()))  # M
    team, parts = (run.team, run.parts(X, y)) if run else (Alone(), [(X, y)])
    mlm, nsp = [], []
    for part_X, part_y in parts:
        shards = list(zip(*team.split(part_X, part_y, devices)))
        # A device without an example still takes part, with a gradient of zero: its copy of the weights must
        # make the same update as the others', and its last gradients must not count again.
        spare = devices[len(shards) :]
        one = [([x[:1].as_in_ctx(d) for x in part_X], part_y[:1].as_in_ctx(d)) for d in spare]
        idle = [_losses(net, loss, shard, vocab_size, 0.0)[0] for shard in one]
        # Forward on every device. Nothing waits: MXNet returns before the work is done.
        done = [_losses(net, loss, shard, vocab_size, words / len(y)) for shard in shards]
        # Only now, with every device at work, ask for the backward passes.
        for heads, gradients, _, _ in done:
            autograd.backward(heads, gradients)
        for heads in idle:
            autograd.backward(heads, [np.zeros_like(head) for head in heads])
        mlm += [one for _, _, one, _ in done]
        nsp += [one for _, _, _, one in done]
    return mlm, nsp, words


def _is_plain(net, loss):
    """Whether the gradient of the loss is known in closed form and the network can skip what nobody reads."""
    return unchanged(net) and is_cross_entropy(loss)


def _losses(net, loss, shard, vocab_size, nsp_weight):
    """Both losses of a device's share, ready for backward.

    Returns arrays to go backward from, their gradients (None: 1), and the summed losses.
    """
    (tokens, segments, valid_lens, pred_positions, mlm_weights, mlm_Y), nsp_y = shard
    if _is_plain(net, loss):
        # The same gradients with less work: see fast/scoring.py.
        sooner = lean_step(net, loss, *shard, nsp_weight)
        if sooner:
            return sooner
    with autograd.record():
        # As the chapter writes it: every position is encoded, every masked word is scored.
        _, mlm_Y_hat, nsp_Y_hat = net(tokens, segments, valid_lens.reshape(-1), pred_positions)
        scores = mlm_Y_hat.reshape(-1, vocab_size)  # (B, P, V) to (B * P, V)
        # Padded words have weight zero.
        mlm_l = loss(scores, mlm_Y.reshape(-1), mlm_weights.reshape(-1, 1)).sum()
        nsp_l = loss(nsp_Y_hat, nsp_y).sum()
        total = mlm_l + nsp_l * nsp_weight
    return [total], [None], mlm_l, nsp_l
