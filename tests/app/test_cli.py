"""The command: what it prints and writes, and how it tells the reader's mistakes."""

import csv
import inspect
import io
import json
import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from bertnli import (
    LABELS,
    RESERVED,
    Batches,
    BertNLIError,
    FinetuneSettings,
    SNLIBERTDataset,
    Vocab,
    cpu_devices,
    download_extract,
    load_checkpoint,
    read_snli,
    save_checkpoint,
)
from bertnli.app.cli import main

# Tiny vocabularies lack many words.
pytestmark = pytest.mark.filterwarnings('ignore:.*not in the vocabulary', 'ignore:.*pairs cut to')

COMMANDS = ('demo', 'pretrain', 'finetune', 'evaluate', 'predict', 'data', 'doctor')
PAIRS = [
    ('A dog runs in a park.', 'An animal is outdoors.'),
    ('Two women laugh.', "The women don't sleep."),
    ('Ein Mann schläft 🐕', 'x'),
    ('A man sleeps. ' * 90, 'A man sleeps.'),
    ('a', 'b'),
]


def run(*args, stdin=None):
    """Run the command in this process; standard output and standard error apart."""
    # Before click 8.2 the two had to be parted by name.
    apart = {'mix_stderr': False} if 'mix_stderr' in inspect.signature(CliRunner).parameters else {}
    return CliRunner(**apart).invoke(main, [str(arg) for arg in args], input=stdin)


def good(*args, stdin=None):
    """The same, and it must succeed; returns standard output."""
    result = run(*args, stdin=stdin)
    assert result.exit_code == 0, result.stderr or result.exception
    return result.stdout


def strict(text):
    """JSON as other languages read it: no NaN, no infinity."""

    def refuse(word):
        raise AssertionError(f'{word} is no JSON')

    return json.loads(text, parse_constant=refuse)


def metrics_in(folder):
    return strict((folder / 'metrics.json').read_text())


