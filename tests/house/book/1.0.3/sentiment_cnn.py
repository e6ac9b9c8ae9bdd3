# %%
import bertnli as d2l
from mxnet import gluon, init, np, npx
from mxnet.gluon import nn

npx.set_np()

# %%
batch_size = 8
train_iter, test_iter, vocab = d2l.load_data_imdb(batch_size, 100)


# %%
def corr1d(X, K):
    w = K.shape[0]
    Y = np.zeros(X.shape[0] - w + 1)
    for i in range(Y.shape[0]):
        Y[i] = (X[i : i + w] * K).sum()
    return Y


# %%
X, K = np.array([0, 1, 2, 3]), np.array([1, 2])
assert corr1d(X, K).tolist() == [2, 5, 8]


# %%
def corr1d_multi_in(X, K):
    return sum(corr1d(x, k) for x, k in zip(X, K))


X, K = np.array([[0, 1, 2], [1, 2, 3]]), np.array([[1, 2], [3, 4]])
assert corr1d_multi_in(X, K).tolist() == [13, 23]


# %%
class TextCNN(nn.Block):
    def __init__(self, vocab_size, embed_size, kernel_sizes, num_channels, **kwargs):
        super().__init__(**kwargs)
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.constant_embedding = nn.Embedding(vocab_size, embed_size)
        self.dropout = nn.Dropout(0.5)
        self.decoder = nn.Dense(2)
        self.pool = nn.GlobalMaxPool1D()
        self.convs = nn.Sequential()
        for c, k in zip(num_channels, kernel_sizes):
            self.convs.add(nn.Conv1D(c, k, activation='relu'))

    def forward(self, inputs):
        embeddings = np.concatenate(
            (self.embedding(inputs), self.constant_embedding(inputs)), axis=2
        ).transpose(0, 2, 1)
        encoding = np.concatenate(
            [np.squeeze(self.pool(conv(embeddings)), axis=-1) for conv in self.convs], axis=1
        )
        return self.decoder(self.dropout(encoding))


# %%
embed_size, kernel_sizes, nums_channels = 100, [3, 4, 5], [5, 5, 5]
devices = d2l.try_all_gpus()
net = TextCNN(len(vocab), embed_size, kernel_sizes, nums_channels)
net.initialize(init.Xavier(), ctx=devices)

# %%
glove_embedding = d2l.TokenEmbedding('glove.6b.100d')
embeds = glove_embedding[vocab.idx_to_token]
net.embedding.weight.set_data(embeds)
net.constant_embedding.weight.set_data(embeds)
net.constant_embedding.collect_params().setattr('grad_req', 'null')

# %%
lr, num_epochs = 0.001, 1
trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': lr})
loss = gluon.loss.SoftmaxCrossEntropyLoss()
d2l.train_ch13(net, train_iter, test_iter, loss, trainer, num_epochs, devices)

# %%
for sentence in 'this movie is so great', 'this movie is so bad':
    assert d2l.predict_sentiment(net, vocab, sentence) in ('positive', 'negative')
