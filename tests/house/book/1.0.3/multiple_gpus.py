# %%
# %matplotlib inline
import bertnli as d2l
from mxnet import autograd, gluon, np, npx

npx.set_np()

# %%
scale = 0.01
W1, b1 = np.random.normal(scale=scale, size=(4, 1, 3, 3)), np.zeros(4)
W2, b2 = np.random.normal(scale=scale, size=(8, 4, 5, 5)), np.zeros(8)
W3, b3 = np.random.normal(scale=scale, size=(128, 16)), np.zeros(16)
W4, b4 = np.random.normal(scale=scale, size=(16, 10)), np.zeros(10)
params = [W1, b1, W2, b2, W3, b3, W4, b4]


def lenet(X, params):
    for W, b, kernel, count in (*params[:2], (3, 3), 4), (*params[2:4], (5, 5), 8):
        X = npx.relu(npx.convolution(data=X, weight=W, bias=b, kernel=kernel, num_filter=count))
        X = npx.pooling(data=X, pool_type='avg', kernel=(2, 2), stride=(2, 2))
    X = npx.relu(np.dot(X.reshape(X.shape[0], -1), params[4]) + params[5])
    return np.dot(X, params[6]) + params[7]


loss = gluon.loss.SoftmaxCrossEntropyLoss()


# %%
def get_params(params, device):
    new_params = [p.copyto(device) for p in params]
    for p in new_params:
        p.attach_grad()
    return new_params


# %%
new_params = get_params(params, d2l.try_gpu(0))
print('b1 weight:', new_params[1], 'b1 grad:', new_params[1].grad)


# %%
def allreduce(data):
    for i in range(1, len(data)):
        data[0][:] += data[i].copyto(data[0].ctx)
    for i in range(1, len(data)):
        data[0].copyto(data[i])


# %%
data = [np.ones((1, 2), ctx=d2l.try_gpu(i)) * (i + 1) for i in range(2)]
allreduce(data)
assert [part.tolist() for part in data] == [[[3, 3]], [[3, 3]]]

# %%
# Two devices of the processor stand for two GPUs.
data = np.arange(20).reshape(4, 5)
devices = [npx.cpu(0), npx.cpu(1)]
split = gluon.utils.split_and_load(data, devices)
assert [part.shape for part in split] == [(2, 5), (2, 5)]


# %%
def split_batch(X, y, devices):
    assert X.shape[0] == y.shape[0]
    return (gluon.utils.split_and_load(X, devices), gluon.utils.split_and_load(y, devices))


# %%
def train_batch(X, y, device_params, devices, lr):
    X_shards, y_shards = d2l.split_batch(X, y, devices)
    with autograd.record():
        losses = [
            loss(lenet(X_shard, device_W), y_shard)
            for X_shard, y_shard, device_W in zip(X_shards, y_shards, device_params)
        ]
    for l in losses:
        l.backward()
    for i in range(len(device_params[0])):
        allreduce([device_params[c][i].grad for c in range(len(devices))])
    for param in device_params:
        d2l.sgd(param, lr, X.shape[0])


# %%
def train(num_gpus, batch_size, lr):
    train_iter, test_iter = d2l.load_data_fashion_mnist(batch_size)
    devices = [d2l.try_gpu(i) for i in range(num_gpus)]
    device_params = [get_params(params, d) for d in devices]
    num_epochs = 2
    animator = d2l.Animator('epoch', 'test acc', xlim=[1, num_epochs])
    timer = d2l.Timer()
    for epoch in range(num_epochs):
        timer.start()
        for X, y in train_iter:
            train_batch(X, y, device_params, devices, lr)
            npx.waitall()
        timer.stop()
        animator.add(
            epoch + 1,
            (d2l.evaluate_accuracy_gpu(lambda x: lenet(x, device_params[0]), test_iter, devices[0]),),
        )
    print(f'test acc: {animator.Y[0][-1]:.2f}, {timer.avg():.1f} sec/epoch on {str(devices)}')


# %%
train(num_gpus=1, batch_size=16, lr=0.2)

# %%
train(num_gpus=2, batch_size=16, lr=0.2)
