"""Whole corpora against the chapter's algorithm, row by row; workers that work, die and stay away."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as onp
import psutil
import pytest

from bertnli.corpora.files import download_extract
from bertnli.datasets import SNLIBERTDataset, WikiTextDataset
from bertnli.errors import DataError, RuntimeMismatch, SettingsError
from bertnli.fast import encoding
from bertnli.runtime import d2l, gluon, mx
from bertnli.runtime import np as mxnp
from bertnli.text import read_snli, read_wiki
from bertnli.tokens import RESERVED, Vocab, tokenize

PAIRS = [
    ['A Dog runs home .', 'Two men sit', 'one'] * 7,
    ['It moves', 'They never stand up again', 'Two THREE four five six seven eight'] * 7,
    [0, 1, 2] * 7,
]
VOCAB = Vocab(tokenize(s.lower() for c in PAIRS[:2] for s in c[:2]), reserved_tokens=RESERVED)
TEXT = [['a dog runs home', 'it is fast .'], ['one'], ['two men sit', 'they stand up', 'the end .']] * 40


def chapters_rows(data, max_len, vocab):
    """What the chapter's class holds: lower-cased, shortened by a loop, joined and padded by d2l."""
    pad = vocab['<pad>']
    for premise, hypothesis, label in zip(*data):
        p, h = d2l.tokenize([premise.lower(), hypothesis.lower()])
        while len(p) + len(h) > max_len - 3:
            (p if len(p) > len(h) else h).pop()
        tokens, segments = d2l.get_tokens_and_segments(p, h)
        gap = max_len - len(tokens)
        yield vocab[tokens] + [pad] * gap, segments + [0] * gap, len(tokens), label


def check_against_the_chapter(data, max_len, vocab):
    ours = SNLIBERTDataset(data, max_len, vocab)
    theirs = [onp.array(column) for column in zip(*chapters_rows(data, max_len, vocab))]
    attributes = (ours.all_token_ids, ours.all_segments, ours.valid_lens, ours.labels)
    for mine, expected in zip(attributes, theirs):
        assert mine.shape == expected.shape
        assert (mine.asnumpy() == expected).all()


@pytest.mark.parametrize('max_len', [8, 50, 128])
def test_snli_equals_the_chapter_row_by_row_on_the_sample(max_len):
    folder = download_extract('SNLI', data_dir='sample')
    data = read_snli(folder, True, limit=3000)
    vocab = Vocab(tokenize(s.lower() for s in data[0]), min_freq=2, reserved_tokens=RESERVED)
    check_against_the_chapter(data, max_len, vocab)


@pytest.mark.parametrize('max_len', [8, 50, 128])
def test_snli_equals_the_chapter_row_by_row_on_20000_real_pairs(max_len, real_data):
    data = read_snli(download_extract('SNLI', data_dir=real_data), True, limit=20000)
    vocab = Vocab(tokenize(s.lower() for s in data[0]), min_freq=5, reserved_tokens=RESERVED)
    check_against_the_chapter(data, max_len, vocab)


def test_a_d2l_vocabulary_gives_its_own_numbers():
    theirs = d2l.Vocab(sorted(VOCAB.idx_to_token), reserved_tokens=list(RESERVED))
    check_against_the_chapter(PAIRS, 10, theirs)


def test_capitals_are_not_unknown_words(capsys):
    dataset = SNLIBERTDataset([['A DOG RUNS HOME .'], ['IT MOVES'], [0]], 16, VOCAB)
    assert VOCAB.unk not in dataset.table.flat
    assert capsys.readouterr().out == 'read 1 examples\n'


def test_the_callers_lists_are_left_alone():
    data = [list(column) for column in PAIRS]
    SNLIBERTDataset(data, 5, VOCAB)
    assert data == PAIRS


def test_an_item_has_the_chapters_shapes_and_types():
    (token_ids, segments, valid_len), label = SNLIBERTDataset(PAIRS, 12, VOCAB)[4]
    for array, shape, kind in (
        (token_ids, (12,), 'int32'),
        (segments, (12,), 'int32'),
        (valid_len, (), 'float32'),
    ):
        assert isinstance(array, mxnp.ndarray)
        assert (array.shape, array.dtype) == (shape, onp.dtype(kind))
    assert (float(label), label.dtype) == (1.0, onp.dtype('float32'))
    with pytest.raises(IndexError):
        SNLIBERTDataset(PAIRS, 12, VOCAB)[21]


