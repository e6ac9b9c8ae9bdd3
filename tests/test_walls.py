"""The walls of the house, read from the files themselves: who may import whom, and who alone what."""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'bertnli'
PURE = ('errors', 'settings', 'downloads', 'files', 'text', 'tokens', 'examples')

# The module map: a file and what it may import besides `errors`, in the order in which the data goes.
ROWS = {
    'errors': '',
    'settings': '',
    'downloads': '',
    'files': 'downloads',
    'text': '',
    'tokens': '',
    'examples': 'text tokens',
    'cuda': '',
    'tuning': 'cuda',
    'runtime': 'cuda tuning',
    'operators': 'runtime',
    'stopwatch': 'runtime',
    'devices': 'runtime stopwatch',
    'datasets': 'settings files text tokens examples runtime',
    'batches': 'settings files text tokens examples runtime devices datasets',
    'model': 'settings runtime operators',
    'checkpoints': 'settings files text tokens runtime devices model',
    'metrics': 'text runtime devices',
    'training': 'settings runtime stopwatch devices metrics',
    'states': 'files settings training',
    'vectors': '',
    'pretraining': 'settings runtime operators stopwatch devices batches model checkpoints metrics training '
    'vectors',
    'finetuning': 'settings runtime operators stopwatch devices batches model checkpoints metrics training',
    'evaluation': 'text runtime operators devices datasets batches model checkpoints metrics',
    'prediction': 'text tokens examples runtime operators devices datasets batches model checkpoints',
    'inside': 'text tokens examples runtime devices model prediction',
    'pictures': '',
    'widgets': 'text tokens checkpoints prediction inside pictures',
    'recipes': 'everything above',
    'studies': 'everything above',
    'bench': 'everything above',
    'launch': 'settings',
    'scaling': 'everything above',
    'cli': 'everything above',
    '__main__': 'everything above',
}
ORDER = tuple(ROWS)
BY_STRING = ('importlib.import_module', 'import_module', '__import__', 'lazy.load', 'lazy_loader.load')
MODULES = sorted(path.stem for path in PACKAGE.glob('*.py') if path.stem != '__init__')


class Import(NamedTuple):
    """One import: the name of a library ('numpy') or, with a leading dot, of a file of ours ('.text')."""

    name: str
    line: int
    inside: bool  # inside a function
    announced: bool  # its line says `# lazy:`


def read_imports(source):
    """Every import of a file's source text, also those by `import_module` and `lazy.load`."""
    lines, found = source.splitlines(), []

    def visit(node, inside):
        for name in names_imported(node):
            announced = '# lazy:' in lines[node.lineno - 1]
            found.append(Import(name, node.lineno, inside, announced))
        inside = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(source), False)
    return found


def names_imported(node):
    if isinstance(node, ast.Import):
        return [dotted(alias.name) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if (node.level, node.module) in ((1, None), (0, 'bertnli')):  # `from . import text`
            return [f'.{alias.name}' for alias in node.names]
        return [f'.{node.module}' if node.level else dotted(node.module)]
    if isinstance(node, ast.Call) and ast.unparse(node.func) in BY_STRING:
        texts = [part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)]
        return [dotted(texts[0])] if texts else ['a computed name']
    return []


def dotted(name):
    """'mxnet.np' → 'mxnet', 'bertnli.text' → '.text'."""
    first, *rest = name.split('.')
    return f'.{rest[0]}' if first == 'bertnli' and rest else first


def imports_of(module):
    return read_imports((PACKAGE / f'{module}.py').read_text(encoding='utf-8'))


def siblings_of(module):
    return {one.name[1:] for one in imports_of(module) if one.name.startswith('.')} - {'__version__'}


def reachable(module, seen=()):
    """The file and every file of ours that it loads, at whatever distance."""
    seen = {*seen, module}
    for other in siblings_of(module) - seen:
        seen |= reachable(other, seen)
    return seen


def users_of(library):
    return {module for module in MODULES if library in {one.name for one in imports_of(module)}}


def test_each_file_stands_in_the_module_map():
    assert set(MODULES) <= set(ORDER)


@pytest.mark.parametrize('module', MODULES)
def test_a_file_imports_only_the_rows_it_may(module):
    above = set(ORDER[: ORDER.index(module)])
    allowed = above if ROWS[module] == 'everything above' else set(ROWS[module].split()) | {'errors'}
    assert siblings_of(module) <= allowed & above


@pytest.mark.parametrize('module', MODULES)
def test_no_import_hides_inside_a_function(module):
    hidden = [one for one in imports_of(module) if one.inside and not one.announced]
    if module in ('tuning', 'runtime'):  # their imports must wait until the process is prepared
        hidden = [one for one in hidden if one.name not in ('mxnet', 'd2l', 'setuptools', 'distutils')]
    assert hidden == []


def test_only_runtime_imports_mxnet_and_d2l():
    assert users_of('mxnet') | users_of('d2l') == {'runtime'}


def test_only_the_command_goes_through_the_whole_package():
    # `import bertnli` inside a file would hide which files it uses.
    assert users_of('bertnli') <= {'bench', 'cli', '__main__'}


def test_no_file_imports_a_computed_name():
    assert users_of('a computed name') == set()


def test_only_pictures_imports_matplotlib():
    assert users_of('matplotlib') <= {'pictures'}


@pytest.mark.parametrize('module', PURE)
def test_the_first_rows_reach_neither_mxnet_nor_d2l(module):
    assert 'runtime' not in reachable(module)


def test_the_first_rows_load_no_framework():
    code = f"""
import importlib, json, sys
for name in {('__init__', *PURE)}:
    importlib.import_module('bertnli.' + name)
print(json.dumps(sorted(sys.modules)))"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert 'bertnli.examples' in loaded
    assert not {'mxnet', 'd2l', 'matplotlib', 'pandas', 'IPython'} & loaded


@pytest.mark.parametrize(
    ('line', 'name'),
    [
        ('import mxnet.gluon as g', 'mxnet'),
        ('from d2l import mxnet', 'd2l'),
        ('def f():\n    from matplotlib import pyplot', 'matplotlib'),
        ("x = importlib.import_module('mxnet')", 'mxnet'),
        ("x = importlib.import_module(f'mxnet.{name}')", 'mxnet'),
        ('x = importlib.import_module(name)', 'a computed name'),
        ("x = lazy.load('d2l.mxnet')", 'd2l'),
        ('from bertnli.model import BERTModel', '.model'),
        ('from bertnli import model', '.model'),
        ('import bertnli.model', '.model'),
        ('from . import model', '.model'),
        ('from .model import BERTModel', '.model'),
    ],
)
def test_the_reader_of_imports_sees_each_way_to_import(line, name):
    assert name in {one.name for one in read_imports(line)}


def tracked_files():
    try:
        listed = subprocess.run(
            ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip('not a git checkout')
    paths = [ROOT / os.fsdecode(name) for name in listed.stdout.split(b'\0') if name]
    return [path for path in paths if path.is_file()]


def test_no_file_names_the_machine_it_was_made_on():
    places = {str(ROOT), str(ROOT.parent), str(Path.home())} - {'/', tempfile.gettempdir()}
    pattern = re.compile(
        rf'(?<![\w.~])(?:{"|".join(map(re.escape, sorted(places)))})/|/[^\s"\']+/site-packages/'.encode()
    )
    found = {
        str(path.relative_to(ROOT)): match.group().decode()
        for path in tracked_files()
        if (match := pattern.search(path.read_bytes()))
    }
    assert found == {}
