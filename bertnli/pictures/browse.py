"""Pairs to browse in a notebook: filter, sort, click a cell of the confusion, save what is left as CSV."""

import csv
import io
import math
import re

from ..errors import SettingsError
from ..text import LABELS
from .style import Interactive, download, element, ipywidgets, shortened

_COLUMNS = 'row', 'premise', 'hypothesis', 'label', 'predicted', 'confidence', 'words'
_PAGE = 20  # pairs


def browse(report_or_data, pairs=None):
    """Look at pairs as the last expression of a cell; returns a `Browser`.

    `report_or_data` are labelled pairs, `SentencePair`s or what `read_snli` returns; or a `Report`, and then
    `pairs` are those that it judged, in their order. Raises `SettingsError` for another number of pairs,
    `RuntimeMismatch` without ipywidgets.

    >>> seen = browse([['A dog runs.', 'A man sits.'], ['A dog.', 'A man runs.'], [0, 1]])
    >>> seen.word.value = 'sits'
    >>> seen.rows
    [(1, 'A man sits.', 'A man runs.', 'contradiction', '', '', 6)]
    """
    report = report_or_data if hasattr(report_or_data, 'confusion') else None
    pairs = list(report_or_data if report is None else pairs or ())
    if len(pairs) == 3 and not hasattr(pairs[0], 'premise'):
        pairs = list(zip(*pairs))
    names = report.labels if report else LABELS
    if report and len(pairs) != report.n:
        remedy = 'browse(report, pairs), with the pairs that it judged'
        raise SettingsError('not the pairs of this report', None, len(pairs), report.n, remedy)
    rows, found = [], ('', '')
    for number, (premise, hypothesis, label) in enumerate(pairs):
        if report:
            found = names[report.predicted[number]], round(float(report.probabilities[number].max()), 4)
        label = names[report.true[number]] if report else '-' if label is None else names[label]
        rows.append((number, premise, hypothesis, label, *found, len(f'{premise} {hypothesis}'.split())))
    return Browser(rows, names, report)


class Browser(Interactive):
    """Widgets around pairs: `label`, `predicted`, `word`, `lengths`, `confidences`, `sort`, `page`.

    A cell of the `confusion` is a button. Setting a widget's `value` chooses anew: `rows` are the pairs that
    are left, tuples of row, premise, hypothesis, label, predicted label, confidence and number of words;
    `csv` is their text, `box` has it all. `browse` makes it, with the names of the `labels` and the `report`
    (None: pairs without answers).
    """

    def __init__(self, rows, labels, report):
        widgets = ipywidgets()
        self._all, longest = rows, max((row[-1] for row in rows), default=0)
        left_out = () if report else ('predicted', 'confidence')
        self._shown = [i for i, name in enumerate(_COLUMNS) if name not in left_out]

        # Only boxes for text keep their keys, as in the playground; these answer to Enter.
        def box(kind, name, width='16em', **options):
            layout, style = {'width': width}, {'description_width': 'initial'}
            return kind(description=name, continuous_update=False, layout=layout, style=style, **options)

        def between(kind, name, width, most, **options):
            ends = (f'{name} ≥', 0), (f'{name} ≤', most)
            return [box(kind, end, width, value=value, max=most, **options) for end, value in ends]

        self.label = box(widgets.Combobox, 'label', options=labels)
        self.predicted = box(widgets.Combobox, 'predicted', options=labels)
        self.word = box(widgets.Text, 'word')
        self.lengths = between(widgets.BoundedIntText, 'words', '9em', longest)
        self.confidences = between(widgets.BoundedFloatText, 'confidence', '12em', 1, step=0.05)
        orders = [_COLUMNS[i] + falling for falling in ('', ', falling') for i in self._shown]
        self.sort = box(widgets.Combobox, 'sort by', options=orders)
        self.page = box(widgets.BoundedIntText, 'page', '8em', value=1, min=1, max=1)
        self._table, judged = widgets.HTML(), [self.predicted, *self.confidences] if report else []
        filters = [self.label, *judged, self.word, *self.lengths, self.sort, self.page]
        cells = [widgets.Label(text) for text in ('label ↓ predicted →', *labels)] if report else []
        for label, counts in zip(labels, report.confusion if report else ()):
            cells.append(widgets.Label(label))
            cells += [self._cell(widgets, label, *one) for one in zip(labels, counts)]
        columns = {'grid_template_columns': f'repeat({len(labels) + 1}, 10em)'}
        self.confusion = widgets.GridBox(cells, layout=columns)
        menus = widgets.HBox(filters, layout={'flex_flow': 'row wrap'})
        self.box = widgets.VBox([self.confusion, menus, self._table])
        for one in filters:
            one.observe(self._choose, 'value')
        self._choose()

    def _cell(self, widgets, label, predicted, count):
        button = widgets.Button(description=f'{count:,}', tooltip=f'{label}, answered {predicted}')

        def show(_):
            self.label.value, self.predicted.value = label, predicted

        button.on_click(show)
        return button

    @property
    def csv(self):
        """The pairs that are left, a line each, with the names of the columns."""
        file = io.StringIO()
        csv.writer(file, lineterminator='\n').writerows([_COLUMNS, *self.rows])
        return file.getvalue()

    @property
    def still(self):
        return self._table.value

    def __repr__(self):
        return f'Browser({len(self.rows):,} of {len(self._all):,} pairs)'

    def _choose(self, change=None):
        word = re.compile(rf'(?<!\w){re.escape(self.word.value.strip())}(?!\w)', re.IGNORECASE)
        chosen = {3: self.label.value.strip(), 4: self.predicted.value.strip()}
        ranges = {5: [one.value for one in self.confidences], 6: [one.value for one in self.lengths]}

        def wanted(row):
            same = all(row[column] == name for column, name in chosen.items() if name)
            within = all(low <= row[i] <= high for i, (low, high) in ranges.items() if row[i] != '')
            return same and within and any(word.search(sentence) for sentence in row[1:3])

        name, _, falling = self.sort.value.partition(', ')
        column = _COLUMNS.index(name) if name in _COLUMNS else 0
        self.rows = sorted(filter(wanted, self._all), key=lambda row: row[column], reverse=bool(falling))
        self.page.max = max(1, math.ceil(len(self.rows) / _PAGE))
        if change and change['owner'] is not self.page:
            self.page.value = 1
        first = _PAGE * (self.page.value - 1)
        told = f'{len(self.rows):,} of {len(self._all):,} pairs, page {self.page.value} of {self.page.max}. '
        look = {'style': 'text-align: left'}
        lines = [element('tr', *(element('th', _COLUMNS[i], scope='col', **look) for i in self._shown))]
        for row in self.rows[first : first + _PAGE]:
            cells = (element('td', shortened(str(row[i]), 300), **look) for i in self._shown)
            lines.append(element('tr', *cells))
        link = download(self.csv, 'pairs.csv', 'text/csv')
        self._table.value = element('p', told, link, role='status') + element('table', *lines)
