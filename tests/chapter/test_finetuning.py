"""One fine-tuning step against d2l's; the same on any number of devices; the best epoch is kept."""

import re

import numpy as onp
import pytest
from small_models import (
    LAYERS,
    MAX_LEN,
    C,
    F,
    H,
    NoPictures,
    V,
    assert_close,
    but_key_biases,
    labelled_pairs,
    random_weights,
    small_net,
    weights_of,
)

from bertnli import (
    RESERVED,
    Batches,
    BERTClassifier,
    BERTModel,
    BertNLIError,
    FinetuneSettings,
    SettingsError,
    SNLIBERTDataset,
    Vocab,
    attention,
    begin_with_alignment,
    cpu_devices,
    evaluate_accuracy_gpus,
    finetuning,
    load_pretrained_model,
    split_batch_multi_inputs,
    train_batch_ch13,
    train_ch13,
    train_nli,
)
from bertnli.headstart import alignment
from bertnli.runtime import d2l, gluon, mx, nn, np, npx
from bertnli.settings import changed
from bertnli.training import Updater

LOSS = gluon.loss.SoftmaxCrossEntropyLoss()
SETTINGS = FinetuneSettings(num_epochs=2, learning_rate=1e-2)


def adam(net, rate=1e-2):
    return gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': rate})


def batches(*sizes):
    return [labelled_pairs(size, seed=size) for size in sizes]


def learnable(*sizes):
    """Batches whose label stands in the first word."""
    for (tokens, segments, valid_lens), _ in batches(*sizes):
        yield (tokens, segments, valid_lens), np.array(tokens[:, 0].asnumpy() % 3, dtype='float32')


def same_on_all_devices(net, devices):
    first = weights_of(net, devices[0])
    return all(
        (array == first[name]).all() for device in devices for name, array in weights_of(net, device).items()
    )


@pytest.mark.parametrize('count', [1, 2])
def test_a_step_is_d2ls_step(count):
    devices = cpu_devices(count)
    nets = [small_net(devices) for _ in range(2)]
    trainers = [adam(net) for net in nets]
    for features, labels in batches(6, 4, 8):
        arguments = [features, labels, LOSS]
        ours = train_batch_ch13(nets[0], *arguments, trainers[0], devices, split_batch_multi_inputs)
        theirs = d2l.train_batch_ch13(nets[1], *arguments, trainers[1], devices, d2l.split_batch_multi_inputs)
        assert ours == pytest.approx(theirs, rel=1e-5)
    found, expected = (but_key_biases(weights_of(net)) for net in nets)
    assert_close(found, expected)
    before = weights_of(small_net())
    assert abs(found['classifier.0.weight'] - before['classifier.0.weight']).max() > 0.01


def test_a_step_takes_d2ls_bert_and_d2ls_way_of_splitting():
    net = BERTClassifier(d2l.BERTModel(V, C, F, H, 2, 0, MAX_LEN))
    net.initialize()
    features, labels = labelled_pairs(4)
    net.bert(*features, np.zeros((4, 1), dtype='int32'))  # d2l's heads learn their shapes by running
    random_weights(net)
    ours = small_net()
    results = [
        train_batch_ch13(one, features, labels, LOSS, adam(one), [mx.cpu()], d2l.split_batch_multi_inputs)
        for one in (net, ours)
    ]
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    assert_close(but_key_biases(weights_of(net)), but_key_biases(weights_of(ours)), 1e-4)


def test_a_network_of_another_chapter_is_trained_with_its_own_way_of_splitting():
    rng = onp.random.default_rng(0)
    X, y = np.array(rng.normal(size=(8, 5)).astype('float32')), np.array(rng.integers(0, 3, 8))
    results = []
    for step in (train_batch_ch13, d2l.train_batch_ch13):
        net = nn.Dense(3, in_units=5)
        random_weights(net, cpu_devices(2))
        trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
        results.append((step(net, X, y, LOSS, trainer, cpu_devices(2), d2l.split_batch), weights_of(net)))
    assert results[0][0] == pytest.approx(results[1][0])
    assert_close(results[0][1], results[1][1])


