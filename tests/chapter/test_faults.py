"""What is wrong in the chapter, shown on its own code or on its few lines written anew, and right here.

One test for each fault, in the order of the list in the design; each first shows the fault.
"""

import http.server
import importlib.metadata
import multiprocessing
import pickle
import threading
import zipfile

import psutil
import pytest
from small_models import (
    MAX_LEN,
    C,
    F,
    H,
    NoPictures,
    V,
    assert_close,
    gradients_of,
    labelled_pairs,
    pairs,
    pretraining_batch,
    small_bert,
    small_net,
)

from bertnli import (
    RESERVED,
    BERTClassifier,
    BERTModel,
    DataError,
    SNLIBERTDataset,
    Vocab,
    cpu_devices,
    download_extract,
    finetuning,
    pretraining,
    read_snli,
    train_ch13,
    train_nli,
    try_all_gpus,
)
from bertnli.corpora import files
from bertnli.fast import blocks as fast
from bertnli.model import MultiHeadAttention
from bertnli.runtime import d2l, gluon, init, mx, np, npx
from bertnli.settings import FinetuneSettings

LOSS = gluon.loss.SoftmaxCrossEntropyLoss()


def sgd(net):
    return gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})


def test_1_an_answer_does_not_depend_on_its_neighbours_in_the_batch(monkeypatch):
    net, features = small_net(), pairs(5)

    def apart():
        """How far answers given together are from answers given one by one."""
        together = net(features)
        alone = [net([x[b : b + 1] for x in features]) for b in range(5)]
        return abs(together - np.concatenate(alone)).max().item()

    def seeds_softmax(attention, scores, valid_lens):
        rows = scores.reshape(-1, scores.shape[-1])
        lengths = np.tile(valid_lens, attention.num_heads).repeat(scores.shape[1])
        return npx.softmax(npx.sequence_mask(rows, lengths, True, value=-1e6, axis=1)).reshape(scores.shape)

    assert apart() < 1e-5
    monkeypatch.setattr(fast, 'unchanged', lambda _: False)  # the plain form
    assert apart() < 1e-5
    monkeypatch.setattr(MultiHeadAttention, 'masked_softmax', seeds_softmax)
    assert apart() > 0.01


def test_2_capitals_are_no_unknown_words():
    vocab = Vocab(['a', 'dog', 'runs'], reserved_tokens=RESERVED)
    data = [['A Dog runs'], ['DOG'], [0]]
    seeds = [vocab[tokens] for column in data[:2] for tokens in d2l.tokenize(column)]
    assert [line.count(vocab.unk) for line in seeds] == [2, 1]
    assert vocab.unk not in SNLIBERTDataset(data, 8, vocab).all_token_ids.asnumpy()


def test_3_without_a_gpu_there_is_still_a_device(monkeypatch):
    monkeypatch.setattr(npx, 'num_gpus', lambda: 0)
    monkeypatch.setattr(mx.context, 'num_gpus', lambda: 0)
    fixed = importlib.metadata.version('d2l') == '0.17.0'  # an older edition than 1.0.3
    assert d2l.try_all_gpus() == ([mx.cpu()] if fixed else [])
    assert try_all_gpus() == [mx.cpu(0)]


