"""What is written comes back bit for bit; what is torn is refused, and the old model still stands."""

import itertools
import json
import os
import resource
import struct
import tempfile

import numpy as onp
import pytest
import safetensors.numpy
from small_models import random_weights, weights_of

from bertnli import (
    LABELS,
    RESERVED,
    BERTClassifier,
    BERTModel,
    CheckpointError,
    DataError,
    SettingsError,
    Vocab,
    load_checkpoint,
    load_pretrained_model,
    save_checkpoint,
)
from bertnli.devices import cpu_devices
from bertnli.machine import disk
from bertnli.runtime import d2l, mx, nn, np
from bertnli.storage import checkpoints, d2l_weights

# Nothing here is a default, and no two sizes are equal.
SIZES = {
    'num_hiddens': 12,
    'ffn_num_hiddens': 10,
    'num_heads': 3,
    'num_layers': 2,
    'dropout': 0.35,
    'max_len': 17,
}
ODD = [
    '',
    ' ',
    'a\nb',
    '"',
    '\\',
    '\0',
    'Größe',
    '犬',
    '🐕',
    '\u2028',
    '\ud800',
    '<unk >',
    "n't",
    'null',
    '-lrb-',
]
VOCAB = Vocab(['a', 'dog', 'runs', 'sleeps', *ODD], reserved_tokens=RESERVED)
KINDS = ('bert', 'nli')


def new_net(kind, seed=3, vocab=VOCAB):
    bert = BERTModel(len(vocab), **SIZES)
    return random_weights(bert if kind == 'bert' else BERTClassifier(bert), seed=seed)


def answers(net):
    """What a network says of two fixed inputs."""
    tokens = np.array([[3, 5, 6, 4, 7, 4], [3, 8, 4, 9, 4, 1]], dtype='int32')
    segments = np.array([[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0]], dtype='int32')
    valid_lens = np.array([6, 5])
    if isinstance(net, BERTModel):
        return [y.asnumpy() for y in net(tokens, segments, valid_lens, np.array([[1], [2]], dtype='int32'))]
    return [net((tokens, segments, valid_lens)).asnumpy()]


def same(found, expected):
    return len(found) == len(expected) and all(onp.array_equal(a, b) for a, b in zip(found, expected))


def assert_holds(folder, net):
    """The folder is whole and holds exactly this network."""
    loaded = weights_of(load_checkpoint(folder).net)
    expected = weights_of(net)
    assert loaded.keys() == expected.keys()
    assert all(onp.array_equal(loaded[name], expected[name]) for name in expected)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def saved(tmp_path):
    """A folder with a classifier."""
    return save_checkpoint(tmp_path / 'model', new_net('nli'), VOCAB, max_len=11)


def part(folder, name):
    """The path of the weights or the vocabulary."""
    return next(folder.glob(f'{name}-*'))


def rewrite_manifest(folder, change):
    """Alter the manifest as somebody would who knows how its checksum is made."""
    manifest = json.loads((folder / 'manifest.json').read_text())
    del manifest['sha256']
    change(manifest)
    manifest = {**manifest, 'sha256': checkpoints._digest(manifest)}
    (folder / 'manifest.json').write_text(json.dumps(manifest))


# --- round trips ----------------------------------------------------------------------------------


def test_a_model_comes_back_bit_for_bit_with_all_that_belongs_to_it(tmp_path, kind):
    net, notes = new_net(kind), {'seed': 7, 'nested': {'list': [1, None, 'ß']}, 3: (1, 2), 20: 0.1}
    save_checkpoint(tmp_path / 'a' / 'b', net, VOCAB, max_len=11, notes=notes)
    loaded = load_checkpoint(tmp_path / 'a' / 'b', kind=kind)
    assert_holds(tmp_path / 'a' / 'b', net)
    assert same(answers(loaded.net), answers(net))
    assert loaded.vocab.idx_to_token == VOCAB.idx_to_token
    assert vars(loaded.settings) == SIZES
    assert (loaded.kind, loaded.max_len) == (kind, 11)
    assert loaded.labels == (LABELS if kind == 'nli' else ())
    assert loaded.notes == {'seed': 7, 'nested': {'list': [1, None, 'ß']}, '3': [1, 2], '20': 0.1}