def as_lists(example):
    return [as_lists(part) if isinstance(part, tuple) else part.tolist() for part in example]


@pytest.mark.parametrize('dataset', [SNLIBERTDataset(PAIRS, 12, VOCAB), WikiTextDataset(TEXT, 32)])
def test_a_slice_holds_its_items(dataset):
    def stacked(items):
        return [stacked(part) if isinstance(part[0], list) and kind else list(part) for part in zip(*items)]

    kind = isinstance(dataset, SNLIBERTDataset)
    several = dataset[2:8:2]
    items = [as_lists(dataset[row]) for row in (2, 4, 6)]
    flat = [[*item[0], item[1]] if kind else item for item in items]
    found = [*several[0], several[1]] if kind else several
    for column, expected in zip(found, zip(*flat)):
        assert isinstance(column, mxnp.ndarray)
        assert column.tolist() == list(expected)
    assert as_lists(dataset[-1]) == as_lists(dataset[len(dataset) - 1])


@pytest.mark.parametrize('dataset', [SNLIBERTDataset(PAIRS, 12, VOCAB), WikiTextDataset(TEXT, 32)])
def test_an_item_is_the_same_in_another_process(dataset):
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def answer():
        example = dataset[3]
        theirs.send(([type(part).__name__ for part in example], as_lists(example)))

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Python 3.12 warns of any fork
        process = multiprocessing.get_context('fork').Process(target=answer)
        process.start()
    assert ours.poll(60)
    example = dataset[3]
    assert ours.recv() == ([type(part).__name__ for part in example], as_lists(example))
    process.join()


def test_lists_of_words_are_sentences_too():
    split = [[sentence.split() for sentence in column] for column in PAIRS[:2]]
    ours = SNLIBERTDataset([*split, PAIRS[2]], 12, VOCAB)
    assert all((a == b).all() for a, b in zip(ours.table, SNLIBERTDataset(PAIRS, 12, VOCAB).table))
    words = [[sentence.split() for sentence in paragraph] for paragraph in TEXT]
    for vocab in (None, VOCAB):
        ours, theirs = WikiTextDataset(words, 32, vocab=vocab), WikiTextDataset(TEXT, 32, vocab=vocab)
        assert all((a == b).all() for a, b in zip(ours.table, theirs.table))
        assert ours.vocab.idx_to_token == theirs.vocab.idx_to_token


@contextlib.contextmanager
def data_loader(*args, **options):
    """Gluon's `DataLoader`, whose workers end by themselves.

    It kills them when it is deleted, and waits for ever if one has just sent something and has the lock.
    """
    loader = gluon.data.DataLoader(*args, **options)
    yield loader
    if loader._worker_pool:
        loader._worker_pool.close()
        loader._worker_pool.join()


@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')  # Python 3.12 warns of any fork
@pytest.mark.parametrize('num_workers', [0, 2])
def test_gluons_data_loader_makes_the_chapters_batches(num_workers):
    dataset = SNLIBERTDataset(PAIRS, 12, VOCAB)
    rows = list(chapters_rows(PAIRS, 12, VOCAB))
    with data_loader(dataset, 4, num_workers=num_workers) as loader:
        batches = list(loader)
    assert len(batches) == 6
    for number, ((token_ids, segments, valid_lens), labels) in enumerate(batches):
        expected = list(zip(*rows[4 * number : 4 * number + 4]))
        for array, values in zip((token_ids, segments, valid_lens, labels), expected):
            assert array.asnumpy().tolist() == list(
                map(list if hasattr(values[0], '__len__') else float, values)
            )


def test_a_batch_is_the_items_without_common_padding():
    dataset = SNLIBERTDataset(PAIRS, 12, VOCAB)
    rows = onp.array([5, 0, 20])
    (token_ids, segments, valid_lens), labels = dataset.batch(rows)
    width = int(valid_lens.max())
    assert token_ids.shape == segments.shape == (3, width)
    for place, row in enumerate(rows):
        (ids, segment, valid_len), label = dataset[row]
        assert token_ids[place].tolist() == ids[:width].tolist()
        assert segments[place].tolist() == segment[:width].tolist()
        assert (valid_lens[place], labels[place]) == (float(valid_len), float(label))
    assert dataset.lengths[rows].tolist() == valid_lens.tolist()


