"""Plain numbers in, a picture out: curves, confusion, lengths, labels, attention, words, speed, reliability.

Nothing here knows a net, a file of data or MXNet, and nothing touches pyplot's global state: each function
returns a `Picture`, a matplotlib figure that Jupyter shows as a cell's last expression and that carries one
sentence about itself (`picture.alt`) for those who cannot see it. What is made of words, and what must appear
at once, is a `Page` of HTML instead (`show_…`). One style for the lecture hall: large type, the colours of
Okabe and Ito, and never a difference told by colour alone.

Legend: N classes, H heads, T tokens, K positions that look (T of them, or fewer), n points.
"""

import base64
import contextlib
import html
import importlib
import inspect
import io
import math
import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping

import matplotlib.style
import numpy
import PIL.Image
import PIL.PngImagePlugin
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from .errors import SettingsError

__all__ = [
    'LiveCurves',
    'Page',
    'Picture',
    'plot_attention',
    'plot_confusion',
    'plot_history',
    'plot_labels',
    'plot_lengths',
    'plot_points',
    'plot_probabilities',
    'plot_ratios',
    'plot_reliability',
    'plot_sizes',
    'plot_speedups',
    'save',
    'show_attention',
    'show_probabilities',
    'show_saliency',
    'show_source',
]

# Okabe and Ito 2008, 'Color universal design': told apart with every kind of colour vision.
BLUE, VERMILION, GREEN, ORANGE, SKY = '#0072B2', '#D55E00', '#009E73', '#E69F00', '#56B4E9'
INK, GREY, FAINT = '#222222', '#5F5F5F', '#D9D9D9'
_FILLS, _HATCHES = (SKY, ORANGE, GREEN), ('', '///', '...')

_STYLE = {
    'figure.dpi': 110,
    'figure.facecolor': 'white',
    'font.size': 13,
    'axes.titlesize': 14,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'axes.titlepad': 10,
    'axes.labelsize': 13,
    'axes.labelcolor': INK,
    'axes.edgecolor': GREY,
    'axes.linewidth': 1.0,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.axisbelow': True,
    'grid.color': FAINT,
    'grid.linewidth': 0.8,
    'lines.linewidth': 2.5,
    'lines.markersize': 7,
    'text.color': INK,
    'xtick.color': GREY,
    'ytick.color': GREY,
    'xtick.labelcolor': INK,
    'ytick.labelcolor': INK,
    'xtick.labelsize': 12,
    'ytick.labelsize': 12,
    'hatch.color': INK,
    'figure.titlesize': 15,
    'figure.titleweight': 'bold',
}

# What a record may hold: panel, then (key, name, colour, line style, marker); the panel's level of guessing.
_PANELS = {
    'masked words: loss': ([('mlm_loss', 'train', BLUE, '-', 'o')], None),
    'next sentence: loss': (
        [('nsp_loss', 'train', BLUE, '-', 'o')],
        (math.log(2), 'guessing: ln 2'),
    ),
    'loss': (
        [('train_loss', 'train', BLUE, '-', 'o'), ('dev_loss', 'dev', VERMILION, '-.', 's')],
        (math.log(3), 'guessing: ln 3'),
    ),
    'accuracy': (
        [
            ('train_acc', 'train', BLUE, '-', 'o'),
            ('dev_acc', 'dev', VERMILION, '-.', 's'),
            ('test_acc', 'test', GREEN, ':', '^'),
        ],
        (1 / 3, 'guessing: 1/3'),
    ),
}
_RATE = 'learning_rate'


class Picture(Figure):
    """A matplotlib figure with one sentence about itself in `alt`; Jupyter shows it, sentence included."""

    alt = ''

    def png(self):
        """The picture as the bytes of a PNG file, with `alt` as its description."""
        drawn, file = io.BytesIO(), io.BytesIO()
        with _style():
            self.savefig(drawn, format='png')
        described = PIL.PngImagePlugin.PngInfo()
        described.add_text('Description', self.alt)
        # A palette makes a third of the bytes, and the eye misses nothing.
        with PIL.Image.open(drawn) as image:
            image.convert('RGB').quantize(256).save(file, 'png', pnginfo=described, optimize=True)
        return file.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        image = base64.b64encode(self.png()).decode('ascii')
        # subtle: notebooks and their exports read no description from a PNG or its metadata, but all of them
        # show HTML before PNG; the PNG stays for what cannot show HTML.
        page = f'<img alt="{html.escape(self.alt)}" src="data:image/png;base64,{image}">'
        return {'image/png': image, 'text/html': page}, {'image/png': {'alt': self.alt}}