def test_half_precision_is_half_as_large_and_refuses_what_it_cannot_hold(tmp_path, kind):
    net = new_net(kind)
    whole, half = (save_checkpoint(tmp_path / str(h), net, VOCAB, half=h) for h in (False, True))
    sizes = [
        sum(array.nbytes for array in safetensors.numpy.load_file(part(folder, 'weights')).values())
        for folder in (whole, half)
    ]
    assert sizes[0] == 2 * sizes[1]
    for once, again in zip(answers(load_checkpoint(whole).net), answers(load_checkpoint(half).net)):
        assert onp.abs(once - again).max() < 0.01
    next(iter(net.collect_params().values())).data()[:] = 1e6
    with pytest.raises(CheckpointError, match='not finite'):
        save_checkpoint(tmp_path / 'True', net, VOCAB, half=True)
    load_checkpoint(half)  # still the good one


def test_a_loaded_model_saved_again_is_the_same_file(tmp_path, saved):
    loaded = load_checkpoint(saved)
    again = save_checkpoint(tmp_path / 'again', loaded.net, loaded.vocab, max_len=loaded.max_len)
    for name in ('weights', 'vocab'):
        assert part(again, name).name == part(saved, name).name
        assert part(again, name).read_bytes() == part(saved, name).read_bytes()


def test_a_model_is_loaded_onto_the_devices_asked_for_and_saved_from_several(tmp_path, saved):
    loaded = load_checkpoint(saved, cpu_devices(2))
    assert all(p.list_ctx() == cpu_devices(2) for p in loaded.net.collect_params().values())
    save_checkpoint(tmp_path / 'two', loaded.net, loaded.vocab)
    assert_holds(tmp_path / 'two', new_net('nli'))


def test_the_vocabulary_of_d2l_is_kept_in_its_order(tmp_path):
    vocab = d2l.Vocab([['dog', 'dog', 'a']], reserved_tokens=list(RESERVED))
    save_checkpoint(tmp_path, new_net('bert', vocab=vocab), vocab)
    assert load_checkpoint(tmp_path).vocab.idx_to_token == list(vocab.idx_to_token)


def test_a_folder_holds_one_model_and_nothing_else_after_many(tmp_path):
    for seed in range(3):
        save_checkpoint(tmp_path, new_net('nli', seed), VOCAB)
    assert_holds(tmp_path, new_net('nli', 2))
    assert sorted(path.name.split('-')[0] for path in tmp_path.iterdir()) == [
        'manifest.json',
        'vocab',
        'weights',
    ]


def test_files_of_the_reader_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / 'weights-of-mine.txt').write_text('mine')
    save_checkpoint(tmp_path, new_net('nli'), VOCAB)
    assert (tmp_path / 'weights-of-mine.txt').read_text() == 'mine'


# --- written whole or not at all ------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize('survived', [0, 1, 2])
def test_a_process_killed_between_two_files_leaves_the_old_model(saved, monkeypatch, survived):
    replaced, real = [], os.replace

    def replace(*names):
        if len(replaced) == survived:
            raise Killed
        replaced.append(names)
        real(*names)

    monkeypatch.setattr(os, 'replace', replace)
    with pytest.raises(Killed):
        save_checkpoint(saved, new_net('nli', seed=4), Vocab.from_list(VOCAB.idx_to_token[::-1]))
    monkeypatch.undo()
    assert_holds(saved, new_net('nli'))
    # What was left over goes with the next whole model, also what was not yet renamed.
    for name in ('.weights-0123456789ab.safetensors-x1y2', '.manifest.json-x1y2', '.curves.png-x1y2'):
        (saved / name).touch()
    save_checkpoint(saved, new_net('nli', seed=5), VOCAB)
    assert_holds(saved, new_net('nli', seed=5))
    assert len(list(saved.iterdir())) == 3


def test_the_manifest_is_written_last(tmp_path, monkeypatch):
    names, real = [], os.replace
    monkeypatch.setattr(os, 'replace', lambda a, b: (names.append(os.path.basename(b)), real(a, b)))
    save_checkpoint(tmp_path, new_net('nli'), VOCAB)
    assert [name.split('-')[0] for name in names] == ['weights', 'vocab', 'manifest.json']


def test_a_full_disk_is_told_and_the_old_model_stands(saved):
    room = part(saved, 'weights').stat().st_size // 2
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(CheckpointError, match='cannot be written') as caught:
            save_checkpoint(saved, new_net('nli', seed=4), VOCAB)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.where == str(saved)
    assert_holds(saved, new_net('nli'))
    assert len(list(saved.iterdir())) == 3