def test_words_are_hidden_in_the_share_asked_for_and_never_special_ones():
    vocab = Vocab(['dog', 'runs'], reserved_tokens=RESERVED)
    data = SNLIBERTDataset([['dog runs'] * 4000, ['runs'] * 4000, [0] * 4000], 8, vocab)
    rows, rng = onp.arange(4000), onp.random.default_rng(1)
    (whole, _, _), _ = data.batch(rows, rng)
    data.word_dropout = 0.25
    (same, _, _), _ = data.batch(rows)
    (read, _, _), _ = data.batch(rows, rng)
    assert (same == whole).all()
    changed = read != whole
    assert set(read[changed]) == {vocab['<mask>']}
    assert set(whole[changed]) == {vocab['dog'], vocab['runs']}
    assert changed.sum() / (3 * 4000) == pytest.approx(0.25, abs=0.02)
    # The table is not written into: the next batch begins with all words again.
    assert (data.batch(rows)[0][0] == whole).all()


def test_the_ratio_strategy_reaches_the_inputs():
    longest, ratio = (SNLIBERTDataset(PAIRS, 8, VOCAB, strategy=s) for s in ('longest', 'ratio'))
    assert longest.table.lengths[0].tolist() == [3, 2]
    assert ratio.table.lengths[0].tolist() == [4, 1]


def test_words_take_two_bytes_and_no_padding_is_kept():
    dataset = SNLIBERTDataset(PAIRS, 128, VOCAB)
    assert dataset.table.flat.dtype == onp.uint16
    assert len(dataset.table.flat) == sum(len(s.split()) for column in PAIRS[:2] for s in column)


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        ([[], [], []], 'columns are empty'),
        ([['a'], ['b', 'c'], [0]], 'of different lengths'),
        ([['a'], ['b'], [3]], 'pair 0'),
        ([['a', 'a'], ['b', 'b'], [0, 'neutral']], 'pair 1'),
        (7, 'not three columns'),
        (d2l.SNLIDataset(PAIRS, 5), 'd2l.mxnet.SNLIDataset'),
        (d2l.SNLIDataset([column[:3] for column in PAIRS], 5), 'invalid label'),
    ],
)
def test_columns_that_do_not_fit_are_refused(data, reason):
    with pytest.raises(DataError, match=reason):
        SNLIBERTDataset(data, 16, VOCAB)


def test_bad_lengths_and_vocabularies_are_refused():
    with pytest.raises(SettingsError, match='max_len'):
        SNLIBERTDataset(PAIRS, 4, VOCAB)
    for vocab in (None, Vocab(['a'])):
        with pytest.raises(DataError, match='special tokens'):
            SNLIBERTDataset(PAIRS, 16, vocab)


# --- worker processes -----------------------------------------------------------------------------


def workers(parent=None):
    """Our worker processes (joblib's own helper, one a program, is none)."""
    found = []
    for process in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if 'popen_loky' in ' '.join(process.cmdline()):
                found.append(process)
    return found


def many(copies):
    return [column * copies for column in PAIRS]


# Some seconds of work for two processes, in chunks that come back one by one.
LONG = [['a ' * 5000] * 30_000, ['b'] * 30_000, [0] * 30_000]


@contextlib.contextmanager
def on_each_worker(action, seconds=0.0):
    """Do something to every worker, once it has computed for so many seconds (starting takes half of one)."""

    def watch():
        done = set()
        while not stop.wait(0.01):
            for worker in workers():
                with contextlib.suppress(psutil.Error):
                    if worker not in done and sum(worker.cpu_times()[:2]) >= seconds:
                        action(worker)
                        done.add(worker)

    stop = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_workers_give_what_one_process_gives_and_all_end():
    alone = SNLIBERTDataset(many(100), 16, VOCAB, max_unknown=None)
    shared = SNLIBERTDataset(many(100), 16, VOCAB, num_workers=2, max_unknown=None)
    assert all((a == b).all() for a, b in zip(alone.table, shared.table))
    assert not workers()


class Evaluated(dict):
    """Words and numbers; a process which receives them evaluates an expression instead."""

    def __init__(self, expression):
        super().__init__(VOCAB.token_to_idx)
        self.expression = expression

    def __reduce__(self):
        return eval, (self.expression,)


def vocab_that(expression):
    """A vocabulary with which each worker evaluates this before its first word."""
    vocab = Vocab.from_list(VOCAB.idx_to_token)
    vocab.token_to_idx = Evaluated(expression)
    return vocab


