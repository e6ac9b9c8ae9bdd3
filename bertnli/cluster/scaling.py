"""How long a step takes when machines share it: measured, put into a model of a few terms, and forecast.

    seconds = fixed + each × B / W  +  latency + handling × bytes  +  bytes over the busiest link / bandwidth

B examples a step, W workers, S servers; `bytes` is what a worker sends in a step, and receives again. The
first two terms are fitted to one process with two sizes of batch, the next two to jobs of one worker and one
server on this machine, where no link is slow. The last one is arithmetic, checked on links of known speed.

Every measurement is a job in processes of its own with one thread each, on the chapter's model and batch.
How far the weights of all ways to share a step are from each other is measured, too, on the sample; and a
profile says where the seconds of a step go that two workers share (stopwatch.py).
"""

import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from ..errors import BertNLIError, DataError, SettingsError
from ..runtime import parameters_by_path, report
from ..settings import PRESETS
from ..storage.checkpoints import load_checkpoint

WORKS = ('finetune', 'pretrain')
SAME, PROFILE = 'weights', 'profile'  # the measurements of differences, and of parts of a step
BATCH = PRESETS['chapter'].finetune.batch_size
_STEPS = {'finetune': 30, 'pretrain': 12}  # of one measurement
_RATES = {'finetune': 'examples_per_second', 'pretrain': 'pairs_per_second'}
# Uneven: the last batch is one pair for each of two workers, and nothing for a third.
_UNEVEN = {
    'finetune': '--bert none --limit 382 --batch-size 20 --epochs 1'.split(),  # 20 steps
    'pretrain': '--batch-size 31 --steps 20'.split(),
}
# Devices, workers (0: one process alone) and servers.
_WAYS = [('cpu', 0, 0), ('cpu:2', 0, 0), ('cpu:3', 0, 0), ('cpu', 2, 1), ('cpu:2', 2, 1), ('cpu', 3, 2)]
_WORKERS, _GBITS = (2, 4, 8, 16, 32, 64), (1, 10, 100)


def read(path):
    """What was measured before, from a file; nothing if there is none."""
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(
            'the measurements cannot be read',
            where=str(path),
            found=str(error),
            allowed='a file that bertnli scaling has written, or a name for a new one',
            remedy='choose another file',
        ) from error


