"""Training curves: losses, accuracies and the learning rate over steps or epochs, afterwards or live."""

import contextlib
import importlib
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
    """The curves of a training under `title`: losses, accuracies and the learning rate, a panel each.

    `records` are dictionaries, one for each point: 'step' or 'epoch', and some of 'mlm_loss', 'nsp_loss',
    'train_loss', 'dev_loss', 'train_acc', 'dev_acc', 'test_acc' and 'learning_rate' (drawn if it changes).
    The horizontal axis is `x`, or else 'step' where all points have one, up to `end`. Dashed lines show what
    guessing reaches, and more `levels`: `{'mlm_loss': {'guessing: ln V': 9.7}}`. Raises `SettingsError` if
    there is nothing to draw.

    >>> plot_history([{'epoch': 1, 'dev_acc': 0.5}, {'epoch': 2, 'dev_acc': 0.75}]).alt
    'Curves over epoch, final values: accuracy (dev) 0.75.'
    """
    panels = _panels(records, x, levels)
    if not panels:
        found = sorted({key for record in records for key in record})
        raise SettingsError('nothing to draw in the records', None, found, ', '.join(_KEYS))
    width, columns, heights = _layout(panels)
    picture = style.new_picture(width, sum(heights) + 0.4 * bool(title), title)
    grid = picture.add_gridspec(len(heights), columns, height_ratios=heights)
    for index, panel in enumerate(panels):
        place = grid[-1, :] if panel.name == _RATE else grid[divmod(index, columns)]
        _draw_panel(picture.add_subplot(place), panel, end)
    losses = [panel for panel in panels if panel.name != _RATE]
    final = [f'{panel.name} ({look[0]}) {y[-1]:.3g}' for panel in losses for _, y, look in panel.curves]
    over = ' and '.join(sorted({panel.x for panel in losses or panels}, reverse=True))
    picture.alt = f'Curves over {over}, final values: {", ".join(final) or "learning rate only"}.'
    return picture


def _layout(panels):
    """The width in inches, how many panels stand side by side, and the heights of the rows in inches."""
    losses = sum(panel.name != _RATE for panel in panels)
    heights = [3.6] * math.ceil(losses / 2) + [1.8] * (losses < len(panels))
    return (10.5, 2, heights) if losses > 1 else (6.2, 1, heights)


def _panels(records, x, more=None):
    """The panels that have something to show, with `more` levels; a constant learning rate has not."""
    more, panels = more or {}, []
    if unknown := sorted({*more} - {*_KEYS}):
        raise SettingsError('levels of an unknown curve', None, unknown, ', '.join(_KEYS))
    for name, (looks, levels) in _PANELS.items():
        mine = [record for record in records if any(record.get(key) is not None for key in looks)]
        place = x or _place(mine)
        curves = [(*_series(mine, place, key), look) for key, look in looks.items() if mine]
        curves = [curve for curve in curves if len(set(curve[1])) > (name == _RATE)]
        if curves:
            added = ChainMap(*(more[key] for key in looks if key in more))
            panels.append(_Panel(name, place, curves, {**levels, **added}))
    return panels


