"""The strongest PyTorch we can write, compiled: the chapter's network on our batches, for the bench alone.

It leaves out what nobody reads: the last block is computed where it is read, words are scored where they are
masked, batches are as long as their longest pair and made before the clock runs. Attention is one operator,
and so is Adam.
"""

import importlib
import os


def peer(vocab_size, units, ffn, heads, layers, dropout=0.2):
    """`(torch, net, steps)`: a network with the losses `net.finetune` and `net.pretrain`, and its trainer.

    `steps(loss, batch)` makes one step by a compiled loss; a batch is what `dataset.batch` returns, flat. The
    network itself, called with token_ids, segments `(B, T)` and valid_lens `(B,)`, gives scores `(B, 3)`.
    """
    torch = importlib.import_module('torch')  # lazy: an optional peer
    nn, F = torch.nn, torch.nn.functional
    torch.set_num_threads(len(os.sched_getaffinity(0)))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Linear(units, 3 * units), nn.Linear(units, units)
            self.ffn1, self.ffn2 = nn.Linear(units, ffn), nn.Linear(ffn, units)
            self.norm1, self.norm2 = nn.LayerNorm(units), nn.LayerNorm(units)

        def forward(self, X, mask, read):
            """`read` `(B, K, C)` are the rows of `X` `(B, T, C)` whose results somebody wants."""
            weight, bias = self.qkv.weight, self.qkv.bias
            queries = self.split(F.linear(read, weight[:units], bias[:units]))
            keys, values = F.linear(X, weight[units:], bias[units:]).chunk(2, dim=-1)
            rate = dropout if self.training else 0.0
            mixed = F.scaled_dot_product_attention(
                queries, self.split(keys), self.split(values), attn_mask=mask, dropout_p=rate
            )
            mixed = self.out(mixed.transpose(1, 2).reshape(read.shape))
            read = self.norm1(read + F.dropout(mixed, rate, self.training))
            hidden = self.ffn2(F.relu(self.ffn1(read)))
            return self.norm2(read + F.dropout(hidden, rate, self.training))

        def split(self, X):
            return X.view(*X.shape[:2], heads, units // heads).transpose(1, 2)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.segments = nn.Embedding(vocab_size, units), nn.Embedding(2, units)
            self.places = nn.Parameter(torch.randn(1, 1000, units) * 0.02)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.head = nn.Sequential(nn.Linear(units, 256), nn.ReLU(), nn.Linear(256, 3))
            self.mlm = nn.Sequential(nn.Linear(units, units), nn.ReLU(), nn.LayerNorm(units))
            self.scores = nn.Linear(units, vocab_size)
            self.nsp = nn.Sequential(nn.Linear(units, units), nn.Tanh(), nn.Linear(units, 2))

        def encode(self, ids, segments, lengths, positions=None):
            steps = ids.shape[1]
            mask = (torch.arange(steps)[None] < lengths[:, None])[:, None, None]  # (B, 1, 1, T)
            X = self.tokens(ids) + self.segments(segments) + self.places[:, :steps]
            for block in self.blocks[:-1]:
                X = block(X, mask, X)
            if positions is None:
                return self.blocks[-1](X, mask, X[:, :1])[:, 0]
            read = torch.gather(X, 1, positions[..., None].expand(-1, -1, units))
            return self.blocks[-1](X, mask, read)

        def forward(self, ids, segments, lengths):
            return self.head(self.encode(ids, segments, lengths))

        def finetune(self, ids, segments, lengths, labels):
            return F.cross_entropy(self(ids, segments, lengths), labels)

        def pretrain(self, ids, segments, lengths, positions, weights, words, is_next):
            """`positions` begin with that of `<cls>`; `weights` are the places of the masked words."""
            rows = self.encode(ids, segments, lengths, positions)
            masked = self.mlm(rows[:, 1:].reshape(-1, units)[weights])
            loss = F.cross_entropy(self.scores(masked), words.reshape(-1)[weights])
            return loss + F.cross_entropy(self.nsp(rows[:, 0]), is_next)

    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)

    def step(loss, batch):
        optimizer.zero_grad(set_to_none=True)
        loss(*batch).backward()
        optimizer.step()

    return torch, net, step
