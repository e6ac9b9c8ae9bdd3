"""The command `bertnli`: it reads arguments, calls one job, and prints; it computes nothing itself.

A mistake of the reader's is told in a few lines without a traceback, and the exit code is 2; after Ctrl-C it
is 130, after SIGTERM 143, as in a shell. Results go to standard output, all else to standard error.
"""

import contextlib
import csv
import dataclasses
import errno
import functools
import json
import os
import re
import shlex
import signal
import sys

import click
import tqdm

import bertnli as library

from ..corpora.treebank import MAX_UNKNOWN
from ..errors import BertNLIError, SettingsError
from ..text import SentencePair
from .process import in_cluster, visible

_FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EIO
# Whether an archive has the published checksum; a reader's own need not.
_ORIGIN = {True: 'as published', False: 'not as published', None: ''}


@contextlib.contextmanager
def _output_told():
    """What cannot be printed is a mistake of the reader's, told at once or when it happens."""
    if sys.stdout is None:
        raise SettingsError('standard output is closed', remedy='send it to a file, or to /dev/null')
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        # An error that names a file is about that file, and none of ours.
        if error.filename is not None or error.errno not in _FULL:
            raise
        sys.stdout = open(os.devnull, 'w')  # noqa: SIM115 (until the end; what waits for the old one is lost)
        raise SettingsError('the output cannot be written', found=error.strerror) from error


class Telling(click.Command):
    """A command that reports a `BertNLIError` and Ctrl-C in words."""

    def invoke(self, ctx):
        try:
            with _together(), _output_told():
                return super().invoke(ctx)
        except BertNLIError as error:
            _tell(error)
            code = 2
        except KeyboardInterrupt as error:
            saved = getattr(error, 'last', None) is not None
            resumable = saved and ctx.invoked_subcommand in ('pretrain', 'finetune')
            click.echo(err=True)
            _tell(error if resumable else 'interrupted')
            if resumable and not in_cluster():  # there it is the launcher that resumes
                words = [word for word in sys.argv[1:] if word != '--resume']
                _tell(f'to resume: {shlex.join(["bertnli", *words, "--resume"])}')
            code = 128 + getattr(error, 'signal', signal.SIGINT)
        ctx.exit(code)


class _Commands(Telling, click.Group):
    pass


def _tell(text):
    """Say something that is no result."""
    click.echo(visible(f'bertnli: {text}', sys.stderr), err=True)


def _speaks():
    """Whether this process prints: of a cluster, only the first worker."""
    return library.cluster.worker.join_cluster().first


@contextlib.contextmanager
def _together():
    """Inside, only the first worker of a cluster prints, and at the end all wait for each other."""
    if not in_cluster():
        yield
        return
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(sys.stdout if _speaks() else nowhere):
        yield
    library.cluster.worker.join_cluster().leave()


def _columns(_, option, text):
    """{'premise': 'A', …} from 'premise=A,…'."""
    columns = dict(part.partition('=')[::2] for part in (text or '').split(',') if part)
    if not all(columns.values()) or columns.keys() - {*SentencePair._fields}:
        raise click.BadParameter('write premise=NAME,hypothesis=NAME,label=NAME', param=option)
    return columns or None


def _names(_, __, text):
    return tuple(text.split(',')) if text else None


_PAIRS = 'train dev test columns labels skip-bad'


def _pairs_of(options):
    """The data that `--data` and the options for pairs mean, which are taken out."""
    given = {name: options.pop(name, None) for name in _PAIRS.replace('-', '_').split()}
    data = options.pop('data')
    return library.corpora.pairs.PairFiles(data, **given) if any(given.values()) else data


class _Typed(click.Command):
    """A command whose arguments may be sentences that begin with a hyphen: -5 degrees."""

    def parse_args(self, ctx, args):
        option = re.compile(r'-h|--[a-z-]*(=.*)?|-|[^-].*|', re.DOTALL)
        return super().parse_args(ctx, [arg if option.fullmatch(arg) else f' {arg}' for arg in args])


