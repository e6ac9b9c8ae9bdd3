"""Tiny networks and batches that several test files share: every size is another number."""

import numpy as onp

from bertnli import BERTClassifier, BERTModel
from bertnli.runtime import autograd, init, mx, np

V, C, F, H, LAYERS, MAX_LEN = 31, 12, 10, 3, 2, 17  # words, units, feed-forward units, heads, blocks, places


def random_weights(net, devices=None, seed=3):
    """Initialise with numbers of a size at which every gradient counts, biases and norms included."""
    net.initialize(init.Normal(0.3), ctx=devices or [mx.cpu()], force_reinit=True)
    rng = onp.random.default_rng(seed)
    for name, parameter in sorted(net._collect_params_with_prefix().items()):
        centre = 1.0 if name.endswith('gamma') else 0.0
        parameter.set_data(np.array(rng.normal(centre, 0.3, parameter.shape).astype('float32')))
    return net


def small_bert(devices=None, dropout=0, seed=3):
    return random_weights(BERTModel(V, C, F, H, LAYERS, dropout, MAX_LEN), devices, seed)


def small_net(devices=None, dropout=0, seed=3):
    """A classifier around a small BERT."""
    return random_weights(BERTClassifier(BERTModel(V, C, F, H, LAYERS, dropout, MAX_LEN)), devices, seed)


def pairs(count, longest=13, words=V, seed=5):
    """Features `(tokens, segments, valid_lens)` of a batch, padded with a word that means something."""
    rng = onp.random.default_rng(seed)
    valid_lens = rng.integers(2, longest + 1, count)
    valid_lens[rng.integers(count)] = longest
    segments = onp.arange(longest) >= valid_lens[:, None] // 2
    return (
        np.array(rng.integers(0, words, (count, longest)), dtype='int32'),
        np.array(segments, dtype='int32'),
        np.array(valid_lens, dtype='float32'),
    )


def labelled_pairs(count, longest=13, seed=5):
    """A batch for fine-tuning: `(features, labels)`."""
    labels = onp.random.default_rng(seed + 1).integers(0, 3, count)
    return pairs(count, longest, seed=seed), np.array(labels, dtype='float32')


def pretraining_batch(count, places=4, longest=13, words=V, seed=5):
    """The chapter's seven arrays; each example has another number of real masked words, at least one."""
    rng = onp.random.default_rng(seed + 2)
    tokens, segments, valid_lens = pairs(count, longest, words, seed)
    real = onp.arange(places) < rng.integers(1, places + 1, (count, 1))
    positions = rng.integers(0, valid_lens.asnumpy().astype(int)[:, None], (count, places))
    return (
        tokens,
        segments,
        valid_lens,
        np.array(positions * real, dtype='int32'),
        np.array(real, dtype='float32'),
        np.array(rng.integers(0, words, (count, places)) * real, dtype='int32'),
        np.array(rng.integers(0, 2, count), dtype='float32'),
    )


def weights_of(net, device=None):
    """All parameters by name, as NumPy arrays."""
    parameters = net._collect_params_with_prefix()
    return {
        name: (p.data(device) if device else p.list_data()[0]).asnumpy() for name, p in parameters.items()
    }


def gradients_of(net):
    """Gradients by name, summed over the devices."""
    parameters = net._collect_params_with_prefix()
    return {name: sum(g.asnumpy() for g in p.list_grad()) for name, p in parameters.items()}


def but_key_biases(weights):
    """Without those whose true gradient is zero: Adam divides by its noise and moves them anywhere."""
    return {name: array for name, array in weights.items() if not name.endswith('W_k.bias')}


def run_backward(function):
    """Record `function()` in training mode and send the gradient of its sum back."""
    with autograd.record():
        total = function()
    total.backward()
    return total


def assert_close(found, expected, tolerance=1e-5):
    """Arrays, or dictionaries of arrays, agree relative to the size of what they hold.

    In a dictionary an array counts by its own largest entry, yet at least by a tenth of the largest of all:
    a gradient that is zero in truth (the bias of the keys moves all scores alike) is noise of that size.
    """
    if not isinstance(found, dict):
        found, expected = {'': found}, {'': expected}
    assert found.keys() == expected.keys()
    found, expected = ({name: onp.asarray(_numpy(a)) for name, a in d.items()} for d in (found, expected))
    largest = max(abs(array).max() for array in expected.values())
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        scale = max(abs(array).max(), largest / 10) or 1.0
        error = abs(found[name].astype('float64') - array).max() / scale
        assert error <= tolerance, f'{name or "array"}: {error:.1e} apart'


class NoPictures:
    """In place of d2l's Animator, which needs a notebook around it."""

    def __init__(self, **_):
        pass

    def add(self, x, y):
        pass


def _numpy(array):
    return array.asnumpy() if hasattr(array, 'asnumpy') else array
