"""The processes that train one network together, over MXNet's parameter server, seen from one of them."""

import contextlib
import functools
import os
import sys
import threading

import numpy as onp

from ..devices import Alone, share_of, split_batch_multi_inputs
from ..errors import BertNLIError, SettingsError
from ..runtime import barrier, gluon, init_kvstore, mx, np, number_of, parameters_of, replace_gradients

_GOODBYE = 10  # seconds
_START = 'start with bertnli launch, or with the variables that it prints'
# A trainer numbers its parameters from 0; what we say ourselves is numbered from here.
# subtle: MXNet multiplies such a number by 9,973 in 32 bits to choose a server. Above 215,000 that overflows.
_SUMS, _TOLD, _TABLES = 10_000, 20_000, 100_000
# Rows of a table are sent in multiples of this: each size has a name and an array of its own, on both sides.
_ROWS = 512
_SMALL = 2**18  # numbers; smaller gradients lie in one array and are sent together


class Cluster(Alone):
    """The processes that train one network together, seen from one of them: worker `number` of `count`.

    All run the same program on the same batches, each on its own part of a batch. Gradients and losses are
    summed over all: after each step each has the same weights and numbers. Only the first prints and writes.
    `store` is MXNet's `KVStore`, which joins them; who has waited `patience` seconds for another one ends.

    >>> Cluster().first, Cluster().count
    (True, 1)
    """

    def __init__(self, store=None, number=0, count=1, patience=300):
        self.store, self.number, self.count, self._patience = store, number, count, patience
        self.first = number == 0  # whether this process speaks and writes for all
        self._told, self._ready, self._totals, self._rows_sent = 0, set(), {}, {}
        self._bytes, self._steps = 0, 0
        self._table, self._small, self._joined = None, [], {}  # see `join_small`

    def split(self, X, y, devices):
        """This worker's part of a batch over its devices, as `split_batch_multi_inputs`; may be empty."""
        start, end = share_of(len(y), self.number, self.count)
        if start == end:
            return [], []
        return split_batch_multi_inputs([x[start:end] for x in X], y[start:end], devices)

    def total(self, *groups):
        """Sum groups of one-element arrays over all workers: lists of arrays, which nobody waits for."""
        sums = [sum((x.as_in_ctx(mx.cpu()).reshape(1) for x in group), np.zeros(1)) for group in groups]
        # subtle: MXNet keeps what is sent under one name in order only if it is sent from one array. From
        # two, both could arrive before another worker's first, and the second be taken for that.
        array = self._totals.setdefault(len(groups), np.zeros(len(groups)))
        array[:] = np.concatenate(sums)  # (groups,)
        self._sum(_SUMS + len(groups), array)
        sums = array.copy()
        return [[sums[i : i + 1]] for i in range(len(groups))]

    def trainer(self, parameters, settings, table=None):
        """Adam on all devices of all workers. Servers have the first weights before anybody trains.

        subtle: left to the first step, MXNet may send gradients before it has fetched the weights, and then
        fetch their sums, which the servers hold under the same names, as weights.
        """
        rate, place = {'learning_rate': settings.learning_rate}, {'update_on_kvstore': self.servers_update}
        trainer = gluon.Trainer(parameters, 'adam', rate, kvstore=self.store, **place)
        init_kvstore(trainer)
        with self.patience('the first weights'):
            for parameter in parameters_of(trainer):
                for data in parameter.list_data():
                    data.wait_to_read()
        self._table = None if table is None else number_of(trainer, table)
        if not self.servers_update:  # servers that do would take gradients one by one
            self.join_small(parameters_of(trainer), self._table)
        return trainer

    servers_update = False
    measured = False  # whether somebody takes laps, and workers should meet before they are compared

    def sum_gradients(self, trainer, tokens=None):
        """Sum gradients over all devices and all workers, in place.

        Of the table of words only the rows of the batch's `tokens` are sent: all others are zero everywhere.
        """
        rows = () if self._table is None or tokens is None else onp.unique(tokens.asnumpy())  # (R,)
        self._steps += 1
        if self.measured:
            self.lap('packing')
            barrier(self.store)
            self.lap('meeting')
        for number, parameter in enumerate(parameters_of(trainer)):
            if parameter.grad_req == 'null':
                continue
            copies = parameter.list_grad()
            if number == self._table and len(rows) and len(rows) + _ROWS < len(copies[0]):
                self._sum_rows(copies, rows)
            elif copies is not self._joined.get(number):
                self.store.pushpull(number, copies, priority=-number)
                self._bytes += 4 * copies[0].size
                self.lap('sums')
        if self._small:
            self._sum(_SUMS, self._small)
            self._bytes += 4 * self._small[0].size
        self.lap('sums')

    def join_small(self, parameters, table=None):
        """Let small gradients be pieces of one array: what each message costs is more than its bytes.

        `parameters` are gluon's, in the order of their numbers; that of number `table` is left alone.
        """
        trained = {i: p for i, p in enumerate(parameters) if p.grad_req != 'null' and i != table}
        small = {i: p for i, p in trained.items() if p.list_grad()[0].size < _SMALL}
        if not small:
            return
        size = sum(p.list_grad()[0].size for p in small.values())
        self._small = [np.zeros(size, ctx=ctx) for ctx in next(iter(small.values())).list_ctx()]
        end = 0
        for number, parameter in small.items():
            start, end = end, end + parameter.list_grad()[0].size
            # Views of MXNet's older kind: reshaping one of the newer kind is a copy.
            flat = [array.as_nd_ndarray()[start:end] for array in self._small]
            pieces = [piece.reshape(parameter.shape).as_np_ndarray() for piece in flat]
            replace_gradients(parameter, pieces)
            self._joined[number] = pieces

    @property
    def bytes_per_step(self):
        """What this worker has sent in a step to sum gradients, and received as well; a mean."""
        return round(self._bytes / self._steps) if self._steps else 0

    def _sum_rows(self, copies, rows):
        filled = onp.resize(rows, -(-len(rows) // _ROWS) * _ROWS).astype('int32')  # repeats what there is
        shape = (len(filled), *copies[0].shape[1:])
        # Always sent from the same arrays, for the reason that `total` gives.
        sent = self._rows_sent.setdefault(shape, [np.zeros(shape, ctx=one.ctx) for one in copies])
        picked = [np.array(filled, dtype='int32', ctx=copy.ctx) for copy in copies]
        for array, copy, place in zip(sent, copies, picked):
            array[:] = np.take(copy, place, axis=0)  # (R + filling, C)
        self.lap('packing')
        self._sum(_TABLES + len(filled) // _ROWS, sent)
        self.lap('sums')
        for array, copy, place in zip(sent, copies, picked):
            copy[place[: len(rows)]] = array[: len(rows)]
        self.lap('packing')
        self._bytes += 4 * sent[0].size

    def tell(self, content=None):
        """The bytes that the first worker gives here, for all; the others wait for them."""
        size = int.from_bytes(self._tell((len(content) if self.first else 0).to_bytes(8, 'big')), 'big')
        return self._tell(content if self.first else bytes(size))[:size]

    def _tell(self, content):
        # subtle: the servers add, and add only floating point numbers. Two bytes are one of them, exactly.
        told = onp.frombuffer(content + bytes(len(content) % 2), 'uint16').astype('float32')
        told = np.array(told if self.first else told * 0, dtype='float32')
        self._told += 1
        with self.patience('the first worker'):
            self._sum(_TOLD + self._told, told)
            return told.asnumpy().astype('uint16').tobytes()

    def _sum(self, key, arrays):
        """Replace an array, or one a device, by the sum over all devices and workers, without waiting."""
        if key not in self._ready:
            like = arrays[0] if isinstance(arrays, list) else arrays
            with self.patience('the other workers'):
                self.store.broadcast(key, np.zeros_like(like), [np.zeros_like(like)])
            self._ready.add(key)
        self.store.pushpull(key, arrays)

    @contextlib.contextmanager
    def patience(self, awaited):
        """Inside, wait only so long: a network that was cut tells nobody, and one would wait for ever."""
        timer = threading.Timer(self._patience, _give_up, [self._patience, awaited])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def leave(self):
        """Wait until all workers have ended their work, and let the servers end; then this process should.

        MXNet's own goodbye has been seen to hang when all was said: it gets some seconds.
        """
        with self.patience('the other workers to end'):
            mx.nd.waitall()
            barrier(self.store)
        goodbye = threading.Thread(target=self.store.__del__, daemon=True)
        goodbye.start()
        goodbye.join(_GOODBYE)


class Asynchronous(Cluster):
    """A cluster of `dist_async`, whose servers update the weights whenever a worker's gradient arrives.

    Each worker trains on its own share of each batch. Nobody sees the whole gradient: it cannot be clipped,
    and the servers know one learning rate only.
    """

    exact, servers_update = False, True
    _PLAIN = {'warmup': 0.0, 'decay': False, 'weight_decay': 0.0, 'clip': None}  # noqa: RUF012

    def share(self, X, y):
        """The examples of a batch that this worker trains on."""
        start, end = share_of(len(y), self.number, self.count)
        if start == end:  # fewer examples than workers: some are seen twice, and nobody has nothing to do
            start = self.number % len(y)
            end = start + 1
        return [x[start:end] for x in X], y[start:end]

    # Of this worker's own examples: the others are elsewhere.
    split, total = Alone.split, Alone.total

    def trainer(self, parameters, settings, table=None):
        """As a `Cluster`'s; `SettingsError` for settings that need the whole gradient or another rate."""
        found = {name: getattr(settings, name) for name in self._PLAIN}
        if found != self._PLAIN:
            wrong = ', '.join(f'{name}={found[name]}' for name in found if found[name] != self._PLAIN[name])
            allowed = ', '.join(f'{name}={value}' for name, value in self._PLAIN.items())
            problem = 'dist_async cannot train with these settings'
            raise SettingsError(problem, None, wrong, allowed, 'use dist_sync, or --preset chapter')
        return super().trainer(parameters, settings, table)

    def sum_gradients(self, trainer, tokens=None):
        """Nothing: the servers are sent each worker's own gradients."""

    def update(self, trainer, rate, divisor):
        """Send this worker's mean gradient, and take whatever weights the servers have by then."""
        for parameter in parameters_of(trainer):
            for gradient in parameter.list_grad() if parameter.grad_req != 'null' else ():
                gradient /= divisor
        trainer.step(1)


def _give_up(seconds, awaited):
    where = f'worker {os.environ.get("DMLC_RANK")} of {os.environ.get("DMLC_NUM_WORKER")}'
    found = f'waited {seconds} seconds for {awaited}'
    remedy = 'check that all hosts are up and reach each other; BERTNLI_PATIENCE sets the seconds'
    error = BertNLIError('the cluster does not answer', where, found, remedy=remedy)
    print(f'bertnli: {error}', file=sys.stderr, flush=True)
    os._exit(1)  # no cleaning up: MXNet would wait for the same answer


@functools.cache
def join_cluster():
    """The team of this process: a `Cluster` if `bertnli launch` (or its variables) started it, else `Alone`.

    This is the only place that looks at the launcher's variables. The first call waits until all workers have
    called; raises `SettingsError` if the variables make no sense.

    >>> join_cluster().count
    1
    """
    if os.environ.get('DMLC_ROLE') != 'worker':
        return Alone()
    kind = os.environ.get('BERTNLI_KVSTORE', 'dist_sync')
    number, count = _whole_number('DMLC_RANK'), _whole_number('DMLC_NUM_WORKER')
    patience = _whole_number('BERTNLI_PATIENCE', '300')
    kinds = {'dist_sync': Cluster, 'dist_async': Asynchronous}
    if kind not in kinds or number >= count:
        where, found = 'BERTNLI_KVSTORE, DMLC_RANK, DMLC_NUM_WORKER', f'{kind}, {number}, {count}'
        allowed = 'dist_sync or dist_async; a number from 0; more workers than that'
        raise SettingsError('invalid cluster variables', where, found, allowed, _START)
    # All servers share an array of more numbers than this; a smaller one goes to one of them, whichever.
    os.environ.setdefault('MXNET_KVSTORE_BIGARRAY_BOUND', '65536')
    team = kinds[kind](None, number, count, patience)
    with team.patience('all workers to join'):
        team.store = mx.kv.create(kind)
    return team


def _whole_number(name, default=''):
    text = os.environ.get(name, default)
    if not text.isdecimal():
        raise SettingsError('missing cluster variable', name, text, 'a whole number', _START)
    return int(text)
