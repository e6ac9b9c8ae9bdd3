"""Whole jobs, as the command line and the notebooks run them: pretrain, fine-tune, evaluate, and a demo.

A training leaves a folder with the model, its curves, and a `metrics.json` with all that was logged. While it
runs, its state is saved in the subfolder `training`: after an interruption it continues with `resume`, and
ends with the same bits. The parts are the library's public functions; nothing here computes.
"""

import contextlib
import dataclasses
import errno
import hashlib
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Callable, Optional

import numpy as onp

from ..analysis.baselines import hypothesis_only_baseline
from ..analysis.challenge import judge_challenge
from ..analysis.report import Report, evaluate, evaluate_pretraining, fit_temperature
from ..batches import Batches
from ..cluster.worker import join_cluster
from ..corpora.contrasts import contrast_pairs, order_pairs
from ..corpora.files import data_dir, download_extract
from ..corpora.pairs import NotHere, PairFiles, PairRows
from ..corpora.treebank import MAX_UNKNOWN, words
from ..datasets import SNLIBERTDataset, WikiTextDataset
from ..devices import cpu_devices, try_all_gpus
from ..errors import CheckpointError, DataError, SettingsError
from ..fast.encoding import PairTable, encode
from ..finetuning import train_nli
from ..headstart.alignment import begin_with_alignment
from ..headstart.counting import begin_with_vectors
from ..machine.disk import one_writer, write_json
from ..model import BERTClassifier, BERTModel, check_bert
from ..pictures.answers import plot_challenge, plot_confusion, plot_reliability
from ..pictures.curves import plot_history
from ..pictures.style import save
from ..prediction import predict_pairs, rows_of_table
from ..pretraining import train_bert
from ..runtime import gluon, init, mx, npx, report
from ..settings import PRESETS, Preset
from ..storage.checkpoints import SHIPPED, load_checkpoint, load_pretrained_model, run_of, save_checkpoint
from ..storage.states import Keeper, check_same_run, differences, state_from_bytes, state_to_bytes
from ..text import LABELS, SentencePair, read_snli, read_wiki
from ..tokens import RESERVED, Vocab

_FILES = 'manifest.json', 'metrics.json', 'curves.png', 'confusion.png', 'reliability.png'


@dataclasses.dataclass(frozen=True)
class Job:
    """What a training is given besides its folder and its network.

    >>> Job(preset('demo'), limit=500).preset.finetune.num_epochs
    12
    """

    preset: Preset
    data: Optional[str] = None  # a folder with the archives, 'download' or PairFiles; None is the sample
    text: Optional[str] = None  # a file to pretrain on instead of WikiText-2
    devices: list = dataclasses.field(default_factory=try_all_gpus)
    limit: Optional[int] = None  # of SNLI's training and dev pairs
    on_log: Optional[Callable] = None  # called with each record; after a resume with the later ones only
    progress: bool = True
    resume: bool = False  # continue a run that was interrupted; do not repeat one that has finished
    half: bool = False  # save the weights in 16 bits
    overwrite: bool = False  # replace the states, or the finished model, of another run
    max_unknown: float = MAX_UNKNOWN  # the share of words that the vocabulary may lack
    teachers: Optional[tuple] = None  # names or folders of classifiers: their mean answers are learnt, too


def preset(name):
    """The preset of a name; `SettingsError` lists the names there are.

    >>> preset('chapter').pretrain.num_steps
    4000
    """
    if name not in PRESETS:
        raise SettingsError('unknown preset', 'preset', name, ', '.join(PRESETS), 'choose one of these')
    return PRESETS[name]


def _setting(devices, seed, data):
    """What every metrics.json says of its surroundings."""
    team, found = join_cluster(), {'data': str(data_dir(data)), 'devices': str(devices), 'seed': seed}
    if isinstance(data, PairFiles) and data.named:
        found['data'] = ', '.join(map(str, data.named))
    if team.store:
        found.update(workers=team.count, bytes_per_step=team.bytes_per_step)
    return {**found, 'versions': report()}


