"""Figures of answers and data: confusion, calibration, probabilities, text lengths, label counts."""

import math
from collections.abc import Mapping

import numpy
from matplotlib.ticker import EngFormatter, MaxNLocator

from ..errors import SettingsError
from ..settings import check
from . import style

_TRACK = '#F3F3F3'  # behind the bar of a probability


@style.applied()
def plot_confusion(matrix, labels, *, title=None, axes_names=('predicted label', 'true label')):
    """Confusion matrix under `title`: `matrix` `(N, N)`, counts, rows true, columns predicted.

    A cell shows its count and its share of the row. `axes_names` are those of columns and rows. Raises
    `SettingsError` unless the matrix is square, not negative, and as large as `labels`.

    >>> plot_confusion([[3, 1], [0, 4]], ['yes', 'no']).alt
    'Confusion matrix: 7 of 8 correct; recall: yes 75 %, no 100 %.'
    """
    counts = style.numbers('confusion matrix', matrix, 'not below 0', (len(labels), len(labels)))
    shares = counts / numpy.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.4 + 1.2 * len(labels)
    picture = style.new_picture(side + 0.9, side, title)
    axes = picture.subplots()
    style.draw_matrix(axes, shares, 1.15)
    for (row, column), share in numpy.ndenumerate(shares):
        ink = 'white' if share > 0.8 else style.INK  # which has more contrast on so strong a blue
        look = {'ha': 'center', 'color': ink, 'weight': 'bold' if row == column else 'normal'}
        axes.text(column, row - 0.04, f'{100 * share:.0f} %', va='bottom', fontsize=16, **look)
        axes.text(column, row + 0.04, f'{counts[row, column]:,.0f}', va='top', fontsize=12, **look)
    axes.set(xlabel=axes_names[0], ylabel=axes_names[1])
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels, rotation=90, va='center')
    recalls = ', '.join(map('{} {:.0f} %'.format, labels, 100 * shares.diagonal()))
    correct = f'{counts.trace():,.0f} of {counts.sum():,.0f} correct'
    picture.alt = f'Confusion matrix: {correct}; recall: {recalls}.'
    return picture


@style.applied()
def plot_reliability(confidences, correct, bins=10, *, title=None):
    """Reliability diagram under `title`: accuracy against confidence in `bins`, and the examples in each.

    `confidences` `(n,)` in [0, 1], `correct` `(n,)` 0 or 1. ECE, the expected calibration error, is the mean
    distance from the diagonal (Guo et al. 2017). Raises `SettingsError` for other values.

    >>> plot_reliability([0.9, 0.9], [1, 0]).alt
    'Reliability diagram of 2 examples: mean confidence 0.900, accuracy 0.500, ECE 0.400.'
    """
    check('bins', bins, int, 1)
    confidences = style.numbers('confidences', confidences, 'from 0 to 1', (None,))
    correct = style.numbers('correct', correct, '0 or 1', confidences.shape)
    # Bins are open on the left, (0, 0.1]; a confidence of 0 falls into the first.
    places = numpy.clip(numpy.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    counts = numpy.bincount(places, minlength=bins)
    filled = counts > 0
    confidence = numpy.bincount(places, confidences, bins)[filled] / counts[filled]
    accuracy = numpy.bincount(places, correct, bins)[filled] / counts[filled]
    ece = abs(confidence - accuracy) @ counts[filled] / counts.sum()
    centres = (numpy.arange(bins) + 0.5) / bins

    picture = style.new_picture(6.4, 5.9)
    axes, below = picture.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    bar = {'width': 0.92 / bins, 'edgecolor': style.INK, 'linewidth': 1}
    axes.bar(centres[filled], accuracy, color=style.SKY, label='accuracy', **bar)
    axes.plot([0, 1], [0, 1], color=style.INK, linestyle='--', label='perfect calibration')
    axes.plot(confidence, accuracy, 's', color=style.VERMILION, mec='white', label='mean confidence')
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel='accuracy')
    axes.set_title(f'{title or "calibration"}: ECE = {ece:.3f}')
    axes.legend(loc='upper left', frameon=False)
    below.bar(centres, counts, color=style.FAINT, **bar)
    below.set(xlabel='confidence', ylabel='examples')
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    facts = f'mean confidence {confidences.mean():.3f}, accuracy {correct.mean():.3f}, ECE {ece:.3f}'
    picture.alt = f'Reliability diagram of {counts.sum():,} examples: {facts}.'
    return picture