def test_4_fewer_than_five_batches_are_no_division_by_zero(monkeypatch, capsys):
    monkeypatch.setattr(d2l, 'Animator', NoPictures)
    net, data = small_net(), [labelled_pairs(4), labelled_pairs(3)]
    arguments = net, data, data, LOSS, sgd(net), 1, [mx.cpu()], d2l.split_batch_multi_inputs
    with pytest.raises(ZeroDivisionError):
        d2l.train_ch13(*arguments)
    train_ch13(*arguments, progress=False)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_5_nothing_waits_before_every_device_has_its_work(monkeypatch):
    devices, events = cpu_devices(3), []
    monkeypatch.setattr(fast, 'in_numpy', lambda *_: False)  # what runs on GPUs; a processor is one for all
    bert, net = small_bert(devices), small_net(devices)
    batch, (features, labels) = pretraining_batch(6, places=4), labelled_pairs(6)
    trainer = sgd(net)
    inputs = {
        (6, 4),
        (2, 4),
    }  # shapes of masks and answers, whole and in shards: to read them waits for no work

    def note(owner, name, event):
        original = getattr(owner, name)

        def noted(*args, **kwargs):
            if not (name == 'asnumpy' and args[0].shape in inputs):
                events.append(event)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    for owner, name in ((npx, 'waitall'), (mx.nd.NDArray, 'asnumpy'), (mx.nd.NDArray, 'wait_to_read')):
        note(owner, name, 'wait')
    for owner, name in ((BERTModel, 'forward'), (BERTModel, 'predict'), (BERTClassifier, 'forward')):
        note(owner, name, 'work')
    note(mx.autograd, 'backward', 'backward')

    shards = [d2l.split_batch_multi_inputs([x], x, devices)[1] for x in batch]
    d2l._get_batch_loss_bert(bert, LOSS, V, *shards)
    assert events == ['work', 'wait'] * 3

    events.clear()
    pretraining.train_batch_bert(bert, batch, LOSS, V, devices)
    assert events == ['work'] * 3 + ['backward'] * 3

    events.clear()
    finetuning.train_batch_ch13(net, features, labels, LOSS, trainer, devices)
    assert events[:4] == ['work'] * 3 + ['backward']
    assert set(events[4:]) == {'wait'}  # for the two numbers that it returns


class SeedsDataset:
    """The seed's way of encoding: a method, and with it the whole object, is sent for each task."""

    def __init__(self, tokens, vocab):
        self.tokens, self.vocab = tokens, vocab
        self.pool = multiprocessing.get_context('spawn').Pool(1)
        self.encoded = self.pool.map(self.shorten, tokens)

    def shorten(self, pair):
        while len(pair[0]) + len(pair[1]) > 5:
            pair[len(pair[0]) <= len(pair[1])].pop()
        return pair

    def __getstate__(self):
        return {'vocab': self.vocab}


def test_6_a_dataset_leaves_no_processes_behind_sends_little_and_keeps_its_callers_lists():
    words = [f'word{n}' for n in range(5000)]
    vocab = Vocab(words, reserved_tokens=RESERVED)

    # The seed's: any task carries the vocabulary, the pool lives on, and truncation pops the lists given.
    mine = [words[:6], words[6:12]]
    seeds = SeedsDataset([], vocab)
    assert len(pickle.dumps(seeds.shorten)) > 50_000
    assert psutil.Process().children()
    seeds.pool.terminate()
    seeds.pool.join()
    seeds.shorten(mine)
    assert [len(tokens) for tokens in mine] == [3, 2]

    def children():  # without joblib's and multiprocessing's own helpers, one a program
        found = psutil.Process().children(recursive=True)
        return {process.pid for process in found if 'tracker' not in ' '.join(process.cmdline())}

    before = children()
    data = [[' '.join(words[:6])] * 3, [' '.join(words[6:12])] * 3, [0, 1, 2]]
    copy = [list(column) for column in data]
    dataset = SNLIBERTDataset(data, 8, vocab, num_workers=2)
    assert data == copy
    assert dataset.lengths.tolist() == [8, 8, 8]
    assert children() <= before
    token_ids = SNLIBERTDataset(data, 8, vocab).all_token_ids
    assert (dataset.all_token_ids == token_ids).all()