@pytest.mark.parametrize('size', [1, 2, 5])
def test_one_device_is_two_is_three_devices_for_the_chapters_step(size):
    """Also where a batch has fewer examples than there are devices, before and after a full one."""
    results = []
    for count in (1, 2, 3):
        devices = cpu_devices(count)
        net = small_net(devices)
        trainer = adam(net)
        sums = [train_batch_ch13(net, *batch, LOSS, trainer, devices) for batch in batches(7, size, 4)]
        assert same_on_all_devices(net, devices)
        results.append((but_key_biases(weights_of(net)), onp.array(sums)))
    for weights, sums in results[1:]:
        assert_close(weights, results[0][0], 1e-4)
        assert_close(sums, results[0][1])


@pytest.mark.parametrize('size', [1, 2, 5])
def test_one_device_is_two_is_three_devices_for_train_nli_whatever_the_parts_of_a_batch(size):
    results = []
    for count, parts in [(1, 1), (2, 1), (3, 1), (1, 3), (2, 2)]:
        settings = changed(SETTINGS, warmup=0.5, decay=True, weight_decay=0.1, clip=0.5, accumulate=parts)
        devices, records = cpu_devices(count), []
        net = small_net(devices)
        result = train_nli(
            net, batches(7, size, 4), batches(9), settings, devices, on_log=records.append, progress=False
        )
        assert same_on_all_devices(net, devices)
        results.append((but_key_biases(weights_of(net)), records, result))
    for weights, records, result in results[1:]:
        assert_close(weights, results[0][0], 1e-4)
        assert result.best_epoch == results[0][2].best_epoch
        for record, expected in zip(records, results[0][1]):
            assert record == pytest.approx(expected, rel=1e-4)


def test_labels_as_shares_are_learnt_like_numbers_and_between_them_half_of_both():
    found = []
    one_hot = np.array(onp.eye(3, dtype='float32'))
    for shares in (lambda y: y, lambda y: one_hot[y.astype('int32')]):
        net, told = small_net(), []
        data = [(X, shares(y)) for X, y in batches(8, 5)]
        train_nli(net, data, batches(6), SETTINGS, cpu_devices(1), progress=False, on_log=told.append)
        found.append((weights_of(net), told))
    assert_close(found[1][0], found[0][0])
    for a, b in zip(*(told for _, told in found)):
        assert a == pytest.approx(b, rel=1e-5)
    # One step by hand: the loss of a pair that is half one class and half another.
    (X, _), net = labelled_pairs(4, seed=1), small_net()
    shares = np.array([[0.5, 0.5, 0.0]] * 4)
    losses, hits = finetuning.forward_backward(
        net, X, shares, gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False), cpu_devices(1)
    )
    logs = npx.log_softmax(net(X)).asnumpy()
    assert losses[0].item() == pytest.approx(-(logs[:, 0] + logs[:, 1]).sum() / 2, rel=1e-5)
    assert hits[0].item() == (logs.argmax(axis=1) == 0).sum()


@pytest.mark.parametrize('sizes', [(5,), (4, 4, 3), (3, 3, 3, 3)])
def test_fewer_than_five_batches_are_enough(sizes, capsys):
    net, records = small_net(), []
    train_ch13(
        net, batches(*sizes), batches(4), LOSS, adam(net), 2, None, on_log=records.append, progress=False
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert [record['epoch'] for record in records if 'test_acc' in record] == [1, 2]
    assert len(records) == 2 * len(sizes)


def test_the_lines_printed_have_the_chapters_form_and_are_true(capsys):
    net, records = small_net(), []
    test_iter = batches(9)
    train_ch13(
        net, batches(5, 4), test_iter, LOSS, adam(net), 2, [mx.cpu()], split_batch_multi_inputs,
        on_log=records.append, progress=False,
    )  # fmt: skip
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r'loss \d+\.\d{3}, train acc [01]\.\d{3}, test acc [01]\.\d{3}', first)
    assert re.fullmatch(r'\d+\.\d examples/sec on \[cpu\(0\)\]', second)
    last = records[-1]
    assert first == 'loss {train_loss:.3f}, train acc {train_acc:.3f}, test acc {test_acc:.3f}'.format(**last)
    assert last['test_acc'] == evaluate_accuracy_gpus(net, test_iter)


