"""The playground: two sentences, three bars, and a look inside, answered while the reader types.

`playground()` puts together what prediction.py and inside.py say and what pictures.py shows; nothing here
computes or draws. It needs ipywidgets, which comes with Jupyter. (The file is not called playground, so that
`bertnli.playground` is the function whatever was imported before.)
"""

import html
import importlib

from ..analysis.inside import attention, saliency
from ..corpora.treebank import words
from ..errors import DataError, RuntimeMismatch, SettingsError
from ..prediction import predict_snli
from ..storage.checkpoints import load_checkpoint
from ..text import LABELS
from .answers import show_probabilities
from .inside import show_attention, show_saliency

EXAMPLES = (
    ('A man sleeps in the park.', 'A person sleeps.'),
    ('A man sleeps in the park.', 'A man runs in the park.'),
    ('A woman walks her dog.', 'A woman walks her dog in the street.'),
    ('Two dogs run in a field.', 'Two animals are outside.'),
    ("A boy doesn't run.", 'A boy runs.'),
    ('A dog runs.', 'A dog runs.'),
)
_SHOWN = 40  # tokens in a table of attention: more would not fit on a screen


def playground(net='bert-nli-small', vocab=None, *, max_len=128, examples=EXAMPLES):
    """Ask a network in a notebook, as the last expression of a cell; returns a `Playground`.

    `net` is a `BERTClassifier`, with its `vocab`, or the name or folder of a saved one. `examples` are
    (premise, hypothesis) pairs for the menu. Raises `RuntimeMismatch` without ipywidgets, `CheckpointError`
    if there is no such model.

    >>> from bertnli import BERTClassifier, BERTModel, Vocab
    >>> vocab = Vocab(['a', 'dog', '.'], reserved_tokens=['<pad>', '<mask>', '<cls>', '<sep>'])
    >>> net = BERTClassifier(BERTModel(len(vocab), 4, 4, 2, 1, 0))
    >>> net.initialize()
    >>> play = playground(net, vocab, examples=[('A dog.', 'A dog.')])
    >>> play.hypothesis.value = 'A zebra.'
    >>> play.notes
    ['Words that the network does not know: zebra', 'It reads each of them as <unk>.']
    """
    if not hasattr(net, 'collect_params'):
        loaded = load_checkpoint(net, kind='nli')
        net, vocab, max_len = loaded.net, loaded.vocab, loaded.max_len
    if vocab is None:
        raise SettingsError(
            'a network cannot read without its vocabulary', where='vocab', remedy='playground(net, vocab)'
        )
    return Playground(net, vocab, max_len, examples)


def _ipywidgets():
    try:
        return importlib.import_module('ipywidgets')  # lazy: only the playground needs it
    except ImportError as error:
        raise RuntimeMismatch(
            'the playground needs ipywidgets',
            found=str(error),
            remedy="pip install 'ipywidgets>=8', then restart the notebook's kernel",
        ) from error


