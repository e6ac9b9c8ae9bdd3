"""Figures of a network's inside: attention, saliency, points of the plane."""

import math

import numpy

from ..errors import SettingsError
from . import style


@style.applied()
def plot_attention(weights, words, *, head=None, rows=None, title=None):
    """Attention weights: a matrix for each head, a row for each token that looks, dark where it looks.

    `weights` `(H, K, T)` or, of one head, `(K, T)`, in [0, 1], for T `words`; `rows` are the K that look
    (None: the first K words); `head` draws one only. Raises `SettingsError` if the shapes do not match.

    >>> plot_attention([[0.9, 0.1], [0.5, 0.5]], ['<cls>', 'hello']).alt
    'Attention of 1 head over 2 tokens; maximum: <cls> to <cls> 0.90 (head 0).'
    """
    weights = style.numbers('attention weights', weights, 'from 0 to 1', (None, None), (None, None, None))
    weights = weights.reshape(-1, *weights.shape[-2:])  # (H, K, T)
    if head is not None and head not in range(len(weights)):
        raise SettingsError('no such head', found=head, allowed=f'0 to {len(weights) - 1}')
    heads = list(range(len(weights))) if head is None else [head]
    rows = list(words[: weights.shape[1]] if rows is None else rows)
    style.numbers('attention weights', weights, 'from 0 to 1', (None, len(rows), len(words)))
    return _draw_attention(weights[heads], heads, words, rows, title)


def _attention_alt(weights, rows, words, heads=None):
    number, row, column = numpy.unravel_index(weights.argmax(), weights.shape)
    where = f' (head {heads[number]})' if heads else ''
    most = f'{rows[row]} to {words[column]} {weights.max():.2f}{where}'
    many = f'{len(weights)} head{"s" if len(weights) > 1 else ""}'
    return f'Attention of {many} over {len(words)} tokens; maximum: {most}.'


def _draw_attention(weights, heads, words, rows, title):
    columns = min(len(heads), 2 if len(words) > 8 else 4)
    lines = math.ceil(len(heads) / columns)
    cell = 0.28  # inches, a word in 14 points; more space would shrink everything on the screen
    name = 0.3 + 0.12 * max(len(word) for word in [*words, *rows])
    flat = len(rows) * lines < 4  # no room for upright words at the sides
    size = (0.3 + cell * len(words)) * columns + name + 1.2, (name + 0.6 + cell * len(rows)) * lines
    picture = style.new_picture(max(5.2, size[0]), size[1] + 0.4 * bool(title) + 0.7 * flat, title)
    grid = picture.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(heads) :]:
        axes.set_axis_off()
    for axes, head, matrix in zip(grid.flat, heads, weights):
        squares = style.draw_matrix(axes, matrix, max(weights.max(), 1e-6))
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
    # subtle: titles above labels on top get their height only while drawing; a first drawing settles it.
    picture.draw_without_rendering()
    picture.alt = _attention_alt(weights, rows, words, heads)
    return picture


def show_attention(weights, words, *, title=None):
    """One head's attention as a `Page`: a table, a row for each token that looks, dark where it looks.

    `weights` `(T, T)` in [0, 1], for T `words`; those from 0.1 are written out. Raises `SettingsError` if the
    shapes do not match.

    >>> show_attention([[0.9, 0.1], [0.5, 0.5]], ['<cls>', 'hello'])
    Attention of 1 head over 2 tokens; maximum: <cls> to <cls> 0.90.
    """
    weights = style.numbers('attention weights', weights, 'from 0 to 1', (len(words), len(words)))
    upright = 'writing-mode: vertical-rl; transform: rotate(180deg); text-align: left'
    head = [style.element('th', word, scope='col', style=upright) for word in words]
    table = [style.element('tr', style.element('td', 'this word looks at …'), *head)]
    for word, row in zip(words, weights):
        cells = [_attention_cell(f'{word} to {other}', weight) for other, weight in zip(words, row)]
        name = style.element('th', word, scope='row')
        table.append(style.element('tr', name, *cells, style='background: white'))
    table = style.element('table', *table, style=f'color: {style.INK}')
    alt = _attention_alt(weights[None], words, words)
    return style.Page(alt, title, style.element('div', table, style='overflow-x: auto'))


def _attention_cell(name, weight):
    number = f'{weight:.1f}'.lstrip('0') if weight >= 0.1 else ''
    look = f'background: {_pale(style.BLUE, weight)}; color: {style.ink_on(weight)}; '
    look += 'text-align: center; padding: 2px 4px'
    return style.element('td', number, title=f'{name}: {weight:.3f}', style=look)


