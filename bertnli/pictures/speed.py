"""Figures of speed and size: speed ratios, speedups over workers, accuracy over training pairs."""

import math

import numpy

from ..errors import SettingsError
from . import style


@style.applied()
def plot_ratios(rows, *, title=None):
    """Bars of speed ratios under `title`, on a logarithmic axis; slower ones point left.

    `rows` are (name, ratio), one for each bar. Raises `SettingsError` without rows, or for a ratio that is
    not above 0.

    >>> plot_ratios([('fine-tuning', 12.0), ('start', 0.8)]).alt
    'Speed ratios: fine-tuning 12, start 0.8.'
    """
    names = [str(row[0]) for row in rows]
    ratios = style.numbers('ratios', [row[1] for row in rows], 'above 0', (None,))
    picture = style.new_picture(9.0, 1.3 + 0.5 * len(names) + 0.4 * bool(title), title)
    axes = picture.subplots()
    axes.set_xscale('log')
    for index, ratio in enumerate(ratios):
        axes.barh(index, ratio - 1, left=1, height=0.7, **style.bars(int(ratio < 1)))
        away, side = (-5, 'right') if ratio < 1 else (5, 'left')
        place = (ratio, index), (away, 0), 'data', 'offset points'
        axes.annotate(f'{ratio:.3g} ×', *place, ha=side, va='center', weight='bold')
    axes.axvline(1, color=style.INK, linewidth=2)
    axes.set_yticks(range(len(names)), names)
    # Space for the number beside the longest bar on each side.
    low, high = min(1, *ratios), max(1.3, *ratios)
    margin = (high / low) ** 0.16
    low, high = low / (margin if low < 1 else 1.02), high * margin
    axes.set(xlim=(low, high), ylim=(len(names) - 0.4, -0.6), xlabel='times as fast (line: equally fast)')
    # 1, 2 and 5 times the powers of ten, or only these where that would be too many.
    powers = 10.0 ** numpy.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = numpy.outer(powers, (1, 2, 5) if high / low < 2000 else (1,)).ravel()
    axes.set_xticks(ticks[(low <= ticks) & (ticks <= high)])
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
    axes.minorticks_off()
    axes.tick_params(axis='y', length=0)
    axes.spines['left'].set_visible(False)
    axes.grid(axis='x')
    shown = ', '.join(f'{name} {ratio:.3g}' for name, ratio in zip(names, ratios))
    picture.alt = f'Speed ratios: {shown}.'
    return picture


@style.applied()
def plot_sizes(points, *, forecast=None, levels=(), title=None):
    """Accuracy over the number of training pairs, on a logarithmic axis, under `title`.

    `points` are measured (pairs, accuracy); a `forecast` is drawn hollow; `levels` are (accuracy, name) of
    baselines. Raises `SettingsError` without points, or for a count not above 0.

    >>> plot_sizes([(1000, 0.6), (2000, 0.65)], forecast=(4000, 0.69)).alt
    'Accuracy over training pairs: 1,000 0.600, 2,000 0.650; forecast for 4,000 0.690.'
    """
    points = style.numbers('points', points, 'finite', (None, 2))
    style.numbers('numbers of pairs', points[:, 0], 'above 0', (None,))
    picture = style.new_picture(8.0, 4.6, title)
    axes = picture.subplots()
    axes.set_xscale('log')
    axes.plot(*points.T, 'o-', color=style.BLUE, markeredgecolor='white')
    shown = [tuple(point) for point in points]
    if forecast:
        axes.plot(*zip(points[-1], forecast), 'o:', color=style.BLUE, markerfacecolor='white', zorder=1)
        shown.append(tuple(forecast))
    for count, accuracy in shown:
        axes.annotate(f'{accuracy:.3f}', (count, accuracy), (-9, 9), textcoords='offset points', ha='center')
    for level, name in levels:
        axes.axhline(level, color=style.GREY, linestyle='--', linewidth=1.6, zorder=1)
        axes.annotate(name, (points[0, 0], level), (0, 4), textcoords='offset points', color=style.GREY)
    axes.set(xlabel='training pairs' + (' (hollow: forecast)' if forecast else ''), ylabel='accuracy')
    axes.set_xticks([count for count, _ in shown], [f'{count:,.0f}' for count, _ in shown])
    axes.minorticks_off()
    axes.margins(x=0.08, y=0.15)
    axes.grid(axis='y')
    told = [f'{count:,.0f} {accuracy:.3f}' for count, accuracy in shown]
    picture.alt = f'Accuracy over training pairs: {", ".join(told[: len(points)])}'
    picture.alt += f'; forecast for {told[-1]}.' if forecast else '.'
    return picture


@style.applied()
def plot_speedups(panels, *, title=None):
    """Forecast speedups over the number of workers under `title`, both axes logarithmic.

    `panels` is `{panel: {line: points}}`, points (workers, speedup), up to three lines a panel; dotted is the
    ideal. Raises `SettingsError` without lines, or for a number that is not above 0.

    >>> plot_speedups({'fine-tuning': {'1 Gbit/s': [(2, 1.5), (4, 2.0)]}}).alt
    'Forecast speedups: fine-tuning, 1 Gbit/s, 4 workers 2.0.'
    """
    if not any(panels.values()):
        raise SettingsError('nothing to draw', found=panels)
    picture, told, most = style.new_picture(1.5 + 4.5 * len(panels), 4.6, title), [], 1
    all_axes = picture.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    all_axes[0].set_ylabel('times as fast (forecast)')
    for axes, (panel, lines) in zip(all_axes, panels.items()):
        axes.set(title=panel, xlabel='workers')
        axes.loglog(base=2)
        looks = zip((style.VERMILION, style.BLUE, style.GREEN), ('o-', 's--', '^-.'))
        for (name, points), (color, marks) in zip(lines.items(), looks):
            points = style.numbers('points', points, 'above 0', (None, 2))
            axes.plot(*points.T, marks, color=color, markerfacecolor='white', label=name)
            told.append(f'{panel}, {name}, {points[-1, 0]:.0f} workers {points[-1, 1]:.1f}')
            most = max(most, points[:, 0].max())
        axes.plot((1, most), (1, most), ':', color=style.GREY, linewidth=1.6, zorder=1)
        axes.grid()
        axes.legend(loc='upper left', frameon=False)
        ticks = 2 ** numpy.arange(int(math.log2(most)) + 1)
        axes.set_xticks(ticks, ticks)
        axes.set_yticks(ticks, ticks)
        axes.minorticks_off()
    picture.alt = f'Forecast speedups: {"; ".join(told)}.'
    return picture
