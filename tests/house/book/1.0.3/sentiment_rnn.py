# %%
import bertnli as d2l
from mxnet import gluon, init, np, npx
from mxnet.gluon import nn, rnn

npx.set_np()

# %%
batch_size = 8
train_iter, test_iter, vocab = d2l.load_data_imdb(batch_size)


# %%
class BiRNN(nn.Block):
    def __init__(self, vocab_size, embed_size, num_hiddens, num_layers, **kwargs):
        super().__init__(**kwargs)
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.encoder = rnn.LSTM(num_hiddens, num_layers=num_layers, bidirectional=True, input_size=embed_size)
        self.decoder = nn.Dense(2)

    def forward(self, inputs):
        outputs = self.encoder(self.embedding(inputs.T))
        return self.decoder(np.concatenate((outputs[0], outputs[-1]), axis=1))


# %%
embed_size, num_hiddens, num_layers, devices = 100, 4, 2, d2l.try_all_gpus()
net = BiRNN(len(vocab), embed_size, num_hiddens, num_layers)
net.initialize(init.Xavier(), ctx=devices)

# %%
glove_embedding = d2l.TokenEmbedding('glove.6b.100d')

# %%
embeds = glove_embedding[vocab.idx_to_token]
assert embeds.shape == (len(vocab), 100)

# %%
net.embedding.weight.set_data(embeds)
net.embedding.collect_params().setattr('grad_req', 'null')

# %%
lr, num_epochs = 0.01, 1
trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': lr})
loss = gluon.loss.SoftmaxCrossEntropyLoss()
d2l.train_ch13(net, train_iter, test_iter, loss, trainer, num_epochs, devices)


# %%
def predict_sentiment(net, vocab, sequence):
    sequence = np.array(vocab[sequence.split()], ctx=d2l.try_gpu())
    label = np.argmax(net(sequence.reshape(1, -1)), axis=1)
    return 'positive' if label == 1 else 'negative'


# %%
assert predict_sentiment(net, vocab, 'this movie is so great') in ('positive', 'negative')

# %%
assert d2l.predict_sentiment(net, vocab, 'this movie is so bad') in ('positive', 'negative')
