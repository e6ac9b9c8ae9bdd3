# %%
import bertnli as d2l
from mxnet import autograd, gluon, init, np, npx
from mxnet.gluon import nn

npx.set_np()


# %%
def split_batch(X, y, ctx_list):
    assert X.shape[0] == y.shape[0]
    return (gluon.utils.split_and_load(X, ctx_list), gluon.utils.split_and_load(y, ctx_list))


# %%
# Two devices of the processor stand for two GPUs.
ctx = [npx.cpu(0), npx.cpu(1)]
net = nn.Sequential()
net.add(d2l.Residual(4, use_1x1conv=True, strides=4), nn.GlobalAvgPool2D(), nn.Dense(10))
net.initialize(init=init.Normal(sigma=0.01), ctx=ctx)
loss = gluon.loss.SoftmaxCrossEntropyLoss()
trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
train_iter, test_iter = d2l.load_data_fashion_mnist(16)

# %%
timer, animator = d2l.Timer(), d2l.Animator('epoch', 'test acc', xlim=[1, 1])
for features, labels in train_iter:
    Xs, ys = split_batch(features, labels, ctx)
    with autograd.record():
        ls = [loss(net(X), y) for X, y in zip(Xs, ys)]
    for l in ls:
        l.backward()
    trainer.step(16)
npx.waitall()
animator.add(1, (d2l.evaluate_accuracy_gpus(net, test_iter),))
print('test acc: %.2f, %.1f sec/epoch on %s' % (animator.Y[0][-1], timer.stop(), ctx))

# %%
assert 0 <= d2l.evaluate_accuracy_gpu(net, test_iter, npx.cpu(0)) <= 1

# %%
loss_sum, hits = d2l.train_batch_ch13(net, features, labels, loss, trainer, ctx)
assert 0 <= float(hits) <= 16

# %%
loss_sum, hits = d2l.train_batch_ch13(net, features, labels, loss, trainer, ctx, d2l.split_batch)
assert 0 <= float(hits) <= 16

# %%
d2l.train_ch13(net, train_iter, test_iter, loss, trainer, 1, ctx)
