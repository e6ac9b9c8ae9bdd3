"""Answers, labels and lengths as pictures."""

import html
import math
from collections.abc import Mapping

import numpy
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..errors import SettingsError
from .style import FAINT, INK, SKY, VERMILION, Page, _array, _fill, _hatch, _heading, _picture, _style

# -------------------------------------------------------------------------------------- right and wrong


@_style()
def plot_confusion(matrix, labels, *, title=None, axes_names=('predicted label', 'true label')):
    """Which label was taken for which: `matrix` `(N, N)`, counts, rows true, columns predicted.

    Each cell shows the count and its share of the row. `axes_names` are those of columns and rows. Raises
    `SettingsError` unless the matrix is square, not negative, and as large as `labels`.

    >>> plot_confusion([[3, 1], [0, 4]], ['yes', 'no']).alt
    'Confusion matrix: 7 of 8 right; of yes 75 %, of no 100 %.'
    """
    counts = _array('the confusion matrix', matrix, 2)
    if counts.shape != (len(labels), len(labels)) or counts.min() < 0:
        raise SettingsError(
            'the confusion matrix does not fit the labels',
            found=f'shape {counts.shape}, least value {counts.min():g}',
            allowed=f'counts of shape {(len(labels), len(labels))}',
        )
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / numpy.maximum(totals, 1)
    side = 2.4 + 1.35 * len(labels)
    picture = _picture(side + 0.9, side, title)
    axes = picture.subplots()
    _matrix(axes, shares, 1.15)
    for (row, column), share in numpy.ndenumerate(shares):
        colour = _ink_on(share)
        weight = 'bold' if row == column else 'normal'
        place = {'ha': 'center', 'color': colour, 'weight': weight}
        axes.text(column, row - 0.04, f'{100 * share:.0f} %', va='bottom', fontsize=16, **place)
        axes.text(column, row + 0.04, f'{counts[row, column]:,.0f}', va='top', fontsize=12, **place)
    axes.set(xlabel=axes_names[0], ylabel=axes_names[1])
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels, rotation=90, va='center')
    own = ', '.join(f'of {label} {100 * share:.0f} %' for label, share in zip(labels, shares.diagonal()))
    right = f'{counts.trace():,.0f} of {counts.sum():,.0f} right'
    picture.alt = f'Confusion matrix: {right}; {own}.'
    return picture


def _ink_on(share):
    """The ink for a number on blue of this strength; from 0.8 on white stands out more than ink."""
    return 'white' if share > 0.8 else INK


def _matrix(axes, values, highest):
    """Draw a matrix as squares with white lines between them, the first row on top; returns the squares."""
    rows, columns = values.shape
    edges = numpy.arange(columns + 1) - 0.5, numpy.arange(rows + 1) - 0.5
    squares = axes.pcolormesh(
        *edges, values, cmap='Blues', vmin=0, vmax=highest, edgecolor='white', linewidth=2
    )
    axes.invert_yaxis()
    axes.set_aspect('equal')
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return squares


@_style()
def plot_reliability(confidences, correct, bins=10, *, title=None):
    """May one believe the probabilities? Accuracy against confidence, and how many examples say so.

    `confidences` in [0, 1] are the probabilities of the predicted labels, `correct` is 0 or 1 for each.
    ECE, the expected calibration error, is the mean distance from the diagonal, weighted by examples
    (Guo et al. 2017, 'On calibration of modern neural networks'). Raises `SettingsError` for other values.

    >>> plot_reliability([0.9, 0.9], [1, 0]).alt
    'Reliability diagram of 2 examples: mean confidence 0.900, accuracy 0.500, ECE 0.400.'
    """
    confidences, correct = _array('confidences', confidences, 1), _array('correct', correct, 1)
    _check_reliability(confidences, correct, bins)
    # Bins are open on the left, (0, 0.1], and a confidence of 0 falls into the first.
    places = numpy.clip(numpy.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    counts = numpy.bincount(places, minlength=bins)
    filled = counts > 0
    confidence = numpy.bincount(places, confidences, bins)[filled] / counts[filled]
    accuracy = numpy.bincount(places, correct, bins)[filled] / counts[filled]
    ece = abs(confidence - accuracy) @ counts[filled] / counts.sum()
    centres = (numpy.arange(bins) + 0.5) / bins

    picture = _picture(6.4, 6.2)
    axes, below = picture.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    bar = {'width': 0.92 / bins, 'edgecolor': INK, 'linewidth': 1}
    axes.bar(centres[filled], accuracy, color=SKY, label='accuracy', **bar)
    axes.plot([0, 1], [0, 1], color=INK, linestyle='--', label='as it should be')
    axes.plot(confidence, accuracy, 's', color=VERMILION, markeredgecolor='white', label='mean confidence')
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel='share that is right')
    axes.set_title(f'{title or "calibration"}: ECE = {ece:.3f}')
    axes.legend(loc='upper left', frameon=False)
    below.bar(centres, counts, color=FAINT, **bar)
    below.set(xlabel='confidence', ylabel='examples')
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    picture.alt = (
        f'Reliability diagram of {counts.sum():,} examples: mean confidence {confidences.mean():.3f}, '
        f'accuracy {correct.mean():.3f}, ECE {ece:.3f}.'
    )
    return picture


