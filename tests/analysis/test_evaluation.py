"""Evaluation: every number against scikit-learn or a worked example, every answer in its own row."""

import json
import math

import numpy
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from small_models import pretraining_batch, random_weights, small_bert

from bertnli.analysis import baselines
from bertnli.analysis import report as evaluation
from bertnli.analysis.baselines import hypothesis_only_baseline, overlap_baseline
from bertnli.analysis.report import Report, evaluate, evaluate_pretraining, expected_calibration_error
from bertnli.batches import Batches
from bertnli.datasets import SNLIBERTDataset, WikiTextDataset
from bertnli.devices import cpu_devices
from bertnli.errors import SettingsError
from bertnli.model import BERTClassifier, BERTModel
from bertnli.pictures.answers import plot_confusion, plot_reliability
from bertnli.runtime import autograd, gluon, init, np, npx
from bertnli.text import LABELS, SentencePair
from bertnli.tokens import Vocab

# Four pairs, worked by hand: right, wrong, right, wrong.
TRUE = [0, 0, 1, 2]
PROBABILITIES = [[0.8, 0.1, 0.1], [0.3, 0.1, 0.6], [0.0, 1.0, 0.0], [0.9, 0.05, 0.05]]


def random_answers(seed, n=200):
    rng = numpy.random.default_rng(seed)
    return rng.integers(0, 3, n), rng.dirichlet([0.7] * 3, n)


# ------------------------------------------------------------------------------------------- the report


