"""The files beside this one are cells of notebooks: test_book_cells.py runs them, pytest imports none."""

collect_ignore_glob = ['*.py']
