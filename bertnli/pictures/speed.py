"""Ratios, sizes and speed-ups as pictures."""

import math

import numpy
from matplotlib.ticker import FuncFormatter, NullLocator

from ..errors import SettingsError
from .style import BLUE, GREEN, GREY, INK, ORANGE, SKY, VERMILION, _array, _picture, _style

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