class Page:
    """A small piece of HTML with one sentence about itself in `alt`; plain text shows the sentence."""

    def __init__(self, content, alt):
        self.alt = alt
        # Ink and paper are set, too, for notebooks that are dark.
        look = f'color: {INK}; background: white; padding: 0.6em; font-size: 16px; line-height: 1.4'
        self.html = f'<div role="group" aria-label="{html.escape(alt)}" style="{look}">{content}</div>'

    def _repr_html_(self):
        return self.html

    def __repr__(self):
        return self.alt


@contextlib.contextmanager
def _style():
    """Our style on matplotlib's defaults, whatever the notebook has set; afterwards all is as it was."""
    with matplotlib.style.context(['default', _STYLE]):
        yield


def _picture(width, height, title=None):
    # subtle: matplotlib cuts a title that is too wide; seven bold letters fill an inch.
    parts = title.split('\n') if title else []
    lines = [line for part in parts for line in textwrap.wrap(part, int(7 * width))]
    picture = Picture(figsize=(width, height + 0.3 * max(0, len(lines) - 1)), layout='constrained')
    picture.get_layout_engine().set(w_pad=0.1, h_pad=0.1, hspace=0.04, wspace=0.04)
    if lines:
        picture.suptitle('\n'.join(lines))
    return picture


def save(figure, path):
    """Write `figure` to `path`, a `.png` file, whole or not at all; its `alt` becomes the description.

    The folder is made if need be. Raises `SettingsError` for another ending.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(plot_confusion([[3, 1], [0, 4]], ['yes', 'no']), folder + '/confusion.png')
    ...     os.listdir(folder)
    ['confusion.png']
    """
    path = os.fspath(path)
    if not path.endswith('.png'):
        raise SettingsError('a picture is saved as PNG', found=path, allowed='a name in .png')
    image, folder = figure.png(), os.path.dirname(path) or '.'
    os.makedirs(folder, exist_ok=True)
    # Written beside its place and moved there: a reader never meets half a picture.
    handle, temporary = tempfile.mkstemp(suffix='.part', dir=folder)
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(image)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


# ---------------------------------------------------------------------------------------------- curves


@_style()
def plot_history(records, *, x=None, title=None):
    """The course of a training: losses, accuracies and the learning rate, each on axes of its own.

    `records` is a list of dictionaries, one per point; those of a pretraining and of a fine-tuning may
    stand in one list. A panel is drawn over 'step' or, where some of its points have none, over 'epoch'
    (`x` chooses for all). Drawn are 'mlm_loss', 'nsp_loss', 'train_loss', 'dev_loss',
    'train_acc', 'dev_acc', 'test_acc' and a 'learning_rate' that changes; each may be missing (or None)
    here and there, other keys are left alone. Dashed lines show what guessing would reach. Raises
    `SettingsError` if there is nothing to draw.

    >>> plot_history([{'epoch': 1, 'dev_acc': 0.5}, {'epoch': 2, 'dev_acc': 0.75}]).alt
    'Curves over the epoch, last values: accuracy (dev) 0.75.'
    """
    panels = _filled_panels(records, x)
    rated = [record for record in records if record.get(_RATE) is not None]
    place = x or (_place(rated) if rated else None)
    rate = _series(rated, place, _RATE)
    rate = rate if len(set(rate[1])) > 1 else None
    if not panels and rate is None:
        raise SettingsError(
            'the records hold no curve',
            found=sorted({key for record in records for key in record}),
            allowed=', '.join([line[0] for lines, _ in _PANELS.values() for line in lines] + [_RATE]),
        )
    return _draw_history(panels, rate, place, title)


def _place(records):
    """What all of these points have: a step, or an epoch."""
    for key in ('step', 'epoch'):
        if all(record.get(key) is not None for record in records):
            return key
    raise SettingsError(
        'the records do not say where their points stand',
        found=f'{len(records)} records',
        allowed="'step' (or 'epoch') in each",
    )