@contextlib.contextmanager
def _planned(out, settings, devices, places, limit=None):
    """Report before the first step what could not end well; inside, nobody else trains in this folder."""
    size, longest = settings.batch_size, settings.max_len
    if size < len(devices):
        found, allowed = f'{size} examples, {len(devices)} devices', 'at least one example a device'
        problem, remedy = 'fewer examples than devices', 'choose a larger batch, or fewer devices'
        raise SettingsError(problem, 'batch_size', found, allowed, remedy)
    if limit is not None and limit < size:
        problem, remedy = 'the batch is larger than the data', 'choose a smaller batch, or raise the limit'
        raise SettingsError(problem, 'batch_size', size, f'up to the limit of {limit} pairs', remedy)
    if longest > places:
        problem, allowed = 'the inputs are longer than the position table', f'at most {places} tokens'
        raise SettingsError(problem, 'max_len', longest, allowed, 'lower max_len')
    if not join_cluster().first:  # of a cluster it is the first worker that writes
        yield
        return
    _check_writable(out)
    with one_writer(out):
        yield


def _check_writable(out):
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
        for name in _FILES:
            if Path(out, name).exists() and not Path(out, name).is_file():
                raise OSError(errno.EEXIST, f'{name} is not a file')
    except OSError as error:
        problem, allowed = 'the results cannot be written', 'a new or writable folder'
        raise DataError(problem, str(out), error.strerror, allowed, 'choose another folder') from error


def _describe_run(job, settings, net, vocab, **datasets):
    """What makes a training this one, as flat JSON content; `datasets` are pairs of a data set and labels."""
    run = {'job': job, **dataclasses.asdict(settings)}
    run['model'] = str(getattr(getattr(net, 'bert', net), 'settings', None))
    weights = net.collect_params().values()
    run['first weights'] = _checksum(*(p.list_data()[0].asnumpy() for p in weights))
    run['words'] = _checksum('\n'.join(vocab.idx_to_token).encode())
    for name, (dataset, labels) in datasets.items():
        run[f'{name} pairs'], run[f'{name} content'] = len(dataset), _checksum(*dataset.table, labels)
    return run


def _checksum(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.tobytes())
    return digest.hexdigest()[:16]


def _begin(out, run, job):
    """`(hooks, ended)`: keywords of `train_bert` and `train_nli`, and the model of a finished run or None."""
    keep, team = Keeper(Path(out, 'training'), run), join_cluster()
    if job.resume and not team.exact:
        problem, allowed = 'a dist_async training cannot be resumed', 'dist_sync, for resume and restarts'
        raise SettingsError(problem, None, 'resume', allowed, 'start over: its servers keep no state')
    # Only the first worker looks into the folder, which the others may not even have, and tells them.
    if team.first and not (job.resume or job.overwrite):
        _check_free(keep, out)
    start, ended = _look_for_state(keep, out, job) if job.resume and team.first else (None, None)
    if team.count > 1 and team.exact:
        content = team.tell(b'ended' if ended else state_to_bytes(run, start) if start else b'')
        if content == b'ended' and not team.first:
            team.leave()
            raise SystemExit  # nothing is left to do
        if content not in (b'', b'ended'):
            start = state_from_bytes(content)[-1]
    hooks = {'on_log': job.on_log, 'progress': job.progress, 'keep': keep, 'start': start, 'team': team}
    return hooks, ended


def _check_free(keep, out):
    """Nothing of another run is deleted unless it is said to be."""
    states, found = keep.states(), run_of(out)
    if states:
        problem, said = 'the folder holds the state of a run that has not finished', states[0].name
        remedy = 'continue it with --resume, start over with --overwrite, or choose another --out'
        raise CheckpointError(problem, str(out), said, remedy=remedy)
    other = {} if found is None else differences(found, keep.run)
    if other:
        said = f'another {", ".join(other)}' if found else 'a model that does not say how it was trained'
        problem = 'the folder holds the model of another run'
        raise CheckpointError(problem, str(out), said, remedy='choose another --out, or --overwrite it')


def _look_for_state(keep, out, job):
    start, ended = keep.load(), None
    if start:
        print(f'resuming after step {keep.last}')
    elif Path(out, 'manifest.json').exists():
        ended = load_checkpoint(out, job.devices, kind='bert' if keep.run['job'] == 'pretrain' else 'nli')
        check_same_run(ended.notes.get('run', {}), keep.run, out)
        print(f'this run has already finished; its model is in {out}')
    else:
        print(f'no saved state in {keep.folder}: starting from the beginning')
    return start, ended


