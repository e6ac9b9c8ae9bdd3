"""Natural language inference by fine-tuning BERT: one chapter, complete, on MXNet.

The public names of every file, in the order in which the data goes and the README reads. None is loaded
before it is asked for: `import bertnli` alone starts no MXNet, no NumPy and no matplotlib, so worker
processes and `bertnli --help` start in a blink. It only waits for MXNet's import, to prepare the process.

>>> import bertnli
>>> bertnli.tokenize(['a dog runs .'])
[['a', 'dog', 'runs', '.']]

Every other public name is d2l's own, so another chapter's notebook says `import bertnli as d2l`:

>>> bertnli.truncate_pad([5, 7], 3, 0)
[5, 7, 0]
"""

import lazy_loader as _lazy

from .machine import tuning as _tuning

__version__ = '0.1.0'

_PUBLIC = {
    'text': 'LABELS SentencePair read_pairs read_snli read_wiki',
    'tokens': 'RESERVED Vocab tokenize',
    'examples': (
        'STRATEGIES encode_pair get_tokens_and_segments keep_longest keep_ratio mask_tokens '
        'next_sentence_pairs truncate_pair'
    ),
    'datasets': 'PairDataset SNLIBERTDataset WikiTextDataset',
    'batches': 'Batches get_dataloader_workers length_grouped load_data_snli load_data_wiki',
    'devices': 'cpu_devices split_batch_multi_inputs try_all_gpus',
    'model': 'BERTClassifier BERTEncoder BERTModel MaskLM NextSentencePred',
    'metrics': 'Tally evaluate_accuracy_gpus',
    'training': 'Run Updater seed_step trained_parameters',
    'pretraining': 'PretrainResult train_batch_bert train_bert',
    'finetuning': 'FinetuneResult forward_backward train_batch_ch13 train_ch13 train_nli',
    'prediction': 'Guess Prediction fill_mask predict_pairs predict_snli',
    'errors': 'BertNLIError CheckpointError DataError RuntimeMismatch SettingsError',
    'settings': 'PRESETS FinetuneSettings ModelSettings Preset PretrainSettings',
    'runtime': 'report',
    'corpora.files': 'REGISTRY data_dir download_extract',
    'corpora.pairs': 'PairFiles',
    'corpora.treebank': 'normalize words',
    'storage.checkpoints': 'SHIPPED Checkpoint load_checkpoint load_pretrained_model save_checkpoint',
    'storage.states': 'Keeper',
    'headstart.counting': 'WordVectors begin_with_vectors word_vectors',
    'headstart.alignment': 'begin_with_alignment',
    'analysis.report': 'Mistake Report evaluate evaluate_pretraining expected_calibration_error',
    'analysis.challenge': 'judge_challenge judge_typing read_challenge',
    'analysis.baselines': 'hypothesis_only_baseline overlap_baseline',
    'analysis.explain': 'explain_pair',
    'analysis.inside': (
        'Attention Counterfactual Neighbour Saliency attention cls_vectors counterfactuals '
        'integrated_gradients nearest_words occlusion saliency'
    ),
    'pictures.style': 'Page Picture show_source',
    'pictures.curves': 'LiveCurves plot_history',
    'pictures.answers': (
        'plot_challenge plot_confusion plot_labels plot_lengths plot_reliability show_probabilities'
    ),
    'pictures.inside': 'plot_attention plot_points show_attention_lines show_saliency',
    'pictures.speed': 'plot_ratios plot_sizes plot_speedups',
    'pictures.browse': 'Browser browse',
    'pictures.playground': 'Playground playground',
    'cluster.worker': 'Cluster join_cluster',
    'app.jobs': 'parse_devices',
    'evidence.bench': 'compare',
}
_PUBLIC = {file: names.split() for file, names in _PUBLIC.items()}
# Files and wings by their names: `bertnli.training`, `bertnli.app.jobs.demo`.
_FILES = {name.split('.')[0] for name in _PUBLIC} | {'fast', 'machine'}

# Classes and functions that the book renamed and left as they were: cells of every edition find them.
_RENAMED = {
    'EncoderBlock': 'TransformerEncoderBlock',
    'MLPAttention': 'AdditiveAttention',
    'build_colormap2label': 'voc_colormap2label',
    'seq_data_iter_consecutive': 'seq_data_iter_sequential',
    'train_ch5': 'train_ch6',
    'train_gluon_ch11': 'train_concise_ch11',
    'trim_pad': 'truncate_pad',
}
_RENAMED |= {new: old for old, new in _RENAMED.items()}

_ours, _, __all__ = _lazy.attach(__name__, submodules=_FILES, submod_attrs=_PUBLIC)
__all__ += ['__version__']
# A reader's own `import mxnet` leaves MXNet in the state that this library needs, as d2l's does.
_tuning.wait_for_mxnet(afterwards=lambda: _ours('runtime'))


def __getattr__(name):
    # d2l takes seconds to load: never for what Python, Jupyter and pickle ask every module for.
    if name in __all__ or name.startswith('_'):
        return _ours(name)
    d2l = _ours('runtime').d2l
    for known in (name, _RENAMED.get(name, name)):
        if known in vars(d2l):
            return vars(d2l)[known]
    import difflib  # lazy: only an error needs it
    import sys  # lazy: as above

    theirs = f'd2l {sys.modules["d2l"].__version__}'
    homes = dict.fromkeys(vars(d2l), theirs) | dict.fromkeys(__all__, __name__)
    near = ', '.join(f'{one} ({homes[one]})' for one in difflib.get_close_matches(name, homes))
    raise AttributeError(f'neither {__name__} nor {theirs} has {name!r}; nearest: {near or "nothing"}')


def __dir__():
    return sorted(__all__)
