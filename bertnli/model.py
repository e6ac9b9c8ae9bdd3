"""BERT and the three-way head: the chapter's classes, with its names, and therefore its weights.

Each class is written as the chapter writes it. `BERTEncoder` computes the same sooner by `fast/blocks.py`, as
long as its parts are those of this file: subclass, replace or hook one, and the plain form runs. A test holds
both together. Losses, data and training live elsewhere.

Legend: B examples in the batch, T tokens in the longest of them, C `num_hiddens`, H heads, V vocabulary
size, P predicted positions, K positions that are read.

Source: Devlin et al. 2019 (BERT); Dive into Deep Learning, sections 15.8 (BERT) and 16.7 (this chapter).
"""

import dataclasses
import math

from .errors import SettingsError
from .fast import blocks as fast
from .runtime import full_name, init, nn, np, npx, set_dropout
from .settings import ModelSettings


class MultiHeadAttention(nn.Block):
    """Queries `(B, K, C)` attend to keys and values `(B, T, C)`, H times at once (chapter section 11.5)."""

    attention_weights = fast.LATER  # (B * H, K, T), of the last call, for the pictures

    def __init__(self, num_hiddens, num_heads, dropout):
        super().__init__()
        self.num_heads = num_heads
        self.dropout = nn.Dropout(dropout)
        self.W_q = nn.Dense(num_hiddens, flatten=False, in_units=num_hiddens)
        self.W_k = nn.Dense(num_hiddens, flatten=False, in_units=num_hiddens)
        self.W_v = nn.Dense(num_hiddens, flatten=False, in_units=num_hiddens)
        self.W_o = nn.Dense(num_hiddens, flatten=False, in_units=num_hiddens)
        self.attention_weights = None

    def forward(self, queries, keys, values, valid_lens):
        # Each head works with a part of its own of every vector.
        queries = self.transpose_qkv(self.W_q(queries))  # (B * H, K, C / H)
        keys, values = self.transpose_qkv(self.W_k(keys)), self.transpose_qkv(self.W_v(values))
        # How well does each key answer each query?
        scores = npx.batch_dot(queries, keys, transpose_b=True) / math.sqrt(queries.shape[-1])
        # As shares, which add up to 1 for each query.
        self.attention_weights = self.masked_softmax(scores, valid_lens)  # (B * H, K, T)
        # The mean of the values, weighted by the shares.
        mixed = npx.batch_dot(self.dropout(self.attention_weights), values)  # (B * H, K, C / H)
        return self.W_o(self.transpose_output(mixed))

    def masked_softmax(self, scores, valid_lens):
        """Softmax over the keys that are not padding, `(B * H, K, T)`."""
        if valid_lens is None:
            return npx.softmax(scores)
        rows = scores.reshape(-1, scores.shape[-1])  # (B * H * K, T)
        # What is so far below all others becomes exactly zero. H * K rows have the length of one example.
        lengths = valid_lens.repeat(len(rows) // len(valid_lens))
        masked = npx.sequence_mask(rows, lengths, True, value=-1e6, axis=1)
        return npx.softmax(masked).reshape(scores.shape)

    def transpose_qkv(self, X):
        """The heads to the front: `(B, T, C)` to `(B * H, T, C / H)`."""
        X = X.reshape(X.shape[0], X.shape[1], self.num_heads, -1)  # (B, T, H, C / H)
        return X.transpose(0, 2, 1, 3).reshape(-1, X.shape[1], X.shape[3])

    def transpose_output(self, X):
        """And back: `(B * H, K, C / H)` to `(B, K, C)`."""
        X = X.reshape(-1, self.num_heads, X.shape[1], X.shape[2])  # (B, H, K, C / H)
        return X.transpose(0, 2, 1, 3).reshape(X.shape[0], X.shape[2], -1)


class AddNorm(nn.Block):
    """Dropout, residual connection, layer normalization (chapter section 11.7)."""

    def __init__(self, num_hiddens, dropout):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.ln = nn.LayerNorm(in_channels=num_hiddens)

    def forward(self, X, Y):
        return self.ln(self.dropout(Y) + X)


class PositionWiseFFN(nn.Block):
    """Two dense layers applied to each position alone (chapter section 11.7)."""

    def __init__(self, num_hiddens, ffn_num_hiddens):
        super().__init__()
        self.dense1 = nn.Dense(ffn_num_hiddens, flatten=False, activation='relu', in_units=num_hiddens)
        self.dense2 = nn.Dense(num_hiddens, flatten=False, in_units=ffn_num_hiddens)

    def forward(self, X):
        return self.dense2(self.dense1(X))


class TransformerEncoderBlock(nn.Block):
    """Attention, then feed-forward, each followed by `AddNorm` (chapter section 11.7)."""

    def __init__(self, num_hiddens, ffn_num_hiddens, num_heads, dropout):
        super().__init__()
        self.attention = MultiHeadAttention(num_hiddens, num_heads, dropout)
        self.addnorm1 = AddNorm(num_hiddens, dropout)
        self.ffn = PositionWiseFFN(num_hiddens, ffn_num_hiddens)
        self.addnorm2 = AddNorm(num_hiddens, dropout)

    def forward(self, X, valid_lens):
        # Every position looks at all positions of its example, and then works by itself.
        Y = self.addnorm1(X, self.attention(X, X, X, valid_lens))  # (B, T, C)
        return self.addnorm2(Y, self.ffn(Y))


class BERTEncoder(nn.Block):
    """Token, segment and position embeddings, then `num_layers` Transformer blocks (chapter section 15.8).

    `tokens` and `segments` `(B, T)`, `valid_lens` `(B,)` (None: nothing is padding), to `(B, T, C)`. Raises
    `SettingsError` for more than `max_len` tokens. `vocab_size`, `num_hiddens`, `ffn_num_hiddens`,
    `num_heads`, `dropout` and `num_blks` are those of `BERTModel`.
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
        num_blks=None,
    ):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, num_hiddens)
        # Xavier's range for the table of words, for all three: they are added up. Left to itself, Xavier
        # takes the three axes of the position table for a convolution, and positions start near zero.
        same = init.Uniform(math.sqrt(6 / (vocab_size + num_hiddens)))
        self.segment_embedding = nn.Embedding(2, num_hiddens, weight_initializer=same)
        self.blks = nn.Sequential()
        for _ in range(_one_of(num_layers, num_blks)):
            self.blks.add(TransformerEncoderBlock(num_hiddens, ffn_num_hiddens, num_heads, dropout))
        self.pos_embedding = self.params.get('pos_embedding', shape=(1, max_len, num_hiddens), init=same)
        self.kinds = fast.kinds(self)

    def forward(self, tokens, segments, valid_lens):
        if fast.in_numpy(self, tokens):
            return fast.encode(self, tokens, segments, valid_lens)
        # A vector for the word, one for its sentence, one for its place.
        X = self.words(tokens) + self.segment_embedding(segments) + self.places(tokens)
        # Block by block, each vector learns more about the others around it.
        for blk in self.blks:
            X = blk(X, valid_lens)  # (B, T, C)
        return X

    def places(self, tokens):
        """The vectors of the first T places, `(T, C)`; `SettingsError` if there are not so many."""
        steps, table = tokens.shape[1], self.pos_embedding.data(tokens.ctx)  # (1, max_len, C)
        if steps > table.shape[1]:
            problem = 'the sequence is longer than the position table'
            allowed = f'at most {table.shape[1]} tokens'
            remedy = 'truncate the pairs, or build the model with a larger max_len'
            raise SettingsError(problem, found=steps, allowed=allowed, remedy=remedy)
        return table[0, :steps]

    # A share of the words is mixed with others in training. The same encoder for some positions only.
    mixed, words, read = 0.0, fast.words, fast.read


class MaskLM(nn.Block):
    """Predict masked words: `X` `(B, T, num_hiddens)`, `pred_positions` `(B, P)`, to `(B, P, vocab_size)`."""

    def __init__(self, vocab_size, num_hiddens):
        super().__init__()
        self.mlp = nn.Sequential()
        self.mlp.add(nn.Dense(num_hiddens, flatten=False, activation='relu', in_units=num_hiddens))
        self.mlp.add(nn.LayerNorm(in_channels=num_hiddens))
        self.mlp.add(nn.Dense(vocab_size, flatten=False, in_units=num_hiddens))

    def forward(self, X, pred_positions):
        # Only the vectors at masked positions are scored, for each example at its own.
        examples = np.arange(len(X), dtype='int32', ctx=X.ctx).reshape(-1, 1)  # (B, 1)
        return self.mlp(X[examples, pred_positions.astype('int32')])  # (B, P, V)

    @property
    def output(self):
        """The layer that scores all words: `(..., C)` to `(..., V)`."""
        return self.mlp[2]


class NextSentencePred(nn.Block):
    """Does the second sentence follow the first? `(B, num_hiddens)` (0: any) to `(B, 2)` (section 15.8)."""

    def __init__(self, num_hiddens=0):  # 0: seen from the first input
        super().__init__()
        self.output = nn.Dense(2, in_units=num_hiddens)

    def forward(self, X):
        return self.output(X)


class BERTModel(nn.Block):
    """BERT with its two pretraining heads (Devlin et al. 2019; chapter section 15.8).

    `bert(tokens, segments, valid_lens, pred_positions=None)` returns `(encoded_X, mlm_Y_hat, nsp_Y_hat)` of
    shapes `(B, T, C)`, `(B, P, V)` or None, and `(B, 2)`; V is `vocab_size`, C `num_hiddens`. Each of
    `num_layers` blocks has `num_heads` heads, and `ffn_num_hiddens` units in its feed-forward part. `dropout`
    is the share of units and attention weights left out in training, `max_len` the most tokens of an input.
    Newer editions call `num_layers` `num_blks`. Raises `SettingsError` if the heads do not divide the units.

    >>> bert = BERTModel(9, num_hiddens=4, ffn_num_hiddens=6, num_heads=2, num_layers=2, dropout=0)
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
        num_blks=None,
    ):
        super().__init__()
        num_layers = _one_of(num_layers, num_blks)
        self.settings = ModelSettings(num_hiddens, ffn_num_hiddens, num_heads, num_layers, dropout, max_len)
        self.encoder = BERTEncoder(vocab_size, **dataclasses.asdict(self.settings))
        self.hidden = nn.Dense(num_hiddens, activation='tanh', in_units=num_hiddens)
        self.mlm = MaskLM(vocab_size, num_hiddens)
        self.nsp = NextSentencePred(num_hiddens)
        self.kinds = fast.kinds(self)

    def forward(self, tokens, segments, valid_lens=None, pred_positions=None):
        encoded_X = self.encoder(tokens, segments, valid_lens)  # (B, T, C)
        mlm_Y_hat = None if pred_positions is None else self.mlm(encoded_X, pred_positions)
        # Position 0 is '<cls>'.
        nsp_Y_hat = self.nsp(self.hidden(encoded_X[:, 0, :]))
        return encoded_X, mlm_Y_hat, nsp_Y_hat

    def set_dropout(self, rate):
        """Change the dropout of all layers, as fine-tuning may want more of it than pretraining."""
        self.settings = dataclasses.replace(self.settings, dropout=rate)
        self.apply(lambda layer: set_dropout(layer, rate) if isinstance(layer, nn.Dropout) else None)

    # What pretraining needs and no more, if the heads are `fast.unchanged`.
    predict = fast.predict