def measure(works=(*WORKS, SAME, PROFILE), *, data=None, out, rounds=3, found=None, say=print):
    """Measure one process, one worker and two workers in turn, `rounds` times; returns JSON content.

    Of each work: `alone` (seconds a step by batch, medians), `one_worker` and `two_workers` (seconds a step),
    `bytes` that a worker sends in a step, and `speedup` of two workers (median of the rounds' ratios). What
    was `found` before about other works is kept, and when all are known, `model` and `forecast` are added.
    `weights` are rows that say how far the weights of other devices and workers are from those of one device.
    `profile` has, of each work, the seconds of one process `alone`, with `half` the batch, of two such that
    know nothing of each other `beside` each other, and of two workers `together`; and the `laps` of a step.
    """
    _check_works(works, (*WORKS, SAME, PROFILE))
    found = {**(found or {}), 'machine': report(), 'batch': BATCH}
    if SAME in works:
        found[SAME] = _differences(out, say)
    if PROFILE in works:
        found[PROFILE] = {work: _profile(work, data, out, rounds, say) for work in WORKS}
    for work in [work for work in works if work in WORKS]:
        alone, one, two = [], [], []
        for _ in range(rounds):
            alone.append(_seconds(work, data, out)[0])
            two.append(_seconds(work, data, out, workers=2)[0])
            seconds, sent = _seconds(work, data, out, workers=1)
            one.append(seconds)
        small = statistics.median(_seconds(work, data, out, batch=BATCH // 4)[0] for _ in range(rounds))
        found[work] = {
            'alone': {str(BATCH // 4): small, str(BATCH): statistics.median(alone)},
            'one_worker': statistics.median(one),
            'two_workers': statistics.median(two),
            'bytes': sent,
            'speedups': [a / b for a, b in zip(alone, two)],
            'speedup': statistics.median(a / b for a, b in zip(alone, two)),
        }
        say(f'{work}: {sent / 1e6:.2f} MB a step and worker; two workers {found[work]["speedup"]:.2f} × one')
    return _with_forecast(found)


def measure_on_hosts(found, hosts, mbit, works=WORKS, *, data=None, out, workers=2, servers=2, say=print):
    """Add to `found` the seconds a step on `hosts` (a file) with links of `mbit`, and what was predicted."""
    _check_works(works)
    if 'model' not in found:
        raise SettingsError(
            'there is nothing to check yet',
            found=f'measurements of {", ".join(sorted(set(WORKS) & set(found))) or "nothing"}',
            allowed=f'measurements of {", ".join(WORKS)}',
            remedy='run bertnli scaling without --hosts and with the same --json first',
        )
    for work in works:
        seconds, _ = _seconds(work, data, out, workers=workers, servers=servers, hosts=hosts)
        asked = {'workers': workers, 'servers': servers, 'mbit': mbit}
        predicted = seconds_a_step(found, work, BATCH, workers, servers, mbit * 1e6)
        found.setdefault('checks', []).append(
            {'work': work, **asked, 'measured': seconds, 'predicted': predicted}
        )
        say(f'{work}, {asked}: {seconds:.2f} s a step, {predicted:.2f} s predicted')
    return found


def seconds_a_step(found, work, batch, workers, servers, bits=float('inf')):
    """The model's seconds a step of `batch` examples, with links of so many `bits` a second each way.

    Worker and server of the same number share a machine.

    >>> found = {'finetune': {'bytes': 1e6}, 'model': {
    ...     'latency': 0.01, 'handling': 1e-8, 'finetune': {'fixed': 0.02, 'each': 0.001}}}
    >>> round(seconds_a_step(found, 'finetune', 100, 2, 2, 8e6), 6)
    1.09
    """
    model, sent = found['model'], found[work]['bytes']
    compute = model[work]['fixed'] + model[work]['each'] * batch / workers
    # The busiest machine has both: it sends its gradients to the other servers, S - 1 parts of S, and its own
    # part of the sums to the other workers.
    busiest = sent * ((servers - 1) + (workers - 1)) / servers
    return compute + model['latency'] + model['handling'] * sent + 8 * busiest / bits


def forecast(found):
    """Rows with seconds a step and how many times the examples a second of one process, by the model alone.

    As many servers as workers; the chapter's batch is either that of all workers together or that of each.
    """
    rows = []
    for work in WORKS:
        alone = found[work]['alone'][str(BATCH)] / BATCH
        for gbit in _GBITS:
            for workers in _WORKERS:
                for batch in (BATCH, BATCH * workers):
                    seconds = seconds_a_step(found, work, batch, workers, workers, gbit * 1e9)
                    row = {'work': work, 'gbit': gbit, 'workers': workers, 'batch': batch}
                    rows.append({**row, 'seconds': seconds, 'speedup': alone * batch / seconds})
    return rows


def lines(found):
    """The forecast for the chapter's batch as `plot_speedups` takes it."""
    return {
        work: {
            f'{gbit} Gbit/s': [
                (row['workers'], row['speedup'])
                for row in found['forecast']
                if (row['work'], row['gbit'], row['batch']) == (work, gbit, BATCH)
            ]
            for gbit in _GBITS
        }
        for work in WORKS
    }


def _with_forecast(found):
    if all(work in found for work in WORKS):
        found['model'] = _fit(found)
        found['forecast'] = forecast(found)
        for row in found.get('checks', []):  # measured before, and judged by the newest model
            place = (row['workers'], row['servers'], row['mbit'] * 1e6)
            row['predicted'] = seconds_a_step(found, row['work'], BATCH, *place)
    return found


def _fit(found):
    """The four numbers of the model; what noise makes negative is zero."""
    model = {}
    for work in WORKS:
        small, large = (found[work]['alone'][str(size)] for size in (BATCH // 4, BATCH))
        each = (large - small) / (BATCH - BATCH // 4)
        model[work] = {'each': each, 'fixed': max(0.0, large - each * BATCH)}
    # A line through two points: what one worker's gradients cost on the way to a server and back.
    (x, y), (p, q) = (
        (found[work]['bytes'], found[work]['one_worker'] - found[work]['alone'][str(BATCH)]) for work in WORKS
    )
    handling = max(0.0, (q - y) / (p - x))
    return {**model, 'handling': handling, 'latency': max(0.0, y - handling * x)}


def _check_works(works, known=WORKS):
    unknown = [work for work in works if work not in known]
    if unknown:
        raise SettingsError('there is no such measurement', found=unknown, allowed=', '.join(known))


def _differences(out, say):
    """Rows with the largest difference of any weight from one device's, after 20 steps without dropout."""
    rows = []
    for work in WORKS:
        first = None
        for devices, workers, servers in _WAYS:
            folder = Path(out, f'same-{work}')
            words = [work, '--preset', 'demo', *_UNEVEN[work], '--devices', devices, '--quiet']
            words += ['--out', folder]
            if workers:
                words = ['launch', '--workers', workers, '--servers', servers, '--', *words]
            _run(words)
            weights = _weights(folder)
            first = first or weights
            apart = max(float(abs(weights[name] - first[name]).max()) for name in first)
            rows.append(
                {'work': work, 'devices': devices, 'workers': workers, 'servers': servers, 'apart': apart}
            )
            say(f'{work}, {devices}, {workers} workers, {servers} servers: {apart:.1e}')
    return rows


def _weights(folder):
    """A model's weights by name, but for the keys' biases: their true gradient is zero, and noise is seen."""
    parameters = parameters_by_path(load_checkpoint(folder).net)
    return {name: p.data().asnumpy() for name, p in parameters.items() if not name.endswith('W_k.bias')}


def _profile(work, data, out, rounds, say):
    """Seconds a step of a work in four ways, and where they go."""
    ways = {'alone': {}, 'half': {'batch': BATCH // 2}, 'together': {'workers': 2}}
    found = {name: [] for name in (*ways, 'beside')}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(_seconds(work, data, out, **way)[0])
        found['beside'].append(_beside(work, data, out))
    found = {name: statistics.median(times) for name, times in found.items()}
    found['laps'] = {name: _laps(work, data, out, **way) for name, way in ways.items()}
    say(f'{work}: ' + ', '.join(f'{name} {found[name] * 1e3:.0f} ms' for name in (*ways, 'beside')))
    for name in ways:
        for number, one in enumerate(found['laps'][name]):
            laps = ', '.join(f'{lap} {times["seconds"] * 1e3:.1f}' for lap, times in one['laps'].items())
            say(f'  {name} {number}: {laps} ms')
    return found


def _beside(work, data, out):
    """Mean seconds a step of two processes with half the batch that know nothing of each other."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(_seconds, work, data, out, batch=BATCH // 2, folder=f'{work}-{i}') for i in range(2)
        ]
        return statistics.mean(job.result()[0] for job in jobs)


def _laps(work, data, out, **way):
    """What the stopwatch of each process has found in a job, of which a worker waits for more than usual."""
    path = Path(out, 'laps')
    for old in Path(out).glob('laps*'):
        old.unlink()
    _seconds(work, data, out, laps=path.absolute(), **way)
    return [json.loads(one.read_text(encoding='utf-8')) for one in sorted(Path(out).glob('laps*'))]


def _seconds(work, data, out, *, batch=BATCH, workers=0, servers=1, hosts=None, folder=None, laps=None):
    """`(seconds a step, bytes a step and worker)` of a job; without workers, of one process alone."""
    where = ['--data', data] if data else []
    words = [work, '--preset', 'chapter', '--batch-size', batch, '--devices', 'cpu', '--quiet', *where]
    folder = Path(out, folder or work)
    if work == 'pretrain':
        words += ['--steps', _STEPS[work]]
    else:
        # What it begins with changes nothing about its speed; the vocabulary must be the chapter's.
        bert = Path(out, 'bert')
        if not bert.exists():
            brief = 'pretrain --preset chapter --steps 1 --batch-size 8 --quiet'.split()
            _run([*brief, *where, '--out', bert])
        words += ['--epochs', 1, '--limit', _STEPS[work] * batch, '--bert', bert]
    words += ['--out', folder]
    if workers:
        listed = ['--hosts', hosts] if hosts else []
        words = ['launch', '--workers', workers, '--servers', servers, *listed, '--', *words]
    _run(words, {'BERTNLI_LAPS': str(laps)} if laps else {})
    metrics = json.loads(Path(folder, 'metrics.json').read_text(encoding='utf-8'))
    return batch / metrics[_RATES[work]], metrics.get('bytes_per_step', 0)


def _run(words, variables=None):
    """The command in a process of its own; `BertNLIError` with its last words if it fails."""
    command = [sys.executable, '-m', 'bertnli', *map(str, words)]
    environ = {**os.environ, 'OMP_NUM_THREADS': '1', **(variables or {})}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise BertNLIError(
            'a measurement failed',
            where=' '.join(command[2:]),
            found=done.stderr.strip()[-1000:] or done.returncode,
            remedy='run the same command by hand',
        )
