"""Settings are checked when they are made, cannot be changed afterwards, and refuse unknown names."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertnli import PRESETS, FinetuneSettings, ModelSettings, PretrainSettings, SettingsError
from bertnli.settings import changed

KINDS = (ModelSettings, PretrainSettings, FinetuneSettings)
# The least and the greatest that is allowed, and neighbours that are not.
EDGES = [
    (ModelSettings, 'num_hiddens', [2, 128], [0, -2, 1.0, '2', None, True, float('nan')]),
    (ModelSettings, 'ffn_num_hiddens', [1], [0, 2.5]),
    (ModelSettings, 'num_heads', [1, 128], [0, -1, True]),
    (ModelSettings, 'num_layers', [1, 99], [0, None]),
    (ModelSettings, 'max_len', [1], [0]),
    (ModelSettings, 'dropout', [0, 0.99], [-0.1, 1, 1.0, float('nan'), 'none', None, True]),
    (FinetuneSettings, 'batch_size', [1], [0, -1, 2.0]),
    (FinetuneSettings, 'accumulate', [1, 99], [0, -1, 2.0, None, True]),
    (FinetuneSettings, 'max_len', [5], [4, 0, -5]),
    (FinetuneSettings, 'learning_rate', [1e-9, 1, 5.0], [0, 0.0, -1, float('inf'), float('nan'), '1']),
    (FinetuneSettings, 'warmup', [0, 1], [-0.1, 1.1]),
    (FinetuneSettings, 'weight_decay', [0, 2.0], [-1e-9]),
    (FinetuneSettings, 'clip', [None, 1e-9, 5], [0, -1]),
    (FinetuneSettings, 'seed', [0, 2**40], [-1, 0.5, None]),
    (FinetuneSettings, 'num_epochs', [1], [0]),
    (FinetuneSettings, 'dropout', [None, 0, 0.5], [-0.1, 1, 'none']),
    (FinetuneSettings, 'patience', [None, 1], [0, -1, 1.5]),
    (FinetuneSettings, 'word_dropout', [0, 0.99], [-0.1, 1, None]),
    (FinetuneSettings, 'mixed_words', [0, 0.99], [-0.1, 1, None]),
    (FinetuneSettings, 'new_words', [0, 0.99], [-0.1, 1, None]),
    (FinetuneSettings, 'own_pairs', [0, 0.5, 2], [-0.1, None, 'all']),
    (FinetuneSettings, 'order_pairs', [0, 80_000], [-1, 0.5, None, 'all']),
    (FinetuneSettings, 'taught', [0, 0.7, 1], [-0.1, 1.1, None, 'all']),
    (FinetuneSettings, 'calibrate', [True, False], [1, 'no', None]),
    (FinetuneSettings, 'align_first', [True, False], [1, 'no', None]),
    (PretrainSettings, 'num_steps', [1], [0, -1]),
    (PretrainSettings, 'min_freq', [0], [-1]),
    (PretrainSettings, 'wiki_times', [1, 9], [0, 1.5, None]),
    (PretrainSettings, 'pair_text', [True, False], [0, 'yes', None]),
    (PretrainSettings, 'count_first', [True, False], [1, 'no', None]),
]
GOOD = [(kind, name, value) for kind, name, good, _ in EDGES for value in good]
BAD = [(kind, name, value) for kind, name, _, bad in EDGES for value in bad]


@pytest.mark.parametrize(('kind', 'name', 'value'), GOOD)
def test_a_value_at_the_edge_is_taken(kind, name, value):
    assert getattr(kind(**{name: value}), name) == value


@pytest.mark.parametrize(('kind', 'name', 'value'), BAD)
def test_a_value_beyond_the_edge_is_refused_by_name(kind, name, value):
    with pytest.raises(SettingsError) as caught:
        kind(**{name: value})
    assert name in caught.value.problem
    assert caught.value.allowed
    assert caught.value.remedy
    assert repr(value) in str(caught.value) or value is None


def test_heads_must_share_the_units_evenly_and_the_remedy_does():
    with pytest.raises(SettingsError, match='multiple of num_heads') as caught:
        ModelSettings(num_hiddens=100, num_heads=3)
    assert caught.value.remedy == 'num_hiddens=102'
    ModelSettings(num_hiddens=102, num_heads=3)


@pytest.mark.parametrize('kind', KINDS)
def test_settings_are_frozen_and_can_be_written_down(kind):
    settings = kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.max_len = 7
    assert kind(**json.loads(json.dumps(dataclasses.asdict(settings)))) == settings


@pytest.mark.parametrize('kind', KINDS)
def test_every_numeric_setting_has_its_edges_in_this_file(kind):
    tested = {name for _, name, _, _ in EDGES}
    assert {field.name for field in dataclasses.fields(kind)} - tested <= {'decay'}


def test_a_changed_copy_keeps_what_is_none_and_is_checked_again():
    settings = FinetuneSettings(batch_size=8, seed=3)
    assert changed(settings, batch_size=None, seed=0) == FinetuneSettings(batch_size=8, seed=0)
    assert settings.seed == 3
    with pytest.raises(SettingsError, match='batch_size'):
        changed(settings, batch_size=0)


def test_an_unknown_setting_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match='no such setting') as caught:
        changed(ModelSettings(), drop_out=0.1)
    assert 'dropout' in caught.value.allowed
    with pytest.raises(TypeError):
        ModelSettings(drop_out=0.1)


def test_the_preset_of_the_chapter_has_its_numbers():
    chapter = PRESETS['chapter']
    model = chapter.model
    assert (model.num_hiddens, model.ffn_num_hiddens, model.num_heads, model.num_layers) == (128, 128, 2, 2)
    assert (model.dropout, model.max_len) == (0.2, 1000)
    assert (chapter.pretrain.batch_size, chapter.pretrain.max_len, chapter.pretrain.num_steps) == (
        256,
        128,
        4000,
    )
    assert (chapter.finetune.learning_rate, chapter.finetune.num_epochs) == (1e-4, 5)


@pytest.mark.parametrize('name', PRESETS)
def test_a_preset_fits_together(name):
    preset = PRESETS[name]
    assert preset.pretrain.max_len <= preset.model.max_len
    assert preset.finetune.max_len <= preset.model.max_len


# --- the learning rate ----------------------------------------------------------------------------

SCHEDULES = st.builds(
    FinetuneSettings,
    learning_rate=st.floats(1e-6, 1),
    warmup=st.floats(0, 1),
    decay=st.booleans(),
)


@given(SCHEDULES, st.integers(1, 300))
def test_the_rate_rises_then_stays_or_falls_and_never_leaves_its_bounds(settings, num_steps):
    rates = [settings.rate(step, num_steps) for step in range(num_steps)]
    assert all(0 < rate <= settings.learning_rate * (1 + 1e-9) for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if not settings.decay and settings.warmup <= 1 - 1 / num_steps:
        assert math.isclose(rates[-1], settings.learning_rate)


def test_a_rate_without_schedule_is_constant():
    assert {FinetuneSettings(learning_rate=0.5).rate(step, 10) for step in range(10)} == {0.5}


def test_a_schedule_worked_out_by_hand():
    settings = PretrainSettings(learning_rate=1.0, warmup=0.2, decay=True)
    rates = [settings.rate(step, 10) for step in range(10)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
