"""Weights, vocabulary, settings and labels of a model in one folder, written whole or not at all.

A folder holds three files. `weights-….safetensors` and `vocab-….json` carry their checksum in their name;
`manifest.json` names them, with sizes and checksums, and is written last, aside, and renamed: whoever reads
the folder sees the old model or the new one, never a mixture. Nothing is pickled, and a file is measured
and checked before it is believed.

Also read: the layout in which d2l publishes weights (`vocab.json` and `pretrained.params`).
"""

import dataclasses
import datetime
import hashlib
import json
import re
from pathlib import Path

import numpy as onp
import safetensors.numpy

from ..devices import devices_of, try_all_gpus
from ..errors import CheckpointError
from ..machine.disk import as_json, write_bytes
from ..model import BERTClassifier, BERTModel
from ..runtime import mx, np, report
from ..settings import ModelSettings
from ..text import LABELS
from ..tokens import Vocab
from .d2l_weights import _read_params, _sizes_of, _words_in

SHIPPED = ('bert-wikitext2', 'bert-nli-small')
_WEIGHTS = Path(__file__).parents[1] / 'weights'
_FORMAT = 1
_KINDS = {'bert': BERTModel, 'nli': BERTClassifier}
_NAME = re.compile(r'(weights|vocab)-[0-9a-f]{12}\.(safetensors|json)')
_ASIDE = re.compile(r'\.(weights|vocab|manifest|metrics)[.-]')  # what a killed process left over


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


