# %%
import bertnli as d2l
from mxnet import autograd, gluon, init, np, npx
from mxnet.gluon import nn

npx.set_np()


# %%
def resnet(num_classes):
    net = nn.Sequential()
    net.add(nn.Conv2D(8, kernel_size=3, strides=1, padding=1), nn.BatchNorm(), nn.Activation('relu'))
    for channels in 8, 16:
        net.add(d2l.Residual(channels, use_1x1conv=True, strides=2), d2l.Residual(channels))
    net.add(nn.GlobalAvgPool2D(), nn.Dense(num_classes))
    return net


# %%
# Two devices of the processor stand for two GPUs.
net = resnet(10)
devices = [npx.cpu(0), npx.cpu(1)]
net.initialize(init=init.Normal(sigma=0.01), ctx=devices)

# %%
x = np.random.uniform(size=(4, 1, 28, 28))
x_shards = gluon.utils.split_and_load(x, devices)
assert net(x_shards[0]).shape == net(x_shards[1]).shape == (2, 10)

# %%
weight = net[0].params.get('weight')
try:
    weight.data(npx.cpu(5))
except RuntimeError:
    print('not initialized on cpu(5)')
assert (weight.data(devices[0])[0] == weight.data(devices[1])[0]).all()


# %%
def evaluate_accuracy_gpus(net, data_iter, split_f=d2l.split_batch):
    devices = list(net.collect_params().values())[0].list_ctx()
    metric = d2l.Accumulator(2)
    for features, labels in data_iter:
        X_shards, y_shards = split_f(features, labels, devices)
        pred_shards = [net(X_shard) for X_shard in X_shards]
        hits = [float(d2l.accuracy(pred, y)) for pred, y in zip(pred_shards, y_shards)]
        metric.add(sum(hits), labels.size)
    return metric[0] / metric[1]


# %%
def train(num_gpus, batch_size, lr, evaluate):
    train_iter, test_iter = d2l.load_data_fashion_mnist(batch_size)
    devices = [npx.cpu(i) for i in range(num_gpus)]
    net.initialize(init=init.Normal(sigma=0.01), ctx=devices, force_reinit=True)
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': lr})
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    timer, num_epochs = d2l.Timer(), 1
    animator = d2l.Animator('epoch', 'test acc', xlim=[1, num_epochs])
    for epoch in range(num_epochs):
        timer.start()
        for features, labels in train_iter:
            X_shards, y_shards = d2l.split_batch(features, labels, devices)
            with autograd.record():
                ls = [loss(net(X_shard), y_shard) for X_shard, y_shard in zip(X_shards, y_shards)]
            for l in ls:
                l.backward()
            trainer.step(batch_size)
        npx.waitall()
        timer.stop()
        animator.add(epoch + 1, (evaluate(net, test_iter),))
    print(f'test acc: {animator.Y[0][-1]:.2f}, {timer.avg():.1f} sec/epoch on {str(devices)}')


# %%
train(num_gpus=1, batch_size=16, lr=0.1, evaluate=evaluate_accuracy_gpus)

# %%
train(num_gpus=2, batch_size=16, lr=0.2, evaluate=d2l.evaluate_accuracy_gpus)

# %%
net = d2l.resnet18(10)
net.initialize(init=init.Xavier(), ctx=d2l.try_all_gpus())
assert net(np.random.uniform(size=(1, 1, 28, 28))).shape == (1, 10)
