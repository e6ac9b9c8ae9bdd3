"""What the real SNLI says where the lessons show a sample. Writes `results/snli.json`.

    python data/measure_snli.py data/results/snli.json DIR

DIR holds the archive of SNLI (`bertnli data fetch` downloads it). The figures are those of the lesson
`4-snli-dataset`: votes of the annotators on dev, lengths of the hypotheses by label, words that give a label
away (in at least 200 training hypotheses; `lift` is how many times more often word and label meet than if
they were independent), and the test accuracy of two lazy readers. It takes half a minute on one core.
"""

import collections
import csv
import json
import os
import sys

import numpy

import bertnli


def measure(folder, common=200):
    """All figures for the SNLI in `folder`."""
    snli = bertnli.download_extract('SNLI', data_dir=folder)
    splits = {split: bertnli.read_snli(snli, split=split) for split in ('train', 'dev', 'test')}
    train, test = splits['train'], splits['test']
    return {
        'labels': {name: [data[2].count(label) for label in range(3)] for name, data in splits.items()},
        'skipped': {name: sum(count for count, *_ in data.skipped.values()) for name, data in splits.items()},
        **votes(os.path.join(snli, 'snli_1.0_dev.txt')),
        **lengths(train),
        'words': words(train, common),
        'hypothesis_only': round(bertnli.hypothesis_only_baseline(train, test), 4),
        'overlap': round(bertnli.overlap_baseline(train, test), 4),
    }


def votes(path):
    """How many of five agree, and single votes against gold labels."""
    agree, table = collections.Counter(), numpy.zeros((3, 3), dtype=int)
    with open(path, encoding='utf-8') as file:
        for row in csv.DictReader(file, delimiter='\t', quoting=csv.QUOTE_NONE):
            given = [row[f'label{i}'] for i in range(1, 6) if row[f'label{i}'] in bertnli.LABELS]
            if len(given) == 5:
                count = collections.Counter(given)
                agree[max(count.values())] += 1
                if row['gold_label'] in bertnli.LABELS:
                    gold = bertnli.LABELS.index(row['gold_label'])
                    table[gold] += [count[name] for name in bertnli.LABELS]
    return {
        'agree': {str(size): agree[size] for size in sorted(agree, reverse=True)},
        'votes': table.tolist(),
    }


def lengths(train, longest=30):
    """Training hypotheses of 1, 2, … words by label; the last count is of `longest` words and more."""
    sizes = numpy.array([len(sentence.split()) for sentence in train[1]])
    labels = numpy.array(train[2])
    counts = [numpy.bincount(sizes[labels == n].clip(max=longest), minlength=longest + 1) for n in range(3)]
    means = [round(float(sizes[labels == n].mean()), 2) for n in range(3)]
    premise = float(numpy.mean([len(sentence.split()) for sentence in train[0]]))
    return {
        'hypothesis_lengths': [row.tolist() for row in counts],
        'hypothesis_mean': means,
        'premise_mean': round(premise, 2),
    }


def words(train, common, top=8):
    """(word, lift) of the most telling words of each label."""
    seen = [collections.Counter() for _ in bertnli.LABELS]
    for hypothesis, label in zip(train[1], train[2]):
        seen[label].update(set(hypothesis.lower().split()))
    share = numpy.bincount(train[2], minlength=3) / len(train[2])
    every, found = seen[0] + seen[1] + seen[2], {}
    for label, name in enumerate(bertnli.LABELS):
        lift = {w: seen[label][w] / n / share[label] for w, n in every.items() if n >= common}
        best = sorted(lift, key=lambda word: -lift[word])[:top]
        found[name] = [[word, round(float(lift[word]), 2)] for word in best]
    return found


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    figures = measure(sys.argv[2])
    with open(sys.argv[1], 'w', encoding='utf-8') as file:
        json.dump(figures, file, indent=1)
        file.write('\n')
