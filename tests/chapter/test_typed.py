"""Text as people type it: normalized, split and looked up alike everywhere; what is not read is told."""

import html
import warnings

import numpy as onp
import pytest

from bertnli import (
    RESERVED,
    BERTClassifier,
    DataError,
    SentencePair,
    SettingsError,
    SNLIBERTDataset,
    Vocab,
    load_checkpoint,
    load_pretrained_model,
    predict_pairs,
    predict_snli,
    read_snli,
)
from bertnli.corpora.files import download_extract
from bertnli.corpora.treebank import Unread, ended, normalize, pairs_in, words
from bertnli.fast.encoding import Runs, index_typed
from bertnli.prediction import sentence_words
from bertnli.runtime import mx

CELLS = {
    'composed': ('Zoe\u0308', 'Zoë'),
    'zero width': ('a\u200b do\u2060g\u200d', 'a dog'),
    'soft hyphen': ('moun\u00adtain', 'mountain'),
    'stray byte order marks': ('\ufeffA\ufeff dog', 'A dog'),
    'spaces': ('a\u00a0b\u2009c\u202fd\u3000e', 'a b c d e'),
    'apostrophes': ('a’s b‘s cʼs d′s e＇s f´s g`s', "a's b's c's d's e's f's g's"),
    'a Treebank quote stays': ("` no ' ``", "` no ' ``"),
    'quotes': ('„a“ “b” «c»', '"a" "b" "c"'),
    'hyphens': ('a\u2010b\u2011c\u22125', 'a-b-c-5'),
    'dashes stay': ('a – b — c', 'a – b — c'),
    'entities': ('doesn&#39;t &quot;a&quot; &amp; &#x62;&nbsp;c', 'doesn\'t "a" & b c'),
    'no entity': ('AT&T, R&D; x &y z', 'AT&T, R&D; x &y z'),
    'a cell': ('"He says ""no""."', 'He says "no".'),
    'doubled quotes': ('He says ""no"".', 'He says "no".'),
    'quoted, no cell': ('"No", he says "yes"', '"No", he says "yes"'),
}


@pytest.mark.parametrize(('typed', 'plain'), CELLS.values(), ids=CELLS)
def test_typed_text_becomes_plain(typed, plain):
    assert normalize(typed) == plain
    assert normalize(plain) == plain


@pytest.mark.parametrize(
    ('sentence', 'expected'),
    [
        ('He says „no“ and «yes».', "he says `` no '' and `` yes '' ."),
        ('He says " no " and leaves .', "he says `` no '' and leaves ."),
        ('A man (in red) doesn’t run .', "a man -lrb- in red -rrb- does n't run ."),
        ('two men- one pays 5$.', 'two men - one pays 5 $ .'),
        ('two men- one of them .', 'two men- one of them .'),  # as it stands in SNLI's files
    ],
)
def test_words_of_typed_sentences_worked_by_hand(sentence, expected):
    assert words(sentence) == expected.split()


def test_brackets_and_quotes_come_as_the_vocabulary_has_them():
    sentence = 'He (a man) says "no".'
    assert words(sentence, {'-lrb-', '-rrb-', '``', "''"}) == words(sentence)
    assert words(sentence, {'(', ')', '"'}) == 'he ( a man ) says " no " .'.split()
    vocab = Vocab(['he', '(', ')', '"', '-lsb-', '['], reserved_tokens=RESERVED)
    flat, _ = index_typed(['he (he) [he]'], Runs(vocab.token_to_idx, vocab.unk))
    assert vocab.to_tokens(flat) == 'he ( he ) -lsb- he <unk>'.split()


def split_twice(folder, splits):
    """How many sentences there are, which of them `words` would split further, and which change again."""
    sentences = [one for split in splits for column in read_snli(folder, split=split)[:2] for one in column]
    once = [words(one) for one in sentences]
    further = sum(a != b.lower().split() for a, b in zip(once, sentences))
    return len(sentences), further, sum(words(' '.join(one)) != one for one in once)


def test_text_that_is_split_stays_as_it_is():
    assert split_twice(download_extract('SNLI', data_dir='sample'), ['train', 'dev', 'test'])[1:] == (0, 0)


def test_real_text_that_is_split_stays_as_it_is(real_data):
    folder = download_extract('SNLI', data_dir=real_data)
    assert split_twice(folder, ['dev', 'test'])[1:] == (0, 0)
    count, further, again = split_twice(folder, ['train'])
    assert further <= count * 2e-4  # slips of Treebank's own: `men-`, `outside/`
    assert again == 0


def raw_pairs(split='dev', count=200):
    """SNLI's sentences as people typed them, and as words."""
    path = f'{download_extract("SNLI", data_dir="sample")}/snli_1.0_{split}.txt'
    with open(path, encoding='utf-8') as file:
        rows = [line.split('\t') for line in file][1 : count + 1]
    split_up = [
        [' '.join(row[i].replace('(', ' ').replace(')', ' ').split()) for row in rows] for i in (1, 2)
    ]
    return [[row[i] for row in rows] for i in (5, 6)], split_up


