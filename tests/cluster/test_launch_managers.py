"""What `bertnli launch --print` prints starts every task with the very words that were given.

The scripts are run. In place of the managers, and of bertnli, stand small programs of the same names.
"""

import json
import os
import re
import subprocess
import sys

import pytest

from bertnli.cluster.managers import manager_script

# What shells, Kubernetes and YAML each would take for something else.
WORDS = [
    'finetune',
    '--out',
    'my runs',
    'it\'s "so"',
    '',
    '$HOME `ls` $(DMLC_NUM_WORKER) $$',
    'a\n  b: c\n',
    '# é',
]
JOB = {'workers': 2, 'servers': 1, 'port': 9000, 'kvstore': 'dist_async'}
NAMES = ('DMLC_PS_ROOT_URI', 'DMLC_PS_ROOT_PORT', 'DMLC_NUM_WORKER', 'DMLC_NUM_SERVER', 'BERTNLI_KVSTORE')
PYTHON = f'#!{sys.executable}\n'
# The options before `sh` are the manager's own.
START = """
import os, subprocess, sys
for task in range({count}):
    words = sys.argv[sys.argv.index('sh'):]
    subprocess.run(words, env={{**os.environ, '{rank}': str(task)}}, check=True)
"""
PROGRAMS = {
    'bertnli': 'import json, os, sys\n'
    f'print(json.dumps([sys.argv[1:], [os.environ.get(name) for name in {NAMES}]]))',
    'srun': START.format(count="int(os.environ['SLURM_NTASKS'])", rank='SLURM_PROCID'),
    'mpirun': START.format(count="int(sys.argv[sys.argv.index('-np') + 1])", rank='OMPI_COMM_WORLD_RANK'),
    'scontrol': "print('first')\nprint('second')",
    'getent': "print('192.0.2.1 STREAM first')",
    'hostname': "print('192.0.2.1 192.0.2.2 ')",
}


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A function that runs words with such programs, and returns what each `bertnli` was given."""
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(PYTHON + text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)

    def start(*words, **variables):
        env = {**os.environ, **variables}
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=True, timeout=60)
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('[')]

    return start


def expected(root):
    variables = [root, '9000', '2', '1', 'dist_async']
    return [[['launch', '--task', str(task), '--', *WORDS], variables] for task in range(4)]


@pytest.mark.parametrize('manager', ['slurm', 'mpi'])
def test_a_script_gives_every_task_its_words(started, manager):
    text = manager_script(manager, WORDS, **JOB)
    tasks = re.search(r'^#SBATCH --ntasks=(\d+)', text, re.MULTILINE)  # read by sbatch
    env = {'SLURM_NTASKS': tasks[1], 'SLURM_JOB_NODELIST': 'first,second'} if tasks else {}
    assert started('sh', '-c', text, **env) == expected('192.0.2.1')


def expand(text, variables):
    """As Kubernetes does: $(NAME) is a variable's value if there is one, $$ is $."""
    return re.sub(r'\$(\$|\((\w+)\))', lambda m: '$' if m[1] == '$' else variables.get(m[2], m.group()), text)


def test_a_job_of_kubernetes_gives_every_pod_its_words(started):
    yaml = pytest.importorskip('yaml')
    service, job = yaml.safe_load_all(manager_script('kubernetes', WORDS, **JOB))
    assert (service['kind'], job['kind'], job['spec']['completions']) == ('Service', 'Job', 4)
    [container] = job['spec']['template']['spec']['containers']
    variables = {row['name']: row['value'] for row in container['env']}
    words = [expand(word, variables) for word in [*container['command'], *container['args']]]
    found = [started(*words, **variables, JOB_COMPLETION_INDEX=str(task))[0] for task in range(4)]
    assert found == expected('bertnli-0.bertnli')
