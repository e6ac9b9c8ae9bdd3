"""Studies: tables of several trainings, for the README and the model cards. They write `results/NAME.json`.

    python data/measure_studies.py seeds --data DIR --test --json data/results/seeds.json

A study is a list of runs. Each run has a folder of its own, resumes where it was interrupted, and is
evaluated on dev; on test only when that is asked for, once everything has been chosen.
"""

import dataclasses
import math
import re
import statistics
from pathlib import Path
from typing import NamedTuple, Optional

import click
import numpy as onp

from bertnli import (
    RESERVED,
    SettingsError,
    download_extract,
    hypothesis_only_baseline,
    judge_challenge,
    judge_typing,
    load_checkpoint,
    overlap_baseline,
    parse_devices,
    plot_sizes,
    read_snli,
    report,
)
from bertnli.app.cli import SETTINGS, Telling
from bertnli.app.jobs import Job, evaluate_folder, finetune, judge_pretraining, preset, pretrain, pretrained
from bertnli.app.process import run
from bertnli.machine.disk import whole_file, write_json
from bertnli.pictures.style import save
from bertnli.settings import changed

_CAPITALS = re.compile(r'\S*[A-Z][^\s)]*')  # a word with one, up to a bracket of the parse
_TYPED = 2000  # dev pairs that are typed otherwise
_ALL_PAIRS = 549_367  # labelled training pairs of the whole SNLI 1.0


class Run(NamedTuple):
    """A fine-tuning: of which BERT (a key of `_BERTS`, a name, or none), by which preset."""

    name: str
    bert: str
    preset: str = 'tuned'
    seed: int = 0
    limit: Optional[int] = None
    capitals: bool = False  # words with capitals are unknown, as in the chapter's early edition
    align_first: Optional[bool] = None  # None: as the preset does
    teachers: tuple = ()  # the folders of other runs, whose answers are learnt, too


# What a study pretrains for itself, by the name of a preset.
_BERTS = {"the chapter's": 'chapter'}
_LADDER = [
    Run("chapter's recipe as it was", "the chapter's", 'chapter', capitals=True),
    Run("chapter's recipe, lower-cased", "the chapter's", 'chapter'),
    Run('tuned, without pretraining', 'none', align_first=False),
    Run('tuned, with WikiText-2', "the chapter's", align_first=False),
    Run('tuned, with both texts', 'bert-wikitext2', align_first=False),
    Run('tuned, with both texts, begun aligned', 'bert-wikitext2'),
]


def ladder(out, data=None, *, test=False, **options):
    """One improvement after the other, on the same pairs."""
    return [_answer(run, out, data, test, options) for run in _LADDER]


def pretraining(out, data=None, *, test=False, **options):
    """The masked words of WikiText-2 that each BERT finds, among the words that all of them know."""
    berts = {name: _bert(name, out, data, options) for name in [*_BERTS, 'bert-wikitext2']}
    known = set.intersection(*(set(vocab.idx_to_token) for _, vocab in berts.values())) - {'<unk>', *RESERVED}
    rows = []
    for name, (bert, vocab) in berts.items():
        among = [vocab[word] for word in sorted(known)]
        found = judge_pretraining(bert, vocab, 'test' if test else 'dev', data, among=among, progress=False)
        rows.append({'name': name, 'vocabulary': len(vocab), **found})
    return rows


def seeds(out, data=None, *, test=False, **options):
    """Three fine-tunings that differ only in the seed; then their mean and standard deviation."""
    runs = [Run(f'seed {seed}', 'bert-wikitext2', seed=seed) for seed in range(3)]
    rows = [_answer(run, out, data, test, options) for run in runs]
    return [*rows, _mean('mean', rows, test, ['accuracy'])]


def _mean(name, rows, test, names):
    """Means and standard deviations of the rows, on dev, and on test if that was read; as `name`."""
    keys = [key for key in (f'{split}_{one}' for split in _splits(test) for one in names) if key in rows[0]]
    means = {key: statistics.mean(row[key] for row in rows) for key in keys}
    spread = {f'{key}_deviation': statistics.stdev(row[key] for row in rows) for key in keys}
    return {'name': name, **means, **spread}


