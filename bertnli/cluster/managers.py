"""The same job under Slurm, MPI or Kubernetes."""

import os
import shlex
import socket
import sys

from ..errors import SettingsError
from .launch import _PORT, _SERVE, _address_of, _check_command, _check_numbers, _check_port


def task_environment(task, environ):
    """The variables of task `task` of a manager's: 0 the scheduler, then the servers, then the workers.

    `environ` has `DMLC_PS_ROOT_URI` (a name or address of the task 0's host), `DMLC_PS_ROOT_PORT`,
    `DMLC_NUM_WORKER` and `DMLC_NUM_SERVER`. Raises `SettingsError` if one is missing, or for a task too many.

    >>> given = {'DMLC_PS_ROOT_URI': '127.0.0.1', 'DMLC_PS_ROOT_PORT': '9091',
    ...          'DMLC_NUM_WORKER': '2', 'DMLC_NUM_SERVER': '1'}
    >>> found = task_environment(3, given)
    >>> found['DMLC_ROLE'], found['DMLC_RANK'], found['DMLC_NODE_HOST']
    ('worker', '1', '127.0.0.1')
    """
    names = ('DMLC_PS_ROOT_URI', 'DMLC_PS_ROOT_PORT', 'DMLC_NUM_WORKER', 'DMLC_NUM_SERVER')
    root, port, workers, servers = (environ.get(name, '') for name in names)
    if not (root and all(number.isdecimal() for number in (port, workers, servers))):
        raise SettingsError(
            'the variables of the cluster are incomplete',
            found=', '.join(f'{name}={environ.get(name)}' for name in names),
            allowed='an address and three whole numbers',
            remedy='see what bertnli launch --print slurm sets',
        )
    roles = [('scheduler', 0), *(('server', i) for i in range(int(servers)))]
    roles += [('worker', i) for i in range(int(workers))]
    if not 0 <= task < len(roles):
        raise SettingsError(
            'there is no such task',
            where='task',
            found=task,
            allowed=f'0 to {len(roles) - 1}: one scheduler, {servers} servers and {workers} workers',
        )
    (role, number), root = roles[task], _address_of(root, 'DMLC_PS_ROOT_URI')
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((root, 9))  # sends nothing, but tells which of our addresses the way begins at
        own = root if role == 'scheduler' else probe.getsockname()[0]
    found = {'DMLC_ROLE': role, 'DMLC_PS_ROOT_URI': root, 'DMLC_NODE_HOST': own}
    return {**found, 'DMLC_RANK': str(number)} if role == 'worker' else found


def run_task(task, command):
    """Become task `task` of a job that Slurm, MPI or Kubernetes has started; does not return."""
    _check_command(list(command))
    found = task_environment(task, os.environ)
    if found['DMLC_ROLE'] == 'scheduler':
        _check_port(found['DMLC_PS_ROOT_URI'], int(os.environ['DMLC_PS_ROOT_PORT']))
    worker = found['DMLC_ROLE'] == 'worker'
    words = ['-m', 'bertnli', *command] if worker else ['-c', _SERVE]
    os.execve(sys.executable, [sys.executable, *words], {**os.environ, **found})


_SCRIPTS = {
    'slurm': """\
#!/bin/sh
#SBATCH --ntasks={tasks}   # a scheduler, {servers} servers, {workers} workers
{exports}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export DMLC_PS_ROOT_URI=$(getent ahostsv4 "$first" | awk 'NR == 1 {{ print $1 }}')
srun --kill-on-bad-exit=1 sh -c 'exec bertnli launch --task "$SLURM_PROCID" -- {command}'
""",
    'mpi': """\
#!/bin/sh
# Start this on the first host of the list; mpirun ends all processes when one fails.
{exports}
export DMLC_PS_ROOT_URI=$(hostname -I | awk '{{ print $1 }}')
mpirun -np {tasks} -x DMLC_PS_ROOT_URI -x DMLC_PS_ROOT_PORT -x DMLC_NUM_WORKER -x DMLC_NUM_SERVER \\
  -x BERTNLI_KVSTORE sh -c 'exec bertnli launch --task "$OMPI_COMM_WORLD_RANK" -- {command}'
""",
    'kubernetes': """\
# Put your image and its volumes in. A pod that fails ends the job; each listens on its own address only.
apiVersion: v1
kind: Service
metadata: {{name: bertnli}}
spec: {{clusterIP: None, publishNotReadyAddresses: true, selector: {{job-name: bertnli}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: bertnli}}
spec:
  completionMode: Indexed
  completions: {tasks}
  parallelism: {tasks}
  backoffLimit: 0
  template:
    spec:
      subdomain: bertnli
      restartPolicy: Never
      containers:
        - name: bertnli
          image: YOUR-IMAGE
          command: [sh, -c, 'until getent ahostsv4 "$DMLC_PS_ROOT_URI"; do sleep 1; done;
            exec bertnli launch --task "$JOB_COMPLETION_INDEX" -- {command}']
          env:
{env}
""",
}


def manager_script(manager, command, *, workers, servers=1, port=None, kvstore='dist_sync'):
    """What starts the same job under `slurm`, `mpi` or `kubernetes`, as text.

    >>> print(manager_script('slurm', ['finetune'], workers=2).splitlines()[1])
    #SBATCH --ntasks=4   # a scheduler, 1 servers, 2 workers
    """
    _check_numbers(workers, servers, 0)
    _check_command(list(command))
    variables = {
        'DMLC_PS_ROOT_PORT': port or _PORT,
        'DMLC_NUM_WORKER': workers,
        'DMLC_NUM_SERVER': servers,
        'BERTNLI_KVSTORE': kvstore,
    }
    root = {'DMLC_PS_ROOT_URI': 'bertnli-0.bertnli', **variables}
    return _SCRIPTS[manager].format(
        tasks=1 + servers + workers,
        workers=workers,
        servers=servers,
        command=shlex.join(command),
        exports='\n'.join(f'export {name}={value}' for name, value in variables.items()),
        env='\n'.join(f"            - {{name: {name}, value: '{value}'}}" for name, value in root.items()),
    )