def test_a_report_worked_by_hand():
    report = Report.from_probabilities(TRUE, PROBABILITIES)
    assert (report.n, report.accuracy) == (4, 0.5)
    assert report.confusion == [[1, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert report.loss == pytest.approx(-(math.log(0.8) + math.log(0.3) + 0 + math.log(0.05)) / 4)
    assert report.per_class['entailment'] == {'precision': 0.5, 'recall': 0.5, 'f1': 0.5, 'support': 2}
    assert report.per_class['neutral'] == {'precision': 0.0, 'recall': 0.0, 'f1': 0.0, 'support': 1}
    # Each pair has a bin of its own: |0.8 - 1| + |0.6 - 0| + |1 - 1| + |0.9 - 0|.
    assert report.ece == pytest.approx((0.2 + 0.6 + 0 + 0.9) / 4)
    assert report.predicted.tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize('seed', [0, 1])
def test_a_report_agrees_with_scikit_learn(seed):
    true, probabilities = random_answers(seed)
    if seed:  # a label that is never predicted, and one that never occurs
        probabilities[:, 1] = 0
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        true[true == 2] = 1
    report = Report.from_probabilities(true, probabilities)
    predicted = probabilities.argmax(axis=1)
    oracle = sklearn.metrics.precision_recall_fscore_support(
        true, predicted, labels=[0, 1, 2], zero_division=0.0
    )
    for name, values in zip(('precision', 'recall', 'f1', 'support'), oracle):
        found = [report.per_class[label][name] for label in LABELS]
        if seed and name in ('recall', 'f1'):
            assert found.pop() is None
        assert found == pytest.approx(values[: len(found)].tolist())
    assert ('–' in str(report)) == ('–' in report._repr_html_()) == bool(seed)
    assert report.confusion == sklearn.metrics.confusion_matrix(true, predicted, labels=[0, 1, 2]).tolist()
    assert report.accuracy == pytest.approx(sklearn.metrics.accuracy_score(true, predicted))
    if not seed:
        assert report.loss == pytest.approx(sklearn.metrics.log_loss(true, probabilities, labels=[0, 1, 2]))


def test_a_probability_of_zero_gives_a_finite_loss():
    report = Report.from_probabilities([0], [[0.0, 1.0, 0.0]])
    assert 80 < report.loss < 100


def test_other_labels_can_be_named():
    report = Report.from_probabilities([1, 0], [[0.2, 0.8], [0.9, 0.1]], labels=['no', 'yes'])
    assert report.per_class['yes']['f1'] == 1.0
    assert len(report.confusion) == 2


def test_a_report_becomes_json_without_its_arrays():
    values = json.loads(json.dumps(Report.from_probabilities(*random_answers(0)).as_dict()))
    assert set(values) == {'n', 'accuracy', 'loss', 'ece', 'labels', 'confusion', 'per_class'}
    assert values['loss'] == round(values['loss'], 6)
    assert values['per_class']['neutral']['support'] == sum(values['confusion'][2])


def test_a_printed_report_is_two_aligned_tables():
    text = str(Report.from_probabilities(TRUE * 500, PROBABILITIES * 500))
    assert text.startswith('accuracy 0.5000 (1,000 of 2,000 right), loss ')
    scores, counts = (block.split('\n') for block in text.split('\n\n')[1:])
    assert [line.split()[0] for line in scores[1:]] == list(LABELS)
    assert counts[1].split() == ['entailment', '500', '0', '500']
    assert len({len(line) for line in scores}) == len({len(line) for line in counts}) == 1


def test_a_notebook_gets_the_same_tables_and_no_markup_from_labels():
    html = Report.from_probabilities([0], [[0.6, 0.4]], labels=['<a>', 'b'])._repr_html_()
    assert html.count('<table>') == html.count('<caption>') == 2
    assert '&lt;a&gt;' in html
    assert '<a>' not in html


def test_the_hardest_mistakes_come_with_their_sentences():
    report = Report.from_probabilities(TRUE, PROBABILITIES)
    columns = [['p0', 'p1', 'p2', 'p3'], ['h0', 'h1', 'h2', 'h3'], TRUE]
    first, second = report.hardest(5, columns)
    assert first == (3, 'p3', 'h3', 'neutral', 'entailment', 0.9)
    assert (second.index, second.predicted, second.confidence) == (1, 'neutral', 0.6)
    assert report.hardest(1, [SentencePair(*row) for row in zip(*columns)]) == [first]
    assert report.hardest(0, columns) == []


def test_three_sentence_pairs_are_not_taken_for_three_columns():
    report = Report.from_probabilities(TRUE[1:], PROBABILITIES[1:])
    pairs = [SentencePair(f'p{i}', f'h{i}') for i in range(3)]
    assert [mistake.premise for mistake in report.hardest(9, pairs)] == ['p2', 'p0']


@pytest.mark.parametrize(
    ('true', 'probabilities'),
    [
        ([], []),
        ([0], [[0.5, 0.5]]),
        ([0, 1], [[1.0, 0.0, 0.0]]),
        ([3], [[1.0, 0.0, 0.0]]),
        ([-1], [[1.0, 0.0, 0.0]]),
        ([0], [[7.0, -1.0, 2.0]]),
        ([0], [[math.nan] * 3]),
        (0, [1.0, 0.0, 0.0]),
    ],
)
def test_labels_and_probabilities_that_do_not_fit_are_refused(true, probabilities):
    with pytest.raises(SettingsError):
        Report.from_probabilities(true, probabilities)


@pytest.mark.parametrize(
    'pairs', [[], [SentencePair('p', 'h')], ['p', 'h', 'l'], [['p'] * 4, ['h'] * 3, TRUE]]
)
def test_the_hardest_mistakes_need_the_evaluated_pairs(pairs):
    with pytest.raises(SettingsError):
        Report.from_probabilities(TRUE, PROBABILITIES).hardest(1, pairs)


def naive_ece(confidences, correct, bins):
    """As the paper writes it: over bins ((m - 1) / M, m / M], |accuracy - confidence| times their share."""
    total = 0.0
    for m in range(bins):
        inside = [
            (c, a) for c, a in zip(confidences, correct) if m < c * bins <= m + 1 or (m == 0 and c == 0)
        ]
        if inside:
            confidence, accuracy = (sum(column) / len(inside) for column in zip(*inside))
            total += len(inside) / len(confidences) * abs(accuracy - confidence)
    return total


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30), st.integers(1, 20))
def test_calibration_error_is_the_papers_formula(answers, bins):
    confidences, correct = zip(*answers)
    error = expected_calibration_error(confidences, correct, bins)
    assert error == pytest.approx(naive_ece(confidences, correct, bins))
    assert 0 <= error <= 1


def test_a_confidence_on_the_edge_belongs_to_the_lower_bin():
    # 0.5 in the bin up to 0.5, off by 0.5; 0.9 in the bin above, off by 0.9. Together they would cancel.
    assert expected_calibration_error([0.5, 0.9], [1, 0], bins=2) == pytest.approx(0.7)
    assert plot_reliability([0.5, 0.9], [1, 0], bins=2).alt.endswith('ECE 0.700.')


def test_the_pictures_show_the_numbers_of_the_report():
    true, probabilities = random_answers(3)
    report = Report.from_probabilities(true, probabilities)
    picture = plot_reliability(probabilities.max(axis=1), true == report.predicted, bins=15)
    assert picture.alt.endswith(f'accuracy {report.accuracy:.3f}, ECE {report.ece:.3f}.')
    assert (
        f'{round(report.accuracy * report.n)} of 200 correct' in plot_confusion(report.confusion, LABELS).alt
    )


# ----------------------------------------------------------------------------------------- a network


