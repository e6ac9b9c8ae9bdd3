"""Whole jobs on a slice of the sample: what they leave behind, and what they refuse before they begin."""

import dataclasses
import json

import numpy as np
import pytest

from bertnli import (
    LABELS,
    PRESETS,
    RESERVED,
    BERTClassifier,
    BERTModel,
    CheckpointError,
    DataError,
    ModelSettings,
    SettingsError,
    Vocab,
    download_extract,
    load_checkpoint,
    predict_snli,
    read_snli,
)
from bertnli.app import jobs
from bertnli.app.jobs import Job
from bertnli.devices import cpu_devices
from bertnli.runtime import mx, npx
from bertnli.settings import changed

# Tiny vocabularies lack many words.
pytestmark = pytest.mark.filterwarnings('ignore:.*not in the vocabulary')


def tiny(seed=0, **values):
    """The smallest jobs that are jobs; `values` change both trainings."""
    demo = PRESETS['demo']
    return dataclasses.replace(
        demo,
        model=ModelSettings(
            num_hiddens=16, ffn_num_hiddens=12, num_heads=2, num_layers=1, dropout=0.1, max_len=64
        ),
        pretrain=changed(demo.pretrain, num_steps=3, seed=seed, **{'batch_size': 16, **values}),
        finetune=changed(demo.finetune, num_epochs=2, seed=seed, **{'batch_size': 32, **values}),
    )


def strict(path):
    """JSON as other languages read it: no NaN, no infinity."""

    def refuse(word):
        raise AssertionError(f'{word} is no JSON')

    return json.loads(path.read_bytes(), parse_constant=refuse)


