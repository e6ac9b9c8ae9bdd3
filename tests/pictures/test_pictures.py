"""Pictures: right numbers drawn, legible, told by more than colour, described, and nobody's state touched."""

import base64
import html.parser
import inspect
import io
import math
import subprocess
import sys
import time
import types

import matplotlib
import matplotlib.backends.backend_agg  # before anything replaces the importer
import nbclient
import nbformat
import numpy
import pytest
from PIL import Image

from bertnli.errors import SettingsError
from bertnli.pictures import style as pictures
from bertnli.pictures.answers import (
    plot_challenge,
    plot_confusion,
    plot_labels,
    plot_lengths,
    plot_reliability,
    show_probabilities,
)
from bertnli.pictures.curves import LiveCurves, plot_history
from bertnli.pictures.inside import plot_attention, plot_points, show_attention_lines, show_saliency
from bertnli.pictures.speed import plot_ratios, plot_sizes, plot_speedups
from bertnli.pictures.style import save

LABELS = ['entailment', 'contradiction', 'neutral']
WORDS = '<cls> a man sleeps <sep> nobody is awake <sep>'.split()
EPOCHS = [
    {
        'epoch': 1,
        'train_loss': 1.0,
        'dev_loss': 1.01,
        'train_acc': 0.40,
        'dev_acc': 0.41,
        'learning_rate': 1e-3,
    },
    {'epoch': 1.5, 'train_loss': 0.8, 'train_acc': 0.60, 'seconds': 3.0},
    {'epoch': 2, 'train_loss': 0.5, 'dev_loss': 0.51, 'train_acc': 0.80, 'dev_acc': None, 'learning_rate': 0},
]
STEPS = [{'step': 20 * i, 'mlm_loss': 9 - i / 10, 'nsp_loss': 0.7 - i / 1000} for i in range(1, 60)]
ATTENTION = numpy.random.default_rng(0).dirichlet(numpy.ones(len(WORDS)), (3, len(WORDS)))

PICTURES = {
    'fine-tuning': lambda: plot_history(EPOCHS, title='fine-tuning'),
    'pretraining': lambda: plot_history(STEPS),
    'one point': lambda: plot_history(EPOCHS[:1]),
    'confusion': lambda: plot_confusion([[8, 1, 1], [0, 10, 0], [2, 2, 6]], LABELS, title='test'),
    'confusion, a label never seen': lambda: plot_confusion([[8, 2], [0, 0]], ['yes', 'no']),
    'lengths': lambda: plot_lengths({'premise': [5, 6, 7], 'pair': [11, 12, 400]}, max_len=20),
    'labels': lambda: plot_labels({'train': [5, 4, 3], 'dev': {'neutral': 2}}, LABELS),
    'attention': lambda: plot_attention(ATTENTION, WORDS),
    'attention of <cls>': lambda: plot_attention(ATTENTION[:, :1], WORDS, head=1),
    'points': lambda: plot_points([[0, 0], [2, 0], [1, 5], [2, 2]], [0, 0, 1, 2], LABELS, title='vectors'),
    'sizes': lambda: plot_sizes([(10, 0.4), (20, 0.5)], forecast=(80, 0.7), levels=[(0.6, 'a baseline')]),
    'speedups': lambda: plot_speedups({'one': {'fast': [(1, 1), (64, 50)]}, 'two': {'slow': [(2, 0.6)]}}),
    'ratios': lambda: plot_ratios([('training', 12.5), ('start', 0.5)]),
    'challenge': lambda: plot_challenge({'negation': 0.9, 'numbers': 0.5}, {'negation': 0.3, 'numbers': 0.6}),
    'reliability': lambda: plot_reliability([0.95, 0.85, 0.5], [1, 0, 1]),
}

PAGES = {
    'probabilities': lambda: show_probabilities([0.9, 0.04, 0.06], LABELS, title='A <b>'),
    'attention': lambda: show_attention_lines(ATTENTION[None], WORDS, title='A <b>'),
    'saliency': lambda: show_saliency(WORDS, numpy.linspace(-1, 1, len(WORDS)), title='A <b>'),
}


@pytest.fixture(params=PICTURES, scope='module')
def picture(request):
    return PICTURES[request.param]()


def texts(picture):
    return [text for text in picture.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]


def shown(picture):
    return [text.get_text() for text in texts(picture)]