@pytest.fixture(scope='module')
def data():
    """Twenty pairs of all lengths, as columns and as a data set."""
    rng = numpy.random.default_rng(0)
    words = 'a dog cat man runs sleeps near the old house'.split()

    def sentence():
        return ' '.join(rng.choice(words, rng.integers(1, 12)))

    columns = [
        [sentence() for _ in range(20)],
        [sentence() for _ in range(20)],
        rng.integers(0, 3, 20).tolist(),
    ]
    vocab = Vocab([words], reserved_tokens=['<pad>', '<mask>', '<cls>', '<sep>'])
    return columns, SNLIBERTDataset(columns, 16, vocab)


@pytest.fixture(scope='module')
def net(data):
    net = BERTClassifier(BERTModel(len(data[1].vocab), 8, 12, 2, 1, 0.5, max_len=16))
    net.initialize(init.Normal(0.5), ctx=cpu_devices(3))
    return net


@pytest.fixture(scope='module')
def answers(net, data):
    """The oracle: one pair at a time, in the order of the data set."""
    rows = []
    for (tokens, segments, valid_len), _ in (data[1][i] for i in range(len(data[1]))):
        X = [np.array(part).reshape(1, -1) for part in (tokens, segments)]
        rows.append(npx.softmax(net((*X, np.array([valid_len]).reshape(-1)))).asnumpy()[0])
    return numpy.array(rows)


@pytest.mark.parametrize('shuffle', [False, True])
def test_answers_stand_in_the_order_of_the_data_whatever_the_batches(net, data, answers, shuffle):
    columns, dataset = data
    report = evaluate(net, Batches(dataset, 6, shuffle=shuffle))
    assert report.true.tolist() == columns[2]
    assert numpy.allclose(report.probabilities, answers, atol=1e-5)


def test_a_data_loader_of_gluon_is_evaluated_in_its_order(net, data, answers):
    report = evaluate(net, gluon.data.DataLoader(data[1], 7), devices=cpu_devices(1))
    assert numpy.allclose(report.probabilities, answers, atol=1e-5)
    assert report.true.tolist() == data[0][2]


@pytest.mark.parametrize('count', [1, 2, 3])
def test_the_number_of_devices_changes_nothing(net, data, answers, count):
    # Batches of 7, 7 and 6; with 19 in a batch, the last holds one: fewer than devices.
    for batch_size in (7, 19):
        report = evaluate(net, Batches(data[1], batch_size, shuffle=False), cpu_devices(count))
        assert numpy.allclose(report.probabilities, answers, atol=1e-5)


def test_evaluation_uses_no_dropout_and_leaves_no_trace(net, data, answers):
    weights = [p.list_data()[0].asnumpy() for p in net.collect_params().values()]
    with autograd.record():  # even when called in the middle of training
        report = evaluate(net, Batches(data[1], 6, shuffle=False))
        assert autograd.is_training()
    assert numpy.allclose(report.probabilities, answers, atol=1e-5)
    for before, parameter in zip(weights, net.collect_params().values()):
        assert numpy.array_equal(before, parameter.list_data()[0].asnumpy())


def test_few_batches_are_under_way_and_none_is_waited_for_at_once(net, data, monkeypatch):
    read, begun, under_way = [], [], []

    def watched():
        for batch in Batches(data[1], 1, shuffle=False):
            begun.append(batch)
            under_way.append(len(begun) - len(read))
            yield batch

    original = evaluation._read
    monkeypatch.setattr(evaluation, '_read', lambda arrays: read.append(1) or original(arrays))
    evaluate(net, watched())
    assert len(read) == 20
    assert 2 < max(under_way) < 12


def test_half_an_epoch_is_refused_because_rows_would_be_mixed_up(net, data):
    with pytest.raises(SettingsError, match='whole data set'):
        evaluate(net, Batches(data[1], 6, shuffle=False, start=2))


def test_nothing_to_evaluate_is_told(net):
    with pytest.raises(SettingsError, match='nothing to evaluate'):
        evaluate(net, [])


# ----------------------------------------------------------------------------------------- baselines


def pairs_with_a_giveaway(n, seed):
    """The hypothesis tells contradiction by 'nobody'; entailment and neutral differ by overlap only."""
    rng = numpy.random.default_rng(seed)
    nouns, rows = [f'noun{i}' for i in range(30)], []
    for label in rng.integers(0, 3, n):
        premise = rng.choice(nouns, 4, replace=False)
        others = [noun for noun in nouns if noun not in premise]
        hypothesis = list(premise[:2]) if label == 0 else list(rng.choice(others, 2, replace=False))
        if label == 1:
            hypothesis = ['nobody', hypothesis[0]]
        rows.append((' '.join(premise), ' '.join(hypothesis), int(label)))
    return [list(column) for column in zip(*rows)]


