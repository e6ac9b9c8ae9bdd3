# %%
import os
import random

import bertnli as d2l
from mxnet import gluon, np, npx

npx.set_np()

# %%
d2l.DATA_HUB['wikitext-2'] = (
    'https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip',
    '3c914d17d80b1459be871a5039ac23e752a53cbe',
)


def _read_wiki(data_dir):
    with open(os.path.join(data_dir, 'wiki.train.tokens'), encoding='utf-8') as f:
        paragraphs = [line.strip().lower().split(' . ') for line in f if len(line.split(' . ')) >= 2]
    random.shuffle(paragraphs)
    return paragraphs


# %%
def _get_next_sentence(sentence, next_sentence, paragraphs):
    if random.random() < 0.5:
        return sentence, next_sentence, True
    return sentence, random.choice(random.choice(paragraphs)), False


# %%
def _get_nsp_data_from_paragraph(paragraph, paragraphs, vocab, max_len):
    data = []
    for sentence, following in zip(paragraph, paragraph[1:]):
        tokens_a, tokens_b, is_next = _get_next_sentence(sentence, following, paragraphs)
        if len(tokens_a) + len(tokens_b) + 3 <= max_len:
            data.append((*d2l.get_tokens_and_segments(tokens_a, tokens_b), is_next))
    return data


# %%
def _replace_mlm_tokens(tokens, candidate_pred_positions, num_mlm_preds, vocab):
    replaced, chosen = list(tokens), []
    random.shuffle(candidate_pred_positions)
    for position in candidate_pred_positions[:num_mlm_preds]:
        draw = random.random()
        if draw < 0.8:
            replaced[position] = '<mask>'
        elif draw < 0.9:
            replaced[position] = random.choice(vocab.idx_to_token)
        chosen.append((position, tokens[position]))
    return replaced, chosen


# %%
def _get_mlm_data_from_tokens(tokens, vocab):
    candidates = [i for i, token in enumerate(tokens) if token not in ['<cls>', '<sep>']]
    replaced, chosen = _replace_mlm_tokens(tokens, candidates, max(1, round(len(tokens) * 0.15)), vocab)
    chosen = sorted(chosen, key=lambda x: x[0])
    return vocab[replaced], [v[0] for v in chosen], vocab[[v[1] for v in chosen]]


# %%
def _pad_bert_inputs(examples, max_len, vocab):
    most = round(max_len * 0.15)
    columns = [[] for _ in range(7)]
    for token_ids, positions, labels, segments, is_next in examples:
        free, unused = max_len - len(token_ids), most - len(positions)
        rows = (
            np.array(token_ids + [vocab['<pad>']] * free, dtype='int32'),
            np.array(segments + [0] * free, dtype='int32'),
            np.array(len(token_ids), dtype='float32'),
            np.array(positions + [0] * unused, dtype='int32'),
            np.array([1.0] * len(labels) + [0.0] * unused, dtype='float32'),
            np.array(labels + [0] * unused, dtype='int32'),
            np.array(is_next),
        )
        for column, row in zip(columns, rows):
            column.append(row)
    return columns


# %%
class _WikiTextDataset(gluon.data.Dataset):
    def __init__(self, paragraphs, max_len):
        paragraphs = [d2l.tokenize(paragraph, token='word') for paragraph in paragraphs]
        sentences = [sentence for paragraph in paragraphs for sentence in paragraph]
        self.vocab = d2l.Vocab(sentences, min_freq=5, reserved_tokens=['<pad>', '<mask>', '<cls>', '<sep>'])
        examples = []
        for paragraph in paragraphs:
            examples.extend(_get_nsp_data_from_paragraph(paragraph, paragraphs, self.vocab, max_len))
        examples = [
            (*_get_mlm_data_from_tokens(tokens, self.vocab), segments, is_next)
            for tokens, segments, is_next in examples
        ]
        self.columns = _pad_bert_inputs(examples, max_len, self.vocab)

    def __getitem__(self, idx):
        return tuple(column[idx] for column in self.columns)

    def __len__(self):
        return len(self.columns[0])


# %%
def load_data_wiki(batch_size, max_len):
    num_workers = d2l.get_dataloader_workers()
    data_dir = d2l.download_extract('wikitext-2', 'wikitext-2')
    train_set = _WikiTextDataset(_read_wiki(data_dir), max_len)
    train_iter = gluon.data.DataLoader(train_set, batch_size, shuffle=True, num_workers=num_workers)
    return train_iter, train_set.vocab


# %%
batch_size, max_len = 32, 64
train_iter, vocab = load_data_wiki(batch_size, max_len)
for tokens_X, segments_X, valid_lens_x, pred_positions_X, mlm_weights_X, mlm_Y, nsp_y in train_iter:
    print(tokens_X.shape, segments_X.shape, valid_lens_x.shape, pred_positions_X.shape)
    assert mlm_weights_X.shape == mlm_Y.shape == (batch_size, 10)
    assert nsp_y.shape == (batch_size,)
    break

# %%
assert len(vocab) > 50 and '<mask>' in vocab.token_to_idx

# %%
train_iter, vocab = d2l.load_data_wiki(batch_size, max_len)
for tokens_X, segments_X, valid_lens_x, pred_positions_X, mlm_weights_X, mlm_Y, nsp_y in train_iter:
    assert tokens_X.shape[0] == nsp_y.shape[0] and pred_positions_X.shape == mlm_Y.shape
    break
