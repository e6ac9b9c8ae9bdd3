# %%
import bertnli as d2l
from mxnet import gluon, np, npx
from mxnet.gluon import nn

npx.set_np()


# %%
class BERTEncoder(nn.Block):
    def __init__(self, vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_layers, dropout):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, num_hiddens)
        self.segment_embedding = nn.Embedding(2, num_hiddens)
        self.pos_encoding = d2l.PositionalEncoding(num_hiddens, dropout)
        self.blks = nn.Sequential()
        for _ in range(num_layers):
            self.blks.add(d2l.EncoderBlock(num_hiddens, ffn_num_hiddens, num_heads, dropout))

    def forward(self, tokens, segments, valid_lens):
        X = self.pos_encoding(self.token_embedding(tokens) + self.segment_embedding(segments))
        for blk in self.blks:
            X = blk(X, valid_lens)
        return X


# %%
vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_layers, dropout = 100, 16, 24, 4, 2, 0.1
encoder = BERTEncoder(vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_layers, dropout)
encoder.initialize()
tokens = np.random.randint(0, vocab_size, (2, 8))
segments = np.array([[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1]])
encoded_X = encoder(tokens, segments, None)
assert encoded_X.shape == (2, 8, num_hiddens)

# %%
attention = d2l.MultiHeadAttention(num_hiddens, num_heads, dropout)
attention.initialize()
assert attention(encoded_X, encoded_X, encoded_X, np.array([8, 5])).shape == encoded_X.shape

# %%
nsp = d2l.NextSentencePred(num_hiddens)
nsp.initialize()
nsp_Y_hat = nsp(encoded_X[:, 0, :])
assert nsp_Y_hat.shape == (2, 2)

# %%
loss = gluon.loss.SoftmaxCrossEntropyLoss()
assert loss(nsp_Y_hat, np.array([0, 1])).shape == (2,)

# %%
bert = d2l.BERTModel(
    vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_layers=num_layers, dropout=dropout
)
bert.initialize()
encoded_X, mlm_Y_hat, nsp_Y_hat = bert(tokens, segments, None, np.array([[1, 2, 5], [1, 5, 6]]))
assert (mlm_Y_hat.shape, nsp_Y_hat.shape) == ((2, 3, vocab_size), (2, 2))
