"""BERT and the three-way head: the chapter's classes, with its names, and therefore its weights.

Written as the chapter writes them, in imperative `nn.Block`s, except for two things that cost nothing
in mathematics: sequences are time-major inside, and the last block computes queries, output and
feed-forward only for the positions that somebody reads. Losses, data and training live elsewhere.

Legend: B examples in the batch, T tokens in the longest of them, C `num_hiddens`, H heads, V vocabulary
size, P predicted positions, K positions that are read.

Source: Devlin et al. 2019 (BERT); Dive into Deep Learning, sections 15.8 (BERT) and 16.7 (this chapter).
"""

import dataclasses
import math

from .errors import SettingsError
from .fast import operators
from .runtime import init, nn, np, npx
from .settings import ModelSettings

CLS = 'cls'  # in place of positions: read '<cls>', the first position, only


class AddNorm(nn.Block):
    """Dropout, residual connection, layer normalisation (chapter section 11.7)."""

    def __init__(self, num_hiddens, dropout):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.ln = nn.LayerNorm(in_channels=num_hiddens)

    def forward(self, X, Y):
        total = self.dropout(Y) + X
        return operators.layer_norm(total, self.ln.gamma.data(X.ctx), self.ln.beta.data(X.ctx))


class PositionWiseFFN(nn.Block):
    """Two dense layers applied to each position alone (chapter section 11.7)."""

    def __init__(self, num_hiddens, ffn_num_hiddens):
        super().__init__()
        self.dense1 = nn.Dense(ffn_num_hiddens, flatten=False, activation='relu', in_units=num_hiddens)
        self.dense2 = nn.Dense(num_hiddens, flatten=False, in_units=ffn_num_hiddens)

    def forward(self, X):
        return self.dense2(self.dense1(X))


class MultiHeadAttention(nn.Block):
    """Self-attention whose queries may be a few positions only (chapter section 11.5)."""

    def __init__(self, num_hiddens, num_heads, dropout):
        super().__init__()
        self.num_heads = num_heads
        self.dropout = nn.Dropout(dropout)
        self.W_q = nn.Dense(num_hiddens, flatten=False, in_units=num_hiddens)
        self.W_k = nn.Dense(num_hiddens, flatten=False, in_units=num_hiddens)
        self.W_v = nn.Dense(num_hiddens, flatten=False, in_units=num_hiddens)
        self.W_o = nn.Dense(num_hiddens, flatten=False, in_units=num_hiddens)
        self.attention_weights = None  # (B * H, K or T, T), of the last call, for the pictures

    def forward(self, X, valid_lens, read=None):
        """`X` `(T, B, C)` to the same shape, or to `(K, B, C)` where `read` holds K rows of each example."""
        heads = self.num_heads
        if read is None:
            qkv = self._project(X, self.W_q, self.W_k, self.W_v)  # (T, B, 3 * C)
            lengths = operators.key_lengths(valid_lens, heads, X.shape[0])
            mixed, self.attention_weights = operators.attend(qkv, lengths, heads, self.dropout)
        else:
            kv = self._project(X, self.W_k, self.W_v)  # (T, B, 2 * C)
            lengths = operators.key_lengths(valid_lens, heads, read.shape[0])
            mixed, self.attention_weights = operators.attend_from(
                self.W_q(read), kv, lengths, heads, self.dropout
            )
        return self.W_o(mixed)

    def _project(self, X, *layers):
        """Several dense layers as one: `(T, B, C)` to `(T, B, n * C)`, head by head, layer by layer."""
        heads, width = self.num_heads, X.shape[-1]
        weights = [layer.weight.data(X.ctx).reshape(heads, -1, width) for layer in layers]
        biases = [layer.bias.data(X.ctx).reshape(heads, -1) for layer in layers]
        weight = np.stack(weights, axis=1).reshape(-1, width)  # (n * C, C)
        bias = np.stack(biases, axis=1).reshape(-1)  # (n * C,)
        return npx.fully_connected(X, weight, bias, num_hidden=len(bias), flatten=False)


class TransformerEncoderBlock(nn.Block):
    """Attention, then feed-forward, each followed by `AddNorm` (chapter section 11.7)."""

    def __init__(self, num_hiddens, ffn_num_hiddens, num_heads, dropout):
        super().__init__()
        self.attention = MultiHeadAttention(num_hiddens, num_heads, dropout)
        self.addnorm1 = AddNorm(num_hiddens, dropout)
        self.ffn = PositionWiseFFN(num_hiddens, ffn_num_hiddens)
        self.addnorm2 = AddNorm(num_hiddens, dropout)

    def forward(self, X, valid_lens, read=None):
        """`X` `(T, B, C)` to the same shape, or to `(K, B, C)` where `read` holds those rows of `X`."""
        attended = self.attention(X, valid_lens, read)
        Y = self.addnorm1(X if read is None else read, attended)
        return self.addnorm2(Y, self.ffn(Y))


