"""Plain numbers in, a picture out: curves, confusion, lengths, labels, attention, words, speed, reliability.

Nothing here knows a net, a file of data or MXNet, and nothing touches pyplot's global state: each function
returns a `Picture`, a matplotlib figure that Jupyter shows as a cell's last expression and that carries one
sentence about itself (`picture.alt`) for those who cannot see it. What is made of words, and what must appear
at once, is a `Page` of HTML instead (`show_…`). One style for the lecture hall: large type, the colours of
Okabe and Ito, and never a difference told by colour alone.

Legend: N classes, H heads, T tokens, K positions that look (T of them, or fewer), n points.
"""

import base64
import contextlib
import html
import importlib
import inspect
import io
import os
import tempfile
import textwrap

import matplotlib.style
import numpy
import PIL.Image
import PIL.PngImagePlugin
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import SettingsError

# Okabe and Ito 2008, 'Color universal design': told apart with every kind of colour vision.
BLUE, VERMILION, GREEN, ORANGE, SKY = '#0072B2', '#D55E00', '#009E73', '#E69F00', '#56B4E9'
INK, GREY, FAINT = '#222222', '#5F5F5F', '#D9D9D9'
_FILLS, _HATCHES = (SKY, ORANGE, GREEN), ('', '///', '...')
_STYLE = {
    'figure.dpi': 110,
    'figure.facecolor': 'white',
    'font.size': 13,
    'axes.titlesize': 14,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'axes.titlepad': 10,
    'axes.labelsize': 13,
    'axes.labelcolor': INK,
    'axes.edgecolor': GREY,
    'axes.linewidth': 1.0,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.axisbelow': True,
    'grid.color': FAINT,
    'grid.linewidth': 0.8,
    'lines.linewidth': 2.5,
    'lines.markersize': 7,
    'text.color': INK,
    'xtick.color': GREY,
    'ytick.color': GREY,
    'xtick.labelcolor': INK,
    'ytick.labelcolor': INK,
    'xtick.labelsize': 12,
    'ytick.labelsize': 12,
    'hatch.color': INK,
    'figure.titlesize': 15,
    'figure.titleweight': 'bold',
}


class Picture(Figure):
    """A matplotlib figure with one sentence about itself in `alt`; Jupyter shows it, sentence included."""

    alt = ''

    def png(self):
        """The picture as the bytes of a PNG file, with `alt` as its description."""
        drawn, file = io.BytesIO(), io.BytesIO()
        with _style():
            self.savefig(drawn, format='png')
        described = PIL.PngImagePlugin.PngInfo()
        described.add_text('Description', self.alt)
        # A palette makes a third of the bytes, and the eye misses nothing.
        with PIL.Image.open(drawn) as image:
            image.convert('RGB').quantize(256).save(file, 'png', pnginfo=described, optimize=True)
        return file.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        image = base64.b64encode(self.png()).decode('ascii')
        # subtle: notebooks and their exports read no description from a PNG or its metadata, but all of them
        # show HTML before PNG; the PNG stays for what cannot show HTML.
        page = f'<img alt="{html.escape(self.alt)}" src="data:image/png;base64,{image}">'
        return {'image/png': image, 'text/html': page}, {'image/png': {'alt': self.alt}}


class Page:
    """A small piece of HTML with one sentence about itself in `alt`; plain text shows the sentence."""

    def __init__(self, content, alt):
        self.alt = alt
        # Ink and paper are set, too, for notebooks that are dark.
        look = f'color: {INK}; background: white; padding: 0.6em; font-size: 16px; line-height: 1.4'
        self.html = f'<div role="group" aria-label="{html.escape(alt)}" style="{look}">{content}</div>'

    def _repr_html_(self):
        return self.html

    def __repr__(self):
        return self.alt


@contextlib.contextmanager
def _style():
    """Our style on matplotlib's defaults, whatever the notebook has set; afterwards all is as it was."""
    with matplotlib.style.context(['default', _STYLE]):
        yield


def _picture(width, height, title=None):
    # subtle: matplotlib cuts a title that is too wide; seven bold letters fill an inch.
    parts = title.split('\n') if title else []
    lines = [line for part in parts for line in textwrap.wrap(part, int(7 * width))]
    picture = Picture(figsize=(width, height + 0.3 * max(0, len(lines) - 1)), layout='constrained')
    picture.get_layout_engine().set(w_pad=0.1, h_pad=0.1, hspace=0.04, wspace=0.04)
    if lines:
        picture.suptitle('\n'.join(lines))
    return picture


def save(figure, path):
    """Write `figure` to `path`, a `.png` file, whole or not at all; its `alt` becomes the description.

    The folder is made if need be. Raises `SettingsError` for another ending.

    >>> import tempfile
    >>> from bertnli import plot_confusion
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(plot_confusion([[3, 1], [0, 4]], ['yes', 'no']), folder + '/confusion.png')
    ...     os.listdir(folder)
    ['confusion.png']
    """
    path = os.fspath(path)
    if not path.endswith('.png'):
        raise SettingsError('a picture is saved as PNG', found=path, allowed='a name in .png')
    image, folder = figure.png(), os.path.dirname(path) or '.'
    os.makedirs(folder, exist_ok=True)
    # Written beside its place and moved there: a reader never meets half a picture.
    handle, temporary = tempfile.mkstemp(suffix='.part', dir=folder)
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(image)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _frame(axes):
    axes.grid(axis='y')
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.margins(x=0.02)


def _fill(index):
    return _FILLS[index % len(_FILLS)]


def _hatch(index):
    return _HATCHES[index % len(_HATCHES)]


def _heading(title):
    return f'<p style="margin: 0 0 0.4em"><strong>{html.escape(title)}</strong></p>' if title else ''


# --------------------------------------------------------------------------------------------- source


def show_source(*things):
    """The Python source of functions, methods and classes as they are installed, highlighted in a notebook.

    Several are shown one below the other. Raises `SettingsError` for what has no Python source.

    >>> show_source(_fill)
    def _fill(index):
        return _FILLS[index % len(_FILLS)]
    """
    try:
        sources = [textwrap.dedent(inspect.getsource(inspect.unwrap(thing))).rstrip() for thing in things]
    except (TypeError, OSError) as error:
        raise SettingsError(
            'there is no Python source to show',
            found=str(error),
            allowed='functions, methods and classes that were written in Python files',
        ) from error
    return _Source('\n\n\n'.join(sources))


class _Source(str):
    """Python text; a notebook shows it highlighted."""

    __slots__ = ()

    def __repr__(self):
        return str(self)

    def _repr_html_(self):
        pygments = importlib.import_module('pygments')  # lazy: notebooks have it, and only they ask
        lexer = importlib.import_module('pygments.lexers.python').PythonLexer()  # lazy: as above
        formatters = importlib.import_module('pygments.formatters')  # lazy: as above
        # subtle: JupyterLab has no style sheet for highlighted outputs, so each word carries its own style,
        # and ink and paper are set too, for notebooks that are dark.
        look = f'color: {INK}; padding: 0.6em; overflow-x: auto'
        return pygments.highlight(self, lexer, formatters.HtmlFormatter(noclasses=True, prestyles=look))


def _array(name, values, *ndims):
    """`values` as an array of numbers, not empty, with one of the given numbers of axes."""
    try:
        array = numpy.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise SettingsError(f'{name}: not numbers', found=str(error), allowed='numbers') from error
    if array.ndim not in ndims or not array.size:
        raise SettingsError(
            f'{name}: the wrong shape',
            found=array.shape,
            allowed=f'{" or ".join(map(str, ndims))} axes, none of them empty',
        )
    return array