def _series(records, x, key):
    """The places and values of the records that hold `key`, as two lists of finite numbers."""
    points = [(record.get(x), record.get(key)) for record in records]
    points = [(place, value) for place, value in points if place is not None and value is not None]
    if not points:
        return [], []
    points = _array(f'{x} and {key}', points, 2)
    points = points[numpy.isfinite(points).all(axis=1)]
    return points[:, 0].tolist(), points[:, 1].tolist()


def _filled_panels(records, x):
    """(name, [(points, line), …], level, x) of each panel that has at least one point."""
    panels = []
    for name, (lines, level) in _PANELS.items():
        keys = {line[0] for line in lines}
        mine = [record for record in records if any(record.get(key) is not None for key in keys)]
        place = x or (_place(mine) if mine else None)
        filled = [(_series(mine, place, line[0]), line) for line in lines]
        filled = [(points, line) for points, line in filled if points[0]]
        if filled:
            panels.append((name, filled, level, place))
    return panels


def _draw_history(panels, rate, rate_x, title):
    columns, rows = max(1, min(2, len(panels))), math.ceil(len(panels) / 2)
    heights = [3.6] * rows + [1.8] * (rate is not None)
    picture = _picture(6.2 if columns == 1 else 10.5, sum(heights) + 0.4 * bool(title), title)
    grid = picture.add_gridspec(len(heights), columns, height_ratios=heights)
    for index, (name, lines, level, x) in enumerate(panels):
        axes = picture.add_subplot(grid[index // 2, index % 2])
        _draw_panel(axes, name, lines, level)
        axes.set_xlabel(x)
    if rate is not None:
        axes = picture.add_subplot(grid[-1, :])
        axes.plot(*rate, color=INK)
        axes.set(title='learning rate', xlabel=rate_x, ylim=(0, 1.1 * max(rate[1])))
        _frame(axes)
        axes.set_yticks([0, max(rate[1])], ['0', f'{max(rate[1]):.2g}'])
    last = [f'{name} ({line[1]}) {points[1][-1]:.3g}' for name, lines, *_ in panels for points, line in lines]
    over = ' and '.join(sorted({x for *_, x in panels} or {rate_x}, reverse=True))
    picture.alt = f'Curves over the {over}, last values: {", ".join([*last] or ["learning rate only"])}.'
    return picture


def _draw_panel(axes, name, lines, level):
    labels = []
    for (places, values), (_, who, colour, style, marker) in lines:
        many = len(places) > 40  # then a thin line, and a marker here and there to tell it from others
        axes.plot(
            places,
            values,
            style,
            color=colour,
            linewidth=1.6 if many else 2.5,
            marker=marker if len(lines) > 1 or not many else None,
            markevery=len(places) // 10 if many else 1,
            markeredgecolor='white',
        )
        labels.append((values[-1], f'{who} {values[-1]:.3g}', colour))
    if level:
        axes.axhline(level[0], color=GREY, linestyle=(0, (4, 3)), linewidth=1.6, zorder=1)
        labels.append((*level, GREY))
    if name == 'accuracy':
        lowest = min([1 / 3, *(value for (_, values), _ in lines for value in values)])
        axes.set_ylim(max(0, lowest - 0.06), 1.02)
    axes.set_title(name)
    _frame(axes)
    _label_ends(axes, labels)


def _frame(axes):
    axes.grid(axis='y')
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.margins(x=0.02)


def _label_ends(axes, labels):
    """Write each line's name at its right end, moved apart where two would collide."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    gap = 0.085 * (high - low)  # one line of text
    labels = sorted(labels, key=lambda label: label[0])
    heights = [value for value, _, _ in labels]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + gap)
    excess = max(0, heights[-1] - high)
    heights = [height - excess for height in heights]
    for height, (_, text, colour) in zip(heights, labels):
        axes.annotate(
            text,
            (1, height),
            (6, 0),
            ('axes fraction', 'data'),
            'offset points',
            color=colour,
            va='center',
            weight='normal' if colour == GREY else 'bold',
            annotation_clip=False,
        )


class LiveCurves:
    """A hook for training loops: `curves(record)` after each point, and the picture grows in the notebook.

    One display is updated in place, at most every `every` seconds and never for more than a twentieth of
    the time, so that looking costs little. Outside a notebook it only collects. Leaving a `with` block, or
    `close()`, draws what is still missing.

    >>> with LiveCurves(title='BERT') as curves:
    ...     curves({'step': 1, 'mlm_loss': 9.0})
    ...     curves({'step': 2, 'mlm_loss': 8.0})
    >>> len(curves.records), curves.figure().alt
    (2, 'Curves over the step, last values: masked words: loss (train) 8.')
    """

    def __init__(self, *, title=None, every=0.5):
        self.title, self.every, self.records = title, every, []
        self._shown = None  # the display's handle
        self._next, self._pending = 0.0, False

    def __call__(self, record):
        self.records.append(dict(record))
        self._pending = True
        if time.monotonic() >= self._next:
            self._draw()

    def figure(self):
        """The picture of all records so far, as `plot_history` draws it."""
        return plot_history(self.records, title=self.title)

    def close(self):
        """Draw the records that came after the last drawing."""
        if self._pending:
            self._draw()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _draw(self):
        if not _in_notebook() or not _filled_panels(self.records, _place(self.records)):
            return
        start = time.monotonic()
        figure = self.figure()
        data, metadata = figure._repr_mimebundle_()
        data['text/plain'] = repr(figure)
        # subtle: sent raw; through the formatter that pyplot registers, its size would change each time.
        if self._shown is None:
            display = importlib.import_module('IPython.display').display  # lazy: notebooks have it loaded
            self._shown = display(data, metadata=metadata, raw=True, display_id=True)
        else:
            self._shown.update(data, metadata=metadata, raw=True)
        now = time.monotonic()
        self._next, self._pending = now + max(self.every, 19 * (now - start)), False


def _in_notebook():
    # A notebook's kernel has loaded IPython before anybody could ask.
    ipython = sys.modules.get('IPython')
    return ipython is not None and hasattr(ipython.get_ipython(), 'kernel')


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


def _fill(index):
    return _FILLS[index % len(_FILLS)]


def _hatch(index):
    return _HATCHES[index % len(_HATCHES)]


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


def _heading(title):
    return f'<p style="margin: 0 0 0.4em"><strong>{html.escape(title)}</strong></p>' if title else ''


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


# ------------------------------------------------------------------------------------ looking inside


@_style()
def plot_attention(weights, words, *, head=None, rows=None, title=None):
    """Who looks at whom: one matrix for each head, a row for the word that looks, dark where it looks.

    `weights` `(H, K, T)` or, of one head, `(K, T)`, in [0, 1]; `words` the T tokens; `rows` the K tokens
    that look (None: the first K of `words`); `head` 0 … H - 1 draws one head only. Raises `SettingsError`
    where the sizes do not fit.

    >>> plot_attention([[0.9, 0.1], [0.5, 0.5]], ['<cls>', 'hello']).alt
    'Attention of 1 head over 2 tokens; most: <cls> to <cls> 0.90 (head 0).'
    """
    weights = _array('the attention weights', weights, 2, 3)
    weights = weights.reshape(-1, *weights.shape[-2:])  # (H, K, T)
    heads = list(range(len(weights)))
    if head is not None:
        if head not in heads:
            raise SettingsError('there is no such head', found=head, allowed=f'0 to {len(heads) - 1}')
        heads = [head]
    rows = list(words[: weights.shape[1]] if rows is None else rows)
    if weights.shape[1:] != (len(rows), len(words)) or weights.min() < 0 or weights.max() > 1 + 1e-5:
        raise SettingsError(
            'the attention weights do not fit the words',
            found=f'shape {weights.shape}, from {weights.min():g} to {weights.max():g}',
            allowed=f'(heads, {len(rows)}, {len(words)}) in [0, 1]',
        )
    return _draw_attention(weights, heads, words, rows, title)


def _draw_attention(weights, heads, words, rows, title):
    columns = min(len(heads), 2 if len(words) > 8 else 4)
    lines = math.ceil(len(heads) / columns)
    cell = 0.28  # inches: a word in 14 points; air would make all of it smaller on the screen
    name = 0.3 + 0.12 * max(len(word) for word in [*words, *rows])
    flat = len(rows) * lines < 4  # no room at the sides for words that stand upright
    size = (0.3 + cell * len(words)) * columns + name + 1.2, (name + 0.6 + cell * len(rows)) * lines
    picture = _picture(max(5.2, size[0]), size[1] + 0.4 * bool(title) + 0.7 * flat, title)
    grid = picture.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(heads) :]:
        axes.set_axis_off()
    for axes, head in zip(grid.flat, heads):
        squares = _matrix(axes, weights[head], max(weights[heads].max(), 1e-6))
        axes.set_xticks(range(len(words)), words, rotation=90, fontsize=14)
        axes.set_yticks(range(len(rows)), rows if axes in grid[:, 0] else [''] * len(rows), fontsize=14)
        axes.xaxis.tick_top()
        axes.set_title(f'head {head}')
    for axes in grid[:, 0]:
        axes.set_ylabel('' if flat else 'this word …')
    for axes in grid[0]:
        axes.set_xlabel('this word looks at …' if flat else '… looks at')
        axes.xaxis.set_label_position('top')
    place = {'location': 'bottom', 'shrink': 0.3} if flat else {'shrink': min(1, 3 / size[1])}
    bar = picture.colorbar(squares, ax=grid, pad=0.02, label='attention', **place)
    bar.outline.set_visible(False)
    chosen = weights[heads]
    number, row, column = numpy.unravel_index(chosen.argmax(), chosen.shape)
    many = f'{len(heads)} head{"s" if len(heads) > 1 else ""}'
    most = f'{rows[row]} to {words[column]} {chosen.max():.2f} (head {heads[number]})'
    # subtle: titles above labels on top find their height only while drawing; a first, empty one settles it.
    picture.draw_without_rendering()
    picture.alt = f'Attention of {many} over {len(words)} tokens; most: {most}.'
    return picture


def show_attention(weights, words, *, title=None):
    """One head as a `Page`, a table: a row for the word that looks, dark and numbered where it looks.

    `weights` `(T, T)` in [0, 1], `words` the T tokens. Numbers from 0.1 are written, the others are in the
    cell's title. Raises `SettingsError` where the sizes do not fit.

    >>> show_attention([[0.9, 0.1], [0.5, 0.5]], ['<cls>', 'hello'])
    Attention of 1 head over 2 tokens; most: <cls> to <cls> 0.90.
    """
    weights = _array('the attention weights', weights, 2)
    if weights.shape != (len(words), len(words)) or weights.min() < 0 or weights.max() > 1 + 1e-5:
        raise SettingsError(
            'the attention weights do not fit the words',
            found=f'shape {weights.shape}, from {weights.min():g} to {weights.max():g}',
            allowed=f'({len(words)}, {len(words)}) in [0, 1]',
        )
    names = [html.escape(word) for word in words]
    upright = 'writing-mode: vertical-rl; transform: rotate(180deg); text-align: left'
    head = ''.join(f'<th scope="col" style="{upright}">{name}</th>' for name in names)
    body = ''
    for name, row in zip(names, weights):
        cells = ''.join(_attention_cell(name, other, weight) for other, weight in zip(names, row))
        body += f'<tr style="background: white"><th scope="row">{name}</th>{cells}</tr>'
    table = f'<table style="color: {INK}"><tr><td>this word looks at …</td>{head}</tr>{body}</table>'
    row, column = numpy.unravel_index(weights.argmax(), weights.shape)
    most = f'{words[row]} to {words[column]} {weights.max():.2f}'
    alt = f'Attention of 1 head over {len(words)} tokens; most: {most}.'
    return Page(_heading(title) + f'<div style="overflow-x: auto">{table}</div>', alt)


def _attention_cell(name, other, weight):
    ink = _ink_on(weight)
    number = f'{weight:.1f}'.lstrip('0') if weight >= 0.1 else ''
    look = f'background: {_pale(BLUE, weight)}; color: {ink}; text-align: center; padding: 2px 4px'
    return f'<td title="{name} to {other}: {weight:.3f}" style="{look}">{number}</td>'


def _pale(colour, share):
    """A colour between white (0) and itself (1).

    >>> _pale('#0072B2', 0), _pale('#0072B2', 1)
    ('#ffffff', '#0072b2')
    """
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return '#' + ''.join(f'{round(255 + (part - 255) * min(1.0, share)):02x}' for part in parts)


def show_saliency(words, values, *, title=None):
    """Which words speak for an answer, which against it? A `Page`: the sentences with a number at each word.

    `values` `(T,)`, of any size and sign, for the T `words`; a line ends after each `<sep>`. Words that speak
    for the answer stand on a solid line and a blue ground, those against it on a dashed line and an orange
    one; the stronger, the bolder. Raises `SettingsError` unless there is one finite number a word.

    >>> show_saliency(['no', 'dog', 'runs'], [-0.8, 0.1, 0.3], title='entailment')
    Saliency of 3 words: most for it runs +0.30, most against it no -0.80.
    """
    values = _array('the saliencies', values, 1)
    if len(values) != len(words) or not numpy.isfinite(values).all():
        raise SettingsError(
            'the saliencies do not fit the words',
            found=f'{len(values)} values, {numpy.isfinite(values).sum()} of them finite',
            allowed=f'{len(words)} finite numbers',
        )
    largest = max(abs(values).max(), 1e-12)
    told = []
    for name, place, sign in (('for', values.argmax(), 1), ('against', values.argmin(), -1)):
        if sign * values[place] > 0:
            told.append(f'most {name} it {words[place]} {values[place]:+.2f}')
    alt = f'Saliency of {len(words)} words: {", ".join(told) or "nothing counts"}.'
    key = '<p style="font-size: 13px">solid line: speaks for it; dashed line: speaks against it</p>'
    spans = [_salient_word(word, value, value / largest) for word, value in zip(words, values)]
    lines = ''.join(span + '<br>' * (word == '<sep>') for word, span in zip(words, spans))
    return Page(_heading(title) + f'<div>{lines}</div>{key}', alt)


def _salient_word(word, value, strength):
    """One word; `strength` is its value over the largest in size."""
    ground, line, kind = (SKY, BLUE, 'solid') if value >= 0 else (ORANGE, VERMILION, 'dashed')
    size = abs(strength)
    look = (
        'display: inline-block; text-align: center; margin: 2px; padding: 0 5px; '
        f'background: {_pale(ground, 0.7 * size)}; font-weight: {400 + 100 * round(4 * size)}; '
        f'border-bottom: {1 + round(3 * size)}px {kind} {line if size >= 0.05 else FAINT}'
    )
    name = html.escape(word)
    number = f'<span style="font-size: 12px; font-weight: 400">{value:+.2f}</span>'
    return f'<span title="{name}: {value:+.4f}" style="{look}">{name}<br>{number}</span> '


@_style()
def plot_points(points, kinds, labels, *, title=None, axes_names=('first direction', 'second direction')):
    """Do the labels lie apart? Points of a plane, each label with a colour and a shape of its own.

    `points` `(n, 2)`, `kinds` `(n,)` are numbers of `labels`. The large marks are the means. Raises
    `SettingsError` where the sizes do not fit.

    >>> plot_points([[0, 0], [2, 0], [1, 5]], [0, 0, 1], ['yes', 'no']).alt
    '3 points of a plane, with the means: yes (1.0, 0.0), no (1.0, 5.0).'
    """
    points, kinds = _array('the points', points, 2), _array('the kinds', kinds, 1)
    fits = points.shape == (len(kinds), 2) and numpy.isfinite(points).all()
    if not fits or not numpy.isin(kinds, range(len(labels))).all():
        raise SettingsError(
            'the points do not fit the labels',
            found=f'points {points.shape}, kinds {sorted(set(kinds.tolist()))[:5]} for {len(kinds)}',
            allowed=f'{len(kinds)} finite pairs of numbers, kinds from 0 to {len(labels) - 1}',
        )
    picture = _picture(7.6, 6.0 + 0.4 * bool(title), title)
    axes, means = picture.subplots(), []
    for index, label in enumerate(labels):
        mine = points[kinds == index]
        if not len(mine):
            continue
        look = {'color': _fill(index), 'marker': 'os^'[index % 3], 'edgecolors': INK}
        axes.scatter(*mine.T, s=34, linewidths=0.5, alpha=0.65, label=label, **look)
        means.append((label, mine.mean(axis=0), look))
    for _, mean, look in means:
        axes.scatter(*mean, s=260, linewidths=2.5, zorder=3, **look)
    axes.set(xlabel=axes_names[0], ylabel=axes_names[1])
    axes.grid()
    picture.legend(loc='outside lower center', ncols=len(labels), frameon=False)
    told = ', '.join(f'{label} ({mean[0]:.1f}, {mean[1]:.1f})' for label, mean, _ in means)
    picture.alt = f'{len(points):,} points of a plane, with the means: {told}.'
    return picture


# ---------------------------------------------------------------------------------------------- speed


@_style()
def plot_ratios(rows, *, title=None):
    """How many times as fast? A bar for each (name, ratio), on an axis where twice and half are alike.

    Slower ones, below 1, are hatched and go to the left. Raises `SettingsError` for none, or a ratio that is
    not above 0.

    >>> plot_ratios([('fine-tuning', 12.0), ('start', 0.8)]).alt
    'Speed against 1: fine-tuning 12 times, start 0.8 times.'
    """
    names = [str(row[0]) for row in rows]
    ratios = _array('the ratios', [row[1] for row in rows], 1)
    if ratios.min() <= 0:
        raise SettingsError('a ratio is not above 0', found=ratios.tolist(), allowed='numbers above 0')
    picture = _picture(9.0, 1.3 + 0.5 * len(names) + 0.4 * bool(title), title)
    axes = picture.subplots()
    axes.set_xscale('log')
    for index, ratio in enumerate(ratios):
        faster = ratio >= 1
        axes.barh(
            index,
            ratio - 1,
            left=1,
            height=0.7,
            color=SKY if faster else ORANGE,
            hatch=None if faster else '///',
            edgecolor=INK,
        )
        axes.annotate(
            f'{ratio:.3g} ×',
            (ratio, index),
            (5 if faster else -5, 0),
            textcoords='offset points',
            ha='left' if faster else 'right',
            va='center',
            weight='bold',
        )
    axes.axvline(1, color=INK, linewidth=2)
    axes.set_yticks(range(len(names)), names)
    low, high = _room(ratios)
    axes.set(xlim=(low, high), ylim=(len(names) - 0.4, -0.6), xlabel='times as fast (line: equally fast)')
    axes.set_xticks(_ticks(low, high))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axes.tick_params(axis='y', length=0)
    axes.spines['left'].set_visible(False)
    axes.grid(axis='x')
    shown = ', '.join(f'{name} {ratio:.3g} times' for name, ratio in zip(names, ratios))
    picture.alt = f'Speed against 1: {shown}.'
    return picture


@_style()
def plot_sizes(points, *, forecast=None, levels=(), title=None):
    """What more data brings: accuracy over the number of training pairs, on an axis of doublings.

    `points` are (pairs, accuracy) that were measured, `forecast` is one that was not: hollow, at the end of a
    dotted line. `levels` are (accuracy, name) of other readers, as dashed lines. Raises `SettingsError`
    for none, or a count that is not above 0.

    >>> plot_sizes([(1000, 0.6), (2000, 0.65)], forecast=(4000, 0.69)).alt
    'Accuracy over training pairs: 1,000 0.600, 2,000 0.650; forecast for 4,000 0.690.'
    """
    points = _array('the points', points, 2)
    if points[:, 0].min() <= 0:
        raise SettingsError('a count is not above 0', found=points[:, 0].tolist(), allowed='numbers above 0')
    picture = _picture(8.0, 4.6, title)
    axes = picture.subplots()
    axes.set_xscale('log')
    axes.plot(*points.T, 'o-', color=BLUE, markeredgecolor='white')
    shown = [tuple(point) for point in points]
    if forecast:
        axes.plot(*zip(points[-1], forecast), 'o:', color=BLUE, markerfacecolor='white', zorder=1)
        shown.append(tuple(forecast))
    for count, accuracy in shown:
        text = f'{accuracy:.3f}'
        axes.annotate(text, (count, accuracy), (-9, 9), textcoords='offset points', ha='center')
    for level, name in levels:
        axes.axhline(level, color=GREY, linestyle='--', linewidth=1.6, zorder=1)
        axes.annotate(name, (points[0, 0], level), (0, 4), textcoords='offset points', color=GREY)
    axes.set(xlabel='training pairs' + (' (hollow: forecast)' if forecast else ''), ylabel='accuracy')
    axes.set_xticks([count for count, _ in shown], [f'{count:,.0f}' for count, _ in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.08, y=0.15)
    axes.grid(axis='y')
    told = [f'{count:,.0f} {accuracy:.3f}' for count, accuracy in shown]
    picture.alt = f'Accuracy over training pairs: {", ".join(told[: len(points)])}'
    picture.alt += f'; forecast for {told[-1]}.' if forecast else '.'
    return picture


@_style()
def plot_speedups(panels, *, title=None):
    """What more workers would bring, by a forecast: times as fast over workers, both on axes of doublings.

    `panels` is `{panel: {line: points}}` with points (workers, times as fast); up to three lines, hollow
    because nobody has measured them. A dotted line is as many times as there are workers. Raises
    `SettingsError` for none, or a number that is not above 0.

    >>> plot_speedups({'fine-tuning': {'1 Gbit/s': [(2, 1.5), (4, 2.0)]}}).alt
    'Forecast, times as fast over workers: fine-tuning, 1 Gbit/s, 4 workers 2.0.'
    """
    if not any(panels.values()):
        raise SettingsError('there is nothing to draw', found='no points')
    picture, told, most = _picture(1.5 + 4.5 * len(panels), 4.6, title), [], 1
    for axes, (panel, lines) in zip(
        picture.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items()
    ):
        axes.set_xscale('log', base=2)
        axes.set_yscale('log', base=2)
        for (name, points), color, marker, style in zip(
            lines.items(), (VERMILION, BLUE, GREEN), 'os^', ('-', '--', '-.')
        ):
            points = _array('the points', points, 2)
            if points.min() <= 0:
                raise SettingsError('a number is not above 0', found=points.min(), allowed='numbers above 0')
            axes.plot(*points.T, marker + style, color=color, markerfacecolor='white', label=name)
            told.append(f'{panel}, {name}, {points[-1, 0]:.0f} workers {points[-1, 1]:.1f}')
            most = max(most, points[:, 0].max())
        axes.plot((1, most), (1, most), ':', color=GREY, linewidth=1.6, zorder=1)
        axes.set_title(panel)
        axes.set(xlabel='workers')
        axes.grid()
        axes.legend(loc='upper left', frameon=False)
        ticks = 2 ** numpy.arange(int(math.log2(most)) + 1)
        axes.set_xticks(ticks, ticks)
        axes.set_yticks(ticks, ticks)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
    picture.axes[0].set_ylabel('times as fast (forecast)')
    picture.alt = f'Forecast, times as fast over workers: {"; ".join(told)}.'
    return picture


def _room(ratios):
    """The ends of the axis: room for the number beside the longest bar on each side."""
    low, high = min(1, *ratios), max(1.3, *ratios)
    margin = (high / low) ** 0.16
    return low / (margin if low < 1 else 1.02), high * margin


def _ticks(low, high):
    """1, 2 and 5 times the powers of ten, or only those powers where that would be too many.

    >>> _ticks(0.4, 12)
    [0.5, 1.0, 2.0, 5.0, 10.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 2000 else (1,)
    ticks = [float(f'{step}e{power}') for power in powers for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


# --------------------------------------------------------------------------------------------- source


def show_source(*things):
    """The Python source of functions, methods and classes as they are installed, highlighted in a notebook.

    Several are shown one below the other. Raises `SettingsError` for what has no Python source.

    >>> show_source(_fill)
    def _fill(index):
        return _FILLS[index % len(_FILLS)]
    """
    try:
        sources = [textwrap.dedent(inspect.getsource(inspect.unwrap(thing))).rstrip() for thing in things]
    except (TypeError, OSError) as error:
        raise SettingsError(
            'there is no Python source to show',
            found=str(error),
            allowed='functions, methods and classes that were written in Python files',
        ) from error
    return _Source('\n\n\n'.join(sources))


class _Source(str):
    """Python text; a notebook shows it highlighted."""

    __slots__ = ()

    def __repr__(self):
        return str(self)

    def _repr_html_(self):
        pygments = importlib.import_module('pygments')  # lazy: notebooks have it, and only they ask
        lexer = importlib.import_module('pygments.lexers.python').PythonLexer()  # lazy: as above
        formatters = importlib.import_module('pygments.formatters')  # lazy: as above
        # subtle: JupyterLab has no style sheet for highlighted outputs, so each word carries its own style,
        # and ink and paper are set too, for notebooks that are dark.
        look = f'color: {INK}; padding: 0.6em; overflow-x: auto'
        return pygments.highlight(self, lexer, formatters.HtmlFormatter(noclasses=True, prestyles=look))


def _array(name, values, *ndims):
    """`values` as an array of numbers, not empty, with one of the given numbers of axes."""
    try:
        array = numpy.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise SettingsError(f'{name}: not numbers', found=str(error), allowed='numbers') from error
    if array.ndim not in ndims or not array.size:
        raise SettingsError(
            f'{name}: the wrong shape',
            found=array.shape,
            allowed=f'{" or ".join(map(str, ndims))} axes, none of them empty',
        )
    return array
