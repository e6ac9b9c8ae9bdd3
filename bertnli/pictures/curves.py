"""Training curves: losses, accuracies and the learning rate over steps or epochs, afterwards or live."""

import contextlib
import importlib
import itertools
import math
import sys
import time
from collections import namedtuple

import numpy
from matplotlib.ticker import MaxNLocator

from ..errors import SettingsError
from . import style

# How a curve is drawn: name, colour, line style, marker.
_TRAIN = 'train', style.BLUE, '-', 'o'
_DEV = 'dev', style.VERMILION, '-.', 's'
_TEST = 'test', style.GREEN, ':', '^'
_RATE = 'learning rate'
# Each panel's curves by their keys in a record, and the level that guessing reaches.
_PANELS = {
    'masked words: loss': ({'mlm_loss': _TRAIN}, None),
    'next sentence: loss': ({'nsp_loss': _TRAIN}, (math.log(2), 'guessing: ln 2')),
    'loss': ({'train_loss': _TRAIN, 'dev_loss': _DEV}, (math.log(3), 'guessing: ln 3')),
    'accuracy': ({'train_acc': _TRAIN, 'dev_acc': _DEV, 'test_acc': _TEST}, (1 / 3, 'guessing: 1/3')),
    _RATE: ({'learning_rate': ('', style.INK, '-', None)}, None),
}
_Panel = namedtuple('_Panel', 'name x curves level')  # curves: (places, values, look) of each with a point


@style.applied()
def plot_history(records, *, x=None, title=None):
    """The curves of a training: losses, accuracies and the learning rate, each in its own panel.

    `records` are dictionaries, one for each point. The horizontal axis of a panel is 'step', or 'epoch' if
    some of its points have no step (`x` sets it for all). Drawn are 'mlm_loss', 'nsp_loss', 'train_loss',
    'dev_loss', 'train_acc', 'dev_acc', 'test_acc' and a 'learning_rate' that changes; a value may be missing
    or None. Dashed lines show what guessing reaches. Raises `SettingsError` if there is nothing to draw.

    >>> plot_history([{'epoch': 1, 'dev_acc': 0.5}, {'epoch': 2, 'dev_acc': 0.75}]).alt
    'Curves over epoch, final values: accuracy (dev) 0.75.'
    """
    panels = _panels(records, x)
    if not panels:
        found = sorted({key for record in records for key in record})
        allowed = ', '.join(key for curves, _ in _PANELS.values() for key in curves)
        raise SettingsError('nothing to draw in the records', found=found, allowed=allowed)
    rated = panels[-1].name == _RATE
    losses = panels[:-1] if rated else panels
    columns, rows = max(1, min(2, len(losses))), math.ceil(len(losses) / 2)
    heights = [3.6] * rows + [1.8] * rated
    picture = style.new_picture(6.2 if columns == 1 else 10.5, sum(heights) + 0.4 * bool(title), title)
    grid = picture.add_gridspec(len(heights), columns, height_ratios=heights)
    for index, panel in enumerate(losses):
        _draw_panel(picture.add_subplot(grid[divmod(index, 2)]), panel)
    if rated:
        axes, ((places, rates, (_, colour, *_)),) = picture.add_subplot(grid[-1, :]), panels[-1].curves
        axes.plot(places, rates, color=colour)
        axes.set_ylim(0, 1.1 * max(rates))
        _frame(axes, panels[-1])
        axes.set_yticks([0, max(rates)], ['0', f'{max(rates):.2g}'])
    final = [f'{panel.name} ({look[0]}) {y[-1]:.3g}' for panel in losses for _, y, look in panel.curves]
    over = ' and '.join(sorted({panel.x for panel in losses or panels}, reverse=True))
    picture.alt = f'Curves over {over}, final values: {", ".join(final) or "learning rate only"}.'
    return picture


def _panels(records, x):
    """The panels that have something to show; a constant learning rate has not."""
    panels = []
    for name, (looks, level) in _PANELS.items():
        mine = [record for record in records if any(record.get(key) is not None for key in looks)]
        place = x or _place(mine)
        curves = [(*_series(mine, place, key), look) for key, look in looks.items() if mine]
        curves = [curve for curve in curves if len(set(curve[1])) > (name == _RATE)]
        if curves:
            panels.append(_Panel(name, place, curves, level))
    return panels


def _place(records):
    """The key that all of these records have: 'step', or else 'epoch'."""
    for key in ('step', 'epoch'):
        if all(record.get(key) is not None for record in records):
            return key
    allowed = "'step' (or 'epoch') in each record"
    raise SettingsError('records without a step or epoch', found=f'{len(records)} records', allowed=allowed)


