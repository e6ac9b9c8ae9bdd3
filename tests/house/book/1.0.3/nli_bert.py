# %%
import json
import multiprocessing
import os

import bertnli as d2l
from mxnet import gluon, np, npx
from mxnet.gluon import nn

npx.set_np()

# %%
d2l.DATA_HUB['bert.small'] = archive('bert.small.zip')


# %%
def load_pretrained_model(
    pretrained_model, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len, devices
):
    data_dir = d2l.download_extract(pretrained_model)
    vocab = d2l.Vocab()
    with open(os.path.join(data_dir, 'vocab.json')) as f:
        vocab.idx_to_token = json.load(f)
    vocab.token_to_idx = {token: idx for idx, token in enumerate(vocab.idx_to_token)}
    bert = d2l.BERTModel(len(vocab), num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len)
    bert.load_parameters(os.path.join(data_dir, 'pretrained.params'), ctx=devices)
    return bert, vocab


# %%
devices = d2l.try_all_gpus()
bert, vocab = load_pretrained_model(
    'bert.small', num_hiddens=32, ffn_num_hiddens=64, num_heads=4, num_blks=2, dropout=0.1,
    max_len=512, devices=devices,
)  # fmt: skip

# %%
bert, vocab = d2l.load_pretrained_model(
    'bert.small', num_hiddens=32, ffn_num_hiddens=64, num_heads=4, num_blks=2, dropout=0.1,
    max_len=512, devices=devices,
)  # fmt: skip


# %%
class SNLIBERTDataset(gluon.data.Dataset):
    def __init__(self, dataset, max_len, vocab=None):
        pairs = [
            [p_tokens, h_tokens]
            for p_tokens, h_tokens in zip(
                *[d2l.tokenize([s.lower() for s in sentences]) for sentences in dataset[:2]]
            )
        ]
        self.labels = np.array(dataset[2])
        self.vocab, self.max_len = vocab, max_len
        self.all_token_ids, self.all_segments, self.valid_lens = self._preprocess(pairs)
        print(f'read {len(self.all_token_ids)} examples')

    def _preprocess(self, pairs):
        with multiprocessing.Pool(4) as pool:
            out = pool.map(self._mp_worker, pairs)
        token_ids, segments, valid_lens = zip(*out)
        return (
            np.array(token_ids, dtype='int32'),
            np.array(segments, dtype='int32'),
            np.array(valid_lens),
        )

    def _mp_worker(self, pair):
        p_tokens, h_tokens = pair
        self._truncate_pair_of_tokens(p_tokens, h_tokens)
        tokens, segments = d2l.get_tokens_and_segments(p_tokens, h_tokens)
        free = self.max_len - len(tokens)
        return self.vocab[tokens] + [self.vocab['<pad>']] * free, segments + [0] * free, len(tokens)

    def _truncate_pair_of_tokens(self, p_tokens, h_tokens):
        while len(p_tokens) + len(h_tokens) > self.max_len - 3:
            max(p_tokens, h_tokens, key=len).pop()

    def __getitem__(self, idx):
        return (self.all_token_ids[idx], self.all_segments[idx], self.valid_lens[idx]), self.labels[idx]

    def __len__(self):
        return len(self.all_token_ids)


# %%
batch_size, max_len, num_workers = 16, 64, d2l.get_dataloader_workers()
data_dir = d2l.download_extract('SNLI')
train_set = SNLIBERTDataset(d2l.read_snli(data_dir, True), max_len, vocab)
test_set = SNLIBERTDataset(d2l.read_snli(data_dir, False), max_len, vocab)
train_iter = gluon.data.DataLoader(train_set, batch_size, shuffle=True, num_workers=num_workers)
test_iter = gluon.data.DataLoader(test_set, batch_size, num_workers=num_workers)


# %%
class BERTClassifier(nn.Block):
    def __init__(self, bert):
        super().__init__()
        self.encoder = bert.encoder
        self.hidden = bert.hidden
        self.output = nn.Dense(3)

    def forward(self, inputs):
        tokens_X, segments_X, valid_lens_x = inputs
        encoded_X = self.encoder(tokens_X, segments_X, valid_lens_x)
        return self.output(self.hidden(encoded_X[:, 0, :]))


# %%
net = BERTClassifier(bert)
net.output.initialize(ctx=devices)

# %%
lr, num_epochs = 1e-4, 1
trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': lr})
loss = gluon.loss.SoftmaxCrossEntropyLoss()
d2l.train_ch13(net, train_iter, test_iter, loss, trainer, num_epochs, devices, d2l.split_batch_multi_inputs)

# %%
net = d2l.BERTClassifier(bert)
net.output.initialize(ctx=devices)
assert net.hidden is not None

# %%
trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': lr})
d2l.train_ch13(net, train_iter, test_iter, loss, trainer, num_epochs, devices, d2l.split_batch_multi_inputs)

# %%
answer = d2l.predict_snli(net, vocab, ['he', 'is', 'good', '.'], ['he', 'is', 'bad', '.'])
assert str(answer).split()[0] in ('entailment', 'contradiction', 'neutral')
