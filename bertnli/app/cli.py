"""The command `bertnli`: it reads arguments, calls one job, and prints; it computes nothing itself.

A mistake of the reader's is told in a few lines without a traceback, and the exit code is 2; after Ctrl-C it
is 130, after SIGTERM 143, as the shell has it. Results go to standard output, progress and complaints to
standard error.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import shlex
import signal
import sys
import traceback

import click
import tqdm

import bertnli as library

from ..errors import BertNLIError, SettingsError

# What a comparison with the published checksum says; an own archive may well be another one.
_ORIGIN = {True: 'as published', False: 'not as published', None: ''}


class _Commands(click.Group):
    """A group whose commands tell a `BertNLIError` and Ctrl-C in words."""

    def invoke(self, ctx):
        try:
            with _together():
                return super().invoke(ctx)
        except BertNLIError as error:
            click.echo(f'bertnli: {error}', err=True)
            _exit(ctx, 2)
        except KeyboardInterrupt as error:
            self._tell_interrupt(ctx, error)
            _exit(ctx, 128 + getattr(error, 'signal', signal.SIGINT))
        except Exception:
            if not _in_cluster():
                raise
            traceback.print_exc()
            _exit(ctx, 1)

    def _tell_interrupt(self, ctx, error):
        kept = getattr(error, 'last', None) is not None
        if not kept or 'resume' not in {
            option.name for option in self.commands[ctx.invoked_subcommand].params
        }:
            click.echo('\nbertnli: interrupted', err=True)
            return
        click.echo(f'\nbertnli: {error}', err=True)
        if _in_cluster():  # the command to go on with is the launcher's
            return
        words = [word for word in sys.argv[1:] if word != '--resume']
        click.echo(f'bertnli: go on with: {shlex.join(["bertnli", *words, "--resume"])}', err=True)


def _in_cluster():
    return os.environ.get('DMLC_ROLE') == 'worker'


def _exit(ctx, code):
    """End with an exit code; in a cluster at once, for MXNet would wait for workers that wait for us."""
    if _in_cluster():
        end_at_once(code)
    ctx.exit(code)


def end_at_once(code):
    """End this process, and do not clean up."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def _together():
    """Inside, only the first worker of a cluster speaks, and at the end all wait for each other."""
    if not _in_cluster():
        yield
        return
    with contextlib.ExitStack() as stack:
        if not _speaks():
            silence = stack.enter_context(open(os.devnull, 'w'))
            stack.enter_context(contextlib.redirect_stdout(silence))
        yield
    library.cluster.worker.join_cluster().leave()
    end_at_once(0)


def _speaks():
    return library.cluster.worker.join_cluster().first


def _options(*names):
    """The options that commands share, by name, in the order given."""
    known = {
        'data': click.option(
            '--data', metavar='DIR', help='Folder with the archives, or download.  [default: the sample]'
        ),
        'out': click.option('--out', metavar='DIR', help='Folder for the results.  [default: runs/COMMAND]'),
        'seed': click.option('--seed', type=int, help='Every random choice follows from it.'),
        'devices': click.option('--devices', metavar='WHICH', help='gpu, gpu:0,1, cpu or cpu:2.'),
        'limit': click.option(
            '--limit', type=click.IntRange(min=1), help='Use only that many pairs (of a split).'
        ),
        'preset': click.option('--preset', metavar='NAME', help='A row of the table of settings.'),
        'steps': click.option('--steps', type=int, help='Pretraining steps.'),
        'epochs': click.option('--epochs', type=int, help='Fine-tuning epochs.'),
        'batch': click.option('--batch-size', type=int, help='Examples a step, over all devices.'),
        'accumulate': click.option(
            '--accumulate', type=int, help='Parts of a batch, one after another: less memory, the same steps.'
        ),
        'resume': click.option(
            '--resume', is_flag=True, help='Go on where the same training was interrupted or killed.'
        ),
        'half': click.option('--half', is_flag=True, help='Save the weights in 16 bits.'),
        'quiet': click.option('--quiet', is_flag=True, help='No progress bars.'),
    }
    return lambda command: functools.reduce(lambda f, name: known[name](f), reversed(names), command)


