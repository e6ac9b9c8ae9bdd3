"""Publish the notebooks: `python notebooks/publish.py book FOLDER`, `slides FOLDER` or `badges OWNER/NAME`.

The pages work offline: pictures and styles are embedded, formulas are MathML, links lead from page to page.
Slides include reveal.js from the Python package sphinx-revealjs. Both need `pip install '.[pages]'`. Nothing
is executed here: the committed outputs are shown.

Badges open a notebook in Google Colab. As long as the repository is not public, readers upload the notebook
there; `badges OWNER/NAME` writes the address of a GitHub repository into all badges, and can be repeated.
"""

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
SHORT = 4  # lines of code that leave space for a picture on a slide
PICTURE = 'only-a-picture'  # the tag of a cell whose code is on the previous slide
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
/* Pictures of two panels stay legible on a phone: they scroll. */
@media (max-width: 600px) { .output_html img { max-width: none } }
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
.reveal { font-size: 26px } .reveal .slides { text-align: left }
.reveal .slides section { height: 100%; overflow-y: auto; box-sizing: border-box; padding: 10px 20px }
.reveal h1 { font-size: 1.7em; text-transform: none } .reveal h2 { font-size: 1.35em; text-transform: none }
.reveal h3 { font-size: 1.1em; text-transform: none } .reveal a.anchor-link { display: none }
.reveal pre { width: 100%; box-sizing: border-box; font-size: 20px; line-height: 1.3; box-shadow: none }
.reveal pre { margin: 0.4em 0; padding: 0.5em }
.reveal pre, .reveal pre code { white-space: pre-wrap; overflow-wrap: anywhere }
.reveal .input pre, .reveal .text_cell pre { background: #f5f6f8; border-left: 3px solid #0b5cad }
.reveal img { max-height: 620px; margin: 0.3em 0 } .reveal table { font-size: 0.7em; margin: 0.3em 0 }
.reveal ul, .reveal ol { display: block }
"""
# A slide that is too tall: first its pictures shrink, then its text; the rest can be scrolled.
SLIDE_FIT = """
function fit(slide) {
    const over = () => slide.scrollHeight - slide.clientHeight;
    for (const image of slide.querySelectorAll('img'))
        if (over() > 0)
            image.style.maxHeight = Math.max(330, image.offsetHeight - over()) + 'px';
    for (let size = 95; over() > 0 && size >= 75; size -= 5)
        slide.style.fontSize = size + '%';
}
"""
SLIDES = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$title</title>
<style>$style</style>
</head>
<body>
<div class="reveal"><div class="slides">
$body
</div></div>
<script>$script</script>
<script>$fit
Reveal.on('ready', event => fit(event.currentSlide));
Reveal.on('slidechanged', event => fit(event.currentSlide));
Reveal.initialize({hash: true, slideNumber: 'c/t', width: 1100, height: 720, center: false});</script>
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
    # Widgets need a kernel; their HTML does not, and describes its pictures.
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_input_tags = {PICTURE}
    config.NbConvertBase.display_data_priority = ['text/html', 'image/png', 'text/plain']
    return HTMLExporter(config=config)


def body_of(cells):
    """The HTML of these cells, without the page around it."""
    cells = [nbformat.from_dict(cell) for cell in cells]
    for cell in cells:
        if cell.cell_type == 'markdown':
            cell.source = with_formulas(cell.source)
    body, _ = exporter().from_notebook_node(nbformat.v4.new_notebook(cells=cells))
    # What scrolls can be reached with the keyboard.
    body = re.sub(r'<pre(?=[ >])', '<pre tabindex="0"', body)
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
    reveal = reveal / '_static' / 'revealjs' / 'dist'
    parts = ['reveal.css', 'theme/white.css']
    # The theme would download its fonts; the system's are good enough.
    looks = [re.sub(r'@import[^;]+;', '', (reveal / part).read_text(encoding='utf-8')) for part in parts]
    page = SLIDES.substitute(
        title=html.escape(title_of(notebook)),
        style='\n'.join([*looks, code_style(), SLIDE_STYLE]),
        body='\n'.join(
            '<section>' + ''.join(f'<section>{body_of(step)}</section>' for step in section) + '</section>'
            for section in sections(notebook.cells)
        ),
        script=(reveal / 'reveal.js').read_text(encoding='utf-8'),
        fit=SLIDE_FIT,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'index.html').write_text(page, encoding='utf-8')
    return folder / 'index.html'


def sections(cells):
    """Cells grouped into steps, steps into sections: a title begins a section, a text begins a step.

    The picture of long code is a step of its own: on the same slide it would be too small.
    """
    found = []
    for cell in cells:
        for part in split_at_titles(cell) if cell.cell_type == 'markdown' else split_at_picture(cell):
            if part.cell_type == 'markdown' and re.match('##? ', part.source):
                found.append([])
            if part.cell_type == 'markdown' or not found[-1] or PICTURE in part.metadata.get('tags', []):
                found[-1].append([])
            found[-1][-1].append(part)
    return found


def split_at_titles(cell):
    # What follows a picture has a slide of its own: a slide is not scrolled.
    source = re.sub(r'^(!\[.*\))$', r'\1\0', cell.source, flags=re.MULTILINE)
    parts = re.split(r'\0|^(?=##? )', source, flags=re.MULTILINE)
    found = [nbformat.v4.new_markdown_cell(part) for part in parts if part.strip()]
    for part in found:
        part.attachments = cell.get('attachments', {})
    return found


def split_at_picture(cell):
    pictures = [output for output in cell.outputs if 'image/png' in output.get('data', {})]
    if not pictures or len(cell.source.splitlines()) <= SHORT:
        return [cell]
    code, picture = (nbformat.from_dict(cell) for _ in range(2))
    code.outputs = [output for output in cell.outputs if output not in pictures]
    picture.source, picture.outputs, picture.metadata = '', pictures, {'tags': [PICTURE]}
    return [code, nbformat.from_dict(picture)]


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
