"""Evidence: the same question asked of several trainings, for the tables of the README and the model cards.

A study is a list of runs. Each run is a job of recipes.py in a folder of its own, goes on where it was
interrupted, and is judged on dev; on test only when that is asked for, once everything has been chosen.
"""

import dataclasses
import math
import re
import statistics
from pathlib import Path
from typing import NamedTuple, Optional

from ..analysis.baselines import hypothesis_only_baseline, overlap_baseline
from ..app.jobs import evaluate_folder, finetune, judge_pretraining, preset, pretrain, pretrained
from ..corpora.files import download_extract
from ..machine.disk import whole_file
from ..pictures.speed import plot_sizes
from ..pictures.style import save
from ..settings import changed
from ..text import read_snli
from ..tokens import RESERVED

_ALL_PAIRS = 549_367  # labelled training pairs of the whole SNLI 1.0


class Run(NamedTuple):
    """A fine-tuning: of which BERT (a row of `_BERTS`, a name, or none), by which row of the presets."""

    name: str
    bert: str
    preset: str = 'tuned'
    seed: int = 0
    limit: Optional[int] = None
    capitals: bool = False  # whether words with capitals are unknown, as in the chapter's early edition
    align_first: Optional[bool] = None  # None: as the preset does


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
    """One improvement after the other, on the same pairs: a list of rows."""
    return [_answer(run, out, data, test, options) for run in _LADDER]


def pretraining(out, data=None, *, test=False, **options):
    """The gaps of WikiText-2 that each BERT fills, among the words that all of them know: a list of rows."""
    berts = {name: _bert(name, out, data, options) for name in [*_BERTS, 'bert-wikitext2']}
    known = set.intersection(*(set(vocab.idx_to_token) for _, vocab in berts.values())) - {'<unk>', *RESERVED}
    rows = []
    for name, (bert, vocab) in berts.items():
        among = [vocab[word] for word in sorted(known)]
        found = judge_pretraining(bert, vocab, 'test' if test else 'dev', data, among=among, progress=False)
        rows.append({'name': name, 'vocabulary': len(vocab), **found})
    return rows


def seeds(out, data=None, *, test=False, **options):
    """Three fine-tunings that differ in nothing but the seed; rows, then their mean and deviation."""
    runs = [Run(f'seed {seed}', 'bert-wikitext2', seed=seed) for seed in range(3)]
    rows = [_answer(run, out, data, test, options) for run in runs]
    judged = [name for name in ('dev_accuracy', 'test_accuracy') if name in rows[0]]
    found = {name: [row[name] for row in rows] for name in judged}
    means = {name: statistics.mean(values) for name, values in found.items()}
    spread = {f'{name}_deviation': statistics.stdev(values) for name, values in found.items()}
    return [*rows, {'name': 'mean', **means, **spread}]


def sizes(out, data=None, *, test=False, **options):
    """Fine-tunings on 5 % to 100 % of the training pairs; rows, then a forecast for all of SNLI.

    Also draws them, as `sizes.png` in `out`.
    """
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
    """What a reader reaches who never sees the premise, or sees no words, only how many are shared."""
    folder = download_extract('SNLI', data_dir=data)
    train = read_snli(folder, split='train')
    judged = {split: read_snli(folder, split=split) for split in _splits(test)}
    kinds = [('hypothesis only', hypothesis_only_baseline), ('shared words only', overlap_baseline)]
    return [
        {'name': name, **{f'{split}_accuracy': kind(train, pairs) for split, pairs in judged.items()}}
        for name, kind in kinds
    ]


STUDIES = {
    'pretraining': pretraining,
    'ladder': ladder,
    'seeds': seeds,
    'sizes': sizes,
    'baselines': baselines,
}


def forecast(points, count):
    """The accuracy at `count` pairs if the error goes on falling as a power of the pairs (a straight line in
    logarithms through `points`, pairs of a count and an accuracy; Hestness et al. 2017). It is a guess.

    >>> round(forecast([(100, 0.5), (400, 0.75)], 1600), 3)
    0.875
    """
    xs, ys = [math.log(n) for n, _ in points], [math.log(1 - accuracy) for _, accuracy in points]
    x, y = statistics.mean(xs), statistics.mean(ys)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)
    return 1 - math.exp(y + slope * (math.log(count) - x))


def _splits(test):
    return ['dev', 'test'] if test else ['dev']


def _answer(run, out, data, test, options):
    """Train a run to its end, judge it, and tell it as a row."""
    # Named by what is trained, not by the row: two rows that ask for the same share it.
    folder = _folder(out, *(f'{name} {value}' for name, value in run._asdict().items() if name != 'name'))
    bert, vocab = _bert(run.bert, out, data, options)
    if run.capitals:
        data = _without_capitals(Path(out, 'capitals-unknown'), data)
    chosen = preset(run.preset)
    settings = changed(chosen.finetune, seed=run.seed, align_first=run.align_first)
    chosen = dataclasses.replace(chosen, finetune=settings)
    _, metrics = finetune(
        folder, bert, vocab, data=data, chosen=chosen, limit=run.limit, resume=True, **options
    )
    row = {'name': run.name, **metrics}
    for split in _splits(test):
        judged, _ = evaluate_folder(folder, split, data=data, progress=False)
        row.update({f'{split}_accuracy': judged.accuracy, f'{split}_ece': judged.ece})
    return row


def _bert(name, out, data, options):
    """A BERT that the study pretrains, or one that there is."""
    if name not in _BERTS:
        return pretrained(name, options.get('devices'))
    folder = _folder(out, 'bert', name)
    return pretrain(folder, data=data, chosen=preset(_BERTS[name]), resume=True, **options)[:2]


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
                        first, second = (
                            re.sub(r'\S*[A-Z][^\s)]*', '<unk>', parse) for parse in (first, second)
                        )
                    file.write('\t'.join([label, first, second, rest]).encode())
    return folder
