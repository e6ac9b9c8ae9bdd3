"""A reader's browser: real JupyterLab, headless Chromium, notebooks run with Shift-Enter and played with.

It needs Chromium (on the PATH, or named by `BERTNLI_CHROMIUM`) and Playwright (`pip install '.[browser]'`);
without either these tests are skipped. Screenshots of what a reader sees lie in pytest's temporary folder.
What the notebooks say is tested in test_notebooks.py.
"""

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = 'chromium chromium-browser google-chrome google-chrome-stable'
START, CELL, ANSWER = 120, 900, 30  # seconds to wait for the server, for one cell, for the playground
NOTEBOOK = 'window.jupyterapp.shell.currentWidget'
WATCH = """number => {
    const content = () => {
        const cell = document.querySelector(`.jp-Cell[data-windowed-list-index="${number}"]`);
        const image = cell && cell.querySelector('.jp-Cell-outputArea img');
        return image && image.naturalWidth > 0 ? image.src : null;
    };
    const seen = window.seen = [];
    const look = () => {
        if (window.seen !== seen) return;
        const now = content();
        if (!seen.length || now !== seen[seen.length - 1]) seen.push(now);
        requestAnimationFrame(look);
    };
    look();
}"""
FONT = 'code => parseFloat(getComputedStyle(code).fontSize)'

pytestmark = pytest.mark.browser


def chromium():
    """The path of a Chromium, or None."""
    found = [os.environ.get('BERTNLI_CHROMIUM'), *map(shutil.which, NAMES.split())]
    return next(filter(None, found), None)


@contextlib.contextmanager
def jupyterlab(folder):
    """JupyterLab over copies of the notebooks without outputs; yields a function that addresses one."""
    notebooks = folder / 'notebooks'
    notebooks.mkdir()
    for path in (ROOT / 'notebooks').glob('*.ipynb'):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == 'code':
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, notebooks / path.name)
    settings = folder / 'settings' / '@jupyterlab' / 'apputils-extension'
    settings.mkdir(parents=True)
    quiet = {'fetchNews': 'false', 'checkForUpdates': False}
    (settings / 'notification.jupyterlab-settings').write_text(json.dumps(quiet), encoding='utf-8')
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex()
    # Nothing of the reader's: neither settings nor files; this checkout is what the kernels import.
    environment = {name: value for name, value in os.environ.items() if not name.startswith('JUPYTER')}
    environment.update(
        JUPYTER_TOKEN=token,
        JUPYTER_CONFIG_DIR=str(folder / 'config'),
        JUPYTER_DATA_DIR=str(folder / 'data'),
        JUPYTER_RUNTIME_DIR=str(folder / 'runtime'),
        JUPYTERLAB_SETTINGS_DIR=str(folder / 'settings'),
        JUPYTERLAB_WORKSPACES_DIR=str(folder / 'workspaces'),
        IPYTHONDIR=str(folder / 'ipython'),
        BERTNLI_CACHE=str(folder / 'cache'),
        PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])),
    )
    for unwanted in ('BERTNLI_DATA', 'MPLBACKEND'):
        environment.pop(unwanted, None)
    command = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--expose-app-in-browser', '--allow-root']
    command += [f'--ServerApp.port={port}', '--ServerApp.port_retries=0', '--ServerApp.ip=127.0.0.1']
    with (folder / 'server.log').open('w') as log:
        server = subprocess.Popen(command, cwd=notebooks, env=environment, stdout=log, stderr=log)
    try:
        address = f'http://127.0.0.1:{port}'
        wait_for(address, server, folder / 'server.log')
        yield lambda name: f'{address}/lab/tree/{name}?token={token}&reset'
    finally:
        end(server)


def wait_for(address, server, log):
    """Returns when the server answers; fails with its log when it ended, or says nothing for too long."""
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f'{address}/api', timeout=5).close()
            return
        time.sleep(0.2)
    pytest.fail(f'JupyterLab did not start:\n{log.read_text(encoding="utf-8")}')


def end(server):
    """Ends the server and its kernels: by asking, then by force."""
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    server.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=20)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    server.wait()