def _finish(out, job, keep, net, vocab, result, metrics):
    """Save the model, its numbers and its curves; then no state is needed. One worker of a cluster does."""
    if not join_cluster().first:
        return
    settings = getattr(job.preset, keep.run['job'])
    notes = {**metrics, keep.run['job']: dataclasses.asdict(settings)}
    whole = {**notes, 'run': keep.run}
    keep.tell_if_gone()
    save_checkpoint(out, net, vocab, max_len=settings.max_len, notes=whole, half=job.half)
    notes.update(_setting(job.devices, settings.seed, job.data), history=result.history)
    write_json(Path(out, 'metrics.json'), notes)
    save(plot_history(result.history), Path(out, 'curves.png'))
    keep.clear()


def _metrics_of(ended):
    return {name: value for name, value in ended.notes.items() if name not in ('run', 'pretrain', 'finetune')}


def pretrain(out, job):
    """Pretrain a new BERT by `job.preset` and save it in `out`; returns `(bert, vocab, metrics)`.

    Every weight is a function of the seed. Raises `SettingsError` or `DataError` before the first step, and
    `CheckpointError` if `out` holds a run with other settings or data that was to be resumed.
    """
    settings, devices, shape = job.preset.pretrain, job.devices, job.preset.model
    with _planned(out, settings, devices, shape.max_len):
        dataset = _pretraining_text(job, settings)
        train_iter, vocab = Batches(dataset, settings.batch_size, seed=settings.seed), dataset.vocab
        bert = _new_bert(vocab, shape, settings.seed, devices)
        run = _describe_run('pretrain', settings, bert, vocab, train=(dataset, dataset.is_next))
        hooks, ended = _begin(out, run, job)
        if ended:
            return ended.net, ended.vocab, _metrics_of(ended)
        if settings.count_first and not hooks['start']:
            begin_with_vectors(bert, *dataset.sentences, seed=settings.seed)
        loss = gluon.loss.SoftmaxCELoss()
        result = train_bert(train_iter, bert, loss, len(vocab), devices, settings=settings, **hooks)
        metrics = {name: getattr(result, name) for name in ('mlm_loss', 'nsp_loss', 'pairs_per_second')}
        metrics.update(pretrain_seconds=result.seconds, pretrain_steps=settings.num_steps)
        metrics['vocabulary'] = len(vocab)
        _finish(out, job, hooks['keep'], bert, vocab, result, metrics)
        return bert, vocab, metrics


def _pretraining_text(job, settings):
    """WikiText-2, or `job.text`; and with `pair_text` each training pair of SNLI as two sentences.

    A text that is read several times in an epoch has other next sentences and other masks each time.
    """
    wiki = read_wiki(job.text or download_extract('wikitext-2', data_dir=job.data))
    options = {'seed': settings.seed, 'progress': job.progress}
    skipped = [f'{n:,} × {why} (first: {lines[0]})' for why, (n, lines) in wiki.skipped.items()]
    if job.progress and skipped:
        print(f'pretraining text: {len(wiki)} paragraphs; {", ".join(skipped)}', file=sys.stderr)
    paragraphs = [*wiki]
    if settings.pair_text:
        premises, hypotheses, _ = _training_pairs(job.data, job.limit)
        paragraphs += ([' '.join(words(one)) for one in pair] for pair in zip(premises, hypotheses))
    dataset = WikiTextDataset(paragraphs, settings.max_len, min_freq=settings.min_freq, **options)
    if settings.wiki_times == 1 or not settings.pair_text:
        return dataset
    # Words are counted once, however often their text is read.
    paragraphs = [*wiki * (settings.wiki_times - 1), *paragraphs]
    return WikiTextDataset(paragraphs, settings.max_len, vocab=dataset.vocab, **options)


def _new_bert(vocab, settings, seed, devices):
    mx.random.seed(seed)
    bert = BERTModel(len(vocab), **dataclasses.asdict(settings))
    bert.initialize(init.Xavier(), ctx=devices)
    return bert


def finetune(out, bert, vocab, job):
    """Fine-tune `bert` on SNLI, save the epoch that is best on dev in `out`; returns `(net, metrics)`.

    A `BERTClassifier` in place of `bert` goes on with its head. With None the model is new, its vocabulary
    the words of the training pairs (`vocab` is ignored). To resume, give the same `bert` again. Raises what
    `pretrain` raises.
    """
    places = job.preset.model.max_len
    if bert is not None:
        places = check_bert(getattr(bert, 'bert', bert)).encoder.pos_embedding.shape[1]
    with _planned(out, job.preset.finetune, job.devices, places, job.limit):
        return _finetune(out, bert, vocab, job)