def test_the_chapters_loop_is_d2ls_loop(capsys, monkeypatch):
    """Five batches, so that d2l's runs too: the same losses and accuracies to the printed digit."""
    monkeypatch.setattr(d2l, 'Animator', NoPictures)
    lines = []
    for loop in (train_ch13, d2l.train_ch13):
        net = small_net()
        loop(
            net,
            batches(4, 5, 6, 3, 4),
            batches(9),
            LOSS,
            adam(net),
            2,
            [mx.cpu()],
            d2l.split_batch_multi_inputs,
        )
        lines.append([line for line in capsys.readouterr().out.splitlines() if line.startswith('loss')])
    assert len(lines[0]) == 1
    assert lines[0] == lines[1]


def test_losses_and_accuracies_are_sums_divided_once_over_uneven_batches():
    net, records = small_net(), []
    data = batches(1, 8, 4)
    sums = [train_batch_ch13(small_net(), *b, LOSS, adam(small_net()), [mx.cpu()]) for b in data]
    train_ch13(net, data, data, LOSS, adam(net, 1e-30), 1, None, on_log=records.append, progress=False)
    assert records[-1]['train_loss'] == pytest.approx(sum(loss for loss, _ in sums) / 13, rel=1e-5)
    assert records[-1]['train_acc'] == pytest.approx(sum(hits for _, hits in sums) / 13)
    assert records[-1]['test_acc'] == records[-1]['train_acc']
    assert [record['epoch'] for record in records] == pytest.approx([1 / 3, 2 / 3, 1])


def test_logs_come_about_five_times_an_epoch():
    records = []
    train_nli(
        small_net(),
        batches(*[2] * 12),
        batches(3),
        changed(SETTINGS, num_epochs=1),
        on_log=records.append,
        progress=False,
    )
    assert [round(record['epoch'] * 12) for record in records] == [2, 4, 6, 8, 10, 12]


def test_it_learns_what_can_be_learned():
    net = small_net()
    data = list(learnable(30, 31, 32, 33))
    result = train_nli(net, data, data, changed(SETTINGS, num_epochs=12), progress=False)
    assert result.dev_accuracy > 0.95
    assert result.train_accuracy > 0.9
    assert result.train_loss < 0.4
    assert result.examples_per_second == pytest.approx(12 * 126 / result.seconds)


@pytest.mark.parametrize('count', [1, 2])
def test_the_best_epoch_on_dev_is_kept_where_later_ones_are_worse(count, monkeypatch):
    """The dev split is scored 0.4, 0.7, 0.7, 0.2: the first of the best stays, on every device."""
    scores, seen = iter([0.4, 0.7, 0.7, 0.2]), []

    def evaluate(net, data_iter, *_):
        assert data_iter == 'dev split'
        seen.append(weights_of(net))
        return next(scores)

    monkeypatch.setattr('bertnli.finetuning.evaluate_accuracy_gpus', evaluate)
    devices, records = cpu_devices(count), []
    net = small_net(devices)
    result = train_nli(
        net,
        batches(5, 6),
        'dev split',
        changed(SETTINGS, num_epochs=4),
        devices,
        on_log=records.append,
        progress=False,
    )
    assert (result.dev_accuracy, result.best_epoch) == (0.7, 2)
    assert [record['dev_acc'] for record in records if 'dev_acc' in record] == [0.4, 0.7, 0.7, 0.2]
    assert same_on_all_devices(net, devices)
    for name, array in weights_of(net).items():
        assert (array == seen[1][name]).all()
    assert not (seen[3]['classifier.0.weight'] == seen[1]['classifier.0.weight']).all()


def test_the_accuracy_reported_is_that_of_the_weights_left_in_the_network():
    net, dev = small_net(), batches(23)
    result = train_nli(
        net, batches(*[6] * 4), dev, changed(SETTINGS, num_epochs=5, learning_rate=0.1), progress=False
    )
    assert evaluate_accuracy_gpus(net, dev) == result.dev_accuracy


def test_pretraining_heads_are_left_alone():
    net = small_net()
    before = weights_of(net)
    train_nli(net, batches(5, 4), batches(3), changed(SETTINGS, weight_decay=0.5), progress=False)
    for name, array in weights_of(net).items():
        head = re.match(r'bert\.(hidden|mlm|nsp)\.', name)
        # The keys' bias of the last block moves all scores of a query alike: its gradient is zero, exactly.
        still = head or name == f'bert.encoder.blks.{LAYERS - 1}.attention.W_k.bias'
        assert (array == before[name]).all() == bool(still), name


