"""Do the colours of an explanation tell what deleting a word does? Writes `results/occlusion.json`.

    python data/measure_occlusion.py data/results/occlusion.json [DIR]

200 dev pairs of the sample and, if DIR holds it, of SNLI, answered by `bert-nli-small`. The truth are
predictions for pairs that lack one word, asked one pair at a time: what the label of the whole pair's answer
loses. `sign` is the share of pairs whose decisive word, that of the largest loss or gain, has the right sign;
`correlation` is the median over pairs, `misleading` the share of pairs below 0. `unknown` is the share of
right signs when words are not deleted but become `<unk>`. It takes three minutes on two cores.
"""

import itertools
import sys

import numpy

import bertnli
from bertnli.prediction import sentence_words

METHODS = bertnli.occlusion, bertnli.integrated_gradients, bertnli.saliency


def measure(folders, count=200):
    """A row for each corpus, `{name: folder}`, and method."""
    model, rows = bertnli.load_checkpoint('bert-nli-small'), []
    for name, folder in folders.items():
        premises, hypotheses, _ = bertnli.read_snli(
            bertnli.download_extract('SNLI', data_dir=folder), split='dev'
        )
        pairs = list(zip(premises, hypotheses))[:: max(1, len(premises) // count)][:count]
        lost = [what_is_lost(model, *pair) for pair in pairs]
        for method in METHODS:
            found = [method(model.net, model.vocab, *pair) for pair in pairs]
            credits = (credit(one, *truth) for one, truth in zip(found, lost))
            signs, unknown, ties = (numpy.array(column) for column in zip(*credits))
            shares = {
                'sign': signs.mean(),
                'correlation': numpy.median(ties),
                'misleading': (ties < 0).mean(),
            }
            shares = {key: round(float(v), 4) for key, v in {**shares, 'unknown': unknown.mean()}.items()}
            rows.append({'name': f'{name}, {method.__name__}', 'pairs': len(pairs), **shares})
    return rows


def what_is_lost(model, premise, hypothesis):
    """What the answer's probability loses by each word, deleted and read as `<unk>`: two arrays (words,)."""
    sentences = [sentence_words(sentence, model.vocab) for sentence in (premise, hypothesis)]
    whole = bertnli.predict_snli(model.net, model.vocab, *sentences)
    number, lost = bertnli.LABELS.index(whole.label), []
    for instead, side in itertools.product(([], ['<unk>']), (0, 1)):
        for place in range(len(sentences[side])):
            less = list(sentences)
            less[side] = [*less[side][:place], *instead, *less[side][place + 1 :]]
            gone = not less[side]  # a sentence of one word cannot lose it
            share = whole if gone else bertnli.predict_snli(model.net, model.vocab, *less)
            lost.append(whole.probabilities[number] - share.probabilities[number])
    return numpy.array(lost).reshape(2, -1)


def credit(found, deleted, unknown):
    """Whether the decisive word has the right sign, by both truths; and the correlation with the first."""
    values = numpy.array([v for word, v in zip(found.words, found.values) if word not in ('<cls>', '<sep>')])
    decisive = [(truth[abs(truth).argmax()], values[abs(truth).argmax()]) for truth in (deleted, unknown)]
    signs = [lost * shown > 0 for lost, shown in decisive]
    steady = min(values.std(), deleted.std()) < 1e-12
    return (*signs, 0.0 if steady else numpy.corrcoef(values, deleted)[0, 1])


if __name__ == '__main__':
    path, *folder = sys.argv[1:]
    rows = measure({'sample': None, **({'SNLI': folder[0]} if folder else {})})
    bertnli.machine.disk.write_json(path, {'rows': rows, 'versions': bertnli.report()})
