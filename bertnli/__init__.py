"""Natural language inference by fine-tuning BERT: one chapter, complete, on MXNet.

The public names of every file, in the order in which the data goes and the README reads. None is loaded
before it is asked for: `import bertnli` alone starts no MXNet, no NumPy and no matplotlib, so worker
processes and `bertnli --help` start in a blink. It only waits for MXNet's import, to prepare the process.

>>> import bertnli
>>> bertnli.tokenize(['a dog runs .'])
[['a', 'dog', 'runs', '.']]
"""

import lazy_loader as _lazy

from .machine import tuning as _tuning

__version__ = '0.1.0'

_PUBLIC = {
    'text': ['LABELS', 'SentencePair', 'read_pairs', 'read_snli', 'read_wiki'],
    'tokens': ['RESERVED', 'Vocab', 'tokenize'],
    'examples': [
        'encode_pair',
        'get_tokens_and_segments',
        'mask_tokens',
        'next_sentence_pairs',
        'truncate_pair',
    ],
    'datasets': ['SNLIBERTDataset', 'WikiTextDataset'],
    'batches': ['Batches', 'get_dataloader_workers', 'length_grouped', 'load_data_snli', 'load_data_wiki'],
    'devices': ['cpu_devices', 'split_batch_multi_inputs', 'try_all_gpus'],
    'model': ['BERTClassifier', 'BERTEncoder', 'BERTModel', 'MaskLM', 'NextSentencePred'],
    'metrics': ['Tally', 'evaluate_accuracy_gpus'],
    'pretraining': ['PretrainResult', 'train_bert'],
    'finetuning': ['FinetuneResult', 'forward_backward', 'train_batch_ch13', 'train_ch13', 'train_nli'],
    'prediction': ['Guess', 'Prediction', 'fill_mask', 'predict_pairs', 'predict_snli'],
    'errors': ['BertNLIError', 'CheckpointError', 'DataError', 'RuntimeMismatch', 'SettingsError'],
    'settings': ['PRESETS', 'FinetuneSettings', 'ModelSettings', 'Preset', 'PretrainSettings'],
    'runtime': ['report'],
    'corpora.files': ['REGISTRY', 'data_dir', 'download_extract'],
    'corpora.treebank': ['words'],
    'storage.checkpoints': [
        'SHIPPED',
        'Checkpoint',
        'load_checkpoint',
        'load_pretrained_model',
        'save_checkpoint',
    ],
    'storage.states': ['Keeper'],
    'headstart.counting': ['WordVectors', 'begin_with_vectors', 'word_vectors'],
    'headstart.alignment': ['begin_with_alignment'],
    'analysis.report': [
        'Mistake',
        'Report',
        'evaluate',
        'evaluate_pretraining',
        'expected_calibration_error',
    ],
    'analysis.baselines': ['hypothesis_only_baseline', 'overlap_baseline'],
    'analysis.explain': ['explain_pair'],
    'analysis.inside': [
        'Attention',
        'Neighbour',
        'Saliency',
        'attention',
        'cls_vectors',
        'nearest_words',
        'saliency',
    ],
    'pictures.style': ['Page', 'Picture', 'show_source'],
    'pictures.curves': ['LiveCurves', 'plot_history'],
    'pictures.answers': [
        'plot_confusion',
        'plot_labels',
        'plot_lengths',
        'plot_probabilities',
        'plot_reliability',
        'show_probabilities',
    ],
    'pictures.inside': ['plot_attention', 'plot_points', 'show_attention', 'show_saliency'],
    'pictures.speed': ['plot_ratios', 'plot_sizes', 'plot_speedups'],
    'pictures.playground': ['Playground', 'playground'],
    'cluster.worker': ['Cluster', 'join_cluster'],
    'app.jobs': ['parse_devices'],
    'evidence.bench': ['compare'],
}
# Files without public names, and wings: `bertnli.training`, `bertnli.app.jobs.demo`.
_FILES = {name.split('.')[0] for name in _PUBLIC} | {'training', 'fast', 'machine'}

__getattr__, _, __all__ = _lazy.attach(__name__, submodules=_FILES, submod_attrs=_PUBLIC)
__all__ += ['__version__']
# A reader's own `import mxnet` leaves MXNet in the state that this library needs, as d2l's does.
_tuning.wait_for_mxnet(afterwards=lambda: __getattr__('runtime'))


def __dir__():
    return sorted(__all__)