def _finetune(out, bert, vocab, job):
    settings, devices = job.preset.finetune, job.devices
    if bert is None:
        premises, hypotheses, _ = _training_pairs(job.data, job.limit)
        tokens = map(words, [*premises, *hypotheses])
        vocab = Vocab(tokens, min_freq=job.preset.pretrain.min_freq, reserved_tokens=RESERVED)
        bert = _new_bert(vocab, job.preset.model, settings.seed, devices)
    net = bert if isinstance(bert, BERTClassifier) else BERTClassifier(bert)
    train, dev = _train_and_dev(settings, vocab, job)
    train.word_dropout = settings.word_dropout
    train_iter = Batches(train, settings.batch_size, seed=settings.seed)
    dev_iter = Batches(dev, min(settings.batch_size, len(dev)), shuffle=False)
    if settings.dropout is not None:
        net.bert.set_dropout(settings.dropout)
    if settings.align_first:
        begin_with_alignment(net.bert)
    mx.random.seed(settings.seed)
    if net is not bert:  # its head is new
        net.classifier.initialize(init.Xavier(), ctx=devices)
    splits = {'train': (train, train.label_ids), 'dev': (dev, dev.label_ids)}
    run = _describe_run('finetune', settings, net, vocab, **splits)
    if job.teachers:
        run['teachers'] = ', '.join(map(str, job.teachers))
    hooks, ended = _begin(out, run, job)
    if ended:
        return ended.net, _metrics_of(ended)
    if job.teachers:
        train.label_ids = _taught(train, vocab, settings, job)
    net.encoder.mixed = settings.mixed_words
    try:
        result = train_nli(net, train_iter, dev_iter, settings, devices, **hooks)
    finally:
        net.encoder.mixed = 0.0  # whoever trains it further by hand mixes no words unasked
    names = ('dev_accuracy', 'best_epoch', 'train_accuracy', 'train_loss', 'examples_per_second')
    metrics = {name: getattr(result, name) for name in names}
    metrics.update(finetune_seconds=result.seconds, train_pairs=len(train))
    # Where nearly all sentences end with a full stop, one that does not is something else.
    last = train.table.flat[train.table.starts + train.table.lengths - 1]
    stops = (last == vocab.token_to_idx.get('.', -1)).mean()
    metrics.update(unknown_words=dev.unknown, full_stop=bool(stops > 0.9))
    if settings.calibrate:  # kept beside the weights; `load_checkpoint` applies it
        judged = evaluate(net, dev_iter, devices)
        metrics['temperature'] = fit_temperature(judged.true, judged.probabilities)
    _finish(out, job, hooks['keep'], net, vocab, result, metrics)
    return net, metrics


def _train_and_dev(settings, vocab, job):
    """The pairs that are learnt and those that choose the epoch: given ones, our own, or both."""
    shape, options = (settings.max_len, vocab), {'progress': job.progress, 'max_unknown': job.max_unknown}
    if settings.order_pairs:
        if job.teachers or job.limit or getattr(job.data, 'named', None):
            remedy = 'leave out --teachers, --limit and files of pairs, or choose another preset'
            raise SettingsError('order pairs are made, not read', found=settings.order_pairs, remedy=remedy)
        made = order_pairs(settings.order_pairs, settings.seed), order_pairs(3000, settings.seed + 1)
        return [SNLIBERTDataset(columns, *shape, verbose=False, **options) for columns in made]
    columns = _training_pairs(job.data, job.limit)
    if settings.own_pairs:
        *sentences, labels = columns
        columns = [*([' '.join(words(one)) for one in column] for column in sentences), labels]
        count = round(settings.own_pairs * len(labels))
        own = contrast_pairs(*columns, count, settings.seed, settings.new_words)
        columns = [[*given, *made] for given, made in zip(columns, own)]
    train = SNLIBERTDataset(columns, *shape, verbose=False, **options)
    return train, _pairs(job.data, 'dev', *shape, **options)