def test_a_data_set_of_raw_sentences_is_that_of_their_words():
    typed, split_up = raw_pairs()
    labels = [0] * len(typed[0])
    vocab = Vocab([one.lower().split() for one in split_up[0]], reserved_tokens=RESERVED)
    raw, parsed = (SNLIBERTDataset([*c, labels], 64, vocab, verbose=False) for c in (typed, split_up))
    assert sum(a != b for a, b in zip(raw.lengths, parsed.lengths)) <= 1
    assert abs(raw.unknown - parsed.unknown) < 0.002
    # And it is what a prediction reads.
    flat = [vocab[word] for column in typed for one in column for word in words(one, vocab.token_to_idx)]
    assert raw.table.flat.tolist() == flat
    listed = [[one.split() for one in column] for column in split_up]
    mixed = SNLIBERTDataset([listed[0], split_up[1], labels], 64, vocab, verbose=False)
    assert mixed.table.flat.tolist() == parsed.table.flat.tolist()


# --- twelve ways to type the same -----------------------------------------------------------------

WAYS = {
    'capitals': str.upper,
    'blanks': lambda s: f'  {s.replace(" ", "   ")} ',
    'a blank before the end': lambda s: s[:-1] + ' .' if s.endswith('.') else s,
    'apostrophes': lambda s: s.replace("'", '’'),
    'more apostrophes': lambda s: s.replace("'", 'ʼ'),
    'quotes': lambda s: s.replace(' "', ' “').replace('"', '”'),
    'zero width': lambda s: s.replace('a', 'a\u200b').replace('e', 'e\u00ad'),
    'byte order mark': lambda s: '\ufeff' + s,
    'no-break spaces': lambda s: s.replace(' ', '\u00a0'),
    'hyphens': lambda s: s.replace('-', '\u2011'),
    'entities': lambda s: html.escape(s.replace('o', '&#111;'), quote=False).replace('&amp;#', '&#'),
    'a cell': lambda s: '"' + s.replace('"', '""') + '"' if '"' in s else s,
}
SAID = 'The man\'s dogs don\'t run; two well-known (old) men say "no" to 3,000 of them.'


@pytest.fixture(scope='module')
def shipped():
    return load_checkpoint('bert-nli-small', [mx.cpu()])


@pytest.fixture(scope='module')
def answers(shipped):
    pairs = [*zip(*raw_pairs()[0]), (SAID, SAID)]
    options = {'max_len': shipped.max_len}
    return pairs, lambda typed: list(predict_pairs(shipped.net, shipped.vocab, typed, **options))


@pytest.mark.parametrize('way', WAYS.values(), ids=WAYS)
def test_no_answer_changes_however_a_pair_is_typed(way, answers):
    assert words(way(SAID)) == words(SAID)
    pairs, answer = answers
    changed = [(way(p), way(h)) for p, h in pairs]
    assert [found.label for found in answer(changed)] == [found.label for found in answer(pairs)]


@pytest.mark.parametrize(
    ('typed', 'read'),
    [
        ('It rains', 'it rains .'),
        ('It rains.', 'it rains .'),
        ('It rains!!', 'it rains .'),
        ('It rains…', 'it rains .'),
        ('Why?', 'why ?'),
        ('Why?!', 'why ?'),
        ('He says "no"', "he says `` no '' ."),
        ('"It rains."', "`` it rains . ''"),
        ('!', '!'),
    ],
)
def test_a_sentence_ends_with_one_full_stop_or_asks(typed, read):
    assert ended(words(typed)) == ended(words(read)) == read.split()


@pytest.mark.parametrize('mark', ['', '!', ' !', '...', '…', '!!!'])
def test_no_answer_changes_with_the_end_mark(mark, answers, shipped):
    pairs, answer = answers
    assert shipped.vocab.ends
    changed = [[one.rstrip(' .!') + mark for one in pair] for pair in pairs]
    assert [tuple(found) for found in answer(map(tuple, changed))] == [tuple(one) for one in answer(pairs)]


def test_only_a_network_that_has_seen_no_other_sentences_gets_a_full_stop():
    vocab = Vocab(['it', 'rains', '.'], reserved_tokens=RESERVED)
    assert sentence_words('It rains', vocab) == ['it', 'rains']
    vocab.ends = True
    assert sentence_words('It rains', vocab) == ['it', 'rains', '.']
    assert sentence_words(['It', 'rains'], vocab) == ['it', 'rains']


# --- what is not read is told ---------------------------------------------------------------------

KOREAN = [('한 남자가 개와 함께 공원을 걷는다.', '사람이 밖에 있다.')] * 3


def test_a_language_that_the_vocabulary_does_not_know_is_refused(shipped):
    with pytest.raises(DataError, match='does not know') as caught:
        list(predict_pairs(shipped.net, shipped.vocab, KOREAN))
    assert '한' in caught.value.found
    assert 'max_unknown' in caught.value.remedy
    with pytest.warns(UserWarning, match='27 of 33 words'):
        assert len(list(predict_pairs(shipped.net, shipped.vocab, KOREAN, max_unknown=1))) == 3
    with pytest.raises(DataError, match='does not know'):
        SNLIBERTDataset([*zip(*KOREAN * 9), [0] * 27], 64, shipped.vocab)
    with pytest.warns(UserWarning, match='not in the vocabulary'):
        SNLIBERTDataset([*zip(*KOREAN * 9), [0] * 27], 64, shipped.vocab, verbose=False, max_unknown=1)