def test_the_same_seed_gives_the_same_weights_bit_by_bit_whatever_a_hook_draws():
    def train(seed, hook=None):
        net = small_net(dropout=0.3)
        settings = changed(SETTINGS, seed=seed)
        train_nli(net, batches(5, 6), batches(4), settings, on_log=hook, progress=False)
        return weights_of(net)

    first, other = train(1), train(2)
    for again in (train(1), train(1, hook=lambda record: np.random.uniform())):
        assert all((array == again[name]).all() for name, array in first.items())
    assert not all((array == other[name]).all() for name, array in first.items())


def test_gradients_are_divided_by_the_examples_and_the_schedule_counts_the_steps_of_all_epochs(monkeypatch):
    rates, divisors = [], []
    step = gluon.Trainer.update

    def update(self, divisor):
        rates.append(self.learning_rate)
        divisors.append(divisor)
        step(self, divisor)

    monkeypatch.setattr(gluon.Trainer, 'update', update)
    settings = changed(SETTINGS, learning_rate=0.1, warmup=0.5, decay=True)
    train_nli(small_net(), batches(4, 5), batches(3), settings, progress=False)
    assert rates == pytest.approx([0.05, 0.1, 0.1, 0.05])
    assert divisors == [4, 5, 4, 5]


def test_a_loss_that_is_no_number_stops_the_training():
    net = small_net()
    net.classifier[1].bias.set_data(np.full(3, onp.nan))
    with pytest.raises(BertNLIError, match='no longer a finite number'):
        train_nli(net, batches(4), batches(3), SETTINGS, progress=False)
    with pytest.raises(BertNLIError, match='no longer a finite number'):
        train_ch13(net, batches(4), batches(3), LOSS, adam(net), 1, progress=False)


def test_the_rows_of_the_batch_whose_loss_is_no_number_are_told():
    vocab = Vocab(['a', 'b'], reserved_tokens=RESERVED)
    net = small_net()
    data = SNLIBERTDataset([['a b'] * 40, ['b'] * 40, [0] * 40], 8, vocab)

    class Spoiling(Batches):
        def _deliver(self, order, epoch, start):
            for number, batch in enumerate(super()._deliver(order, epoch, start)):
                if (epoch, number) == (1, 2):
                    net.classifier[1].bias.set_data(np.full(3, onp.nan))
                yield batch

    train_iter = Spoiling(data, 4, seed=3)
    rows = train_iter.order(1)[2]
    with pytest.raises(BertNLIError, match='no longer a finite number') as caught:
        train_nli(net, train_iter, batches(3), SETTINGS, progress=False)  # which looks at each second step
    assert 'step 13, ' in caught.value.where
    assert f'rows {", ".join(map(str, rows))} of the data' in caught.value.where


def test_a_gradient_that_overflows_is_told_with_its_own_step_though_nobody_waits_for_it(monkeypatch):
    class Spoiling(Updater):
        def step(self, number, divisor, tokens=None):
            if number == 2:  # of six in the epoch; the loss of this step is finite still
                self.parameters[3].list_grad()[0][:] = onp.inf
            return super().step(number, divisor, tokens)

    monkeypatch.setattr(finetuning, 'Updater', Spoiling)
    with pytest.raises(BertNLIError, match='no longer a finite number') as caught:
        train_nli(small_net(), batches(*[4] * 30), batches(3), changed(SETTINGS, clip=None), progress=False)
    assert 'step 3, ' in caught.value.where


def test_zero_epochs_and_empty_data_are_refused():
    net = small_net()
    with pytest.raises(SettingsError, match='num_epochs'):
        FinetuneSettings(num_epochs=0)
    with pytest.raises(SettingsError, match='invalid num_'):
        train_ch13(net, batches(4), batches(3), LOSS, adam(net), 0)
    with pytest.raises(SettingsError, match='nothing to train on'):
        train_ch13(net, [], batches(3), LOSS, adam(net), 1)
    with pytest.raises(SettingsError, match='nothing to train on'):
        train_nli(net, [], batches(3), SETTINGS)
    with pytest.raises(SettingsError, match='nothing to evaluate'):
        train_nli(net, batches(4), [], SETTINGS, progress=False)