@pytest.fixture(scope='module', autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('BERTNLI_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield


TINY = ('--batch-size', 32, '--quiet', '--seed', 5)


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """The folder of a tiny demo, and what it printed."""
    out = tmp_path_factory.mktemp('runs') / 'demo'
    said = good('demo', '--out', out, '--steps', 2, '--epochs', 1, '--limit', 128, *TINY)
    return out, said


@pytest.fixture(scope='module')
def model(demo):
    return demo[0] / 'nli'


@pytest.fixture(scope='module')
def pairs_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('pairs') / 'pairs.tsv'
    path.write_text(''.join(f'{premise}\t{hypothesis}\n' for premise, hypothesis in PAIRS), encoding='utf-8')
    return path


# --- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_has_help_with_an_example(command):
    said = good(command, '--help')
    assert f'Example:   bertnli {command}' in said
    assert '--help' in said


@pytest.mark.parametrize(
    ('command', 'options'),
    [
        ('demo', 'data out seed devices limit'),
        ('pretrain', 'data out seed devices'),
        ('finetune', 'bert data out seed devices limit'),
        ('evaluate', 'model data split challenge json out devices limit'),
        ('predict', 'model file devices'),
        ('data', 'data out limit'),
    ],
)
def test_commands_take_the_options_that_the_readme_names(command, options):
    said = good(command, '--help')
    assert all(f'--{option}' in said for option in options.split())


def test_the_command_lists_its_commands():
    said = good('--help')
    assert all(f'  {command} ' in said for command in COMMANDS)
    assert 'bertnli demo' in said


# --- the jobs -------------------------------------------------------------------------------------


def test_a_demo_says_what_it_found_and_writes_it_down(demo):
    out, said = demo
    metrics = metrics_in(out)
    needed = 'test_accuracy dev_accuracy hypothesis_only_accuracy mlm_loss nsp_loss pairs_per_second'
    assert set(f'{needed} examples_per_second seconds versions seed devices data'.split()) <= set(metrics)
    assert metrics['seed'] == 5
    assert f'test accuracy {metrics["test_accuracy"]:.3f}' in said
    assert said.count('the label is') == 5
    for name in ('curves.png', 'confusion.png'):
        assert (out / name).stat().st_size > 1000


def test_pretraining_and_fine_tuning_one_after_the_other_make_a_model(tmp_path):
    bert, nli = tmp_path / 'bert', tmp_path / 'nli'
    common = ('--preset', 'demo', '--devices', 'cpu:2', *TINY)
    said = good('pretrain', '--out', bert, '--steps', 2, *common)
    assert f'bertnli finetune --bert {bert}' in said
    assert {'mlm_loss', 'nsp_loss', 'pairs_per_second', 'seed', 'versions'} <= set(metrics_in(bert))
    said = good('finetune', '--bert', bert, '--out', nli, '--epochs', 1, '--limit', 64, *common)
    metrics = metrics_in(nli)
    assert f'dev accuracy {metrics["dev_accuracy"]:.3f}' in said
    assert metrics['devices'] == '[cpu(0), cpu(1)]'
    assert metrics['train_pairs'] == 64
    assert load_checkpoint(nli).notes['finetune']['seed'] == 5


def test_fine_tuning_can_start_from_nothing(tmp_path):
    good(
        'finetune',
        '--bert',
        'none',
        '--out',
        tmp_path,
        '--epochs',
        1,
        '--limit',
        64,
        '--preset',
        'demo',
        *TINY,
    )
    assert metrics_in(tmp_path)['train_pairs'] == 64


def test_evaluating_prints_one_line_of_json_and_nothing_else(model, demo):
    said = good('evaluate', '--model', model, '--split', 'test', '--json')
    assert said.count('\n') == 1
    found = strict(said)
    assert found['accuracy'] == pytest.approx(metrics_in(demo[0])['test_accuracy'], abs=1e-6)
    assert (found['n'], found['split'], found['labels']) == (1000, 'test', list(LABELS))
    assert sum(map(sum, found['confusion'])) == 1000


def test_evaluating_on_the_challenge_set_prints_a_line_for_each_phenomenon(model):
    said = good('evaluate', '--model', model, '--challenge').splitlines()
    assert len(said) == 24
    assert all(0 <= float(line.split()[-1]) <= 1 for line in said)


def test_evaluating_prints_a_table_for_people_and_writes_its_numbers(model, tmp_path):
    said = good('evaluate', '--model', model, '--limit', 60, '--out', tmp_path / 'a', '--quiet')
    assert 'accuracy' in said
    assert all(label in said for label in LABELS)
    metrics = metrics_in(tmp_path / 'a')
    assert {'accuracy', 'n', 'split', 'seconds', 'versions', 'data', 'model'} <= set(metrics)
    assert (metrics['n'], metrics['split']) == (60, 'dev')


def test_statistics_of_the_data_are_printed_and_written(tmp_path):
    said = good('data', '--limit', 100, '--out', tmp_path)
    for word in ('wikitext-2', 'SNLI', 'train', 'dev', 'test', 'pairs', 'words a premise', 'no gold label'):
        assert word in said
    found = metrics_in(tmp_path)
    assert found['SNLI']['test']['pairs'] == 100
    assert '{' not in said


def test_the_doctor_tells_versions_devices_and_whether_sums_are_right():
    said = good('doctor')
    for word in ('mxnet', '1.9.1', 'numpy', 'd2l', 'threads', 'device', 'cpu(0)', 'arithmetic'):
        assert word in said


# --- predict --------------------------------------------------------------------------------------


def test_a_pair_is_answered_by_a_label_and_three_probabilities(model):
    said = good('predict', *PAIRS[0], '--model', model)
    label, rest = said.split(' ', 1)
    assert label in LABELS
    shares = dict(part.split() for part in rest.strip(' ()\n').split(', '))
    assert list(shares) == list(LABELS)
    assert sum(map(float, shares.values())) == pytest.approx(1, abs=0.002)
    assert max(shares, key=lambda name: float(shares[name])) == label


NAMES = ['label', *LABELS, 'premise', 'hypothesis']


def check_lines(said, pairs):
    """Label, three probabilities, premise, hypothesis: one line a pair, in the order of the pairs."""
    assert said.endswith('\n')
    names, *lines = [line.split('\t') for line in said[:-1].split('\n')]
    assert names == NAMES
    assert [tuple(line[4:]) for line in lines] == [(p.strip(), h.strip()) for p, h in pairs]
    for line in lines:
        numbers = [float(number) for number in line[1:4]]
        assert line[0] == LABELS[numbers.index(max(numbers))]
        assert sum(numbers) == pytest.approx(1, abs=1e-5)


def test_a_file_of_pairs_is_answered_line_by_line_and_nothing_else_is_printed(model, pairs_file):
    check_lines(good('predict', '--file', pairs_file, '--model', model), PAIRS)


def test_standard_input_is_read_like_a_file(model, pairs_file):
    said = good('predict', '--file', '-', '--model', model, stdin=pairs_file.read_bytes())
    assert said == good('predict', '--file', pairs_file, '--model', model)


def test_a_file_and_a_single_question_agree(model, pairs_file):
    line = good('predict', '--file', pairs_file, '--model', model).split('\n')[2].split('\t')
    single = good('predict', *PAIRS[1], '--model', model)
    assert single.startswith(
        f'{line[0]} (entailment {float(line[1]):.3f}, contradiction {float(line[2]):.3f}'
    )


def test_line_ends_of_windows_and_a_byte_order_mark_do_not_reach_the_answers(model):
    content = '\ufeff' + ''.join(f'{p}\t{h}\r\n' for p, h in PAIRS)
    check_lines(good('predict', '--file', '-', '--model', model, stdin=content.encode()), PAIRS)


def test_no_pairs_are_no_answers(model):
    assert good('predict', '--file', '-', '--model', model, stdin=b'').split() == NAMES


@pytest.mark.parametrize('form', ['tsv', 'csv', 'jsonl'])
def test_answers_come_in_the_form_asked_for_with_names(model, form, tmp_path):
    pairs = [['A dog, "big", runs.', 'It\tmoves.'], *map(list, PAIRS[1:3])]
    (tmp_path / 'pairs.json').write_text(json.dumps([*pairs, ['Premise', 'Hypothesis']]))
    said = good('predict', '--file', tmp_path / 'pairs.json', '--format', form, '--model', model, '--quiet')
    if form == 'jsonl':
        rows = [list(strict(line).values()) for line in said.splitlines()]
        assert list(strict(said.splitlines()[0])) == NAMES
    elif form == 'csv':
        names, *rows = csv.reader(io.StringIO(said))
        assert names == NAMES
    else:
        names, *rows = (line.split('\t') for line in said.splitlines())
        pairs[0][1] = 'It moves.'
        assert names == NAMES
    assert [row[4:] for row in rows[:3]] == pairs
    assert len(rows) == 4
    assert LABELS[max(range(3), key=lambda i: float(rows[0][i + 1]))] == rows[0][0]


def test_the_help_says_in_which_order_the_probabilities_come():
    said = ' '.join(good('predict', '--help').split())
    assert 'the probabilities of entailment, contradiction and neutral, the premise' in said


@pytest.mark.parametrize('premise', ['-5 degrees outside.', '--a dash first', '-half past ten', '-7'])
def test_a_sentence_may_begin_with_a_hyphen(model, premise):
    assert good('predict', premise, 'It is cold.', '--model', model) == good(
        'predict', '--model', model, '--', premise, 'It is cold.'
    )
    assert 'No such option' in run('predict', 'a', 'b', '--fle', 'x').stderr


def test_bad_rows_are_left_out_and_told_or_stop_before_the_first_answer(model, tmp_path):
    path = tmp_path / 'pairs.tsv'
    path.write_text('a dog\tit\nb\nc\td\n\n\te\n' + 'a dog\tit\n' * 9)
    result = run('predict', '--file', path, '--model', model)
    assert (result.exit_code, result.stdout) == (2, '')
    assert 'line 2' in result.stderr
    assert '--skip-bad' in result.stderr
    result = run('predict', '--file', path, '--model', model, '--skip-bad', '--quiet')
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1 + 11
    assert [line.partition(', ')[2] for line in result.stderr.splitlines()] == [
        'line 2: wrong column count',
        'line 5: empty sentence',
    ]


# --- the reader's own data ------------------------------------------------------------------------


@pytest.fixture(scope='module')
def own(tmp_path_factory):
    """train.csv, dev.jsonl and two.tsv, made of the sample."""
    folder, data = tmp_path_factory.mktemp('own'), read_snli(download_extract('SNLI'), split='dev')
    rows = list(zip(*data))[:96]
    with open(folder / 'train.csv', 'w', newline='') as file:
        csv.writer(file).writerows(
            [('Premise', 'Hypothesis', 'Label'), *((p, h, LABELS[n]) for p, h, n in rows)]
        )
    numbers = {0: 0, 2: 1, 1: 2}  # Hugging Face's order
    lines = [json.dumps({'sentence1': p, 'sentence2': h, 'label': numbers[n]}) + '\n' for p, h, n in rows]
    (folder / 'dev.jsonl').write_text(''.join(lines))
    two = ('entailment', 'not_entailment', 'not_entailment')
    (folder / 'two.tsv').write_text(''.join(f'{p}\t{h}\t{two[n]}\n' for p, h, n in rows))
    return folder


ORDER = ('--labels', 'entailment,neutral,contradiction')


def test_fine_tuning_and_evaluation_take_files_of_any_form_and_no_test_split(own, tmp_path, demo):
    files = ('--train', own / 'train.csv', '--dev', own / 'dev.jsonl', *ORDER)
    good('finetune', '--bert', demo[0] / 'bert', *files, '--out', tmp_path, '--epochs', 1, *TINY)
    metrics = metrics_in(tmp_path)
    assert metrics['train_pairs'] == 96
    assert metrics['data'].endswith('dev.jsonl')
    told = [
        strict(good('evaluate', '--model', tmp_path, *args, '--json'))
        for args in (
            ['--dev', own / 'dev.jsonl', *ORDER],
            ['--train', own / 'train.csv'],
            ['--data', own, *ORDER],
        )
    ]
    assert [one['split'] for one in told] == ['dev', 'train', 'dev']
    assert len({(one['n'], one['accuracy'], str(one['confusion'])) for one in told}) == 1
    assert told[0]['accuracy'] == pytest.approx(metrics['dev_accuracy'], abs=1e-6)


def test_two_classes_are_evaluated_by_joining_two_and_the_report_says_so(own, model):
    three = strict(good('evaluate', '--model', model, '--train', own / 'train.csv', '--json'))
    joined = strict(good('evaluate', '--model', model, '--test', own / 'two.tsv', '--json'))
    assert joined['labels'] == ['entailment', 'not-entailment']
    assert sum(joined['confusion'][0]) == sum(three['confusion'][0])
    assert sum(map(sum, joined['confusion'])) == 96
    said = good('evaluate', '--model', model, '--test', own / 'two.tsv', '--quiet')
    assert 'two classes: contradiction and neutral joined' in said
    result = run('finetune', '--train', own / 'two.tsv', '--dev', own / 'two.tsv', '--out', own / 'x')
    assert result.exit_code == 2
    assert 'can be evaluated, not trained' in result.stderr


def test_what_is_there_is_described_and_what_is_not_is_named(own):
    said = good('data', '--data', own, '--limit', 9, *ORDER)
    assert 'wikitext-2: not here' in said
    assert '  test\n    file                 none' in said
    assert 'pairs                9' in said
    result = run('data', '--data', own)
    assert (result.exit_code, 'say what the numbers mean: --labels' in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        (
            'train.csv',
            ['CSV', 'premise: Premise', 'rows           96', 'neutral', 'unknown words  0.0%', ' → '],
        ),
        ('two.tsv', ['TSV', 'premise: 1', 'not_entailment']),
        ('dev.jsonl', ['JSON lines', 'hypothesis: sentence2']),
        (
            'text.txt',
            ['text', 'paragraphs     1', '1 line without a next sentence, first [3]', 'a dog runs .'],
        ),
    ],
)
def test_a_file_is_checked_and_what_was_understood_is_shown(own, name, words):
    (own / 'text.txt').write_text('A dog runs. It is fast.\n\nTitle\n')
    said = good('data', 'check', own / name)
    assert [word for word in words if word not in said] == []


def test_a_text_of_ones_own_is_pretrained_on_and_its_unused_lines_are_told(tmp_path):
    (tmp_path / 'book.txt').write_text('Title\n\n' + 'The dog runs. It is fast. A cat sits!\n' * 60)
    args = (
        '--text',
        tmp_path / 'book.txt',
        '--min-freq',
        1,
        '--steps',
        1,
        '--batch-size',
        8,
        '--out',
        tmp_path,
    )
    result = run('pretrain', *args)
    assert result.exit_code == 0, result.stderr
    assert 'pretraining text: 60 paragraphs; 1 × line without a next sentence (first: 1)' in result.stderr
    assert metrics_in(tmp_path)['vocabulary'] == 5 + len('the dog runs . it is fast a cat sits !'.split())
    assert '--min-freq' in run('pretrain', '--min-freq', 999, *args[:2], *args[4:], '--quiet').stderr


# --- the reader's mistakes ------------------------------------------------------------------------

HEADER = 'gold_label\tsentence1_binary_parse\tsentence2_binary_parse' + '\tx' * 11 + '\n'
ROW = 'neutral\t( a )\t( b )' + '\t' * 11 + '\n'


def snli(folder, content):
    """A folder of data whose dev split has this content."""
    (folder / 'snli_1.0').mkdir()
    (folder / 'snli_1.0' / 'snli_1.0_dev.txt').write_bytes(content)
    return folder


def dev_with(row):
    """`evaluate` on a dev split whose third line is this one."""

    def args(folder, model):
        return ['evaluate', '--model', model, '--data', snli(folder, (HEADER + ROW).encode() + row)]

    return args


def pairs_with(content):
    """`predict` on a file with this content."""

    def args(folder, model):
        (folder / 'pairs.tsv').write_bytes(content)
        return ['predict', '--quiet', '--model', model, '--file', folder / 'pairs.tsv']

    return args


def archive_with(content):
    def args(folder, _):
        (folder / 'snli_1.0.zip').write_bytes(content)
        (folder / 'wikitext-2').mkdir()
        return ['data', '--data', folder]

    return args


def model_without_special_words(folder, model):
    loaded = load_checkpoint(model)
    # The same number of words, none of them special but '<unk>'.
    vocab = Vocab.from_list(
        [word.strip('<>') if word in RESERVED else word for word in loaded.vocab.idx_to_token]
    )
    return ['predict', 'a', 'b', '--model', save_checkpoint(folder / 'm', loaded.net, vocab)]


def job(*args):
    return lambda folder, _: [*args, '--out', folder / 'out', '--preset', 'demo', '--quiet']


def with_model(command, *args):
    return lambda _, model: [command, *args, '--model', model]


# Name of the mistake -> the arguments that make it, words that the message must have.
MISTAKES = {
    'missing folder': (lambda d, _: ['data', '--data', d / 'no'], ['does not exist', '/no']),
    'missing archive': (lambda d, _: ['data', '--data', d], ['not in this folder', 'wikitext-2-v1.zip']),
    'page instead of an archive': (archive_with(b'<html>'), []),
    'wrong column count': (dev_with(b'neutral\t( a )\n'), ['wrong column count', 'line 3', '14']),
    'unknown label': (
        dev_with(ROW.replace('neutral', 'maybe').encode()),
        ['unknown label', 'line 3', 'maybe'],
    ),
    'empty sentence': (dev_with(ROW.replace('( b )', '( )').encode()), ['empty sentence', 'line 3']),
    'non-UTF-8 byte': (dev_with(ROW.encode().replace(b'( b )', b'( \xff )')), ['not UTF-8', 'line 3']),
    'empty file': (lambda d, m: ['evaluate', '--model', m, '--data', snli(d, b'')], ['empty', 'dev.txt']),
    'header only': (lambda d, m: ['evaluate', '--model', m, '--data', snli(d, HEADER.encode())], ['dev.txt']),
    'empty file of pairs': (pairs_with(b''), ['empty', 'pairs.tsv']),
    'one column': (pairs_with(b'a\tb\na b\n'), ['wrong column count', 'line 2', 'a b']),
    'three columns': (pairs_with(b'a\tb\nc\td\ta b\n'), ['wrong column count', 'line 2']),
    'empty premise in a file': (pairs_with(b'a\tb\n \tb\n'), ['empty sentence', 'line 2']),
    'non-UTF-8 byte in a file': (pairs_with(b'a\tb\na\t\xe9\n'), ['not UTF-8', 'line 2']),
    'hole in a file': (pairs_with(b'a\tb\n\na\tb\n'), ['blank line', 'line 2']),
    'missing file of pairs': (with_model('predict', '--file', '/no/such.tsv'), ['/no/such.tsv']),
    'empty sentence typed': (with_model('predict', '', 'b'), ['no words', 'pair 1, premise']),
    'one sentence': (with_model('predict', 'a'), ['two sentences']),
    'three sentences': (with_model('predict', 'a', 'b', 'c'), ['two sentences']),
    'sentences and a file': (with_model('predict', 'a', 'b', '--file', 'x'), ['--file']),
    'no sentence': (with_model('predict'), ['nothing to predict']),
    'vocabulary without special words': (model_without_special_words, ['special tokens', '<mask>']),
    'batch larger than the data': (
        job('finetune', '--bert', 'none', '--limit', 8, '--batch-size', 16),
        ['batch is larger', '16', '8'],
    ),
    'fewer examples than devices': (
        job('pretrain', '--batch-size', 1, '--devices', 'cpu:2'),
        ['fewer examples than devices'],
    ),
    'zero steps': (job('pretrain', '--steps', 0), ['num_steps', '0']),
    'zero epochs': (job('finetune', '--bert', 'none', '--epochs', 0), ['num_epochs', '0']),
    'zero examples': (job('demo', '--batch-size', 0), ['batch_size', '0']),
    'negative seed': (job('demo', '--seed', -1), ['seed', '-1']),
    'model folder that is none': (lambda d, _: ['evaluate', '--model', d], ['not a model folder']),
    'pretrained folder that is none': (
        lambda d, _: ['finetune', '--bert', d / 'no', '--out', d / 'out'],
        ['not a model folder', '/no'],
    ),
    'unknown preset': (
        lambda d, _: ['demo', '--preset', 'large', '--out', d],
        ['preset', 'large', 'chapter'],
    ),
    'unknown device': (with_model('predict', 'a', 'b', '--devices', 'tpu'), ['tpu', 'cpu:2']),
    'no device': (with_model('predict', 'a', 'b', '--devices', 'cpu:0'), ['devices', '0']),
    'results into a file': (
        lambda _, m: ['evaluate', '--model', m, '--limit', 5, '--out', m / 'manifest.json'],
        ['cannot be written', 'manifest.json'],
    ),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_a_mistake_is_told_in_a_few_lines_with_exit_code_2(name, tmp_path, model):
    make, expected = MISTAKES[name]
    result = run(*make(tmp_path, model))
    assert result.exit_code == 2, result.exception
    assert result.stdout == ''
    assert result.stderr.startswith('bertnli: ')
    assert 'Traceback' not in result.stderr
    assert len(result.stderr.splitlines()) <= 6
    assert [word for word in expected if word not in result.stderr] == []
    parts = {line.split(':')[0].strip() for line in result.stderr.splitlines()[1:]}
    assert parts == {'where', 'found', 'allowed', 'remedy'}


def small_dataset(vocab, max_len=8):
    return SNLIBERTDataset([['a b'], ['b'], [0]], max_len, vocab)


WORDS = Vocab(['a', 'b'], reserved_tokens=RESERVED)
# What the command line gives no handle for.
LIBRARY_MISTAKES = {
    'no room for two words': lambda: small_dataset(WORDS, 4),
    'no room in a setting': lambda: FinetuneSettings(max_len=4),
    'vocabulary without special words': lambda: small_dataset(Vocab(['a', 'b'])),
    'no vocabulary': lambda: small_dataset(None),
    'batch larger than the data': lambda: Batches(small_dataset(WORDS), 2),
    'empty batch': lambda: Batches(small_dataset(WORDS), 0),
    'no devices': lambda: cpu_devices(0),
    'missing file': lambda: read_snli('no such folder', split='dev'),
    'unknown split': lambda: read_snli('no such folder', split='validation'),
    'zero pairs': lambda: read_snli('no such folder', split='dev', limit=0),
}


@pytest.mark.parametrize('name', LIBRARY_MISTAKES)
def test_a_mistake_in_python_is_told_with_its_four_parts(name):
    with pytest.raises(BertNLIError) as caught:
        LIBRARY_MISTAKES[name]()
    error = caught.value
    assert None not in (error.where, error.found, error.allowed, error.remedy)


MISSPELT = [['demo', '--limit', '0'], ['demo', '--steps', 'x'], ['fly'], ['bench', '--rounds', 'x']]


@pytest.mark.parametrize('args', MISSPELT)
def test_a_misspelt_command_line_is_told_by_its_usage(args):
    result = run(*args)
    assert result.exit_code == 2
    assert 'Usage' in result.stderr


def test_pairs_before_a_bad_line_of_standard_input_do_not_hide_it(model):
    result = run('predict', '--file', '-', '--model', model, stdin=b'a\tb\nc\n')
    assert result.exit_code == 2
    assert 'standard input, line 2' in result.stderr


# --- as a real process ----------------------------------------------------------------------------

ENVIRONMENT = {**os.environ, 'PYTHONUNBUFFERED': '', 'PYTHONWARNINGS': 'error::UserWarning'}
COMMAND = [sys.executable, '-m', 'bertnli']


def test_a_process_keeps_answers_and_progress_apart(model, pairs_file):
    done = subprocess.run(
        [*COMMAND, 'predict', '--file', '-', '--model', model],
        input=pairs_file.read_bytes(),
        capture_output=True,
        env={**ENVIRONMENT, 'PYTHONWARNINGS': 'default'},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    check_lines(done.stdout.decode('utf-8'), PAIRS)
    assert b'bertnli: 1 of 5 pairs cut to 64 tokens\n' in done.stderr


def test_a_reader_who_has_seen_enough_ends_the_command_quietly(model, tmp_path):
    (tmp_path / 'many.tsv').write_text('A dog runs.\tA cat sleeps.\n' * 20_000)
    command = (
        f'{sys.executable} -m bertnli predict --quiet --file {tmp_path}/many.tsv --model {model} | head -1'
    )
    done = subprocess.run(command, shell=True, capture_output=True, env=ENVIRONMENT, timeout=120)
    assert done.stdout.count(b'\n') == 1
    assert done.stderr == b''


def test_ctrl_c_ends_a_training_with_130_and_no_traceback(tmp_path):
    command = [*COMMAND, 'pretrain', '--preset', 'demo', '--steps', '100000', '--out', tmp_path / 'out']
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT)
    seen = b''
    while b'step/s' not in seen and b's/step' not in seen:
        piece = os.read(process.stderr.fileno(), 4096)
        assert piece, seen
        seen += piece
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()  # nothing, if it has ended
    assert process.returncode == 130, errors
    assert b'\nbertnli: interrupted after step ' in errors
    assert errors.endswith(b' --resume\n')
    assert b'Traceback' not in errors


def test_a_mistake_in_a_process_has_exit_code_2(tmp_path):
    done = subprocess.run(
        [*COMMAND, 'evaluate', '--model', tmp_path], capture_output=True, env=ENVIRONMENT, timeout=120
    )
    assert (done.returncode, done.stdout) == (2, b'')
    assert done.stderr.startswith(b'bertnli: this is not a model folder')
