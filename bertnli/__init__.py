"""Natural language inference by fine-tuning BERT: one chapter, complete, on MXNet.

The public names of every file, in the order in which the data goes and the README reads. None is loaded
before it is asked for: `import bertnli` alone starts no MXNet, no NumPy and no matplotlib, so worker
processes and `bertnli --help` start in a blink.

>>> import bertnli
>>> bertnli.tokenize(['a dog runs .'])
[['a', 'dog', 'runs', '.']]
"""

import lazy_loader as _lazy

__version__ = '0.1.0'

_PUBLIC = {
    'errors': ['BertNLIError', 'CheckpointError', 'DataError', 'RuntimeMismatch', 'SettingsError'],
    'settings': ['PRESETS', 'FinetuneSettings', 'ModelSettings', 'PretrainSettings'],
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
    'runtime': ['report'],
    'devices': ['cpu_devices', 'split_batch_multi_inputs', 'try_all_gpus'],
    'datasets': ['SNLIBERTDataset', 'WikiTextDataset'],
    'batches': ['get_dataloader_workers', 'length_grouped', 'load_data_snli', 'load_data_wiki'],
    'model': ['BERTClassifier', 'BERTEncoder', 'BERTModel', 'MaskLM', 'NextSentencePred'],
    'checkpoints': ['load_checkpoint', 'load_pretrained_model', 'save_checkpoint'],
    'metrics': ['Tally', 'evaluate_accuracy_gpus'],
    'pretraining': ['train_bert'],
    'finetuning': ['train_batch_ch13', 'train_ch13', 'train_nli'],
    'evaluation': ['Report', 'evaluate'],
    'prediction': ['fill_mask', 'predict_snli'],
    'pictures': ['plot_confusion', 'plot_history', 'plot_lengths'],
}

__getattr__, _, __all__ = _lazy.attach(__name__, submodules=_PUBLIC, submod_attrs=_PUBLIC)
__all__ += ['__version__']


def __dir__():
    return sorted(__all__)