def show_probabilities(probabilities, labels, *, title=None):
    """A bar and a number for each label under `title`, as a `Page`: fast enough while a reader types.

    Raises `SettingsError` unless the `probabilities` `(N,)` of the `labels` lie in [0, 1] and sum to 1.

    >>> show_probabilities([0.7, 0.2, 0.1], ['entailment', 'contradiction', 'neutral'])
    Probabilities: entailment 70.0 %, contradiction 20.0 %, neutral 10.0 %.
    """
    shares, rows = style.numbers('probabilities', probabilities, 'from 0 to 1', (len(labels),)), []
    if abs(shares.sum() - 1) > 0.01:
        remedy = "apply softmax to the network's scores"
        raise SettingsError('the probabilities do not sum to 1', found=shares.sum(), remedy=remedy)
    for index, (label, share) in enumerate(zip(labels, shares)):
        ink = f'background: {style.fill(index)}; outline: 1px solid {style.INK}'
        bar = style.element('div', style=f'width: {100 * share:.1f}%; height: 1em; {ink}')
        track = style.element('div', bar, style=f'background: {_TRACK}')
        cells = [
            style.element('td', label, style='padding-right: 0.8em'),
            style.element('td', track, style='width: 14em'),
            style.element('td', f'{100 * share:.1f} %', style='text-align: right; padding-left: 0.8em'),
        ]
        weight = 'bold' if index == shares.argmax() else 'normal'
        rows.append(style.element('tr', *cells, style=f'font-weight: {weight}; background: white'))
    alt = f'Probabilities: {", ".join(map("{} {:.1f} %".format, labels, 100 * shares))}.'
    return style.Page(alt, title, style.element('table', *rows, style=f'color: {style.INK}'))


@style.applied()
def plot_lengths(lengths_by_name, *, max_len=None, title=None):
    """Histograms of text lengths under `title`, and the share of texts longer than `max_len`.

    `lengths_by_name` maps a name to numbers of tokens. The axis ends where 999 of 1,000 texts do (or at
    `max_len`). Raises `SettingsError` if there is nothing to count.

    >>> plot_lengths({'pair': [10, 12, 14, 40]}, max_len=16).alt
    'Histograms of tokens: pair: median 13, longest 40, 25 % longer than 16.'
    """
    lengths = {
        name: style.numbers(f'lengths of {name}', values, 'not below 0', (None,))
        for name, values in _checked('lengths', lengths_by_name)
    }
    end = max(max(numpy.quantile(values, 0.999) for values in lengths.values()), 1.04 * (max_len or 1))
    width = max(1, math.ceil(end / 60))  # whole tokens, at most some sixty bars
    edges = numpy.arange(-0.5, end + width + 0.5, width)
    picture = style.new_picture(8.6, 0.9 + 1.5 * len(lengths) + 0.4 * bool(title), title)
    told, all_axes = [], picture.subplots(len(lengths), 1, sharex=True, squeeze=False)[:, 0]
    for index, (axes, (name, values)) in enumerate(zip(all_axes, lengths.items())):
        axes.hist(values, edges, color=style.fill(index), edgecolor='white', linewidth=0.6)
        facts = f'median {numpy.median(values):g}, longest {values.max():g}'
        if max_len is not None:
            share = 100 * (values > max_len).mean()  # only a true 0 may read 0
            facts += f', {share:{".1g" if 0 < share < 1 else ".0f"}} % longer than {max_len}'
            axes.axvline(max_len + 0.5, color=style.INK, linestyle='--', linewidth=2)
        axes.set_title(name)
        axes.set_title(facts, loc='right', weight='normal', fontsize=12)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.yaxis.set_major_formatter(EngFormatter(sep=''))
        axes.grid(axis='y')
        told.append(f'{name}: {facts}')
    all_axes[0].set_xlim(-0.5, edges[-1])
    all_axes[-1].set_xlabel('tokens' if max_len is None else f'tokens (dashed: max_len = {max_len})')
    picture.supylabel('texts', fontsize=13)
    picture.alt = f'Histograms of tokens: {"; ".join(told)}.'
    return picture


def _checked(name, given):
    if not isinstance(given, Mapping) or not given:
        raise SettingsError(f'no {name} to draw', None, given, 'a dictionary of lists, not empty')
    return given.items()