class BERTClassifier(nn.Block):
    """An MLP on the `<cls>` vector: entailment, contradiction or neutral (this chapter, section 16.7).

    `net((tokens, segments, valid_lens))` returns `(B, num_labels)`. `bert` may be a `BERTModel` of this
    library or of d2l (`SettingsError` for anything else). `net.bert` and `net.classifier` are its two parts;
    newer editions call the latter `output`, and `encoder` and `hidden` are those of `bert`.

    >>> bert = BERTModel(9, 4, 6, 2, 2, 0)
    >>> net = BERTClassifier(bert)
    >>> net.initialize()
    >>> inputs = np.zeros((3, 5), dtype='int32'), np.zeros((3, 5), dtype='int32'), np.array([5, 4, 3])
    >>> net(inputs).shape
    (3, 3)
    """

    encoder = property(lambda self: self.bert.encoder)
    hidden = property(lambda self: self.bert.hidden)
    output = property(lambda self: self.classifier)

    def __init__(self, bert, num_labels=3):
        super().__init__()
        self.bert = check_bert(bert)
        self.classifier = nn.Sequential()
        self.classifier.add(nn.Dense(256, activation='relu', in_units=bert.encoder.pos_embedding.shape[-1]))
        self.classifier.add(nn.Dense(num_labels, in_units=256))

    def forward(self, inputs):
        # All that is known about a pair is gathered in its first vector.
        return self.classifier(fast.read_cls(self.bert.encoder, *inputs))  # (B, 3)


def check_bert(bert):
    """`bert` itself, a `BERTModel` of this library or of d2l; `SettingsError` for anything else."""
    if isinstance(bert, BERTClassifier) or not hasattr(getattr(bert, 'encoder', None), 'pos_embedding'):
        allowed = 'bertnli.BERTModel or d2l.mxnet.BERTModel'
        remedy = 'unpack `bert, vocab = load_pretrained_model(…)`; of a BERTClassifier give net.bert'
        raise SettingsError('not a BERT', found=full_name(bert), allowed=allowed, remedy=remedy)
    return bert


def table_of_words(encoder):
    """The parameter with a row for each word, if words that are not in a batch get no gradient; else None."""
    # Another class may use the table elsewhere too, for instance to score the words that fill a gap.
    return encoder.token_embedding.weight if fast.unchanged(encoder) else None


def _one_of(num_layers, num_blks):
    """The number of blocks: `num_layers` in the first editions of the chapter, `num_blks` in newer ones."""
    if (num_layers is None) == (num_blks is None):
        found = f'num_layers={num_layers}, num_blks={num_blks}'
        raise SettingsError('num_layers and num_blks are two names of one setting: give one', found=found)
    return num_blks if num_layers is None else num_layers
