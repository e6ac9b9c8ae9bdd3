# %%
# %matplotlib inline
import os

import bertnli as d2l
from mxnet import gluon, init, np, npx

npx.set_np()

# %%
d2l.DATA_HUB['hotdog'] = archive('hotdog.zip')
data_dir = d2l.download_extract('hotdog')

# %%
train_imgs = gluon.data.vision.ImageFolderDataset(os.path.join(data_dir, 'train'))
test_imgs = gluon.data.vision.ImageFolderDataset(os.path.join(data_dir, 'test'))

# %%
hotdogs = [train_imgs[i][0] for i in range(4)]
not_hotdogs = [train_imgs[-i - 1][0] for i in range(4)]
d2l.show_images(hotdogs + not_hotdogs, 2, 4, scale=1.4)
# %%
normalize = gluon.data.vision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
train_augs = gluon.data.vision.transforms.Compose(
    [
        gluon.data.vision.transforms.RandomResizedCrop(32),
        gluon.data.vision.transforms.RandomFlipLeftRight(),
        gluon.data.vision.transforms.ToTensor(),
        normalize,
    ]
)
test_augs = gluon.data.vision.transforms.Compose(
    [
        gluon.data.vision.transforms.Resize(40),
        gluon.data.vision.transforms.CenterCrop(32),
        gluon.data.vision.transforms.ToTensor(),
        normalize,
    ]
)

# %%
# The weights of the model zoo need a network: these are drawn.
pretrained_net = gluon.model_zoo.vision.resnet18_v2(pretrained=False)
pretrained_net.initialize(init.Xavier())
pretrained_net(np.zeros((1, 3, 32, 32)))
pretrained_net.output

# %%
finetune_net = gluon.model_zoo.vision.resnet18_v2(classes=2)
finetune_net.features = pretrained_net.features
finetune_net.output.initialize(init.Xavier())
finetune_net.output.collect_params().setattr('lr_mult', 10)


# %%
def train_fine_tuning(net, learning_rate, batch_size=8, num_epochs=1):
    train_iter = gluon.data.DataLoader(train_imgs.transform_first(train_augs), batch_size, shuffle=True)
    test_iter = gluon.data.DataLoader(test_imgs.transform_first(test_augs), batch_size)
    devices = d2l.try_all_gpus()
    net.collect_params().reset_ctx(devices)
    net.hybridize()
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': learning_rate, 'wd': 0.001})
    d2l.train_ch13(net, train_iter, test_iter, loss, trainer, num_epochs, devices)


# %%
train_fine_tuning(finetune_net, 0.01)

# %%
finetune_net.features.collect_params().setattr('grad_req', 'null')

# %%
weight = pretrained_net.output.weight
hotdog_w = np.split(weight.data(), 1000, axis=0)[713]
assert hotdog_w.shape == (1, 512)