class BERTEncoder(nn.Block):
    """Token, segment and position embeddings, then `num_layers` Transformer blocks (chapter section 15.8).

    `encoder(tokens, segments, valid_lens)` with `tokens` and `segments` `(B, T)` and `valid_lens` `(B,)`
    (None: nothing is padding) returns `(B, T, C)`.
    """

    def __init__(
        self, vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_layers, dropout, max_len=1000
    ):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, num_hiddens)
        # Xavier's range for the table of words, for all three: they are added up. Left to itself, Xavier
        # takes the three axes of the position table for a convolution, and positions start near zero.
        same = init.Uniform(math.sqrt(6 / (vocab_size + num_hiddens)))
        self.segment_embedding = nn.Embedding(2, num_hiddens, weight_initializer=same)
        self.blks = nn.Sequential()
        for _ in range(num_layers):
            self.blks.add(TransformerEncoderBlock(num_hiddens, ffn_num_hiddens, num_heads, dropout))
        self.pos_embedding = self.params.get('pos_embedding', shape=(1, max_len, num_hiddens), init=same)

    def forward(self, tokens, segments, valid_lens):
        return self.read(tokens, segments, valid_lens).swapaxes(0, 1)  # (B, T, C)

    def read(self, tokens, segments, valid_lens, positions=None):
        """Encode, but finish only what is read: `positions` `(B, K)` to `(K, B, C)`; None reads all.

        Exact: a position's last block looks at the other positions' previous block, never at their last.
        """
        X = self._embed(tokens, segments)  # (T, B, C)
        *blocks, last = list(self.blks)
        for block in blocks:
            X = block(X, valid_lens)
        if positions is None:
            return last(X, valid_lens)
        # Only `<cls>`? Then the rows are the first of the time axis, and need no look-up.
        rows = X[:1] if positions is CLS else operators.take_rows(X, positions)
        return last(X, valid_lens, rows)

    def _embed(self, tokens, segments):
        steps = tokens.shape[1]
        table = self.pos_embedding.data(tokens.ctx)  # (1, max_len, C)
        if steps > table.shape[1]:
            raise SettingsError(
                'the sequence is longer than the position table',
                found=steps,
                allowed=f'at most {table.shape[1]} tokens',
                remedy='truncate the pairs, or build the model with a larger max_len',
            )
        # Segment and position together have few values: add them up once, in a table of 2 * T rows.
        sums = table[0, :steps] + np.expand_dims(self.segment_embedding.weight.data(tokens.ctx), 1)
        places = segments.T * steps + np.arange(steps, dtype=segments.dtype, ctx=tokens.ctx).reshape(-1, 1)
        width = table.shape[-1]
        added = npx.embedding(places, sums.reshape(-1, width), 2 * steps, width)  # (T, B, C)
        return self.token_embedding(tokens.T) + added


class MaskLM(nn.Block):
    """Guess the masked words: `X` `(B, T, C)`, `pred_positions` `(B, P)`, to `(B, P, V)` (section 15.8)."""

    def __init__(self, vocab_size, num_hiddens):
        super().__init__()
        self.mlp = nn.Sequential()
        self.mlp.add(
            nn.Dense(num_hiddens, flatten=False, activation='relu', in_units=num_hiddens),
            nn.LayerNorm(in_channels=num_hiddens),
            nn.Dense(vocab_size, flatten=False, in_units=num_hiddens),
        )

    def forward(self, X, pred_positions):
        rows = operators.take_rows(X.swapaxes(0, 1), pred_positions)  # (P, B, C)
        return self.output(self.before_output(rows.swapaxes(0, 1)))

    @property
    def output(self):
        """The layer that scores all words: `(..., C)` to `(..., V)`."""
        return self.mlp[2]

    def before_output(self, rows):
        """What `output` scores, for vectors that were already picked: `(..., C)` to `(..., C)`."""
        dense, norm, _ = self.mlp
        rows = dense(rows)
        return operators.layer_norm(rows, norm.gamma.data(rows.ctx), norm.beta.data(rows.ctx))


class NextSentencePred(nn.Block):
    """Does the second sentence follow the first? `(B, C)` to `(B, 2)` (chapter section 15.8)."""

    def __init__(self, num_hiddens):
        super().__init__()
        self.output = nn.Dense(2, in_units=num_hiddens)

    def forward(self, X):
        return self.output(X)


