"""The notebooks as pages: whole without a network, every link leads somewhere, every picture is described.

How they look in a browser is tested in test_browser.py.
"""

import html
import html.parser
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


publish = load(ROOT / 'notebooks' / 'publish.py')


class Page(html.parser.HTMLParser):
    """What a page holds: `links`, `places` that links may lead to, `pictures`, `fetched` files, `text`."""

    def __init__(self, path):
        super().__init__()
        self.links, self.places, self.pictures, self.fetched, self.text = [], set(), [], [], ''
        self._code = 0
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self._code += tag in ('pre', 'code', 'script', 'style')
        self.places.add(found.get('id'))
        if tag == 'a' and 'href' in found:
            self.links.append(found['href'])
        if tag == 'img':
            self.pictures.append(found)
        self.fetched += [found[name] for name in ('src', 'data') if name in found and tag != 'a']
        self.fetched += [found['href']] if tag == 'link' else []

    def handle_endtag(self, tag):
        self._code -= tag in ('pre', 'code', 'script', 'style')

    def handle_data(self, data):
        if not self._code:
            self.text += data


@pytest.fixture(scope='module')
def book(tmp_path_factory):
    index = publish.book(tmp_path_factory.mktemp('book'))
    return {path: Page(path) for path in index.parent.rglob('*.html')}


def test_every_notebook_is_a_page_that_the_first_one_leads_to(book):
    pages = {path.relative_to(publish.HERE).with_suffix('') for path in publish.HERE.rglob('[!.]*.ipynb')}
    pages = {page for page in pages if '.ipynb_checkpoints' not in page.parts}
    (index,) = (path for path in book if path.name == 'index.html')
    assert {path.relative_to(index.parent).with_suffix('') for path in book} == {*pages, Path('index')}
    reached, waiting = set(), [index]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += [(path.parent / link.split('#')[0]).resolve() for link in inner(book[path].links)]
    assert reached == set(book)


def inner(links):
    return [link for link in links if not re.match('https?:|data:|#', link)]


def test_each_link_leads_to_a_page_and_a_place_on_it(book):
    for path, page in book.items():
        for link in page.links:
            if not re.match('https?:|data:', link):
                target, _, place = link.partition('#')
                there = (path.parent / target).resolve() if target else path
                assert there in book, (path.name, link)
                assert not place or place in book[there].places, (path.name, link)


def test_each_picture_is_described_and_nothing_is_fetched(book):
    pages = book.values()
    assert sum(len(page.pictures) for page in pages) > 20
    assert all(len(picture.get('alt', '')) > 20 for page in pages for picture in page.pictures)
    assert [name for page in pages for name in page.fetched if not name.startswith('data:')] == []


def test_no_formula_is_left_as_it_was_typed(book):
    assert all('$' not in page.text for page in book.values())


def test_formulas_become_mathml_and_code_stays_as_it_is():
    code = 'or `$x$`\n```\n$y$\n```\n'
    shown = publish.with_formulas(f'costs $\\ln V$, {code}$$z$$')
    assert code in shown
    assert re.findall('<math[^>]*display="(.+?)"', shown) == ['inline', 'block']
    assert '$' not in shown.replace(code, '')


def test_slides_keep_each_cell_in_its_order():
    chapter = publish.read(publish.HERE / f'{publish.CHAPTER}.ipynb')
    sections = publish.sections(chapter.cells)
    shown = ''.join(cell.source for section in sections for step in section for cell in step)
    assert shown == ''.join(cell.source for cell in chapter.cells)
    prose = '\n'.join(cell.source for cell in chapter.cells if cell.cell_type == 'markdown')
    titles = re.findall('^##? .+', prose, flags=re.MULTILINE)
    assert [section[0][0].source.split('\n')[0] for section in sections] == titles


def test_each_slide_has_a_thought_minutes_and_notes_and_the_plan_has_as_many_minutes():
    chapter = publish.read(publish.HERE / f'{publish.CHAPTER}.ipynb')
    slides = [step for section in publish.sections(chapter.cells) for step in section]
    minutes = [step[0].metadata.slide['minutes'] for step in slides]
    assert all(0 < number <= 2 for number in minutes)
    assert f'## {sum(minutes):g} minutes' in (publish.HERE / 'for-lecturers.md').read_text(encoding='utf-8')
    # More than one cell of code would be more than one thought.
    assert all(sum(cell.cell_type == 'code' for cell in step) <= 1 for step in slides)
    for step, number in zip(slides, minutes):
        shown, notes = publish.slide(step).split('<aside class="notes">')
        assert f'Minutes: {number:g}' in notes
        assert len(words_of(notes)) > 5
        code = re.sub('<div class="fragment.*', '', shown, flags=re.DOTALL)
        assert len(words_of(re.sub('<pre.*?</pre>|<details.*?</details>', '', code, flags=re.DOTALL))) < 40
    assert len(words_of(publish.slide(slides[0]).split('<aside')[0])) < 30


def test_all_outputs_of_a_slide_are_fragments():
    chapter = publish.read(publish.HERE / f'{publish.CHAPTER}.ipynb')
    for cell in chapter.cells:
        if cell.cell_type == 'code' and cell.outputs:
            slide = publish.code_on_slide(cell)
            outputs = [match.start() for match in re.finditer('class="output', slide)]
            assert outputs or 'show_source(' in cell.source  # of which pages are made
            for place in outputs:
                kinds = re.findall(r'class="fragment ?([\w-]*)"', slide[:place])
                assert kinds, cell.source
                assert kinds[-1] != 'fade-out', 'it is there from the beginning'


def test_sources_are_cut_into_pages_without_docstrings():
    body = '\n'.join(f'    # Step {number}.\n    run({number})' for number in range(30))
    pages = publish.pages_of(f'def long():\n    """Says much."""\n{body}\n')
    assert '\n'.join(pages) == f'def long():\n{body}'
    assert all(len(page.splitlines()) <= publish.ROOM for page in pages)
    assert all(page.lstrip().startswith('# Step') for page in pages[1:])


def words_of(page):
    return html.unescape(re.sub('<[^>]+>', ' ', page)).split()


def test_slides_are_one_file_that_fetches_nothing(tmp_path):
    if importlib.util.find_spec('sphinx_revealjs') is None:
        pytest.skip("no reveal.js: pip install '.[pages]'")
    path = publish.slides(tmp_path)
    assert [name for name in Page(path).fetched if not name.startswith('data:')] == []
    style = re.search('<style>(.*?)</style>', path.read_text(encoding='utf-8'), flags=re.DOTALL).group(1)
    assert not re.search(r'@import|url\((?![\'"]?data:)', style)
