"""The layout in which d2l publishes weights: `vocab.json` and `pretrained.params`."""

import io
import json
import math
import struct

import numpy as onp

# A list of arrays in MXNet's format (include/mxnet/ndarray.h); the index of a type is its number there. Later
# types are whole numbers, and no weights.
_LIST_MAGIC, _ARRAY_MAGICS = 0x112, (0xF993FAC9, 0xF993FACA)
_ARRAY_TYPES = ('<f4', '<f8', '<f2')


def words_in(content):
    """The list of words in the bytes of a `vocab.json`."""
    found = json.loads(content)
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise ValueError('the vocabulary is not a list of words')
    return found


def sizes_of(weights, prefix=''):
    """Those of a model's settings that the shapes of its weights tell."""
    return {
        'num_hiddens': weights[f'{prefix}encoder.token_embedding.weight'].shape[1],
        'ffn_num_hiddens': weights[f'{prefix}encoder.blks.0.ffn.dense1.weight'].shape[0],
        'num_layers': sum(name.endswith('.ffn.dense1.weight') for name in weights),
        'max_len': weights[f'{prefix}encoder.pos_embedding'].shape[1],
    }


def read_params(content):
    """The named arrays in the bytes of a `.params` file; raises `ValueError` or `struct.error`.

    subtle: MXNet's own reader believes every count in the file, and a torn one makes it ask for terabytes.
    Here no count is believed for which there are no bytes.
    """
    file = io.BytesIO(content)

    def read(form):
        return struct.unpack(form, file.read(struct.calcsize(form)))

    def array():
        magic, stored, ndim = read('<Iii')
        if magic not in _ARRAY_MAGICS or stored or not 0 <= ndim <= 8:
            raise ValueError(f'no dense array before byte {file.tell()}')
        shape = read(f'<{ndim}q')
        _, _, kind = read('<iii')  # the device it was on does not matter
        if kind >= len(_ARRAY_TYPES) or min(kind, *shape, 0) < 0:
            raise ValueError(f'no such type or shape before byte {file.tell()}')
        found = onp.frombuffer(content, _ARRAY_TYPES[kind], math.prod(shape), file.tell())
        file.seek(found.nbytes, io.SEEK_CUR)
        return found.reshape(shape)

    def text():
        (size,) = read('<Q')
        return read(f'<{min(size, len(content))}s')[0].decode('utf-8')

    if read('<QQ') != (_LIST_MAGIC, 0):
        raise ValueError('the file does not begin as a list of arrays does')
    arrays = [array() for _ in range(*read('<Q'))]
    names = [text() for _ in range(*read('<Q'))]
    if len(set(names)) != len(arrays) or file.tell() != len(content):
        raise ValueError('as many names as arrays, and nothing behind them, were expected')
    return dict(zip(names, arrays))
