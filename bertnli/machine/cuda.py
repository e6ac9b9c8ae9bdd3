"""NVIDIA's libraries for MXNet's GPU build: find them, load them, and say what is there and what is not.

`pip` puts them where the system's loader does not look; a library that is loaded is found by its name.
"""

import ctypes
import importlib.metadata
import sysconfig
from pathlib import Path

BUILD = 'mxnet-cu112'
# What `readelf -d libmxnet.so` of that build names, and what those need, each after what it needs itself.
LIBRARIES = {
    'libcudart.so.11.0': 'nvidia-cuda-runtime-cu11',
    'libnvrtc.so.11.2': 'nvidia-cuda-nvrtc-cu11',
    'libnvToolsExt.so.1': 'nvidia-nvtx-cu11',
    'libcublasLt.so.11': 'nvidia-cublas-cu11',
    'libcublas.so.11': 'nvidia-cublas-cu11',
    'libcufft.so.10': 'nvidia-cufft-cu11',
    'libcurand.so.10': 'nvidia-curand-cu11',
    'libcusparse.so.11': 'nvidia-cusparse-cu11',
    'libcusolver.so.11': 'nvidia-cusolver-cu11',
    'libnccl.so.2': 'nvidia-nccl-cu11',
    'libcudnn.so.8': 'nvidia-cudnn-cu11',
}
DRIVER = 'libcuda.so.1'
# The machine code in that build's libmxnet.so; it holds no portable code (PTX) from which to make other.
_CODE = ((5, 0), (6, 0), (7, 0), (8, 0), (8, 6))
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_…, <cuda.h>


def installed():
    """Whether MXNet's GPU build is installed."""
    return any(importlib.metadata.distributions(name=BUILD))


def load_libraries(folder=None):
    """Load every library of the GPU build, and the driver: `{name: where it was found, or why not}`.

    Looked for in pip's folders (of `folder`, by default this Python's packages), then where the system looks.
    """
    root = Path(folder or sysconfig.get_paths()['purelib'], 'nvidia')
    return {name: _load(name, sorted(root.glob(f'*/lib/{name}'))) for name in (*LIBRARIES, DRIVER)}


def _load(name, places):
    for place in (*map(str, places), name):
        try:
            # subtle: global, so that libraries loaded later find its functions.
            ctypes.CDLL(place, ctypes.RTLD_GLOBAL)
        except OSError as error:
            reason = str(error)
        else:
            return 'found' if places else 'found by the system'
    brings = f'pip install {LIBRARIES[name]}' if name in LIBRARIES else "NVIDIA's driver brings it"
    return f'MISSING: {brings} ({reason})'


def _has_code_for(capability):
    """Whether the GPU build can run on a GPU of this generation: code for 8.6 runs on 8.9, not on 8.0 or 9.0.

    >>> [_has_code_for(one) for one in ((3, 5), (7, 5), (8, 9), (9, 0))]
    [False, True, True, False]
    """
    return any(major == capability[0] and minor <= capability[1] for major, minor in _CODE)


def gpu_report():
    """What the driver says of itself and its GPUs, as a dictionary of words; empty without a driver."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return {}
    version, count = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    found = {'driver': f'for CUDA {version.value // 1000}.{version.value % 1000 // 10} and older'}
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return {**found, 'gpu': 'none that the driver can use'}
    return {**found, **{f'gpu {i}': _describe(driver, i) for i in range(count.value)}}


def _describe(driver, number):
    name, part, capability = ctypes.create_string_buffer(100), ctypes.c_int(), []
    driver.cuDeviceGetName(name, len(name), number)
    for attribute in (_MAJOR, _MINOR):
        driver.cuDeviceGetAttribute(ctypes.byref(part), attribute, number)
        capability.append(part.value)
    can = 'can run' if _has_code_for(tuple(capability)) else 'has NO code for it: use the CPU build'
    return f'{name.value.decode()}, generation {capability[0]}.{capability[1]}: {BUILD} {can}'
