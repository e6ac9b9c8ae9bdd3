"""What data/measure_cluster.py measures and forecasts; that steps are right is tested in test_launch.py."""

import doctest
import json
import subprocess
import sys
from pathlib import Path

import measure_cluster as scaling
import pytest
from click.testing import CliRunner

from bertnli import BertNLIError, DataError, SettingsError

ROOT = Path(__file__).resolve().parents[2]

# Powers of two: 4 MB a step, 2 ms a pair, 0.25 s for each MB.
FOUND = {
    work: {'bytes': size, 'alone': {'64': 1 + 64 / 512, '256': 1 + 256 / 512}, 'one_worker': seconds}
    for work, size, seconds in (('finetune', 2**20, 1.5 + 0.125 + 0.25), ('pretrain', 2**22, 1.5 + 0.125 + 1))
}


@pytest.fixture
def fitted():
    return scaling._with_forecast(json.loads(json.dumps(FOUND)))


def test_the_model_is_found_again_from_what_it_makes(fitted):
    model = fitted['model']
    assert model['finetune'] == model['pretrain'] == pytest.approx({'each': 1 / 512, 'fixed': 1})
    assert model['latency'] == pytest.approx(0.125)
    assert model['handling'] == pytest.approx(0.25 / 2**20)
    for work in scaling.WORKS:  # one worker on this machine, whose links cost nothing
        assert scaling.seconds_a_step(fitted, work, 256, 1, 1) == pytest.approx(FOUND[work]['one_worker'])


@pytest.mark.parametrize(
    ('workers', 'servers', 'parts'),
    [(1, 1, 0), (2, 1, 1), (3, 1, 2), (2, 2, 1), (4, 4, 1.5), (3, 2, 1.5)],
)
def test_the_busiest_link_carries_what_leaves_a_machine_with_worker_and_server(
    fitted, workers, servers, parts
):
    fast = scaling.seconds_a_step(fitted, 'pretrain', 256, workers, servers)
    slow = scaling.seconds_a_step(fitted, 'pretrain', 256, workers, servers, bits=2**20)
    assert slow - fast == pytest.approx(8 * parts * 2**22 / 2**20)


def test_the_forecast_grows_with_the_network_and_is_below_the_number_of_workers(fitted):
    rows = {(row['work'], row['gbit'], row['workers'], row['batch']): row for row in fitted['forecast']}
    assert len(rows) == 2 * 3 * 6 * 2
    for (work, gbit, workers, batch), row in rows.items():
        assert 0 < row['speedup'] < workers
        if gbit > 1:
            assert row['speedup'] > rows[work, 1, workers, batch]['speedup']
        # With more examples a step, the same bytes are sent more rarely.
        assert (
            rows[work, gbit, workers, 256 * workers]['speedup'] >= rows[work, gbit, workers, 256]['speedup']
        )


def test_noise_never_makes_a_negative_cost():
    found = json.loads(json.dumps(FOUND))
    for work in scaling.WORKS:
        found[work]['one_worker'] = 1.0
    model = scaling._fit(found)
    assert model['latency'] == model['handling'] == 0


def test_what_was_measured_before_is_kept_and_a_torn_file_is_refused(tmp_path):
    assert scaling.read(tmp_path / 'none') == {}
    (tmp_path / 'some').write_text('{"finetune": 1}')
    assert scaling.read(tmp_path / 'some') == {'finetune': 1}
    (tmp_path / 'some').write_text('{"finetune')
    with pytest.raises(DataError, match='cannot read the measurements'):
        scaling.read(tmp_path / 'some')


def test_what_cannot_be_measured_is_refused(tmp_path):
    with pytest.raises(SettingsError, match='no such measurement'):
        scaling.measure(['fly'], out=tmp_path)
    with pytest.raises(SettingsError, match='no forecast to check yet'):
        scaling.measure_on_hosts({'finetune': {}}, 'hosts', 100, out=tmp_path)
    with pytest.raises(BertNLIError, match='a measurement failed') as caught:
        scaling.Jobs(tmp_path, tmp_path / 'nowhere').seconds('pretrain')
    assert 'nowhere' in str(caught.value)


def test_the_script_adds_to_its_file_and_draws_the_forecast(tmp_path, monkeypatch):
    """Instead of a job on hosts, 1.5 s."""
    path, picture = tmp_path / 'found.json', tmp_path / 'forecast.png'
    path.write_text(json.dumps({**scaling._with_forecast(json.loads(json.dumps(FOUND))), 'batch': 256}))
    monkeypatch.setattr(scaling.Jobs, 'seconds', lambda *_, **options: (1.5, 0))
    words = ['--json', path, '--picture', picture, '--hosts', 'hosts', '--mbit', 100, '--out', tmp_path]
    done = CliRunner().invoke(scaling.main, [*map(str, words), '--only', 'pretrain', '--workers', '3'])
    assert done.exit_code == 0, done.output
    assert 'pretrain' in done.output
    found = json.loads(path.read_text())
    (row,) = found['checks']
    assert row.pop('predicted') == pytest.approx(scaling.seconds_a_step(found, 'pretrain', 256, 3, 2, 1e8))
    assert row == {'work': 'pretrain', 'workers': 3, 'servers': 2, 'mbit': 100, 'measured': 1.5}
    assert found['batch'] == 256
    assert picture.stat().st_size > 5000


def test_an_unknown_measurement_is_told_by_the_process_without_a_traceback(tmp_path):
    script, words = ROOT / 'data' / 'measure_cluster.py', ['--json', tmp_path / 'x', '--only', 'fly']
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.startswith('bertnli: no such measurement')
    assert all(word in done.stderr for word in ('fly', *scaling.WORKS))
    assert 'Traceback' not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_examples_of_the_script_are_right():
    assert doctest.testmod(scaling) == (0, 2)


@pytest.mark.slow
def test_all_measurements_are_made(tmp_path, monkeypatch):
    """On the sample, with few steps: it is done; what comes out is not judged."""
    monkeypatch.setattr(scaling, '_STEPS', {'finetune': 6, 'pretrain': 6})  # of which laps leave out four
    monkeypatch.setattr(scaling, '_WAYS', [('cpu', 0, 0), ('cpu', 2, 1)])
    said = []
    found = scaling.measure(out=tmp_path, rounds=1, say=said.append)
    assert len(said) == 6 + 2 * 5
    assert [row['apart'] > 0 for row in found['weights']] == [False, True, False, True]
    for work in scaling.WORKS:
        assert found[work]['bytes'] > 1e5
        assert min(found[work]['speedup'], found[work]['two_workers'], *found[work]['alone'].values()) > 0
        profile = found['profile'][work]
        assert min(profile[way] for way in ('alone', 'half', 'together', 'beside')) > 0
        assert [len(one) for one in profile['laps'].values()] == [1, 1, 2]
        alone, first, second = profile['laps']['alone'] + profile['laps']['together']
        assert [*alone['laps']] == ['batch', 'forward and backward', 'update', 'losses']
        assert {*first['laps']} == {*second['laps']} == {*alone['laps'], 'packing', 'meeting', 'sums'}
        # Each of the two takes as long as the other, whoever waits.
        seconds = [sum(lap['seconds'] for lap in one['laps'].values()) for one in (first, second)]
        assert seconds[0] == pytest.approx(seconds[1], rel=0.2)