_FILE = 'Pairs to {}: CSV, TSV, JSON or JSON lines, also .gz.'
_SHARED = {
    'data': {'metavar': 'DIR', 'help': 'Folder with the archives, or "download".  [default: the sample]'},
    'out': {'metavar': 'DIR', 'help': 'Folder for the results.  [default: runs/COMMAND]'},
    'seed': {'type': int, 'help': 'Random seed.'},
    'devices': {'metavar': 'WHICH', 'help': 'gpu, gpu:0,1, cpu or cpu:2.'},
    'limit': {'metavar': 'N', 'type': click.IntRange(min=1), 'help': 'Use the first N pairs of a split.'},
    'preset': {'metavar': 'NAME', 'help': 'Settings preset: chapter, tuned, order, contrast, words or demo.'},
    'steps': {'type': int, 'help': 'Pretraining steps.'},
    'epochs': {'type': int, 'help': 'Fine-tuning epochs.'},
    'batch-size': {'type': int, 'help': 'Examples per step, over all devices.'},
    'accumulate': {'metavar': 'N', 'type': int, 'help': 'Split each batch into N parts, to save memory.'},
    'resume': {'is_flag': True, 'help': 'Continue a run that was interrupted or killed.'},
    'half': {'is_flag': True, 'help': 'Save the weights in 16 bits.'},
    'overwrite': {'is_flag': True, 'help': 'Replace what another run left in the folder.'},
    'quiet': {'is_flag': True, 'help': 'No progress bars.'},
    'model': {'metavar': 'DIR|NAME', 'default': 'bert-nli-small', 'help': 'A fine-tuned model.'},
    'bert': {
        'metavar': 'DIR|NAME',
        'default': 'bert-wikitext2',
        'help': 'A pretrained model, a fine-tuned one, or none.',
    },
    'teachers': {'metavar': 'A,B,…', 'callback': _names, 'help': 'Learn what these models answer, too.'},
    'json': {'metavar': 'FILE', 'help': 'Save the numbers.'},
    'picture': {'metavar': 'FILE', 'help': 'Save a figure (PNG).'},
    'rounds': {'default': 3, 'help': 'Repetitions of each measurement.'},
    'max-unknown': {
        'metavar': 'SHARE',
        'type': click.FloatRange(0, 1),
        'default': MAX_UNKNOWN,
        'help': 'Refuse text of which the vocabulary lacks a larger share of the words.',
    },
    'train': {'metavar': 'FILE', 'help': _FILE.format('train with')},
    'dev': {'metavar': 'FILE', 'help': _FILE.format('choose by')},
    'test': {'metavar': 'FILE', 'help': _FILE.format('test with')},
    'columns': {'metavar': 'premise=A,…', 'callback': _columns, 'help': 'Names of unusual columns.'},
    'labels': {'metavar': 'A,B,…', 'callback': _names, 'help': 'What the labels 0, 1, … mean.'},
    'skip-bad': {'is_flag': True, 'help': 'Leave malformed rows out, and tell them.'},
    'text': {'metavar': 'FILE', 'help': 'A text of your own in place of WikiText-2.'},
    'min-freq': {'metavar': 'N', 'type': int, 'help': 'How often a word must occur to be known.'},
    'workers': {'default': 2, 'help': 'Processes that train.'},
    'servers': {'default': 1, 'help': 'Processes that sum the gradients.'},
}


def _options(names):
    """Options that commands share, by name, in the order given."""
    options = [click.option(f'--{name}', **_SHARED[name]) for name in reversed(names.split())]
    return lambda command: functools.reduce(lambda f, option: option(f), options, command)


def _job(default, options):
    """The `Job` that the options of a training describe: a preset, and what they change."""
    jobs, changed = library.app.jobs, library.settings.changed
    row = jobs.preset(options.pop('preset') or default)
    common = {name: options.pop(name, None) for name in ('seed', 'batch_size', 'accumulate')}
    steps, epochs, words = (options.pop(name, None) for name in ('steps', 'epochs', 'min_freq'))
    pretrain = changed(row.pretrain, num_steps=steps, min_freq=words, **common)
    finetune = changed(row.finetune, num_epochs=epochs, **common)
    row = dataclasses.replace(row, pretrain=pretrain, finetune=finetune)
    devices, quiet = jobs.parse_devices(options.pop('devices')), options.pop('quiet')
    return jobs.Job(row, devices=devices, progress=_speaks() and not quiet, **options)


SETTINGS = {'help_option_names': ['-h', '--help'], 'max_content_width': 100, 'show_default': True}
SETTINGS['color'] = True  # keeps escape characters of a sentence in pipes and files: click would drop them


