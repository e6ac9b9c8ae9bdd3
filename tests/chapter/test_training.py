"""The optimizer step against Adam by hand, clipping against gluon's; the schedule, the seed and the leash."""

import math

import numpy as onp
import pytest
from small_models import pairs, small_net

from bertnli import BERTClassifier, BERTModel, BertNLIError, FinetuneSettings, SettingsError, cpu_devices
from bertnli.errors import check_finite
from bertnli.fast.operators import sum_of_squares
from bertnli.metrics import Clock
from bertnli.runtime import autograd, d2l, gluon, mx, nn, np, npx
from bertnli.settings import check
from bertnli.training import Updater, seed_step, trained_parameters

WEIGHT = onp.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], 'float32')
BIAS = onp.array([0.5, -0.25], 'float32')


def dense(devices=None):
    net = nn.Dense(2, in_units=3)
    net.initialize(ctx=devices or [mx.cpu()])
    net.weight.set_data(np.array(WEIGHT))
    net.bias.set_data(np.array(BIAS))
    return net


def give_gradients(net, gradients):
    """Let each device have its own gradient, `(of weight, of bias)`, through a backward pass."""
    losses = []
    with autograd.record():
        for device, (g_weight, g_bias) in zip(net.weight.list_ctx(), gradients):
            weight, bias = net.weight.data(device), net.bias.data(device)
            losses.append((weight * np.array(g_weight, ctx=device)).sum())
            losses.append((bias * np.array(g_bias, ctx=device)).sum())
    autograd.backward(losses)


def some_gradients(count, seed=0):
    rng = onp.random.default_rng(seed)
    return [
        (rng.normal(size=(2, 3)).astype('float32'), rng.normal(size=2).astype('float32'))
        for _ in range(count)
    ]


class Adam:
    """Kingma & Ba 2015, algorithm 1, for one array."""

    def __init__(self, x):
        self.x, self.m, self.v, self.t = x.astype('float64'), 0, 0, 0

    def step(self, gradient, rate):
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        self.x = self.x - rate * m / (onp.sqrt(v) + 1e-8)


@pytest.mark.parametrize('count', [1, 3])
def test_steps_are_adam_by_hand_with_schedule_divisor_and_decay_of_matrices_only(count):
    devices = cpu_devices(count)
    net = dense(devices)
    settings = FinetuneSettings(learning_rate=0.1, warmup=0.5, decay=True, weight_decay=0.3)
    updater = Updater(net.collect_params(), settings, num_steps=4)
    weight, bias = Adam(WEIGHT), Adam(BIAS)
    for step in range(4):
        gradients = some_gradients(count, step)
        give_gradients(net, gradients)
        rate = updater.step(step, 7)
        assert rate == pytest.approx([0.05, 0.1, 0.1, 0.05][step])
        weight.x = weight.x * (1 - rate * 0.3)
        weight.step(sum(g for g, _ in gradients) / 7, rate)
        bias.step(sum(g for _, g in gradients) / 7, rate)
        for device in devices:
            onp.testing.assert_allclose(net.weight.data(device).asnumpy(), weight.x, atol=2e-6)
            onp.testing.assert_allclose(net.bias.data(device).asnumpy(), bias.x, atol=2e-6)


def sgd_move(settings, gradients, divisor=1):
    """How far an update moves the weights if the optimizer is plain descent: the clipped gradient itself."""
    net = dense(cpu_devices(len(gradients)))
    updater = Updater(net.collect_params(), settings, 1)
    updater.trainer = gluon.Trainer(net.collect_params(), 'sgd', kvstore='device', update_on_kvstore=False)
    give_gradients(net, gradients)
    updater.step(0, divisor)
    return WEIGHT - net.weight.data(mx.cpu(0)).asnumpy(), BIAS - net.bias.data(mx.cpu(0)).asnumpy()


@pytest.mark.parametrize('count', [1, 2])
@pytest.mark.parametrize('clip', [0.05, 0.3, 1e6])
def test_clipping_is_gluons_over_the_mean_gradient_of_all_devices(clip, count):
    gradients = some_gradients(count)
    expected = [np.array(sum(parts) / 5) for parts in zip(*gradients)]
    arrays = [array.as_nd_ndarray() for array in expected]
    norm = gluon.utils.clip_global_norm(arrays, clip)
    assert (norm > clip) == (clip < 1e6)
    moved = sgd_move(FinetuneSettings(learning_rate=1.0, clip=clip), gradients, divisor=5)
    for found, array in zip(moved, arrays):
        onp.testing.assert_allclose(found, array.asnumpy(), atol=1e-6)


def test_without_a_clip_a_gradient_may_be_of_any_length():
    gradient = WEIGHT * 1000, BIAS * 1000
    moved = sgd_move(FinetuneSettings(learning_rate=1.0), [gradient])
    onp.testing.assert_allclose(moved[0], gradient[0])


