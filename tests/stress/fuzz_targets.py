"""What fuzzing calls: functions of any bytes from which nothing but a `BertNLIError` may come.

`python tests/stress/fuzz_targets.py SECONDS` lets atheris look for inputs that reach new lines of the
library, and ends with an error at the first other exception; `test_fuzz.py` changes the seeds below by
chance.
"""

import contextlib
import gzip
import json
import math
import os
import struct
import sys
import tempfile
import warnings

if __name__ == '__main__':
    import atheris

    loading = atheris.instrument_imports(include=['bertnli'])
else:
    loading = contextlib.nullcontext()

with loading:
    from click.testing import CliRunner

    from bertnli import RESERVED, Vocab, examples, explain_pair, parse_devices, settings, text, tokens
    from bertnli.app import cli
    from bertnli.corpora import pairs as pair_files
    from bertnli.corpora.treebank import words
    from bertnli.errors import BertNLIError
    from bertnli.fast.encoding import index_words
    from bertnli.storage import d2l_weights

VOCAB = Vocab(['a', 'dog', 'runs', "n't"], reserved_tokens=RESERVED)
HEADER = b'\t'.join([b'gold_label', b'sentence1_binary_parse', b'sentence2_binary_parse', *[b'x'] * 11])
VALUES = [
    None,
    True,
    '',
    'x',
    [],
    {},
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    5e-324,
    0,
    -1,
    0.5,
    2**64,
    10**400,
]
FOLDER = tempfile.TemporaryDirectory(dir='/dev/shm' if os.path.isdir('/dev/shm') else None)


def written(name, data):
    with open(os.path.join(FOLDER.name, name), 'wb') as file:
        file.write(data)
    return FOLDER.name


def snli(data):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of rows that were left out
        text.read_snli(written('snli_1.0_dev.txt', data), split='dev', max_skipped=len(data) % 3 / 2)


def wiki(data):
    text.read_wiki(written('wiki.valid.tokens', data), 'valid')


def pairs(data):
    list(text.read_pairs(data.splitlines(keepends=True)))


def table(data):
    """The same bytes as a file of any form, with columns that the reader names, and as running text."""
    folder = written('dev.csv', gzip.compress(data) if len(data) % 5 == 0 else data)
    columns = {'premise': 'a', 'hypothesis': 'b'} if len(data) % 3 == 0 else None
    files = pair_files.PairFiles(folder, columns=columns, labels=text.LABELS, two_classes=len(data) % 2 == 0)
    with warnings.catch_warnings(), contextlib.suppress(BertNLIError):
        warnings.simplefilter('ignore')  # of rows that were left out
        text.read_snli(files, split='dev', max_skipped=0.5)
    text.read_wiki(files.path('dev'))


def sentence(data):
    found = words(data.decode('utf-8', 'surrogateescape'))
    index_words([' '.join(found)], VOCAB.token_to_idx, 0)
    assert VOCAB.to_tokens(VOCAB[tokens.tokenize([' '.join(found)])[0]]) is not None


def encoder(data):
    premise, _, hypothesis = data.decode('utf-8', 'surrogateescape').partition(' . ')
    strategies = [*examples.STRATEGIES, 'none']
    max_len, strategy = len(data) % 40, strategies[len(premise) % len(strategies)]
    examples.encode_pair(premise.split(), hypothesis.split(), VOCAB, max_len, strategy)
    explain_pair(premise, hypothesis, VOCAB, max_len, strategy)


def vocabulary(data):
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(found, (list, dict, str)):
        tokens.require_special(Vocab.from_list(found))


def setting(data):
    data = data.ljust(12, b'\0')
    kind = (settings.ModelSettings, settings.PretrainSettings, settings.FinetuneSettings)[data[0] % 3]
    names = list(kind.__dataclass_fields__)
    chosen = {}
    for place in (1, 3):
        value = VALUES[data[place + 1] % len(VALUES)] if data[5] % 2 else struct.unpack('<d', data[4:12])[0]
        chosen[names[data[place] % len(names)]] = value
    settings.changed(kind(), **chosen)


def device(data):
    parse_devices(data.decode('utf-8', 'surrogateescape'))


def params(data):
    with contextlib.suppress(ValueError, OverflowError, struct.error):  # caught where the file is read
        d2l_weights.read_params(data)


def command(data):
    """Any words behind a command that cannot find its data or model, and so ends soon."""
    nowhere = [
        ['demo', '--data'],
        ['finetune', '--bert'],
        ['evaluate', '--model'],
        ['data', '--data'],
        ['predict', '--model'],
    ]
    words = data[1:].decode('utf-8', 'surrogateescape').split('\n')
    args = [*nowhere[len(data) % 5], '/no/such/folder', *(word for word in words if '\0' not in word)]
    runner = CliRunner()
    # As in a shell, and in click from 8.2: errors show any words; a stream that is shared does not.
    runner.mix_stderr = False
    result = runner.invoke(cli.main, args)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 2)


ROWS = HEADER + b'\nneutral\t( a dog )\t( it runs )' + b'\t' * 11 + b'\n-\t( a )\t( b )' + b'\t' * 11 + b'\n'
WEIGHTS = (
    struct.pack('<QQQ', 0x112, 0, 1)
    + struct.pack('<IiiqqiiI', 0xF993FAC9, 0, 2, 2, 1, 1, 0, 0)
    + struct.pack('<ff', 1, 2)
    + struct.pack('<QQ', 1, 3)
    + b'abc'
)
# target -> inputs to begin with, and its share of a thousand inputs: the cheap ones have more
TARGETS = {
    snli: ([ROWS, ROWS.replace(b'\n', b'\r\n'), b'\xef\xbb\xbf' + ROWS], 40),
    wiki: ([b' = Title = \n A dog runs . It is fast . \n\n'], 30),
    pairs: ([b'A dog runs.\tIt moves.\n', b'a\tb\r\nc\td\r\n'], 260),
    table: (
        [
            b'premise,hypothesis,label\n"A dog, big",It moves,neutral\n',
            b'{"a": "A dog", "b": "It moves", "label": 1}\n{"a": "x"}\n',
            b'[{"premise": "A dog", "hypothesis": "It", "label": null}]',
            b'A dog runs. It is fast.\n\nTitle\n',
        ],
        40,
    ),
    sentence: (["The man's dogs don't run (3,000 times)… “so” 🐕.".encode()], 190),
    encoder: ([b'A dog runs . It <mask> fast', b'a . b'], 100),
    vocabulary: ([json.dumps(VOCAB.idx_to_token).encode(), b'["<unk>", 1, null, {}]'], 30),
    setting: ([bytes(12), bytes(range(12)), b'\x01\x02\x03\x04\x05\x07xxxxxx'], 200),
    device: ([b'gpu:0,1', b'cpu:2', b'gpu'], 50),
    params: ([WEIGHTS], 58),
    command: ([b'--limit\n3', b'--split\ntest\n--json', b'a\nb', b'--devices\ncpu:2\n--seed\n-1'], 2),
}


def main(seconds):
    count = 0
    names = list(TARGETS)

    def one(data):
        nonlocal count
        count += 1
        with contextlib.suppress(BertNLIError):
            names[data[0] % len(names)](data[1:]) if data else None

    atheris.Setup([sys.argv[0], f'-max_total_time={seconds}', '-max_len=4096', '-rss_limit_mb=4096'], one)
    atheris.Fuzz()


if __name__ == '__main__':
    main(sys.argv[1])
