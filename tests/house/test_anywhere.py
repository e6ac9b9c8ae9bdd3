"""Elsewhere: on Colab's Python with nothing but Jupyter, on Binder, and in a classroom without a network.

The tests that install are left to `pytest -m network`: they take minutes and a package index. What Colab and
Binder do with it is tried as far as it goes without them: by the commands that they would run.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from packaging.specifiers import SpecifierSet
from test_pages import publish

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted((ROOT / 'notebooks').glob('*.ipynb'))
FIRST = """import importlib.util

if importlib.util.find_spec('bertnli') is None:
    %pip install --quiet {}"""
UPLOADED = 'bertnli --find-links .'
ARCHIVE = r'https://github\.com/([\w.-]+/[\w.-]+)/archive/refs/heads/main\.zip'
DEAD = 'http://127.0.0.1:9/'  # the port "discard", where nobody listens


def run(*command, cwd, **changed):
    """Runs a command without this process's own settings; its output, or a failed test that shows it."""
    unwanted = ('PYTHON', 'PIP_FIND', 'JUPYTER', 'BERTNLI', 'MPLBACKEND', 'VIRTUAL_ENV', 'MAKE')
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    done = subprocess.run(
        command, cwd=cwd, env={**environment, **changed}, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pythons():
    """Versions and paths of this machine's Pythons that can run the library."""
    return dict(line.split(' ', 1) for line in run('sh', ROOT / '.ci' / 'pythons', cwd=ROOT).splitlines())


def first_code(path):
    return next(cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == 'code')


def badge_of(path):
    """Where the badge leads that is the first line of a notebook, or of the README below its title."""
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.ipynb':
        text = nbformat.reads(text, as_version=4).cells[0].source
    (badge,) = re.findall(r'(?m)^\[!\[Open in Colab\]\(\S+\.svg\)\]\((\S+?)(?: \'.+\')?\)$', text)
    assert path.suffix != '.ipynb' or text.startswith('[![')
    return badge


@pytest.mark.parametrize('lesson', LESSONS, ids=lambda path: path.stem)
def test_each_lesson_first_installs_what_is_missing_from_where_its_badge_leads(lesson):
    source = first_code(lesson).source
    installed = source.split('--quiet ')[-1]
    assert source == FIRST.format(installed)
    address = re.fullmatch(ARCHIVE, installed)
    assert address or installed == UPLOADED
    target = f'github/{address.group(1)}/blob/main/notebooks/{lesson.name}' if address else '#upload=true'
    assert badge_of(lesson) == publish.COLAB + target


def test_badges_lead_to_an_address_and_writing_them_twice_is_writing_them_once(tmp_path):
    (tmp_path / 'notebooks').mkdir()
    names = ['README.md', *(f'notebooks/{lesson.name}' for lesson in LESSONS)]
    for name in names:
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    publish.badges('other/place', tmp_path)
    publish.badges('some-one/bert.nli', tmp_path)
    once = [(tmp_path / name).read_bytes() for name in names]
    at = f'{publish.COLAB}github/some-one/bert.nli/blob/main/notebooks/'
    assert badge_of(tmp_path / 'README.md') == at + '0-start-here.ipynb'
    for name in names[1:]:
        path = tmp_path / name
        assert badge_of(path) == at + path.name
        assert re.search(ARCHIVE, first_code(path).source).group(1) == 'some-one/bert.nli'
        changed = zip((ROOT / name).read_text('utf-8').split('\n'), path.read_text('utf-8').split('\n'))
        assert sum(old != new for old, new in changed) <= 2  # nothing else
    publish.badges('some-one/bert.nli', tmp_path)
    assert [(tmp_path / name).read_bytes() for name in names] == once
    for wrong in ('nobody', 'https://github.com/some-one/bert.nli', 'a/b/c'):
        with pytest.raises(SystemExit, match='OWNER/NAME'):
            publish.badges(wrong, tmp_path)


def test_binder_takes_a_python_that_fits_and_installs_this_folder():
    fits = re.search(
        r'requires-python = "(.+)"', (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
    ).group(1)
    version = (ROOT / '.binder' / 'runtime.txt').read_text(encoding='utf-8').strip()
    assert SpecifierSet(fits).contains(version.replace('python-', ''))
    # subtle: of a file of two bytes, '.' and a line's end, repo2docker guesses that it is UTF-16, sees no
    # local path in it, and installs before the repository is there.
    comment, folder = (ROOT / '.binder' / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    assert re.match('# [a-zA-Z ,]{20}', comment)
    assert folder == '.'


@pytest.mark.slow
@pytest.mark.network
def test_the_chapter_begins_on_python_3_12_with_nothing_but_jupyter(tmp_path):
    if '3.12' not in pythons():
        pytest.skip('no Python 3.12 on this machine')
    run(pythons()['3.12'], '-m', 'venv', 'env', cwd=tmp_path)
    python = tmp_path / 'env' / 'bin' / 'python'
    run(python, '-m', 'pip', 'install', '--quiet', 'jupyter', cwd=tmp_path)
    # A reader uploads the notebook and this wheel.
    run(python, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--wheel-dir', '.', ROOT, cwd=tmp_path)
    chapter = nbformat.read(ROOT / 'notebooks' / '1-natural-language-inference-bert.ipynb', as_version=4)
    end = next(place for place, cell in enumerate(chapter.cells) if 'LiveCurves(' in cell.source)
    chapter.cells = chapter.cells[:end]
    old = [cell.outputs for cell in chapter.cells if cell.cell_type == 'code']
    nbformat.write(chapter, tmp_path / 'chapter.ipynb')
    execute = 'nbconvert --to notebook --inplace --execute --ExecutePreprocessor.timeout=900'.split()
    run(python, '-m', *execute, 'chapter.ipynb', cwd=tmp_path)
    done = nbformat.read(tmp_path / 'chapter.ipynb', as_version=4)
    new = [cell.outputs for cell in done.cells if cell.cell_type == 'code']
    assert len(new) > 10
    # pip may print a word of its own about what it replaced.
    assert [len(outputs) for outputs in new[1:]] == [len(outputs) for outputs in old[1:]]


@pytest.mark.slow
@pytest.mark.network
def test_an_archive_as_github_makes_it_holds_the_whole_library(tmp_path):
    copy_of_this_checkout(tmp_path / 'bertnli-main')
    shutil.make_archive(tmp_path / 'main', 'zip', tmp_path, 'bertnli-main')
    run(sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', 'main.zip', cwd=tmp_path)
    (wheel,) = tmp_path.glob('bertnli-*.whl')
    held = set(zipfile.ZipFile(wheel).namelist())
    own = [*(ROOT / 'bertnli').rglob('*.py'), *(ROOT / 'bertnli' / 'weights').rglob('*.*')]
    assert {str(path.relative_to(ROOT)) for path in own} <= held
    # Of data/ all that the package and its lessons read, and no scripts.
    read = [path for path in (ROOT / 'data').rglob('*.*') if path.is_file() and '.py' not in path.suffix]
    assert {name for name in held if '/data/' in name} == {f'bertnli/{p.relative_to(ROOT)}' for p in read}


@pytest.mark.slow
@pytest.mark.network
def test_a_classroom_without_a_network_installs_and_runs_the_demo(tmp_path):
    home, room = tmp_path / 'home', tmp_path / 'a stick'
    for folder in (home, room):
        copy_of_this_checkout(folder)
    python = next(iter(pythons().values()))
    run('make', 'wheelhouse', f'PYTHON={python}', cwd=home)
    (home / 'wheelhouse').rename(room / 'wheelhouse')
    brief = '--steps 5 --epochs 1 --limit 200'
    answer = run(
        'make',
        'demo',
        f'PYTHON={python}',
        f'ARGS={brief}',
        cwd=room,
        PIP_INDEX_URL=DEAD,
        http_proxy=DEAD,
        https_proxy=DEAD,
    )
    assert 'test accuracy' in answer


def copy_of_this_checkout(folder):
    """What git knows of it, and what it would take; nothing that was installed or trained."""
    names = run('git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard', cwd=ROOT)
    for name in filter(None, names.split('\0')):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
