"""Natural language inference by fine-tuning BERT: one chapter, complete, on MXNet.

The public names of every file, in the order in which the data goes and the README reads. None is loaded
before it is asked for: `import bertnli` alone starts no MXNet, no NumPy and no matplotlib, so worker
processes and `bertnli --help` start in a blink. It only waits for MXNet's import, to prepare the process.

>>> import bertnli
>>> bertnli.tokenize(['a dog runs .'])
[['a', 'dog', 'runs', '.']]
"""

import lazy_loader as _lazy

from . import tuning as _tuning

__version__ = '0.1.0'

_PUBLIC = {
    'errors': ['BertNLIError', 'CheckpointError', 'DataError', 'RuntimeMismatch', 'SettingsError'],
    'settings': ['PRESETS', 'FinetuneSettings', 'ModelSettings', 'Preset', 'PretrainSettings'],
    'files': ['REGISTRY', 'data_dir', 'download_extract'],
    'text': ['LABELS', 'SentencePair', 'read_pairs', 'read_snli', 'read_wiki'],
    'tokens': ['RESERVED', 'Vocab', 'tokenize', 'words'],
    'examples': [
        'encode_pair',
        'explain_pair',
        'get_tokens_and_segments',
        'mask_tokens',
        'next_sentence_pairs',
        'truncate_pair',
    ],
    'cuda': [],
    'tuning': [],
    'runtime': ['report'],
    'devices': [
        'Cluster',
        'cpu_devices',
        'join_cluster',
        'parse_devices',
        'split_batch_multi_inputs',
        'try_all_gpus',
    ],
    'datasets': ['SNLIBERTDataset', 'WikiTextDataset'],
    'batches': ['Batches', 'get_dataloader_workers', 'length_grouped', 'load_data_snli', 'load_data_wiki'],
    'model': ['BERTClassifier', 'BERTEncoder', 'BERTModel', 'MaskLM', 'NextSentencePred'],
    'checkpoints': ['SHIPPED', 'Checkpoint', 'load_checkpoint', 'load_pretrained_model', 'save_checkpoint'],
    'metrics': ['Tally', 'evaluate_accuracy_gpus'],
    'states': ['Keeper'],
    'vectors': ['WordVectors', 'word_vectors'],
    'pretraining': ['PretrainResult', 'begin_with_vectors', 'train_bert'],
    'finetuning': ['FinetuneResult', 'begin_with_alignment', 'train_batch_ch13', 'train_ch13', 'train_nli'],
    'evaluation': [
        'Mistake',
        'Report',
        'evaluate',
        'evaluate_pretraining',
        'expected_calibration_error',
        'hypothesis_only_baseline',
        'overlap_baseline',
    ],
    'prediction': ['Guess', 'Prediction', 'fill_mask', 'predict_pairs', 'predict_snli'],
    'inside': ['Attention', 'Neighbour', 'Saliency', 'attention', 'cls_vectors', 'nearest_words', 'saliency'],
    'pictures': [
        'LiveCurves',
        'Page',
        'Picture',
        'plot_attention',
        'plot_confusion',
        'plot_history',
        'plot_labels',
        'plot_lengths',
        'plot_points',
        'plot_probabilities',
        'plot_ratios',
        'plot_reliability',
        'plot_sizes',
        'plot_speedups',
        'show_attention',
        'show_probabilities',
        'show_saliency',
        'show_source',
    ],
    'widgets': ['Playground', 'playground'],
    'bench': ['compare'],
    'launch': [],  # `bertnli.launch.launch`
    'scaling': [],  # `bertnli.scaling.measure`
    'recipes': [],  # whole jobs, by their full names: `bertnli.recipes.demo`
    'studies': [],  # tables of them
}

__getattr__, _, __all__ = _lazy.attach(__name__, submodules=_PUBLIC, submod_attrs=_PUBLIC)
__all__ += ['__version__']
# A reader's own `import mxnet` leaves MXNet in the state that this library needs, as d2l's does.
_tuning.wait_for_mxnet(afterwards=lambda: __getattr__('runtime'))


def __dir__():
    return sorted(__all__)