def test_a_worker_that_dies_at_once_is_an_error():
    vocab = vocab_that('__import__("os")._exit(1)')
    with pytest.raises(RuntimeMismatch, match='worker process died') as caught:
        SNLIBERTDataset(PAIRS, 16, vocab, num_workers=2)
    assert 'num_workers=0' in caught.value.remedy


def test_a_worker_does_not_hear_ctrl_c():
    vocab = vocab_that('__import__("signal").raise_signal(2) or {}')
    assert len(SNLIBERTDataset(PAIRS, 16, vocab, num_workers=2, max_unknown=None)) == len(PAIRS[2])


# At once it dies while it starts, later at work.
@pytest.mark.parametrize('seconds', [0, 1])
def test_a_worker_that_is_killed_is_an_error_and_no_process_stays(seconds):
    died = pytest.raises(RuntimeMismatch, match='worker process died')
    with on_each_worker(psutil.Process.kill, seconds), died:
        SNLIBERTDataset(LONG, 16, VOCAB, num_workers=2)
    assert not workers()


@pytest.mark.parametrize('copies', [1, 40_000])  # the longer ones do not fit into a pipe
def test_a_worker_that_hangs_is_an_error_in_time_and_no_process_stays(monkeypatch, copies):
    monkeypatch.setattr(encoding, '_TIMEOUT', 4)
    vocab = vocab_that('__import__("os").kill(__import__("os").getpid(), 19)')  # SIGSTOP
    began = time.monotonic()
    with pytest.raises(RuntimeMismatch, match='no answer for 4 seconds'):
        SNLIBERTDataset(many(copies), 16, vocab, num_workers=2)
    assert time.monotonic() - began < 30
    assert not workers()


def test_a_worker_without_memory_is_an_error_and_no_process_stays():
    here = 'int(open("/proc/self/statm").read().split()[0]) * 4096 + 2**20'
    limit = f'(lambda r, n: r.setrlimit(r.RLIMIT_AS, (n, n)))(__import__("resource"), {here})'
    with pytest.raises(RuntimeMismatch, match='worker process died') as caught:
        SNLIBERTDataset(LONG, 16, vocab_that(f'{limit} or {{}}'), num_workers=2)
    assert 'MemoryError' in caught.value.found
    assert not workers()


@pytest.mark.parametrize(
    'method', ['forkserver', *(pytest.param(m, marks=pytest.mark.slow) for m in ('spawn', 'fork'))]
)
def test_whatever_the_start_method_of_the_program_nothing_is_left_behind(tmp_path, method):
    script = tmp_path / 'script.py'
    script.write_text(
        'import multiprocessing\n'
        f'multiprocessing.set_start_method("{method}")\n'
        'from bertnli.datasets import SNLIBERTDataset\n'
        'from bertnli.tokens import RESERVED, Vocab\n'
        'vocab = Vocab(["a"], reserved_tokens=RESERVED)\n'
        'for _ in range(2):\n'
        '    SNLIBERTDataset([["a"] * 5000, ["a"] * 5000, [0] * 5000], 8, vocab, num_workers=2)\n'
        'import psutil\n'
        'left = [p for p in psutil.Process().children() if "tracker" not in " ".join(p.cmdline())]\n'
        'print([p.status() for p in left])\n'
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, 'read 5000 examples\n' * 2 + '[]\n'), done.stderr
    assert 'leaked' not in done.stderr


def test_ctrl_c_ends_the_workers_and_is_the_only_error(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(
        'from bertnli.datasets import SNLIBERTDataset\n'
        'from bertnli.tokens import RESERVED, Vocab\n'
        'import psutil, sys\n'
        'vocab = Vocab(["a"], reserved_tokens=RESERVED)\n'
        'print("begun", flush=True)\n'
        'n = 20_000\n'
        'try:\n'
        '    SNLIBERTDataset([["a " * 5000] * n, ["a"] * n, [0] * n], 8, vocab, num_workers=2)\n'
        'except KeyboardInterrupt:\n'
        '    left = [p for p in psutil.Process().children() if "tracker" not in " ".join(p.cmdline())]\n'
        '    print("interrupted", left)\n'
    )
    # A group of its own, as in a terminal: Ctrl-C goes to the workers, too.
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == 'begun\n'
    while not any(sum(worker.cpu_times()[:2]) > 1.5 for worker in workers(process.pid)):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60) == ('interrupted []\n', '')
    assert process.returncode == 0