def elements(page):
    """(tag, attributes) of every element, from a parser that knows HTML."""
    found, parser = [], html.parser.HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(page)
    return found


def words_of(page):
    """What a page says, without its tags."""
    found, parser = [], html.parser.HTMLParser()
    parser.handle_data = found.append
    parser.feed(page.html)
    return [text.strip() for text in found if text.strip()]


def description(png):
    with Image.open(io.BytesIO(png)) as image:
        assert image.size[0] > 400
        return image.info['Description']


def test_every_picture_is_a_png_with_one_sentence_about_itself(picture):
    assert picture.alt.endswith('.')
    assert picture.alt.count('. ') == 0
    data, metadata = picture._repr_mimebundle_()  # what Jupyter asks for
    assert elements(data['text/html'])[0][1]['alt'] == picture.alt
    assert metadata['image/png']['alt'] == picture.alt
    assert description(base64.b64decode(data['image/png'])) == picture.alt


def test_every_picture_fits_a_notebook_and_is_sharp_when_enlarged(picture):
    data, metadata = picture.bundle()
    size = metadata['image/png']
    assert size['height'] <= 480
    assert elements(data['text/html'])[0][1]['width'] == str(size['width'])
    with Image.open(io.BytesIO(base64.b64decode(data['image/png']))) as image:
        assert numpy.allclose(image.size, [2 * size['width'], 2 * size['height']], atol=2)


def test_every_word_in_every_picture_is_large_enough_for_a_lecture_hall(picture):
    assert min(text.get_fontsize() for text in texts(picture)) >= 12


def test_no_word_leaves_the_picture(picture):
    picture.draw_without_rendering()
    width, height = picture.bbox.size
    # Labels of ticks beyond an axis's end exist, but are never drawn.
    ticks = [label for axes in picture.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    for text in texts(picture):
        box = text.get_window_extent()
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside or text in ticks, text


def test_drawing_leaves_settings_alone_and_loads_no_pyplot():
    code = (
        'import sys, matplotlib\n'
        'matplotlib.rcParams["font.size"] = 7\n'
        'before = dict(matplotlib.rcParams)\n'
        'from bertnli import pictures\n'
        'pictures.speed.plot_ratios([("a", 2.0)]).png()\n'
        'assert dict(matplotlib.rcParams) == before\n'
        'assert not {"matplotlib.pyplot", "mxnet", "IPython"} & set(sys.modules)\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_a_dark_style_of_the_notebook_does_not_reach_our_pictures():
    with matplotlib.style.context('dark_background'):
        picture = plot_labels({'dev': [1, 2, 3]}, LABELS)
        image = Image.open(io.BytesIO(picture.png())).convert('RGB')
    assert image.getpixel((1, 1)) == (255, 255, 255)


# ---------------------------------------------------------------------------------------------- curves


def lines(picture, title):
    axes = next(axes for axes in picture.axes if axes.get_title(loc='left') == title)
    return [(line.get_xdata(), line.get_ydata(), line) for line in axes.get_lines()]


def test_curves_show_the_records_and_leave_out_what_is_missing():
    (x, y, _), (dev_x, dev_y, _), (_, guess, _) = lines(plot_history(EPOCHS), 'accuracy')
    assert (list(x), list(y)) == ([1, 1.5, 2], [0.4, 0.6, 0.8])
    assert (list(dev_x), list(dev_y)) == ([1], [0.41])
    assert list(guess) == pytest.approx([1 / 3, 1 / 3])


def test_the_level_of_guessing_is_drawn_and_named():
    picture = plot_history(STEPS)
    assert lines(picture, 'next sentence: loss')[-1][1][0] == pytest.approx(math.log(2))
    assert 'guessing: ln 2' in shown(picture)
    assert len(lines(picture, 'masked words: loss')) == 1


def test_lines_differ_by_style_and_marker_not_only_by_colour():
    drawn = [(line.get_linestyle(), line.get_marker()) for _, _, line in lines(plot_history(EPOCHS), 'loss')]
    assert len({style for style, _ in drawn}) == len(drawn) == 3
    assert len({marker for _, marker in drawn[:2]}) == 2


def test_names_at_the_line_ends_do_not_cover_each_other():
    close = [{'epoch': i, 'train_acc': 0.34, 'dev_acc': 0.341, 'test_acc': 0.3405} for i in (1, 2)]
    top = [{'epoch': i, 'train_acc': 1.0, 'dev_acc': 0.999, 'test_acc': 0.998} for i in (1, 2)]
    for records in (close, top):
        picture = plot_history(records)
        picture.draw_without_rendering()
        names = [t for t in texts(picture) if isinstance(t, matplotlib.text.Annotation)]
        boxes = [name.get_window_extent() for name in names]
        assert len(boxes) == 4
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i]), names[i]


