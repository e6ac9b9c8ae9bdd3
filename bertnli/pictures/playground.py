"""The playground: type two sentences in a notebook and see the answer, its reasons and the attention."""

import textwrap
import time

from ..analysis.inside import attention, occlusion
from ..corpora.files import data_dir
from ..corpora.treebank import PLAIN
from ..errors import DataError, SettingsError
from ..prediction import predict_snli, sentence_words
from ..runtime import full_name
from ..storage.checkpoints import load_checkpoint
from ..text import LABELS
from .answers import show_probabilities
from .inside import show_attention_lines, show_saliency
from .style import Interactive, element, ipywidgets, shortened

_SHOWN = 40  # tokens in the picture of attention: more would not fit on a screen
_PAUSE = 2.0  # seconds; a pair that stood for less was still being typed


def playground(net='bert-nli-small', vocab=None, *, max_len=128, examples=None):
    """Try out a network, or two side by side, as the last expression of a cell; returns a `Playground`.

    `net` is a `BERTClassifier`, with its `vocab`, or the name or folder of a saved one; two are
    `playground(a, b)`, each a name, a folder or `(net, vocab)`. Pairs have up to `max_len` tokens (for
    a saved one: as in its training); `examples` are pairs of sentences (None: those of `data/examples.tsv`).
    Raises `RuntimeMismatch` without ipywidgets, `CheckpointError` if there is no such model.

    >>> from bertnli import BERTClassifier, BERTModel, Vocab
    >>> vocab = Vocab(['a', 'dog', '.'], reserved_tokens=['<pad>', '<mask>', '<cls>', '<sep>'])
    >>> net = BERTClassifier(BERTModel(len(vocab), 4, 4, 2, 1, 0))
    >>> net.initialize()
    >>> play = playground(net, vocab, examples=[('A dog.', 'A dog.')])
    >>> play.hypothesis.value = 'A zebra.'
    >>> play.notes
    ['Words not in the vocabulary, read as <unk>: zebra']
    """
    if hasattr(net, 'collect_params') and (vocab is None or hasattr(vocab, 'token_to_idx')):
        given = [(net, vocab)]
    else:
        given = [net] if vocab is None else [net, vocab]
    return Playground(given, max_len, examples or shipped_examples())


def shipped_examples():
    """Pairs to try: premise, hypothesis, the right label, and why the shipped model misses it, if it does."""
    table = (data_dir('sample') / 'examples.tsv').read_text(encoding='utf-8')
    return [row.split('\t') for row in table.splitlines()[1:]]


