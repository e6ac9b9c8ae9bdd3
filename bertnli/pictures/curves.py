"""Losses and accuracies over the steps of a training."""

import importlib
import math
import sys
import time

import numpy

from ..errors import SettingsError
from .style import BLUE, GREEN, GREY, INK, VERMILION, _array, _frame, _picture, _style

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
