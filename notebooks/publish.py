"""Publish the notebooks: `python notebooks/publish.py book FOLDER`, `slides FOLDER` or `badges OWNER/NAME`.

The pages work offline: pictures and styles are embedded, formulas are MathML, links lead from page to page.
Slides include reveal.js from the Python package sphinx-revealjs. Both need `pip install '.[pages]'`. Nothing
is executed here: the committed outputs are shown.

Badges open a notebook in Google Colab. As long as the repository is not public, readers upload the notebook
there; `badges OWNER/NAME` writes the address of a GitHub repository into all badges, and can be repeated.
"""

import ast
import functools
import html
import importlib.util
import re
import sys
from pathlib import Path
from string import Template

import nbformat
from latex2mathml.converter import convert as mathml
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
CHAPTER = '1-natural-language-inference-bert'
START = '0-start-here'
ROOM, WIDE = 18, 90  # lines of code that fit on a slide, and their letters
PICTURE = 14  # lines that a picture takes
OUTPUT = 'only-its-output'  # the tag of a cell whose code stands elsewhere
TITLE, DRAWN = r'^#+ .+', r'^!\[.+\)$'
COLAB = 'https://colab.research.google.com/'
BADGE = re.compile(rf'(\[!\[Open in Colab\]\({re.escape(COLAB)}assets/colab-badge\.svg\)\])\([^)]*\)')
INSTALL = re.compile(r'(%pip install --quiet) [^"\n]+')

