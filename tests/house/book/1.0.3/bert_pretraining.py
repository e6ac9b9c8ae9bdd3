# %%
import bertnli as d2l
from mxnet import autograd, gluon, init, np, npx

npx.set_np()

# %%
batch_size, max_len = 32, 64
train_iter, vocab = d2l.load_data_wiki(batch_size, max_len)

# %%
net = d2l.BERTModel(len(vocab), num_hiddens=16, ffn_num_hiddens=32, num_heads=2, num_blks=2, dropout=0.2)
devices = d2l.try_all_gpus()
net.initialize(init.Xavier(), ctx=devices)
loss = gluon.loss.SoftmaxCELoss()


# %%
def _get_batch_loss_bert(net, loss, vocab_size, *shards):
    mlm_ls, nsp_ls, ls = [], [], []
    for tokens_X, segments_X, valid_lens_x, positions, weights, mlm_Y, nsp_y in zip(*shards):
        _, mlm_Y_hat, nsp_Y_hat = net(tokens_X, segments_X, valid_lens_x.reshape(-1), positions)
        mlm_l = loss(mlm_Y_hat.reshape((-1, vocab_size)), mlm_Y.reshape(-1), weights.reshape((-1, 1)))
        mlm_ls.append(mlm_l.sum() / (weights.sum() + 1e-8))
        nsp_ls.append(loss(nsp_Y_hat, nsp_y).mean())
        ls.append(mlm_ls[-1] + nsp_ls[-1])
        npx.waitall()
    return mlm_ls, nsp_ls, ls


# %%
def train_bert(train_iter, net, loss, vocab_size, devices, num_steps):
    trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 0.01})
    step, timer = 0, d2l.Timer()
    animator = d2l.Animator(xlabel='step', ylabel='loss', xlim=[1, num_steps], legend=['mlm', 'nsp'])
    metric = d2l.Accumulator(4)
    while step < num_steps:
        for batch in train_iter:
            timer.start()
            shards = [gluon.utils.split_and_load(column, devices, even_split=False) for column in batch]
            with autograd.record():
                mlm_ls, nsp_ls, ls = _get_batch_loss_bert(net, loss, vocab_size, *shards)
            for l in ls:
                l.backward()
            trainer.step(1)
            metric.add(sum(float(l) for l in mlm_ls), sum(float(l) for l in nsp_ls), batch[0].shape[0], 1)
            timer.stop()
            animator.add(step + 1, (metric[0] / metric[3], metric[1] / metric[3]))
            step += 1
            if step == num_steps:
                break
    print(f'MLM loss {metric[0] / metric[3]:.3f}, NSP loss {metric[1] / metric[3]:.3f}')
    print(f'{metric[2] / timer.sum():.1f} sentence pairs/sec on {str(devices)}')


# %%
train_bert(train_iter, net, loss, len(vocab), devices, 3)

# %%
# Five steps, and no log interval of five.
result = d2l.train_bert(train_iter, net, loss, len(vocab), devices, 5)
assert result.history[-1]['step'] == 5
assert len(repr(result)) < 200
result

# %%
import mxnet as mx


def layer_after(seed):
    mx.random.seed(seed)
    d2l.train_bert(train_iter, net, loss, len(vocab), devices, 1)
    layer = gluon.nn.Dense(3, in_units=3)
    layer.initialize(init.Xavier())
    return layer.weight.data().tolist()


# What a reader seeds is the reader's: a training between does not touch it.
assert layer_after(1) == layer_after(1) != layer_after(2)


# %%
def get_bert_encoding(net, tokens_a, tokens_b=None):
    tokens, segments = d2l.get_tokens_and_segments(tokens_a, tokens_b)
    token_ids = np.expand_dims(np.array(vocab[tokens], ctx=devices[0]), axis=0)
    segments = np.expand_dims(np.array(segments, ctx=devices[0]), axis=0)
    valid_len = np.expand_dims(np.array(len(tokens), ctx=devices[0]), axis=0)
    return net(token_ids, segments, valid_len)[0]


# %%
tokens_a = ['a', 'crane', 'is', 'flying']
encoded_text = get_bert_encoding(net, tokens_a)
encoded_text_cls, encoded_text_crane = encoded_text[:, 0, :], encoded_text[:, 2, :]
assert (encoded_text.shape, encoded_text_cls.shape) == ((1, 6, 16), (1, 16))

# %%
encoded_pair = get_bert_encoding(net, ['a', 'crane', 'driver', 'came'], ['he', 'just', 'left'])
assert (encoded_pair.shape, encoded_pair[:, 2, :].shape) == ((1, 10, 16), (1, 16))
