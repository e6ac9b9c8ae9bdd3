"""Teach a pretrained BERT the three labels, on one device or several.

`train_ch13` is the chapter's loop with the chapter's signature; `train_nli` is ours, with a schedule and a
choice of the best epoch by the dev split. Both take the same step.

Legend: B examples in the batch.

Source: Devlin et al. 2019, section 4.1; Dive into Deep Learning, sections 13.6 and 16.7.
"""

import dataclasses

from .devices import split_batch_multi_inputs, try_all_gpus
from .errors import SettingsError
from .metrics import Tally, correct, evaluate_accuracy_gpus
from .model import table_of_words
from .runtime import autograd, gluon
from .settings import FinetuneSettings, check
from .training import Run, Updater, trained_parameters

_MEANS = {'train_loss': ('loss', 'examples'), 'train_acc': ('hits', 'examples')}


@dataclasses.dataclass(frozen=True)
class FinetuneResult:
    """How a fine-tuning ended; the network holds the weights of `best_epoch` (counted from 1).

    `dev_accuracy` is theirs; `train_loss` (nats) and `train_accuracy` are means of the last epoch;
    `examples_per_second` and `seconds` leave out what dev takes. `history` is the list of all records that
    `on_log` receives, also of those before a `start`.
    """

    dev_accuracy: float
    best_epoch: int
    train_loss: float
    train_accuracy: float
    examples_per_second: float
    seconds: float
    history: list = dataclasses.field(repr=False)


def forward_backward(net, features, labels, loss, devices, split_f=split_batch_multi_inputs):
    """Losses and right answers of every device, backward passes begun; nothing is waited for.

    `features` are one array `(B, …)` or several, and `labels` are `(B,)`. `split_f` splits them over
    `devices`, those that hold `net`; `loss(scores, labels)` is a number for each example.
    Returns two lists with an array of one element a device. The gradients of a device are sums over its
    share of the batch; adding them up over devices is the trainer's work.
    """
    X_shards, y_shards = split_f(features, labels, devices)
    # A device without an example still takes part, with a gradient of zero: its copy of the weights must make
    # the same update as the others'.
    one, label = (features[:1] if hasattr(features, 'shape') else [x[:1] for x in features]), labels[:1]
    spare = [split_batch_multi_inputs(one, label, [device]) for device in devices[len(X_shards) :]]
    with autograd.record():
        # Forward: each device asks its own copy of the network about its own examples.
        scores = [net(X) for X in X_shards]
        losses = [loss(Y_hat, y) for Y_hat, y in zip(scores, y_shards)]
        idle = [loss(net(X), y) * 0 for (X,), (y,) in spare]
    # Backward on all of them at once.
    autograd.backward(losses + idle)
    return [one.sum() for one in losses], [correct(s, y) for s, y in zip(scores, y_shards)]


def train_batch_ch13(net, features, labels, loss, trainer, devices, split_f=split_batch_multi_inputs):
    """One step of the chapter's loop; returns the sums of losses and of right answers (section 13.6).

    `trainer` is the gluon `Trainer` of `net`; `features`, `labels`, `loss`, `devices` and `split_f` are those
    of `forward_backward`.
    """
    losses, hits = forward_backward(net, features, labels, loss, devices, split_f)
    # One update for all copies. The pretraining heads get no gradient when BERT is fine-tuned.
    trainer.step(len(labels), ignore_stale_grad=True)
    return sum(one.item() for one in losses), sum(one.item() for one in hits)


def train_ch13(
    net,
    train_iter,
    test_iter,
    loss,
    trainer,
    num_epochs,
    devices=None,
    split_f=split_batch_multi_inputs,
    **options,
):
    """Train `net` on `devices` with the caller's `loss` and `trainer`, as the chapter does (section 13.6).

    `train_iter`, which is read `num_epochs` times, and `test_iter` yield `(features, labels)`; `split_f`
    splits them over the devices (None: `try_all_gpus()`). `on_log` receives records with `epoch`,
    `train_loss`, `train_acc` and, after each epoch, `test_acc`; `progress` shows a bar. Prints the chapter's
    two lines; returns nothing. Raises `SettingsError` for zero epochs or empty data.
    """
    check('num_epochs', num_epochs, int, 1)
    # The edition of March 2020 calls devices `ctx`.
    devices = devices or options.pop('ctx', None) or try_all_gpus()
    num_batches = _count_batches(train_iter)
    with Run(**options) as run:
        for epoch in range(num_epochs):
            for features, labels in _epoch(run, train_iter, epoch, num_epochs):
                # Every device works on its share of the batch: forward, then backward.
                losses, hits = forward_backward(net, features, labels, loss, devices, split_f)
                # One update for all copies of the weights. Some parameters may have got no gradient: the
                # pretraining heads.
                trainer.step(len(labels), ignore_stale_grad=True)
                examples = len(labels)
                run.count(trainer.learning_rate, examples, loss=losses, hits=hits, examples=examples)
                _log_fifth(run, epoch, num_batches)
            # After each epoch, look at pairs that no step has seen.
            run.tally = Tally()
            test_acc = evaluate_accuracy_gpus(net, test_iter, split_f)
            run.log(epoch=epoch + 1, **run.means, test_acc=test_acc)
    means = run.means
    print(f'loss {means["train_loss"]:.3f}, train acc {means["train_acc"]:.3f}, test acc {test_acc:.3f}')
    print(f'{run.clock.rate():.1f} examples/sec on {devices}')


