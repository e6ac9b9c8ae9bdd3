"""Whatever comes in, only a `BertNLIError` comes out: a million changed inputs, and atheris if installed."""

import contextlib
import importlib.util
import os
import random
import subprocess
import sys

import pytest
from conftest import SEED
from fuzz_targets import TARGETS
from hypothesis import given
from hypothesis import strategies as st

from bertnli import BertNLIError

PIECES = [
    '\t',
    '\n',
    '\r\n',
    '\0',
    '\ufeff',
    ' . ',
    '-',
    '"',
    "'",
    '( ',
    ' )',
    '\u2028',
    '🐕',
    '--',
    '=',
    '<mask>',
    'neutral',
]
PIECES = [b'\xff', b'\xed\xa0\x80', b'\xf4\x90\x80\x80', *(piece.encode() for piece in PIECES)]
SECONDS = os.environ.get('BERTNLI_FUZZ_SECONDS', '600')


def changed(data, rng):
    """The same bytes with a few accidents."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place, end = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
        accident = rng.randrange(6)
        if accident == 0 and data:
            data[place - 1] ^= 1 << rng.randrange(8)
        elif accident == 1:
            del data[place:end]
        elif accident == 2:
            data[place:place] = data[place : place + 30] * rng.choice((1, 2, 40))
        elif accident == 3:
            data[place:place] = bytes(rng.randrange(256) for _ in range(3))
        else:
            data[place:place] = rng.choice(PIECES)
    return bytes(data)


def fuzz(thousands):
    """How many inputs each target has survived."""
    counts = {}
    for target, (seeds, share) in TARGETS.items():
        for number in range(round(thousands * share)):
            rng = random.Random(f'{SEED} {target.__name__} {number}')
            data = changed(rng.choice(seeds), rng)
            try:
                target(data)
            except BertNLIError:
                pass
            except BaseException as error:
                raise AssertionError(f'{target.__name__} of {data[:300]!r}') from error
        counts[target.__name__] = round(thousands * share)
    return counts


@pytest.mark.parametrize('thousands', [10, pytest.param(1010, marks=pytest.mark.slow)])
def test_changed_inputs_raise_nothing_but_our_errors(thousands, record_property):
    counts = fuzz(thousands)
    record_property('inputs', counts)
    print(sum(counts.values()), 'inputs:', counts)
    assert sum(counts.values()) >= thousands * 990
    assert min(counts.values()) > 0


@pytest.mark.parametrize('target', TARGETS, ids=lambda target: target.__name__)
@given(
    data=st.one_of(
        st.binary(max_size=60), st.text(max_size=40).map(lambda text: text.encode('utf-8', 'replace'))
    )
)
def test_any_input_raises_nothing_but_our_errors(target, data):
    with contextlib.suppress(BertNLIError):
        target(data)


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec('atheris'), reason="needs pip install 'bertnli[fuzz]'")
def test_inputs_that_reach_new_lines_raise_nothing_but_our_errors(tmp_path):
    targets = os.path.join(os.path.dirname(__file__), 'fuzz_targets.py')
    done = subprocess.run(
        [sys.executable, targets, SECONDS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=int(SECONDS) + 300,
    )
    print(done.stderr[-500:])
    assert done.returncode == 0, done.stderr[-3000:]