def test_a_constant_learning_rate_gets_no_axes_and_a_changing_one_does():
    assert any(axes.get_title(loc='left') == 'learning rate' for axes in plot_history(EPOCHS).axes)
    steady = [{'step': i, 'nsp_loss': 0.5, 'learning_rate': 0.1} for i in range(3)]
    assert len(plot_history(steady).axes) == 1


def test_undefined_losses_are_left_out():
    picture = plot_history([{'step': 1, 'mlm_loss': 9.0}, {'step': 2, 'mlm_loss': math.nan}])
    assert list(lines(picture, 'masked words: loss')[0][1]) == [9.0]


def test_x_chooses_between_step_and_epoch():
    records = [{'step': 10, 'epoch': 1, 'dev_acc': 0.5}, {'step': 20, 'epoch': 2, 'dev_acc': 0.6}]
    assert list(lines(plot_history(records), 'accuracy')[0][0]) == [10, 20]
    assert list(lines(plot_history(records, x='epoch'), 'accuracy')[0][0]) == [1, 2]


class Shown(list):
    """Stands in for IPython's display: remembers what was shown first and what came in its place."""

    def __call__(self, data, *, metadata, raw, display_id):
        self.append(data)
        return types.SimpleNamespace(update=lambda data, *, metadata, raw: self.append(data))


def svg_of(page):
    """The elements of an SVG that a page shows as an image, and its words."""
    source = elements(page)[0][1]['src'].removeprefix('data:image/svg+xml;base64,')
    text = base64.b64decode(source).decode()
    return elements(text), words_of(types.SimpleNamespace(html=text))


@pytest.fixture
def clock(monkeypatch):
    """A list of what is displayed, and the time, which stands still."""
    display, now = Shown(), [0.0]
    monkeypatch.setattr('bertnli.pictures.curves._in_notebook', lambda: True)
    monkeypatch.setattr(
        'bertnli.pictures.curves.importlib.import_module', lambda name: types.SimpleNamespace(display=display)
    )
    monkeypatch.setattr('bertnli.pictures.curves.time.monotonic', lambda: now[0])
    return display, now


def test_live_curves_sketch_five_times_a_second_and_finish_with_the_figure(clock):
    display, now = clock
    with LiveCurves(end=20) as curves:
        curves({'epoch': 0})  # nothing to draw yet
        for step in range(1, 11):
            now[0] = step / 8
            curves({'epoch': step, 'dev_acc': 0.5})
        assert len(display) == 5  # 0.25 seconds after each other
    assert len(display) == 6
    curves.close()
    assert len(display) == 6  # nothing is missing
    assert display[-1]['image/png'] == curves.figure()._repr_mimebundle_()[0]['image/png']


def test_the_live_axis_goes_to_the_end_and_tells_the_time_that_is_left(clock):
    display, now = clock
    levels = {'mlm_loss': {'guessing: ln V': 9.5, 'by frequency': 6.5}}
    with LiveCurves(title='A <b>', end=100, levels=levels) as curves:
        for step in (20, 40, 60):
            now[0] = step / 10
            curves({'step': step, 'mlm_loss': 9 - step / 100, 'nsp_loss': 0.7, 'learning_rate': 1 / step})
    seen, words = svg_of(display[1]['text/html'])
    assert {'A <b>', '4 s left', '20', '100', 'guessing: ln V', 'by frequency', 'train 8.4'} <= set(words)
    frame, final = (elements(data['text/html'])[0][1] for data in (display[1], display[-1]))
    assert frame['width'] == final['width'] == seen[0][1]['width']
    height = curves.figure().bundle()[1]['image/png']['height']
    assert {svg_of(data['text/html'])[0][0][1]['height'] for data in display[:-1]} == {str(height)}
    # The curve has come half of the way, from 20 to 60.
    curve = next(one for tag, one in seen if tag == 'polyline' and 'stroke-width' in one)
    level = next(one for tag, one in seen if tag == 'polyline' and 'stroke-dasharray' in one)
    (start, *_, end), (left, right) = (
        [float(point.split(',')[0]) for point in one['points'].split()] for one in (curve, level)
    )
    assert (start, end) == (left, (left + right) / 2)
    axes = curves.figure().axes[0]
    assert axes.get_xlim()[1] == 100
    assert {line.get_ydata()[0] for line in axes.get_lines()} >= {9.5, 6.5}


