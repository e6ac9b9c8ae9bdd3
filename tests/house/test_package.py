"""The front door: `import bertnli` is quick and light, and offers every public name exactly once."""

import ast
import importlib
import importlib.metadata
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bertnli

PACKAGE = Path(bertnli.__file__).parent
CONTRACT = """
    load_data_wiki try_all_gpus BERTModel train_bert tokenize get_tokens_and_segments download_extract
    read_snli SNLIBERTDataset get_dataloader_workers BERTClassifier train_batch_ch13 train_ch13
    split_batch_multi_inputs evaluate_accuracy_gpus Vocab predict_snli LABELS
""".split()
NAMES = [(module, name) for module, names in bertnli._PUBLIC.items() for name in names]


def in_a_new_process(code):
    """What `code` prints as JSON, run by a Python of its own."""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def defined(module):
    """The names that a file defines at its top level, read without importing it."""
    tree = ast.parse((PACKAGE / f'{module.replace(".", "/")}.py').read_text(encoding='utf-8'))
    found = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return found


def test_importing_the_package_loads_no_heavy_library():
    heavy = {'mxnet', 'd2l', 'numpy', 'matplotlib', 'nltk', 'pandas', 'sklearn', 'IPython'}
    assert not heavy & set(
        in_a_new_process('import bertnli, json, sys; print(json.dumps(list(sys.modules)))')
    )


def test_importing_the_package_takes_less_than_50_ms():
    # Processor time of this process, and the best of several: the machine may be busy elsewhere.
    code = 'import time; start = time.process_time(); import bertnli; print(time.process_time() - start)'
    assert min(in_a_new_process(code) for _ in range(5)) < 0.050


@pytest.mark.parametrize(('module', 'name'), NAMES, ids=[name for _, name in NAMES])
def test_each_listed_name_is_found_in_its_module(module, name):
    assert getattr(bertnli, name) is getattr(importlib.import_module(f'bertnli.{module}'), name)
    assert name in defined(module)


def test_no_name_is_listed_twice():
    names = [name for _, name in NAMES]
    assert sorted(names) == sorted(set(names))


def test_the_chapters_names_are_all_there():
    assert set(CONTRACT) <= {name for _, name in NAMES}


def test_each_function_of_the_chapter_is_public_or_used_by_another_file():
    paths = {
        '.'.join(path.relative_to(PACKAGE).with_suffix('').parts): path.read_text('utf-8')
        for path in PACKAGE.rglob('*.py')
        if path.stem != '__init__'
    }
    trees = {module: [*ast.walk(ast.parse(text))] for module, text in paths.items()}
    lonely = {}
    for module in paths:
        public = {name for name in defined(module) if not name.startswith('_')}
        others = [node for other, nodes in trees.items() if other != module for node in nodes]
        used = {a.name for node in others if isinstance(node, ast.ImportFrom) for a in node.names}
        used |= {node.attr for node in others if isinstance(node, ast.Attribute)}
        records = {name for name in public if name[0].isupper() and name != name.upper()}
        # Classes are what functions return; MXNet's own names stay in `runtime`; wings have helpers.
        if '.' not in module and module != 'runtime':
            lonely[module] = public - records - used - set(bertnli._PUBLIC.get(module, []))
    assert {module: names for module, names in lonely.items() if names} == {}


def shown(thing):
    """What `?` shows in a notebook: the docstring, and of a class also `__init__`'s, even if inherited."""
    both = [thing, thing.__init__] if inspect.isclass(thing) else [thing]
    return '\n\n'.join(inspect.getdoc(one) or '' for one in both)


def test_each_parameter_of_a_public_name_is_told_where_a_notebook_shows_it():
    missing = {}
    for _, name in NAMES:
        thing = getattr(bertnli, name)
        # matplotlib's own classes tell their parameters themselves.
        if callable(thing) and not getattr(thing.__init__, '__module__', '').startswith('matplotlib'):
            given = inspect.signature(thing).parameters.values()
            names = [one.name for one in given if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
            # Examples are no explanation, and hold back-ticks that are words.
            text = '\n\n'.join(part for part in shown(thing).split('\n\n') if not part.startswith('>>>'))
            told = {word for span in re.findall(r'`([^`]+)`', text) for word in re.findall(r'\w+', span)}
            missing[name] = [one for one in names if one not in told]
    assert len(missing) > 100
    assert {name: left for name, left in missing.items() if left} == {}


def test_dir_lists_the_public_names_and_the_files():
    assert {'BERTModel', 'text', '__version__'} <= set(dir(bertnli))
    assert not {'mx', 'np', 'npx', 'd2l'} & set(dir(bertnli))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match='BERTModell'):
        bertnli.BERTModell  # noqa: B018


def test_the_version_is_the_installed_one():
    assert bertnli.__version__ == importlib.metadata.version('bertnli')


def test_the_sample_is_where_the_package_looks_for_it():
    folders = [PACKAGE / 'data', PACKAGE.parent / 'data']
    assert any((folder / 'snli_1.0' / 'snli_1.0_train.txt').is_file() for folder in folders)