def sizes(out, data=None, *, test=False, **options):
    """Fine-tunings on 5 % to 100 % of the pairs, then a forecast for all of SNLI; `sizes.png` shows them."""
    count = len(read_snli(download_extract('SNLI', data_dir=data), split='train')[2])
    limits = [count * percent // 100 for percent in (5, 10, 25, 50)]
    runs = [Run(f'{limit:,} pairs', 'bert-wikitext2', limit=limit) for limit in limits]
    runs.append(Run('all pairs', 'bert-wikitext2'))
    rows = [_answer(run, out, data, test, options) for run in runs]
    points = [(row['train_pairs'], row['dev_accuracy']) for row in rows]
    guess = forecast(points, _ALL_PAIRS)
    save(plot_sizes(points, forecast=(_ALL_PAIRS, guess)), Path(out, 'sizes.png'))
    return [*rows, {'name': 'forecast', 'train_pairs': _ALL_PAIRS, 'dev_accuracy': guess}]


def baselines(out, data=None, *, test=False, **_):
    """What can be reached without the premise, or from the number of shared words alone."""
    folder = download_extract('SNLI', data_dir=data)
    train = read_snli(folder, split='train')
    judged = {split: read_snli(folder, split=split) for split in _splits(test)}
    rows = []
    for name, judge in ('hypothesis only', hypothesis_only_baseline), ('shared words only', overlap_baseline):
        found = {f'{split}_accuracy': judge(train, pairs) for split, pairs in judged.items()}
        rows.append({'name': name, **found})
    return rows


def contrast(out, data=None, *, test=False, **options):
    """Tuned classifiers, taught what order does, all our pairs, and new words; tuned ones are the teachers.

    SNLI, the challenge set, and ways of typing, for three seeds; then the means of each of the four steps.
    """
    all_tuned = [Run(f'tuned, seed {seed}', 'bert-wikitext2', seed=seed) for seed in range(3)]
    for tuned in all_tuned:
        _answer(tuned, out, data, False, options)
    teachers, rows = tuple(str(_place(out, tuned)) for tuned in all_tuned), []
    for seed, tuned in enumerate(all_tuned):
        order = Run(f'order, seed {seed}', str(_place(out, tuned)), 'order', seed)
        every = Run(f'all, seed {seed}', str(_place(out, order)), 'contrast', seed, teachers=teachers)
        last = Run(f'words, seed {seed}', str(_place(out, every)), 'words', seed, teachers=teachers)
        for step in (tuned, order, every, last):
            found = _answer(step, out, data, test, options)
            rows.append({**found, **_understood(_place(out, step), data, test)})
    names = 'accuracy', 'ece', 'challenge_accuracy', 'challenge_least', 'typed_worst'
    steps = enumerate(('tuned', 'order', 'all', 'words'))
    return [*rows, *(_mean(f'mean, {step}', rows[i::4], test, names) for i, step in steps)]


def _understood(folder, data, test):
    """Accuracy by phenomenon, and the share of dev's answers that other ways of typing change."""
    loaded = load_checkpoint(folder)
    found = {f'{half}_challenge': judge_challenge(loaded.net, loaded.vocab, half) for half in _splits(test)}
    means = {f'{name}_accuracy': statistics.mean(shares.values()) for name, shares in found.items()}
    least = {f'{name}_least': min(shares.values()) for name, shares in found.items()}
    dev = read_snli(download_extract('SNLI', data_dir=data), split='dev', limit=_TYPED)
    typed = judge_typing(loaded.net, loaded.vocab, *dev[:2])
    return {**means, **least, **found, 'typed_otherwise': typed, 'dev_typed_worst': max(typed.values())}


# Each returns its table as a list of rows.
STUDIES = {study.__name__: study for study in (pretraining, ladder, seeds, contrast, sizes, baselines)}


def forecast(points, count):
    """The accuracy at `count` pairs if the error continues as a power law (Hestness et al. 2017): a guess.

    It is read off a straight line in logarithms through `points`, tuples of a count and an accuracy.

    >>> round(forecast([(100, 0.5), (400, 0.75)], 1600), 3)
    0.875
    """
    logarithms = [(math.log(n), math.log(1 - accuracy)) for n, accuracy in points]
    line = onp.polyfit(*zip(*logarithms), 1)
    return 1 - math.exp(onp.polyval(line, math.log(count)))


def _splits(test):
    return ['dev', 'test'] if test else ['dev']


def _place(out, run):
    """The folder of a run, named by what is trained: two rows that ask for the same share it."""
    told = {**run._asdict(), 'bert': Path(run.bert).name, 'teachers': len(run.teachers)}
    usual = {**Run._field_defaults, 'teachers': 0, 'name': run.name}
    return _folder(out, *(f'{name} {value}' for name, value in told.items() if usual.get(name) != value))


def _answer(run, out, data, test, options):
    """The row of a run, which is trained to its end and evaluated."""
    folder = _place(out, run)
    bert, vocab = _bert(run.bert, out, data, options)
    if run.capitals:
        data = _without_capitals(Path(out, 'capitals-unknown'), data)
    recipe = preset(run.preset)
    settings = changed(recipe.finetune, seed=run.seed, align_first=run.align_first)
    recipe = dataclasses.replace(recipe, finetune=settings)
    job = Job(recipe, data, limit=run.limit, resume=True, teachers=run.teachers, **options)
    _, metrics = finetune(folder, bert, vocab, job)
    row = {'name': run.name, **metrics}
    for split in _splits(test):
        judged, _ = evaluate_folder(folder, split, data=data, progress=False)
        row.update({f'{split}_accuracy': judged.accuracy, f'{split}_ece': judged.ece})
    return row


def _bert(name, out, data, options):
    """A BERT of `_BERTS`, pretrained here, or one by its name or folder."""
    if name not in _BERTS:
        return pretrained(name, options.get('devices'))
    return pretrain(_folder(out, 'bert', name), Job(preset(_BERTS[name]), data, resume=True, **options))[:2]


def _folder(out, *words):
    return Path(out, re.sub(r'[^a-z0-9]+', '-', ' '.join(words).lower()))


def _without_capitals(folder, data):
    """A folder with SNLI as it is but for words with capitals, which are unknown.

    To a vocabulary in lower case the chapter's early edition gave SNLI's words as they stand.
    """
    snli = download_extract('SNLI', data_dir=data)
    for split in ('train', 'dev', 'test'):
        path = folder / 'snli_1.0' / f'snli_1.0_{split}.txt'
        if not path.exists():
            with open(Path(snli, path.name), encoding='utf-8') as rows, whole_file(path) as file:
                for number, row in enumerate(rows):
                    label, first, second, rest = row.split('\t', 3)
                    if number:  # below the names of the columns
                        first, second = (_CAPITALS.sub('<unk>', parse) for parse in (first, second))
                    file.write('\t'.join([label, first, second, rest]).encode())
    return folder


@click.command(cls=Telling, context_settings=SETTINGS)
@click.argument('name', metavar='NAME')
@click.option('--data', metavar='DIR', help='Folder with the archives, or "download".  [default: the sample]')
@click.option('--test', is_flag=True, help='Evaluate on test too, once everything has been chosen.')
@click.option('--json', 'path', metavar='FILE', help='Save the numbers.')
@click.option('--out', metavar='DIR', default='runs/study', help='Folder for the trainings.')
@click.option('--devices', metavar='WHICH', help='gpu, gpu:0,1, cpu or cpu:2.')
@click.option('--quiet', is_flag=True, help='No progress bars.')
def main(name, data, test, path, out, devices, quiet):
    """Run a study (takes hours). NAME is pretraining, ladder, seeds, contrast, sizes or baselines.

    \b
    Example:   python data/measure_studies.py seeds --data DIR --json seeds.json
    """
    if name not in STUDIES:
        raise SettingsError('unknown study', 'measure_studies.py', name, ', '.join(STUDIES), 'choose one')
    rows = STUDIES[name](out, data, test=test, devices=parse_devices(devices), progress=not quiet)
    for row in rows:
        numbers = [f'{key} {row[key]:.4f}' for key in row if key.endswith(('accuracy', 'perplexity'))]
        click.echo(f'{row["name"]:30} {"  ".join(numbers)}')
    if path:
        write_json(path, {'study': name, 'rows': rows, 'versions': report()})


if __name__ == '__main__':
    run(main)
