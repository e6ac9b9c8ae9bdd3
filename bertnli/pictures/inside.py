"""Figures of a network's inside: attention, saliency, points of the plane."""

import html
import math

import numpy

from ..errors import SettingsError
from . import style


@style.applied()
def plot_attention(weights, words, *, head=None, rows=None, title=None):
    """Attention weights: a matrix for each head, a row for each token that looks, dark where it looks.

    `weights` `(H, K, T)` or, of one head, `(K, T)`, in [0, 1], for T `words`; `rows` are the K that look
    (None: the first K words); `head` draws one only; `title` stands above. Raises `SettingsError` if the
    shapes do not match.

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


def _draw_attention(weights, heads, words, rows, title):
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
_RULES = """<style>
.attention-lines g { cursor: pointer; outline: none } .attention-lines line { pointer-events: none }
.attention-lines g:focus rect { stroke: #0072B2; stroke-width: 2 }
.attention-lines:has(g:hover, g:focus) line { display: none }
.attention-lines g:hover line, .attention-lines g:focus line { display: inline }
.attention-lines g:hover text, .attention-lines g:focus text { font-weight: bold }
</style>"""
_ROW, _LEFT, _RIGHT, _FAINTEST = 23, 150, 370, 0.05  # pixels: a word's height, where the lines begin and end


def show_attention_lines(weights, words, *, layer=0, head=0, title=None):
    """Attention between the sentences of a pair as lines from word to word, one head large, all beside it.

    `weights` `(L, H, T, T)` and `words` `(T,)` are what `attention` returns; `layer` and `head` choose the
    large one. Solid lines: the word of the premise looks; dashed: that of the hypothesis. The thicker, the
    more; lines below 0.05 are left out. A word under the mouse or with the focus (Tab) is singled out.
    Returns a `Page` under `title`. Raises `SettingsError` for other shapes, words without `<sep>`, and an
    unknown head.

    >>> weights = [[[[0.2, 0.1, 0.6, 0.1]] * 4]]
    >>> show_attention_lines(weights, ['dog', '<sep>', 'cat', '<sep>'])
    Attention between 2 and 2 tokens, layer 0, head 0: dog to cat 0.60, <sep> to cat 0.60, cat to dog 0.20.
    """
    words = list(words)
    weights = style.numbers('attention weights', weights, 'from 0 to 1', (None, None, len(words), len(words)))
    for name, value, count in zip(('layer', 'head'), (layer, head), weights.shape):
        if value not in range(count):
            raise SettingsError(f'no such {name}', found=value, allowed=f'0 to {count - 1}')
    if '<sep>' not in words[:-1]:
        raise SettingsError('not the tokens of a pair', found=words, allowed='<cls> … <sep> … <sep>')
    first = words.index('<sep>') + 1
    lines = _lines_across(weights[layer, head], first)
    told = ', '.join(f'{words[i]} to {words[j]} {weight:.2f}' for weight, i, j in lines[:3]) or 'no line'
    alt = f'Attention between {first} and {len(words) - first} tokens, layer {layer}, head {head}: {told}.'
    large = style.element('div', _large_head(lines, words, first))
    places = numpy.ndindex(*weights.shape[:2])
    small = [_small_head(weights[place], first, place, place == (layer, head)) for place in places]
    small = style.element('div', *small, style='display: flex; flex-wrap: wrap; gap: 6px; max-width: 420px')
    look = 'display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start'
    key = 'solid: the word of the premise looks; dashed: that of the hypothesis. Per cent: how much of a '
    key = style.element('p', key + "head's attention goes to the other sentence.", style='font-size: 13px')
    return style.Page(alt, title, style.element('div', large, small, style=look), key)


def _lines_across(matrix, first):
    """(weight, from, to) of all that look at the other sentence, the heaviest first."""
    side = numpy.arange(len(matrix)) >= first
    places = numpy.argwhere((side[:, None] != side) & (matrix >= _FAINTEST)).tolist()
    return sorted(((matrix[i, j], i, j) for i, j in places), key=lambda line: -line[0])


def _line(i, j, start, end, look):
    color = f'stroke="{style.BLUE}"' if i < j else f'stroke="{style.VERMILION}" stroke-dasharray="5 3"'
    return f'<line x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}" {color} {look}/>'


def _large_head(lines, words, first):
    places = [(_LEFT, _ROW * i + 38) for i in range(first)]
    places += [(_RIGHT, _ROW * i + 38) for i in range(len(words) - first)]
    parts, high = [_RULES], _ROW * max(first, len(words) - first) + 30
    columns = (_LEFT - 6, 'end', 0, 'premise'), (_RIGHT + 6, 'start', _RIGHT, 'hypothesis')
    for x, anchor, _, name in columns:
        parts.append(f'<text x="{x}" y="14" font-size="13" text-anchor="{anchor}">{name}</text>')
    # Each line belongs to two words: what is drawn with the first is there again, unseen, for the second.
    for place, word in enumerate(words):
        (x, anchor, edge, _), y = columns[place >= first], places[place][1]
        mine = [line for line in lines if place in line[1:]]
        told = ', '.join(f'{words[j]} {weight:.2f}' for weight, i, j in mine if i == place)
        name = html.escape(f'{word} looks at {told or "no word of the other sentence"}')
        parts.append(f'<g tabindex="0" role="img" aria-label="{name}">')
        parts.append(f'<rect x="{edge}" y="{y - 12}" width="{_LEFT}" height="{_ROW}" fill="white"/>')
        for weight, i, j in mine:
            look = f'stroke-width="{1 + 5 * weight:.1f}" stroke-opacity="{min(1, 0.3 + weight):.2f}"'
            look += ' display="none"' * (place >= first)
            parts.append(_line(i, j, places[i], places[j], look))
        word = html.escape(style.shortened(word, 16))
        parts.append(f'<text x="{x}" y="{y + 5}" font-size="15" text-anchor="{anchor}">{word}</text></g>')
    wide, look = _LEFT + _RIGHT, 'class="attention-lines" role="group" style="max-width: 100%; height: auto"'
    size = f'width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" fill="{style.INK}"'
    return style.Html(f'<svg {look} {size}>{"".join(parts)}</svg>')


def _small_head(matrix, first, place, chosen):
    across = matrix[:first, first:].sum() + matrix[first:, :first].sum()
    name, told = 'layer {}, head {}'.format(*place), f'{100 * across / len(matrix):.0f} %'
    high = 5 * max(first, len(matrix) - first) + 4
    parts = [f'<svg width="90" height="{high}" role="img" aria-label="{name}: {told} across">']
    for weight, i, j in _lines_across(matrix, first):
        ends = [(82, 4 + 5 * (one - first)) if one >= first else (8, 4 + 5 * one) for one in (i, j)]
        parts.append(_line(i, j, *ends, f'stroke-opacity="{weight:.2f}"'))
    frame = f'{3 if chosen else 1}px solid {style.BLUE if chosen else style.FAINT}'
    look = f'font-size: 12px; text-align: center; border: {frame}; padding: 0 2px'
    return style.element(
        'div', style.Html(''.join(parts) + '</svg><br>'), name, style.BREAK, told, style=look
    )


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
    it dashed on orange; the stronger, the bolder; `title` stands above. Raises `SettingsError` unless all
    are finite.

    >>> show_saliency(['no', 'dog', 'runs'], [-0.8, 0.1, 0.3], title='entailment')
    Saliency of 3 words: most for it runs +0.30, most against it no -0.80.
    """
    values = style.numbers('saliencies', values, 'finite', (len(words),))
    largest = max(abs(values).max(), 0.05)  # next to nothing stays pale
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
    return style.element(
        'span',
        style.shortened(word),
        style.BREAK,
        number,
        title=f'{word}: {value:+.4f}',
        style=look,
    )


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
        found, allowed = sorted(set(kinds.tolist()))[:5], f'integers from 0 to {len(labels) - 1}'
        raise SettingsError('kinds without a label', found=found, allowed=allowed)
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
