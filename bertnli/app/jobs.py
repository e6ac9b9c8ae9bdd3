"""Whole jobs, as the command line and the notebooks run them: pretrain, fine-tune, and the demo of both.

Each job reads its data, trains with checked settings, and leaves a folder with the model, a
`metrics.json` with all that was logged, and its curves. While it trains, its state is kept in the subfolder
`training`, so that a job that was killed or interrupted goes on with `resume=True` and ends with the same
bits. The parts are the library's public functions; nothing here computes.
"""

import dataclasses
import hashlib
import re
import tempfile
import time
from pathlib import Path

from ..analysis.baselines import hypothesis_only_baseline
from ..analysis.report import evaluate, evaluate_pretraining
from ..batches import Batches, load_data_snli
from ..cluster.worker import join_cluster
from ..corpora.files import data_dir, download_extract
from ..datasets import SNLIBERTDataset, WikiTextDataset
from ..devices import cpu_devices, try_all_gpus
from ..errors import DataError, SettingsError
from ..finetuning import train_nli
from ..headstart.alignment import begin_with_alignment
from ..headstart.counting import begin_with_vectors
from ..machine.disk import write_json
from ..model import BERTClassifier, BERTModel
from ..pictures.answers import plot_confusion, plot_reliability
from ..pictures.curves import plot_history
from ..pictures.style import save
from ..prediction import predict_pairs
from ..pretraining import train_bert
from ..runtime import gluon, init, mx, report
from ..settings import PRESETS
from ..storage.checkpoints import load_checkpoint, load_pretrained_model, save_checkpoint
from ..storage.states import Keeper, check_same_run, state_from_bytes, state_to_bytes
from ..text import LABELS, SentencePair, read_snli, read_wiki
from ..tokens import RESERVED, Vocab, tokenize


def preset(name):
    """One row of the table of presets; `SettingsError` names the rows there are.

    >>> preset('chapter').pretrain.num_steps
    4000
    """
    if name not in PRESETS:
        raise SettingsError(
            'there is no such preset',
            where='preset',
            found=name,
            allowed=', '.join(PRESETS),
            remedy='choose one of these names',
        )
    return PRESETS[name]


def _setting(devices, seed, data):
    """What every metrics.json says of its surroundings."""
    cluster, found = join_cluster(), {'data': str(data_dir(data)), 'devices': str(devices), 'seed': seed}
    if cluster.store:
        found.update(workers=cluster.count, bytes_per_step=cluster.bytes_per_step)
    return {**found, 'versions': report()}


def _check_plan(out, settings, devices, limit=None):
    """Tell before the first step, not after minutes, what could not end well."""
    if settings.batch_size < len(devices):
        raise SettingsError(
            'there are fewer examples than devices',
            where='batch_size',
            found=f'{settings.batch_size} examples a step, {len(devices)} devices',
            allowed=f'at least {len(devices)}: one a device',
            remedy='choose a larger batch, or fewer devices',
        )
    if limit is not None and limit < settings.batch_size:
        raise SettingsError(
            'the batch is larger than the data',
            where='batch_size',
            found=settings.batch_size,
            allowed=f'up to the limit of {limit} pairs',
            remedy='choose a smaller batch, or raise the limit',
        )
    if join_cluster().first:
        _check_room(out)