def _chosen(preset, *, seed=None, steps=None, epochs=None, batch_size=None, accumulate=None):
    """A preset with what the command line changes."""
    row, changed = library.app.jobs.preset(preset), library.settings.changed
    common = {'seed': seed, 'batch_size': batch_size, 'accumulate': accumulate}
    return dataclasses.replace(
        row,
        pretrain=changed(row.pretrain, num_steps=steps, **common),
        finetune=changed(row.finetune, num_epochs=epochs, **common),
    )


def _devices(text):
    return library.app.jobs.parse_devices(text)


@click.group(
    cls=_Commands, context_settings={'help_option_names': ['-h', '--help'], 'max_content_width': 100}
)
@click.version_option(package_name='bertnli')
def main():
    """Natural language inference by fine-tuning BERT, on MXNet.

    \b
    Begin with:   bertnli demo
    """


@main.command()
@_options('data', 'out', 'seed', 'devices', 'limit', 'preset', 'steps', 'epochs', 'batch', 'quiet')
def demo(data, out, seed, devices, limit, preset, steps, epochs, batch_size, quiet):
    """Pretrain, fine-tune and judge a small BERT, and ask it five questions.

    \b
    Example:   bertnli demo
               bertnli demo --data DIR --limit 20000
    """
    chosen = _chosen(preset or 'demo', seed=seed, steps=steps, epochs=epochs, batch_size=batch_size)
    library.app.jobs.demo(
        out or 'runs/demo',
        data=data,
        chosen=chosen,
        devices=_devices(devices),
        limit=limit,
        progress=not quiet,
        say=click.echo,
    )


@main.command()
@_options('data', 'out', 'seed', 'devices', 'limit', 'preset', 'steps', 'batch', 'accumulate')
@_options('resume', 'half', 'quiet')
def pretrain(data, out, seed, devices, limit, preset, steps, batch_size, accumulate, resume, half, quiet):
    """Pretrain a BERT on WikiText-2: masked words and next sentences.

    \b
    Example:   bertnli pretrain --preset chapter --data DIR --out runs/bert
    """
    chosen = _chosen(
        preset or 'chapter', seed=seed, steps=steps, batch_size=batch_size, accumulate=accumulate
    )
    out = out or 'runs/pretrain'
    library.app.jobs.pretrain(
        out,
        data=data,
        chosen=chosen,
        devices=_devices(devices),
        limit=limit,
        progress=_speaks() and not quiet,
        resume=resume,
        half=half,
    )
    click.echo(f'the model is in {out}; next: bertnli finetune --bert {out}')


@main.command()
@click.option(
    '--bert',
    default='bert-wikitext2',
    show_default=True,
    metavar='DIR|NAME|none',
    help='A pretrained model, or none to start without.',
)
@_options('data', 'out', 'seed', 'devices', 'limit', 'preset', 'epochs', 'batch', 'accumulate')
@_options('resume', 'half', 'quiet')
def finetune(
    bert, data, out, seed, devices, limit, preset, epochs, batch_size, accumulate, resume, half, quiet
):
    """Fine-tune a pretrained BERT on SNLI and keep the epoch that is best on dev.

    \b
    Example:   bertnli finetune --bert runs/pretrain --data DIR
    """
    chosen = _chosen(
        preset or 'chapter', seed=seed, epochs=epochs, batch_size=batch_size, accumulate=accumulate
    )
    out, devices = out or 'runs/finetune', _devices(devices)
    start, vocab = library.app.jobs.pretrained(bert, devices)
    _, metrics = library.app.jobs.finetune(
        out,
        start,
        vocab,
        data=data,
        chosen=chosen,
        devices=devices,
        limit=limit,
        progress=_speaks() and not quiet,
        resume=resume,
        half=half,
    )
    click.echo(f'dev accuracy {metrics["dev_accuracy"]:.3f}; the model is in {out}')


