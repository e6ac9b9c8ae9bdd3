"""Frozen, typed, checked settings, and the presets as one table.

A setting stands beside the thing it sets, in the field's own word, and is checked when it is made. Nothing
here knows files, models or a command line.
"""

import dataclasses
import inspect
import math
from typing import Optional

from .errors import SettingsError

_KINDS = {bool: ('True or False', bool), int: ('a whole number', int), float: ('a number', (int, float))}


def _setting(default, kind, text, low=0, high=None, above=False):
    """A field, what it means, and may be: kind, lowest and highest value; `above` leaves out the lowest."""
    return dataclasses.field(default=default, metadata={'text': text, 'limits': (kind, low, high, above)})


def _described(settings):
    """The same class, with the texts of its fields in its docstring, for `?` in a notebook."""
    told = [f'`{field.name}`: {field.metadata["text"]}' for field in dataclasses.fields(settings)]
    settings.__doc__ = '\n'.join([inspect.cleandoc(settings.__doc__), '', *told])
    return settings


def check(name, value, kind, low=0, high=None, above=False):
    """Raise `SettingsError` unless a value is of its kind, finite and within its limits.

    >>> check('num_steps', 0, int, 1)
    Traceback (most recent call last):
    bertnli.errors.SettingsError: invalid num_steps
      where: num_steps
      found: 0
      allowed: a whole number in [1, ∞]
      remedy: choose another num_steps
    """
    words, types = _KINDS[kind]
    # subtle: for Python, True is a number; and a very large whole number is no float.
    right = isinstance(value, types) and isinstance(value, bool) == (kind is bool) and abs(value) < 2**63
    if right and low <= value and (value > low or not above) and (high is None or value <= high):
        return
    if kind is not bool:
        words += f' in {"(" if above else "["}{low}, {"∞" if high is None else high}]'
    found = 'nothing' if value is None else value
    remedy = f'choose another {name}'
    raise SettingsError(f'invalid {name}', where=name, found=found, allowed=words, remedy=remedy)