def _check_room(out):
    """Tell at once if the results could not be written."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise DataError(
            'the results cannot be written',
            where=str(out),
            found=error.strerror,
            allowed='a folder that you may write to, or a name for a new one',
            remedy='choose another folder',
        ) from error


def _describe_run(job, settings, net, vocab, **datasets):
    """What makes a training this one, as flat JSON content: a state of another one is refused.

    `datasets` are pairs of a data set and its answers, by name.
    """
    run = {'job': job, **dataclasses.asdict(settings)}
    run['model'] = str(getattr(getattr(net, 'bert', net), 'settings', None))
    weights = net._collect_params_with_prefix().values()
    run['first weights'] = _checksum(*(p.list_data()[0].asnumpy() for p in weights))
    run['words'] = _checksum('\n'.join(vocab.idx_to_token).encode())
    for name, (dataset, answers) in datasets.items():
        run[f'{name} pairs'], run[f'{name} content'] = len(dataset), _checksum(*dataset.table, answers)
    return run


def _checksum(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.tobytes())
    return digest.hexdigest()[:16]


def _begin(out, kind, run, resume, devices):
    """`(keep, start, ended)`: a keeper, a state to go on from, the model of a run that has ended; or None."""
    keep, cluster = Keeper(Path(out, 'training'), run), join_cluster()
    if cluster.count == 1:
        return keep, *_begin_alone(keep, out, kind, run, resume, devices)
    if not cluster.exact:
        if resume:
            raise SettingsError(
                'a training with dist_async cannot go on',
                found='resume',
                allowed='resume, and restarts, with dist_sync',
                remedy='begin anew: the servers of dist_async keep no state',
            )
        return keep, None, None
    # Only the first worker looks into the folder, which the others may not even have, and tells them.
    start, ended, content = None, None, b''
    if cluster.first:
        start, ended = _begin_alone(keep, out, kind, run, resume, devices)
        content = b'ended' if ended else state_to_bytes(run, start) if start else b''
    content = cluster.tell(content)
    if content == b'ended' and not cluster.first:
        cluster.leave()
        raise SystemExit  # nothing is left to do
    if content not in (b'', b'ended'):
        start = state_from_bytes(content)[-1]
    return keep, start, ended


def _begin_alone(keep, out, kind, run, resume, devices):
    """`(start, ended)` as this process finds them."""
    start = keep.load() if resume else None
    if start:
        print(f'going on after step {keep.last}')
    elif resume and Path(out, 'manifest.json').exists():
        ended = load_checkpoint(out, devices, kind=kind)
        check_same_run(ended.notes.get('run', {}), run, out)
        print(f'this training has ended already, and its model is in {out}')
        return None, ended
    elif resume:
        print(f'nothing is kept in {keep.folder}: starting from the beginning')
    return start, None


def _finish(out, keep, net, vocab, settings, metrics, history, setting, half):
    """Save the model, its numbers and its curves; then no state is needed. One worker of a cluster does."""
    if not join_cluster().first:
        return
    notes = {**metrics, keep.run['job']: dataclasses.asdict(settings)}
    notes_of_run = {**notes, 'run': keep.run}
    save_checkpoint(out, net, vocab, max_len=settings.max_len, notes=notes_of_run, half=half)
    write_json(Path(out, 'metrics.json'), {**notes, **setting, 'history': history})
    save(plot_history(history), Path(out, 'curves.png'))
    keep.clear()


def _metrics_of(ended):
    """What the job returned when it ended."""
    return {
        name: value for name, value in ended.notes.items() if name not in ('run', ended.notes['run']['job'])
    }


def pretrain(
    out,
    *,
    data=None,
    chosen,
    devices=None,
    limit=None,
    on_log=None,
    progress=True,
    resume=False,
    half=False,
):
    """Pretrain a new BERT and save it in `out`; returns `(bert, vocab, metrics)`.

    `chosen` is a `Preset`: its model and its pretraining are used. Every weight is a function of the seed.
    `resume` goes on where this job was killed or interrupted in `out` (`on_log` receives the records from
    there on), and repeats none that has ended; `half` saves the weights in 16 bits. Raises `CheckpointError`
    if settings or data are others.
    """
    devices = devices or try_all_gpus()
    settings = chosen.pretrain
    _check_plan(out, settings, devices)
    dataset = _pretraining_text(data, settings, limit, progress)
    train_iter, vocab = Batches(dataset, settings.batch_size, seed=settings.seed), dataset.vocab
    bert = _new_bert(vocab, chosen.model, settings.seed, devices)
    run = _describe_run('pretrain', settings, bert, vocab, train=(dataset, dataset.is_next))
    keep, start, ended = _begin(out, 'bert', run, resume, devices)
    if ended:
        return ended.net, ended.vocab, _metrics_of(ended)
    if settings.count_first and not start:
        begin_with_vectors(bert, *dataset.sentences, seed=settings.seed)
    result = train_bert(
        train_iter,
        bert,
        gluon.loss.SoftmaxCELoss(),
        len(vocab),
        devices,
        settings=settings,
        on_log=on_log,
        progress=progress,
        keep=keep,
        start=start,
        team=join_cluster(),
    )
    metrics = {
        'mlm_loss': result.mlm_loss,
        'nsp_loss': result.nsp_loss,
        'pairs_per_second': result.pairs_per_second,
        'pretrain_seconds': result.seconds,
        'pretrain_steps': settings.num_steps,
        'vocabulary': len(vocab),
    }
    setting = _setting(devices, settings.seed, data)
    _finish(out, keep, bert, vocab, settings, metrics, result.history, setting, half)
    return bert, vocab, metrics


def _pretraining_text(data, settings, limit, progress):
    """WikiText-2, and with `pair_text` each training pair of SNLI as a paragraph of two sentences.

    A text that is read several times in an epoch has other next sentences and other gaps each time.
    """
    folder = download_extract('wikitext-2', data_dir=data)
    chosen = {'seed': settings.seed, 'progress': progress}
    if not settings.pair_text:
        return WikiTextDataset.from_folder(folder, settings.max_len, min_freq=settings.min_freq, **chosen)
    wiki = read_wiki(folder)
    premises, hypotheses, _ = read_snli(download_extract('SNLI', data_dir=data), split='train', limit=limit)
    paragraphs = [*wiki, *map(list, zip(premises, hypotheses))]
    dataset = WikiTextDataset(paragraphs, settings.max_len, min_freq=settings.min_freq, **chosen)
    if settings.wiki_times == 1:
        return dataset
    # Words are counted once, however often their text is read.
    paragraphs = [*wiki * (settings.wiki_times - 1), *paragraphs]
    return WikiTextDataset(paragraphs, settings.max_len, vocab=dataset.vocab, **chosen)


def _new_bert(vocab, settings, seed, devices):
    mx.random.seed(seed)
    bert = BERTModel(len(vocab), **dataclasses.asdict(settings))
    bert.initialize(init.Xavier(), ctx=devices)
    return bert


def finetune(
    out,
    bert,
    vocab,
    *,
    data=None,
    chosen,
    devices=None,
    limit=None,
    on_log=None,
    progress=True,
    resume=False,
    half=False,
):
    """Fine-tune `bert` on SNLI, save the epoch that is best on dev in `out`; returns `(net, metrics)`.

    `bert` None starts from nothing, with the words of the training pairs as vocabulary (`vocab` is ignored).
    `resume` and `half` are those of `pretrain`; give `resume` the same `bert` again.
    """
    devices = devices or try_all_gpus()
    settings = chosen.finetune
    _check_plan(out, settings, devices, limit)
    if bert is None:
        vocab = _words_of_pairs(data, chosen.pretrain.min_freq, limit)
        bert = _new_bert(vocab, chosen.model, settings.seed, devices)
    loaded = load_data_snli(
        settings.batch_size,
        settings.max_len,
        vocab,
        data_dir=data,
        limit=limit,
        word_dropout=settings.word_dropout,
        seed=settings.seed,
        progress=progress,
    )
    if settings.dropout is not None:
        bert.set_dropout(settings.dropout)
    if settings.align_first:
        begin_with_alignment(bert)
    mx.random.seed(settings.seed)
    net = BERTClassifier(bert)
    net.classifier.initialize(init.Xavier(), ctx=devices)
    splits = {'train': loaded.train_iter.dataset, 'dev': loaded.dev_iter.dataset}
    splits = {name: (split, split.label_ids) for name, split in splits.items()}
    run = _describe_run('finetune', settings, net, vocab, **splits)
    keep, start, ended = _begin(out, 'nli', run, resume, devices)
    if ended:
        return ended.net, _metrics_of(ended)
    result = train_nli(
        net,
        loaded.train_iter,
        loaded.dev_iter,
        settings,
        devices,
        on_log=on_log,
        progress=progress,
        keep=keep,
        start=start,
        team=join_cluster(),
    )
    metrics = {
        'dev_accuracy': result.dev_accuracy,
        'best_epoch': result.best_epoch,
        'train_accuracy': result.train_accuracy,
        'train_loss': result.train_loss,
        'examples_per_second': result.examples_per_second,
        'finetune_seconds': result.seconds,
        'train_pairs': len(loaded.train_iter.dataset),
    }
    setting = _setting(devices, settings.seed, data)
    _finish(out, keep, net, vocab, settings, metrics, result.history, setting, half)
    return net, metrics


def _words_of_pairs(data, min_freq, limit):
    premises, hypotheses, _ = read_snli(download_extract('SNLI', data_dir=data), split='train', limit=limit)
    lines = [sentence.lower() for sentence in [*premises, *hypotheses]]
    return Vocab(tokenize(lines), min_freq=min_freq, reserved_tokens=RESERVED)


def evaluate_folder(folder, split, *, out=None, data=None, devices=None, limit=None, progress=True):
    """Judge a model folder on a split; returns `(report, metrics)`, also in `out`, with pictures of
    confusion and calibration.

    A fine-tuned model answers SNLI, and its report is a `Report`. A pretrained one reads WikiText-2 (its
    `valid` split for `dev`), and the report is the dictionary of `evaluate_pretraining`.
    """
    start = time.perf_counter()
    devices = devices or try_all_gpus()
    if out:
        _check_room(out)
    loaded = load_checkpoint(folder, devices)
    if loaded.kind == 'nli':
        judged = _judge(loaded.net, loaded.vocab, loaded.max_len, split, data, devices, limit, progress)
        numbers = judged.as_dict()
    else:
        judged = numbers = judge_pretraining(loaded.net, loaded.vocab, split, data, progress=progress)
    metrics = {
        'split': split,
        **numbers,
        'model': str(folder),
        'seconds': time.perf_counter() - start,
        **_setting(devices, None, data),
    }
    if out:
        write_json(Path(out, 'metrics.json'), metrics)
        if loaded.kind == 'nli':
            _draw_report(judged, split, out)
    return judged, metrics


def _draw_report(judged, split, out):
    title, confidences = f'{split.capitalize()} split', judged.probabilities.max(axis=1)
    save(plot_confusion(judged.confusion, LABELS, title=title), Path(out, 'confusion.png'))
    right = judged.true == judged.predicted
    save(plot_reliability(confidences, right, title=title), Path(out, 'reliability.png'))


def _judge(net, vocab, max_len, split, data, devices, limit=None, progress=True):
    folder = download_extract('SNLI', data_dir=data)
    dataset = SNLIBERTDataset.from_folder(folder, split, max_len, vocab, limit=limit)
    batches = Batches(dataset, min(256, len(dataset)), shuffle=False)
    return evaluate(net, batches, devices, progress=progress)


def judge_pretraining(net, vocab, split, data, *, among=None, progress=True):
    """What `evaluate_pretraining` finds on WikiText-2; every model meets the same text and the same gaps."""
    folder = download_extract('wikitext-2', data_dir=data)
    split = 'valid' if split == 'dev' else split
    # The chapter's 128 tokens, whatever the model was trained with.
    dataset = WikiTextDataset.from_folder(folder, 128, split=split, vocab=vocab)
    batches = Batches(dataset, min(64, len(dataset)), seed=0)
    return evaluate_pretraining(net, batches, progress, among)


def demo(out, *, data=None, chosen, devices=None, limit=None, progress=True, say=print):
    """The main job: pretrain, fine-tune, choose by dev, judge on test once, ask five questions.

    Leaves `bert/`, `nli/`, `metrics.json`, `curves.png` and `confusion.png` in `out`; returns the metrics.
    """
    start, out = time.perf_counter(), Path(out)
    devices = devices or try_all_gpus()
    pretraining, finetuning = [], []
    say(f'data: {data_dir(data)}')
    snli = download_extract('SNLI', data_dir=data)
    _check_plan(out, chosen.finetune, devices, limit)
    bert, vocab, first = pretrain(
        out / 'bert',
        data=data,
        chosen=chosen,
        devices=devices,
        limit=limit,
        on_log=pretraining.append,
        progress=progress,
    )
    net, second = finetune(
        out / 'nli',
        bert,
        vocab,
        data=data,
        chosen=chosen,
        devices=devices,
        limit=limit,
        on_log=finetuning.append,
        progress=progress,
    )
    judged = _judge(net, vocab, chosen.finetune.max_len, 'test', data, devices, progress=progress)
    train, test = read_snli(snli, split='train', limit=limit), read_snli(snli, split='test')
    metrics = {
        'test_accuracy': judged.accuracy,
        'test_pairs': judged.n,
        'hypothesis_only_accuracy': hypothesis_only_baseline(train, test, seed=chosen.finetune.seed),
        **second,
        **first,
        'seconds': time.perf_counter() - start,
        **_setting(devices, chosen.finetune.seed, data),
    }
    write_json(out / 'metrics.json', metrics)
    save(plot_history(pretraining + finetuning, title='Pretraining and fine-tuning'), out / 'curves.png')
    save(plot_confusion(judged.confusion, LABELS, title='Test split'), out / 'confusion.png')
    say(f'\n{judged}\n')
    _ask_five(net, vocab, test, say)
    baseline = metrics['hypothesis_only_accuracy']
    say(f'test accuracy {judged.accuracy:.3f}; reading the hypothesis alone {baseline:.3f}')
    say(f'{metrics["seconds"]:.0f} seconds; everything is in {out}')
    return metrics


def _ask_five(net, vocab, test, say):
    """Five test pairs, their predictions and what people said."""
    count = len(test[0])
    pairs = [SentencePair(*(column[i * count // 5] for column in test)) for i in range(5)]
    for pair, prediction in zip(pairs, predict_pairs(net, vocab, pairs)):
        say(f'  premise     {pair.premise}\n  hypothesis  {pair.hypothesis}')
        say(f'  {prediction}; people said {LABELS[pair.label]}\n')


def pretrained(name, devices):
    """`(bert, vocab)` from a folder, or `(None, None)` for the word `none`."""
    return (None, None) if name == 'none' else load_pretrained_model(name, devices)


def describe(data=None, limit=None, out=None):
    """Counts, lengths, labels and skipped rows of both corpora, as JSON content, also in `out`."""
    if out:
        _check_room(out)
    wiki, snli = download_extract('wikitext-2', data_dir=data), download_extract('SNLI', data_dir=data)
    found = {'wikitext-2': {'folder': str(wiki)}, 'SNLI': {'folder': str(snli)}}
    for split in ('train', 'valid', 'test'):
        found['wikitext-2'][split] = _describe_text(read_wiki(wiki, split))
    for split in ('train', 'dev', 'test'):
        found['SNLI'][split] = _describe_pairs(read_snli(snli, split=split, limit=limit, max_skipped=1.0))
    if out:
        write_json(Path(out, 'metrics.json'), found)
    return found


def _describe_text(paragraphs):
    counts = [len(sentence.split()) for paragraph in paragraphs for sentence in paragraph]
    return {'paragraphs': len(paragraphs), 'sentences': len(counts), 'words a sentence': _spread(counts)}


def _describe_pairs(pairs):
    premises, hypotheses, labels = pairs
    return {
        'pairs': len(labels),
        'labels': {name: labels.count(number) for number, name in enumerate(LABELS)},
        'words a premise': _spread([len(sentence.split()) for sentence in premises]),
        'words a hypothesis': _spread([len(sentence.split()) for sentence in hypotheses]),
        'skipped': {reason: f'{n} (first lines {lines})' for reason, (n, lines) in pairs.skipped.items()},
    }


def _spread(counts):
    """The median and the ends of some lengths."""
    ordered = sorted(counts)
    return {'least': ordered[0], 'median': ordered[len(ordered) // 2], 'most': ordered[-1]}


def parse_devices(text):
    """Devices from a word of the command line: `gpu`, `gpu:0,1`, `cpu` or `cpu:2`; None chooses.

    >>> parse_devices('cpu:2')
    [cpu(0), cpu(1)]
    """
    if text is None:
        return try_all_gpus()
    match = re.fullmatch(r'(cpu)(?::(\d{1,9}))?|(gpu)(?::(\d{1,9}(?:,\d{1,9})*))?', text.strip().lower())
    if not match:
        raise SettingsError(
            'the devices cannot be read',
            where='devices',
            found=text,
            allowed='gpu, gpu:0,1, cpu or cpu:2',
            remedy='run `bertnli doctor` to see what MXNet finds',
        )
    if match[1]:
        return cpu_devices(int(match[2] or 1))
    present = mx.context.num_gpus()
    wanted = [int(i) for i in match[4].split(',')] if match[4] else list(range(present))
    if not wanted or max(wanted) >= present or len(set(wanted)) < len(wanted):
        raise SettingsError(
            'these GPUs cannot be used',
            where='devices',
            found=text,
            allowed=f'different numbers below {present}' if present else 'cpu (MXNet sees no GPU)',
            remedy='run `bertnli doctor` to see what MXNet finds',
        )
    return [mx.gpu(i) for i in wanted]