def _place(records):
    """The key that all of these records have: 'step', or else 'epoch'."""
    for key in ('step', 'epoch'):
        if all(record.get(key) is not None for record in records):
            return key
    allowed = "'step' (or 'epoch') in each record"
    raise SettingsError('records without a step or epoch', None, f'{len(records)} records', allowed)


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
    axes.set(title=panel.name, xlabel=panel.x, ylim=_limits(panel))
    for places, values, (_, colour, dashes, marker) in panel.curves:
        # Many points: a thin line, and a marker here and there only to distinguish it from others.
        many = len(places) > 40
        look = {'linewidth': 1.6 if many and marker else 2.5, 'markevery': len(places) // 10 if many else 1}
        look['marker'] = marker if len(panel.curves) > 1 or not many else None
        axes.plot(places, values, dashes, color=colour, markeredgecolor='white', **look)
    for level in panel.levels.values():
        axes.axhline(level, color=style.GREY, linestyle=(0, (4, 3)), linewidth=1.6, zorder=1)
    for height, text, colour, weight in _ends(panel):
        place, look = ((1, height), (6, 0), ('axes fraction', 'data'), 'offset points'), {'va': 'center'}
        axes.annotate(text, *place, annotation_clip=False, color=colour, weight=weight, **look)
    if end:
        axes.set_xlim(_first(panel), end)
    axes.grid(axis='y')
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.margins(x=0.02)
    if panel.name == _RATE:
        highest = max(panel.curves[0][1])
        axes.set_yticks([0, highest], ['0', f'{highest:.2g}'])


def _first(panel):
    return min(min(places) for places, _, _ in panel.curves)


def _ends(panel):
    """(height, text, colour, weight) of what is written at the right ends, with room for a line each."""
    if panel.name == _RATE:
        return []
    names = [(level, name, style.GREY, 'normal') for name, level in panel.levels.items()]
    for _, values, (name, colour, *_) in panel.curves:
        names.append((values[-1], f'{name} {values[-1]:.3g}', colour, 'bold'))
    low, high = _limits(panel)
    ends, height = [], -math.inf
    for value, *name in sorted(names):
        height = max(value, height + 0.085 * (high - low))  # one line of text
        ends.append((height, *name))
    excess = max(0, height - high)
    return [(height - excess, *name) for height, *name in ends]


def _sketch(panels, title, end, note):
    """`plot_history` as an SVG of the same size, in a hundredth of the time; `note` is beside the title."""
    inches, columns, rows = _layout(panels)
    width, top, heights = style.SCREEN * inches, 32 * bool(title), [style.SCREEN * row for row in rows]
    parts = [style.element('rect', width='100%', height='100%', fill='white')]
    parts.append(_words(width / 2, 22, title or '', text_anchor='middle', font_weight='bold', font_size=16))
    parts.append(_words(width - 8, 22, note, text_anchor='end'))
    for index, panel in enumerate(panels):
        (row, column), share = divmod(index, columns), width / columns
        if panel.name == _RATE:
            row, column, share = len(heights) - 1, 0, width
        place = f'translate({column * share} {top + sum(heights[:row])})'
        parts.append(style.element('g', *_sketch_panel(panel, share, heights[row], end), transform=place))
    look = {'xmlns': 'http://www.w3.org/2000/svg', 'font_family': 'DejaVu Sans, sans-serif', 'fill': 'none'}
    return style.element('svg', *parts, width=f'{width:.0f}', height=f'{top + sum(heights):.0f}', **look)


def _words(x, y, text, **look):
    look = {'font_size': 13, 'fill': style.INK, **look}
    return style.element('text', text, x=f'{x:.1f}', y=f'{y:.1f}', **look)


def _sketch_panel(panel, width, height, end):
    low, high = _limits(panel)
    first, last = _first(panel), max(end or 0, *(max(places) for places, *_ in panel.curves))
    left, right, bottom, top = 55, width - (12 if panel.name == _RATE else 120), height - 40, 32

    def up(y):
        return bottom - (y - low) / (high - low) * (bottom - top)

    def line(places, values, **look):
        scale = (right - left) / ((last - first) or 1)
        points = (f'{left + scale * (x - first):.1f},{up(y):.1f}' for x, y in zip(places, values))
        return style.element('polyline', points=' '.join(points), **look)

    parts = [_words(left, 20, panel.name, font_weight='bold', font_size=15)]
    for tick in MaxNLocator(4).tick_values(low, high):
        if low <= tick <= high:
            parts.append(line((first, last), (tick, tick), stroke=style.FAINT))
            parts.append(_words(left - 6, up(tick) + 4, f'{tick:.3g}', text_anchor='end'))
    parts.append(_words(left, bottom + 17, f'{first:g}'))
    parts.append(_words(right, bottom + 17, f'{last:g}', text_anchor='end'))
    parts.append(_words((left + right) / 2, bottom + 30, panel.x, text_anchor='middle'))
    for level in panel.levels.values():
        parts.append(line((first, last), (level, level), stroke=style.GREY, stroke_dasharray='6 4'))
    for places, values, (_, colour, *_) in panel.curves:
        thin = 1 + len(places) // 400  # no more points than a screen has
        points = [*places[::thin], places[-1]], [*values[::thin], values[-1]]
        parts.append(line(*points, stroke=colour, stroke_width=2))
    for height, text, colour, weight in _ends(panel):
        parts.append(_words(right + 5, up(height) + 4, text, fill=colour, font_weight=weight))
    return parts


class LiveCurves(contextlib.AbstractContextManager):
    """A hook for training loops: call `curves(record)` after each point, and the figure grows.

    One display is updated in place, at most every `every` seconds and for at most a twentieth of the time.
    With `end`, the last step or epoch, the time left is told; `title`, `levels` and `end` are those of
    `plot_history`, whose figure takes the place of the sketches after a `with` block or `close()`. Outside a
    notebook records are only collected.

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
        page = style.image(alt, 'svg+xml', drawn.encode(), style.SCREEN * _layout(panels)[0])
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