@click.group(cls=_Commands, context_settings=SETTINGS)
@click.version_option(package_name='bertnli')
def main():
    """Natural language inference by fine-tuning BERT, on MXNet.

    \b
    Begin with:   bertnli demo
    """


def _command(options='', group=main, **settings):
    """A command with options that others have, too."""
    return lambda function: group.command(**settings)(_options(options)(function))


@_command('data out seed devices limit preset steps epochs batch-size quiet')
def demo(out, **options):
    """Pretrain, fine-tune and evaluate a small BERT. It is also asked five questions.

    \b
    Example:   bertnli demo
               bertnli demo --data DIR --limit 20000
    """
    library.app.jobs.demo(out or 'runs/demo', _job('demo', options), click.echo)


@_command('data text out seed devices limit preset steps batch-size min-freq accumulate')
@_options('resume overwrite half quiet')
def pretrain(out, **options):
    """Pretrain a BERT on WikiText-2. Masked words and next sentences are predicted.

    \b
    Example:   bertnli pretrain --preset chapter --data DIR --out runs/bert
               bertnli pretrain --text book.txt --min-freq 2
    """
    out = out or 'runs/pretrain'
    library.app.jobs.pretrain(out, _job('chapter', options))
    click.echo(f'the model is in {out}; next: bertnli finetune --bert {out}')


@_command('bert teachers data out seed devices limit preset epochs batch-size accumulate resume overwrite')
@_options(f'half max-unknown quiet {_PAIRS}')
def finetune(bert, out, **options):
    """Fine-tune a pretrained BERT on SNLI. The epoch that is best on dev is kept.

    \b
    Example:   bertnli finetune --bert runs/pretrain --data DIR
               bertnli finetune --train my.csv --dev my.jsonl
    """
    options['data'] = _pairs_of(options)
    job, out = _job('chapter', options), out or 'runs/finetune'
    bert, vocab = library.app.jobs.pretrained(bert, job.devices)
    _, metrics = library.app.jobs.finetune(out, bert, vocab, job)
    told = f'dev accuracy {metrics["dev_accuracy"]:.3f}'
    if 'unknown_words' in metrics:
        told += f'; {metrics["unknown_words"]:.2%} of its words are unknown'
    click.echo(f'{told}; the model is in {out}')


@_command('model')
@click.option(
    '--split', type=click.Choice(['train', 'dev', 'test']), help='[default: dev, or the file named]'
)
@click.option('--challenge', is_flag=True, help='On pairs in which one word decides, by phenomenon.')
@click.option('--json', 'as_json', is_flag=True, help='Print one line of JSON.')
@_options(f'data devices limit out max-unknown quiet {_PAIRS}')
def evaluate(model, split, challenge, as_json, devices, quiet, **options):
    """Evaluate a model. Accuracy, per class, confusion, calibration; or the guesses of a pretrained one.

    \b
    Example:   bertnli evaluate --model runs/demo/nli --split test --json
               bertnli evaluate --test my.csv
               bertnli evaluate --challenge
    """
    if challenge:
        devices, out = library.parse_devices(devices), options['out']
        found = library.app.jobs.evaluate_challenge(model, split or 'dev', out=out, devices=devices)
        lines = [f'{name:28} {found[name]:.3f}' for name in found]
        click.echo(json.dumps(found) if as_json else '\n'.join(lines))
        return
    split = split or next((name for name in ('dev', 'test', 'train') if options[name]), 'dev')
    options['data'] = _pairs_of(options)
    options.update(devices=library.parse_devices(devices), progress=not (quiet or as_json))
    report, metrics = library.app.jobs.evaluate_folder(model, split, **options)
    if isinstance(report, dict):  # of a pretrained model
        report = '\n'.join(f'{name:13} {value:.6g}' for name, value in report.items())
    else:
        joined = '\n\ntwo classes: contradiction and neutral joined' if len(report.labels) == 2 else ''
        report = f'{report}{joined}\n\nunknown words {metrics["unknown_words"]:.2%}'
    click.echo(json.dumps(metrics) if as_json else str(report))