def test_parameters_that_take_no_gradient_are_left_out_of_decay_and_norm():
    net = dense()
    net.weight.grad_req = 'null'
    updater = Updater(net.collect_params(), FinetuneSettings(weight_decay=0.5, clip=1.0), 1)
    with autograd.record():
        total = (net.bias.data() * 3).sum()
    total.backward()
    updater.step(0, 1)
    assert (net.weight.data().asnumpy() == WEIGHT).all()
    assert (net.bias.data().asnumpy() != BIAS).all()


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({'decay': True}, [1, 0.8, 0.6, 0.4, 0.2]),
        ({'warmup': 0.4}, [0.5, 1, 1, 1, 1]),
        ({'warmup': 0.4, 'decay': True}, [0.5, 1, 1, 2 / 3, 1 / 3]),
        ({'warmup': 1.0, 'decay': True}, [0.2, 0.4, 0.6, 0.8, 1]),
        ({'warmup': 0.01, 'decay': True}, [1, 1, 0.75, 0.5, 0.25]),
    ],
)
def test_the_learning_rate_rises_and_falls_as_announced(options, expected):
    settings = FinetuneSettings(learning_rate=1.0, **options)
    assert [settings.rate(step, 5) for step in range(5)] == pytest.approx(expected)


def test_fine_tuning_moves_encoder_and_head_and_no_pretraining_head():
    net = small_net()
    names = {p.name for p in trained_parameters(net).values()}
    by_path = {path for path, p in net._collect_params_with_prefix().items() if p.name in names}
    left = set(net._collect_params_with_prefix()) - by_path
    assert {path.split('.')[1] for path in left} == {'hidden', 'mlm', 'nsp'}
    assert {path.split('.')[0] for path in by_path} == {'bert', 'classifier'}
    assert {path.split('.')[1] for path in by_path if path.startswith('bert')} == {'encoder'}


def test_fine_tuning_moves_the_same_parameters_of_a_d2l_bert():
    ours = small_net()
    theirs = BERTClassifier(d2l.BERTModel(31, 12, 10, 3, 2, 0, 17))
    assert len(trained_parameters(theirs).keys()) == len(trained_parameters(ours).keys()) == 16 * 2 + 3 + 4


def masks():
    with autograd.record():
        return npx.dropout(np.ones(200), 0.5).asnumpy().tolist()


def test_dropout_is_a_function_of_seed_and_step_alone():
    seen = {}
    for seed in (0, 1, 9):
        for step in (0, 1, 5000):
            seed_step(seed, step)
            seen[seed, step] = masks()
            masks()  # however much was drawn before
            seed_step(seed, step)
            assert masks() == seen[seed, step]
    assert len({tuple(mask) for mask in seen.values()}) == 9


def test_a_large_seed_is_no_error():
    seed_step(2**40, 10**6)


class Result:
    """Stands for an array that is not computed yet."""

    def __init__(self, log, name):
        self.log, self.name = log, name

    def wait_to_read(self):
        self.log.append(self.name)


def test_python_runs_at_most_two_steps_ahead_and_waits_for_all_in_the_end():
    waited = []
    with Clock() as clock:
        for step in range(4):
            clock.tick([Result(waited, (step, device)) for device in range(2)], 10)
            assert waited == [(done, device) for done in range(step - 1) for device in range(2)]
    assert waited == [(step, device) for step in range(4) for device in range(2)]
    assert clock.items == 40


def test_the_clock_counts_inside_its_block_only(monkeypatch):
    now = iter([10.0, 12.5, 100.0, 101.5])
    monkeypatch.setattr('bertnli.metrics.time.perf_counter', lambda: next(now))
    clock = Clock()
    for _ in range(2):
        with clock:
            clock.tick([], 6)
    assert clock.seconds == 4.0
    assert clock.rate() == 3.0


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_an_error_with_step_and_remedy(value):
    check_finite('loss', 1e30, 3, 0.01)
    with pytest.raises(BertNLIError, match='no longer a finite number') as caught:
        check_finite('training loss', value, 3, 0.01)
    assert caught.value.where == 'step 4, learning rate 0.01'
    assert 'learning rate' in caught.value.remedy


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_a_gradient_that_is_no_number_is_noticed_before_a_weight_changes(value):
    net = small_net()
    updater = Updater(trained_parameters(net), FinetuneSettings(clip=1.0, weight_decay=0.1), 10)
    with autograd.record():
        loss = net(pairs(2)).sum()
    loss.backward()
    updater.parameters[3].list_grad()[0][:] = value
    before = updater.weights()
    with pytest.raises(BertNLIError, match="gradient's length is no longer a finite number") as caught:
        updater.step(4, 2)
    assert caught.value.where.startswith('step 5, learning rate')
    assert all((a == b).all() for a, b in zip(before, updater.weights()))


@pytest.mark.parametrize('shapes', [[(3, 5), (7,)], [(1 << 18,), (2, 3)], [(512, 512)]])
@pytest.mark.parametrize('value', [None, math.nan, math.inf])
def test_the_squares_of_small_and_large_gradients_are_summed(shapes, value):
    arrays = [onp.random.default_rng(7).normal(size=shape).astype('float32') for shape in shapes]
    if value is not None:
        arrays[0][1] = value
    found = sum_of_squares([np.array(array) for array in arrays]).item()
    expected = sum((array.astype('float64') ** 2).sum() for array in arrays)
    assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize('steps', [0, -3, 2.0, '5', None])
def test_no_steps_are_refused(steps):
    check('num_steps', 1, int, 1)
    with pytest.raises(SettingsError, match='num_steps'):
        check('num_steps', steps, int, 1)


def test_updates_need_no_example_of_a_network_to_have_run():
    """The chapter's trainer stops where a head was never run; ours knows all shapes from the start."""
    net = BERTClassifier(BERTModel(31, 12, 10, 3, 2, 0, 17))
    net.initialize()
    Updater(net.collect_params(), FinetuneSettings(), 1)
    assert net(pairs(2)).shape == (2, 3)
