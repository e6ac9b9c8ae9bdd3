"""How long a step takes when machines share it: measured, fitted by a model of a few terms, and forecast.

    python data/measure_cluster.py --data DIR --json data/results/cluster.json
    python data/measure_cluster.py --data DIR --json data/results/cluster.json --hosts hosts.txt --mbit 100

The first measures here and adds to the file, the second checks the forecast on several hosts. The model is

    seconds = fixed + each × B / W  +  latency + handling × bytes  +  bytes over the busiest link / bandwidth

B examples a step, W workers, S servers; `bytes` is what a worker sends in a step, and receives again. The
first two terms are fitted to one process with two batch sizes, the next two to jobs of one worker and one
server on this machine, where no link is slow. The last one is arithmetic, checked on links of known speed.

Every measurement is a job in processes of its own with one thread each, on the chapter's model and batch.
"""

import concurrent.futures
import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import click

from bertnli import PRESETS, BertNLIError, DataError, SettingsError, load_checkpoint, plot_speedups, report
from bertnli.app.cli import SETTINGS, Telling
from bertnli.app.process import run
from bertnli.machine.disk import write_json
from bertnli.pictures.style import save
from bertnli.runtime import parameters_by_path

WORKS = ('finetune', 'pretrain')
SAME, PROFILE = 'weights', 'profile'  # how far weights differ, and where the time of a step goes
BATCH = PRESETS['chapter'].finetune.batch_size
_STEPS = {'finetune': 30, 'pretrain': 12}  # of one measurement
_RATES = {'finetune': 'examples_per_second', 'pretrain': 'pairs_per_second'}
# Uneven: the last batch is one pair for each of two workers, and nothing for a third.
_UNEVEN = {
    'finetune': '--bert none --limit 382 --batch-size 20 --epochs 1',  # 20 steps
    'pretrain': '--batch-size 31 --steps 20',
}
# Devices, workers (0: one process alone) and servers.
_WAYS = [('cpu', 0, 0), ('cpu:2', 0, 0), ('cpu:3', 0, 0), ('cpu', 2, 1), ('cpu:2', 2, 1), ('cpu', 3, 2)]
_WORKERS, _GBITS = (2, 4, 8, 16, 32, 64), (1, 10, 100)


def read(path):
    """Earlier measurements from a JSON file; `{}` if there is none. `DataError` if it cannot be read."""
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        remedy = 'choose another file'
        raise DataError('cannot read the measurements', str(path), str(error), remedy=remedy) from error


def measure(works=(*WORKS, SAME, PROFILE), *, rounds=3, found=None, **place):
    """Measure the `works` in turn, `rounds` times; returns JSON content, to which earlier `found` is added.

    `place` are the arguments of `Jobs`, whose methods tell what is measured; when 'finetune' and 'pretrain'
    are known, `model` and `forecast` are added. Raises `SettingsError` for unknown works.
    """
    _check_works(works, (*WORKS, SAME, PROFILE))
    found, jobs = {**(found or {}), 'machine': report(), 'batch': BATCH}, Jobs(**place)
    if SAME in works:
        found[SAME] = jobs.differences()
    if PROFILE in works:
        found[PROFILE] = {work: jobs.profile(work, rounds) for work in WORKS}
    found.update({work: jobs.speedup(work, rounds) for work in works if work in WORKS})
    return _with_forecast(found)


def measure_on_hosts(found, hosts, mbit, works=WORKS, *, workers=2, servers=2, **place):
    """Add to `found` the seconds a step on `hosts` (a file) with links of `mbit`, and the model's."""
    _check_works(works, WORKS)
    if 'model' not in found:
        remedy = 'first run without --hosts, with the same --json'
        raise SettingsError('no forecast to check yet', remedy=remedy)
    jobs, size = Jobs(**place), {'workers': workers, 'servers': servers}
    for work in works:
        row = {'work': work, **size, 'mbit': mbit, 'measured': jobs.seconds(work, hosts=hosts, **size)[0]}
        row['predicted'] = _predicted(found, **row)
        found.setdefault('checks', []).append(row)
        told = f'{row["measured"]:.2f} s a step, {row["predicted"]:.2f} s predicted'
        jobs.say(f'{work}, {size}: {told}')
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
    """Rows with seconds a step, and examples a second as a multiple of one process', by the model alone.

    As many servers as workers; the chapter's batch is either that of all workers together or that of each.
    """
    rows = []
    for work, gbit, workers in itertools.product(WORKS, _GBITS, _WORKERS):
        alone = found[work]['alone'][str(BATCH)] / BATCH
        for batch in (BATCH, BATCH * workers):
            seconds = seconds_a_step(found, work, batch, workers, workers, gbit * 1e9)
            row = {'work': work, 'gbit': gbit, 'workers': workers, 'batch': batch}
            rows.append({**row, 'seconds': seconds, 'speedup': alone * batch / seconds})
    return rows