def test_skipped_rows_are_told_and_kept(write_snli):
    folder = write_snli([('neutral', 'a', 'b')] * 200 + [('natural', 'a', 'b')])
    with pytest.warns(UserWarning, match='1 unknown label'):
        dataset = SNLIBERTDataset.from_folder(folder, 'train', 8, VOCAB, max_unknown=None)
    assert dataset.skipped == {'unknown label': (1, [202])}


@pytest.mark.parametrize('num_workers', [0, 2])
@pytest.mark.parametrize('wrong', [None, 7, ['a', 1]])
def test_an_error_in_a_worker_is_raised_here(num_workers, wrong):
    data = [['a', wrong], ['b', 'c'], [0, 1]]
    with pytest.raises(DataError, match='not a sentence') as caught:
        SNLIBERTDataset(data, 16, VOCAB, num_workers=num_workers)
    assert caught.value.found == wrong
    assert not workers()


def test_a_script_without_a_main_guard_runs_once(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(
        'print("once")\n'
        'from bertnli.datasets import SNLIBERTDataset\n'
        'from bertnli.tokens import RESERVED, Vocab\n'
        'vocab = Vocab(["a"], reserved_tokens=RESERVED)\n'
        'SNLIBERTDataset([["a"] * 5000, ["a"] * 5000, [0] * 5000], 8, vocab, num_workers=2)\n'
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, 'once\nread 5000 examples\n'), done.stderr


def test_workers_load_no_mxnet(tmp_path):
    loaded = tmp_path / 'loaded'
    note = f'open({str(loaded)!r}, "w").write(" ".join(__import__("sys").modules))'
    vocab = vocab_that(f'{note} and {VOCAB.token_to_idx!r}')
    SNLIBERTDataset(PAIRS, 16, vocab, num_workers=2)
    modules = loaded.read_text().split()
    assert 'bertnli.fast.encoding' in modules
    assert not {'mxnet', 'd2l'} & set(modules)


# --- pretraining ----------------------------------------------------------------------------------


def test_wikitext_has_the_chapters_words_pairs_and_vocabulary():
    ours = WikiTextDataset(TEXT, 64)
    theirs = d2l._WikiTextDataset(TEXT, 64)
    assert set(ours.vocab.idx_to_token) == set(theirs.vocab.idx_to_token)
    assert len(ours) == len(theirs)
    # Where the sentence is followed by its next one, both hold the same two sentences.
    tokens, _, valid, positions, weights, answers, is_next = (
        array.asnumpy() for array in map(mxnp.stack, zip(*ours))
    )
    unmasked = tokens.copy()
    row, place = onp.nonzero(weights)
    unmasked[row, positions[row, place]] = answers[row, place]
    first = 0
    for paragraph in TEXT:
        for a, b in zip(paragraph, paragraph[1:]):
            if is_next[first]:
                words, _ = d2l.get_tokens_and_segments(a.split(), b.split())
                assert ours.vocab.to_tokens(unmasked[first, : int(valid[first])]) == words
            first += 1


def test_a_wikitext_item_has_the_chapters_shapes_and_types():
    ours, theirs = WikiTextDataset(TEXT, 64)[0], d2l._WikiTextDataset(TEXT, 64)[0]
    assert [(x.shape, x.dtype) for x in ours] == [(x.shape, x.dtype) for x in theirs]
    assert all(isinstance(x, mxnp.ndarray) for x in ours)


def test_wikitext_items_depend_on_seed_and_place_only():
    one, same, other = (WikiTextDataset(TEXT, 64, seed=seed) for seed in (1, 1, 2))
    items = [[array.tolist() for array in dataset[7]] for dataset in (one, same, other, one)]
    assert items[0] == items[1] == items[3]
    assert items[0] != items[2]
    assert (one.is_next != other.is_next).any()
    assert [array.tolist() for array in one[-1]] == [array.tolist() for array in one[len(one) - 1]]


@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
@pytest.mark.parametrize('num_workers', [0, 2])
def test_gluons_data_loader_takes_wikitext(num_workers):
    with data_loader(WikiTextDataset(TEXT, 32), 16, num_workers=num_workers) as loader:
        batch = next(iter(loader))
    assert [array.shape for array in batch] == [(16, 32), (16, 32), (16,), (16, 5), (16, 5), (16, 5), (16,)]


def test_a_wikitext_batch_is_the_items_of_those_rows():
    dataset = WikiTextDataset(TEXT, 64)
    batch = dataset.batch(onp.array([3, 9]), onp.random.default_rng(0))
    tokens, segments, valid_lens, positions, weights, answers, nsp = batch
    assert tokens.shape == segments.shape == (2, int(valid_lens.max()))
    assert positions.shape == weights.shape == answers.shape == (2, int(weights.sum(axis=1).max()))
    assert nsp.tolist() == [float(dataset[3][6]), float(dataset[9][6])]
    assert segments[0].tolist() == dataset[3][1][: segments.shape[1]].tolist()


def test_a_given_vocabulary_and_more_text_are_taken():
    vocab = Vocab(['dog'], reserved_tokens=RESERVED)
    dataset = WikiTextDataset([*TEXT, ['a new dog', 'arrives']], 64, vocab=vocab)
    assert dataset.vocab is vocab
    assert set(dataset.table.flat.tolist()) == {0, 5}
    assert len(dataset) == len(WikiTextDataset(TEXT, 64)) + 1


def test_pairs_too_long_are_left_out_and_counted():
    dataset = WikiTextDataset(TEXT, 9)
    assert dataset.lengths.max() <= 9
    assert len(dataset) + dataset.left_out == 120
    assert dataset.left_out > 0


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        (['a sentence', 'for a paragraph'], 'list of sentences'),
        ([['only one'], ['sentence each']], 'no paragraph has a next sentence'),
        ([], 'no paragraph has a next sentence'),
        ([[]], 'at least one'),
        ([['w ' * 20, 'w ' * 20]], 'no two sentences fit'),
    ],
)
def test_text_without_pairs_is_refused(text, reason):
    with pytest.raises(DataError, match=reason):
        WikiTextDataset(text, 16, min_freq=1)


