"""Figures of a network's inside: attention, saliency, points of the plane."""

import math

import matplotlib.colors
import numpy

from ..errors import SettingsError
from . import style


@style.applied()
def plot_attention(weights, words, *, head=None, rows=None, title=None):
    """Attention weights under `title`: a matrix for each head, a row for each token, dark where it looks.

    `weights` `(H, K, T)` or, of one head, `(K, T)`, in [0, 1], for T `words`; `rows` are the K that look
    (None: the first K words); `head` draws one only. Raises `SettingsError` if the shapes do not match.

    >>> plot_attention([[0.9, 0.1], [0.5, 0.5]], ['<cls>', 'hello']).alt
    'Attention of 1 head over 2 tokens; maximum: <cls> to <cls> 0.90 (head 0).'
    """
    weights = style.numbers('attention weights', weights, 'from 0 to 1', (None, None), (None, None, None))
    weights = weights.reshape(-1, *weights.shape[-2:])  # (H, K, T)
    if head is not None and head not in range(len(weights)):
        raise SettingsError('no such head', None, head, f'0 to {len(weights) - 1}')
    heads = list(range(len(weights))) if head is None else [head]
    rows = list(words[: weights.shape[1]] if rows is None else rows)
    style.numbers('attention weights', weights, 'from 0 to 1', (None, len(rows), len(words)))
    weights = weights[heads]
    cell = 0.28  # inches, a word in 14 points; more space would shrink everything on the screen
    name = 0.3 + 0.12 * max(len(word) for word in [*words, *rows])
    columns = min(len(heads), max(2, int(9 / (0.3 + cell * len(words)))))
    lines = math.ceil(len(heads) / columns)
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
    number, row, column = numpy.unravel_index(weights.argmax(), weights.shape)
    most = f'{rows[row]} to {words[column]} {weights.max():.2f} (head {heads[number]})'
    many = f'{len(weights)} head{"s" if len(weights) > 1 else ""}'
    picture.alt = f'Attention of {many} over {len(words)} tokens; maximum: {most}.'
    return picture


# The word under the mouse, or with the focus, keeps its lines, and the others lose theirs.
_RULES = style.Html("""
.attention-lines g { cursor: pointer; outline: none } .attention-lines line { pointer-events: none }
.attention-lines g:focus rect { stroke: #0072B2; stroke-width: 2 }
.attention-lines:has(g:hover, g:focus) line { display: none }
.attention-lines g:hover line, .attention-lines g:focus line { display: inline }
.attention-lines g:hover text, .attention-lines g:focus text { font-weight: bold }
""")
_ROW, _LEFT, _RIGHT, _FAINTEST = 23, 150, 370, 0.05  # pixels: a word's height, where the lines begin and end


def show_attention_lines(weights, words, *, layer=0, head=0, title=None):
    """Attention between the sentences of a pair as lines from word to word, one head large, all beside it.

    `weights` `(L, H, T, T)` and `words` `(T,)` are those of `attention`; `layer` and `head` choose the large
    one. The thicker a line, the more; below 0.05 there is none. Solid: the word of the premise looks; dashed:
    that of the hypothesis. A word under the mouse or with the focus (Tab) is singled out. Returns a `Page`
    under `title`. Raises `SettingsError` for other shapes, words without `<sep>`, and an unknown head.

    >>> weights = [[[[0.2, 0.1, 0.6, 0.1]] * 4]]
    >>> show_attention_lines(weights, ['dog', '<sep>', 'cat', '<sep>'])
    Attention between 2 and 2 tokens, layer 0, head 0: dog to cat 0.60, <sep> to cat 0.60, cat to dog 0.20.
    """
    words = list(words)
    weights = style.numbers('attention weights', weights, 'from 0 to 1', (None, None, len(words), len(words)))
    for name, value, count in zip(('layer', 'head'), (layer, head), weights.shape):
        if value not in range(count):
            raise SettingsError(f'no such {name}', None, value, f'0 to {count - 1}')
    if '<sep>' not in words[:-1]:
        raise SettingsError('not the tokens of a pair', None, words, '<cls> … <sep> … <sep>')
    first = words.index('<sep>') + 1
    lines = _lines_across(weights[layer, head], first)
    told = ', '.join(f'{words[i]} to {words[j]} {weight:.2f}' for weight, i, j in lines[:3]) or 'no line'
    alt = f'Attention between {first} and {len(words) - first} tokens, layer {layer}, head {head}: {told}.'
    chosen, flow = (layer, head), 'display: flex; flex-wrap: wrap; gap:'
    heads = numpy.ndindex(*weights.shape[:2])
    small = [_small_head(weights[place], first, place, place == chosen) for place in heads]
    small = style.element('div', *small, style=f'{flow} 6px; max-width: 420px')
    large = style.element('div', _large_head(lines, words, first))
    both = style.element('div', large, small, style=f'{flow} 16px; align-items: flex-start')
    key = 'solid: the word of the premise looks; dashed: that of the hypothesis. Per cent: how much of a '
    key = style.element('p', key + "head's attention goes to the other sentence.", style='font-size: 13px')
    return style.Page(alt, title, both, key)