def test_the_hypothesis_alone_gives_away_what_it_does_and_no_more():
    train, test = pairs_with_a_giveaway(2000, 0), pairs_with_a_giveaway(1000, 1)
    accuracy = hypothesis_only_baseline(train, test)
    assert 0.60 < accuracy < 0.73  # a third by 'nobody', half of the rest by luck
    assert accuracy == hypothesis_only_baseline(train, test, seed=0)


def test_overlap_gives_away_what_it_does_and_no_more():
    accuracy = overlap_baseline(pairs_with_a_giveaway(2000, 0), pairs_with_a_giveaway(1000, 1))
    assert 0.60 < accuracy < 0.73  # entailment by its shared words; the other two look alike


def test_overlap_features_worked_by_hand():
    # 'a' and 'dog' of three hypothesis words are found; 'A', 'dog', 'a' of four premise words.
    features = baselines._overlaps([['A dog saw a', ''], ['a dog ran', 'x'], [0, 1]])
    assert features[0].tolist() == pytest.approx([2 / 3, 1.0 * 3 / 4, 3, 4, 1])
    assert features[1].tolist() == [0, 0, 1, 0, -1]


@pytest.mark.parametrize('baseline', [hypothesis_only_baseline, overlap_baseline])
@pytest.mark.parametrize(
    ('train', 'test'),
    [
        ([[], [], []], [['p'], ['h'], [0]]),
        ([['p', 'q'], ['h', 'i'], [0, 1]], [[], [], []]),
        ([['p', 'q'], ['h', 'i'], [1, 1]], [['p'], ['h'], [0]]),
        ([['p'], ['h', 'i'], [0, 1]], [['p'], ['h'], [0]]),
        ([['p', 'q'], ['h', 'i']], [['p'], ['h'], [0]]),
    ],
)
def test_baselines_refuse_what_they_cannot_learn_from(baseline, train, test):
    with pytest.raises(SettingsError):
        baseline(train, test)


def test_baselines_on_real_pairs_find_what_the_literature_reports(real_data):
    from bertnli.corpora.files import download_extract
    from bertnli.text import read_snli

    folder = download_extract('SNLI', data_dir=real_data)
    train, test = read_snli(folder, split='train', limit=20000), read_snli(folder, split='test')
    assert 0.56 < hypothesis_only_baseline(train, test) < 0.66
    assert 0.45 < overlap_baseline(train, test) < 0.55


# ------------------------------------------------------------------------------------------- pretraining


def test_a_pretraining_is_judged_word_by_word_as_numpy_does():
    text = [['a dog runs', 'the dog is fast'], ['a cat sleeps', 'it is tired', 'it is old']] * 7
    dataset = WikiTextDataset(text, 16, min_freq=1)
    net = random_weights(BERTModel(len(dataset.vocab), 8, 6, 2, 1, 0.0), seed=1)
    batches = Batches(dataset, 5, seed=3)
    found = evaluate_pretraining(net, batches)
    losses, hits, next_hits = [], [], []
    batches.epoch = 0
    for *inputs, weights, words, is_next in batches:
        _, scores, nsp = (y if y is None else y.asnumpy() for y in net(*inputs))
        probabilities = numpy.exp(scores) / numpy.exp(scores).sum(-1, keepdims=True)
        for i, j in zip(*numpy.nonzero(weights.asnumpy())):
            word = int(words[i, j])
            losses.append(-math.log(probabilities[i, j, word]))
            hits.append(probabilities[i, j].argmax() == word)
        next_hits += (nsp.argmax(-1) == is_next.asnumpy()).tolist()
    assert found['perplexity'] == pytest.approx(math.exp(numpy.mean(losses)), rel=1e-5)
    assert found['mlm_accuracy'] == pytest.approx(numpy.mean(hits))
    assert found['nsp_accuracy'] == pytest.approx(numpy.mean(next_hits))
    assert (found['words'], found['pairs']) == (len(losses), len(dataset))


def test_a_pretraining_is_judged_by_all_devices_alike():
    batch = pretraining_batch(7)
    alone = evaluate_pretraining(small_bert(), iter([batch]))
    for number in (2, 3, 9):
        net = small_bert(cpu_devices(number))
        assert evaluate_pretraining(net, iter([batch])) == pytest.approx(alone, rel=1e-5)


def test_a_pretraining_is_not_judged_on_nothing():
    with pytest.raises(SettingsError, match='nothing to evaluate'):
        evaluate_pretraining(random_weights(BERTModel(9, 8, 6, 2, 1, 0.0)), iter([]))
