"""One pair, one input: short functions against the chapter's algorithm, fast ones against short ones."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertnli.analysis.explain import explain_pair
from bertnli.errors import DataError, SettingsError
from bertnli.examples import (
    STRATEGIES,
    encode_pair,
    get_tokens_and_segments,
    kept_lengths,
    mask_tokens,
    next_sentence_pairs,
    ordinary_ids,
    truncate_pair,
)
from bertnli.fast.encoding import PairTable, draw_next_sentences, join_pairs, mask_batch
from bertnli.tokens import RESERVED, Vocab, require_special

VOCAB = Vocab([f'w{n}' for n in range(40)], reserved_tokens=RESERVED)
SPECIAL = require_special(VOCAB)
LENGTHS = st.integers(0, 30)


def chapters_truncation(premise, hypothesis, room):
    """The rule as a loop: one word after the other off the longer list, off the second if equal."""
    while len(premise) + len(hypothesis) > room:
        longer = premise if len(premise) > len(hypothesis) else hypothesis
        longer.pop()


def sentence(length):
    return [f'w{n}' for n in range(length)]


@given(LENGTHS, LENGTHS, st.integers(0, 40))
def test_the_closed_form_keeps_what_the_chapters_loop_keeps(a, b, room):
    premise, hypothesis = sentence(a), sentence(b)
    chapters_truncation(premise, hypothesis, room)
    assert truncate_pair(sentence(a), sentence(b), room) == (premise, hypothesis)


@given(LENGTHS, LENGTHS, st.integers(0, 40), st.sampled_from(sorted(STRATEGIES)))
def test_truncation_keeps_beginnings_fills_the_room_and_leaves_its_inputs_alone(a, b, room, strategy):
    given_ = sentence(a), sentence(b)
    before = copy.deepcopy(given_)
    kept = truncate_pair(*given_, room, strategy)
    assert given_ == before
    assert kept[0] is not given_[0]
    assert sum(map(len, kept)) == min(a + b, room)
    for short, full in zip(kept, given_):
        assert short == full[: len(short)]
        if room >= 2 and full:
            assert short


@given(st.integers(1, 300), st.integers(1, 300), st.integers(2, 200))
def test_the_ratio_strategy_keeps_the_proportion(a, b, room):
    kept_a, kept_b = kept_lengths(a, b, room, 'ratio')
    if a + b > room:
        assert abs(kept_a - min(max(room * a / (a + b), 1), room - 1)) <= 0.5
        assert kept_a + kept_b == room


@given(st.lists(st.tuples(LENGTHS, LENGTHS), min_size=1), st.integers(0, 30))
def test_a_rule_of_the_readers_own_is_followed_for_numbers_and_for_arrays(pairs, room):
    def like_ours(premise, hypothesis, room):
        return kept_lengths(premise, hypothesis, room, 'ratio')

    lengths = np.array(pairs).T
    assert np.array_equal(kept_lengths(*lengths, room, like_ours), kept_lengths(*lengths, room, 'ratio'))
    assert kept_lengths(*pairs[0], room, like_ours) == kept_lengths(*pairs[0], room, 'ratio')


@pytest.mark.parametrize('kept', [(-1, 2), (6, 0), (3, 4), (5, 3), None, 7, (1, 2, 3)])
def test_a_rule_that_keeps_what_is_not_there_or_does_not_fit_is_refused(kept):
    with pytest.raises(SettingsError, match='for 5 and 3 words and room for 7'):
        truncate_pair(list('abcde'), list('xyz'), 7, lambda premise, hypothesis, room: kept)


@given(
    st.lists(st.tuples(LENGTHS, LENGTHS), min_size=1),
    st.integers(0, 40),
    st.sampled_from(sorted(STRATEGIES)),
)
def test_arrays_of_lengths_give_what_single_lengths_give(pairs, room, strategy):
    kept = np.stack(kept_lengths(*np.array(pairs).T, room, strategy), axis=1)
    assert kept.tolist() == [list(kept_lengths(a, b, room, strategy)) for a, b in pairs]


def test_unknown_strategies_and_negative_room_are_refused():
    with pytest.raises(SettingsError, match='longest, ratio'):
        truncate_pair(['a'], ['b'], 1, 'shortest')
    with pytest.raises(SettingsError, match='negative'):
        truncate_pair(['a'], ['b'], -1)


@given(st.lists(st.text(max_size=3)), st.one_of(st.none(), st.lists(st.text(max_size=3))))
def test_tokens_and_segments_equal_d2ls(a, b):
    from bertnli.runtime import d2l

    assert get_tokens_and_segments(a, b) == d2l.get_tokens_and_segments(list(a), b and list(b) if b else b)


@pytest.mark.parametrize('max_len', [-1, 0, 4])
def test_a_max_len_below_five_is_refused(max_len):
    for function in (encode_pair, explain_pair):
        with pytest.raises(SettingsError, match='at least 5'):
            function(['a'], ['b'], VOCAB, max_len)


def test_five_places_keep_a_word_of_each():
    encoded = encode_pair(sentence(9), sentence(2), VOCAB, 5)
    assert VOCAB.to_tokens(encoded.token_ids) == ['<cls>', 'w0', '<sep>', 'w0', '<sep>']
    assert encoded.valid_len == 5


def test_encoding_needs_special_words():
    with pytest.raises(DataError, match='special tokens'):
        encode_pair(['a'], ['b'], Vocab(['a', 'b']), 8)


PAIRS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=6)


def table_of(pairs):
    """A PairTable whose words are all different numbers, and the same as lists of words."""
    total = sum(map(sum, pairs))
    names = [f'v{n}' for n in range(total)]
    vocab = Vocab.from_list(['<unk>', *RESERVED, *names])
    lengths = np.array(pairs, np.int32)
    ends = np.cumsum(lengths.ravel()).reshape(lengths.shape)
    starts = ends - lengths
    texts = [[names[s : s + n] for s, n in zip(*row)] for row in zip(starts.tolist(), pairs_lists(pairs))]
    return PairTable(np.array(vocab[names], np.uint16), starts, lengths), vocab, texts


def pairs_lists(pairs):
    return [list(pair) for pair in pairs]


@given(PAIRS, st.integers(5, 50), st.sampled_from(sorted(STRATEGIES)))
def test_a_batch_holds_what_encode_pair_gives_row_by_row(pairs, max_len, strategy):
    table, vocab, texts = table_of(pairs)
    rows = np.arange(len(pairs))[::-1]
    short = table.shortened(max_len, strategy)
    token_ids, segments, valid_lens = join_pairs(short, rows, SPECIAL, max_len)
    for row, tokens, segment, valid in zip(rows, token_ids, segments, valid_lens):
        expected = encode_pair(*texts[row], vocab, max_len, strategy)
        assert (tokens.tolist(), segment.tolist(), valid) == expected
    narrow = join_pairs(short, rows, SPECIAL)
    assert narrow[0].shape == (len(rows), valid_lens.max())
    assert (narrow[0] == token_ids[:, : valid_lens.max()]).all()
    assert short.valid_lens[rows].tolist() == valid_lens.tolist()


# --- masks ----------------------------------------------------------------------------------------


def batch_of(lengths, seed=0):
    """Inputs with random words, each with its two <sep>, padded; and their lengths."""
    rng = np.random.default_rng(seed)
    pairs = [(max(1, (n - 3) // 2), max(1, n - 3 - (n - 3) // 2)) for n in lengths]
    lengths = np.array(pairs, np.int32)
    flat = rng.integers(len(RESERVED) + 1, len(VOCAB), lengths.sum()).astype(np.uint16)
    ends = np.cumsum(lengths.ravel()).reshape(lengths.shape)
    return join_pairs(PairTable(flat, ends - lengths, lengths), np.arange(len(pairs)), SPECIAL)


@given(st.lists(st.integers(5, 60), min_size=1, max_size=8), st.integers(0, 5))
def test_masked_batches_are_well_formed(lengths, seed):
    token_ids, _, valid_lens = batch_of(lengths, seed)
    before = token_ids.copy()
    rng = np.random.default_rng(seed)
    read, positions, weights, answers = mask_batch(token_ids, valid_lens, SPECIAL, ordinary_ids(VOCAB), rng)
    assert (token_ids == before).all()
    assert positions.shape == weights.shape == answers.shape
    for row in range(len(lengths)):
        valid = valid_lens[row]
        count = max(1, round(0.15 * valid))
        assert weights[row].tolist() == [1.0] * count + [0.0] * (weights.shape[1] - count)
        asked = positions[row, :count]
        assert (np.diff(asked) > 0).all()  # each once, in reading order
        assert answers[row, :count].tolist() == before[row, asked].tolist()
        assert not np.isin(answers[row, :count], SPECIAL).any()
        assert not np.isin(read[row, asked], [SPECIAL[0], *SPECIAL[2:], 0]).any()
        others = np.setdiff1d(np.arange(read.shape[1]), asked)
        assert (read[row, others] == before[row, others]).all()
        assert not positions[row, count:].any()
        assert not answers[row, count:].any()
    assert weights[:, -1].any()  # P is no larger than the richest row needs


def check_shares(masked, random, kept, total, words_in_vocab):
    """80/10/10 within four standard deviations; a random word may by chance be the old one."""
    chance = 0.1 / words_in_vocab
    for found, share in ((masked, 0.8), (random, 0.1 - chance), (kept, 0.1 + chance)):
        assert abs(found / total - share) < 4 * math.sqrt(share * (1 - share) / total)


def test_masked_batches_have_berts_shares_and_hit_every_position_alike():
    token_ids, _, valid_lens = batch_of([43] * 4000)
    rng = np.random.default_rng(7)
    read, positions, weights, answers = mask_batch(token_ids, valid_lens, SPECIAL, ordinary_ids(VOCAB), rng)
    assert weights.sum() / valid_lens.sum() == pytest.approx(0.15, abs=0.02)
    shown = np.take_along_axis(read, positions, axis=1)
    total = weights.sum()
    masked, kept = (shown == SPECIAL[1]).sum(), (shown == answers).sum()
    check_shares(masked, total - masked - kept, kept, total, 40)
    hits = np.bincount(positions.ravel(), minlength=43)
    ordinary = np.setdiff1d(np.arange(43), np.nonzero(np.isin(token_ids[0], SPECIAL))[0])
    assert len(ordinary) == 40
    assert hits[ordinary].sum() == total
    expected = total / 40
    assert (np.abs(hits[ordinary] - expected) < 5 * math.sqrt(expected)).all()
    # Random words are uniform over the ordinary vocabulary.
    drawn = np.bincount(shown[(shown != SPECIAL[1]) & (shown != answers)], minlength=len(VOCAB))
    assert (drawn[5:] > 0).all()
    assert not drawn[:5].any()


def test_single_examples_are_masked_with_the_same_shares():
    rng = np.random.default_rng(3)
    tokens, _ = get_tokens_and_segments(sentence(20), sentence(20))
    how = []
    for _ in range(400):
        masked = mask_tokens(tokens, VOCAB, rng)
        assert len(masked.pred_positions) == round(0.15 * len(tokens)) == len(masked.how)
        assert masked.answers == [tokens[i] for i in masked.pred_positions]
        assert not {'<cls>', '<sep>'} & set(masked.answers)
        how += masked.how
    total = len(how)
    for kind, share in (('mask', 0.8), ('random', 0.1), ('kept', 0.1)):
        assert abs(how.count(kind) / total - share) < 4 * math.sqrt(share * (1 - share) / total)


def test_masks_are_a_function_of_the_generator():
    token_ids, _, valid_lens = batch_of([20, 30])
    one, same, other = (
        mask_batch(token_ids, valid_lens, SPECIAL, ordinary_ids(VOCAB), np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert all((a == b).all() for a, b in zip(one, same))
    assert any((a != b).any() for a, b in zip(one, other))


def test_the_shortest_input_has_one_masked_word_and_an_empty_one_none():
    tokens, _ = get_tokens_and_segments(['w1'], [])
    assert mask_tokens(tokens, VOCAB, np.random.default_rng(0)).pred_positions == [1]
    assert mask_tokens(['<cls>', '<sep>'], VOCAB, np.random.default_rng(0)).pred_positions == []


def test_no_ordinary_word_to_draw_is_an_error():
    with pytest.raises(SettingsError, match='special tokens only'):
        ordinary_ids(Vocab(reserved_tokens=RESERVED))


# --- next sentences -------------------------------------------------------------------------------

PARAGRAPHS = [
    [[f'p{p}s{s}w{w}' for w in range(1 + (p + s) % 5)] for s in range(1 + p % 4)] for p in range(60)
]


def test_next_sentences_are_next_in_half_of_the_pairs():
    rng = np.random.default_rng(0)
    pairs = [pair for _ in range(20) for pair in next_sentence_pairs(PARAGRAPHS, 64, rng)]
    share = sum(is_next for _, _, is_next in pairs) / len(pairs)
    assert abs(share - 0.5) < 4 * 0.5 / math.sqrt(len(pairs))
    for first, second, is_next in pairs:
        if is_next:
            (p, s), (q, t) = (word[0][1:].split('w')[0].split('s') for word in (first, second))
            assert (p, int(s) + 1) == (q, int(t))


def test_the_whole_corpus_function_draws_like_the_short_one():
    sentence_lens = np.array([len(s) for p in PARAGRAPHS for s in p])
    paragraph_lens = np.array([len(p) for p in PARAGRAPHS])
    home = np.repeat(np.arange(len(PARAGRAPHS)), paragraph_lens)
    firsts, seconds, nexts = [], [], []
    for seed in range(50):
        first, second, is_next, left_out = draw_next_sentences(
            sentence_lens, paragraph_lens, 64, np.random.default_rng(seed)
        )
        assert left_out == 0
        assert len(first) == sum(n - 1 for n in paragraph_lens)
        assert (second[is_next] == first[is_next] + 1).all()
        assert (home[second[is_next]] == home[first[is_next]]).all()
        firsts.append(first)
        seconds.append(second[~is_next])
        nexts.append(is_next)
    assert abs(np.concatenate(nexts).mean() - 0.5) < 4 * 0.5 / math.sqrt(len(np.concatenate(nexts)))
    # A random other comes from every paragraph alike, as in the chapter, not from every sentence alike.
    paragraphs = np.bincount(home[np.concatenate(seconds)], minlength=len(PARAGRAPHS))
    expected = paragraphs.sum() / len(PARAGRAPHS)
    assert (np.abs(paragraphs - expected) < 5 * math.sqrt(expected)).all()
    # And within a paragraph every sentence alike.
    sentences = np.bincount(np.concatenate(seconds), minlength=len(home))
    expected = expected / paragraph_lens[home]
    assert (np.abs(sentences - expected) < 5 * np.sqrt(expected)).all()


def test_pairs_that_are_too_long_are_left_out_and_counted():
    sentence_lens, paragraph_lens = np.array([4, 4, 1]), np.array([3])
    first, second, _, left_out = draw_next_sentences(
        sentence_lens, paragraph_lens, 8, np.random.default_rng(0)
    )
    assert (sentence_lens[first] + sentence_lens[second] + 3 <= 8).all()
    assert len(first) + left_out == 2
    assert left_out >= 1
    text = [[['a'] * 4, ['b'] * 4]]
    assert list(next_sentence_pairs(text, 8, np.random.default_rng(0))) == []


# --- show your work -------------------------------------------------------------------------------


def test_an_explanation_shows_what_encode_pair_does():
    explanation = explain_pair(sentence(4), ['w0', 'never'], VOCAB, 8, 'ratio')
    placed = [row for row in explanation.rows if row.position is not None]
    encoded = encode_pair(sentence(4), ['w0', 'never'], VOCAB, 8, 'ratio')
    assert [row.number for row in placed] == encoded.token_ids[: encoded.valid_len]
    assert [row.segment for row in placed] == encoded.segments[: encoded.valid_len]
    assert [row.position for row in placed] == list(range(encoded.valid_len))
    assert [(row.word, row.note) for row in explanation.rows if row.position is None] == [('w3', 'dropped')]
    assert 'unknown' in str(explanation)
    assert str(explanation).endswith('8 of 8 places used, 1 words dropped')


def test_an_explanation_shows_hidden_words():
    rng = np.random.default_rng(1)
    text = ' '.join(str(explain_pair(sentence(30), sentence(30), VOCAB, 128, rng=rng)) for _ in range(9))
    for note in ('hidden', 'asked, but shown', 'shown as w'):
        assert note in text


def test_an_explanation_is_safe_html():
    page = explain_pair('<script>', 'b & c', VOCAB, 16)._repr_html_()
    assert '<script>' not in page
    assert '<table>' in page