def _lines_across(matrix, first):
    """(weight, from, to) of all that look at the other sentence, the heaviest first."""
    side = numpy.arange(len(matrix)) >= first
    places = numpy.argwhere((side[:, None] != side) & (matrix >= _FAINTEST)).tolist()
    return sorted(((matrix[i, j], i, j) for i, j in places), key=lambda line: -line[0])


def _line(i, j, start, end, **look):
    look.update({'stroke': style.BLUE} if i < j else {'stroke': style.VERMILION, 'stroke_dasharray': '5 3'})
    return style.element('line', x1=start[0], y1=start[1], x2=end[0], y2=end[1], **look)


def _places(count, first, left, right, top, row):
    """Where each of `count` words is: the premise's below each other on the left, the hypothesis' right."""
    return [(right, top + row * (i - first)) if i >= first else (left, top + row * i) for i in range(count)]


def _large_head(lines, words, first):
    places, parts = _places(len(words), first, _LEFT, _RIGHT, 38, _ROW), [style.element('style', _RULES)]
    columns = (_LEFT - 6, 'end', 0, 'premise'), (_RIGHT + 6, 'start', _RIGHT, 'hypothesis')
    for x, anchor, _, name in columns:
        parts.append(style.element('text', name, x=x, y=14, font_size=13, text_anchor=anchor))
    # Each line belongs to two words: what is drawn with the first is there again, unseen, for the second.
    for place, word in enumerate(words):
        (x, anchor, edge, _), y = columns[place >= first], places[place][1]
        group = [style.element('rect', x=edge, y=y - 12, width=_LEFT, height=_ROW, fill='white')]
        unseen, mine = {'display': 'none'} if place >= first else {}, []
        for weight, i, j in lines:
            if place in (i, j):
                look = {'stroke_width': f'{1 + 5 * weight:.1f}', **unseen}
                look['stroke_opacity'] = f'{min(1, 0.3 + weight):.2f}'
                group.append(_line(i, j, places[i], places[j], **look))
            if place == i:
                mine.append(f'{words[j]} {weight:.2f}')
        shown, look = style.shortened(word, 16), {'font_size': 15, 'text_anchor': anchor}
        group.append(style.element('text', shown, x=x, y=y + 5, **look))
        name = f'{word} looks at {", ".join(mine) or "no word of the other sentence"}'
        parts.append(style.element('g', *group, tabindex=0, role='img', aria_label=name))
    wide, high = _LEFT + _RIGHT, _ROW * max(first, len(words) - first) + 30
    size = {'width': wide, 'height': high, 'viewBox': f'0 0 {wide} {high}', 'fill': style.INK}
    look = {'class': 'attention-lines', 'role': 'group', 'style': 'max-width: 100%; height: auto'}
    return style.element('svg', *parts, **look, **size)


