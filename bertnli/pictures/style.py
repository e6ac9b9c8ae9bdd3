"""What all pictures share: the lecture-hall style, figures and HTML pages with alt text, checks, saving.

Plain numbers in, a `Picture` or a `Page` out, with `title` above; no pyplot, and no difference is shown by
colour alone.
Legend: N classes, H heads, T tokens, K positions that look (T or fewer), n points.
"""

import base64
import html
import importlib
import inspect
import io
import textwrap
from pathlib import Path

import matplotlib.style
import numpy
import PIL.Image
import PIL.PngImagePlugin
from matplotlib.figure import Figure

from ..errors import RuntimeMismatch, SettingsError
from ..machine.disk import write_bytes

# Okabe and Ito 2008, 'Color universal design': distinct with every kind of colour vision.
BLUE, VERMILION, GREEN, ORANGE, SKY = '#0072B2', '#D55E00', '#009E73', '#E69F00', '#56B4E9'
_SHEET = Path(__file__).with_name('lecture.mplstyle')
_STYLE = matplotlib.rc_params_from_file(_SHEET, use_default_template=False)
INK, GREY, FAINT = (_STYLE[name] for name in ('text.color', 'axes.edgecolor', 'grid.color'))
SCREEN = round(_STYLE['figure.dpi'] / 2)  # pixels of a page for an inch: words of 12 points have 13
_KINDS = {
    'any': numpy.isreal,
    'finite': numpy.isfinite,
    'above 0': lambda array: (array > 0) & numpy.isfinite(array),
    'not below 0': lambda array: (array >= 0) & numpy.isfinite(array),
    'from 0 to 1': lambda array: (array >= 0) & (array <= 1 + 1e-5),  # sums of float32 may exceed 1
    '0 or 1': lambda array: (array == 0) | (array == 1),
}


def applied():
    """Our style on matplotlib's defaults, whatever the notebook has set: a context and a decorator."""
    return matplotlib.style.context(['default', _STYLE])


class Picture(Figure):
    """A matplotlib figure with a one-sentence description, `alt`, which Jupyter displays with it."""

    alt = ''

    def png(self):
        """The bytes of a PNG file, with `alt` as its description."""
        drawn, file, described = io.BytesIO(), io.BytesIO(), PIL.PngImagePlugin.PngInfo()
        described.add_text('Description', self.alt)
        with applied():
            self.savefig(drawn, format='png')
        # A palette needs a third of the bytes and looks the same.
        with PIL.Image.open(drawn) as image:
            image.convert('RGB').quantize(256).save(file, 'png', pnginfo=described, optimize=True)
        return file.getvalue()

    def bundle(self, **_):
        """What Jupyter displays: the figure by MIME type, and metadata."""
        content = self.png()
        size = dict(zip(('width', 'height'), (round(SCREEN * inches) for inches in self.get_size_inches())))
        # subtle: notebooks and their exports ignore a PNG's description, but all of them prefer HTML to PNG;
        # the PNG is for programs that cannot display HTML.
        page = image(self.alt, 'png', content, size['width'])
        content = base64.b64encode(content).decode('ascii')
        return {'image/png': content, 'text/html': page}, {'image/png': {'alt': self.alt, **size}}

    _repr_mimebundle_ = bundle


class Html(str):
    """Text that is HTML already."""


BREAK = Html('<br>')


def element(tag, *content, **attributes):
    """One element of HTML or SVG; strings are escaped, elements are not, and a `_` in a name is a hyphen.

    >>> element('p', 'a < b ', element('b', 'c'), title='"c"', tab_index=0)
    '<p title="&quot;c&quot;" tab-index="0">a &lt; b <b>c</b></p>'
    """
    opening = [f' {name.replace("_", "-")}="{html.escape(str(attributes[name]))}"' for name in attributes]
    inner = ''.join(part if isinstance(part, Html) else html.escape(str(part)) for part in content)
    return Html(f'<{tag}{"".join(opening)}>' + (f'{inner}</{tag}>' if tag != 'img' else ''))


def image(alt, kind, content, width):
    """An image, `width` pixels wide, that carries its own content."""
    source = f'data:image/{kind};base64,{base64.b64encode(content).decode("ascii")}'
    return element('img', alt=alt, width=f'{width:.0f}', style='max-width: 100%', src=source)


def ipywidgets():
    """The package of that name; raises `RuntimeMismatch` without it."""
    try:
        return importlib.import_module('ipywidgets')  # lazy: only what is played with needs it
    except ImportError as error:
        remedy = "pip install 'ipywidgets>=8', then restart the notebook's kernel"
        raise RuntimeMismatch('ipywidgets is missing', found=str(error), remedy=remedy) from error


class Interactive:
    """Widgets in a `box`, to be played with; `still`, HTML, is shown where no kernel runs, as on paper."""

    def _repr_mimebundle_(self, **options):
        both = {'text/plain': repr(self), 'text/html': self.still}
        return {**self.box._repr_mimebundle_(**options), **both}


