"""Cost against size: time grows in proportion, memory does not grow at all, and starting is quick.

Machines are noisy, so nothing here trusts a clock on the wall: times are processor times of this process,
medians of several rounds, and only their growth is judged.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as onp
import pytest
from small_models import MAX_LEN, small_bert, small_net

from bertnli import (
    Batches,
    FinetuneSettings,
    SentencePair,
    SNLIBERTDataset,
    Vocab,
    WikiTextDataset,
    predict_pairs,
    save_checkpoint,
    train_bert,
    train_nli,
)
from bertnli.runtime import gluon
from bertnli.tokens import RESERVED

WORDS = [f'word{n}' for n in range(26)]
VOCAB = Vocab(WORDS, reserved_tokens=RESERVED)  # as many words as small_models has rows
SIZES = (1_000, 4_000, 16_000)
ALL_SIZES = (*SIZES, 50_000, 150_000)


def sentences(count, seed=0):
    """As many sentences of 3 to 7 words: two of them fit into one input."""
    rng = onp.random.default_rng(seed)
    ids, lengths = rng.integers(0, len(WORDS), (count, 7)), rng.integers(3, 8, count)
    return [' '.join(WORDS[i] for i in row[:length]) for row, length in zip(ids.tolist(), lengths)]


def labelled(count):
    return [sentences(count, 1), sentences(count, 2), [n % 3 for n in range(count)]]


def exponent(work_of, sizes, rounds=3):
    """The power with which processor time grows: the slope of a line through the logarithms.

    `work_of(size)` prepares a piece of work, which is not timed, and returns it.
    """
    medians = []
    for size in sizes:
        work, times = work_of(size), []
        for _ in range(rounds):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        medians.append(statistics.median(times))
    return onp.polyfit(onp.log(sizes), onp.log(medians), 1)[0]


def snli_building(size):
    data = labelled(size)
    return lambda: SNLIBERTDataset(data, MAX_LEN, VOCAB)


def wiki_building(size):
    # A paragraph of five sentences gives four pairs.
    text = sentences(size * 5 // 4)
    paragraphs = [text[i : i + 5] for i in range(0, len(text), 5)]
    return lambda: WikiTextDataset(paragraphs, MAX_LEN, min_freq=1)


def epoch_of_batches(size):
    dataset = SNLIBERTDataset(labelled(size), MAX_LEN, VOCAB)
    return lambda: [dataset.batch(rows) for rows in Batches(dataset, 100).order(0)]


def epoch_of_masks(size):
    text = sentences(size * 5 // 4)
    dataset = WikiTextDataset([text[i : i + 5] for i in range(0, len(text), 5)], MAX_LEN, vocab=VOCAB)
    rng = onp.random.default_rng(0)
    return lambda: [dataset.batch(rows, rng) for rows in Batches(dataset, 100).order(0)]


WORKS = [snli_building, wiki_building, epoch_of_batches, epoch_of_masks]


def test_the_exponent_tells_a_line_from_a_square(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, 'process_time', lambda: clock[0])
    disturbed = itertools.cycle([1, 3, 1])  # one round of three takes longer

    def takes(power):
        return lambda size: lambda: clock.append(clock.pop() + size**power * next(disturbed))

    for power in (1, 2):
        assert exponent(takes(power), (500, 1_000, 2_000)) == pytest.approx(power)


@pytest.mark.parametrize('work_of', WORKS)
def test_time_grows_no_faster_than_the_number_of_pairs(work_of):
    # Small sizes have a fixed cost, which flattens the line: only its steepness can be wrong here.
    assert exponent(work_of, SIZES) < 1.2


@pytest.mark.slow
@pytest.mark.parametrize('work_of', WORKS)
def test_time_is_linear_from_a_thousand_pairs_to_all_of_the_chapter(work_of):
    assert 0.8 < exponent(work_of, ALL_SIZES) < 1.2


def resident():
    """Bytes of this process that lie in memory now."""
    with open('/proc/self/statm', encoding='ascii') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def check_flat(after_epoch):
    """Memory after the first epoch against memory after the last, within 5 %."""
    assert len(after_epoch) > 3
    assert max(after_epoch[1:]) < 1.05 * after_epoch[0], [round(n / 2**20) for n in after_epoch]


@pytest.mark.slow
def test_memory_is_flat_while_fine_tuning():
    train = SNLIBERTDataset(labelled(6_000), MAX_LEN, VOCAB)
    dev = Batches(SNLIBERTDataset(labelled(200), MAX_LEN, VOCAB), 100, shuffle=False)
    seen = []

    def on_log(record):
        if 'dev_acc' in record:
            seen.append(resident())

    settings = FinetuneSettings(num_epochs=6, batch_size=50)
    net = small_net()
    train_nli(net, Batches(train, 50), dev, settings, on_log=on_log, progress=False)
    check_flat(seen)


@pytest.mark.slow
def test_memory_is_flat_while_pretraining():
    text = sentences(5_000)
    dataset = WikiTextDataset([text[i : i + 5] for i in range(0, len(text), 5)], MAX_LEN, vocab=VOCAB)
    batches, seen = Batches(dataset, 50), []
    train_bert(
        batches,
        small_bert(),
        gluon.loss.SoftmaxCELoss(),
        len(VOCAB),
        log_interval=len(batches),
        num_steps=6 * len(batches),
        on_log=lambda record: seen.append(resident()),
        progress=False,
    )
    check_flat(seen)


@pytest.mark.slow
def test_memory_is_flat_while_a_stream_is_predicted():
    premises, hypotheses, _ = labelled(2_000)
    pairs = [SentencePair(p.split(), h.split(), None) for p, h in zip(premises, hypotheses)]
    stream = (pair for _ in range(10) for pair in pairs)
    seen = []
    for n, _ in enumerate(predict_pairs(small_net(), VOCAB, stream, batch_size=50, max_len=MAX_LEN)):
        if n % 4_000 == 3_999:
            seen.append(resident())
    check_flat(seen)


def in_new_process(program, *arguments):
    """What a program prints as JSON when a fresh interpreter runs it."""
    done = subprocess.run(
        [sys.executable, '-c', program, *arguments], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_package_takes_a_tenth_of_a_second_at_most():
    program = 'import time; start = time.process_time(); import bertnli; print(time.process_time() - start)'
    assert min(in_new_process(program) for _ in range(5)) < 0.1


def test_a_first_answer_from_a_saved_folder_needs_nothing_but_the_folder(tmp_path, record_property):
    """How long it takes is printed, not judged: most of it is MXNet's own import."""
    save_checkpoint(tmp_path / 'nli', small_net(), VOCAB, max_len=MAX_LEN)
    program = """
import json, sys, time
start = time.perf_counter()
import bertnli
imported = time.perf_counter()
loaded = bertnli.load_checkpoint(sys.argv[1], kind='nli')
answer = bertnli.predict_snli(loaded.net, loaded.vocab, 'word1 word2', 'word3', max_len=loaded.max_len)
print(json.dumps([imported - start, time.perf_counter() - start, sum(answer.probabilities)]))
"""
    imported, answered, total = in_new_process(program, str(tmp_path / 'nli'))
    print(f'import {imported:.3f} s, first answer after {answered:.2f} s')
    record_property('seconds_to_first_answer', answered)
    assert total == pytest.approx(1, abs=1e-5)