@pytest.fixture(scope='module', autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('BERTNLI_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='module')
def demos(tmp_path_factory):
    """Three demos: two with one seed, one with another; their folders, metrics and words."""
    results = []
    for seed in (3, 3, 4):
        out, said = tmp_path_factory.mktemp('demo'), []
        metrics = jobs.demo(out, Job(tiny(seed), limit=128, progress=False), said.append)
        results.append((out, metrics, '\n'.join(map(str, said))))
    return results


def content(metrics):
    """What a seed decides: everything but the clock."""
    clock = ('seconds', 'per_second')
    return {name: value for name, value in metrics.items() if not name.endswith(clock)}


# --- the demo -------------------------------------------------------------------------------------


def test_a_demo_leaves_two_models_two_pictures_and_its_numbers(demos):
    out, metrics, _ = demos[0]
    assert {path.name for path in out.iterdir()} == {
        'bert',
        'nli',
        'metrics.json',
        'curves.png',
        'confusion.png',
    }
    for name in ('curves.png', 'confusion.png'):
        assert (out / name).read_bytes().startswith(b'\x89PNG')
    assert isinstance(load_checkpoint(out / 'bert', kind='bert').net, BERTModel)
    assert isinstance(load_checkpoint(out / 'nli', kind='nli').net, BERTClassifier)
    assert strict(out / 'metrics.json') == json.loads(json.dumps(metrics))


def test_the_numbers_of_a_demo_are_complete_and_make_sense(demos):
    metrics = demos[0][1]
    for name in ('test_accuracy', 'dev_accuracy', 'hypothesis_only_accuracy', 'train_accuracy'):
        assert 0 < metrics[name] < 1
    for name in ('mlm_loss', 'nsp_loss', 'pairs_per_second', 'examples_per_second', 'seconds'):
        assert metrics[name] > 0
    assert {'python', 'mxnet', 'd2l', 'numpy', 'bertnli'} <= set(metrics['versions'])
    assert (metrics['seed'], metrics['train_pairs'], metrics['best_epoch'] in (1, 2)) == (3, 128, True)
    assert metrics['seconds'] >= metrics['pretrain_seconds'] + metrics['finetune_seconds']


def test_a_demo_shows_five_predictions_with_probabilities(demos):
    said = demos[0][2]
    assert said.count('premise') == said.count('the label is') == 5
    assert all(label in said for label in LABELS)
    assert f'test accuracy {demos[0][1]["test_accuracy"]:.3f}' in said


def test_one_seed_gives_the_same_numbers_and_the_same_weights_twice(demos):
    (first, numbers, _), (second, again, _), _ = demos
    assert content(numbers) == content(again)
    for part in ('bert', 'nli'):
        # Weights carry their checksum in their name.
        names = [{path.name for path in (out / part).glob('weights-*')} for out in (first, second)]
        assert names[0] == names[1]


def test_another_seed_gives_other_numbers(demos):
    _, numbers, _ = demos[0]
    _, others, _ = demos[2]
    assert numbers['mlm_loss'] != others['mlm_loss']
    assert numbers['train_loss'] != others['train_loss']


def test_a_saved_demo_answers_as_it_did_when_it_was_trained(demos):
    out, metrics, _ = demos[0]
    judged, found = jobs.evaluate_folder(out / 'nli', 'test', progress=False)
    assert judged.accuracy == metrics['test_accuracy']
    assert found['accuracy'] == pytest.approx(judged.accuracy, abs=1e-6)
    dev, _ = jobs.evaluate_folder(out / 'nli', 'dev', progress=False)
    assert dev.accuracy == pytest.approx(metrics['dev_accuracy'])


def test_numbers_beside_a_model_are_those_of_its_training(demos):
    out, metrics, _ = demos[0]
    for part, name in (('bert', 'mlm_loss'), ('nli', 'dev_accuracy')):
        assert strict(out / part / 'metrics.json')[name] == metrics[name]
        assert load_checkpoint(out / part).notes[name] == metrics[name]


# --- the parts ------------------------------------------------------------------------------------


def test_fine_tuning_without_pretraining_takes_its_words_from_the_pairs(tmp_path):
    net, metrics = jobs.finetune(tmp_path, None, None, Job(tiny(), limit=64, progress=False))
    vocab = load_checkpoint(tmp_path).vocab
    assert isinstance(net, BERTClassifier)
    assert vocab.idx_to_token[:5] == ['<unk>', '<pad>', '<mask>', '<cls>', '<sep>']
    assert 'a' in vocab
    assert metrics['train_pairs'] == 64


def test_pretraining_may_read_the_pairs_too_but_only_as_many_as_it_is_told(tmp_path):
    def words(**values):
        preset = tiny()
        preset = dataclasses.replace(preset, pretrain=changed(preset.pretrain, min_freq=1, **values))
        return jobs.pretrain(tmp_path, Job(preset, limit=64, progress=False, overwrite=True))[1]

    wiki, both = words(), words(pair_text=True)
    pairs = read_snli(download_extract('SNLI'), split='train', limit=64)
    read = {word for column in pairs[:2] for sentence in column for word in sentence.lower().split()}
    assert set(both.idx_to_token) == set(wiki.idx_to_token) | read
    counts = [dict(vocab.token_freqs)['a'] for vocab in (wiki, both)]
    assert counts[0] < counts[1] <= counts[0] + sum(len(s.split()) for s in [*pairs[0], *pairs[1]])


def test_text_that_is_read_three_times_gives_three_times_its_pairs_and_the_same_words():
    settings = changed(tiny().pretrain, min_freq=1, pair_text=True, max_len=256)
    once, thrice = (
        jobs._pretraining_text(Job(tiny(), limit=64, progress=False), changed(settings, wiki_times=times))
        for times in (1, 3)
    )
    assert once.left_out == thrice.left_out == 0
    assert len(thrice) - 64 == 3 * (len(once) - 64)
    assert once.vocab.token_freqs == thrice.vocab.token_freqs


def test_pretraining_may_begin_with_counts_of_its_text(tmp_path):
    settings = changed(tiny().pretrain, num_steps=1, learning_rate=1e-9)
    for counted in (False, True):
        preset = dataclasses.replace(tiny(), pretrain=changed(settings, count_first=counted))
        bert, vocab, _ = jobs.pretrain(tmp_path, Job(preset, progress=False, overwrite=True))
        frequencies = np.exp(bert.mlm.output.bias.data().asnumpy())
        counts = np.array([dict(vocab.token_freqs).get(word, 0) for word in vocab.idx_to_token])
        expected = counts / counts.sum() if counted else 1
        np.testing.assert_allclose(frequencies[5:], expected[5:] if counted else expected, rtol=0.2)


def test_fine_tuning_may_use_another_dropout_than_pretraining(demos, tmp_path):
    bert, vocab = jobs.pretrained(demos[0][0] / 'bert', None)
    preset = dataclasses.replace(tiny(), finetune=changed(tiny().finetune, dropout=0.4))
    jobs.finetune(tmp_path, bert, vocab, Job(preset, limit=64, progress=False))
    assert load_checkpoint(demos[0][0] / 'bert').settings.dropout == 0.1
    assert load_checkpoint(tmp_path).settings.dropout == 0.4


def test_fine_tuning_may_begin_with_heads_that_align(demos, tmp_path):
    settings = changed(tiny().finetune, num_epochs=1, learning_rate=1e-9)
    for aligned in (False, True):
        bert, vocab = jobs.pretrained(demos[0][0] / 'bert', None)
        preset = dataclasses.replace(tiny(), finetune=changed(settings, align_first=aligned))
        net, _ = jobs.finetune(tmp_path, bert, vocab, Job(preset, limit=64, progress=False, overwrite=True))
        heads = net.bert.encoder.blks[0].attention
        others = np.kron(
            1 - np.eye(heads.num_heads), np.ones([heads.W_q.weight.shape[0] // heads.num_heads] * 2)
        )
        elsewhere = abs(others * heads.W_q.weight.data().asnumpy()).max()
        assert (elsewhere < 1e-6) == aligned


def test_a_classifier_is_fine_tuned_again_with_pairs_of_our_own_and_calibrated(demos, tmp_path, monkeypatch):
    tuned, vocab = jobs.pretrained(demos[0][0] / 'nli', None)
    before = load_checkpoint(demos[0][0] / 'nli').net
    for part in range(2):
        layers = ((net.bert.encoder.token_embedding, net.classifier[0])[part] for net in (tuned, before))
        assert np.array_equal(*(layer.weight.data().asnumpy() for layer in layers))
    head = before.classifier[1].weight.data().asnumpy()
    settings = changed(tiny().finetune, own_pairs=0.5, new_words=0.2, mixed_words=0.25, calibrate=True)
    preset, mixed, train = dataclasses.replace(tiny(), finetune=settings), [], jobs.train_nli
    pairs, made = jobs.contrast_pairs, []

    def train_and_tell(net, *args, **options):
        mixed.append(net.encoder.mixed)
        return train(net, *args, **options)

    monkeypatch.setattr(jobs, 'train_nli', train_and_tell)
    monkeypatch.setattr(jobs, 'contrast_pairs', lambda *args: made.append(args[3:]) or pairs(*args))
    net, metrics = jobs.finetune(tmp_path, tuned, vocab, Job(preset, limit=64, progress=False))
    # It goes on with its head: a few small steps away, no new one.
    assert net is tuned
    assert 0 < np.abs(net.classifier[1].weight.data().asnumpy() - head).max() < 0.1 * np.abs(head).max()
    assert (mixed, net.encoder.mixed) == ([0.25], 0)  # whoever trains it further mixes no words unasked
    assert metrics['full_stop']
    assert metrics['train_pairs'] == 96
    assert made == [(32, 0, 0.2)]
    plain, calibrated = (load_checkpoint(tmp_path, calibrated=switch) for switch in (False, True))
    pair = 'A dog runs .', 'An animal runs .'
    raw, cooled = (predict_snli(one.net, one.vocab, *pair) for one in (plain, calibrated))
    assert raw == predict_snli(net, vocab, *pair)
    # Probabilities to the power of 1 / temperature, summing to 1.
    expected = np.array(raw.probabilities) ** (1 / metrics['temperature'])
    assert cooled.probabilities == pytest.approx(tuple(expected / expected.sum()), abs=1e-5)
    assert 0.2 < metrics['temperature'] != 1


def test_order_is_learnt_from_pairs_of_our_own_alone(demos, tmp_path):
    tuned, vocab = jobs.pretrained(demos[0][0] / 'nli', None)
    job = Job(
        dataclasses.replace(tiny(), finetune=changed(tiny().finetune, order_pairs=100, num_epochs=1)),
        max_unknown=1.0,  # a sample's words are few
        progress=False,
    )
    with pytest.warns(UserWarning, match='not in the vocabulary'):
        _, metrics = jobs.finetune(tmp_path, tuned, vocab, job)
    assert metrics['train_pairs'] == 100
    run = strict(tmp_path / 'manifest.json')['notes']['run']
    assert (run['train pairs'], run['dev pairs']) == (100, 3000)
    assert run['train content'] != run['dev content']


@pytest.mark.parametrize(
    'given',
    [{'teachers': ('bert-nli-small',)}, {'limit': 64}, {'data': jobs.PairFiles(None, train='pairs.csv')}],
    ids=lambda given: ' '.join(given),
)
def test_what_order_pairs_would_not_heed_is_refused(demos, given, tmp_path):
    tuned, vocab = jobs.pretrained(demos[0][0] / 'nli', None)
    preset = dataclasses.replace(tiny(), finetune=changed(tiny().finetune, order_pairs=100))
    with pytest.raises(SettingsError, match='made, not read') as caught:
        jobs.finetune(tmp_path, tuned, vocab, Job(preset, progress=False, **given))
    assert '--teachers' in caught.value.remedy


@pytest.fixture
def taught(demos, monkeypatch):
    """What is learnt, an array (96, 3) and its data set, when demos teach, 64 pairs and 32 of our own."""
    found = {}

    def train_nli(net, train_iter, *_, **__):
        found.update(shares=train_iter.dataset.label_ids, dataset=train_iter.dataset)
        raise KeyboardInterrupt

    def learn(out, teachers, **values):
        monkeypatch.setattr(jobs, 'train_nli', train_nli)
        bert, vocab = jobs.pretrained(demos[0][0] / 'bert', None)
        settings = changed(tiny().finetune, own_pairs=0.5, **values)
        preset = dataclasses.replace(tiny(), finetune=settings)
        with pytest.raises(KeyboardInterrupt):
            jobs.finetune(out, bert, vocab, Job(preset, limit=64, progress=False, teachers=teachers))
        return found['shares'], found['dataset']

    return learn


def test_teachers_have_their_share_in_the_labels_of_the_data_and_none_in_our_own(demos, taught, tmp_path):
    teachers = demos[0][0] / 'nli', demos[2][0] / 'nli'
    shares, dataset = taught(tmp_path, teachers, taught=0.7)
    assert shares.shape == (96, 3)
    assert shares.sum(axis=1) == pytest.approx(np.ones(96), abs=1e-5)
    assert set(shares[64:].ravel()) == {0.0, 1.0}
    labels = dataset.labels.asnumpy().astype(int)
    assert (shares[64:].argmax(axis=1) == labels[64:]).all()
    # One pair by hand: as the two teachers answer it, and with its label.
    row = 5
    features = dataset[row : row + 1][0]
    answers = [
        npx.softmax(load_checkpoint(teacher, calibrated=True).net(features))[0].asnumpy()
        for teacher in teachers
    ]
    expected = 0.7 * np.mean(answers, axis=0) + 0.3 * np.eye(3)[labels[row]]
    assert shares[row] == pytest.approx(expected, abs=1e-5)


def test_a_student_learns_what_its_teacher_answers_and_resumes(demos, tmp_path):
    teacher, told = str(demos[0][0] / 'nli'), []
    bert, vocab = jobs.pretrained(demos[0][0] / 'bert', None)
    preset = dataclasses.replace(tiny(), finetune=changed(tiny().finetune, taught=1.0))
    job = Job(preset, limit=64, progress=False, teachers=(teacher,), on_log=told.append)
    _, metrics = jobs.finetune(tmp_path, bert, vocab, job)
    assert told[-1]['epoch'] == 2
    assert strict(tmp_path / 'manifest.json')['notes']['run']['teachers'] == teacher
    # A finished run is known by its teachers.
    again = dataclasses.replace(job, resume=True)
    assert jobs.finetune(tmp_path, jobs.pretrained(demos[0][0] / 'bert', None)[0], vocab, again)[1] == metrics
    other = dataclasses.replace(again, teachers=None)
    with pytest.raises(CheckpointError, match='teachers'):
        jobs.finetune(tmp_path, jobs.pretrained(demos[0][0] / 'bert', None)[0], vocab, other)


def test_a_teacher_must_know_the_same_words(demos, tmp_path):
    bert, vocab = jobs.pretrained(demos[0][0] / 'bert', None)
    job = Job(tiny(), limit=64, progress=False, teachers=('bert-nli-small',))
    with pytest.raises(SettingsError, match='another vocabulary'):
        jobs.finetune(tmp_path, bert, vocab, job)


def test_unknown_words_may_be_insisted_on_with_pairs_of_our_own_too(tmp_path):
    vocab = Vocab(['a', 'the'], reserved_tokens=RESERVED)
    preset = dataclasses.replace(tiny(), finetune=changed(tiny().finetune, own_pairs=0.5, num_epochs=1))
    for share, told in (
        (0.6, pytest.raises(DataError, match='does not know')),
        (1.0, pytest.warns(UserWarning, match='not in the vocabulary')),
    ):
        bert = BERTModel(len(vocab), **dataclasses.asdict(preset.model))
        bert.initialize()
        with told:
            jobs.finetune(tmp_path, bert, vocab, Job(preset, limit=32, progress=False, max_unknown=share))


def test_the_challenge_set_is_judged_by_phenomenon(demos, tmp_path):
    found = jobs.evaluate_challenge(demos[0][0] / 'nli', 'dev', out=tmp_path)
    assert len(found) >= 16 + 2
    assert found['least'] == min(found.values())
    assert json.loads((tmp_path / 'challenge.json').read_text('utf-8'))['mean'] == found['mean']
    assert (tmp_path / 'challenge.png').stat().st_size > 10_000


def test_fine_tuning_follows_from_its_seed_whatever_came_before(demos, tmp_path):
    saved = []
    for before in (1, 2):
        bert, vocab = jobs.pretrained(demos[0][0] / 'bert', None)
        mx.random.seed(before)
        jobs.finetune(tmp_path, bert, vocab, Job(tiny(), limit=32, progress=False))
        saved.append({path.name for path in tmp_path.glob('weights-*')})
    assert saved[0] == saved[1]


def test_jobs_run_on_several_devices(tmp_path):
    devices = cpu_devices(2)
    bert, vocab, metrics = jobs.pretrain(tmp_path / 'b', Job(tiny(), devices=devices, progress=False))
    assert next(iter(bert.collect_params().values())).list_ctx() == devices
    jobs.finetune(tmp_path / 'n', bert, vocab, Job(tiny(), devices=devices, limit=33, progress=False))
    assert strict(tmp_path / 'n' / 'metrics.json')['devices'] == '[cpu(0), cpu(1)]'
    assert metrics['vocabulary'] == len(vocab)


def test_a_training_leaves_all_that_was_logged_and_its_curves(demos):
    out = demos[0][0]
    for name, last in (('bert', {'step': 3}), ('nli', {'epoch': 2})):
        history = strict(out / name / 'metrics.json')['history']
        assert last.items() <= history[-1].items()
        assert (out / name / 'curves.png').stat().st_size > 1000


def test_evaluating_writes_its_numbers_where_it_is_told(demos, tmp_path):
    out = demos[0][0]
    judged, metrics = jobs.evaluate_folder(out / 'nli', 'dev', out=tmp_path, limit=50, progress=False)
    assert judged.n == 50
    assert strict(tmp_path / 'metrics.json') == metrics
    assert {'accuracy', 'n', 'split', 'confusion', 'seconds', 'versions', 'data', 'model'} <= set(metrics)
    assert {path.name for path in tmp_path.glob('*.png')} == {'confusion.png', 'reliability.png'}


def test_a_pretrained_model_is_judged_by_the_gaps_it_fills(demos, tmp_path):
    judged, metrics = jobs.evaluate_folder(demos[0][0] / 'bert', 'dev', out=tmp_path, progress=False)
    assert strict(tmp_path / 'metrics.json') == metrics
    assert judged.items() <= metrics.items()
    assert 1 < judged['perplexity'] < 2 * len(load_checkpoint(demos[0][0] / 'bert').vocab)
    assert judged['words'] > judged['pairs'] > 100


def test_half_precision_reaches_the_folder(tmp_path):
    saved = [jobs.pretrain(tmp_path / str(h), Job(tiny(), half=h, progress=False)) for h in (0, 1)]
    sizes = [next((tmp_path / str(h)).glob('weights-*')).stat().st_size for h in (0, 1)]
    assert saved[0][2]['mlm_loss'] == saved[1][2]['mlm_loss']
    assert sizes[1] < 0.6 * sizes[0]


def test_a_corpus_is_described_by_counts_that_add_up(tmp_path):
    found = jobs.describe(limit=200, out=tmp_path)
    assert strict(tmp_path / 'metrics.json') == json.loads(json.dumps(found))
    for split in ('train', 'dev', 'test'):
        facts = found['SNLI'][split]
        assert sum(facts['labels'].values()) == facts['pairs'] == 200
        assert facts['words a premise']['least'] <= facts['words a premise']['median']
    assert found['wikitext-2']['train']['sentences'] > found['wikitext-2']['train']['paragraphs']
    full = jobs.describe()['SNLI']['train']
    assert any('no gold label' in reason for reason in full['skipped'])


def test_presets_are_found_by_name():
    assert jobs.preset('demo') is PRESETS['demo']
    with pytest.raises(SettingsError, match='unknown preset') as caught:
        jobs.preset('large')
    assert 'chapter' in caught.value.allowed


# --- told at once, not after minutes --------------------------------------------------------------


@pytest.fixture
def no_training(monkeypatch):
    """Fail if a training begins."""

    def begin(*_, **__):
        raise AssertionError('a training began')

    for name in ('train_bert', 'train_nli'):
        monkeypatch.setattr(jobs, name, begin)


@pytest.mark.usefixtures('no_training')
class TestBeforeTheFirstStep:
    def test_a_folder_that_cannot_be_written_is_told(self, tmp_path):
        (tmp_path / 'file').touch()
        with pytest.raises(DataError, match='cannot be written') as caught:
            jobs.demo(tmp_path / 'file' / 'out', Job(tiny()))
        assert caught.value.where == str(tmp_path / 'file' / 'out')

    def test_a_missing_corpus_of_pairs_is_told_before_the_pretraining(self, tmp_path):
        data = tmp_path / 'data'
        (data / 'wikitext-2').mkdir(parents=True)
        (data / 'wikitext-2' / 'wiki.train.tokens').write_text(' a b . c d . e f . \n' * 40)
        with pytest.raises(DataError, match='SNLI'):
            jobs.demo(tmp_path / 'out', Job(tiny(), data=str(data)))

    def test_fewer_examples_than_devices_are_told(self, tmp_path):
        for train in (jobs.demo, jobs.pretrain):
            with pytest.raises(SettingsError, match='fewer examples than devices') as caught:
                train(tmp_path, Job(tiny(batch_size=2), devices=cpu_devices(3)))
            assert caught.value.where == 'batch_size'

    def test_a_limit_below_the_batch_is_told(self, tmp_path):
        with pytest.raises(SettingsError, match='batch is larger than the data'):
            jobs.demo(tmp_path, Job(tiny(), limit=31))

    def test_the_numbers_of_an_earlier_run_outlive_a_refused_one(self, tmp_path):
        (tmp_path / 'metrics.json').write_text('{"seed": 1}')
        with pytest.raises(AssertionError, match='a training began'):
            jobs.pretrain(tmp_path, Job(tiny()))
        assert strict(tmp_path / 'metrics.json') == {'seed': 1}

    def test_a_model_folder_that_is_none_is_told(self, tmp_path):
        with pytest.raises(CheckpointError, match='not a model folder'):
            jobs.pretrained(str(tmp_path), None)
        assert jobs.pretrained('none', None) == (None, None)

    def test_a_half_of_the_challenge_set_that_is_none_is_told(self, demos):
        with pytest.raises(SettingsError, match='no such half'):
            jobs.evaluate_challenge(demos[0][0] / 'nli', 'train')
