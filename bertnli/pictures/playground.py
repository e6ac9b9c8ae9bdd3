"""The playground: type two sentences in a notebook and see the answer, its reasons and the attention."""

import importlib
import textwrap

from ..analysis.inside import attention, saliency
from ..errors import DataError, RuntimeMismatch, SettingsError
from ..prediction import predict_snli, sentence_words
from ..storage.checkpoints import load_checkpoint
from ..text import LABELS
from .answers import show_probabilities
from .inside import show_attention, show_saliency
from .style import element

EXAMPLES = (
    ('A man sleeps in the park.', 'A person sleeps.'),
    ('A man sleeps in the park.', 'A man runs in the park.'),
    ('A woman walks her dog.', 'A woman walks her dog in the street.'),
    ('Two dogs run in a field.', 'Two animals are outside.'),
    ("A boy doesn't run.", 'A boy runs.'),
    ('A dog runs.', 'A dog runs.'),
)
_SHOWN = 40  # tokens in the table of attention: more would not fit on a screen


def playground(net='bert-nli-small', vocab=None, *, max_len=128, examples=EXAMPLES):
    """Try out a network in a notebook, as the last expression of a cell; returns a `Playground`.

    `net` is a `BERTClassifier`, with its `vocab`, or the name or folder of a saved one; `examples` are pairs
    of sentences. Raises `RuntimeMismatch` without ipywidgets, `CheckpointError` if there is no such model.

    >>> from bertnli import BERTClassifier, BERTModel, Vocab
    >>> vocab = Vocab(['a', 'dog', '.'], reserved_tokens=['<pad>', '<mask>', '<cls>', '<sep>'])
    >>> net = BERTClassifier(BERTModel(len(vocab), 4, 4, 2, 1, 0))
    >>> net.initialize()
    >>> play = playground(net, vocab, examples=[('A dog.', 'A dog.')])
    >>> play.hypothesis.value = 'A zebra.'
    >>> play.notes
    ['Words not in the vocabulary, read as <unk>: zebra']
    """
    if not hasattr(net, 'collect_params'):
        loaded = load_checkpoint(net, kind='nli')
        net, vocab, max_len = loaded.net, loaded.vocab, loaded.max_len
    if vocab is None:
        raise SettingsError('the vocabulary is missing', remedy='playground(net, vocab)')
    return Playground(net, vocab, max_len, examples)


class Playground:
    """Widgets around one network: `premise`, `hypothesis`, `examples`, `layer`, `head`, and the results.

    Setting a widget's `value` updates the answer. `notes` say what could not be read; `box` has all widgets.
    """

    def __init__(self, net, vocab, max_len, examples):
        try:
            widgets = importlib.import_module('ipywidgets')  # lazy: only the playground needs it
        except ImportError as error:
            remedy = "pip install 'ipywidgets>=8', then restart the notebook's kernel"
            raise RuntimeMismatch('ipywidgets is missing', found=str(error), remedy=remedy) from error
        self._net, self._vocab = net, vocab
        self._max_len = min(max_len, net.bert.encoder.pos_embedding.shape[1])  # it has no more positions
        self._attention, self.notes = None, []
        wide = {'layout': {'width': '95%'}, 'style': {'description_width': '6em'}}
        (first, second), *_ = examples
        self.premise = widgets.Text(first, description='premise', **wide)
        self.hypothesis = widgets.Text(second, description='hypothesis', **wide)
        pairs = [(f'{a} → {b}', (a, b)) for a, b in examples]
        self.examples = widgets.Dropdown(options=pairs, description='examples', **wide)
        self.layer = widgets.Dropdown(description='layer', options=[0])
        self.head = widgets.Dropdown(description='head', options=[0])
        self.told, self.answer, self.reasons, self.looks = (widgets.HTML() for _ in range(4))
        typed = self.examples, self.premise, self.hypothesis
        menus = widgets.HBox([self.layer, self.head])
        self.box = widgets.VBox([*typed, self.told, self.answer, self.reasons, menus, self.looks])
        self.examples.observe(self._choose, 'value')
        for box in (self.premise, self.hypothesis):
            box.observe(self._ask, 'value')
        for menu in (self.layer, self.head):
            menu.observe(self._look, 'value')
        self._ask()

    def _repr_mimebundle_(self, **options):
        # Where no kernel runs, as on a printed page, the last answer is shown.
        still = element('p', f'{self.premise.value} → {self.hypothesis.value}')
        still += self.told.value + self.answer.value + self.reasons.value
        return {**self.box._repr_mimebundle_(**options), 'text/plain': repr(self), 'text/html': still}

    def __repr__(self):
        typed = (textwrap.shorten(box.value, 60, placeholder=' …') for box in (self.premise, self.hypothesis))
        return 'Playground({!r}, {!r})'.format(*typed)

    def _choose(self, change):
        # Both boxes change, but only the new pair is answered: no premise with the old hypothesis.
        self.premise.unobserve(self._ask, 'value')
        self.premise.value, hypothesis = change['new']
        self.premise.observe(self._ask, 'value')
        if self.hypothesis.value == hypothesis:
            self._ask()
        self.hypothesis.value = hypothesis

    def _ask(self, _change=None):
        try:
            self._answer(self.premise.value, self.hypothesis.value)
        except DataError:  # a box without a word: the reader is still typing
            self._attention = None
            self._tell(['Type a sentence into each box to get an answer.'])
            self.answer.value = self.reasons.value = self.looks.value = ''

    def _answer(self, premise, hypothesis):
        pair = self._net, self._vocab, premise, hypothesis
        answer = predict_snli(*pair, max_len=self._max_len)
        reasons = saliency(*pair, max_len=self._max_len)
        self._attention = attention(*pair, max_len=self._max_len)
        self._tell(self._unread(premise, hypothesis, reasons.words))
        self.answer.value = show_probabilities(answer.probabilities, LABELS, title=answer.label).html
        title = f'What speaks for {reasons.label}?'
        self.reasons.value = show_saliency(reasons.words, reasons.values, title=title).html
        for menu, count in zip((self.layer, self.head), self._attention.weights.shape):
            if len(menu.options) != count:
                menu.options = list(range(count))
        self._look()

    def _unread(self, premise, hypothesis, read):
        """Notes on unknown words, and words beyond the maximum length."""
        typed, notes = [*sentence_words(premise), *sentence_words(hypothesis)], []
        # subtle: never `word in vocab`, which does not end with d2l's class.
        known = self._vocab.token_to_idx
        unknown = list(dict.fromkeys(word for word in typed if word not in known))
        if unknown:
            more = f' and {len(unknown) - 8} more' if len(unknown) > 8 else ''
            notes.append(f'Words not in the vocabulary, read as <unk>: {", ".join(unknown[:8])}{more}')
        left_out = len(typed) - (len(read) - 3)  # <cls> and two <sep> were added
        if left_out > 0:
            notes.append(f'The pair is too long: its last {left_out} words were left out.')
        return notes

    def _tell(self, notes):
        self.notes = notes
        self.told.value = ''.join(element('p', note, role='status') for note in notes)

    def _look(self, _change=None):
        if self._attention is None:
            return
        (tokens, weights), layer, head = self._attention, self.layer.value, self.head.value
        title = f'Attention, layer {layer}, head {head}'
        if len(tokens) > _SHOWN:
            title += f' (the first {_SHOWN} of {len(tokens)} tokens)'
        weights = weights[layer, head, :_SHOWN, :_SHOWN]
        self.looks.value = show_attention(weights, tokens[:_SHOWN], title=title).html