class Playground:
    """Widgets around one network: `premise`, `hypothesis`, `examples`, `layer`, `head`, and what follows.

    Setting a widget's `value` answers anew. `notes` are the sentences that tell what the network could not
    read as it was typed; `box` is the whole as one widget, which a notebook shows.
    """

    def __init__(self, net, vocab, max_len, examples):
        widgets = _ipywidgets()
        self._net, self._vocab = net, vocab
        self._max_len = min(max_len, _longest(net))
        self._attention, self.notes = None, []
        wide = {'layout': {'width': '95%'}, 'style': {'description_width': '6em'}}
        (first, second), *_ = examples
        self.premise = widgets.Text(first, description='premise', **wide)
        self.hypothesis = widgets.Text(second, description='hypothesis', **wide)
        pairs = [(f'{a} → {b}', (a, b)) for a, b in examples]
        self.examples = widgets.Dropdown(options=pairs, description='examples', **wide)
        self.layer = widgets.Dropdown(description='layer', options=[0])
        self.head = widgets.Dropdown(description='head', options=[0])
        self.answer, self.reasons, self.looks, self.told = (widgets.HTML() for _ in range(4))
        self.box = widgets.VBox(
            [
                self.examples,
                self.premise,
                self.hypothesis,
                self.told,
                self.answer,
                self.reasons,
                widgets.HBox([self.layer, self.head]),
                self.looks,
            ]
        )
        for box in (self.premise, self.hypothesis):
            box.observe(self._ask, 'value')
        self.examples.observe(self._choose, 'value')
        for picker in (self.layer, self.head):
            picker.observe(self._look, 'value')
        self._ask()

    def _repr_mimebundle_(self, **chosen):
        # Where no kernel answers, as on a printed page, the last answer stands still.
        still = f'<p>{html.escape(self.premise.value)} → {html.escape(self.hypothesis.value)}</p>'
        still += self.told.value + self.answer.value + self.reasons.value
        return {**self.box._repr_mimebundle_(**chosen), 'text/plain': repr(self), 'text/html': still}

    def __repr__(self):
        return f'Playground({self.premise.value!r}, {self.hypothesis.value!r})'

    def _choose(self, change):
        # Both boxes change, but the question is asked once: with the first still observed, it would be asked
        # of a premise and a hypothesis that do not belong together.
        self.premise.unobserve(self._ask, 'value')
        self.premise.value, hypothesis = change['new']
        self.premise.observe(self._ask, 'value')
        if self.hypothesis.value == hypothesis:
            self._ask()
        self.hypothesis.value = hypothesis

    def _ask(self, _change=None):
        sentences = self.premise.value, self.hypothesis.value
        try:
            self._answer(*sentences)
        except DataError:  # a box without a word in it: the reader is still typing
            self._attention = None
            self._tell(['Write a sentence into each box, and the answer appears here.'])
            self.answer.value = self.reasons.value = self.looks.value = ''

    def _answer(self, premise, hypothesis):
        pair = self._net, self._vocab, premise, hypothesis
        found = predict_snli(*pair, max_len=self._max_len)
        reasons = saliency(*pair, max_len=self._max_len)
        self._attention = attention(*pair, max_len=self._max_len)
        self._tell(self._unread(premise, hypothesis, reasons.words))
        self.answer.value = show_probabilities(found.probabilities, LABELS, title=found.label).html
        title = f'What speaks for {reasons.label}?'
        self.reasons.value = show_saliency(reasons.words, reasons.values, title=title).html
        layers, heads = self._attention.weights.shape[:2]
        for picker, count in ((self.layer, layers), (self.head, heads)):
            if len(picker.options) != count:
                picker.options = list(range(count))
        self._look()

    def _unread(self, premise, hypothesis, read):
        """Sentences about what the network could not read as it was typed."""
        typed = [*words(premise), *words(hypothesis)]
        # subtle: never `word in vocab`, which has no end with d2l's class.
        table = self._vocab.token_to_idx
        unknown = list(dict.fromkeys(word for word in typed if word not in table))
        notes = []
        if unknown:
            more = f' and {len(unknown) - 8} more' if len(unknown) > 8 else ''
            notes.append(f'Words that the network does not know: {", ".join(unknown[:8])}{more}')
            notes.append('It reads each of them as <unk>.')
        left_out = len(typed) - (len(read) - 3)  # <cls> and two <sep> were added
        if left_out > 0:
            notes.append(f'The pair is long: the last {left_out} of its words were left out.')
        return notes

    def _tell(self, notes):
        self.notes = notes
        self.told.value = ''.join(f'<p role="status">{html.escape(note)}</p>' for note in notes)

    def _look(self, _change=None):
        if self._attention is None:
            return
        layer, head = self.layer.value, self.head.value
        tokens = self._attention.words[:_SHOWN]
        weights = self._attention.weights[layer, head, :_SHOWN, :_SHOWN]
        title = f'Attention, layer {layer}, head {head}'
        if len(tokens) < len(self._attention.words):
            title += f' (the first {_SHOWN} of {len(self._attention.words)} tokens)'
        self.looks.value = show_attention(weights, tokens, title=title).html


def _longest(net):
    """The most tokens that the network has a position for."""
    return net.bert.encoder.pos_embedding.shape[1]
