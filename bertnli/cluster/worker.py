"""The processes that train one network together, over MXNet's parameter server, seen from one of them."""

import contextlib
import functools
import os
import sys
import threading

import numpy as onp

from ..devices import _share, split_batch_multi_inputs
from ..errors import BertNLIError, SettingsError
from ..runtime import autograd, mx, np
from .stopwatch import watch

_GOODBYE = 10  # seconds
# A trainer numbers its parameters from 0; what we say ourselves is numbered from here.
# subtle: MXNet multiplies such a number by 9,973 in 32 bits to choose a server. Above 215,000 that overflows.
_SUMS, _TOLD, _TABLES = 10_000, 20_000, 100_000
# Rows of a table are sent in multiples of this: each size has a name and an array of its own, on both sides.
_ROWS = 512
_SMALL = 2**18  # numbers; smaller gradients lie in one array and are sent together


class Cluster:
    """The processes that train one network together, seen from one of them: worker `number` of `count`.

    All of them run the same program on the same batches. Each works on its own part of every batch, gradients
    and losses are summed over all, and so each has the same weights and the same numbers after each step:
    only what is printed and written is left to the first. Alone, every method does nothing at no cost.

    >>> Cluster().first, Cluster().count
    (True, 1)
    """

    def __init__(self, store=None, number=0, count=1, patience=300, exact=True):
        self.exact = exact  # whether a step is that of one process with all devices; not with `dist_async`
        self.store, self.number, self.count, self._patience = store, number, count, patience
        self._said, self._ready, self._sums, self._places = 0, set(), {}, {}
        self._sent, self._steps = 0, 0
        self._small, self._joined = [], {}  # one array a device, and which gradients are its pieces

    @property
    def first(self):
        """Whether this process speaks and writes for all."""
        return self.number == 0

    def share(self, X, y):
        """What this worker trains on: the whole batch if steps are exact, for then `split` divides it."""
        if self.exact:
            return X, y
        start, end = _share(len(y), self.number, self.count)
        if start == end:  # fewer examples than workers: some are seen twice, and nobody has nothing to do
            start = self.number % len(y)
            end = start + 1
        return [x[start:end] for x in X], y[start:end]

    def split(self, X, y, devices):
        """This worker's part of a batch over its devices, as `split_batch_multi_inputs`; may be empty."""
        if self.exact and self.count > 1:
            start, end = _share(len(y), self.number, self.count)
            if start == end:
                return [], []
            X, y = [x[start:end] for x in X], y[start:end]
        return split_batch_multi_inputs(X, y, devices)

    def total(self, *groups):
        """Sum groups of one-element arrays over all workers: lists of arrays, which nobody waits for."""
        if self.store is None or not self.exact:
            return groups
        sums = [sum((x.as_in_ctx(mx.cpu()).reshape(1) for x in group), np.zeros(1)) for group in groups]
        # subtle: MXNet keeps what is sent under one name in order only if it is sent from one array. From
        # two, both could arrive before another worker's first, and the second be taken for that.
        array = self._sums.setdefault(len(groups), np.zeros(len(groups)))
        array[:] = np.concatenate(sums)  # (groups,)
        self._sum(_SUMS + len(groups), array)
        sums = array.copy()
        return [[sums[i : i + 1]] for i in range(len(groups))]

    def sum_gradients(self, gradients, table=None, rows=()):
        """Sum gradients over all devices and all workers, in place: lists with one array a device, by number.

        Of the one of number `table`, whose first axis are rows, only some are not zero anywhere: all workers
        name the same `rows` `(R,)`, and only these are sent.
        """
        self._steps += 1
        if watch.on:
            watch.lap('packing')
            self.store._barrier()
            watch.lap('meeting')
        for number, copies in gradients.items():
            if number == table and len(rows) + _ROWS < len(copies[0]):
                self._sum_rows(copies, rows)
            elif copies is not self._joined.get(number):
                self.store.pushpull(number, copies, priority=-number)
                self._sent += 4 * copies[0].size
                watch.lap('sums')
        if self._small:
            self._sum(_SUMS, self._small)
            self._sent += 4 * self._small[0].size
        watch.lap('sums')

    def join_small(self, parameters, table=None):
        """Let small gradients be pieces of one array: what each message costs is more than its bytes.

        `parameters` are gluon's, in the order of their numbers; that of number `table` is left alone.
        """
        small = {
            i: p
            for i, p in enumerate(parameters)
            if p.grad_req != 'null' and i != table and p.list_grad()[0].size < _SMALL
        }
        if not small:
            return
        size = sum(p.list_grad()[0].size for p in small.values())
        self._small = [np.zeros(size, ctx=ctx) for ctx in next(iter(small.values())).list_ctx()]
        end = 0
        for number, parameter in small.items():
            start, end = end, end + parameter.list_grad()[0].size
            # Views of MXNet's older kind: reshaping one of the newer kind is a copy.
            flat = [array.as_nd_ndarray()[start:end] for array in self._small]
            parameter._grad = [piece.reshape(parameter.shape).as_np_ndarray() for piece in flat]
            autograd.mark_variables(parameter.list_data(), parameter._grad, parameter.grad_req)
            self._joined[number] = parameter._grad

    def _place(self, shape, like):
        """Arrays to send from, one a device: always the same ones, for the reason that `total` gives."""
        return self._places.setdefault(shape, [np.zeros(shape, ctx=one.ctx) for one in like])

    @property
    def bytes_per_step(self):
        """What this worker has sent in a step to sum gradients, and received as well; a mean."""
        return round(self._sent / self._steps) if self._steps else 0

    def _sum_rows(self, copies, rows):
        filled = onp.resize(rows, -(-len(rows) // _ROWS) * _ROWS).astype('int32')  # repeats what there is
        sent = self._place((len(filled), *copies[0].shape[1:]), copies)
        picked = [np.array(filled, dtype='int32', ctx=copy.ctx) for copy in copies]
        for array, copy, place in zip(sent, copies, picked):
            array[:] = np.take(copy, place, axis=0)  # (R + filling, C)
        watch.lap('packing')
        self._sum(_TABLES + len(filled) // _ROWS, sent)
        watch.lap('sums')
        for array, copy, place in zip(sent, copies, picked):
            copy[place[: len(rows)]] = array[: len(rows)]
        watch.lap('packing')
        self._sent += 4 * sent[0].size

    def tell(self, content=None):
        """The bytes that the first worker gives here, for all; the others wait for them."""
        if self.store is None:
            return content
        size = int.from_bytes(self._tell((len(content) if self.first else 0).to_bytes(8, 'big')), 'big')
        return self._tell(content if self.first else bytes(size))[:size]

    def _tell(self, content):
        # subtle: the servers add, and add only floating point numbers. Two bytes are one of them, exactly.
        told = onp.frombuffer(content + bytes(len(content) % 2), 'uint16').astype('float32')
        told = np.array(told if self.first else told * 0, dtype='float32')
        self._said += 1
        with self.patience('what the first worker says'):
            self._sum(_TOLD + self._said, told)
            return told.asnumpy().astype('uint16').tobytes()

    def _sum(self, key, arrays):
        """Replace an array, or one a device, by the sum over all devices and workers, without waiting."""
        if key not in self._ready:
            like = arrays[0] if isinstance(arrays, list) else arrays
            with self.patience('the other workers'):
                self.store.broadcast(key, np.zeros_like(like), [np.zeros_like(like)])
            self._ready.add(key)
        self.store.pushpull(key, arrays)

    def patience(self, awaited):
        """Inside, wait only so long: a network that was cut tells nobody, and one would wait for ever."""
        return contextlib.nullcontext() if self.store is None else _limited(self._patience, awaited)

    def leave(self):
        """Wait until all workers have ended their work, and let the servers end; then this process should.

        MXNet's own goodbye has been seen to hang when all was said: it gets some seconds.
        """
        if self.store is None:
            return
        with self.patience('the other workers to end'):
            mx.nd.waitall()
            self.store._barrier()
        goodbye = threading.Thread(target=self.store.__del__, daemon=True)
        goodbye.start()
        goodbye.join(_GOODBYE)


@contextlib.contextmanager
def _limited(seconds, awaited):
    timer = threading.Timer(seconds, _give_up, [seconds, awaited])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _give_up(seconds, awaited):
    error = BertNLIError(
        'the cluster does not answer',
        where=f'worker {os.environ.get("DMLC_RANK")} of {os.environ.get("DMLC_NUM_WORKER")}',
        found=f'{seconds} seconds of waiting for {awaited}',
        remedy='see that all hosts are up and reach each other; BERTNLI_PATIENCE sets the seconds',
    )
    print(f'bertnli: {error}', file=sys.stderr, flush=True)
    os._exit(1)  # no cleaning up: MXNet would wait for the same answer


@functools.cache
def join_cluster():
    """The `Cluster` that this process was started in, by `bertnli launch` or with the variables it prints.

    Without such variables the process is alone. The first call waits until all workers have called; raises
    `SettingsError` if the variables make no sense.

    >>> join_cluster().count
    1
    """
    if os.environ.get('DMLC_ROLE') != 'worker':
        return Cluster()
    kind = os.environ.get('BERTNLI_KVSTORE', 'dist_sync')
    number, count = _whole_number('DMLC_RANK'), _whole_number('DMLC_NUM_WORKER')
    patience = _whole_number('BERTNLI_PATIENCE', '300')
    if kind not in ('dist_sync', 'dist_async') or number >= count:
        raise SettingsError(
            'the variables of the cluster make no sense',
            where='BERTNLI_KVSTORE, DMLC_RANK, DMLC_NUM_WORKER',
            found=f'{kind}, {number}, {count}',
            allowed='dist_sync or dist_async; a number from 0; more workers than that',
            remedy='start with bertnli launch, or with the variables that it prints',
        )
    # All servers share an array of more numbers than this; a smaller one goes to one of them, whichever.
    os.environ.setdefault('MXNET_KVSTORE_BIGARRAY_BOUND', '65536')
    with _limited(patience, 'all workers to join'):
        return Cluster(mx.kv.create(kind), number, count, patience, exact=kind == 'dist_sync')


def _whole_number(name, default=''):
    text = os.environ.get(name, default)
    if not text.isdecimal():
        raise SettingsError(
            'a variable of the cluster is missing',
            where=name,
            found=text,
            allowed='a whole number',
            remedy='start with bertnli launch, or with the variables that it prints',
        )
    return int(text)
