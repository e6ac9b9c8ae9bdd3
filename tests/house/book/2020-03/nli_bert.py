# %%
import multiprocessing

import bertnli as d2l
from mxnet import gluon, init, np, npx
from mxnet.gluon import nn

npx.set_np()

# %%
bert_batch_size, max_len = 32, 64
bert_train_iter, vocab = d2l.load_data_wiki(bert_batch_size, max_len)

# %%
ctx, loss = d2l.try_all_gpus(), gluon.loss.SoftmaxCELoss()
bert = d2l.BERTModel(len(vocab), num_hiddens=16, ffn_num_hiddens=16, num_heads=2, num_layers=2, dropout=0.2)
bert.initialize(init.Xavier(), ctx=ctx)
d2l.train_bert(bert_train_iter, bert, loss, len(vocab), ctx, 20, 3)


# %%
class SNLIBERTDataset(gluon.data.Dataset):
    def __init__(self, dataset, max_len, vocab=None):
        pairs = [[p, h] for p, h in zip(d2l.tokenize(dataset[0]), d2l.tokenize(dataset[1]))]
        self.labels = np.array(dataset[2])
        self.vocab = vocab
        self.max_len = max_len
        pool = multiprocessing.Pool(4)
        token_ids, segments, valid_lens = zip(*pool.map(self._mp_worker, pairs))
        self.all_token_ids = np.array(token_ids, dtype='int32')
        self.all_segments = np.array(segments, dtype='int32')
        self.valid_lens = np.array(valid_lens)
        print('read ' + str(len(self.all_token_ids)) + ' examples')

    def _mp_worker(self, pair):
        p_tokens, h_tokens = pair
        while len(p_tokens) + len(h_tokens) > self.max_len - 3:
            max(p_tokens, h_tokens, key=len).pop()
        tokens, segments = d2l.get_tokens_and_segments(p_tokens, h_tokens)
        free = self.max_len - len(tokens)
        return self.vocab[tokens] + [self.vocab['<pad>']] * free, segments + [0] * free, len(tokens)

    def __getitem__(self, idx):
        return (self.all_token_ids[idx], self.all_segments[idx], self.valid_lens[idx]), self.labels[idx]

    def __len__(self):
        return len(self.all_token_ids)


# %%
data_dir = d2l.download_extract('SNLI')
train_data = d2l.read_snli(data_dir, True)
test_data = d2l.read_snli(data_dir, False)
train_set = SNLIBERTDataset(train_data, max_len, vocab)
test_set = SNLIBERTDataset(test_data, max_len, vocab)

# %%
batch_size, num_workers = 16, d2l.get_dataloader_workers()
train_iter = gluon.data.DataLoader(train_set, batch_size, shuffle=True, num_workers=num_workers)
test_iter = gluon.data.DataLoader(test_set, batch_size, num_workers=num_workers)


# %%
class BERTClassifier(nn.Block):
    def __init__(self, bert):
        super(BERTClassifier, self).__init__()
        self.bert = bert
        self.classifier = nn.Sequential()
        self.classifier.add(nn.Dense(256, activation='relu'))
        self.classifier.add(nn.Dense(3))

    def forward(self, inputs):
        tokens_X, segments_X, valid_lens_x = inputs
        encoded_X, _, _ = self.bert(tokens_X, segments_X, valid_lens_x)
        return self.classifier(encoded_X[:, 0, :])


# %%
net = BERTClassifier(bert)
net.classifier.initialize(ctx=ctx)

# %%
lr, num_epochs = 1e-4, 1
trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': lr})
loss = gluon.loss.SoftmaxCrossEntropyLoss()
d2l.train_ch13(net, train_iter, test_iter, loss, trainer, num_epochs, ctx, d2l.split_batch_multi_inputs)

# %%
answer = d2l.predict_snli(net, vocab, ['he', 'is', 'good', '.'], ['he', 'is', 'bad', '.'])
assert str(answer).split()[0] in ('entailment', 'contradiction', 'neutral')