@style.applied()
def plot_labels(counts_by_split, labels, *, title=None):
    """Label frequencies under `title`: a group of bars for each split, as shares, with the counts above.

    `counts_by_split` maps a split's name to N counts, in the order of `labels`, or to {label: count}. Raises
    `SettingsError` if a split has other labels, or no example.

    >>> plot_labels({'dev': [3, 3, 2]}, ['entailment', 'contradiction', 'neutral']).alt
    'Labels: dev: entailment 3, contradiction 3, neutral 2.'
    """
    splits = _checked('label counts', counts_by_split)
    counts = {name: _label_counts(name, given, labels) for name, given in splits}
    picture = style.new_picture(max(6.4, 1.4 + 2.9 * len(counts)), 4.2 + 0.4 * bool(title), title)
    axes = picture.subplots()
    groups = numpy.arange(len(counts)) * (len(labels) + 0.8)
    for index, label in enumerate(labels):
        shares = [100 * values[index] / values.sum() for values in counts.values()]
        axes.bar(groups + index, shares, 0.86, label=label, **style.bars(index))
        for place, share, values in zip(groups + index, shares, counts.values()):
            axes.text(place, share + 0.6, f'{values[index]:,.0f}', ha='center', va='bottom', fontsize=12)
    axes.set_xticks(groups + (len(labels) - 1) / 2, list(counts), fontsize=14)
    axes.tick_params(axis='x', length=0)
    axes.set(ylabel='% of the split')
    axes.margins(y=0.12)
    axes.grid(axis='y')
    picture.legend(loc='outside lower center', ncols=len(labels), frameon=False)
    told = [f'{name}: ' + ', '.join(map('{} {:,.0f}'.format, labels, n)) for name, n in counts.items()]
    picture.alt = f'Labels: {"; ".join(told)}.'
    return picture


def _label_counts(name, given, labels):
    if isinstance(given, Mapping):
        if unknown := sorted(set(given) - set(labels)):
            raise SettingsError(f'unknown labels in {name}', None, unknown, ', '.join(labels))
        given = [given.get(label, 0) for label in labels]
    counts = style.numbers(f'label counts of {name}', given, 'not below 0', (len(labels),))
    if not counts.any():
        raise SettingsError(f'no examples in {name}', found=counts.tolist())
    return counts


@style.applied()
def plot_challenge(accuracies, before=None, *, title=None):
    """Bars under `title` of `accuracies`, `{phenomenon: accuracy}`; marks show what they were `before`.

    Raises `SettingsError` for accuracies outside [0, 1], or other names before.

    >>> plot_challenge({'negation': 0.9, 'numbers': 0.7}, {'negation': 0.2, 'numbers': 0.5}).alt
    'Accuracy by phenomenon: negation 90 % (before 20 %), numbers 70 % (before 50 %).'
    """
    names, rights = list(accuracies), list(accuracies.values())
    style.numbers('accuracies', rights, 'from 0 to 1', (None,))
    if before and set(before) != set(names):
        raise SettingsError('other phenomena before', None, sorted(before), sorted(names))
    earlier = [before[name] for name in names] if before else []
    picture = style.new_picture(8.0, 1.4 + 0.36 * len(names), title)
    axes, places = picture.subplots(), range(len(names))
    axes.barh(places, rights, color=style.SKY, edgecolor=style.INK, height=0.75, label='accuracy')
    for place, right in zip(places, rights):
        axes.text(1.02, place, f'{100 * right:.0f} %', va='center')
    if before:
        axes.plot(earlier, places, 'D', color=style.VERMILION, mec='white', label='before')
        axes.legend(loc='lower center', bbox_to_anchor=(0.5, 1), ncol=2, frameon=False)
    axes.axvline(1 / 3, color=style.INK, linestyle='--')
    axes.set(xlim=(0, 1.12), ylim=(len(names) - 0.4, -0.6), xlabel='accuracy (dashed line: by chance)')
    axes.set_yticks(places, names)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.tick_params(axis='y', length=0)
    ends = [f' (before {100 * share:.0f} %)' for share in earlier] or [''] * len(names)
    facts = [f'{name} {100 * right:.0f} %{end}' for name, right, end in zip(names, rights, ends)]
    picture.alt = f'Accuracy by phenomenon: {", ".join(facts)}.'
    return picture
