"""An error says what, where, which value, what is allowed and what to do, in every process."""

import copy
import pickle
from pathlib import Path

import pytest

from bertnli import BertNLIError, CheckpointError, DataError, RuntimeMismatch, SettingsError

KINDS = (BertNLIError, CheckpointError, DataError, RuntimeMismatch, SettingsError)
PARTS = {'where': 'a.txt, line 7', 'found': 'x', 'allowed': 'a or b', 'remedy': 'write a'}


@pytest.mark.parametrize('kind', KINDS)
def test_every_error_is_one_of_the_library(kind):
    with pytest.raises(BertNLIError):
        raise kind('it is wrong')


def test_an_error_is_told_in_five_lines():
    expected = "it is wrong\n  where: a.txt, line 7\n  found: 'x'\n  allowed: a or b\n  remedy: write a"
    assert str(BertNLIError('it is wrong', **PARTS)) == expected


def test_parts_by_their_places_and_by_their_names_are_the_same():
    by_name = BertNLIError('it is wrong', **PARTS)
    by_place = BertNLIError('it is wrong', Path('a.txt, line 7'), ValueError('x'), 'a or b', 'write a')
    assert vars(by_place) == vars(by_name)


@pytest.mark.parametrize('part', PARTS)
def test_parts_that_are_not_known_are_left_out(part):
    text = str(BertNLIError('it is wrong', **{part: PARTS[part]}))
    assert len(text.splitlines()) == 2
    assert part in text


@pytest.mark.parametrize('found', [0, '', False, []])
def test_a_value_that_is_empty_or_zero_is_shown_all_the_same(found):
    assert f'found: {found!r}' in str(BertNLIError('it is wrong', found=found))


def test_a_whole_file_as_the_value_found_is_cut_and_stays_on_its_line():
    text = str(BertNLIError('it is wrong', found='line\n' * 100_000))
    assert len(text) < 300
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('send', [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_arrives_whole_in_another_process(kind, send):
    error = kind('it is wrong', **PARTS)
    arrived = send(error)
    assert type(arrived) is kind
    assert str(arrived) == str(error)
    assert arrived.remedy == 'write a'
