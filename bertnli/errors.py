"""What a reader can do wrong, told with its place, its value and its remedy.

Every mistake that this library can foresee becomes one of these exceptions. Nothing here prints,
logs or exits: the command line and the notebooks decide how an error is shown.
"""

import math


class BertNLIError(Exception):
    """A mistake, with its place, its value and its remedy.

    >>> raise BertNLIError('the label is unknown', 'snli_1.0_train.txt, line 7', 'entialment',
    ...                    'entailment, contradiction, neutral or -', remedy='correct the spelling')
    Traceback (most recent call last):
    bertnli.errors.BertNLIError: the label is unknown
      where: snli_1.0_train.txt, line 7
      found: 'entialment'
      allowed: entailment, contradiction, neutral or -
      remedy: correct the spelling
    """

    def __init__(self, problem, where=None, found=None, allowed=None, remedy=None):
        """`problem` says what is wrong, `where` in which file, line or argument, `found` what is there (of an
        exception its message is kept), `allowed` what may be there, `remedy` what to do. None is not told.
        """
        super().__init__(problem)
        self.problem, self.allowed, self.remedy = problem, allowed, remedy
        self.where = None if where is None else str(where)
        self.found = str(found) if isinstance(found, Exception) else found

    def __str__(self):
        # A whole file may stand in `found`; a message is read by a person.
        found = None if self.found is None else repr(self.found)
        if found and len(found) > 200:
            found = found[:200] + '…'
        parts = {'where': self.where, 'found': found, 'allowed': self.allowed, 'remedy': self.remedy}
        lines = [f'  {name}: {part}' for name, part in parts.items() if part is not None]
        return '\n'.join([self.problem, *lines])


class DataError(BertNLIError):
    """A file, a folder or a sentence is not what it should be."""


class SettingsError(BertNLIError):
    """A number, a name or a combination of settings is not allowed."""


class RuntimeMismatch(BertNLIError):
    """This machine, its Python or its MXNet cannot do what was asked."""


class CheckpointError(BertNLIError):
    """A saved model is missing, torn, or does not fit."""


class NotFinite(BertNLIError):
    """A loss or a gradient has become infinite or undefined in the step of number `step`, counted from 0."""

    step = None


def check_finite(name, value, step, rate):
    """Raise `NotFinite` if a number of a training has become infinite or undefined."""
    if not math.isfinite(value):
        remedy = 'lower the learning rate, add warm-up, or clip the gradient (clip=1.0)'
        where = f'step {step + 1}, learning rate {rate:.3g}'
        error = NotFinite(f'the {name} is no longer a finite number', where, value, remedy=remedy)
        error.step = step
        raise error
