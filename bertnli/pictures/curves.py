"""Training curves: losses, accuracies and the learning rate over steps or epochs, afterwards or live."""

import contextlib
import html
import importlib
import itertools
import math
import sys
import time
from collections import ChainMap, namedtuple

import numpy
from matplotlib.ticker import MaxNLocator

from ..errors import SettingsError
from . import style

# How a curve is drawn: name, colour, line style, marker.
_TRAIN = 'train', style.BLUE, '-', 'o'
_DEV = 'dev', style.VERMILION, '-.', 's'
_TEST = 'test', style.GREEN, ':', '^'
_RATE = 'learning rate'
# Each panel's curves by their keys in a record, and the levels that guessing reaches.
_PANELS = {
    'masked words: loss': ({'mlm_loss': _TRAIN}, {}),
    'next sentence: loss': ({'nsp_loss': _TRAIN}, {'guessing: ln 2': math.log(2)}),
    'loss': ({'train_loss': _TRAIN, 'dev_loss': _DEV}, {'guessing: ln 3': math.log(3)}),
    'accuracy': ({'train_acc': _TRAIN, 'dev_acc': _DEV, 'test_acc': _TEST}, {'guessing: 1/3': 1 / 3}),
    _RATE: ({'learning_rate': ('', style.INK, '-', None)}, {}),
}
_KEYS = [key for curves, _ in _PANELS.values() for key in curves]
_Panel = namedtuple('_Panel', 'name x curves levels')  # curves: (places, values, look) of each with a point


@style.applied()
def plot_history(records, *, x=None, end=None, levels=None, title=None):
    """The curves of a training: losses, accuracies and the learning rate, each in its own panel.

    `records` are dictionaries, one for each point. The horizontal axis of a panel is 'step', or 'epoch' if
    some of its points have no step (`x` sets it for all). Drawn are 'mlm_loss', 'nsp_loss', 'train_loss',
    'dev_loss', 'train_acc', 'dev_acc', 'test_acc' and a 'learning_rate' that changes; a value may be missing
    or None. The axis goes to `end`, a step or epoch, if that is given. Dashed lines show what guessing
    reaches, and more `levels`: `{'mlm_loss': {'guessing: ln V': 9.7}}`. `title` stands above. Raises
    `SettingsError` if there is nothing to draw.

    >>> plot_history([{'epoch': 1, 'dev_acc': 0.5}, {'epoch': 2, 'dev_acc': 0.75}]).alt
    'Curves over epoch, final values: accuracy (dev) 0.75.'
    """
    panels = _panels(records, x, levels)
    if not panels:
        found, allowed = sorted({key for record in records for key in record}), ', '.join(_KEYS)
        raise SettingsError('nothing to draw in the records', found=found, allowed=allowed)
    losses, columns, heights = _layout(panels)
    picture = style.new_picture(_WIDTHS[columns], sum(heights) + 0.4 * bool(title), title)
    grid = picture.add_gridspec(len(heights), columns, height_ratios=heights)
    for index, panel in enumerate(losses):
        _draw_panel(picture.add_subplot(grid[divmod(index, 2)]), panel, end)
    if panels[-1].name == _RATE:
        axes, ((places, rates, (_, colour, *_)),) = picture.add_subplot(grid[-1, :]), panels[-1].curves
        axes.plot(places, rates, color=colour)
        axes.set_ylim(_limits(panels[-1]))
        _frame(axes, panels[-1], end)
        axes.set_yticks([0, max(rates)], ['0', f'{max(rates):.2g}'])
    final = [f'{panel.name} ({look[0]}) {y[-1]:.3g}' for panel in losses for _, y, look in panel.curves]
    over = ' and '.join(sorted({panel.x for panel in losses or panels}, reverse=True))
    picture.alt = f'Curves over {over}, final values: {", ".join(final) or "learning rate only"}.'
    return picture


_WIDTHS = {1: 6.2, 2: 10.5}  # inches of a picture with so many columns


def _layout(panels):
    """The panels of losses, how many stand side by side, and the heights of the rows in inches."""
    losses = [panel for panel in panels if panel.name != _RATE]
    heights = [3.6] * math.ceil(len(losses) / 2) + [1.8] * (len(losses) < len(panels))
    return losses, max(1, min(2, len(losses))), heights


def _panels(records, x, more=None):
    """The panels that have something to show, with `more` levels; a constant learning rate has not."""
    unknown, panels = sorted({*(more or {})} - {*_KEYS}), []
    if unknown:
        raise SettingsError('levels of an unknown curve', found=unknown, allowed=', '.join(_KEYS))
    for name, (looks, levels) in _PANELS.items():
        mine = [record for record in records if any(record.get(key) is not None for key in looks)]
        place = x or _place(mine)
        curves = [(*_series(mine, place, key), look) for key, look in looks.items() if mine]
        curves = [curve for curve in curves if len(set(curve[1])) > (name == _RATE)]
        if curves:
            added = (more[key] for key in looks if key in (more or {}))
            panels.append(_Panel(name, place, curves, {**levels, **dict(ChainMap(*added))}))
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