@pytest.fixture(scope='module')
def browser():
    if chromium() is None:
        pytest.skip(f'no browser: none of {NAMES} is on the PATH, and BERTNLI_CHROMIUM names none')
    playwright = pytest.importorskip(
        'playwright.sync_api', reason="no Playwright: pip install '.[browser]'"
    ).sync_playwright
    quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync']
    with playwright() as library:
        browser = library.chromium.launch(executable_path=chromium(), args=quiet)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def lab(browser, tmp_path_factory):
    with jupyterlab(tmp_path_factory.mktemp('lab')) as address:
        yield address


@pytest.fixture
def page(browser, tmp_path):
    """An empty page; what it showed last is photographed, so that a failure can be looked at."""
    page = browser.new_page(viewport={'width': 1280, 'height': 900})
    page.set_default_timeout(START * 1000)
    yield page
    page.screenshot(path=tmp_path / 'last.png')
    page.close()


class Reader:
    """Somebody who reads a notebook in JupyterLab, with a keyboard."""

    def __init__(self, page, address):
        self.page = page
        page.goto(address)
        page.wait_for_selector('.jp-Notebook .jp-Cell', timeout=START * 1000)
        # The kernel must be there, or the first Shift-Enter asks which one to take.
        self.until(f'{NOTEBOOK}.sessionContext.session?.kernel?.status === "idle"', START)
        page.click('.jp-Notebook .jp-Cell >> nth=0')
        page.keyboard.press('Escape')

    def until(self, expression, seconds):
        self.page.wait_for_function(expression, timeout=seconds * 1000, polling=100)

    def cells(self):
        """The type and the source of each cell."""
        return self.page.evaluate(
            f'{NOTEBOOK}.content.widgets.map(cell => [cell.model.type, cell.model.sharedModel.getSource()])'
        )

    def shift_enter(self, number, kind):
        """Runs the active cell, which is the one with this number, to its end; fails if it does."""
        assert self.page.evaluate(f'{NOTEBOOK}.content.activeCellIndex') == number
        self.page.keyboard.press('Shift+Enter')
        if kind == 'code':
            model = f'{NOTEBOOK}.content.widgets[{number}].model'
            self.until(f'{model}.executionCount !== null && {model}.executionState === "idle"', CELL)
            kinds = self.page.evaluate(f'{model}.outputs.toJSON().map(one => one.output_type)')
            assert 'error' not in kinds, self.output(number).inner_text()

    def output(self, number):
        """Where the outputs of a cell appear."""
        return self.page.locator(f'.jp-Cell[data-windowed-list-index="{number}"] .jp-Cell-outputArea')


@contextlib.contextmanager
def each_frame(page, number):
    """A list that holds, in the end, each new content that the picture of a cell had in a painted frame."""
    page.evaluate(WATCH, number)
    seen = []
    yield seen
    seen += page.evaluate('window.seen')


@pytest.mark.parametrize(
    'name',
    [
        '0-start-here',
        '3-bert-pretraining',
        pytest.param('1-natural-language-inference-bert', marks=pytest.mark.slow),
    ],
)
def test_a_notebook_runs_with_shift_enter_and_its_curves_grow_without_flicker(lab, page, tmp_path, name):
    reader = Reader(page, lab(f'{name}.ipynb'))
    committed = nbformat.read(ROOT / 'notebooks' / f'{name}.ipynb', as_version=4).cells
    for number, (kind, source) in enumerate(reader.cells()):
        with each_frame(reader.page, number) as frames:
            reader.shift_enter(number, kind)
        if has_picture(committed[number]):
            picture = reader.output(number).locator('img')
            picture.scroll_into_view_if_needed()
            assert picture.evaluate('image => image.complete && image.naturalWidth > 0')
            assert len(picture.get_attribute('alt')) > 20
            page.screenshot(path=tmp_path / f'cell-{number}.png')
        if kind == 'code' and 'LiveCurves' in source:
            first = next(place for place, content in enumerate(frames) if content)
            assert len(frames[first:]) >= 3, 'the picture has hardly changed while the network learned'
            assert all(frames[first:]), 'the picture was away in between'


