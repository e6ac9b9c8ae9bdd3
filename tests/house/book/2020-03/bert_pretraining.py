# %%
import bertnli as d2l
from mxnet import gluon, init, npx

npx.set_np()

# %%
batch_size, max_len = 32, 64
train_iter, vocab = d2l.load_data_wiki(batch_size, max_len)

# %%
net = d2l.BERTModel(len(vocab), num_hiddens=16, ffn_num_hiddens=32, num_heads=2, num_layers=2, dropout=0.2)
ctx, loss = d2l.try_all_gpus(), gluon.loss.SoftmaxCELoss()
net.initialize(init.Xavier(), ctx=ctx)

# %%
# A log every second step, five steps.
result = d2l.train_bert(train_iter, net, loss, len(vocab), ctx, 2, 5)
assert [row['step'] for row in result.history] == [2, 4, 5]
