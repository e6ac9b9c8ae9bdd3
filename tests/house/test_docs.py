"""The documents: each link, path, command and name leads somewhere, and each number has its file."""

import json
import re
from pathlib import Path

import pytest

import bertnli

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = '. data notebooks tests tests/stress'.split()
PAGES = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob('*.md'))
BLOCK = re.compile(r'^```.*?^```', flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(params=PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def page(request):
    return request.param


def text_of(path):
    return path.read_text(encoding='utf-8')


def places(path):
    """What a link into a page may name: its titles, in GitHub's spelling."""
    titles = re.findall(r'^#+ (.+)', BLOCK.sub('', text_of(path)), flags=re.MULTILINE)
    return {re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles}


def numbers_in(content):
    """All numbers of a JSON file."""
    if isinstance(content, (dict, list)):
        parts = content.values() if isinstance(content, dict) else content
        return [number for part in parts for number in numbers_in(part)]
    return [float(content)] if isinstance(content, (int, float)) and not isinstance(content, bool) else []


def shown(cell):
    """Numbers as a table shows them: (value, digits after the point, whether in per cent)."""
    found = re.findall(r'(?<![\w.])(\d[\d,]*(?:\.\d+)?)(?![\w])( ?%)?', cell)
    return [(float(n.replace(',', '')), len(n.partition('.')[2]), bool(percent)) for n, percent in found]


def test_the_readme_is_short():
    assert len(text_of(ROOT / 'README.md').splitlines()) <= 130


def test_each_link_leads_to_a_file_and_a_place_in_it(page):
    for link in re.findall(r'\]\(([^)\s]+)', text_of(page)):
        if not re.match('https?:', link):
            name, _, place = link.partition('#')
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not place or place in places(target), link


def test_each_path_in_the_text_exists(page):
    found = re.findall(
        r'(?<![\w/.])(?:tests|notebooks|bertnli|data)/[\w/.-]*\w', BLOCK.sub('', text_of(page))
    )
    assert [name for name in found if not (ROOT / name).exists()] == []


def test_each_command_and_target_exists(page):
    commands = set(re.findall(r'(?:^|`)bertnli ([a-z]+)', text_of(page), flags=re.MULTILINE))
    targets = set(re.findall(r'(?:^|`)make ([a-z-]+)', text_of(page), flags=re.MULTILINE))
    assert commands <= set(bertnli.app.cli.main.commands)
    assert targets <= set(re.findall(r'^([a-z-]+):', text_of(ROOT / 'Makefile'), flags=re.MULTILINE))


def test_each_name_of_the_library_exists(page):
    for name in re.findall(r'(?<![\w/.])bertnli\.([\w.]+\w)', text_of(page)):
        found = bertnli
        for part in name.split('.'):
            found = getattr(found, part)


@pytest.mark.parametrize('name', ['README.md', 'notebooks/results.md'])
def test_each_number_in_a_table_is_one_of_its_json_file(name):
    """The file is linked in the row, or else somewhere in the section."""
    counted = 0
    for section in re.split(r'^## ', text_of(ROOT / name), flags=re.MULTILINE):
        for row in re.findall(r'^\|(.*)\|$', section, flags=re.MULTILINE):
            files = re.findall(r'([\w-]+\.json)\)', row) or re.findall(r'([\w-]+\.json)\)', section)
            known = [number for file in files for number in numbers_in(json.loads(text_of(results(file))))]
            for value, digits, percent in shown('|'.join(row.split('|')[1:])) if files else ():
                exact = [100 * number for number in known] if percent else known
                assert any(abs(number - value) <= 0.5001 * 10**-digits for number in exact), (row, value)
                counted += 1
    assert counted > 10


def results(file):
    return ROOT / 'data' / 'results' / file


def test_a_lecturers_plan_adds_up():
    plans = re.findall(r'^## (\d+) minutes(.*?)(?=^## )', lecturers(), flags=re.MULTILINE | re.DOTALL)
    assert [minutes for minutes, _ in plans] == ['10', '45', '90']
    for minutes, plan in plans:
        before = re.search(r'The (\d+) minutes, then', plan)
        rows = re.findall(r'^\| (\d+) \|', plan, flags=re.MULTILINE)
        assert sum(map(int, rows)) + int(before[1] if before else 0) == int(minutes)


def test_each_section_that_a_lecturer_is_sent_to_is_there():
    asked = re.findall(r'lesson (\d), sections? (\d+)(?: (?:to|and) (\d+))?', lecturers())
    assert len(asked) > 5
    for lesson, *sections in asked:
        (path,) = (ROOT / 'notebooks').glob(f'{lesson}-*.ipynb')
        found = re.findall(r'## (\d+)\. ', text_of(path))
        assert {section for section in sections if section} <= set(found), path.name


def lecturers():
    return text_of(ROOT / 'notebooks' / 'for-lecturers.md')