def _pale(colour, share):
    """A colour between white (0) and itself (1).

    >>> _pale('#0072B2', 0), _pale('#0072B2', 1)
    ('#ffffff', '#0072b2')
    """
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return '#' + ''.join(f'{round(255 + (part - 255) * min(1.0, share)):02x}' for part in parts)


def show_saliency(words, values, *, title=None):
    """Which words speak for an answer, which against it: a `Page` with a number under each word.

    `values` `(T,)` of either sign, for T `words`. Words for the answer are underlined on blue, those against
    it dashed on orange; the stronger, the bolder. Raises `SettingsError` unless all are finite.

    >>> show_saliency(['no', 'dog', 'runs'], [-0.8, 0.1, 0.3], title='entailment')
    Saliency of 3 words: most for it runs +0.30, most against it no -0.80.
    """
    values = style.numbers('saliencies', values, 'finite', (len(words),))
    largest = max(abs(values).max(), 1e-12)
    told = [
        f'most {name} it {words[place]} {values[place]:+.2f}'
        for name, place, sign in (('for', values.argmax(), 1), ('against', values.argmin(), -1))
        if sign * values[place] > 0
    ]
    content = []
    for word, value in zip(words, values):
        end = style.BREAK if word == '<sep>' else ''
        content += [_salient_word(word, value, abs(value) / largest), ' ', end]
    alt = f'Saliency of {len(words)} words: {", ".join(told) or "all are 0"}.'
    key = style.element('p', 'solid line: speaks for it; dashed: against it', style='font-size: 13px')
    return style.Page(alt, title, style.element('div', *content), key)


def _salient_word(word, value, strength):
    ground, line, kind = style.SKY, style.BLUE, 'solid'
    if value < 0:
        ground, line, kind = style.ORANGE, style.VERMILION, 'dashed'
    look = (
        'display: inline-block; text-align: center; margin: 2px; padding: 0 5px; '
        f'background: {_pale(ground, 0.7 * strength)}; font-weight: {400 + 100 * round(4 * strength)}; '
        f'border-bottom: {1 + round(3 * strength)}px {kind} {line if strength >= 0.05 else style.FAINT}'
    )
    number = style.element('span', f'{value:+.2f}', style='font-size: 12px; font-weight: 400')
    return style.element('span', word, style.BREAK, number, title=f'{word}: {value:+.4f}', style=look)


@style.applied()
def plot_points(points, kinds, labels, *, title=None, axes_names=('first direction', 'second direction')):
    """Points of the plane, each label with a colour and a shape of its own; large marks are the means.

    `points` `(n, 2)`, `kinds` `(n,)` are indices into `labels`. Raises `SettingsError` if they do not match.

    >>> plot_points([[0, 0], [2, 0], [1, 5]], [0, 0, 1], ['yes', 'no']).alt
    '3 points of the plane; means: yes (1.0, 0.0), no (1.0, 5.0).'
    """
    kinds = style.numbers('kinds', kinds, 'not below 0', (None,))
    points = style.numbers('points', points, 'finite', (len(kinds), 2))
    if not numpy.isin(kinds, range(len(labels))).all():
        found, allowed = sorted(set(kinds.tolist()))[:5], f'integers from 0 to {len(labels) - 1}'
        raise SettingsError('kinds without a label', found=found, allowed=allowed)
    picture = style.new_picture(7.6, 6.0 + 0.4 * bool(title), title)
    axes, means = picture.subplots(), []
    for index in numpy.unique(kinds).astype(int):
        label, mine = labels[index], points[kinds == index]
        look = {'color': style.fill(index), 'marker': 'os^'[index % 3], 'edgecolors': style.INK}
        axes.scatter(*mine.T, s=34, linewidths=0.5, alpha=0.65, label=label, **look)
        means.append((label, mine.mean(axis=0), look))
    for _, mean, look in means:
        axes.scatter(*mean, s=260, linewidths=2.5, zorder=3, **look)
    axes.set(xlabel=axes_names[0], ylabel=axes_names[1])
    axes.grid()
    picture.legend(loc='outside lower center', ncols=len(labels), frameon=False)
    told = ', '.join(f'{label} ({mean[0]:.1f}, {mean[1]:.1f})' for label, mean, _ in means)
    picture.alt = f'{len(points):,} points of the plane; means: {told}.'
    return picture
