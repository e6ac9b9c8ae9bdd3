"""Teach a pretrained BERT the three labels, on one device or several.

`train_ch13` is the chapter's loop with the chapter's signature; `train_nli` is ours, with a schedule and a
choice of the best epoch by the dev split. Both take the same step.

Source: Devlin et al. 2019, section 4.1; Dive into Deep Learning, sections 13.6 and 16.7.
"""

import dataclasses

from tqdm.auto import tqdm

from .cluster.stopwatch import watch
from .cluster.worker import join_cluster
from .devices import split_batch_multi_inputs, try_all_gpus
from .errors import SettingsError
from .metrics import Tally, correct, evaluate_accuracy_gpus
from .model import table_of_words
from .runtime import autograd, gluon
from .settings import FinetuneSettings
from .training import Course, Updater, check_steps, in_parts, seed_step, trained_parameters


@dataclasses.dataclass(frozen=True)
class FinetuneResult:
    """How a fine-tuning ended; the network holds the weights of `best_epoch` (counted from 1)."""

    dev_accuracy: float
    best_epoch: int
    train_loss: float
    train_accuracy: float
    examples_per_second: float
    seconds: float
    history: list  # the records that `on_log` receives, also those before a `start`


def _forward_backward(net, features, labels, loss, devices, split_f):
    """Losses and hits of every device, backward passes begun; nothing is waited for."""
    X_shards, y_shards = split_f(features, labels, devices)
    with autograd.record():
        scores = [net(X) for X in X_shards]
        losses = [loss(Y_hat, y) for Y_hat, y in zip(scores, y_shards)]
        # A device without an example still takes part, with a gradient of zero: its copy of the weights
        # must make the same update as the others'.
        idle = [
            loss(net([x[:1].as_in_ctx(device) for x in features]), labels[:1].as_in_ctx(device)) * 0
            for device in devices[len(X_shards) :]
        ]
    autograd.backward(losses + idle)
    return [one.sum() for one in losses], [correct(s, y) for s, y in zip(scores, y_shards)]


def train_batch_ch13(net, features, labels, loss, trainer, devices, split_f=split_batch_multi_inputs):
    """One step of the chapter's loop; returns the sums of losses and of right answers (section 13.1)."""
    losses, hits = _forward_backward(net, features, labels, loss, devices, split_f)
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
    *,
    on_log=None,
    progress=True,
):
    """Train on all devices with the caller's loss and trainer, as the chapter does (section 13.1).

    Both iterators yield `(features, labels)`. `on_log` receives records with `epoch`, `train_loss`,
    `train_acc` and, after each epoch, `test_acc`. Prints the chapter's two lines; returns nothing.
    """
    check_steps(num_epochs)
    _count_batches(train_iter)
    devices = devices or try_all_gpus()
    course = Course(on_log=on_log)

    def step(features, labels):
        losses, hits = _forward_backward(net, features, labels, loss, devices, split_f)
        # The pretraining heads get no gradient when BERT is fine-tuned: theirs may be stale.
        trainer.step(len(labels), ignore_stale_grad=True)
        return losses, hits, trainer.learning_rate

    for epoch in range(num_epochs):
        means = _train_epoch(step, train_iter, epoch, num_epochs, course, progress)
        test_acc = evaluate_accuracy_gpus(net, test_iter, split_f)
        course.log(epoch=epoch + 1, **means, test_acc=test_acc)
    print(f'loss {means["train_loss"]:.3f}, train acc {means["train_acc"]:.3f}, test acc {test_acc:.3f}')
    print(f'{course.clock.rate():.1f} examples/sec on {devices}')