def test_one_unknown_word_in_a_short_pair_is_no_news_two_are(shipped):
    net = shipped.net, shipped.vocab
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        predict_snli(*net, 'A wug runs.', 'It moves.')
    with pytest.warns(UserWarning, match='2 of 7 words .29%., for example wug, blick'):
        predict_snli(*net, 'A wug runs.', 'It blick.')


def test_unknown_words_of_a_stream_are_told_once(shipped):
    pairs = [('A wug runs.', 'It blick.')] * 40
    with pytest.warns(UserWarning, match='vocabulary') as told:
        list(predict_pairs(shipped.net, shipped.vocab, pairs, batch_size=1))
    assert [str(one.message)[:41] for one in told] == ['not in the vocabulary: 80 of 280 words (2']


def test_cut_pairs_are_told(shipped):
    pairs = [('A dog runs.', 'It moves.'), ('A dog runs. ' * 9, 'It moves.')]
    with pytest.warns(UserWarning, match='1 of 2 pairs cut to 20 tokens'):
        list(predict_pairs(shipped.net, shipped.vocab, pairs, max_len=20))


def test_nothing_is_told_of_nothing():
    unread = Unread()
    unread.count(0, onp.array([], bool))
    unread.tell()


def test_an_empty_cell_is_told_with_its_row():
    for empty in (None, float('nan'), b'a'):
        with pytest.raises(DataError, match='not a sentence') as caught:
            SNLIBERTDataset([['a', empty], ['b', 'c'], [0, 1]], 9, Vocab(['a'], reserved_tokens=RESERVED))
        assert caught.value.where == 'pair 1, premise'
        assert 'NaN' in caught.value.remedy


def test_what_is_no_network_with_three_scores_is_told(shipped):
    bert, vocab = pretrained = load_pretrained_model('bert-wikitext2', [mx.cpu()])
    for net in (bert, bert.encoder, pretrained, shipped):
        with pytest.raises(SettingsError, match='no network with a head') as caught:
            predict_snli(net, vocab, 'a dog runs .', 'it moves .')
        assert 'BERTClassifier' in caught.value.remedy
    with pytest.raises(SettingsError, match='not a BERT') as caught:
        BERTClassifier(pretrained)
    assert 'bert, vocab = load_pretrained_model' in caught.value.remedy


# --- pairs in the forms of Python -----------------------------------------------------------------

P, H = ['A dog runs.', 'A man sleeps.', 'It rains.'], ['It moves.', 'He runs.', 'It is wet.']
BOTH = list(zip(P, H))
FORMS = {
    'named tuples': [SentencePair(*pair, 0) for pair in BOTH],
    'tuples': BOTH,
    'with labels': [(*pair, 1) for pair in BOTH],
    'lists of two': [*map(list, BOTH), ['A b.', 'C d.']],
    'dictionaries': [{'label': 1, 'premise': p, 'hypothesis': h} for p, h in BOTH],
    'other names': [{'Sentence1': p, 'Sentence2': h} for p, h in BOTH],
    'two columns': [P, H],
    'three columns': [P, H, [0, 1, 2]],
    'named columns': {'hypothesis': H, 'premise': P},
    'a generator': (pair for pair in BOTH),
}


@pytest.mark.parametrize('form', FORMS.values(), ids=FORMS)
def test_pairs_may_come_in_any_form(form):
    assert list(pairs_in(form))[:3] == BOTH


def test_a_data_frame_is_many_pairs(shipped):
    pandas = pytest.importorskip('pandas')
    frame = pandas.DataFrame({'label': [0, 1, 2], 'hypothesis': H, 'premise': P}, index=[7, 7, 7])
    found = list(predict_pairs(shipped.net, shipped.vocab, frame))
    assert found == list(predict_pairs(shipped.net, shipped.vocab, BOTH))
    frame.loc[:, 'hypothesis'] = [*H[:2], float('nan')]
    with pytest.raises(DataError, match='not a sentence') as caught:
        list(predict_pairs(shipped.net, shipped.vocab, frame))
    assert caught.value.where == 'pair 3, hypothesis'
    assert 'empty cell' in caught.value.remedy


@pytest.mark.parametrize(
    ('form', 'where'),
    [
        (['A dog runs.', 'It moves.'], 'pair 1'),
        ([('A dog runs.',)], 'pair 1'),
        ([BOTH[0], {'premise': 'A dog runs.'}], 'pair 2'),
        ([P[:2], H[:2]], 'pairs'),  # two pairs, or two columns
        ([P, H[:2]], 'pairs'),
        ({'text': P}, 'the columns'),
        ([None], 'pair 1'),
    ],
)
def test_what_is_no_pair_is_told(form, where):
    with pytest.raises(DataError) as caught:
        list(pairs_in(form))
    assert caught.value.where == where
    assert 'premise' in caught.value.remedy