@main.command(cls=_Typed)
@click.argument('sentences', nargs=-1, metavar='[PREMISE HYPOTHESIS]')
@click.option('--file', metavar='FILE', help='Pairs: TSV, CSV, JSON or JSON lines, also .gz; - is a pipe.')
@click.option('--format', 'form', type=click.Choice(['tsv', 'csv', 'jsonl']), default='tsv')
@_options('columns skip-bad model devices max-unknown quiet')
def predict(sentences, file, model, devices, quiet, max_unknown, **options):
    """Predict whether the hypothesis follows. Reads two sentences, or a file of pairs.

    A file is answered row by row: the label, the probabilities of entailment, contradiction and neutral, the
    premise and the hypothesis. The first line names these columns.

    \b
    Example:   bertnli predict "A dog runs in a park." "An animal is outdoors."
               bertnli predict --file pairs.csv --format jsonl
    """
    if bool(file) == bool(sentences) or (sentences and len(sentences) != 2):
        problem = 'expected two sentences' if sentences else 'nothing to predict'
        found = [*sentences, *(['--file', file] if file else [])]
        allowed = 'a premise and a hypothesis, in quotes, or --file FILE'
        raise SettingsError(problem, 'bertnli predict', found, allowed, 'see bertnli predict --help')
    # The file is read once before the model: what is wrong with it is told at once, and before any answer.
    form, asked = options.pop('form'), _questions(file, **options) if file else [SentencePair(*sentences)]
    loaded = library.load_checkpoint(model, library.parse_devices(devices), kind='nli')
    options = {'max_len': loaded.max_len, 'max_unknown': max_unknown}
    predictions = library.predict_pairs(loaded.net, loaded.vocab, asked, **options)
    if not file:
        click.echo(*predictions)
        return
    write = _writer(form)
    for prediction in tqdm.tqdm(predictions, unit=' pairs', disable=quiet):
        write(prediction.label, *(f'{p:.6f}' for p in prediction.probabilities), *asked.waiting.popleft())
        if not asked.waiting:
            sys.stdout.flush()  # whoever asks through a pipe waits for it


def _questions(file, columns, skip_bad):
    """The pairs of a file that was checked, unless it is a pipe, or bad rows may be left out."""
    pairs = library.corpora.pairs
    options = {'columns': columns, 'max_skipped': float(skip_bad)}
    if os.path.isfile(file) and not skip_bad:
        for _ in pairs.without_holes(pairs.PairRows(file, **options)):
            pass
    rows = pairs.PairRows(file, **options)
    rows.on_bad = lambda error: _tell(f'left out: {error.where}: {error.problem}')
    return pairs.Asked(rows)


def _writer(form):
    """A function that prints one answer; the names of the columns are printed at once."""
    names = ['label', *library.LABELS, 'premise', 'hypothesis']
    table = csv.writer(sys.stdout, lineterminator='\n')

    def write(label, *rest):
        if form == 'jsonl':
            answer = dict(zip(names, [label, *map(float, rest[:3]), *rest[3:]]))
            click.echo(json.dumps(answer, ensure_ascii=False))
        elif form == 'tsv':  # a tab or a line end would begin another column or row
            click.echo('\t'.join(re.sub(r'[\t\r\n]+', ' ', cell) for cell in (label, *rest)))
        else:
            table.writerow([label, *rest])

    if form != 'jsonl':
        write(*names)
    return write


@main.group(invoke_without_command=True)
@_options('data out limit columns labels')
@click.pass_context
def data(ctx, out, limit, **options):
    """Show statistics of both corpora. Counts, lengths, labels, skipped rows and why.

    \b
    Example:   bertnli data --data DIR
               bertnli data fetch
    """
    ctx.default_map = {name: {'data': options['data']} for name in ctx.command.commands}
    if ctx.invoked_subcommand:
        return
    for corpus, splits in library.app.jobs.describe(_pairs_of(options), limit, out).items():
        click.echo(f'{corpus}: {splits.pop("folder")}')
        for split, facts in splits.items():
            click.echo(f'  {split}')
            for name, value in facts.items():
                parts = value if isinstance(value, dict) else {'': value}
                click.echo(f'    {name:20} ' + ', '.join(f'{part} {n}'.strip() for part, n in parts.items()))


@data.command()
@click.argument('file')
@_options('columns model')
def check(file, columns, model):
    """Show what is understood of a FILE: form, columns, labels, first pairs, unknown words."""
    for name, value in library.app.jobs.check(file, model, columns):
        click.echo(f'{name:14} {value}')