def save_checkpoint(folder, net, vocab, *, max_len=128, notes=None, half=False):
    """Write a BERT or a classifier around one with everything that is needed to use it again.

    `net` is a `BERTModel`, a `BERTClassifier`, or a class of your own with the same parts (`bert`,
    `classifier`) and the same answers, which comes back as a `BERTClassifier`. `notes` is any JSON content
    (metrics, seed, recipe) to keep beside the weights; `half` keeps the weights in 16 bits, half as large and
    good to three digits. Returns the folder.
    Raises `CheckpointError`, and leaves an existing model unchanged, for a network that could not be loaded
    again (other parts or answers, weights that are not finite, another vocabulary's) or a folder that cannot
    be written.
    """
    kind = 'bert' if isinstance(net, BERTModel) else 'nli'
    bert = net if kind == 'bert' else getattr(net, 'bert', None)
    if not isinstance(bert, BERTModel):
        raise _refused(net, 'only networks of this library can be saved', found=_class_of(bert or net))
    folder = Path(folder)
    weights = _weights_of(net)
    # A good model is not replaced by one that nobody could load, or that would answer otherwise.
    rebuilt = _build(kind, len(vocab), bert.settings)
    _check_parts(net, rebuilt)
    _set_weights(rebuilt, weights, devices_of(net)[:1], 'the network to be saved')
    _check_answers(net, rebuilt, len(vocab), min(6, bert.settings.max_len))
    if half:
        with onp.errstate(over='ignore'):  # what is too large becomes infinite, and is refused below
            weights = {name: array.astype('float16') for name, array in weights.items()}
        _check_fit(weights, rebuilt, 'the network to be saved')
    files = {
        'weights': ('safetensors', safetensors.numpy.save(weights)),
        'vocab': ('json', as_json(list(vocab.idx_to_token))),
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
    for part, (suffix, content) in files.items():
        digest = hashlib.sha256(content).hexdigest()
        name = f'{part}-{digest[:12]}.{suffix}'
        manifest['files'][part] = {'name': name, 'bytes': len(content), 'sha256': digest}
    manifest = json.loads(as_json(manifest))  # as a reader will see it, keys and tuples included
    content = as_json({**manifest, 'sha256': _digest(manifest)})
    try:
        for part, entry in manifest['files'].items():
            write_bytes(folder / entry['name'], files[part][1])
        _read_back(folder, content, weights)
        write_bytes(folder / 'manifest.json', content)
    except OSError as error:
        raise CheckpointError(
            'the model cannot be written',
            where=str(folder),
            found=str(error),
            remedy='choose a folder that you may write to, with room; the existing model was left unchanged',
        ) from error
    _remove_older(folder, {entry['name'] for entry in manifest['files'].values()})
    return folder


def _class_of(thing):
    """The full name of a class: the reader's, d2l's and ours may be called alike."""
    return f'{type(thing).__module__}.{type(thing).__qualname__}'


def _refused(net, problem, found):
    return CheckpointError(
        problem,
        where=_class_of(net),
        found=found,
        allowed='a BERTModel of this library, or around one a BERTClassifier or your own class with the same '
        'parts, `bert` and `classifier`, and the same forward',
        remedy='net.save_parameters(path) keeps the weights of any class, net.load_parameters reads them',
    )


def _check_parts(net, rebuilt):
    found, expected = (set(one._collect_params_with_prefix()) for one in (net, rebuilt))
    if found != expected:
        raise _refused(net, 'this class cannot be loaded again', found=sorted(found ^ expected)[:5])


def _check_answers(net, rebuilt, vocab_size, length):
    """The same weights must mean the same: both networks answer two small random inputs alike."""
    device, rng = devices_of(net)[0], onp.random.default_rng(0)
    arrays = [rng.integers(0, high, (2, length)) for high in (vocab_size, 2)]
    inputs = [np.array(a, dtype='int32', ctx=device) for a in arrays]  # (2, T), (2, T)
    inputs += [np.array([length, (length + 1) // 2], dtype='float32', ctx=device)]  # (2,)

    def answers(one):
        if not isinstance(net, BERTModel):
            return [one(tuple(inputs))]
        return one(*inputs, np.zeros((2, 1), dtype='int32', ctx=device))[1:]

    try:
        # Another order of the sums is not another answer.
        for theirs, ours in zip(answers(net), answers(rebuilt)):
            theirs, ours = theirs.asnumpy(), ours.asnumpy()
            onp.testing.assert_allclose(theirs, ours, 1e-3, 1e-3 * abs(ours).max())
    except Exception as error:  # a class of the reader's own may fail anyhow
        raise _refused(
            net,
            'the network would answer differently once it is loaded: a folder keeps weights, no code',
            found=f'{type(error).__name__}: {" ".join(str(error).split())}',
        ) from error


def _read_back(folder, manifest, weights):
    """What now lies on the disk must load before the old model goes."""
    try:
        entries = _parse_manifest(manifest, folder)['files']
        content = {part: _read_verified(folder, part, entry) for part, entry in entries.items()}
        Vocab.from_list(_words_in(content['vocab']))
        found = safetensors.numpy.load(content['weights'])
        if not all(onp.array_equal(found[name], weights[name]) for name in {*found, *weights}):
            raise ValueError('the weights are others')
    except Exception as error:
        raise CheckpointError(
            'the model that was written cannot be loaded',
            where=str(folder),
            found=f'{type(error).__name__}: {error}',
            remedy='save it on another disk; the existing model was left unchanged',
        ) from error


def _weights_of(net):
    """All parameters as NumPy arrays, by the names under which they are saved."""
    try:
        return {name: p.list_data()[0].asnumpy() for name, p in net._collect_params_with_prefix().items()}
    except RuntimeError as error:
        raise CheckpointError(
            'the network has no weights yet',
            found=str(error).splitlines()[0],
            remedy='call net.initialize(), train, and save then',
        ) from error


def _build(kind, vocab_size, settings):
    """A network without weights."""
    bert = BERTModel(vocab_size, **dataclasses.asdict(settings))
    return bert if kind == 'bert' else BERTClassifier(bert)


def _digest(manifest):
    """The checksum of a manifest's content, whatever its spaces and lines."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _remove_older(folder, current):
    for path in folder.iterdir():
        if (_NAME.fullmatch(path.name) and path.name not in current) or _ASIDE.match(path.name):
            path.unlink()


def load_checkpoint(folder, devices=None, *, kind=None):
    """Read a folder that `save_checkpoint` wrote: a `Checkpoint` whose network is ready on `devices`.

    In place of a folder stands the name of a model that comes with this library (`SHIPPED`).

    Sizes and checksums are compared before a file is believed. Raises `CheckpointError` if the folder is
    none, is torn, comes from the future, or holds another kind than the one asked for.
    """
    folder = _folder_of(folder)
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
    content = {part: _read_verified(folder, part, entry) for part, entry in manifest['files'].items()}
    try:
        settings = ModelSettings(**manifest['model'])
        vocab = Vocab.from_list(_words_in(content['vocab']))
        weights = safetensors.numpy.load(content['weights'])
        sizes = _sizes_of(weights, '' if manifest['kind'] == 'bert' else 'bert.')
        if manifest['model'] != {**manifest['model'], **sizes}:
            raise ValueError('the settings are not those of the weights')
    # Right checksums around content that makes no sense, written by whomever: it may fail anyhow.
    except Exception as error:
        raise _torn(folder, 'manifest.json', f'{type(error).__name__}: {error}') from error
    net = _build(manifest['kind'], len(vocab), settings)
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


def _folder_of(name):
    """The folder of a model that comes with the package, or the folder of that name."""
    return _WEIGHTS / name if str(name) in SHIPPED else Path(name)


def _torn(folder, name, found):
    return CheckpointError(
        'a file of the model is damaged',
        where=str(folder / name),
        found=found,
        allowed='the file as it was written',
        remedy='copy the folder again, or train again',
    )


def _read_manifest(folder):
    try:
        return _parse_manifest((folder / 'manifest.json').read_bytes(), folder)
    except OSError as error:
        raise CheckpointError(
            'this is not a model folder',
            where=str(folder.absolute()),  # a notebook runs in its own folder, which its reader may not know
            found=f'no readable manifest.json ({error.strerror})',
            allowed='a folder written by `bertnli pretrain`, `finetune` or `demo`',
            remedy='check the path',
        ) from error


def _parse_manifest(content, folder):
    """The fields in the bytes of a `manifest.json`, without its checksum, which must be right."""
    path = folder / 'manifest.json'
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _torn(folder, 'manifest.json', str(error)) from error
    if not isinstance(manifest, dict) or 'format' not in manifest:
        raise _torn(folder, 'manifest.json', 'another content')
    if manifest['format'] != _FORMAT:
        raise CheckpointError(
            'the model was written in another format',
            where=str(path),
            found=manifest['format'],
            allowed=_FORMAT,
            remedy='update bertnli',
        )
    if manifest.pop('sha256', None) != _digest(manifest):
        raise _torn(folder, 'manifest.json', 'another checksum')
    kind, files, model = (manifest.get(name) for name in ('kind', 'files', 'model'))
    if (
        kind not in list(_KINDS)
        or not (
            isinstance(files, dict) and isinstance(model, dict) and isinstance(manifest.get('notes'), dict)
        )
        or set(files) != {'weights', 'vocab'}
        or not all(isinstance(entry, dict) for entry in files.values())
        or not isinstance(manifest.get('max_len'), int)
    ):
        raise _torn(folder, 'manifest.json', 'fields are missing, or unknown')
    if manifest.get('labels') != (list(LABELS) if kind == 'nli' else []):
        raise CheckpointError(
            'the model counts its labels in another order',
            where=str(path),
            found=manifest.get('labels'),
            allowed=list(LABELS),
            remedy='two classes would be swapped in silence; train with this library',
        )
    return manifest


def _read_verified(folder, part, entry):
    """The bytes of a file, if they are the ones that the manifest describes."""
    name, size, digest = (entry.get(key) for key in ('name', 'bytes', 'sha256'))
    # No name leads out of the folder.
    if not (isinstance(name, str) and _NAME.fullmatch(name) and name.startswith(part)):
        raise _torn(folder, 'manifest.json', f'a file of the name {name!r}')
    path = folder / name
    try:
        if path.stat().st_size != size:
            raise _torn(folder, name, f'{path.stat().st_size} bytes instead of {size}')
        content = path.read_bytes()
    except OSError as error:
        raise _torn(folder, name, error.strerror) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise _torn(folder, name, 'another checksum')
    return content


def _set_weights(net, weights, devices, where):
    """Put arrays into the network's parameters, if they fit."""
    _check_fit(weights, net, where)
    net.initialize(mx.init.Zero(), ctx=devices)
    for name, parameter in net._collect_params_with_prefix().items():
        parameter.set_data(np.array(weights[name].astype('float32')))


def _check_fit(weights, net, where):
    """Names and shapes must be the network's, and all numbers finite."""
    shapes = {name: parameter.shape for name, parameter in net._collect_params_with_prefix().items()}
    wrong = sorted(name for name in {*shapes, *weights} if _shape(weights, name) != shapes.get(name))
    wrong += [name for name, array in weights.items() if not onp.isfinite(array).all()]
    if wrong:
        raise CheckpointError(
            'the weights do not fit the model or its vocabulary, or are not finite',
            where=where,
            found=', '.join(f'{name} {_shape(weights, name) or "missing"}' for name in wrong[:5]),
            allowed=', '.join(f'{name} {shapes.get(name, "absent")}' for name in wrong[:5]),
            remedy='use weights, vocabulary and settings of one and the same training',
        )


def _shape(weights, name):
    return weights[name].shape if name in weights else None


def load_pretrained_model(pretrained_model, devices=None, **sizes):
    """A pretrained network and its vocabulary, `(net, vocab)`, from a folder (chapter section 16.7).

    The folder is one of this library's (or the name of a model that comes with it), or has the layout of
    d2l's published weights (`vocab.json` and `pretrained.params`). The latter says nothing of its heads and
    dropout: heads are taken to be 64 units wide, as in every published BERT, dropout 0.1; `num_heads=` and
    `dropout=` say otherwise.
    """
    folder = _folder_of(pretrained_model)
    if not (folder / 'pretrained.params').is_file():
        loaded = load_checkpoint(folder, devices, kind='bert')
        return loaded.net, loaded.vocab
    try:
        vocab = Vocab.from_list(_words_in((folder / 'vocab.json').read_bytes()))
        weights = _read_params((folder / 'pretrained.params').read_bytes())
        found = _sizes_of(weights)
        # Not written down anywhere: what every published BERT has.
        found = {'num_heads': max(1, found['num_hiddens'] // 64), 'dropout': 0.1, **found}
    except Exception as error:  # a damaged file may fail anyhow
        raise CheckpointError(
            'the published weights cannot be read',
            where=str(folder),
            found=f'{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}',
            allowed='vocab.json (a list of words) and pretrained.params (of a BERTModel)',
            remedy='unpack the archive again',
        ) from error
    net = _build('bert', len(vocab), ModelSettings(**{**found, **sizes}))
    _set_weights(net, weights, devices or try_all_gpus(), str(folder))
    return net, vocab