@pytest.mark.parametrize(('patience', 'epochs'), [(1, 3), (2, 5), (3, 6), (None, 6)])
def test_it_ends_after_so_many_epochs_that_are_not_better(patience, epochs, monkeypatch):
    scores = iter([0.4, 0.5, 0.6, 0.5, 0.6, 0.7] if patience != 1 else [0.4, 0.6, 0.6, 0.7])
    monkeypatch.setattr('bertnli.finetuning.evaluate_accuracy_gpus', lambda *_: next(scores))
    settings = changed(SETTINGS, num_epochs=6, patience=patience)
    result = train_nli(small_net(), batches(5), 'dev split', settings, progress=False)
    assert result.history[-1]['epoch'] == epochs


def scores_of_first_layer(bert, ones, others):
    """What each head scores before softmax if positions with the vectors `ones` look at `others`: (n, H)."""
    layer = bert.encoder.blks[0].attention
    queries, keys = (
        dense(np.array(vectors)).asnumpy().reshape(len(vectors), layer.num_heads, -1)
        for dense, vectors in ((layer.W_q, ones), (layer.W_k, others))
    )
    return (queries * keys).sum(axis=-1) / queries.shape[-1] ** 0.5


@pytest.mark.parametrize('heads', [1, 2, 4])
def test_aligned_heads_prefer_the_other_sentence_by_what_they_say(heads):
    bert = random_weights(BERTModel(V, 16, F, heads, 2, 0.0, MAX_LEN))
    encoder = bert.encoder
    tables = encoder.token_embedding.weight, encoder.segment_embedding.weight, encoder.pos_embedding
    words, segments, places = (table.data().asnumpy().reshape(-1, 16) for table in tables)
    begin_with_alignment(bert)
    usual = words.mean(axis=0) + places.mean(axis=0)
    both = usual + segments
    neither = usual + segments.mean(axis=0, keepdims=True)
    neutral = scores_of_first_layer(bert, neither, neither)
    across = scores_of_first_layer(bert, both, both[::-1])
    within = scores_of_first_layer(bert, both, both)
    assert_close(across, neutral.repeat(2, axis=0) + alignment._OTHER, 1e-4)
    assert_close(within, neutral.repeat(2, axis=0) - alignment._OTHER, 1e-4)


@pytest.mark.parametrize('heads', [1, 2, 4])
def test_aligned_heads_like_a_word_as_much_as_they_say(heads):
    bert = random_weights(BERTModel(2000, 64, F, heads, 1, 0.0, MAX_LEN))
    begin_with_alignment(bert)
    words = bert.encoder.token_embedding.weight.data().asnumpy()
    own = scores_of_first_layer(bert, words, words).mean(axis=0)
    alien = scores_of_first_layer(bert, words[1:], words[:-1]).mean(axis=0)
    # A little is lost: one direction tells the sentences apart, not the words.
    assert all(own - alien > 0.65 * alignment._LIKE)
    assert all(own - alien < alignment._LIKE)


def test_alignment_changes_queries_and_keys_of_the_first_layer_and_nothing_else():
    devices = cpu_devices(2)
    net = small_net(devices)
    before = weights_of(net)
    begin_with_alignment(net.bert)
    after = weights_of(net)
    changed_names = {name for name in after if (after[name] != before[name]).any()}
    assert {name.split('.')[-2] for name in changed_names} == {'W_q', 'W_k'}
    assert all('blks.0.' in name for name in changed_names)
    assert same_on_all_devices(net, devices)


def test_an_aligned_head_finds_the_same_word_in_the_other_sentence():
    bert, vocab = load_pretrained_model('bert-wikitext2')
    pair = 'Two dogs run through a field of snow.', 'The dogs play in the snow.'
    shares = []
    for _ in range(2):
        words, (weights, _) = attention(bert, vocab, *pair)
        places = [(words.index(word, words.index('<sep>')), words.index(word)) for word in ('dogs', 'snow')]
        shares.append([weights[:, asks, answers].max() for asks, answers in places])
        begin_with_alignment(bert)
    before, after = shares
    assert max(before) < 0.05
    assert min(after) > 0.4


def test_what_cannot_be_aligned_is_refused_with_a_remedy():
    net = small_net()
    with pytest.raises(SettingsError, match='not a BERT') as caught:
        begin_with_alignment(net)
    assert 'net.bert' in caught.value.remedy
    table = net.bert.encoder.segment_embedding.weight
    table.set_data(np.zeros(table.shape))
    with pytest.raises(SettingsError, match='do not differ'):
        begin_with_alignment(net.bert)