def _taught(train, vocab, settings, job):
    """Labels as shares, (n, 3); in those of the data's pairs the mean answer of the teachers has its share.

    Of a pair that is easy to mistake a label says less than what several classifiers make of it (Hinton et
    al. 2015). Pairs of our own keep their labels, which follow from how they were made.
    """
    shares = onp.eye(len(LABELS), dtype='float32')[train.label_ids]
    given = round(len(train) / (1 + settings.own_pairs))  # the others are our own
    flat, *places = train.table
    table, answers = PairTable(flat, *(column[:given] for column in places)), []
    for name in job.teachers:
        teacher = load_checkpoint(name, job.devices, kind='nli')
        if teacher.vocab.idx_to_token != vocab.idx_to_token:
            problem, allowed = 'a teacher with another vocabulary', 'the words of the model that is trained'
            raise SettingsError(problem, 'teachers', name, allowed, 'fine-tune both from the same BERT')
        rows = table, train.special, 256, job.devices
        answers.append(rows_of_table(lambda X, net=teacher.net: npx.softmax(net(X)), *rows))
    shares[:given] += settings.taught * (onp.mean(answers, axis=0) - shares[:given])
    return shares


def _training_pairs(data, limit):
    return read_snli(download_extract('SNLI', data_dir=data), split='train', limit=limit)


def evaluate_folder(
    folder, split, *, out=None, data=None, devices=None, limit=None, progress=True, max_unknown=MAX_UNKNOWN
):
    """Evaluate a model folder on a split; returns `(report, metrics)`, also saved in `out`.

    The report is a `Report` on SNLI, with pictures of confusion and calibration; of a pretrained model it is
    what `evaluate_pretraining` finds on WikiText-2. For data of two classes (entailment, not-entailment) the
    probabilities of contradiction and neutral are summed.
    """
    start = time.perf_counter()
    devices = devices or try_all_gpus()
    if out:
        _check_writable(out)
    loaded = load_checkpoint(folder, devices)
    if loaded.kind == 'nli':
        options = {'limit': limit, 'max_unknown': max_unknown}
        files = PairFiles.of(data)._replace(two_classes=True)
        pairs = _pairs(files, split, loaded.max_len, loaded.vocab, **options)
        judged = _judge(loaded.net, pairs, devices, progress)
        if pairs.names != LABELS:
            joined = [(p[0], p[1] + p[2]) for p in judged.probabilities]
            judged = Report.from_probabilities(judged.true, joined, pairs.names)
        numbers = {**judged.as_dict(), 'unknown_words': round(pairs.unknown, 6)}
    else:
        judged = numbers = judge_pretraining(loaded.net, loaded.vocab, split, data, progress=progress)
    metrics = {'split': split, **numbers, 'model': str(folder), 'seconds': time.perf_counter() - start}
    metrics.update(_setting(devices, None, data))
    if out:
        write_json(Path(out, 'metrics.json'), metrics)
        if loaded.kind == 'nli':
            title, right = f'{split.capitalize()} split', judged.true == judged.predicted
            save(plot_confusion(judged.confusion, judged.labels, title=title), Path(out, 'confusion.png'))
            calibration = plot_reliability(judged.probabilities.max(axis=1), right, bins=15, title=title)
            save(calibration, Path(out, 'reliability.png'))
    return judged, metrics


def evaluate_challenge(folder, split, *, out=None, devices=None):
    """Accuracy of a model folder on each phenomenon of a half of the challenge set, also saved in `out`."""
    loaded = load_checkpoint(folder, devices or try_all_gpus(), kind='nli')
    found = judge_challenge(loaded.net, loaded.vocab, split, max_len=loaded.max_len)
    numbers = {'split': split, 'mean': sum(found.values()) / len(found), 'least': min(found.values())}
    if out:
        _check_writable(out)
        write_json(Path(out, 'challenge.json'), {**numbers, 'accuracy': found})
        save(plot_challenge(found, title=f'Challenge set, {split} half'), Path(out, 'challenge.png'))
    return {**found, **{name: numbers[name] for name in ('mean', 'least')}}


def _pairs(data, *where, **options):
    return SNLIBERTDataset.from_folder(download_extract('SNLI', data_dir=data), *where, **options)


def _judge(net, dataset, devices, progress):
    batches = Batches(dataset, min(256, len(dataset)), shuffle=False)
    return evaluate(net, batches, devices, progress=progress)


