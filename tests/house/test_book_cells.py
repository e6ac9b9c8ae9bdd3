"""The book's sections around this chapter, of two editions, in real kernels, with one line changed.

`book/` holds their cells, written anew: the book's names, calls and order, with small sizes. A new kernel
runs each section from the first cell to the last, on archives of the published layout that this file makes.
`python tests/house/test_book_cells.py [SECTION …]` tells which cells fail.
"""

import asyncio
import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import random
import sys
import tarfile
import tempfile
import threading
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest

import bertnli

BOOK = Path(__file__).parent / 'book'
SAMPLE = Path(__file__).parents[2] / 'data'
SECTIONS = sorted(path.relative_to(BOOK).with_suffix('').as_posix() for path in BOOK.glob('*/*.py'))
SECONDS = 300  # for one cell, on a machine that is busy elsewhere
WORDS = 'a the film movie was is so great good fine bad dull poor and with plot'.split()
# Runs after a section's first cell: d2l's archives and MXNet's pictures are small, and lie on this machine.
PRELUDE = """
from d2l.mxnet import DATA_HUB as _hub
from mxnet import gluon as _gluon, np as _np

archive = {archives!r}.__getitem__
_hub.update({{'aclImdb': archive('aclImdb_v1.tar.gz'), 'glove.6b.100d': archive('glove.6B.100d.zip')}})
_pictures = _np.random.uniform(0, 255, (64, 28, 28, 1)).astype('uint8'), _np.arange(64) % 10
_gluon.data.vision.FashionMNIST = lambda train: _gluon.data.ArrayDataset(*_pictures)
"""
# Cells that wait for a repair, by section: number and what it waits for. All others must run.
AWAITED = {}
MUST_RUN = 175
# What tells these apart from others is little: a name, a device.
SLOW = '1.0.3/sentiment_cnn 2020-03/image_fine_tuning 2020-03/multiple_gpus 2020-03/sentiment_rnn'.split()


def sources(section):
    """The cells of a section; a line that starts with `# %` is a command of the notebook."""
    parts = (BOOK / f'{section}.py').read_text(encoding='utf-8').split('# %%\n')[1:]
    return [part.replace('# %', '%').strip() for part in parts]


# --- archives of the published layout, small ---------------------------------------------------------


def make_shelf(folder):
    """A folder with both corpora, and the archives of other sections by name."""
    corpora, archives = folder / 'corpora', folder / 'archives'
    for name, count in ('train', 96), ('dev', 32), ('test', 32):
        head(f'snli_1.0/snli_1.0_{name}.txt', corpora, count + 1)
    for name in 'train', 'valid', 'test':
        head(f'wikitext-2/wiki.{name}.tokens', corpora, 300)
    archives.mkdir()
    make_reviews(archives / 'aclImdb_v1.tar.gz')
    make_vectors(archives / 'glove.6B.100d.zip')
    make_images(archives / 'hotdog.zip')
    make_weights(archives / 'bert.small.zip', corpora)
    return corpora, archives


def head(name, folder, count):
    """The first lines of a file of the sample."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with open(SAMPLE / name, encoding='utf-8') as lines:
        (folder / name).write_text(''.join(line for line, _ in zip(lines, range(count))), encoding='utf-8')


def make_reviews(path):
    """`aclImdb/train/pos/0_9.txt` and so on."""
    draw = random.Random(0)
    with tarfile.open(path, 'w:gz') as archive:
        for split, label, number in (
            (s, c, n) for s in ('train', 'test') for c in ('pos', 'neg') for n in range(16)
        ):
            text = ' '.join(draw.choices(WORDS, k=30)).encode()
            member = tarfile.TarInfo(f'aclImdb/{split}/{label}/{number}_{9 if label == "pos" else 2}.txt')
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))


def make_vectors(path):
    """`glove.6B.100d/vec.txt`: a word and its hundred numbers a line."""
    lines = [
        f'{word} {" ".join(f"{(i * 7 + j) % 13 / 13:.3f}" for j in range(100))}'
        for i, word in enumerate(WORDS)
    ]
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('glove.6B.100d/vec.txt', '\n'.join(lines) + '\n')


def make_images(path):
    """`hotdog/train/hotdog/0.png` and so on."""
    from PIL import Image

    noise = np.random.default_rng(0)
    with zipfile.ZipFile(path, 'w') as archive:
        for split, label, number in (
            (s, c, n) for s in ('train', 'test') for c in ('hotdog', 'not-hotdog') for n in range(8)
        ):
            picture = io.BytesIO()
            Image.fromarray(noise.integers(0, 255, (48, 40, 3), 'uint8')).save(picture, 'png')
            archive.writestr(f'hotdog/{split}/{label}/{number}.png', picture.getvalue())


def make_weights(path, corpora):
    """`bert.small/vocab.json` and `bert.small/pretrained.params`, saved by d2l's own class."""
    from bertnli.runtime import d2l, init
    from bertnli.runtime import np as mxnp

    vocab = bertnli.Vocab(
        bertnli.tokenize(bertnli.read_snli(str(corpora / 'snli_1.0'), True)[0]),
        reserved_tokens=bertnli.RESERVED,
    )
    bert = d2l.BERTModel(len(vocab), 32, 64, 4, 2, 0.1, 512)
    bert.initialize(init.Xavier())
    one = mxnp.ones((1, 4), dtype='int32')
    bert(one, one, None, one)
    weights = path.with_suffix('.params')
    bert.save_parameters(str(weights))
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('bert.small/vocab.json', json.dumps(vocab.idx_to_token))
        archive.write(weights, 'bert.small/pretrained.params')