class Playground(Interactive):
    """Widgets around one network or two: `premise`, `hypothesis`, `examples`, `exchange`, `layer`, `head`.

    Setting a widget's `value` updates the answers. `notes` say what could not be read, `history` holds what
    was asked (`tsv` is its text), `box` all widgets, and `columns` the results of each network. `playground`
    makes it of one or two `models`, each a name, a folder or `(net, vocab)`; `max_len` means the same there.
    """

    def __init__(self, models, max_len, examples):
        widgets = ipywidgets()
        examples = [(a, b, why[-1] if why else '') for a, b, *why in examples]
        self._examples = {f'{a} → {b}' + ' (it fails)' * bool(why): (a, b, why) for a, b, why in examples}
        self.notes, self.history, self._typed, self._why, self._last = [], [], 0.0, None, 0
        wide = {'layout': {'width': '95%'}, 'style': {'description_width': '6em'}}
        # Only boxes for text keep their keys: in a menu JupyterLab takes the arrows, and x cuts the cell.
        asked = {'placeholder': 'choose one of them', 'description': 'examples'}
        self.examples = widgets.Combobox(options=list(self._examples), **asked, **wide)
        self.premise = widgets.Text(examples[0][0], description='premise', **wide)
        self.hypothesis = widgets.Text(examples[0][1], description='hypothesis', **wide)
        self.exchange = widgets.Button(description='exchange', tooltip='exchange premise and hypothesis')
        number = {'min': 0, 'max': 0, 'layout': {'width': '9em'}, 'style': {'description_width': '3em'}}
        self.layer = widgets.BoundedIntText(description='layer', **number)
        self.head = widgets.BoundedIntText(description='head', **number)
        self._notes, self.asked = widgets.HTML(), widgets.Textarea(description='asked (TSV)', rows=4, **wide)
        self.columns = [_Column(widgets, model, max_len, len(models) > 1) for model in models]
        menus = widgets.HBox([self.exchange, self.layer, self.head])
        shown = widgets.HBox([one.box for one in self.columns], layout={'flex_flow': 'row wrap'})
        typed = self.examples, self.premise, self.hypothesis
        self.box = widgets.VBox([*typed, menus, self._notes, shown, self.asked])
        self.examples.observe(self._choose, 'value')
        self.exchange.on_click(lambda _: self._fill(self.hypothesis.value, self.premise.value))
        for box in (self.premise, self.hypothesis):
            box.observe(self._type, 'value')
        for menu in (self.layer, self.head):
            menu.observe(lambda _: self._look(), 'value')
        self._ask()

    @property
    def tsv(self):
        """What was asked, a line for each pair and network, as text between tabs."""
        lines = [['model', 'premise', 'hypothesis', 'label', *LABELS], *self.history]
        return ''.join('\t'.join(' '.join(str(cell).split()) for cell in line) + '\n' for line in lines)

    @property
    def still(self):
        typed = element('p', f'{self.premise.value} → {self.hypothesis.value}') + self._notes.value
        return typed + ''.join(one.answer.value + one.reasons.value for one in self.columns)

    def __repr__(self):
        typed = (textwrap.shorten(box.value, 60, placeholder=' …') for box in (self.premise, self.hypothesis))
        return 'Playground({!r}, {!r})'.format(*typed)

    def _choose(self, change):
        if change['new'] in self._examples:
            self._fill(*self._examples[change['new']])
            self.examples.value = ''  # so that all of them can be chosen again

    def _fill(self, premise, hypothesis, why=None):
        # Both boxes change, but only the new pair is answered: no premise with the old hypothesis.
        self._typed, self._why = 0.0, why
        for box, sentence in (self.premise, premise), (self.hypothesis, hypothesis):
            box.unobserve(self._type, 'value')
            box.value = sentence
            box.observe(self._type, 'value')
        self._ask()

    def _type(self, _change):
        self._why = None
        self._ask()
        self._typed = time.monotonic()

    def _ask(self):
        pair = self.premise.value, self.hypothesis.value
        # While somebody types, the last line is the one that grows.
        if self._typed > time.monotonic() - _PAUSE:
            del self.history[len(self.history) - self._last :]
        before = len(self.history)
        self.notes = [f'It fails here: {self._why}'] if self._why else []
        for column in self.columns:
            try:
                notes, line = column.ask(*pair)
            except DataError:  # a box without a word: the reader is still typing
                notes, line = ['Type a sentence into each box to get an answer.'], None
                column.clear()
            self.notes += [note for note in notes if note not in self.notes]
            if line:
                self.history.append(line)
        self._notes.value = ''.join(element('p', note, role='status') for note in self.notes)
        shapes = [one.attention.weights.shape for one in self.columns if one.attention]
        for menu, counts in zip((self.layer, self.head), zip(*shapes)):
            menu.max = max(counts) - 1
        self._last, self.asked.value = len(self.history) - before, self.tsv
        self._look()

    def _look(self):
        for column in self.columns:
            column.look(self.layer.value, self.head.value)


