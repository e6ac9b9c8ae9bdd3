"""Frozen, typed, checked settings, and the presets as one table.

A setting stands beside the thing it sets, in the field's own word, and is checked when it is made. Nothing
here knows files, models or a command line.
"""

import dataclasses
import math
from typing import Optional

from .errors import SettingsError


def _check(name, value, kind, low=None, high=None, open_low=False):
    """One value against its type and interval; bool is no number here."""
    interval = f'{"(" if open_low else "["}{low}, {"∞" if high is None else high}]'
    right_kind = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
    if right_kind and abs(value) < 2**63:  # so it is finite, too
        above = low is None or value > low or (value == low and not open_low)
        if above and (high is None or value <= high):
            return
    raise SettingsError(
        f'{name} is not usable',
        where=name,
        found='nothing' if value is None else value,
        allowed=f'{"a whole number" if kind is int else "a number"} in {interval}',
        remedy=f'choose another {name}',
    )


def check_steps(num_steps):
    """Raise `SettingsError` unless there is at least one step."""
    if not isinstance(num_steps, int) or num_steps < 1:
        raise SettingsError('invalid number of steps', found=num_steps, allowed='a whole number from 1')


def _check_switch(name, value):
    if not isinstance(value, bool):
        raise SettingsError(
            f'{name} is not usable',
            where=name,
            found=value,
            allowed='True or False',
            remedy='choose one of the two',
        )


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """The shape of a BERT: everything but its vocabulary.

    >>> ModelSettings().num_hiddens
    128
    >>> ModelSettings(num_hiddens=100, num_heads=3)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bertnli.errors.SettingsError: num_hiddens must be a multiple of num_heads
    ...
    """

    num_hiddens: int = 128
    ffn_num_hiddens: int = 128
    num_heads: int = 2
    num_layers: int = 2
    dropout: float = 0.2
    max_len: int = 1000  # rows of the position table

    def __post_init__(self):
        for name in ('num_hiddens', 'ffn_num_hiddens', 'num_heads', 'num_layers', 'max_len'):
            _check(name, getattr(self, name), int, 1)
        _check('dropout', self.dropout, float, 0, 0.99)
        if self.num_hiddens % self.num_heads:
            raise SettingsError(
                'num_hiddens must be a multiple of num_heads',
                where='num_hiddens',
                found=f'{self.num_hiddens} units, {self.num_heads} heads',
                allowed='heads of equal width',
                remedy=f'num_hiddens={self.num_heads * (self.num_hiddens // self.num_heads + 1)}',
            )


@dataclasses.dataclass(frozen=True)
class _TrainSettings:
    """What both trainings share."""

    batch_size: int = 256  # examples a step, over all devices
    accumulate: int = 1  # parts of a batch, worked on one after another: less memory for the same step
    max_len: int = 128  # tokens a pair, special ones included
    learning_rate: float = 1e-3  # at its peak
    warmup: float = 0.0  # fraction of the steps in which the rate rises from 0
    decay: bool = False  # whether it then falls linearly to 0
    weight_decay: float = 0.0  # decoupled (AdamW); never on biases, norms
    clip: Optional[float] = None  # largest norm of the whole gradient
    seed: int = 0

    def __post_init__(self):
        _check('batch_size', self.batch_size, int, 1)
        _check('accumulate', self.accumulate, int, 1)
        _check('max_len', self.max_len, int, 5)
        _check('learning_rate', self.learning_rate, float, 0, open_low=True)
        _check('warmup', self.warmup, float, 0, 1)
        _check('weight_decay', self.weight_decay, float, 0)
        if self.clip is not None:
            _check('clip', self.clip, float, 0, open_low=True)
        _check('seed', self.seed, int, 0)

    def rate(self, step, num_steps):
        """The learning rate of step 0 … `num_steps` - 1: a linear rise, then a linear fall or none.

        >>> settings = FinetuneSettings(learning_rate=1.0, warmup=0.5, decay=True)
        >>> [settings.rate(step, 4) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
        """
        rising = self.warmup * num_steps
        if step < rising:
            return self.learning_rate * min(1.0, (step + 1) / rising)
        if not self.decay:
            return self.learning_rate
        return self.learning_rate * (num_steps - step) / (num_steps - math.ceil(rising))