STYLE = """
:root { --ink: #222; --paper: #fff; --soft: #f5f6f8; --line: #ddd; --link: #0b5cad; color-scheme: light dark }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e4; --paper: #15161a; --soft: #0d1117; --line: #444; --link: #8ab8ee }
}
html { color: var(--ink); background: var(--paper); font: 18px/1.55 Georgia, 'DejaVu Serif', serif }
body { max-width: 53rem; margin: 0 auto; padding: 1rem 1.2rem 4rem }
nav, footer { font: 0.85rem/1.9 system-ui, sans-serif } nav a, footer a { margin-right: 1em }
nav.inside { border-left: 3px solid var(--line); padding-left: 1em } nav.inside a { display: block }
h1, h2, h3 { font-family: system-ui, sans-serif; line-height: 1.25; margin: 2em 0 0.6em }
h1 { margin-top: 0.8em } a { color: var(--link) } a.anchor-link { display: none }
p, li { max-width: 44rem } summary { cursor: pointer; color: var(--link) }
details { margin: 0.3em 0; padding-left: 1em; border-left: 3px solid var(--line) }
pre, code { font: 0.75rem/1.5 'DejaVu Sans Mono', Menlo, Consolas, monospace }
pre { padding: 0.6em 0.8em; margin: 0.5em 0; overflow-x: auto; white-space: pre }
.input pre, .text_cell pre { background: var(--soft); border-left: 3px solid var(--link) }
.output_text pre { border-left: 3px solid var(--line) }
/* Outputs have colours of their own, for white paper. */
.output_html { margin: 0.8em 0; overflow-x: auto; color: #222; background: #fff; color-scheme: light }
.output_html pre { background: #fff } .output_html a { color: #0b5cad }
img { max-width: 100%; height: auto } table { border-collapse: collapse; font-size: 0.9rem }
th, td { padding: 0.25em 0.7em; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
math[display=block] { margin: 0.8em 0 }
/* Wide pictures stay legible on a phone: they scroll. */
.figure { overflow-x: auto } @media (max-width: 600px) { .output_html img, .figure img { max-width: none } }
@media print {
  html { font-size: 12px } nav, footer { display: none } body { max-width: none; padding: 0 }
  pre { white-space: pre-wrap; overflow-wrap: anywhere } h1, h2, h3 { break-after: avoid }
  img, .input, .output_text, tr { break-inside: avoid } .output_html { overflow: visible }
}
"""
PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<nav aria-label="lessons">$links</nav>
$inside<main>
$body
</main>
<footer>$links</footer>
</body>
</html>
""")

SLIDE_STYLE = """
body > header { position: absolute; clip-path: inset(50%) } /* for screen readers, on every slide */
main { height: 100% }
.reveal { font-size: 32px } .reveal .slides { text-align: left }
.reveal .slides section { height: 100%; box-sizing: border-box; padding: 10px 20px }
.reveal h1 { font-size: 1.6em; text-transform: none } .reveal h2 { font-size: 1.4em; text-transform: none }
.reveal h3 { font-size: 1.2em; text-transform: none } .reveal a.anchor-link { display: none }
.reveal a, .reveal summary { color: #0b5cad; text-decoration: underline }
.reveal pre { width: 100%; box-sizing: border-box; font-size: 20px; line-height: 1.3; box-shadow: none }
.reveal pre { margin: 0.4em 0; padding: 0.5em }
.reveal pre, .reveal pre code { white-space: pre-wrap; overflow-wrap: anywhere }
.reveal .input pre { background: #f5f6f8; border-left: 3px solid #0b5cad }
.reveal img { width: auto; height: auto; max-width: 100%; max-height: 560px; margin: 0.3em 0 }
.reveal .text_cell img { width: 100% } .reveal table { margin-left: 0 }
.reveal .output { font-size: 20px } .reveal .output table { font-size: 20px; line-height: 1.2; margin: 0 }
.reveal .output td, .reveal .output th { padding: 0 0.7em }
.reveal ul, .reveal ol { display: block } .reveal .slide-number { background: #444 }
.reveal .r-stack > * { width: 100%; margin: 0 auto 0 0 }
"""
# A picture below code takes the height that is left.
SLIDE_FIT = """
function fit(slide) {
    const over = () => slide.scrollHeight - slide.clientHeight;
    for (const image of slide.querySelectorAll('img'))
        if (over() > 0)
            image.style.maxHeight = image.offsetHeight - over() + 'px';
}
"""
SLIDES = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header><h1>$title</h1></header>
<main><div class="reveal"><div class="slides">
$body
</div></div></main>
<script>$script</script>
<script>$fit
Reveal.on('ready', event => fit(event.currentSlide));
Reveal.on('ready', () => document.querySelector('.controls').setAttribute('role', 'presentation'));
Reveal.on('slidechanged', event => fit(event.currentSlide));
Reveal.initialize({hash: true, slideNumber: 'c/t', width: 1200, height: 750, margin: 0.02, center: false,
    transition: 'none', viewDistance: 1, mobileViewDistance: 1,  // the keyboard reaches no other slide
    plugins: [RevealNotes]});</script>
</body>
</html>
""")


def reading_order():
    """(name, description) of each lesson, from the table in the README."""
    readme = (HERE.parent / 'README.md').read_text(encoding='utf-8')
    return re.findall(r'\| \[`[\w-]+`\]\(notebooks/([\w-]+)\.ipynb\) \| (.+?) \|', readme)


def read(path):
    """A notebook without its badge, which an offline page could not load."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = BADGE.sub('', notebook.cells[0].source).lstrip()
    return notebook


def with_formulas(prose):
    """Markdown with `$…$` and `$$…$$` replaced by MathML, except in code."""

    def formula(match):
        code, shown, inline = match.groups()
        return code or mathml(shown or inline, display='block' if shown else 'inline')

    return re.sub(r'(```.*?```|`[^`]*`)|\$\$(.+?)\$\$|\$([^$\n]+)\$', formula, prose, flags=re.DOTALL)


@functools.lru_cache
def exporter():
    config = Config()
    config.HTMLExporter.template_name = 'basic'
    config.TemplateExporter.exclude_input_prompt = config.TemplateExporter.exclude_output_prompt = True
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_input_tags = {OUTPUT}
    # Widgets need a kernel; their HTML does not, and describes its pictures.
    config.NbConvertBase.display_data_priority = ['text/html', 'image/png', 'text/plain']
    return HTMLExporter(config=config)


def body_of(cells):
    """The HTML of these cells, without the page around it."""
    cells = [nbformat.from_dict(cell) for cell in cells]
    for cell in cells:
        if cell.cell_type == 'markdown':
            cell.source = with_formulas(cell.source)
    body, _ = exporter().from_notebook_node(nbformat.v4.new_notebook(cells=cells))
    # A cell can be on a slide twice, as code and as output.
    body = re.sub(r' id="cell-id=[^"]*"', '', body)
    # What scrolls can be reached with the keyboard.
    body = re.sub(r'<pre(?=[ >])', '<pre tabindex="0"', body)
    body = re.sub(r'<p>(?=<img )', '<p tabindex="0" class="figure">', body)
    body = re.sub(r'<div class="(output_html[^"]*)"', r'<div tabindex="0" class="\1"', body)
    return re.sub(r'href="(?!https?:)([^"#:]+)\.ipynb', r'href="\1.html', body)


def code_style(dark=False):
    """Colours of code, each with a contrast of 4.5 or more to its background."""
    light = HtmlFormatter(style='xcode').get_style_defs('.input .highlight')
    night = HtmlFormatter(style='github-dark').get_style_defs('.input .highlight')
    return f'{light}\n@media screen and (prefers-color-scheme: dark) {{ {night} }}' if dark else light


def contents(body):
    """Links to the sections of a page."""
    found = re.findall(r'<h2 id="([^"]+)">(.*?)<a class="anchor-link"', body)
    links = ' '.join(f'<a href="#{place}">{title}</a>' for place, title in found)
    return f'<nav class="inside" aria-label="sections">{links}</nav>\n' if found else ''


def title_of(notebook):
    return re.search(r'^# (.+)', notebook.cells[0].source, flags=re.MULTILINE).group(1)


def book(folder):
    """All notebooks and their solutions as linked pages, beginning with `index.html`."""
    lessons = reading_order()
    names = [name for name, _ in lessons]
    style, entries = STYLE + code_style(dark=True), []
    (folder / 'solutions').mkdir(parents=True, exist_ok=True)
    for place, (name, about) in enumerate(lessons):
        notebook = read(HERE / f'{name}.ipynb')
        title = title_of(notebook)
        near = [
            ('index', 'Contents'),
            *[(other, f'← {other}') for other in names[max(place - 1, 0) : place]],
            *[(other, f'{other} →') for other in names[place + 1 : place + 2]],
            (f'solutions/{name}', 'Solutions'),
        ]
        write(folder / f'{name}.html', title, style, near, body_of(notebook.cells))
        solved = read(HERE / 'solutions' / f'{name}.ipynb')
        back = [('../index', 'Contents'), (f'../{name}', f'← {name}')]
        write(folder / 'solutions' / f'{name}.html', title_of(solved), style, back, body_of(solved.cells))
        entries.append(f'<li><p><a href="{name}.html">{html.escape(title)}</a><br>{html.escape(about)}</p>')
    title = 'Natural language inference: fine-tuning BERT, in notebooks'
    write(folder / 'index.html', title, style, [], f'<h1>{title}</h1><ol>{"".join(entries)}</ol>')
    return folder / 'index.html'


def write(path, title, style, near, body):
    links = ' '.join(f'<a href="{target}.html">{text}</a>' for target, text in near)
    inside = contents(body)
    page = PAGE.substitute(title=html.escape(title), style=style, links=links, inside=inside, body=body)
    path.write_text(page, encoding='utf-8')


def slides(folder):
    """The chapter as slides on one page: sections from left to right, their steps downwards."""
    notebook = read(HERE / f'{CHAPTER}.ipynb')
    reveal = Path(importlib.util.find_spec('sphinx_revealjs').submodule_search_locations[0])
    reveal = reveal / '_static' / 'revealjs'
    parts = ['dist/reveal.css', 'dist/theme/white.css']
    # The theme would download its fonts; the system's are good enough.
    looks = [re.sub(r'@import[^;]+;', '', (reveal / part).read_text(encoding='utf-8')) for part in parts]
    scripts = ['dist/reveal.js', 'plugin/notes/notes.js']
    page = SLIDES.substitute(
        title=html.escape(title_of(notebook)),
        style='\n'.join([*looks, code_style(), SLIDE_STYLE]),
        body='\n'.join(
            '<section>' + '\n'.join(slide(step) for step in section) + '</section>'
            for section in sections(notebook.cells)
        ),
        script='\n'.join((reveal / part).read_text(encoding='utf-8') for part in scripts),
        fit=SLIDE_FIT,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'index.html').write_text(page, encoding='utf-8')
    return folder / 'index.html'


def sections(cells):
    """Cells grouped into slides, slides into sections: a title begins a section, `metadata.slide` a slide."""
    found = []
    for cell in cells:
        if cell.cell_type == 'markdown' and re.match('##? ', cell.source):
            found.append([])
        if 'slide' in cell.metadata:
            found[-1].append([])
        found[-1][-1].append(cell)
    return found


def slide(cells):
    """A slide of these cells: its title, its thought, then code; all prose is left to the speaker.

    `metadata.slide` of the first cell has `minutes`, and `text`, the thought; without it the prose is shown.
    """
    about, thought = cells[0].metadata.slide, nbformat.from_dict(cells[0])
    if 'text' in about:
        titles, pictures = (re.findall(kind, thought.source, flags=re.MULTILINE) for kind in (TITLE, DRAWN))
        thought.source = '\n\n'.join([*titles, about['text'], *pictures])
    code = ''.join(code_on_slide(cell) for cell in cells if cell.cell_type == 'code')
    seconds = round(60 * about['minutes'])
    notes = f'<aside class="notes">{notes_of(cells, about["minutes"])}</aside>'
    return f'<section data-timing="{seconds}">{body_of([thought])}{code}{notes}</section>'


def notes_of(cells, minutes):
    """What the speaker says: the minutes, and the prose with its answers."""
    prose = [cell.source for cell in cells if cell.cell_type == 'markdown']
    prose = [re.sub(f'{TITLE}|{DRAWN}', '', source, flags=re.MULTILINE) for source in prose]
    said = nbformat.v4.new_markdown_cell('\n\n'.join([f'**Minutes: {minutes:g}**', *prose]))
    return body_of([said]).replace('<details>', '<details open>')


def code_on_slide(cell):
    """Code, then what it shows: below it, or in its place where both together are too tall."""
    code, output = nbformat.from_dict(cell), nbformat.from_dict(cell)
    code.outputs, output.metadata = [], {'tags': [OUTPUT]}
    code, output = body_of([code]), body_of([output])
    if not cell.outputs:
        return code
    shown = '\n'.join(one.get('text') or one.data['text/plain'] for one in cell.outputs)
    if 'show_source(' in cell.source:
        pages = [nbformat.v4.new_code_cell(page) for page in pages_of(shown)]
        return code + in_turn(['', *(body_of([page]) for page in pages)])
    drawn = any('image/png' in one.get('data', {}) for one in cell.outputs)
    if height(cell.source.splitlines()) + (PICTURE if drawn else height(shown.splitlines())) > ROOM:
        return in_turn([code, output])
    return f'{code}<div class="fragment">{output}</div>'


def height(lines):
    """How many lines these are on a slide, where long ones are wrapped."""
    return sum(1 + len(line) // WIDE for line in lines)


def pages_of(source):
    """Code without its docstrings, in pages that fit on a slide; most begin with a comment or a function."""
    lines, pages = without_docstrings(source), [[]]
    for place, line in enumerate(lines):
        left = ROOM - height(pages[-1])
        fitting = height(lines[place:]) <= left
        if left < 1 or (not fitting and left <= ROOM // 2 and re.match(r'\s*(#|def |@)', line)):
            pages.append([])
        pages[-1].append(line)
    return ['\n'.join(page).strip('\n') for page in pages]


def without_docstrings(source):
    """The lines of this source that are no docstring."""
    lines = dict(enumerate(source.splitlines(), 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            for number in range(node.body[0].lineno, node.body[0].end_lineno + 1):
                del lines[number]
    return list(lines.values())


def in_turn(parts):
    """Parts that take each other's place; the first is there from the beginning."""
    kinds = ['fade-out', *['fade-in-then-out'] * (len(parts) - 2), 'fade-in']
    shown = [
        f'<div class="fragment {kind}" data-fragment-index="{max(place - 1, 0)}">{part}</div>'
        for place, (kind, part) in enumerate(zip(kinds, parts))
    ]
    return f'<div class="r-stack">{"".join(shown)}</div>'


def badges(address, folder=HERE.parent):
    """Let each badge open its notebook from GitHub, and each first cell install the library from there.

    `address` is 'OWNER/NAME', with a branch `main`; `folder` contains README.md and notebooks/.
    """
    if not re.fullmatch(r'[\w.-]+/[\w.-]+', address):
        sys.exit(f'not a GitHub repository: {address!r} (write OWNER/NAME, for example d2l-ai/d2l-en)')
    archive = f'https://github.com/{address}/archive/refs/heads/main.zip'
    for path in [folder / 'README.md', *sorted((folder / 'notebooks').glob('*.ipynb'))]:
        lesson = path.name if path.suffix == '.ipynb' else f'{START}.ipynb'
        target = f'{COLAB}github/{address}/blob/main/notebooks/{lesson}'
        # Edited as text, so that nothing else in the files can change.
        text = BADGE.sub(rf'\1({target})', path.read_text(encoding='utf-8'))
        if path.suffix == '.ipynb':
            text = INSTALL.sub(rf'\1 {archive}', text)
        path.write_text(text, encoding='utf-8')
    return folder / 'README.md'


if __name__ == '__main__':
    kinds = {'book': book, 'slides': slides, 'badges': badges}
    if len(sys.argv) != 3 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    kind, place = sys.argv[1:]
    print(f'open {kinds[kind](place if kind == "badges" else Path(place))}')
