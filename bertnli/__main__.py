"""`python -m bertnli` is the command `bertnli`."""

from .app.process import run

if __name__ == '__main__':
    run()