class _Column:
    """One network's answer, its reasons and its attention."""

    def __init__(self, widgets, model, max_len, named):
        if isinstance(model, (tuple, list)):
            (net, vocab), name = model, full_name(model[0]).split('.')[-1]
        elif hasattr(model, 'token_to_idx'):
            raise SettingsError('a vocabulary where a network should be', remedy='playground(net, vocab)')
        else:
            loaded = load_checkpoint(model, kind='nli')
            net, vocab, max_len, name = loaded.net, loaded.vocab, loaded.max_len, str(model)
        if not hasattr(vocab, 'token_to_idx'):
            raise SettingsError('the vocabulary is missing', found=vocab, remedy='playground(net, vocab)')
        self._pair, self._known, self._of = (net, vocab), vocab.token_to_idx, f'{name}: ' * named
        self._max_len = min(max_len, net.bert.encoder.pos_embedding.shape[1])  # it has no more places
        self.name, self.attention = name, None
        self.answer, self.reasons, self.looks = (widgets.HTML() for _ in range(3))
        width = {'width': '49%', 'min_width': '25em'} if named else {}
        self.box = widgets.VBox([self.answer, self.reasons, self.looks], layout=width)

    def clear(self):
        self.attention = None
        self.answer.value = self.reasons.value = self.looks.value = ''

    def ask(self, premise, hypothesis):
        """Show the answer to a pair; returns the notes and a line of the history."""
        typed = [word for text in (premise, hypothesis) for word in sentence_words(text, self._pair[1])]
        said = [word for word in typed if any(map(str.isalnum, word)) and word not in PLAIN]
        if not said:
            raise DataError('only signs, no words')
        asked, room = (*self._pair, premise, hypothesis), {'max_len': self._max_len}
        answer = predict_snli(*asked, **room, max_unknown=None)  # what was not read is told below
        self.attention = attention(*asked, **room)
        title = f'{self._of}{answer.label}'
        self.answer.value = show_probabilities(answer.probabilities, LABELS, title=title).html
        left_out = len(typed) - (len(self.attention.words) - 3)  # <cls> and two <sep> were added
        # subtle: never `word in vocab`, which does not end with d2l's class.
        if any(word in self._known for word in said):
            found = occlusion(*asked, **room)
            title = f'What {found.label} loses when a word is deleted (occlusion)'
            self.reasons.value = show_saliency(_plain(found.words), found.values, title=title).html
            unknown = list(dict.fromkeys(_plain(word for word in typed if word not in self._known)))
            listed = ', '.join(unknown[:8]) + (f' and {len(unknown) - 8} more' if len(unknown) > 8 else '')
            notes = [f'{self._of}Words not in the vocabulary, read as <unk>: {listed}'] if unknown else []
        else:  # colours would be about nothing
            self.attention, self.reasons.value = None, ''
            notes = [f'{self._of}I know none of these words: the answer is a guess.']
        if left_out > 0:
            notes.append(f'{self._of}The pair is too long: its last {left_out} words were left out.')
        shares = (f'{share:.4f}' for share in answer.probabilities)
        return notes, [self.name, premise, hypothesis, answer.label, *shares]

    def look(self, layer, head):
        """Show one head's attention large, all of them small."""
        if self.attention is None:
            self.looks.value = ''
            return
        (tokens, weights), count = self.attention, len(self.attention.words)
        layer, head = (min(value, size - 1) for value, size in zip((layer, head), weights.shape))
        title = f'Attention, layer {layer}, head {head}'
        if count > _SHOWN:  # the beginnings of both sentences
            first, most = tokens.index('<sep>') + 1, _SHOWN // 2
            kept = [*range(min(most, first - 1)), first - 1, *range(first, min(first + most, count))]
            title += f' ({len(kept)} of {count} tokens)'
            tokens, weights = [tokens[i] for i in kept], weights[:, :, kept][..., kept]
        page = show_attention_lines(weights, _plain(tokens), layer=layer, head=head, title=title)
        self.looks.value = page.html


def _plain(words):
    """Words as they were typed, but never endless."""
    return [shortened(PLAIN.get(word, word)) for word in words]
