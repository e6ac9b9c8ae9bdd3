"""Batches of similar length: every example once, mixed, the same again from the same seed."""

import numpy as onp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertnli.batches import Batches, get_dataloader_workers, length_grouped, load_data_snli, load_data_wiki
from bertnli.corpora.files import download_extract
from bertnli.datasets import SNLIBERTDataset, WikiTextDataset
from bertnli.errors import DataError, SettingsError
from bertnli.runtime import d2l, np
from bertnli.text import read_snli
from bertnli.tokens import RESERVED, Vocab

WORDS = [f'w{n}' for n in range(30)]
VOCAB = Vocab(WORDS, reserved_tokens=RESERVED)
TEXT = [[' '.join(WORDS[: 1 + (p + s) % 9]) for s in range(4)] for p in range(50)]


def pairs(count=103):
    premises = [' '.join(WORDS[: 1 + 7 * n % 23]) for n in range(count)]
    hypotheses = [' '.join(WORDS[: 1 + 5 * n % 11]) for n in range(count)]
    return SNLIBERTDataset([premises, hypotheses, [n % 3 for n in range(count)]], 32, VOCAB)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=200),
    st.integers(1, 40),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(1, 5),
)
def test_every_example_comes_once_in_batches_of_the_right_size(lengths, batch_size, seed, epoch, window):
    batches = length_grouped(lengths, batch_size, seed=seed, epoch=epoch, window=window)
    assert sorted(onp.concatenate(batches).tolist()) == list(range(len(lengths)))
    sizes = sorted(map(len, batches), reverse=True)
    full, rest = divmod(len(lengths), batch_size)
    assert sizes == [batch_size] * full + [rest] * bool(rest)
    again = length_grouped(lengths, batch_size, seed=seed, epoch=epoch, window=window)
    assert all((a == b).all() for a, b in zip(batches, again))


def test_grouping_saves_nearly_all_padding():
    lengths = onp.random.default_rng(0).gamma(4, 7, 20000).astype(int) + 5

    def padded(batches):
        return sum(lengths[batch].max() * len(batch) for batch in batches) / lengths.sum()

    order = onp.random.default_rng(0).permutation(20000)
    assert padded([order[i : i + 256] for i in range(0, 20000, 256)]) > 2
    assert padded(length_grouped(lengths, 256, seed=0, epoch=0)) < 1.05


def test_epochs_and_seeds_differ_in_batches_and_their_order():
    lengths = onp.arange(400) % 10
    epochs = [length_grouped(lengths, 20, seed=s, epoch=e, window=4) for s, e in ((0, 0), (0, 1), (1, 0))]
    for one in epochs:
        for other in epochs:
            if one is not other:
                assert not any(set(a.tolist()) == set(b.tolist()) for a in one for b in other)


def test_batches_are_mixed_each_example_meets_many_others_and_comes_at_any_time():
    lengths = onp.arange(240) % 8
    met, when = onp.zeros((240, 240), bool), onp.zeros((240, 24), int)
    for epoch in range(300):
        for number, batch in enumerate(length_grouped(lengths, 10, seed=0, epoch=epoch, window=6)):
            met[onp.ix_(batch, batch)] = True
            when[batch, number] += 1
    same = lengths[:, None] == lengths
    assert met[same].all()  # whoever is equally long is met sooner or later
    assert met[~same].any()  # and not only those
    # Each place in the epoch is equally likely: 300 / 24 = 12.5 times each, none never or always.
    assert when.sum(axis=1).tolist() == [300] * 240
    assert abs(when.mean(axis=0) - 12.5).max() < 1.0
    assert when.max() < 40


def test_long_and_short_batches_alternate_by_chance():
    lengths = onp.random.default_rng(1).integers(5, 60, 25600)
    means = [lengths[batch].mean() for batch in length_grouped(lengths, 256, seed=0, epoch=0)]
    assert abs(onp.corrcoef(onp.arange(len(means)), means)[0, 1]) < 0.3