def lines(found):
    """The forecast for the chapter's batch as `plot_speedups` takes it."""
    panels = {work: {f'{gbit} Gbit/s': [] for gbit in _GBITS} for work in WORKS}
    for row in found['forecast']:
        if row['batch'] == BATCH:
            panels[row['work']][f'{row["gbit"]} Gbit/s'].append((row['workers'], row['speedup']))
    return panels


def _with_forecast(found):
    if all(work in found for work in WORKS):
        found['model'] = _fit(found)
        found['forecast'] = forecast(found)
        for row in found.get('checks', []):  # measured before, and judged by the newest model
            row['predicted'] = _predicted(found, **row)
    return found


def _predicted(found, work, workers, servers, mbit, **_):
    return seconds_a_step(found, work, BATCH, workers, servers, mbit * 1e6)


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


def _check_works(works, known):
    if unknown := [work for work in works if work not in known]:
        raise SettingsError('no such measurement', found=unknown, allowed=', '.join(known))


@dataclasses.dataclass
class Jobs:
    """Trainings in processes of their own, which write to `out` and read `data` (None: the sample)."""

    out: str
    data: str = None
    say: object = print

    def speedup(self, work, rounds):
        """Median seconds a step of one process (`alone`, by batch size), `one_worker` and `two_workers`.

        `bytes` is what a worker sends in a step; `speedups` of two workers are a round's each.
        """
        ways = {'small': {'batch': BATCH // 4}, 'alone': {}, 'two': {'workers': 2}, 'one': {'workers': 1}}
        times, sent = self._in_turn(work, ways, rounds)
        median = {name: statistics.median(times[name]) for name in ways}
        speedups = [alone / two for alone, two in zip(times['alone'], times['two'])]
        speedup = statistics.median(speedups)
        self.say(f'{work}: {sent / 1e6:.2f} MB a step and worker; two workers {speedup:.2f} × one')
        alone = {str(BATCH // 4): median['small'], str(BATCH): median['alone']}
        together = {'one_worker': median['one'], 'two_workers': median['two'], 'bytes': sent}
        return {'alone': alone, **together, 'speedups': speedups, 'speedup': speedup}

    def differences(self):
        """Rows with the largest difference of any weight from one device's, after 20 steps."""
        rows, first = [], {}
        for work, (devices, workers, servers) in itertools.product(WORKS, _WAYS):
            folder = Path(self.out, f'same-{work}')
            words = f'{work} --preset demo --devices {devices} --quiet {_UNEVEN[work]} --out'.split()
            _run([*words, folder], workers=workers, servers=servers)
            weights = _weights(folder)
            alone = first.setdefault(work, weights)
            row = {'work': work, 'devices': devices, 'workers': workers, 'servers': servers}
            row['apart'] = max(float(abs(weights[name] - alone[name]).max()) for name in alone)
            rows.append(row)
            self.say(f'{work}, {devices}, {workers} workers, {servers} servers: {row["apart"]:.1e}')
        return rows

    def profile(self, work, rounds):
        """Seconds a step of four ways to work, and its `laps`: where they go (measure_laps.py).

        One process `alone`, with `half` the batch, two such processes `beside` each other that do not
        communicate, and two workers `together`.
        """
        ways = {'alone': {}, 'half': {'batch': BATCH // 2}, 'together': {'workers': 2}}
        times, _ = self._in_turn(work, {**ways, 'beside': {'batch': BATCH // 2, 'copies': 2}}, rounds)
        found = {name: statistics.median(several) for name, several in times.items()}
        self.say(f'{work}: ' + ', '.join(f'{name} {one * 1e3:.0f} ms' for name, one in found.items()))
        found['laps'] = {name: self._laps(work, **way) for name, way in ways.items()}
        for name, processes in found['laps'].items():
            for number, one in enumerate(processes):
                laps = ', '.join(f'{lap} {times["seconds"] * 1e3:.1f}' for lap, times in one['laps'].items())
                self.say(f'  {name} {number}: {laps} ms')
        return found

    def _in_turn(self, work, ways, rounds):
        """Seconds a step of several ways to work, a list each, and the bytes that were last sent."""
        times, sent = {name: [] for name in ways}, 0
        for name, way in [*ways.items()] * rounds:
            seconds, sent = self.seconds(work, **way)
            times[name].append(seconds)
        return times, sent

    def _laps(self, work, **way):
        """What the stopwatch of each process writes; it makes workers wait for each other more often."""
        for old in Path(self.out).glob('laps*'):
            old.unlink()
        self.seconds(work, laps=Path(self.out, 'laps').absolute(), **way)
        return [json.loads(one.read_text(encoding='utf-8')) for one in sorted(Path(self.out).glob('laps*'))]

    def seconds(self, work, *, batch=BATCH, copies=1, **options):
        """`(seconds a step, bytes a step and worker)` of a job, or of several copies beside each other."""
        data = ['--data', self.data] if self.data else []
        words = f'{work} --preset chapter --batch-size {batch} --devices cpu --quiet'.split() + data
        if work == 'pretrain':
            words += ['--steps', _STEPS[work]]
        else:
            # The first weights change nothing about its speed; the vocabulary must be the chapter's.
            bert = Path(self.out, 'bert')
            if not bert.exists():
                brief = 'pretrain --preset chapter --steps 1 --batch-size 8 --quiet'.split()
                _run([*brief, *data, '--out', bert])
            words += ['--epochs', 1, '--limit', _STEPS[work] * batch, '--bert', bert]
        folders = [Path(self.out, f'{work}-{i}') for i in range(copies)]
        with concurrent.futures.ThreadPoolExecutor(copies) as pool:
            list(pool.map(lambda folder: _run([*words, '--out', folder], **options), folders))
        metrics = [json.loads(Path(one, 'metrics.json').read_text(encoding='utf-8')) for one in folders]
        seconds = statistics.mean(batch / one[_RATES[work]] for one in metrics)
        return seconds, metrics[0].get('bytes_per_step', 0)


def _weights(folder):
    """A model's weights by name, but for the keys' biases: their true gradient is zero, and noise is seen."""
    parameters = parameters_by_path(load_checkpoint(folder).net)
    return {name: p.data().asnumpy() for name, p in parameters.items() if not name.endswith('W_k.bias')}


def _run(words, *, laps=None, workers=0, servers=1, hosts=None):
    """The command in processes of its own; `BertNLIError` with its last words if it fails."""
    words = [*words, '--overwrite']  # an earlier measurement's model, with another batch size
    if workers:
        listed = ['--hosts', hosts] if hosts else []
        words = ['launch', '--workers', workers, '--servers', servers, *listed, '--', *words]
    program = [Path(__file__).with_name('measure_laps.py'), laps] if laps else ['-m', 'bertnli']
    command = [sys.executable, *map(str, [*program, *words])]
    environ = {**os.environ, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if done.returncode:
        found = done.stderr.strip()[-200:] or done.returncode
        raise BertNLIError('a measurement failed', ' '.join(command[2:]), found)


@click.command(cls=Telling, context_settings=SETTINGS)
@click.option('--json', 'path', metavar='FILE', required=True, help='Add the numbers to this file.')
@click.option('--picture', metavar='FILE', help='Save a figure of the forecast (PNG).')
@click.option('--rounds', default=3, help='Repetitions of each measurement.')
@click.option('--only', multiple=True, metavar='WORK', help='finetune, pretrain, weights, profile.')
@click.option('--hosts', metavar='FILE', help='Check the forecast on these hosts.  [default: measure here]')
@click.option('--mbit', default=1000.0, help='Bandwidth of their links, Mbit/s each way.')
@click.option('--workers', default=2, help='Processes that train on them.')
@click.option('--servers', default=2, help='Processes that sum the gradients.')
@click.option('--data', metavar='DIR', help='Folder with the archives, or "download".  [default: the sample]')
@click.option('--out', metavar='DIR', default='runs/scaling', help='Folder for the trainings.')
def main(path, picture, rounds, only, hosts, mbit, workers, servers, **options):
    """Measure two workers, forecast 64. The forecast is for fast and slow networks.

    \b
    Example:   python data/measure_cluster.py --data DIR --json cluster.json
               python data/measure_cluster.py --data DIR --json cluster.json --hosts hosts.txt --mbit 100
    """
    found, options = read(path), {**options, 'say': click.echo, **({'works': only} if only else {})}
    if hosts:
        found = measure_on_hosts(found, hosts, mbit, workers=workers, servers=servers, **options)
    else:
        found = measure(rounds=rounds, found=found, **options)
    write_json(path, found)
    if picture and 'forecast' in found:
        save(plot_speedups(lines(found), title='Forecast: 256 pairs a step'), picture)


if __name__ == '__main__':
    run(main)