def test_a_folder_that_cannot_be_written_is_told_and_the_old_model_stands(saved, monkeypatch):
    # Tests may run as root, whom no mode of a folder keeps out.
    def refuse(**_):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(tempfile, 'mkstemp', refuse)
    with pytest.raises(CheckpointError, match='Permission denied'):
        save_checkpoint(saved, new_net('nli', seed=4), VOCAB)
    assert_holds(saved, new_net('nli'))


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(CheckpointError, match='cannot be written'):
        save_checkpoint(tmp_path / 'file', new_net('nli'), VOCAB)


def broken_nets():
    infinite, foreign = new_net('nli'), d2l.BERTModel(len(VOCAB), 12, 10, 3, 2, 0)
    infinite.bert.encoder.pos_embedding.data()[0, 3, 4] = onp.nan
    four = random_weights(BERTClassifier(BERTModel(len(VOCAB), **SIZES), num_labels=4))
    return {
        'not finite': infinite,
        'no weights yet': BERTClassifier(BERTModel(len(VOCAB), **SIZES)),
        'four labels': four,
        'only networks of this library': foreign,
        'classifier around a stranger': BERTClassifier(foreign),
        'no network': 'net',
        "another vocabulary's": new_net('nli', vocab=Vocab(reserved_tokens=RESERVED)),
    }


@pytest.mark.parametrize('name', broken_nets())
def test_what_could_not_be_loaded_again_does_not_replace_a_good_model(saved, name):
    with pytest.raises(CheckpointError):
        save_checkpoint(saved, broken_nets()[name], VOCAB)
    assert_holds(saved, new_net('nli'))


class OwnClassifier(nn.Block):
    """The chapter's cell: its layers learn their sizes from the first input."""

    def __init__(self, bert, activation='relu', name='classifier'):
        super().__init__()
        self.bert = bert
        head = nn.Sequential()
        head.add(nn.Dense(256, activation=activation), nn.Dense(3))
        setattr(self, name, head)
        self.head = lambda: getattr(self, name)

    def forward(self, inputs):
        tokens_X, segments_X, valid_lens_x = inputs
        encoded_X, _, _ = self.bert(tokens_X, segments_X, valid_lens_x)
        return self.head()(encoded_X[:, 0, :])


class OtherWay(OwnClassifier):
    def forward(self, inputs):
        return super().forward(inputs) * 2


class ThreeArguments(OwnClassifier):
    def forward(self, tokens, segments, valid_lens):
        return super().forward((tokens, segments, valid_lens))


class Subclass(BERTClassifier):
    def forward(self, inputs):
        return -super().forward(inputs)


def own_net(cls=OwnClassifier, **options):
    bert = BERTModel(len(VOCAB), **SIZES)
    net = cls(bert, **options)
    net.initialize()
    inputs = np.ones((1, 4), dtype='int32'), np.ones((1, 4), dtype='int32'), np.array([4])
    net(*inputs) if cls is ThreeArguments else net(inputs)
    return random_weights(net, seed=8)


@pytest.mark.parametrize('half', [False, True])
def test_a_classifier_of_the_readers_own_comes_back_by_its_parts(tmp_path, half):
    own = own_net()
    loaded = load_checkpoint(save_checkpoint(tmp_path, own, VOCAB, half=half), kind='nli')
    assert type(loaded.net) is BERTClassifier
    assert weights_of(loaded.net).keys() == weights_of(own).keys()
    tolerance = 0.3 if half else 1e-4
    assert onp.allclose(answers(loaded.net)[0], answers(own)[0], atol=tolerance)


@pytest.mark.parametrize(
    ('cls', 'options', 'said'),
    [
        (OwnClassifier, {'name': 'top'}, 'cannot be loaded again'),
        (OwnClassifier, {'activation': 'tanh'}, 'answer differently'),
        (OtherWay, {}, 'answer differently'),
        (ThreeArguments, {}, 'answer differently'),
        (Subclass, {}, 'answer differently'),
    ],
)
def test_a_class_that_could_not_be_rebuilt_is_refused_and_the_old_model_stands(saved, cls, options, said):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(CheckpointError, match=said) as caught:
        save_checkpoint(saved, own_net(cls, **options), VOCAB)
    assert caught.value.where == f'{__name__}.{cls.__name__}'
    assert 'save_parameters' in caught.value.remedy
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_d2ls_classifier_of_other_parts_is_refused_by_its_full_name(saved):
    class BERTClassifier(nn.Block):  # as edition 1.0.3 writes it
        def __init__(self, bert):
            super().__init__()
            self.encoder, self.hidden, self.output = bert.encoder, bert.hidden, nn.Dense(3)

    with pytest.raises(CheckpointError, match='only networks of this library') as caught:
        save_checkpoint(saved, BERTClassifier(BERTModel(len(VOCAB), **SIZES)), VOCAB)
    assert __name__ in caught.value.found
    assert '`bert` and `classifier`' in caught.value.allowed
    assert_holds(saved, new_net('nli'))