@_command('data', data)
def fetch(data):
    """Download and unpack both corpora into the cache, or unpack the archives of --data DIR."""
    for corpus in library.REGISTRY:
        click.echo(f'{corpus}: {library.download_extract(corpus, data_dir=data or "download")}')


@_command('data', data)
def verify(data):
    """Compute the checksums of both corpora, and compare them with the published ones."""
    for corpus in library.REGISTRY:
        click.echo(f'{corpus}:')
        for path, sha256, official in library.corpora.files.verify(corpus, data):
            click.echo(f'  {sha256}  {_ORIGIN[official]:18} {path}')


@_command('data', data)
def where(data):
    """Show where both corpora come from, and the checksums of their archives."""
    for corpus in library.REGISTRY:
        place = library.corpora.files.where(corpus, data)
        click.echo(f'{corpus}: {place.path} ({place.kind})')
        if place.sha256:
            click.echo(f'  sha256 {place.sha256}, {_ORIGIN[place.official]}')


@_command('workers servers')
@click.option('--hosts', metavar='FILE', help='Lines "user@host workers", reached by ssh.  [default: here]')
@click.option('--port', type=click.IntRange(1, 65535), help='Port of the scheduler, on the first host.')
@click.option('--kvstore', type=click.Choice(['dist_sync', 'dist_async']), default='dist_sync')
@click.option('--restarts', default=0, help='How often to resume a failed job.')
@click.option(
    '--print', 'manager', type=click.Choice(['slurm', 'mpi', 'kubernetes']), help='Print a job script.'
)
@click.option('--task', type=click.IntRange(min=0), help='Be this process of a job that such a script runs.')
@click.argument('command', nargs=-1, type=click.UNPROCESSED, metavar='-- finetune|pretrain …')
def launch(hosts, restarts, manager, task, command, **job):
    """Train in many processes, here or elsewhere. The first worker prints and writes.

    \b
    Example:   bertnli launch --workers 2 -- finetune --data DIR
               bertnli launch --workers 6 --servers 3 --hosts hosts.txt -- pretrain
               bertnli launch --print slurm -- pretrain --data DIR
    """
    if task is not None:
        library.cluster.managers.run_task(task, command)
    if manager:
        click.echo(library.cluster.managers.manager_script(manager, command, **job), nl=False)
        return
    job.update(hosts=library.cluster.launch.read_hosts(hosts) if hosts else None, restarts=restarts)
    outcome = library.cluster.launch.launch(command, say=_tell, **job)
    if outcome.message:
        _tell(outcome.message)
    sys.exit(outcome.code)


@_command('json picture rounds')
@click.option('--scale', default=2, help='How much work a measurement does.')
@click.option('--only', multiple=True, help='pretrain, finetune, wiki_dataset, snli_dataset or predict.')
@_options('data')
def bench(json, picture, only, **options):
    """Benchmark against the chapter's code. Both are measured in turn; ratios count.

    \b
    Example:   bertnli bench --data DIR --json bench.json
    """
    works = only or library.evidence.bench.WORKS
    found = library.evidence.bench.compare(works, say=click.echo, **options)
    if json:
        library.machine.disk.write_json(json, found)
    if picture:
        rows = [(work, found[work]['ratio']) for work in works]
        figure = library.plot_ratios(rows, title='Speed relative to the chapter’s')
        library.pictures.style.save(figure, picture)


@main.command()
def doctor():
    """Check this machine. Versions, devices, what the library set for MXNet, arithmetic.

    \b
    Example:   bertnli doctor
    """
    # First what may be missing: without it MXNet cannot be imported.
    cuda = library.machine.cuda
    for name, value in (cuda.load_libraries() if cuda.installed() else {}).items():
        click.echo(f'{name:20} {value}')
    for name, value in {**library.runtime.report(), **cuda.gpu_report()}.items():
        click.echo(f'{name:12} {value}')
    for device in library.try_all_gpus():
        click.echo(f'{"device":12} {device}')
    right = library.runtime.computes_rightly()
    click.echo(f'{"arithmetic":12} {"right" if right else "WRONG: matrix products differ from NumPy"}')
    sys.exit(0 if right else 1)
