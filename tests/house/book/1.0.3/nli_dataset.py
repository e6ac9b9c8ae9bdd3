# %%
import os
import re

import bertnli as d2l
from mxnet import gluon, np, npx

npx.set_np()

# %%
d2l.DATA_HUB['SNLI'] = (
    'https://nlp.stanford.edu/projects/snli/snli_1.0.zip',
    '9fcde07509c7e87ec61c640c1b2753d9041758e4',
)
data_dir = d2l.download_extract('SNLI')


# %%
def read_snli(data_dir, is_train):
    label_set = {'entailment': 0, 'contradiction': 1, 'neutral': 2}
    name = 'snli_1.0_train.txt' if is_train else 'snli_1.0_test.txt'
    with open(os.path.join(data_dir, name), encoding='utf-8') as f:
        rows = [row.split('\t') for row in f.readlines()[1:]]
    rows = [row for row in rows if row[0] in label_set]
    premises, hypotheses = (
        [re.sub(r'\s{2,}', ' ', re.sub(r'[()]', '', row[column])).strip() for row in rows]
        for column in (1, 2)
    )
    return premises, hypotheses, [label_set[row[0]] for row in rows]


# %%
train_data = read_snli(data_dir, is_train=True)
for x0, x1, y in zip(train_data[0][:3], train_data[1][:3], train_data[2][:3]):
    print('premise:', x0, '| hypothesis:', x1, '| label:', y)

# %%
test_data = d2l.read_snli(data_dir, is_train=False)
for data in [train_data, test_data]:
    assert min(list(data[2]).count(i) for i in range(3)) > 0


# %%
class SNLIDataset(gluon.data.Dataset):
    def __init__(self, dataset, num_steps, vocab=None):
        self.num_steps = num_steps
        premise_tokens, hypothesis_tokens = d2l.tokenize(dataset[0]), d2l.tokenize(dataset[1])
        self.vocab = vocab or d2l.Vocab(
            premise_tokens + hypothesis_tokens, min_freq=5, reserved_tokens=['<pad>']
        )
        self.premises, self.hypotheses = self._pad(premise_tokens), self._pad(hypothesis_tokens)
        self.labels = np.array(dataset[2])
        print(f'read {len(self.premises)} examples')

    def _pad(self, lines):
        return np.array(
            [d2l.truncate_pad(self.vocab[line], self.num_steps, self.vocab['<pad>']) for line in lines]
        )

    def __getitem__(self, idx):
        return (self.premises[idx], self.hypotheses[idx]), self.labels[idx]

    def __len__(self):
        return len(self.premises)


# %%
def load_data_snli(batch_size, num_steps=50):
    num_workers = d2l.get_dataloader_workers()
    data_dir = d2l.download_extract('SNLI')
    train_set = SNLIDataset(read_snli(data_dir, True), num_steps)
    test_set = SNLIDataset(read_snli(data_dir, False), num_steps, train_set.vocab)
    train_iter = gluon.data.DataLoader(train_set, batch_size, shuffle=True, num_workers=num_workers)
    test_iter = gluon.data.DataLoader(test_set, batch_size, shuffle=False, num_workers=num_workers)
    return train_iter, test_iter, train_set.vocab


# %%
train_iter, test_iter, vocab = load_data_snli(16, 50)
assert len(vocab) > 20

# %%
for X, Y in train_iter:
    assert X[0].shape == X[1].shape == (16, 50) and Y.shape == (16,)
    break

# %%
train_set = d2l.SNLIDataset(d2l.read_snli(data_dir, True), 50)
assert len(train_set) == len(train_data[0])

# %%
train_iter, test_iter, vocab = d2l.load_data_snli(16, 50)
for X, Y in test_iter:
    assert X[0].shape == X[1].shape == (16, 50) and Y.shape == (16,)
    break