class _Checked:
    """Settings that are checked when they are made. None is allowed where it is the default."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (value is None and field.default is None):
                check(field.name, value, *field.metadata['limits'])


@_described
@dataclasses.dataclass(frozen=True)
class ModelSettings(_Checked):
    """The shape of a BERT: everything but its vocabulary.

    >>> ModelSettings().num_hiddens
    128
    >>> ModelSettings(num_hiddens=100, num_heads=3)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bertnli.errors.SettingsError: num_hiddens must be a multiple of num_heads
    ...
    """

    num_hiddens: int = _setting(128, int, 'units of each vector', 1)
    ffn_num_hiddens: int = _setting(128, int, 'units inside the feed-forward layers', 1)
    num_heads: int = _setting(2, int, 'heads of attention in each layer, which share the units', 1)
    num_layers: int = _setting(2, int, 'Transformer blocks', 1)
    dropout: float = _setting(0.2, float, 'share of the units that is left out in training', 0, 0.99)
    max_len: int = _setting(1000, int, 'rows of the position table: the most tokens of an input', 1)

    def __post_init__(self):
        super().__post_init__()
        if self.num_hiddens % self.num_heads:
            problem = 'num_hiddens must be a multiple of num_heads'
            found = f'{self.num_hiddens} units, {self.num_heads} heads'
            remedy = f'num_hiddens={self.num_heads * (self.num_hiddens // self.num_heads + 1)}'
            raise SettingsError(problem, 'num_hiddens', found, 'heads of equal width', remedy)


@dataclasses.dataclass(frozen=True)
class _TrainSettings(_Checked):
    """What both trainings share."""

    batch_size: int = _setting(256, int, 'examples a step, over all devices', 1)
    accumulate: int = _setting(1, int, 'parts of a batch, one after another: less memory, the same step', 1)
    max_len: int = _setting(128, int, 'tokens a pair, special ones included', 5)
    learning_rate: float = _setting(1e-3, float, "Adam's, at its peak", above=True)
    warmup: float = _setting(0.0, float, 'fraction of the steps in which the rate rises from 0', 0, 1)
    decay: bool = _setting(False, bool, 'whether it then falls linearly to 0')
    weight_decay: float = _setting(0.0, float, 'AdamW: a step takes rate times this share off all matrices')
    clip: Optional[float] = _setting(None, float, 'largest norm of the gradient (None: any)', above=True)
    seed: int = _setting(0, int, 'what order, masks, dropout and new weights are drawn from')

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


@_described
@dataclasses.dataclass(frozen=True)
class PretrainSettings(_TrainSettings):
    """Masked words and next sentences: how long and how fast to learn them.

    `train_bert` reads what concerns its steps, `bertnli pretrain` also what concerns batches and text.
    """

    num_steps: int = _setting(4000, int, 'batches, each of which changes the weights once', 1)
    min_freq: int = _setting(5, int, 'words seen less often are `<unk>`')
    pair_text: bool = _setting(False, bool, "read the sentences of SNLI's training pairs too, not labels")
    wiki_times: int = _setting(1, int, 'how often WikiText-2 is read for every time the pairs are', 1)
    count_first: bool = _setting(False, bool, 'begin with counts of neighbouring words, not at random')


@_described
@dataclasses.dataclass(frozen=True)
class FinetuneSettings(_TrainSettings):
    """Three labels: how long and how fast to learn them.

    `train_nli` reads what concerns its steps, `bertnli finetune` also what concerns pairs and network.

    >>> FinetuneSettings(num_epochs=0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    bertnli.errors.SettingsError: invalid num_epochs
    ...
    """

    learning_rate: float = _setting(1e-4, float, "Adam's, at its peak; lower than in pretraining", above=True)
    num_epochs: int = _setting(5, int, 'how often the training pairs are read', 1)
    patience: Optional[int] = _setting(None, int, 'end after so many epochs not better on dev (None: no)', 1)
    dropout: Optional[float] = _setting(None, float, 'that of fine-tuning (None: as pretrained)', 0, 0.99)
    word_dropout: float = _setting(0.0, float, 'share of the words that are hidden, each epoch anew', 0, 0.99)
    mixed_words: float = _setting(0.0, float, 'share of the words that are mixed with others', 0, 0.99)
    own_pairs: float = _setting(0.0, float, 'pairs of our own for each training pair (corpora/contrasts.py)')
    new_words: float = _setting(0.0, float, 'share of them in which a word is new', 0, 0.99)
    order_pairs: int = _setting(0, int, 'learn so many pairs of our own about order, and no others', 0)
    taught: float = _setting(0.7, float, "the teachers' share in what is learnt, if there are any", 0, 1)
    calibrate: bool = _setting(False, bool, 'fit a temperature on dev')
    align_first: bool = _setting(False, bool, 'begin with heads that look for like words across sentences')


@dataclasses.dataclass(frozen=True)
class Preset:
    """One row of the table: a `model`, and how to train it twice, `pretrain` and `finetune`."""

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
            problem, allowed = f'{type(settings).__name__} has no such setting', ', '.join(known)
            raise SettingsError(problem, type(settings).__name__, name, allowed, 'choose one of these names')
    given = {name: value for name, value in values.items() if value is not None}
    return dataclasses.replace(settings, **given)


_ADAMW = {'decay': True, 'weight_decay': 0.01, 'clip': 1.0}  # in both trainings, as BERT's authors did
_SHORT = {'max_len': 64, 'warmup': 0.05, 'decay': True}  # for the sample's short sentences, and few steps
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
            min_freq=10,
            pair_text=True,
            wiki_times=3,
            count_first=True,
            **_ADAMW,
        ),
        FinetuneSettings(
            batch_size=128,
            learning_rate=1e-3,
            warmup=0.06,
            num_epochs=6,
            dropout=0.1,
            align_first=True,
            **_ADAMW,
        ),
    ),
    # The embedded sample in three minutes on two cores. No dropout: nothing is seen often enough to be learnt
    # by heart, and the steps are few.
    'demo': Preset(
        ModelSettings(dropout=0.0),
        PretrainSettings(batch_size=128, learning_rate=2e-3, num_steps=1700, **_SHORT),
        FinetuneSettings(batch_size=64, learning_rate=1e-3, num_epochs=12, **_SHORT),
    ),
}
# A tuned classifier is fine-tuned three times more, with pairs of our own: what order can do, one word, new
# words. Of few pairs, seen often, order is learnt from every start that was tried; of many, seen seldom, not.
for _name, _changes in {
    'order': {'num_epochs': 16, 'order_pairs': 40_000},
    'contrast': {'learning_rate': 7e-4, 'num_epochs': 5, 'own_pairs': 0.8, 'calibrate': True},
    'words': {
        'learning_rate': 5e-4,
        'num_epochs': 2,
        'own_pairs': 0.6,
        'new_words': 0.2,
        'mixed_words': 0.2,
        'calibrate': True,
    },
}.items():
    _finetune = changed(PRESETS['tuned'].finetune, align_first=False, **_changes)
    PRESETS[_name] = dataclasses.replace(PRESETS['tuned'], finetune=_finetune)
