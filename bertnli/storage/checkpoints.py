"""A model in a folder: `weights-….safetensors`, `vocab-….json`, and a `manifest.json` that names both.

The manifest is written last and renamed over the old one: whoever reads the folder sees the old model or the
new one, never a mixture. Nothing is pickled, and sizes and checksums are compared before a file is believed.
"""

import dataclasses
import datetime
import hashlib
import json
import re
import warnings
from pathlib import Path

import numpy as onp
import safetensors.numpy

from .. import runtime
from ..corpora.files import download_extract
from ..devices import check_devices, devices_of, try_all_gpus
from ..errors import CheckpointError, SettingsError
from ..machine.disk import as_json, read_regular, write_bytes
from ..model import BERTClassifier, BERTModel
from ..runtime import full_name, mx, np, parameters_by_path, report
from ..settings import ModelSettings, changed
from ..text import LABELS
from ..tokens import Vocab
from .d2l_weights import read_params, sizes_of, words_in

SHIPPED = ('bert-wikitext2', 'bert-nli-small')
_WEIGHTS = Path(__file__).parents[1] / 'weights'
_FORMAT = 1
_FIELDS = {'kind': str, 'model': dict, 'labels': list, 'max_len': int, 'files': dict, 'notes': dict}
_KINDS = {'bert': 'a pretrained BERT', 'nli': 'a fine-tuned classifier'}
_LAST = 'classifier.1.'  # weight and bias of the scores
_NAME = re.compile(r'(weights|vocab)-[0-9a-f]{12}\.(safetensors|json)')
_ASIDE = re.compile(r'\.(weights|vocab|manifest|metrics|curves)[.-]')  # what a killed process left over


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a folder held: `net` with its weights, its `vocab`, its `settings` (a `ModelSettings`), and more.

    `kind` is 'bert', with its pretraining heads, or 'nli', with the three-way head; `labels` name its scores.
    Training cut pairs to `max_len` tokens; `notes` are free: metrics, seeds, recipe.
    """

    net: object
    vocab: Vocab
    kind: str
    settings: ModelSettings
    labels: tuple
    max_len: int
    notes: dict


def save_checkpoint(folder, net, vocab, *, max_len=128, notes=None, half=False):
    """Write a BERT or a classifier around one into `folder`, with all that is needed to use it again.

    `net` is a `BERTModel`, a `BERTClassifier`, or a class of your own with the same parts (`bert`,
    `classifier`) and answers, which comes back as a `BERTClassifier`; `vocab` are its words, and training cut
    pairs to `max_len` tokens. `notes` is any JSON content; `half` keeps 16 bits of the weights, good to three
    digits. Returns the folder. Raises `CheckpointError`, and leaves an existing model unchanged, for a
    network that could not be loaded again (other parts or answers, infinite weights, another vocabulary) or a
    folder that cannot be written.
    """
    kind = 'bert' if isinstance(net, BERTModel) else 'nli'
    bert = net if kind == 'bert' else getattr(net, 'bert', None)
    if not isinstance(bert, BERTModel):
        raise _refused(net, 'only networks of this library can be saved', full_name(bert or net))
    folder = Path(folder)
    try:
        weights = {name: p.list_data()[0].asnumpy() for name, p in parameters_by_path(net).items()}
    except RuntimeError as error:
        found, remedy = str(error).splitlines()[0], 'call net.initialize(), train, and save then'
        raise CheckpointError('the network has no weights yet', None, found, remedy=remedy) from error
    # A good model is not replaced by one that nobody could load, or that would answer otherwise.
    rebuilt = _build(kind, len(vocab), bert.settings)
    if other := weights.keys() ^ parameters_by_path(rebuilt).keys():
        raise _refused(net, 'this class cannot be loaded again', sorted(other)[:5])
    _set_weights(rebuilt, weights, devices_of(net)[:1], 'the network to be saved')
    _check_answers(net, rebuilt, len(vocab), min(6, bert.settings.max_len))
    if half:
        with onp.errstate(over='ignore'):  # what is too large becomes infinite, and is refused below
            weights = {name: array.astype('float16') for name, array in weights.items()}
        _check_fit(weights, rebuilt, 'the network to be saved')
    weights_file, words = safetensors.numpy.save(weights), as_json(list(vocab.idx_to_token))
    files, entries = {}, {}
    for part, suffix, content in ('weights', 'safetensors', weights_file), ('vocab', 'json', words):
        digest = hashlib.sha256(content).hexdigest()
        name = f'{part}-{digest[:12]}.{suffix}'
        files[name], entries[part] = content, {'name': name, 'bytes': len(content), 'sha256': digest}
    manifest = {
        'format': _FORMAT,
        'kind': kind,
        'model': dataclasses.asdict(bert.settings),
        'labels': list(LABELS) if kind == 'nli' else [],
        'max_len': max_len,
        'files': entries,
        'versions': {name: report()[name] for name in ('bertnli', 'mxnet', 'd2l', 'numpy', 'python')},
        'written': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'notes': notes or {},
    }
    manifest = json.loads(as_json(manifest))  # as a reader will see it, keys and tuples included
    content = as_json({**manifest, 'sha256': _digest(manifest)})
    try:
        for name in files:
            write_bytes(folder / name, files[name])
        _read_back(folder, content, weights)
        write_bytes(folder / 'manifest.json', content)
    except OSError as error:
        remedy = 'choose a writable folder with space; the existing model was left unchanged'
        raise CheckpointError('the model cannot be written', folder, error, remedy=remedy) from error
    for path in folder.iterdir():
        if (_NAME.fullmatch(path.name) and path.name not in files) or _ASIDE.match(path.name):
            path.unlink()
    return folder


def _refused(net, problem, found):
    allowed = 'BERTModel, BERTClassifier, or a class with its parts, `bert` and `classifier`, and its forward'
    remedy = 'net.save_parameters(path) keeps the weights of any class, net.load_parameters reads them'
    return CheckpointError(problem, full_name(net), found, allowed, remedy)


def _check_answers(net, rebuilt, vocab_size, length):
    """The same weights must mean the same: both networks answer two small random inputs alike."""
    device, rng = devices_of(net)[0], onp.random.default_rng(0)
    arrays = [rng.integers(0, high, (2, length)) for high in (vocab_size, 2)]
    inputs = [np.array(a, dtype='int32', ctx=device) for a in arrays]  # (2, T), (2, T)
    inputs += [np.array([length, (length + 1) // 2], dtype='float32', ctx=device)]  # (2,)
    positions = np.zeros((2, 1), dtype='int32', ctx=device)
    bert = isinstance(net, BERTModel)
    try:
        answers = [one(*inputs, positions)[1:] if bert else [one(tuple(inputs))] for one in (net, rebuilt)]
        for theirs, ours in zip(*answers):
            theirs, ours = theirs.asnumpy(), ours.asnumpy()
            # Another order of the sums is not another answer.
            onp.testing.assert_allclose(theirs, ours, 1e-3, 1e-3 * abs(ours).max())
    except Exception as error:  # a class of the reader's own may fail anyhow
        problem = 'the network would answer differently once it is loaded: a folder keeps weights, no code'
        raise _refused(net, problem, f'{type(error).__name__}: {" ".join(str(error).split())}') from error


def _read_back(folder, manifest, weights):
    """What now lies on the disk must load before the old model goes."""
    try:
        _, found, _ = _read_files(folder, _parse_manifest(manifest, folder))
        if not all(onp.array_equal(found[name], weights[name]) for name in {*found, *weights}):
            raise ValueError('unexpected weights')
    except Exception as error:
        problem, found = 'the model that was written cannot be loaded', f'{type(error).__name__}: {error}'
        remedy = 'save it on another disk; the existing model was left unchanged'
        raise CheckpointError(problem, folder, found, remedy=remedy) from error


def _build(kind, vocab_size, settings):
    bert = BERTModel(vocab_size, **dataclasses.asdict(settings))
    return bert if kind == 'bert' else BERTClassifier(bert)


def _digest(manifest):
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def load_checkpoint(folder, devices=None, *, kind=None, calibrated=True):
    """Read a `folder` that `save_checkpoint` wrote: a `Checkpoint` whose network is ready on `devices`.

    In place of a folder stands the name of a model that comes with this library (`SHIPPED`). If its notes
    hold a `temperature`, the last layer is divided by it unless `calibrated` is False: labels stay the same;
    with `full_stop`, sentences that are typed without an end mark get one (`vocab.ends`).
    Raises `CheckpointError` for a folder that holds no model, a damaged one, or another `kind`.
    """
    folder = _folder_of(folder)
    try:
        manifest = _parse_manifest(read_regular(folder / 'manifest.json'), folder)
    except OSError as error:
        where = folder.absolute()  # a notebook runs in its own folder, which its reader may not know
        found = f'no readable manifest.json ({error.strerror})'
        allowed = f'{", ".join(SHIPPED)}, or a folder written by `bertnli pretrain`, `finetune` or `demo`'
        problem = 'this is not a model folder'
        raise CheckpointError(problem, where, found, allowed, 'check the path') from error
    if kind and manifest['kind'] != kind:
        found, allowed = _KINDS[manifest['kind']], _KINDS[kind]
        remedy = '`bertnli pretrain` writes the one, `bertnli finetune` the other'
        raise CheckpointError('the folder holds another kind of model', folder, found, allowed, remedy)
    vocab, weights, settings = _read_files(folder, manifest)
    net, notes = _build(manifest['kind'], len(vocab), settings), manifest['notes']
    vocab.ends = notes.get('full_stop', False)
    temperature = notes.get('temperature', 1) if calibrated else 1
    if temperature != 1:
        weights.update({name: weights[name] / temperature for name in weights if name.startswith(_LAST)})
    alone = hasattr(devices, 'device_typeid')
    _set_weights(net, weights, check_devices([devices] if alone else devices or try_all_gpus()), str(folder))
    kind, labels, max_len = (manifest[name] for name in ('kind', 'labels', 'max_len'))
    return Checkpoint(net, vocab, kind, settings, tuple(labels), max_len, notes)


def run_of(folder):
    """What made the model in a folder (the `run` of its notes): {} if it does not say, None without one."""
    folder = Path(folder)
    try:
        return _parse_manifest(read_regular(folder / 'manifest.json'), folder)['notes'].get('run', {})
    except FileNotFoundError:
        return None
    except (OSError, CheckpointError):
        return {}


def _read_files(folder, manifest):
    """The vocabulary, the weights and the settings of a model, which agree."""
    content = {part: _read_verified(folder, part, entry) for part, entry in manifest['files'].items()}
    try:
        vocab = Vocab.from_list(words_in(content['vocab']))
        weights = safetensors.numpy.load(content['weights'])
        sizes = sizes_of(weights, '' if manifest['kind'] == 'bert' else 'bert.')
        if manifest['model'] != {**manifest['model'], **sizes}:
            raise ValueError('the settings are not those of the weights')
        return vocab, weights, ModelSettings(**manifest['model'])
    # Right checksums around content that makes no sense, written by whomever: it may fail anyhow.
    except Exception as error:
        raise _damaged(folder, 'manifest.json', f'{type(error).__name__}: {error}') from error


def _folder_of(name):
    return _WEIGHTS / name if str(name) in SHIPPED else Path(name)


def _damaged(folder, name, found):
    allowed, remedy = 'the file as it was written', 'copy the folder again, or train again'
    return CheckpointError('a file of the model is damaged', folder / name, found, allowed, remedy)


def _parse_manifest(content, folder):
    """The fields in the bytes of a `manifest.json`, without its checksum, which must be right."""
    where = folder / 'manifest.json'
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, 'manifest.json', error) from error
    if not isinstance(manifest, dict) or 'format' not in manifest:
        raise _damaged(folder, 'manifest.json', 'unexpected content')
    if manifest['format'] != _FORMAT:
        raise CheckpointError('unknown model format', where, manifest['format'], _FORMAT, 'update bertnli')
    if manifest.pop('sha256', None) != _digest(manifest):
        raise _damaged(folder, 'manifest.json', 'checksum mismatch')
    right = all(isinstance(manifest.get(name), form) for name, form in _FIELDS.items())
    right = right and {*map(type, manifest['files'].values())} == {dict}
    if not right or manifest['kind'] not in _KINDS or {*manifest['files']} != {'weights', 'vocab'}:
        raise _damaged(folder, 'manifest.json', 'missing or unknown fields')
    found, allowed = manifest['labels'], list(LABELS) if manifest['kind'] == 'nli' else []
    if found != allowed:
        remedy = 'its answers would be swapped silently: train with this library'
        raise CheckpointError('unexpected order of labels', where, found, allowed, remedy)
    return manifest


def _read_verified(folder, part, entry):
    """The bytes of a file, if they are the ones that the manifest describes."""
    name, size, digest = (entry.get(key) for key in ('name', 'bytes', 'sha256'))
    # No name leads out of the folder.
    if not (isinstance(name, str) and _NAME.fullmatch(name) and name.startswith(part)):
        raise _damaged(folder, 'manifest.json', f'unexpected file name {name!r}')
    path = folder / name
    try:
        if path.stat().st_size != size:
            raise _damaged(folder, name, f'{path.stat().st_size} bytes instead of {size}')
        content = read_regular(path)
    except OSError as error:
        raise _damaged(folder, name, error.strerror) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise _damaged(folder, name, 'checksum mismatch')
    return content


def _set_weights(net, weights, devices, where):
    _check_fit(weights, net, where)
    net.initialize(mx.init.Zero(), ctx=devices)
    for name, parameter in parameters_by_path(net).items():
        parameter.set_data(np.array(weights[name].astype('float32')))


def _check_fit(weights, net, where):
    """Names and shapes must be the network's, and all weights finite numbers, also in 32 bits."""
    expected = {name: parameter.shape for name, parameter in parameters_by_path(net).items()}
    found = {name: array.shape for name, array in weights.items()}
    wrong = sorted(name for name in {*expected, *found} if found.get(name) != expected.get(name))[:5]
    if wrong:
        told = [', '.join(f'{name} {one.get(name, "absent")}' for name in wrong) for one in (found, expected)]
        remedy = 'use weights, vocabulary and settings of one and the same training'
        raise CheckpointError('the weights do not fit the model or its vocabulary', where, *told, remedy)
    with onp.errstate(over='ignore'):  # what is too large becomes infinite
        finite = {name: onp.isfinite(array.astype('float32')).all() for name, array in weights.items()}
    wrong = [f'{name} {a.dtype}' for name, a in weights.items() if a.dtype.kind != 'f' or not finite[name]]
    if wrong:
        found, allowed = ', '.join(wrong[:5]), 'floating-point weights, finite in 32 bits'
        remedy = 'train again with a lower learning rate, or copy the weights again'
        raise CheckpointError('some weights are not finite numbers', where, found, allowed, remedy)