@main.command()
@click.option(
    '--model', default='bert-nli-small', show_default=True, metavar='DIR|NAME', help='A fine-tuned model.'
)
@click.option('--split', type=click.Choice(['train', 'dev', 'test']), default='dev', show_default=True)
@click.option('--json', 'as_json', is_flag=True, help='Print one line of JSON.')
@_options('data', 'devices', 'limit', 'out', 'quiet')
def evaluate(model, split, as_json, data, devices, limit, out, quiet):
    """Judge a fine-tuned model: accuracy, per class, confusion, calibration; or a pretrained one's guesses.

    \b
    Example:   bertnli evaluate --model runs/demo/nli --split test --json
    """
    judged, metrics = library.app.jobs.evaluate_folder(
        model,
        split,
        out=out,
        data=data,
        devices=_devices(devices),
        limit=limit,
        progress=not (quiet or as_json),
    )
    if isinstance(judged, dict):  # of a pretrained model
        judged = '\n'.join(f'{name:13} {value:.6g}' for name, value in judged.items())
    click.echo(json.dumps(metrics) if as_json else str(judged))


@main.command()
@click.argument('sentences', nargs=-1, metavar='[PREMISE HYPOTHESIS]')
@click.option('--file', 'path', metavar='FILE', help='Pairs, one a line, tab between; - is standard input.')
@click.option(
    '--model', default='bert-nli-small', show_default=True, metavar='DIR|NAME', help='A fine-tuned model.'
)
@_options('devices', 'quiet')
def predict(sentences, path, model, devices, quiet):
    """Does the hypothesis follow from the premise? With --file, one tab-separated line a pair.

    \b
    Example:   bertnli predict "A dog runs in a park." "An animal is outdoors."
               bertnli predict --file pairs.tsv
    """
    if bool(path) == bool(sentences) or (sentences and len(sentences) != 2):
        raise SettingsError(
            'these are not two sentences' if sentences else 'nothing to predict',
            where='bertnli predict',
            found=[*sentences, *(['--file', path] if path else [])],
            allowed='a premise and a hypothesis, each in quotes, or --file FILE',
            remedy='see bertnli predict --help',
        )
    pairs = library.read_pairs(path) if path else iter([library.SentencePair(*sentences)])
    # The first pair is read before the model is loaded: a wrong path is told at once.
    pairs = itertools.chain(list(itertools.islice(pairs, 1)), pairs)
    loaded = library.load_checkpoint(model, _devices(devices), kind='nli')
    # Each pair is needed twice, to be asked and to be printed; between the two lies one window of pairs.
    asked, printed = itertools.tee(pairs)
    predictions = library.predict_pairs(loaded.net, loaded.vocab, asked, max_len=loaded.max_len)
    if not path:
        click.echo(next(predictions))
        return
    bar = tqdm.tqdm(zip(predictions, printed), unit=' pairs', disable=quiet)
    for prediction, pair in bar:
        numbers = [f'{p:.6f}' for p in prediction.probabilities]
        click.echo('\t'.join([prediction.label, *numbers, pair.premise, pair.hypothesis]))


@main.group(invoke_without_command=True)
@_options('data', 'out', 'limit')
@click.pass_context
def data(ctx, data, out, limit):
    """Statistics of both corpora: counts, lengths, labels, skipped rows and why.

    \b
    Example:   bertnli data --data DIR
               bertnli data fetch
    """
    ctx.obj = data
    if ctx.invoked_subcommand:
        return
    for corpus, splits in library.app.jobs.describe(data, limit, out).items():
        click.echo(f'{corpus}: {splits.pop("folder")}')
        for split, facts in splits.items():
            click.echo(f'  {split}')
            for name, value in facts.items():
                parts = value if isinstance(value, dict) else {'': value}
                click.echo(f'    {name:20} ' + ', '.join(f'{part} {n}'.strip() for part, n in parts.items()))


@data.command()
@_options('data')
@click.pass_obj
def fetch(before, data):
    """Download and unpack both corpora into the cache, or unpack the archives of --data DIR.

    \b
    Example:   bertnli data fetch
    """
    for corpus in library.REGISTRY:
        folder = library.download_extract(corpus, data_dir=data or before or 'download')
        click.echo(f'{corpus}: {folder}')