@pytest.mark.parametrize('name', ['weights', 'vocab'])
def test_what_the_disk_does_not_give_back_does_not_replace_a_good_model(saved, monkeypatch, name):
    real = checkpoints.write_bytes

    def write(path, content):
        real(path, content[:-1] + b'?' if path.name.startswith(name) else content)

    monkeypatch.setattr(checkpoints, 'write_bytes', write)
    with pytest.raises(CheckpointError, match='cannot be loaded') as caught:
        save_checkpoint(saved, new_net('nli', seed=4), Vocab.from_list(VOCAB.idx_to_token[::-1]))
    assert 'checksum mismatch' in caught.value.found
    assert_holds(saved, new_net('nli'))


@pytest.mark.parametrize('wrong', [{'max_len': 1.5}, {'notes': [1]}])
def test_a_manifest_that_could_not_be_read_does_not_replace_a_good_one(saved, wrong):
    with pytest.raises(CheckpointError, match='cannot be loaded'):
        save_checkpoint(saved, new_net('nli', seed=4), VOCAB, **wrong)
    assert_holds(saved, new_net('nli'))


@pytest.mark.parametrize('notes', [{'loss': float('nan')}, {'array': onp.zeros(2)}, {'net': object()}])
def test_notes_that_are_no_strict_json_are_refused_and_the_old_model_stands(saved, notes):
    with pytest.raises(DataError, match='JSON'):
        save_checkpoint(saved, new_net('nli', seed=4), VOCAB, notes=notes)
    assert_holds(saved, new_net('nli'))


