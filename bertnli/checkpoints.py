"""Weights, vocabulary, settings and labels of a model in one folder, written whole or not at all.

A folder holds three files. `weights-….safetensors` and `vocab-….json` carry their checksum in their name;
`manifest.json` names them, with sizes and checksums, and is written last, aside, and renamed: whoever reads
the folder sees the old model or the new one, never a mixture. Nothing is pickled.

Also read: the layout in which d2l publishes weights (`vocab.json` and `pretrained.params`).
"""

import dataclasses
import datetime
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path

import numpy as onp
import safetensors
import safetensors.numpy

from .devices import try_all_gpus
from .errors import CheckpointError, SettingsError
from .model import BERTClassifier, BERTModel
from .runtime import mx, np, report
from .settings import ModelSettings
from .text import LABELS
from .tokens import Vocab

__all__ = ['Checkpoint', 'load_checkpoint', 'load_pretrained_model', 'save_checkpoint', 'write_json']

_FORMAT = 1
_KINDS = {'bert': BERTModel, 'nli': BERTClassifier}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a folder held: the network on its devices, its vocabulary, and what else was written down."""

    net: object
    vocab: Vocab
    kind: str  # 'bert' with its pretraining heads, or 'nli' with the three-way head
    settings: ModelSettings
    labels: tuple
    max_len: int  # tokens a pair was truncated to in training
    notes: dict  # free: metrics, seeds, recipe


def write_json(path, content):
    """Write a JSON file whole or not at all.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(Path(folder, 'a.json'), {'a': 1})
    ...     Path(folder, 'a.json').read_text()
    '{\\n  "a": 1\\n}\\n'
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + '\n'
    _write_whole(Path(path), text.encode('utf-8'))


def _write_whole(path, content):
    """Aside, flushed to the disk, then renamed over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}-')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, 0o644)  # mkstemp's files are for their owner only
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


def save_checkpoint(folder, net, vocab, *, max_len=128, notes=None):
    """Write a `BERTModel` or `BERTClassifier` with everything that is needed to use it again.

    `notes` is any JSON content (metrics, seed, recipe) to keep beside the weights. Returns the folder.
    Raises `CheckpointError` for another kind of network or when the folder cannot be written.
    """
    kind = next((kind for kind, cls in _KINDS.items() if isinstance(net, cls)), None)
    bert = net if kind == 'bert' else getattr(net, 'bert', None)
    if not isinstance(bert, BERTModel):
        raise CheckpointError(
            'only networks of this library can be saved',
            found=type(bert or net).__name__,
            allowed='BERTModel, or BERTClassifier around one',
            remedy="for d2l's networks use net.save_parameters(path); BERTModel can load that file",
        )
    folder = Path(folder)
    weights = {name: p.list_data()[0].asnumpy() for name, p in net._collect_params_with_prefix().items()}
    files = {
        'weights': ('safetensors', safetensors.numpy.save(weights)),
        'vocab': ('json', json.dumps(vocab.idx_to_token, ensure_ascii=False, indent=0).encode('utf-8')),
    }
    manifest = {
        'format': _FORMAT,
        'kind': kind,
        'model': dataclasses.asdict(bert.settings),
        'labels': list(LABELS) if kind == 'nli' else [],
        'max_len': max_len,
        'files': {},
        'versions': {name: report()[name] for name in ('bertnli', 'mxnet', 'd2l', 'numpy', 'python')},
        'written': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'notes': notes or {},
    }
    try:
        for part, (suffix, content) in files.items():
            digest = hashlib.sha256(content).hexdigest()
            name = f'{part}-{digest[:12]}.{suffix}'
            manifest['files'][part] = {'name': name, 'bytes': len(content), 'sha256': digest}
            _write_whole(folder / name, content)
        write_json(folder / 'manifest.json', manifest)
    except OSError as error:
        raise CheckpointError(
            'the model cannot be written',
            where=str(folder),
            found=str(error),
            remedy='choose a folder that you may write to, on a disk with room; what stood there still stands',
        ) from error
    _remove_older(folder, {entry['name'] for entry in manifest['files'].values()})
    return folder


def _remove_older(folder, current):
    for path in folder.iterdir():
        if re.fullmatch(r'(weights|vocab)-[0-9a-f]{12}\.\w+', path.name) and path.name not in current:
            path.unlink()


def load_checkpoint(folder, devices=None, *, kind=None):
    """Read a folder that `save_checkpoint` wrote: a `Checkpoint` whose network is ready on `devices`.

    Sizes and checksums are compared before a file is believed. Raises `CheckpointError` if the folder is
    none, is torn, comes from the future, or holds another kind than the one asked for.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    if kind and manifest['kind'] != kind:
        wanted = {'bert': 'a pretrained BERT', 'nli': 'a fine-tuned classifier'}
        raise CheckpointError(
            'the folder holds another kind of model',
            where=str(folder),
            found=wanted[manifest['kind']],
            allowed=wanted[kind],
            remedy='`bertnli pretrain` writes the one, `bertnli finetune` the other',
        )
    try:
        settings = ModelSettings(**manifest['model'])
    except (TypeError, SettingsError) as error:
        raise _torn(folder, 'manifest.json', str(error)) from error
    content = {part: _read_verified(folder, entry) for part, entry in manifest['files'].items()}
    vocab = Vocab.from_list(json.loads(content['vocab']))
    bert = BERTModel(len(vocab), **dataclasses.asdict(settings))
    net = bert if manifest['kind'] == 'bert' else BERTClassifier(bert)
    try:
        weights = safetensors.numpy.load(content['weights'])
    except safetensors.SafetensorError as error:
        raise _torn(folder, manifest['files']['weights']['name'], str(error)) from error
    _set_weights(net, weights, devices or try_all_gpus(), str(folder))
    return Checkpoint(
        net,
        vocab,
        manifest['kind'],
        settings,
        tuple(manifest['labels']),
        manifest['max_len'],
        manifest['notes'],
    )


