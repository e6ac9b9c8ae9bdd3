"""The notebooks: they run anywhere, show what the package does today, and are kind to their readers.

`python tests/house/test_notebooks.py` executes all of them on the embedded sample and writes their outputs,
or only those that are named (`… notebooks/a.ipynb`). A cell with the tag `varies` prints words that depend on
trained weights; its text may differ from machine to machine. With `timed` it prints numbers of a clock or of
this machine, which may differ; in a lesson that trains, all numbers may.
"""

import ast
import html
import inspect
import os
import re
import resource
import stat
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest

import bertnli
from bertnli.app import cli, jobs
from bertnli.pictures import playground

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(
    path for path in (ROOT / 'notebooks').rglob('*.ipynb') if '.ipynb_checkpoints' not in path.parts
)
LESSONS = [path for path in NOTEBOOKS if path.parent.name == 'notebooks']
LINES, WORDS = 15, 6  # the most lines of a cell; the least words of prose for a line of code
SCREEN = 60  # the most lines of a source that is shown
SECONDS = 900  # for one cell, on a machine that is busy elsewhere
PROMISED = 180  # for a notebook, on two cores
NUMBER = r'\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?'
NEAR = {'rel': 0.03, 'abs': 0.03}  # processors round differently
TRAINS = r'\b(train_\w+|pretrain|finetune)\('  # which carries that on: accuracies differ by a tenth
FOLDERS = 'bin content data etc home media mnt opt private root srv tmp Users usr var work'


def execute(path, folder):
    """The notebook with the outputs of a new kernel that starts in `folder` and keeps its files there."""
    nbclient = pytest.importorskip('nbclient')
    notebook = nbformat.read(path, as_version=4)
    metadata = notebook.metadata.copy()
    left_out = ('BERTNLI_DATA', 'MPLBACKEND')  # a reader's choices, and those of these tests
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment.update(BERTNLI_CACHE=str(folder / 'cache'), IPYTHONDIR=str(folder / 'ipython'))
    client = nbclient.NotebookClient(
        notebook,
        kernel_name='python3',
        timeout=SECONDS,
        record_timing=False,
        resources={'metadata': {'path': str(folder)}},
    )
    client.execute(env=environment)
    notebook.metadata = metadata  # without the version of this Python
    for cell in code_cells(notebook):
        cell.outputs = joined(cell.outputs)
    return notebook


def joined(outputs):
    """The same outputs, where what was printed in one go is one output, however it arrived."""
    result = []
    for output in outputs:
        last = result[-1] if result else {}
        if output.output_type == 'stream' and output.name == last.get('name'):
            last['text'] += output.text
        else:
            result.append(output)
    return result


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == 'code']


def texts(output):
    """All that an output says in words: plain text, HTML (without its pictures), and their description."""
    if output.output_type == 'stream':
        return [output.text]
    if output.output_type == 'error':
        return output.traceback
    alt = output.metadata.get('image/png', {}).get('alt', '')
    page = re.sub(r'base64,[^"]*', 'base64,', output.data.get('text/html', ''))
    return [output.data.get('text/plain', ''), page, alt]


def plain(output):
    """An output in words and numbers: HTML repeats them, and its style sheets belong to other libraries."""
    return ' '.join(texts(output)[:1] + texts(output)[2:]).replace('gpu(', 'cpu(')


def masked(output):
    """An output without its numbers and the width of its columns, and with one name for all devices."""
    return output.output_type, ' '.join(re.sub(NUMBER, '#', plain(output)).split())


def numbers(output):
    """The numbers that are masked there, without those of a speed."""
    lasting = re.sub(r'.*/sec.*', '', plain(output))
    return [float(number.replace(',', '')) for number in re.findall(NUMBER, lasting)]


def python_of(cell):
    """The cell as Python: commands of the notebook (`%pip …`) become `pass`."""
    return re.sub(r'^( *)[%!].*', r'\1pass', cell.source, flags=re.MULTILINE)