def test_a_frame_of_live_curves_takes_few_milliseconds(clock):
    display, _ = clock
    curves = LiveCurves(every=0)
    for record in STEPS:
        curves(record)
    start = time.process_time()
    for _ in range(10):
        curves(STEPS[-1])
    assert len(display) == len(STEPS) + 9
    assert (time.process_time() - start) / 10 < 0.05  # a PNG takes 0.5


def test_live_curves_only_collect_outside_a_notebook():
    with LiveCurves() as curves:
        curves({'anything': 'goes'})
    assert curves.records == [{'anything': 'goes'}]


def test_a_real_kernel_shows_one_display_in_place_and_a_picture_as_last_expression():
    cells = [
        'from bertnli import LiveCurves, plot_ratios\n'
        'with LiveCurves(every=0) as curves:\n'
        '    for step in range(1, 4):\n'
        '        curves({"step": step, "mlm_loss": 9.0 - step})\n'
        '        curves._next = 0\n',
        'plot_ratios([("training", 2.0)])',
        'import matplotlib.pyplot\nplot_ratios([("training", 3.0)])',
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name='python3').execute()
    live, *last = [cell.outputs for cell in notebook.cells]
    assert [output.output_type for output in live] == ['display_data']
    assert live[0].metadata['image/png']['alt'].endswith('(train) 6.')
    for outputs, ratio in zip(last, (2, 3)):
        assert [output.output_type for output in outputs] == ['execute_result']
        assert outputs[0].metadata['image/png']['alt'] == f'Speed ratios: training {ratio}.'
        assert base64.b64decode(outputs[0].data['image/png']).startswith(b'\x89PNG')


# ------------------------------------------------------------------------------------ numbers in pictures


def test_confusion_shows_counts_and_row_shares():
    words = shown(plot_confusion([[3, 1], [0, 4000]], ['yes', 'no']))
    assert {'75 %', '25 %', '0 %', '100 %', '3', '1', '0', '4,000'} <= set(words)
    assert {'true label', 'predicted label'} <= set(words)


def test_confusion_draws_the_first_row_on_top():
    picture = plot_confusion([[3, 1], [0, 4]], ['yes', 'no'])
    picture.draw_without_rendering()
    heights = {text.get_text(): text.get_window_extent().y0 for text in texts(picture)}
    assert heights['3'] == heights['1'] > heights['0'] == heights['4']


def test_lengths_count_every_text_and_the_share_beyond_max_len():
    picture = plot_lengths({'pair': [3, 3, 4, 10]}, max_len=9)
    assert sum(bar.get_height() for bar in picture.axes[0].patches) == 4
    assert picture.axes[0].get_lines()[0].get_xdata()[0] == 9.5
    assert 'median 3.5, longest 10, 25 % longer than 9' in shown(picture)
    assert plot_lengths({'pair': [1] * 24_999 + [9]}, max_len=2).alt.endswith(' 0.004 % longer than 2.')
    assert plot_lengths({'pair': [1]}, max_len=2).alt.endswith(' 0 % longer than 2.')


def test_max_len_is_marked_behind_its_own_tokens_and_inside_the_axes():
    axes = plot_lengths({'pair': [3, 10]}, max_len=128).axes[0]
    assert axes.get_lines()[0].get_xdata()[0] == 128.5 < axes.get_xlim()[1]


def test_one_endless_text_does_not_flatten_the_histogram():
    picture = plot_lengths({'pair': [10] * 5000 + [100_000]})
    assert picture.axes[0].get_xlim()[1] < 20
    assert 'median 10, longest 100000' in shown(picture)