def judge_pretraining(net, vocab, split, data, *, among=None, progress=True):
    """`evaluate_pretraining` on WikiText-2: the same text and masks for all models."""
    folder, split = download_extract('wikitext-2', data_dir=data), 'valid' if split == 'dev' else split
    # The chapter's 128 tokens, whatever the model was trained with.
    dataset = WikiTextDataset.from_folder(folder, 128, split=split, vocab=vocab)
    batches = Batches(dataset, min(64, len(dataset)), seed=0)
    return evaluate_pretraining(net, batches, progress, among)


def demo(out, job, say=print):
    """The main job: pretrain, fine-tune, choose by dev, evaluate on test once, ask five questions.

    Leaves `bert/`, `nli/`, `metrics.json`, `curves.png` and `confusion.png` in `out`; returns the metrics.
    """
    say(f'data: {data_dir(job.data)}')
    out, start, history, settings, data = Path(out), time.perf_counter(), [], job.preset.finetune, job.data
    with _planned(out, settings, job.devices, job.preset.model.max_len, job.limit):
        snli = download_extract('SNLI', data_dir=data)
        job = dataclasses.replace(job, on_log=history.append, overwrite=True)  # what an earlier demo left
        bert, vocab, first = pretrain(out / 'bert', job)
        net, second = finetune(out / 'nli', bert, vocab, job)
        pairs = _pairs(data, 'test', settings.max_len, vocab, max_unknown=job.max_unknown)
        judged = _judge(net, pairs, job.devices, job.progress)
        train, test = read_snli(snli, split='train', limit=job.limit), read_snli(snli, split='test')
        baseline = hypothesis_only_baseline(train, test, seed=settings.seed)
        metrics = {'test_accuracy': judged.accuracy, 'test_pairs': judged.n}
        metrics.update({'hypothesis_only_accuracy': baseline, **second, **first})
        metrics.update(_setting(job.devices, settings.seed, data), seconds=time.perf_counter() - start)
        write_json(out / 'metrics.json', metrics)
        save(plot_history(history, title='Pretraining and fine-tuning'), out / 'curves.png')
        save(plot_confusion(judged.confusion, LABELS, title='Test split'), out / 'confusion.png')
    say(f'\n{judged}\n')
    _ask_five(net, vocab, test, say)
    say(f'test accuracy {judged.accuracy:.3f}; from the hypothesis alone {baseline:.3f}')
    say(f'{metrics["seconds"]:.0f} seconds; everything is in {out}')
    return metrics