def param(path):
    """The solutions take minutes more, and are left to `make test-all`."""
    marks = [pytest.mark.slow] if path.parent.name == 'solutions' else []
    return pytest.param(path, marks=marks, id=f'{path.parent.name}/{path.stem}')


@pytest.fixture(scope='module', params=[param(path) for path in NOTEBOOKS])
def path(request):
    return request.param


@pytest.fixture(scope='module')
def committed(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope='module')
def fresh(path, tmp_path_factory):
    """One run for all tests of a notebook, started where nothing of ours lies."""
    before = processor_seconds()
    notebook = execute(path, tmp_path_factory.mktemp('elsewhere'))
    notebook.metadata['seconds'] = processor_seconds() - before
    return notebook


def processor_seconds():
    """What all processes that this one has waited for have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def prose_of(notebook):
    return '\n'.join(cell.source for cell in notebook.cells if cell.cell_type == 'markdown')


def test_there_is_the_chapter_and_each_notebook_has_solutions():
    names = {path.name for path in LESSONS}
    assert '1-natural-language-inference-bert.ipynb' in names
    assert {path.name for path in NOTEBOOKS if path.parent.name == 'solutions'} == names


def test_the_lessons_are_numbered_in_reading_order():
    names = [path.stem for path in LESSONS]
    assert [name.split('-')[0] for name in names] == [str(number) for number in range(len(names))]
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert re.findall(r'\| \[`[\w-]+`\]\(notebooks/([\w-]+)\.ipynb\)', readme) == names


def test_the_chapter_shows_its_data_set_its_network_and_both_trainings():
    chapter = nbformat.read(ROOT / 'notebooks' / '1-natural-language-inference-bert.ipynb', as_version=4)
    sources = '\n'.join(cell.source for cell in code_cells(chapter))
    shown = set(re.findall(r'bertnli\.(\w+)', ' '.join(re.findall(r'show_source\((.*?)\)', sources))))
    assert {'SNLIBERTDataset', 'BERTClassifier', 'train_bert', 'train_nli'} <= shown
    lengths = {name: len(inspect.getsource(getattr(bertnli, name)).splitlines()) for name in shown}
    assert {name: length for name, length in lengths.items() if length > SCREEN} == {}


@pytest.mark.parametrize('lesson', LESSONS, ids=lambda path: path.stem)
def test_a_notebook_is_broken_on_purpose_and_ends_with_three_to_five_exercises(lesson):
    prose = prose_of(nbformat.read(lesson, as_version=4))
    assert re.search(r'^## .*Break it on purpose$', prose, flags=re.MULTILINE)
    exercises = re.findall(r'^(\d)\. ', prose.split('## Exercises')[1], flags=re.MULTILINE)
    assert exercises == [str(number + 1) for number in range(len(exercises))]
    assert 3 <= len(exercises) <= 5


@pytest.mark.parametrize('lesson', LESSONS, ids=lambda path: path.stem)
def test_a_lesson_asks_three_times_and_says_of_each_choice_whether_it_is_right_and_why(lesson):
    cells = nbformat.read(lesson, as_version=4).cells
    checks = [cell.source for cell in cells if cell.source.startswith('**Check yourself.**')]
    assert len(checks) >= 3
    for check in checks:
        told = re.findall(r'</summary>\n\n\*\*(Right|No)\.\*\* \w.{10,}', check)
        assert len(told) == check.count('<details>') >= 2
        assert told.count('Right') == 1


def test_the_solutions_answer_each_exercise():
    for lesson in LESSONS:
        asked = prose_of(nbformat.read(lesson, as_version=4)).split('## Exercises')[1]
        solved = prose_of(nbformat.read(lesson.parent / 'solutions' / lesson.name, as_version=4))
        numbers = r'^(?:## )?(\d)\. '
        found = re.findall(numbers, solved, flags=re.MULTILINE)
        assert found == re.findall(numbers, asked, flags=re.MULTILINE), lesson.stem


def test_each_link_leads_to_a_file():
    for path in NOTEBOOKS:
        targets = re.findall(r'\]\(([^)#:]+)\)', prose_of(nbformat.read(path, as_version=4)))
        assert [target for target in targets if not (path.parent / target).is_file()] == [], path.stem


def test_the_readme_and_the_first_notebook_list_all_notebooks_in_one_order():
    first = prose_of(nbformat.read(ROOT / 'notebooks' / '0-start-here.ipynb', as_version=4))
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    listed = re.findall(r'\| \[`[\w-]+`\]\(([\w-]+\.ipynb)\)', first)
    assert sorted(listed) == sorted(path.name for path in LESSONS)
    assert re.findall(r'\| \[`[\w-]+`\]\(notebooks/([\w-]+\.ipynb)\)', readme) == listed


def test_a_notebook_is_valid_and_names_the_common_kernel(committed):
    nbformat.validate(committed)
    assert committed.metadata.kernelspec.name == 'python3'


def test_the_committed_outputs_are_those_of_one_run_from_top_to_bottom(committed):
    cells = code_cells(committed)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = [output.output_type for cell in cells for output in cell.outputs]
    assert 'error' not in kinds
    names = {output.name for cell in cells for output in cell.outputs if output.output_type == 'stream'}
    assert names <= {'stdout'}


def test_no_output_names_a_folder_of_a_machine(committed):
    known = '|'.join(FOLDERS.split())
    places = re.compile(rf'(?<![\w<.])/(?:{known})/|[A-Z]:\\|{re.escape(str(ROOT))}')
    found = [
        match.group()
        for cell in code_cells(committed)
        for output in cell.outputs
        for text in texts(output)
        for match in places.finditer(text)
    ]
    assert found == []


def test_each_picture_has_a_description(committed):
    for cell in code_cells(committed):
        for output in cell.outputs:
            images = [kind for kind in output.get('data', {}) if kind.startswith('image/')]
            alts = [output.metadata.get(kind, {}).get('alt', '') for kind in images]
            assert all(len(alt) > 20 for alt in alts)
            # The HTML is what notebooks and their exports show.
            assert all(f'<img alt="{html.escape(alt)}"' in output.data['text/html'] for alt in alts)
    prose = prose_of(committed)
    assert not re.search(r'!\[\s*\]\(|<img(?![^>]*\balt=)', prose)


def test_no_code_cell_is_long(committed):
    assert [cell.source for cell in code_cells(committed) if len(cell.source.splitlines()) > LINES] == []


def test_there_is_more_to_read_than_to_run(committed):
    lines = sum(bool(line.strip()) for cell in code_cells(committed) for line in cell.source.splitlines())
    prose = [cell.source for cell in committed.cells if cell.cell_type == 'markdown']
    words = sum(len(re.sub(r'```.*?```', '', text, flags=re.DOTALL).split()) for text in prose)
    assert words >= WORDS * lines


def test_a_notebook_uses_no_private_name(committed):
    nodes = [node for cell in code_cells(committed) for node in ast.walk(ast.parse(python_of(cell)))]
    names = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
    names += [node.name for node in nodes if isinstance(node, ast.alias)]
    assert [name for name in names if re.search(r'(^|\.)_[^_]', name)] == []


def test_a_notebook_imports_the_library_before_numpy(committed):
    """Afterwards it would be too late to name the processor's kernels to NumPy (machine/tuning.py)."""
    nodes = [node for cell in code_cells(committed) for node in ast.walk(ast.parse(python_of(cell)))]
    imported = [node.names[0].name for node in nodes if isinstance(node, ast.Import)]
    imported = [name for name in imported if name in ('bertnli', 'numpy')]
    assert imported[:1] == ['bertnli']


