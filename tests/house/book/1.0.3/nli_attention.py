# %%
import bertnli as d2l
from mxnet import gluon, init, np, npx
from mxnet.gluon import nn

npx.set_np()


# %%
def mlp(num_hiddens, flatten):
    net = nn.Sequential()
    for _ in range(2):
        net.add(nn.Dropout(0.2), nn.Dense(num_hiddens, activation='relu', flatten=flatten))
    return net


# %%
class Attend(nn.Block):
    def __init__(self, num_hiddens, **kwargs):
        super().__init__(**kwargs)
        self.f = mlp(num_hiddens=num_hiddens, flatten=False)

    def forward(self, A, B):
        e = npx.batch_dot(self.f(A), self.f(B), transpose_b=True)
        beta = npx.batch_dot(npx.softmax(e), B)
        alpha = npx.batch_dot(npx.softmax(e.transpose(0, 2, 1)), A)
        return beta, alpha


# %%
class Compare(nn.Block):
    def __init__(self, num_hiddens, **kwargs):
        super().__init__(**kwargs)
        self.g = mlp(num_hiddens=num_hiddens, flatten=False)

    def forward(self, A, B, beta, alpha):
        return self.g(np.concatenate([A, beta], axis=2)), self.g(np.concatenate([B, alpha], axis=2))


# %%
class Aggregate(nn.Block):
    def __init__(self, num_hiddens, num_outputs, **kwargs):
        super().__init__(**kwargs)
        self.h = mlp(num_hiddens=num_hiddens, flatten=True)
        self.h.add(nn.Dense(num_outputs))

    def forward(self, V_A, V_B):
        return self.h(np.concatenate([V_A.sum(axis=1), V_B.sum(axis=1)], axis=1))


# %%
class DecomposableAttention(nn.Block):
    def __init__(self, vocab, embed_size, num_hiddens, **kwargs):
        super().__init__(**kwargs)
        self.embedding = nn.Embedding(len(vocab), embed_size)
        self.attend = Attend(num_hiddens)
        self.compare = Compare(num_hiddens)
        self.aggregate = Aggregate(num_hiddens, 3)

    def forward(self, X):
        premises, hypotheses = X
        A, B = self.embedding(premises), self.embedding(hypotheses)
        beta, alpha = self.attend(A, B)
        return self.aggregate(*self.compare(A, B, beta, alpha))


# %%
batch_size, num_steps = 16, 50
train_iter, test_iter, vocab = d2l.load_data_snli(batch_size, num_steps)

# %%
embed_size, num_hiddens, devices = 100, 20, d2l.try_all_gpus()
net = DecomposableAttention(vocab, embed_size, num_hiddens)
net.initialize(init.Xavier(), ctx=devices)
glove_embedding = d2l.TokenEmbedding('glove.6b.100d')
embeds = glove_embedding[vocab.idx_to_token]
net.embedding.weight.set_data(embeds)


# %%
def split_batch_multi_inputs(X, y, devices):
    X = list(zip(*[gluon.utils.split_and_load(feature, devices, even_split=False) for feature in X]))
    return (X, gluon.utils.split_and_load(y, devices, even_split=False))


# %%
lr, num_epochs = 0.001, 1
trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': lr})
loss = gluon.loss.SoftmaxCrossEntropyLoss()
d2l.train_ch13(net, train_iter, test_iter, loss, trainer, num_epochs, devices, split_batch_multi_inputs)

# %%
d2l.train_ch13(net, train_iter, test_iter, loss, trainer, num_epochs, devices, d2l.split_batch_multi_inputs)

# %%
answer = d2l.predict_snli(net, vocab, ['he', 'is', 'good', '.'], ['he', 'is', 'bad', '.'])
assert str(answer).split()[0] in ('entailment', 'contradiction', 'neutral')