def test_label_bars_are_shares_and_told_apart_by_hatch():
    picture = plot_labels({'dev': [1, 1, 2]}, LABELS)
    bars = picture.axes[0].patches
    assert [bar.get_height() for bar in bars] == [25, 25, 50]
    assert len({bar.get_hatch() for bar in bars}) == 3
    assert plot_labels({'dev': dict(zip(LABELS, [1, 1, 2]))}, LABELS).alt == picture.alt


def test_probability_bars_carry_their_numbers_and_the_best_is_bold():
    page = show_probabilities([0.1, 0.25, 0.65], LABELS)
    rows = [attributes['style'] for tag, attributes in elements(page.html) if tag == 'tr']
    assert ['bold' in look for look in rows] == [False, False, True]
    assert words_of(page) == ['entailment', '10.0 %', 'contradiction', '25.0 %', 'neutral', '65.0 %']
    with pytest.raises(SettingsError, match='sum to 1'):
        show_probabilities([0.9, 0.9, 0.1], LABELS)


def test_attention_draws_every_head_or_the_chosen_one():
    def meshes(picture):
        return [
            axes.collections[0].get_array().ravel() for axes in picture.axes if axes.get_title(loc='left')
        ]

    every = meshes(plot_attention(ATTENTION, WORDS))
    assert numpy.allclose(every, ATTENTION.reshape(3, -1))
    (one,) = meshes(plot_attention(ATTENTION, WORDS, head=2))
    assert numpy.allclose(one, ATTENTION[2].ravel())


def test_attention_has_its_first_row_on_top_and_names_rows_once():
    left, right = (axes for axes in plot_attention(ATTENTION, WORDS).axes[:2])
    for axes in (left, right):
        low, high = axes.get_ylim()
        assert low > high
    assert [label.get_text() for label in left.get_yticklabels()] == WORDS
    assert {label.get_text() for label in right.get_yticklabels()} == {''}


def test_no_title_is_cut_and_its_own_lines_stay():
    long = 'A young man sleeps in the park near the old museum.\n→  A woman sleeps in the park.'
    picture = plot_labels({'dev': [1, 2, 7]}, LABELS, title=long)
    picture.draw_without_rendering()
    box = picture._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= picture.bbox.width
    lines = picture._suptitle.get_text().split('\n')
    assert ' '.join(lines) == long.replace('\n', ' ')
    assert lines[-1] == '→  A woman sleeps in the park.'


def test_attention_of_few_positions_names_its_rows():
    picture = plot_attention(ATTENTION[0, 5:6], WORDS, rows=['nobody'])
    assert [label.get_text() for label in picture.axes[0].get_yticklabels()] == ['nobody']
    assert len(picture.axes[0].get_xticklabels()) == len(WORDS)


def test_points_have_a_shape_for_each_label_and_show_the_means():
    drawn = plot_points([[0, 0], [2, 0], [1, 5]], [0, 0, 1], ['yes', 'no']).axes[0].collections
    *clouds, first, second = drawn
    assert len({cloud.get_paths()[0].vertices.tobytes() for cloud in clouds}) == 2
    assert first.get_offsets().tolist() == [[1, 0]]
    assert second.get_offsets().tolist() == [[1, 5]]


@pytest.mark.parametrize('name', PAGES)
def test_a_page_says_in_plain_text_and_to_a_screen_reader_what_it_shows(name):
    page = PAGES[name]()
    assert repr(page) == page.alt == elements(page._repr_html_())[0][1]['aria-label']
    assert 'A <b>' in words_of(page)  # what a reader typed is text, never a tag
    assert not {'b', 'cls', 'sep'} & {tag for tag, _ in elements(page.html)}


def test_words_speak_for_and_against_by_line_weight_and_number_not_by_colour_alone():
    page = show_saliency(['dog', 'no', 'a'], [0.5, -1.0, 0.0])
    assert words_of(page)[:6] == ['dog', '+0.50', 'no', '-1.00', 'a', '+0.00']
    spans = [attributes['style'] for tag, attributes in elements(page.html) if 'title' in attributes]
    assert [('solid' in style, 'dashed' in style) for style in spans[:2]] == [(True, False), (False, True)]
    assert ['font-weight: 600' in spans[0], 'font-weight: 800' in spans[1]] == [True, True]