# --- batches --------------------------------------------------------------------------------------


def rows_of(batch):
    (token_ids, segments, valid_lens), labels = batch
    return [array.tolist() for array in (token_ids, segments, valid_lens, labels)]


def test_batches_hold_the_datasets_rows_as_mxnet_arrays():
    dataset = pairs()
    batches = Batches(dataset, 10)
    order = batches.order()
    assert len(order) == len(batches) == 11
    for rows, batch in zip(order, batches):
        expected = dataset.batch(rows)
        (token_ids, segments, valid_lens), labels = batch
        assert isinstance(token_ids, np.ndarray)
        kinds = [array.dtype for array in (token_ids, segments, valid_lens, labels)]
        assert kinds == [onp.int32, onp.int32, onp.float32, onp.float32]
        assert rows_of(batch) == rows_of(expected)
        assert token_ids.shape[1] == valid_lens.max()  # padded to the longest, not to max_len


def test_each_iteration_is_a_new_epoch_and_can_be_repeated():
    batches = Batches(pairs(), 10, seed=3)
    first, second = [rows_of(b) for b in batches], [rows_of(b) for b in batches]
    assert first != second
    assert batches.epoch == 2
    batches.epoch = 0
    assert [rows_of(b) for b in batches] == first


def test_an_epoch_continues_where_it_was_left():
    dataset = WikiTextDataset(TEXT, 32, vocab=VOCAB)
    whole = list(Batches(dataset, 8, seed=1, epoch=4))
    batches = Batches(dataset, 8, seed=1, epoch=4, start=5)
    rest = list(batches)
    assert len(rest) == len(whole) - 5
    for one, other in zip(rest, whole[5:]):
        assert all((a.asnumpy() == b.asnumpy()).all() for a, b in zip(one, other))
    assert (batches.epoch, batches.start) == (5, 0)


def test_two_iterators_made_in_a_row_do_not_share_an_epoch():
    batches = Batches(pairs(), 10)
    one, other = iter(batches), iter(batches)
    assert [rows_of(b) for b in one] != [rows_of(b) for b in other]


def test_without_shuffling_the_order_is_by_length_and_results_can_be_put_back():
    dataset = pairs()
    batches = Batches(dataset, 10, shuffle=False)
    labels = onp.full(len(dataset), -1.0)
    longest = 0
    for rows, ((_, _, valid_lens), batch_labels) in zip(batches.order(), batches):
        assert valid_lens.min() >= longest
        longest = float(valid_lens.max())
        labels[rows] = batch_labels.asnumpy()
    assert labels.tolist() == [float(n % 3) for n in range(len(dataset))]
    assert [r.tolist() for r in batches.order(0)] == [r.tolist() for r in batches.order(1)]


def test_wikitext_masks_are_fresh_each_epoch_and_equal_for_equal_seeds():
    dataset = WikiTextDataset(TEXT, 32, vocab=VOCAB)

    def masks(batches, epoch):
        """For each example, in the data's order, its unmasked length and its masked positions."""
        batches.epoch = epoch
        found = {}
        for rows, batch in zip(batches.order(), batches):
            for row, place, weight in zip(rows, batch[3].asnumpy(), batch[4].asnumpy()):
                found[int(row)] = place[weight > 0].tolist()
        return [found[row] for row in range(len(dataset))]

    one, same, other = Batches(dataset, 8), Batches(dataset, 8), Batches(dataset, 8, seed=1)
    assert masks(one, 0) == masks(same, 0)
    assert masks(one, 0) != masks(one, 1)
    assert masks(one, 0) != masks(other, 0)
    # Also where the batches are the same in each epoch.
    fixed = Batches(dataset, 8, shuffle=False)
    assert masks(fixed, 0) != masks(fixed, 1)