@data.command()
@_options('data')
@click.pass_obj
def verify(before, data):
    """Read every byte of both corpora: their checksums, and whether they are the published ones.

    \b
    Example:   bertnli data verify --data download
    """
    for corpus in library.REGISTRY:
        click.echo(f'{corpus}:')
        for path, sha256, official in library.corpora.files.verify(corpus, data or before):
            click.echo(f'  {sha256}  {_ORIGIN[official]:18} {path}')


@data.command()
@_options('data')
@click.pass_obj
def where(before, data):
    """Where both corpora come from, and the checksums of their archives.

    \b
    Example:   bertnli data where --data DIR
    """
    for corpus in library.REGISTRY:
        place = library.corpora.files.where(corpus, data or before)
        click.echo(f'{corpus}: {place.path} ({place.kind})')
        if place.sha256:
            click.echo(f'  sha256 {place.sha256}, {_ORIGIN[place.official]}')


@main.command()
@click.option('--workers', type=int, default=2, show_default=True, help='Processes that train.')
@click.option('--servers', type=int, default=1, show_default=True, help='Processes that add up gradients.')
@click.option('--hosts', metavar='FILE', help='Lines "user@host workers", reached by ssh.  [default: here]')
@click.option('--port', type=click.IntRange(1, 65535), help='Of the scheduler, on the first host.')
@click.option(
    '--kvstore', type=click.Choice(['dist_sync', 'dist_async']), default='dist_sync', show_default=True
)
@click.option('--restarts', type=int, default=0, show_default=True, help='How often a failed job is resumed.')
@click.option(
    '--print', 'manager', type=click.Choice(['slurm', 'mpi', 'kubernetes']), help='Show how it is done there.'
)
@click.option(
    '--task', type=click.IntRange(min=0), help='Be one process of a job that such a manager started.'
)
@click.argument('command', nargs=-1, type=click.UNPROCESSED, metavar='-- finetune|pretrain …')
def launch(workers, servers, hosts, port, kvstore, restarts, manager, task, command):
    """Train in many processes, here or on many machines, as if it were one; the first speaks and writes.

    \b
    Example:   bertnli launch --workers 2 -- finetune --data DIR
               bertnli launch --workers 6 --servers 3 --hosts hosts.txt -- pretrain
               bertnli launch --print slurm -- pretrain --data DIR
    """
    job = {'workers': workers, 'servers': servers, 'port': port, 'kvstore': kvstore}
    if task is not None:
        library.cluster.managers.run_task(task, command)
    if manager:
        click.echo(library.cluster.managers.manager_script(manager, command, **job), nl=False)
        return
    places = library.cluster.launch.read_hosts(hosts) if hosts else None
    outcome = library.cluster.launch.launch(
        command,
        hosts=places,
        restarts=restarts,
        say=lambda text: click.echo(f'bertnli: {text}', err=True),
        **job,
    )
    if outcome.message:
        click.echo(f'bertnli: {outcome.message}', err=True)
    sys.exit(outcome.code)


@main.command()
@click.option('--json', 'path', metavar='FILE', help='Keep the numbers.')
@click.option('--picture', metavar='FILE', help='Keep a figure of the ratios (PNG).')
@click.option('--rounds', default=3, show_default=True, help='How often both sides are measured.')
@click.option('--scale', default=2, show_default=True, help='How much work a measurement does.')
@click.option(
    '--only', multiple=True, metavar='WORK', help='pretrain, finetune, wiki_dataset, snli_dataset, predict.'
)
@_options('data')
def bench(path, picture, rounds, scale, only, data):
    """The chapter's way and this library's, in turn, in one run: ratios of speed.

    \b
    Example:   bertnli bench --data DIR --json bench.json
    """
    works = only or library.evidence.bench.WORKS
    found = library.evidence.bench.compare(works, data=data, rounds=rounds, scale=scale, say=click.echo)
    if path:
        library.machine.disk.write_json(path, found)
    if picture:
        rows = [(work, found[work]['ratio']) for work in works]
        library.pictures.style.save(
            library.plot_ratios(rows, title='How many times the chapter’s speed'), picture
        )


