# %%
import bertnli as d2l
from mxnet import gluon, init, np, npx
from mxnet.gluon import nn, rnn

npx.set_np()

# %%
data_dir = d2l.download_extract('aclImdb', 'aclImdb')
train_data = d2l.read_imdb(data_dir, is_train=True)
assert len(train_data[0]) == 32

# %%
train_tokens = d2l.tokenize(train_data[0], token='word')
vocab = d2l.Vocab(train_tokens, min_freq=5, reserved_tokens=['<pad>'])
d2l.set_figsize((3.5, 2.5))
d2l.plt.hist([len(line) for line in train_tokens], bins=range(0, 100, 5))
# %%
num_steps, batch_size = 40, 8
train_features = np.array([d2l.trim_pad(vocab[line], num_steps, vocab['<pad>']) for line in train_tokens])
train_iter = d2l.load_array((train_features, train_data[1]), batch_size)
test_iter = d2l.load_array((train_features, train_data[1]), batch_size, is_train=False)


# %%
class BiRNN(nn.Block):
    def __init__(self, vocab_size, embed_size, num_hiddens, num_layers, **kwargs):
        super(BiRNN, self).__init__(**kwargs)
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.encoder = rnn.LSTM(num_hiddens, num_layers=num_layers, bidirectional=True, input_size=embed_size)
        self.decoder = nn.Dense(2)

    def forward(self, inputs):
        outputs = self.encoder(self.embedding(inputs.T))
        return self.decoder(np.concatenate((outputs[0], outputs[-1]), axis=1))


# %%
embed_size, num_hiddens, num_layers, ctx = 10, 4, 2, d2l.try_all_gpus()
net = BiRNN(len(vocab), embed_size, num_hiddens, num_layers)
net.initialize(init.Xavier(), ctx=ctx)

# %%
lr, num_epochs = 0.01, 1
trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': lr})
loss = gluon.loss.SoftmaxCrossEntropyLoss()
d2l.train_ch13(net, train_iter, test_iter, loss, trainer, num_epochs, ctx)

# %%
assert d2l.predict_sentiment(net, vocab, 'this movie is so great') in ('positive', 'negative')