def test_equal_inputs_in_different_batches_have_different_masks():
    dataset = WikiTextDataset([[' '.join(WORDS)] * 65], 80, vocab=VOCAB)
    positions = [batch[3].tolist() for batch in Batches(dataset, 16, shuffle=False)]
    assert all(a != b for i, a in enumerate(positions) for b in positions[:i])


def test_a_batch_larger_than_the_data_or_empty_is_refused():
    for batch_size in (104, 0, -3):
        with pytest.raises(SettingsError, match='1 to 103'):
            Batches(pairs(), batch_size)


def test_the_number_of_workers_fits_the_machine():
    assert 1 <= get_dataloader_workers() <= 4


# --- the chapter's corpora ------------------------------------------------------------------------


def test_load_data_wiki_gives_the_chapters_batches_from_the_sample(cache):
    train_iter, vocab = load_data_wiki(64, 128)
    tokens, segments, valid_lens, positions, weights, answers, nsp = next(iter(train_iter))
    assert tokens.shape == segments.shape == (64, int(valid_lens.max()))
    assert valid_lens.shape == nsp.shape == (64,)
    assert positions.shape == weights.shape == answers.shape
    assert vocab.idx_to_token[:5] == ['<unk>', *RESERVED]


def test_load_data_snli_gives_three_splits(cache, capsys):
    _, vocab = load_data_wiki(64, 128)
    train_iter, dev_iter, test_iter, same = load_data_snli(64, 50, vocab, limit=500)
    assert same is vocab
    assert len(train_iter.dataset) == 500
    assert len(dev_iter.dataset) > 900
    assert len(test_iter.dataset) > 900
    assert capsys.readouterr().out == ''  # only the chapter's own call prints
    assert train_iter.dataset.lengths.max() <= 50
    assert train_iter.shuffle
    assert not dev_iter.shuffle
    assert not test_iter.shuffle


@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')  # Python 3.12 warns of any fork
def test_load_data_snli_without_a_bert_vocabulary_is_the_attention_chapters(cache, capsys):
    train_iter, test_iter, vocab = load_data_snli(16, 50, limit=40)
    assert isinstance(vocab, d2l.Vocab)
    assert len(train_iter) == 3
    train = read_snli(download_extract('SNLI'), True, limit=40)
    test = read_snli(download_extract('SNLI'), False)
    for batches, columns in ((train_iter, train), (test_iter, test)):
        (premises, hypotheses), labels = next(iter(batches))
        assert premises.shape == hypotheses.shape == (16, 50)
        assert labels.shape == (16,)
        assert len(batches) == -(-len(columns[0]) // 16)
        batches._worker_pool.close()
        batches._worker_pool.join()
    # The last batch: whole sentences of the test split, in their order, in the numbers of the training split.
    words = [vocab[sentence.split()][:50] for sentence in test[0][:16]]
    padded = [numbers + [vocab['<pad>']] * (50 - len(numbers)) for numbers in words]
    assert premises.tolist() == padded
    assert labels.tolist() == test[2][:16]
    assert capsys.readouterr().out == f'read 40 examples\nread {len(test[0])} examples\n'
    with pytest.raises(SettingsError, match='vocabulary'):
        load_data_snli(16, 50, limit=40, strategy='ratio')


def test_readers_mistakes_reach_them_as_our_errors(cache, tmp_path, write_snli):
    with pytest.raises(DataError, match='does not exist'):
        load_data_wiki(8, 64, data_dir=tmp_path / 'nowhere')
    for split in ('train', 'dev', 'test'):
        folder = write_snli([('neutral', 'a', 'b')], split=split)
    with pytest.raises(SettingsError, match='larger than the data set'):
        load_data_snli(8, 64, VOCAB, data_dir=folder)
    write_snli([('natural', 'a', 'b')])
    with pytest.raises(DataError, match='natural'):
        load_data_snli(1, 64, VOCAB, data_dir=folder)
