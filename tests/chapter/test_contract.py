"""The chapter's cells, written anew: its names, keywords and order, with `bertnli` in place of d2l."""

import contextlib
import io
import os
import re
from types import SimpleNamespace

import numpy as onp
import pytest
from small_models import NoPictures

import bertnli as d2l
from bertnli.runtime import d2l as theirs
from bertnli.runtime import gluon, init, mx, np

PAIRS, STEPS = 600, 2  # of the sample; the chapter takes all and 4000


@pytest.fixture(scope='module')
def chapter(tmp_path_factory):
    """The chapter run from the first cell to the last; what its names hold, and what each part printed."""
    names, printed = SimpleNamespace(), {}

    @contextlib.contextmanager
    def cell(title):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            yield
        printed[title] = out.getvalue().splitlines()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('BERTNLI_CACHE', str(tmp_path_factory.mktemp('cache')))
        run_cells(cell, names)
    names.printed = printed
    return names


def run_cells(cell, names):
    """The order is the chapter's; only the amounts are smaller."""
    with cell('text'):
        bert_batch_size, max_len = 256, 128
        train_pairs, vocab = d2l.load_data_wiki(bert_batch_size, max_len)

    with cell('pretraining'):
        ctx, loss = d2l.try_all_gpus(), gluon.loss.SoftmaxCELoss()
        bert = d2l.BERTModel(
            len(vocab), num_hiddens=128, ffn_num_hiddens=128, num_heads=2, num_layers=2, dropout=0.2
        )
        bert.initialize(init.Xavier(), ctx=ctx)
        before = bert.encoder.token_embedding.weight.data().asnumpy()
        d2l.train_bert(train_pairs, bert, loss, len(vocab), ctx, 20, STEPS)

    with cell('reading'):
        data_dir = d2l.download_extract('SNLI')
        train_data = d2l.read_snli(data_dir, True)
        test_data = d2l.read_snli(data_dir, False)

    with cell('encoding'):
        train_set = d2l.SNLIBERTDataset([column[:PAIRS] for column in train_data], max_len, vocab)
        test_set = d2l.SNLIBERTDataset([column[: PAIRS // 4] for column in test_data], max_len, vocab)

    with cell('loading'):
        batch_size, num_workers = 256, d2l.get_dataloader_workers()
        train_iter = gluon.data.DataLoader(train_set, batch_size, shuffle=True, num_workers=num_workers)
        test_iter = gluon.data.DataLoader(test_set, batch_size, num_workers=num_workers)

    with cell('fine-tuning'):
        net = d2l.BERTClassifier(bert)
        net.classifier.initialize(ctx=ctx)
        lr, num_epochs = 1e-4, 1
        trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': lr})
        loss = gluon.loss.SoftmaxCrossEntropyLoss()
        d2l.train_ch13(
            net, train_iter, test_iter, loss, trainer, num_epochs, ctx, split_f=d2l.split_batch_multi_inputs
        )
    vars(names).update(locals())


def test_pretraining_prints_the_chapters_two_lines(chapter):
    first, second = chapter.printed['pretraining']
    assert re.fullmatch(r'MLM loss \d+\.\d{3}, NSP loss \d+\.\d{3}', first)
    assert re.fullmatch(r'\d+\.\d sentence pairs/sec on \[[cg]pu\(0\).*\]', second)


def test_encoding_prints_how_many_examples_it_read(chapter):
    assert chapter.printed['encoding'] == ['read 600 examples', 'read 150 examples']


def test_fine_tuning_prints_the_chapters_two_lines(chapter):
    first, second = chapter.printed['fine-tuning']
    assert re.fullmatch(r'loss \d+\.\d{3}, train acc [01]\.\d{3}, test acc [01]\.\d{3}', first)
    assert re.fullmatch(r'\d+\.\d examples/sec on \[[cg]pu\(0\).*\]', second)


def test_other_cells_print_nothing(chapter):
    assert chapter.printed['text'] == chapter.printed['reading'] == chapter.printed['loading'] == []


def test_what_the_cells_hold_has_the_chapters_shapes(chapter):
    tokens, segments, valid_lens, positions, weights, answers, is_next = next(iter(chapter.train_pairs))
    assert len(tokens) == 256
    assert tokens.shape == segments.shape
    assert tokens.shape[1] <= 128
    assert valid_lens.shape == is_next.shape == (256,)
    assert positions.shape == weights.shape == answers.shape
    assert len(chapter.train_data) == len(chapter.test_data) == 3
    assert len({len(column) for column in chapter.train_data}) == 1
    assert set(chapter.train_data[2]) == {0, 1, 2}
    assert len(chapter.train_set) == PAIRS
    (token_ids, segments, valid_len), label = chapter.train_set[0]
    assert token_ids.shape == segments.shape == (128,)
    assert (valid_len.shape, label.shape) == ((), ())
    assert len(chapter.train_iter) == 3
    features, labels = next(iter(chapter.test_iter))
    assert [x.shape for x in features] == [(150, 128), (150, 128), (150,)]
    assert [x.dtype for x in features] == [onp.int32, onp.int32, onp.float32]
    assert labels.shape == (150,)


def test_the_bert_that_was_pretrained_is_the_one_that_was_fine_tuned(chapter):
    assert chapter.net.bert is chapter.bert
    now = chapter.bert.encoder.token_embedding.weight.data().asnumpy()
    assert abs(now - chapter.before).max() > 1e-4
    (token_ids, segments, valid_len), _ = chapter.test_set[0]
    inputs = token_ids.reshape(1, -1), segments.reshape(1, -1), valid_len.reshape(1)
    encoded_X, mlm_Y_hat, nsp_Y_hat = chapter.bert(*inputs)
    assert (encoded_X.shape, mlm_Y_hat, nsp_Y_hat.shape) == ((1, 128, 128), None, (1, 2))


def test_functions_the_chapter_uses_from_its_neighbours_are_there(chapter):
    words = d2l.tokenize(['a dog runs .', 'it is fast .'])
    assert words == theirs.tokenize(['a dog runs .', 'it is fast .'])
    assert d2l.get_tokens_and_segments(*words) == theirs.get_tokens_and_segments(*words)
    assert d2l.get_tokens_and_segments(words[0]) == theirs.get_tokens_and_segments(words[0])
    assert chapter.vocab[['<pad>', 'a', 'zyzzyva']] == [1, chapter.vocab['a'], chapter.vocab.unk]


# --- pieces of one book in the other's places -----------------------------------------------------


@pytest.fixture(scope='module')
def neighbours(chapter):
    """A vocabulary and a BERT as another chapter of the book makes them."""
    sentences = theirs.tokenize([s.lower() for column in chapter.train_data[:2] for s in column[:PAIRS]])
    vocab = theirs.Vocab(sentences, min_freq=2, reserved_tokens=['<pad>', '<mask>', '<cls>', '<sep>'])
    bert = theirs.BERTModel(len(vocab), 16, 24, 2, 1, 0.1, 64)
    bert.initialize(init.Xavier(), ctx=[mx.cpu()])
    return SimpleNamespace(vocab=vocab, bert=bert)


def small_data(chapter, vocab, count=60, max_len=40):
    return d2l.SNLIBERTDataset([column[:count] for column in chapter.train_data], max_len, vocab)


def test_a_d2l_vocabulary_and_a_d2l_bert_work_where_ours_do(chapter, neighbours, capsys):
    folder = d2l.download_extract('wikitext-2')
    text = d2l.WikiTextDataset(d2l.read_wiki(folder)[:40], 40, vocab=neighbours.vocab)
    d2l.train_bert(
        d2l.Batches(text, 16),
        neighbours.bert,
        gluon.loss.SoftmaxCELoss(),
        len(neighbours.vocab),
        [mx.cpu()],
        20,
        2,
    )
    data = d2l.Batches(small_data(chapter, neighbours.vocab), 16)
    net = d2l.BERTClassifier(neighbours.bert)
    net.classifier.initialize(ctx=[mx.cpu()])
    trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 1e-3})
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    d2l.train_ch13(net, data, data, loss, trainer, 1, [mx.cpu()], d2l.split_batch_multi_inputs)
    result = d2l.train_nli(net, data, data, d2l.FinetuneSettings(num_epochs=1))
    assert d2l.evaluate_accuracy_gpus(net, data) == result.dev_accuracy
    assert (
        sum(d2l.predict_snli(net, neighbours.vocab, 'A dog runs.', 'An animal moves.').probabilities) > 0.999
    )
    assert len(capsys.readouterr().out.splitlines()) == 5


@pytest.mark.parametrize('whose', ['ours', 'theirs'])
def test_our_pieces_work_in_d2ls_functions(chapter, neighbours, whose, capsys, monkeypatch):
    monkeypatch.setattr(theirs, 'Animator', NoPictures)
    vocab = {'ours': chapter.vocab, 'theirs': neighbours.vocab}[whose]
    bert = d2l.BERTModel(len(vocab), 16, 24, 2, 1, 0.1, 64)
    net = d2l.BERTClassifier(bert)
    net.initialize(init.Xavier(), ctx=[mx.cpu()])
    data = gluon.data.DataLoader(small_data(chapter, vocab), 10, shuffle=True)
    trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 1e-3})
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    theirs.train_ch13(net, data, data, loss, trainer, 1, d2l.try_all_gpus(), d2l.split_batch_multi_inputs)
    printed = capsys.readouterr().out
    assert re.search(r'^loss \d\.\d{3}, train acc', printed, re.MULTILINE)
    batch = next(iter(d2l.Batches(d2l.WikiTextDataset([['a dog .', 'it runs .']] * 9, 20, vocab=vocab), 4)))
    *_, total = theirs._get_batch_loss_bert(bert, loss, len(vocab), *([x] for x in batch))
    assert onp.isfinite(total[0].item())


def test_vocabularies_of_both_number_the_same_words_with_the_same_special_tokens(chapter):
    words = theirs.tokenize(['the dog runs', 'the cat'])
    reserved = ['<pad>', '<mask>', '<cls>', '<sep>']
    ours, other = (cls(words, min_freq=1, reserved_tokens=reserved) for cls in (d2l.Vocab, theirs.Vocab))
    assert set(ours.idx_to_token) == set(other.idx_to_token)
    assert ours.to_tokens(ours[words[0]]) == other.to_tokens(other[words[0]]) == words[0]
    assert np.array(ours[words[1]]).shape == (2,)
    assert os.path.isdir(chapter.data_dir)
