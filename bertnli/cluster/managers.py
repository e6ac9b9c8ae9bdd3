"""The same job under Slurm, MPI or Kubernetes."""

import json
import os
import shlex
import socket
import sys
from pathlib import Path

from ..errors import SettingsError
from . import launch


def task_environment(task, environ):
    """The variables of task `task` of a manager's: 0 the scheduler, then the servers, then the workers.

    `environ` has `DMLC_PS_ROOT_URI` (name or address of task 0's host), `DMLC_PS_ROOT_PORT`,
    `DMLC_NUM_WORKER` and `DMLC_NUM_SERVER`. Raises `SettingsError` for invalid ones, or an unknown task.

    >>> given = {'DMLC_PS_ROOT_URI': '127.0.0.1', 'DMLC_PS_ROOT_PORT': '9091',
    ...          'DMLC_NUM_WORKER': '2', 'DMLC_NUM_SERVER': '1'}
    >>> found = task_environment(3, given)
    >>> found['DMLC_ROLE'], found['DMLC_RANK'], found['DMLC_NODE_HOST']
    ('worker', '1', '127.0.0.1')
    """
    names = ('DMLC_PS_ROOT_URI', 'DMLC_PS_ROOT_PORT', 'DMLC_NUM_WORKER', 'DMLC_NUM_SERVER')
    root, *numbers = (environ.get(name, '') for name in names)
    if not (root and all(number.isdecimal() for number in numbers)):
        found = ', '.join(f'{name}={environ.get(name)}' for name in names)
        remedy = 'see what bertnli launch --print slurm sets'
        raise SettingsError('incomplete cluster variables', found=found, remedy=remedy)
    _, workers, servers = (int(number[:9]) for number in numbers)
    launch.check_numbers(workers, servers)
    roles = launch.roles_of(workers, servers)
    if not 0 <= task < len(roles):
        raise SettingsError('no such task', found=task, allowed=f'0 to {len(roles) - 1}')
    role, number = roles[task]
    root = own = launch.address_of(root, 'DMLC_PS_ROOT_URI')
    if role != 'scheduler':
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((root, 9))  # sends nothing, but tells our own address on the way there
            own = probe.getsockname()[0]
    return launch.role_variables(role, number, own, root)


def run_task(task, command):
    """Become task `task` of a job that Slurm, MPI or Kubernetes has started; does not return."""
    launch.check_command(command)
    variables = task_environment(task, os.environ)
    role = variables['DMLC_ROLE']
    if role == 'scheduler':
        launch.check_port(variables['DMLC_PS_ROOT_URI'], int(os.environ['DMLC_PS_ROOT_PORT'][:9]))
    os.execve(sys.executable, launch.python_words(role, command), {**os.environ, **variables})


def manager_script(manager, command, *, workers, servers=1, port=None, kvstore='dist_sync'):
    """What starts the same job under `slurm`, `mpi` or `kubernetes`, as text.

    >>> print(manager_script('slurm', ['finetune'], workers=2).splitlines()[1])
    #SBATCH --ntasks=4   # a scheduler, 1 servers, 2 workers
    """
    launch.check_command(command)
    launch.check_numbers(workers, servers)
    variables = launch.job_variables(workers, servers, port, kvstore)
    root = {'DMLC_PS_ROOT_URI': 'bertnli-0.bertnli', **variables}
    exports = '\n'.join(f'export {name}={value}' for name, value in variables.items())
    env = '\n'.join(f"            - {{name: {name}, value: '{value}'}}" for name, value in root.items())
    # Kubernetes replaces $(NAME) and takes $$ for $; a JSON list is one of YAML, too.
    args = json.dumps([word.replace('$', '$$') for word in command], ensure_ascii=False)
    counts = {'tasks': 1 + servers + workers, 'workers': workers, 'servers': servers}
    words = {'command': shlex.join(command), 'args': args, 'exports': exports, 'env': env}
    # The command's words follow `sh -c '…'` as its "$@": they are quoted once, as the script's language does.
    return Path(__file__).with_name(f'{manager}.template').read_text('utf-8').format(**counts, **words)
