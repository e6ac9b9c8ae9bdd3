# %%
import bertnli as d2l
from mxnet import gluon, np, npx
from mxnet.gluon import nn

npx.set_np()


# %%
def get_tokens_and_segments(tokens_a, tokens_b=None):
    tokens, segments = ['<cls>', *tokens_a, '<sep>'], [0] * (len(tokens_a) + 2)
    if tokens_b is not None:
        tokens, segments = [*tokens, *tokens_b, '<sep>'], segments + [1] * (len(tokens_b) + 1)
    return tokens, segments


pair = ['it', 'rains'], ['it', 'is', 'wet']
assert get_tokens_and_segments(*pair) == d2l.get_tokens_and_segments(*pair)
assert get_tokens_and_segments(pair[0]) == d2l.get_tokens_and_segments(pair[0])


# %%
class BERTEncoder(nn.Block):
    def __init__(self, vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len=1000):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, num_hiddens)
        self.segment_embedding = nn.Embedding(2, num_hiddens)
        self.blks = nn.Sequential()
        for _ in range(num_blks):
            self.blks.add(d2l.TransformerEncoderBlock(num_hiddens, ffn_num_hiddens, num_heads, dropout, True))
        self.pos_embedding = self.params.get('pos_embedding', shape=(1, max_len, num_hiddens))

    def forward(self, tokens, segments, valid_lens):
        X = self.token_embedding(tokens) + self.segment_embedding(segments)
        X = X + self.pos_embedding.data(ctx=X.ctx)[:, : X.shape[1], :]
        for blk in self.blks:
            X = blk(X, valid_lens)
        return X


# %%
vocab_size, num_hiddens, ffn_num_hiddens, num_heads = 100, 16, 24, 4
ffn_num_input, num_blks, dropout = 16, 2, 0.2
encoder = BERTEncoder(vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout)
encoder.initialize()

# %%
tokens = np.random.randint(0, vocab_size, (2, 8))
segments = np.array([[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1]])
encoded_X = encoder(tokens, segments, None)
assert encoded_X.shape == (2, 8, num_hiddens)

# %%
library = d2l.BERTEncoder(vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks=2, dropout=dropout)
library.initialize()
assert library(tokens, segments, None).shape == (2, 8, num_hiddens)

# %%
mlm = d2l.MaskLM(vocab_size, num_hiddens)
mlm.initialize()
mlm_positions = np.array([[1, 5, 2], [6, 1, 5]])
mlm_Y_hat = mlm(encoded_X, mlm_positions)
assert mlm_Y_hat.shape == (2, 3, vocab_size)

# %%
mlm_Y = np.array([[7, 8, 9], [10, 20, 30]])
loss = gluon.loss.SoftmaxCrossEntropyLoss()
mlm_l = loss(mlm_Y_hat.reshape((-1, vocab_size)), mlm_Y.reshape(-1))
assert mlm_l.shape == (6,)

# %%
nsp = d2l.NextSentencePred()
nsp.initialize()
nsp_Y_hat = nsp(encoded_X[:, 0, :])
assert nsp_Y_hat.shape == (2, 2)

# %%
nsp_l = loss(nsp_Y_hat, np.array([0, 1]))
assert nsp_l.shape == (2,)


# %%
class BERTModel(nn.Block):
    def __init__(self, vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len=1000):
        super().__init__()
        self.encoder = BERTEncoder(
            vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len
        )
        self.hidden = nn.Dense(num_hiddens, activation='tanh')
        self.mlm = d2l.MaskLM(vocab_size, num_hiddens)
        self.nsp = d2l.NextSentencePred()

    def forward(self, tokens, segments, valid_lens=None, pred_positions=None):
        encoded_X = self.encoder(tokens, segments, valid_lens)
        mlm_Y_hat = None if pred_positions is None else self.mlm(encoded_X, pred_positions)
        return encoded_X, mlm_Y_hat, self.nsp(self.hidden(encoded_X[:, 0, :]))


# %%
model = BERTModel(vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout)
model.initialize()
_, mlm_Y_hat, nsp_Y_hat = model(tokens, segments, np.array([8, 5]), mlm_positions)
assert (mlm_Y_hat.shape, nsp_Y_hat.shape) == ((2, 3, vocab_size), (2, 2))

# %%
model = d2l.BERTModel(vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks=2, dropout=dropout)
model.initialize()
_, mlm_Y_hat, nsp_Y_hat = model(tokens, segments, np.array([8, 5]), mlm_positions)
assert (mlm_Y_hat.shape, nsp_Y_hat.shape) == ((2, 3, vocab_size), (2, 2))
