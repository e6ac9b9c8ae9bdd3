# %%
import os

import bertnli as d2l
from mxnet import gluon, init, npx
from mxnet.gluon import nn

npx.set_np()

# %%
d2l.DATA_HUB['hotdog'] = archive('hotdog.zip')
data_dir = d2l.download_extract('hotdog')
train_imgs = gluon.data.vision.ImageFolderDataset(os.path.join(data_dir, 'train'))
test_imgs = gluon.data.vision.ImageFolderDataset(os.path.join(data_dir, 'test'))

# %%
d2l.show_images([train_imgs[i][0] for i in range(4)], 2, 2, scale=1.4)
# %%
augs = gluon.data.vision.transforms.Compose(
    [gluon.data.vision.transforms.Resize(32), gluon.data.vision.transforms.ToTensor()]
)


def train_fine_tuning(net, learning_rate, batch_size=8, num_epochs=1):
    train_iter = gluon.data.DataLoader(train_imgs.transform_first(augs), batch_size, shuffle=True)
    test_iter = gluon.data.DataLoader(test_imgs.transform_first(augs), batch_size)
    ctx = d2l.try_all_gpus()
    net.collect_params().reset_ctx(ctx)
    net.hybridize()
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': learning_rate, 'wd': 0.001})
    d2l.train_ch13(net, train_iter, test_iter, loss, trainer, num_epochs, ctx)


# %%
scratch_net = nn.HybridSequential()
scratch_net.add(nn.Conv2D(4, 3), nn.GlobalAvgPool2D(), nn.Dense(2))
scratch_net.initialize(init=init.Xavier())
train_fine_tuning(scratch_net, 0.1)