def train_nli(net, train_iter, dev_iter, settings=None, devices=None, *, team=None, **options):
    """Fine-tune a `BERTClassifier` and keep the weights of the epoch that is best on the dev split.

    `train_iter` and `dev_iter` yield `((tokens, segments, valid_lens), labels)`, labels `(B,)`; in training
    they may be shares of the classes, `(B, 3)`. `devices` are those that hold `net` (None: `try_all_gpus()`).
    `settings` is a `FinetuneSettings` (None: the chapter's); with its `patience` training ends after so many
    epochs in a row that are not better. `on_log` receives records with `epoch`, `train_loss`, `train_acc`
    and, after each epoch, `dev_acc`. Only the encoder and the head are trained; the test split is never seen
    here. `team` is a `Cluster` (None: this process alone); `progress`, `on_log`, `keep` and `start` are those
    of `training.Run`. Returns a `FinetuneResult`.

    Raises `SettingsError` for empty data, `BertNLIError` when the loss is no longer finite,
    `CheckpointError` for another model's `start`.
    """
    settings, devices = settings or FinetuneSettings(), devices or try_all_gpus()
    num_batches, loss = _count_batches(train_iter), gluon.loss.SoftmaxCrossEntropyLoss
    # By the dimensions of labels: a label is a number, or shares that add up to 1.
    loss_of = {1: loss(), 2: loss(sparse_label=False)}
    # Encoder and head are trained; words that a batch does not hold get no gradient.
    parameters, table = trained_parameters(net), table_of_words(getattr(net, 'bert', net).encoder)
    updater = Updater(parameters, settings, num_batches * settings.num_epochs, team, table)
    with Run(updater, **options) as run:
        for epoch in range(run.steps // num_batches, settings.num_epochs):
            if settings.patience and epoch - run.best[1] >= settings.patience:
                break
            for features, labels in _epoch(run, train_iter, epoch, settings.num_epochs):
                # Every device works on its share of the batch: forward, then backward.
                losses, hits = [], []
                for X, y in run.parts(features, labels):
                    found = forward_backward(net, X, y, loss_of[y.ndim], devices, run.team.split)
                    losses, hits = losses + found[0], hits + found[1]
                # One update for all copies of the weights, by the mean over the examples.
                examples = len(labels)
                run.step(examples, features[0], examples, loss=losses, hits=hits, examples=examples)
                _log_fifth(run, epoch, num_batches)
            # The weights of this epoch stay if no earlier ones were as good on pairs that no step has seen.
            run.tally = Tally()
            dev_acc = evaluate_accuracy_gpus(net, dev_iter, run.team.split, run.team.total)
            run.log(epoch=epoch + 1, **run.means, dev_acc=dev_acc)
            run.keep_best(dev_acc, epoch + 1)
            run.end_step(now=True)
    updater.set_weights(run.best_weights)
    means = [run.means[name] for name in _MEANS]
    return FinetuneResult(*run.best, *means, run.clock.rate(), run.clock.seconds, run.history)


def _count_batches(train_iter):
    if not len(train_iter):
        raise SettingsError('there is nothing to train on', found='an iterator without batches')
    return len(train_iter)


def _epoch(run, train_iter, epoch, num_epochs):
    """The rest of a pass over the data."""
    num_batches = len(train_iter)
    title, first = f'epoch {epoch + 1}/{num_epochs}', epoch * num_batches
    return run.batches(train_iter, first + num_batches, title, 'batch', first)


def _log_fifth(run, epoch, num_batches):
    """Mean loss and accuracy of the epoch so far, at each fifth of it."""
    done = run.steps - epoch * num_batches
    # subtle: below five batches the chapter divides by zero here.
    if done % max(1, num_batches // 5) == 0 or done == num_batches:
        run.average(**_MEANS)
        if done < num_batches:
            run.log(epoch=epoch + done / num_batches, **run.means)