def test_a_notebook_makes_nothing_that_the_package_has(committed):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = [node for cell in code_cells(committed) for node in ast.walk(ast.parse(python_of(cell)))]
    assert not {node.name for node in nodes if isinstance(node, kinds)} & set(bertnli.__all__)


def test_a_fresh_run_elsewhere_says_what_the_committed_outputs_say(committed, fresh):
    trains = any(re.search(TRAINS, cell.source) for cell in code_cells(committed))
    for old, new in zip(code_cells(committed), code_cells(fresh)):
        tags = old.metadata.get('tags', [])
        if 'varies' in tags:
            assert [one.output_type for one in old.outputs] == [one.output_type for one in new.outputs]
            continue
        assert [masked(one) for one in new.outputs] == [masked(one) for one in old.outputs], old.source
        if not trains and 'timed' not in tags:
            for was, now in zip(old.outputs, new.outputs):
                assert numbers(now) == pytest.approx(numbers(was), **NEAR), old.source


def test_a_run_computes_no_longer_than_two_cores_can_in_three_minutes(fresh):
    # By the processor's clock, which stands still while others compute.
    assert 1 < fresh.metadata['seconds'] < 2 * PROMISED


def test_a_run_leaves_the_null_device_where_it_is(fresh):
    # Administrators can delete it, and MXNet's profiler does if it is to write there.
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_each_kind_of_picture_is_seen_in_a_notebook_a_page_or_the_readme():
    seen = [cell.source for path in LESSONS for cell in code_cells(nbformat.read(path, as_version=4))]
    assert any('playground(' in source for source in seen)  # which is made of pictures/playground.py
    assert '](data/results/curves.png)' in (ROOT / 'README.md').read_text(encoding='utf-8')  # app/jobs.py
    page = (ROOT / 'notebooks' / 'from-one-laptop-to-a-cluster.md').read_text(encoding='utf-8')
    assert '](../data/results/cluster.png)' in page  # data/measure_cluster.py
    seen.append((ROOT / 'data' / 'measure_cluster.py').read_text(encoding='utf-8'))
    seen += [inspect.getsource(module) for module in (playground, jobs, cli)]
    kinds = [name for name in bertnli.__all__ if name.startswith(('plot_', 'show_', 'Live'))]
    assert len(kinds) > 10
    assert [name for name in kinds if not re.search(rf'\b{name}\(', '\n'.join(seen))] == []