@contextlib.contextmanager
def serving(folder):
    """The address and checksum of each archive, while a server hands them out."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), functools.partial(Handler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f'http://127.0.0.1:{server.server_port}'
    try:
        yield {
            path.name: (f'{address}/{path.name}', hashlib.sha1(path.read_bytes()).hexdigest())
            for path in folder.iterdir()
        }
    finally:
        server.shutdown()
        server.server_close()


# --- kernels -----------------------------------------------------------------------------------------


async def failures(section, corpora, archives, folder):
    """The cells of a section that fail in a new kernel, which goes on after them: numbers and errors."""
    nbclient = pytest.importorskip('nbclient')
    first, *others = sources(section)
    cells = [first, PRELUDE.format(archives=archives), *others]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    here = folder / 'chapter'  # d2l keeps what it downloads in ../data
    here.mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if name != 'MPLBACKEND'}
    environment.update(
        BERTNLI_DATA=str(corpora),
        BERTNLI_CACHE=str(folder / 'cache'),
        IPYTHONDIR=str(folder / 'ipython'),
        MXNET_HOME=str(folder / 'mxnet'),
        # No cell may ask another machine, and none waits for an answer.
        **dict.fromkeys(['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'], 'http://127.0.0.1:9'),
        **dict.fromkeys(['no_proxy', 'NO_PROXY'], '127.0.0.1'),
    )
    client = nbclient.NotebookClient(
        notebook,
        kernel_name='python3',
        timeout=SECONDS,
        allow_errors=True,
        resources={'metadata': {'path': str(here)}},
    )
    await client.async_execute(env=environment)
    found = {}
    for place, cell in enumerate(notebook.cells):
        for output in cell.outputs:
            if output.output_type == 'error':
                found[max(place, 1)] = f'{output.ename}: {output.evalue}'  # the prelude is place 1
    return found


def failures_of(sections, folder):
    """What `failures` finds in each section; two kernels at a time."""
    corpora, archives = make_shelf(folder)

    async def all_of_them(addresses):
        free = asyncio.Semaphore(2)

        async def one(section):
            async with free:
                return await failures(section, corpora, addresses, folder / section)

        return await asyncio.gather(*map(one, sections))

    with serving(archives) as addresses:
        return dict(zip(sections, asyncio.run(all_of_them(addresses))))


@pytest.fixture(scope='module')
def failed(request, tmp_path_factory):
    """The failures in all sections that were asked for."""
    items = [item for item in request.session.items if getattr(item, 'module', None) is request.module]
    wanted = [item.callspec.params['section'] for item in items if hasattr(item, 'callspec')]
    return failures_of(wanted, tmp_path_factory.mktemp('book'))


@pytest.mark.parametrize(
    'section', [pytest.param(one, marks=[pytest.mark.slow] if one in SLOW else []) for one in SECTIONS]
)
def test_the_cells_of_a_section_run(section, failed):
    allowed = AWAITED.get(section, {})
    assert {number: error for number, error in failed[section].items() if number not in allowed} == {}


def test_so_many_cells_must_run():
    cells = {section: len(sources(section)) for section in SECTIONS}
    assert all(number <= cells[section] for section, numbers in AWAITED.items() for number in numbers)
    assert sum(cells.values()) - sum(map(len, AWAITED.values())) == MUST_RUN


def test_each_section_imports_this_library_in_place_of_d2l_and_changes_no_other_line():
    for section in SECTIONS:
        first, *others = sources(section)
        assert first.count('import bertnli as d2l') == 1
        assert 'bertnli' not in first.replace('import bertnli as d2l', '') + ''.join(others)


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as place:
        for name, errors in failures_of(sys.argv[1:] or SECTIONS, Path(place)).items():
            print(f'{name}: {len(sources(name)) - len(errors)} cells run, {len(errors)} fail')
            for number, error in errors.items():
                print(f'  {number}: {error}')