@pytest.fixture
def dead_address():
    """A server that has moved, and answers each request with a page that says so."""

    class Moved(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            page = b'<html>This bucket is gone.</html>'
            self.send_response(404)
            self.send_header('Content-Length', str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Moved)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    thread.join()
    server.server_close()


def test_7_a_failed_download_is_an_error_and_is_not_kept(dead_address, tmp_path, cache, monkeypatch):
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(d2l.DATA_HUB, 'SNLI', (f'{dead_address}/snli_1.0.zip', '0' * 40))
    kept = d2l.download('SNLI', str(tmp_path))
    with open(kept, 'rb') as file:
        assert file.read() == b'<html>This bucket is gone.</html>'
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(kept)

    corpus = files.REGISTRY['SNLI']._replace(urls=(f'{dead_address}/snli_1.0.zip',))
    monkeypatch.setitem(files.REGISTRY, 'SNLI', corpus)
    with pytest.raises(DataError, match='could not be downloaded') as caught:
        download_extract('SNLI', data_dir='download')
    assert 'data_dir' in caught.value.remedy
    assert [path.suffix for path in cache.rglob('*') if path.is_file()] == ['.lock']


def test_8_a_misspelt_label_is_told_apart_from_an_honest_dash_and_dev_can_be_read(write_snli):
    rows = [('entailment', 'A dog', 'An animal'), ('-', 'A', 'B'), ('entialment', 'A man', 'A person')]
    folder = write_snli(rows)
    assert d2l.read_snli(str(folder), True)[2] == [0]  # one row for two reasons, and nothing is said
    with pytest.raises(DataError, match='unknown label') as caught:
        read_snli(folder, True)
    assert caught.value.where.endswith('line 4')
    assert caught.value.found == 'entialment'
    with pytest.warns(UserWarning, match='1 unknown label'):
        tolerant = read_snli(folder, True, max_skipped=0.5)
    assert sorted(tolerant.skipped.values()) == [(1, [3]), (1, [4])]
    write_snli([('neutral', 'A dog', 'A dog barks')], split='dev')
    assert read_snli(folder, split='dev')[2] == [2]


def test_9_a_step_is_the_same_whatever_the_number_of_devices():
    batch = pretraining_batch(6)
    theirs, ours = [], []
    for count in (1, 2, 3):
        devices = cpu_devices(count)
        bert = small_bert(devices)
        shards = [d2l.split_batch_multi_inputs([x], x, devices)[1] for x in batch]
        with mx.autograd.record():
            losses = d2l._get_batch_loss_bert(bert, LOSS, V, *shards)[2]
        mx.autograd.backward(losses)
        theirs.append(gradients_of(bert))
        bert = small_bert(devices)
        pretraining.train_batch_bert(bert, batch, LOSS, V, devices)
        ours.append(gradients_of(bert))
    size = [abs(g['nsp.output.bias']).max() for g in theirs]
    assert size[2] / size[0] == pytest.approx(
        3, rel=1e-4
    )  # means of shards, then summed: three times the step
    for gradients in ours[1:]:
        assert_close(gradients, ours[0])


def test_10_parts_that_were_never_run_are_no_trouble():
    data = [labelled_pairs(4)]

    def chapters(bert):
        net = gluon.nn.Sequential()  # the chapter's classifier, whose layers wait for their first batch
        net.add(gluon.nn.Dense(256, activation='relu'), gluon.nn.Dense(3))
        bert.initialize(init.Xavier())
        net.initialize()
        return {**bert.collect_params(), **net.collect_params()}

    parameters = chapters(d2l.BERTModel(V, C, F, H, 2, 0, MAX_LEN))
    waiting = [name for name, p in parameters.items() if p._deferred_init]
    assert waiting
    with pytest.raises(mx.gluon.parameter.DeferredInitializationError):
        parameters[waiting[0]].data()
    trainer = gluon.Trainer(parameters, 'adam')
    with pytest.raises((mx.gluon.parameter.DeferredInitializationError, AssertionError)):
        trainer.step(1, ignore_stale_grad=True)

    # Ours: nothing was run, and everything has its shape; the pretraining heads stay as they are.
    for make in (train_with_the_chapters_trainer, train_with_ours):
        net = BERTClassifier(BERTModel(V, C, F, H, 2, 0, MAX_LEN))
        net.initialize(init.Xavier())
        assert not any(p._deferred_init for p in net.collect_params().values())
        head = net.bert.mlm.mlp[2].weight.data().asnumpy()
        make(net, data)
        assert (net.bert.mlm.mlp[2].weight.data().asnumpy() == head).all()

    # Nor do d2l's waiting heads stop our own training.
    net = BERTClassifier(d2l.BERTModel(V, C, F, H, 2, 0, MAX_LEN))
    net.initialize(init.Xavier())
    train_with_ours(net, data)


def train_with_the_chapters_trainer(net, data):
    train_ch13(net, data, data, LOSS, sgd(net), 1, progress=False)


def train_with_ours(net, data):
    train_nli(net, data, data, FinetuneSettings(num_epochs=1), progress=False)


def test_each_of_the_ten_has_its_test():
    tests = [name.split('_')[1] for name in globals() if name.startswith('test_')]
    assert sorted(int(number) for number in tests if number.isdigit()) == list(range(1, 11))