@dataclasses.dataclass(frozen=True)
class PretrainSettings(_TrainSettings):
    """Masked words and next sentences: how long and how fast to learn them."""

    num_steps: int = 4000
    min_freq: int = 5  # words seen less often are `<unk>`
    pair_text: bool = False  # read the sentences of SNLI's training pairs too (never their labels)
    wiki_times: int = 1  # how often WikiText-2 is read for every time the pairs are
    count_first: bool = False  # begin with counts of neighbouring words, not at random

    def __post_init__(self):
        super().__post_init__()
        _check_switch('pair_text', self.pair_text)
        _check_switch('count_first', self.count_first)
        _check('num_steps', self.num_steps, int, 1)
        _check('min_freq', self.min_freq, int, 0)
        _check('wiki_times', self.wiki_times, int, 1)


@dataclasses.dataclass(frozen=True)
class FinetuneSettings(_TrainSettings):
    """Three labels: how long and how fast to learn them.

    >>> FinetuneSettings(num_epochs=0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bertnli.errors.SettingsError: num_epochs is not usable
    ...
    """

    learning_rate: float = 1e-4
    num_epochs: int = 5
    patience: Optional[int] = None  # stop after so many epochs in a row that are not better on dev
    dropout: Optional[float] = None  # another one than in pretraining
    word_dropout: float = 0.0  # share of the words that are hidden, others in each epoch
    align_first: bool = False  # begin with heads that look for like words in the other sentence

    def __post_init__(self):
        super().__post_init__()
        _check('num_epochs', self.num_epochs, int, 1)
        if self.patience is not None:
            _check('patience', self.patience, int, 1)
        _check('word_dropout', self.word_dropout, float, 0, 0.99)
        if self.dropout is not None:
            _check('dropout', self.dropout, float, 0, 0.99)
        _check_switch('align_first', self.align_first)


@dataclasses.dataclass(frozen=True)
class Preset:
    """One row of the table: a model and how to train it twice."""

    model: ModelSettings
    pretrain: PretrainSettings
    finetune: FinetuneSettings


def changed(settings, **values):
    """A copy with some values changed (None leaves one as it is); unknown names are refused.

    >>> changed(ModelSettings(), dropout=0.1, num_heads=None).dropout
    0.1
    >>> changed(ModelSettings(), drop=0.1)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bertnli.errors.SettingsError: ModelSettings has no such setting
    ...
    """
    known = [field.name for field in dataclasses.fields(settings)]
    for name in values:
        if name not in known:
            raise SettingsError(
                f'{type(settings).__name__} has no such setting',
                where=type(settings).__name__,
                found=name,
                allowed=', '.join(known),
                remedy='choose one of these names',
            )
    given = {name: value for name, value in values.items() if value is not None}
    return dataclasses.replace(settings, **given)


PRESETS = {
    # The seed chapter's numbers.
    'chapter': Preset(ModelSettings(), PretrainSettings(), FinetuneSettings()),
    # What the models that come with the library were trained with: both texts, and a feed-forward layer of
    # BERT's proportions.
    'tuned': Preset(
        ModelSettings(ffn_num_hiddens=512, dropout=0.05, max_len=512),
        PretrainSettings(
            batch_size=512,
            learning_rate=4e-3,
            warmup=0.05,
            decay=True,
            weight_decay=0.01,
            clip=1.0,
            min_freq=10,
            pair_text=True,
            wiki_times=3,
            count_first=True,
        ),
        FinetuneSettings(
            batch_size=128,
            learning_rate=1e-3,
            warmup=0.06,
            decay=True,
            weight_decay=0.01,
            clip=1.0,
            num_epochs=6,
            dropout=0.1,
            align_first=True,
        ),
    ),
    # The embedded sample in three minutes on two cores. No dropout: nothing is seen often enough to be learnt
    # by heart, and the steps are few.
    'demo': Preset(
        ModelSettings(dropout=0.0),
        PretrainSettings(
            batch_size=128, max_len=64, learning_rate=2e-3, warmup=0.05, decay=True, num_steps=1700
        ),
        FinetuneSettings(
            batch_size=64, max_len=64, learning_rate=1e-3, warmup=0.05, decay=True, num_epochs=12
        ),
    ),
}