def _check_reliability(confidences, correct, bins):
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise SettingsError('bins is not usable', found=bins, allowed='a whole number from 1')
    inside = confidences.shape == correct.shape and confidences.min() >= 0 and confidences.max() <= 1
    if not inside or not numpy.isin(correct, (0, 1)).all():
        raise SettingsError(
            'confidences and correct do not fit',
            found=f'{len(confidences)} confidences from {confidences.min():g} to {confidences.max():g}, '
            f'{len(correct)} answers from {correct.min():g} to {correct.max():g}',
            allowed='as many of each, confidences in [0, 1], answers 0 or 1',
        )


@_style()
def plot_probabilities(probabilities, labels, *, title=None):
    """One answer: a bar and a number for each label, the most probable in bold.

    `probabilities` `(N,)`, in [0, 1]. Raises `SettingsError` if there are not as many as labels.

    >>> plot_probabilities([0.7, 0.2, 0.1], ['entailment', 'contradiction', 'neutral']).alt
    'Probabilities: entailment 70.0 %, contradiction 20.0 %, neutral 10.0 %.'
    """
    shares = _shares(probabilities, labels)
    picture = _picture(7.0, 0.9 + 0.55 * len(labels) + 0.35 * bool(title), title)
    axes = picture.subplots()
    best = int(shares.argmax())
    for index, share in enumerate(shares):
        style = {'weight': 'bold'} if index == best else {}
        axes.barh(index, 1, color='#F3F3F3', height=0.7)
        axes.barh(index, share, color=_fill(index), hatch=_hatch(index), height=0.7, edgecolor=INK)
        axes.text(1.02, index, f'{100 * share:.1f} %', va='center', fontsize=14, **style)
    axes.set_yticks(range(len(labels)), labels, fontsize=14)
    axes.get_yticklabels()[best].set_weight('bold')
    axes.set(xlim=(0, 1), ylim=(len(labels) - 0.5, -0.5), xticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    picture.alt = _told_shares(shares, labels)
    return picture


def _shares(probabilities, labels):
    shares = _array('probabilities', probabilities, 1)
    if len(shares) != len(labels) or shares.min() < 0 or shares.max() > 1 + 1e-6:
        raise SettingsError(
            'the probabilities do not fit the labels',
            found=shares.tolist(),
            allowed=f'{len(labels)} numbers in [0, 1]',
        )
    return shares


def _told_shares(shares, labels):
    shown = ', '.join(f'{label} {100 * share:.1f} %' for label, share in zip(labels, shares))
    return f'Probabilities: {shown}.'


def show_probabilities(probabilities, labels, *, title=None):
    """`plot_probabilities` as a `Page`: in a blink, for answers that follow a reader's typing.

    >>> show_probabilities([0.7, 0.2, 0.1], ['entailment', 'contradiction', 'neutral'])
    Probabilities: entailment 70.0 %, contradiction 20.0 %, neutral 10.0 %.
    """
    shares = _shares(probabilities, labels)
    best, rows = int(shares.argmax()), ''
    for index, (label, share) in enumerate(zip(labels, shares)):
        weight = 'bold' if index == best else 'normal'
        bar = f'width: {100 * share:.1f}%; height: 1em; background: {_fill(index)}; outline: 1px solid {INK}'
        rows += (
            f'<tr style="font-weight: {weight}; background: white">'
            f'<td style="padding-right: 0.8em">{html.escape(str(label))}</td>'
            f'<td style="width: 20em"><div style="background: #F3F3F3"><div style="{bar}"></div></div></td>'
            f'<td style="text-align: right; padding-left: 0.8em">{100 * share:.1f} %</td></tr>'
        )
    return Page(_heading(title) + f'<table style="color: {INK}">{rows}</table>', _told_shares(shares, labels))


# ------------------------------------------------------------------------------------------- the data


@_style()
def plot_lengths(lengths_by_name, *, max_len=None, title=None):
    """How long are the texts? A histogram for each name, and the share that is longer than `max_len`.

    `lengths_by_name` maps a name, as 'premise' or 'pair', to whole numbers of tokens. The axis ends where
    999 of 1,000 texts do (or at `max_len`); the longest is told in words. Raises `SettingsError` if there
    is nothing to count.

    >>> plot_lengths({'pair': [10, 12, 14, 40]}, max_len=16).alt
    'Histograms of tokens: pair: median 13, longest 40, 25 % longer than 16.'
    """
    if not isinstance(lengths_by_name, Mapping) or not lengths_by_name:
        raise SettingsError(
            'there are no lengths to draw', found=lengths_by_name, allowed="{'pair': [12, 17, …], …}"
        )
    lengths = {name: _array(f'the lengths of {name}', values, 1) for name, values in lengths_by_name.items()}
    end = max(max(numpy.quantile(values, 0.999) for values in lengths.values()), 1.04 * (max_len or 1))
    width = max(1, math.ceil(end / 60))  # whole tokens, at most some sixty bars
    edges = numpy.arange(-0.5, end + width + 0.5, width)
    picture = _picture(8.6, 0.9 + 1.75 * len(lengths) + 0.4 * bool(title), title)
    every = picture.subplots(len(lengths), 1, sharex=True, squeeze=False)[:, 0]
    told = []
    for index, (axes, (name, values)) in enumerate(zip(every, lengths.items())):
        axes.hist(values, edges, color=_fill(index), edgecolor='white', linewidth=0.6)
        facts = f'median {numpy.median(values):g}, longest {values.max():g}'
        if max_len is not None:
            facts += f', {_percent((values > max_len).mean())} longer than {max_len}'
            axes.axvline(max_len + 0.5, color=INK, linestyle='--', linewidth=2)
        axes.set_title(name)
        axes.set_title(facts, loc='right', weight='normal', fontsize=12)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(_thousands))
        axes.grid(axis='y')
        told.append(f'{name}: {facts}')
    every[0].set_xlim(-0.5, edges[-1])
    every[-1].set_xlabel('tokens' if max_len is None else f'tokens (dashed: max_len = {max_len})')
    picture.supylabel('texts', fontsize=13)
    picture.alt = f'Histograms of tokens: {"; ".join(told)}.'
    return picture