def load_pretrained_model(pretrained_model, *book, **options):
    """A pretrained network and its vocabulary, `(net, vocab)` (chapter section 16.7).

    `pretrained_model` is a folder of this library's, the name of a model that comes with it, a folder in the
    layout of d2l's published weights (`vocab.json` and `pretrained.params`), or a name of d2l's hub
    ('bert.small'). `devices` and the sizes of `ModelSettings` (`num_blks` for `num_layers`) may follow, by
    name or in the book's order; they must agree with the files. d2l's say nothing of heads: without
    `num_heads` they are taken to be 64 units wide, as in published BERTs, with a warning for other BERTs.
    Raises `CheckpointError` and `SettingsError`.
    """
    in_order = [*(field.name for field in dataclasses.fields(ModelSettings)), 'devices']
    options.update(zip(in_order if len(book) > 1 else ['devices'], book))
    devices = options.pop('devices', None) or try_all_gpus()
    if 'num_blks' in options:
        options['num_layers'] = options.pop('num_blks')
    changed(ModelSettings(), **dict.fromkeys(options))  # refuses unknown names
    folder = _folder_of(pretrained_model)
    # The first two are the chapter's own, which stand in d2l's hub only after a cell of the book.
    if not folder.exists() and str(pretrained_model) in ['bert.small', 'bert.base', *runtime.d2l.DATA_HUB]:
        folder = Path(download_extract(str(pretrained_model)))
    if not (folder / 'pretrained.params').is_file():
        loaded = load_checkpoint(folder, devices, kind='bert')
        _check_sizes(options, dataclasses.asdict(loaded.settings), folder)
        return loaded.net, loaded.vocab
    try:
        vocab = Vocab.from_list(words_in((folder / 'vocab.json').read_bytes()))
        weights = read_params((folder / 'pretrained.params').read_bytes())
        found = sizes_of(weights)
    except Exception as error:  # a damaged file may fail anyhow
        found = f'{type(error).__name__}: {next(iter(str(error).splitlines()), "")}'
        allowed = 'vocab.json (a list of words) and pretrained.params (of a BERTModel)'
        remedy = "unpack it again; another edition's weights: net.load_parameters(path) of its own network"
        problem = 'the published weights cannot be read'
        raise CheckpointError(problem, folder, found, allowed, remedy) from error
    _check_sizes(options, found, folder)
    if 'num_heads' not in options:
        found['num_heads'] = max(1, found['num_hiddens'] // 64)
        if found['num_hiddens'] not in (256, 768):  # those of the BERTs that d2l published
            assumed = f'{found["num_heads"]} are assumed, 64 units wide; give num_heads=… if that is wrong'
            warnings.warn(f'{folder} does not say how many heads it has: {assumed}', stacklevel=2)
    net = _build('bert', len(vocab), ModelSettings(**{'dropout': 0.1, **options, **found}))
    _set_weights(net, weights, devices, str(folder))
    return net, vocab


def _check_sizes(given, found, folder):
    """Sizes that a caller gives, as the book does, must be those of the files; dropout may be another."""
    wrong = [name for name in given if name != 'dropout' and found.get(name, given[name]) != given[name]]
    if wrong:
        told = [', '.join(f'{name}={one[name]}' for name in wrong) for one in (given, found)]
        remedy = 'leave the sizes out: the files tell them'
        raise SettingsError('the pretrained model has other sizes', folder, *told, remedy)