def test_what_is_next_to_nothing_has_no_minus_and_no_dashed_line():
    page = show_saliency(['dog', 'no'], [-0.002, 0.9])
    assert words_of(page)[:4] == ['dog', '+0.00', 'no', '+0.90']
    spans = [attributes['style'] for tag, attributes in elements(page.html) if 'title' in attributes]
    assert not any('dashed' in style for style in spans)


def test_nothing_salient_is_said_and_drawn():
    assert show_saliency(['a', 'b'], [0, 0]).alt == 'Saliency of 2 words: all are 0.'


def test_attention_lines_join_the_sentences_and_belong_to_both_their_words():
    weights, words = numpy.zeros((1, 1, 4, 4)), ['dog', '<sep>', 'cat', '<sep>']
    weights[0, 0, 0, 2], weights[0, 0, 3, 0], weights[0, 0, 0, 1] = 0.6, 0.3, 0.1  # the last stays at home
    page = show_attention_lines(weights, words)
    drawn = [attributes for tag, attributes in elements(page.html) if tag == 'line']
    seen = [(one['y1'], one['y2'], 'stroke-dasharray' in one, one.get('display')) for one in drawn]
    dog, cat, end = '38', '38', '61'
    assert seen[:4] == [  # of dog: both; of cat and of the second <sep>: one each, until they are singled out
        (dog, cat, False, None),
        (end, dog, True, None),
        (dog, cat, False, 'none'),
        (end, dog, True, 'none'),
    ]
    assert len(drawn) == 6  # and small ones
    groups = [attributes for tag, attributes in elements(page.html) if tag == 'g']
    assert groups[0]['aria-label'] == 'dog looks at cat 0.60'
    assert {one['tabindex'] for one in groups} == {'0'}
    assert page.alt.endswith('dog to cat 0.60, <sep> to dog 0.30.')
    assert '22 %' in words_of(page)  # 0.9 of 4 tokens


def test_ratios_start_at_one_and_the_slower_is_hatched():
    faster, slower = plot_ratios([('a', 4.0), ('b', 0.5)]).axes[0].patches
    assert (faster.get_x(), faster.get_width(), faster.get_hatch()) == (1, 3, None)
    assert (slower.get_x(), slower.get_width(), slower.get_hatch()) == (1, -0.5, '///')


def test_reliability_agrees_with_a_worked_example():
    # Two examples at 0.95, one right (off by 0.45); two at 0.55, both right (off by 0.45).
    picture = plot_reliability([0.95, 0.95, 0.55, 0.55], [1, 0, 1, 1])
    assert 'calibration: ECE = 0.450' in shown(picture)
    assert 'accuracy 0.750' in picture.alt


# --------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    'wrong',
    [
        lambda: plot_history([]),
        lambda: plot_history([{'loss': 1.0}]),
        lambda: plot_history(EPOCHS, levels={'loss': {'guessing': 1}}),
        lambda: plot_history([{'step': 1, 'loss': 1.0}]),
        lambda: plot_history([{'step': 1, 'mlm_loss': 'low'}]),
        lambda: plot_confusion([], []),
        lambda: plot_confusion([[1, 2, 3]], ['yes']),
        lambda: plot_confusion([[1, 2], [3]], ['yes', 'no']),
        lambda: plot_confusion([[1, -1], [0, 1]], ['yes', 'no']),
        lambda: plot_confusion([[1, math.nan], [0, 1]], ['yes', 'no']),
        lambda: plot_lengths({}),
        lambda: plot_lengths([1, 2]),
        lambda: plot_lengths({'pair': []}),
        lambda: plot_labels({}, LABELS),
        lambda: plot_labels({'dev': [1, 2]}, LABELS),
        lambda: plot_labels({'dev': [0, 0, 0]}, LABELS),
        lambda: plot_labels({'dev': {'entialment': 3}}, LABELS),
        lambda: show_probabilities([2.0, -1.0, 0.0], LABELS),
        lambda: plot_attention(ATTENTION, WORDS[:-1]),
        lambda: plot_attention(ATTENTION, WORDS, head=3),
        lambda: plot_attention(ATTENTION, WORDS, rows=['one']),
        lambda: plot_attention([], []),
        lambda: plot_attention([ATTENTION], WORDS),
        lambda: plot_attention([[1.0], [1.0]], ['a']),
        lambda: plot_points([[0, 0]], [3], LABELS),
        lambda: plot_points([[0, 0, 0]], [1], LABELS),
        lambda: plot_points([[0, math.nan]], [1], LABELS),
        lambda: show_probabilities([0.5], LABELS),
        lambda: show_attention_lines(ATTENTION, WORDS),
        lambda: show_attention_lines(ATTENTION[None], WORDS, head=3),
        lambda: show_attention_lines(ATTENTION[None, ..., :3, :3], WORDS[:3]),
        lambda: show_saliency(['a'], [1, 2]),
        lambda: show_saliency(['a'], [math.inf]),
        lambda: plot_ratios([]),
        lambda: plot_ratios([('nothing', 0)]),
        lambda: plot_reliability([], []),
        lambda: plot_reliability([0.5], [1, 0]),
        lambda: plot_reliability([1.5], [1]),
        lambda: plot_reliability([0.5], [0.5]),
        lambda: plot_reliability([0.5], [1], bins=0),
    ],
)
def test_what_cannot_be_drawn_is_a_settings_error(wrong):
    with pytest.raises(SettingsError):
        wrong()