def _ask_five(net, vocab, test, say):
    """Five test pairs, their predictions and their labels."""
    count = len(test[0])
    pairs = [SentencePair(*(column[i * count // 5] for column in test)) for i in range(5)]
    for pair, prediction in zip(pairs, predict_pairs(net, vocab, pairs)):
        say(f'  premise     {pair.premise}\n  hypothesis  {pair.hypothesis}')
        say(f'  {prediction}; the label is {LABELS[pair.label]}\n')


def pretrained(name, devices):
    """`(bert, vocab)` from a folder, or `(None, None)` for the word `none`; a classifier with its head."""
    if name == 'none':
        return None, None
    if name in SHIPPED or Path(name, 'manifest.json').is_file():
        loaded = load_checkpoint(name, devices or try_all_gpus())
        return loaded.net, loaded.vocab
    return load_pretrained_model(name, devices)


def describe(data=None, limit=None, out=None):
    """Counts, lengths, labels and skipped rows of what is there, as JSON content, also saved in `out`.

    Raises `DataError` if a file is damaged, or neither corpus is there.
    """
    if out:
        _check_writable(out)
    found, missing = {}, []
    for corpus, describe_one, splits in (
        ('wikitext-2', _describe_text, ('train', 'valid', 'test')),
        ('SNLI', _describe_pairs, ('train', 'dev', 'test')),
    ):
        found[corpus] = {'folder': 'not here'}
        try:
            folder = download_extract(corpus, data_dir=data)
        except NotHere as error:
            missing.append(error)
            continue
        found[corpus]['folder'] = str(getattr(folder, 'folder', folder))
        for split in splits:
            found[corpus][split] = {'file': 'none'}
            with contextlib.suppress(NotHere):
                found[corpus][split] = describe_one(folder, split, limit)
    if len(missing) == len(found):
        raise missing[0]
    if out:
        write_json(Path(out, 'metrics.json'), found)
    return found


def _describe_text(folder, split, _):
    if not Path(folder, f'wiki.{split}.tokens').exists():
        raise NotHere('no file')
    paragraphs = read_wiki(folder, split)
    sentences = [sentence for paragraph in paragraphs for sentence in paragraph]
    counts = {'paragraphs': len(paragraphs), 'sentences': len(sentences)}
    return {**counts, 'words a sentence': _lengths(sentences), 'skipped': _skipped(paragraphs)}


def _describe_pairs(folder, split, limit):
    premises, hypotheses, labels = pairs = read_snli(folder, split=split, limit=limit, max_skipped=1.0)
    dataset = SNLIBERTDataset(pairs, 128, load_checkpoint(SHIPPED[1]).vocab, verbose=False, max_unknown=1)
    return {
        'pairs': len(labels),
        'labels': {name: labels.count(number) for number, name in enumerate(LABELS)},
        'words a premise': _lengths(premises),
        'words a hypothesis': _lengths(hypotheses),
        'unknown words': f'{dataset.unknown:.1%} to the vocabulary of {SHIPPED[1]}',
        'skipped': _skipped(pairs),
    }


def _skipped(data):
    return {reason: f'{n} (first lines {lines})' for reason, (n, lines) in data.skipped.items()}


def check(file, model=SHIPPED[1], columns=None):
    """What is understood of a file of pairs, or of text to pretrain on, as rows of (name, value).

    >>> dict(check('data/snli_1.0/snli_1.0_dev.txt'))['form']
    'TSV'
    """
    vocab = load_checkpoint(model).vocab
    try:
        rows = PairRows(file, str, columns=columns, max_skipped=1)
        facts = [('form', rows.form), ('columns', ', '.join(f'{k}: {v}' for k, v in rows.columns.items()))]
        pairs, skipped, number = [*rows], rows.skipped, rows.number - rows.before
        labels = Counter('none' if label is None else label.strip() or '-' for _, _, label in pairs)
        facts += [('rows', number), ('pairs', len(pairs))]
        facts.append(('labels', ', '.join(f'{name} {n:,}' for name, n in labels.most_common(10))))
        sentences = [sentence for pair in pairs for sentence in pair[:2]]
        shown = [f'{p!r} → {h!r} ({label})' for p, h, label in pairs[:3]]
    except DataError as error:
        if columns or not (re.search(r'\.txt(\.gz)?$', str(file)) and error.problem == 'wrong column count'):
            raise
        text = read_wiki(file)
        sentences, skipped = [sentence for paragraph in text for sentence in paragraph], text.skipped
        facts = [('form', 'text'), ('paragraphs', len(text)), ('sentences', len(sentences))]
        shown = [' | '.join(paragraph)[:200] for paragraph in text[:3]]
    facts += [('skipped', f'{n:,} {reason}, first {lines}') for reason, (n, lines) in skipped.items()]
    unknown = (encode(sentences, vocab, typed=True)[0] == vocab['<unk>']).mean() if sentences else 0.0
    facts.append(('unknown words', f'{unknown:.1%} to the vocabulary of {model}'))
    return facts + [(f'{number}', text) for number, text in enumerate(shown, 1)]


def _lengths(sentences):
    ordered = sorted(len(sentence.split()) for sentence in sentences)
    return {'least': ordered[0], 'median': ordered[len(ordered) // 2], 'most': ordered[-1]}


def parse_devices(text):
    """The devices of `text`, as on the command line: `gpu`, `gpu:0,1`, `cpu` or `cpu:2`; None is all GPUs.

    >>> parse_devices('cpu:2')
    [cpu(0), cpu(1)]
    """
    if text is None:
        return try_all_gpus()
    doctor = 'run `bertnli doctor` to list the devices'
    match = re.fullmatch(r'(cpu)(?::(\d{1,9}))?|(gpu)(?::(\d{1,9}(?:,\d{1,9})*))?', text.strip().lower())
    if not match:
        raise SettingsError('invalid devices', 'devices', text, 'gpu, gpu:0,1, cpu or cpu:2', doctor)
    if match[1]:
        return cpu_devices(int(match[2] or 1))
    present = mx.context.num_gpus()
    wanted = [int(i) for i in match[4].split(',')] if match[4] else list(range(present))
    if not wanted or max(wanted) >= present or len(set(wanted)) < len(wanted):
        allowed = f'different numbers below {present}' if present else 'cpu (MXNet finds no GPU)'
        raise SettingsError('these GPUs cannot be used', 'devices', text, allowed, doctor)
    return [mx.gpu(i) for i in wanted]