def _series(records, x, key):
    """The places and values of the records that have `key`: two lists of finite numbers."""
    points = [(record.get(x), record.get(key)) for record in records]
    points = style.numbers(f'{x} and {key}', points, 'any', (None, 2))  # None becomes NaN
    return points[numpy.isfinite(points).all(axis=1)].T.tolist()


def _draw_panel(axes, panel):
    labels = []
    for places, values, (name, colour, dashes, marker) in panel.curves:
        # Many points: a thin line, and a marker here and there only to distinguish it from others.
        many = len(places) > 40
        look = {'linewidth': 1.6 if many else 2.5, 'markevery': len(places) // 10 if many else 1}
        look['marker'] = marker if len(panel.curves) > 1 or not many else None
        axes.plot(places, values, dashes, color=colour, markeredgecolor='white', **look)
        labels.append((values[-1], f'{name} {values[-1]:.3g}', colour))
    if panel.level:
        axes.axhline(panel.level[0], color=style.GREY, linestyle=(0, (4, 3)), linewidth=1.6, zorder=1)
        labels.append((*panel.level, style.GREY))
    if panel.name == 'accuracy':
        lowest = min(1 / 3, *(min(values) for _, values, _ in panel.curves))
        axes.set_ylim(max(0, lowest - 0.06), 1.02)
    _frame(axes, panel)
    _label_ends(axes, labels)


def _frame(axes, panel):
    axes.set(title=panel.name, xlabel=panel.x)
    axes.grid(axis='y')
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.margins(x=0.02)


def _label_ends(axes, labels):
    """Write each line's name at its right end, moved apart where two would overlap."""
    low, high = axes.set_ylim(*axes.get_ylim())
    gap = 0.085 * (high - low)  # one line of text
    labels = sorted(labels, key=lambda label: label[0])
    values = (value for value, *_ in labels)
    heights = list(itertools.accumulate(values, lambda below, value: max(value, below + gap)))
    excess = max(0, heights[-1] - high)
    for height, (_, text, colour) in zip(heights, labels):
        look = {'color': colour, 'weight': 'normal' if colour == style.GREY else 'bold', 'va': 'center'}
        place = (1, height - excess), (6, 0), ('axes fraction', 'data'), 'offset points'
        axes.annotate(text, *place, annotation_clip=False, **look)


class LiveCurves(contextlib.AbstractContextManager):
    """A hook for training loops: call `curves(record)` after each point, and the figure grows.

    One display is updated in place, at most every `every` seconds and for at most a twentieth of the time.
    Outside a notebook records are only collected. Leaving a `with` block, or `close()`, draws the rest.

    >>> with LiveCurves(title='BERT') as curves:
    ...     curves({'step': 1, 'mlm_loss': 9.0})
    ...     curves({'step': 2, 'mlm_loss': 8.0})
    >>> len(curves.records), curves.figure().alt
    (2, 'Curves over step, final values: masked words: loss (train) 8.')
    """

    def __init__(self, *, title=None, every=0.5):
        self.title, self.every, self.records = title, every, []
        self._display, self._next, self._pending = None, 0.0, False

    def __call__(self, record):
        self.records.append(dict(record))
        self._pending = True
        if time.monotonic() >= self._next:
            self._draw()

    def figure(self):
        """All records so far, drawn by `plot_history`."""
        return plot_history(self.records, title=self.title)

    def close(self):
        """Draw the records that came after the last drawing."""
        if self._pending:
            self._draw()

    def __exit__(self, *_):
        self.close()

    def _draw(self):
        if not _in_notebook() or not _panels(self.records, None):
            return
        start = time.monotonic()
        figure = self.figure()
        data, metadata = figure.bundle()
        data['text/plain'] = repr(figure)
        # subtle: sent raw; the formatter that pyplot registers would change its size each time.
        if self._display is None:
            display = importlib.import_module('IPython.display').display  # lazy: notebooks have it loaded
            self._display = display(data, metadata=metadata, raw=True, display_id=True)
        else:
            self._display.update(data, metadata=metadata, raw=True)
        now = time.monotonic()
        self._next, self._pending = now + max(self.every, 19 * (now - start)), False


def _in_notebook():
    # A notebook's kernel has loaded IPython before anyone could ask.
    ipython = sys.modules.get('IPython')
    return ipython is not None and hasattr(ipython.get_ipython(), 'kernel')