def _torn(folder, name, found):
    return CheckpointError(
        'a file of the model is damaged',
        where=str(folder / name),
        found=found,
        allowed='the file as it was written',
        remedy='copy the folder again, or train again',
    )


def _read_manifest(folder):
    path = folder / 'manifest.json'
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(
            'this is not a model folder',
            where=str(folder),
            found=f'no readable manifest.json ({error.strerror})',
            allowed='a folder written by `bertnli pretrain`, `finetune` or `demo`',
            remedy='check the path',
        ) from error
    except ValueError as error:
        raise _torn(folder, 'manifest.json', str(error)) from error
    needed = {'format', 'kind', 'model', 'labels', 'max_len', 'files', 'notes'}
    if not isinstance(manifest, dict) or not needed <= set(manifest):
        raise _torn(folder, 'manifest.json', 'fields are missing')
    if manifest['format'] != _FORMAT:
        raise CheckpointError(
            'the model was written in another format',
            where=str(path),
            found=manifest['format'],
            allowed=_FORMAT,
            remedy='update bertnli',
        )
    entries = manifest['files']
    if (
        manifest['kind'] not in _KINDS
        or not isinstance(entries, dict)
        or set(entries) != {'weights', 'vocab'}
    ):
        raise _torn(folder, 'manifest.json', 'unknown kind or files')
    if manifest['kind'] == 'nli' and manifest['labels'] != list(LABELS):
        raise CheckpointError(
            'the model counts its labels in another order',
            where=str(path),
            found=manifest['labels'],
            allowed=list(LABELS),
            remedy='two classes would be swapped in silence; train with this library',
        )
    return manifest


def _read_verified(folder, entry):
    """The bytes of a file, if they are the ones that the manifest describes."""
    # A name is only a name: no path leads out of the folder.
    path = folder / Path(str(entry.get('name'))).name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _torn(folder, path.name, error.strerror) from error
    if len(content) != entry.get('bytes'):
        raise _torn(folder, path.name, f'{len(content)} bytes instead of {entry.get("bytes")}')
    if hashlib.sha256(content).hexdigest() != entry.get('sha256'):
        raise _torn(folder, path.name, 'another checksum')
    return content


def _set_weights(net, weights, devices, where):
    """Put arrays into the network's parameters; names, shapes and finiteness must be right."""
    parameters = net._collect_params_with_prefix()
    wrong = sorted(set(parameters) ^ set(weights))
    wrong += [
        name for name in set(parameters) & set(weights) if parameters[name].shape != weights[name].shape
    ]
    wrong += [name for name, array in weights.items() if not onp.isfinite(array).all()]
    if wrong:
        raise CheckpointError(
            'the weights do not fit the model',
            where=where,
            found=f'missing, superfluous, misshapen or not finite: {", ".join(wrong[:5])}',
            remedy='use the weights and the settings of one and the same training',
        )
    net.initialize(mx.init.Zero(), ctx=devices)
    for name, parameter in parameters.items():
        parameter.set_data(np.array(weights[name].astype('float32')))


def load_pretrained_model(pretrained_model, devices=None, **sizes):
    """A pretrained network and its vocabulary, `(net, vocab)`, from a folder (chapter section 16.7).

    The folder is one of this library's, or has the layout of d2l's published weights (`vocab.json` and
    `pretrained.params`). The latter says nothing of its heads and dropout: heads are taken to be 64 units
    wide, as in every published BERT, dropout 0.1; `num_heads=` and `dropout=` say otherwise.
    """
    folder = Path(pretrained_model)
    if not (folder / 'pretrained.params').is_file():
        loaded = load_checkpoint(folder, devices)
        return loaded.net, loaded.vocab
    try:
        vocab = Vocab.from_list(json.loads((folder / 'vocab.json').read_bytes()))
        weights = {
            name: array.asnumpy() for name, array in mx.nd.load(str(folder / 'pretrained.params')).items()
        }
        settings = _sizes_of(weights, sizes)
    except (OSError, ValueError, KeyError, AttributeError, mx.MXNetError) as error:
        raise CheckpointError(
            'the published weights cannot be read',
            where=str(folder),
            found=f'{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}',
            allowed='vocab.json (a list of words) and pretrained.params (of a BERTModel)',
            remedy='unpack the archive again',
        ) from error
    net = BERTModel(len(vocab), **dataclasses.asdict(settings))
    _set_weights(net, weights, devices or try_all_gpus(), str(folder))
    return net, vocab


def _sizes_of(weights, sizes):
    """Read a model's settings off the shapes of its weights."""
    num_hiddens = weights['encoder.token_embedding.weight'].shape[1]
    blocks = {name.split('.')[2] for name in weights if name.startswith('encoder.blks.')}
    found = {
        'num_hiddens': num_hiddens,
        'ffn_num_hiddens': weights['encoder.blks.0.ffn.dense1.weight'].shape[0],
        'num_heads': max(1, num_hiddens // 64),
        'num_layers': len(blocks),
        'dropout': 0.1,
        'max_len': weights['encoder.pos_embedding'].shape[1],
    }
    return ModelSettings(**{**found, **sizes})