def _thousands(value, _=None):
    return f'{value / 1000:g}k' if value >= 1000 else f'{value:g}'


def _percent(share):
    """A share in words, never rounded to nothing.

    >>> _percent(0.25), _percent(0.0), _percent(0.00004)
    ('25 %', '0 %', '0.004 %')
    """
    return f'{100 * share:.0f} %' if share == 0 or share >= 0.01 else f'{100 * share:.1g} %'


@_style()
def plot_labels(counts_by_split, labels, *, title=None):
    """How often does each label occur? One group of bars for each split, as shares, with the counts above.

    `counts_by_split` maps a split's name to N counts in the order of `labels`, or to {label: count}.
    Raises `SettingsError` if a split has other labels, or no example.

    >>> plot_labels({'dev': [3, 3, 2]}, ['entailment', 'contradiction', 'neutral']).alt
    'Labels: dev: entailment 3, contradiction 3, neutral 2.'
    """
    if not isinstance(counts_by_split, Mapping) or not counts_by_split:
        raise SettingsError(
            'there are no labels to count', found=counts_by_split, allowed="{'train': [3, 3, 2], …}"
        )
    counts = {name: _label_counts(name, given, labels) for name, given in counts_by_split.items()}
    picture = _picture(max(6.4, 1.4 + 2.9 * len(counts)), 4.2 + 0.4 * bool(title), title)
    axes = picture.subplots()
    step = len(labels) + 0.8
    for index, label in enumerate(labels):
        places = numpy.arange(len(counts)) * step + index
        shares = [100 * values[index] / values.sum() for values in counts.values()]
        axes.bar(places, shares, 0.86, color=_fill(index), hatch=_hatch(index), edgecolor=INK, label=label)
        for place, share, values in zip(places, shares, counts.values()):
            axes.text(place, share + 0.6, f'{values[index]:,.0f}', ha='center', va='bottom', fontsize=12)
    axes.set_xticks(numpy.arange(len(counts)) * step + (len(labels) - 1) / 2, list(counts), fontsize=14)
    axes.tick_params(axis='x', length=0)
    axes.set(ylabel='% of the split')
    axes.margins(y=0.12)
    axes.grid(axis='y')
    picture.legend(loc='outside lower center', ncols=len(labels), frameon=False)
    told = (
        f'{name}: ' + ', '.join(f'{label} {count:,.0f}' for label, count in zip(labels, values))
        for name, values in counts.items()
    )
    picture.alt = f'Labels: {"; ".join(told)}.'
    return picture


def _label_counts(name, given, labels):
    if isinstance(given, Mapping):
        if set(given) - set(labels):
            raise SettingsError(
                f'unknown labels in {name}', found=sorted(set(given) - set(labels)), allowed=', '.join(labels)
            )
        given = [given.get(label, 0) for label in labels]
    counts = _array(f'the counts of {name}', given, 1)
    if len(counts) != len(labels) or counts.min() < 0 or counts.sum() == 0:
        raise SettingsError(
            f'the counts of {name} do not fit the labels',
            found=counts.tolist(),
            allowed=f'{len(labels)} counts, not all 0',
        )
    return counts