def test_the_playground_is_played_with_the_keyboard_alone(lab, page, tmp_path):
    reader = Reader(page, lab('0-start-here.ipynb'))
    cells = reader.cells()
    place = next(number for number, (_, source) in enumerate(cells) if 'playground(' in source)
    for number, (kind, _) in enumerate(cells[: place + 1]):
        reader.shift_enter(number, kind)
    play = reader.output(place)
    told = play.get_by_role('status')
    bars = play.get_by_role('group').first

    def press(*keys):
        for key in keys:
            page.keyboard.press(key)

    def nothing_happened_to_the_notebook():
        active = page.evaluate(f'{NOTEBOOK}.content.activeCellIndex')
        assert (len(reader.cells()), active) == (len(cells), place)

    # What is typed is answered, and an unknown word is named.
    play.get_by_label('premise', exact=True).focus()
    press('Control+A')
    page.keyboard.type('A woman plays the guitar.')
    press('Tab', 'Control+A')
    page.keyboard.type('Nobody plays a zzyzx.')
    told.get_by_text('read as <unk>: zzyzx').wait_for(timeout=ANSWER * 1000)
    before = bars.get_attribute('aria-label')
    assert before.startswith('Probabilities: ')
    bars.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / 'unknown-word.png')
    press('Control+A')
    start = time.monotonic()
    page.keyboard.type('A woman plays an instrument.')
    play.get_by_text('instrument').first.wait_for(timeout=ANSWER * 1000)
    told.first.wait_for(state='detached', timeout=ANSWER * 1000)
    assert bars.get_attribute('aria-label') != before
    print(f'28 keys answered in {time.monotonic() - start:.1f} s')
    # The button: premise and hypothesis change places, and no key reaches the notebook.
    press('Tab')
    assert page.evaluate('document.activeElement.textContent') == 'exchange'
    press('Space')
    premise = play.get_by_label('premise', exact=True)
    page.wait_for_function('box => box.value.includes("instrument")', arg=premise.element_handle())
    nothing_happened_to_the_notebook()
    # The numbers: arrows count, and letters stay letters.
    for name in ('layer', 'head'):
        press('Tab', 'ArrowUp', 'x')
        play.get_by_text(f'{name} 1').first.wait_for(timeout=ANSWER * 1000)
        nothing_happened_to_the_notebook()
    chosen = play.get_by_text('Attention, layer 1, head 1')
    chosen.wait_for(timeout=ANSWER * 1000)
    # A word of the attention: its lines alone are seen.
    lines = 'document.querySelectorAll(".attention-lines line")'
    visible = f'[...{lines}].filter(line => getComputedStyle(line).display !== "none").length'
    every = page.evaluate(visible)
    press('Tab', 'Tab', 'Tab')
    assert page.evaluate('document.activeElement.tagName') == 'g'
    assert 0 < page.evaluate(visible) < every
    chosen.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / 'one-word.png')
    # An example that fails says why; the list can be used again and again.
    examples = play.get_by_label('examples', exact=True)
    for _ in range(2):
        examples.focus()
        press('x', 'Backspace')
        page.keyboard.type('The river is deep. → The river is shallow. (it fails)')
        told.get_by_text('It fails here').wait_for(timeout=ANSWER * 1000)
        page.wait_for_function('box => box.value === ""', arg=examples.element_handle())
        nothing_happened_to_the_notebook()
    page.screenshot(path=tmp_path / 'playground.png')
    asked = play.locator('textarea').input_value()
    assert 'A woman plays the guitar.\tA woman plays an instrument.\tentailment' in asked