def test_an_error_says_what_numbers_were_found_and_which_are_allowed():
    with pytest.raises(SettingsError) as error:
        plot_confusion([[1, -1], [0, 1]], ['yes', 'no'])
    assert error.value.found == 'shape (2, 2), from -1 to 1'
    assert error.value.allowed == 'numbers (not below 0) of shape (2, 2)'


@pytest.mark.parametrize('largest', [1.1, 3, 60, 5000])
def test_an_axis_of_ratios_has_ticks_but_not_too_many(largest):
    axes = plot_ratios([('a', largest)]).axes[0]
    low, high = axes.get_xlim()
    assert 1 <= sum(low <= tick <= high for tick in axes.get_xticks()) <= 9


def test_a_picture_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    path, picture = tmp_path / 'new' / 'ratios.png', PICTURES['ratios']()
    save(picture, path)
    assert description(path.read_bytes()) == picture.alt
    before = path.read_bytes()

    def fail(*_):
        raise OSError('the disk is full')

    monkeypatch.setattr('os.replace', fail)
    with pytest.raises(OSError, match='full'):
        save(PICTURES['confusion'](), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_only_png_files_are_written(tmp_path):
    with pytest.raises(SettingsError, match='PNG'):
        save(PICTURES['ratios'](), tmp_path / 'ratios.pdf')
    assert list(tmp_path.iterdir()) == []


def test_a_forecast_is_hollow_and_dotted_so_that_nobody_takes_it_for_a_measurement():
    axes = plot_sizes([(10, 0.4), (20, 0.5)], forecast=(80, 0.7)).axes[0]
    measured, guessed = axes.get_lines()
    assert measured.get_xydata().tolist() == [[10, 0.4], [20, 0.5]]
    assert guessed.get_xydata().tolist() == [[20, 0.5], [80, 0.7]]
    assert (guessed.get_markerfacecolor(), guessed.get_linestyle()) == ('white', ':')
    with pytest.raises(SettingsError, match='above 0'):
        plot_sizes([(0, 0.5)])


def test_speedups_stand_beside_the_line_of_all_workers():
    picture = plot_speedups({'one': {'fast': [(2, 1.9), (8, 7)], 'slow': [(2, 1), (8, 1.5)]}})
    fast, slow, all_workers = picture.axes[0].get_lines()
    assert fast.get_xydata().tolist() == [[2, 1.9], [8, 7]]
    assert (fast.get_markerfacecolor(), fast.get_linestyle() != slow.get_linestyle()) == ('white', True)
    assert all_workers.get_xydata().tolist() == [[1, 1], [8, 8]]
    with pytest.raises(SettingsError, match='above 0'):
        plot_speedups({'one': {'fast': [(2, 0)]}})
    with pytest.raises(SettingsError, match='nothing to draw'):
        plot_speedups({})


@pytest.mark.parametrize('thing', [LiveCurves, plot_attention, pictures.element])
def test_source_is_shown_as_it_is_and_coloured_in_a_notebook(thing):
    shown = pictures.show_source(thing)
    assert repr(shown).strip() == inspect.getsource(thing).strip()
    assert repr(shown).count('\n') < 70
    coloured = elements(shown._repr_html_())
    assert len({attributes['style'] for tag, attributes in coloured if tag == 'span' and attributes}) > 3