def train_nli(
    net,
    train_iter,
    dev_iter,
    settings=None,
    devices=None,
    *,
    on_log=None,
    progress=True,
    keep=None,
    start=None,
):
    """Fine-tune a `BERTClassifier` and keep the weights of the epoch that is best on the dev split.

    Both iterators yield `((tokens, segments, valid_lens), labels)`. `on_log` receives records with `epoch`,
    `train_loss`, `train_acc` and, after each epoch, `dev_acc`. Returns a `FinetuneResult`.
    Only the encoder and the head are trained; the test split is never seen here. With `patience` it ends
    after so many epochs in a row that are not better.

    `keep` is offered the state after each step (`training.Course`); a `start` that it kept is continued, if
    `train_iter` is a `Batches`. Ctrl-C waits for the end of a step and leaves `net` as it is then.

    Raises `SettingsError` for empty data, `BertNLIError` when the loss is no longer finite,
    `CheckpointError` for another model's `start`.
    """
    settings = settings or FinetuneSettings()
    devices = devices or try_all_gpus()
    loss, cluster = gluon.loss.SoftmaxCrossEntropyLoss(), join_cluster()
    num_batches = _count_batches(train_iter)
    num_steps = num_batches * settings.num_epochs
    updater = Updater(trained_parameters(net), settings, num_steps, table=table_of_words(net.bert.encoder))
    course = Course(updater, keep, start, on_log)
    if start:
        train_iter.skip(course.steps)

    def step(features, labels):
        seed_step(settings.seed, course.steps)
        losses, hits = [], []
        for X, y in in_parts(features, labels, settings.accumulate, updater):
            more_losses, more_hits = _forward_backward(net, X, y, loss, devices, cluster.split)
            losses, hits = losses + more_losses, hits + more_hits
        watch.lap('forward and backward')
        rate = updater.step(course.steps, len(labels), features[0])
        return *cluster.total(losses, hits), rate

    with course.running(train_iter):
        # An epoch is over when its weights have been judged: only then does its last step end.
        for epoch in range(course.steps // num_batches, settings.num_epochs):
            if settings.patience and epoch - course.best[1] >= settings.patience:
                break
            means = _train_epoch(step, train_iter, epoch, settings.num_epochs, course, progress)
            dev_acc = evaluate_accuracy_gpus(net, dev_iter, cluster.split, cluster.total)
            course.log(epoch=epoch + 1, **means, dev_acc=dev_acc)
            if dev_acc > course.best[0]:
                course.best, course.best_weights = (dev_acc, epoch + 1), updater.weights()
            course.end_step(now=True)
    updater.set_weights(course.best_weights)
    return FinetuneResult(
        dev_accuracy=course.best[0],
        best_epoch=course.best[1],
        train_loss=course.means['train_loss'],
        train_accuracy=course.means['train_acc'],
        examples_per_second=course.clock.rate(),
        seconds=course.clock.seconds,
        history=course.history,
    )


def _count_batches(train_iter):
    if not len(train_iter):
        raise SettingsError('there is nothing to train on', found='an iterator without batches')
    return len(train_iter)


def _train_epoch(step, train_iter, epoch, num_epochs, course, progress):
    """The rest of a pass over the data; returns the mean loss and accuracy, and logs them at each fifth.

    All steps are ended here but the last one, which ends when the epoch's weights have been judged.
    """
    num_batches = len(train_iter)
    first = course.steps - epoch * num_batches
    # subtle: below five batches the chapter divides by zero here.
    interval = max(1, num_batches // 5)
    # subtle: tqdm asks for an iterator more than once, and each would be an epoch of its own.
    bar = tqdm(
        iter(train_iter),
        initial=first,
        total=num_batches,
        desc=f'epoch {epoch + 1}/{num_epochs}',
        unit='batch',
        disable=not progress,
    )
    with course.clock:
        for i, (features, labels) in enumerate(bar, first):
            watch.lap('batch')
            features, labels = join_cluster().share(features, labels)
            losses, hits, rate = step(features, labels)
            course.tally.step = course.steps
            course.tally.add(**(course.updater.seen if course.updater else {}))
            for one_loss, one_hit in zip(losses, hits):
                course.tally.add(loss=one_loss, hits=one_hit)
            course.tally.add(examples=len(labels))
            course.clock.tick(losses, len(labels))
            if (i + 1) % interval == 0 or i + 1 == num_batches:
                course.means = {
                    'train_loss': course.tally.mean('loss', 'examples'),
                    'train_acc': course.tally.mean('hits', 'examples'),
                }
                course.check(course.steps, rate)
                bar.set_postfix({name: f'{value:.3f}' for name, value in course.means.items()})
                if i + 1 < num_batches:
                    course.log(epoch=epoch + (i + 1) / num_batches, **course.means)
            course.steps += 1
            if i + 1 < num_batches:
                course.end_step()
    course.tally = Tally()
    return course.means