def _limits(panel):
    """The lowest and the highest value of the vertical axis."""
    values = [value for _, values, _ in panel.curves for value in values] + list(panel.levels.values())
    if panel.name == 'accuracy':
        return max(0, min(values) - 0.06), 1.02
    if panel.name == _RATE:
        return 0, 1.1 * max(values)
    margin = 0.05 * (max(values) - min(values)) or 0.05
    return min(values) - margin, max(values) + margin


def _draw_panel(axes, panel, end):
    labels = []
    for places, values, (name, colour, dashes, marker) in panel.curves:
        # Many points: a thin line, and a marker here and there only to distinguish it from others.
        many = len(places) > 40
        look = {'linewidth': 1.6 if many else 2.5, 'markevery': len(places) // 10 if many else 1}
        look['marker'] = marker if len(panel.curves) > 1 or not many else None
        axes.plot(places, values, dashes, color=colour, markeredgecolor='white', **look)
        labels.append((values[-1], f'{name} {values[-1]:.3g}', colour))
    for name, level in panel.levels.items():
        axes.axhline(level, color=style.GREY, linestyle=(0, (4, 3)), linewidth=1.6, zorder=1)
        labels.append((level, name, style.GREY))
    axes.set_ylim(_limits(panel))
    _frame(axes, panel, end)
    for height, (_, text, colour) in _apart(labels, *_limits(panel)):
        look = {'color': colour, 'weight': 'normal' if colour == style.GREY else 'bold', 'va': 'center'}
        place = (1, height), (6, 0), ('axes fraction', 'data'), 'offset points'
        axes.annotate(text, *place, annotation_clip=False, **look)


def _frame(axes, panel, end):
    axes.set(title=panel.name, xlabel=panel.x)
    if end:
        axes.set_xlim(min(min(places) for places, _, _ in panel.curves), end)
    axes.grid(axis='y')
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.margins(x=0.02)


def _apart(labels, low, high):
    """(height, label) of what is written at the right ends, moved apart where two would overlap."""
    gap = 0.085 * (high - low)  # one line of text
    labels = sorted(labels, key=lambda label: label[0])
    values = (value for value, *_ in labels)
    heights = list(itertools.accumulate(values, lambda below, value: max(value, below + gap)))
    excess = max(0, heights[-1] - high)
    return [(height - excess, label) for height, label in zip(heights, labels)]


def _sketch(panels, title, end, note):
    """`plot_history` as an SVG of the same size, in a hundredth of the time; `note` is beside the title."""
    _, columns, heights = _layout(panels)
    wide, top = style.SCREEN * _WIDTHS[columns], style.SCREEN * 0.4 * bool(title)
    parts = [_words(wide / 2, 22, title or '', 'middle', 'bold', 16), _words(wide - 8, 22, note, 'end')]
    for index, panel in enumerate(panels):
        (row, column), share = divmod(index, columns), columns
        if panel.name == _RATE:
            row, column, share = len(heights) - 1, 0, 1
        place = column * wide / columns, top + style.SCREEN * sum(heights[:row])
        parts += _sketch_panel(panel, *place, wide / share, style.SCREEN * heights[row], end)
    size = f'width="{wide:.0f}" height="{top + style.SCREEN * sum(heights):.0f}"'
    look = 'xmlns="http://www.w3.org/2000/svg" font-family="DejaVu Sans, sans-serif" fill="none"'
    paper = '<rect width="100%" height="100%" fill="white"/>'
    return f'<svg {size} {look}>{paper}{"".join(parts)}</svg>'


def _words(x, y, text, anchor='start', weight='normal', size=13, colour=style.INK):
    look = f'text-anchor="{anchor}" font-weight="{weight}" font-size="{size}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{html.escape(text)}</text>'


def _sketch_panel(panel, left, top, width, height, end):
    low, high = _limits(panel)
    first = min(min(places) for places, *_ in panel.curves)
    last = max(end or 0, *(max(places) for places, *_ in panel.curves))
    x0, x1, y0, y1 = (
        left + 55,
        left + width - (12 if panel.name == _RATE else 120),
        top + height - 40,
        top + 32,
    )

    def up(y):
        return y0 - (y - low) / (high - low) * (y0 - y1)

    def line(places, values, look):
        scale = (x1 - x0) / ((last - first) or 1)
        points = ' '.join(f'{x0 + scale * (x - first):.1f},{up(y):.1f}' for x, y in zip(places, values))
        return f'<polyline points="{points}" {look}/>'

    parts, labels = [_words(x0, top + 20, panel.name, 'start', 'bold', 15)], []
    for tick in MaxNLocator(4).tick_values(low, high):
        if low <= tick <= high:
            parts.append(line((first, last), (tick, tick), f'stroke="{style.FAINT}"'))
            parts.append(_words(x0 - 6, up(tick) + 4, f'{tick:.3g}', 'end'))
    parts += [_words(x0, y0 + 17, f'{first:g}'), _words(x1, y0 + 17, f'{last:g}', 'end')]
    parts.append(_words((x0 + x1) / 2, y0 + 30, panel.x, 'middle'))
    for name, level in panel.levels.items():
        parts.append(line((first, last), (level, level), f'stroke="{style.GREY}" stroke-dasharray="6 4"'))
        labels.append((level, name, style.GREY))
    for places, values, (name, colour, *_) in panel.curves:
        thin = 1 + len(places) // 400  # no more points than a screen has
        points = [*places[::thin], places[-1]], [*values[::thin], values[-1]]
        parts.append(line(*points, f'stroke="{colour}" stroke-width="2"'))
        labels.append((values[-1], f'{name} {values[-1]:.3g}', colour))
    for value, (_, text, colour) in _apart(labels, low, high) if panel.name != _RATE else ():
        weight = 'normal' if colour == style.GREY else 'bold'
        parts.append(_words(x1 + 5, up(value) + 4, text, 'start', weight, 13, colour))
    return parts


class LiveCurves(contextlib.AbstractContextManager):
    """A hook for training loops: call `curves(record)` after each point, and the figure grows.

    One display is updated in place, at most every `every` seconds and for at most a twentieth of the time.
    With `end`, the last step or epoch, the axis goes that far and the time left is told; `levels` are those
    of `plot_history`, `title` stands above. Outside a notebook records are only collected. Leaving a `with`
    block, or `close()`, puts the figure of `plot_history` in place of the sketches.

    >>> with LiveCurves(title='BERT', end=3) as curves:
    ...     curves({'step': 1, 'mlm_loss': 9.0})
    ...     curves({'step': 2, 'mlm_loss': 8.0})
    >>> len(curves.records), curves.figure().alt
    (2, 'Curves over step, final values: masked words: loss (train) 8.')
    """

    def __init__(self, *, title=None, every=0.2, end=None, levels=None):
        self.title, self.every, self.end, self.levels, self.records = title, every, end, levels, []
        self._display, self._next, self._pending, self._start = None, 0.0, False, None

    def __call__(self, record):
        self.records.append(dict(record))
        self._pending, now = True, time.monotonic()
        self._start = self._start or (now, record)
        # With the second record it is known which panels there are: the height stays.
        if now >= self._next and len(self.records) > 1 and _in_notebook():
            panels = _panels(self.records, None, self.levels)
            if panels:
                self._show(*self._sketched(panels, now))
                done = time.monotonic()
                self._next = done + max(self.every, 19 * (done - now))

    def figure(self):
        """All records so far, drawn by `plot_history`."""
        return plot_history(self.records, end=self.end, levels=self.levels, title=self.title)

    def close(self):
        """Draw all records, once."""
        if self._pending and _in_notebook() and _panels(self.records, None):
            figure = self.figure()
            data, metadata = figure.bundle()
            self._show({**data, 'text/plain': repr(figure)}, metadata)
        self._pending = False

    def __exit__(self, *_):
        self.close()

    def _sketched(self, panels, now):
        (start, first), x = self._start, panels[0].x
        begun = first.get(x) or 0
        done, whole = (self.records[-1].get(x) or 0) - begun, (self.end or 0) - begun
        left = (now - start) * (whole - done) / done if done > 0 else 0
        note = f'{left:.0f} s left' if left > 0 else ''
        alt, drawn = f'Curves over {x}, still growing.', _sketch(panels, self.title, self.end, note)
        page = style.image(alt, 'svg+xml', drawn.encode(), style.SCREEN * _WIDTHS[_layout(panels)[1]])
        return {'text/html': page, 'text/plain': alt}, {}

    def _show(self, data, metadata):
        # subtle: sent raw; the formatter that pyplot registers would change a figure's size each time.
        if self._display is None:
            display = importlib.import_module('IPython.display').display  # lazy: notebooks have it loaded
            self._display = display(data, metadata=metadata, raw=True, display_id=True)
        else:
            self._display.update(data, metadata=metadata, raw=True)


def _in_notebook():
    # A notebook's kernel has loaded IPython before anyone could ask.
    ipython = sys.modules.get('IPython')
    return ipython is not None and hasattr(ipython.get_ipython(), 'kernel')