def test_slides_turn_without_a_network_and_pages_are_not_wider_than_the_screen(page, tmp_path):
    open_slides(page, tmp_path)
    slide = 'Reveal.getCurrentSlide()'
    titles, drawn, steps = [], 0, 0
    while True:
        seen = page.evaluate('Reveal.getIndices()')
        # Neither wider nor taller than the screen, at each step; code can be read from the last row.
        assert page.evaluate(f'{slide}.scrollWidth <= {slide}.clientWidth'), seen
        assert page.evaluate(f'{slide}.scrollHeight <= {slide}.clientHeight'), seen
        sizes = page.evaluate(f'[...{slide}.querySelectorAll("pre")].map({FONT})')
        assert [size for size in sizes if size * page.evaluate('Reveal.getScale()') < 20] == [], seen
        # A picture is large, of the 750 units that are a slide's height.
        heights = page.evaluate(f'[...{slide}.querySelectorAll("img")].map(image => image.offsetHeight)')
        assert all(height >= 250 for height in heights), seen
        drawn += len(heights)
        titles += page.evaluate(f'[...{slide}.querySelectorAll("h1, h2")].map(title => title.innerText)')
        steps += 1
        if page.evaluate('Reveal.isLastSlide() && !Reveal.availableFragments().next'):
            break
        page.keyboard.press('Space')
    assert titles[0].startswith('Natural language inference')
    assert titles[-1].startswith('Exercises')
    assert drawn > 5
    assert steps > 1.5 * page.evaluate('Reveal.getTotalSlides()'), 'outputs do not wait for the speaker'
    page.screenshot(path=tmp_path / 'slide.png')
    for path in sorted(publish().book(tmp_path / 'book').parent.rglob('*.html')):
        page.goto(path.as_uri())
        for width in (1280, 390):
            page.set_viewport_size({'width': width, 'height': 800})
            assert page.evaluate('document.documentElement.scrollWidth <= window.innerWidth'), path.name
        # On a phone, figures keep their size and scroll, so that their labels can be read.
        figures = page.evaluate(
            '[...document.querySelectorAll(".figure img")].map(image => image.offsetWidth)'
        )
        assert all(size >= 600 for size in figures), path.name


def test_the_speaker_sees_minutes_and_notes_without_a_network(page, tmp_path):
    open_slides(page, tmp_path)
    with page.expect_popup() as popup:
        page.keyboard.press('s')
    notes = popup.value.locator('.speaker-controls-notes')
    notes.get_by_text('Minutes: ').wait_for()
    assert len(notes.inner_text().split()) > 50


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_axe_finds_nothing_on_pages_and_slides(page, tmp_path, scheme):
    page.emulate_media(color_scheme=scheme)
    pages = publish().book(tmp_path / 'book').parent
    for name in ('index', '1-natural-language-inference-bert', '6-looking-inside'):
        page.goto((pages / f'{name}.html').as_uri())
        assert found_by_axe(page) == [], name
    open_slides(page, tmp_path)
    assert found_by_axe(page) == []
    # All slides, one below the other, with all that they hold.
    page.evaluate('Reveal.destroy()')
    assert found_by_axe(page) == []


def test_axe_finds_nothing_in_the_playground(lab, page):
    reader = Reader(page, lab('0-start-here.ipynb'))
    cells = reader.cells()
    place = next(number for number, (_, source) in enumerate(cells) if 'playground(' in source)
    for number, (kind, _) in enumerate(cells[: place + 1]):
        reader.shift_enter(number, kind)
    reader.output(place).get_by_role('group').first.wait_for(timeout=ANSWER * 1000)
    # What lies around it is JupyterLab's.
    inside = f'.jp-Cell[data-windowed-list-index="{place}"] .jp-OutputArea-output'
    assert found_by_axe(page, inside) == []


def found_by_axe(page, inside=None):
    """What axe-core objects to: rules, with an element that breaks each."""
    axe = pytest.importorskip(
        'axe_playwright_python.sync_playwright', reason="no axe-core: pip install '.[browser]'"
    ).Axe()
    violations = axe.run(page, inside).response['violations']
    return [(rule['id'], rule['nodes'][0]['html'][:200]) for rule in violations]


def publish():
    if importlib.util.find_spec('sphinx_revealjs') is None:
        pytest.skip("no reveal.js: pip install '.[pages]'")
    from test_pages import publish

    return publish


def open_slides(page, folder):
    page.context.set_offline(True)
    page.set_viewport_size({'width': 1280, 'height': 800})
    page.goto(publish().slides(folder / 'slides').as_uri())
    page.wait_for_function('Reveal.isReady()')


def has_picture(cell):
    return any('image/png' in output.get('data', {}) for output in cell.get('outputs', []))
