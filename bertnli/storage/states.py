"""The state of a training in a folder, so that a run that was killed at any moment can be resumed.

A state is one file, written whole: arrays in the format of safetensors, numbers and a description of the run
as JSON beside them, and the checksum of everything in its name. An older one is kept, in case the newest is
damaged. What a state holds, training.py knows.
"""

import contextlib
import dataclasses
import hashlib
import json
import re
import time
import warnings
from pathlib import Path

import numpy as onp
import safetensors.numpy

from ..errors import CheckpointError
from ..machine.disk import read_regular, write_bytes
from ..settings import FinetuneSettings, PretrainSettings
from ..training import State

_FORMAT = 1
_SETTINGS = {'pretrain': PretrainSettings, 'finetune': FinetuneSettings}
_NAME = re.compile(r'state-[0-9]{9,}-([0-9a-f]{64})\.safetensors')


class Keeper:
    """Keeps a run's states in `folder`: `keep` of `train_bert` and `train_nli`, `load()` is their `start`.

    `run` says what makes the run this one (settings, checksums of the data) as flat JSON content: a state of
    another run is refused. Every `seconds` a state is kept (0: at each step), and so many `older` ones
    besides. `last` is the step of the newest, or None. States of an earlier run go when the first is kept.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keep = Keeper(folder, {'seed': 1}, seconds=0)
    ...     keep(5, lambda: State({'weight.0': onp.ones(2)}, {'steps': 5}))
    ...     Keeper(folder, {'seed': 1}).load()
    State(arrays={'weight.0': array([1., 1.])}, numbers={'steps': 5})
    """

    def __init__(self, folder, run, *, seconds=60, older=1):
        self.folder, self.run = Path(folder), json.loads(json.dumps(run))
        self.seconds, self.older = seconds, older
        self.last, self._paths, self._time = None, [], time.monotonic()
        self._there = self.folder.parent.exists()

    def __call__(self, steps, make_state, now=False):
        """Keep the state after a number of steps if it is time, or `now`; warn if it cannot be written."""
        if not now and time.monotonic() - self._time < self.seconds:
            return
        content = state_to_bytes(self.run, make_state())
        if content is not None:
            self._write(steps, content)
        self._time = time.monotonic()

    def _write(self, steps, content):
        path = self.folder / f'state-{steps:09d}-{hashlib.sha256(content).hexdigest()}.safetensors'
        if self.last is None:
            self._remove()
        self.tell_if_gone()
        try:
            write_bytes(path, content)
        except OSError as error:
            # Hours of work are not given up for this: there may be room again, or no need.
            warnings.warn(f'the state after step {steps} is not kept: {error}', stacklevel=4)
            return
        self.last, self._paths = steps, [*self._paths, path][-1 - self.older :]
        self._remove(self._paths)

    def tell_if_gone(self):
        """Warn if somebody deleted the folder during the training."""
        place = self.folder if self.last is not None else self.folder.parent
        if self._there and not place.exists():
            gone = f'{place} was deleted during the training'
            warnings.warn(f'{gone}; what follows is written anew', stacklevel=5)
            self.last, self._paths = None, []

    def states(self):
        """The paths of all states, of whatever run, the newest first."""
        return sorted(self.folder.glob('state-*'), reverse=True)

    def _remove(self, but=()):
        # With a dot begins what a killed process did not finish writing.
        for path in {*self.folder.glob('state-*'), *self.folder.glob('.state-*')} - {*but}:
            with contextlib.suppress(OSError):  # what stays does no harm
                path.unlink()

    def load(self):
        """The newest state that is whole, or None if there is no state at all.

        Warns if a damaged one is passed over. Raises `CheckpointError` if none is whole, if the state is
        another run's (the message says what differs), or if it comes from the future.
        """
        paths = self.states()
        for place, path in enumerate(paths):
            try:
                run, state = _read(path)
            except CheckpointError as error:
                if path == paths[-1]:
                    raise
                warnings.warn(f'an older state is used: {error}', stacklevel=2)
                continue
            check_same_run(run, self.run, path)
            self.last, self._paths = state.numbers['steps'], paths[place:][::-1]
            return state
        return None

    def clear(self):
        """Remove all states, and the folder if nothing else is in it."""
        self._remove()
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def state_to_bytes(run, state):
    """The bytes of a file, or None for a state that is not finite: nobody should resume from it."""
    if not all(onp.isfinite(array).all() for array in state.arrays.values()):
        return None
    try:
        described = json.dumps({'format': _FORMAT, 'run': run, 'numbers': state.numbers}, allow_nan=False)
    except ValueError:
        return None
    described = onp.frombuffer(described.encode(), onp.uint8)
    return safetensors.numpy.save({**state.arrays, 'described': described})


def state_from_bytes(content):
    """The format, the run and the `State` in the bytes of a file."""
    arrays = safetensors.numpy.load(content)
    described = json.loads(arrays.pop('described').tobytes())
    version, run, numbers = described['format'], described.get('run'), described.get('numbers')
    if version == _FORMAT and not (isinstance(run, dict) and isinstance(numbers['steps'], int)):
        raise ValueError('the description is incomplete')
    return version, run, State(arrays, numbers)


def _read(path):
    name = _NAME.fullmatch(path.name)
    try:
        content = read_regular(path)
        if not name or hashlib.sha256(content).hexdigest() != name[1]:
            raise ValueError('checksum mismatch')
        version, run, state = state_from_bytes(content)
    # Right checksums around content that makes no sense, written by whomever: it may fail anyhow.
    except Exception as error:
        allowed, remedy = 'the file as it was written', 'start over without --resume'
        raise CheckpointError('the state of a training is damaged', path, error, allowed, remedy) from error
    if version != _FORMAT:
        remedy = 'update bertnli, or start over without --resume'
        raise CheckpointError('unknown state format', path, version, _FORMAT, remedy)
    return run, state


def differences(found, wanted):
    """In what two descriptions of runs differ: `{name: (found, wanted)}`, by name."""
    # A setting that is younger than the run was what its default is: the new name changed nothing.
    kind = _SETTINGS.get(found.get('job'))
    found = {**dataclasses.asdict(kind()), **found} if kind else found
    both = {name: (found.get(name), wanted.get(name)) for name in sorted({*found, *wanted})}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


def check_same_run(found, wanted, where):
    """Raise `CheckpointError` if two descriptions of runs differ, and say in what.

    >>> check_same_run({'seed': 1, 'pairs': 5}, {'seed': 2, 'pairs': 5}, 'runs/bert')
    Traceback (most recent call last):
    bertnli.errors.CheckpointError: this folder belongs to a different run
      where: runs/bert
      found: 'seed: 1'
      allowed: seed: 2
      remedy: resume with the settings and data it began with, or start over without --resume
    """
    other = differences(found, wanted)
    if other:
        found, allowed = (', '.join(f'{name}: {pair[i]}' for name, pair in other.items()) for i in range(2))
        remedy = 'resume with the settings and data it began with, or start over without --resume'
        raise CheckpointError('this folder belongs to a different run', where, found, allowed, remedy)