def test_json_that_cannot_be_written_is_told_with_its_place(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(DataError) as caught:
        disk.write_json(tmp_path / 'file' / 'metrics.json', {})
    assert str(tmp_path) in caught.value.where


# --- torn, swapped, foreign -----------------------------------------------------------------------


@pytest.mark.parametrize('name', ['weights', 'vocab', 'manifest'])
@pytest.mark.parametrize('damage', ['cut', 'empty', 'longer', 'missing', 'a folder', 'bit'])
def test_every_damaged_file_is_refused(saved, name, damage):
    path = saved / 'manifest.json' if name == 'manifest' else part(saved, name)
    content = path.read_bytes()
    path.unlink()
    middle = len(content) // 2
    if damage == 'a folder':
        path.mkdir()
    elif damage != 'missing':
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes(
            {'cut': content[:-1], 'empty': b'', 'longer': content + b'}', 'bit': flipped}[damage]
        )
        if (name, damage) == ('manifest', 'cut'):
            path.write_bytes(content[:-2])  # the last byte is the end of a line
    with pytest.raises(CheckpointError):
        load_checkpoint(saved)


@pytest.fixture(scope='module')
def one_saved(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp('one'), new_net('bert'), VOCAB, notes={'loss': 1.25})


def test_no_byte_of_the_manifest_can_change_the_model_unseen(one_saved):
    path = one_saved / 'manifest.json'
    content = path.read_bytes()
    believed = []
    try:
        for place in range(len(content)):
            changed = bytearray(content)
            changed[place] ^= 1
            path.write_bytes(changed)
            try:
                load_checkpoint(one_saved)
            except CheckpointError:
                continue
            believed.append(place)
    finally:
        path.write_bytes(content)
    assert believed == []


@pytest.fixture(params=['weights', 'vocab', 'manifest', 'params', 'words'])
def file_of_model(request, tmp_path):
    """(path, content, load) of each file of both layouts, in turn."""
    if request.param in ('params', 'words'):
        publish(tmp_path, num_hiddens=8, num_heads=1)
        name = {'params': 'pretrained.params', 'words': 'vocab.json'}[request.param]
        path, load = tmp_path / name, lambda: load_pretrained_model(tmp_path, num_heads=1)
    else:
        save_checkpoint(tmp_path, new_net('nli'), VOCAB)
        path, load = next(tmp_path.glob(f'{request.param}*')), lambda: load_checkpoint(tmp_path)
    return path, path.read_bytes(), load


def test_a_file_cut_at_every_64th_is_refused(file_of_model):
    path, content, load = file_of_model
    for part in range(64):
        path.write_bytes(content[: len(content) * part // 64])
        with pytest.raises(CheckpointError):
            load()


@pytest.mark.parametrize('count', [50, pytest.param(5000, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_refused_and_never_ends_the_interpreter(file_of_model, count):
    path, content, load = file_of_model
    rng = onp.random.default_rng(count)
    for place in rng.integers(0, 8 * len(content), count):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            load()
        except CheckpointError:
            continue
        # Published weights have no checksum: another number or another word is taken for what it is.
        assert path.name in ('pretrained.params', 'vocab.json')


def test_no_two_files_of_a_model_can_change_places(tmp_path):
    save_checkpoint(tmp_path / 'a', new_net('nli'), VOCAB)
    save_checkpoint(tmp_path / 'b', new_net('bert', seed=4), VOCAB)
    names = [path for folder in 'ab' for path in sorted((tmp_path / folder).iterdir())]
    contents = {path: path.read_bytes() for path in names}
    for one, other in itertools.combinations(names, 2):
        if contents[one] == contents[other]:  # the vocabulary of both
            continue
        one.write_bytes(contents[other])
        other.write_bytes(contents[one])
        for path in (one, other):
            with pytest.raises(CheckpointError):
                load_checkpoint(path.parent)
        for path in (one, other):
            path.write_bytes(contents[path])
    load_checkpoint(tmp_path / 'a')
    load_checkpoint(tmp_path / 'b')


def test_files_of_two_models_are_no_model(tmp_path, saved):
    other = save_checkpoint(tmp_path / 'other', new_net('nli', seed=4), VOCAB)
    part(saved, 'weights').write_bytes(part(other, 'weights').read_bytes())
    with pytest.raises(CheckpointError, match='checksum'):
        load_checkpoint(saved)


def test_weights_and_vocabulary_cannot_change_places(saved):
    def swap(manifest):
        files = manifest['files']
        files['weights'], files['vocab'] = files['vocab'], files['weights']

    rewrite_manifest(saved, swap)
    with pytest.raises(CheckpointError):
        load_checkpoint(saved)


@pytest.mark.parametrize('name', ['../secret', '/etc/hostname', '..', '', 'a\0b', None, 7, 'manifest.json'])
def test_no_name_in_a_manifest_leads_to_another_file(saved, name):
    (saved.parent / 'secret').write_text('[]')
    rewrite_manifest(saved, lambda manifest: manifest['files']['vocab'].update(name=name))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(saved)
    assert caught.value.where.endswith('manifest.json')


MANIFESTS = {
    'of the future': lambda m: m.update(format=2),
    'of no format': lambda m: m.pop('format'),
    'of an unknown kind': lambda m: m.update(kind='gpt'),
    'of a strange kind': lambda m: m.update(kind=['nli']),
    'with labels in the order of others': lambda m: m.update(
        labels=['contradiction', 'entailment', 'neutral']
    ),
    'without labels': lambda m: m.pop('labels'),
    'without settings': lambda m: m.update(model={}),
    'with a list of settings': lambda m: m.update(model=[]),
    'with an unknown setting': lambda m: m['model'].update(colour=3),
    'with an impossible setting': lambda m: m['model'].update(num_heads=5),
    'with too many layers': lambda m: m['model'].update(num_layers=10**9),
    'with another width': lambda m: m['model'].update(num_hiddens=15),
    'without files': lambda m: m.update(files={}),
    'with strange files': lambda m: m.update(files={'weights': 1, 'vocab': []}),
    'without notes': lambda m: m.pop('notes'),
    'with a strange max_len': lambda m: m.update(max_len='long'),
}


@pytest.mark.parametrize('name', MANIFESTS)
def test_a_manifest_that_makes_no_sense_is_refused(saved, name):
    rewrite_manifest(saved, MANIFESTS[name])
    with pytest.raises(CheckpointError):
        load_checkpoint(saved)


@pytest.mark.parametrize('content', [b'[]', b'3', b'{}', b'\xff\xfe', b'[' * 100_000, b'{"format": 1}'])
def test_something_else_called_manifest_is_refused(tmp_path, content):
    (tmp_path / 'manifest.json').write_bytes(content)
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path)


def test_the_other_kind_of_model_is_refused_when_one_was_asked_for(tmp_path, saved):
    with pytest.raises(CheckpointError, match='another kind'):
        load_checkpoint(saved, kind='bert')
    with pytest.raises(CheckpointError, match='another kind'):
        load_pretrained_model(saved)
    save_checkpoint(tmp_path / 'bert', new_net('bert'), VOCAB)
    with pytest.raises(CheckpointError, match='another kind'):
        load_checkpoint(tmp_path / 'bert', kind='nli')


@pytest.mark.parametrize('make', [lambda path: None, lambda path: path.mkdir(), lambda path: path.touch()])
def test_a_place_without_a_model_is_told_with_a_remedy(tmp_path, make):
    make(tmp_path / 'none')
    with pytest.raises(CheckpointError, match='not a model folder') as caught:
        load_checkpoint(tmp_path / 'none')
    error = caught.value
    assert error.where == str(tmp_path / 'none')
    assert error.found
    assert error.allowed
    assert error.remedy


@pytest.mark.parametrize(
    ('bias', 'said'),
    [(onp.array([0, 1e300, 0]), 'float64'), (onp.zeros(3, 'int8'), 'int8'), (onp.zeros(3, 'bool'), 'bool')],
)
def test_weights_that_are_no_finite_numbers_in_32_bits_are_refused(saved, bias, said):
    replace_part(saved, 'weights', altered(**{'classifier.1.bias': bias}))
    with pytest.raises(CheckpointError, match='not finite') as caught:
        load_checkpoint(saved)
    assert caught.value.found == f'classifier.1.bias {said}'
    replace_part(saved, 'weights', altered(**{'classifier.1.bias': onp.array([0, 1e30, 0])}))
    assert load_checkpoint(saved).net.classifier[1].bias.data()[1] == onp.float32(1e30)


def replace_part(folder, name, content):
    """Put other content behind right checksums."""
    path = part(folder, name)
    digest = checkpoints.hashlib.sha256(content).hexdigest()
    new = path.with_name(f'{name}-{digest[:12]}{path.suffix}')
    new.write_bytes(content)
    entry = {'name': new.name, 'bytes': len(content), 'sha256': digest}
    rewrite_manifest(folder, lambda manifest: manifest['files'].update({name: entry}))


def altered(**arrays):
    weights = weights_of(new_net('nli'))
    return safetensors.numpy.save({name: a for name, a in {**weights, **arrays}.items() if a is not None})


BAD_PARTS = {
    'infinite weight': (
        'weights',
        lambda: altered(**{'classifier.1.bias': onp.array([0, onp.inf, 0], 'f4')}),
    ),
    'weight too few': ('weights', lambda: altered(**{'classifier.1.bias': None})),
    'weight too many': ('weights', lambda: altered(extra=onp.zeros(2, 'f4'))),
    'misshapen weight': ('weights', lambda: altered(**{'classifier.1.bias': onp.zeros(4, 'f4')})),
    'flat embedding': (
        'weights',
        lambda: altered(**{'bert.encoder.token_embedding.weight': onp.zeros(4, 'f4')}),
    ),
    'no weights': ('weights', lambda: safetensors.numpy.save({})),
    'no tensors': ('weights', lambda: b'nonsense'),
    'unknown type': (
        'weights',
        lambda: struct.pack('<Q', 57) + b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}  \0\0',
    ),
    'no words': ('vocab', lambda: b'{}'),
    'numbers for words': ('vocab', lambda: b'[1, 2]'),
    'a word twice': ('vocab', lambda: json.dumps([*VOCAB.idx_to_token, 'a']).encode()),
    'no <unk>': ('vocab', lambda: json.dumps(VOCAB.idx_to_token[1:]).encode()),
    'another number of words': ('vocab', lambda: json.dumps([*VOCAB.idx_to_token, 'more']).encode()),
}


@pytest.mark.parametrize('name', BAD_PARTS)
def test_right_checksums_around_nonsense_do_not_help(saved, name):
    which, content = BAD_PARTS[name]
    replace_part(saved, which, content())
    with pytest.raises(CheckpointError):
        load_checkpoint(saved)


# --- the layout of published weights --------------------------------------------------------------

WIDE = {'num_hiddens': 256, 'ffn_num_hiddens': 24, 'num_heads': 4, 'dropout': 0.1, 'max_len': 19}


def publish(folder, vocab=VOCAB, **sizes):
    """Weights as d2l publishes them, and the d2l network that they came from."""
    sizes = {**WIDE, **sizes}
    net = d2l.BERTModel(
        len(vocab), *(sizes[name] for name in ('num_hiddens', 'ffn_num_hiddens', 'num_heads')), 3, 0.1, 19
    )
    random_weights_of_d2l(net)
    folder.mkdir(exist_ok=True)
    net.save_parameters(str(folder / 'pretrained.params'))
    (folder / 'vocab.json').write_text(json.dumps(list(vocab.idx_to_token)))
    return net


def random_weights_of_d2l(net):
    net.initialize()
    answers_of_d2l(net)  # d2l's layers learn their sizes from the first input
    rng = onp.random.default_rng(1)
    for _, parameter in sorted(net._collect_params_with_prefix().items()):
        parameter.set_data(np.array(rng.normal(0, 0.3, parameter.shape).astype('float32')))


def answers_of_d2l(net):
    tokens, positions = np.array([[3, 5, 6, 4, 7, 4]], dtype='int32'), np.array([[1]], dtype='int32')
    return [y.asnumpy() for y in net(tokens, np.zeros((1, 6), dtype='int32'), np.array([5]), positions)]


def test_published_weights_of_d2l_load_and_answer_alike(tmp_path):
    theirs = publish(tmp_path / 'p')
    net, vocab = load_pretrained_model(tmp_path / 'p')
    assert vocab.idx_to_token == VOCAB.idx_to_token
    assert vars(net.settings) == {**WIDE, 'num_layers': 3}
    for found, expected in zip(answers_of_d2l(net), answers_of_d2l(theirs)):
        assert onp.allclose(found, expected, atol=1e-5)


def test_heads_of_another_width_are_said_by_the_reader(tmp_path):
    theirs = publish(tmp_path / 'p', num_hiddens=24, num_heads=4)
    net, _ = load_pretrained_model(tmp_path / 'p', num_heads=4, dropout=0.3)
    assert (net.settings.num_heads, net.settings.dropout) == (4, 0.3)
    for found, expected in zip(answers_of_d2l(net), answers_of_d2l(theirs)):
        assert onp.allclose(found, expected, atol=1e-5)
    with pytest.raises(SettingsError, match='multiple of num_heads'):
        load_pretrained_model(tmp_path / 'p', num_heads=5)


def test_heads_that_nobody_said_are_told_where_no_published_bert_has_so_many_units(tmp_path):
    publish(tmp_path / 'p', num_hiddens=128, num_heads=4)
    with pytest.warns(UserWarning, match=r'how many heads it has: 2 are assumed.*give num_heads='):
        net, _ = load_pretrained_model(tmp_path / 'p')
    assert net.settings.num_heads == 2
    assert load_pretrained_model(tmp_path / 'p', num_heads=4)[0].settings.num_heads == 4


def test_sizes_may_follow_as_both_editions_of_the_book_give_them(tmp_path):
    publish(tmp_path / 'p')
    devices = cpu_devices(2)
    for given, options in (
        ((256, 24, 4, 3, 0.2, 19, devices), {}),
        ((), {**WIDE, 'num_layers': 3, 'dropout': 0.2, 'devices': devices}),
        ((), {**WIDE, 'num_blks': 3, 'dropout': 0.2, 'devices': devices}),
        ((devices,), {'dropout': 0.2}),
    ):
        net, _ = load_pretrained_model(tmp_path / 'p', *given, **options)
        assert vars(net.settings) == {**WIDE, 'num_layers': 3, 'dropout': 0.2}
        assert net.encoder.pos_embedding.list_ctx() == devices


def test_sizes_that_are_not_those_of_the_files_are_refused(tmp_path, one_saved):
    publish(tmp_path / 'p')
    with pytest.raises(SettingsError, match='other sizes') as caught:
        load_pretrained_model(tmp_path / 'p', num_hiddens=128, num_blks=2, max_len=19)
    assert caught.value.found == 'num_hiddens=128, num_layers=2'
    assert caught.value.allowed == 'num_hiddens=256, num_layers=3'
    with pytest.raises(SettingsError, match='other sizes') as caught:
        load_pretrained_model(one_saved, num_heads=2)
    assert caught.value.allowed == 'num_heads=3'
    with pytest.raises(SettingsError, match='no such setting'):
        load_pretrained_model(tmp_path / 'p', num_head=4)


@pytest.mark.parametrize('name', ['bert.small', 'my own'])
def test_a_name_of_d2ls_hub_is_fetched(tmp_path, monkeypatch, name):
    publish(tmp_path / 'p')
    if name != 'bert.small':
        monkeypatch.setitem(d2l.DATA_HUB, name, ('https://…/x.zip', ''))
    asked = []
    monkeypatch.setattr(checkpoints, 'download_extract', lambda one: asked.append(one) or str(tmp_path / 'p'))
    assert load_pretrained_model(name)[0].settings.num_layers == 3
    assert asked == [name]
    with pytest.raises(CheckpointError, match='not a model folder'):
        load_pretrained_model('bert.none')


def test_a_folder_of_this_library_loads_as_a_pretrained_model(one_saved):
    net, vocab = load_pretrained_model(one_saved)
    assert same(answers(net), answers(new_net('bert')))
    assert len(vocab) == len(VOCAB)


def test_params_files_are_read_as_mxnet_reads_them(tmp_path):
    arrays = {
        'scalar-like': np.array([1.5]),
        'double': np.arange(6, dtype='float64').reshape(2, 3),
        'half': np.array([[0.5]], dtype='float16'),
        'empty': np.zeros((0, 3)),
        'größe': np.array([1, 2]),
    }
    path = str(tmp_path / 'a.params')
    mx.npx.save(path, arrays)
    found = d2l_weights.read_params((tmp_path / 'a.params').read_bytes())
    assert list(found) == list(arrays)
    for name, array in mx.npx.load(path).items():
        assert found[name].dtype == array.dtype
        assert onp.array_equal(found[name], array.asnumpy())


def test_a_torn_params_file_is_refused_and_asks_for_no_memory(tmp_path):
    publish(tmp_path / 'p', num_hiddens=8, num_heads=1)
    path = tmp_path / 'p' / 'pretrained.params'
    content, rng = path.read_bytes(), onp.random.default_rng(0)
    cuts = [0, 1, 8, 16, 24, 60, 500, len(content) - 200, len(content) - 1]
    torn = [content[:end] for end in cuts] + [content + b'\0', b'PK' + content, b'<html>' * 99]
    for _ in range(60):
        changed = bytearray(content)
        changed[rng.integers(0, 72)] ^= 1 << int(rng.integers(8))  # in what comes before the first weights
        torn.append(bytes(changed))
    # The counts themselves: an absurd number of arrays, of axes, of rows, of letters.
    for place, form in ((16, '<Q'), (32, '<i'), (36, '<q'), (content.rindex(b'nsp.output.bias') - 8, '<Q')):
        changed = bytearray(content)
        struct.pack_into(form, changed, place, 2**62 if form != '<i' else 2**30)
        torn.append(bytes(changed))
    for changed in torn:
        path.write_bytes(changed)
        try:
            load_pretrained_model(tmp_path / 'p', num_heads=1)
        except CheckpointError:
            continue
        # Only the name of the device on which the array lay, which nobody asks for, may have changed.
        assert (changed[:60], changed[68:]) == (content[:60], content[68:])


@pytest.mark.parametrize('words', ['{}', '[1]', '["a"]', 'nothing', '["<unk>", "a"]'])
def test_published_weights_beside_a_strange_vocabulary_are_refused(tmp_path, words):
    publish(tmp_path / 'p')
    (tmp_path / 'p' / 'vocab.json').write_text(words)
    with pytest.raises(CheckpointError):
        load_pretrained_model(tmp_path / 'p')


def test_published_weights_without_a_vocabulary_or_of_another_network_are_refused(tmp_path):
    publish(tmp_path / 'p')
    (tmp_path / 'p' / 'vocab.json').unlink()
    with pytest.raises(CheckpointError, match=r'vocab\.json'):
        load_pretrained_model(tmp_path / 'p')
    (tmp_path / 'q').mkdir()
    (tmp_path / 'q' / 'vocab.json').write_text(json.dumps(VOCAB.idx_to_token))
    mx.npx.save(str(tmp_path / 'q' / 'pretrained.params'), {'weight': np.zeros((2, 2))})
    with pytest.raises(CheckpointError):
        load_pretrained_model(tmp_path / 'q')