def _small_head(matrix, first, place, chosen):
    across = matrix[:first, first:].sum() + matrix[first:, :first].sum()
    name, told = 'layer {}, head {}'.format(*place), f'{100 * across / len(matrix):.0f} %'
    at, lines = _places(len(matrix), first, 8, 82, 4, 5), _lines_across(matrix, first)
    lines = [_line(i, j, at[i], at[j], stroke_opacity=f'{weight:.2f}') for weight, i, j in lines]
    size = {'width': 90, 'height': 5 * max(first, len(matrix) - first) + 4}
    drawn = style.element('svg', *lines, role='img', aria_label=f'{name}: {told} across', **size)
    frame = f'{3 if chosen else 1}px solid {style.BLUE if chosen else style.FAINT}'
    look = f'font-size: 12px; text-align: center; border: {frame}; padding: 0 2px'
    return style.element('div', drawn, style.BREAK, name, style.BREAK, told, style=look)


def _pale(colour, share):
    """A colour between white (0) and itself (1).

    >>> _pale('#0072B2', 0), _pale('#0072B2', 1)
    ('#ffffff', '#0072b2')
    """
    away = 1 - numpy.array(matplotlib.colors.to_rgb(colour))
    return matplotlib.colors.to_hex(1 - min(1.0, share) * away)


def show_saliency(words, values, *, title=None):
    """Which words speak for an answer, which against it: a `Page` with a number under each word.

    `values` `(T,)` of either sign, for T `words`, under `title`. Words for the answer are underlined on blue,
    those against it dashed on orange; the stronger, the bolder. Raises `SettingsError` unless all are finite.

    >>> show_saliency(['no', 'dog', 'runs'], [-0.8, 0.1, 0.3], title='entailment')
    Saliency of 3 words: most for it runs +0.30, most against it no -0.80.
    """
    values = style.numbers('saliencies', values, 'finite', (len(words),))
    largest = max(abs(values).max(), 0.05)  # next to nothing stays pale
    told = [
        f'most {name} it {words[place]} {values[place]:+.2f}'
        for name, place, sign in (('for', values.argmax(), 1), ('against', values.argmin(), -1))
        if sign * round(values[place], 2) > 0
    ]
    content = []
    for word, value in zip(words, values):
        content += [_salient_word(word, value, abs(value) / largest), ' ']
        content += [style.BREAK] * (word == '<sep>')
    alt = f'Saliency of {len(words)} words: {", ".join(told) or "all are 0"}.'
    key = style.element('p', 'solid line: speaks for it; dashed: against it', style='font-size: 13px')
    return style.Page(alt, title, style.element('div', *content), key)


def _salient_word(word, value, strength):
    told, near = f'{word}: {value:+.4f}', round(value, 2) + 0.0  # 0.00 has no minus
    ground, line, kind = style.SKY, style.BLUE, 'solid'
    if near < 0:
        ground, line, kind = style.ORANGE, style.VERMILION, 'dashed'
    look = (
        'display: inline-block; text-align: center; margin: 2px; padding: 0 5px; '
        f'background: {_pale(ground, 0.7 * strength)}; font-weight: {400 + 100 * round(4 * strength)}; '
        f'border-bottom: {1 + round(3 * strength)}px {kind} {line if strength >= 0.05 else style.FAINT}'
    )
    number = style.element('span', f'{near:+.2f}', style='font-size: 12px; font-weight: 400')
    return style.element('span', style.shortened(word), style.BREAK, number, title=told, style=look)


@style.applied()
def plot_points(points, kinds, labels, *, title=None, axes_names=('first direction', 'second direction')):
    """Points of the plane, each label with a colour and a shape of its own; large marks are the means.

    `points` `(n, 2)`, `kinds` `(n,)` are indices into `labels`; `axes_names` and `title` are written to it.
    Raises `SettingsError` if they do not match.

    >>> plot_points([[0, 0], [2, 0], [1, 5]], [0, 0, 1], ['yes', 'no']).alt
    '3 points of the plane; means: yes (1.0, 0.0), no (1.0, 5.0).'
    """
    kinds = style.numbers('kinds', kinds, 'not below 0', (None,))
    points = style.numbers('points', points, 'finite', (len(kinds), 2))
    if not numpy.isin(kinds, range(len(labels))).all():
        found = sorted(set(kinds.tolist()))[:5]
        raise SettingsError('kinds without a label', None, found, f'integers from 0 to {len(labels) - 1}')
    picture = style.new_picture(7.6, 5.5 + 0.4 * bool(title), title)
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