class BERTModel(nn.Block):
    """BERT with its two pretraining heads (Devlin et al. 2019; chapter section 15.8).

    `bert(tokens, segments, valid_lens, pred_positions=None)` returns `(encoded_X, mlm_Y_hat, nsp_Y_hat)` of
    shapes `(B, T, C)`, `(B, P, V)` or None, and `(B, 2)`. `num_layers` may be called `num_blks`, as newer
    editions of the chapter do. Raises `SettingsError` if the heads do not divide the units.

    >>> bert = BERTModel(vocab_size=9, num_hiddens=4, ffn_num_hiddens=6, num_heads=2, num_layers=2,
    ...                  dropout=0)
    >>> bert.initialize()
    >>> tokens, segments = np.zeros((3, 5), dtype='int32'), np.zeros((3, 5), dtype='int32')
    >>> [Y.shape for Y in bert(tokens, segments, np.array([5, 4, 3]), np.array([[1, 2]] * 3))]
    [(3, 5, 4), (3, 2, 9), (3, 2)]
    """

    def __init__(
        self,
        vocab_size,
        num_hiddens,
        ffn_num_hiddens,
        num_heads,
        num_layers=None,
        dropout=0.0,
        max_len=1000,
        *,
        num_blks=None,
    ):
        super().__init__()
        if None not in (num_layers, num_blks):
            raise SettingsError(
                'num_layers and num_blks are two names of one thing',
                found=f'num_layers={num_layers}, num_blks={num_blks}',
                remedy='give one of them',
            )
        num_layers = num_blks if num_layers is None else num_layers
        self.settings = ModelSettings(num_hiddens, ffn_num_hiddens, num_heads, num_layers, dropout, max_len)
        self.encoder = BERTEncoder(
            vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_layers, dropout, max_len
        )
        self.hidden = nn.Dense(num_hiddens, activation='tanh', in_units=num_hiddens)
        self.mlm = MaskLM(vocab_size, num_hiddens)
        self.nsp = NextSentencePred(num_hiddens)

    def forward(self, tokens, segments, valid_lens=None, pred_positions=None):
        encoded_X = self.encoder(tokens, segments, valid_lens)  # (B, T, C)
        mlm_Y_hat = None if pred_positions is None else self.mlm(encoded_X, pred_positions)
        # Position 0 is '<cls>'.
        nsp_Y_hat = self.nsp(self.hidden(encoded_X[:, 0, :]))
        return encoded_X, mlm_Y_hat, nsp_Y_hat

    def set_dropout(self, rate):
        """Change the dropout of all layers, as fine-tuning may want more of it than pretraining."""
        self.settings = dataclasses.replace(self.settings, dropout=rate)
        self.apply(lambda block: setattr(block, '_rate', rate) if isinstance(block, nn.Dropout) else None)

    def predict(self, tokens, segments, valid_lens, pred_positions, real):
        """What pretraining needs and no more: `(M, C)` for `mlm.output` to score, and `(B, 2)`.

        `real` `(M,)` int holds the places of the M real masked words in `pred_positions.T`, read row by row;
        the rest is padding.
        """
        first = np.zeros((len(tokens), 1), dtype=pred_positions.dtype, ctx=tokens.ctx)
        positions = np.concatenate([first, pred_positions], axis=1)  # (B, 1 + P)
        rows = self.encoder.read(tokens, segments, valid_lens, positions)  # (1 + P, B, C)
        masked = rows[1:].reshape(-1, rows.shape[-1])  # (P * B, C)
        picked = npx.embedding(real, masked, *masked.shape)  # (M, C)
        return self.mlm.before_output(picked), self.nsp(self.hidden(rows[0]))


class BERTClassifier(nn.Block):
    """An MLP on the `<cls>` vector: entailment, contradiction or neutral (this chapter, section 16.7).

    `net((tokens, segments, valid_lens))` returns `(B, 3)`. `bert` may be a `BERTModel` of this library or of
    d2l; `net.bert` and `net.classifier` are its two parts.

    >>> bert = BERTModel(9, 4, 6, 2, 2, 0)
    >>> net = BERTClassifier(bert)
    >>> net.initialize()
    >>> inputs = np.zeros((3, 5), dtype='int32'), np.zeros((3, 5), dtype='int32'), np.array([5, 4, 3])
    >>> net(inputs).shape
    (3, 3)
    """

    def __init__(self, bert, num_labels=3):
        super().__init__()
        self.bert = bert
        self.classifier = nn.Sequential()
        num_hiddens = bert.encoder.token_embedding.weight.shape[1]
        self.classifier.add(nn.Dense(256, activation='relu', in_units=num_hiddens))
        self.classifier.add(nn.Dense(num_labels, in_units=256))

    def forward(self, inputs):
        return self.classifier(read_cls(self.bert.encoder, *inputs))


def table_of_words(encoder):
    """The parameter with a row for each word, if words that are not in a batch get no gradient; else None."""
    # Another class may use the table elsewhere too, for instance to score the words that fill a gap.
    return encoder.token_embedding.weight if type(encoder) is BERTEncoder else None


def read_cls(encoder, tokens, segments, valid_lens):
    """The vectors of `<cls>`, `(B, C)`, from an encoder of this library or of d2l."""
    if isinstance(encoder, BERTEncoder):
        return encoder.read(tokens, segments, valid_lens, CLS)[0]
    return encoder(tokens, segments, valid_lens)[:, 0, :]
