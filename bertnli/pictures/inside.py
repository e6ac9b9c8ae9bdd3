"""Attention, saliency and points as pictures."""

import html
import math

import numpy

from ..errors import SettingsError
from .answers import _ink_on, _matrix
from .style import BLUE, FAINT, INK, ORANGE, SKY, VERMILION, Page, _array, _fill, _heading, _picture, _style

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