def download(text, name, kind):
    """A link that saves `text` as a file; it works on a page without a kernel, too."""
    content = base64.b64encode(text.encode()).decode('ascii')
    look = {'style': 'text-decoration: underline', 'href': f'data:{kind};base64,{content}'}
    return element('a', f'Save as {name}', download=name, **look)


class Page:
    """HTML elements under a `title`, with a one-sentence description, `alt`, which is also the plain text."""

    def __init__(self, alt, title, *content):
        self.alt = alt
        if title:
            content = element('p', element('strong', title), style='margin: 0 0 0.4em'), *content
        # Ink and paper are set too, for dark notebooks.
        look = f'color: {INK}; background: white; padding: 0.6em; font-size: 16px; line-height: 1.4'
        self.html = element('div', *content, role='group', **{'aria-label': alt}, style=look)

    def _repr_html_(self):
        return self.html

    def __repr__(self):
        return self.alt


def shortened(word, most=24):
    """A word as it can be shown: never longer than this.

    >>> shortened('a' * 3000, 5)
    'aaaa…'
    """
    return word if len(word) <= most else word[: most - 1] + '…'


def new_picture(width, height, title=None):
    """An empty `Picture` of this size in inches; a long title is wrapped."""
    # subtle: matplotlib cuts a title that is too wide; seven bold letters fill an inch.
    lines = [line for part in (title or '').split('\n') for line in textwrap.wrap(part, int(7 * width))]
    picture = Picture(figsize=(width, height + 0.3 * max(0, len(lines) - 1)), layout='constrained')
    picture.get_layout_engine().set(w_pad=0.1, h_pad=0.1, hspace=0.04, wspace=0.04)
    if lines:
        picture.suptitle('\n'.join(lines))
    return picture


def save(figure, path):
    """Write a `Picture` to `path`, a `.png` file, whole or not at all; `alt` becomes its description.

    Missing folders are created. Raises `SettingsError` for another extension.
    """
    if not str(path).endswith('.png'):
        raise SettingsError('pictures are saved as PNG', None, str(path), 'a name ending in .png')
    write_bytes(path, figure.png())


def fill(index):
    return (SKY, ORANGE, GREEN)[index % 3]


def bars(index):
    # The hatching tells labels apart without colour.
    return {'color': fill(index), 'hatch': (None, '///', '...')[index % 3], 'edgecolor': INK}


def draw_matrix(axes, values, highest):
    """Draw a matrix as squares between white lines, first row on top; returns the squares."""
    edges = [numpy.arange(size + 1) - 0.5 for size in values.shape[::-1]]
    look = {'cmap': 'Blues', 'vmin': 0, 'vmax': highest, 'edgecolor': 'white', 'linewidth': 2}
    squares = axes.pcolormesh(*edges, values, **look)
    axes.invert_yaxis()
    axes.set_aspect('equal')
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return squares


def numbers(name, values, kind, *shapes):
    """`values` as an array of this kind and one of these shapes (None: any size), or `SettingsError`.

    >>> numbers('shares', [[0.5, 1]], 'from 0 to 1', (None, 2), (2,)).shape
    (1, 2)
    """
    try:
        array = numpy.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise SettingsError(f'{name}: not numbers', found=str(error)) from error
    same = [shape for shape in shapes if len(shape) == array.ndim]
    fits = any(all(size in (None, own) for size, own in zip(shape, array.shape)) for shape in same)
    if not fits or not array.size or not _KINDS[kind](array).all():
        found = f'shape {array.shape}' + (f', from {array.min():g} to {array.max():g}' if array.size else '')
        allowed = f'numbers ({kind}) of shape {" or ".join(map(str, shapes))}'.replace('None', 'any')
        raise SettingsError(f'invalid {name}', None, found, allowed)
    return array


def show_source(*things):
    """The installed Python source of functions, methods and classes, highlighted in a notebook.

    Several are shown one below the other. Raises `SettingsError` if there is no Python source.

    >>> show_source(Page.__repr__)
    def __repr__(self):
        return self.alt
    """
    try:
        sources = [textwrap.dedent(inspect.getsource(inspect.unwrap(thing))).rstrip() for thing in things]
    except (TypeError, OSError) as error:
        allowed = 'functions, methods and classes from Python files'
        raise SettingsError('no Python source found', None, str(error), allowed) from error
    return _Source('\n\n\n'.join(sources))


class _Source(str):
    """Python source; a notebook displays it highlighted."""

    __repr__ = str.__str__

    def _repr_html_(self):
        from pygments import formatters, highlight, lexers  # lazy: notebooks have it loaded

        # subtle: JupyterLab has no style sheet for this, so every word carries its style, and the whole its
        # ink and paper, for dark notebooks.
        look = f'color: {INK}; padding: 0.6em; overflow-x: auto'
        formatter = formatters.HtmlFormatter(noclasses=True, prestyles=look)
        return highlight(self, lexers.PythonLexer(), formatter)