def test_masking_keeps_words_and_hides_numbers_and_devices():
    def printed(text):
        return nbformat.v4.new_output('stream', name='stdout', text=text)

    assert masked(printed('loss 0.71, 1,234.5 a second on [gpu(0)]\n')) == (
        'stream',
        'loss #, # a second on [cpu(#)]',
    )
    assert masked(printed('loss 0.7')) != masked(printed('accuracy 0.7'))
    assert numbers(printed('1,234.5 words, 2e-05 on [gpu(0)]\n9.1 examples/sec\n')) == [1234.5, 2e-05, 0]
    # What was once committed is told from what a fresh run said.
    for was, now in (0.866, 0.909), (49.6, 66.1):
        assert pytest.approx([was], **NEAR) != [now]


def test_show_source_shows_what_is_installed_and_refuses_what_has_no_source():
    shown = bertnli.show_source(bertnli.tokenize, bertnli.Vocab.__len__)
    assert repr(shown).startswith('def tokenize(lines')
    assert repr(shown).endswith('\n\n\ndef __len__(self):\n    return len(self.idx_to_token)')
    assert '<span' in shown._repr_html_()
    with pytest.raises(bertnli.SettingsError):
        bertnli.show_source(len)


if __name__ == '__main__':
    for chosen in [Path(name).resolve() for name in sys.argv[1:]] or NOTEBOOKS:
        with tempfile.TemporaryDirectory() as elsewhere:
            nbformat.write(execute(chosen, Path(elsewhere)), chosen)
        print(f'executed {chosen.relative_to(ROOT)}')
