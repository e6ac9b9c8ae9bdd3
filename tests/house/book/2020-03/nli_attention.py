# %%
import bertnli as d2l
from mxnet import gluon, init, np, npx
from mxnet.gluon import nn

npx.set_np()

# %%
data_dir = d2l.download_extract('SNLI')
train_set = d2l.SNLIDataset(d2l.read_snli(data_dir, True), 50)
assert train_set[0][0][0].shape == (50,)

# %%
batch_size, num_steps = 16, 50
train_iter, test_iter, vocab = d2l.load_data_snli(batch_size, num_steps)


# %%
class Aligned(nn.Block):
    def __init__(self, vocab, embed_size, num_hiddens, **kwargs):
        super(Aligned, self).__init__(**kwargs)
        self.embedding = nn.Embedding(len(vocab), embed_size)
        self.attention = d2l.MLPAttention(num_hiddens, 0.1)
        self.output = nn.Dense(3)

    def forward(self, X):
        A, B = (self.embedding(one) for one in X)
        return self.output(np.concatenate([self.attention(A, B, B, None).sum(axis=1), A.sum(axis=1)], axis=1))


# %%
embed_size, num_hiddens, ctx = 10, 20, d2l.try_all_gpus()
net = Aligned(vocab, embed_size, num_hiddens)
net.initialize(init.Xavier(), ctx=ctx)

# %%
lr, num_epochs = 0.001, 1
trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': lr})
loss = gluon.loss.SoftmaxCrossEntropyLoss()
d2l.train_ch13(net, train_iter, test_iter, loss, trainer, num_epochs, ctx, d2l.split_batch_multi_inputs)

# %%
answer = d2l.predict_snli(net, vocab, ['he', 'is', 'good', '.'], ['he', 'is', 'bad', '.'])
assert str(answer).split()[0] in ('entailment', 'contradiction', 'neutral')