@main.command()
@click.option(
    '--json', 'path', metavar='FILE', required=True, help='Numbers, which are added to what is there.'
)
@click.option('--picture', metavar='FILE', help='Keep a figure of the forecast (PNG).')
@click.option('--rounds', default=3, show_default=True, help='How often each is measured.')
@click.option('--only', multiple=True, metavar='WORK', help='finetune, pretrain, weights, profile.')
@click.option('--hosts', metavar='FILE', help='Check the forecast on these hosts.  [default: measure here]')
@click.option('--mbit', type=float, default=1000, show_default=True, help='What their links carry each way.')
@click.option('--workers', type=int, default=2, show_default=True, help='Processes that train there.')
@click.option(
    '--servers', type=int, default=2, show_default=True, help='Processes that add up gradients there.'
)
@_options('data', 'out')
def scaling(path, picture, rounds, only, hosts, mbit, workers, servers, data, out):
    """What two workers gain here and why not more, and a forecast for 64 on fast and slow networks.

    \b
    Example:   bertnli scaling --data DIR --json cluster.json
               bertnli scaling --data DIR --json cluster.json --hosts hosts.txt --mbit 100
    """
    found = library.cluster.scaling.read(path)
    shared = {
        'data': data,
        'out': out or 'runs/scaling',
        'say': click.echo,
        **({'works': only} if only else {}),
    }
    if hosts:
        asked = {'workers': workers, 'servers': servers}
        found = library.cluster.scaling.measure_on_hosts(found, hosts, mbit, **asked, **shared)
    else:
        found = library.cluster.scaling.measure(rounds=rounds, found=found, **shared)
    library.machine.disk.write_json(path, found)
    if picture and 'forecast' in found:
        panels = library.cluster.scaling.lines(found)
        library.pictures.style.save(
            library.plot_speedups(panels, title='Forecast: 256 pairs a step'), picture
        )


@main.command()
@click.argument('name', metavar='NAME')
@click.option('--test', is_flag=True, help='Judge on test too, when everything has been chosen.')
@click.option('--json', 'path', metavar='FILE', help='Keep the table.')
@_options('data', 'out', 'devices', 'quiet')
def study(name, test, path, data, out, devices, quiet):
    """Train and judge a whole table of models, in hours: pretraining, ladder, seeds, sizes, baselines.

    \b
    Example:   bertnli study seeds --data DIR --json seeds.json
    """
    studies = library.evidence.studies.STUDIES
    if name not in studies:
        raise SettingsError(
            'there is no such study',
            where='bertnli study',
            found=name,
            allowed=', '.join(studies),
            remedy='choose one of these names',
        )
    out, devices = out or 'runs/study', _devices(devices)
    rows = studies[name](out, data, test=test, devices=devices, progress=not quiet)
    for row in rows:
        numbers = [f'{key} {row[key]:.4f}' for key in row if key.endswith(('accuracy', 'perplexity'))]
        click.echo(f'{row["name"]:30} {"  ".join(numbers)}')
    if path:
        library.machine.disk.write_json(
            path, {'study': name, 'rows': rows, 'versions': library.runtime.report()}
        )


@main.command()
def doctor():
    """What this machine has, what the library changed for MXNet, and whether it computes rightly.

    \b
    Example:   bertnli doctor
    """
    # First what may be missing: without it MXNet cannot be imported.
    cuda = library.machine.cuda
    for name, value in (cuda.load_libraries() if cuda.installed() else {}).items():
        click.echo(f'{name:20} {value}')
    for name, value in {**library.runtime.report(), **library.machine.cuda.gpu_report()}.items():
        click.echo(f'{name:12} {value}')
    for device in library.try_all_gpus():
        click.echo(f'{"device":12} {device}')
    right = library.runtime.computes_rightly()
    click.echo(f'{"arithmetic":12} {"right" if right else "WRONG: matrix products differ from NumPy"}')
    sys.exit(0 if right else 1)