def test_the_sample_is_enough_for_pretraining():
    dataset = WikiTextDataset.from_folder(download_extract('wikitext-2', data_dir='sample'), 128)
    assert len(dataset) >= 256
    assert abs(dataset.is_next.mean() - 0.5) < 0.05


def test_errors_of_the_reader_reach_the_caller(tmp_path):
    with pytest.raises(DataError, match='no file for the split train'):
        SNLIBERTDataset.from_folder(tmp_path, 'train', 16, VOCAB)
    with pytest.raises(DataError, match='cannot be read'):
        WikiTextDataset.from_folder(tmp_path, 16)


def test_from_folder_reads_what_the_readers_read(write_snli, tmp_path, capsys):
    folder = write_snli([('neutral', 'a dog', 'it runs'), ('-', 'x', 'y'), ('entailment', 'a', 'b')])
    pairs = SNLIBERTDataset.from_folder(folder, 'train', 16, VOCAB)
    assert capsys.readouterr().out == ''
    same = SNLIBERTDataset(read_snli(folder, True), 16, VOCAB)
    assert all((a == b).all() for a, b in zip(pairs.table, same.table))
    assert pairs.label_ids.tolist() == [2, 0]
    assert pairs.skipped == same.skipped == {'no gold label': (1, [3])}
    (tmp_path / 'wiki.train.tokens').write_text('\n'.join(' . '.join(p) + ' . ' for p in TEXT))
    wiki = WikiTextDataset.from_folder(tmp_path, 32, min_freq=3)
    same = WikiTextDataset(read_wiki(tmp_path), 32, min_freq=3)
    assert wiki.vocab.idx_to_token == same.vocab.idx_to_token
    assert wiki.vocab.token_freqs == same.vocab.token_freqs


def test_real_wikitext_has_the_chapters_vocabulary_and_pairs(real_data):
    folder = download_extract('wikitext-2', data_dir=real_data)
    dataset = WikiTextDataset(read_wiki(folder), 64)
    paragraphs = [d2l.tokenize(paragraph) for paragraph in d2l._read_wiki(folder)]
    sentences = [sentence for paragraph in paragraphs for sentence in paragraph]
    theirs = d2l.Vocab(sentences, min_freq=5, reserved_tokens=list(RESERVED))
    assert set(dataset.vocab.idx_to_token) == set(theirs.idx_to_token)
    assert len(dataset) + dataset.left_out == sum(len(paragraph) - 1 for paragraph in paragraphs)
    mx.nd.waitall()
